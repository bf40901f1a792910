"""parkcos/client/membership.py: what is said of a node or server that is lost, and what its end is counted as."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.dispatch_events import (
    AbandonAsked,
    CloseAsked,
    CloseNode,
    CloseNodeAsked,
    Dismiss,
    EnableAsked,
    Granted,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    Run,
    SchedulerLost,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SetupNode,
    SilenceSeen,
    Submitted,
    SuspendAsked,
    TimePassed,
)
from parkcos.client.membership import EARLY_ENDS_MAX, END_WAIT_S
from tests.client.driven import Driven, M, N, abandoned, info


def down(server: int, reason: str = "signal 9", asked: bool = False) -> ServerIsDown:
    return ServerIsDown(server, reason, restarts=True, asked=asked)


# reasons


def test_why_a_server_has_ended_is_said_in_any_case() -> None:
    for words, why in (
        ([down(N + 1, ""), ProcessLost(N + 1, "")], "it ended"),
        ([ProcessLost(N + 1, ""), TimePassed()], "it ended"),
        ([ProcessLost(N + 1, "reset"), TimePassed()], "reset"),
        ([ProcessLost(N + 1, "reset"), down(N + 1)], "signal 9"),
        ([ServerSetupFailed(N + 1, "")], "server_setup failed"),
    ):
        c = Driven(servers=1)
        c(Submitted(1, False))
        for word in words[:-1]:
            assert c(word) == []
        c.now = END_WAIT_S
        assert abandoned(c(words[-1])) == {1: f"its server 10.0.0.1:1001 ended: {why}"}


def test_why_a_node_is_not_used_any_more_is_said_in_any_case() -> None:
    c = Driven(servers=1)
    c(Submitted(1, False))
    c(Submitted(2, False, node=N))
    assert abandoned(c(NodeHasClosed(N))) == {2: "its node was closed"}
    assert abandoned(c(ProcessLost(N + 1, "reset"))) == {1: "its server 10.0.0.1:1001 ended: its node was closed"}
    c = Driven(servers=1)
    c(Submitted(1, False))
    c(Submitted(2, False, node=N))
    c(NodeHasFailed(N, "signal 9", died=True))
    c(SchedulerLost("killed"))
    assert abandoned(c(NodeHasClosed(N))) == {2: "it failed, and cannot be had again"}


# nodes


def test_a_setup_that_failed_at_a_node_that_is_not_used_says_nothing_of_others() -> None:
    c = Driven(servers=1)
    c(NodeHasFailed(M, "no such file", setup=True))
    c(ProcessLost(N, "reset"))
    assert c(Submitted(1, False)) == [], "it waits for a node"


def test_a_node_that_is_had_again_without_an_offer_gets_its_servers() -> None:
    c = Driven(servers=1)
    c(ProcessLost(N, "reset"))
    assert c(Granted(N)) == [SetupNode(N, 1)]
    assert c(Submitted(1, False, node=N)) == []


def test_a_node_that_was_closed_before_it_was_granted_cannot_be_restarted() -> None:
    c = Driven()
    c(Offered(info(N), 2))
    c(CloseNodeAsked(N, False, False))
    c(CloseNodeAsked(N, False, True))
    assert c(Granted(N)) == [CloseNode(N, True)]


# ends before a server is ready


def dies(c: Driven, server: int, first: str) -> list[Any]:
    words = [down(server), ProcessLost(server, "reset")]
    if first == "session":
        words.reverse()
    return c(words[0]) + c(words[1])


@pytest.mark.parametrize("first", ["node", "session"])
def test_servers_that_end_in_their_setup_count_whoever_says_so_first(first: str) -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    for server in range(N + 1, N + EARLY_ENDS_MAX):
        dies(c, server, first)
        assert c(ServerIsUp(N, server + 1, "10.0.0.1", 1)) == [OpenServer(server + 1)]
    dies(c, N + EARLY_ENDS_MAX, first)
    assert c(ServerIsUp(N, N + 9, "10.0.0.1", 1)) == [], "it would end, too"


@pytest.mark.parametrize("first", ["node", "session"])
def test_servers_that_end_before_they_were_told_to_begin_do_not_count(first: str) -> None:
    c = Driven(disable_servers=True)
    c.bring(N, 1, opened=False)
    for server in range(N + 1, N + 2 + EARLY_ENDS_MAX):
        dies(c, server, first)
        c(ServerIsUp(N, server + 1, "10.0.0.1", 1))
        assert server + 1 in c.machine.servers
    assert c(EnableAsked(server + 1)) == [OpenServer(server + 1)]


@pytest.mark.parametrize("first", ["node", "session"])
def test_servers_that_end_after_they_were_ready_do_not_count(first: str) -> None:
    c = Driven(servers=1)
    for server in range(N + 1, N + 2 + EARLY_ENDS_MAX):
        dies(c, server, first)
        assert c(ServerIsUp(N, server + 1, "10.0.0.1", 1)) == [OpenServer(server + 1)]
        c(ServerIsReady(server + 1))


# held back


def test_a_node_that_is_suspended_while_it_is_restarted_stays_so() -> None:
    c = Driven(servers=1)
    c(CloseNodeAsked(N, True, True))
    c.told()
    c(SuspendAsked(N, True))
    assert c.told() == [("NodeSuspended", N)]
    set_up_again(c)
    assert c(Submitted(1, False)) == []
    assert c(SuspendAsked(N, False)) == [Run(1, N + 2, False)]


def test_a_node_that_is_closed_and_then_restarted_is_not_held_back_by_what_is_over() -> None:
    c = Driven(servers=1)
    c(SuspendAsked(N, True))
    c(CloseNodeAsked(N, False, False))
    c.told()
    c(SuspendAsked(N, False))
    assert c.told() == [], "it is closing"
    c(CloseNodeAsked(N, True, True))
    set_up_again(c)
    assert c(Submitted(1, False)) == [Run(1, N + 2, False)]


def set_up_again(c: Driven) -> None:
    for word in (down(N + 1, asked=True), ProcessLost(N + 1, "closed"), NodeHasClosed(N, kept=True), NodeIsReady(N)):
        c(word)
    c(ServerIsUp(N, N + 2, "10.0.0.1", 1))
    c(ServerIsReady(N + 2))


def test_the_decision_to_abandon_all_counts_for_those_that_come_later() -> None:
    c = Driven()
    c(AbandonAsked(0, True))
    c.bring(N, 1)
    assert Dismiss(N, "it was silent, and given up") in c(SilenceSeen(N, True, "silence"))
    c(AbandonAsked(0, False))
    c.bring(M, 1)
    assert c(SilenceSeen(M, True, "silence")) == []


def test_a_server_that_falls_silent_after_the_end_of_its_node() -> None:
    c = Driven(servers=1, abandon_zombies=True)
    c(ProcessLost(N, "reset"))
    assert c(SilenceSeen(N + 1, True, "silence")) == [], "its end is awaited in any case"


# closing


def test_nothing_is_said_of_what_holds_a_node_that_its_client_closes() -> None:
    for restarted in (False, True):
        c = Driven(servers=1)
        if restarted:
            c(CloseNodeAsked(N, False, True))
        c(CloseAsked(True))
        c.told()
        c(SuspendAsked(N, True))
        assert c.told() == []


def test_without_a_scheduler_nobody_waits_for_a_node_that_is_closing() -> None:
    c = Driven(servers=1)
    c(SchedulerLost("the scheduler is gone"))
    c(CloseNodeAsked(N, False, False))
    assert abandoned(c(Submitted(1, False))) == {1: "no server is left, and the scheduler is gone"}
