"""Tasks that wait for a server: the higher priority first, and within one priority in the order in which they came."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator


class Backlog:
    """Numbers of tasks.  Adding, taking the first and removing any take the same time, however many wait."""

    __slots__ = ("_levels", "_order", "tasks")

    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[int, None]] = {}
        self._order: list[int] = []
        """The priorities that have tasks, the highest first."""
        self.tasks: dict[int, int] = {}
        """Those that wait, with their priorities.  To be read: whether it is empty is seen fastest so."""

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return bool(self.tasks)

    def __iter__(self) -> Iterator[int]:
        for priority in self._order:
            yield from self._levels[priority]

    def __contains__(self, task: object) -> bool:
        return task in self.tasks

    @property
    def priority(self) -> int:
        """Of its first task.  Raises: IndexError if none waits."""
        return self._order[0]

    def add(self, task: int, priority: int = 0) -> None:
        """Put it behind all others of its priority."""
        self._level(priority)[task] = None
        self.tasks[task] = priority

    def add_first(self, task: int, priority: int = 0) -> None:
        """Put it before all others of its priority: it had its turn, and is back."""
        level = self._level(priority)
        level[task] = None
        level.move_to_end(task, last=False)
        self.tasks[task] = priority

    def pop(self) -> int:
        """Take the first.  Raises: IndexError if none waits."""
        priority = self._order[0]
        level = self._levels[priority]
        task, _ = level.popitem(last=False)
        del self.tasks[task]
        if not level:
            self._drop(priority)
        return task

    def remove(self, task: int) -> None:
        """Take this one.  Raises: KeyError if it does not wait here."""
        priority = self.tasks.pop(task)
        level = self._levels[priority]
        del level[task]
        if not level:
            self._drop(priority)

    def drain(self) -> list[int]:
        """Take all, in their order."""
        drained = list(self)
        self._levels.clear()
        self._order.clear()
        self.tasks.clear()
        return drained

    def _level(self, priority: int) -> OrderedDict[int, None]:
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = OrderedDict()
            self._order.append(priority)
            self._order.sort(reverse=True)
        return level

    def _drop(self, priority: int) -> None:
        del self._levels[priority]
        self._order.remove(priority)
