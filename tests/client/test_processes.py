"""parkcos/client/processes.py: which tasks get a process for themselves, at which node, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.dispatch_events import EndOwn, OwnIsRefused, ServerIsUp, StartOwn
from parkcos.client.places import Places
from parkcos.client.processes import AGAIN_S, Processes
from parkcos.client.records import CLOSING, ENDING, OWN, SETUP, SUSPENDED, Server, Task
from tests.client.driven import M, N
from tests.client.made import add_node


class Alone:
    """The part, and nodes that start so many processes each."""

    def __init__(self, *own_max: int) -> None:
        self.places = Places()
        self.tasks: dict[int, Task] = {}
        self.orders: list[Any] = []
        self.processes = Processes(self.places, self.tasks, self.orders.append)
        for number, count in zip((N, M), own_max, strict=False):
            add_node(self.places, number, own_max=count)

    def add(self, number: int, now: float = 0.0, **more: Any) -> list[Any]:
        task = self.tasks[number] = Task(number, own=True, **more)
        assert self.processes.add(task, now) == ""
        return self.said()

    def up(self, own: int, node: int = N) -> int:
        """It is up; its server has the number node + own."""
        server = node + own
        known = self.processes.is_up(ServerIsUp(node, server, "10.0.0.1", server, 90 + own, own))
        self.places.servers[server] = Server(node, "10.0.0.1", server, 90 + own, OWN, own=own)
        return known.task if known is not None else 0

    def refused(self, own: int, now: float = 0.0, node: int = N, **more: Any) -> int:
        return self.processes.refused(OwnIsRefused(node, own, "no memory", **more), now)

    def said(self) -> list[Any]:
        """The orders since this was asked last."""
        self.processes.check()
        orders = self.orders.copy()
        self.orders.clear()
        return orders


# which tasks get one


def test_each_task_gets_one_as_long_as_there_is_room_where_the_fewest_are() -> None:
    it = Alone(2, 1)
    assert it.add(1, niceness=5) == [StartOwn(N, 1, 5)]
    assert it.add(2) == [StartOwn(M, 2, 0)]
    assert it.add(3) == [StartOwn(N, 3, 0)]
    assert it.add(4) == []
    assert (it.processes.waits, it.tasks[3].process, it.tasks[4].process) == (True, 3, 0)
    assert it.processes.free_places(N, it.places.nodes[N]) == 0


def test_the_higher_priority_is_first_and_of_equals_what_must_be_there() -> None:
    it = Alone(1)
    it.add(1)
    for number, node, priority in ((2, 0, 0), (3, N, 0), (4, 0, 1)):
        assert it.add(number, want_node=node, priority=priority) == []
    order = []
    for own in (1, 2, 3):
        assert it.up(own)
        it.processes.let_go(own)
        it.processes.ended(N + own)
        it.processes.serve(0.0)
        (start,) = it.said()
        order.append(it.processes.by_number[start.own].task)
    assert order == [4, 3, 2]


def test_the_node_whose_task_has_the_higher_priority_is_served_first() -> None:
    it = Alone(1, 1)
    for node in it.places.nodes.values():
        node.holds[SUSPENDED] = "so"
    it.add(1, want_node=N)
    it.add(2, want_node=M, priority=1)
    for node in it.places.nodes.values():
        node.holds.clear()
    it.processes.serve(0.0)
    assert it.said() == [StartOwn(M, 1, 0), StartOwn(N, 2, 0)]


@pytest.mark.parametrize("hindrance", ["setup", "hold", "again"])
def test_a_node_that_is_not_to_be_asked_now(hindrance: str) -> None:
    it = Alone(1)
    node = it.places.nodes[N]
    if hindrance == "setup":
        node.state = SETUP
    elif hindrance == "hold":
        node.holds[SUSPENDED] = "so"
    else:
        it.processes.again_at[N] = 0.1
    assert it.add(1) == []
    assert it.processes.wants(N) == (hindrance == "again")


def test_why_a_task_never_gets_one() -> None:
    it = Alone(1, 0)

    def why(**more: Any) -> str:
        return it.processes.add(Task(1, own=True, **more), 0.0)

    assert "at a node, and not at a server" in why(want_server=N + 1)
    assert why(want_node=77) == "that node is not used by this client"
    assert why(want_node=M) == "that node starts no processes beside its servers (--own_max 0)"
    it.places.nodes[N].state = CLOSING
    assert why(want_node=N) == "that node is being closed"
    assert not it.processes.waits
    it.places.nodes[N].restart = True
    assert it.processes.why_never(Task(1, want_node=N)) == ""
    assert it.processes.why_never(Task(1)) == ""
    assert it.processes.queue_of(Task(1, want_node=77)) is None
    assert list(it.processes.at_node) == [], "nothing is kept for a node that is not there"


# what becomes of one


def test_it_is_up_and_ends() -> None:
    it = Alone(1)
    it.add(1)
    it.places.nodes[N].own_refusals = 2
    assert it.up(1) == 1
    assert it.places.nodes[N].own_refusals == 0
    process = it.processes.at_server(N + 1)
    assert process is it.processes.by_number[1]
    assert it.processes.ended(N + 1) == 1, "the task was not sent there yet"
    assert it.processes.at_server(N + 1) is None
    assert (it.processes.by_number, it.places.nodes[N].own) == ({}, {})
    assert it.processes.ended(N + 1) == 0
    assert it.processes.let_go(1) == 0


def test_its_task_leaves_it_once() -> None:
    it = Alone(1)
    it.add(1)
    assert it.processes.let_go(1) == 1
    assert it.processes.let_go(1) == 0
    assert it.up(1) == 0, "no task wants it any more"
    assert it.processes.ended(N + 1) == 0


def test_what_another_node_says_of_it_does_not_count() -> None:
    it = Alone(1, 1)
    it.add(1)
    assert it.up(1, M) == 0
    assert it.refused(1, node=M) == 0
    assert list(it.processes.by_number) == [1]
    assert it.up(7) == 0
    assert it.refused(7) == 0


def test_a_node_that_refuses_is_asked_again_later_and_later() -> None:
    it = Alone(1)
    for count, wait_s in enumerate([*AGAIN_S, AGAIN_S[-1]], 1):
        it.add(count, now=100.0)
        assert it.refused(count, 100.0) == count
        assert it.processes.next_deadline() == 100.0 + wait_s
        assert it.processes.free_places(N, it.places.nodes[N], 100.0) == 0
        it.processes.time_passed(100.0 + wait_s - 0.01)
        assert it.processes.next_deadline() is not None
        it.processes.time_passed(100.0 + wait_s)
        assert it.processes.next_deadline() is None
        assert it.processes.free_places(N, it.places.nodes[N], 100.0) == 1
    assert it.places.nodes[N].own_refused == "no memory"
    assert it.places.nodes[N].own_refusals == len(AGAIN_S) + 1


def test_the_end_of_one_makes_room_at_a_node_that_has_refused() -> None:
    it = Alone(2)
    it.add(1)
    it.add(2)
    it.up(1)
    it.refused(2)
    it.processes.let_go(1)
    it.processes.ended(N + 1)
    assert it.processes.again_at == {}


def test_a_refusal_of_what_nobody_wants_says_nothing_of_the_node() -> None:
    it = Alone(3)
    for number in (1, 2, 3):
        it.add(number)
    it.processes.let_go(1)
    it.processes.end(2, terminate=False)
    assert (it.refused(1), it.refused(2), it.refused(3, setup=True)) == (0, 0, 0)
    assert (it.processes.again_at, it.places.nodes[N].own_refusals, it.processes.by_number) == ({}, 0, {})


def test_it_is_asked_to_end_whether_it_is_up_or_not() -> None:
    it = Alone(2)
    it.add(1)
    it.add(2)
    it.up(1)
    it.processes.end(1, terminate=True)
    assert it.places.servers[N + 1].state == ENDING
    it.processes.end(2, terminate=False)
    it.processes.end(7, terminate=True)
    assert it.said() == [EndOwn(N, 1, True), EndOwn(N, 2, False)]
    assert [process.ending for process in it.processes.by_number.values()] == [True, True]


def test_all_are_lost_with_their_node() -> None:
    it = Alone(3)
    for number in (1, 2, 3):
        it.add(number)
    it.up(1)
    it.processes.let_go(1)
    it.refused(3)
    assert it.processes.lose_node(N, it.places.nodes[N]) == [2]
    assert (it.processes.by_number, it.processes.again_at, it.places.nodes[N].own) == ({}, {}, {})


def test_what_waits_for_a_node_is_given_back_when_that_is_forgotten() -> None:
    it = Alone(1)
    for number, node in ((1, 0), (2, N), (3, N), (4, 0)):
        it.add(number, want_node=node)
    assert it.processes.forget_node(N) == [2, 3]
    assert it.processes.forget_node(N) == []
    assert list(it.processes.pending) == [4]


def test_nothing_waits_any_more() -> None:
    it = Alone(1)
    for number, node in ((1, 0), (2, N), (3, 0)):
        it.add(number, want_node=node)
    it.processes.forget_all()
    assert not it.processes.waits
    assert it.processes.let_go(1) == 0


# processes of spaces


def test_a_process_of_a_space_is_wanted_without_a_task() -> None:
    it = Alone(2)
    it.processes.start(N, space=5)
    assert it.said() == [StartOwn(N, 1, 0, 5)]
    known = it.processes.is_up(ServerIsUp(N, N + 1, "10.0.0.1", N + 1, 91, 1))
    assert known is it.processes.by_number[1]
    assert it.processes.of_space(5) == [known]
    assert it.processes.of_space(6) == []
    it.processes.end(1, terminate=False)
    assert it.processes.of_space(5) == []
    assert it.processes.is_up(ServerIsUp(N, N + 1, "10.0.0.1", N + 1, 91, 1)) is None


def test_a_node_that_refuses_one_is_asked_again_later() -> None:
    it = Alone(2)
    it.processes.start(N, space=5)
    assert it.refused(1, 3.0) == 0
    assert it.processes.again_at == {N: 3.0 + AGAIN_S[0]}


# what waits


def test_how_many_wait_and_which_nodes_give_them_none() -> None:
    it = Alone(1, 0)
    for number, node in ((1, 0), (2, N), (3, 0)):
        it.add(number, want_node=node)
    none = "it starts no processes beside its servers (--own_max 0)"
    assert it.processes.held_back() == (2, {M: none})
    it.refused(1)
    assert it.processes.held_back() == (2, {N: "no memory", M: none})
    assert it.processes.queues() == [it.processes.pending, it.processes.at_node[N]]


def test_the_invariants() -> None:
    it = Alone(1)
    it.add(1)
    it.add(2)
    own = it.places.nodes[N].own

    def is_broken(match: str | None = None) -> None:
        with pytest.raises(AssertionError, match=match):
            it.processes.check()

    del own[1]
    is_broken("process 1 is at no node")
    own[1] = own[2] = None
    is_broken()
    del own[2]
    it.tasks[1].process = 2
    is_broken("process 1 has another's task")
    it.tasks[1].process = 1
    it.tasks[1].server = N + 1
    is_broken("process 1 has another's task")
    it.tasks[1].server = 0
    it.processes.check()
    it.processes.lose_node(N, it.places.nodes[N])
    is_broken(f"node {N} has room")
