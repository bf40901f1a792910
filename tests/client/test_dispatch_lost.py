"""Nodes and servers that are lost without a word: what may be there is wanted again, or waited for."""

from __future__ import annotations

from parkcos.client.dispatch_events import (
    CloseAsked,
    CloseNodeAsked,
    CloseServer,
    Ended,
    Granted,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsLeaving,
    NodeIsReady,
    Offered,
    ProcessLost,
    Recalled,
    Refused,
    ReportRetried,
    ReportStarted,
    Run,
    SchedulerLost,
    ServerIsDown,
    ServerIsLeaving,
    ServerIsReady,
    ServerIsUp,
    SetupNode,
    SilenceSeen,
    Started,
    TimePassed,
    Want,
)
from parkcos.client.ends import END_WAIT_S
from parkcos.client.records import READY, SETUP
from tests.client.driven import Driven, N, abandoned, info, submitted


def test_a_node_whose_session_ended_is_wanted_again_and_used() -> None:
    c = Driven(servers=1)
    assert c(ProcessLost(N, "it has given up this session")) == [Want(N, 1)]
    assert c(ProcessLost(N + 1, "closed")) == []
    c(submitted(1, False))
    c.told()
    assert c(Granted(N)) == [SetupNode(N, 1)]
    assert c.told() == [("NodeDiscovered", N)]
    assert c(Granted(N)) == [], "said twice"
    c.bring(N, 1)
    assert c.machine.tasks[1].server == N + 1


def test_the_offer_of_a_node_that_was_lost_takes_the_place_of_the_wish() -> None:
    c = Driven(servers=1)
    c(ProcessLost(N, "reset"))
    assert c(Offered(info(N), 3)) == [Want(N, 3)]
    assert c(Granted(N)) == [SetupNode(N, 3)]


def test_a_node_that_cannot_be_had_again_is_not_waited_for() -> None:
    c = Driven(servers=1)
    c(ProcessLost(N, "reset"))
    assert c(NodeHasFailed(N, "it is gone")) == []
    assert c(Granted(N)) == []
    assert not c.machine.nodes


def test_a_node_that_is_lost_while_its_client_closes_it_is_not_wanted() -> None:
    c = Driven(servers=1)
    c(CloseNodeAsked(N, terminate=True, restart=False))
    assert c(ProcessLost(N, "reset")) == []
    assert c(Granted(N)) == []


def test_a_node_that_is_lost_while_it_is_restarted_is_wanted() -> None:
    c = Driven(servers=1)
    c(CloseNodeAsked(N, terminate=True, restart=True))
    assert c(ProcessLost(N, "reset")) == [Want(N, 1)]


def test_nothing_is_wanted_of_a_scheduler_that_is_gone_or_by_a_client_that_closes() -> None:
    c = Driven(servers=1)
    c(SchedulerLost("killed"))
    assert c(ProcessLost(N, "reset")) == []
    c = Driven(servers=1)
    c(CloseAsked(terminate=True))
    assert c(ProcessLost(N, "reset")) == []
    c = Driven(servers=1, nodes=2)
    c(ProcessLost(N, "reset"))
    c(CloseAsked(terminate=True))
    assert c(Granted(N)) == [], "it has left its scheduler the word that it wants nothing more"


def test_an_offer_with_no_server_wanted_ends_the_wish_for_a_node_that_was_given_up() -> None:
    c = Driven(servers=1, abandon_zombies=True)
    c(SilenceSeen(N, True, "silent"))
    assert c(Offered(info(N), 0)) == []
    assert c(ProcessLost(N, "it was silent, and given up")) == []


def test_a_reservation_that_ran_out_is_asked_for_again() -> None:
    c = Driven()
    c(Offered(info(N), 2))
    c(Granted(N))
    assert c(NodeHasClosed(N)) == [Want(N, 2)], "the node did not hear in time that it was to be set up"
    assert c(Granted(N)) == [SetupNode(N, 2)]


def test_a_node_that_fails_while_it_is_being_restarted_is_wanted_again() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, node=N))
    c(submitted(2, False, node=N))
    c(CloseNodeAsked(N, terminate=True, restart=True))
    assert not abandoned(c(NodeHasFailed(N, "killed by signal 9", False, died=True)))
    assert c(NodeHasClosed(N)) == [Want(N, 1)]
    assert c(Granted(N)) == [SetupNode(N, 1)]
    assert 2 in c.machine.tasks


def test_a_failed_node_that_was_silent_is_heard_when_it_says_that_it_is_free() -> None:
    c = Driven(servers=1)
    c(NodeHasFailed(N, "killed by signal 9", False, died=True))
    c(SilenceSeen(N, True, "silent"))
    assert c(NodeHasClosed(N)) == [Want(N, 1)]
    c(Granted(N))
    c(ProcessLost(N + 1, "closed"))
    c.bring(N, 1)
    assert c(submitted(1, False)) == [Run(1, N + 1, False)], "nothing holds it back"


def test_a_node_whose_word_comes_late_has_its_servers_still() -> None:
    """The session of its only server has ended; what must run at that node waits for the next one."""
    c = Driven(servers=1)
    c(submitted(1, False, node=N, retries=1))
    c(submitted(2, False, node=N))
    c(ProcessLost(N + 1, "connection refused"))
    effects = c(TimePassed(), END_WAIT_S)
    assert not abandoned(effects)
    assert [e.task for e in effects if isinstance(e, ReportRetried)] == [1]
    assert effects[-1] == CloseServer(N, N + 1, terminate=True, restart=True), "should it hang"
    assert c(ServerIsDown(N + 1, "killed", restarts=True, asked=False)) == []
    c(ServerIsUp(N, N + 2, "10.0.0.1", 1))
    assert Run(1, N + 2, False) in c(ServerIsReady(N + 2))


def test_a_late_word_that_no_other_server_comes() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, node=N, retries=1))
    c(ProcessLost(N + 1, "connection refused"))
    c(TimePassed(), END_WAIT_S)
    assert abandoned(c(ServerIsDown(N + 1, "exit code 0", restarts=False, asked=True))) == {
        1: "no server is left at that node: exit code 0"
    }


def test_a_server_that_leaves_is_not_asked_to() -> None:
    c = Driven(servers=2)
    c(ServerIsLeaving(N + 1))
    assert c(ServerIsLeaving(77)) == []
    assert c(submitted(1, False)) == [Run(1, N + 2, False)]
    assert c(submitted(2, False)) == [], "nothing is sent to a server that leaves"
    c(ProcessLost(N + 1, "it has ended"))
    assert c(TimePassed(), END_WAIT_S) == [], "it knows itself whether another one takes its place"


def test_what_a_node_that_leaves_has_cut_is_not_run_at_its_next_server() -> None:
    c = Driven(servers=2, nodes=2)
    for number in range(1, 5):
        c(submitted(number, False, retries=1))
    first, second = (number for number in (1, 2, 3, 4) if c.machine.servers[c.machine.tasks[number].server].node == N)
    at = c.machine.tasks[first].server
    for number in (1, 2, 3, 4):
        c(Started(number))
    assert c(NodeIsLeaving(N, 1)) == []
    assert c(NodeIsLeaving(77, 1)) == []
    c(Ended(first, 0.1, cut=True))
    c(ServerIsDown(at, "its node was told to end", restarts=False, asked=True))
    assert not [e for e in c(ProcessLost(at, "it has ended")) if isinstance(e, Run)], "a server of that node is there"
    elsewhere = next(n for n in (1, 2, 3, 4) if n not in (first, second))
    free = c.machine.tasks[elsewhere].server
    assert c(Ended(elsewhere, 0.1)) == [Run(first, free, False)]


def test_what_was_said_of_an_earlier_setup_closes_no_server() -> None:
    c = Driven(servers=1)
    assert c.machine.nodes[N].setup_id == 1
    c(NodeIsLeaving(N, 0))
    assert c(submitted(1, False)) == [Run(1, N + 1, False)]


def test_what_a_server_says_of_a_task_that_is_elsewhere_is_not_heard() -> None:
    c = Driven(servers=2)
    assert c(submitted(1, False, retries=1)) == [Run(1, N + 1, False)]
    c(ServerIsDown(N + 1, "killed", restarts=True, asked=False))
    assert c(ProcessLost(N + 1, "closed"))[-1] == Run(1, N + 2, False)
    for stray in (Started(1, N + 1), Ended(1, 0.1, False, N + 1), Refused(1, "no", N + 1), Recalled(1, True, N + 1)):
        assert c(stray) == [], "its first server's late word"
        assert c.machine.tasks[1].server == N + 2
    assert c(Ended(1, 0.1, False, N + 2)) == [ReportStarted(1, N + 2)]


def test_what_a_server_calls_a_task_is_told_with_its_start() -> None:
    c = Driven(servers=1)
    c(submitted(1, True))
    c(submitted(2, True))
    (started,) = c(Started(1, N + 1, 77))
    (ended,) = c(Ended(2, 0.1, False, N + 1, 78))
    assert (started.remote_id, ended.remote_id) == (77, 78)


def test_what_a_node_says_of_an_earlier_setup_is_not_heard() -> None:
    c = Driven(servers=1)
    c(NodeHasFailed(N, "killed", False, died=True))
    c(NodeHasClosed(N))
    c(Granted(N))
    for stray in (NodeIsReady(N, 1), NodeHasFailed(N, "killed", True, False, 1), NodeHasClosed(N, "", False, 1)):
        assert c(stray) == []
        assert c.machine.nodes[N].state == SETUP
    c(NodeIsReady(N, 2))
    assert c.machine.nodes[N].state == READY
