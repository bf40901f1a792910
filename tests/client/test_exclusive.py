"""parkcos/client/exclusive.py: spaces with processes of their own."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.dispatch_events import (
    CancelAsked,
    CloseNodeAsked,
    CloseSpace,
    Ended,
    EndOwn,
    EndTask,
    NodeHasClosed,
    OpenServer,
    OpenSpace,
    OwnIsRefused,
    ReportAbandoned,
    Run,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SpaceDropped,
    Started,
    StartOwn,
    SuspendAsked,
    TimePassed,
)
from parkcos.client.exclusive import EARLY_ENDS_MAX
from parkcos.client.processes import AGAIN_S
from parkcos.client.room import room, wants
from tests.client.driven import M, N, abandoned, submitted
from tests.client.test_own import S, WithOwn

A, B = 71, 72  # spaces


class WithSpaces(WithOwn):
    """Nodes with `servers` servers each, which have room for `own_max` processes beside these."""

    def __init__(self, own_max: int = 3, nodes: int = 1, servers: int = 1) -> None:
        super().__init__(own_max, nodes)
        for node in [N, M][:nodes]:
            for index in range(1, servers):
                self.machine.nodes[node].left = self.machine.nodes[node].cpus = servers
                self(ServerIsUp(node, node + 1 + index, "10.0.0.1", node + 1 + index, index))
                self(ServerIsReady(node + 1 + index))

    def within(self, space: int, task: int, **more: Any) -> list[Any]:
        return self(submitted(task, exclusive=space, **more))

    def ready(self, own: int, node: int = N) -> list[Any]:
        """The process of this number has come up."""
        assert self.up(own, node) == [OpenServer(S - 1 + own)]
        return self(ServerIsReady(S - 1 + own))


def ends(c: WithSpaces, task: int) -> list[Any]:
    c(Started(task))
    return c(Ended(task, 0.5))


def test_a_process_serves_one_task_after_the_other() -> None:
    c = WithSpaces()
    assert c.within(A, 1) == [OpenSpace(N, A), StartOwn(N, 1, 0, A)]
    assert c.within(A, 2) == [], "there is one server, and so not more than one process of a space"
    assert c.ready(1) == [Run(1, S, False)]
    assert ends(c, 1) == [Run(2, S, False)]
    assert ends(c, 2) == [], "it stays"
    assert c.within(A, 3) == [Run(3, S, False)]


def test_the_slot_of_a_server_is_lent() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c.ready(1)
    assert room(c.machine).now == 0
    assert c(submitted(2)) == [], "its server computes nothing meanwhile"
    assert c(submitted(3, server=N + 1)) == []
    assert c(submitted(4, io=True)) == [Run(4, N + 1, True)], "I/O tasks need no slot"
    assert ends(c, 1) == [Run(3, N + 1, False)]
    assert c.within(A, 5) == [], "nor does the process while its server computes"
    assert ends(c, 3) == [Run(2, N + 1, False)], "first come, first served"
    assert ends(c, 2) == [Run(5, S, False)]


def test_the_higher_priority_first_whoever_has_it() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c.ready(1)
    c(submitted(2))
    c.within(A, 3, priority=1)
    c.within(B, 4, priority=2)
    c.ready(2)
    assert ends(c, 1) == [Run(4, S + 1, False)]
    assert ends(c, 4) == [Run(3, S, False)]
    assert ends(c, 3) == [Run(2, N + 1, False)]


def test_two_spaces_have_two_processes_and_one_computes() -> None:
    c = WithSpaces()
    c.within(A, 1)
    assert c.within(B, 2) == [OpenSpace(N, B), StartOwn(N, 2, 0, B)]
    assert c.ready(1) == [Run(1, S, False)]
    assert c.ready(2) == []
    assert ends(c, 1) == [Run(2, S + 1, False)]


def test_short_tasks_are_sent_ahead_within_the_space() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c.ready(1)
    for task in range(2, 20):
        c.within(A, task)
    effects = [effect for task in range(1, 15) for effect in c.run(task, 1e-6)]
    assert [e.task for e in effects if isinstance(e, Run)] == list(range(2, 20))
    assert {e.server for e in effects if isinstance(e, Run)} == {S}
    assert len(c.machine.servers[S].cpu) == 5


def test_processes_where_servers_are_idle() -> None:
    c = WithSpaces(nodes=2)
    c(submitted(1))
    c(submitted(2))
    assert c.within(A, 3)[1:] == [StartOwn(N, 1, 0, A)], "every server is busy: one is enough to wait for the first"
    c.ready(1)
    assert ends(c, 2) == [OpenSpace(M, A), StartOwn(M, 2, 0, A)], "the idle server is elsewhere"


def test_a_node_of_its_own_choice() -> None:
    c = WithSpaces(nodes=2)
    assert c.within(A, 1, node=M) == [OpenSpace(M, A), StartOwn(M, 1, 0, A)]
    assert c.ready(1, M) == [Run(1, S, False)]
    assert c.within(A, 2, node=N) == [OpenSpace(N, A), StartOwn(N, 2, 0, A)]
    assert wants(c.machine).bound
    assert abandoned(c.within(A, 3, server=N + 1))
    assert "not used" in abandoned(c.within(A, 4, node=9999))[4]


def test_io_tasks_need_one_process_and_no_slot() -> None:
    c = WithSpaces()
    c(submitted(1))
    assert c.within(A, 2, io=True) == [OpenSpace(N, A), StartOwn(N, 1, 0, A)]
    assert c.within(A, 3, io=True) == []
    assert c.ready(1) == [Run(2, S, True), Run(3, S, True)]
    assert c.within(A, 4, io=True) == [Run(4, S, True)]


def test_one_that_has_nothing_to_do_gives_way() -> None:
    c = WithSpaces(own_max=1)
    c.within(A, 1)
    c.ready(1)
    ends(c, 1)
    assert c.within(B, 2) == [EndOwn(N, 1, False), CloseSpace(N, A)]
    assert c.gone(1) == [OpenSpace(N, B), StartOwn(N, 2, 0, B)]
    assert c.ready(2) == [Run(2, S + 1, False)]
    assert c.own(3) == [], "a task with a process for itself waits for a place"
    assert ends(c, 2) == [EndOwn(N, 2, False), CloseSpace(N, B)]
    assert c.gone(2) == [StartOwn(N, 3)]


def test_memory_is_short() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c.ready(1)
    ends(c, 1)
    c.within(B, 2)
    assert c(OwnIsRefused(N, 2, "the node has 5 MiB of free memory"), 10.0) == [
        CloseSpace(N, B),
        EndOwn(N, 1, False),
        CloseSpace(N, A),
    ]
    assert c.gone(1) == [OpenSpace(N, B), StartOwn(N, 3, 0, B)], "what it was short of may be there now"
    assert c(OwnIsRefused(N, 3, "the node has 5 MiB of free memory"), 11.0) == [CloseSpace(N, B)]
    assert c(TimePassed(), 11.0 + AGAIN_S[1]) == [OpenSpace(N, B), StartOwn(N, 4, 0, B)]


def test_a_space_that_cannot_be_opened() -> None:
    c = WithSpaces(nodes=2)
    c.within(A, 1)
    c.within(A, 2, node=N)
    effects = c(OwnIsRefused(N, 1, "no module named 'torsh'", setup=True))
    assert "torsh" in abandoned(effects)[2]
    assert [e for e in effects if isinstance(e, StartOwn)] == [StartOwn(M, 2, 0, A)], "the other node may have it"
    assert "torsh" in abandoned(c(OwnIsRefused(M, 2, "no module named 'torsh'", setup=True)))[1]
    assert "torsh" in abandoned(c.within(A, 3))[3], "at once"
    assert c.within(B, 4) == [OpenSpace(N, B), StartOwn(N, 3, 0, B)], "another space may be opened there"


def test_processes_that_end_in_server_setup() -> None:
    c = WithSpaces()
    c.within(A, 1)
    for own in range(1, 1 + EARLY_ENDS_MAX):
        assert c.up(own) == [OpenServer(S - 1 + own)]
        c(ServerSetupFailed(S - 1 + own, "no licence"))
        effects = c.gone(own, "it ended", asked=False)
    assert "it ended" in abandoned(effects)[1]
    assert "cannot be opened" in abandoned(c.within(A, 2))[2]


def test_a_process_that_dies() -> None:
    c = WithSpaces()
    c.within(A, 1, retries=1)
    c.ready(1)
    c(Started(1))
    c.within(A, 2)
    c(submitted(3))
    effects = c.gone(1, "killed", asked=False)
    assert Run(3, N + 1, False) in effects, "its slot is free"
    assert StartOwn(N, 2, 0, A) in effects
    assert c.ready(2) == []
    assert ends(c, 3) == [Run(1, S + 1, False)], "what was lost is first in line"


def test_a_server_dies_whose_slot_is_lent() -> None:
    c = WithSpaces(servers=2)
    c.within(A, 1)
    c.ready(1)
    slot = c.machine.servers[S].slot
    other = N + 1 if slot == N + 2 else N + 2
    c(submitted(2))
    assert c.machine.servers[other].cpu
    c(ServerIsDown(slot, "killed", True, False))
    c(TimePassed(), 2.0)
    assert not c.machine.servers[S].slot
    c(submitted(3))
    c(ServerIsUp(N, N + 5, "10.0.0.1", 9999, 1))
    assert c(ServerIsReady(N + 5)) == [], "the process has it again: not more tasks compute than there are processors"
    assert c.machine.servers[S].slot == N + 5
    assert ends(c, 1) == [Run(3, N + 5, False)]


def test_a_suspended_node_begins_nothing() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c.ready(1)
    c(SuspendAsked(N, True))
    c.within(A, 2)
    c.within(A, 3, io=True)
    assert ends(c, 1) == []
    assert c(SuspendAsked(N, False)) == [Run(2, S, False), Run(3, S, True)]


@pytest.mark.parametrize("io", [False, True])
def test_cancelled_while_it_waits_and_while_it_runs(io: bool) -> None:
    c = WithSpaces()
    c(submitted(1))
    c.within(A, 2, io=io)
    assert abandoned(c(CancelAsked(2))) == {2: "it was cancelled"}
    c.within(A, 3, io=io)
    c.ready(1)
    ends(c, 1)
    c(Started(3))
    assert c(CancelAsked(3)) == [EndTask(3, S)]


def test_dropped() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c.ready(1)
    c(Started(1))
    c.within(A, 2)
    c(CancelAsked(1))
    c(CancelAsked(2))
    assert c(SpaceDropped(A)) == [EndOwn(N, 1, True), CloseSpace(N, A)]
    c(Ended(1, 0.5))
    assert c.gone(1) == []
    assert not c.machine.queue.exclusive.spaces
    assert not c.machine.nodes[N].spaces
    assert c(submitted(3)) == [Run(3, N + 1, False)], "the slot is free"


def test_dropped_before_its_process_is_up() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c(CancelAsked(1))
    assert c(SpaceDropped(A)) == [EndOwn(N, 1, True), CloseSpace(N, A)]
    assert c.up(1) == [], "which crosses that"
    assert c.gone(1) == []
    assert not c.machine.queue.processes.by_number


def test_a_node_that_is_set_up_again_is_told_of_the_space_again() -> None:
    c = WithSpaces()
    c.within(A, 1)
    c.ready(1)
    ends(c, 1)
    c(CloseNodeAsked(N, True, True))
    c(NodeHasClosed(N, kept=True))
    assert not c.machine.nodes[N].spaces
    assert not c.machine.queue.processes.by_number


def test_what_runs_nowhere_any_more_ends() -> None:
    c = WithSpaces()
    c.within(A, 1, node=N)
    effects = c(CloseNodeAsked(N, True, False)) + c(NodeHasClosed(N))
    assert [e.task for e in effects if isinstance(e, ReportAbandoned)] == [1]


def test_a_space_without_processes_makes_place_for_another() -> None:
    c = WithSpaces(own_max=1)
    c.within(A, 1)
    c.ready(1)
    c.gone(1, "killed", asked=False)
    assert c.within(B, 2) == [CloseSpace(N, A), OpenSpace(N, B), StartOwn(N, 2, 0, B)]
