"""parkcos/client/tasks.py: what is recalled when, what ends, and how."""

from __future__ import annotations

import pytest

from parkcos.client.ahead import STEAL_AFTER_S, STUCK_AFTER_S
from parkcos.client.dispatch_events import (
    CancelAsked,
    CloseAsked,
    CloseServer,
    CloseServerAsked,
    Ended,
    ProcessLost,
    Recall,
    Recalled,
    Refused,
    ReportAbandoned,
    Run,
    ServerIsDown,
    ServerIsReady,
    Started,
    SuspendAsked,
    TimePassed,
)
from parkcos.client.ends import END_WAIT_S
from parkcos.client.tasks import HANGS_S
from tests.client.driven import Driven, M, N, abandoned, submitted


def slow_again(*tasks: int) -> Driven:
    """N + 1 was quick until now, and runs the first of the tasks, which were sent there."""
    c = Driven(servers=1)
    c.warm()
    for task in (0, *tasks):
        c(submitted(task, False))
    assert c.run(0) == [Run(task, N + 1, False) for task in tasks]
    c(Started(tasks[0]))
    return c


# what waits


def everywhere(c: Driven) -> None:
    """A task waits in each queue: for any server, the node N, its server that is not ready; for CPU and I/O."""
    c.bring(N, 1, opened=False)
    for number, (server, node) in enumerate(((0, 0), (0, N), (N + 1, 0))):
        for io in (False, True):
            assert c(submitted(10 * number + io, io, server=server, node=node)) == []


def test_what_waits_can_be_withdrawn() -> None:
    c = Driven()
    everywhere(c)
    for task in list(c.machine.tasks):
        assert abandoned(c(CancelAsked(task, "nobody waits for it to start"))) == {task: "nobody waits for it to start"}
    assert c(ServerIsReady(N + 1)) == []
    assert c(submitted(1, False)) == [Run(1, N + 1, False)]
    assert c(CancelAsked(77)) == [], "there is none"


def test_what_waits_ends_when_its_client_does() -> None:
    c = Driven()
    everywhere(c)
    (close,) = (effect for effect in c(CloseAsked(True)) if not isinstance(effect, ReportAbandoned))
    assert close.setup_id == 1, "to tell that setup from others"
    assert not c.machine.tasks


def test_what_waits_for_a_server_ends_when_that_is_closed() -> None:
    c = Driven()
    everywhere(c)
    assert abandoned(c(CloseServerAsked(N + 1, False, True))) == {
        20: "that server is being closed", 21: "that server is being closed"
    }  # fmt: skip


def test_what_is_said_of_a_task_that_waits_is_not_heard() -> None:
    c = Driven()
    c(submitted(1, False))
    for word in (Started(1), Ended(1, 0.1), Refused(1, "no"), Recalled(1, True)):
        assert c.machine.handle(word, 0.0) == []
    assert list(c.machine.queue.pending) == [1]


# ahead, and back


def short_ones_until_they_count_as_quick(*seconds: float) -> int:
    """seconds: that the first tasks of a function take; all others end at once, until several are sent at a time."""
    c = Driven(servers=1)
    for task in range(1, 100):
        c(submitted(task, False))
    for task, lasting in enumerate(seconds, 1):
        assert len(c.run(task, lasting)) == 1
    count = 1
    while len(c.run(len(seconds) + count)) == 1:
        count += 1
    return count


def test_a_function_counts_as_quick_after_its_first_task_or_soon_after_a_long_one() -> None:
    assert short_ones_until_they_count_as_quick() == 1
    count = short_ones_until_they_count_as_quick(1.0)
    assert 10 < count < 30
    for seconds in ((1000.0,), (1000.0, 1000.0)):
        assert short_ones_until_they_count_as_quick(*seconds) == count


def test_a_long_function_is_not_sent_ahead_because_a_short_one_runs_there() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, kind="short"))
    c.run(1)
    for task, kind in enumerate(("short", "short", "long", "long", "short"), 2):
        c(submitted(task, False, kind=kind))
    assert c.run(2) == [Run(3, N + 1, False), Run(4, N + 1, False)], "a long one may wait behind a short one"
    assert c.run(3) == [], "and nothing behind a long one"
    assert c.run(4, 3600.0) == [Run(5, N + 1, False)]


def test_no_more_is_recalled_than_the_idle_servers_take() -> None:
    for idle, slow in ((0, 2), (1, 1), (2, 2)):
        c = Driven(servers=2)
        c.warm()
        first = [c(submitted(task, False))[0].server for task in (1, 2)]
        for task, others in ((1, (10, 11)), (2, (20, 21))):
            for other in others:
                c(submitted(other, False))
            assert [run.task for run in c.run(task)] == list(others)
            c(Started(others[0]))
        c.bring(M, idle)
        assert c(TimePassed(), 10.0) == [Recall(task, at) for task, at in zip((11, 21), first, strict=True)][:slow]


def test_what_is_sent_after_an_idle_time_is_not_recalled_for_that() -> None:
    c = Driven(servers=1)
    c.warm()
    c(SuspendAsked(N + 1, True))
    for task in (1, 2):
        c(submitted(task, False))
    assert c(SuspendAsked(N + 1, False), 100.0) == [Run(1, N + 1, False), Run(2, N + 1, False)]
    assert c(TimePassed(), 100.0 + STUCK_AFTER_S / 2) == []
    assert c(TimePassed(), 100.0 + STUCK_AFTER_S) == [Recall(2, N + 1)]


def test_what_was_recalled_once_can_be_recalled_again() -> None:
    c = slow_again(100, 101)
    for _ in range(2):
        assert c(SuspendAsked(N + 1, True)) == [Recall(101, N + 1)]
        assert c(Recalled(101, True)) == []
        assert c(SuspendAsked(N + 1, False)) == [Run(101, N + 1, False)]


def test_what_is_given_back_is_not_sent_behind_the_same_task_again() -> None:
    c = slow_again(100, 101)
    c(SuspendAsked(N + 1, True))
    c(SuspendAsked(N + 1, False))
    assert c(Recalled(101, True)) == []
    assert c.run(100) == [Run(101, N + 1, False)]


def test_the_first_of_those_that_become_idle_says_when_others_are_asked() -> None:
    c = slow_again(100, 101)
    c.bring(M, 2, opened=False)
    for server, now in ((M + 1, 0.01), (M + 2, 0.012)):
        c(ServerIsReady(server), now)
        assert c.machine.next_deadline() == 0.01 + STEAL_AFTER_S


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
        assert c(submitted(task, False)) == []
    c.now = 10.0
    assert c(SuspendAsked(N + 1, False)) == [Run(101, N + 1, False), Run(102, N + 1, False)]
    assert c(TimePassed()) == [], "another deadline"
    assert c.machine.next_deadline() == 10.0 + STUCK_AFTER_S
    assert c(TimePassed(), 10.0 + STUCK_AFTER_S) == [Recall(101, N + 1), Recall(102, N + 1)]


def test_what_a_server_gives_back_after_its_end_was_told_does_not_close_it() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    c(submitted(2, False, server=N + 1))
    c(ServerIsDown(N + 1, "signal 9", restarts=True, asked=False))
    assert c(Recalled(1, True)) == []
    assert abandoned(c(ProcessLost(N + 1, "reset"))) == {2: "its server 10.0.0.1:1001 ended: signal 9"}


@pytest.mark.parametrize("io", [False, True])
def test_what_must_run_at_a_node_that_is_gone_runs_nowhere(io: bool) -> None:
    c = Driven(servers=1)
    c(submitted(1, io, node=N, retries=1))
    c(ProcessLost(N, "reset"))
    c.bring(M, 1)
    effects = c(ProcessLost(N + 1, "reset"))
    assert abandoned(effects) == {1: "its server 10.0.0.1:1001 ended: its node is gone: reset"}


def test_what_is_lost_while_its_client_closes_is_not_run_again() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, retries=1))
    c(CloseAsked(True))
    c(ServerIsDown(N + 1, "signal 9", restarts=False, asked=True))
    (effect,) = c(ProcessLost(N + 1, "reset"))
    assert isinstance(effect, ReportAbandoned)


# deadlines


@pytest.mark.parametrize("limit_s", [5.0, 500.0])
@pytest.mark.parametrize("task", [1, 1000])
def test_the_earlier_deadline_counts_whatever_the_number_of_a_task(task: int, limit_s: float) -> None:
    c = Driven(servers=2)
    c(submitted(task, False, timeout_s=limit_s))
    c(Started(task))
    c(ServerIsDown(N + 2, "killed", restarts=True, asked=False), 100.0)
    assert c.machine.next_deadline() == min(limit_s + HANGS_S, 100.0 + END_WAIT_S)


@pytest.mark.parametrize(("at", "due"), [(4.05, 4.05 + END_WAIT_S), (4.5, 5.0 + STUCK_AFTER_S)])
def test_the_end_of_a_server_may_be_due_before_a_recall_or_after(at: float, due: float) -> None:
    c = Driven(servers=1)
    c.warm()
    c.bring(M, 1)
    c(submitted(9, False, node=M))
    for task in (1, 2, 3):
        c(submitted(task, False))
    c(ServerIsDown(M + 1, "killed", restarts=True, asked=False), at)
    c.now = 5.0
    assert [run.task for run in c.run(1)] == [2, 3]
    assert c.machine.next_deadline() == due


def test_only_the_run_that_was_limited_can_hang() -> None:
    def limited() -> Driven:
        c = Driven(servers=1)
        c(submitted(1, False, timeout_s=1.0, retries=1))
        c(Started(1))
        return c

    c = limited()
    c(Ended(1, 0.5))
    assert c(TimePassed(), 1.0 + HANGS_S) == [], "it has ended"
    assert c.machine.next_deadline() is None
    c = limited()
    c(ServerIsDown(N + 1, "signal 9", restarts=True, asked=False))
    c(ProcessLost(N + 1, "reset"))
    assert c(TimePassed(), 1.0 + HANGS_S) == [], "it waits"
    c = limited()
    c(ServerIsDown(N + 1, "signal 9", restarts=True, asked=False))
    c.bring(M, 1)
    c(ProcessLost(N + 1, "reset"))
    c(Started(1), 5.0)
    assert c(TimePassed(), 1.0 + HANGS_S) == [], "it has begun again since"
    assert c(TimePassed(), 6.0 + HANGS_S) == [CloseServer(M, M + 1, True, True)]
    c = limited()
    c(ProcessLost(N, "reset"), 1.0 + HANGS_S)
    assert c(TimePassed()) == [], "its node is lost"
