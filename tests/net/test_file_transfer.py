"""parkcos/net/files/transfer.py: sender and receiver with disks in memory, and a line that breaks anywhere."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parkcos.net.files import transfer as ft
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
    Have,
    Offer,
    Written,
    decode,
    encode,
)
from parkcos.net.files.rules import PARTIAL_PREFIX, Existing, Refused, kept_mode


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def pattern(size: int, seed: int = 1) -> bytes:
    block = hashlib.sha512(bytes([seed])).digest()
    return (block * (size // 64 + 1))[:size]


class Disk:
    """What is in the receiver's folder: name to content, and the modes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.links: set[str] = set()
        self.full_at: int | None = None


class World:
    """One transfer: two machines, what is on the line, and what the disks have to do."""

    def __init__(self, source: bytes, disk: Disk, *, max_file_size: int | None = None, **offered: Any) -> None:
        self.source = source
        self.disk = disk
        offer = {"folder": "", "name": "f", "size": len(source), "mtime_ns": 1, "mode": 0o644, "overwrite": False}
        offer |= offered
        self.offer = Offer(1, **offer)
        self.sender = ft.Sender(self.offer)
        self.receiver: ft.Receiver | None = None
        self.max_file_size = max_file_size
        self.now = 0.0
        self.to_receiver: deque[tuple[Any, bytes]] = deque()
        self.to_sender: deque[Any] = deque()
        self.sender_disk: deque[ft.Order] = deque()
        self.receiver_disk: deque[ft.Order] = deque()
        self.result: ft.Over | None = None
        self.closed: ft.Close | None = None
        self.partial = ""
        self.written = 0
        self.bytes_sent = 0
        self.in_flight_max = 0
        self.kept = True
        self.changed = False
        self._sender_orders(self.sender.begin())

    # -- the shells

    def _sender_orders(self, orders: list[ft.Order]) -> None:
        for order in orders:
            assert self.result is None, "nothing follows Over"
            match order:
                case ft.Send(message, data):
                    self.bytes_sent += len(data)
                    self.to_receiver.append((decode(encode(message)), bytes(data)))
                case ft.Over():
                    self.result = order
                case _:
                    self.sender_disk.append(order)
        self.in_flight_max = max(self.in_flight_max, self.sender.read_to - self.sender.written_to)

    def _receiver_orders(self, orders: list[ft.Order]) -> None:
        for order in orders:
            assert self.closed is None, "nothing follows Close"
            match order:
                case ft.Send(message, _):
                    self.to_sender.append(decode(encode(message)))
                case ft.Close(keep):
                    self.closed = order
                    self.receiver_disk.clear()
                    if self.partial and not keep:
                        self.disk.files.pop(self.partial, None)
                case _:
                    self.receiver_disk.append(order)

    def tell_sender(self, event: ft.Event) -> None:
        self._sender_orders(self.sender.handle(event, self.now))

    def tell_receiver(self, event: ft.Event) -> None:
        if self.receiver is not None:
            self._receiver_orders(self.receiver.handle(event, self.now))

    def _at_sender(self, order: ft.Order) -> ft.Event:
        match order:
            case ft.Hash(length):
                return ft.Hashed(length, sha(self.source[:length]))
            case ft.Read(offset, length):
                return ft.ChunkRead(offset, self.source[offset : offset + length])
            case ft.Finish():
                return ft.Trouble("it changed", keep=False) if self.changed else ft.Summed(sha(self.source))
        raise AssertionError(order)

    def _at_receiver(self, order: ft.Order) -> ft.Event:
        files = self.disk.files
        match order:
            case ft.Look(_, name, partial):
                self.partial = partial
                there = Existing(len(files[name]), name not in self.disk.links) if name in files else None
                return ft.Looked(there, len(files.get(partial, b"")))
            case ft.HashTarget():
                data = files[self.offer.name]
                return ft.Hashed(len(data), sha(data))
            case ft.HashPartial(length):
                return ft.Hashed(length, sha(files[self.partial][:length]))
            case ft.Open(offset):
                files[self.partial] = files.get(self.partial, b"")[:offset]
                return ft.Opened()
            case ft.Write(data):
                if self.disk.full_at is not None and len(files[self.partial]) + len(data) > self.disk.full_at:
                    return ft.Trouble("No space left on device", keep=False)
                files[self.partial] += bytes(data)
                return ft.WroteTo(len(files[self.partial]))
            case ft.Complete(digest, mode, _):
                if sha(files[self.partial]) != digest:
                    return ft.Trouble("the digests differ", keep=False)
                files[self.offer.name] = files.pop(self.partial)
                self.disk.modes[self.offer.name] = kept_mode(mode)
                return ft.Completed()
        raise AssertionError(order)

    # -- what happens next

    def possible(self) -> list[str]:
        steps = {
            "line to receiver": self.to_receiver,
            "line to sender": self.to_sender,
            "disk of sender": self.sender_disk,
            "disk of receiver": self.receiver_disk,
        }
        return [name for name, waiting in steps.items() if waiting]

    def step(self, name: str) -> None:
        self.now += 0.001
        match name:
            case "line to receiver":
                message, data = self.to_receiver.popleft()
                match message:
                    case Offer():
                        self.receiver = ft.Receiver(message, self.max_file_size)
                        self._receiver_orders(self.receiver.begin())
                    case Chunk(_, offset):
                        self.tell_receiver(ft.ChunkRead(offset, data))
                    case _:
                        self.tell_receiver(message)
            case "line to sender":
                self.tell_sender(self.to_sender.popleft())
            case "disk of sender":
                event = self._at_sender(self.sender_disk.popleft())
                self.tell_sender(event)
            case "disk of receiver":
                event = self._at_receiver(self.receiver_disk.popleft())
                self.tell_receiver(event)

    def run(self) -> World:
        while steps := self.possible():
            self.step(steps[0])
        return self

    @property
    def ok(self) -> bool:
        assert self.result is not None
        assert self.receiver is None or self.closed is not None
        return self.result.ok


def test_a_file_arrives() -> None:
    disk, source = Disk(), pattern(10_000_000)
    world = World(source, disk, mode=0o4755).run()
    assert world.ok
    assert disk.files == {"f": source}
    assert disk.modes == {"f": 0o755}
    assert world.in_flight_max <= WINDOW_BYTES_MAX


def test_an_empty_file_arrives() -> None:
    disk = Disk()
    assert World(b"", disk).run().ok
    assert disk.files == {"f": b""}


def test_an_identical_file_is_not_sent() -> None:
    disk, source = Disk(), pattern(1_000_000)
    disk.files["f"] = source
    for overwrite in (False, True):
        world = World(source, disk, overwrite=overwrite).run()
        assert world.ok and world.bytes_sent == 0
    assert disk.files == {"f": source}


@pytest.mark.parametrize("size", [1_000_000, 999_999])
def test_another_file_is_replaced_only_if_asked(size: int) -> None:
    disk, source, old = Disk(), pattern(1_000_000), pattern(size, seed=2)
    disk.files["f"] = old
    world = World(source, disk).run()
    assert not world.ok and "overwrite was not asked for" in world.result.reason  # type: ignore[union-attr]
    assert world.bytes_sent == 0
    assert disk.files == {"f": old}
    assert World(source, disk, overwrite=True).run().ok
    assert disk.files == {"f": source}


@pytest.mark.parametrize(
    ("offered", "reason"),
    [
        ({"folder": "/etc"}, "absolute"),
        ({"folder": "a/../.."}, "is no folder"),
        ({"name": "../f"}, "slash"),
        ({"name": PARTIAL_PREFIX + "1"}, "are kept"),
        ({"size": 10**9}, "max_file_size there is 1000000"),
    ],
)
def test_is_refused_before_the_disk_is_asked(offered: dict[str, Any], reason: str) -> None:
    world = World(b"x", Disk(), max_file_size=1_000_000, **offered).run()
    assert not world.ok and reason in world.result.reason  # type: ignore[union-attr]
    assert not world.partial


def test_a_link_is_not_replaced() -> None:
    disk = Disk()
    disk.files["f"], disk.links = b"x", {"f"}
    assert not World(b"y", disk, overwrite=True).run().ok
    assert disk.files == {"f": b"x"}


def test_a_part_is_not_sent_again() -> None:
    disk, source = Disk(), pattern(3_000_000)
    first = World(source, disk)
    while len(disk.files.get(first.partial, b"")) < 1_000_000:
        first.step(first.possible()[0])
    first.tell_sender(ft.PeerGone("cut"))
    first.tell_receiver(ft.PeerGone("cut"))
    assert not first.ok
    there = len(disk.files[first.partial])
    second = World(source, disk).run()
    assert second.ok and second.bytes_sent == len(source) - there
    assert disk.files == {"f": source}


def test_a_part_of_something_else_is_not_used() -> None:
    """Name, size and time agree, but what is there was damaged."""
    disk, source = Disk(), pattern(3_000_000)
    first = World(source, disk)
    while len(disk.files.get(first.partial, b"")) < 1_000_000:
        first.step(first.possible()[0])
    first.tell_receiver(ft.PeerGone("cut"))
    disk.files[first.partial] = b"!" + disk.files[first.partial][1:]
    second = World(source, disk).run()
    assert second.ok and second.bytes_sent == len(source)
    assert disk.files == {"f": source}


def test_a_file_that_changes_leaves_the_target_alone() -> None:
    disk, source = Disk(), pattern(1_000_000)
    disk.files["f"] = b"old"
    world = World(source, disk, overwrite=True)
    world.changed = True
    assert not world.run().ok
    assert world.closed == ft.Close(keep=False, reason="it changed")
    assert disk.files == {"f": b"old"}


def test_bytes_that_were_damaged_are_noticed() -> None:
    disk, source = Disk(), pattern(1_000_000)
    world = World(source, disk)
    while not disk.files.get(world.partial):
        world.step(world.possible()[0])
    disk.files[world.partial] = bytes([disk.files[world.partial][0] ^ 1]) + disk.files[world.partial][1:]
    assert not world.run().ok
    assert world.result == ft.Over(False, "the digests differ")
    assert disk.files == {}


def test_a_full_disk_is_said_at_both_sides_and_freed() -> None:
    disk = Disk()
    disk.full_at = 700_000
    world = World(pattern(1_000_000), disk).run()
    assert world.result == ft.Over(False, "No space left on device")
    assert world.closed == ft.Close(keep=False, reason="No space left on device")
    assert disk.files == {}


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(0, 700_000), st.booleans(), st.sampled_from(["nothing", "same", "longer", "equal size"]))
def test_cuts_anywhere(data: st.DataObject, size: int, overwrite: bool, before: str) -> None:
    """However often and wherever it is cut, the target is the old or the new file, and in the end the new one."""
    disk, source = Disk(), pattern(size)
    old = {"nothing": None, "same": source, "longer": source + b"x", "equal size": pattern(size, seed=2)}[before]
    if old is not None:
        disk.files["f"] = old
    for _ in range(data.draw(st.integers(0, 3), label="cuts")):
        world = World(source, disk, overwrite=overwrite)
        for _ in range(data.draw(st.integers(0, 80), label="steps")):
            steps = world.possible()
            if not steps:
                break
            world.step(steps[data.draw(st.integers(0, len(steps) - 1)) if len(steps) > 1 else 0])
            assert disk.files.get("f") in (old, source)
        for tell in (world.tell_sender, world.tell_receiver):
            how = data.draw(st.sampled_from(["gone", "given up", "killed"]))
            if how == "gone":
                tell(ft.PeerGone("cut"))
            elif how == "given up":
                tell(ft.Trouble("given up"))
        world.tell_receiver(ft.PeerGone("cut"))
        assert world.receiver is None or world.closed is not None
    world = World(source, disk, overwrite=overwrite).run()
    may = overwrite or old in (None, source) or disk.files["f"] == source
    assert world.ok == may
    assert disk.files == {"f": source if may else old}


# a hostile other side


def sender_in(state: str) -> ft.Sender:
    sender = ft.Sender(Offer(1, "", "f", 1_000_000, 1, 0o644, False))
    sender.begin()
    if state != "offered":
        sender.handle(Accept(1, 0), 0.0)
        sender.handle(ft.ChunkRead(0, b"x" * 1000), 0.0)
    return sender


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("offered", AskDigest(1, 1_000_001)),
        ("offered", Accept(1, 5)),
        ("offered", Done(1)),
        ("offered", Written(1, 0)),
        ("sending", Written(1, 1001)),
        ("sending", Accept(1, 0)),
        ("sending", AskDigest(1, 5)),
        ("sending", Have(1)),
        ("sending", Done(1)),
    ],
)
def test_sender_gives_up_when_the_answer_makes_no_sense(state: str, message: Any) -> None:
    orders = sender_in(state).handle(message, 1.0)
    assert isinstance(orders[0], ft.Send) and isinstance(orders[0].message, Cancel)
    assert isinstance(orders[1], ft.Over) and not orders[1].ok


def test_sender_does_not_hash_for_ever() -> None:
    sender = sender_in("offered")
    for length in (10, 20):
        assert sender.handle(AskDigest(1, length), 0.0) == [ft.Hash(length)]
        sender.handle(ft.Hashed(length, b"d" * 32), 0.0)
    assert isinstance(sender.handle(AskDigest(1, 30), 0.0)[1], ft.Over)


def receiver_in(state: str) -> ft.Receiver:
    receiver = ft.Receiver(Offer(1, "", "f", 10_000_000, 1, 0o644, False), None)
    receiver.begin()
    if state == "comparing":
        receiver.handle(ft.Looked(Existing(10_000_000, True), 0), 0.0)
    elif state == "receiving":
        receiver.handle(ft.Looked(None, 0), 0.0)
        receiver.handle(ft.Opened(), 0.0)
    return receiver


@pytest.mark.parametrize(
    ("state", "event"),
    [
        ("looking", ft.ChunkRead(0, b"x")),
        ("looking", End(1, b"d" * 32)),
        ("looking", Digest(1, 5, b"d" * 32)),
        ("comparing", Digest(1, 5, b"d" * 32)),
        ("comparing", ft.ChunkRead(0, b"x")),
        ("receiving", ft.ChunkRead(1, b"x")),
        ("receiving", ft.ChunkRead(0, b"")),
        ("receiving", ft.ChunkRead(0, b"x" * (CHUNK_BYTES_MAX + 1))),
        ("receiving", End(1, b"d" * 32)),
        ("receiving", Offer(1, "", "f", 1, 1, 0, False)),
    ],
)
def test_receiver_gives_up_when_the_message_makes_no_sense(state: str, event: Any) -> None:
    orders = receiver_in(state).handle(event, 1.0)
    assert isinstance(orders[0], ft.Send) and isinstance(orders[0].message, Failed)
    assert isinstance(orders[1], ft.Close) and orders[1].reason


def test_receiver_takes_no_more_than_the_window() -> None:
    receiver = receiver_in("receiving")
    chunk = b"x" * CHUNK_BYTES_MAX
    count = WINDOW_BYTES_MAX // CHUNK_BYTES_MAX
    for i in range(count):
        assert receiver.handle(ft.ChunkRead(i * len(chunk), chunk), 0.0) == [ft.Write(chunk)]
    orders = receiver.handle(ft.ChunkRead(count * len(chunk), chunk), 0.0)
    assert isinstance(orders[1], ft.Close) and "more at once" in orders[1].reason


def test_receiver_takes_no_more_than_the_file() -> None:
    receiver = ft.Receiver(Offer(1, "", "f", 10, 1, 0o644, False), None)
    receiver.begin()
    receiver.handle(ft.Looked(None, 0), 0.0)
    receiver.handle(ft.Opened(), 0.0)
    assert isinstance(receiver.handle(ft.ChunkRead(0, b"x" * 11), 0.0)[1], ft.Close)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc0", encode(End(1, b"short")), encode(Accept(-1, 0)), encode(Offer(1, "", "x" * 5000, 1, 1, 0, True)),
     encode(Offer(1, "", "f", -1, 1, 0, True)), encode(Offer(1, "", "f", 1, 1, 0o17777, True))],
)  # fmt: skip
def test_schema_is_closed(body: bytes) -> None:
    with pytest.raises(ValueError):
        decode(body)


def test_reasons_fit_the_schema() -> None:
    orders = sender_in("offered").handle(ft.Trouble("bad \udcff " * 5000), 0.0)
    assert isinstance(orders[0], ft.Send)
    decode(encode(orders[0].message))
    assert str(Refused("x")) == "x"


# the window


def test_window_grows_while_nothing_queues() -> None:
    window = ft.Window()
    now, end = 0.0, 0
    for _ in range(100):
        size = window.chunk_bytes(0)
        end += size
        window.sent(end, now)
        now += 0.2  # a long way, but no queue
        window.acknowledged(end, now)
    assert window.limit == WINDOW_BYTES_MAX
    assert window.chunk_bytes(0) == CHUNK_BYTES_MAX


def test_window_adapts_to_a_slow_line() -> None:
    """At 1 MB/s no more is on its way than takes about QUEUE_S."""
    window, rate = ft.Window(), 1_000_000.0
    on_line: deque[tuple[int, float]] = deque()
    now = free_at = 0.0
    sent = written = 0
    waited: list[float] = []
    while sent < 20_000_000:
        size = window.chunk_bytes(sent - written)
        if size:
            sent += size
            window.sent(sent, now)
            free_at = max(free_at, now) + size / rate
            on_line.append((sent, free_at))
            waited.append(free_at - now)
        else:
            written, now = on_line.popleft()
            window.acknowledged(written, now)
    assert max(waited[len(waited) // 4 :]) < 3 * ft.QUEUE_S
    assert now == pytest.approx(sent / rate, rel=0.05), "and the line is never idle"
