"""parkcos/client/ahead.py: what was sent ahead, and when it is recalled."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.ahead import AHEAD_MAX, AHEAD_S, STEAL_AFTER_S, STUCK_AFTER_S, Ahead, has_room
from parkcos.client.dispatch_events import Recall
from parkcos.client.places import Places
from parkcos.client.records import ENDING, OPEN, OWN, PAUSED, Server, Task
from tests.client.driven import M, N
from tests.client.made import add_node


class Alone:
    """The part, with servers N + 1, ... of which each has some tasks; and one that is idle, if asked for."""

    def __init__(self, *counts: int, idle: int = 0) -> None:
        self.places = Places()
        self.tasks: dict[int, Task] = {}
        self.orders: list[Any] = []
        self.ahead = Ahead(self.places, self.tasks, self.orders.append)
        add_node(self.places, N, len(counts))
        if idle:
            add_node(self.places, M, idle)
        for at, count in enumerate(counts, N + 1):
            self.places.is_busy(at, self.places.servers[at])
            for _ in range(count):
                self.send(at)

    def send(self, at: int, now: float = 0.0) -> None:
        number = len(self.tasks) + 1
        self.tasks[number] = Task(number, server=at)
        cpu = self.places.servers[at].cpu
        cpu[number] = None
        if len(cpu) == 2:
            self.ahead.has_more(at, now)

    def at(self, now: float) -> list[Any]:
        """The orders when time has passed."""
        self.ahead.check()
        self.ahead.time_passed(now)
        orders = self.orders.copy()
        self.orders.clear()
        return orders


def test_there_is_room_for_short_tasks_and_not_for_many() -> None:
    server = Server(N, "10.0.0.1", 1, 0, OPEN)
    server.cpu = dict.fromkeys(range(AHEAD_MAX))
    assert has_room(server)
    server.cpu[AHEAD_MAX] = None
    assert not has_room(server)
    server = Server(N, "10.0.0.1", 1, 0, OPEN, cpu={1: None}, load_s=AHEAD_S * 0.99)
    assert has_room(server)
    server.load_s = AHEAD_S
    assert not has_room(server)


def test_what_waits_behind_a_long_task_is_recalled_later_if_no_server_is_idle() -> None:
    it = Alone(3, 1)
    assert it.ahead.next_deadline() == STUCK_AFTER_S
    assert it.at(STUCK_AFTER_S * 0.99) == []
    assert it.at(STUCK_AFTER_S) == [Recall(2, N + 1), Recall(3, N + 1)]
    assert it.tasks[2].recalling
    assert not it.tasks[1].recalling
    assert it.places.servers[N + 1].recalled
    assert it.ahead.next_deadline() is None
    assert it.at(9.0) == [], "once"


def test_it_is_recalled_soon_when_another_is_idle() -> None:
    it = Alone(2, idle=1)
    it.ahead.one_is_idle(0.0)
    assert it.ahead.next_deadline() == STEAL_AFTER_S
    assert it.at(STEAL_AFTER_S) == [Recall(2, N + 1)]


def test_who_becomes_idle_does_not_put_the_recall_off() -> None:
    it = Alone(2, idle=1)
    it.ahead.one_is_idle(0.0)
    it.ahead.one_is_idle(STEAL_AFTER_S / 2)
    assert it.ahead.next_deadline() == STEAL_AFTER_S
    it.at(STEAL_AFTER_S)
    assert it.ahead.next_deadline() is None
    it.ahead.one_is_idle(1.0)
    assert it.ahead.next_deadline() == 1.0 + STEAL_AFTER_S


def test_who_is_idle_beside_servers_with_one_task_each_waits_for_nothing() -> None:
    it = Alone(1, idle=1)
    it.ahead.one_is_idle(0.0)
    assert it.ahead.next_deadline() is None
    it.send(N + 1, 5.0)
    assert it.ahead.next_deadline() == 5.0 + STUCK_AFTER_S


def test_a_second_server_with_more_does_not_put_it_off() -> None:
    it = Alone(2, 1)
    it.send(N + 2, 0.05)
    assert it.ahead.next_deadline() == STUCK_AFTER_S


def test_a_server_that_has_just_begun_its_first_has_its_time() -> None:
    it = Alone(2)
    it.places.servers[N + 1].head_since = 0.06
    assert it.at(STUCK_AFTER_S) == []
    assert it.ahead.next_deadline() == 2 * STUCK_AFTER_S
    assert it.at(2 * STUCK_AFTER_S) == [Recall(2, N + 1)]


def test_no_more_servers_are_asked_than_it_takes_for_those_that_are_idle() -> None:
    it = Alone(2, 3, 2, idle=2)
    assert it.at(STUCK_AFTER_S) == [Recall(2, N + 1), Recall(4, N + 2), Recall(5, N + 2)]
    assert Alone(2, 2, 2).at(STUCK_AFTER_S) == [Recall(2, N + 1), Recall(4, N + 2), Recall(6, N + 3)]


def test_what_must_run_there_is_not_recalled_for_others() -> None:
    it = Alone(5)
    it.tasks[2].want_server, it.tasks[3].want_node, it.tasks[4].recalling = N + 1, N, True
    assert it.at(STUCK_AFTER_S) == [Recall(5, N + 1)]


@pytest.mark.parametrize(("state", "recalled"), [(OPEN, True), (OWN, True), (PAUSED, False), (ENDING, False)])
def test_of_which_servers(state: str, recalled: bool) -> None:
    it = Alone(2)
    it.places.servers[N + 1].state = state
    assert bool(it.at(STUCK_AFTER_S)) is recalled


def test_a_task_that_takes_longer_than_expected_counts_for_as_long_as_it_does() -> None:
    it = Alone(2)
    server = it.places.servers[N + 1]
    it.tasks[1].expected_s, server.load_s = 0.04, 0.05
    it.at(STUCK_AFTER_S)
    assert (it.tasks[1].expected_s, server.load_s) == (pytest.approx(0.1), pytest.approx(0.11))
    it = Alone(2)
    server = it.places.servers[N + 1]
    it.tasks[1].expected_s = server.load_s = 7.0
    it.at(STUCK_AFTER_S)
    assert (it.tasks[1].expected_s, server.load_s) == (7.0, 7.0), "not for less"


def test_a_server_that_is_held_back_is_asked_for_all_that_it_has_not_begun() -> None:
    it = Alone(4)
    server = it.places.servers[N + 1]
    it.tasks[2].want_server, it.tasks[3].recalling = N + 1, True
    it.ahead.recall(N + 1, server)
    assert it.orders == [Recall(2, N + 1), Recall(4, N + 1)]
    assert server.recalled
    for count in (1, 2):
        it = Alone(count)
        it.ahead.recall(N + 1, it.places.servers[N + 1])
        assert (len(it.orders), it.places.servers[N + 1].recalled) == (count - 1, count > 1)


def test_the_invariant() -> None:
    it = Alone(2, 1)
    it.ahead.check()
    it.ahead.servers[N + 2] = None
    with pytest.raises(AssertionError, match="wrongly known to have more"):
        it.ahead.check()
    del it.ahead.servers[N + 2], it.ahead.servers[N + 1]
    with pytest.raises(AssertionError, match="wrongly known to have more"):
        it.ahead.check()
