"""CategorizeMessages: take a task's messages by category instead of in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable
from typing import TYPE_CHECKING, Any

from parkcos.errors import UsageError
from parkcos.kernel.wait import operation, seconds

if TYPE_CHECKING:
    from parkcos.kernel.task import Task

__all__ = ["CategorizeMessages"]

_NOTHING = object()


class CategorizeMessages:
    """Sorts the messages of `task` by functions that the program adds.

    Use it inside that task, and then only it: ``msg = yield categorize.receive("urgent")``.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._functions: list[Callable[[Any], Hashable | None]] = []
        self._waiting: dict[Hashable | None, deque[Any]] = {}

    def add(self, categorize: Callable[[Any], Hashable | None]) -> None:
        """``categorize(message)`` gives a category, or None if it does not know.  The newest function is asked first.

        Raises: UsageError if it cannot be called.
        """
        if not callable(categorize):
            raise UsageError(f"add() wants a function of one message, not {categorize!r}")
        self._functions.insert(0, categorize)

    def remove(self, categorize: Callable[[Any], Hashable | None]) -> None:
        """Take ``add`` back; does nothing if it was not added."""
        if categorize in self._functions:
            self._functions.remove(categorize)

    @operation
    def receive(
        self, category: Hashable | None = None, timeout: float | None = None, alarm_value: Any = None
    ) -> Generator[Any, Any, Any]:
        """Yield it.  The oldest message of `category`; None stands for those that no function knows.

        Messages of other categories wait for their turn.  Returns: the message, or `alarm_value` after `timeout`
        seconds (0 or less never waits).
        """
        limit = seconds(timeout)
        kernel = self._task.kernel
        deadline = None if limit is None else kernel.clock() + limit
        queue = self._waiting.get(category)
        if queue:
            return queue.popleft()
        while True:
            if deadline is None:
                message = yield self._task.receive()
            else:
                message = yield self._task.receive(deadline - kernel.clock(), _NOTHING)
                if message is _NOTHING:
                    return alarm_value
            found = self._category_of(message)
            if found == category:
                return message
            self._waiting.setdefault(found, deque()).append(message)

    recv = receive

    def _category_of(self, message: Any) -> Hashable | None:
        for categorize in self._functions:
            category = categorize(message)
            if category is not None:
                return category
        return None
