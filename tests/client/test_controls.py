"""parkcos/client/controls.py and membership.py: what holds nodes and servers back, and what its client asks of them."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.dispatch_events import (
    AbandonAsked,
    CloseAsked,
    CloseNode,
    CloseNodeAsked,
    CloseServer,
    CloseServerAsked,
    Dismiss,
    EnableAsked,
    Ended,
    Granted,
    LeaveScheduler,
    LoadSeen,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    Recall,
    Recalled,
    ReportAbandoned,
    ReportStarted,
    Run,
    SchedulerLost,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    SetupNode,
    SilenceSeen,
    Started,
    SuspendAsked,
    TimePassed,
    Want,
)
from parkcos.client.ends import END_WAIT_S
from tests.client.driven import Driven, M, N, abandoned, info, submitted


def suspend(number: int) -> SuspendAsked:
    return SuspendAsked(number, True)


def resume(number: int) -> SuspendAsked:
    return SuspendAsked(number, False)


def silent(number: int) -> SilenceSeen:
    return SilenceSeen(number, True, "nothing is heard of it for 25 s")


def heard(number: int) -> SilenceSeen:
    return SilenceSeen(number, False, "it is heard again")


def ready(servers: int = 0, nodes: int = 1, **options: bool) -> Driven:
    """With all that was told until now forgotten."""
    c = Driven(servers, nodes, **options)
    c.told()
    return c


def down(server: int, restarts: bool = False, asked: bool = True) -> ServerIsDown:
    return ServerIsDown(server, "it ended", restarts, asked)


def end(c: Driven, server: int, restarts: bool = False, asked: bool = True) -> list[Any]:
    """Both words about the end of a server."""
    return c(down(server, restarts, asked)) + c(ProcessLost(server, "closed"))


# suspended


@pytest.mark.parametrize("where", [1001, N])
def test_an_idle_server_is_given_nothing_until_it_is_resumed(where: int) -> None:
    c = ready(1)
    assert c(suspend(where)) == []
    assert c(suspend(where)) == []
    for task, io in ((1, False), (2, True)):
        assert c(submitted(task, io)) == []
    assert c(resume(where)) == [Run(2, 1001, True), Run(1, 1001, False)]
    assert c(resume(where)) == []
    kind = "Node" if where == N else "Server"
    assert c.told() == [(f"{kind}Suspended", where), (f"{kind}Resumed", where)]


def test_which_tasks_wait_for_what_is_held_back() -> None:
    c = ready(2, nodes=2)
    assert c.machine.holds.held_back() == (0, {})
    c(suspend(N))
    c(suspend(2001))
    c(submitted(1, False))  # at the server that is open
    c(submitted(2, False))  # which is busy: it waits for nothing that is held back
    assert c.machine.holds.held_back() == (0, {})
    asked = "suspended: its client asked for it"
    c(submitted(3, False, node=N))
    assert c.machine.holds.held_back() == (1, {N: asked})
    c(submitted(4, True, 2001))
    assert c.machine.holds.held_back() == (2, {N: asked, 2001: asked})
    c(suspend(M))
    assert c.machine.holds.held_back() == (3, {N: asked, M: asked, 2001: asked})
    c(SilenceSeen(N, True, "nothing was heard of it for 50 s"))
    assert c.machine.holds.held_back()[1][N] == f"{asked}, silent: nothing was heard of it for 50 s"
    for each in (N, M, 2001):
        c(resume(each))
    c(heard(N))
    assert c.machine.holds.held_back() == (0, {})


@pytest.mark.parametrize("where", [1001, N])
def test_what_runs_at_a_suspended_server_goes_on(where: int) -> None:
    c = ready(1)
    c(submitted(1, False))
    c(submitted(2, True))
    c(submitted(3, False))
    assert c(suspend(where)) == []
    assert c(Started(1)) == [ReportStarted(1, 1001)]
    assert c(Ended(1, 1.0)) == [], "it gets no other"
    assert c.run(2) == []
    assert c(resume(where)) == [Run(3, 1001, False)]


@pytest.mark.parametrize("where", [1001, N])
def test_others_run_what_a_suspended_server_does_not(where: int) -> None:
    c = ready(1, nodes=2)
    c(suspend(where))
    assert c(submitted(1, False)) == [Run(1, 2001, False)]
    assert c(submitted(2, True)) == [Run(2, 2001, True)]
    c(submitted(3, False))
    assert c.run(1, 1.0) == [Run(3, 2001, False)]


@pytest.mark.parametrize("where", [1001, N])
def test_what_was_sent_ahead_is_recalled(where: int) -> None:
    c = ready(1)
    c.warm()
    for task in range(1, 4):
        c(submitted(task, False))
    c(submitted(4, False, server=1001))
    c(submitted(5, False, node=N))
    c.run(1)
    first, *others = c.machine.servers[1001].cpu
    assert sorted([first, *others]) == [2, 3, 4, 5]
    assert c(suspend(where)) == [Recall(task, 1001) for task in others]
    assert [c(Recalled(task, True)) for task in others] == [[], [], []]
    assert c.run(first) == []
    again = c(resume(where))
    assert sorted(run.task for run in again) == sorted(others), "also those that run there or nowhere"
    assert {run.server for run in again} == {1001}


def test_what_is_recalled_runs_elsewhere_if_it_may() -> None:
    c = ready(1)
    c.warm()
    c.bring(M, 1)
    c(submitted(9, False, node=M))
    for task, server in ((1, 0), (2, 0), (3, 1001), (4, 0)):
        c(submitted(task, False, server=server))
    c.run(1)
    assert list(c.machine.servers[1001].cpu) == [3, 2, 4], "what must run there comes first"
    assert c(suspend(1001)) == [Recall(2, 1001), Recall(4, 1001)]
    c.run(9)
    assert c(Recalled(2, True)) == [Run(2, 2001, False)]


def test_one_that_begins_before_the_recall_comes_is_not_run_twice() -> None:
    c = ready(1)
    c.warm()
    for task in (1, 2, 3):
        c(submitted(task, False))
    c(Started(1))
    assert [run.task for run in c(Ended(1, 0.0))] == [2, 3]
    assert c(suspend(1001)) == [Recall(3, 1001)]
    c.run(2)
    assert c(Recalled(3, False)) == []
    assert c(resume(1001)) == []
    c.run(3)
    assert not c.machine.tasks


def test_resumed_before_the_answer_to_the_recall() -> None:
    c = ready(1)
    c.warm()
    for task in (1, 2, 3):
        c(submitted(task, False, server=1001))
    c(Started(1))
    c(Ended(1, 0.0))
    c(suspend(1001))
    c(resume(1001))
    assert c(suspend(1001)) == [], "it is asked for once"
    c(resume(1001))
    c.run(2)
    assert c(Recalled(3, True)) == [Run(3, 1001, False)]


def test_tasks_for_a_suspended_place_wait_for_it() -> None:
    c = ready(2)
    c(suspend(1001))
    assert c(submitted(1, False, server=1001)) == []
    assert c(submitted(2, True, server=1001)) == []
    assert c(submitted(3, False, node=N)) == [Run(3, 1002, False)]
    assert c(resume(1001)) == [Run(2, 1001, True), Run(1, 1001, False)]
    c(suspend(N))
    assert c(submitted(4, True, node=N)) == []
    assert c(submitted(5, False, node=N)) == []
    c.run(1, 1.0)
    assert sorted(run.task for run in c(resume(N))) == [4, 5]


def test_server_and_node_suspended_each() -> None:
    c = ready(1)
    c(suspend(1001))
    c(suspend(N))
    c(submitted(1, False))
    assert c(resume(N)) == [], "the server is still"
    c(suspend(N))
    assert c(resume(1001)) == [], "the node is still"
    assert c(resume(N)) == [Run(1, 1001, False)]
    assert c.told() == [
        ("ServerSuspended", 1001), ("NodeSuspended", N), ("NodeResumed", N), ("NodeSuspended", N),
        ("ServerResumed", 1001), ("NodeResumed", N),
    ]  # fmt: skip


def test_a_server_that_comes_up_at_a_suspended_node_waits() -> None:
    c = ready()
    c(Offered(info(N), 1))
    c(suspend(N))
    c(Granted(N))
    c(NodeIsReady(N))
    assert c(ServerIsUp(N, 1001, "10.0.0.1", 1)) == [OpenServer(1001)]
    c(suspend(1001))
    c(submitted(1, False))
    assert c(ServerIsReady(1001)) == []
    assert c(resume(N)) == []
    assert c(resume(1001)) == [Run(1, 1001, False)]


def test_a_suspended_server_that_dies() -> None:
    c = ready(1)
    c(suspend(1001))
    c(submitted(1, False, server=1001))
    assert set(abandoned(end(c, 1001, restarts=True, asked=False))) == {1}
    assert c(resume(1001)) == []
    assert c.told() == [("ServerSuspended", 1001), ("ServerDisconnected", 1001)]


def test_close_waits_for_a_resume() -> None:
    c = ready(1)
    c(suspend(N))
    c(submitted(1, False))
    assert c(CloseAsked(False)) == []
    assert c(resume(N)) == [Run(1, 1001, False)]
    assert c.run(1) == [CloseNode(N, True)]


# silent


def test_a_silent_node_is_given_nothing_until_it_is_heard_again() -> None:
    c = ready(1)
    c(submitted(1, False))
    c(submitted(2, False))
    assert c(silent(N)) == []
    assert c(silent(1001)) == []
    assert c(submitted(3, True)) == []
    assert c(heard(1001)) == []
    assert c(heard(N)) == [Run(3, 1001, True)]
    assert c.run(1, 1.0) == [Run(2, 1001, False)], "its results count"
    assert c.told() == [
        ("NodeDisconnected", N), ("ServerDisconnected", 1001), ("ServerResumed", 1001), ("NodeResumed", N)
    ]  # fmt: skip


def test_results_of_a_silent_server_come_late() -> None:
    c = ready(1)
    c(submitted(1, False))
    c(submitted(2, False))
    c(silent(1001))
    assert c(Ended(1, 1.0)) == [ReportStarted(1, 1001)], "what was on its way"
    assert c(heard(1001)) == [Run(2, 1001, False)]


def test_a_silent_server_alone() -> None:
    c = ready(2)
    c(silent(1001))
    assert c(submitted(1, False)) == [Run(1, 1002, False)]
    assert c(submitted(2, False)) == []
    assert c(heard(1001)) == [Run(2, 1001, False)]
    assert c.told() == [("ServerDisconnected", 1001), ("ServerResumed", 1001)]


def test_silent_and_suspended() -> None:
    c = ready(1)
    c(suspend(N))
    c(silent(N))
    c(submitted(1, False))
    assert c(heard(N)) == []
    assert c.told() == [("NodeSuspended", N), ("NodeDisconnected", N), ("NodeSuspended", N)]
    c(silent(N))
    assert c(resume(N)) == []
    assert c(heard(N)) == [Run(1, 1001, False)]
    assert c.told() == [("NodeDisconnected", N), ("NodeResumed", N)]


def test_a_silent_node_that_never_comes_back() -> None:
    c = ready(1)
    c(submitted(1, False))
    c(silent(N))
    c(silent(1001))
    assert c(ProcessLost(N, "nothing was heard of it for 250 s")) == [Want(N, 1)], "should it be there"
    assert set(abandoned(c(ProcessLost(1001, "nothing was heard of it for 250 s")))) == {1}
    assert c.told()[2:] == [("NodeAbandoned", N), ("ServerAbandoned", 1001)]


def test_a_silent_node_is_given_up_at_once_if_its_client_says_so() -> None:
    c = ready(2, nodes=2, abandon_zombies=True)
    c(submitted(1, False, server=1001))
    c(submitted(2, True, server=1002))
    c(submitted(3, False, server=1001))
    c(submitted(4, False, node=N))
    c(submitted(5, False, node=N))
    c(Started(1))
    effects = c(silent(N))
    assert {e.task: e.started for e in effects if isinstance(e, ReportAbandoned)} == {
        1: True, 2: False, 3: False, 4: False, 5: False
    }  # fmt: skip
    assert [e for e in effects if isinstance(e, Dismiss)] == [
        Dismiss(p, "it was silent, and given up") for p in (1001, 1002, N)
    ]
    assert c.told() == [
        ("NodeDisconnected", N), ("ServerAbandoned", 1001), ("ServerAbandoned", 1002), ("NodeAbandoned", N)
    ]  # fmt: skip
    for late in (Started(4), Ended(1, 1.0), Recalled(2, True), silent(1001), heard(N), heard(1001), down(1001)):
        assert c(late) == [], "its late word does not count"
    for process in (1001, 1002):
        assert c(ProcessLost(process, "it was silent, and given up")) == []
    assert c(ProcessLost(N, "it was silent, and given up")) == [Want(N, 2)], "if it comes back"
    assert c(submitted(6, False)) == [Run(6, 2001, False)]
    assert c.told() == []


def test_a_node_that_was_given_up_is_offered_again() -> None:
    c = ready(1, abandon_zombies=True)
    c(silent(N))
    c(ProcessLost(N, "it was silent, and given up"))
    c.told()
    c.bring(N, 1)
    assert c.told() == [
        ("NodeDiscovered", N), ("NodeInitialized", N), ("ServerDiscovered", 1001), ("ServerInitialized", 1001)
    ]  # fmt: skip
    assert c(submitted(1, False)) == [Run(1, 1001, False)]


def test_a_silent_node_that_is_offered_has_given_its_client_up() -> None:
    c = ready(1)
    c(submitted(1, False))
    c(silent(N))
    effects = c(Offered(info(N), 1))
    assert set(abandoned(effects)) == {1}
    assert effects[-1] == Dismiss(N, "it was silent, and given up")
    assert c.told() == [("NodeDisconnected", N), ("ServerAbandoned", 1001), ("NodeAbandoned", N)]
    assert c(Offered(info(N), 1)) == [], "it is not wanted while the old session has not ended"
    assert c(ProcessLost(N, "it was silent, and given up")) == [Want(N, 1)]
    assert c(Granted(N)) == [SetupNode(N, 1)]
    assert c.told() == [("NodeDiscovered", N)]
    assert c(ProcessLost(1001, "it was silent, and given up")) == []


def test_the_decision_to_abandon_comes_later() -> None:
    c = ready(1, nodes=2)
    c(silent(N))
    c(silent(M))
    c(submitted(1, False))
    assert c(AbandonAsked(N, False)) == []
    effects = c(AbandonAsked(N, True))
    assert Dismiss(N, "it was silent, and given up") in effects
    assert N not in c.machine.nodes
    assert M in c.machine.nodes, "that was not meant"
    assert c(AbandonAsked(77, True)) == []


def test_the_decision_to_abandon_all() -> None:
    c = ready(1, nodes=2)
    c(AbandonAsked(N, False))
    c(silent(N))
    assert Dismiss(N, "it was silent, and given up") in c(AbandonAsked(0, True))
    assert Dismiss(M, "it was silent, and given up") in c(silent(M))


def test_the_decision_to_abandon_one_only_or_all_but_one() -> None:
    c = ready(1, nodes=2)
    c(AbandonAsked(M, True))
    assert c(silent(N)) == []
    assert Dismiss(M, "it was silent, and given up") in c(silent(M))
    c = ready(1, nodes=2, abandon_zombies=True)
    c(AbandonAsked(M, False))
    assert c(silent(M)) == []
    assert Dismiss(N, "it was silent, and given up") in c(silent(N))


def test_a_silent_server_is_given_up_and_replaced() -> None:
    c = ready(1, abandon_zombies=True)
    c(submitted(1, False))
    c(submitted(2, False, node=N))
    effects = c(silent(1001))
    assert CloseServer(N, 1001, terminate=True, restart=True) in effects
    assert abandoned(effects) == {1: "its server 10.0.0.1:1001 ended: nothing is heard of it for 25 s"}
    assert effects[-1] == Dismiss(1001, "nothing is heard of it for 25 s")
    assert c.told() == [("ServerDisconnected", 1001), ("ServerAbandoned", 1001)]
    assert c(down(1001, restarts=True)) == []
    c(ServerIsUp(N, 1002, "10.0.0.1", 1))
    assert c(ServerIsReady(1002)) == [Run(2, 1002, False)]


def test_a_silent_server_that_was_closed_for_good_is_not_replaced() -> None:
    c = ready(1, abandon_zombies=True)
    c(CloseServerAsked(1001, False, False))
    effects = c(silent(1001))
    assert effects[0] == CloseServer(N, 1001, terminate=True, restart=False)
    c(down(1001))
    assert abandoned(c(submitted(1, False, node=N))) == {1: "no server is left at that node"}


def test_a_node_that_is_silent_when_its_client_closes() -> None:
    c = ready(1, nodes=2)
    c(silent(N))
    effects = c(CloseAsked(False))
    assert CloseNode(M, True) in effects
    assert Dismiss(N, "it was silent, and given up") in effects
    assert c.told() == [("NodeDisconnected", N), ("ServerAbandoned", 1001), ("NodeAbandoned", N)]
    end(c, 2001)
    assert c(NodeHasClosed(M)) == [LeaveScheduler()]


def test_a_node_that_falls_silent_while_its_client_closes() -> None:
    c = ready(1)
    assert c(CloseAsked(False)) == [CloseNode(N, True)]
    effects = c(silent(N))
    assert Dismiss(N, "it was silent, and given up") in effects
    assert effects[-1] == LeaveScheduler()
    assert c.told() == [
        ("NodeDisconnected", N), ("ServerAbandoned", 1001), ("NodeAbandoned", N), ("ClientClosed", 0)
    ]  # fmt: skip


def test_closing_waits_for_the_tasks_of_a_silent_node() -> None:
    c = ready(1)
    c(submitted(1, False))
    c(silent(N))
    assert c(CloseAsked(False)) == []
    c(heard(N))
    assert c.run(1) == [CloseNode(N, True)]


# short of something, and busy with others


def test_a_node_short_of_memory() -> None:
    c = ready(1)
    c(submitted(1, False))
    c(submitted(2, False))
    effects = c.machine.handle(LoadSeen(N, 0.1, "it has only 5 bytes of memory"), 0.0)
    assert [(e.name, e.reason) for e in effects] == [("NodeSuspended", "it has only 5 bytes of memory")]
    assert c(LoadSeen(N, 0.1, "it has only 4 bytes of memory")) == []
    assert c.run(1, 1.0) == []
    assert c(LoadSeen(N, 0.1)) == [Run(2, 1001, False)]
    assert c.told() == [("NodeResumed", N)]
    assert c(LoadSeen(77, 0.1)) == []


def test_short_and_suspended() -> None:
    c = ready(1)
    c(LoadSeen(N, None, "no disk"))
    c(suspend(N))
    c(submitted(1, False))
    assert c(LoadSeen(N, None)) == []
    assert c(resume(N)) == [Run(1, 1001, False)]
    assert c.told() == [("NodeSuspended", N), ("NodeResumed", N)]


def test_the_load_of_others_counts() -> None:
    c = ready(4, nodes=2)
    c(LoadSeen(N, 0.6))
    assert [c(submitted(task, False))[0].server // 1000 for task in (1, 2)] == [2, 2]
    c(LoadSeen(M, 0.5))
    assert c(submitted(3, False))[0].server // 1000 == 2, "that is this client's own load"
    assert c(submitted(4, False))[0].server // 1000 == 1
    c(LoadSeen(N, 0.25))
    assert [c(submitted(task, False))[0].server // 1000 for task in (5, 6)] == [1, 1]
    c(LoadSeen(M, None))
    assert c(submitted(7, False))[0].server // 1000 in (1, 2)


# nodes and servers that wait to be enabled


def test_a_disabled_node_waits_to_be_enabled() -> None:
    c = ready(disable_nodes=True)
    assert c(Offered(info(N), 2)) == []
    assert c.told() == [("NodeDiscovered", N)]
    assert c(Offered(info(N), 2)) == []
    assert c(EnableAsked(M)) == []
    assert c(EnableAsked(N)) == [Want(N, 2)]
    assert c(EnableAsked(N)) == []
    assert c(Granted(N)) == [SetupNode(N, 2)]
    c(NodeIsReady(N))
    assert c.told() == [("NodeInitialized", N)]


def test_a_disabled_server_waits_to_be_enabled() -> None:
    c = ready(disable_servers=True)
    c.bring(N, 1, opened=False)
    assert c(ServerIsUp(N, 1001, "10.0.0.1", 1)) == []
    assert c(ServerIsUp(N, 1002, "10.0.0.1", 1)) == []
    c(submitted(1, False))
    assert c(EnableAsked(1002)) == [OpenServer(1002)]
    assert c(EnableAsked(1002)) == []
    assert c(ServerIsReady(1002)) == [Run(1, 1002, False)]
    assert ("ServerInitialized", 1001) not in c.told()


def test_closing_does_not_wait_for_what_nobody_enables() -> None:
    c = ready(disable_nodes=True)
    c(Offered(info(N), 2))
    assert c(CloseAsked(False)) == [LeaveScheduler()]
    c = ready(disable_servers=True)
    c.bring(N, 1, opened=False)
    assert c(CloseAsked(False)) == [CloseNode(N, True)]


def test_a_disabled_node_is_closed_before_it_was_used() -> None:
    c = ready(disable_nodes=True)
    c(Offered(info(N), 2))
    c(submitted(1, False, node=N))
    assert c(CloseNodeAsked(N, False, restart=True)) == [], "there is nothing to set up again"
    effects = c(CloseNodeAsked(N, False, False))
    assert effects[0] == Want(N, 0)
    assert set(abandoned(effects)) == {1}
    assert c.told() == [("NodeDiscovered", N), ("NodeClosed", N)]


def test_a_node_that_is_closed_before_it_is_granted() -> None:
    c = ready()
    c(Offered(info(N), 2))
    assert c(CloseNodeAsked(N, False, False)) == []
    assert c(Granted(N)) == [CloseNode(N, True)]
    assert c(NodeHasClosed(N)) == []
    assert c.told() == [("NodeDiscovered", N), ("NodeClosed", N)]
    c(Offered(info(M), 2))
    c(CloseNodeAsked(M, False, False))
    assert c(Offered(info(M), 2)) == [Want(M, 0)]
    assert M not in c.machine.nodes
    c(Offered(info(M), 2))
    c(CloseNodeAsked(M, False, True))
    assert c(Granted(M)) == [SetupNode(M, 2)], "it is about to be set up anyhow"


# servers that are closed


@pytest.mark.parametrize("terminate", [False, True])
def test_a_server_is_closed(terminate: bool) -> None:
    c = ready(2)
    c(submitted(1, False, server=1001))
    c(submitted(2, False, server=1001))
    c(submitted(3, True, server=1001))
    effects = c(CloseServerAsked(1001, terminate, False))
    assert abandoned(effects) == {2: "that server is being closed"}
    assert effects[-1] == CloseServer(N, 1001, terminate, False)
    assert abandoned(c(submitted(4, False, server=1001))) == {4: "that server is being closed"}
    assert c(submitted(5, False)) == [Run(5, 1002, False)]
    c.run(1, 1.0)
    assert set(abandoned(end(c, 1001))) == {3}
    assert c.told() == [("ServerClosed", 1001)]
    assert c.machine.nodes[N].left == 1
    assert c(CloseServerAsked(1001, True, False)) == []


def test_first_with_patience_then_without() -> None:
    c = ready(1)
    c(submitted(1, False))
    assert c(CloseServerAsked(1001, False, True)) == [CloseServer(N, 1001, False, True)]
    assert c(CloseServerAsked(1001, True, True)) == [CloseServer(N, 1001, True, True)]


def test_a_server_is_restarted() -> None:
    c = ready(1)
    c(submitted(1, False, node=N))
    c(submitted(2, False, node=N))
    assert c(CloseServerAsked(1001, False, True)) == [CloseServer(N, 1001, False, True)]
    assert c.run(1, 1.0) == []
    assert end(c, 1001, restarts=True) == []
    c(ServerIsUp(N, 1002, "10.0.0.1", 1))
    assert c(ServerIsReady(1002)) == [Run(2, 1002, False)]
    assert c.told() == [("ServerClosed", 1001), ("ServerDiscovered", 1002), ("ServerInitialized", 1002)]


def test_what_was_ahead_at_a_server_that_is_restarted_runs_later() -> None:
    c = ready(1)
    c.warm()
    for task in (1, 2, 3):
        c(submitted(task, False))
    c(Started(1))
    assert [run.task for run in c(Ended(1, 0.0))] == [2, 3]
    c(CloseServerAsked(1001, False, True))
    assert c(Recalled(3, True)) == []
    c.run(2)
    end(c, 1001, restarts=True)
    c(ServerIsUp(N, 1002, "10.0.0.1", 1))
    assert c(ServerIsReady(1002)) == [Run(3, 1002, False)]


def test_a_server_that_is_not_enabled_is_closed() -> None:
    c = ready(disable_servers=True)
    c.bring(N, 1, opened=False)
    assert c(CloseServerAsked(1001, False, False)) == [CloseServer(N, 1001, False, False)]
    assert c(EnableAsked(1001)) == []


# nodes that are closed or set up again


@pytest.mark.parametrize("terminate", [False, True])
def test_a_node_is_closed(terminate: bool) -> None:
    c = ready(2, nodes=2)
    for task in (1, 2, 3):
        c(submitted(task, False, node=N))
    assert c(CloseNodeAsked(N, terminate, False)) == [CloseNode(N, terminate)]
    assert c(submitted(4, False)) == [Run(4, 2001, False)]
    c.run(1, 1.0)
    c.run(2, 1.0)
    end(c, 1001)
    assert set(abandoned(end(c, 1002))) == {3}
    assert c(NodeHasClosed(N)) == []
    assert c.told() == [("ServerClosed", 1001), ("ServerClosed", 1002), ("NodeClosed", N)]
    assert c(CloseNodeAsked(N, terminate, False)) == []
    assert c(submitted(5, False)) == [Run(5, 2002, False)]


def restart(c: Driven, *servers: int) -> None:
    """Until the new servers are to come."""
    assert c(CloseNodeAsked(N, False, True)) == [CloseNode(N, False, keep=True)]
    for server in servers:
        end(c, server)
    assert c(NodeHasClosed(N, kept=True)) == [SetupNode(N, len(servers))]


def test_a_node_is_set_up_anew() -> None:
    c = ready(2)
    restart(c, 1001, 1002)
    assert c(NodeIsReady(N)) == []
    c(ServerIsUp(N, 1003, "10.0.0.1", 1))
    c(ServerIsReady(1003))
    assert c.told() == [
        ("ServerClosed", 1001), ("ServerClosed", 1002), ("ServerDiscovered", 1003), ("ServerInitialized", 1003)
    ]  # fmt: skip


def test_tasks_wait_while_a_node_is_set_up_anew() -> None:
    c = ready(1)
    c(submitted(1, False))
    for task, node in ((2, N), (3, 0)):
        assert c(submitted(task, False, node=node)) == []
    assert c(CloseNodeAsked(N, False, True)) == [CloseNode(N, False, keep=True)]
    assert c(submitted(4, True, node=N)) == []
    c.run(1, 1.0)
    end(c, 1001)
    assert c(submitted(5, False, node=N)) == [], "it has no server now, but it will"
    assert c(NodeHasClosed(N, kept=True)) == [SetupNode(N, 1)]
    assert c(submitted(6, True, node=N)) == []
    c(NodeIsReady(N))
    c(ServerIsUp(N, 1002, "10.0.0.1", 1))
    assert [run.task for run in c(ServerIsReady(1002))] == [4, 6, 2]
    assert c.run(2, 1.0) == [Run(5, 1002, False)]
    assert c.run(5, 1.0) == [Run(3, 1002, False)]


def test_what_was_sent_ahead_survives_the_restart() -> None:
    c = ready(1)
    c.warm()
    for task in (1, 2, 3):
        c(submitted(task, False, node=N if task == 3 else 0))
    c(Started(1))
    runs = [run.task for run in c(Ended(1, 0.0))]
    assert sorted(runs) == [2, 3]
    c(CloseNodeAsked(N, False, True))
    assert c(Recalled(runs[1], True)) == []
    c.run(runs[0])
    end(c, 1001)
    c(NodeHasClosed(N, kept=True))
    c(NodeIsReady(N))
    c(ServerIsUp(N, 1002, "10.0.0.1", 1))
    assert c(ServerIsReady(1002)) == [Run(runs[1], 1002, False)]


def test_a_restart_while_there_is_no_scheduler_or_the_client_closes() -> None:
    for event in (SchedulerLost("killed"), CloseAsked(False)):
        c = ready(1)
        c(submitted(1, False))
        c(submitted(2, False))
        c(CloseNodeAsked(N, False, True))
        assert c(event) == []
        c.run(1, 1.0)
        assert end(c, 1001) == [], "the other one runs when it is set up again"
        c(NodeHasClosed(N, kept=True))
        c(NodeIsReady(N))
        c(ServerIsUp(N, 1002, "10.0.0.1", 1))
        assert c(ServerIsReady(1002)) == [Run(2, 1002, False)]


def test_closing_a_client_ends_a_restart() -> None:
    c = ready(1)
    c(CloseNodeAsked(N, False, True))
    assert c(CloseAsked(False)) == [CloseNode(N, True)]
    end(c, 1001)
    assert c(NodeHasClosed(N, kept=True)) == [LeaveScheduler()]


def test_closing_a_node_ends_its_restart() -> None:
    c = ready(1)
    c(submitted(1, False, node=N))
    c.run(1)
    c(CloseNodeAsked(N, False, True))
    assert c(CloseNodeAsked(N, False, False)) == [CloseNode(N, False)]
    end(c, 1001)
    c(NodeHasClosed(N, kept=True))
    assert N not in c.machine.nodes


def test_a_node_that_will_not_be_kept() -> None:
    c = ready(1)
    c(CloseNodeAsked(N, False, True))
    c(submitted(1, False, node=N))
    end(c, 1001)
    assert abandoned(c(NodeHasClosed(N, "its hours of service are over"))) == {1: "its hours of service are over"}
    assert c.told()[-1] == ("NodeClosed", N)


def test_a_node_lost_while_it_is_set_up_anew() -> None:
    for when in range(3):
        c = ready(1)
        c(submitted(1, False, node=N))
        c.run(1, 1.0)
        c(CloseNodeAsked(N, False, True))
        c(submitted(2, False, node=N))
        if when > 0:
            end(c, 1001)
        if when > 1:
            c(NodeHasClosed(N, kept=True))
        assert abandoned(c(ProcessLost(N, "reset"))) == {2: "its node is gone: reset"}
        c(TimePassed(), END_WAIT_S)
        assert c.told()[-1 if when else -2] == ("NodeDisconnected", N)
        assert not c.machine.nodes
        assert not c.machine.servers


def test_a_setup_that_fails_after_a_restart() -> None:
    c = ready(1)
    restart(c, 1001)
    c(submitted(1, False, node=N))
    c(submitted(2, False))
    effects = c(NodeHasFailed(N, "node_setup failed: no such file", setup=True))
    assert abandoned(effects) == {
        1: "node_setup failed: no such file",
        2: "no server is left, and where it was tried, node_setup failed: no such file",
    }
    assert c(NodeHasClosed(N)) == []
    assert c.told() == [("ServerClosed", 1001), ("NodeDisconnected", N)]


def test_a_restart_before_the_node_was_ready() -> None:
    c = ready()
    c(Offered(info(N), 1))
    c(Granted(N))
    assert c(CloseNodeAsked(N, False, True)) == [CloseNode(N, False, keep=True)]
    assert c(NodeIsReady(N)) == [], "of the first time"
    assert c(NodeHasClosed(N, kept=True)) == [SetupNode(N, 1)]
    c(NodeIsReady(N))
    c(CloseNodeAsked(N, True, True))
    c(NodeHasClosed(N, kept=True))
    c(NodeIsReady(N))
    assert c.told() == [("NodeDiscovered", N), ("NodeInitialized", N)], "each once"


def test_holds_outlast_a_restart() -> None:
    c = ready(1)
    c(suspend(N))
    restart(c, 1001)
    c(NodeIsReady(N))
    c(ServerIsUp(N, 1002, "10.0.0.1", 1))
    c(ServerIsReady(1002))
    assert c(submitted(1, False)) == []
    assert c(resume(N)) == [Run(1, 1002, False)]
    assert [name for name, number in c.told() if number == N] == ["NodeSuspended", "NodeResumed"]


def test_silence_that_ends_or_begins_during_a_restart() -> None:
    for before in (True, False):
        c = ready(1)
        if before:
            c(silent(N))
        c(CloseNodeAsked(N, False, True))
        if not before:
            c(silent(N))
        c(heard(N))
        end(c, 1001)
        c(NodeHasClosed(N, kept=True))
        c(NodeIsReady(N))
        c(ServerIsUp(N, 1002, "10.0.0.1", 1))
        c(ServerIsReady(1002))
        assert c(submitted(1, False)) == [Run(1, 1002, False)]
        assert [name for name, number in c.told() if number == N] == ["NodeDisconnected", "NodeResumed"]


def test_a_node_that_falls_silent_during_a_restart_is_given_up() -> None:
    c = ready(1, abandon_zombies=True)
    c(CloseNodeAsked(N, False, True))
    c(submitted(1, False, node=N))
    assert set(abandoned(c(silent(N)))) == {1}
    assert not c.machine.nodes


def test_what_a_closing_place_cannot_be_told() -> None:
    c = ready(1)
    c(CloseServerAsked(1001, False, False))
    assert c(suspend(1001)) == []
    c(CloseNodeAsked(N, False, False))
    assert c(suspend(N)) == []
    assert c(LoadSeen(N, 0.5, "no memory")) == []
    assert c.told() == []
    for unknown in (suspend(77), silent(77), CloseServerAsked(77, True, True), CloseNodeAsked(77, True, True)):
        assert c(unknown) == []


def test_a_server_that_is_suspended_before_it_is_ready_is_not_open_when_it_is_resumed() -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    c(suspend(1001))
    c(resume(1001))
    assert c(submitted(1, False)) == [], "it has yet to be ready"
    assert c(ServerIsReady(1001)) == [Run(1, 1001, False)]
