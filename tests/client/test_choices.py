"""parkcos/client/choices.py in the dispatch machine: tasks that may run where a function accepts the server."""

from __future__ import annotations

from parkcos.client.ahead import STEAL_AFTER_S
from parkcos.client.dispatch_events import (
    Admitted,
    CancelAsked,
    CloseAsked,
    Ended,
    ProcessLost,
    Recall,
    Recalled,
    ReportStarted,
    Run,
    SchedulerLost,
    ServerIsDown,
    Started,
    SuspendAsked,
    TimePassed,
)
from parkcos.client.room import wants
from tests.client.driven import Driven, M, N, abandoned, submitted


def two() -> Driven:
    """A server at each of two nodes; the second one is accepted by choice 7, of which task 1 has made use."""
    c = Driven(servers=1, nodes=2)
    assert c(submitted(1, choice=7)) == []
    assert c(Admitted(7, (M + 1,))) == [Run(1, M + 1, False)]
    return c


def test_it_runs_where_it_is_accepted_and_waits_for_that() -> None:
    c = two()
    assert c(submitted(2, choice=7)) == [], "the other server is idle, but not accepted"
    assert c(submitted(3, choice=7)) == []
    assert wants(c.machine).tasks == 2
    assert c.run(1, 1.0) == [Run(2, M + 1, False)]
    assert c(Admitted(7, (N + 1,))) == [Run(3, N + 1, False)]


def test_others_use_the_servers_too_and_the_higher_priority_is_first() -> None:
    c = two()
    assert c(submitted(2)) == [Run(2, N + 1, False)]
    for task, choice, priority in ((3, 0, 0), (4, 7, 1), (5, 7, 0), (6, 8, 9)):
        assert c(submitted(task, choice=choice, priority=priority)) == []
    assert c.run(1, 1.0) == [Run(4, M + 1, False)]
    assert c.run(4, 1.0) == [Run(3, M + 1, False)], "of those that are equal what may run anywhere"
    assert c.run(3, 1.0) == [Run(5, M + 1, False)]
    assert abandoned(c(CancelAsked(6, "enough"))) == {6: "enough"}


def test_io_tasks() -> None:
    c = Driven(servers=2)
    assert c(submitted(1, True, choice=7)) == []
    assert c.machine.queue.choices.unmet() == 1
    assert c(Admitted(7, (N + 2,))) == [Run(1, N + 2, True)]
    assert c(submitted(2, True, choice=7)) == [Run(2, N + 2, True)]
    assert c.machine.queue.choices.unmet() == 0


def test_a_server_that_opens_later_takes_what_waits_for_it() -> None:
    c = Driven(servers=1)
    c(SuspendAsked(N + 1, True))
    for task in (1, 2):
        c(submitted(task, task == 2, choice=7))
    assert c(Admitted(7, (N + 1, 99))) == [], "it is held back; and another one has ended meanwhile"
    assert c.machine.queue.choices.unmet() == 2
    assert c.machine.holds.held_back()[0] == 2
    assert c(SuspendAsked(N + 1, False)) == [Run(2, N + 1, True), Run(1, N + 1, False)]


def test_one_that_is_lost_runs_again_where_it_is_accepted() -> None:
    c = Driven(servers=1, nodes=2)
    c(submitted(1, choice=7, retries=1))
    c(Admitted(7, (M + 1, N + 1)))
    at = c.machine.tasks[1].server
    c(Started(1))
    c(ServerIsDown(at, "killed", restarts=True, asked=False))
    effects = c(ProcessLost(at, "killed"))
    assert Run(1, N + 1 + M + 1 - at, False) in effects
    assert list(c.machine.queue.choices.by_number[7].servers) == [N + 1 + M + 1 - at]


def test_what_was_sent_ahead_is_recalled_and_goes_to_another_that_is_accepted() -> None:
    c = Driven(servers=1)
    c.warm()
    c(submitted(1))
    c(submitted(2, choice=7))
    c(submitted(3, choice=7))
    assert c(Admitted(7, (N + 1,))) == [Run(2, N + 1, False), Run(3, N + 1, False)]
    c.run(1)
    c(Started(2))
    c.bring(M, 1)
    assert c(TimePassed(), STEAL_AFTER_S) == [Recall(3, N + 1)]
    assert c(Recalled(3, True)) == [], "the idle server is not accepted"
    assert c(Admitted(7, (M + 1,))) == [Run(3, M + 1, False)]


def test_a_choice_is_forgotten_with_its_last_task() -> None:
    c = two()
    assert c(Ended(1, 0.0)) == [ReportStarted(1, M + 1)]
    assert c.machine.queue.choices.by_number == {}
    assert c(Admitted(7, (M + 1,))) == []
    assert c(submitted(2, choice=7)) == [], "it has to be told again"


def test_what_waits_ends_when_no_server_comes_any_more() -> None:
    c = two()
    c(submitted(2, choice=7))
    c(submitted(3, choice=8))
    assert set(abandoned(c(CloseAsked(True)))) == {2, 3}
    c = Driven(servers=1)
    c(submitted(1, choice=7))
    c(SchedulerLost("the scheduler is gone"))
    ended = abandoned(c(ProcessLost(N, "reset"))) | abandoned(c(ProcessLost(N + 1, "reset")))
    assert list(ended) == [1]
    assert not c.machine.tasks
