"""parkcos/kernel/failures.py: whatever a task ends with, it ends with that, also if its exception is an odd one."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys

import pytest

from parkcos.kernel import Completion, MonitorStatus, Task, failures
from parkcos.kernel.wait import Wait


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int = 7


class NoAttributesError(Exception):
    def __setattr__(self, name, value):
        raise TypeError("no attributes here")


class SlottedError(Exception):
    __slots__ = ()

    def __setattr__(self, name, value):
        raise TypeError("no attributes here")


class NoTextError(Exception):
    def __str__(self):
        raise ValueError("no text here")

    __repr__ = __str__


class ExitingTextError(RuntimeError):
    def __str__(self):
        sys.exit("its text ends the process")

    __repr__ = __str__


class DeepTextError(Exception):
    def __str__(self):
        return str(self)


class SecretiveError(Exception):
    def __getattribute__(self, name):
        raise OSError(f"{name} is a secret")


class LyingError(Exception):
    @property
    def __class__(self):
        raise ZeroDivisionError("of no class")


class NoTraceError(Exception):
    @property
    def __traceback__(self):
        raise LookupError("no traceback here")

    def with_traceback(self, trace):
        raise LookupError("no traceback here")


class NoNotesError(Exception):
    __notes__ = 5

    def add_note(self, note):
        raise LookupError("no notes here")


class PanicError(BaseException):
    pass


class OddExit(SystemExit):
    def __init__(self):
        super().__init__(NoTextError())


def caused():
    error = ValueError("because")
    error.__cause__ = SecretiveError()
    return error


ODD = [
    FrozenError,
    NoAttributesError,
    SlottedError,
    NoTextError,
    ExitingTextError,
    DeepTextError,
    SecretiveError,
    LyingError,
    NoTraceError,
    NoNotesError,
    PanicError,
    OddExit,
    asyncio.CancelledError,
    GeneratorExit,
    caused,
    lambda: ExceptionGroup("several", [FrozenError(), NoTextError()]),
    lambda: BaseExceptionGroup("several", [PanicError(), ExitingTextError()]),
]


@pytest.fixture
def records():
    """What is logged; the log itself shows it to nobody, as pytest's handler would fail on texts that fail."""
    logger = logging.getLogger("parkcos")
    kept = []

    class Keep(logging.Handler):
        def emit(self, record):
            kept.append((record, self.format(record)))

    handler, propagate, level = Keep(), logger.propagate, logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    yield kept
    logger.removeHandler(handler)
    logger.propagate = propagate
    logger.setLevel(level)


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("where", ["task", "sub-call", "async", "thrown", "after a wait"])
def test_a_task_that_raises_has_failed_with_that_very_exception(kernel, records, make, where):
    error = make()

    def fails():
        yield
        raise error

    def calls():
        yield fails()

    async def awaits(task=None):
        await task.sleep(0.1)
        raise error

    def waits(task=None):
        yield task.sleep(0.1)
        raise error

    def sleeps(task=None):
        yield task.sleep()

    def main(task=None):
        failing = Task({"task": fails, "sub-call": calls, "async": awaits, "after a wait": waits}.get(where, sleeps))
        yield task.monitor(failing)
        if where == "thrown":
            yield
            failing.throw(error)
        seen = [(yield task.receive()), (yield failing.finish())]
        try:
            yield failing.result()
        except BaseException as raised:
            seen.append(raised)
        return failing, seen

    task, (told, finished, raised) = kernel.main(main)
    assert task.outcome.kind == "failed" and task.outcome.exception is error
    assert ("SystemExit" if type(error) is OddExit else type(error).__name__) in task.outcome.traceback
    assert type(told) is MonitorStatus and told.exception is error and told.type is type(error)
    assert type(finished) is MonitorStatus and finished.exception is error
    assert raised is error or (type(error) in (OddExit, GeneratorExit) and raised.__cause__ is error)
    assert len([text for _, text in records if task.name in text]) == 1


@pytest.mark.parametrize("make", ODD)
def test_what_nobody_waits_for_is_logged_once_and_whole(kernel, records, make):
    error = make()

    def fails():
        yield
        raise error

    def main(task=None):
        failing = Task(fails)
        while failing.is_alive():
            yield
        return failing

    task = kernel.main(main)
    ((record, text),) = [(record, text) for record, text in records if task.name in text]
    ordered = issubclass(type(error), SystemExit | KeyboardInterrupt)
    assert record.levelno == (logging.WARNING if ordered else logging.ERROR)
    assert ordered or task.outcome.traceback.rstrip() in text


def test_a_caught_one_goes_on_through_sub_calls(kernel):
    def fails():
        raise FrozenError(3)
        yield

    def calls():
        yield fails()

    def main():
        try:
            yield calls()
        except FrozenError as error:
            return error.code

    assert kernel.main(main) == 3


def test_stop_iteration_thrown_into_a_task_is_no_return(kernel, caplog):
    """Python itself says "it has returned" if the generator has not begun."""

    def never():
        yield

    def main():
        new, begun = Task(never), Task(never)
        new.throw(StopIteration("early"))
        yield
        begun.throw(StopIteration("late"))
        yield new.finish()
        yield begun.finish()
        return new.outcome, begun.outcome

    for outcome in kernel.main(main):
        assert outcome.kind == "failed" and type(outcome.exception) is RuntimeError


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), SystemExit(3), PanicError("a bug")])
@pytest.mark.parametrize("at", ["_returned", "_yielded", "_raised"])
def test_a_fault_in_the_kernels_own_step_ends_the_task_with_that_fault(kernel, records, monkeypatch, fault, at):
    steps, closed = [], []

    def plain():
        try:
            steps.append(1)
            if at == "_raised":
                raise ValueError
            if at == "_yielded":
                yield "a value"
                steps.append(2)
        finally:
            closed.append(1)

    def broken(task, *rest):
        if task.name == "plain":
            raise fault
        return original(task, *rest)

    original = getattr(kernel, at)

    def main():
        task = Task(plain)
        with monkeypatch.context() as patched:
            patched.setattr(type(kernel), at, lambda self, task, *rest: broken(task, *rest))
            yield
            yield
        assert (yield task.finish()).exception is fault
        return task.outcome

    assert kernel.main(main).exception is fault
    assert steps == [1] and closed == [1]


def test_what_begins_a_wait_may_raise_anything(kernel):
    class Odd(Wait):
        def begin(self, task):
            raise PanicError("at the start")

    def stops():
        try:
            yield Completion(kernel, "odd", lambda _: next(iter(())))
        except StopIteration:
            return "caught"

    def main():
        assert (yield stops()) == "caught"
        with pytest.raises(PanicError):
            yield Odd()
        return True

    assert kernel.main(main)


@pytest.mark.parametrize("make", [*ODD, lambda: SystemExit(3)])
def test_posted_calls_timers_and_end_callbacks_may_raise_anything(kernel, records, make):
    done = []

    def fails(*_):
        raise make()

    def short():
        yield

    def main(task=None):
        kernel.post(fails)
        kernel.post(done.append, "posted")
        kernel.call_later(1, fails)
        kernel.call_later(2, done.append, "timer")
        ending = Task(short)
        ending.add_end_callback(fails)
        ending.add_end_callback(lambda _: done.append("end"))
        kernel.request_flush(fails)
        kernel.request_flush(lambda: done.append("flushed"))
        kernel.atexit(2, fails)
        kernel.atexit(1, done.append, "exit")
        yield task.sleep(5)

    kernel.main(main)
    assert sorted(done) == ["end", "exit", "flushed", "posted", "timer"]
    assert [record.levelname for record, _ in records] == ["ERROR"] * 5


@pytest.mark.parametrize("make", ODD)
def test_its_helpers_never_raise(make):
    error = make()
    assert failures.line_of(error) and failures.text_of(error)
    failures.add_note(error, "a note")
    failures.add_note(error, "a note")
    if type(error) is not SecretiveError and type(error) is not NoNotesError:
        assert error.__notes__ == ["a note"]
    failures.set_trace(error, None)
    assert failures.trace_of(error) is None


def test_a_note_is_seen_where_it_can_be():
    error = FrozenError()
    failures.add_note(error, "on a frozen one")
    assert "on a frozen one" in failures.text_of(error)
    assert error == FrozenError()


def test_an_odd_exception_while_a_task_is_closed_ends_nothing_else(kernel, records):
    def stubborn():
        try:
            yield
        finally:
            raise ExitingTextError

    def main():
        task = Task(stubborn)
        yield
        task.terminate()
        yield task.finish()
        return task.outcome.kind

    assert kernel.main(main) == "terminated"
