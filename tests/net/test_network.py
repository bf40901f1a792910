"""parkcos/net/network.py with refs, channels, router and requests: several networks in one process."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from parkcos.errors import RemoteTaskError, ShippingError, TaskAbandoned, TaskTerminated, UsageError
from parkcos.kernel import Channel, MonitorStatus, Task
from parkcos.net.finding.peer_status import PeerStatus
from parkcos.net.location import Location
from parkcos.net.options import told_addresses
from parkcos.net.session import goodbye
from parkcos.net.session import peer as peers_module
from parkcos.net.tasks.remote_channel import RemoteChannel
from parkcos.net.tasks.remote_task import RemoteTask
from tests.net.cluster_of_networks import OTHER_KEYS, WAIT_S, Changes, Cluster, Log, Place
from tests.ports import free_ports

pytestmark = pytest.mark.live


def collector(place: Place, count: int | None = None, name: str = "") -> tuple[Task, Changes]:
    """A task that writes down what it receives, and ends after `count` messages."""
    got = Changes()

    def collect(task: Any = None) -> Any:
        if name:
            task.register(name)
        got_name.set()
        while count is None or len(got.items) < count:
            got.add((yield task.receive()))
        return len(got.items)

    got_name = threading.Event()
    task = place.spawn(collect)
    assert got_name.wait(WAIT_S)
    return task, got


def sleeper(place: Place) -> Task:
    def sleep(task: Any = None) -> Any:
        yield task.receive()

    return place.spawn(sleep)


class NoWords(BaseException):
    def __str__(self) -> str:
        raise SystemExit


class Unopenable:
    """Raises where it is unpickled."""

    def __init__(self, raised: type[BaseException] = ValueError) -> None:
        self.raised = raised

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, (self.raised,)


def _refuse(raised: type[BaseException]) -> None:
    raise raised("there is no such thing")


# messages


def test_send_and_receive_both_ways(two: tuple[Place, Place]) -> None:
    a, b = two

    def echo(task: Any = None) -> Any:
        while True:
            sender, message = yield task.receive()
            if message is None:
                return "done"
            sender.send(message * 2)

    there = b.spawn(echo)
    remote = a.reference(there)
    assert isinstance(remote, RemoteTask)
    assert remote.location == b.location

    def ask(task: Any = None) -> Any:
        answers = []
        for i in range(5):
            remote.send((task, i))
            answers.append((yield task.receive()))
        remote.send((task, None))
        return answers

    assert a.run(ask) == [0, 2, 4, 6, 8]
    assert there.future().result(WAIT_S) == "done"


def test_ten_thousand_messages_in_order(two: tuple[Place, Place]) -> None:
    a, b = two
    there, got = collector(b, 10_000)
    remote = a.reference(there)

    def send(task: Any = None) -> Any:
        for i in range(10_000):
            assert remote.send(i if i % 1000 else (i, b"x" * 40_000)) == 0
            if i % 97 == 0:
                yield

    a.run(send)
    there.future().result(WAIT_S)
    assert [m if isinstance(m, int) else m[0] for m in got.items] == list(range(10_000))


def test_messages_of_several_threads_and_tasks(two: tuple[Place, Place]) -> None:
    a, b = two
    there, got = collector(b, 4000)
    remote = a.reference(there)

    def from_thread(me: int) -> None:
        for i in range(1000):
            assert remote.send((me, i)) == 0

    def from_task(me: int, task: Any = None) -> Any:
        for i in range(1000):
            yield remote.send((me, i))

    threads = [threading.Thread(target=from_thread, args=(me,)) for me in (0, 1)]
    tasks = [a.spawn(from_task, me) for me in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for task in tasks:
        task.future().result(WAIT_S)
    there.future().result(WAIT_S)
    for me in range(4):
        assert [i for who, i in got.items if who == me] == list(range(1000))


def test_deliver(two: tuple[Place, Place]) -> None:
    a, b = two
    there, got = collector(b, 2)
    remote = a.reference(there)

    def deliver(task: Any = None) -> Any:
        first = yield remote.deliver("one")
        arrived = list(got.items) or "in the queue"
        second = yield remote.deliver("two", timeout=WAIT_S)
        yield remote.finish()
        third = yield remote.deliver("three", timeout=WAIT_S)
        return first, arrived, second, third, remote.send("four")

    first, _, second, third, fourth = a.run(deliver)
    assert (first, second, third, fourth) == (1, 1, -1, -1)
    assert got.items == ["one", "two"]


def test_deliver_to_an_ended_task_whose_end_is_not_known_here(two: tuple[Place, Place]) -> None:
    a, b = two
    there, _ = collector(b, 1)
    remote = a.reference(there)
    there.send("the last")
    there.future().result(WAIT_S)

    def deliver(task: Any = None) -> Any:
        return (yield remote.deliver("late", timeout=WAIT_S))

    assert a.run(deliver) == -1


def test_deliver_to_a_dead_process(two: tuple[Place, Place]) -> None:
    a, b = two
    there, _ = collector(b)
    remote = a.reference(there)

    def deliver(task: Any = None) -> Any:
        return (yield remote.deliver("x", timeout=WAIT_S))

    assert a.run(deliver) == 1
    waiting = a.spawn(deliver)
    waiting.future().result(WAIT_S)
    b.kill()
    assert a.run(deliver) == -1
    assert a.run(deliver) == -1
    assert remote.send("x") == -1
    assert not remote.is_alive()


def test_deliver_that_runs_out_of_time(cluster: Cluster) -> None:
    """A process that accepts and says nothing: 0 after the time given."""
    a = cluster.place("a")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = a.call(RemoteTask, a.network, Location("127.0.0.1", silent.getsockname()[1]), 12345, 1, "t")

        def deliver(task: Any = None) -> Any:
            return (yield remote.deliver("x", timeout=0.05)), (yield remote.deliver("x", timeout=0))

        assert a.run(deliver) == (0, 0)


def test_process_dies_while_a_delivery_waits(two: tuple[Place, Place]) -> None:
    a, b = two
    there, _ = collector(b)
    remote = a.reference(there)
    a.connect(b)
    busy, go_on = threading.Event(), threading.Event()

    def hog() -> None:
        busy.set()
        go_on.wait(WAIT_S)

    b.kernel.post(hog)  # its kernel thread answers nothing
    assert busy.wait(WAIT_S)

    def deliver(task: Any = None) -> Any:
        started.set()
        return (yield remote.deliver("x"))

    started = threading.Event()
    waiting = a.spawn(deliver)
    assert started.wait(WAIT_S)
    b.fall_silent()
    go_on.set()
    assert waiting.future().result(WAIT_S) == -1


def test_what_cannot_be_sent_raises_at_once_and_says_where(two: tuple[Place, Place]) -> None:
    a, b = two
    there, got = collector(b, 1)
    remote = a.reference(there)
    channel = a.call(RemoteChannel, a.network, b.location, b.network.incarnation, "c")

    class Experiment:
        def __init__(self) -> None:
            self.data = [1, 2, {"lock": threading.Lock()}]

    for act in (remote.send, remote.deliver, channel.send, channel.deliver):
        with pytest.raises(ShippingError, match=r"<Experiment>\.data\[2\]\['lock'\] cannot be sent: lock object"):
            act(Experiment())
    remote.send("good")
    there.future().result(WAIT_S)
    assert got.items == ["good"]


@pytest.mark.parametrize("raised", [ValueError, SystemExit, GeneratorExit, NoWords])
def test_a_message_that_cannot_be_opened_there_harms_no_other(
    two: tuple[Place, Place], log: Log, raised: type[BaseException]
) -> None:
    a, b = two
    there, got = collector(b, 2)
    remote = a.reference(there)

    def send(task: Any = None) -> Any:
        remote.send("before")
        remote.send(Unopenable(raised))
        with pytest.raises(ShippingError, match=f"cannot be opened here: .*{raised.__name__}"):
            yield remote.deliver(Unopenable(raised), timeout=WAIT_S)
        remote.send("after")

    a.run(send)
    there.future().result(WAIT_S)
    assert got.items == ["before", "after"]
    log.wait_for("cannot be opened here", raised.__name__)


def test_a_sender_that_yields_waits_for_a_slow_receiver(
    two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under way stays bounded, and all arrives."""
    monkeypatch.setattr(peers_module, "BEHIND_BYTES", 1_000_000)
    a, b = two
    there, got = collector(b, 300)
    remote = a.reference(there)
    a.connect(b)
    peer = a.peer_of(b)
    assert peer is not None
    size = 100_000
    high = 0

    def send(task: Any = None) -> Any:
        nonlocal high
        waited = 0
        for i in range(300):
            behind = remote.send((i, b"m" * size))
            waited += type(behind) is not int
            assert behind == 0
            high = max(high, peer.session.unacked_bytes + peer._queue_bytes)
            assert (yield behind) == 0
        return waited

    assert a.run(send) > 0
    assert high < 1_000_000 + 2 * size
    there.future().result(WAIT_S)
    assert [m[0] for m in got.items] == list(range(300))


def test_a_sender_that_waits_learns_that_the_process_is_gone(
    two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_module, "BEHIND_BYTES", 10_000)
    a, b = two
    remote = a.reference(sleeper(b))
    a.connect(b)
    b.kill()
    waits = threading.Event()

    def send(task: Any = None) -> Any:
        while True:
            waits.set()
            if (result := (yield remote.send(b"m" * 8000))) != 0:
                return result

    task = a.spawn(send)
    assert waits.wait(WAIT_S)
    assert task.future().result(WAIT_S) == -1


# how a remote task ends


def test_finish_and_result_of_a_remote_task(two: tuple[Place, Place]) -> None:
    a, b = two

    def work(task: Any = None) -> Any:
        return (yield task.receive()) * 2

    there = b.spawn(work)
    remote = a.reference(there)

    def wait(task: Any = None) -> Any:
        assert (yield remote.finish(0.01)) is None
        assert remote.is_alive()
        remote.send(21)
        first = yield remote.finish()
        second = yield remote.result()
        return first, second, (yield remote()), remote.is_alive()

    assert a.run(wait) == (42, 42, 42, False)
    assert remote.value() == 42
    assert a.spawn(wait_for, remote).value(WAIT_S) == 42


def wait_for(remote: Any, task: Any = None) -> Any:
    return (yield remote.finish())


async def wait_async(remote: Any) -> Any:
    return await remote


def test_await_a_remote_task(two: tuple[Place, Place]) -> None:
    a, b = two
    there = sleeper(b)
    remote = a.reference(there)
    waiting = a.spawn(wait_async, remote)
    remote.send("x")
    assert waiting.future().result(WAIT_S) is None


def test_failure_of_a_remote_task(two: tuple[Place, Place]) -> None:
    a, b = two

    def fail(task: Any = None) -> Any:
        yield task.receive()
        raise LookupError("no such sample")

    remote = a.reference(b.spawn(fail))

    def wait(task: Any = None) -> Any:
        remote.send("go")
        try:
            yield remote.result()
        except LookupError as error:
            return error, (yield remote.finish())

    error, status = a.run(wait)
    assert error.args == ("no such sample",)
    note = "\n".join(error.__notes__)
    assert f"remote traceback, at {b.location}" in note
    assert 'raise LookupError("no such sample")' in note
    assert isinstance(status, MonitorStatus)
    assert status.type is LookupError
    assert status.info is remote
    assert "no such sample" in status.value


def test_failure_that_cannot_travel(two: tuple[Place, Place]) -> None:
    a, b = two

    class Stubborn(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")
            self.lock = threading.Lock()

    def fail(task: Any = None) -> Any:
        yield task.receive()
        raise Stubborn(1, 2)

    remote = a.reference(b.spawn(fail))

    def wait(task: Any = None) -> Any:
        remote.send("go")
        yield remote.result()

    with pytest.raises(RemoteTaskError, match="Stubborn: 1 and 2") as caught:
        a.run(wait)
    assert "raise Stubborn(1, 2)" in "\n".join(caught.value.__notes__)


def test_result_that_cannot_be_pickled(two: tuple[Place, Place]) -> None:
    a, b = two

    def work(task: Any = None) -> Any:
        yield task.receive()
        return {"handle": threading.Lock()}

    remote = a.reference(b.spawn(work))

    def wait(task: Any = None) -> Any:
        remote.send("go")
        yield remote.result()

    with pytest.raises(ShippingError, match=r"the task's result.*\['handle'\]"):
        a.run(wait)


def test_monitor_of_a_remote_task(two: tuple[Place, Place]) -> None:
    a, b = two

    def work(task: Any = None) -> Any:
        if (yield task.receive()) == "fail":
            raise ValueError("bad")
        return "good"

    def watch(remote: Any, order: str, task: Any = None) -> Any:
        assert (yield task.monitor(remote)) == 0
        remote.send(order)
        return (yield task.receive())

    for order, kind in (("work", StopIteration), ("fail", ValueError)):
        remote = a.reference(b.spawn(work))
        status = a.run(watch, remote, order)
        assert status.type is kind
        assert status.info is remote
    assert "ValueError: bad" in status.value


def test_a_remote_monitor_of_a_local_task(two: tuple[Place, Place]) -> None:
    a, b = two
    there, got = collector(b, 1)
    monitor = a.reference(there)
    mine = sleeper(a)

    def tell(task: Any = None) -> Any:
        assert (yield monitor.monitor(mine)) == 0
        mine.send("end")

    a.run(tell)
    there.future().result(WAIT_S)
    (status,) = got.items
    assert status.type is StopIteration
    assert isinstance(status.info, RemoteTask)
    assert status.info.id == mine.id


def test_terminate_a_remote_task(two: tuple[Place, Place]) -> None:
    a, b = two
    cleaned = threading.Event()

    def work(task: Any = None) -> Any:
        try:
            yield task.receive()
        finally:
            cleaned.set()

    remote = a.reference(b.spawn(work))

    def end(task: Any = None) -> Any:
        assert remote.terminate() == 0
        status = yield remote.finish()
        assert remote.terminate() == -1
        with pytest.raises(TaskTerminated):
            yield remote.result()
        return status

    assert a.run(end).type is TaskTerminated
    assert cleaned.is_set()


def test_a_remote_task_is_lost_with_its_process(two: tuple[Place, Place]) -> None:
    a, b = two
    remote = a.reference(sleeper(b))
    watching = threading.Event()

    def watch(task: Any = None) -> Any:
        yield task.monitor(remote)
        watching.set()
        status = yield task.receive()
        try:
            yield remote.result()
        except TaskAbandoned as error:
            return status, error

    task = a.spawn(watch)
    assert watching.wait(WAIT_S)
    a.connect(b)
    b.kill()
    status, error = task.future().result(WAIT_S)
    assert status.type is TaskAbandoned
    assert status.info is remote
    for words in ("is lost with its process", "no process listens", str(b.location)):
        assert words in str(error)


def test_waiting_for_a_task_of_a_process_that_never_was(cluster: Cluster) -> None:
    a = cluster.place("a")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        remote = a.call(RemoteTask, a.network, Location("127.0.0.1", sock.getsockname()[1]), 12345, 1, "t")
        with pytest.raises(TaskAbandoned, match="no process listens"):
            a.run(lambda: (yield remote.result()))


def test_what_works_only_where_the_task_runs(two: tuple[Place, Place]) -> None:
    a, b = two
    remote = a.reference(sleeper(b))
    for wrong in (remote.resume, remote.wakeup, remote.throw, remote.receive, remote.recv, remote.sleep):
        with pytest.raises(UsageError, match="in another process"):
            wrong()


# references


def test_each_attribute_of_a_reference_is_there_or_says_where(two: tuple[Place, Place]) -> None:
    a, b = two
    task = sleeper(b)
    remote = a.reference(task)
    for name in (name for name in dir(Task) if not name.startswith("_")):
        if name in ("unread", "daemon"):
            with pytest.raises(UsageError, match="is in another process"):
                getattr(remote, name)
        else:
            getattr(remote, name)
    assert remote.id == task.id and remote.name == task.name and remote.is_alive()
    task.send("end")


def test_references_come_home_as_the_very_object(cluster: Cluster) -> None:
    a, b, c = cluster.place("a"), cluster.place("b"), cluster.place("c")

    def relay(to: Any, task: Any = None) -> Any:
        while True:
            to.send((yield task.receive()))

    got = Changes()

    def home(task: Any = None) -> Any:
        channel = Channel("homing")
        channel.register()
        at_b.send((task, channel, [task]))
        first = yield task.receive()
        got.add(first[0] is task and first[2][0] is task)
        got.add(first[1] is channel)
        return (yield task.receive())

    ready = threading.Event()

    def starter(task: Any = None) -> Any:
        ready.set()
        message = yield task.receive()
        yield home_at_once(message)

    def home_at_once(_: Any) -> Any:
        yield 0

    started: list[Any] = []

    def at_home(task: Any = None) -> Any:
        started.append(task)
        ready.set()
        yield task.receive()  # "go"
        return (yield home(task))

    task = a.spawn(at_home)
    assert ready.wait(WAIT_S)
    at_c = c.spawn(relay, c.reference(task))
    at_b_task = b.spawn(relay, b.reference(at_c))
    at_b = a.reference(at_b_task)
    task.send("go")
    got.wait(lambda items: len(items) == 2)
    assert got.items == [True, True]
    # and a third process has made a reference of its own to it, through which it may be answered
    c.reference(task).send("thanks")
    assert task.future().result(WAIT_S) == "thanks"


def test_references_are_equal_and_hash_alike(cluster: Cluster) -> None:
    a, b = cluster.place("a"), cluster.place("b")
    one, other = sleeper(b), sleeper(b)
    first, second, third = a.reference(one), a.reference(one), a.reference(other)
    assert first == second
    assert first is not second
    assert hash(first) == hash(second)
    assert first != third
    assert first != one
    assert len({first, second, third}) == 2


def test_a_reference_to_a_task_that_has_ended_comes_home(two: tuple[Place, Place]) -> None:
    a, b = two
    task = sleeper(a)
    at_b = b.reference(task)
    task.send("end")
    task.future().result(WAIT_S)
    back = a.reference(at_b)
    assert not back.is_alive()
    assert back.send("x") == -1


# names


def test_register_and_locate(cluster: Cluster) -> None:
    a, b, c = cluster.place("a"), cluster.place("b"), cluster.place("c")
    there, got = collector(b, 1, name="worker")
    a.connect(b)
    a.connect(c)

    def find(task: Any = None) -> Any:
        anywhere = yield Task.locate("worker", timeout=WAIT_S)
        exactly = yield Task.locate("worker", location=b.location, timeout=WAIT_S)
        elsewhere = yield Task.locate("worker", location=c.location)
        nobody = yield Task.locate("nobody")
        impatient = yield Task.locate("nobody", timeout=0.01)
        anywhere.send("found")
        return anywhere, exactly, elsewhere, nobody, impatient

    anywhere, exactly, elsewhere, nobody, impatient = a.run(find)
    assert anywhere == exactly
    assert anywhere.id == there.id
    assert elsewhere is nobody is impatient is None
    there.future().result(WAIT_S)
    assert got.items == ["found"]


def test_locate_gives_the_positive_answer_of_many_peers(cluster: Cluster) -> None:
    a = cluster.place("a")
    others = [cluster.place(f"p{i}") for i in range(5)]
    for other in others:
        a.connect(other)
    for i, other in enumerate(others):
        collector(other, name=f"only{i}")

    def find(name: str, task: Any = None) -> Any:
        return (yield Task.locate(name, timeout=WAIT_S))

    for i, other in enumerate(others):
        found = a.run(find, f"only{i}")
        assert found.location == other.location


def test_locate_what_appears_later(two: tuple[Place, Place]) -> None:
    a, b = two
    a.connect(b)
    looking = threading.Event()

    def find(task: Any = None) -> Any:
        looking.set()
        return (yield Task.locate("late", timeout=WAIT_S))

    task = a.spawn(find)
    assert looking.wait(WAIT_S)
    there, _ = collector(b, name="late")
    assert task.future().result(WAIT_S).id == there.id


def test_locate_when_a_peer_dies_meanwhile(cluster: Cluster) -> None:
    a, b, c = cluster.place("a"), cluster.place("b"), cluster.place("c")
    a.connect(b)
    a.connect(c)
    b.kill()

    def find(task: Any = None) -> Any:
        return (yield Task.locate("nobody"))

    assert a.run(find) is None


def test_a_question_that_cannot_be_encoded_raises_at_once(two: tuple[Place, Place]) -> None:
    """Nobody would ever answer it."""
    a, b = two
    a.connect(b)
    channel = b.call(Channel, "news")
    b.call(channel.register)
    remote = a.reference(channel)

    def deliver(task: Any = None) -> Any:
        yield remote.deliver("to more than there are", n=2**70)

    def locate(task: Any = None) -> Any:
        yield a.network.locate_task("\udcff", b.location, None)

    for fn, what in ((deliver, "DeliverToChannel"), (locate, "Locate")):
        with pytest.raises(ShippingError, match=what):
            a.run(fn)
    assert not a.network.requests._open


def test_locating_by_something_else_than_a_name_and_a_location(two: tuple[Place, Place], log: Log) -> None:
    a, b = two
    a.connect(b)

    def find(name: Any, location: Any, task: Any = None) -> Any:
        return (yield Task.locate(name, location=location))

    with pytest.raises(UsageError, match="name"):
        a.run(find, 5, b.location)
    with pytest.raises(UsageError, match=r"at a Location, not at '127\.0\.0\.1'"):
        a.run(find, "worker", "127.0.0.1")
    assert a.is_connected_to(b)


# channels


def test_channels_across(cluster: Cluster) -> None:
    a, b = cluster.place("a"), cluster.place("b")

    def serve(task: Any = None) -> Any:
        channel = Channel("news", lambda name, message: message if message != "censored" else None)
        channel.register()
        subscribers.append(channel)
        yield channel.subscribe(local)
        ready.set()
        yield task.receive()

    ready = threading.Event()
    subscribers: list[Any] = []
    local, local_got = collector(b)
    server = b.spawn(serve)
    assert ready.wait(WAIT_S)
    mine, my_got = collector(a)

    def use(task: Any = None) -> Any:
        channel = yield Channel.locate("news", location=b.location, timeout=WAIT_S)
        assert isinstance(channel, RemoteChannel)
        counts = [(yield channel.deliver("one", timeout=WAIT_S))]
        assert (yield channel.subscribe(mine)) == 0
        counts.append((yield channel.deliver("two", timeout=WAIT_S, n=2)))
        assert channel.send("three") == 0
        counts.append((yield channel.deliver("censored", timeout=WAIT_S)))
        counts.append((yield channel.deliver("never", timeout=0.05, n=9)))
        counts.append((yield channel.deliver("wrong", n=-1)))
        counts.append((yield channel.deliver("wrong", n=1.5)))  # type: ignore[arg-type]
        assert (yield channel.unsubscribe(mine)) == 0
        assert (yield channel.unsubscribe(mine)) == -1
        counts.append((yield channel.deliver("four", timeout=WAIT_S)))
        return counts, channel

    counts, channel = a.run(use)
    assert counts == [1, 2, 0, 0, -1, -1, 1]
    local_got.wait(lambda items: len(items) == 4)
    assert local_got.items == ["one", "two", "three", "four"]
    my_got.wait(lambda items: len(items) == 2)
    assert my_got.items == ["two", "three"]
    # it comes home as itself, and in another place two references are equal
    assert b.reference(channel) is subscribers[0]
    assert a.reference(subscribers[0]) == channel
    server.send("end")


def test_channels_that_feed_channels_across(cluster: Cluster) -> None:
    """Top at a, middle at b, leaves at b and c: a delivery counts the tasks that were reached."""
    a, b, c = cluster.place("a"), cluster.place("b"), cluster.place("c")
    leaf_b, got_b = collector(b)
    leaf_c, got_c = collector(c)
    ready = threading.Event()

    def middle(task: Any = None) -> Any:
        channel = Channel("middle")
        channel.register()
        made.append(channel)
        yield channel.subscribe(leaf_b)
        yield channel.subscribe(remote_leaf)
        ready.set()
        yield task.receive()

    made: list[Any] = []
    remote_leaf = b.reference(leaf_c)
    keeper = b.spawn(middle)
    assert ready.wait(WAIT_S)

    def top(task: Any = None) -> Any:
        channel = Channel("top")
        below = yield Channel.locate("middle", location=b.location, timeout=WAIT_S)
        assert (yield channel.subscribe(below)) == 0
        return (yield channel.deliver("hello", timeout=WAIT_S)), channel.send("again")

    assert a.run(top) == (2, 0)
    for got in (got_b, got_c):
        got.wait(lambda items: len(items) == 2)
        assert got.items == ["hello", "again"]
    keeper.send("end")


def test_a_channel_keeps_subscribers_elsewhere_that_a_message_cannot_be_sent(cluster: Cluster) -> None:
    """Top at a, middle at b, a leaf at each: what cannot be pickled is told to its sender, and that alone is lost."""
    a, b = cluster.place("a"), cluster.place("b")
    leaf_a, got_a = collector(a)
    leaf_b, got_b = collector(b)
    ready = threading.Event()

    def middle(task: Any = None) -> Any:
        channel = Channel("middle", lambda name, message: threading.Lock() if message == "spoil" else message)
        channel.register()
        yield channel.subscribe(remote_leaf)
        ready.set()
        yield task.receive()

    remote_leaf = b.reference(leaf_a)
    keeper = b.spawn(middle)
    assert ready.wait(WAIT_S)

    leaf_of_b = a.reference(leaf_b)

    def top(task: Any = None) -> Any:
        channel = Channel("top")
        below = yield Channel.locate("middle", location=b.location, timeout=WAIT_S)
        yield channel.subscribe(below)
        yield channel.subscribe(leaf_of_b)
        with pytest.raises(ShippingError, match="lock object"):
            yield channel.deliver(threading.Lock(), timeout=WAIT_S)
        with pytest.raises(ShippingError, match="lock object"):
            channel.send(threading.Lock())
        with pytest.raises(ShippingError, match="lock object"):  # raised in the middle, for the leaf there
            yield channel.deliver("spoil", timeout=WAIT_S)
        with pytest.raises(ShippingError, match="there is no such thing"):  # raised where it is opened
            yield channel.deliver(Unopenable(), timeout=WAIT_S)
        return (yield channel.deliver("good", timeout=WAIT_S))

    assert a.run(top) == 2
    for got, items in ((got_a, ["good"]), (got_b, ["spoil", "good"])):
        assert got.wait(items.__eq__) == items
    keeper.send("end")


def test_a_channel_of_a_dead_process(two: tuple[Place, Place]) -> None:
    a, b = two
    a.connect(b)
    channel = a.call(RemoteChannel, a.network, b.location, b.network.incarnation, "c")

    def use(task: Any = None) -> Any:
        unknown = yield channel.deliver("x", timeout=WAIT_S)
        b.kill()
        results = [(yield channel.deliver("x", timeout=WAIT_S)), (yield channel.subscribe(task, timeout=WAIT_S))]
        return unknown, results, channel.send("x")

    assert a.run(use) == (-1, [-1, -1], -1)


def test_a_subscriber_that_cannot_be_opened_there(two: tuple[Place, Place], log: Log) -> None:
    """The asker is answered, and does not wait for ever."""
    a, b = two

    def serve(task: Any = None) -> Any:
        Channel("c").register()
        ready.set()
        yield task.receive()

    ready = threading.Event()
    b.spawn(serve)
    assert ready.wait(WAIT_S)
    channel = a.call(RemoteChannel, a.network, b.location, b.network.incarnation, "c")

    def use(task: Any = None) -> Any:
        with pytest.raises(ShippingError, match="there is no such thing"):
            yield channel.deliver(Unopenable())

    a.run(use)
    log.wait_for("could not be handled")


# peers


def test_peer_and_peers(cluster: Cluster, log: Log) -> None:
    a, b, c = cluster.place("a"), cluster.place("b"), cluster.place("c")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = Location("127.0.0.1", sock.getsockname()[1])

        def connect(task: Any = None) -> Any:
            results = []
            for location in (b.location, b.location, c.location, nobody):
                results.append((yield a.network.peer(location)))
            return results

        assert a.run(connect) == [0, 0, 0, -1]
        log.wait_for("cannot connect to", str(nobody), "no process listens")
    assert sorted(a.network.peers()) == sorted([b.location, c.location])
    assert len(log.lines) == 1

    def find(name: str, task: Any = None) -> Any:
        return (yield a.network.locate(name, 0.01))

    assert a.run(find, "b") == b.location
    assert a.run(find, "z") is None


def test_peer_with_another_secret_is_one_line_here(cluster: Cluster, log: Log) -> None:
    a, b = cluster.place("a"), cluster.place("b", keys=OTHER_KEYS)

    def connect(task: Any = None) -> Any:
        return (yield a.network.peer(b.location))

    assert a.run(connect) == -1
    log.wait_for("refused a connection")
    a.call(lambda: None)
    assert len(log.with_words(str(b.location), "another secret")) == 1
    assert len(log.lines) == 2


def test_peer_status_once_per_change(cluster: Cluster) -> None:
    a, b = cluster.place("a"), cluster.place("b")
    a.connect(b)
    watcher, got = collector(a)
    late, late_got = collector(a)
    a.network.peer_status(watcher)
    got.wait(lambda items: len(items) == 1)
    c = cluster.place("c")
    c.connect(a)
    got.wait(lambda items: len(items) == 2)
    a.connect(c)  # connected already: no news
    a.network.peer_status(late)
    late_got.wait(lambda items: len(items) == 2)
    links = [p.link for p in a.network.hub.peers()]
    for link in links:  # a connection that breaks and comes back: no news either
        assert link is not None
        socket.socket.shutdown(link.sock, socket.SHUT_RDWR)
    there, there_got = collector(b)
    a.reference(there).send("over the new connection")
    there_got.wait(lambda items: items)
    c.close()
    got.wait(lambda items: len(items) == 3)
    b.kill()
    got.wait(lambda items: len(items) == 4)
    seen = [(s.name, s.status, s.location) for s in got.items]
    assert seen == [
        ("b", PeerStatus.Online, b.location),
        ("c", PeerStatus.Online, c.location),
        ("c", PeerStatus.Offline, c.location),
        ("b", PeerStatus.Offline, b.location),
    ]
    late_got.wait(lambda items: len(items) == 4)
    assert {(s.name, s.status) for s in late_got.items[:2]} == {("b", 1), ("c", 1)}
    a.network.peer_status(None)
    d = cluster.place("d")
    a.connect(d)
    a.call(lambda: None)
    assert len(got.items) == 4


def test_peer_status_of_who_was_never_there(cluster: Cluster) -> None:
    a, b = cluster.place("a"), cluster.place("b")
    watcher, got = collector(a)
    a.network.peer_status(watcher)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        remote = a.call(RemoteTask, a.network, Location("127.0.0.1", sock.getsockname()[1]), 4711, 1, "t")
        with pytest.raises(TaskAbandoned):
            a.run(lambda: (yield remote.result()))
    a.connect(b)
    got.wait(lambda items: items)
    assert [s.name for s in got.items] == ["b"]


def test_both_connect_at_once_many_times() -> None:
    for turn in range(8):
        with Cluster() as cluster:
            a, b = cluster.place("a"), cluster.place("b")
            statuses = []
            for place in (a, b):
                watcher, got = collector(place)
                place.network.peer_status(watcher)
                statuses.append(got)
            barrier = threading.Barrier(2)

            def connect(one: Place, other: Place, barrier: threading.Barrier = barrier) -> None:
                barrier.wait(WAIT_S)
                one.connect(other)

            threads = [threading.Thread(target=connect, args=pair) for pair in ((a, b), (b, a))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for got in statuses:
                got.wait(lambda items: items)
                assert [s.status for s in got.items] == [PeerStatus.Online], turn
            assert a.network.peers() == [b.location]
            assert b.network.peers() == [a.location]


def test_a_service_that_this_process_is_not(two: tuple[Place, Place], log: Log) -> None:
    a, b = two
    a.connect(b)
    peer = a.peer_of(b)
    assert peer is not None
    assert a.network.post_service(peer, "oracle", b"?")
    log.wait_for("for a 'oracle'", "this process is not")
    assert a.is_connected_to(b)


def test_services_in_order_with_tasks_messages(two: tuple[Place, Place], log: Log) -> None:
    a, b = two
    got = Changes()

    def service(peer: Any, message: Any) -> None:
        if message.body == b"bad":
            raise ValueError("no such thing")
        got.add((message.body, bytes(message.payload)))

    b.network.services["test"] = service
    a.connect(b)
    peer = a.peer_of(b)
    assert peer is not None
    for i in range(100):
        a.network.post_service(peer, "test", str(i).encode(), buffers=[b"x" * (50_000 if i % 10 == 0 else 10)])
        a.network.post_service(peer, "test", b"bad")
    items = got.wait(lambda items: len(items) == 100)
    assert [int(body) for body, _ in items] == list(range(100))
    assert [len(payload) for _, payload in items] == [50_000 if i % 10 == 0 else 10 for i in range(100)]
    log.wait_for("could not be handled")


def test_a_service_message_too_large_for_a_frame_is_refused_here(two: tuple[Place, Place]) -> None:
    """It would end the session at the other side."""
    a, b = two
    a.connect(b)
    peer = a.peer_of(b)
    assert peer is not None
    with pytest.raises(ShippingError, match="too large"):
        a.network.post_service(peer, "test", bytes(600_000))
    assert a.is_connected_to(b)


# discovery


@pytest.mark.parametrize("hosts", [("127.0.0.1",) * 3, ("127.0.0.11", "127.0.0.12", "127.0.0.13")])
def test_discovery_whatever_the_order(hosts: tuple[str, ...]) -> None:
    port = free_ports(1)[0]
    with Cluster() as cluster:
        statuses = []
        places = []
        for i, host in enumerate(hosts):
            place = cluster.place(f"d{i}", host=host, discover=True, udp_port=port, target_udp_ports=[port])
            watcher, got = collector(place)
            place.network.peer_status(watcher)
            places.append(place)
            statuses.append(got)
            if i == 0:
                collector(place, name="first")
        for got in statuses:
            got.wait(lambda items: len(items) == 2)
        for place in places:
            assert sorted(place.network.peers()) == sorted(p.location for p in places if p is not place)

        def find(task: Any = None) -> Any:
            return (yield Task.locate("first", timeout=WAIT_S))

        assert places[2].run(find).location == places[0].location
        places[1].close()
        for i in (0, 2):
            statuses[i].wait(lambda items: len(items) == 3)
            assert [s.status for s in statuses[i].items] == [1, 1, 0]


def test_only_wanted_roles_are_dialled() -> None:
    port = free_ports(1)[0]
    options: dict[str, Any] = {"discover": True, "udp_port": port, "target_udp_ports": [port]}
    with Cluster() as cluster:
        node = cluster.place("node", roles=("node",), dial_roles=set(), **options)
        client = cluster.place("client", roles=("client",), dial_roles=set(), **options)
        watcher, got = collector(client)
        client.network.peer_status(watcher)
        client.network.look_for(["node"])
        got.wait(lambda items: items)
        assert got.items[0].name == "node"
        assert node.network.peers() == [client.location]


def test_a_locate_that_discovers() -> None:
    """No announcement was heard yet, because the other announces rarely: asking finds it."""
    port = free_ports(1)[0]
    options: dict[str, Any] = {"discover": True, "udp_port": port, "target_udp_ports": [port]}
    with Cluster() as cluster:
        a = cluster.place("a", **options)
        b = cluster.place("b", **options)
        there, _ = collector(b, name="sought")

        def find(task: Any = None) -> Any:
            return (yield Task.locate("sought", timeout=WAIT_S))

        assert a.run(find).id == there.id


def test_what_is_told_instead_of_own_addresses(cluster: Cluster) -> None:
    own = ["10.0.0.1", "10.1.0.1"]
    assert told_addresses(own, None) == own
    assert told_addresses(own, "192.0.2.1") == ["192.0.2.1", "10.1.0.1"], "each for the one in its place"
    assert told_addresses(own, ["192.0.2.1", "192.0.2.2"]) == ["192.0.2.1", "192.0.2.2"]
    assert told_addresses(own[:1], ["192.0.2.1", "192.0.2.2"]) == ["192.0.2.1", "192.0.2.2"]
    behind = cluster.place("behind", host=["127.0.0.1", "127.0.0.2"], ext_host=["127.0.0.3", "127.0.0.4"])
    assert behind.location.addr == "127.0.0.3"
    told = behind.network.hub.own
    assert (told.addr, told.addrs) == ("127.0.0.3", ("127.0.0.4",))
    announced = [discovery._announce() for discovery in behind.network.discoveries]
    assert [announce.addr for announce in announced] == ["127.0.0.3", "127.0.0.4"]


def test_a_kernel_thread_that_ends_the_network_hears_the_others_close(
    two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kept the lookout, and reads no more: the I/O thread does, until the last has gone, and not for a time."""
    one, other = two
    monkeypatch.setattr(goodbye, "LINGER_S", 0.0)
    monkeypatch.setattr(goodbye, "GOODBYE_S", 10 * WAIT_S)
    one.connect(other)
    say = one.network.hub.goodbye.say

    async def as_if_it_had_just_been_back() -> None:
        one.network.hub.lookout._times_left += 1
        await say()

    monkeypatch.setattr(one.network.hub.goodbye, "say", as_if_it_had_just_been_back)
    one.call(one.network.close)
    assert one.network.hub.closed
