"""Bytes that nobody sane sends: the parsers of frames, sessions, messages and datagrams refuse them, and do no more.

For a longer run: ``make fuzz SECONDS=600``.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parkcos.cluster import schemas
from parkcos.errors import ProtocolError
from parkcos.net import wire
from parkcos.net.finding import relay
from parkcos.net.finding.datagram import DATAGRAM_BYTES_MAX, Announce, DatagramGate, DatagramRejected, Leaving, encode
from parkcos.net.session import session
from parkcos.net.session.frames import BIG, DATA, HEADER, HELLO, PART, FrameReader, header
from parkcos.net.session.session import PROTOCOL, Hello, Session
from tests.security.fuzzing import SECONDS, examples

fuzz = settings(max_examples=examples(500), deadline=None)
pytestmark = pytest.mark.timeout(0 if SECONDS else 60)
KEY = b"k" * 32
NOW = 1_800_000_000.0

HELLO_OF_B = Hello(PROTOCOL, "0.1.0", "3.11", 2, "b", "127.0.0.1", 9002, ("peer",), session=22, to_session=11)


def stream() -> bytes:
    """What an honest peer writes after its greeting."""
    peer = Session(HELLO_OF_B, 22)
    peer.attach(0.0)
    peer.welcome(Hello(PROTOCOL, "0.1.0", "3.11", 1, "a", "127.0.0.1", 9001, ("peer",), session=11))
    for n in range(4):
        peer.queue(DATA, [wire.encode([wire.End(n), wire.ToTask(memoryview(b"x" * n), 0, False, n)])])
    peer.queue_big([b"y" * 1000, b"z" * 500])
    peer.pulse()
    peer.queue(DATA, [wire.encode([wire.WhoIs("b", 7)])])
    peer.bye("enough")
    return b"".join(peer.data_to_send(1 << 20, 0.0))


STREAM = stream()

edits = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "double", "insert"]),
        st.integers(0, len(STREAM) - 1),
        st.integers(0, 255),
        st.binary(min_size=1, max_size=20),
    ),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, changes: list[Any]) -> bytes:
    out = bytearray(data)
    for how, at, number, some in changes:
        at %= max(1, len(out))
        if how == "flip":
            out[at] ^= number
        elif how == "cut":
            del out[at : at + number]
        elif how == "double":
            out[at:at] = out[at : at + number]
        else:
            out[at:at] = some
        if not out:
            return b""
    return bytes(out)


def established() -> Session:
    own = Session(Hello(PROTOCOL, "0.1.0", "3.11", 1, "a", "127.0.0.1", 9001, ("peer",)), 11)
    own.attach(0.0)
    own.welcome(HELLO_OF_B)
    return own


@fuzz
@given(data=st.binary(max_size=300), trusted=st.booleans())
def test_frames_from_any_bytes(data: bytes, trusted: bool) -> None:
    reader = FrameReader()
    reader.trusted = trusted
    with contextlib.suppress(ProtocolError):
        reader.feed(data, 0)


@fuzz
@given(
    st.lists(
        st.tuples(
            st.sampled_from([HELLO, DATA, BIG, PART, 5, 6, 7, 99]),
            st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
            st.one_of(st.integers(0, 12), st.integers(0, 2**64 - 1)),
            st.binary(max_size=300),
        ),
        max_size=8,
    )
)
def test_frames_with_any_header(pieces: list[tuple[int, int, int, bytes]]) -> None:
    own = established()
    with contextlib.suppress(ProtocolError):
        for kind, length, seq, body in pieces:
            own.feed(HEADER.pack(length, kind, seq) + body, 0.0)


@fuzz
@given(edits, st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_a_session_with_a_damaged_stream(changes: list[Any], sizes: list[int]) -> None:
    own = established()
    data = edited(STREAM, changes)
    at, turn = 0, 0
    with contextlib.suppress(ProtocolError):
        while at < len(data):
            size = sizes[turn % len(sizes)]
            for event in own.feed(data[at : at + size], 0.0):
                if event.kind == DATA:
                    with contextlib.suppress(ValueError, RecursionError):  # as the hub does
                        wire.decode(event.body)  # type: ignore[arg-type]
            at, turn = at + size, turn + 1
    own.detach()
    assert own.release() == 0


@fuzz
@given(st.binary(max_size=200))
def test_a_greeting_of_any_bytes(body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        session.decode_hello(body)


@fuzz
@given(edits)
def test_a_damaged_greeting(changes: list[Any]) -> None:
    body = edited(session.encode_hello(HELLO_OF_B)[HEADER.size :], changes)
    with contextlib.suppress(ProtocolError):
        hello = session.decode_hello(body)
        assert all(session.numeric_address(addr) == addr for addr in (hello.addr, *hello.addrs))


values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5) | st.binary()
structures = st.recursive(values, lambda inner: st.lists(inner, max_size=6), max_leaves=20)


@pytest.mark.parametrize("decode", [wire.decode, relay._decode, *(d.decode for d in schemas.DECODERS.values())])
@fuzz
@given(body=st.binary(max_size=100) | structures.map(msgspec.msgpack.encode))
def test_messages_of_any_bytes(decode: Any, body: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        decode(body)


@fuzz
@given(st.binary(max_size=DATAGRAM_BYTES_MAX + 10))
def test_datagrams_of_any_bytes(data: bytes) -> None:
    for key in (KEY, None):
        with pytest.raises(DatagramRejected):
            DatagramGate(key).open(data, NOW)


@fuzz
@given(edits, st.booleans())
def test_a_damaged_datagram_is_never_let_in(changes: list[Any], leaving: bool) -> None:
    message: Announce | Leaving = Announce("10.0.0.1", 9706, 5, "n", ("node",), PROTOCOL, True)
    if leaving:
        message = Leaving("10.0.0.1", 9706, 5)
    good = encode(message, KEY, NOW)
    bad = edited(good, changes)
    gate = DatagramGate(KEY)
    if bad != good:
        with pytest.raises(DatagramRejected):
            gate.open(bad, NOW)
    assert gate.open(good, NOW) == message


@fuzz
@given(st.integers(0, 2**64 - 1))
def test_a_payload_of_any_announced_size(size: int) -> None:
    """Memory is not given on an announcement's word."""
    own = established()
    with contextlib.suppress(ProtocolError):
        own.feed(header(BIG, 8, 1) + size.to_bytes(8, "little"), 0.0)
