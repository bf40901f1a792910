"""parkcos/kernel/timers.py."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from parkcos.kernel import Task
from parkcos.kernel.timers import Timers
from tests.kernel.virtual import VirtualKernel


class Target:
    def __init__(self):
        self._timer = 0

    def _on_timer(self):
        pass


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=60))
def test_due_in_order_of_time_then_of_adding_without_those_taken_back(entries):
    timers = Timers()
    targets = [(when, Target(), dropped) for when, dropped in entries]
    for when, target, _ in targets:
        timers.add(when, target)
    for _, target, dropped in targets:
        if dropped:
            timers.drop(target)
            timers.drop(target)
    live = sorted((when, i, target) for i, (when, target, dropped) in enumerate(targets) if not dropped)
    assert len(timers) == len(live)
    assert timers.next_when() == (live[0][0] if live else None)
    popped = []
    while (target := timers.pop_due(100, timers.number)) is not None:
        popped.append(target)
    assert popped == [target for _, _, target in live]
    assert len(timers) == 0
    assert timers.heap == []


def test_not_before_its_time():
    timers, target = Timers(), Target()
    timers.add(5, target)
    assert timers.pop_due(4.9, timers.number) is None
    assert timers.pop_due(5, timers.number) is target


def test_the_heap_is_compacted_when_most_are_dead():
    timers = Timers()
    keep = Target()
    timers.add(1e9, keep)
    for _ in range(100_000):
        target = Target()
        timers.add(1e6, target)
        timers.drop(target)
    assert len(timers.heap) < 2000
    assert len(timers) == 1
    assert timers.next_when() == 1e9


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_sleepers_wake_in_order_and_in_time(delays):
    kernel = VirtualKernel()
    woken = []

    def sleeper(number, delay, task=None):
        start = kernel.now
        yield task.sleep(delay)
        assert kernel.now == start + delay
        woken.append((delay, number))

    def main():
        tasks = [Task(sleeper, number, delay) for number, delay in enumerate(delays)]
        for task in tasks:
            yield task.result()

    kernel.main(main)
    assert woken == sorted(woken)


def test_call_later(kernel, caplog):
    seen = []

    def main(task=None):
        kernel.call_later(2, seen.append, "b")
        kernel.call_later(1, seen.append, "a")
        dropped = kernel.call_later(1, seen.append, "never")
        dropped.cancel()
        dropped.cancel()
        kernel.call_later(1, lambda: 1 / 0)
        yield task.sleep(3)
        assert seen == ["a", "b"]

    kernel.main(main)
    assert "ZeroDivisionError" in caplog.text


def test_a_timer_that_sets_itself_again_stops_nobody(kernel):
    count = []

    def again():
        count.append(1)
        kernel.call_later(0, again)

    def main():
        again()
        for _ in range(5):
            yield

    kernel.main(main)
    assert len(count) <= 6


def test_compaction_keeps_the_order():
    timers = Timers()
    targets = [Target() for _ in range(3000)]
    times = [(7919 * number) % 3001 for number in range(3000)]
    for when, target in zip(times, targets, strict=True):
        timers.add(when, target)
    keep = {id(target) for target in targets[::5]}
    for target in targets:
        if id(target) not in keep:
            timers.drop(target)
    assert len(timers.heap) < 3000
    assert len(timers) == 600
    popped = []
    while timers.heap:
        now = timers.next_when()
        popped.append(now)
        assert timers.pop_due(now, timers.number) is not None
    assert popped == sorted(times[::5])


def test_a_few_dead_ones_stay_in_the_heap():
    timers = Timers()
    targets = [Target() for _ in range(100)]
    for target in targets:
        timers.add(1, target)
        timers.drop(target)
    assert len(timers.heap) == 100
    assert len(timers) == 0


def test_many_dead_ones_stay_in_the_heap_beside_more_that_live():
    timers = Timers()
    targets = [Target() for _ in range(2000)]
    for target in targets:
        timers.add(1, target)
    for target in targets[:900]:
        timers.drop(target)
    assert len(timers.heap) == 2000
    assert len(timers) == 1100


def test_one_that_has_fired_cannot_be_dropped():
    timers, target, other = Timers(), Target(), Target()
    timers.add(1, target)
    timers.add(2, other)
    assert timers.pop_due(1, timers.number) is target
    timers.drop(target)
    assert len(timers) == 1


def test_one_that_was_cancelled_is_dropped_and_keeps_nothing_alive(kernel):
    class Argument:
        pass

    arguments = [Argument(), Argument()]
    watched = [weakref.ref(argument) for argument in arguments]

    def main(task=None):
        timers = [kernel.call_later(1, len, arguments[:1]), kernel.call_later(2, len, arguments[1:])]
        count = len(kernel.timers)
        timers[0].cancel()
        assert len(kernel.timers) == count - 1
        yield task.sleep(3)
        return timers

    timers = kernel.main(main)
    arguments.clear()
    gc.collect()
    assert [ref() for ref in watched] == [None, None], timers
