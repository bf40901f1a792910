"""parkcos/net/tasks/rps.py, with the router's half of it: several networks in one process, and real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import (
    ConfigError,
    NotATask,
    PeerError,
    RemoteError,
    ShippingError,
    TaskAbandoned,
    TaskTerminated,
    UsageError,
)
from parkcos.kernel import Kernel, MonitorStatus, Task
from parkcos.net.location import Location
from parkcos.net.tasks import rps as rps_module
from parkcos.net.tasks.remote_task import RemoteTask
from parkcos.net.tasks.rps import RPS, LocatedRPS
from tests.net.cluster_of_networks import WAIT_S, Changes, Cluster, Log, Place
from tests.secret import SECRET

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]


@pytest.fixture
def two(cluster: Cluster) -> tuple[Place, Place]:
    """Who calls, and who serves; they know each other."""
    caller, server = cluster.place("caller"), cluster.place("server")
    caller.connect(server)
    return caller, server


# what others run


def add(a: int, b: int = 2, *, times: int = 1) -> Any:
    yield
    return (a + b) * times


async def multiply(a: int, b: int) -> int:
    return a * b


def echo(prefix: str, task: Any = None) -> Any:
    while (message := (yield task.receive())) is not None:
        message[0].send(prefix + message[1])
    return "done"


def fail() -> Any:
    yield
    raise LookupError("no such sample")


def wait_for_ever(task: Any = None) -> Any:
    yield task.receive()


def offer(place: Place, method: Any, name: str | None = None) -> RPS:
    rps = place.call(RPS, method, name)
    assert place.call(rps.register) == 0
    return rps


def find(place: Place, name: str, **how: Any) -> Any:
    def locating() -> Any:
        return (yield RPS.locate(name, **how))

    return place.run(locating)


def call(rps: Any, *args: Any, **kwargs: Any) -> Any:
    """A task: the value of one call."""
    rtask = yield rps(*args, **kwargs)
    return (yield rtask.result())


def start(rps: Any, *args: Any, **kwargs: Any) -> Any:
    """A task: the task of one call."""
    return (yield rps(*args, **kwargs))


def status_of(task: Any) -> Any:
    return (yield task.finish())


# calls


def test_located_and_run(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, add)
    rps = find(caller, "add")
    assert isinstance(rps, RPS)
    assert rps.location == server.location
    assert caller.run(call, rps, 1) == 3
    assert caller.run(call, rps, 1, b=4, times=10) == 50
    rtask = caller.run(start, rps, 1)
    assert isinstance(rtask, RemoteTask)
    assert rtask.name == "add"
    assert rtask.location == server.location


def test_async_def_on_both_sides(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, multiply, "times")

    async def main() -> Any:
        rps: Any = await RPS.locate("times", server.location, WAIT_S)
        rtask = await rps(6, 7)
        return await rtask

    assert caller.run(main) == 42


def test_every_operation_of_the_task(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, echo)
    rps = find(caller, "echo")

    def main(task: Any = None) -> Any:
        rtask = yield rps("> ")
        assert (yield task.monitor(rtask)) == 0
        assert rtask.is_alive()
        assert rtask.send((task, "one")) == 0
        first = yield task.receive()
        assert (yield rtask.deliver((task, "two"), timeout=WAIT_S)) == 1
        second = yield task.receive()
        assert (yield rtask.finish(0.01)) is None
        rtask.send(None)
        value = yield rtask.finish()
        status = yield task.receive()
        assert status.info is rtask
        assert not rtask.is_alive()
        assert rtask.send("late") == -1
        assert (yield rtask.deliver("late")) == -1
        assert rtask.terminate() == -1
        return first, second, value, (yield rtask.result()), (yield rtask()), status.type, status.value

    assert caller.run(main) == ("> one", "> two", "done", "done", "done", StopIteration, "done")


def test_a_task_that_ended_at_once(two: tuple[Place, Place]) -> None:
    """Its end is known although nobody asked for it before it came."""
    caller, server = two
    server_rps = offer(server, multiply)
    offer(server, fail)
    times, failing = find(caller, "multiply"), find(caller, "fail")
    ended = Changes()
    server.call(server_rps.monitor, server.spawn(note, ended))

    def main(task: Any = None) -> Any:
        rtask = yield times(6, 7)
        yield task.receive()
        assert (yield task.monitor(rtask)) == 0
        status = yield task.receive()
        return (yield rtask.finish()), (yield rtask.result()), status.value

    waiting = caller.spawn(main)
    ended.wait(lambda items: items)
    waiting.send("it has ended there")
    assert waiting.future().result(WAIT_S) == (42, 42, 42)

    status = caller.run(status_of, caller.run(start, failing))
    assert isinstance(status, MonitorStatus)
    assert status.type is LookupError
    with pytest.raises(LookupError, match="no such sample"):
        caller.run(call, failing)


def note(changes: Changes, task: Any = None) -> Any:
    task.set_daemon()
    while True:
        changes.add((yield task.receive()))


def test_many_calls_at_once(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, add)
    rps = find(caller, "add")
    tasks = [caller.spawn(call, rps, i, 0) for i in range(500)]
    assert [task.future().result(WAIT_S) for task in tasks] == list(range(500))


def test_large_arguments_and_results(two: tuple[Place, Place]) -> None:
    caller, server = two

    def double(data: bytes) -> Any:
        yield
        return data + data

    offer(server, double)
    data = os.urandom(1_000_000)
    assert caller.run(call, find(caller, "double"), data) == data + data


def test_terminate(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, wait_for_ever)
    rtask = caller.run(start, find(caller, "wait_for_ever"))
    assert rtask.terminate() == 0
    assert caller.run(status_of, rtask).type is TaskTerminated
    assert not server.kernel.live


def test_its_process_is_lost(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, wait_for_ever)
    rps = find(caller, "wait_for_ever")
    rtask = caller.run(start, rps)
    server.kill()
    status = caller.run(status_of, rtask)
    assert status.type is TaskAbandoned
    assert "is lost with its process" in str(status.exception)
    with pytest.raises(PeerError, match=r"the process of <RPS wait_for_ever@127\.0\.0\.1:\d+> is gone"):
        caller.run(start, rps)


def test_its_process_is_lost_before_it_answers(two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile the log says what is waited for."""
    monkeypatch.setattr(rps_module, "WAITING_LOG_S", 0.05)
    caller, server = two
    offer(server, add)
    rps = find(caller, "add")
    go_on = threading.Event()
    server.kernel.post(go_on.wait, WAIT_S)
    with Log() as log:
        waiting = caller.spawn(start, rps, 1)
        log.wait_for("still waiting for <RPS add@", "to start a task")
        server.fall_silent()
        go_on.set()
        with pytest.raises(PeerError, match="is gone"):
            waiting.future().result(WAIT_S)


def test_who_gives_up_waiting_leaves_no_task(two: tuple[Place, Place]) -> None:
    caller, server = two
    offered = offer(server, wait_for_ever)
    ended = Changes()
    server.call(offered.monitor, server.spawn(note, ended))
    rps = find(caller, "wait_for_ever")
    busy, go_on, asked = threading.Event(), threading.Event(), threading.Event()

    def hog() -> None:
        busy.set()
        go_on.wait(WAIT_S)

    server.kernel.post(hog)
    assert busy.wait(WAIT_S)

    def give_up() -> Any:
        asked.set()
        yield rps()

    waiting = caller.spawn(give_up)
    assert asked.wait(WAIT_S)
    caller.call(waiting.terminate)
    with pytest.raises(TaskTerminated):
        waiting.future().result(WAIT_S)
    go_on.set()
    (status,) = ended.wait(lambda items: items)
    assert status.type is TaskTerminated


# wrong calls


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, "0 arguments: missing a required argument: 'a'"),
        ((1, 2, 3), {}, "3 arguments: too many positional arguments"),
        ((1,), {"c": 3}, "one argument, 'c': got an unexpected keyword argument 'c'"),
        ((1,), {"a": 3}, "one argument, 'a': multiple values for argument 'a'"),
    ],
)
def test_wrong_arguments(two: tuple[Place, Place], args: Any, kwargs: Any, reason: str) -> None:
    caller, server = two
    offer(server, add)
    rps = find(caller, "add")
    with pytest.raises(TypeError) as caught:
        caller.run(call, rps, *args, **kwargs)
    assert reason in str(caught.value)
    assert "write: rtask = yield rps(a, b=2, *, times=1)" in str(caught.value)
    assert caller.run(call, rps, 1) == 3  # the server goes on
    assert not caller.network.requests._open


def test_the_expected_signature_does_not_ask_for_the_task(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, echo)
    with pytest.raises(TypeError, match=r"write: rtask = yield rps\(prefix\)"):
        caller.run(start, find(caller, "echo"))


def test_not_registered_any_more(two: tuple[Place, Place]) -> None:
    caller, server = two
    offered = offer(server, echo)
    rps = find(caller, "echo")
    running = caller.run(start, rps, "> ")
    assert server.call(offered.unregister) == 0
    assert server.call(offered.unregister) == -1
    with pytest.raises(RemoteError, match="is not registered there any more"):
        caller.run(start, rps, "> ")
    assert find(caller, "echo") is None
    running.send(None)
    assert caller.run(status_of, running) == "done"
    assert not caller.network.requests._open


def test_arguments_that_cannot_be_sent_or_opened(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, add)
    rps = find(caller, "add")
    with pytest.raises(ShippingError, match="lock object"):
        caller.run(call, rps, threading.Lock())
    with pytest.raises(RemoteError, match="cannot be opened here: ValueError: there is no such thing"):
        caller.run(call, rps, Unopenable())
    assert caller.run(call, rps, 1) == 3


class Unopenable:
    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("there is no such thing")


def plain() -> int:
    return 1


def test_what_cannot_be_offered(two: tuple[Place, Place]) -> None:
    _, server = two
    with pytest.raises(NotATask, match=r"(?s)plain is a plain function.*wrong: RPS\(plain\).*and then RPS\(plain\)"):
        server.call(RPS, plain)
    with pytest.raises(UsageError, match=r"(?s)was called already.*wrong: RPS\(fail\(\.\.\.\)\)\n +write: RPS\(fail\)"):
        server.call(RPS, fail())
    with pytest.raises(UsageError, match="must be a str that is not empty, not 5"):
        server.call(RPS, fail, 5)


def test_names(two: tuple[Place, Place]) -> None:
    """A name stands for one RPS; a task or a channel may have the same."""
    _, server = two
    first, second = server.call(RPS, add), server.call(RPS, multiply, "add")
    with Log() as log:
        assert [server.call(first.register), server.call(first.register), server.call(second.register)] == [0, 0, -1]
        log.wait_for("cannot be registered")
    assert server.call(server.spawn(wait_for_ever).register, "add") == 0
    assert server.call(first.unregister) == 0
    assert server.call(second.register) == 0


# locate


def test_one_of_many_has_it(cluster: Cluster) -> None:
    """Whoever answers first, and whatever: the one that has it is found."""
    caller = cluster.place("caller")
    servers = [cluster.place(f"server{i}") for i in range(8)]
    for server in servers:
        caller.connect(server)
    for i in (0, 3, 7):
        offered = offer(servers[i], add)
        for _ in range(5):
            assert find(caller, "add").location == servers[i].location
        servers[i].call(offered.unregister)
    assert find(caller, "add") is None
    assert find(caller, "add", timeout=0.01) is None
    offer(servers[2], add)
    assert find(caller, "add", location=servers[1].location) is None
    assert find(caller, "add", location=servers[2].location).location == servers[2].location


def test_a_search_lasts_until_it_appears(two: tuple[Place, Place]) -> None:
    caller, server = two
    searching = Changes()

    def search() -> Any:
        searching.add("begun")
        return (yield RPS.locate("add", timeout=WAIT_S))

    task = caller.spawn(search)
    searching.wait(lambda items: items)
    offer(server, add)
    assert task.future().result(WAIT_S).location == server.location


def test_nobody_at_that_location(cluster: Cluster) -> None:
    caller, gone = cluster.place("caller"), cluster.place("gone")
    location = gone.location
    gone.close()
    assert find(caller, "add", location=location, timeout=0.1) is None


# in the same process


def test_a_located_rps_of_the_same_process_runs_there(two: tuple[Place, Place]) -> None:
    _, server = two
    offered = offer(server, add)
    for rps in (find(server, "add"), find(server, "add", location=server.location), server.reference(offered)):
        assert isinstance(rps, LocatedRPS)
        rtask = server.run(start, rps, 5)
        assert type(rtask) is Task
        assert server.run(call, rps, 5) == 7
        with pytest.raises(TypeError, match="missing a required argument: 'a'"):
            server.run(call, rps)
    assert server.run(call, offered, 5) == 7
    server.call(offered.unregister)
    with pytest.raises(RemoteError, match="is not registered there any more"):
        server.run(call, rps, 5)
    assert find(server, "add", location=server.location) is None


def test_without_a_network() -> None:
    kernel = Kernel("alone")
    kernel.start()
    try:

        def main() -> Any:
            RPS(add).register()
            rps = yield RPS.locate("add")
            value = yield call(rps, 1)
            try:
                yield RPS.locate("other")
            except ConfigError:
                return value

        assert kernel.spawn(main).future().result(WAIT_S) == 3
    finally:
        kernel.terminate()


# references


def test_it_travels_in_messages(cluster: Cluster) -> None:
    """From the program that offers it to a second, from there to a third, and home."""
    server, second, third = (cluster.place(name) for name in ("server", "second", "third"))
    offered = offer(server, add)

    def pass_on(task: Any = None) -> Any:
        target, rps = yield task.receive()
        yield target.send(rps)

    def use(task: Any = None) -> Any:
        rps = yield task.receive()
        return rps, (yield call(rps, 1))

    using, passing = third.spawn(use), second.spawn(pass_on)
    server.call(server.reference(passing).send, (server.reference(using), offered))
    rps, value = using.future().result(WAIT_S)
    assert (rps.name, rps.location, value) == ("add", server.location, 3)
    assert rps == third.reference(offered)
    assert len({rps, third.reference(offered)}) == 1
    home = server.reference(rps)
    assert type(server.run(start, home, 1)) is Task


# monitor and close


def test_monitor_is_told_of_each_task(two: tuple[Place, Place]) -> None:
    caller, server = two
    offered = offer(server, add)
    offer(server, fail)
    rps, failing = find(caller, "add"), find(caller, "fail")
    there, here = Changes(), Changes()
    assert server.call(offered.monitor, server.spawn(note, there)) == 0
    monitor = caller.spawn(note, here)
    assert caller.call(rps.monitor, "me") == -1
    for _ in range(2):  # registered twice is registered once
        assert rps.monitor(monitor) == failing.monitor(monitor) == 0
    rtasks = [caller.run(start, rps, i) for i in range(3)]
    failed = caller.run(start, failing)
    statuses = {status.info: status for status in here.wait(lambda items: len(items) == 4)}
    assert [statuses[rtask].value for rtask in rtasks] == [2, 3, 4]
    assert statuses[failed].type is LookupError
    assert sorted(status.value for status in there.wait(lambda items: len(items) == 3)) == [2, 3, 4]


def test_monitor_is_told_of_what_runs_already_and_by_a_third(cluster: Cluster) -> None:
    caller, server, third = (cluster.place(name) for name in ("caller", "server", "third"))
    offer(server, wait_for_ever)
    rps = find(caller, "wait_for_ever", location=server.location)
    rtask = caller.run(start, rps)
    told = Changes()
    monitor = third.spawn(note, told)
    assert caller.call(rps.monitor, caller.reference(monitor)) == 0
    rtask.send("go")
    (status,) = told.wait(lambda items: items)
    assert status.info == third.reference(rtask)


def test_close_terminates_its_own_tasks(two: tuple[Place, Place]) -> None:
    caller, server = two
    offer(server, wait_for_ever)
    mine, other = find(caller, "wait_for_ever"), find(caller, "wait_for_ever")
    rtasks = [caller.run(start, mine) for _ in range(3)]
    survivor = caller.run(start, other)
    mine.close()
    assert [caller.run(status_of, rtask).type for rtask in rtasks] == [TaskTerminated] * 3
    with pytest.raises(UsageError, match=r"is closed\n +write: rps = yield RPS.locate\('wait_for_ever'\)"):
        caller.run(start, mine)
    assert survivor.is_alive()
    survivor.send("go")
    assert caller.run(status_of, survivor) is None


def test_close_at_the_program_that_offers_it(two: tuple[Place, Place]) -> None:
    caller, server = two
    offered = offer(server, wait_for_ever)
    rps = find(caller, "wait_for_ever")
    rtask = caller.run(start, rps)
    server.call(offered.close)
    assert caller.run(status_of, rtask).type is TaskTerminated
    with pytest.raises(RemoteError, match="is not registered there any more"):
        caller.run(start, rps)
    with Log() as log:
        assert server.call(offered.register) == -1
        log.wait_for("cannot be registered")


# real processes

SERVER = """
import parkcos, sys
from parkcos import RPS, Parkcos, Task

def work(first, second=2, task=None):
    if first == "wait":
        yield task.receive()
    return first * second

Parkcos(host="127.0.0.1", secret=SECRET, discover_peers=False)

def main(task=None):
    RPS(work).register()
    print(Parkcos().location, flush=True)
    yield task.receive()

Task(main)
""".replace("SECRET", repr(SECRET))

CALLER = """
import parkcos, sys
from parkcos import RPS, Location, Parkcos, Task

Parkcos(host="127.0.0.1", secret=SECRET, discover_peers=False)

def main(task=None):
    where = Location.parse(sys.argv[1])
    rps = yield RPS.locate("work", where, 20)
    rtask = yield rps(21)
    print((yield rtask.result()))
    try:
        yield rps()
    except TypeError as error:
        print(error)
    waiting = yield rps("wait")
    print("waits", flush=True)
    status = yield waiting.finish()
    print(status.type.__name__)
    try:
        yield rps(1)
    except parkcos.PeerError as error:
        print(error)

Task(main)
""".replace("SECRET", repr(SECRET))


def test_two_processes_and_the_server_is_killed() -> None:
    def program(text: str, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(text), *args]
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)

    with program(SERVER) as server:
        assert server.stdout is not None
        try:
            location = str(Location.parse(server.stdout.readline().strip()))
            with program(CALLER, location) as caller:
                assert caller.stdout is not None
                lines = iter(caller.stdout)
                assert next(lines) == "42\n"
                assert "missing a required argument: 'first'" in next(lines)
                assert next(lines) == "  write: rtask = yield rps(first, second=2)\n"
                assert next(lines) == "waits\n"
                os.kill(server.pid, signal.SIGKILL)
                assert next(lines) == "TaskAbandoned\n"
                assert "is gone" in next(lines)
                assert caller.wait(WAIT_S) == 0
        finally:
            server.kill()
