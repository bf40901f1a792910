"""What a client asks of its servers, seen from outside: chapter 6.4 and 6.5, against a real node."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import Any

import psutil
import pytest

from parkcos import (
    Client,
    ConfigError,
    Location,
    MonitorStatus,
    ScheduleError,
    Scheduler,
    Status,
    Task,
    TaskAbandoned,
    UsageError,
    close_node,
    close_server,
)
from tests.live.lib import LIMIT_S, Program, gone, me, run
from tests.live.watched import (
    CPUS,
    Gen,
    Watch,
    at,
    both,
    drive,
    pid,
    pids,
    recall,
    remember,
    waits,
)

pytestmark = pytest.mark.live


# What runs there


def says_more(to: Any, task: Any = None) -> Gen:
    """Uses its grace."""
    to.send("begins")
    try:
        yield task.receive()
    except KeyboardInterrupt:
        yield task.sleep(0.2)
        to.send("saved")
        yield task.sleep(0.2)
        return "in order"


def goes_on(to: Any, task: Any = None) -> Gen:
    """Ignores that it is to end."""
    to.send("begins")
    while True:
        try:
            yield task.sleep(1000)
        except KeyboardInterrupt:
            to.send("ignores it")


def holds_everything(to: Any, task: Any = None) -> Gen:
    """In C code that no signal ends, with the interpreter: it takes a lock that it has."""
    to.send(os.getpid())
    with contextlib.suppress(KeyboardInterrupt):
        yield task.receive()
    lock = ctypes.create_string_buffer(256)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(lock)


def closes_server(terminate: bool, restart: bool) -> Gen:
    close_server(terminate, restart)
    yield
    return os.getpid()


def closes_node(terminate: bool) -> Gen:
    close_node(terminate)
    yield
    return os.getpid()


def closes_when_told(task: Any = None) -> Gen:
    close_server(*(yield task.receive()))
    yield task.sleep(1000)


# suspend and resume


@pytest.mark.parametrize("what", ["server", "node", "node by name", "node by location"])
def test_suspend_and_resume(port: int, what: str) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        servers = yield both(client, watch)
        first = servers[0]
        running = yield client.rtask_at(first, waits, me())
        _, victim = yield me().receive(LIMIT_S)
        suspend, resume = client.suspend_node, client.resume_node
        if what == "server":
            suspend, resume = client.suspend_server, client.resume_server
        kind = "Server" if what == "server" else "Node"
        by_location = Location("127.0.0.1", port)
        where = {"server": first, "node": "127.0.0.1", "node by name": "shared"}.get(what, by_location)
        suspend(where)
        told = yield watch.until(getattr(Scheduler, f"{kind}Suspended"))
        assert told.reason == "its client asked for it"
        assert (told.info == first) if what == "server" else (told.info.location == by_location)
        assert set((yield client.servers())) == (set(servers[1:]) if what == "server" else set())
        pinned = Task(submits, client, first)
        if what == "server":
            assert victim not in (yield pids(client, 5))
        running.send("goes on")
        assert (yield running.result()) == "goes on"
        assert pinned.is_alive()
        resume(where)
        assert (yield pinned.finish()) == victim

    def submits(client: Client, where: Any) -> Gen:
        return (yield (yield client.rtask_at(where, pid)).result())

    watch = drive(body, port)
    kind = "Server" if what == "server" else "Node"
    assert [s for s in watch.statuses if s.endswith(("Suspended", "Resumed"))] == [f"{kind}Suspended", f"{kind}Resumed"]


# servers


@pytest.mark.parametrize("by", ["close_server", "restart_server", "the task"])
def test_a_server_is_restarted_with_a_pristine_state(port: int, by: str) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        servers = yield both(client, watch)
        yield (yield client.rtask_at(servers[0], remember, "something")).result()
        assert (yield (yield client.rtask_at(servers[0], recall)).result()) == "something"
        before = yield (yield client.rtask_at(servers[0], pid)).result()
        old = psutil.Process(before)
        if by == "close_server":
            client.close_server(servers[0], restart=True)
        elif by == "restart_server":
            client.restart_server(servers[0])
        else:
            assert (yield (yield client.rtask_at(servers[0], closes_server, False, True)).result()) == before
        assert (yield watch.until(Scheduler.ServerClosed)).info == servers[0]
        new = (yield watch.until(Scheduler.ServerInitialized, CPUS + 1)).info
        assert gone([old]) == []
        assert (yield (yield client.rtask_at(new, recall)).result()) == "nothing"
        assert (yield (yield client.rtask_at(new, pid)).result()) != before

    watch = drive(body, port)
    assert watch.statuses.count("ServerClosed") == CPUS + 1
    assert watch.statuses.count("ServerDiscovered") == CPUS + 1


def test_what_is_told_of_servers_that_die_again_and_again_at_one_address(port: int) -> None:
    """A status task that goes by addresses never takes a new server for the old one, nor the other way round."""
    deaths = 4

    def body(client: Client, watch: Watch) -> Gen:
        yield both(client, watch)
        for number in range(1, deaths + 1):
            os.kill((yield (yield client.rtask(pid)).result()), signal.SIGKILL)
            yield watch.until(Scheduler.ServerInitialized, CPUS + number)

    watch = drive(body, port)
    life = [Scheduler.ServerDiscovered, Scheduler.ServerInitialized]
    ends = {Scheduler.ServerClosed, Scheduler.ServerDisconnected}
    told: dict[Location, list[int]] = {}
    for message in watch.messages:
        if isinstance(message, Status) and isinstance(message.info, Location):
            told.setdefault(message.info, []).append(message.status)
    assert len(told) == CPUS
    assert sum(map(len, told.values())) == 3 * (CPUS + deaths)
    for location, statuses in told.items():
        for start in range(0, len(statuses), 3):
            assert statuses[start : start + 2] == life, (location, statuses)
            assert statuses[start + 2] in ends, (location, statuses)


def test_a_server_that_is_closed_waits_for_its_cpu_task(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, second = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        _, victim = yield me().receive(LIMIT_S)
        client.close_server(first)
        with pytest.raises(TaskAbandoned, match="that server is being closed"):
            yield client.rtask_at(first, pid)
        assert victim not in (yield pids(client, 4))
        assert psutil.pid_exists(victim)
        running.send("its result")
        assert (yield running.result()) == "its result"
        yield watch.until(Scheduler.ServerClosed)
        assert gone([psutil.Process(victim)] if psutil.pid_exists(victim) else []) == []
        assert (yield client.servers()) == [second]
        with pytest.raises(ScheduleError, match="no server or node at"):
            client.close_server(first)

    drive(body, port)


def test_restart_servers_means_every_close(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        client.close_server(first)
        yield watch.until(Scheduler.ServerInitialized, CPUS + 1)
        assert len((yield client.servers())) == CPUS

    drive(body, port, restart_servers=True)


@pytest.mark.parametrize("by", ["close_server", "close_node", "the task", "the task's node", "close"])
def test_keyboard_interrupt_and_a_grace(port: int, by: str) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        if by.startswith("the task"):  # beside an I/O task that asks for the end
            running = yield client.rtask_at(first, says_more, me())
            assert (yield me().receive(LIMIT_S)) == "begins"
            if by == "the task":
                asking = yield client.io_rtask_at(first, closes_server, True, False)
                assert isinstance((yield asking.result()), int), "who asks is not interrupted"
            else:
                yield (yield client.io_rtask_at(first, closes_node, True)).finish()
        else:
            running = yield client.rtask_at(first, says_more, me())
            assert (yield me().receive(LIMIT_S)) == "begins"
        if by == "close_server":
            client.close_server(first, terminate=True)
        elif by == "close_node":
            client.close_node("127.0.0.1", terminate=True)
        elif by == "close":
            yield client.close(terminate=True)
        assert (yield me().receive(LIMIT_S)) == "saved"
        assert (yield running.result()) == "in order"
        if by in ("close_node", "the task's node"):
            yield watch.until(Scheduler.NodeClosed)

    drive(body, port)


@pytest.mark.slow
def test_a_task_that_ignores_it_is_ended_and_reported(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        running = yield client.rtask_at(first, goes_on, me())
        assert (yield me().receive(LIMIT_S)) == "begins"
        client.restart_server(first, terminate=True)
        assert (yield me().receive(LIMIT_S)) == "ignores it"
        end = yield running.finish()
        assert isinstance(end, MonitorStatus)
        assert end.type is Scheduler.TaskTerminated
        assert "longer than the grace" in str(end.exception)
        yield watch.until(Scheduler.ServerInitialized, CPUS + 1)

    watch = drive(body, port)
    assert [m.type for m in watch.messages if isinstance(m, MonitorStatus)] == [Scheduler.TaskTerminated]


def test_a_task_that_does_not_catch_it(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        yield me().receive(LIMIT_S)
        client.close_server(first, terminate=True)
        assert (yield running.finish()).type is KeyboardInterrupt

    drive(body, port)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["the client", "a task"])
def test_a_server_stuck_in_c_code_is_killed_and_replaced(port: int, by: str) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, second = yield both(client, watch)
        client.close_server(second)
        yield watch.until(Scheduler.ServerClosed)
        asking = None
        if by == "a task":
            asking = yield client.io_rtask_at(first, closes_when_told)
        stuck = yield client.rtask_at(first, holds_everything, me())
        victim = yield me().receive(LIMIT_S)
        if asking is not None:
            asking.send((True, True))
        else:
            stuck.send("now")
            yield me().sleep(0.5)  # let it be stuck; it is all the same if it is not yet
            client.close_server(first, terminate=True, restart=True)
        waiting = Task(submits, client)
        with pytest.raises(TaskAbandoned, match="it was closed with terminate=True: its node killed it"):
            yield stuck.result()
        assert (yield waiting.finish()) not in (victim, None)

    def submits(client: Client) -> Gen:
        return (yield (yield client.rtask(pid)).result())

    drive(body, port)


# wrong use


def test_wrong_arguments(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        server, _ = yield both(client, watch)
        for call in (client.suspend_server, client.close_server, client.restart_server, client.enable_server):
            with pytest.raises(ScheduleError, match="that is a node"):
                call("127.0.0.1")
        for call in (client.suspend_node, client.close_node, client.restart_node, client.enable_node):
            with pytest.raises(ScheduleError, match="that is a server"):
                call(server)
            with pytest.raises(ScheduleError, match="no server or node at"):
                call(Location("127.0.0.1", 1))
            with pytest.raises(UsageError, match="give a Location"):
                call(5)
            with pytest.raises(UsageError, match="give a Location"):
                call(None)
        with pytest.raises(ScheduleError, match="no server or node at"):
            client.close_node("no-such-node.invalid")
        with pytest.raises(UsageError, match="there is no node_setup"):
            client.restart_node("127.0.0.1", "data")
        with pytest.raises(ScheduleError, match="enabled already"):
            client.enable_node("127.0.0.1")
        with pytest.raises(ScheduleError, match="no server or node at"):
            client.abandon_zombie("10.9.9.9")
        client.abandon_zombie(None, False)
        client.abandon_zombie("127.0.0.1", True)
        with pytest.raises(UsageError, match=r"rtask_at\(None, ...\): give a server's Location"):
            client.rtask_at(None, pid)
        with pytest.raises(ConfigError):
            client.node_allocate(5)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="'soon'"):
            yield client.close(timeout="soon")  # type: ignore[arg-type]
        assert (yield (yield client.rtask(pid)).result()), "it is not being closed"

    drive(body, port)


def test_before_it_is_scheduled(port: int) -> None:
    """Who has no nodes yet can say whether they are to be given up; where the scheduler is must be a place."""

    def main() -> Gen:
        client = Client(nodes=[at(port)])
        client.abandon_zombie(None, True)
        assert client._shell.machine.controls.abandon_zombies
        with pytest.raises(ScheduleError, match="has no nodes"):
            client.abandon_zombie("127.0.0.1")
        with pytest.raises(UsageError, match=r"schedule\(5\): give the scheduler's Location"):
            yield client.schedule(5)  # type: ignore[arg-type]
        other = Client()
        with pytest.raises(ScheduleError, match="is no scheduler: start one there"):
            yield other.schedule(Location("127.0.0.1", port))
        yield other.close()
        assert (yield client.schedule()) == 0
        yield (yield client.rtask(pid)).result()
        yield client.close(timeout=float("inf"))

    run(main)


def test_after_the_end(port: int) -> None:
    def main() -> Gen:
        client = Client(nodes=[at(port)])
        yield client.schedule()
        yield (yield client.rtask(pid)).finish()
        yield client.close()
        with pytest.raises(ScheduleError, match="has no nodes"):
            client.suspend_node("127.0.0.1")
        with pytest.raises(ScheduleError):
            client.node_allocate("127.0.0.1")

    run(main)


def test_resources_that_mean_nothing() -> None:
    texts = ["gpu", "gpu=", "gpu=many", "gpu=-1", "gpu=inf", "=1", "g pu=1"]
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Program("-m", "parkcos.commands.node", "--resource", text)) for text in texts]
        for text, node in zip(texts, nodes, strict=True):
            assert node.wait() == 1
            assert node.find(rf"--resource {text}: write a name and a number, as  --resource gpu=1")
