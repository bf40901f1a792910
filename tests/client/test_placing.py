"""parkcos/client/placing.py: which server is lightest, what is recalled when, what goes back to which queue."""

from __future__ import annotations

import pytest

from parkcos.client.dispatch_events import (
    CloseAsked,
    Ended,
    Granted,
    LoadSeen,
    NodeIsReady,
    Offered,
    ProcessLost,
    Recall,
    Recalled,
    ReportAbandoned,
    Run,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    Started,
    Submitted,
    SuspendAsked,
    TimePassed,
)
from parkcos.client.membership import END_WAIT_S
from parkcos.client.placing import HANGS_S, STUCK_AFTER_S
from tests.client.driven import Driven, M, N, abandoned, info


def slow_again(*tasks: int) -> Driven:
    """N + 1 was quick until now, and runs the first of the tasks, which were sent there."""
    c = Driven(servers=1)
    c.warm()
    for task in (0, *tasks):
        c(Submitted(task, False))
    assert c.run(0) == [Run(task, N + 1, False) for task in tasks]
    c(Started(tasks[0]))
    return c


# the lightest


def one_server_each(*, before: bool = False) -> Driven:
    """N, with room for another server, was there before M.  before: others use N, which it says without any server."""
    c = Driven()
    for event in (Offered(info(N), 2), Granted(N), NodeIsReady(N)):
        c(event)
    if before:
        c(LoadSeen(N, 0.6))
    c(ServerIsUp(N, N + 1, "10.0.0.1", N + 1))
    c(ServerIsReady(N + 1))
    c.bring(M, 1)
    return c


def test_who_was_there_first_is_the_lightest_of_equals() -> None:
    assert one_server_each()(Submitted(1, False)) == [Run(1, N + 1, False)]


def test_a_server_that_is_not_open_yet_counts_as_busy() -> None:
    c = one_server_each()
    c(ServerIsUp(N, N + 2, "10.0.0.1", N + 2))
    assert c(Submitted(1, False)) == [Run(1, M + 1, False)]


def test_others_load_counts_from_before_the_first_server() -> None:
    assert one_server_each(before=True)(Submitted(1, False)) == [Run(1, M + 1, False)]


def test_io_tasks_that_have_ended_weigh_nothing() -> None:
    c = Driven(servers=2)
    assert [c(Submitted(task, True))[0].server for task in (1, 2, 3)] == [N + 1, N + 2, N + 1]
    for task in (1, 3):
        c.run(task)
    assert c(Submitted(4, True)) == [Run(4, N + 1, True)]


# ahead, and back


def test_what_is_recalled_is_asked_for_once() -> None:
    c = slow_again(100, 101, 102)
    assert c(SuspendAsked(N + 1, True)) == [Recall(101, N + 1), Recall(102, N + 1)]
    assert c(SuspendAsked(N + 1, False)) == []
    assert c(TimePassed(), 10.0) == []
    c = slow_again(100, 101)
    assert c(SuspendAsked(N + 1, True)) == [Recall(101, N + 1)]
    assert c(SuspendAsked(N + 1, False)) == []
    assert c(TimePassed(), 10.0) == []


def test_one_that_becomes_idle_does_not_ask_again_for_what_was_asked_for() -> None:
    c = slow_again(100, 101, 102)
    assert c(TimePassed(), 10.0) == [Recall(101, N + 1), Recall(102, N + 1)]
    c.bring(M, 1)
    assert c.machine.next_deadline() is not None
    assert c(TimePassed(), 20.0) == []


def test_what_was_sent_behind_a_task_after_a_suspension_is_recalled_when_its_time_has_come() -> None:
    c = slow_again(100)
    assert c(SuspendAsked(N + 1, True)) == [], "there was nothing to recall"
    for task in (101, 102):
        assert c(Submitted(task, False)) == []
    c.now = 10.0
    assert c(SuspendAsked(N + 1, False)) == [Run(101, N + 1, False), Run(102, N + 1, False)]
    assert c(TimePassed()) == [], "another deadline"
    assert c.machine.next_deadline() == 10.0 + STUCK_AFTER_S
    assert c(TimePassed(), 10.0 + STUCK_AFTER_S) == [Recall(101, N + 1), Recall(102, N + 1)]


def test_what_a_server_gives_back_after_its_end_was_told_does_not_close_it() -> None:
    c = Driven(servers=1)
    c(Submitted(1, False))
    c(Submitted(2, False, server=N + 1))
    c(ServerIsDown(N + 1, "signal 9", restarts=True, asked=False))
    assert c(Recalled(1, True)) == []
    assert abandoned(c(ProcessLost(N + 1, "reset"))) == {2: "its server 10.0.0.1:1001 ended: signal 9"}


@pytest.mark.parametrize("io", [False, True])
def test_what_must_run_at_a_node_that_is_gone_runs_nowhere(io: bool) -> None:
    c = Driven(servers=1)
    c(Submitted(1, io, node=N, retries=1))
    c(ProcessLost(N, "reset"))
    c.bring(M, 1)
    effects = c(ProcessLost(N + 1, "reset"))
    assert abandoned(effects) == {1: "its server 10.0.0.1:1001 ended: its node is gone: reset"}


def test_what_is_lost_while_its_client_closes_is_not_run_again() -> None:
    c = Driven(servers=1)
    c(Submitted(1, False, retries=1))
    c(CloseAsked(True))
    c(ServerIsDown(N + 1, "signal 9", restarts=False, asked=True))
    (effect,) = c(ProcessLost(N + 1, "reset"))
    assert isinstance(effect, ReportAbandoned)


# deadlines


@pytest.mark.parametrize("limit_s", [5.0, 500.0])
@pytest.mark.parametrize("task", [1, 1000])
def test_the_earlier_deadline_counts_whatever_the_number_of_a_task(task: int, limit_s: float) -> None:
    c = Driven(servers=2)
    c(Submitted(task, False, timeout_s=limit_s))
    c(Started(task))
    c(ServerIsDown(N + 2, "killed", restarts=True, asked=False), 100.0)
    assert c.machine.next_deadline() == min(limit_s + HANGS_S, 100.0 + END_WAIT_S)


def test_a_task_that_has_ended_hangs_no_more() -> None:
    c = Driven(servers=1)
    c(Submitted(1, False, timeout_s=1.0))
    c(Started(1))
    c(Ended(1, 0.5))
    assert c(TimePassed(), 1.0 + HANGS_S) == []
    assert c.machine.next_deadline() is None
