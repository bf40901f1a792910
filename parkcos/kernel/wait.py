"""What a task may wait for: objects that can be yielded and awaited alike.

- ``Wait``: the base.  The kernel calls ``begin(task)`` when a task yields it, and ``cancel(task)`` when the task was
  woken by something else (an exception thrown into it, termination).  Whoever makes the result ready calls
  ``task.kernel.wake(task, value)`` or ``wake_error(task, exception)``, in the kernel thread.
- ``Completion``: a one-shot result, which any layer may make and any thread may set.
- ``Call`` and ``@operation``: an operation written as a generator function (or ``async def``).
- ``RECEIVE``: the bare ``receive()``, one object for all tasks, because it is what tasks do most.

A Wait that was made in a task and dropped without having been yielded is a forgotten ``yield``: its ``__del__``
raises ForgottenYield into that task.  Nothing here starts anything before it is yielded.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, overload

from parkcos.errors import ForgottenYield, NotATask, UsageError, WouldHang
from parkcos.kernel import explain
from parkcos.kernel.registry import _kernels, cur_task

if TYPE_CHECKING:
    from parkcos.kernel.kernel import Kernel
    from parkcos.kernel.task import Task

__all__ = ["RECEIVE", "Call", "Completion", "TimedWait", "Wait", "Waitable", "operation", "seconds"]

T = TypeVar("T")
P = ParamSpec("P")

_ELSEWHERE = (
    "{}() is awaited outside of a task, in another event loop, which cannot wait for it\n"
    "  write: parkcos.run(main)   instead of asyncio.run(main())\n"
    "  or:    x = await asyncio.wrap_future(parkcos.Task(main).future())   in that loop"
)


def seconds(timeout: Any, name: str = "timeout") -> float | None:
    """`timeout` as seconds, or None for "no limit".

    Raises: UsageError if it is neither a number nor None.
    """
    if timeout is None:
        return None
    if isinstance(timeout, (int, float)) and timeout == timeout:
        return timeout
    value = getattr(timeout, "__float__", lambda: math.nan)()
    if value != value:
        raise UsageError(f"{name} must be a number of seconds or None, not {timeout!r}")
    return float(value)


def _misused(name: str, what: str, names: tuple[str, ...]) -> NoReturn:
    if (name.startswith("__") and name.endswith("__")) or name.startswith("_asyncio_"):  # a loop asks what this is
        raise AttributeError(f"{what} has no attribute {name!r}")
    frame = sys._getframe(2)
    raise ForgottenYield(forgotten_at(frame.f_code, frame.f_lineno, names))


def forgotten_at(code: Any, lineno: int, names: tuple[str, ...]) -> str:
    """The text for a mistake noticed at this line: shows the line, or the line before it where the call stands."""
    filename = code.co_filename
    calls = [call for call, _ in explain._calls(filename, code.co_firstlineno, lineno)]
    calls = [call for call in calls if explain._called_name(call) in names]
    if calls:
        lineno = calls[-1].lineno
    return explain.forgotten_text(filename, lineno, code, names)


class Waitable:
    """A thing of which ``yield thing`` stands for one of its operations (``yield lock`` acquires it)."""

    __slots__ = ()

    def as_wait(self) -> Wait[Any]:
        """The operation that ``yield thing`` means."""
        raise NotImplementedError


class Wait(Generic[T]):
    """The base of everything that can be yielded and awaited.

    Subclasses call ``Wait.__init__(self, task)`` with the task that makes it (None: not made in a task), override
    ``begin`` and, where something has to be taken back, ``cancel``.  Kernel thread only.
    """

    __slots__ = ("_begun", "_task")

    def __init__(self, task: Task | None = None) -> None:
        self._task = task
        self._begun = False

    def begin(self, task: Task) -> None:
        """The task `task` waits for this from now on.  May wake it at once.  Whatever this raises is raised there."""
        raise NotImplementedError

    def cancel(self, task: Task) -> None:
        """The task does not wait any more: forget it and never wake it."""

    def names(self) -> tuple[str, ...]:
        """What the operation is called in a program, for messages about forgotten yields."""
        return (self.__class__.__name__.lower(),)

    def __await__(self) -> Generator[Any, Any, T]:
        if self._task is None and get_ident() not in _kernels:
            raise WouldHang(_ELSEWHERE.format(self.names()[0]))
        return (yield self)  # type: ignore[no-any-return]

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            _misused(name, "a wait", self.names())

    def __iter__(self) -> NoReturn:
        _misused("iter", "a wait", self.names())

    def __getitem__(self, key: Any) -> NoReturn:
        _misused("getitem", "a wait", self.names())

    def __del__(self, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        try:
            if not self._begun and self._task is not None and not _finalizing():
                task = self._task
                if task is cur_task():
                    task._forgot(_forgotten_in_del(self, task))
        except Exception:  # its __init__ failed, or the process is half gone: a finalizer has nobody to tell
            return


def _forgotten_in_del(wait: Wait[Any], task: Task) -> ForgottenYield:
    """The exception for a Wait that dies now: the line is in the frame that drops it, if that is a user's frame;
    it is not where a whole function's variables go because it ends, then the source is searched."""
    frame = sys._getframe(2)
    while frame.f_code.co_name == "__del__" and frame.f_back is not None:
        frame = frame.f_back
    code = task._code()
    if frame.f_globals.get("__name__", "").startswith("parkcos.kernel."):
        if code is None:
            return ForgottenYield(f"{wait.names()[0]}() was called without 'yield' in {task!r}")
        return ForgottenYield(explain.scan_forgotten(code, wait.names()))
    return ForgottenYield(forgotten_at(frame.f_code, frame.f_lineno, wait.names()))


class TimedWait(Wait[T]):
    """A Wait with an optional time limit; subclasses override ``expired`` and call ``arm`` and ``disarm``."""

    __slots__ = ("_timer",)

    def __init__(self, task: Task | None = None) -> None:
        self._task = task
        self._begun = False
        self._timer = 0

    def arm(self, kernel: Kernel, timeout_s: float) -> None:
        """Call ``expired()`` after `timeout_s` seconds."""
        kernel.timers.add(kernel.clock() + timeout_s, self)

    def disarm(self, kernel: Kernel) -> None:
        """Take the time limit back, if there is one."""
        if self._timer:
            kernel.timers.drop(self)

    def _on_timer(self) -> None:
        self.expired()

    def expired(self) -> None:
        """The time limit has passed."""
        raise NotImplementedError


class Completion(TimedWait[T]):
    """A one-shot result: made by any layer, set from any thread, waited for by one task.

    Args:
        kernel: whose task will wait for it.
        what: the operation's name, for messages (``"rtask"``).
        start: called with the completion, in the kernel thread, when it is yielded; so a forgotten ``yield`` starts
            nothing.  What it raises is raised at the yield.
        timeout_s: seconds after which the yield gives `alarm_value`; None waits for ever.
        alarm_value: see `timeout_s`.
        on_cancel: called once, in the kernel thread, if the task was woken by the time limit, an exception or
            termination instead of a result.

    Yield it, once; the yield gives what ``set_result`` was given, or raises what ``set_exception`` was given.  Who is
    not a task calls ``tell`` instead.
    """

    __slots__ = ("_alarm_value", "_error", "_kernel", "_on_cancel", "_result", "_settled", "_start", "_timeout_s",
                 "_told", "_waiting", "what")  # fmt: skip

    def __init__(
        self,
        kernel: Kernel,
        what: str,
        start: Callable[[Completion[T]], None] | None = None,
        timeout_s: float | None = None,
        alarm_value: Any = None,
        on_cancel: Callable[[], None] | None = None,
    ) -> None:
        self._begun = True  # until all is well: what raises here is no forgotten yield
        self._timer = 0
        self._kernel = kernel
        self.what = what
        self._start = start
        self._timeout_s = seconds(timeout_s, "timeout_s")
        self._alarm_value = alarm_value
        self._on_cancel = on_cancel
        self._settled = False
        self._waiting = False
        self._told: Callable[[Any, BaseException | None], object] | None = None
        self._result: Any = None
        self._error: BaseException | None = None
        self._task = kernel.current if get_ident() == kernel.ident else None
        self._begun = False

    @property
    def done(self) -> bool:
        """True once it has a result, an exception, or ran out of time, or was cancelled.  Kernel thread only."""
        return self._settled

    def set_result(self, value: T) -> None:
        """Give the waiting task its value.  Any thread, also before it was yielded; only the first call counts."""
        if get_ident() == self._kernel.ident:
            self._settle(value, None)
        else:
            self._kernel.post(self._settle, value, None)

    def set_exception(self, exception: BaseException) -> None:
        """Raise `exception` at the yield.  Any thread, also before it was yielded; only the first call counts."""
        if get_ident() == self._kernel.ident:
            self._settle(None, exception)
        else:
            self._kernel.post(self._settle, None, exception)

    def names(self) -> tuple[str, ...]:
        return (self.what,)

    def begin(self, task: Task) -> None:
        if self._waiting:
            raise UsageError(f"{self._task!r} already waits for this {self.what}; a completion has one waiter")
        self._task = task
        self._go()

    def tell(self, told: Callable[[T | None, BaseException | None], object]) -> None:
        """Begin it without a task: ``told(value, error)`` is called once, perhaps before this returns.

        Kernel thread only; do not yield it.  Raises: UsageError if it was begun before.
        """
        if self._begun:
            raise UsageError(f"this {self.what} was begun before; a completion has one waiter")
        self._begun = True
        self._told = told
        self._go()

    def withdraw(self) -> None:
        """For who called ``tell``: the result is not wanted any more.

        Calls `on_cancel`, once.  If that stops it, whoever made it says so by ``set_exception``; if it is too late
        for that, the result comes all the same.  Kernel thread only.
        """
        if not self._settled:
            self._cancelled()

    def _go(self) -> None:
        start, self._start = self._start, None
        self._waiting = True
        if start is not None and not self._settled:
            try:
                start(self)
            except BaseException as exception:
                self._settle(None, exception)
                return
            if not self._waiting:  # it settled at once
                return
        if self._settled:
            self._waiting = False
            self._wake()
        elif self._timeout_s is not None:
            self.arm(self._kernel, max(self._timeout_s, 0.0))

    def cancel(self, task: Task) -> None:
        self._waiting = False
        self.disarm(self._kernel)
        if not self._settled:
            self._settled = True
            self._error = UsageError(f"the wait for {self.what} was given up")
            self._cancelled()

    def expired(self) -> None:
        self._settled = True
        self._result = self._alarm_value
        self._waiting = False
        self._wake()
        self._cancelled()

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self._settled:
            return
        self._settled = True
        self._result = value
        self._error = error
        self._start = self._on_cancel = None
        if self._waiting:
            self._waiting = False
            self.disarm(self._kernel)
            self._wake()

    def _wake(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            self._kernel.guard(told, self._result, self._error)
            return
        task = self._task
        assert task is not None
        if self._error is not None:
            self._kernel.wake_error(task, self._error)
        else:
            self._kernel.wake(task, self._result)

    def _cancelled(self) -> None:
        on_cancel, self._on_cancel = self._on_cancel, None
        if on_cancel is not None:
            self._kernel.guard(on_cancel)


class Call(Wait[T]):
    """A called operation: when it is yielded, its generator runs as a sub-call of the task that yields it.

    The kernel knows Calls and never calls ``begin``.  The generator was made, but not started, at the call, so that
    wrong arguments are raised there.
    """

    __slots__ = ("_gen",)

    def __init__(self, gen: Any) -> None:
        kernel = _kernels.get(get_ident())
        self._task = None if kernel is None else kernel.current
        self._begun = False
        self._gen = gen

    def begin(self, task: Task) -> None:
        raise UsageError(f"{self.names()[0]}() was yielded twice; call it again for each yield")

    def names(self) -> tuple[str, ...]:
        return (getattr(self._gen, "__name__", "operation"),)

    def __del__(self, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        try:
            if not self._begun and not _finalizing():
                Wait.__del__(self)
                self._gen.close()  # a coroutine would warn that it was never awaited
        except Exception:  # as above
            return


@overload
def operation(fn: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Call[T]]: ...
@overload
def operation(fn: Callable[P, Generator[Any, Any, T]]) -> Callable[P, Call[T]]: ...
def operation(fn: Callable[P, Any]) -> Callable[P, Call[Any]]:
    """Decorator: makes an operation of a generator function, a method of that kind, or an ``async def``.

    Calling it gives a ``Call``: ``x = yield thing.op(...)`` or ``x = await thing.op(...)`` runs it as a sub-call and
    gives its return value; a call that is never yielded is noticed.

    Raises: NotATask if `fn` is a plain function.
    """
    flags = getattr(getattr(fn, "__code__", None), "co_flags", 0)
    if not flags & 0xA0 or flags & 0x200:
        raise NotATask(f"@operation wants a generator function or an async def, and {fn!r} is neither")

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> Call[Any]:
        return Call(fn(*args, **kwargs))

    call._is_operation = True  # type: ignore[attr-defined]
    return call


class Receive:
    """The bare ``receive()``: the kernel knows its one instance, RECEIVE; the task itself notes the call."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            _misused(name, "receive()", ("receive", "recv"))

    def __iter__(self) -> NoReturn:
        _misused("iter", "receive()", ("receive", "recv"))

    def __getitem__(self, key: Any) -> NoReturn:
        _misused("getitem", "receive()", ("receive", "recv"))

    def __repr__(self) -> str:
        return "<receive() without yield>"


RECEIVE: Any = Receive()
