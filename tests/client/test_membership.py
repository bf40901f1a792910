"""parkcos/client/membership.py: what is said of nodes that are lost, wanted again, or closed."""

from __future__ import annotations

from msgspec.structs import replace

from parkcos.client.dispatch_events import (
    AbandonAsked,
    CancelAsked,
    CloseAsked,
    CloseNode,
    CloseNodeAsked,
    Dismiss,
    EnableAsked,
    Granted,
    LeaveScheduler,
    LoadSeen,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    ProcessLost,
    Reallocated,
    Run,
    SchedulerLost,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    SetupNode,
    SilenceSeen,
    SuspendAsked,
    Want,
)
from parkcos.client.membership import FAILURES_MAX, STEADY_S
from tests.client.driven import Driven, M, N, abandoned, info, submitted


def down(server: int, reason: str = "signal 9", asked: bool = False) -> ServerIsDown:
    return ServerIsDown(server, reason, restarts=True, asked=asked)


def test_why_a_node_is_not_used_any_more_is_said_in_any_case() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    c(submitted(2, False, node=N))
    assert abandoned(c(NodeHasClosed(N))) == {2: "its node was closed"}
    assert abandoned(c(ProcessLost(N + 1, "reset"))) == {1: "its server 10.0.0.1:1001 ended: its node was closed"}
    c = Driven(servers=1)
    c(submitted(1, False))
    c(submitted(2, False, node=N))
    c(NodeHasFailed(N, "signal 9", died=True))
    c(SchedulerLost("killed"))
    assert abandoned(c(NodeHasClosed(N))) == {2: "it failed, and cannot be had again"}


# nodes


def test_a_setup_that_failed_at_a_node_that_is_not_used_says_nothing_of_others() -> None:
    c = Driven(servers=1)
    c(NodeHasFailed(M, "no such file", setup=True))
    assert c(NodeHasFailed(M, "signal 9", died=True)) == []
    c(ProcessLost(N, "reset"))
    assert c(submitted(1, False)) == [], "it waits for a node"


def test_a_node_that_waits_to_be_enabled_may_do_better_than_one_whose_setup_failed() -> None:
    c = Driven(servers=1)
    c.machine.members.disable_nodes = True
    c(Offered(info(M), 1))
    c(NodeHasFailed(N, "no such file", setup=True))
    assert c(submitted(1, False)) == []


def test_a_node_that_is_had_again_without_an_offer_gets_its_servers() -> None:
    c = Driven(servers=1)
    c(ProcessLost(N, "reset"))
    assert c(Granted(N)) == [SetupNode(N, 1)]
    assert c(submitted(1, False, node=N)) == []


def test_a_node_that_was_closed_before_it_was_granted_cannot_be_restarted() -> None:
    c = Driven()
    c(Offered(info(N), 2))
    c(CloseNodeAsked(N, False, False))
    c(CloseNodeAsked(N, False, True))
    assert c(Granted(N)) == [CloseNode(N, True)]


def test_a_node_that_waits_is_known_as_it_was_offered_last() -> None:
    for disabled in (False, True):
        c = Driven(disable_nodes=disabled)
        c(Offered(info(N), 2))
        assert c.machine.members.is_of_now(N, 0), "it was never set up"
        later = replace(info(N), addr="10.0.0.9")
        assert c(Offered(later, 3)) == ([] if disabled else [Want(N, 2)])
        assert c.machine.nodes[N].info == later


def test_a_node_that_dies_in_its_setup_again_and_again_is_not_wanted_for_ever() -> None:
    c = Driven(servers=1)
    for number in range(FAILURES_MAX):
        c(NodeHasFailed(N, "signal 9", died=True), number * STEADY_S)
        assert c(NodeHasClosed(N)) == [Want(N, 1)]
        assert c(Granted(N)) == [SetupNode(N, 1)]
    c(NodeHasFailed(N, "signal 9", died=True), FAILURES_MAX * STEADY_S)
    assert not c.machine.nodes, "it was never ready since"


def test_nothing_is_sent_to_the_servers_of_a_node_that_failed() -> None:
    c = Driven(servers=1)
    c(NodeHasFailed(N, "signal 9", died=True))
    for io in (False, True):
        for node in (0, N):
            assert c(submitted(10 + 2 * io + bool(node), io, node=node)) == []


def test_a_node_that_failed_and_was_closed_is_not_wanted_again() -> None:
    for events in ([], [NodeHasClosed(N)]):
        c = Driven(servers=1)
        c(NodeHasFailed(N, "signal 9", died=True))
        for event in events:
            assert c(event) == [Want(N, 1)]
        c(CloseNodeAsked(N, False, False))
        c(CloseNodeAsked(N, False, True))
        if events:
            assert c(Granted(N)) == [CloseNode(N, True)]
            assert c(ProcessLost(N, "reset")) == []
        else:
            assert c(NodeHasClosed(N)) == []
        assert not c.machine.nodes


def test_a_node_that_was_in_use_when_the_allocations_changed_closes() -> None:
    c = Driven(servers=1)
    c(Reallocated())
    assert c(NodeHasClosed(N, "its hours of service are over")) == []
    c = Driven(servers=1)
    c(CloseNodeAsked(N, False, True))
    c(Reallocated())
    assert c(NodeHasClosed(N, "its hours of service are over")) == [], "nor one that was to be restarted"


def test_a_silent_node_that_says_that_it_has_failed_was_heard() -> None:
    c = Driven(servers=1)
    c(SilenceSeen(N, True, "silence"))
    c(NodeHasFailed(N, "signal 9", died=True))
    assert c(AbandonAsked(0, True)) == []


def test_a_silent_node_that_says_that_it_has_closed_was_not_abandoned() -> None:
    c = Driven(servers=1)
    c(SilenceSeen(N, True, "silence"))
    c(NodeHasClosed(N, "its hours of service are over"))
    assert c.told()[-2:] == [("NodeDisconnected", N), ("NodeClosed", N)]


# held back


def test_a_node_that_is_suspended_while_it_is_restarted_stays_so() -> None:
    c = Driven(servers=1)
    c(CloseNodeAsked(N, True, True))
    c.told()
    c(SuspendAsked(N, True))
    assert c.told() == [("NodeSuspended", N)]
    set_up_again(c)
    c.told()
    c(LoadSeen(N, None, "no memory"))
    c(LoadSeen(N, None))
    assert c.told() == [], "it was known to be suspended"
    assert c(submitted(1, False)) == []
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
    assert c(submitted(1, False)) == [Run(1, N + 2, False)]
    c.told()
    c(SuspendAsked(N, True))
    assert c.told() == [("NodeSuspended", N)]


def set_up_again(c: Driven) -> None:
    for word in (down(N + 1, asked=True), ProcessLost(N + 1, "closed"), NodeHasClosed(N, kept=True), NodeIsReady(N)):
        c(word)
    assert c(submitted(99, False, node=N)) == [], "its servers are about to come"
    c(CancelAsked(99, "nobody waits for it to start"))
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
        for where in (N, N + 1):
            c(SuspendAsked(where, True))
        assert c.told() == []


def test_a_node_is_not_restarted_by_a_client_that_closes() -> None:
    c = Driven(servers=1)
    c(CloseAsked(True))
    c(CloseNodeAsked(N, True, True))
    for word in (down(N + 1, asked=True), ProcessLost(N + 1, "closed")):
        c(word)
    assert c(NodeHasClosed(N, kept=True)) == [LeaveScheduler()]


def test_a_node_that_lets_go_before_it_is_restarted_is_wanted_again() -> None:
    c = Driven(servers=1)
    (close,) = c(CloseNodeAsked(N, True, True))
    assert close.keep
    for word in (down(N + 1, asked=True), ProcessLost(N + 1, "closed")):
        c(word)
    assert c(NodeHasClosed(N)) == [Want(N, 1)]
    assert [type(effect) for effect in c(Granted(N))] == [SetupNode]


def test_the_end_of_a_reservation_that_nobody_knew_of_is_no_news_of_a_node_that_waits_to_be_enabled() -> None:
    c = Driven(disable_nodes=True)
    c(Offered(info(N), 1))
    assert c(NodeHasClosed(N)) == []
    assert c(EnableAsked(N)) == [Want(N, 1)]


def test_a_server_that_is_ready_while_its_client_closes_is_not_told_of() -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    c(CloseAsked(True))
    c.told()
    c(ServerIsReady(N + 1))
    assert c.told() == []


def test_the_first_reason_for_a_close_is_said() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    for why in ("", "it was idle", "again"):
        c(CloseAsked(False, why=why))
    assert abandoned(c(submitted(2, False))) == {2: "it was idle"}


def test_without_a_scheduler_nobody_waits_for_a_node_that_is_closing() -> None:
    c = Driven(servers=1)
    c(SchedulerLost("the scheduler is gone"))
    c(CloseNodeAsked(N, False, False))
    for task, io in ((1, False), (2, True)):
        assert abandoned(c(submitted(task, io))) == {task: "no server is left, and the scheduler is gone"}


def test_a_client_that_closes_does_not_wait_for_a_node_that_nobody_enables() -> None:
    c = Driven(servers=1)
    c.machine.members.disable_nodes = True
    c(Offered(info(M), 1))
    for event in (submitted(1, False), submitted(2, False), ProcessLost(N, "reset"), ProcessLost(N + 1, "reset")):
        c(event)
    effects = c(CloseAsked(False))
    assert abandoned(effects) == {2: "no server is left, and the client is being closed"}
    assert effects[-1] == LeaveScheduler()


def test_a_node_that_was_given_up_is_not_wanted_again_by_a_client_that_closes() -> None:
    c = Driven(servers=1, nodes=2)
    c(SilenceSeen(N, True, "silence"))
    assert Dismiss(N, "it was silent, and given up") in c(CloseAsked(True))
    assert c(ProcessLost(N, "it was silent, and given up")) == []
