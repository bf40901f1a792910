"""The hot loop: which task runs next, and what its yield means.

Tasks that are ready stand in one list, in the order in which they became ready; a round takes them all, and what
becomes ready meanwhile runs in the next round.  Posted calls and timers are looked at between rounds.  In the loop
a step of a task costs one call of ``task._send`` and one comparison; everything rarer pays for itself:

- ``throw()`` and ``terminate()`` replace ``task._send`` by a function that throws (see task.py), so a step never
  asks whether an exception is pending;
- a bare ``receive()`` yields the one object RECEIVE;
- everything else goes to ``_yielded``.

Sub-calls stand on the task's own stack (``task._stack``, the outer generators), so their depth has no limit.
Beginning a sub-call takes no turn, its return takes one: so even ``while True: yield sub()`` lets others run.

What must not live here: starting, stopping and waiting for the kernel (kernel.py), what tasks can do (task.py).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from threading import get_ident
from types import BuiltinFunctionType, CoroutineType, FunctionType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any

from parkcos.errors import HotSwapException, SenselessYield
from parkcos.kernel import explain, failures
from parkcos.kernel.failures import is_a
from parkcos.kernel.states import FAILED, FINISHED, HANDED, RECEIVING, TERMINATED, WAITING, Terminate
from parkcos.kernel.timers import Timer, Timers
from parkcos.kernel.wait import RECEIVE, Call, Receive, Wait, Waitable

if TYPE_CHECKING:
    from parkcos.kernel.ports import Sleeper
    from parkcos.kernel.task import Task
    from parkcos.kernel.task_core import TaskCore

__all__ = ["Loop"]

logger = logging.getLogger("parkcos")

_PLAIN = frozenset({int, str, float, bool, bytes, bytearray})
_COLLECTIONS = frozenset({tuple, list, dict, set, frozenset})
_CALLS = (Wait, GeneratorType, CoroutineType)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)


FLUSH_WITHIN_S = 0.0005
"""Lazy messages wait so long for others, if there is something else to do: one write carries those of many tasks."""


class Loop:
    """The running half of a Kernel.  All methods are for the kernel thread, except ``post``."""

    __slots__ = ("_flush_by", "_flushes", "_inbox", "_lock", "_ready", "_sleeper", "_sleeping", "_stopping", "clock",
                 "current", "ident", "stopped", "timers")  # fmt: skip

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.current: Task | None = None
        self.ident = -1
        self.stopped = False
        self.timers = Timers()
        self._ready: list[Any] = []  # of Task
        self._inbox: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._flushes: list[Callable[[], object]] = []
        self._flush_by = 0.0
        self._sleeping = False
        self._stopping = False
        self._sleeper: Sleeper | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    # ---- calls from outside -------------------------------------------------------------------------------------

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` in the kernel thread, soon, in order of posting.  Any thread; do not yield it.

        Wakes the kernel if it sleeps, and only then costs more than appending to a queue.  An exception of `fn` is
        logged.  After the kernel has stopped nothing is called.
        """
        self._inbox.append((fn, args))
        # The kernel first says that it sleeps and then looks into the inbox once more; here it is the other way
        # round, so one of the two always sees the other.
        if self._sleeping:
            self._sleeping = False
            if self._sleeper is not None:
                self._sleeper.wake()
                return
            with contextlib.suppress(RuntimeError):  # another thread has just released it: the kernel wakes anyway
                self._lock.release()

    def sleep_in(self, sleeper: Sleeper | None) -> None:
        """From now on sleep in `sleeper` when no task is ready; None: in the kernel's own lock.

        Kernel thread only: while the kernel sleeps, nobody may change what wakes it.
        """
        self._sleeper = sleeper

    def in_kernel_thread(self) -> bool:
        """True in the thread that runs this kernel."""
        return get_ident() == self.ident

    def request_flush(self, fn: Callable[[], object], *, lazy: bool = False) -> None:
        """Call ``fn()`` once, at the end of the current round of ready tasks; `lazy`: within `FLUSH_WITHIN_S`.

        Either is done as soon as there is nothing else to do.  Asking twice means calling twice.
        """
        if not self._flushes:
            self._flush_by = self.clock() + FLUSH_WITHIN_S
        if not lazy:
            self._flush_by = 0.0
        self._flushes.append(fn)

    def call_later(self, delay_s: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Call ``fn(*args)`` in the kernel thread after `delay_s` seconds.  Kernel thread only; do not yield it.

        Returns: a Timer, whose ``cancel()`` takes the call back.
        """
        timer = Timer(self.timers, fn, args)
        self.timers.add(self.clock() + delay_s, timer)
        return timer

    def guard(self, fn: Callable[..., object], *args: Any) -> None:
        """Call ``fn(*args)`` now; an exception, also one that wants to exit, is logged and goes no further."""
        try:
            fn(*args)
        except KeyboardInterrupt:
            raise
        except BaseException:
            _log(fn)

    # ---- waking -------------------------------------------------------------------------------------------------

    def wake(self, task: TaskCore, value: Any) -> None:
        """The wait of `task` is over and its yield gives `value`.  Only for a task that waits."""
        task._wait = None
        task._state = HANDED
        task._value = value
        self._ready.append(task)

    def wake_error(self, task: TaskCore, exception: BaseException) -> None:
        """The wait of `task` is over and its yield raises `exception`."""
        task._wait = None
        task._throw_ready(exception)

    # ---- the loop -----------------------------------------------------------------------------------------------

    def _run_rounds(self) -> None:
        """Rounds until ``_stopping``.  May be left by an exception and entered again: no task is lost, and the one
        that was running has gone on or ended."""
        ready, inbox, flushes, heap, clock = self._ready, self._inbox, self._flushes, self.timers.heap, self.clock
        receive, handed, receiving = RECEIVE, HANDED, RECEIVING
        append, copy, clear = ready.append, ready.copy, ready.clear
        steps = iter(copy())
        try:
            while not self._stopping:
                if inbox:
                    self._drain()
                if heap and heap[0][0] <= clock():
                    self._fire_timers()
                if ready:
                    steps = iter(copy())
                    clear()
                    for task in steps:
                        self.current = task
                        try:
                            y = task._send(task._value)
                        except StopIteration as stop:
                            self._returned(task, stop.value)
                            continue
                        except BaseException as exception:
                            self._raised(task, exception)
                            continue
                        if y is None:
                            task._value = None
                            append(task)
                        elif y is receive and task._op is True:
                            task._op = None
                            messages = task._messages
                            if messages:
                                task._value = messages.popleft()
                                task._state = handed
                                append(task)
                            else:
                                task._value = None
                                task._state = receiving
                        else:
                            self._yielded(task, y)
                    self.current = None
                if flushes and (clock() >= self._flush_by or not (ready or inbox)):
                    self._flush()
                if not ready and not inbox and not self._stopping:
                    task = y = None
                    self.idle()
        except BaseException as exception:
            last, self.current = self.current, None
            ready[:0] = steps
            if last is not None:
                self._cut_short(last, exception)
            raise

    def _cut_short(self, task: Task, exception: BaseException) -> None:
        """The kernel's own part of the step of `task` was left by `exception`."""
        if task._state > HANDED:  # it waits, or has ended: all was done
            return
        if is_a(exception, KeyboardInterrupt) and _can_go_on(task._gen):
            if task not in self._ready:
                self._ready.append(task)
            return
        if task in self._ready:
            self._ready.remove(task)
        self.current = task
        try:
            task._close()
        finally:
            self.current = None
        self._ended(task, FAILED, exception)

    def idle(self) -> None:
        """Sleep until the next timer is due or something is posted.  Called when no task is ready."""
        timeout_s = -1.0
        if self.timers.heap:
            when = self.timers.next_when()
            if when is not None:
                timeout_s = min(when - self.clock(), threading.TIMEOUT_MAX)
                if timeout_s <= 0.0:
                    return
        self._sleeping = True
        if not self._inbox:
            if self._sleeper is not None:
                self._sleeper.sleep(timeout_s)
            else:
                self._lock.acquire(True, timeout_s)
        self._sleeping = False

    def has_posts(self) -> bool:
        """For the sleeper: something is posted that the kernel has not taken yet."""
        return bool(self._inbox)

    def awake(self) -> None:
        """For the sleeper: it is over, so what is posted from here on need not wake the kernel.  Kernel thread."""
        self._sleeping = False

    def _drain(self) -> None:
        inbox = self._inbox
        for _ in range(len(inbox)):
            fn, args = inbox.popleft()
            try:
                fn(*args)
            except KeyboardInterrupt:
                raise
            except BaseException:
                _log(fn)

    def _fire_timers(self) -> None:
        timers = self.timers
        now, last = self.clock(), timers.number
        while (target := timers.pop_due(now, last)) is not None:
            self.guard(target._on_timer)

    def _flush(self) -> None:
        flushes = self._flushes[:]
        self._flushes.clear()
        for fn in flushes:
            self.guard(fn)

    # ---- what a step may give, other than None --------------------------------------------------------------------

    def _yielded(self, task: Task, y: Any) -> None:
        """A running task yielded `y`."""
        while True:
            if task._op is not None:
                if y is RECEIVE and task._op is True:
                    return self._begin_receive(task)
                task._discard(y)
                return task._throw_ready(task._take_forgotten())
            if isinstance(y, Waitable):
                y = y.as_wait()
            if isinstance(y, Wait):
                if type(y) is not Call or y._begun:
                    return self._begin(task, y)
                y._begun = True
                gen = y._gen
            elif isinstance(y, (GeneratorType, CoroutineType)):
                gen = y
            elif type(y) in _PLAIN or (advice := _senseless(y)) is None:
                task._value = y
                self._ready.append(task)
                return
            else:
                error = SenselessYield(explain.senseless_text(task._gen, y, advice))
                for each in _calls_in(y):
                    task._discard(each)
                return task._throw_ready(error)
            # a sub-call: it runs at once
            stack = task._stack
            if stack is None:
                stack = task._stack = []
            stack.append(task._gen)
            task._enter(gen)
            try:
                y = task._send(None)
            except StopIteration as stop:
                return self._returned(task, stop.value)
            except BaseException as exception:
                return self._raised(task, exception)
            if y is None:
                task._value = None
                self._ready.append(task)
                return

    def _begin(self, task: Task, wait: Wait[Any]) -> None:
        wait._begun = True
        task._value = None
        task._wait = wait
        task._state = WAITING
        try:
            wait.begin(task)
        except BaseException as exception:
            if task._wait is wait:
                self.wake_error(task, exception)
            else:
                failures.log_failure(logger, "%r failed after it had woken its task", wait)

    def _begin_receive(self, task: Task) -> None:
        task._op = None
        messages = task._messages
        if messages:
            task._value = messages.popleft()
            task._state = HANDED
            self._ready.append(task)
        else:
            task._value = None
            task._state = RECEIVING

    def _returned(self, task: Task, value: Any) -> None:
        """The innermost generator of a running task has returned `value`."""
        stack = task._stack
        if not stack:
            return self._ended(task, FINISHED, value)
        task._enter(stack.pop())
        task._value = value
        task._state = HANDED
        self._ready.append(task)
        if task._rare is not None:
            task._try_swap()

    def _raised(self, task: Task, exception: BaseException) -> None:
        """The innermost generator of a running task has raised: unwind, until an outer one catches it."""
        cut(exception)
        stack = task._stack
        while stack and not is_a(exception, Terminate):
            gen = stack.pop()
            task._enter_throwing(gen)
            try:
                y = gen.throw(exception)
            except StopIteration as stop:
                return self._returned(task, stop.value)
            except BaseException as another:
                exception = another
                cut(exception)
            else:
                if task._pending is not None:
                    task._discard(y)
                    y = None
                if y is None:
                    task._value = None
                    self._ready.append(task)
                    return
                return self._yielded(task, y)
        if is_a(exception, Terminate):
            self._ended(task, TERMINATED, None)
        elif is_a(exception, HotSwapException) and task._swap_in(exception):
            self._ready.append(task)
        else:
            self._ended(task, FAILED, exception)

    def _ended(self, task: Task, state: int, value: Any) -> None:
        raise NotImplementedError  # kernel.py


def cut(exception: BaseException) -> None:
    """Take this file's own frame off the head of the traceback: users want to see theirs."""
    trace = failures.trace_of(exception)
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in _OWN:
        trace = trace.tb_next
    failures.set_trace(exception, trace)


def _can_go_on(gen: Any) -> bool:
    """False once a generator or coroutine has returned or raised: another step would look like ``return None``."""
    return getattr(gen, "gi_frame", None) is not None or getattr(gen, "cr_frame", None) is not None


def _log(fn: Callable[..., object]) -> None:
    failures.log_failure(logger, "%s failed in the kernel thread", getattr(fn, "__qualname__", fn))


_OWN = (__name__, "parkcos.kernel.task_core", "parkcos.kernel.afterwards")


def _calls_in(y: Any) -> list[Any]:
    """The calls in a collection that were not yielded; its first element says whether it is one of calls."""
    if type(y) not in _COLLECTIONS:
        return []
    things = y.values() if type(y) is dict else y
    return [each for each in things if isinstance(each, _CALLS)] if isinstance(next(iter(things), None), _CALLS) else []


def _senseless(y: Any) -> str | None:
    """How to write it right if `y` makes no sense at a yield; None if it is a plain value."""
    if type(y) in _COLLECTIONS:
        values = ".values()" if type(y) is dict else ""
        return f"for call in {{}}{values}: x = yield call" if _calls_in(y) else None
    advice: str | None = getattr(type(y), "_yield_advice", None)
    if advice is not None:
        return advice
    from parkcos.kernel.task import Task

    if isinstance(y, Task):
        return "{}.finish()"
    if isinstance(y, (*_FUNCTIONS, type)):
        return "{}(...)"
    if isinstance(y, Receive):
        return "task.receive(), of the task that yields it"
    if isinstance(y, AsyncGenerator):
        return "async for item in {}: ..."
    if hasattr(y, "_asyncio_future_blocking"):
        return "parkcos.io({})"
    if isinstance(y, Awaitable):
        return "parkcos.io({})"
    module = type(y).__module__
    if module.startswith("concurrent.futures"):
        return "pool.async_task(fn, ...) instead of {}"
    return None
