"""TaskCore: the inside of a task, which the loop drives; its public face is Task, in task.py.

Here are the slots, and what happens to a task: exceptions thrown into it, its closing, its hot swap, and what it forgot
to yield.  All methods are for the kernel thread.

A throw into a task is a queue of exceptions on their way (``_pending``) and another ``_send``: the loop calls that as
it calls the generator's own ``send``, and so never asks whether an exception is pending.  States: see states.py.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from types import CodeType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from parkcos.errors import ForgottenYield, HotSwapException, UsageError
from parkcos.kernel import explain, failures
from parkcos.kernel.failures import is_a
from parkcos.kernel.registry import cur_task
from parkcos.kernel.states import (
    FINISHED,
    HANDED,
    READY,
    RECEIVING,
    RECEIVING_TIMED,
    TERMINATE,
    WAITING,
    Terminate,
)
from parkcos.kernel.task_waits import Suspend
from parkcos.kernel.wait import RECEIVE, Call, Wait

if TYPE_CHECKING:
    from parkcos.kernel.kernel import Kernel
    from parkcos.kernel.spaces import Space
    from parkcos.kernel.task import Task

__all__ = ["TaskCore", "as_exception"]

logger = logging.getLogger("parkcos")
_CLOSE_TRIES = 3


class _Rare:
    """What few tasks have: kept apart, so that the others do not carry it."""

    __slots__ = ("named", "seed", "space", "swap", "swappable", "swapping")

    def __init__(self) -> None:
        self.named = False  # it has (or had) a name in kernel.names
        self.seed: list[int] | None = None
        self.space: Space | None = None  # that in which it was put; else it is in that of its code
        self.swappable = False
        self.swap: HotSwapException | None = None  # asked for, not yet thrown
        self.swapping = False  # thrown


class TaskCore:
    """What every task has.  Only Task derives from it."""

    __slots__ = ("__weakref__", "_callbacks", "_daemon", "_gen", "_messages", "_number", "_op", "_pending", "_rare",
                 "_send", "_stack", "_state", "_value", "_wait", "id", "kernel", "name")  # fmt: skip

    kernel: Kernel
    id: int
    name: str
    _send: Callable[[Any], Any]
    _state: int
    _wait: Any
    _stack: list[Any] | None
    _messages: deque[Any] | None
    _pending: deque[BaseException] | None
    _callbacks: list[Callable[[Task], object]] | None
    _rare: _Rare | None
    _number: int  # by which other processes know it; 0: they do not
    _op: Any  # None, True after a bare receive() that is not yet yielded, or a ForgottenYield on its way

    # ---- messages -----------------------------------------------------------------------------------------------

    def _put(self, message: Any) -> int:
        state = self._state
        if state is RECEIVING:
            self.kernel.wake(self, message)
        elif state is RECEIVING_TIMED:
            self._wait.disarm(self.kernel)
            self.kernel.wake(self, message)
        elif state >= FINISHED:
            return -1
        elif self._messages is None:
            self._messages = deque((message,))
        else:
            self._messages.append(message)
        return 0

    # ---- exceptions ---------------------------------------------------------------------------------------------

    def _interrupt(self, exception: BaseException) -> None:
        """Throw, in the kernel thread, while this task is not running."""
        state = self._state
        if state >= FINISHED:
            return
        pending = self._pending
        if pending is None:
            pending = self._pending = deque()
        elif pending and pending[0] is TERMINATE:
            return
        if exception is TERMINATE:
            pending.clear()
        pending.append(exception)
        if state is READY:
            self._send = self._throw_step
        elif state is HANDED:
            self._send = self._late_step
        else:
            wait, self._wait = self._wait, None
            if wait is not None:
                self.kernel.guard(wait.cancel, self)
            self._state = READY
            self._value = None
            self._send = self._throw_step
            self.kernel._ready.append(self)

    def _throw_ready(self, exception: BaseException) -> None:
        """Throw into a task that is neither ready nor waiting any more, and make it ready."""
        if self._pending is None:
            self._pending = deque()
        if not self._pending or self._pending[0] is not TERMINATE:
            self._pending.appendleft(exception)
        self._state = READY
        self._value = None
        self._send = self._throw_step
        self.kernel._ready.append(self)

    def _throw_step(self, _value: Any) -> Any:
        """A turn in which the first pending exception is raised at the yield."""
        pending = self._pending
        assert pending is not None
        exception = pending.popleft()
        if not pending:
            self._pending = None
            self._send = self._gen.send
        if exception is TERMINATE:
            self._close()
            raise Terminate
        self._state = READY
        swap = exception if is_a(exception, HotSwapException) else None
        try:
            y = self._gen.throw(exception)
        except BaseException as raised:
            if swap is not None and not is_a(raised, HotSwapException):
                self._refused(swap)
            if raised is exception and is_a(raised, StopIteration):  # thrown before its first step; it is no return
                raise RuntimeError(f"StopIteration was thrown into {self.name}") from raised
            raise
        if swap is not None:
            self._refused(swap)
        if self._rare is not None:
            self.kernel.post(self._try_swap)
        if self._pending is not None:
            self._discard(y)
            return None
        return y

    def _late_step(self, value: Any) -> Any:
        """A turn in which the task gets the result that was on its way; the exception comes at its next yield, and
        what it wanted to do there is not begun."""
        self._send = self._throw_step
        self._state = READY
        self._discard(self._gen.send(value))

    def _enter(self, gen: Any) -> None:
        self._gen = gen
        self._send = gen.send if self._pending is None else self._late_step

    def _enter_throwing(self, gen: Any) -> None:
        self._gen = gen
        self._send = gen.send if self._pending is None else self._throw_step

    def _discard(self, y: Any) -> None:
        """What the task yielded will not be done."""
        if isinstance(y, Wait):
            y._begun = True
            y = y._gen if type(y) is Call else None
        elif y is RECEIVE and self._op is True:
            self._op = None
        if isinstance(y, (GeneratorType, CoroutineType)):
            y.close()

    def _close(self) -> None:
        """GeneratorExit into the sub-calls, innermost first.  The task is running, or the kernel is stopping."""
        stack = self._stack or []
        for gen in (self._gen, *reversed(stack)):
            for _ in range(_CLOSE_TRIES):
                try:
                    gen.close()
                    break
                except RuntimeError as exception:
                    if "ignored GeneratorExit" not in failures.message_of(exception):
                        failures.log_failure(logger, "%r failed while it was terminated", self)
                        break
                    logger.debug("%r yielded while it was terminated, and is dropped", self)
                except BaseException as exception:
                    if not is_a(exception, (SystemExit, KeyboardInterrupt)):
                        failures.log_failure(logger, "%r failed while it was terminated", self)
                    break
        self._stack = None

    # ---- hot swap -----------------------------------------------------------------------------------------------

    def _rarely(self) -> _Rare:
        if self._rare is None:
            self._rare = _Rare()
        return self._rare

    def _want_swap(self, swap: HotSwapException) -> None:
        rare = self._rarely()
        if rare.swap is not None:
            rare.swap.args[0].close()
        rare.swap = swap
        self._try_swap()

    def _try_swap(self) -> None:
        """Throw the HotSwapException if there is one and the task stands where it may be swapped."""
        rare = self._rare
        if rare is None or rare.swap is None or not rare.swappable or self._stack or self._state >= FINISHED:
            return
        if self._pending is not None:
            return  # tried again after the exceptions
        if self._state is WAITING and type(self._wait) is not Suspend:
            self._send = self._swap_later_step
        else:
            swap, rare.swap, rare.swapping = rare.swap, None, True
            self._interrupt(swap)

    def _refused(self, swap: HotSwapException) -> None:
        """The task caught `swap` and goes on, or ended."""
        if self._rare is not None:
            self._rare.swapping = False
        if swap.args and isinstance(swap.args[0], (GeneratorType, CoroutineType)):
            swap.args[0].close()

    def _swap_later_step(self, value: Any) -> Any:
        self._send = self._gen.send
        self.kernel.post(self._try_swap)
        return self._gen.send(value)

    def _swap_in(self, exception: HotSwapException) -> bool:
        """The task let a HotSwapException pass: go on with its generator.  False if that was not a swap."""
        rare = self._rare
        new = exception.args[0] if exception.args else None
        if rare is None or not rare.swapping or not isinstance(new, (GeneratorType, CoroutineType)):
            return False
        rare.swapping = False
        self._enter(new)
        self.name = new.__name__
        self._op = None
        self._value = None
        self._state = READY
        return True

    # ---- mistakes -----------------------------------------------------------------------------------------------

    def _code(self) -> CodeType | None:
        return getattr(self._gen, "gi_code", None) or getattr(self._gen, "cr_code", None)

    def _forgot(self, exception: ForgottenYield) -> None:
        """An operation of this task, which is running, was dropped without having been yielded."""
        if self._op is None:
            self._op = exception
            self.kernel.post(self._raise_forgotten, exception)

    def _raise_forgotten(self, exception: ForgottenYield) -> None:
        if self._op is exception:
            self._op = None
            self._interrupt(exception)

    def _take_forgotten(self) -> ForgottenYield:
        """The exception for what this task forgot to yield."""
        noted, self._op = self._op, None
        if noted is not True:
            assert isinstance(noted, ForgottenYield)
            return noted
        names = ("receive", "recv")
        code = self._code()
        return ForgottenYield(explain.scan_forgotten(code, names) if code is not None else f"{self!r}: receive()")

    def _not_own(self, what: str) -> UsageError:
        return UsageError(
            f"{what}() of {self!r} was called by {cur_task() or 'a thread'}: a task can {what} only for itself"
        )


def as_exception(given: tuple[Any, ...]) -> BaseException:
    """What the arguments of ``throw()`` mean.  Raises: UsageError if that is no exception."""
    if len(given) == 1 and issubclass(type(given[0]), tuple):
        given = given[0]
    if given and is_a(given[0], BaseException):
        return given[0]
    if given and isinstance(given[0], type) and issubclass(given[0], BaseException):
        value = given[1] if len(given) > 1 else None
        if isinstance(value, given[0]):
            return value
        return given[0]() if value is None else given[0](*value) if isinstance(value, tuple) else given[0](value)
    raise UsageError(f"throw() wants an exception, or a class and a value, not {given!r}")
