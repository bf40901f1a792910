"""parkcos/client/dispatch.py where processes are silent, the scheduler comes and goes, and words are lost.

Each of these was found by tests/sim.
"""

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
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    ReportAbandoned,
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
    SuspendAsked,
    TimePassed,
    TurnBegun,
    Want,
)
from parkcos.client.ends import EARLY_ENDS_MAX, END_WAIT_S
from parkcos.client.tasks import HANGS_S
from tests.client.driven import Driven, M, N, abandoned, info, submitted


def three_at_a_silent_server() -> Driven:
    """Task 1 runs at a server of N, 2 and 3 were sent ahead; nothing is heard of N, and M is another node."""
    c = Driven(servers=1)
    c.warm()
    for task in range(4):
        c(submitted(task, False))
    assert c.run(0) == [Run(task, N + 1, False) for task in (1, 2, 3)]
    c(Started(1))
    c(SilenceSeen(N, True, "silence"))
    c(SilenceSeen(N + 1, True, "silence"))
    c.bring(M, 1)
    return c


def test_what_was_sent_ahead_to_a_zombie_node_may_have_begun() -> None:
    c = three_at_a_silent_server()
    effects = c(AbandonAsked(0, True))
    assert set(abandoned(effects)) == {1, 2, 3}, "it may run them, now or later: nobody else does"
    assert [e.process for e in effects if isinstance(e, Dismiss)] == [N + 1, N]


def test_what_was_sent_ahead_to_a_server_that_ended_in_silence_may_have_begun() -> None:
    c = three_at_a_silent_server()
    c(ServerIsDown(N + 1, "killed", restarts=False, asked=False))
    effects = c(ProcessLost(N + 1, "silence"))
    assert set(abandoned(effects)) == {1, 2, 3}


def test_what_was_sent_ahead_to_a_server_that_is_heard_runs_elsewhere() -> None:
    c = three_at_a_silent_server()
    c(SilenceSeen(N, False))
    c(SilenceSeen(N + 1, False))
    c(ServerIsDown(N + 1, "killed", restarts=False, asked=False))
    effects = c(ProcessLost(N + 1, "killed"))
    assert set(abandoned(effects)) == {1}
    assert [e.task for e in effects if isinstance(e, Run)] == [2]


@pytest.mark.parametrize("why", ["suspended", "silent"])
def test_a_node_that_goes_on_while_it_is_restarted_is_open_to_tasks(why: str) -> None:
    c = Driven(servers=1)
    hold = {"suspended": SuspendAsked(N, True), "silent": SilenceSeen(N, True, "silence")}[why]
    go_on = {"suspended": SuspendAsked(N, False), "silent": SilenceSeen(N, False)}[why]
    c(hold)
    assert c(CloseNodeAsked(N, True, True)) == [CloseNode(N, True, keep=True)]
    c(go_on)
    assert c(NodeHasClosed(N, kept=True)) == [SetupNode(N, 1)]
    c(NodeIsReady(N))
    c(ServerIsUp(N, 1500, "10.0.0.1", 1))
    c(ServerIsReady(1500))
    assert c(submitted(1, False)) == [Run(1, 1500, False)]
    c.statuses.clear()
    c(hold)
    assert [name for name, _ in c.statuses] == [{"suspended": "NodeSuspended", "silent": "NodeDisconnected"}[why]]


def test_a_node_that_was_reserved_without_a_word_is_wanted_again() -> None:
    c = Driven()
    c(Offered(info(N), 2))
    assert c(NodeHasClosed(N)) == [Want(N, 2)], "the word that it was granted is lost"
    assert c(Granted(N)) == [SetupNode(N, 2)]
    c(Offered(info(M), 2))
    c(NodeHasClosed(M, "its hours of service are over"))
    assert M not in c.machine.nodes


def test_a_closing_client_does_not_want_it_again() -> None:
    c = Driven(servers=1)
    c(CloseAsked(False))
    assert c(NodeHasClosed(N)) == []


def test_a_new_scheduler_knows_nothing_of_what_was_wanted() -> None:
    c = Driven(servers=1)
    c(Offered(info(M), 3))
    c(submitted(1, False, node=M))
    assert set(abandoned(c(TurnBegun()))) == {1}
    assert list(c.machine.nodes) == [N], "what is in use is in use"
    assert c(Offered(info(M), 3)) == [Want(M, 3)]
    c(TurnBegun())
    assert c(NodeHasClosed(M)) == [Want(M, 3)], "the earlier one had reserved it"
    assert c(NodeHasClosed(1234)) == []


def test_a_node_that_waits_to_be_enabled_is_offered_by_the_new_scheduler() -> None:
    c = Driven()
    c.machine.members.disable_nodes = True
    assert c(Offered(info(N), 2)) == []
    c(TurnBegun())
    assert c(EnableAsked(N)) == [], "it may be gone"
    assert c(Offered(info(N), 2)) == []
    assert c(EnableAsked(N)) == [Want(N, 2)]
    c(SchedulerLost("killed"))
    assert not c.machine.nodes


def test_the_scheduler_hears_that_a_disabled_node_is_not_wanted() -> None:
    c = Driven()
    c.machine.members.disable_nodes = True
    c(Offered(info(N), 2))
    assert c(CloseNodeAsked(N, False, False)) == [Want(N, 0)]
    assert c.statuses[-1] == ("NodeClosed", N)


@pytest.mark.parametrize("io", [False, True])
def test_an_interrupted_task_counts_as_lost_with_its_server(io: bool) -> None:
    c = Driven(servers=1)
    c(submitted(1, io, retries=1))
    c(Started(1))
    c(ServerIsLeaving(N + 1))
    assert c(Ended(1, 1.0, cut=True)) == [], "others of its node are about to end, too"
    c.bring(M, 1)
    c(ServerIsDown(N + 1, "its node ends", restarts=False, asked=True))
    effects = c(ProcessLost(N + 1, "it ended"))
    assert [type(e) for e in effects] == [ReportRetried, Run]
    assert effects[1] == Run(1, M + 1, io)
    effects = c(Ended(1, 1.0, cut=True))
    assert [type(e) for e in effects] == [ReportStarted], "its only retry is used up: this is its end"
    assert not c.machine.tasks


@pytest.mark.parametrize("why", ["server", "node", "client"])
def test_what_its_own_client_has_interrupted_has_ended(why: str) -> None:
    c = Driven(servers=1)
    c(submitted(1, False, retries=1))
    c(Started(1))
    asked = {"server": CloseServerAsked(N + 1, True, True), "node": CloseNodeAsked(N, True, True)}
    c(asked.get(why, CloseAsked(terminate=True)))
    c(Ended(1, 1.0, cut=True))
    assert not c.machine.tasks


def test_a_task_beside_one_that_hangs_is_run_anew() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, timeout_s=1.0))
    c(submitted(2, True, retries=1))
    c(Started(1))
    c(Started(2))
    assert CloseServer(N, N + 1, True, True) in c(TimePassed(), 100.0)
    assert c(Ended(2, 1.0, cut=True)) == []
    assert list(c.machine.tasks) == [1, 2]


def test_a_task_bound_to_its_server_ends_with_it() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, server=N + 1, retries=1))
    c(Started(1))
    c(Ended(1, 1.0, cut=True))
    assert not c.machine.tasks


def test_a_silent_server_that_is_heard_again_after_the_end_of_its_node() -> None:
    c = Driven(servers=1)
    c(SilenceSeen(N + 1, True, "silence"))
    c(ProcessLost(N, "silence"))
    c(SilenceSeen(N + 1, False, "it is heard again"))
    c(TimePassed(), c.machine.next_deadline())
    assert not c.machine.servers
    assert c.told()[-1] == ("ServerDisconnected", N + 1)


AT = ("10.0.0.1", N + 1)
"""Where the first server of N is, and where the one is that takes its place: a node's ports are few."""


def one_at_the_address_of_another() -> Driven:
    """Server N + 1 was killed, its session has not ended yet, and N + 2 listens at the same address already."""
    c = Driven(servers=1)
    c.told()
    c(ServerIsDown(N + 1, "signal 9", restarts=True, asked=False))
    assert c(ServerIsUp(N, N + 2, *AT)) == []
    assert c.told() == [], "a status task that goes by addresses would take the new one for the old"
    return c


def test_a_server_at_the_address_of_one_that_ends_is_told_of_after_that_end() -> None:
    c = one_at_the_address_of_another()
    assert c(ProcessLost(N + 1, "reset")) == [OpenServer(N + 2)]
    assert c.told() == [("ServerDisconnected", N + 1), ("ServerDiscovered", N + 2)]
    c(ServerIsReady(N + 2))
    assert c(submitted(1, False)) == [Run(1, N + 2, False)]


def test_it_waits_no_longer_for_that_end_than_others_do() -> None:
    c = one_at_the_address_of_another()
    assert c(TimePassed(), c.machine.next_deadline()) == [OpenServer(N + 2)]
    assert c.told() == [("ServerDisconnected", N + 1), ("ServerDiscovered", N + 2)]


def test_it_ends_before_anybody_has_heard_of_it() -> None:
    c = one_at_the_address_of_another()
    c(ServerIsDown(N + 2, "signal 9", restarts=True, asked=False))
    assert c.told() == [("ServerDisconnected", N + 1), ("ServerDiscovered", N + 2)]
    c(ServerIsUp(N, N + 3, *AT))
    assert c(ProcessLost(N + 2, "reset")) == [OpenServer(N + 3)]
    assert c.told() == [("ServerDisconnected", N + 2), ("ServerDiscovered", N + 3)]


def test_it_is_forgotten_with_its_node() -> None:
    c = one_at_the_address_of_another()
    c(ProcessLost(N, "reset"))
    assert c(ProcessLost(N + 1, "reset")) == []
    assert [status for status in c.told() if status[1] > N + 1] == []


def test_a_server_at_another_address_is_told_of_at_once() -> None:
    c = Driven(servers=1)
    c(ServerIsDown(N + 1, "signal 9", restarts=True, asked=False))
    assert c(ServerIsUp(N, N + 2, "10.0.0.1", N + 2)) == [OpenServer(N + 2)]


def dies(c: Driven, server: int, why: str = "it was killed by signal 11") -> list[Any]:
    c(ServerIsDown(server, why, restarts=True, asked=False))
    return c(ProcessLost(server, "it ended"))


def test_servers_that_all_end_in_their_setup_are_not_waited_for() -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    c(submitted(1, False))
    for server in range(N + 1, N + EARLY_ENDS_MAX):
        assert dies(c, server) == []
        assert c(ServerIsUp(N, server + 1, "10.0.0.1", 1)) == [OpenServer(server + 1)]
    reason = abandoned(dies(c, N + EARLY_ENDS_MAX))[1]
    assert "a server ended before it was ready: it was killed by signal 11" in reason
    assert c(ServerIsUp(N, N + 9, "10.0.0.1", 1)) == [], "its node starts another one, which is not used"


def test_a_server_that_is_ready_makes_up_for_those_that_were_not() -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    for server in range(N + 1, N + 2 * EARLY_ENDS_MAX):
        dies(c, server)
        c(ServerIsUp(N, server + 1, "10.0.0.1", 1))
        c(ServerIsReady(server + 1))
        dies(c, server + 1)
        c(ServerIsUp(N, server + 1, "10.0.0.1", 1))
    c(ServerIsReady(N + 2 * EARLY_ENDS_MAX))
    (run,) = c(submitted(1, False))
    assert run == Run(1, N + 2 * EARLY_ENDS_MAX, False)


def test_the_one_in_its_place_may_be_up_before_the_end_of_a_server_is_known() -> None:
    """At any free port, that is: a node starts it at once, and the next one, too; then it waits a little."""
    c = Driven()
    c.bring(N, 4, opened=False)
    c(submitted(1, False))
    first, opened = N + 1, [N + 1, N + 2, N + 3, N + 4]
    ended: dict[int, str] = {}
    for at_once in (True, True, False):
        for server in opened:
            c(ServerIsDown(server, "it was killed by signal 11", restarts=True, asked=False))
        effects: list[Any] = []
        for step in ("up", "end") if at_once else ("end", "up"):
            for server in opened if step == "end" else range(first + 4, first + 8):
                up = ServerIsUp(N, server, "10.0.0.1", server, (server - N - 1) % 4)
                effects += c(ProcessLost(server, "it ended") if step == "end" else up)
        ended |= abandoned(effects)
        opened = [effect.server for effect in effects if isinstance(effect, OpenServer)]
        first += 4
    assert not opened and not c.machine.nodes[N].left
    assert "a server ended before it was ready" in ended[1]


def all_ended_early() -> Driven:
    c = Driven()
    c.bring(N, 1, opened=False)
    for server in range(N + 1, N + EARLY_ENDS_MAX):
        dies(c, server)
        c(ServerIsUp(N, server + 1, "10.0.0.1", 1))
    dies(c, N + EARLY_ENDS_MAX)
    return c


def test_a_node_that_is_set_up_anew_has_all_its_servers_again() -> None:
    c = all_ended_early()
    c(CloseNodeAsked(N, terminate=True, restart=True))
    c(NodeHasClosed(N, "", kept=True))
    c(NodeIsReady(N))
    assert c(ServerIsUp(N, N + 9, "10.0.0.1", 1)) == [OpenServer(N + 9)]
    dies(c, N + 9)
    assert c(ServerIsUp(N, N + 10, "10.0.0.1", 1)) == [OpenServer(N + 10)], "it is not counted what was before"


def test_a_server_that_is_not_used_may_end_too() -> None:
    c = all_ended_early()
    assert c(ServerIsUp(N, N + 9, "10.0.0.1", 1)) == []
    c(ServerIsDown(N + 9, "it was killed by signal 9", restarts=True, asked=False))
    assert c(ServerIsUp(N, N + 10, "10.0.0.1", 1)) == [], "nor is the next one"
    assert list(abandoned(c(submitted(1, False)))) == [1], "and nobody waits for any of them"


def test_what_a_node_says_that_is_only_reserved_again_is_of_now() -> None:
    """It was set up before, has failed, and is had again; but its service hours end before it can be set up."""
    c = Driven(servers=1)
    assert not c.machine.members.is_of_now(N, 0)
    c(NodeHasFailed(N, "its zygote was killed", False, died=True))
    assert c.machine.members.is_of_now(N, 1)
    assert c(NodeHasClosed(N, "")) == [Want(N, 1)]
    assert c.machine.members.is_of_now(N, 0)
    c(Granted(N))
    assert not c.machine.members.is_of_now(N, 1), "of the setup that has failed"
    assert c.machine.members.is_of_now(N, 2)


def test_a_task_that_hung_past_its_limit_is_not_run_again() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, timeout_s=1.0, retries=1))
    c(Started(1))
    assert c.machine.next_deadline() == 1.0 + HANGS_S
    assert c(TimePassed(), 1.0 + HANGS_S) == [CloseServer(N, N + 1, terminate=True, restart=True)]
    c(ServerIsDown(N + 1, "its node killed it", restarts=True, asked=True))
    (told,) = c(ProcessLost(N + 1, "closed"))
    assert isinstance(told, ReportAbandoned)
    assert told.timed_out


def test_the_earliest_of_all_deadlines_counts() -> None:
    c = Driven(servers=2)
    c(submitted(1, False, timeout_s=5.0))
    c(Started(1))
    c(ServerIsDown(N + 2, "killed", restarts=True, asked=False), 100.0)
    assert c.machine.next_deadline() == 5.0 + HANGS_S, "before a server's second word"
    c.machine.check()


def test_a_node_that_has_lost_a_server_is_as_busy_as_the_others_are() -> None:
    c = Driven()
    c.bring(N, 2)
    c.bring(M, 4)
    for task, node in ((1, M), (2, N)):
        c(submitted(task, False, node=node))
    c(ServerIsDown(c.machine.tasks[2].server, "killed", restarts=True, asked=False))
    c(ProcessLost(c.machine.tasks[2].server, "closed"))
    (run,) = c(submitted(3, False))
    assert c.machine.servers[run.server].node == N, "nothing runs there"


def test_what_a_node_has_yet_to_say_is_forgotten_with_it() -> None:
    c = Driven(servers=1)
    c(ProcessLost(N + 1, "closed"))
    c(TimePassed(), END_WAIT_S)
    assert c.machine.members.ends.unsaid
    c(ProcessLost(N, "closed"))
    assert not c.machine.members.ends.unsaid
