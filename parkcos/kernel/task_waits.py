"""The waits of which a task's own operations are made: for time, for a message, for another task's end."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from parkcos.errors import WouldHang
from parkcos.kernel.registry import _kernels, cur_task
from parkcos.kernel.states import FINISHED, RECEIVING_TIMED
from parkcos.kernel.wait import TimedWait, Wait

if TYPE_CHECKING:
    from parkcos.kernel.task import Task

__all__ = ["Act", "EndOf", "ReceiveWait", "Suspend"]


class Suspend(TimedWait[Any]):
    """``sleep`` and ``suspend``."""

    __slots__ = ("_alarm_value", "_timeout_s")

    def __init__(self, task: Task, timeout_s: float | None, alarm_value: Any) -> None:
        self._task = task
        self._begun = False
        self._timer = 0
        self._timeout_s = timeout_s
        self._alarm_value = alarm_value

    def names(self) -> tuple[str, ...]:
        return ("sleep", "suspend")

    def begin(self, task: Task) -> None:
        timeout_s = self._timeout_s
        if timeout_s is not None:
            kernel = task.kernel
            if timeout_s > 0:
                self._task = task
                kernel.timers.add(kernel.clock() + timeout_s, self)
            else:
                kernel.wake(task, self._alarm_value)

    def cancel(self, task: Task) -> None:
        self.disarm(task.kernel)

    def _on_timer(self) -> None:
        task = self._task
        assert task is not None
        task.kernel.wake(task, self._alarm_value)


class ReceiveWait(TimedWait[Any]):
    """``receive`` with a time limit; without one it is wait.RECEIVE."""

    __slots__ = ("_alarm_value", "_timeout_s")

    def __init__(self, task: Task, timeout_s: float, alarm_value: Any) -> None:
        self._task = task
        self._begun = False
        self._timer = 0
        self._timeout_s = timeout_s
        self._alarm_value = alarm_value

    def names(self) -> tuple[str, ...]:
        return ("receive", "recv")

    def begin(self, task: Task) -> None:
        if task._messages:
            task.kernel.wake(task, task._messages.popleft())
        elif self._timeout_s > 0:
            self._task = task
            self.arm(task.kernel, self._timeout_s)
            task._state = RECEIVING_TIMED
        else:
            task.kernel.wake(task, self._alarm_value)

    def cancel(self, task: Task) -> None:
        self.disarm(task.kernel)

    def expired(self) -> None:
        task = self._task
        assert task is not None
        task.kernel.wake(task, self._alarm_value)


class EndOf(TimedWait[Any]):
    """``finish`` and ``result``: the end of `target`, which may run in another kernel or another process."""

    __slots__ = ("_raises", "_target", "_timeout_s", "_waiting")

    def __init__(self, target: Task, timeout_s: float | None, raises: bool) -> None:
        kernel = _kernels.get(get_ident())
        self._task = None if kernel is None else kernel.current
        self._begun = False
        self._timer = 0
        self._target = target
        self._timeout_s = timeout_s
        self._raises = raises
        self._waiting = False

    def names(self) -> tuple[str, ...]:
        return ("result",) if self._raises else ("finish", self._target.name)

    def begin(self, task: Task) -> None:
        if self._target is task:
            raise WouldHang(f"{task!r} waits for its own end")
        if self._target.is_local and self._target._state is FINISHED:  # the usual case, without detours
            task.kernel.wake(task, self._target._value)
            return
        self._task = task
        self._waiting = True
        self._target.add_end_callback(self._ended)
        timeout_s = self._timeout_s
        if self._waiting and timeout_s is not None:
            if timeout_s > 0:
                self.arm(task.kernel, timeout_s)
            elif self._target.outcome is not None:  # and word of it is on its way
                self._ended(self._target)
            else:
                self.expired()

    def cancel(self, task: Task) -> None:
        self._waiting = False
        self.disarm(task.kernel)
        self._target.drop_end_callback(self._ended)

    def expired(self) -> None:
        task = self._task
        assert task is not None
        self.cancel(task)
        task.kernel.wake(task, None)

    def _ended(self, target: Task) -> None:
        task = self._task
        assert task is not None
        kernel = task.kernel
        if get_ident() != kernel.ident:
            kernel.post(self._ended, target)
        elif self._waiting:
            self._waiting = False
            self.disarm(kernel)
            if target.is_local and target._state is FINISHED:
                kernel.wake(task, target._value)
                return
            outcome = target.outcome
            assert outcome is not None
            if self._raises and outcome.kind != "finished":
                kernel.wake_error(task, outcome.to_raise())
            else:
                kernel.wake(task, target._value_of_end())


class Act(Wait[int]):
    """An operation that is over as soon as it begins, here; in another process it would wait."""

    __slots__ = ("_fn", "_name")

    def __init__(self, name: str, fn: Callable[[], int]) -> None:
        super().__init__(cur_task())
        self._name = name
        self._fn = fn

    def names(self) -> tuple[str, ...]:
        return (self._name,)

    def begin(self, task: Task) -> None:
        task.kernel.wake(task, self._fn())
