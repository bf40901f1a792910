"""Timers: a heap of ``(when, number, target)`` with lazy deletion.

A target has the slot ``_timer`` (the number of its entry, 0 when it has none) and the method ``_on_timer()``.
Taking an entry back only sets ``_timer`` to 0; the entry is dropped when it comes up, and all dead ones at once as
soon as they are the majority, so a program that makes and drops timers for ever does not grow.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, Protocol

__all__ = ["Timer", "TimerTarget", "Timers"]

_COMPACT_MIN = 512


class TimerTarget(Protocol):
    _timer: int

    def _on_timer(self) -> None: ...


class Timer:
    """What ``kernel.call_later`` gives: one call of a function in the future.  Kernel thread only."""

    __slots__ = ("_args", "_fn", "_timer", "_timers")

    def __init__(self, timers: Timers, fn: Any, args: tuple[Any, ...]) -> None:
        self._timers = timers
        self._fn = fn
        self._args = args
        self._timer = 0

    def cancel(self) -> None:
        """Take the call back; does nothing if it was already made or taken back."""
        self._timers.drop(self)
        self._fn = self._args = None  # type: ignore[assignment]

    def _on_timer(self) -> None:
        fn, args = self._fn, self._args
        self._fn = self._args = None  # type: ignore[assignment]
        fn(*args)


class Timers:
    """The timers of one kernel.  ``heap`` keeps its identity, so the loop may hold on to it."""

    __slots__ = ("_dead", "_number", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, TimerTarget]] = []
        self._number = 0
        self._dead = 0

    def add(self, when: float, target: TimerTarget) -> None:
        """Call ``target._on_timer()`` once the kernel's clock shows `when` (seconds).  Ties go in order of adding."""
        self._number = target._timer = self._number + 1
        heappush(self.heap, (when, target._timer, target))

    def drop(self, target: TimerTarget) -> None:
        """Take back the timer of `target`, if it has one."""
        if target._timer:
            target._timer = 0
            self._dead += 1
            if self._dead > _COMPACT_MIN and self._dead * 2 > len(self.heap):
                self.heap[:] = [entry for entry in self.heap if entry[2]._timer == entry[1]]
                heapify(self.heap)
                self._dead = 0

    @property
    def number(self) -> int:
        """The number of the timer that was added last."""
        return self._number

    def pop_due(self, now: float, last: int) -> TimerTarget | None:
        """Take out the earliest live timer that is due at `now` (seconds) and return its target, None if there is none.

        One with a number above `last` was added by a timer of the same batch, and has to wait for the next.
        """
        heap = self.heap
        while heap and heap[0][0] <= now and heap[0][1] <= last:
            _, number, target = heappop(heap)
            if target._timer == number:
                target._timer = 0
                return target
            self._dead -= 1
        return None

    def next_when(self) -> float | None:
        """When the earliest live timer is due (seconds of the kernel's clock), None if there is no timer."""
        heap = self.heap
        while heap:
            when, number, target = heap[0]
            if target._timer == number:
                return when
            heappop(heap)
            self._dead -= 1
        return None

    def __len__(self) -> int:
        return len(self.heap) - self._dead
