"""What is under way is bounded: slow tasks, busy processes, deliveries that nobody waits for any more."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from parkcos.kernel import Task
from parkcos.net import wire
from parkcos.net.session import backlog
from parkcos.net.session import peer as peers
from parkcos.net.tasks.kept_outcomes import KeptOutcomes
from parkcos.net.tasks.remote_task import RemoteTask
from parkcos.net.tasks.requests import Requests
from tests.net.cluster_of_networks import WAIT_S, Cluster, Log, Place

pytestmark = pytest.mark.live


@pytest.fixture
def two() -> Iterator[tuple[Place, Place]]:
    with Cluster() as cluster:
        a, b = cluster.place("a"), cluster.place("b")
        a.connect(b)
        yield a, b


@contextlib.contextmanager
def busy(place: Place) -> Iterator[None]:
    """Meanwhile a task of `place` computes, so that its kernel thread does nothing else."""
    begun, go_on = threading.Event(), threading.Event()

    def compute() -> None:
        begun.set()
        go_on.wait(WAIT_S)

    place.kernel.post(compute)
    assert begun.wait(WAIT_S)
    try:
        yield
    finally:
        go_on.set()


def reader(place: Place, first: threading.Event, count: int) -> Task:
    """A task that begins to read when `first` is set, and returns the `count` messages that come."""

    def read(task: Any = None) -> Any:
        while not first.is_set():
            yield task.sleep(0.01)
        messages = []
        for _ in range(count):
            messages.append((yield task.receive()))
        return messages

    return place.spawn(read)


def idle(place: Place) -> Task:
    def wait(task: Any = None) -> Any:
        yield task.sleep()

    return place.spawn(wait)


def wait_until(place: Place, condition: Any) -> None:
    """Wait in a task of `place` until `condition()`."""

    def look(task: Any = None) -> Any:
        while not condition():
            yield task.sleep(0.005)

    place.run(look)


# slow tasks


def test_who_yields_its_sends_waits_for_a_task_that_does_not_read(
    two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "SLOW_MESSAGES", 500)
    a, b = two
    total, go = 30_000, threading.Event()
    there = reader(b, go, total)
    remote = a.reference(there)
    peer = a.peer_of(b)
    assert peer is not None

    def send(task: Any = None) -> Any:
        for i in range(total):
            assert (yield remote.send(i)) == 0

    sender = a.spawn(send)
    wait_until(a, lambda: peer.slow.get(remote._number))  # it waits
    wait_until(b, lambda: there.unread >= 500)
    assert there.unread < total // 2
    other = reader(b, go, 1)
    assert a.reference(other).send("is not held up") == 0
    go.set()
    assert there.future().result(WAIT_S) == list(range(total))
    assert other.future().result(WAIT_S) == ["is not held up"]
    sender.future().result(WAIT_S)


def test_few_large_messages_make_a_task_slow_too(two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "SLOW_BYTES", 1_000_000)
    a, b = two
    total, go = 60, threading.Event()
    there = reader(b, go, total)
    remote = a.reference(there)
    peer = a.peer_of(b)
    assert peer is not None

    def send(task: Any = None) -> Any:
        for i in range(total):
            yield remote.send(bytes([i]) * 100_000)
            yield task.sleep(0.001)  # so that what is under way is not all of it

    sender = a.spawn(send)
    wait_until(a, lambda: peer.slow.get(remote._number))
    assert there.unread < total
    go.set()
    assert [m[0] for m in there.future().result(WAIT_S)] == list(range(total))
    sender.future().result(WAIT_S)


def test_who_waits_for_a_slow_task_learns_that_its_process_is_gone(
    two: tuple[Place, Place], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "SLOW_MESSAGES", 100)
    a, b = two
    remote = a.reference(idle(b))
    peer = a.peer_of(b)
    assert peer is not None

    def send(task: Any = None) -> Any:
        while (result := (yield remote.send("more"))) == 0:
            pass
        return result

    sender = a.spawn(send)
    wait_until(a, lambda: peer.slow.get(remote._number))
    b.kill()
    assert sender.future().result(WAIT_S) == -1


def test_whoever_waits_to_send_says_so(two: tuple[Place, Place], log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "SLOW_MESSAGES", 100)
    monkeypatch.setattr("parkcos.net.tasks.senders.WAITING_LOG_S", 0.05)
    a, b = two
    remote = a.reference(idle(b))

    def send(task: Any = None) -> Any:
        while True:
            yield remote.send("more")

    sender = a.spawn(send)
    assert "waits to send" in log.wait_for(repr(remote))
    sender.terminate()
    sender.future().exception(WAIT_S)


# busy processes


def test_a_process_that_computes_takes_in_so_much_and_no_more(
    two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "BEHIND_BYTES", 2_000_000)
    monkeypatch.setattr(peers, "INBOX_BYTES", 100_000)
    monkeypatch.setattr(backlog, "SLOW_BYTES", 1 << 40)
    a, b = two
    total, go = 200, threading.Event()
    go.set()
    there = reader(b, go, total)
    remote = a.reference(there)
    peer = a.peer_of(b)
    assert peer is not None
    sent = itertools.count()

    def send(task: Any = None) -> Any:
        for i in range(total):
            next(sent)
            assert (yield remote.send(bytes([i]) * 100_000)) == 0

    with busy(b):
        sender = a.spawn(send)
        wait_until(a, lambda: peer.waiters)  # it waits
        assert next(sent) <= 2 + 2_000_000 // 100_000 + 1
        assert not there.unread
    sender.future().result(WAIT_S)
    assert [m[0] for m in there.future().result(WAIT_S)] == list(range(total))


# deliveries that nobody waits for any more


def test_what_was_not_delivered_in_time_is_not_delivered_later(two: tuple[Place, Place]) -> None:
    a, b = two
    go = threading.Event()
    go.set()
    there = reader(b, go, 1)
    remote = a.reference(there)

    def deliver(task: Any = None) -> Any:
        return (yield remote.deliver("late", timeout=0.05))

    with busy(b):
        assert a.run(deliver) == 0
        wait_until(a, lambda: not a.peer_of(b).session.unacked_bytes)  # type: ignore[union-attr]
    assert remote.send("next") == 0
    assert there.future().result(WAIT_S) == ["next"]


def test_many_queues_that_do_not_empty_are_not_looked_through_for_each_message(
    two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "CLEAR_MIN", 10)
    a, b = two
    a.connect(b)
    peer = a.peer_of(b)
    assert peer is not None
    tasks = [idle(a) for _ in range(40)]

    def fill() -> int:
        for task in tasks:
            task.send(1)
            task.send(2)
        own = backlog.Backlog(a.kernel.call_later)
        seen = []
        for task in tasks:
            own.grows(peer, task, 5000)
            if not any(own._queues is one for one in seen):
                seen.append(own._queues)  # kept, so that they remain different
        return len(seen)

    assert a.call(fill) == 3  # at 10, and at twice 11 and 10


def test_a_delivery_to_a_channel_is_taken_back_too(two: tuple[Place, Place]) -> None:
    from parkcos.kernel import Channel

    a, b = two
    channel = b.call(Channel, "news")
    b.call(channel.register)
    remote = a.reference(channel)
    go = threading.Event()
    go.set()
    subscriber = reader(b, go, 1)

    def deliver(task: Any = None) -> Any:
        return (yield remote.deliver("nobody has heard this", timeout=0.05, n=1))

    assert a.run(deliver) == 0
    wait_until(b, lambda: not b.network.router._delivering)

    def subscribe(task: Any = None) -> Any:
        yield channel.subscribe(subscriber)
        channel.send("this they hear")

    def deliver_for_ever(task: Any = None) -> Any:
        yield remote.deliver("nor this", n=1)

    given_up = a.spawn(deliver_for_ever)
    wait_until(b, lambda: b.network.router._delivering)
    a.call(given_up.terminate)
    wait_until(b, lambda: not b.network.router._delivering)
    wait_until(a, lambda: not a.network.requests._withdrawn)  # nothing of it is kept here

    b.run(subscribe)
    assert subscriber.future().result(WAIT_S) == ["this they hear"]


def test_a_delivery_that_was_made_all_the_same_is_said(log: Log) -> None:
    posted: list[Any] = []

    class There:
        def post(self, message: Any) -> bool:
            posted.append(message)
            return True

        def __repr__(self) -> str:
            return "somebody"

        @property
        def itself(self) -> There:
            return self

    requests = Requests()
    answers: list[Any] = []
    there: Any = There()
    first, second = (requests.add(there, answers.append) for _ in range(2))
    requests.withdraw(first)
    requests.withdraw(second)
    assert [message.request for message in posted] == [first, second]
    requests.answered(there, wire.Answer(wire.EMPTY, 0, False, first, -1))
    assert log.lines == []
    requests.answered(there, wire.Answer(wire.EMPTY, 0, False, second, 1))
    assert "somebody was delivered after all" in log.lines[0]
    assert answers == []


# ends that are asked for late


def test_the_result_of_a_located_task_that_has_ended(two: tuple[Place, Place]) -> None:
    a, b = two

    def work(kind: str, task: Any = None) -> Any:
        yield task.receive()
        if kind == "fails":
            raise KeyError("missing")
        return b"x" * (1 if kind == "small" else 8_000_000)

    tasks = [b.spawn(work, kind) for kind in ("small", "fails", "large")]
    remotes: list[RemoteTask] = [a.reference(task) for task in tasks]
    for task in tasks:
        task.send("go")
        task.future().exception(WAIT_S)
    small, fails, large = remotes
    del tasks, task

    def ask(remote: RemoteTask, task: Any = None) -> Any:
        return (yield remote.result())

    assert a.run(ask, small) == b"x"
    with pytest.raises(KeyError, match="missing"):
        a.run(ask, fails)
    with pytest.raises(Exception, match="too large to keep"):
        a.run(ask, large)


def test_kept_outcomes_are_bounded() -> None:
    kept = KeptOutcomes(count_max=3, bytes_max=1000)
    for task in range(5):
        kept.put(task, "finished", 0, [b"x"])
    assert [task for task in range(5) if kept.get(task)] == [2, 3, 4]
    for task in range(10, 20):
        kept.put(task, "finished", 0, [b"x" * 200, b"y" * 50])
    held = [kept.get(task) for task in range(20)]
    assert sum(len(ended.payload or b"") for ended in held if ended) <= 1000
    last = kept.get(19)
    assert last is not None
    assert last.payload == b"x" * 200 + b"y" * 50
    kept.put(30, "finished", 0, [b"z" * 251])
    too_large = kept.get(30)
    assert too_large is not None
    assert too_large.payload is None
