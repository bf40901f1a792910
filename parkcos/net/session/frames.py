"""Frames: how the byte stream between two processes is cut into pieces.  Pure: bytes in, frames out.

A frame is a header of 13 bytes (body length, kind, sequence number) and a body.  Reliable frames (DATA, BIG, PART)
carry numbers 1, 2, 3, ...; the others carry 0.  A payload too large for one frame travels as BIG (its size) and
a run of PARTs, whose bytes the reader places straight into the buffer that is handed out in the end, so that a
large payload is copied once and small urgent frames find room between two parts.
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

from parkcos.errors import ProtocolError
from parkcos.net.bounds import FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX

HEADER = struct.Struct("<IBQ")
BIG_SIZE = struct.Struct("<Q")

HELLO, DATA, BIG, PART, ACK, PULSE, BYE = 1, 2, 3, 4, 5, 6, 7
RELIABLE = frozenset((DATA, BIG, PART))

PART_BYTES = 128 * 1024
"""How much of a large payload goes out between two chances for an urgent frame: under a millisecond on 1 Gbit/s."""

HELLO_BYTES_MAX = 4096
"""Until the peer has said who it is, nothing longer is accepted."""

BUFFER_BYTES = FRAME_BYTES_MAX + 64 * 1024

PROMPT_BYTES = 64 * 1024 * 1024
"""A larger payload gets its memory as its parts come, not on the word of who announces it."""

Memory = bytearray | mmap.mmap


def _memory(size: int) -> Memory:
    """A buffer that takes room only where something has been written."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return bytearray(size)


def header(kind: int, length: int, seq: int = 0) -> bytes:
    """The 13 bytes in front of a body of `length` bytes."""
    return HEADER.pack(length, kind, seq)


class Frame(NamedTuple):
    """A frame that has arrived whole.  `body` of the last PART of a payload is the whole payload, else it is empty."""

    kind: int
    seq: int
    body: bytes | Memory


class FrameReader:
    """Cuts a stream into frames.  One reader serves one session; :meth:`reset` starts it on a new connection.

    `get_buffer` says where the next bytes should be read to, `received` that so many were; `feed` does both.

    Args:
        payload_bytes_max: of a large payload; one that is announced as larger gets no memory.
    """

    def __init__(self, payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
        self._payload_bytes_max = payload_bytes_max
        self._buffer = _memory(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self.trusted = False
        self._big: Memory | None = None  # the payload being put together
        self._big_done = 0  # bytes of it from whole PARTs
        # The current PART: its number, how many bytes of it are still to come, and where they go.
        self._part_seq = self._part_left = self._part_at = 0

    def reset(self) -> None:
        """A new connection: forget half a frame, but keep the parts of a payload that arrived whole."""
        self._start = self._end = 0
        self._part_left = 0
        self.trusted = False

    def release(self) -> None:
        """Nothing will be read any more: let go of the buffers."""
        self._view, self._buffer, self._big = memoryview(b""), bytearray(), None
        self.reset()

    def get_buffer(self) -> memoryview:
        """Where to put the next bytes: the payload itself in the middle of a part, else the common buffer."""
        if self._part_left:  # all that had come is in its place
            assert self._big is not None
            return memoryview(self._big)[self._part_at : self._part_at + self._part_left]
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start and BUFFER_BYTES - self._end < FRAME_BYTES_MAX // 2:
            left = self._end - self._start
            self._view[:left] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, left
        return self._view[self._end :]

    def received(self, n: int, last_seq: int) -> list[Frame]:
        """`n` bytes were read into what `get_buffer` gave.

        Args:
            n: count of bytes, at least 1.
            last_seq: number of the last reliable frame that was accepted; frames up to it are read and dropped.
        Returns: the frames that are now whole, in order.
        Raises: ProtocolError for bytes that no honest peer sends.
        """
        frames: list[Frame] = []
        if self._part_left:
            self._take_part(n, frames)
            return frames
        self._end += n
        while True:
            if self._part_left:
                n = min(self._part_left, self._end - self._start)
                if not n:
                    return frames
                assert self._big is not None
                self._big[self._part_at : self._part_at + n] = self._view[self._start : self._start + n]
                self._start += n
                self._take_part(n, frames)
                last_seq = self._part_seq  # until it is whole, nothing comes after it
            have = self._end - self._start
            if have < HEADER.size:
                return frames
            length, kind, seq = HEADER.unpack_from(self._buffer, self._start)
            if length > (FRAME_BYTES_MAX if self.trusted else HELLO_BYTES_MAX):
                raise ProtocolError(f"a frame of {length} bytes is larger than any that parkcos sends")
            if kind == PART and seq == last_seq + 1:
                self._begin_part(length, seq)
                self._start += HEADER.size
                continue
            if have < HEADER.size + length:
                return frames
            begin = self._start + HEADER.size
            self._start = begin + length
            if kind not in RELIABLE:
                frames.append(Frame(kind, seq, bytes(self._view[begin : begin + length])))
                self.trusted = self.trusted or kind == HELLO
                continue
            if not self.trusted:
                raise ProtocolError("data came before the peer said who it is")
            if seq <= last_seq:
                continue  # sent twice, after a redial
            if seq != last_seq + 1 or kind == PART:
                raise ProtocolError(f"frame {seq} came after {last_seq}: something in between is missing")
            last_seq = seq
            body = bytes(self._view[begin : begin + length])
            if kind == BIG:
                self._begin_big(body)
            frames.append(Frame(kind, seq, body))

    def feed(self, data: bytes | bytearray | memoryview, last_seq: int) -> list[Frame]:
        """For tests and pipes: `get_buffer` and `received` over all of `data`."""
        frames: list[Frame] = []
        view = memoryview(data)
        while view:
            space = self.get_buffer()
            n = min(len(space), len(view))
            space[:n] = view[:n]
            for frame in self.received(n, last_seq):
                frames.append(frame)
                if frame.kind in RELIABLE:  # an acknowledgement has the other side's number
                    last_seq = frame.seq
            view = view[n:]
        return frames

    def _begin_big(self, body: bytes) -> None:
        if len(body) != BIG_SIZE.size:
            raise ProtocolError("a malformed announcement of a large payload")
        (size,) = BIG_SIZE.unpack(body)
        if not 0 < size <= self._payload_bytes_max:
            most = self._payload_bytes_max
            raise ProtocolError(f"a payload of {size} bytes is not accepted: max_payload is {most} here")
        try:
            self._big = bytearray(size) if size <= PROMPT_BYTES else _memory(size)
        except (MemoryError, OSError, OverflowError, ValueError):
            raise ProtocolError(f"no memory here for a payload of {size} bytes") from None
        self._big_done = 0

    def _begin_part(self, length: int, seq: int) -> None:
        if not self.trusted or self._big is None or not 0 < length <= len(self._big) - self._big_done:
            raise ProtocolError("a part of a large payload that was not announced")
        self._part_seq, self._part_left, self._part_at = seq, length, self._big_done

    def _take_part(self, n: int, frames: list[Frame]) -> None:
        """n bytes of the current part are in place."""
        assert self._big is not None
        self._part_at += n
        self._part_left -= n
        if self._part_left:
            return
        self._big_done = self._part_at
        body: Memory = bytearray()
        if self._big_done == len(self._big):
            body, self._big = self._big, None
        frames.append(Frame(PART, self._part_seq, body))
