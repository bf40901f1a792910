"""What a client asks of its nodes, and what they offer, seen from outside: chapter 6.4 to 6.7, against a real node."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import Any

import psutil
import pytest

from parkcos import (
    Client,
    Location,
    NodeAvailInfo,
    ScheduleError,
    Scheduler,
    ShippingError,
    Task,
    TaskAbandoned,
    UsageError,
)
from tests.live.lib import LIMIT_S, Ports, Program, ends, gone, me, with_client
from tests.live.watched import (
    CPUS,
    Gen,
    Watch,
    at,
    both,
    drive,
    loads,
    pid,
    recall,
    wait_until,
    waits,
)

pytestmark = pytest.mark.live


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


# what starts its servers


def has_a_child(to: Any, task: Any = None) -> Gen:
    with subprocess.Popen(["sleep", "1000"]) as child:
        to.send((task, os.getpid(), child.pid))
        yield task.receive()


def test_a_node_whose_zygote_is_killed_is_used_again(port: int) -> None:
    def body(client: Client, watch: Watch) -> Gen:
        running, old = [], []
        for server in (yield both(client, watch)):
            running.append((yield client.rtask_at(server, has_a_child, me())))
            old += map(psutil.Process, (yield me().receive(LIMIT_S))[1:])
        waiting = [Task(submits, client.rtask), Task(submits, client.rtask_at, "127.0.0.1")]
        yield me().sleep(0.1)
        assert all(task.is_alive() for task in waiting)
        (zygote,) = {process.ppid() for process in old[::2]}
        os.kill(zygote, signal.SIGKILL)
        for rtask in running:
            with pytest.raises(TaskAbandoned):
                yield rtask.result()
        for value in (yield ends(waiting)):
            assert value not in [process.pid for process in old]
        assert gone(old) == [], "also what its tasks had started"
        assert "was killed by signal 9" in watch.of(Scheduler.NodeDisconnected)[0].reason
        assert watch.of(Scheduler.NodeResumed)[0].info.location == Location("127.0.0.1", port)
        assert len((yield both(client, watch, 2 * CPUS))) == CPUS

    def submits(run: Any, *where: str) -> Gen:
        return (yield (yield run(*where, pid)).result())

    watch = drive(body, port)
    assert [s for s in watch.statuses if s.startswith("Node")] == [
        "NodeDiscovered", "NodeInitialized", "NodeDisconnected", "NodeResumed", "NodeClosed"
    ]  # fmt: skip


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


# its end


def test_a_client_killed_while_its_node_restarts_leaves_it_free(
    shared_node: tuple[Program, int], ports: Ports, tmp_path: Any
) -> None:
    node, port = shared_node
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
    with_client(runs_one, nodes=[at(port)])


def runs_one(client: Client) -> Gen:
    yield (yield client.rtask(pid)).finish()
