"""parkcos/kernel/wait.py and explain.py: completions, operations, and forgotten yields."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading

import pytest

from parkcos.errors import ForgottenYield, NotATask, UsageError, WouldHang
from parkcos.kernel import Call, Completion, Event, Task, Wait, operation
from tests.kernel.virtual import VirtualKernel

# ---- completions ------------------------------------------------------------------------------------------------


def test_start_runs_when_it_is_yielded(kernel):
    started = []

    def main():
        completion = Completion(kernel, "op", started.append)
        assert started == []
        kernel.call_later(1, completion.set_result, 5)
        assert (yield completion) == 5
        assert started == [completion]
        assert completion.done
        assert (yield completion) == 5  # a late second look

    kernel.main(main)


def test_set_before_it_is_yielded(kernel):
    def main():
        early = Completion(kernel, "op", start=lambda _: pytest.fail("needless"))
        early.set_result(1)
        early.set_result(2)
        early.set_exception(ValueError())
        assert (yield early) == 1
        failed = Completion(kernel, "op")
        failed.set_exception(ValueError("x"))
        with pytest.raises(ValueError):
            yield failed
        at_once = Completion(kernel, "op", lambda completion: completion.set_result(7), timeout_s=5)
        assert (yield at_once) == 7
        assert len(kernel.timers) == 0

    kernel.main(main)


def test_start_may_raise(kernel):
    def main():
        with pytest.raises(ZeroDivisionError):
            yield Completion(kernel, "op", lambda _: 1 / 0)

    kernel.main(main)


def test_awaited(kernel):
    async def main():
        return await Completion(kernel, "op", lambda completion: completion.set_result(7))

    assert kernel.main(main) == 7


def test_the_time_limit(kernel):
    cancelled = []

    def main():
        start = kernel.now
        completion = Completion(kernel, "op", None, 3, "late", lambda: cancelled.append(kernel.now))
        assert (yield completion) == "late"
        completion.set_result(1)
        assert cancelled == [start + 3]
        in_time = Completion(kernel, "op", None, 3, "late", lambda: cancelled.append("never"))
        kernel.call_later(2, in_time.set_result, 5)
        assert (yield in_time) == 5
        assert (yield Completion(kernel, "op", timeout_s=0)) is None
        assert len(cancelled) == 1
        with pytest.raises(UsageError):
            Completion(kernel, "op", timeout_s="soon")

    kernel.main(main)


@pytest.mark.parametrize("how", ["throw", "terminate"])
def test_on_cancel_when_its_task_gives_up(kernel, how):
    cancelled = []

    def waits():
        yield Completion(kernel, "op", None, 100, None, lambda: cancelled.append(1))

    def main():
        task = Task(waits)
        yield
        getattr(task, how)(*([ValueError] if how == "throw" else []))
        yield task()
        assert cancelled == [1]
        assert len(kernel.timers) == 0

    kernel.main(main)


def test_one_waiter(kernel):
    def waits(completion):
        with pytest.raises(UsageError, match="one waiter"):
            yield completion
        completion.set_result(1)

    def main():
        completion = Completion(kernel, "op")
        Task(waits, completion)
        assert (yield completion) == 1

    kernel.main(main)


def test_told_without_a_task(kernel):
    told = []

    def tell(value, error):
        told.append(value if error is None else type(error))

    def main():
        later = Completion(kernel, "op", lambda _: told.append("started"))
        later.tell(tell)
        assert told == ["started"]
        later.set_result(1)
        later.set_result(2)
        for start in (lambda completion: completion.set_result(3), lambda _: 1 / 0):
            Completion(kernel, "op", start).tell(tell)
        early = Completion(kernel, "op")
        early.set_exception(KeyError())
        early.tell(tell)
        assert told == ["started", 1, 3, ZeroDivisionError, KeyError]
        with pytest.raises(UsageError, match="one waiter"):
            early.tell(tell)
        Completion(kernel, "op", timeout_s=2, alarm_value="late").tell(tell)
        yield Completion(kernel, "pause", timeout_s=3)
        assert told[5:] == ["late"]

    kernel.main(main)


def test_withdrawn(kernel):
    told = []
    cancelled = []

    def main():
        given_up = Completion(kernel, "op", on_cancel=lambda: given_up.set_exception(KeyError()))
        given_up.tell(lambda _, error: told.append(error))
        given_up.withdraw()
        given_up.withdraw()
        assert [type(error) for error in told] == [KeyError]
        too_late = Completion(kernel, "op", on_cancel=lambda: cancelled.append(1))
        too_late.tell(lambda value, _: told.append(value))
        too_late.withdraw()
        too_late.withdraw()
        too_late.set_result("all the same")
        assert told[1:] == ["all the same"]
        assert cancelled == [1]
        yield

    kernel.main(main)


def test_set_from_another_thread():
    kernel = VirtualKernel(threads=True)

    def start(completion):
        threading.Thread(target=completion.set_result, args=(threading.get_ident(),)).start()

    def fail(completion):
        threading.Thread(target=completion.set_exception, args=(ValueError("x"),)).start()

    def main():
        assert (yield Completion(kernel, "op", start)) == kernel.ident
        with pytest.raises(ValueError):
            yield Completion(kernel, "op", fail)

    kernel.main(main)


# ---- operations -------------------------------------------------------------------------------------------------


class Thing:
    def __init__(self):
        self.calls = 0

    @operation
    def double(self, x, fail=False):
        self.calls += 1
        yield
        if fail:
            raise ValueError("double")
        return 2 * x

    @operation
    async def quadruple(self, x):
        """Twice the double."""
        return await self.double(await self.double(x))


def test_operations_are_sub_calls_and_nest(kernel):
    thing = Thing()

    def main():
        call = thing.double(2)
        assert isinstance(call, Call)
        assert isinstance(call, Wait)
        assert (yield call) == 4
        assert (yield thing.quadruple(3)) == 12
        with pytest.raises(ValueError):
            yield thing.double(1, fail=True)
        with pytest.raises(UsageError, match="twice"):
            yield call
        with pytest.raises(TypeError):
            thing.double()

    async def main2():
        with pytest.raises(ValueError):
            await thing.double(1, fail=True)
        return await thing.quadruple(1)

    kernel.main(main)
    assert VirtualKernel().main(main2) == 4
    assert Thing.quadruple.__doc__ == "Twice the double."
    assert Thing.double.__name__ == "double"


def test_operation_wants_a_generator():
    async def agen():
        yield

    for wrong in (lambda: 1, len, agen):
        with pytest.raises(NotATask):
            operation(wrong)


@pytest.mark.parametrize("awaiting", [False, True])
def test_sub_calls_to_any_depth(kernel, awaiting):
    def sub(n):
        return (1 + (yield sub(n - 1))) if n else 0

    @operation
    async def asub(n):
        return 1 + await asub(n - 1) if n else 0

    assert kernel.main(asub if awaiting else sub, 10_000) == 10_000


@pytest.mark.parametrize("end", ["raise", "terminate", "throw"])
def test_deep_sub_calls_end_too(kernel, end):
    closed = []

    def sub(n, task):
        try:
            if n:
                yield sub(n - 1, task)
            elif end == "raise":
                raise ValueError("deep")
            else:
                yield task.receive()
        finally:
            closed.append(n)

    def victim(task=None):
        yield sub(10_000, task)

    def main():
        task = Task(victim)
        yield
        yield
        if end == "throw":
            task.throw(ValueError("deep"))
        elif end == "terminate":
            task.terminate()
        yield task()
        assert closed == list(range(10_001))

    kernel.main(main)


def test_an_outer_generator_catches_and_goes_on(kernel):
    def bad():
        yield
        raise ValueError("x")

    def middle():
        yield bad()

    def main():
        try:
            yield middle()
        except ValueError as exception:
            result = yield Thing().double(5)
            return result, str(exception)

    assert kernel.main(main) == (10, "x")


# ---- forgotten yields -------------------------------------------------------------------------------------------


def test_a_forgotten_yield_starts_nothing_and_is_told_at_the_next_turn(kernel):
    started = []

    def main(task=None):
        Completion(kernel, "rtask", started.append)
        try:
            yield task.receive()
        except ForgottenYield as exception:
            return str(exception)

    text = kernel.main(main)
    assert started == []
    assert "wrong: " + __file__ in text
    assert ': Completion(kernel, "rtask", started.append)' in text
    assert 'write: yield Completion(kernel, "rtask", started.append)' in text


@pytest.mark.parametrize("at", ["yield", "value", "sleep", "end", "sub"])
def test_forgotten_sleep(kernel, at):
    def forgets(task=None):
        x = task.sleep(3)
        del x
        if at == "yield":
            yield
            yield
        elif at == "value":
            yield 7
            yield
        elif at == "sleep":
            yield task.sleep(4)
        elif at == "sub":
            yield forgets_nothing()
            yield
        return 1

    def forgets_nothing():
        yield

    def main():
        return (yield Task(forgets)())

    start = kernel.now
    status = kernel.main(main)
    assert status.type is ForgottenYield
    assert "x = yield task.sleep(3)" in status.value
    assert kernel.now == start


def test_a_forgotten_wait_that_dies_with_the_function(kernel):
    def forgets(task=None):
        yield
        x = Thing().double(3)  # noqa: F841

    def main():
        return (yield Task(forgets)())

    status = kernel.main(main)
    assert status.type is ForgottenYield
    assert "x = yield Thing().double(3)" in status.value


def test_await_is_advised_in_an_async_def(kernel):
    async def forgets(task=None):
        thing = Thing()
        thing.quadruple(1)
        await task.sleep(1)

    def main():
        return (yield Task(forgets)())

    assert "write: await thing.quadruple(1)" in kernel.main(main).value


@pytest.mark.parametrize("use", [lambda r: r.name, lambda r: r[0], list])
def test_using_a_wait_as_the_result_raises_at_once(kernel, use):
    def main(task=None):
        yield
        call = Thing().double(1)
        with pytest.raises(ForgottenYield):
            use(call)
        yield call
        message = task.receive()
        with pytest.raises(ForgottenYield):
            use(message)
        task.send(1)
        yield message

    kernel.main(main)


def test_the_wrong_line_of_a_use(kernel):
    def main():
        thing = Thing()
        result = thing.double(1)
        try:
            print(result.value)
        except ForgottenYield as exception:
            yield result
            return str(exception)

    text = kernel.main(main)
    assert "result = thing.double(1)" in text
    assert "write: result = yield thing.double(1)" in text


def test_forgotten_receive(kernel):
    def at_the_next(task=None):
        x = task.receive()  # noqa: F841
        yield task.receive()

    def at_a_sleep(task=None):
        x = task.receive()  # noqa: F841
        yield task.sleep(1)

    def at_the_end(task=None):
        yield
        print(len(str(task.receive())))

    def main():
        texts = []
        for fn in (at_the_next, at_a_sleep, at_the_end):
            status = yield Task(fn)()
            assert status.type is ForgottenYield
            texts.append(status.value)
        return texts

    first, second, third = kernel.main(main)
    assert "x = yield task.receive()" in first
    assert "x = yield task.receive()" in second
    assert "print(len(str((yield task.receive()))))" in third


def test_a_receive_of_another_task_makes_no_sense(kernel):
    def main(task=None):
        messages = []
        messages.append(task.receive())
        other = Task(yields, messages[0])
        status = yield other()
        assert status.type.__name__ == "SenselessYield"

    def yields(what):
        yield what

    with pytest.raises(ForgottenYield):
        kernel.main(main)


def test_a_wait_that_the_collector_finds_in_another_task_accuses_nobody(kernel):
    def forgets(task=None):
        cycle = [task.sleep(1)]
        cycle.append(cycle)
        yield

    def main():
        gc.disable()
        try:
            yield Task(forgets)()
            gc.collect()
            yield
        finally:
            gc.enable()

    kernel.main(main)


def test_a_constructor_that_raises_is_no_forgotten_yield(kernel):
    def main():
        with pytest.raises(TypeError):
            Completion(kernel)
        with pytest.raises(UsageError):
            Completion(kernel, "op", timeout_s="soon")
        with pytest.raises(TypeError):
            Call()
        yield
        yield

    kernel.main(main)


def test_made_and_dropped_outside_of_tasks(kernel):
    Completion(kernel, "op")
    Thing().double(1)

    async def forgotten():
        pass

    operation(forgotten)()


def test_the_result_of_a_dropped_wait_does_not_hide_a_failure(kernel):
    def fails(task=None):
        yield
        task.sleep(1)
        raise ValueError("first")

    def main():
        return (yield Task(fails)()).type

    assert kernel.main(main) is ValueError


def test_a_wait_has_no_dunder_attributes_that_it_has_not(kernel):
    def main(task=None):
        wait = task.sleep(0)
        assert not hasattr(wait, "__len__")
        assert not hasattr(wait, "__array__")
        yield wait

    kernel.main(main)


def test_without_source_the_text_does_without_the_line(kernel):
    namespace = {"gc": gc}
    exec("def forgets(task=None):\n    task.sleep(1)\n    yield\n    yield\n", namespace)

    def main():
        return (yield Task(namespace["forgets"])()).value

    assert "'yield' was forgotten" in kernel.main(main)


def test_silent_at_interpreter_shutdown():
    code = (
        "from parkcos.kernel import Completion, Kernel\n"
        "kernel = Kernel()\n"
        "def main(task=None):\n"
        "    global kept\n"
        "    kept = task.sleep(1)\n"
        "    yield task.receive()\n"
        "task = kernel.spawn(main)\n"
        "kernel.start()\n"
        "while 'kept' not in globals(): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert done.stderr == ""


# ---- elsewhere ----------------------------------------------------------------------------------------------------


def awaited_elsewhere(make):
    """What comes of `await make()` in asyncio's own loop."""

    async def main():
        await make()

    with pytest.raises(Exception) as caught:
        asyncio.run(asyncio.wait_for(main(), 10))
    return caught.value


@operation
def an_operation():
    yield


def test_in_another_event_loop_it_says_what_to_write(threaded):
    event = Event()

    def sleeps(task=None):
        yield task.receive()

    task = Task(sleeps)
    waits = {
        "op": lambda: Completion(threaded, "op"),
        "an_operation": an_operation,
        "finish": task.finish,
        "result": lambda: task,
        "deliver": lambda: task.deliver(5),
        "locate": lambda: Task.locate("sleeps"),
        "wait": event.wait,
    }
    for name, make in waits.items():
        error = awaited_elsewhere(make)
        assert type(error) is WouldHang, (name, error)
        assert str(error).startswith(f"{name}() is awaited outside of a task")
        assert "parkcos.run(main)" in str(error)
    assert awaited_elsewhere(lambda: task.sleep(1)).args[0].startswith("suspend() of")
    task.send("end")
    assert task.value() is None


def test_nor_does_a_loop_that_a_task_runs_hang(kernel):
    """It blocks all tasks, and is told so little; but it ends."""

    def main(task=None):
        for make in (lambda: task.sleep(1), task.receive, an_operation):
            error = awaited_elsewhere(make)
            assert isinstance(error, RuntimeError) and "bad yield" in str(error)
        task._op = None  # of the receive() that came to nothing
        yield

    kernel.main(main)
