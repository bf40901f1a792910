"""parkcos/kernel/locks.py."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.errors import ForgottenYield, UsageError
from parkcos.kernel import Condition, Event, Lock, RLock, Semaphore, Task
from tests.kernel.virtual import VirtualKernel

LOCKS = [Lock, RLock, Condition, Semaphore]


@pytest.mark.parametrize("make", LOCKS)
def test_all_ways_to_write_it(kernel, make):
    lock = make()

    def main():
        got = yield lock.acquire()
        assert got == True  # noqa: E712
        assert got
        assert repr(got) == "True"
        lock.release()
        with (yield lock.acquire()) as held:
            assert held
        with (yield lock):
            other = Task(tries)
            assert (yield other()) is False
        assert (yield Task(tries)()) == 1
        with pytest.raises(ForgottenYield, match=r"with \(yield lock\)"), lock:
            pass
        yield Task(asynchronous)()
        with pytest.raises(ZeroDivisionError), (yield lock):
            1 / 0  # noqa: B018
        assert (yield lock.acquire(timeout=0)) == 1
        assert (yield Task(waits)()) is False

    async def asynchronous():
        async with lock as held:
            assert held
            assert await Task(tries).result() is False
        with await lock.acquire():
            pass
        with pytest.raises(ZeroDivisionError):
            async with lock:
                1 / 0  # noqa: B018

    def tries():
        got = yield lock.acquire(blocking=False)
        if got:
            lock.release()
        return got

    def waits():
        start = kernel.now
        got = yield lock.acquire(timeout=3)
        assert kernel.now == start + 3
        return got

    kernel.main(main)


@pytest.mark.parametrize("make", LOCKS)
def test_threadings_rules_for_timeouts(kernel, make):
    def main():
        for wrong in ({"timeout": -2}, {"blocking": False, "timeout": 1}):
            with pytest.raises(ValueError):
                make().acquire(**wrong)
        with pytest.raises(UsageError):
            make().acquire(timeout="x")
        yield

    kernel.main(main)


@pytest.mark.parametrize("make", [Lock, RLock, Condition])
def test_only_the_owner_releases(kernel, make):
    lock = make()
    with pytest.raises(RuntimeError):
        lock.release()

    def other():
        with pytest.raises(RuntimeError):
            lock.release()
        yield

    def main():
        with pytest.raises(RuntimeError):
            lock.release()
        yield lock.acquire()
        yield Task(other).result()
        lock.release()
        with pytest.raises(RuntimeError):
            lock.release()

    kernel.main(main)


def test_rlock_nests_and_lock_does_not(kernel):
    def main():
        lock = RLock()
        with (yield lock):
            with (yield lock):
                assert lock.locked()
            assert lock.owned()
        assert not lock.locked()
        assert "owner None" in repr(lock)
        simple = Lock()
        with (yield simple):
            assert (yield simple.acquire(timeout=1)) is False

    kernel.main(main)


@pytest.mark.parametrize("make", [Lock, RLock])
@pytest.mark.parametrize("how", ["return", "raise", "terminate"])
@pytest.mark.parametrize("waiting", [True, False])
def test_a_lock_of_a_dead_owner_is_released_with_a_warning(kernel, caplog, make, how, waiting):
    lock = make()

    def owner(task=None):
        yield lock.acquire()
        yield task.receive()
        if how == "raise":
            raise ValueError

    def wants():
        got = yield lock.acquire()
        lock.release()
        return got

    def main():
        dies = Task(owner)
        yield
        yield
        waiters = [Task(wants) for _ in range(3 if waiting else 0)]
        yield
        if how == "terminate":
            dies.terminate()
        dies.send(1)
        yield dies()
        assert waiting or not lock.locked()
        for waiter in waiters or [Task(wants)]:
            assert (yield waiter()) == 1
        assert not lock.locked()

    kernel.main(main)
    assert "ended while it held a" in caplog.text


@pytest.mark.parametrize("how", ["throw", "terminate"])
@pytest.mark.parametrize("make", [Lock, RLock, Semaphore])
@pytest.mark.parametrize("when", ["waiting", "handed"])
def test_nothing_is_lost_when_a_waiter_is_thrown_into(kernel, make, how, when):
    lock = make()

    def wants():
        with (yield lock.acquire()):
            yield

    def main():
        yield lock.acquire()
        task = Task(wants)
        yield
        if when == "handed":
            lock.release()
        getattr(task, how)(*([ValueError] if how == "throw" else []))
        if when == "waiting":
            lock.release()
        yield task()
        assert (yield lock.acquire(blocking=False))

    kernel.main(main)


@given(st.lists(st.tuples(st.sampled_from(["acquire", "timed", "terminate"]), st.integers(0, 6)), max_size=12),
       st.sampled_from([Lock, RLock, Semaphore]))  # fmt: skip
def test_first_come_first_served_one_at_a_time(plans, make):
    kernel = VirtualKernel()
    lock = make()
    inside, order = [], []

    def worker(number, plan, hold, task=None):
        yield task.sleep(number * 0.01)
        got = yield lock.acquire(timeout=2 if plan == "timed" else -1)
        if not got:
            return "late"
        assert inside == []
        inside.append(number)
        order.append(number)
        try:
            yield task.sleep(hold)
        finally:
            inside.remove(number)
            lock.release()

    def main(task=None):
        tasks = [Task(worker, number, plan, hold) for number, (plan, hold) in enumerate(plans)]
        yield task.sleep(1)
        for worker_task, (plan, _) in zip(tasks, plans, strict=True):
            if plan == "terminate":
                worker_task.terminate()
        for worker_task in tasks:
            yield worker_task()
        assert (yield lock.acquire(blocking=False))

    kernel.main(main)
    assert order == sorted(order)
    assert {n for n, (plan, _) in enumerate(plans) if plan == "acquire"} <= set(order)


def test_a_contended_lock_leaves_no_callbacks(kernel):
    lock = Lock()

    def worker():
        for _ in range(50):
            with (yield lock):
                yield
        return len(task_of[0]._callbacks or [])

    def main(task=None):
        task_of.append(task)
        workers = [Task(worker) for _ in range(3)]
        for _ in range(50):
            with (yield lock):
                yield
        assert len(task._callbacks) <= 2
        for other in workers:
            assert (yield other()) <= 2

    task_of = []
    kernel.main(main)


# ---- Condition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [None, Lock, RLock])
def test_condition(kernel, lock):
    condition = Condition(lock() if lock else None)
    items = []

    def consumer():
        with (yield condition):
            while not items:
                assert (yield condition.wait()) is True
            return items.pop(0)

    def main():
        consumers = [Task(consumer) for _ in range(3)]
        yield
        yield
        for item in range(3):
            with (yield condition):
                items.append(item)
                condition.notify()
        results = []
        for task in consumers:
            results.append((yield task.result()))
        assert results == [0, 1, 2]

    kernel.main(main)


def test_condition_wait_that_times_out_owns_the_lock_again(kernel):
    condition = Condition()

    def holder(task=None):
        with (yield condition):
            yield task.sleep(5)

    def main(task=None):
        start = kernel.now
        yield condition.acquire()
        yield condition.acquire()
        Task(holder)
        assert (yield condition.wait(2)) is False
        assert kernel.now == start + 5  # the holder had it meanwhile
        condition.release()
        condition.release()
        with pytest.raises(RuntimeError):
            condition.release()

    kernel.main(main)


def test_condition_wait_that_is_thrown_into_owns_the_lock_again(kernel):
    condition = Condition()

    def waits(task=None):
        with (yield condition):
            try:
                yield condition.wait()
            except ValueError:
                condition.notify_all()
                return "thrown"

    def main(task=None):
        waiter = Task(waits)
        yield task.sleep(1)
        with (yield condition):
            waiter.throw(ValueError)
            yield task.sleep(1)
            waiter.throw(ValueError)
            yield task.sleep(1)
        assert (yield waiter()) == "thrown"

    kernel.main(main)


@pytest.mark.parametrize("end", ["terminate", "throw"])
def test_a_notification_is_passed_on_by_a_task_that_ends_before_its_turn(kernel, end):
    condition = Condition()
    items = []

    def consumer():
        with (yield condition):
            while not items:
                yield condition.wait()
            return items.pop(0)

    def main(task=None):
        first, second = Task(consumer), Task(consumer)
        yield task.sleep(1)
        with (yield condition):
            items.append("item")
            condition.notify()
        first.terminate() if end == "terminate" else first.throw(ValueError)
        assert (yield second.finish(timeout=5)) == "item"

    kernel.main(main)


def test_condition_wait_that_is_terminated(kernel, caplog):
    condition = Condition()

    def waits():
        with (yield condition):
            yield condition.wait()

    def main(task=None):
        waiter = Task(waits)
        yield task.sleep(1)
        waiter.terminate()
        yield waiter()
        with (yield condition):
            condition.notify()

    kernel.main(main)
    assert caplog.text == ""


def test_condition_needs_the_lock(kernel):
    condition = Condition()

    def main():
        with pytest.raises(RuntimeError):
            yield condition.wait()
        for fn in (condition.notify, condition.notify_all, condition.notifyAll):
            with pytest.raises(RuntimeError):
                fn()
        yield

    kernel.main(main)


def test_condition_wait_for(kernel):
    condition = Condition()
    items = []

    def producer(task=None):
        for item in range(3):
            yield task.sleep(1)
            with (yield condition):
                items.append(item)
                condition.notify_all()

    def main():
        Task(producer)
        with (yield condition):
            assert (yield condition.wait_for(lambda: len(items) > 1)) is True
            assert (yield condition.wait_for(lambda: len(items) > 10, 5)) is False
        async_result = Task(in_async)
        assert (yield async_result.result()) == [0, 1, 2]

    async def in_async():
        async with condition:
            return await condition.wait_for(lambda: items)

    kernel.main(main)


# ---- Event and Semaphore ----------------------------------------------------------------------------------------


def test_event(kernel):
    event = Event()

    def waits(timeout=None):
        return (yield event.wait(timeout))

    def main(task=None):
        tasks = [Task(waits), Task(waits, 5), Task(waits, 1)]
        yield task.sleep(2)
        event.set()
        assert event.is_set()
        assert event.isSet()
        results = []
        for task in tasks:
            results.append((yield task()))
        assert results == [True, True, False]
        assert (yield event.wait(0)) is True
        event.clear()
        assert (yield event.wait(0)) is False
        assert len(kernel.timers) == 0

    kernel.main(main)


@given(st.integers(1, 4), st.integers(1, 10))
def test_semaphore_lets_so_many_in(value, workers):
    kernel = VirtualKernel()
    semaphore = Semaphore(value)
    inside, most = [], [0]

    def worker(number, task=None):
        with (yield semaphore.acquire()):
            inside.append(number)
            most[0] = max(most[0], len(inside))
            yield task.sleep(1)
            inside.remove(number)

    def main():
        tasks = [Task(worker, number) for number in range(workers)]
        for task in tasks:
            yield task.result()

    kernel.main(main)
    assert most[0] == min(value, workers)


def test_semaphore_rules(kernel):
    with pytest.raises(ValueError):
        Semaphore(-1)

    def main():
        semaphore = Semaphore(0)
        with pytest.raises(ValueError):
            semaphore.release(0)
        assert (yield semaphore.acquire(blocking=False)) is False
        semaphore.release(2)
        assert (yield semaphore.acquire(timeout=1)) == 1
        assert (yield semaphore.acquire(timeout=1)) == 1
        assert (yield semaphore.acquire(timeout=1)) is False

    kernel.main(main)


def test_a_thread_sets_an_event_and_lets_tasks_past_a_semaphore(threaded):
    """While the kernel sleeps: whoever waits there is woken."""
    event, semaphore = Event(), Semaphore(0)

    def waits(what, woken):
        yield what()
        woken.set()

    for lock, wait, wake in ((event, event.wait, event.set), (semaphore, semaphore.acquire, semaphore.release)):
        woken = threading.Event()
        Task(waits, wait, woken)
        while not len(lock._queue):
            stepped = threading.Event()
            threaded.post(stepped.set)
            assert stepped.wait(5)
        wake()
        assert woken.wait(5)
