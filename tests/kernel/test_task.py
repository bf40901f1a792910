"""parkcos/kernel/task.py, with target.py, task_waits.py and outcome.py."""

from __future__ import annotations

import asyncio
import functools
import logging
import pickle
import re
import sys
import threading
import traceback

import pytest

from parkcos.errors import NotATask, TaskTerminated, UsageError, WouldHang
from parkcos.kernel import HotSwapException, MonitorStatus, Task, cur_task, operation

# ---- what may be a task, and how it is made ---------------------------------------------------------------------


def test_arguments_and_both_ways_to_write_them(kernel):
    def add(a, b=0, *, c=0):
        yield
        return a + b + c

    def main():
        first = yield Task(add, 1, 2, c=3)()
        second = yield Task(target=add, args=(1,), kwargs={"b": 5})()
        return first, second

    assert kernel.main(main) == (6, 6)


def test_a_parameter_task_with_a_default_is_filled(kernel):
    def last(a, task=None):
        yield
        return a, task

    def keyword(*, task=None):
        yield
        return task

    def required(task):
        yield
        return task

    class Thing:
        def method(self, a, task=7):
            yield
            return task

        def __call__(self, task=None):
            yield
            return task

    async def coroutine(task=None):
        return task

    def main():
        for fn, args in ((keyword, ()), (Thing().method, (1,)), (coroutine, ()), (Thing(), ()),
                         (functools.partial(keyword), ())):  # fmt: skip
            task = Task(fn, *args)
            assert (yield task()) is task, fn
        task = Task(last, 1)
        assert (yield task()) == (1, task)
        assert (yield Task(last, 1, 2)()) == (1, 2)
        assert (yield Task(last, 1, task=3)()) == (1, 3)
        assert (yield Task(required, "x")()) == "x"

    kernel.main(main)


def test_a_keyword_only_task_with_another_default_is_left_alone(kernel):
    def fn(*, task=5):
        yield
        return task

    assert kernel.main(fn) == 5


def test_an_operation_may_be_a_task(kernel):
    @operation
    def op(a, task=None):
        yield
        return a, task

    def main():
        task = Task(op, 1)
        assert (yield task()) == (1, task)

    kernel.main(main)


def _plain():
    return 1


def _gen():
    yield


async def _coroutine():
    return 1


async def _async_generator():
    yield 1


@pytest.mark.parametrize(
    ("make", "right"),
    [
        (lambda: _plain, "async def _plain"),
        (_gen, "Task(_gen, ...)"),
        (_coroutine, "Task(_coroutine, ...)"),
        (lambda: _async_generator, "async for item in _async_generator(...)"),
        (lambda: 7, "Task(function, ...)"),
        (lambda: len, "plain function"),
        (lambda: int, "plain function"),
    ],
)
def test_what_is_no_task_is_told_the_right_line(kernel, make, right):
    thing = make()
    with pytest.raises(NotATask) as caught:
        kernel.spawn(thing)
    assert right in str(caught.value)
    assert "KeyError" not in "".join(traceback.format_exception(caught.value)), "how it was found is nobody's business"
    if hasattr(thing, "close"):
        thing.close()


def test_wrong_arguments_raise_at_the_constructor(kernel):
    with pytest.raises(TypeError):
        kernel.spawn(_gen, 1)
    with pytest.raises(NotATask):
        Task()
    assert kernel.tasks() == []


def test_ids_are_never_reused_and_shown(kernel):
    first, second = kernel.spawn(_gen), kernel.spawn(_gen)
    assert second.id > first.id
    assert repr(first) == f"_gen/{first.id}"
    assert first.location is None


# ---- values and outcomes ----------------------------------------------------------------------------------------


def test_the_value_is_what_it_returns(kernel):
    def nothing():
        yield 42

    def main():
        assert (yield Task(nothing)()) is None

        def pair():
            yield
            return 1, 2

        task = Task(pair)
        assert (yield task.finish()) == (1, 2)
        assert (yield task.result()) == (1, 2)
        assert task.outcome.kind == "finished"
        assert task.outcome.value == (1, 2)
        assert not task.is_alive()

    kernel.main(main)


def test_a_generator_that_is_returned_is_not_run(kernel):
    def main():
        def inner():
            yield

        def outer():
            yield
            return inner()

        assert hasattr((yield Task(outer)()), "send")

    kernel.main(main)


def test_a_failure_is_told_to_every_waiter_and_is_no_error_of_the_log(kernel, caplog):
    def bad():
        yield
        raise ValueError("boom")

    def asks(task):
        try:
            yield task.result()
        except ValueError as exception:
            return exception

    def main():
        task = Task(bad)
        waiters = [Task(asks, task) for _ in range(3)]
        status = yield task.finish()
        found = []
        for waiter in waiters:
            found.append((yield waiter()))
        return task, status, found

    task, status, found = kernel.main(main)
    assert isinstance(status, MonitorStatus)
    assert status.info is task
    assert status.type is ValueError
    assert "boom" in status.value
    assert "test_task.py" in status.traceback
    assert "parkcos/kernel/loop.py" not in status.traceback
    assert all(exception is status.exception for exception in found)
    assert task.outcome.kind == "failed"
    assert [record for record in caplog.records if "boom" in record.getMessage()] == []


def test_the_traceback_does_not_grow_with_the_number_of_waiters(kernel):
    def bad():
        yield
        raise ValueError("boom")

    def asks(task):
        with pytest.raises(ValueError) as caught:
            yield task.result()
        return len(caught.tb and list(_frames(caught.tb)))

    def _frames(trace):
        while trace:
            yield trace
            trace = trace.tb_next

    def main():
        task = Task(bad)
        lengths = []
        yield task.finish()
        for _ in range(5):
            lengths.append((yield Task(asks, task)()))
        return lengths

    assert len(set(kernel.main(main))) == 1


def test_await_a_task(kernel):
    async def add(a, b):
        return a + b

    async def main():
        return await Task(add, 1, 2)

    assert kernel.main(main) == 3


def test_finish_with_a_timeout_may_be_asked_again(kernel):
    def slow(task=None):
        yield task.sleep(10)
        return "done"

    def main():
        task = Task(slow)
        assert (yield task.finish(1)) is None
        assert (yield task(0)) is None
        assert (yield task.finish(20)) == "done"
        assert not task._callbacks

    kernel.main(main)


def test_a_task_cannot_wait_for_itself(kernel):
    def main(task=None):
        with pytest.raises(WouldHang):
            yield task.finish()

    kernel.main(main)


def test_value_and_finish_may_be_mixed(threaded):
    go = threading.Event()

    def slow(task=None):
        yield task.receive()
        return 5

    def waits(task):
        return (yield task.finish())

    task = Task(slow)
    waiter = Task(waits, task)
    assert task.value(0) is None
    threading.Thread(target=lambda: (go.wait(), task.send(1))).start()
    go.set()
    assert task.value(20) == 5
    assert waiter.value() == 5
    assert task.value() == 5


def test_value_inside_a_task_would_hang(kernel):
    def main():
        with pytest.raises(WouldHang):
            Task(_gen).value()
        yield

    kernel.main(main)


def test_value_of_a_failed_task(threaded):
    def bad():
        yield
        raise KeyError("x")

    assert Task(bad).value().type is KeyError


def test_future_for_asyncio(threaded):
    def good():
        yield
        return 3

    def bad():
        yield
        raise KeyError("x")

    def endless(task=None):
        yield task.receive()

    async def main():
        assert await asyncio.wrap_future(Task(good).future()) == 3
        with pytest.raises(KeyError):
            await asyncio.wrap_future(Task(bad).future())
        task = Task(endless)
        future = task.future()
        task.terminate()
        with pytest.raises(TaskTerminated):
            await asyncio.wrap_future(future)

    asyncio.run(main())


def test_end_callbacks(kernel):
    seen = []

    def main():
        task = Task(_gen)
        task.add_end_callback(lambda t: 1 / 0)
        task.add_end_callback(seen.append)
        task.add_end_callback(print)
        task.drop_end_callback(print)
        yield task()
        task.add_end_callback(seen.append)
        assert seen == [task, task]

    kernel.main(main)


async def _sleeps():
    await asyncio.sleep(0.1)


def _sleeps_too():
    yield asyncio.sleep(0.1)


async def _waits_for_a_future():
    await asyncio.Future()


async def _takes_from_a_queue():
    await asyncio.Queue().get()


async def _asks_for_the_loop():
    return (lambda: asyncio.get_running_loop())()


@pytest.mark.parametrize("fn", [_sleeps, _sleeps_too, _waits_for_a_future, _takes_from_a_queue, _asks_for_the_loop])
def test_what_needs_asyncios_loop_is_told_what_to_write(threaded, fn):
    def main():
        first = Task(fn)
        status = yield first()
        for _ in range(2):  # it fails with the same exception
            yield Task(_passes_on, first)()
        return status

    status = Task(main).value()
    word = "yield" if fn is _sleeps_too else "await"
    text = "".join(traceback.format_exception(status.exception))
    assert text.count(f"{word} parkcos.cur_task().sleep(seconds)") == 1
    assert text.count(f"x = {word} parkcos.io(coroutine)") == 1


def _passes_on(task):
    yield task.result()


def test_an_error_that_asyncio_has_nothing_to_do_with_gets_no_note(kernel):
    def main():
        return (yield Task(_has_none)())

    assert not hasattr(kernel.main(main).exception, "__notes__")


def _has_none():
    yield
    None.create_future()


@pytest.mark.parametrize(("exception", "text"), [(SystemExit(3), "SystemExit: 3"), (KeyboardInterrupt(), "Keyboard")])
def test_an_order_to_end_ends_only_that_task_in_one_line(kernel, caplog, exception, text):
    def ends():
        yield
        raise exception

    def main():
        status = yield Task(ends)()
        yield
        return status

    status = kernel.main(main)
    assert status.type is type(exception)
    assert text in status.value
    assert [record for record in caplog.records if "\n" in record.getMessage()] == []
    assert len(caplog.records) == 1


@pytest.mark.parametrize("code", [0, 3, "no data", None])
def test_sys_exit_is_not_passed_on_to_a_task_that_waits_but_to_the_program(threaded, code):
    def ends():
        yield
        sys.exit(code)

    def main():
        with pytest.raises(TaskTerminated, match=re.escape(f"sys.exit({code!r})")) as caught:
            yield Task(ends).result()
        return caught.value

    assert isinstance(Task(main).value().__cause__, SystemExit)
    with pytest.raises(SystemExit) as caught:
        Task(ends).future().result()
    assert caught.value.code == code


def test_a_raised_generator_exit_is_a_failure(kernel):
    def ends():
        yield
        raise GeneratorExit

    def main():
        return (yield Task(ends)())

    assert kernel.main(main).type is GeneratorExit


# ---- messages ---------------------------------------------------------------------------------------------------


def test_messages_come_in_order_waiting_or_not(kernel):
    def receiver(task=None):
        got = []
        for _ in range(6):
            got.append((yield task.receive()))
        return got

    def main():
        task = Task(receiver)
        assert [task.send(i) for i in range(3)] == [0, 0, 0]
        yield
        yield
        yield
        yield
        yield
        for i in range(3, 6):
            assert task.send(i) == 0
        assert (yield task()) == [0, 1, 2, 3, 4, 5]
        assert task.send(9) == -1
        assert (yield task.deliver(9)) == -1

    kernel.main(main)


def test_receive_with_a_timeout(kernel):
    def main(task=None):
        start = kernel.now
        assert (yield task.receive(2, "late")) == "late"
        assert kernel.now == start + 2
        assert (yield task.recv(0)) is None
        assert (yield task.recv(-1, 5)) == 5
        task.send("a")
        assert (yield task.receive(0)) == "a"
        sender = Task(sends, task)
        assert (yield task.receive(5)) == "b"
        yield sender()
        assert len(kernel.timers) == 0

    def sends(task):
        yield cur_task().sleep(1)
        assert (yield task.deliver("b")) == 1

    kernel.main(main)


def test_none_is_a_message(kernel):
    def main(task=None):
        task.send(None)
        assert (yield task.receive()) is None
        task.send(None)
        assert (yield task.receive(1, "late")) is None

    kernel.main(main)


@pytest.mark.parametrize("operation_", ["receive", "suspend", "finish"])
def test_a_timeout_is_a_number(kernel, operation_):
    def main(task=None):
        yield
        with pytest.raises(UsageError):
            getattr(task, operation_)("soon")
        with pytest.raises(UsageError):
            getattr(task, operation_)(float("nan"))

    kernel.main(main)


def test_receive_and_sleep_only_for_oneself(kernel):
    def main():
        other = Task(_gen)
        for name in ("receive", "sleep"):
            with pytest.raises(UsageError, match="only for itself"):
                getattr(other, name)()
        assert other.set_daemon() == -1
        assert other.hot_swappable() == -1
        assert (yield other()) is None

    kernel.main(main)


def test_messages_from_other_threads_come_in_order(threaded):
    def receiver(task=None):
        got = []
        while (message := (yield task.receive())) is not None:
            got.append(message)
        return got

    task = Task(receiver)
    for i in range(1000):
        assert task.send(i) == 0
    task.send(None)
    assert task.value() == list(range(1000))
    assert task.send(1) == -1


# ---- sleeping ---------------------------------------------------------------------------------------------------


def test_sleep_and_resume(kernel):
    def sleeper(task=None):
        first = yield task.suspend()
        second = yield task.sleep(5, "over")
        third = yield task.sleep(5, "over")
        return first, second, third

    def main(task=None):
        other = Task(sleeper)
        yield
        other.send("a message does not wake it")
        yield
        assert other.resume("one") == 0
        yield
        yield task.sleep(6)
        assert other.wakeup("three") == 0
        assert (yield other()) == ("one", "over", "three")
        assert other.resume() == -1
        assert (yield task.sleep(0, "now")) == "now"
        assert (yield task.sleep(-1)) is None

    kernel.main(main)


def test_resume_of_one_that_is_not_suspended_warns(kernel, caplog):
    def receiver(task=None):
        yield task.receive()

    def main():
        other = Task(receiver)
        yield
        assert other.resume(1) == 0
        other.send(1)
        yield other()

    kernel.main(main)
    assert "not suspended" in caplog.text


def test_resume_from_a_thread(threaded):
    ready = threading.Event()

    def sleeper(task=None):
        ready.set()
        return (yield task.suspend())

    task = Task(sleeper)
    ready.wait()
    threaded.post(lambda: None)
    task.resume(3)
    assert task.value() == 3


# ---- throw and terminate ----------------------------------------------------------------------------------------


class _Odd(Exception):
    pass


@pytest.mark.parametrize("how", [(_Odd("x"),), (_Odd, "x"), ((_Odd, "x"),), (_Odd,), (_Odd, ("x",)), (_Odd, _Odd("x"))])
@pytest.mark.parametrize("where", ["receive", "receive5", "sleep", "suspend", "yield", "start", "finish"])
def test_throw_wakes_it_wherever_it_waits(kernel, how, where):
    def victim(other, task=None):
        try:
            if where == "receive":
                yield task.receive()
            elif where == "receive5":
                yield task.receive(5)
            elif where == "sleep":
                yield task.sleep(5)
            elif where == "suspend":
                yield task.suspend()
            elif where == "finish":
                yield other.finish()
            else:
                while True:
                    yield
        except _Odd as exception:
            yield
            return exception

    def forever(task=None):
        task.set_daemon()
        yield task.receive()

    def main():
        task = Task(victim, Task(forever))
        if where != "start":
            yield
            yield
        assert task.throw(*how) == 0
        result = yield task()
        assert (result.type is _Odd) if where == "start" else isinstance(result, _Odd)
        assert task.throw(_Odd) == -1
        assert len(kernel.timers) == 0

    kernel.main(main)


def test_throw_wants_an_exception(kernel):
    task = kernel.spawn(_gen)
    for wrong in ((), (7,), (int, 3)):
        with pytest.raises(UsageError):
            task.throw(*wrong)


def test_several_exceptions_are_raised_one_after_the_other(kernel):
    def victim(task=None):
        got = []
        while len(got) < 3:
            try:
                yield task.receive()
            except _Odd as exception:
                got.append(str(exception))
        return got

    def main():
        task = Task(victim)
        yield
        for i in range(3):
            task.throw(_Odd(str(i)))
        assert (yield task()) == ["0", "1", "2"]

    kernel.main(main)


def test_a_message_that_is_on_its_way_is_not_lost_by_an_exception(kernel):
    def victim(task=None):
        got = [(yield task.receive())]
        try:
            yield task.sleep(100)
        except _Odd:
            got.append("odd")
        return got, kernel.now

    def main():
        start = kernel.now
        task = Task(victim)
        yield
        task.send("m")
        task.throw(_Odd)
        assert (yield task()) == (["m", "odd"], start)

    kernel.main(main)


def test_a_busy_receiver_is_thrown_into_all_the_same(kernel):
    def victim(task=None):
        count = 0
        while True:
            task.send(count)
            assert (yield task.receive()) == count
            count += 1

    def main():
        task = Task(victim)
        for _ in range(5):
            yield
        task.throw(_Odd)
        assert (yield task()).type is _Odd

    kernel.main(main)


def test_a_task_throws_into_itself(kernel):
    def main(task=None):
        task.throw(_Odd)
        with pytest.raises(_Odd):
            yield task.receive()
        task.terminate()
        yield

    with pytest.raises(TaskTerminated):
        kernel.main(main)


def test_terminate_closes_inner_to_outer_in_the_kernel_thread(kernel):
    order = []

    def level(n, task):
        try:
            yield level(n - 1, task) if n else task.sleep(100)
        except GeneratorExit:
            order.append((n, cur_task() is task, threading.get_ident() == kernel.ident))
            raise

    def victim(task=None):
        yield level(3, task)

    def main():
        task = Task(victim)
        yield
        assert task.terminate() == 0
        assert order == []
        status = yield task()
        assert (status.type, status.value) == (TaskTerminated, None)
        assert task.outcome.kind == "terminated"
        assert task.terminate() == -1
        with pytest.raises(TaskTerminated):
            yield task.result()

    kernel.main(main)
    assert order == [(n, True, True) for n in range(4)]
    assert len(kernel.timers) == 0


def test_terminate_before_the_start_runs_nothing(kernel):
    ran = []

    def victim():
        ran.append(1)
        yield

    async def coroutine():
        ran.append(2)

    def main():
        for fn in (victim, coroutine):
            task = Task(fn)
            task.throw(_Odd)
            task.terminate()
            task.throw(_Odd)
            assert (yield task()).type is TaskTerminated

    kernel.main(main)
    assert ran == []


def test_a_task_that_yields_on_is_dropped(kernel):
    def stubborn(task=None):
        try:
            yield task.receive()
        except GeneratorExit:
            yield 1

    def main():
        task = Task(stubborn)
        yield
        task.terminate()
        assert (yield task()).type is TaskTerminated

    kernel.main(main)


def test_a_failure_while_terminated_is_logged(kernel, caplog):
    def victim():
        try:
            yield
            yield
            yield
        finally:
            raise ValueError("in finally")

    def main():
        task = Task(victim)
        yield
        task.terminate()
        assert (yield task()).type is TaskTerminated

    kernel.main(main)
    assert "in finally" in caplog.text


def test_throw_and_terminate_from_a_thread(threaded):
    ready = threading.Event()

    def victim(task=None):
        try:
            ready.set()
            yield task.receive()
        except _Odd:
            yield task.receive()

    task = Task(victim)
    ready.wait()
    task.throw(_Odd)
    task.terminate()
    assert task.value().type is TaskTerminated


# ---- daemons, monitors, names -----------------------------------------------------------------------------------


def test_daemon(kernel):
    def main(task=None):
        assert not task.daemon
        assert task.set_daemon() == 0
        assert task.set_daemon() == 0
        assert task.daemon
        assert task.set_daemon(False) == 0
        assert not task.daemon
        yield

    kernel.main(main)


def test_monitors_are_told_once(kernel):
    def bad():
        yield
        raise ValueError("boom")

    def victim(task=None):
        yield task.receive()

    def main(task=None):
        for fn, kind in ((_gen, StopIteration), (bad, ValueError), (victim, TaskTerminated)):
            other = Task(fn)
            assert (yield task.monitor(other)) == other.notify(task) == 0
            if fn is victim:
                other.terminate()
            status = yield task.receive()
            assert (status.info, status.type) == (other, kind)
            assert (yield task.receive(1)) is None
            assert (yield task.monitor(other)) == 0  # it has ended: told at once
            assert (yield task.receive(0)).type is kind
        other = Task(_gen)
        assert other.notify(task) == 0
        assert (yield task.receive()).info is other
        assert other.notify(7) == -1
        assert (yield task.monitor(7)) == -1

    kernel.main(main)


def test_monitoring_goes_through_what_a_remote_task_overrides(kernel):
    class Remote(Task):
        __slots__ = ("seen",)

        def __init__(self):
            self.kernel, self.id, self.name = kernel, 0, "remote"
            self.seen = []

        @operation
        def _add_monitor(self, monitor):
            yield
            self.seen.append(monitor)
            return 0

        def _monitor_ended(self, status):
            self.seen.append(status.type)

    def main(task=None):
        remote = Remote()
        assert (yield task.monitor(remote)) == 0
        assert (yield remote.monitor(Task(_gen))) == 0
        yield
        yield
        assert remote.seen == [task, StopIteration]

    kernel.main(main)


def test_finish_of_a_remote_task_needs_only_callbacks_and_outcome(kernel):
    class Remote(Task):
        __slots__ = ("callbacks", "end")
        is_local = False

        def __init__(self):
            self.kernel, self.id, self.name = kernel, 0, "remote"
            self.callbacks, self.end = [], None

        @property
        def outcome(self):
            return self.end

        def add_end_callback(self, fn):
            self.callbacks.append(fn)

    def main(task=None):
        remote, local = Remote(), Task(_gen)
        waiter = Task(waits, remote)
        yield local()
        remote.end = local.outcome
        for fn in remote.callbacks:
            fn(remote)
        assert (yield waiter()) is None

    def waits(remote):
        return (yield remote.finish(10))

    kernel.main(main)


def test_monitor_status_pickles():
    class Stubborn(Exception):
        def __init__(self, a, b):
            super().__init__(a)

    status = MonitorStatus("info", ValueError, "text", ValueError("x"), "text")
    again = pickle.loads(pickle.dumps(status))
    assert (again.info, again.type, again.value, again.traceback) == ("info", ValueError, "text", "text")
    assert repr(again.exception) == "ValueError('x')"
    assert "ValueError" in repr(again)
    assert pickle.loads(pickle.dumps(MonitorStatus("i", 3, None, Stubborn(1, 2)))).exception is None


def test_names(kernel, caplog):
    seen = []
    kernel.on_register = seen.append

    def holder(task=None):
        assert task.register() == 0
        assert task.register("other") == 0
        assert task.register("other") == 0
        yield task.receive()

    def main():
        task = Task(holder)
        yield
        assert (yield Task.locate("holder")) is task
        assert (yield Task.locate("other")) is task
        assert Task(_gen).register("other") == -1
        for wrong in ("^x", "", 7):
            assert task.register(wrong) == -1
        assert task.unregister("other") == 0
        assert task.unregister("other") == -1
        task.send(1)
        yield task()
        assert "holder" not in kernel.names.tasks
        assert task.register() == -1
        assert len(kernel.names.tasks) == 0

    caplog.set_level(logging.CRITICAL)
    kernel.main(main)
    assert len(seen) == 3


# ---- hot swap ---------------------------------------------------------------------------------------------------


def _new(task=None):
    while True:
        message = yield task.receive()
        if message is None:
            return "new"


def test_hot_swap_keeps_the_messages(kernel):
    def old(task=None):
        task.hot_swappable(True)
        yield task.sleep()

    def main():
        task = Task(old)
        yield
        task.send(1)
        task.send(None)
        assert task.hot_swap(_new) == 0
        assert (yield task()) == "new"
        assert task.name == "_new"
        assert task.hot_swap(_new) == -1
        assert Task(old).hot_swap(_plain) == Task(old).hot_swap() == -1

    kernel.main(main)


def test_what_is_sent_after_a_hot_swap_is_for_the_new_generator(kernel):
    def old(task=None):
        task.hot_swappable(True)
        return "old", (yield task.receive())

    def main(task=None):
        waiting = Task(old)
        yield
        assert waiting.hot_swap(_new) == 0
        waiting.send(None)
        assert (yield waiting()) == "new"

    kernel.main(main)


def test_hot_swap_takes_what_a_task_takes(kernel):
    def old(task=None):
        task.hot_swappable(True)
        yield task.sleep()

    def new(a, b=0, *, fn, task=None):
        yield
        return a, b, fn

    def main():
        for args, kwargs in ((1,), {"fn": 3}), ((), {"target": new, "args": (1,), "kwargs": {"b": 2, "fn": 3}}):
            task = Task(old)
            yield
            assert task.hot_swap(*([] if "target" in kwargs else [new]), *args, **kwargs) == 0
            assert (yield task()) == (1, 2 if "target" in kwargs else 0, 3)

    kernel.main(main)


def test_hot_swap_may_be_refused_and_is_postponed(kernel):
    refused = []

    def sub(task):
        yield task.sleep(5)

    def old(other, task=None):
        yield task.sleep(1)  # not yet swappable
        task.hot_swappable(True)
        try:
            yield task.sleep(1)
        except HotSwapException as exception:
            refused.append(exception.args[0])
        start = kernel.now
        yield sub(task)  # not in a sub-call
        assert kernel.now == start + 5
        yield other.finish()  # not while it waits for something else than time or a message
        refused.append("waited")
        yield task.receive()

    def slow(task=None):
        yield task.sleep(20)

    def main(task=None):
        other = Task(old, Task(slow))
        yield
        other.hot_swap(_new)
        yield task.sleep(2)
        other.hot_swap(_new)
        other.hot_swap(_new)
        yield task.sleep(3)
        other.send(None)
        assert (yield other()) == "new"
        assert refused[1:] == []

    kernel.main(main)


def test_hot_swap_waits_for_the_end_of_another_wait(kernel):
    def old(other, task=None):
        task.hot_swappable(True)
        yield other.finish()
        seen.append(kernel.now)
        yield task.receive()

    def slow(task=None):
        yield task.sleep(20)

    def main(task=None):
        start = kernel.now
        other = Task(old, Task(slow))
        yield
        other.hot_swap(_new)
        yield task.sleep(21)
        other.send(None)
        assert (yield other()) == "new"
        assert seen == [start + 20]

    seen = []
    kernel.main(main)


def test_hot_swap_of_a_coroutine_that_is_refused_leaves_no_warning(kernel):
    async def new():
        return 1

    async def old(task=None):
        task.hot_swappable(True)
        try:
            await task.receive()
        except HotSwapException:
            return "old"

    def main():
        task = Task(old)
        yield
        task.hot_swap(new)
        assert (yield task()) == "old"

    kernel.main(main)
