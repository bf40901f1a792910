"""The states of a task, as the kernel's hot loop compares them (``is``: they are small ints).

A task that is READY or HANDED stands exactly once in the ready queue (or runs right now); the difference is what
an exception thrown into it may do:  READY waits at a plain ``yield`` and can be thrown into at once, HANDED has the
result of a wait on its way (a message, a lock), which must reach it first so that nothing is lost.  A HANDED that
was left over from an earlier wait is harmless: the exception comes one turn later.
"""

from __future__ import annotations

from typing import Final

READY: Final = 0
HANDED: Final = 1
WAITING: Final = 2
RECEIVING: Final = 3
RECEIVING_TIMED: Final = 4
# every ended state is >= FINISHED
FINISHED: Final = 5
FAILED: Final = 6
TERMINATED: Final = 7


class Terminate(BaseException):
    """Internal: the mark for "terminate" among the exceptions on their way to a task."""


TERMINATE: Final = Terminate()
