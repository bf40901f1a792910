"""Sending and receiving one file: two machines without a disk, a socket or a clock.

`begin()` and `handle(event, now)` return orders, to be executed in order.  `now` is in seconds.  Disk orders (Hash,
Read, Finish, Look, HashTarget, HashPartial, Open, Write, Complete) are executed one after the other, and each is
answered by one event: the one named in its docstring, or Trouble.  After an Over (sender) or Close (receiver) nothing
follows.
"""

from __future__ import annotations

from collections import deque

import msgspec

from parkcos.net.files.messages import (
    CHUNK_BYTES_MAX,
    WINDOW_BYTES_MAX,
    Accept,
    AskDigest,
    Cancel,
    Chunk,
    Digest,
    Done,
    End,
    Failed,
    FileMessage,
    Have,
    Offer,
    Written,
    clipped,
)
from parkcos.net.files.rules import Existing, Refused, check_name, check_size, folders_of, must_compare, partial_name

Bytes = bytes | bytearray | memoryview

CHUNK_BYTES_MIN = 32 * 1024
WINDOW_BYTES_MIN = 64 * 1024
WINDOW_BYTES_START = 512 * 1024
QUEUE_S = 0.1
"""So long chunks may wait in queues, beyond what their way takes anyway; and so does a message behind them."""
DIGESTS_MAX = 2
"""A receiver asks at most for the digest of the whole and of one part: hashing costs the sender its time."""


# -- events: what happened


class Hashed(msgspec.Struct, frozen=True):
    """The digest of the first `length` bytes is known."""

    length: int
    digest: bytes


class ChunkRead(msgspec.Struct, frozen=True):
    """Bytes of the file."""

    offset: int
    data: Bytes


class Summed(msgspec.Struct, frozen=True):
    """The file has been read to its end, has not changed, and this is its digest."""

    digest: bytes


class Looked(msgspec.Struct, frozen=True):
    """What is there.  partial_bytes: of the partial file, 0 if there is none."""

    existing: Existing | None
    partial_bytes: int


class Opened(msgspec.Struct, frozen=True):
    """The partial file is ready to be written."""


class WroteTo(msgspec.Struct, frozen=True):
    """All up to `offset` has been written."""

    offset: int


class Completed(msgspec.Struct, frozen=True):
    """The file has its name."""


class Trouble(msgspec.Struct, frozen=True):
    """Something failed at this side.  keep: the partial file may serve again."""

    reason: str
    keep: bool = True


class PeerGone(msgspec.Struct, frozen=True):
    """The other process is gone."""

    reason: str


Event = (
    FileMessage
    | Hashed
    | ChunkRead
    | Summed
    | Looked
    | Opened
    | WroteTo
    | Completed
    | Trouble
    | PeerGone
)  # fmt: skip


# -- orders: what is to be done


class Send(msgspec.Struct, frozen=True):
    """Send a message, with these bytes as payload."""

    message: FileMessage
    data: Bytes = b""


class Hash(msgspec.Struct, frozen=True):
    """Sender: hash the first `length` bytes: Hashed."""

    length: int


class Read(msgspec.Struct, frozen=True):
    """Sender: read (and hash on) `length` bytes at `offset`: ChunkRead.  A first read at 0 begins the digest anew."""

    offset: int
    length: int


class Finish(msgspec.Struct, frozen=True):
    """Sender: see that the file has not changed: Summed."""

    offset: int


class Over(msgspec.Struct, frozen=True):
    """Sender: the end.  reason: why not, if it is not `ok`."""

    ok: bool
    reason: str = ""


class Look(msgspec.Struct, frozen=True):
    """Receiver: open the folder, made if need be, and lock the target: Looked."""

    folders: tuple[str, ...]
    name: str
    partial: str


class HashTarget(msgspec.Struct, frozen=True):
    """Receiver: hash the file that is there: Hashed."""


class HashPartial(msgspec.Struct, frozen=True):
    """Receiver: hash what is there of the file: Hashed."""

    length: int


class Open(msgspec.Struct, frozen=True):
    """Receiver: get ready to write from `offset` on (where the hashing stopped, or 0): Opened."""

    offset: int
    size: int


class Write(msgspec.Struct, frozen=True):
    """Receiver: write (and hash on): WroteTo."""

    data: Bytes


class Complete(msgspec.Struct, frozen=True):
    """Receiver: flush, compare the digest, give it its mode and name: Completed."""

    digest: bytes
    mode: int
    overwrite: bool


class Close(msgspec.Struct, frozen=True):
    """Receiver: the end; close all.  keep: leave the partial file for later.  reason: why it failed, "" if not."""

    keep: bool
    reason: str = ""


Order = (
    Send | Hash | Read | Finish | Over | Look | HashTarget | HashPartial | Open | Write | Complete | Close
)  # fmt: skip


class Window:
    """How far the sender runs ahead: as much as keeps the line and the far disk busy, without a queue before them.

    Each acknowledgement tells how long its bytes were on their way.  What is beyond the shortest time seen is time in
    queues; with more of that than QUEUE_S the window shrinks, with less than half of it grows.
    """

    def __init__(self) -> None:
        self.limit = WINDOW_BYTES_START
        self._sent: deque[tuple[int, float]] = deque()  # (end offset, when), of each chunk on its way
        self._shortest_s = float("inf")
        self._shrunk_at = 0  # chunks that end before were sent with the former, wider window

    def chunk_bytes(self, in_flight: int) -> int:
        """How large the next chunk may be; 0: wait."""
        size = min(CHUNK_BYTES_MAX, max(CHUNK_BYTES_MIN, self.limit // 8))
        return size if in_flight + size <= self.limit else 0

    def sent(self, end: int, now: float) -> None:
        """A chunk that ends at `end` was sent."""
        self._sent.append((end, now))

    def acknowledged(self, upto: int, now: float) -> None:
        """All up to `upto` has been written there."""
        sent_at = None
        before = self._sent[0][0] if self._sent else 0
        while self._sent and self._sent[0][0] <= upto:
            before, sent_at = self._sent.popleft()
        if sent_at is None:
            return
        took_s = now - sent_at
        self._shortest_s = min(self._shortest_s, took_s)
        queued_s = took_s - self._shortest_s
        if queued_s > QUEUE_S:
            if before > self._shrunk_at:
                self.limit = max(WINDOW_BYTES_MIN, self.limit // 2)
                self._shrunk_at = self._sent[-1][0] if self._sent else before
        elif queued_s < QUEUE_S / 2:
            self.limit = min(WINDOW_BYTES_MAX, self.limit + self.limit // 4)


class Sender:
    """The side that has the file.

    Args:
        offer: the file, as it will be offered.
    """

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.state = "offered"  # -> hashing -> offered; -> sending -> finishing -> ended; over
        self.window = Window()
        self.read_to = 0
        self.written_to = 0
        self._digests = 0
        self._hashed_to = 0
        self._reading = False

    def begin(self) -> list[Order]:
        """The first orders."""
        return [Send(self.offer)]

    def handle(self, event: Event, now: float) -> list[Order]:
        """Tell a fact; returns what is to be done."""
        if self.state == "over":
            return []
        match event:
            case AskDigest(_, length) if self.state == "offered" and self._digests < DIGESTS_MAX:
                if length > self.offer.size:
                    return self._cancel("the receiver asked for more than there is")
                self._digests += 1
                self.state = "hashing"
                return [Hash(length)]
            case Hashed(length, digest) if self.state == "hashing":
                self.state = "offered"
                self._hashed_to = length
                return [Send(Digest(self.offer.transfer, length, digest))]
            case Accept(_, offset) if self.state == "offered" and offset in (0, self._hashed_to):
                self.state = "sending"
                self.read_to = self.written_to = offset
                return self._go_on()
            case ChunkRead(offset, data) if self.state == "sending":
                self._reading = False
                self.read_to = offset + len(data)
                self.window.sent(self.read_to, now)
                return [Send(Chunk(self.offer.transfer, offset), data), *self._go_on()]
            case Written(_, offset) if self.state in ("sending", "finishing", "ended"):
                if not self.written_to <= offset <= self.read_to:
                    return self._cancel("the receiver acknowledged what was not sent")
                self.written_to = offset
                self.window.acknowledged(offset, now)
                return self._go_on()
            case Summed(digest) if self.state == "finishing":
                self.state = "ended"
                return [Send(End(self.offer.transfer, digest))]
            case Done() if self.state == "ended":
                return self._over(True)
            case Have() if self.state == "offered":
                return self._over(True)
            case Failed(_, reason):
                return self._over(False, reason)
            case Trouble(reason, keep):
                return self._cancel(reason, keep)
            case PeerGone(reason):
                return self._over(False, reason)
        return self._cancel(f"the receiver answered out of turn ({type(event).__name__} while {self.state})")

    def _go_on(self) -> list[Order]:
        if self.state != "sending" or self._reading:
            return []
        left = self.offer.size - self.read_to
        if not left:
            self.state = "finishing"
            return [Finish(self.read_to)]
        length = min(left, self.window.chunk_bytes(self.read_to - self.written_to))
        if not length:
            return []
        self._reading = True
        return [Read(self.read_to, length)]

    def _cancel(self, reason: str, keep: bool = True) -> list[Order]:
        return [Send(Cancel(self.offer.transfer, clipped(reason), keep)), *self._over(False, reason)]

    def _over(self, ok: bool, reason: str = "") -> list[Order]:
        self.state = "over"
        return [Over(ok, reason)]


class Receiver:
    """The side that gets the file.

    Args:
        offer: what the other side says of it.
        max_file_size: in bytes; None or 0: no bound.
    """

    def __init__(self, offer: Offer, max_file_size: int | None) -> None:
        self.offer = offer
        self.max_file_size = max_file_size
        self.state = "looking"  # -> comparing -> resuming -> opening -> receiving -> completing; over
        self.received_to = 0
        self.written_to = 0
        self._partial_bytes = 0
        self._compared = 0
        self._own: Hashed | None = None
        self._theirs: Hashed | None = None

    def begin(self) -> list[Order]:
        """The first orders."""
        offer = self.offer
        try:
            folders, name = folders_of(offer.folder), check_name(offer.name)
            check_size(offer.size, self.max_file_size)
        except Refused as refused:
            return self._fail(str(refused))
        return [Look(folders, name, partial_name(name, offer.size, offer.mtime_ns))]

    def handle(self, event: Event, now: float) -> list[Order]:
        """Tell a fact; returns what is to be done."""
        if self.state == "over":
            return []
        match event:
            case Looked(existing, partial_bytes) if self.state == "looking":
                self._partial_bytes = partial_bytes
                try:
                    compare = must_compare(existing, self.offer.size, self.offer.overwrite)
                except Refused as refused:
                    return self._fail(str(refused))
                return self._compare("comparing", self.offer.size, HashTarget()) if compare else self._resume()
            case Hashed() if self.state in ("comparing", "resuming") and self._own is None:
                self._own = event
                return self._judge()
            case Digest(_, length, digest) if self.state in ("comparing", "resuming") and self._theirs is None:
                if length != self._compared:
                    return self._fail("the sender gave the digest of something else")
                self._theirs = Hashed(length, digest)
                return self._judge()
            case Opened() if self.state == "opening":
                self.state = "receiving"
                return [Send(Accept(self.offer.transfer, self.received_to))]
            case ChunkRead(offset, data) if self.state == "receiving":
                end = offset + len(data)
                if offset != self.received_to or end > self.offer.size or not 0 < len(data) <= CHUNK_BYTES_MAX:
                    return self._fail("the sender sent what is no part of the file")
                if end - self.written_to > WINDOW_BYTES_MAX:
                    return self._fail("the sender sent more at once than was agreed")
                self.received_to = end
                return [Write(data)]
            case WroteTo(offset) if self.state in ("receiving", "completing"):
                self.written_to = offset
                return [Send(Written(self.offer.transfer, offset))]
            case End(_, digest) if self.state == "receiving":
                if self.received_to != self.offer.size:
                    return self._fail("the sender ended before the file's end")
                self.state = "completing"
                return [Complete(digest, self.offer.mode, self.offer.overwrite)]
            case Completed() if self.state == "completing":
                self.state = "over"
                return [Send(Done(self.offer.transfer)), Close(keep=False)]
            case Cancel(_, reason, keep):
                return self._close(reason, keep)
            case PeerGone(reason):
                return self._close(reason, keep=True)
            case Trouble(reason, keep):
                return self._fail(reason, keep)
        return self._fail(f"the sender spoke out of turn ({type(event).__name__} while {self.state})")

    def _compare(self, state: str, length: int, order: Order) -> list[Order]:
        self.state = state
        self._own = self._theirs = None
        self._compared = length
        return [Send(AskDigest(self.offer.transfer, length)), order]

    def _judge(self) -> list[Order]:
        """Compare the digests when both are there."""
        if self._own is None or self._theirs is None:
            return []
        same = self._own == self._theirs
        if self.state == "resuming":
            return self._open(self._compared if same else 0)
        if same:
            self.state = "over"
            return [Send(Have(self.offer.transfer)), Close(keep=False)]
        if not self.offer.overwrite:
            return self._fail("another file is there, and overwrite was not asked for")
        return self._resume()

    def _resume(self) -> list[Order]:
        if 0 < self._partial_bytes <= self.offer.size:
            return self._compare("resuming", self._partial_bytes, HashPartial(self._partial_bytes))
        return self._open(0)

    def _open(self, offset: int) -> list[Order]:
        self.state = "opening"
        self.received_to = self.written_to = offset
        return [Open(offset, self.offer.size)]

    def _fail(self, reason: str, keep: bool = True) -> list[Order]:
        return [Send(Failed(self.offer.transfer, clipped(reason))), *self._close(reason, keep)]

    def _close(self, reason: str, keep: bool) -> list[Order]:
        self.state = "over"
        return [Close(keep, reason)]
