"""parkcos/client/shelf.py: what is sent to a node, what is dropped there, and whom that lets begin."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from parkcos.client.shelf import Drop, Order, Release, Send, Shelf


class Node:
    """A node with room for 10 bytes, and the tasks that run there."""

    def __init__(self, bytes_max: int = 10) -> None:
        self.tasks: dict[int, set[str]] = {}
        self.shelf = Shelf(bytes_max, self.tasks.items)
        self.there: set[str] = set()
        self.running: set[int] = set()
        self.refused: dict[int, str] = {}
        self.sent: Counter[str] = Counter()

    def ask(self, task: int, **needs: int) -> list[Order]:
        self.tasks[task] = set(needs)
        return self.obey(self.shelf.ask(task, needs))

    def arrived(self, digest: str) -> list[Order]:
        self.there.add(digest)
        return self.obey(self.shelf.arrived(digest))

    def ended(self, task: int) -> list[Order]:
        del self.tasks[task]
        self.running.discard(task)
        return self.obey(self.shelf.room())

    def obey(self, orders: list[Order]) -> list[Order]:
        for order in orders:
            match order:
                case Send(digest):
                    assert digest not in self.there
                    self.sent[digest] += 1
                case Drop(digests):
                    for digest in digests:
                        assert not any(digest in self.tasks[task] for task in self.running), "a task there needs it"
                        self.there.remove(digest)
                case Release(task, ""):
                    assert self.tasks[task] <= self.there, "a task begins without what it needs"
                    self.running.add(task)
                case Release(task, reason, failed):
                    assert failed in self.tasks[task]
                    self.refused[task] = reason
                    del self.tasks[task]
        self.shelf.check()
        return orders


def test_an_object_is_sent_once_and_its_tasks_wait_for_it() -> None:
    node = Node()
    assert node.ask(1, a=4) == [Send("a")]
    assert node.ask(2, a=4) == []
    assert node.arrived("a") == [Release(1), Release(2)]
    assert node.ask(3, a=4) == [Release(3)]


def test_a_task_waits_for_all_that_it_needs() -> None:
    node = Node()
    assert node.ask(1, a=4, b=5) == [Send("a"), Send("b")]
    assert node.ask(2, b=5) == []
    assert node.arrived("b") == [Release(2)]
    assert node.arrived("a") == [Release(1)]


def test_what_was_used_the_longest_time_ago_goes_first() -> None:
    node = Node()
    for number, digest in enumerate("abc", 1):
        node.ask(number, **{digest: 3})
        node.arrived(digest)
        node.ended(number)
    node.ask(4, a=3)
    node.ended(4)
    assert node.ask(5, d=4) == [Drop(["b"]), Send("d")]
    node.arrived("d")
    assert node.ask(6, b=3) == [Drop(["c"]), Send("b")]


def test_what_a_task_there_needs_stays_and_who_needs_the_room_waits() -> None:
    node = Node()
    node.ask(1, a=6)
    node.arrived("a")
    assert node.ask(2, b=6) == []
    assert node.ask(3, a=6) == [], "or the one before it might wait for ever"
    assert node.ended(1) == [Drop(["a"]), Send("b")]
    assert node.arrived("b") == [Release(2)]
    assert node.ended(2) == [Drop(["b"]), Send("a")]
    assert node.arrived("a") == [Release(3)]


def test_a_task_that_is_not_to_run_there_is_waited_for_by_nobody() -> None:
    node = Node()
    node.ask(1, a=6)
    node.arrived("a")
    node.ask(2, b=6)
    node.ask(3, a=6)
    assert not node.shelf.forget(1), "it has begun"
    assert node.shelf.forget(2)
    assert node.ended(2) == [Release(3)]


def test_a_task_that_was_lost_with_its_server_is_waited_for_by_nobody() -> None:
    node = Node()
    node.ask(1, a=6)
    node.ask(2, a=6)
    del node.tasks[1]
    assert node.arrived("a") == [Release(2)]


def test_what_cannot_be_sent_ends_who_needs_it_and_may_be_tried_again() -> None:
    node = Node()
    node.ask(1, a=4, b=4)
    node.ask(2, b=4)
    assert node.obey(node.shelf.failed("a", "the disk is full")) == [Release(1, "the disk is full", "a")]
    assert node.arrived("b") == [Release(2)]
    assert node.ask(3, a=4) == [Send("a")]


SIZES = {"a": 1, "b": 3, "c": 4, "d": 6, "e": 10}
needs = st.sets(st.sampled_from(sorted(SIZES)), min_size=1).filter(lambda s: sum(SIZES[d] for d in s) <= 10)


@given(st.data())
def test_every_task_begins_and_nothing_is_too_much(data: st.DataObject) -> None:
    node = Node()
    coming: list[str] = []
    left = data.draw(st.integers(1, 12), "tasks")
    asked = 0

    def told(orders: list[Order]) -> None:
        coming.extend(order.digest for order in orders if isinstance(order, Send))

    for _ in range(200):
        choices: list[Any] = [("ask", 0)] if asked < left else []
        choices += [("arrive", digest) for digest in coming]
        choices += [("fail", digest) for digest in coming]
        choices += [("end", task) for task in sorted(node.running)]
        choices += [("forget", task) for task in sorted(set(node.tasks) - node.running)] if asked == left else []
        if not choices:
            break
        what, which = data.draw(st.sampled_from(choices))
        if what == "ask":
            asked += 1
            told(node.ask(asked, **{digest: SIZES[digest] for digest in sorted(data.draw(needs))}))
        elif what == "arrive":
            coming.remove(which)
            told(node.arrived(which))
        elif what == "fail":
            coming.remove(which)
            told(node.obey(node.shelf.failed(which, "no")))
        else:
            if what == "forget":
                assert node.shelf.forget(which)
            told(node.ended(which))
    assert not node.tasks, "a task waits for ever"
