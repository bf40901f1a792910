"""parkcos/net/session/frames.py: however the stream is split, the same frames come out."""

from __future__ import annotations

import itertools
import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.errors import ProtocolError
from parkcos.net.session import frames
from parkcos.net.session.frames import (
    ACK,
    BIG,
    BIG_SIZE,
    BYE,
    DATA,
    HEADER,
    HELLO,
    PART,
    PULSE,
    Frame,
    FrameReader,
    header,
)


def frame(kind: int, body: bytes = b"", seq: int = 0) -> bytes:
    return header(kind, len(body), seq) + body


def trusting() -> FrameReader:
    reader = FrameReader()
    reader.trusted = True
    return reader


def read(reader: FrameReader, data: bytes, cuts: list[int], last_seq: int = 0) -> list[Frame]:
    """Feed `data` in pieces that end at `cuts`."""
    found: list[Frame] = []
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        for got in reader.feed(data[start:end], last_seq):
            found.append(got)
            last_seq = max(last_seq, got.seq)
    return found


BIG_BODY = bytes(range(256)) * 5
STREAM = b"".join(
    [
        frame(HELLO, b"who"),
        frame(DATA, b"one", 1),
        frame(PULSE),
        frame(DATA, b"", 2),
        frame(BIG, BIG_SIZE.pack(len(BIG_BODY)), 3),
        frame(ACK, b"", 7),
        frame(PART, BIG_BODY[:500], 4),
        frame(PULSE),
        frame(PART, BIG_BODY[500:501], 5),
        frame(ACK, b"", 8),
        frame(PART, BIG_BODY[501:], 6),
        frame(DATA, b"last", 7),
        frame(BYE, b"gone"),
    ]
)
FRAMES = [
    (HELLO, 0, b"who"),
    (DATA, 1, b"one"),
    (PULSE, 0, b""),
    (DATA, 2, b""),
    (BIG, 3, BIG_SIZE.pack(len(BIG_BODY))),
    (ACK, 7, b""),
    (PART, 4, b""),
    (PULSE, 0, b""),
    (PART, 5, b""),
    (ACK, 8, b""),
    (PART, 6, BIG_BODY),
    (DATA, 7, b"last"),
    (BYE, 0, b"gone"),
]


def test_layout() -> None:
    assert header(DATA, 258, 3) == b"\x02\x01\0\0" + b"\x02" + b"\x03" + b"\0" * 7
    assert header(PULSE, 0) == b"\0" * 4 + b"\x06" + b"\0" * 8


def test_every_single_split() -> None:
    for at in range(len(STREAM)):
        reader = FrameReader()
        assert [tuple(f) for f in read_acks(reader, STREAM[:at], STREAM[at:])] == FRAMES, at


def read_acks(reader: FrameReader, *pieces: bytes) -> list[Frame]:
    """As `read`; only reliable frames count as numbers, an ACK's is somebody else's."""
    found: list[Frame] = []
    last_seq = 0
    for piece in pieces:
        view = memoryview(piece)
        while view:
            space = reader.get_buffer()
            n = min(len(space), len(view))
            space[:n] = view[:n]
            view = view[n:]
            for got in reader.received(n, last_seq):
                found.append(got)
                if got.kind in frames.RELIABLE:
                    last_seq = got.seq
    return found


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_random_splits(cuts: list[int]) -> None:
    edges = sorted({0, len(STREAM), *cuts})
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert [tuple(f) for f in read_acks(FrameReader(), *pieces)] == FRAMES


def test_feed_tells_an_acknowledgement_from_a_number() -> None:
    reader = trusting()
    got = reader.feed(frame(ACK, b"", 5) + frame(DATA, b"x", 1), 0)
    assert [(f.kind, f.seq) for f in got] == [(ACK, 5), (DATA, 1)]


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=30), st.lists(st.integers(0, 1 << 20), max_size=30))
def test_any_bodies(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frame(DATA, body, i) for i, body in enumerate(bodies, 1))
    assert [f.body for f in read(trusting(), data, cuts)] == bodies


def test_more_than_the_buffer_in_many_frames() -> None:
    bodies = [bytes([i]) * (frames.FRAME_BYTES_MAX - i) for i in range(8)]
    data = b"".join(frame(DATA, body, i) for i, body in enumerate(bodies, 1))
    for step in (1000, 65537, frames.BUFFER_BYTES - 1):
        reader = trusting()
        assert [f.body for f in read(reader, data, list(range(0, len(data), step)))] == bodies


def test_after_a_whole_frame_the_whole_buffer_is_free() -> None:
    reader = trusting()
    for number in range(1, 4):
        reader.feed(frame(DATA, b"x" * 100, number), number - 1)
        assert len(reader.get_buffer()) == frames.BUFFER_BYTES


def test_half_a_frame_leaves_room_for_the_rest_of_any() -> None:
    """It is moved to the front once little room is left behind it, and not before."""
    reader = trusting()
    whole, half = frame(DATA, b"x" * 100, 1), header(DATA, frames.FRAME_BYTES_MAX, 2)
    reader.feed(whole + half, 0)
    assert len(reader.get_buffer()) == frames.BUFFER_BYTES - len(whole) - len(half)
    enough = frames.FRAME_BYTES_MAX // 2
    filling = frames.BUFFER_BYTES - enough - 2 * HEADER.size
    for more, room in ((0, enough), (1, frames.BUFFER_BYTES - len(half))):
        reader = trusting()
        reader.feed(frame(DATA, b"x" * (filling + more), 1) + half, 0)
        assert len(reader.get_buffer()) == room
    body = bytes(range(256)) * (frames.FRAME_BYTES_MAX // 256)
    assert [f.body for f in reader.feed(body, 1)] == [body]


def test_a_part_is_read_to_its_place() -> None:
    reader = trusting()
    reader.feed(frame(BIG, BIG_SIZE.pack(100), 1) + header(PART, 60, 2) + b"a" * 20, 0)
    assert len(reader.get_buffer()) == 40
    assert reader.feed(b"b" * 40, 1) == [Frame(PART, 2, b"")]
    assert reader.feed(frame(PART, b"c" * 40, 3), 2) == [Frame(PART, 3, b"a" * 20 + b"b" * 40 + b"c" * 40)]


def test_after_a_release_nothing_is_kept() -> None:
    reader = trusting()
    reader.feed(frame(BIG, BIG_SIZE.pack(100), 1) + header(PART, 60, 2), 0)
    reader.release()
    assert len(reader.get_buffer()) == 0
    assert not reader.trusted
    assert reader._big is None and reader._buffer == b""


def test_the_largest_payload() -> None:
    reader = FrameReader(payload_bytes_max=5)
    reader.trusted = True
    assert reader.feed(frame(BIG, BIG_SIZE.pack(5), 1) + frame(PART, b"12345", 2), 0)[-1].body == b"12345"
    with pytest.raises(ProtocolError, match="a payload of 6 bytes is not accepted: max_payload is 5 here"):
        reader.feed(frame(BIG, BIG_SIZE.pack(6), 3), 2)


def test_a_large_payload_gets_its_memory_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PROMPT_BYTES", 1000)
    for size, kind in ((1000, bytearray), (1001, mmap.mmap)):
        reader = trusting()
        reader.feed(frame(BIG, BIG_SIZE.pack(size), 1), 0)
        assert type(reader._big) is kind
        body = reader.feed(frame(PART, b"x" * size, 2), 1)[0].body
        assert len(body) == size and bytes(body) == b"x" * size


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory"), OverflowError(), ValueError()])
def test_a_payload_that_there_is_no_memory_for(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(size: int) -> None:
        raise error

    monkeypatch.setattr(frames, "PROMPT_BYTES", 1000)
    reader = trusting()
    monkeypatch.setattr(frames, "_memory", no_memory)
    with pytest.raises(ProtocolError, match="no memory here for a payload of 1001 bytes"):
        reader.feed(frame(BIG, BIG_SIZE.pack(1001), 1), 0)


def test_after_a_redial_the_greeting_comes_first_again() -> None:
    reader = FrameReader()
    reader.feed(frame(HELLO, b"who") + frame(DATA, b"a", 1) + header(DATA, 5, 2), 0)
    reader.reset()
    with pytest.raises(ProtocolError, match="before the peer said who it is"):
        reader.feed(frame(DATA, b"b", 2), 1)
    reader = trusting()
    reader.feed(frame(BIG, BIG_SIZE.pack(5), 1), 0)
    reader.reset()
    with pytest.raises(ProtocolError, match="not announced"):
        reader.feed(frame(PART, b"12345", 2), 1)


def test_what_came_twice_is_dropped() -> None:
    reader = trusting()
    data = frame(DATA, b"a", 1) + frame(DATA, b"b", 2) + frame(DATA, b"c", 3)
    assert [f.body for f in reader.feed(data, 2)] == [b"c"]


def test_parts_that_came_whole_are_kept_over_a_redial_and_half_a_part_comes_again() -> None:
    body = b"0123456789" * 30
    big = frame(BIG, BIG_SIZE.pack(len(body)), 1)
    parts = [frame(PART, body[:100], 2), frame(PART, body[100:200], 3), frame(PART, body[200:], 4)]
    everything = big + b"".join(parts)
    for cut in range(len(everything) + 1):
        reader = trusting()
        found = reader.feed(everything[:cut], 0)
        last = max((f.seq for f in found), default=0)
        reader.reset()
        reader.trusted = True
        found += reader.feed(everything, last)
        assert [f.seq for f in found] == [1, 2, 3, 4]
        assert found[-1].body == body


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (header(DATA, frames.FRAME_BYTES_MAX + 1, 1), "larger than any"),
        (header(PART, 0xFFFFFFFF, 1), "larger than any"),
        (frame(DATA, b"x", 2), "missing"),
        (frame(PART, b"x", 1), "not announced"),
        (frame(PART, b"x", 5), "missing"),
        (frame(BIG, b"short", 1), "malformed"),
        (frame(BIG, BIG_SIZE.pack(0), 1), "not accepted"),
        (frame(BIG, BIG_SIZE.pack(frames.PAYLOAD_BYTES_MAX + 1), 1), "not accepted"),
        (frame(BIG, BIG_SIZE.pack(5), 1) + frame(PART, b"123456", 2), "not announced"),
        (frame(BIG, BIG_SIZE.pack(5), 1) + frame(PART, b"", 2), "not announced"),
        (frame(BIG, BIG_SIZE.pack(5), 1) + frame(PART, b"123", 2) + frame(PART, b"456", 3), "not announced"),
    ],
)
def test_what_no_honest_peer_sends(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        trusting().feed(data, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (header(HELLO, frames.HELLO_BYTES_MAX + 1), "larger than any"),
        (header(DATA, frames.HELLO_BYTES_MAX + 1, 1), "larger than any"),
        (frame(DATA, b"x", 1), "before the peer said who it is"),
        (frame(BIG, BIG_SIZE.pack(5), 1), "before the peer said who it is"),
        (frame(PART, b"x", 1), "not announced"),
    ],
)
def test_before_the_greeting(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        FrameReader().feed(data, 0)


@given(st.binary(min_size=1, max_size=4000), st.booleans())
def test_garbage_gives_frames_or_a_protocol_error_and_nothing_else(data: bytes, trusted: bool) -> None:
    reader = FrameReader()
    reader.trusted = trusted
    try:
        for got in reader.feed(data, 0):
            assert len(got.body) <= len(data)
    except ProtocolError:
        pass
