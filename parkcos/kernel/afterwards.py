"""What is waited for when a function returns: for the end of a ``with`` in a generator, which cannot wait there.

A generator is put below the function on its task's stack.  It gets what that returns or raises, waits, and hands it on.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from parkcos.kernel.task import Task
    from parkcos.kernel.wait import Wait

__all__ = ["Afterwards", "Ending"]


class Ending(Protocol):
    """What takes its time to end."""

    def is_over(self) -> bool:
        """Nothing is to be waited for any more."""

    def wait(self) -> Wait[Any]:
        """To be yielded: waits until it is over."""


class Afterwards:
    """What is to be waited for, of functions that have not returned.  Kernel thread only."""

    def __init__(self) -> None:
        self._endings: WeakKeyDictionary[Generator[Any, Any, Any], list[Ending]] = WeakKeyDictionary()

    def add(self, task: Task, ending: Ending) -> None:
        """The function of the running `task`, the innermost, goes back to its caller when `ending` is over."""
        stack = task._stack
        if stack is None:
            stack = task._stack = []
        endings = self._endings.get(stack[-1]) if stack else None
        if endings is None:
            endings = []
            below = _hands_on(endings)
            next(below)
            self._endings[below] = endings
            stack.append(below)
        endings[:] = [*(other for other in endings if not other.is_over()), ending]


def _hands_on(endings: list[Ending]) -> Generator[Any, Any, Any]:
    try:
        value = yield
    except GeneratorExit:  # the task is terminated, and waits for nothing
        raise
    except BaseException:
        for ending in endings:
            yield ending.wait()
        raise
    for ending in endings:
        yield ending.wait()
    return value
