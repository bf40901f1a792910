"""How a task is to be run, beyond its function and arguments: a time limit, retries, a name, a process of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from parkcos.client.spaces import Space
from parkcos.client.submission import Submission
from parkcos.cluster.messages import NICENESS_MAX
from parkcos.errors import UsageError

Errors = type[BaseException] | tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """timeout_s: 0 for none; retry_on: what a task may raise that has it run again, too."""

    timeout_s: float = 0.0
    retries: int = 0
    name: str = ""
    retry_on: tuple[type[BaseException], ...] = ()
    priority: int = 0
    own_process: bool = False
    niceness: int = 0
    space: Space | None = None

    @property
    def space_number(self) -> int:
        """0: it is in none."""
        return 0 if self.space is None else self.space.number

    @property
    def exclusive(self) -> bool:
        """Whether its space has processes of its own."""
        return self.space is not None and self.space.exclusive

    def apply_to(self, submission: Submission) -> None:
        """Set what they say."""
        submission.name = self.name or submission.name
        submission.timeout_s, submission.retries, submission.priority = self.timeout_s, self.retries, self.priority
        submission.retry_on, submission.judged = self.retry_on, bool(self.retry_on)
        submission.own, submission.niceness = self.own_process, self.niceness
        submission.space, submission.exclusive = self.space_number, self.space_number if self.exclusive else 0


def checked(
    timeout_s: float | None,
    retries: int,
    name: str,
    retry_on: Errors,
    *,
    own_process: bool,
    niceness: int,
    call: str = "options",
    priority: int = 0,
    space: Space | None = None,
) -> TaskLimits:
    """call: for messages.  Raises: UsageError for what cannot be meant."""
    if timeout_s is not None and not (type(timeout_s) in (int, float) and 0 < timeout_s < math.inf):
        raise UsageError(f"{call}(timeout_s={timeout_s!r}): give seconds, more than 0, or None")
    if type(retries) is not int or retries < 0:
        raise UsageError(f"{call}(retries={retries!r}): give a number, 0 or more")
    if not isinstance(name, str):
        raise UsageError(f"{call}(name={name!r}): give a text")
    errors = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if not all(isinstance(error, type) and issubclass(error, BaseException) for error in errors):
        raise UsageError(f"{call}(retry_on={retry_on!r}): give an exception class, or a tuple of them")
    if errors and not retries:
        raise UsageError(f"{call}(retry_on=...) needs retries\n  write: {call}(retries=3, retry_on=...)")
    if type(niceness) is not int or not 0 <= niceness <= NICENESS_MAX:
        raise UsageError(f"{call}(niceness={niceness!r}): give a whole number from 0 to {NICENESS_MAX}")
    if niceness and not own_process:
        raise UsageError(
            f"{call}(niceness={niceness}) is that of a process of its own\n"
            f"  write: {call}(..., own_process=True, niceness={niceness})"
        )
    if own_process and space is not None and space.exclusive:
        raise UsageError(
            f"{call}(own_process=True, space={space.name!r}): the tasks of that space share its processes\n"
            "  write: one of the two"
        )
    return TaskLimits(float(timeout_s or 0.0), retries, name, errors, priority, bool(own_process), niceness, space)
