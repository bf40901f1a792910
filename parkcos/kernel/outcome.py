"""How a task ended, and how that is told to those who monitor it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from parkcos.errors import TaskTerminated
from parkcos.kernel import failures, spaces

__all__ = ["MonitorStatus", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended: ``task.outcome``, None while it lives.

    kind: "finished" (it returned `value`), "failed" (it raised `exception`; `traceback` is the text) or
    "terminated" (``terminate()``; value None and exception a TaskTerminated).
    """

    kind: Literal["finished", "failed", "terminated"]
    value: Any = None
    exception: BaseException | None = None
    traceback: str | None = None
    _raised_at: TracebackType | None = field(default=None, repr=False, compare=False)

    def to_raise(self, *, exits: bool = False) -> BaseException:
        """The exception for one more waiter.  Its traceback is cut back to where the task raised it, so that it
        does not grow with every task that it passes through.

        exits: a ``sys.exit`` of the task is one of the waiter, too.
        """
        exception = self.exception
        assert exception is not None
        text = ""  # these were meant for that task: they must not end the one that waits for it
        if failures.is_a(exception, KeyboardInterrupt):
            text = "the task was interrupted (KeyboardInterrupt): its server, or program, was to end"
        elif failures.is_a(exception, SystemExit) and not exits:
            text = f"the task ended itself by {failures.exit_call(exception)}"
        elif failures.is_a(exception, GeneratorExit):
            text = "the task ended itself by GeneratorExit"
        if text:
            error = TaskTerminated(text)
            error.__cause__ = exception
            return error
        failures.set_trace(exception, self._raised_at)
        return exception


class MonitorStatus:
    """What a monitor is told, once, about the end of a task (or of something else that can end).

    Attributes:
        info: the task; for other things, e.g. a failed setup, a text.
        type: StopIteration for a normal end; the exception's class for a failure; TaskTerminated when the task was
            terminated; a status number where the scheduler reports.
        value: the result of a normal end; the traceback as text of a failure; None when terminated.
        exception: the exception itself where it is at hand (and could travel), else None.
        traceback: the traceback as text, None where there was none.
    """

    __slots__ = ("__weakref__", "exception", "info", "traceback", "type", "value")

    def __init__(
        self,
        info: Any,
        type: Any,
        value: Any = None,
        exception: BaseException | None = None,
        traceback: str | None = None,
    ) -> None:
        self.info = info
        self.type = type
        self.value = value
        self.exception = exception
        self.traceback = traceback

    @classmethod
    def of(cls, info: Any, outcome: Outcome) -> MonitorStatus:
        """The status that tells `outcome`, of the task `info`."""
        if outcome.kind == "finished":
            return cls(info, StopIteration, outcome.value)
        if outcome.kind == "terminated":
            return cls(info, TaskTerminated, None, outcome.exception)
        return cls(info, type(outcome.exception), outcome.traceback, outcome.exception, outcome.traceback)

    def __repr__(self) -> str:
        name = getattr(self.type, "__name__", self.type)
        return f"MonitorStatus({self.info!r}, {name}, {self.value!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return MonitorStatus, (self.info, self.type, self.value, _travels(self.exception), self.traceback)


def _travels(exception: BaseException | None) -> BaseException | None:
    """`exception` if it survives pickling (many do not: arguments of ``__init__``, open files), else None."""
    if exception is None:
        return None
    if spaces.used and spaces.home_of(type(exception)) is not None:  # pickle itself knows no spaces
        return exception
    try:
        pickle.loads(pickle.dumps(exception))
    except BaseException:  # of its own code
        return None
    return exception
