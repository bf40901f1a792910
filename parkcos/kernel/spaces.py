"""Spaces: what keeps definitions of the same name apart in one process.  Here they are found again.

A space is the modules of a part of a client's program (cluster/namespace.py makes it).  Its code carries it among its
builtins, and a task is in the space of its code.  What a process has without spaces is in none: None.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from parkcos.kernel.task import Task

KEY = "__parkcos_space__"
"""The name of a space among the builtins of its code."""


class Space(Protocol):
    """What others than its maker need of it."""

    number: int
    builtins: dict[str, Any]

    def find(self, module: str, name: str) -> Any:
        """What a pickle means by these; None if that module is none of its own.  Raises: ShippingError."""

    def has(self, obj: Any, module: str, name: str) -> bool:
        """Whether it is `obj` that is found so."""

    def import_module(self, name: str) -> Any:
        """Its own module of that name, else that of the process."""

    def file_of(self, name: str) -> str:
        """What a source file is called in the tracebacks of its code."""


used = False
"""Whether there has been one: until then nothing need be asked."""

home: Space | None = None
"""What code that is in no space is in."""

alive: weakref.WeakSet[Space] = weakref.WeakSet()


class _Inside(threading.local):
    space: Space | None = None


_inside = _Inside()


def inside() -> Space | None:
    """That of what is being opened in this thread."""
    return _inside.space


@contextlib.contextmanager
def within(space: Space | None) -> Iterator[None]:
    """What is opened in this block is of this space."""
    before, _inside.space = _inside.space, space
    try:
        yield
    finally:
        _inside.space = before


def add(space: Space) -> None:
    """From now on it is found."""
    global used
    used = True
    alive.add(space)


def of_task(task: Task | None) -> Space | None:
    """That in which a task of this process was put, else that of its code."""
    if not used or task is None or not task.is_local:
        return None
    if task._rare is not None and task._rare.space is not None:
        return task._rare.space
    for gen in (task._gen, *(task._stack or ())):
        frame = getattr(gen, "gi_frame", None) or getattr(gen, "cr_frame", None)
        if frame is not None and (space := frame.f_builtins.get(KEY)) is not None:
            return space  # type: ignore[no-any-return]
    return None


def of_function(function: Any) -> Space | None:
    """That of a function, a method, or what calls one."""
    while (inner := getattr(function, "func", None) or getattr(function, "__func__", None)) is not None:
        function = inner
    if not hasattr(function, "__builtins__"):
        function = vars(type(function)).get("__call__")
    found: Space | None = getattr(function, "__builtins__", {}).get(KEY)
    return found


def home_of(obj: Any) -> Space | None:
    """That in which a class, a function or the like is found by its name."""
    module = getattr(obj, "__module__", None)
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    return next((space for space in list(alive) if space.has(obj, module, name)), None)
