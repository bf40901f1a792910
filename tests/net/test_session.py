"""parkcos/net/session/session.py: two sessions and a pipe of bytes that breaks wherever it hurts."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parkcos.errors import ProtocolError
from parkcos.net.session import frames, session
from parkcos.net.session.frames import ACK, BIG, BYE, DATA, HEADER, HELLO, PART, PULSE, FrameReader, header
from parkcos.net.session.session import PROTOCOL, Hello, Session

NOW = 100.0


def hello(number: int, **changes: object) -> Hello:
    own = Hello(PROTOCOL, "0.1.0", "3.11", number, f"p{number}", "127.0.0.1", 9000 + number, ("peer",))
    return msgspec.structs.replace(own, **changes)


def kinds(data: bytes) -> list[tuple[int, int, int]]:
    """(kind, seq, length) of each frame of `data`."""
    found = []
    while data:
        length, kind, seq = HEADER.unpack_from(data)
        found.append((kind, seq, length))
        data = data[HEADER.size + length :]
    return found


def flat(buffers: list[session.Buffer]) -> bytes:
    return b"".join(buffers)


def greet(a: Session, b: Session) -> None:
    """What two shells do with a connection that `a` dialled: both sessions attached, each knows what the other has."""
    first = session.decode_hello(session.encode_hello(b.own)[HEADER.size :])
    greeting = session.decode_hello(a.greeting()[HEADER.size :])
    assert session.refusal(a.own, first) is None
    b.attach(NOW)
    answer = b.greeting(greeting)
    b.welcome(greeting)
    a.attach(NOW)
    a.welcome(session.decode_hello(answer[HEADER.size :]))


class Pair:
    """Two sessions, what lies in the pipe between them, and what each has received."""

    def __init__(self) -> None:
        self.sides = (Session(hello(1), 11), Session(hello(2), 22))
        self.wires = (bytearray(), bytearray())  # wires[i]: what side i has written and the other not read
        self.got: tuple[list[bytes], list[bytes]] = ([], [])
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])
        self.connected = False
        self.budget = 1 << 20

    def connect(self, dialer: int = 0) -> None:
        greet(self.sides[dialer], self.sides[1 - dialer])
        self.connected = True

    def cut(self) -> None:
        for i in (0, 1):
            self.wires[i].clear()
            self.sides[i].detach()
        self.connected = False

    def send(self, side: int, body: bytes, big: bool = False) -> None:
        if big:
            self.sides[side].queue_big([body[: len(body) // 3], body[len(body) // 3 :]])
        else:
            self.sides[side].queue(DATA, [body[:2], body[2:]])
        self.sent[side].append(body)

    def write(self, side: int, budget: int | None = None) -> bytes:
        data = flat(self.sides[side].data_to_send(budget or self.budget, NOW))
        self.wires[side].extend(data)
        return data

    def read(self, side: int, n: int = 1 << 30) -> None:
        """Side `side` reads up to `n` bytes of what the other wrote."""
        wire = self.wires[1 - side]
        data = bytes(wire[:n])
        del wire[:n]
        if data:
            for event in self.sides[side].feed(data, NOW):
                assert event.kind in (DATA, PART)
                assert not isinstance(event.body, Hello)
                self.got[side].append(bytes(event.body))

    def settle(self) -> None:
        """Reconnect if need be, and let everything arrive and be acknowledged."""
        if not self.connected:
            self.connect()
        for _ in range(1000):
            for i in (0, 1):
                self.sides[i].acknowledge()
                while self.sides[i].wants_write:
                    self.write(i)
                self.read(1 - i)
            if all(s.idle for s in self.sides) and not any(self.wires):
                return
        raise AssertionError("two connected sessions do not come to rest")

    def check(self) -> None:
        """Nothing lost, doubled or reordered, and nothing kept."""
        for i in (0, 1):
            assert self.got[1 - i] == self.sent[i]
            assert self.sides[i].unacked_bytes == 0


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large payloads of a few hundred bytes, so that every byte position can be tried."""
    monkeypatch.setattr(frames, "PART_BYTES", 64)


# numbering and acknowledgement


def test_numbers_go_up_by_one() -> None:
    pair = Pair()
    pair.connect()
    pair.send(0, b"a")
    pair.send(0, b"b" * 200, big=True)
    pair.send(0, b"c")
    data = pair.write(0)
    assert [(kind, seq) for kind, seq, _ in kinds(data)] == [
        (DATA, 1), (BIG, 2), (PART, 3), (PART, 4), (PART, 5), (PART, 6), (DATA, 7),
    ]  # fmt: skip
    assert [n for kind, _, n in kinds(data) if kind == PART] == [64, 64, 64, 8]


def test_acknowledged_when_asked_and_only_once() -> None:
    pair = Pair()
    pair.connect()
    a, b = pair.sides
    assert not b.acknowledge()
    pair.send(0, b"hello")
    assert a.unacked_bytes == 5
    pair.write(0)
    pair.read(1)
    assert not b.wants_write
    assert b.acknowledge()
    assert not b.acknowledge()
    assert kinds(pair.write(1)) == [(ACK, 1, 0)]
    assert not a.idle
    pair.read(0)
    assert a.idle
    assert a.unacked_bytes == 0


def test_between_two_connections_nothing_is_acknowledged_or_kept_to_be_said() -> None:
    pair = Pair()
    pair.connect()
    a, b = pair.sides
    pair.send(0, b"x")
    pair.write(0)
    pair.read(1)
    a.pulse()
    pair.cut()
    assert b.owes_ack and not b.acknowledge()
    b.pulse()
    assert not a.idle and b.idle
    pair.connect()
    assert not a.wants_write and not b.wants_write, "the next connection knows nothing of the pulse of the last"


def test_much_is_acknowledged_without_being_asked() -> None:
    for size, count in ((1, session.ACK_FRAMES), (100_000, session.ACK_BYTES // 100_000 + 1)):
        pair = Pair()
        pair.connect()
        for _ in range(count):
            pair.send(0, b"x" * size)
        while pair.sides[0].wants_write:
            pair.write(0)
        pair.read(1)
        assert kinds(pair.write(1)) == [(ACK, count, 0)]
        for _ in range(count - 1):
            pair.send(0, b"x" * (size // 2))
        while pair.sides[0].wants_write:
            pair.write(0)
        pair.read(1)
        assert not pair.sides[1].wants_write, "it is counted from the last"
    assert ACK not in frames.RELIABLE


def test_who_is_behind_acknowledges_only_what_it_is_asked_to() -> None:
    pair = Pair()
    pair.connect()
    b = pair.sides[1]
    b.hold_acks = True
    for _ in range(session.ACK_FRAMES + 1):
        pair.send(0, b"x")
    pair.write(0)
    pair.read(1)
    assert not b.wants_write
    assert b.acknowledge()
    assert kinds(pair.write(1)) == [(ACK, session.ACK_FRAMES + 1, 0)]


def test_a_write_ends_with_the_frame_that_fills_its_budget() -> None:
    pair = Pair()
    pair.connect()
    for _ in range(5):
        pair.send(0, b"x" * 100)
    assert [seq for _, seq, _ in kinds(pair.write(0, 200))] == [1, 2]
    assert [seq for _, seq, _ in kinds(pair.write(0, 201))] == [3, 4, 5]


def test_states_of_a_connection() -> None:
    one = Session(hello(1), 1)

    def state() -> tuple[bool, bool]:
        return one.attached, one.established

    assert (*state(), one.last_heard, one.last_sent) == (False, False, 0.0, 0.0)
    one.attach(NOW)
    assert (*state(), one.last_heard) == (True, False, NOW)
    one.welcome(hello(2, session=2))
    assert state() == (True, True)
    one.attach(NOW + 1)
    assert state() == (True, False)
    one.welcome(hello(2, session=2))
    one.detach()
    assert state() == (False, False)


def test_when_it_is_over_nothing_is_kept() -> None:
    pair = Pair()
    pair.connect()
    one = pair.sides[0]
    pair.send(0, b"sent")
    pair.write(0)
    for number in range(3):
        pair.send(0, b"%d waits" % number)
    one.pulse()
    assert not one.idle
    assert one.release() == 3
    assert (one.attached, one.established, one.idle, one.wants_write, one.unacked_bytes) == (
        False,
        False,
        True,
        False,
        0,
    )
    assert len(one.get_buffer()) == 0


def test_a_large_payload_is_cut_across_its_buffers() -> None:
    for sizes, parts in {(64, 64): [64, 64], (96, 32): [64, 64], (1, 1, 1): [3], (129,): [64, 64, 1]}.items():
        one = Session(hello(1), 1)
        one.queue_big([b"x" * size for size in sizes])
        assert one.unacked_bytes == sum(sizes) + frames.BIG_SIZE.size
        one.attach(NOW)
        one.welcome(hello(2, session=2))
        data = flat(one.data_to_send(1 << 20, NOW))
        assert [length for kind, _, length in kinds(data) if kind == PART] == parts


def test_the_parts_of_a_payload_count_for_the_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ACK_BYTES", 64 * 5)
    pair = Pair()
    pair.connect()
    pair.send(0, b"x" * 64 * 3, big=True)  # and the BIG itself counts as a part
    pair.write(0)
    pair.read(1)
    assert not pair.sides[1].wants_write
    pair.send(0, b"x" * 63)
    pair.write(0)
    pair.read(1)
    assert not pair.sides[1].wants_write
    pair.send(0, b"x")
    pair.write(0)
    pair.read(1)
    assert kinds(pair.write(1)) == [(ACK, 6, 0)]
    pair.send(0, b"x" * (64 * 5 - 1))  # from there on it is counted again
    pair.write(0)
    pair.read(1)
    assert not pair.sides[1].wants_write
    pair.send(0, b"x")
    pair.write(0)
    pair.read(1)
    assert kinds(pair.write(1)) == [(ACK, 8, 0)]


def test_nothing_reliable_goes_out_before_the_greeting() -> None:
    a = Session(hello(1), 1)
    a.queue(DATA, [b"early"])
    a.pulse()
    assert not a.acknowledge()
    assert not a.wants_write
    assert a.data_to_send(1000, NOW) == []
    a.attach(NOW)
    assert a.data_to_send(1000, NOW) == []
    a.welcome(hello(2, session=2))
    assert kinds(flat(a.data_to_send(1000, NOW))) == [(DATA, 1, 5)]


def test_a_side_that_answers_greets_first() -> None:
    a = Session(hello(1), 1)
    a.queue(DATA, [b"x"])
    a.attach(NOW)
    a.greet(hello(2, session=7))
    a.welcome(hello(2, session=7))
    data = flat(a.data_to_send(1000, NOW))
    assert [kind for kind, _, _ in kinds(data)] == [HELLO, DATA]
    said = session.decode_hello(data[HEADER.size : HEADER.size + kinds(data)[0][2]])
    assert (said.session, said.to_session, said.received) == (1, 7, 0)


def test_times_are_those_given() -> None:
    pair = Pair()
    pair.connect()
    a, b = pair.sides
    pair.send(0, b"x")
    data = flat(a.data_to_send(100, 123.0))
    assert a.last_sent == 123.0
    b.feed(data, 125.0)
    assert b.last_heard == 125.0
    assert a.data_to_send(100, 130.0) == []
    assert a.last_sent == 123.0  # nothing was sent


# large payloads and urgent frames


def test_urgent_frames_go_between_the_parts() -> None:
    pair = Pair()
    pair.connect()
    a, b = pair.sides
    pair.send(1, b"to be acknowledged")
    pair.write(1)
    pair.read(0)
    body = random.Random(1).randbytes(64 * 5)
    pair.send(0, body, big=True)
    seen = []
    for turn in range(20):
        if turn == 2:
            a.pulse()
            assert a.acknowledge()
        data = pair.write(0, budget=1)
        seen += [kind for kind, _, _ in kinds(data)]
        pair.read(1)
        if turn == 2:
            assert seen[-3:] == [PULSE, ACK, PART]
    assert seen == [BIG, PART, PULSE, ACK, PART, PART, PART, PART]
    assert pair.got[1] == [body]
    assert b.idle


def test_a_large_payload_is_not_copied_on_its_way_out() -> None:
    a = Session(hello(1), 1)
    body = bytearray(1000)
    a.queue_big([memoryview(body)])
    a.attach(NOW)
    a.welcome(hello(2, session=2))
    body[:] = b"z" * 1000
    out = a.data_to_send(1 << 20, NOW)
    views = [b for b in out if isinstance(b, memoryview)]
    assert flat(views) == bytes(body)  # type: ignore[arg-type]


def test_what_arrives_is_one_writable_buffer() -> None:
    pair = Pair()
    pair.connect()
    pair.sides[0].queue_big([b"q" * 100, b"r" * 100])
    events = pair.sides[1].feed(pair.write(0), NOW)
    assert [type(e.body) for e in events] == [bytearray]
    assert events[0].body == b"q" * 100 + b"r" * 100


def test_real_part_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pair = Pair()
    pair.connect()
    body = random.Random(2).randbytes(3 * frames.PART_BYTES + 17)
    pair.send(0, body, big=True)
    pair.settle()
    pair.check()


# cuts


SCRIPT: list[tuple[int, bytes, bool]] = [
    (0, b"first", False),
    (1, b"answer", False),
    (0, bytes(range(200)), True),
    (1, bytes(reversed(range(150))), True),
    (0, b"", False),
    (0, b"between", False),
    (1, b"x" * 64, True),
    (0, b"last", False),
    (1, b"last too", False),
]


def played(cut_side: int, cut_at: int, *, acks: bool) -> tuple[Pair, bool]:
    """Play SCRIPT; the connection breaks when `cut_side` has got `cut_at` bytes of what the other wrote."""
    pair = Pair()
    pair.connect()
    done = 0
    was_cut = False
    for side, body, big in SCRIPT:
        pair.send(side, body, big)
        for i in (0, 1):
            if pair.connected:
                if acks:
                    pair.sides[i].acknowledge()
                pair.write(i, budget=70)
        for i in (0, 1):
            room = 1 << 30
            if i == cut_side and not was_cut:
                room = cut_at - done
                done += min(room, len(pair.wires[1 - i]))
            pair.read(i, room)
            if i == cut_side and done >= cut_at and not was_cut:
                was_cut = True
                pair.cut()
        if was_cut and not pair.connected:
            pair.connect(dialer=cut_at % 2)
    if not was_cut:
        for _ in range(100):
            for i in (0, 1):
                pair.write(i, budget=70)
            for i in (0, 1):
                room = cut_at - done if i == cut_side else 1 << 30
                if i == cut_side:
                    done += min(room, len(pair.wires[1 - i]))
                pair.read(i, room)
            if done >= cut_at:
                was_cut = True
                pair.cut()
                break
            if not any(s.wants_write for s in pair.sides):
                break
    pair.settle()
    return pair, was_cut


@pytest.mark.parametrize("acks", [False, True])
@pytest.mark.parametrize("side", [0, 1])
def test_a_cut_at_every_byte(side: int, acks: bool) -> None:
    at = 0
    while True:
        pair, was_cut = played(side, at, acks=acks)
        pair.check()
        if not was_cut:
            break
        at += 1
    assert at > sum(len(body) for sender, body, _ in SCRIPT if sender != side)  # all of the script went by


def test_cut_again_and_again() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        pair = Pair()
        pair.connect()
        for side, body, big in SCRIPT * 3:
            pair.send(side, body, big)
            for _ in range(3):
                for i in (0, 1):
                    pair.write(i, budget=chance.randrange(1, 200))
                    pair.read(1 - i, chance.randrange(0, 200))
                    if chance.random() < 0.3:
                        pair.sides[i].acknowledge()
            if chance.random() < 0.5:
                pair.cut()
                pair.connect(chance.randrange(2))
        pair.settle()
        pair.check()


def test_an_acknowledgement_lost_in_a_cut_is_made_good_by_the_greeting() -> None:
    pair = Pair()
    pair.connect()
    pair.send(0, b"x")
    pair.write(0)
    pair.read(1)
    pair.sides[1].acknowledge()
    pair.write(1)
    pair.cut()
    assert not pair.sides[0].idle
    pair.connect()
    assert pair.sides[0].idle
    assert pair.sides[0].unacked_bytes == 0
    pair.settle()
    pair.check()


def test_an_acknowledgement_that_was_queued_when_another_connection_came() -> None:
    pair = Pair()
    pair.connect()
    pair.send(0, b"x")
    pair.write(0)
    pair.read(1)
    pair.sides[1].acknowledge()  # in the queue, never written
    pair.cut()
    pair.connect(dialer=1)
    pair.settle()
    pair.check()


def test_a_second_connection_while_the_first_is_attached() -> None:
    """The shell detaches the first; what was under way in it comes again, and only once."""
    for at in range(0, 300, 7):
        pair = Pair()
        pair.connect()
        for i in (0, 1):
            pair.send(i, bytes(range(180)), big=True)
            pair.send(i, b"tail")
            pair.write(i)
            pair.read(1 - i, at)
        pair.cut()
        pair.connect(dialer=1)
        pair.settle()
        pair.check()


def test_one_side_notices_the_cut_later() -> None:
    """A writes on into the dead connection while B has already been dialled again."""
    pair = Pair()
    pair.connect()
    pair.send(0, b"before")
    pair.write(0)
    pair.wires[0].clear()  # lost
    a, b = pair.sides
    greeting = session.decode_hello(b.greeting()[HEADER.size :])  # B dials
    pair.send(0, b"into the void")
    pair.write(0)
    pair.wires[0].clear()
    a.detach()
    a.attach(NOW)
    answer = a.greeting(greeting)
    a.welcome(greeting)
    b.detach()
    b.attach(NOW)
    b.welcome(session.decode_hello(answer[HEADER.size :]))
    pair.settle()
    pair.check()


# what is refused


def test_acknowledging_what_was_never_sent() -> None:
    pair = Pair()
    pair.connect()
    pair.send(0, b"x")
    pair.write(0)
    with pytest.raises(ProtocolError, match="frame 2 is acknowledged, but only 1 were sent"):
        pair.sides[0].feed(header(ACK, 0, 2), NOW)


def test_greeting_that_acknowledges_what_was_never_sent() -> None:
    a = Session(hello(1), 1)
    a.attach(NOW)
    with pytest.raises(ProtocolError, match="acknowledged"):
        a.welcome(hello(2, session=2, to_session=1, received=1))


def test_who_dials_first_knows_no_session_of_the_other_side() -> None:
    said = session.decode_hello(Session(hello(1), 5).greeting()[HEADER.size :])
    assert (said.session, said.to_session, said.received) == (5, 0, 0)
    unknown = hello(1)  # what two shells tell each other before there is a session
    assert (unknown.session, unknown.to_session, unknown.received, unknown.addrs) == (0, 0, 0, ())


def test_a_stale_session_id_acknowledges_nothing() -> None:
    a = Session(hello(1), 5)
    a.queue(DATA, [b"mine"])
    a.attach(NOW)
    a.welcome(hello(2, session=2, to_session=4, received=1))  # of an earlier session of this process
    assert kinds(flat(a.data_to_send(100, NOW))) == [(DATA, 1, 4)]


def test_another_protocol_version_is_refused_in_words() -> None:
    own, peer = hello(1), hello(2, protocol=PROTOCOL + 1, version="9.9")
    reason = session.refusal(own, peer)
    assert reason is not None
    for words in (f"protocol {PROTOCOL + 1}", "parkcos 9.9", f"this process {PROTOCOL}", "0.1.0", "install the same"):
        assert words in reason
    assert session.refusal(own, hello(2)) is None


def test_a_greeting_with_more_fields_is_understood_so_far() -> None:
    """A later version may add fields; its number is read, and so it is refused in words and not as garbage."""
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(hello(2, protocol=PROTOCOL + 1)))
    body = msgspec.msgpack.encode([*fields, "new", {"and": "newer"}])
    assert session.decode_hello(body).protocol == PROTOCOL + 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"garbage",
        msgspec.msgpack.encode({"protocol": 1}),
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode([1, "v", "3", "not a number", "n", "127.0.0.1", 1, []]),
        msgspec.msgpack.encode(hello(1, addr="no address")),
        msgspec.msgpack.encode(hello(1, addr="localhost")),
        msgspec.msgpack.encode(hello(1, addr="")),
        msgspec.msgpack.encode(hello(1, port=65536)),
        msgspec.msgpack.encode(hello(1, port=-1)),
        msgspec.msgpack.encode(hello(1, addrs=("10.0.0.1", "no address"))),
        msgspec.msgpack.encode(hello(1, name="NAME")).replace(b"NAME", b"\xff\xfe\xfd\xfc"),
    ],
)
def test_a_malformed_greeting(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed greeting"):
        session.decode_hello(body)


def test_greetings_at_the_bounds() -> None:
    addrs = tuple(f"10.0.0.{number}" for number in range(1, session.ADDRS_MAX + 2))
    most = hello(1, addrs=addrs[:-1])
    for good in (most, hello(1, port=0), hello(1, port=65535)):
        assert session.decode_hello(session.encode_hello(good)[HEADER.size :]) == good
    with pytest.raises(ProtocolError, match=rf"malformed greeting: .* of length <= {session.ADDRS_MAX}"):
        session.decode_hello(session.encode_hello(hello(1, addrs=addrs))[HEADER.size :])


def test_an_unknown_kind_of_frame() -> None:
    pair = Pair()
    pair.connect()
    with pytest.raises(ProtocolError, match="unknown kind 77"):
        pair.sides[0].feed(header(77, 0), NOW)


def test_an_oversized_frame() -> None:
    pair = Pair()
    pair.connect()
    with pytest.raises(ProtocolError, match="larger than any"):
        pair.sides[0].feed(header(DATA, frames.FRAME_BYTES_MAX + 1, 1), NOW)
    fresh = Session(hello(1), 1)
    fresh.attach(NOW)
    with pytest.raises(ProtocolError, match="larger than any"):
        fresh.feed(header(HELLO, frames.HELLO_BYTES_MAX + 1), NOW)


def test_data_before_the_greeting() -> None:
    fresh = Session(hello(1), 1)
    fresh.attach(NOW)
    with pytest.raises(ProtocolError, match="before the peer said who it is"):
        fresh.feed(header(DATA, 1, 1) + b"x", NOW)


def test_every_connection_begins_without_trust() -> None:
    pair = Pair()
    pair.connect()
    pair.cut()
    pair.sides[0].attach(NOW)
    with pytest.raises(ProtocolError, match="before the peer said who it is"):
        pair.sides[0].feed(header(DATA, 1, 1) + b"x", NOW)


def test_garbage_at_each_stage() -> None:
    for seed in range(300):
        garbage = random.Random(seed).randbytes(60)
        fresh = Session(hello(1), 1)
        fresh.attach(NOW)
        pair = Pair()
        pair.connect()
        pair.send(1, b"good")
        pair.write(1)
        pair.read(0)
        for side in (fresh, pair.sides[0]):
            try:
                events = side.feed(garbage, NOW)
            except ProtocolError:
                continue
            assert [e for e in events if e.kind in (DATA, PART)] == []
        assert pair.got[0] == [b"good"]


def test_a_greeting_is_told_as_it_was_sent() -> None:
    one = Session(hello(1), 1)
    one.attach(NOW)
    said = hello(2, session=7)
    assert one.feed(session.encode_hello(said), NOW) == [session.Event(HELLO, said)]


def test_bye_brings_its_reason() -> None:
    pair = Pair()
    pair.connect()
    pair.sides[0].bye("finished for today")
    events = pair.sides[1].feed(pair.write(0), NOW)
    assert [(e.kind, e.body) for e in events] == [(BYE, b"finished for today")]
    long = session.encode_bye("ä" * 5000)
    assert len(long) < frames.HELLO_BYTES_MAX
    FrameReader().feed(long, 0)


# any order of everything


class TwoSessions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.counter = 0

    @rule(side=st.integers(0, 1), size=st.integers(0, 90), many=st.integers(1, 80))
    def send(self, side: int, size: int, many: int) -> None:
        for _ in range(many):
            self.counter += 1
            self.pair.send(side, self.counter.to_bytes(4, "big") + bytes(size))

    @rule(side=st.integers(0, 1), size=st.integers(1, 700))
    def send_big(self, side: int, size: int) -> None:
        self.counter += 1
        self.pair.send(side, self.counter.to_bytes(4, "big") + bytes(size), big=True)

    @rule(side=st.integers(0, 1), budget=st.integers(1, 3000))
    def write(self, side: int, budget: int) -> None:
        if self.pair.connected:
            self.pair.write(side, budget)

    @rule(side=st.integers(0, 1), n=st.integers(1, 3000))
    def read(self, side: int, n: int) -> None:
        self.pair.read(side, n)

    @rule(side=st.integers(0, 1))
    def acknowledge(self, side: int) -> None:
        self.pair.sides[side].acknowledge()

    @rule(side=st.integers(0, 1))
    def pulse(self, side: int) -> None:
        self.pair.sides[side].pulse()

    @precondition(lambda self: self.pair.connected)
    @rule()
    def cut(self) -> None:
        self.pair.cut()

    @precondition(lambda self: not self.pair.connected)
    @rule(dialer=st.integers(0, 1))
    def connect(self, dialer: int) -> None:
        self.pair.connect(dialer)

    @rule(dialer=st.integers(0, 1))
    def replace(self, dialer: int) -> None:
        self.pair.cut()
        self.pair.connect(dialer)

    @rule()
    def settle(self) -> None:
        self.pair.settle()
        self.pair.check()

    @invariant()
    def in_order_and_once(self) -> None:
        for i in (0, 1):
            got = self.pair.got[1 - i]
            assert got == self.pair.sent[i][: len(got)]

    def teardown(self) -> None:
        self.pair.settle()
        self.pair.check()


class TestTwoSessions(TwoSessions.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
