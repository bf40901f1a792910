"""parkcos/client/own.py: tasks that have a process for themselves."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from parkcos.client.dispatch_events import (
    CancelAsked,
    CloseAsked,
    CloseNode,
    CloseNodeAsked,
    CloseServerAsked,
    Ended,
    EndOwn,
    EndTask,
    Granted,
    Judged,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    OwnIsRefused,
    ProcessLost,
    Recall,
    Recalled,
    Refused,
    ReportAbandoned,
    ReportRefused,
    ReportRetried,
    ReportStarted,
    Run,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SetupNode,
    SilenceSeen,
    Started,
    StartOwn,
    SuspendAsked,
    TimePassed,
    Want,
)
from parkcos.client.ends import END_WAIT_S
from parkcos.client.estimates import UNKNOWN_S
from parkcos.client.processes import AGAIN_S
from parkcos.client.room import room, wants
from parkcos.client.tasks import HANGS_S
from tests.client.driven import Driven, M, N, abandoned, info, submitted

S = 5000
"""The server of the process number 1; that of 2 is S + 1, and so on."""


def offered(node: int, own_max: int, servers: int = 1) -> Offered:
    return Offered(replace(info(node), own_max=own_max), servers)


class WithOwn(Driven):
    """Its nodes N and M have one server each, and room for `own_max` processes."""

    def __init__(self, own_max: int = 2, nodes: int = 1) -> None:
        super().__init__()
        for node in [N, M][:nodes]:
            self(offered(node, own_max))
            self(Granted(node))
            self(NodeIsReady(node))
            self(ServerIsUp(node, node + 1, "10.0.0.1", node + 1, 0))
            self(ServerIsReady(node + 1))
        self.told()

    def own(self, task: int, node: int = 0, **more: Any) -> list[Any]:
        return self(submitted(task, node=node, own=True, **more))

    def up(self, own: int, node: int = N) -> list[Any]:
        return self(ServerIsUp(node, S - 1 + own, "10.0.0.1", 9000 + own, own, own))

    def running(self, task: int, own: int, node: int = N) -> None:
        """A process is up, and the task has begun there."""
        assert self.up(own, node) == [OpenServer(S - 1 + own)]
        assert self(ServerIsReady(S - 1 + own)) == [Run(task, S - 1 + own, False)]
        assert self(Started(task)) == [ReportStarted(task, S - 1 + own)]

    def gone(self, own: int, reason: str = "it ended", asked: bool = True) -> list[Any]:
        """Its node says so, and its session has ended."""
        effects = self(ServerIsDown(S - 1 + own, reason, False, asked))
        return effects + self(ProcessLost(S - 1 + own, reason))


def test_from_its_start_to_its_end() -> None:
    c = WithOwn()
    assert c.own(1, niceness=5) == [StartOwn(N, 1, 5)]
    c.running(1, 1)
    assert c(Ended(1, 0.5)) == [EndOwn(N, 1, False)]
    assert c.gone(1) == []
    assert not c.machine.tasks
    assert not c.machine.queue.processes.by_number
    assert list(c.machine.servers) == [N + 1]
    assert {name for name, subject in c.told() if subject == S} == {
        "ServerDiscovered",
        "ServerInitialized",
        "ServerClosed",
    }


def test_its_process_is_given_no_other_task() -> None:
    c = WithOwn()
    c.own(1)
    c.running(1, 1)
    assert c(submitted(2)) == [Run(2, N + 1, False)]
    assert c(submitted(3)) == [], "it waits for the server"
    assert c(submitted(4, io=True)) == [Run(4, N + 1, True)]
    assert abandoned(c(submitted(5, server=S))) == {5: "that server is a process for another task alone"}
    c(Ended(1, 0.0))
    assert c.machine.tasks[3].server == 0
    assert c.machine.places.idle == 0


def test_not_more_than_the_node_may_have_and_the_next_when_one_has_ended() -> None:
    c = WithOwn(own_max=2)
    assert [c.own(task) for task in (1, 2, 3, 4)] == [[StartOwn(N, 1)], [StartOwn(N, 2)], [], []]
    c.running(1, 1)
    assert c(Ended(1, 0.0)) == [EndOwn(N, 1, False)], "its process is still there"
    assert c(ProcessLost(S, "it ended")) == []
    assert c(ServerIsDown(S, "it ended", False, True)) == [StartOwn(N, 3)]
    assert list(c.machine.nodes[N].own) == [2, 3]


def test_the_least_loaded_node_and_the_highest_priority() -> None:
    c = WithOwn(own_max=2, nodes=2)
    assert [c.own(task)[0].node for task in (1, 2, 3, 4)] == [N, M, N, M]
    assert [c.own(5), c.own(6, priority=1), c.own(7, node=M), c.own(8, node=N, priority=1)] == [[]] * 4
    assert c(OwnIsRefused(M, 2, "no")) == []
    c(CancelAsked(4))
    assert c(OwnIsRefused(M, 4, "it was asked to end")) == [], "it is asked for none just now"
    c(CancelAsked(1))
    assert c(OwnIsRefused(N, 1, "it was asked to end")) == [StartOwn(N, 5)]
    assert c.machine.queue.processes.by_number[5].task == 8, "that which can only be there first"
    c(CancelAsked(3))
    assert c(OwnIsRefused(N, 3, "it was asked to end")) == [StartOwn(N, 6)]
    assert c.machine.queue.processes.by_number[6].task == 6
    c(TimePassed(), AGAIN_S[0])
    assert [p.task for p in c.machine.queue.processes.by_number.values() if p.node == M] == [7, 2]


def test_how_many_could_begin_now_and_what_waits() -> None:
    c = WithOwn(own_max=2, nodes=2)
    for left, task in ((4, 1), (3, 2), (2, 3)):
        assert room(c.machine).own == left
        c.own(task, node=N if task == 3 else 0)
    assert (room(c.machine).own, room(c.machine).now) == (1, 2), "the servers have nothing to do with it"
    c(SuspendAsked(M, True))
    assert room(c.machine).own == 0
    c(SuspendAsked(M, False))
    for task in (4, 5, 6):
        c.own(task, node=N if task == 6 else 0)
    found = wants(c.machine)
    assert (room(c.machine).own, found.own_tasks, sum(found.bound.values()), found.tasks) == (0, 1, 1, 0)
    assert found.expected_s == 2 * UNKNOWN_S
    (place,) = room(WithOwn(own_max=3).machine).nodes.values()
    assert (place.now, place.ahead, place.own) == (1, 0, 3)
    c(CancelAsked(5))
    c(OwnIsRefused(M, 2, "no"))
    assert room(c.machine).own == 0, "it is asked for none just now"


def test_a_node_that_refuses_is_asked_again_later() -> None:
    c = WithOwn()
    c.own(1)
    for own, pause_s in enumerate([*AGAIN_S, AGAIN_S[-1]], start=1):
        assert c(OwnIsRefused(N, own, "the node has 5 MiB of free memory")) == []
        count, why = c.machine.holds.held_back()
        assert (count, why) == (1, {N: "the node has 5 MiB of free memory"})
        assert c.machine.next_deadline() == c.now + pause_s
        assert c(TimePassed(), c.now + pause_s) == [StartOwn(N, own + 1)]
    assert c.machine.holds.held_back()[1] == {}
    c.running(1, len(AGAIN_S) + 2)
    c.own(2)
    c(OwnIsRefused(N, len(AGAIN_S) + 3, "no"))
    assert c.machine.next_deadline() == c.now + AGAIN_S[0], "one has come up since"


def test_a_node_that_has_refused_is_asked_again_when_a_process_has_ended_there() -> None:
    c = WithOwn()
    c.own(1)
    c.running(1, 1)
    c.own(2)
    c(OwnIsRefused(N, 2, "the node has 5 MiB of free memory"))
    c(Ended(1, 0.0))
    assert c(ServerIsDown(S, "it ended", False, True)) == [StartOwn(N, 3)]


def test_a_refusal_sends_it_to_another_node() -> None:
    c = WithOwn(nodes=2)
    c.own(1)
    assert c(OwnIsRefused(N, 1, "no")) == [StartOwn(M, 2)]
    assert c(OwnIsRefused(M, 1, "no")) == [], "it has ended"
    assert c(OwnIsRefused(N, 2, "no")) == [], "it is not its process"
    assert c.up(2, node=N) == []
    c.running(1, 2, node=M)


@pytest.mark.parametrize("moment", ["asked for", "up", "ready"])
def test_cancelled_before_it_runs(moment: str) -> None:
    c = WithOwn(own_max=1)
    c.own(1)
    c.own(2)
    if moment != "asked for":
        c.up(1)
    if moment == "ready":
        c(ServerIsReady(S))
        assert c(CancelAsked(1)) == [Recall(1, S)]
        effects = c(Recalled(1, True))
        assert EndOwn(N, 1, False) in effects
    else:
        effects = c(CancelAsked(1))
        assert EndOwn(N, 1, True) in effects
    assert abandoned(effects) == {1: "it was cancelled"}
    if moment == "asked for":
        assert c(OwnIsRefused(N, 1, "it ended")) == [StartOwn(N, 2)]
    else:
        assert StartOwn(N, 2) in c.gone(1)


def test_cancelled_as_it_comes_up() -> None:
    c = WithOwn(own_max=1)
    c.own(1)
    c(CancelAsked(1))
    assert c.up(1) == [], "nothing is sent there"
    c.own(2)
    assert c(ServerIsDown(S, "it ended", False, True)) == [StartOwn(N, 2)]


def test_cancelled_while_it_runs() -> None:
    c = WithOwn()
    c.own(1, retries=3)
    c.running(1, 1)
    assert c(CancelAsked(1)) == [EndTask(1, S)]
    assert c(TimePassed(), HANGS_S) == [EndOwn(N, 1, True)], "its server could not end it"
    assert list(abandoned(c.gone(1))) == [1]


def test_cancelled_while_it_waits() -> None:
    c = WithOwn(own_max=0)
    c.own(1)
    assert abandoned(c(CancelAsked(1))) == {1: "it was cancelled"}


def test_one_that_dies_takes_its_task_along_and_nothing_else() -> None:
    c = WithOwn()
    c(submitted(9))
    c.own(1)
    c.own(2, retries=1)
    c.running(1, 1)
    c.running(2, 2)
    (lost,) = c.gone(1, "killed by signal 9", asked=False)
    assert isinstance(lost, ReportAbandoned)
    assert "killed by signal 9" in lost.reason
    retried, again = c.gone(2, "killed by signal 9", asked=False)
    assert (type(retried), again) == (ReportRetried, StartOwn(N, 3))
    node = c.machine.nodes[N]
    assert (node.left, node.restart, node.early_ends) == (1, False, 0), "the node is as it was"
    assert c.machine.tasks[9].server == N + 1


@pytest.mark.parametrize("retries", [0, 1])
def test_one_that_ends_before_it_is_ready(retries: int) -> None:
    """As by what server_setup did: its task is not tried for ever."""
    c = WithOwn()
    c.own(1, retries=retries)
    for own in range(1, retries + 2):
        c.up(own)
        effects = c.gone(own, "killed", asked=False)
        assert isinstance(effects[0], ReportAbandoned if own > retries else ReportRetried)
    assert not c.machine.tasks
    assert c.machine.nodes[N].given_up == set()


def test_closed_when_it_has_ended_already() -> None:
    c = WithOwn()
    c.own(1)
    c.running(1, 1)
    c(ServerIsDown(S, "killed", False, False))
    assert c(CloseServerAsked(S, True, True)) == []
    assert list(abandoned(c(ProcessLost(S, "killed")))) == [1]


def test_whose_setup_fails() -> None:
    c = WithOwn()
    c.own(1)
    c.up(1)
    end, lost = c(ServerSetupFailed(S, "server_setup returned 1"))
    assert end == EndOwn(N, 1, True)
    assert "server_setup returned 1" in abandoned([lost])[1]
    assert c.machine.stage.setup_error == "", "others may be fine"
    assert c.machine.nodes[N].left == 1
    assert list(c.machine.queue.processes.by_number) == [1], "it is still there"
    assert c.gone(1) == []
    assert not c.machine.queue.processes.by_number


def test_whose_node_says_nothing() -> None:
    c = WithOwn()
    c.own(1)
    c.running(1, 1)
    c(ProcessLost(S, "it ended"))
    assert c(TimePassed(), END_WAIT_S)[1:] == [EndOwn(N, 1, True)]
    assert list(c.machine.queue.processes.by_number) == [1]
    assert c(ServerIsDown(S, "killed", False, False)) == []
    assert not c.machine.queue.processes.by_number
    assert c.machine.nodes[N].left == 1


def test_a_task_that_cannot_be_created_there() -> None:
    c = WithOwn()
    c.own(1)
    c.up(1)
    c(ServerIsReady(S))
    assert c(Refused(1, "no module")) == [ReportRefused(1, "no module"), EndOwn(N, 1, False)]


def test_one_that_failed_and_is_tried_again_gets_another() -> None:
    c = WithOwn()
    c.own(1, retries=1, judged=True)
    c.running(1, 1)
    assert c(Ended(1, 0.0)) == [EndOwn(N, 1, False)]
    retried, start = c(Judged(1, "it raised OSError"))
    assert (type(retried), start) == (ReportRetried, StartOwn(N, 2))
    c.running(1, 2)


def test_at_a_node_that_has_to_be() -> None:
    c = WithOwn(nodes=2)
    assert [c.own(task, node=M) for task in (1, 2, 3)] == [[StartOwn(M, 1)], [StartOwn(M, 2)], []]
    assert abandoned(c.own(4, node=99)) == {4: "that node is not used by this client"}
    assert abandoned(c.own(5, server=N + 1)) == {5: "a process of its own is started at a node, and not at a server"}
    effects = c(ProcessLost(M, "it ended"))
    assert set(abandoned(effects)) == {1, 2, 3}
    assert Want(M, 1) in effects
    c = WithOwn(own_max=0)
    assert abandoned(c.own(1, node=N)) == {1: "that node starts no processes beside its servers (--own_max 0)"}


def test_at_a_node_that_is_closing() -> None:
    c = WithOwn()
    c(CloseNodeAsked(N, False, True))
    assert c.own(1, node=N) == [], "it is set up again"
    c(CloseNodeAsked(N, False, False))
    assert abandoned(c.own(2, node=N)) == {2: "that node is being closed"}
    assert set(abandoned(c(NodeHasClosed(N)))) == {1}


def test_where_no_node_starts_any() -> None:
    c = WithOwn(own_max=0)
    assert c.own(1) == [], "another node may come"
    assert c.machine.holds.held_back() == (1, {N: "it starts no processes beside its servers (--own_max 0)"})
    assert abandoned(c(CloseAsked(False))) == {1: "no server is left, and the client is being closed"}


def test_a_node_without_servers_may_have_some() -> None:
    c = WithOwn()
    c(CloseServerAsked(N + 1, False, False))
    c(ServerIsDown(N + 1, "it ended", False, True))
    c(ProcessLost(N + 1, "it ended"))
    assert c.machine.nodes[N].left == 0
    assert c.own(1) == [StartOwn(N, 1)]
    c(CloseAsked(False))
    c.running(1, 1)
    assert CloseNode(N, True) in c(Ended(1, 0.0))


@pytest.mark.parametrize("how", ["lost", "failed", "restarted"])
def test_their_node_ends(how: str) -> None:
    """What had begun is lost; what had not waits again, at no charge."""
    c = WithOwn(own_max=3)
    for task in (1, 2, 3):
        c.own(task)
    c.running(1, 1)
    c.up(2)
    if how == "lost":
        c(ProcessLost(N, "killed"))
    elif how == "failed":
        assert not abandoned(c(NodeHasFailed(N, "killed", died=True)))
        c(NodeHasClosed(N))
    else:
        c(CloseNodeAsked(N, True, True))
        assert c(ServerIsDown(S + 1, "it ended", False, True)) == []
        assert c(OwnIsRefused(N, 3, "it ended")) == []
        assert c(NodeHasClosed(N, kept=True)) == [SetupNode(N, 1)]
    assert not c.machine.queue.processes.by_number
    assert sorted(c.machine.queue.processes.pending) == [2, 3]
    assert list(abandoned(c(ProcessLost(S, "killed")))) == [1]
    c(ProcessLost(S + 1, "killed"))
    if how != "restarted":
        c(offered(N, 3))
        c(Granted(N))
    assert c(NodeIsReady(N)) == [StartOwn(N, 4), StartOwn(N, 5)]


def test_what_is_held_back_is_asked_for_none() -> None:
    c = WithOwn(nodes=2)
    c(SuspendAsked(N, True))
    c(SilenceSeen(M, True, "silence"))
    assert c.own(1) == []
    assert set(c.machine.holds.held_back()[1]) == {N, M}
    assert c(SuspendAsked(N, False)) == [StartOwn(N, 1)]
    c.own(2)
    c.own(3)
    assert c(SilenceSeen(M, False, "it is heard")) == [StartOwn(M, 3)]


def test_the_client_closes() -> None:
    c = WithOwn(own_max=2)
    for task in (1, 2, 3):
        c.own(task)
    c.running(1, 1)
    assert c(CloseAsked(False)) == [], "they are waited for"
    effects = c(CloseAsked(True))
    assert set(abandoned(effects)) == {2, 3}
    assert effects[-1] == CloseNode(N, True)
    assert c.up(2) == []
    assert set(abandoned(c.gone(1))) == {1}
    c(ServerIsDown(S + 1, "it ended", False, True))
    c(ProcessLost(N + 1, "it ended"))
    c(NodeHasClosed(N))
    assert c.machine.stage.closed
    assert not c.machine.queue.processes.by_number
