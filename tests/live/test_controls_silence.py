"""Processes that are stopped and go on, or are given up: chapter 6.4 and 6.5, against a real node."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from parkcos import (
    Client,
    MonitorStatus,
    Scheduler,
    Task,
    TaskAbandoned,
)
from tests.live.lib import LIMIT_S, Ports, Program, gone, me
from tests.live.watched import (
    CPUS,
    Gen,
    Watch,
    at,
    both,
    drive,
    pid,
    waits,
)

pytestmark = pytest.mark.live


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
def test_a_node_process_that_is_stopped_and_goes_on(shared_node: tuple[Program, int]) -> None:
    node, port = shared_node

    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        _, there = yield me().receive(LIMIT_S)
        node.stop()
        try:
            yield watch.until(Scheduler.NodeDisconnected)
            assert (yield client.servers()) == []
            running.send("a result")
            assert (yield running.result()) == "a result"
            pending = Task(submits, client)
            yield me().sleep(0.1)
            assert pending.is_alive()
        finally:
            node.go_on()
        yield watch.until(Scheduler.NodeResumed)
        assert isinstance((yield pending.finish()), int)
        assert psutil.pid_exists(there)

    def submits(client: Client) -> Gen:
        return (yield (yield client.rtask(pid)).result())

    drive(body, port, pulse_interval=0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_node")
def test_a_node_process_that_is_stopped_is_given_up_and_used_again() -> None:
    """A node of its own: the connections with it are others afterwards."""
    node, port = Ports().node(CPUS, "--min_pulse_interval", "0.2", "--resource", "own=1")

    def body(client: Client, watch: Watch) -> Gen:
        first, _ = yield both(client, watch)
        running = yield client.rtask_at(first, waits, me())
        _, there = yield me().receive(LIMIT_S)
        old = psutil.Process(there)
        node.stop()
        try:
            with pytest.raises(TaskAbandoned, match="given up"):
                yield running.result()
            yield watch.until(Scheduler.NodeAbandoned)
        finally:
            node.go_on()
        new = yield (yield client.rtask(pid)).result()
        assert new != there
        assert gone([old]) == []

    with node:
        wanted = at(port, resources={"own": 1})
        watch = drive(body, port, nodes=[wanted], pulse_interval=0.2, abandon_zombie_nodes=True)
    assert [s for s in watch.statuses if s.startswith("Node")] == [
        "NodeDiscovered", "NodeInitialized", "NodeDisconnected", "NodeAbandoned",
        "NodeDiscovered", "NodeInitialized", "NodeClosed",
    ]  # fmt: skip
