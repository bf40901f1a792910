"""The session protocol between two processes: a machine without socket, clock or thread.

The shell gives it bytes and the time, and takes frames (events) and bytes out of it.  A session outlives its
connections: each side numbers what it sends and keeps it until the other side has acknowledged it, so after a
redial it goes on where the other side stopped.  A process that restarted has another incarnation and gets
another session.

    greeting() -> HELLO out; attach(); welcome(HELLO in) -> resend what the other side lacks;
    then DATA, BIG, PART in order, and ACK, PULSE, BYE between them

The two halves, what comes in and what goes out, may be used by two threads if both hold the shell's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec

from parkcos.errors import ProtocolError
from parkcos.net.bounds import PAYLOAD_BYTES_MAX, Addr, Name, Number, Roles
from parkcos.net.location import PORT_MAX, numeric_address
from parkcos.net.session import frames
from parkcos.net.session.frames import ACK, BIG, BYE, DATA, HELLO, PART, PULSE, Frame, FrameReader, Memory, header

PROTOCOL = 2
"""Counted up with every change of the wire; two processes talk only if it is equal."""

ACK_BYTES = 1024 * 1024
ACK_FRAMES = 64
"""An acknowledgement goes at once when so much has come since the last; otherwise with the next `acknowledge()`."""

ADDRS_MAX = 16

Buffer = bytes | bytearray | memoryview


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """The first frame in each direction: who I am, and how much of what you sent I have."""

    protocol: Number
    version: Name
    python: Name
    incarnation: Number
    name: Name
    addr: Addr
    port: Annotated[int, msgspec.Meta(ge=0, le=PORT_MAX)]
    roles: Roles
    session: Number = 0
    """My end of the session that this connection is to carry; 0: I do not know yet who you are."""
    to_session: Number = 0
    """The session of yours that mine belongs to, and that `received` is about; 0: mine is new."""
    received: Number = 0
    addrs: Annotated[tuple[Addr, ...], msgspec.Meta(max_length=ADDRS_MAX)] = ()
    """More addresses that this process has, with the same port."""
    max_payload: Number = PAYLOAD_BYTES_MAX
    """Of a user's object as bytes: what is larger is not to be sent to this process, which would end the session."""


class Event(NamedTuple):
    """Something came in.  `kind` is a frame's kind, `body` what belongs to it."""

    kind: int
    body: bytes | Memory | Hello


_hello_encoder = msgspec.msgpack.Encoder()
_hello_decoder = msgspec.msgpack.Decoder(Hello)


class _Out(NamedTuple):
    seq: int
    nbytes: int
    buffers: tuple[Buffer, ...]


class Session:
    """One side of a session.

    Args:
        own: this process as the other side should see it (the last three fields are filled in here).
        session_id: a number, not 0, that no other session of this process has had.
    """

    def __init__(self, own: Hello, session_id: int) -> None:
        self.own = own
        self.id = session_id
        self.peer: Hello | None = None
        self.attached = False
        self.established = False
        self.hold_acks = False
        """This process is behind: acknowledge nothing unless asked to."""
        self.unacked_bytes = 0
        self.last_heard = 0.0
        self.last_sent = 0.0
        self._reader = FrameReader(own.max_payload)
        self._urgent: deque[bytes] = deque()
        self._unsent: deque[_Out] = deque()
        self._unacked: deque[_Out] = deque()
        self._given_seq = 0  # the last number given out
        self._sent_seq = 0  # the last that was ever sent
        self._received_seq = 0
        self._acked_seq = 0  # the last acknowledgement that was sent
        self._bytes_since_ack = 0

    # -- what goes out

    def queue(self, kind: int, buffers: Sequence[Buffer]) -> None:
        """Append a reliable frame whose body is the concatenation of `buffers` (kept, not copied)."""
        nbytes = sum(map(len, buffers))
        self._given_seq = seq = self._given_seq + 1
        self._unsent.append(_Out(seq, nbytes, (header(kind, nbytes, seq), *buffers)))
        self.unacked_bytes += nbytes

    def queue_big(self, buffers: Sequence[Buffer]) -> None:
        """Append a large payload, the concatenation of `buffers` of bytes, as BIG and PARTs.  Nothing is copied."""
        self.queue(BIG, [frames.BIG_SIZE.pack(sum(map(len, buffers)))])
        part: list[Buffer] = []
        room = frames.PART_BYTES
        for buffer in buffers:
            view = memoryview(buffer)
            while view:
                piece, view = view[:room], view[room:]
                part.append(piece)
                room -= len(piece)
                if not room:
                    self.queue(PART, part)
                    part, room = [], frames.PART_BYTES
        if part:
            self.queue(PART, part)

    def pulse(self) -> None:
        """Append a sign of life; it overtakes everything reliable."""
        if self.established:
            self._urgent.append(header(PULSE, 0))

    def acknowledge(self) -> bool:
        """Append an acknowledgement if one is due; returns whether it was."""
        if not self.established or not self.owes_ack:
            return False
        self._acked_seq = self._received_seq
        self._bytes_since_ack = 0
        self._urgent.append(header(ACK, 0, self._received_seq))
        return True

    def bye(self, reason: str) -> None:
        """Append a last word: this process ends, or refuses to talk, for this reason."""
        self._urgent.append(encode_bye(reason))

    @property
    def owes_ack(self) -> bool:
        """Something has come in that was not acknowledged yet."""
        return self._acked_seq != self._received_seq

    @property
    def wants_write(self) -> bool:
        return bool(self._urgent or (self._unsent and self.established))

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent or acknowledged."""
        return not (self._urgent or self._unsent or self._unacked)

    def data_to_send(self, budget_bytes: int, now: float) -> list[Buffer]:
        """Take up to about `budget_bytes` off the queue, urgent frames first.  What is taken counts as sent."""
        out: list[Buffer] = []
        while self._urgent:
            out.append(self._urgent.popleft())
        if self.established:
            unsent, unacked = self._unsent, self._unacked
            while unsent and budget_bytes > 0:
                frame = unsent.popleft()
                unacked.append(frame)
                out.extend(frame.buffers)
                budget_bytes -= frame.nbytes
            if unacked:
                self._sent_seq = max(self._sent_seq, unacked[-1].seq)
        if out:
            self.last_sent = now
        return out

    # -- connections come and go

    def attach(self, now: float) -> None:
        """A fresh connection carries the session."""
        self.attached = True
        self.established = False
        self.last_heard = now
        self._reader.reset()
        self._urgent.clear()

    def greeting(self, peer: Hello | None = None) -> bytes:
        """This side's HELLO as a frame.  peer: whom it answers; None: whoever the session knows."""
        peer = peer or self.peer
        return encode_hello(
            msgspec.structs.replace(
                self.own, session=self.id, to_session=peer.session if peer else 0, received=self._received_seq
            )
        )

    def greet(self, peer: Hello) -> None:
        """Append the HELLO that answers `peer`."""
        self._urgent.appendleft(self.greeting(peer))

    def detach(self) -> None:
        """The connection broke; what was not acknowledged will be sent again on the next."""
        self.attached = self.established = False
        self._unsent.extendleft(reversed(self._unacked))
        self._unacked.clear()

    def release(self) -> int:
        """The session is over: let go of all it holds.  Returns how many frames were waiting to be sent."""
        waiting = len(self._unsent)
        self.detach()
        self._unsent.clear()
        self._urgent.clear()
        self.unacked_bytes = 0
        self._reader.release()
        return waiting

    def welcome(self, hello: Hello) -> None:
        """The other side is who it should be: drop what it has, send the rest.

        Raises: ProtocolError if it acknowledges what was never sent.
        """
        self.peer = hello
        self._reader.trusted = True
        if hello.to_session == self.id:
            self._acknowledged(hello.received)
        self.established = True

    # -- what comes in

    def get_buffer(self) -> memoryview:
        """Where to read the next bytes to."""
        return self._reader.get_buffer()

    def received(self, n: int, now: float) -> list[Event]:
        """`n` bytes were read into what `get_buffer` gave; returns what they mean, in order.

        Raises: ProtocolError for bytes that no honest peer sends.
        """
        self.last_heard = now
        return [event for frame in self._reader.received(n, self._received_seq) if (event := self._take(frame))]

    def feed(self, data: Buffer, now: float) -> list[Event]:
        """The same for bytes that lie somewhere else."""
        events = []
        view = memoryview(data)
        while view:
            space = self._reader.get_buffer()
            n = min(len(space), len(view))
            space[:n] = view[:n]
            events += self.received(n, now)
            view = view[n:]
        return events

    def _take(self, frame: Frame) -> Event | None:
        kind = frame.kind
        if kind == DATA or kind == PART or kind == BIG:
            self._received_seq = frame.seq
            self._bytes_since_ack += len(frame.body) if kind == DATA else frames.PART_BYTES
            if self.hold_acks:
                pass
            elif self._received_seq - self._acked_seq >= ACK_FRAMES or self._bytes_since_ack >= ACK_BYTES:
                self.acknowledge()
            return Event(kind, frame.body) if kind == DATA or (kind == PART and frame.body) else None
        if kind == ACK:
            self._acknowledged(frame.seq)
            return None
        if kind == PULSE:
            return None
        if kind == HELLO:
            return Event(HELLO, decode_hello(frame.body))
        if kind == BYE:
            return Event(BYE, frame.body)
        raise ProtocolError(f"a frame of unknown kind {kind}")

    def _acknowledged(self, seq: int) -> None:
        if seq > self._sent_seq:
            raise ProtocolError(f"frame {seq} is acknowledged, but only {self._sent_seq} were sent")
        for queue in (self._unacked, self._unsent):  # after a cut, what was sent waits to be sent again
            while queue and queue[0].seq <= seq:
                self.unacked_bytes -= queue.popleft().nbytes


def encode_bye(reason: str) -> bytes:
    """A BYE frame."""
    body = reason.encode()[:1000]
    return header(BYE, len(body)) + body


def encode_hello(hello: Hello) -> bytes:
    """A HELLO frame."""
    body = _hello_encoder.encode(hello)
    return header(HELLO, len(body)) + body


def decode_hello(body: bytes | Memory) -> Hello:
    """Read a HELLO.  Raises: ProtocolError if it is none, or of another version of the protocol."""
    try:
        hello = _hello_decoder.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors, as is UnicodeDecodeError
        raise ProtocolError(f"a malformed greeting: {error}") from None
    for addr in (hello.addr, *hello.addrs):
        if numeric_address(addr) != addr:
            raise ProtocolError(f"a malformed greeting: {addr!r} is no address")
    if not (hello.name.isprintable() and hello.version.isprintable() and hello.python.isprintable()):
        raise ProtocolError("a malformed greeting: its name, or its version, is not printable")
    if not all(role.isalpha() and role.isascii() for role in hello.roles):
        raise ProtocolError("a malformed greeting: a role is a word")
    return hello


def refusal(own: Hello, peer: Hello) -> str | None:
    """Why two processes cannot talk, in words, or None if they can."""
    if own.protocol != peer.protocol:
        return (
            f"it speaks protocol {peer.protocol} (parkcos {peer.version}), this process {own.protocol} "
            f"(parkcos {own.version}): install the same version of parkcos on both"
        )
    return None
