"""The tasks of this process that others may reach: those of which a reference has left it.

Each is known outside by a number that nobody can guess, which only a reference carries.  So whoever says it was given
the reference, or was told of it by somebody who was, and is expected to send messages, to ask for the task's end, or to
end it; nobody else can.  The last bits of it are the task's id, by which people know it on both sides.

Any thread: a reference may be pickled wherever the program likes.
"""

from __future__ import annotations

import os
import struct
import threading
from weakref import WeakValueDictionary

from parkcos.kernel import Task

ID_BITS = 22
_ID_MASK = (1 << ID_BITS) - 1
SECRET_BITS = 40
"""Not to be guessed over a network, where each guess is a message."""
_STOCK = 256


class Exposed:
    """One for each network.

    Attributes:
        live: those that have not ended, by number.
    """

    def __init__(self) -> None:
        self.live: dict[int, Task] = {}
        self._known: WeakValueDictionary[int, Task] = WeakValueDictionary()
        """Also those that have ended, while somebody here holds them."""
        self._stock: list[int] = []
        self._lock = threading.Lock()
        """Covers the giving of a number to a task that others know."""

    def _new_number(self, task: Task) -> int:
        while True:
            try:
                return self._stock.pop() | task.id & _ID_MASK
            except IndexError:  # others may take of it meanwhile
                drawn = struct.unpack(f"{_STOCK}Q", os.urandom(8 * _STOCK))
                self._stock = [number >> (64 - SECRET_BITS) << ID_BITS for number in drawn]

    def begin(self, task: Task) -> int:
        """Expose a task that has just begun, until `end` is called.  Returns: its number."""
        number = task._number = self._new_number(task)  # without the lock: nobody else knows the task yet
        self.live[number] = task
        return number

    def end(self, number: int) -> None:
        """The task has ended."""
        self.live.pop(number, None)

    def number_of(self, task: Task) -> tuple[int, bool]:
        """The number by which a reference names a task, and whether it is new."""
        with self._lock:
            number, new = task._number, not task._number
            if new:
                number = task._number = self._new_number(task)
                if task.is_alive():
                    self.live[number] = task
            self._known[number] = task
            return number, new

    def find(self, number: int) -> Task | None:
        """The very task that a reference names which has come home; None if nobody here holds it any more."""
        return self.live.get(number) or self._known.get(number)


def id_of(number: int) -> int:
    """The id of the task with this number, in its process (of four million tasks the last)."""
    return number & _ID_MASK
