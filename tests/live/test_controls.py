"""What a client asks of its nodes and servers, seen from outside: chapter 6.4 to 6.7, against a real node."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Generator, Iterator
from typing import Any

import psutil
import pytest

import parkcos
from parkcos import (
    Client,
    ConfigError,
    Location,
    MonitorStatus,
    NodeAllocate,
    NodeAvailInfo,
    Parkcos,
    ScheduleError,
    Scheduler,
    ShippingError,
    Status,
    Task,
    TaskAbandoned,
    UsageError,
    close_node,
    close_server,
)
from tests.conftest import no_leaks
from tests.live.lib import LIMIT_S, SECRET, Ports, Program, ends, gone, run

pytestmark = pytest.mark.live

Gen = Generator[Any, Any, Any]
CPUS = 2


@pytest.fixture(scope="module")
def shared(shared_pids: set[int]) -> Iterator[tuple[Program, int]]:
    """A node with two servers for the tests of this module, its port; the clients are in this process."""
    with no_leaks("the node of this module", set()):
        ports = Ports()
        program, port = ports.node(CPUS, "--min_pulse_interval", "0.2", "--resource", "gpu=1", "-n", "shared")
        with program:
            shared_pids.add(program.pid)
            Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False)
            run(nothing, port)
            yield program, port
            Parkcos.instance().terminate()


@pytest.fixture
def port(shared: tuple[Program, int]) -> int:
    return shared[1]


def nothing(port: int) -> Gen:
    client = Client(nodes=[at(port)])
    yield client.schedule()
    yield (yield client.rtask(pid)).finish()
    yield client.close()


def at(port: int, **wanted: Any) -> NodeAllocate:
    return NodeAllocate("127.0.0.1", port, **wanted)


class Watch:
    """A status_task that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.task = Task(self._keep)

    def _keep(self, task: Any = None) -> Gen:
        task.set_daemon()
        while True:
            self.messages.append((yield task.receive()))

    @property
    def statuses(self) -> list[str]:
        """Their names, in order, without those of tasks."""
        names = {number: name for name, number in vars(Scheduler).items() if isinstance(number, int)}
        names |= {n: name for k in Scheduler.__mro__ for name, n in vars(k).items() if isinstance(n, int)}
        found = [names[message.status] for message in self.messages if isinstance(message, Status)]
        return [name for name in found if not name.startswith("Task")]

    def of(self, status: int) -> list[Status]:
        return [message for message in self.messages if isinstance(message, Status) and message.status == status]

    def until(self, status: int, times: int = 1) -> Gen:
        """To be yielded: the last of so many."""
        yield wait_until(lambda: len(self.of(status)) >= times, lambda: self.messages)
        return self.of(status)[times - 1]


def wait_until(true: Any, shown: Any = lambda: None) -> Gen:
    """To be yielded: wait until it is so."""
    me = parkcos.cur_task()
    assert me is not None
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, shown()
        yield me.sleep(0.01)


def drive(body: Any, port: int, components: Any = (), **options: Any) -> Watch:
    """Run ``body(client, watch)`` with a client of that node; what its status_task was told, after it has closed."""
    watch = Watch()
    client = Client(components, **{"nodes": [at(port)], "status_task": watch.task, **options})

    def main() -> Gen:
        assert (yield client.schedule(timeout=LIMIT_S)) == 0
        yield body(client, watch)
        yield client.close()
        yield watch.until(Scheduler.ClientClosed)

    def close() -> Gen:
        yield client.close(terminate=True)

    try:
        run(main)
    except BaseException:  # it may hang: the next test is to have its turn all the same
        run(close)
        raise
    finally:
        watch.task.terminate()
    return watch


def both(client: Client, watch: Watch, times: int = CPUS) -> Gen:
    """To be yielded: the locations of the servers, when they are all ready."""
    yield watch.until(Scheduler.ServerInitialized, times)
    return (yield client.servers())


def pids(client: Client, count: int) -> Gen:
    """To be yielded: where so many tasks ran, one after the other."""
    found = set()
    for _ in range(count):
        found.add((yield (yield client.rtask(pid)).result()))
    return found


def me() -> Task:
    task = parkcos.cur_task()
    assert task is not None
    return task


# What runs there


def pid() -> Gen:
    yield
    return os.getpid()


def waits(to: Any, task: Any = None) -> Gen:
    to.send((task, os.getpid()))
    return (yield task.receive())


def remember(value: Any) -> Gen:
    global remembered
    remembered = value
    yield


def recall() -> Gen:
    yield
    return globals().get("remembered", "nothing")


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
        yield task.sleep(0.2)
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


def test_a_server_that_is_closed_waits_for_its_cpu_task(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, second = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        _, victim = yield me().receive(LIMIT_S)
        client.close_server(first)
        with pytest.raises(TaskAbandoned, match="that server has ended"):
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
            yield me().sleep(0.5)  # let it be stuck; it is all the same if it is not yet
            client.close_server(first, terminate=True, restart=True)
        waiting = Task(submits, client)
        with pytest.raises(TaskAbandoned, match="SIGKILL"):
            yield stuck.result()
        assert (yield waiting.finish()) not in (victim, None)

    def submits(client: Client) -> Gen:
        return (yield (yield client.rtask(pid)).result())

    drive(body, port)


def closes_when_told(task: Any = None) -> Gen:
    close_server(*(yield task.receive()))
    yield task.sleep(1000)


# nodes


def test_a_node_is_closed_and_not_used_until_it_is_allocated_again(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        servers = yield both(client, watch)
        processes = []
        for server in servers:
            processes.append(psutil.Process((yield (yield client.rtask_at(server, pid)).result())))
        running = yield client.rtask_at(servers[0], waits, me())
        yield me().receive(LIMIT_S)
        client.close_node("127.0.0.1")
        assert (yield client.nodes()) == []
        with pytest.raises(TaskAbandoned):
            yield client.rtask_at(servers[0], pid)
        running.send("ends")
        assert (yield running.result()) == "ends"
        assert (yield watch.until(Scheduler.NodeClosed)).info.location == Location("127.0.0.1", port)
        assert gone(processes) == []
        with pytest.raises(ScheduleError, match="no server or node"):
            client.suspend_node("127.0.0.1")
        pending = Task(submits, client)
        yield me().sleep(0.2)
        assert pending.is_alive()
        client.node_allocate(at(port, cpus=1))
        assert (yield pending.finish()) not in [process.pid for process in processes]

    def submits(client: Client) -> Gen:
        return (yield (yield client.rtask(pid)).result())

    watch = drive(body, port)
    assert watch.statuses.count("NodeDiscovered") == watch.statuses.count("NodeInitialized") == 2


def test_allocated_again_while_it_still_closes(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        yield both(client, watch)
        client.close_node("127.0.0.1", terminate=True)
        client.node_allocate(at(port))
        yield watch.until(Scheduler.NodeInitialized, 2)
        yield (yield client.rtask(pid)).result()

    drive(body, port)


def loads(data: str = "first", task: Any = None) -> Gen:
    global remembered
    remembered = f"{data} in {os.getpid()}"
    yield task.sleep(0)
    return 0


def test_a_node_is_restarted_with_other_data_and_again_with_the_same(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        seen = []
        for times, args in ((1, None), (2, ("second",)), (3, ()), (4, ("third",))):
            if args is not None:
                client.restart_node("127.0.0.1", *args)
            yield watch.until(Scheduler.ServerInitialized, times * CPUS)
            found = set()
            for server in (yield client.servers()):
                found.add((yield (yield client.rtask_at(server, recall)).result()))
            assert len(found) == 1, "the servers share it"
            seen.append(found.pop().split(" in "))
        assert [data for data, _ in seen] == ["first", "second", "second", "third"]
        assert len({process for _, process in seen}) == 4, "node_setup ran each time"

    watch = drive(body, port, node_setup=loads)
    assert [s for s in watch.statuses if s.startswith("Node")] == ["NodeDiscovered", "NodeInitialized", "NodeClosed"]


def test_tasks_wait_for_a_node_that_is_restarted(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        yield me().receive(LIMIT_S)
        client.restart_node(Location("127.0.0.1", port), "second")
        waiting = [Task(submits, client) for _ in range(5)]
        yield me().sleep(0.1)
        client.restart_node("shared", "third")  # the last word counts
        running.send("ends")
        assert (yield running.result()) == "ends"
        for value in (yield ends(waiting)):
            assert value.startswith("third")

    def submits(client: Client) -> Gen:
        return (yield (yield client.rtask_at("127.0.0.1", recall)).result())

    drive(body, port, node_setup=loads)


def test_a_setup_that_fails_after_a_restart(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        yield both(client, watch)
        client.restart_node("127.0.0.1", 5)
        assert "TypeError" in (yield watch.until(Scheduler.NodeDisconnected)).reason
        with pytest.raises(TaskAbandoned, match="node_setup failed"):
            yield client.rtask(pid)

    drive(body, port, node_setup=concatenates)


def concatenates(data: Any = "text", task: Any = None) -> Gen:
    yield task.sleep(0)
    return 0 if "more" + data else 1


# enabled by the client


class Data:
    """One of the program's own, in an argument of a setup."""

    def __init__(self, value: str) -> None:
        self.value = value


def sets_up_node(data: Data, task: Any = None) -> Gen:
    global node_data
    node_data = data.value
    yield task.sleep(0)
    return 0


def sets_up_server(data: Data, number: int, task: Any = None) -> Gen:
    global server_data
    server_data = (node_data, data.value, number)
    yield task.sleep(0)
    return 0


def shows_data() -> Gen:
    yield
    return server_data


def test_nodes_and_servers_that_are_enabled_with_arguments(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        discovered = yield watch.until(Scheduler.NodeDiscovered)
        assert discovered.info.location == Location("127.0.0.1", port)
        where = discovered.info.location
        with pytest.raises(UsageError, match="node_setup cannot be called with"):
            client.enable_node(where)
        with pytest.raises(UsageError, match="node_setup cannot be called with"):
            client.enable_node(where, Data("a"), "too many")
        with pytest.raises(ShippingError):
            client.enable_node(where, ctypes.pointer(ctypes.c_int()))
        yield me().sleep(0.1)
        assert not watch.of(Scheduler.NodeInitialized)
        client.enable_node(where, Data("of the node"))
        with pytest.raises(ScheduleError, match="enabled already"):
            client.enable_node(where, Data("other"))
        yield watch.until(Scheduler.ServerDiscovered, CPUS)
        servers = [status.info for status in watch.of(Scheduler.ServerDiscovered)]
        with pytest.raises(UsageError, match="server_setup cannot be called with"):
            client.enable_server(servers[0])
        client.enable_server(servers[1], Data("of a server"), 1)
        yield watch.until(Scheduler.ServerInitialized)
        with pytest.raises(ScheduleError, match="enabled already"):
            client.enable_server(servers[1], Data("of a server"), 2)
        assert (yield client.servers()) == [servers[1]]
        assert (yield (yield client.rtask(shows_data)).result()) == ("of the node", "of a server", 1)
        client.enable_server(servers[0], Data("of another"), 0)
        yield watch.until(Scheduler.ServerInitialized, 2)
        found = yield (yield client.rtask_at(servers[0], shows_data)).result()
        assert found == ("of the node", "of another", 0)

    drive(
        body, port, node_setup=sets_up_node, server_setup=sets_up_server, disable_nodes=True, disable_servers=True
    )  # fmt: skip


def test_what_nobody_enables_is_not_used_and_not_waited_for(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        yield watch.until(Scheduler.ServerDiscovered, CPUS)

    watch = drive(body, port, disable_servers=True)
    assert "ServerInitialized" not in watch.statuses


# what they have


def test_availability_at_pulse_frequency(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        yield both(client, watch)
        yield wait_until(lambda: len([m for m in watch.messages if isinstance(m, NodeAvailInfo)]) >= 4)
        assert not [s for s in watch.statuses if s.endswith(("Disconnected", "Resumed"))]

    watch = drive(body, port, pulse_interval=0.2)
    for info in (m for m in watch.messages if isinstance(m, NodeAvailInfo)):
        assert info.location == Location("127.0.0.1", port)
        assert 0 <= info.cpu <= 100
        assert 0 < info.memory <= psutil.virtual_memory().total
        assert 0 < info.disk <= psutil.disk_usage("/").total or info.disk > 0
        assert 0 <= info.swap <= psutil.swap_memory().total
        assert (info.name, info.cpus) == ("shared", CPUS)
        with pytest.raises(AttributeError):
            info.cpu = 1


def test_quiet_servers_are_not_taken_for_silent(port: int) -> None:
    """With short pulses: servers that have nothing to say give signs of life so often, too."""

    def body(client: Client, watch: Watch) -> Gen:
        yield both(client, watch)
        yield me().sleep(2.5)

    watch = drive(body, port, pulse_interval=0.2)
    assert not [s for s in watch.statuses if s.endswith(("Disconnected", "Resumed"))]


def test_a_pulse_interval_below_the_nodes_gives_one_warning(port: int, caplog: pytest.LogCaptureFixture) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        yield both(client, watch)
        client.close_node("127.0.0.1")
        yield watch.until(Scheduler.NodeClosed)
        client.node_allocate(at(port))
        yield watch.until(Scheduler.NodeInitialized, 2)

    drive(body, port, pulse_interval=0.1)
    said = [r.getMessage() for r in caplog.records if "pulse_interval" in r.getMessage()]
    assert len(said) == 1
    assert "allows no less than 0.2 s" in said[0]


@pytest.mark.parametrize(
    "wanted", [{"resources": {"gpu": 2}}, {"resources": {"fpga": 1}}, {"memory": 1 << 60}, {"disk": 1 << 60},
               {"cpus": 3}, {"platform": "plan ?9"}]
)  # fmt: skip
def test_a_node_that_lacks_what_is_asked_for_is_not_used(port: int, wanted: dict[str, Any]) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        yield me().sleep(0.3)
        assert watch.statuses == ["ClientScheduled"]
        client.node_allocate(at(port, resources={"gpu": 1}, platform="linux"))
        yield watch.until(Scheduler.NodeInitialized)
        assert (yield (yield client.rtask(pid)).result())

    watch = drive(body, port, nodes=[at(port, **wanted)])
    assert watch.statuses[:3] == ["ClientScheduled", "NodeDiscovered", "NodeInitialized"]


def test_a_node_is_added_that_is_only_reached_by_its_address(port: int) -> None:
    """There is no broadcast here: it is as in another network."""

    def body(client: Client, watch: Watch) -> Gen:
        yield both(client, watch)
        with Ports().node(1, "-n", "far")[0] as far:
            far_port = int(far.wait_for(r"TCP port (\d+)")[1])
            client.node_allocate(at(far_port))
            found = yield watch.until(Scheduler.NodeInitialized, 2)
            assert found.info.name == "far"
            there = yield (yield client.rtask_at(Location("127.0.0.1", far_port), pid)).result()
            assert there in {p.pid for p in far.family()}
            client.close_node(Location("127.0.0.1", far_port))
            yield watch.until(Scheduler.NodeClosed)

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
        with pytest.raises(ConfigError):
            client.node_allocate(5)  # type: ignore[arg-type]

    drive(body, port)


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


@pytest.mark.parametrize("text", ["gpu", "gpu=", "gpu=many", "gpu=-1", "gpu=inf", "=1", "g pu=1"])
def test_resources_that_mean_nothing(text: str) -> None:
    with Program("-m", "parkcos.node.main", "--resource", text) as node:
        assert node.wait() == 1
        assert node.find(rf"--resource {text}: write a name and a number, as  --resource gpu=1")


# silence


@pytest.mark.slow
def test_a_server_that_is_stopped_and_goes_on(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, second = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        _, victim = yield me().receive(LIMIT_S)
        os.kill(victim, signal.SIGSTOP)
        try:
            assert (yield watch.until(Scheduler.ServerDisconnected)).info == first
            running.send("while it was stopped")
            assert (yield client.servers()) == [second]
            assert (yield (yield client.rtask(pid)).result()) != victim
        finally:
            os.kill(victim, signal.SIGCONT)
        assert (yield watch.until(Scheduler.ServerResumed)).info == first
        assert (yield running.result()) == "while it was stopped"
        assert (yield (yield client.rtask_at(first, pid)).result()) == victim

    watch = drive(body, port, pulse_interval=0.2)
    assert [s for s in watch.statuses if s[6:] in ("Disconnected", "Resumed", "Abandoned")] == [
        "ServerDisconnected", "ServerResumed"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_server_that_is_stopped_is_given_up_and_replaced(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        first, second = yield both(client, watch)
        client.close_server(second)
        yield watch.until(Scheduler.ServerClosed)
        running = yield client.rtask_at(first, waits, me())
        _, victim = yield me().receive(LIMIT_S)
        stopped = psutil.Process(victim)
        stopped.suspend()
        with pytest.raises(TaskAbandoned, match="nothing is heard"):
            yield running.result()
        assert (yield watch.until(Scheduler.ServerAbandoned)).info == first
        assert (yield (yield client.rtask(pid)).result()) != victim
        assert gone([stopped]) == []

    watch = drive(body, port, pulse_interval=0.2, abandon_zombie_nodes=True)
    assert [m.type for m in watch.messages if isinstance(m, MonitorStatus)] == [TaskAbandoned, StopIteration]


@pytest.mark.slow
def test_a_node_process_that_is_stopped_and_goes_on(shared: tuple[Program, int]) -> None:
    node, port = shared

    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        _, there = yield me().receive(LIMIT_S)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            yield watch.until(Scheduler.NodeDisconnected)
            assert (yield client.servers()) == []
            running.send("a result")
            assert (yield running.result()) == "a result"
            pending = Task(submits, client)
            yield me().sleep(0.1)
            assert pending.is_alive()
        finally:
            os.kill(node.pid, signal.SIGCONT)
        yield watch.until(Scheduler.NodeResumed)
        assert isinstance((yield pending.finish()), int)
        assert psutil.pid_exists(there)

    def submits(client: Client) -> Gen:
        return (yield (yield client.rtask(pid)).result())

    drive(body, port, pulse_interval=0.2)


@pytest.mark.slow
def test_a_node_process_that_is_stopped_is_given_up_and_used_again(shared: tuple[Program, int]) -> None:
    node, port = shared

    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        _, there = yield me().receive(LIMIT_S)
        old = psutil.Process(there)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TaskAbandoned, match="given up"):
                yield running.result()
            yield watch.until(Scheduler.NodeAbandoned)
        finally:
            os.kill(node.pid, signal.SIGCONT)
        new = yield (yield client.rtask(pid)).result()
        assert new != there
        assert gone([old]) == []

    watch = drive(body, port, pulse_interval=0.2, abandon_zombie_nodes=True)
    assert [s for s in watch.statuses if s.startswith("Node")] == [
        "NodeDiscovered", "NodeInitialized", "NodeDisconnected", "NodeAbandoned",
        "NodeDiscovered", "NodeInitialized", "NodeClosed",
    ]  # fmt: skip


# its end


def test_a_client_killed_while_its_node_restarts_leaves_it_free(
    shared: tuple[Program, int], ports: Ports, tmp_path: Any
) -> None:
    node, port = shared
    source = (
        "def setup(slow=False, task=None):\n"
        "    if slow:\n"
        "        time.sleep(1000)\n"
        "    yield task.sleep(0)\n"
        "    return 0\n"
        "def noop(task=None):\n"
        "    yield task.sleep(0)\n"
        "def main(task=None):\n"
        f"    client = Client([noop], node_setup=setup, nodes=[NodeAllocate('127.0.0.1', {port})])\n"
        "    yield client.schedule()\n"
        "    yield (yield client.rtask(noop)).finish()\n"
        "    client.restart_node('127.0.0.1', True)\n"
        "    print('restarts', flush=True)\n"
        "    yield task.sleep(1000)\n"
        "Task(main)\n"
    )
    setups = len(node.find("reserved -> setup"))
    with ports.client(tmp_path, source) as client:
        client.wait_for("restarts")
        node.wait_for("reserved -> setup", setups + 2)
        client.process.kill()
        client.wait()
    run(nothing, port)
