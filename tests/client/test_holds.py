"""parkcos/client/holds.py: why a node or server is given nothing, what is said of that, and what waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.dispatch_events import Recall, ReportStatus, Run, Submitted
from parkcos.client.holds import Holds
from parkcos.client.places import Places
from parkcos.client.records import (
    CLOSING,
    DISABLED,
    ENDING,
    FAILED,
    OPEN,
    OPENING,
    OWN,
    PAUSED,
    SHORT,
    SILENT,
    SUSPENDED,
    Server,
    Stage,
    Task,
)
from parkcos.client.tasks import Tasks
from tests.client.driven import M, N
from tests.client.made import add_node, add_server


class Alone:
    """The part, and N with two servers."""

    def __init__(self) -> None:
        self.places = Places()
        self.orders: list[Any] = []
        self.tasks = Tasks(self.places, Stage(), self.orders.append)
        self.holds = Holds(self.places, self.tasks, self.orders.append)
        self.node = add_node(self.places, N, 2)
        self.first, self.second = self.places.servers[N + 1], self.places.servers[N + 2]

    def hold(self, number: int, why: str, reason: str = "so") -> list[Any]:
        self.holds.hold(number, why, True, reason, 0.0)
        return self.said()

    def release(self, number: int, why: str, reason: str = "no more") -> list[Any]:
        self.holds.hold(number, why, False, reason, 0.0)
        return self.said()

    def submit(self, number: int, **more: Any) -> list[Any]:
        self.tasks.submitted(Submitted(Task(number, **more)), 0.0)
        return self.said()

    def said(self) -> list[Any]:
        """The orders since this was asked last."""
        orders = self.orders.copy()
        self.orders.clear()
        return orders


def test_a_node_is_held_back_with_its_servers_and_opened_with_them() -> None:
    it = Alone()
    assert it.hold(N, SUSPENDED, "by its user") == [ReportStatus("NodeSuspended", N, "by its user")]
    assert (it.first.state, it.second.state, it.places.idle) == (PAUSED, PAUSED, 0)
    assert it.submit(1) == []
    assert it.release(N, SUSPENDED, "by its user") == [
        ReportStatus("NodeResumed", N, "by its user"),
        Run(1, N + 1, False),
    ]
    assert (it.first.state, it.second.state, it.places.idle) == (OPEN, OPEN, 1)


def test_a_server_is_held_back_alone() -> None:
    it = Alone()
    assert it.hold(N + 1, SHORT) == [ReportStatus("ServerSuspended", N + 1, "so")]
    assert (it.first.state, it.second.state) == (PAUSED, OPEN)
    assert it.release(N + 1, SHORT) == [ReportStatus("ServerResumed", N + 1, "no more")]
    assert it.first.state == OPEN


def test_it_is_open_when_nothing_holds_it_and_nothing_its_node() -> None:
    it = Alone()
    it.hold(N, SUSPENDED)
    it.hold(N + 1, SHORT)
    it.release(N, SUSPENDED)
    assert (it.first.state, it.second.state) == (PAUSED, OPEN)
    it.hold(N, SUSPENDED)
    it.release(N + 1, SHORT)
    assert it.first.state == PAUSED


def test_what_is_said_changes_with_the_worst_of_several_holds() -> None:
    it = Alone()
    assert it.hold(N, SUSPENDED) == [ReportStatus("NodeSuspended", N, "so")]
    assert it.hold(N, SHORT) == [], "that is no news"
    assert it.hold(N, SILENT) == [ReportStatus("NodeDisconnected", N, "so")]
    assert it.hold(N, FAILED) == []
    assert it.release(N, SILENT) == [], "it has failed"
    assert it.release(N, FAILED) == [ReportStatus("NodeSuspended", N, "no more")]
    assert it.release(N, SHORT) == []
    assert it.release(N, SUSPENDED) == [ReportStatus("NodeResumed", N, "no more")]
    assert it.hold(N, FAILED) == [ReportStatus("NodeDisconnected", N, "so")]


def test_the_same_again_and_what_is_not_there_changes_nothing() -> None:
    it = Alone()
    it.hold(N, SUSPENDED, "first")
    assert it.hold(N, SUSPENDED, "second") == []
    assert it.node.holds == {SUSPENDED: "first"}
    assert it.release(N, SHORT) == []
    assert it.hold(M, SUSPENDED) == []


def test_what_was_sent_ahead_is_recalled() -> None:
    it = Alone()
    it.hold(N + 2, SUSPENDED)
    for number in (1, 2):
        it.submit(number)
    it.tasks.placing.send(it.tasks.placing.pending.pop(), N + 1, 0.0)
    it.said()
    assert it.hold(N, SUSPENDED) == [ReportStatus("NodeSuspended", N, "so"), Recall(2, N + 1)]


def test_a_process_for_a_single_task_is_said_to_be_one() -> None:
    it = Alone()
    it.places.servers[N + 9] = Server(N, "10.0.0.1", N + 9, 8, OWN, own=1)
    assert it.hold(N + 9, SILENT) == [ReportStatus("ServerDisconnected", N + 9, "so", own=True)]
    assert it.places.servers[N + 9].state == OWN
    assert it.hold(N + 1, SILENT) == [ReportStatus("ServerDisconnected", N + 1, "so", own=False)]


def test_what_ends_is_held_back_by_silence_alone() -> None:
    it = Alone()
    it.places.retire(N + 1)
    assert it.hold(N + 1, SUSPENDED) == []
    assert it.hold(N + 1, SILENT) == [ReportStatus("ServerDisconnected", N + 1, "so")]
    assert it.first.state == ENDING
    it.first.holds[SHORT] = "from before"
    assert it.release(N + 1, SHORT) == []
    assert it.first.holds == {SILENT: "so"}


@pytest.mark.parametrize("restart", [False, True])
def test_a_node_that_closes_is_held_back_if_it_will_be_set_up_again(restart: bool) -> None:
    it = Alone()
    it.node.state, it.node.restart = CLOSING, restart
    assert bool(it.hold(N, SUSPENDED)) is restart
    assert bool(it.node.holds) is restart
    it.node.holds[SUSPENDED] = "so"
    assert bool(it.release(N, SUSPENDED)) is restart
    assert it.node.holds == {}


def test_who_is_not_ready_stays_as_it_is() -> None:
    it = Alone()
    server = add_server(it.places, N, N + 3, OPENING)
    it.hold(N, SUSPENDED)
    it.release(N, SUSPENDED)
    assert server.state == OPENING
    server.state = PAUSED
    it.holds.settle(N + 3, 0.0)
    assert server.state == OPEN


def test_servers_whose_node_is_gone_are_left_alone() -> None:
    it = Alone()
    it.first.node = 0
    assert it.hold(N + 1, SILENT) == [ReportStatus("ServerDisconnected", N + 1, "so")]
    assert it.first.state == OPEN


# what waits


def test_nothing_waits() -> None:
    it = Alone()
    it.hold(N, SUSPENDED)
    assert it.holds.held_back() == (0, {})


def test_what_may_run_anywhere_waits_if_no_server_is_open() -> None:
    it = Alone()
    it.hold(N + 1, SUSPENDED, "by its user")
    it.submit(1)
    it.submit(2)
    assert it.holds.held_back() == (0, {}), "it waits for its turn at the open one"
    it.hold(N + 2, SHORT, "it has no memory")
    it.submit(3, io=True)
    it.submit(4, choice=7)
    assert it.holds.held_back() == (3, {N + 1: "suspended: by its user", N + 2: "short: it has no memory"})
    it.hold(N, SUSPENDED, "all of it")
    it.hold(N, SHORT, "disk")
    assert it.holds.held_back()[1][N] == "suspended: all of it, short: disk"


def test_what_must_run_at_a_node_waits_if_none_of_its_servers_is_open() -> None:
    it = Alone()
    add_node(it.places, M, 1)
    it.hold(N, SUSPENDED, "by its user")
    it.submit(1, want_node=N)
    it.submit(2, want_node=N, io=True)
    assert it.holds.held_back() == (2, {N: "suspended: by its user"})
    it.release(N, SUSPENDED)
    it.said()
    it.hold(N + 2, SUSPENDED)
    it.submit(3, want_node=N)
    assert it.holds.held_back() == (0, {}), "the first one is open, and has others to run"


def test_what_must_run_at_a_server_waits_if_that_is_paused() -> None:
    it = Alone()
    it.hold(N + 1, SUSPENDED, "by its user")
    it.submit(1, want_server=N + 1)
    it.submit(2, want_server=N + 1, io=True)
    it.submit(3, want_server=N + 2)
    it.submit(4, want_server=N + 2)
    assert it.holds.held_back() == (2, {N + 1: "suspended: by its user"})
    it.hold(N, SHORT, "disk")
    assert it.holds.held_back() == (3, {N: "short: disk", N + 1: "suspended: by its user"})


def test_nodes_that_wait_to_be_enabled() -> None:
    it = Alone()
    it.places.retire(N + 1)
    it.places.retire(N + 2)
    add_node(it.places, M, state=DISABLED)
    it.submit(1)
    assert it.holds.held_back() == (1, {M: "disabled: it waits for enable_node"})


def test_tasks_that_wait_for_processes_of_their_own() -> None:
    it = Alone()
    other = add_node(it.places, M, own_max=1)
    it.hold(M, SUSPENDED, "by its user")
    it.submit(1, own=True)
    why = {N: "it starts no processes beside its servers (--own_max 0)", M: "suspended: by its user"}
    assert it.holds.held_back() == (1, why)
    it.tasks.placing.processes.again_at[M], other.own_refused = 5.0, "no memory"
    assert it.holds.held_back() == (1, why | {M: "suspended: by its user, no memory"})


def test_tasks_that_wait_for_processes_of_their_space() -> None:
    it = Alone()
    it.submit(1, exclusive=5)
    assert it.holds.held_back() == (1, {N: "it starts no processes beside its servers (--own_max 0)"})
