"""A process at the other side, as this one knows it: its session, its connection if there is one, what waits for it.

Any thread may `post`.  The lock covers the outgoing half of the session and the socket; it is never held while
anybody else's code runs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from parkcos.errors import ShippingError
from parkcos.net import wire
from parkcos.net.bounds import FRAME_BYTES_MAX
from parkcos.net.payload import join
from parkcos.net.session.frames import DATA, Memory
from parkcos.net.session.session import Buffer, Session

if TYPE_CHECKING:
    from parkcos.net.location import Location
    from parkcos.net.session.link import Link
    from parkcos.net.trust.standing import Standing

logger = logging.getLogger("parkcos")

CONNECTING, UP, DOWN, GONE = "connecting", "up", "down", "gone"

UNMARKED, LAZY, SOON = 0, 1, 2

BIG_PAYLOAD_BYTES = 32 * 1024
"""From here on a payload travels in parts, uncopied; below, in the batch with its message."""

BATCH_BYTES = FRAME_BYTES_MAX // 4
WRITE_BYTES = 512 * 1024
INBOX_BYTES = 1024 * 1024
BEHIND_BYTES = 8 * 1024 * 1024
"""With so much not yet acknowledged the far side counts as behind: `yield rtask.send(m)` then waits."""


Item = wire.Message | tuple[list[Buffer], wire.Message]


class Peer:
    """One remote process.  Made by the hub only."""

    def __init__(
        self, location: Location, incarnation: int, session: Session, dirty: Callable[[Peer, bool], None]
    ) -> None:
        self.location = location
        self.incarnation = incarnation
        self.name = ""
        self.roles: tuple[str, ...] = ()
        self.standing: Standing | None = None
        """What its certificate proves of it; None where certificates say nothing of that."""
        self.has_tasks = False
        """It runs users' tasks, or may have been given references to such."""
        self.circle = ""
        """The name of the keys that it shares with this process; "": the cluster's.  See guests.py."""
        self.session = session
        self.link: Link | None = None
        self.state = CONNECTING
        self.reason = ""
        self.reported = False  # that and why it cannot be reached stands in the log
        self.no_more = False  # somebody who must know says that it has ended: it is not dialled again
        self.dismissed = False  # it has been told to end: what does not reach it any more is no loss
        self.addresses: tuple[Location, ...] = (location,)
        """Where it can be dialled, the best first."""
        self.proven_at: Location | None = None
        """Where it was reached, or came from: what answers there now is it, or it is not there any more."""
        self.dialable = True
        """It can be: False for one behind NAT or a tunnel, which must dial itself."""
        self.dialing = False
        self.greeting = False
        """It was dialled, has said who it is, and is about to answer this process's greeting."""
        self.dial_lock = asyncio.Lock()
        self.patience_s = 0.0
        """How long it may be silent before it counts as gone, if longer than others."""
        self.pulse_s = math.inf
        """It wants a sign of life after so many seconds of silence, if more often than others."""
        self.gone_at = 0.0
        """When it counts as gone, while its connection is broken."""
        self.down_since = time.monotonic()
        self.lock = threading.Lock()
        self.max_payload = session.own.max_payload
        """What it takes at most, in bytes; until it has said so, as much as this process."""
        self.refused: list[wire.Message] = []
        """What was not sent, since it takes no payload of that size; told by the hub.  Under the lock."""
        self._dirty = dirty
        self._posting = threading.Lock()
        """Covers the next three; held for a few steps only, also by who holds `lock`."""
        self.queue: deque[Item] = deque()
        self._queue_bytes = 0
        self._marked = UNMARKED  # whether it is on the hub's list of those with something to flush, or about to be
        self.merged: Peer | None = None  # the same process, known under another address
        self.waiters: list[Callable[[bool], None]] = []
        """Who waits for the far side to catch up; told True, or False when it is gone.  Under the lock."""
        self.bigs: list[Memory] = []
        """Large payloads that came ahead of their messages.  Under the lookout's lock."""
        self.slow: dict[int, list[Callable[[bool], None]]] = {}
        """Its tasks that are behind with their messages, and who waits for them.  Kernel thread."""
        self.taken_bytes = self.handled_bytes = 0
        """What has come for tasks, and what of it the kernel thread has put into their queues."""
        self.heard = False
        """Something came in that the hub acknowledges in its next tick."""

    def __repr__(self) -> str:
        return f"{self.name or 'process'} at {self.location}"

    @property
    def swamped(self) -> bool:
        """This process is behind with what came from there: it acknowledges nothing until it has caught up."""
        return self.taken_bytes - self.handled_bytes > INBOX_BYTES

    @property
    def owes(self) -> bool:
        """It has not acknowledged all that was sent to it, and may yet do so."""
        return self.state is not GONE and not self.dismissed and bool(self.session.unacked_bytes or self.queue)

    @property
    def backlog_bytes(self) -> int:
        """So much the far side has yet to acknowledge."""
        return self.session.unacked_bytes + self._queue_bytes

    @property
    def behind(self) -> bool:
        """The far side has not acknowledged so much that senders should wait."""
        return self.backlog_bytes > BEHIND_BYTES

    def post(self, message: Item, size: int = 64, *, lazy: bool = False) -> bool:
        """Queue a message, or a large payload with its message, of about `size` bytes; it leaves soon.

        Returns: whether the process is not gone.

        Args:
            lazy: it may wait a little for others that go the same way.
        """
        how = LAZY if lazy else SOON
        with self._posting:
            if there := self.state is not GONE:
                self._queue_bytes += size
                self.queue.append(message)
                if self._marked >= how:
                    return True
                self._marked = how
        if there:
            self._dirty(self, lazy)
            return True
        return self.merged is not None and self.merged.post(message, size, lazy=lazy)

    def retract(self, message: wire.Message) -> bool:
        """Take back the message that was posted last, if it has not left; returns whether it was taken back."""
        with self._posting:
            if self.queue and self.queue[-1] is message:
                self.queue.pop()
                return True
            return False

    def post_payload(self, message: wire.WithPayload, buffers: Sequence[Buffer], *, lazy: bool = False) -> bool:
        """Queue a message whose payload is the concatenation of `buffers`.  lazy: as in `post`.

        Raises: ShippingError if that is more than the process takes.
        """
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        if size < BIG_PAYLOAD_BYTES:
            message.payload = join(buffers)  # type: ignore[assignment]
            return self.post(message, size + 64, lazy=lazy)
        if size > (most := self.itself.max_payload):
            raise ShippingError(too_large(size, most, self))
        message.big = True
        views: list[Buffer] = [memoryview(b).cast("B") for b in buffers]
        return self.post((views, message), size)

    @property
    def itself(self) -> Peer:
        """The process that this one turned out to be, if it was known already; else this one."""
        peer = self
        while peer.merged is not None:
            peer = peer.merged
        return peer

    def hand_over(self) -> None:
        """What waits here waits for the process that this one turned out to be, from now on."""
        with self.lock:
            into = self.itself
            items, size = self._take()
            with into._posting:
                into._queue_bytes += size
                into.queue.extend(items)

    def drop_queue(self) -> int:
        """It is gone.  Returns: how many messages are lost with it, but for questions: who asked them is told."""
        items, _ = self._take()
        messages = [item[1] if isinstance(item, tuple) else item for item in items]
        return sum(not hasattr(message, "request") for message in messages)

    def forked(self) -> None:
        """In a child that was forked: it is the parent's peer."""
        self.merged, self.state = None, GONE
        self.lock, self._posting = threading.Lock(), threading.Lock()  # other threads may have held them

    def _take(self) -> tuple[deque[Item], int]:
        """What was posted, and its size; who posts from now on marks again."""
        with self._posting:
            items, size = self.queue, self._queue_bytes
            self.queue, self._queue_bytes, self._marked = deque(), 0, UNMARKED
            return items, size

    def flush(self) -> bool:
        """Turn the queue into frames and write what the socket takes.

        Returns: whether something is left for the I/O thread to write.
        Raises: OSError when the connection breaks.
        """
        with self.lock:
            return self._flush()

    def _flush(self) -> bool:
        if self.state is CONNECTING:  # a peer that turns out to be another one gives its queue to that
            with self._posting:
                self._marked = UNMARKED
            return self._write()
        batch: list[wire.Message] = []
        items, _ = self._take()
        for item in items:
            if type(item) is tuple:
                self._queue_batch(batch)
                batch = []
                if sum(map(len, item[0])) > self.max_payload:  # since it was posted, the process has said so
                    self.refused.append(item[1])
                elif self._encode([item[1]]):
                    self.session.queue_big(item[0])
                    batch = [item[1]]
            else:
                batch.append(item)  # type: ignore[arg-type]
        self._queue_batch(batch)
        return self._write()

    def _queue_batch(self, batch: list[wire.Message]) -> None:
        body = self._encode(batch) if batch else b""
        if body and (len(body) <= BATCH_BYTES or len(batch) == 1):
            self.session.queue(DATA, (body,))
        elif len(batch) > 1:
            half = len(batch) // 2
            self._queue_batch(batch[:half])
            self._queue_batch(batch[half:])

    def _encode(self, batch: list[wire.Message]) -> bytes:
        """Nothing if it cannot be done; that is logged for a single message."""
        try:
            return wire.encode(batch)
        except (TypeError, ValueError, OverflowError):
            if len(batch) == 1:
                logger.exception("a %s for %r cannot be encoded and is dropped", type(batch[0]).__name__, self)
            return b""

    def write(self) -> bool:
        """Write what the session wants written; returns whether something is left.  Raises: OSError."""
        with self.lock:
            return self._write()

    def _write(self) -> bool:
        link, session = self.link, self.session
        if link is None or link.closed:
            return False
        if link.blocked:
            link.flush()
        while session.wants_write and not link.blocked:
            link.send(session.data_to_send(WRITE_BYTES, time.monotonic()))
        return link.blocked


def too_large(size: int, most: int, whom: object) -> str:
    """Of a payload: why it is not sent."""
    return (
        f"{size} bytes are too many for {whom}, which takes {most} at most: send them in pieces, as a file, or in a "
        "shared object (client.share); or start the programs there with a larger max_payload"
    )
