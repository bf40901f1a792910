"""parkcos/kernel/loop.py: order, fairness, posted calls, flushes, and senseless yields."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import inspect
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.errors import ForgottenYield, SenselessYield
from parkcos.kernel import Completion, Event, Kernel, Task, Wait, cur_task, operation
from parkcos.kernel.loop import FLUSH_WITHIN_S, Loop
from parkcos.kernel.wait import Waitable
from tests.kernel.virtual import VirtualKernel


def test_a_plain_value_comes_back_after_others_had_a_turn(kernel):
    order = []

    def one():
        order.append("one")
        assert (yield 5) == 5
        order.append("one again")
        for value in ((1, 2), "x", [], None, 0, kernel, {"a": 1}):
            assert (yield value) is value
            assert (yield) is None
            assert (yield value) is value
            assert (yield nothing()) is None
        assert (yield) is None

    def nothing():
        return (yield)

    def two():
        order.append("two")
        yield

    def main():
        first = Task(one)
        Task(two)
        yield first.result()

    kernel.main(main)
    assert order == ["one", "two", "one again"]


@given(st.lists(st.integers(min_value=0, max_value=5), min_size=1, max_size=8))
def test_tasks_run_in_the_order_in_which_they_became_ready(turns):
    kernel = VirtualKernel()
    seen, expected = [], []

    def worker(name, count):
        for turn in range(count):
            seen.append((turn, name))
            yield

    def main():
        for task in [Task(worker, name, count) for name, count in enumerate(turns)]:
            yield task()

    kernel.main(main)
    for turn in range(max(turns)):
        expected += [(turn, name) for name, count in enumerate(turns) if turn < count]
    assert seen == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100))))
def test_messages_stay_in_order_per_receiver(sends):
    kernel = VirtualKernel()

    def receiver(task=None):
        got = []
        while (message := (yield task.receive())) is not None:
            got.append(message)
            if message % 3 == 0:
                yield
        return got

    def main():
        receivers = [Task(receiver) for _ in range(4)]
        for to, message in sends:
            receivers[to].send(message)
            if message % 2:
                yield
        result = []
        for task in receivers:
            task.send(None)
            result.append((yield task()))
        return result

    assert kernel.main(main) == [[m for to, m in sends if to == i] for i in range(4)]


@pytest.mark.parametrize("busy", ["yield", "sub", "event", "message"])
def test_nobody_starves(kernel, busy):
    def sub():
        return 1
        yield

    def hog(task=None):
        event = Event()
        event.set()
        while True:
            if busy == "yield":
                yield
            elif busy == "sub":
                yield sub()
            elif busy == "event":
                yield event.wait()
            else:
                task.send(1)
                yield task.receive()

    def main(task=None):
        other = Task(hog)
        for _ in range(10):
            yield
        yield task.sleep(0)
        event = Event()
        kernel.call_later(0, event.set)
        kernel.post(event.set)
        yield event.wait()
        other.terminate()
        yield other()

    kernel.main(main)


def test_timers_are_not_starved_by_ready_tasks():
    kernel = VirtualKernel()

    def hog(task=None):
        task.set_daemon()
        while True:
            kernel.now += 1
            yield

    def main(task=None):
        Task(hog)
        start = kernel.now
        yield task.sleep(5)
        assert kernel.now <= start + 7

    kernel.main(main)


def test_post_keeps_the_order_and_survives_exceptions(kernel, caplog):
    seen = []

    def main(task=None):
        kernel.post(seen.append, 1)
        kernel.post(lambda: 1 / 0)
        kernel.post(seen.append, 2)
        assert seen == []
        yield
        assert seen == [1, 2]

    kernel.main(main)
    assert "ZeroDivisionError" in caplog.text


def test_post_from_many_threads_loses_nothing(threaded):
    seen = []
    everything = threading.Event()

    def note(item):
        seen.append(item)
        if len(seen) == 4000:
            everything.set()

    def poster(name):
        for i in range(1000):
            threaded.post(note, (name, i))

    threads = [threading.Thread(target=poster, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    assert everything.wait(30)
    for thread in threads:
        thread.join()
    for name in range(4):
        assert [i for who, i in seen if who == name] == list(range(1000))


def test_a_sleeping_kernel_is_woken_each_time(threaded):
    for i in range(2000):
        done = threading.Event()
        threaded.post(done.set)
        assert done.wait(30), i


class Bed:
    """Notes how long somebody wants to sleep in it, as a lock and as a sleeper, and whether it could be woken."""

    def __init__(self, loop):
        self.loop = loop
        self.slept = []

    def acquire(self, blocking, timeout_s):
        assert blocking and self.loop._sleeping
        self.slept.append(timeout_s)

    def sleep(self, timeout_s):
        self.acquire(True, timeout_s)


@pytest.mark.parametrize("in_sleeper", [False, True])
def test_how_long_it_sleeps(in_sleeper):
    loop = Loop(lambda: 100.0)
    bed = loop._lock = Bed(loop)
    if in_sleeper:
        loop._lock = None
        loop.sleep_in(bed)
    assert not loop.has_posts()
    loop.idle()
    late = loop.call_later(1e12, print)
    loop.idle()
    soon = loop.call_later(5, print)
    loop.idle()
    assert bed.slept == [-1.0, threading.TIMEOUT_MAX, 5.0]
    assert not loop._sleeping
    soon.cancel()
    late.cancel()
    loop.idle()
    very_soon = loop.call_later(0.25, print)
    loop.idle()
    very_soon.cancel()
    assert bed.slept[3:] == [-1.0, 0.25]
    due = loop.call_later(0, print)
    loop.idle()
    due.cancel()
    loop.post(print)
    assert loop.has_posts()
    loop.idle()
    assert len(bed.slept) == 5
    assert not loop._sleeping


def test_who_posts_wakes_the_sleeper_once():
    class Sleeper:
        woken = 0

        def wake(self):
            self.woken += 1

    loop, sleeper = Loop(), Sleeper()
    loop.sleep_in(sleeper)
    loop.post(print)
    assert sleeper.woken == 0
    loop._sleeping = True
    loop.post(print)
    loop.post(print)
    assert sleeper.woken == 1
    loop._sleeping = True
    loop.awake()
    loop.post(print)
    assert sleeper.woken == 1


def test_only_a_sleeping_kernel_is_woken():
    class Counting:
        def __init__(self, lock):
            self.lock, self.releases = lock, 0

        def acquire(self, *args):
            return self.lock.acquire(*args)

        def release(self):
            self.releases += 1
            self.lock.release()

    kernel = Kernel()
    assert kernel._lock.locked(), "its first sleep ends no sooner than the others"
    kernel._lock = Counting(kernel._lock)
    for _ in range(100):
        kernel.post(lambda: None)
    assert kernel._lock.releases == 0
    kernel.terminate()


def test_flushes_run_once_at_the_end_of_the_round(kernel):
    seen = []

    def flusher(name):
        kernel.request_flush(lambda: seen.append(f"flush {name}"))
        seen.append(name)
        yield

    def main():
        tasks = [Task(flusher, name) for name in "ab"]
        for task in tasks:
            yield task()
        kernel.request_flush(lambda: 1 / 0)
        kernel.post(kernel.request_flush, lambda: seen.append("from a post"))
        yield
        yield
        yield

    kernel.main(main)
    assert seen == ["a", "b", "flush a", "flush b", "from a post"]


def test_a_lazy_flush_waits_for_others_while_there_is_something_to_do(kernel):
    seen = []

    def main():
        kernel.request_flush(lambda: seen.append("lazy"), lazy=True)
        for _ in range(3):
            yield
            assert seen == []
        kernel.now += FLUSH_WITHIN_S
        yield
        assert seen == ["lazy"]
        kernel.request_flush(lambda: seen.append("lazy"), lazy=True)
        kernel.request_flush(lambda: seen.append("soon"))
        yield
        assert seen == ["lazy", "lazy", "soon"]

    kernel.main(main)


def test_a_lazy_flush_is_done_when_there_is_nothing_else_to_do(kernel):
    seen = []

    def main(task=None):
        began = kernel.now
        kernel.request_flush(lambda: seen.append(kernel.now - began), lazy=True)
        yield task.sleep(1)
        assert seen == [0]
        kernel.request_flush(lambda: seen.append("lazy"), lazy=True)
        kernel.post(seen.append, "posted")
        yield task.sleep(1)
        assert seen == [0, "posted", "lazy"], "what was posted is something to do"

    kernel.main(main)


def test_a_real_sleep_ends(threaded):
    def main(task=None):
        yield task.sleep(0.05)
        return "awake"

    assert Task(main).future().result(30) == "awake"


def test_what_is_yielded_after_a_forgotten_yield_is_closed(kernel):
    async def coroutine():
        pass

    def main(task=None):
        task.receive()
        yielded = coroutine()
        with pytest.raises(ForgottenYield):
            yield yielded
        assert inspect.getcoroutinestate(yielded) == inspect.CORO_CLOSED

    kernel.main(main)


def test_a_message_that_was_handed_over_comes_before_what_is_thrown(kernel):
    """Also to a sub-call that begins with its receive."""
    got = []

    def receives(task):
        got.append((yield task.receive()))
        yield

    def directly(task=None):
        yield from receives(task)

    def in_a_sub_call(task=None):
        yield receives(task)

    def main():
        for fn in directly, in_a_sub_call:
            other = Task(fn)
            other.send(fn.__name__)
            yield  # now it has been given its message, and is to run with it
            other.throw(ValueError("thrown"))
            with pytest.raises(ValueError, match="thrown"):
                yield other.result()

    kernel.main(main)
    assert got == ["directly", "in_a_sub_call"]


@pytest.mark.parametrize("how", ["receive", "receive in a sub-call", "event"])
def test_who_waits_keeps_nothing_alive(kernel, how):
    event = Event()
    watched = []

    def receives(task):
        yield task.receive()

    def waits(task=None):
        thing = Some()
        watched.append(weakref.ref(thing))
        yield thing
        del thing
        if how == "receive":
            yield task.receive()
        elif how == "event":
            yield event.wait()
        else:
            yield receives(task)

    def main(task=None):
        waiting = Task(waits)
        yield task.sleep(1)
        gc.collect()
        assert watched[0]() is None
        waiting.send(1)
        event.set()
        yield waiting.result()

    kernel.main(main)


def test_a_task_that_was_interrupted_at_its_yield_goes_on(kernel):
    """The interrupt comes to the kernel while it looks at what was yielded."""

    class Interrupted(Waitable):
        def as_wait(self):
            raise KeyboardInterrupt

        def __await__(self):
            return (yield self)

    steps = []

    def generator(task=None):
        steps.append((yield Interrupted()))
        task.send("message")
        steps.append((yield task.receive()))
        yield Interrupted()
        steps.append((yield 1))

    async def coroutine():
        steps.append(await Interrupted())

    kernel.interrupt = lambda: None
    kernel.spawn(coroutine)
    kernel.main(generator)
    assert steps == [None, None, "message", 1]


def test_a_task_that_was_woken_by_what_was_interrupted_runs_once(kernel, caplog):
    """The interrupt comes to the kernel between the waking and the end of the step."""
    steps = []

    class Interrupted(Wait):
        def begin(self, task):
            kernel.wake(task, "woken")
            raise KeyboardInterrupt

    def main():
        steps.append((yield Interrupted()))
        for number in range(3):
            steps.append(number)
            yield

    def counts():
        for number in range(3):
            steps.append(f"other {number}")
            yield

    kernel.interrupt = lambda: None
    kernel.spawn(counts)
    kernel.main(main)
    assert steps == ["other 0", "other 1", "woken", 0, "other 2", 1, 2]
    assert "failed after it had woken its task" in caplog.text


def test_current_and_the_thread(kernel):
    def main(task=None):
        assert kernel.current is task
        assert kernel.in_kernel_thread()
        yield
        assert kernel.current is task

    assert not kernel.in_kernel_thread()
    kernel.main(main)
    assert kernel.current is None


# ---- senseless yields -------------------------------------------------------------------------------------------


def plain():
    return 1


class Some:
    def method(self):
        return 1


async def agen():
    yield 1


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (plain, "x = yield value(...)"),
        (Some().method, "x = yield value(...)"),
        (functools.partial(plain), "x = yield value(...)"),
        (len, "x = yield value(...)"),
        (Some, "x = yield value(...)"),
        (concurrent.futures.Future(), "pool.async_task"),
    ],
)
def test_senseless_yields_show_the_wrong_line_and_the_right_one(kernel, value, right):
    def main():
        with pytest.raises(SenselessYield) as caught:
            yield value
        return str(caught.value)

    text = kernel.main(main)
    assert f"{__file__}:" in text
    assert ": yield value\n" in text
    assert right in text


@pytest.mark.parametrize(
    ("made", "right"),
    [
        (lambda one: [one(), one()], "for call in made(one): x = yield call"),
        (lambda one: (one(),), "for call in made(one): x = yield call"),
        (lambda one: {one(), one()}, "for call in made(one): x = yield call"),
        (lambda one: {"a": one()}, "for call in made(one).values(): x = yield call"),
    ],
)
@pytest.mark.parametrize("kind", ["wait", "generator", "coroutine", "operation"])
def test_a_yield_of_several_calls_shows_how_to_yield_each(kernel, made, right, kind):
    begun = []

    def generator():
        begun.append(1)
        yield

    async def coroutine():
        begun.append(1)

    def main():
        task = cur_task()
        one = {
            "wait": lambda: Completion(kernel, "fetch", begun.append),
            "generator": generator,
            "coroutine": coroutine,
            "operation": operation(generator),
        }[kind]
        with pytest.raises(SenselessYield) as caught:
            yield made(one)
        yield task.sleep(0.1)  # and nobody says that a yield was forgotten
        return str(caught.value)

    text = kernel.main(main)
    assert right in text
    assert "calls makes no sense" in text
    assert begun == []


@pytest.mark.parametrize("value", [[], (), {}, set(), [1, 2], (None,), {"a": 1}, frozenset("ab")])
def test_collections_of_plain_values_come_back(kernel, value):
    def main():
        return (yield value)

    assert kernel.main(main) is value


def test_senseless_yields_of_things_made_in_the_task(kernel):
    def main():
        task = Task(sub)
        with pytest.raises(SenselessYield, match=r"yield task\.finish\(\)"):
            yield task
        with pytest.raises(SenselessYield, match=r"async for item in agen\(\)"):
            yield agen()
        loop = asyncio.new_event_loop()
        future = loop.create_future()
        with pytest.raises(SenselessYield, match=r"parkcos\.io\(future\)"):
            yield future
        future = Some()
        future._asyncio_future_blocking = False  # as asyncio tells a future that is not its own
        with pytest.raises(SenselessYield, match=r"parkcos\.io\(future\)"):
            yield future
        loop.close()
        with pytest.raises(SenselessYield, match="in_a_sub_call"):
            yield sub_call()

    def sub():
        yield

    def sub_call():
        in_a_sub_call = plain
        yield in_a_sub_call

    kernel.main(main)


@pytest.mark.parametrize("in_a_sub_call", [False, True])
def test_what_receive_gave_is_good_for_one_yield(kernel, in_a_sub_call):
    def again(message):
        yield message

    def main(task=None):
        task.send(1)
        task.send(2)
        message = task.receive()
        assert (yield message) == 1
        with pytest.raises(SenselessYield, match="of the task that yields it"):
            yield again(message) if in_a_sub_call else message
        return (yield task.receive())

    assert kernel.main(main) == 2


def test_a_failing_wait_is_raised_at_its_yield_and_is_over(kernel):
    cancelled = []

    class Broken(Wait):
        def begin(self, task):
            raise ValueError("begin")

        def cancel(self, task):
            cancelled.append(task)

    def waits(task=None):
        with pytest.raises(ValueError, match="begin"):
            yield Broken()
        with pytest.raises(KeyError):
            yield task.receive()

    def main(task=None):
        waiting = Task(waits)
        yield task.sleep(1)
        waiting.throw(KeyError())
        yield waiting.result()

    kernel.main(main)
    assert cancelled == []


def test_after_a_failed_sub_call_a_plain_yield_gives_nothing(kernel):
    def fails():
        yield 5
        raise ValueError

    def main():
        try:
            yield fails()
        except ValueError:
            return (yield)

    assert kernel.main(main) is None


@pytest.mark.parametrize("woken", [False, True])
def test_a_task_at_whose_yield_the_kernel_fails_is_closed(kernel, caplog, woken):
    seen = []

    class Broken(Waitable):
        def as_wait(self):
            if woken:
                kernel.wake(kernel.current, "woken")
            raise ValueError("as_wait")

    def waits():
        try:
            yield Broken()
        finally:
            seen.append("closed")

    def outer():
        yield waiting

    def main():
        with pytest.raises(ValueError, match="as_wait"):
            yield (task := Task(outer)).result()
        assert seen == ["closed"], "although somebody still has it"
        yield
        assert type(task.outcome.exception) is ValueError, "it has ended once"

    waiting = waits()
    kernel.main(main)
    assert caplog.text.count("the kernel has a bug; it goes on") == 1


@pytest.mark.parametrize("how", ["call_later", "post", "request_flush"])
def test_a_keyboard_interrupt_in_the_kernel_interrupts_the_tasks(kernel, how):
    ended = []

    def waits(task=None):
        try:
            yield task.receive()
        except KeyboardInterrupt:
            ended.append(task.name)
            yield

    def main():
        task = Task(waits)
        yield
        if how == "call_later":
            kernel.call_later(1, interrupt)
        else:
            getattr(kernel, how)(interrupt)
        yield task()

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kernel.main(main)
    assert ended == ["waits"]
