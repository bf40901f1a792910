"""parkcos/client/controls.py and membership.py: a node that its client uses again, closed or failed in between."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.dispatch_events import (
    AbandonAsked,
    CloseAsked,
    CloseNode,
    CloseNodeAsked,
    Consider,
    Ended,
    Granted,
    LeaveScheduler,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    Reallocated,
    Run,
    SchedulerLost,
    ServerIsReady,
    ServerIsUp,
    SetupNode,
    Started,
    TimePassed,
    Want,
)
from parkcos.client.membership import FAILURES_MAX, STEADY_S
from tests.client.driven import Driven, M, N, abandoned, info, submitted
from tests.client.test_controls import down, end, heard, ready, resume, silent, suspend

# allocated again while it closes


def test_allocated_again_while_it_closes() -> None:
    c = ready(1)
    assert c(Reallocated()) == [], "it is in use"
    c(CloseNodeAsked(N, False, False))
    assert c(Reallocated()) == []
    end(c, 1001)
    assert c(NodeHasClosed(N)) == [Consider(N)]
    assert c(Offered(info(N), 1)) == [Want(N, 1)]
    assert c.told() == [("ServerClosed", 1001), ("NodeClosed", N), ("NodeDiscovered", N)]


def test_the_last_word_about_a_node_counts() -> None:
    c = ready(1)
    c(CloseNodeAsked(N, False, False))
    c(Reallocated())
    c(CloseNodeAsked(N, True, False))
    end(c, 1001)
    assert c(NodeHasClosed(N)) == []
    c = ready(1)
    c(CloseNodeAsked(N, False, False))
    c(Reallocated())
    c(CloseNodeAsked(N, False, True))
    end(c, 1001)
    assert c(NodeHasClosed(N, kept=True)) == [SetupNode(N, 1)]
    c = ready(1)
    c(CloseNodeAsked(N, False, True))
    assert c(Reallocated()) == []
    end(c, 1001)
    assert c(NodeHasClosed(N, kept=True)) == [SetupNode(N, 1)], "it was not to be closed for good"


def test_allocated_again_when_it_was_closed_before_it_was_granted() -> None:
    c = ready()
    c(Offered(info(N), 2))
    c(CloseNodeAsked(N, False, False))
    c(Reallocated())
    assert c(Granted(N)) == [CloseNode(N, True)]
    assert c(NodeHasClosed(N)) == [Consider(N)]
    c(Offered(info(M), 2))
    c(CloseNodeAsked(M, False, False))
    c(Reallocated())
    c.told()
    assert c(Offered(info(M), 3)) == [Want(M, 3)]
    assert c.told() == [("NodeClosed", M), ("NodeDiscovered", M)]


# failed


def died(node: int) -> NodeHasFailed:
    return NodeHasFailed(node, "killed by signal 9", died=True)


def fail(c: Driven, *servers: int, node: int = N) -> list[Any]:
    """All words about it, and about its servers."""
    effects = []
    for server in servers:
        effects += end(c, server, asked=False)
    return effects + c(died(node)) + c(NodeHasClosed(node))


def bring_again(c: Driven, node: int, *servers: int) -> list[Any]:
    assert c(Granted(node)) == [SetupNode(node, len(servers))]
    c(NodeIsReady(node))
    effects = []
    for server in servers:
        assert c(ServerIsUp(node, server, "10.0.0.1", server)) == [OpenServer(server)]
        effects += c(ServerIsReady(server))
    return effects


def test_a_node_that_failed_is_wanted_again() -> None:
    c = ready(2)
    c(submitted(1, False))
    c(submitted(2, False))
    c(Started(1))
    for task, node in ((3, 0), (4, N)):
        assert c(submitted(task, False, node=node)) == []
    effects = fail(c, 1001, 1002)
    assert set(abandoned(effects)) == {1, 2}, "those that wait do not end"
    assert effects[-1] == Want(N, 2), "once"
    assert effects.count(Want(N, 2)) == 1
    assert c(submitted(5, True, node=N)) == []
    assert {run.task for run in bring_again(c, N, 1011, 1012)} == {3, 4, 5}
    assert c.told() == [
        ("ServerDisconnected", 1001), ("ServerDisconnected", 1002), ("NodeDisconnected", N),
        ("NodeResumed", N), ("ServerDiscovered", 1011), ("ServerInitialized", 1011),
        ("ServerDiscovered", 1012), ("ServerInitialized", 1012),
    ]  # fmt: skip


def test_the_words_about_a_node_that_failed_in_another_order() -> None:
    c = ready(1)
    c(submitted(1, False))
    c(submitted(2, False, node=N))
    assert c(died(N)) == [], "its session has the last word of a server"
    assert c(down(1001, asked=False)) == []
    assert set(abandoned(c(ProcessLost(1001, "closed")))) == {1}
    assert c(NodeHasClosed(N)) == [Want(N, 1)]
    assert [run.task for run in bring_again(c, N, 1011)] == [2]
    assert c.told()[:2] == [("NodeDisconnected", N), ("ServerDisconnected", 1001)]


def test_what_was_sent_ahead_to_a_node_that_failed_runs_when_it_is_set_up_again() -> None:
    c = ready(1)
    c.warm()
    for task in (1, 2, 3):
        c(submitted(task, False, node=N))
    c(Started(1))
    assert [run.task for run in c(Ended(1, 0.0))] == [2, 3]
    c(Started(2))
    assert set(abandoned(fail(c, 1001))) == {2}
    assert [run.task for run in bring_again(c, N, 1011)] == [3]


def test_a_node_that_fails_again_and_again() -> None:
    c = ready(1)
    servers = iter(range(1001, 1099))
    at = next(servers)
    for _ in range(FAILURES_MAX):
        assert Want(N, 1) in fail(c, at)
        at = next(servers)
        bring_again(c, N, at)
    c.told()
    c(submitted(1, False, node=N))
    c(submitted(2, False, node=N))
    effects = fail(c, at)
    assert set(abandoned(effects)) == {1, 2}
    assert not [effect for effect in effects if isinstance(effect, Want)]
    assert c.told() == [("ServerDisconnected", at), ("NodeDisconnected", N)]
    c.bring(N, 1)
    assert c.told()[:2] == [("NodeDiscovered", N), ("NodeInitialized", N)], "if it is allocated again"


def test_a_node_that_fails_now_and_then_is_not_given_up() -> None:
    c = ready(1)
    servers = iter(range(1001, 1099))
    at = next(servers)
    for number in range(1, 3 * FAILURES_MAX):
        c(TimePassed(), number * STEADY_S)
        assert Want(N, 1) in fail(c, at)
        at = next(servers)
        bring_again(c, N, at)
    for _ in range(FAILURES_MAX - 1):
        assert Want(N, 1) in fail(c, at)
        at = next(servers)
        bring_again(c, N, at)
    assert Want(N, 1) not in fail(c, at), "the fourth in a row"


@pytest.mark.parametrize("when", ["wanted", "granted"])
def test_a_node_that_failed_and_cannot_be_had_again(when: str) -> None:
    c = ready(1)
    c(submitted(1, False, node=N))
    c(submitted(2, False, node=N))
    fail(c, 1001)
    if when == "granted":
        c(Granted(N))
    assert set(abandoned(c(NodeHasFailed(N, "it is gone")))) == {2}
    assert [name for name, number in c.told() if number == N] == ["NodeDisconnected", "NodeAbandoned"]
    assert not c.machine.nodes


def test_a_node_that_fails_because_of_its_client_or_is_said_to_serve_another_is_not_wanted_again() -> None:
    for word in (NodeHasFailed(N, "node_setup failed", setup=True), NodeHasFailed(N, "it serves another client")):
        c = ready(1)
        assert c(word) == []
        assert c(NodeHasClosed(N)) == []
        assert not c.machine.nodes
    c = ready()
    c(Offered(info(N), 1))
    c(Granted(N))
    assert c(died(N)) == [], "it died of node_setup"
    assert c(NodeHasClosed(N)) == []
    assert not c.machine.nodes


def test_a_node_that_failed_and_takes_no_client_any_more() -> None:
    c = ready(1)
    c(submitted(1, False, node=N))
    c(submitted(2, False, node=N))
    end(c, 1001, asked=False)
    assert c(died(N)) == []
    assert abandoned(c(NodeHasClosed(N, "its hours of service are over"))) == {2: "its hours of service are over"}
    assert c.told()[-1] == ("NodeAbandoned", N)


def test_a_node_that_failed_is_closed_or_restarted_by_its_client() -> None:
    for closed in (False, True):  # it has said that it has closed this client
        c = ready(1)
        c(submitted(1, False, node=N))
        c(submitted(2, False, node=N))
        end(c, 1001, asked=False)
        c(died(N))
        if closed:
            c(NodeHasClosed(N))
        assert c(CloseNodeAsked(N, False, True)) == [], "that is under way"
        assert c(CloseNodeAsked(N, False, False)) == []
        if closed:
            assert c(Granted(N)) == [CloseNode(N, True)]
        assert set(abandoned(c(NodeHasClosed(N)))) == {2}
        assert c.told()[-1] == ("NodeClosed", N)
        assert not c.machine.nodes


def test_a_node_that_was_silent_and_failed_meanwhile() -> None:
    c = ready(1, abandon_zombies=True)
    c(AbandonAsked(N, False))
    c(silent(N))
    assert fail(c, 1001) == [Want(N, 1)]
    assert c(AbandonAsked(0, True)) == [], "it was heard"
    assert c(heard(N)) == []
    bring_again(c, N, 1011)
    assert [name for name, number in c.told() if number == N] == ["NodeDisconnected", "NodeResumed"]
    assert c(AbandonAsked(N, False)) == []
    c(silent(N))
    assert c.told() == [("NodeDisconnected", N)], "it can be so again"


def test_a_suspended_node_that_failed_stays_so() -> None:
    c = ready(1)
    c(suspend(N))
    fail(c, 1001)
    c(submitted(1, False))
    assert bring_again(c, N, 1011) == []
    assert c(resume(N)) == [Run(1, 1011, False)]
    assert [name for name, number in c.told() if number == N] == [
        "NodeSuspended", "NodeDisconnected", "NodeSuspended", "NodeResumed"
    ]  # fmt: skip


def test_closing_waits_for_a_node_that_failed_if_tasks_do() -> None:
    for early in (False, True):
        c = ready(1)
        c(submitted(1, False))
        c(submitted(2, False))
        c(Started(1))
        if early:
            assert c(CloseAsked(False)) == []
        assert Want(N, 1) in fail(c, 1001)
        if not early:
            assert c(CloseAsked(False)) == []
        assert bring_again(c, N, 1011) == [Run(2, 1011, False)]
        assert c.run(2) == [CloseNode(N, True)]
    c = ready(1)
    fail(c, 1001)
    assert c(CloseAsked(False)) == [LeaveScheduler()]
    c = ready(1)
    end(c, 1001, asked=False)
    c(died(N))
    assert c(CloseAsked(False)) == [CloseNode(N, True)]
    assert c(NodeHasClosed(N)) == [LeaveScheduler()]


def test_a_node_that_failed_while_there_is_no_scheduler() -> None:
    for when in range(3):
        c = ready(1)
        c(submitted(1, False))
        c(submitted(2, False))
        effects = c(SchedulerLost("killed")) if when == 0 else []
        effects += end(c, 1001, asked=False) + c(died(N))
        effects += c(SchedulerLost("killed")) if when == 1 else []
        effects += c(NodeHasClosed(N))
        effects += c(SchedulerLost("killed")) if when == 2 else []
        assert set(abandoned(effects)) == {1, 2}
        assert not c.machine.nodes
        assert c.told()[-1] == ("NodeAbandoned", N)


def test_a_node_that_failed_and_is_lost() -> None:
    for closed in (False, True):
        c = ready(1)
        c(submitted(1, False, node=N))
        c(submitted(2, False, node=N))
        end(c, 1001, asked=False)
        c(died(N))
        if closed:
            c(NodeHasClosed(N))
        assert set(abandoned(c(ProcessLost(N, "reset")))) == {2}
        assert c.told()[-1] == ("NodeAbandoned", N)


def test_a_node_that_failed_and_was_closed_while_it_was_wanted_can_be_allocated_again() -> None:
    c = ready(1)
    fail(c, 1001)
    assert c(CloseNodeAsked(N, terminate=True, restart=False)) == []
    c(Reallocated())
    assert c(Offered(info(N), 1)) == [Want(N, 1)]


def test_a_node_that_was_not_wanted_when_it_came_and_is_to_be_set_up_again() -> None:
    """Else it would be closed each time that it is granted, and wanted each time that it has closed."""
    c = Driven()
    c(Offered(info(N), 1))
    c(CloseNodeAsked(N, False, False))
    assert c(Granted(N)) == [CloseNode(N, True)]
    c(CloseNodeAsked(N, False, True))
    assert c(NodeHasClosed(N)) == [Want(N, 1)]
    assert c(Granted(N)) == [SetupNode(N, 1)]
