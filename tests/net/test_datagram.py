"""parkcos/net/finding/datagram.py"""

from __future__ import annotations

import hmac
import pickle
import struct
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parkcos.errors import ConfigError, ProtocolError
from parkcos.net.finding.datagram import (
    DATAGRAM_BYTES_MAX,
    REASONS,
    Announce,
    DatagramGate,
    DatagramRejected,
    Leaving,
    encode,
    sent_at,
)

KEY = b"k" * 32
NOW = 1_800_000_000.0
HERE = Announce("10.0.0.5", 9706, 2**63 - 1, "node one", ("node", "peer"), 1, True)
GONE = Leaving("fd00::5", 9706, 7)


def seal(body: bytes, key: bytes | None = KEY, at: float = NOW) -> bytes:
    sealed = struct.pack(">Q", int(at * 1000)) + body
    return b"PKC0" + sealed if key is None else b"PKC1" + hmac.digest(key, sealed, "sha256")[:16] + sealed


def rejected(gate: DatagramGate, data: bytes, now: float = NOW) -> str:
    with pytest.raises(DatagramRejected) as caught:
        gate.open(data, now)
    assert caught.value.words in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("message", [HERE, GONE])
def test_round_trip(key: bytes | None, message: Announce | Leaving) -> None:
    gate = DatagramGate(key)
    assert gate.open(encode(message, key, NOW), NOW) == message
    assert not any(gate.counts.values())


@pytest.mark.parametrize("key", [KEY, None])
def test_each_once(key: bytes | None) -> None:
    gate = DatagramGate(key)
    for message in (HERE, GONE):
        assert gate.open(encode(message, key, NOW), NOW) == message
    for message in (HERE, GONE):
        assert rejected(gate, encode(message, key, NOW)) == "replay"


def test_size() -> None:
    assert len(encode(HERE, KEY, NOW)) < 100


def test_layout() -> None:
    data = encode(HERE, KEY, NOW)
    assert data == seal(data[28:])
    assert data[:4] == b"PKC1"
    assert struct.unpack(">Q", data[20:28])[0] == NOW * 1000
    plain = encode(HERE, None, NOW)
    assert plain[:4] == b"PKC0"
    assert plain[12:] == data[28:]


def test_reasons() -> None:
    gate = DatagramGate(KEY)
    good = encode(HERE, KEY, NOW)
    cases = [
        (b"", "magic"),
        (b"hello", "magic"),
        (b"PKC9" + good[4:], "version"),
        (b"PKC1", "mac"),
        (good[:-1], "mac"),
        (encode(HERE, b"x" * 32, NOW), "mac"),
        (encode(HERE, None, NOW), "no_secret"),
        (good + b"\0" * DATAGRAM_BYTES_MAX, "oversized"),
        (encode(HERE, KEY, NOW - 61), "stale"),
        (encode(HERE, KEY, NOW + 61), "stale"),
        (seal(b""), "malformed"),
        (seal(b"\xc1"), "malformed"),
        (seal(msgspec.msgpack.encode({"type": "announce"})), "malformed"),
        (seal(msgspec.msgpack.encode(["other", "10.0.0.5", 1, 1])), "malformed"),
        (seal(good[28:] + b"\0"), "malformed"),
    ]
    for data, reason in cases:
        assert rejected(gate, data) == reason
    assert gate.open(good, NOW) == HERE
    assert rejected(gate, good) == "replay"
    expected = dict.fromkeys(REASONS, 0)
    for _, reason in [*cases, (b"", "replay")]:
        expected[reason] += 1
    assert gate.counts == expected
    assert rejected(DatagramGate(None), good) == "has_secret"
    assert issubclass(DatagramRejected, ProtocolError)


def test_short_and_rightly_sealed() -> None:
    for sealed in (b"", b"\0" * 7):
        data = b"PKC1" + hmac.digest(KEY, sealed, "sha256")[:16] + sealed
        assert rejected(DatagramGate(KEY), data) == "malformed"
    assert rejected(DatagramGate(KEY), seal(b"", at=NOW - 61)) == "stale", "the time alone is enough to see that"


def test_while_a_secret_is_replaced_what_is_sealed_with_both_is_let_in_once() -> None:
    old = b"o" * 32
    for first, second in ((KEY, old), (old, KEY), (KEY, KEY), (old, old)):
        gate = DatagramGate(KEY, old_mac_key=old)
        assert gate.open(encode(HERE, first, NOW), NOW) == HERE
        assert rejected(gate, encode(HERE, second, NOW)) == "replay"
        assert gate.open(encode(HERE, second, NOW + 1), NOW) == HERE
    assert rejected(DatagramGate(KEY, old_mac_key=old), encode(HERE, b"x" * 32, NOW)) == "mac"


def test_when_it_was_sent() -> None:
    for key in (KEY, None):
        data = encode(HERE, key, NOW + 0.25)
        assert sent_at(data) == NOW + 0.25
        header = 4 + 8 + (16 if key else 0)
        assert sent_at(data[:header]) == NOW + 0.25
        assert sent_at(data[: header - 1]) is None
    assert sent_at(b"") is None


def test_the_largest_datagram_that_is_looked_at() -> None:
    gate = DatagramGate(KEY)
    assert rejected(gate, b"PKC1" + b"x" * (DATAGRAM_BYTES_MAX - 4)) == "mac"
    assert rejected(gate, b"PKC1" + b"x" * (DATAGRAM_BYTES_MAX - 3)) == "oversized"


def test_a_double_is_forgotten_only_when_it_is_stale() -> None:
    """One whose time is ahead of the receiver's stays fresh for longer."""
    gate = DatagramGate(KEY, max_age_s=10)
    early, other = encode(HERE, KEY, NOW + 10), encode(GONE, KEY, NOW + 15)
    gate.open(early, NOW)
    gate.open(other, NOW + 19.9)
    assert rejected(gate, early, NOW + 19.9) == "replay"
    assert rejected(gate, early, NOW + 20.1) == "stale"
    gate.open(encode(HERE, KEY, NOW + 20), NOW + 20.1)
    assert len(gate._seen) == 2, "then it is not remembered either"


def test_stale_says_how_much() -> None:
    with pytest.raises(DatagramRejected, match="95 s behind this machine's clock"):
        DatagramGate(KEY).open(encode(HERE, KEY, NOW - 95), NOW)
    with pytest.raises(DatagramRejected, match="95 s ahead of this machine's clock"):
        DatagramGate(KEY).open(encode(HERE, KEY, NOW + 95), NOW)


def test_time_is_under_the_mac() -> None:
    old = bytearray(encode(HERE, KEY, NOW - 3600))
    old[20:28] = struct.pack(">Q", int(NOW * 1000))
    assert rejected(DatagramGate(KEY), bytes(old)) == "mac"


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_bit_may_change(byte: int, bit: int) -> None:
    data = bytearray(encode(HERE, KEY, NOW))
    data[byte % len(data)] ^= 1 << bit
    with pytest.raises(DatagramRejected):
        DatagramGate(KEY).open(bytes(data), NOW)


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("sent", [NOW - 60, NOW, NOW + 60])
def test_replayed_at_any_time(key: bytes | None, sent: float) -> None:
    gate = DatagramGate(key)
    data = encode(HERE, key, sent)
    gate.open(data, NOW)
    for after_s in range(200):
        assert rejected(gate, data, NOW + after_s) in ("replay", "stale")


def test_memory_is_bounded() -> None:
    gate = DatagramGate(KEY, remembered_max=100)
    for i in range(1000):
        gate.open(encode(HERE, KEY, NOW + i / 1000), NOW)
    assert len(gate._seen) == 100
    assert rejected(gate, encode(HERE, KEY, NOW + 0.999)) == "replay"
    gate.open(encode(HERE, KEY, NOW + 500), NOW + 500)
    assert len(gate._seen) == 1  # what is too old anyway is forgotten


def test_a_rejected_datagram_is_not_remembered() -> None:
    gate = DatagramGate(KEY)
    for i in range(100):
        rejected(gate, seal(b"\xc1", at=NOW + i / 1000))
        rejected(gate, encode(HERE, b"x" * 32, NOW + i / 1000))
    assert not gate._seen


@pytest.mark.parametrize(
    "change",
    [
        {"addr": "example.com"},
        {"addr": "FD00::5"},
        {"addr": ""},
        {"addr": "fe80::1%" + "e" * 57},
        {"port": 0},
        {"port": 65536},
        {"incarnation": -1},
        {"incarnation": 2**63},
        {"incarnation": True},
        {"name": "x" * 129},
        {"roles": ("Node",)},
        {"roles": ("node\n",)},
        {"roles": ("r",) * 9},
        {"roles": ("r" * 33,)},
        {"roles": "node"},
        {"version": -1},
        {"version": 65536},
        {"reply": 1},
        {"answers": -1},
        {"answers": 2**63},
    ],
)
def test_fields_out_of_range(change: dict[str, Any]) -> None:
    bad = msgspec.structs.replace(HERE, **change)
    assert rejected(DatagramGate(KEY), seal(msgspec.msgpack.encode(bad))) == "malformed"
    with pytest.raises(ConfigError):
        encode(bad, KEY, NOW)


def test_the_largest_announcement_fits() -> None:
    roles = tuple("r" * 32 for _ in range(8))
    assert len(encode(msgspec.structs.replace(HERE, name="x" * 128, roles=roles), KEY, NOW)) <= DATAGRAM_BYTES_MAX
    assert (
        len(encode(msgspec.structs.replace(HERE, name="\U0001f600" * 128, roles=roles), KEY, NOW)) <= DATAGRAM_BYTES_MAX
    )


class Bomb:
    armed: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Bomb.armed.append, ("exploded",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_loaded(protocol: int) -> None:
    Bomb.armed.clear()
    bomb = pickle.dumps(Bomb(), protocol)
    inside = msgspec.msgpack.encode(["announce", "10.0.0.5", 9706, 1, bomb, [bomb], 1, False])
    for key in (KEY, None):
        gate = DatagramGate(key)
        for data in (bomb, b"PKC1" + bomb, b"PKC0" + bomb, seal(bomb, key), seal(inside, key)):
            rejected(gate, data)
    assert Bomb.armed == []


@settings(deadline=None)
@given(st.binary(max_size=1300))
def test_any_bytes(data: bytes) -> None:
    for gate in (DatagramGate(KEY), DatagramGate(None)):
        for whole in (data, b"PKC1" + data, b"PKC0" + data, seal(data), seal(data, None)):
            try:
                gate.open(whole, NOW)
            except DatagramRejected:
                continue
            raise AssertionError(f"let in: {whole!r}")


_anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.sampled_from(["announce", "leaving", "x", 1]), st.lists(_anything, max_size=8))
def test_any_body_with_the_right_mac(tag: object, fields: list[object]) -> None:
    body = msgspec.msgpack.encode([tag, *fields])
    try:
        message = DatagramGate(KEY).open(seal(body), NOW)
    except DatagramRejected:
        return
    assert isinstance(message, Announce | Leaving)


@settings(deadline=None)
@given(
    st.builds(
        Announce,
        addr=st.ip_addresses().map(str).filter(lambda a: "ffff:" not in a),
        port=st.integers(1, 65535),
        incarnation=st.integers(0, 2**63 - 1),
        name=st.text(st.characters(codec="utf-8"), max_size=128),
        roles=st.lists(st.from_regex(r"\A[a-z0-9_-]{1,32}\Z"), max_size=8).map(tuple),
        version=st.integers(0, 65535),
        reply=st.booleans(),
        answers=st.integers(0, 2**63 - 1),
    )
)
def test_every_announcement_arrives(message: Announce) -> None:
    try:
        data = encode(message, KEY, NOW)
    except ConfigError:
        assert ":" in message.addr  # two spellings of one IPv6 address: only the system's own is sent
        return
    assert DatagramGate(KEY).open(data, NOW) == message


def test_deep_nesting() -> None:
    assert rejected(DatagramGate(KEY), seal(b"\x91" * 1100)) == "malformed"
