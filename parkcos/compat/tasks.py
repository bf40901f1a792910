"""Task, SysTask and Channel: parkcos's own with what pycos's have beside it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import parkcos
from parkcos.kernel import operation

if TYPE_CHECKING:
    from parkcos.compat.runtime import Pycos

_SYSTEM = "pycos-system-task "
"""What the names of system tasks begin with when they are registered."""


class _AnyTask(type):
    """Every task is a `pycos.Task`: references to remote ones are made where this layer is not known."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(parkcos.Task if cls is Task else cls, instance)


class Task(parkcos.Task, metaclass=_AnyTask):
    """A generator function that runs as a task; see :class:`parkcos.Task`, which this is."""

    __slots__ = ()

    @staticmethod
    def scheduler() -> Pycos:
        """What runs the tasks: ``Task.scheduler().join()`` waits for them."""
        from parkcos.compat.runtime import Pycos

        return Pycos.instance()


class _AnyChannel(type):
    """As of tasks."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(parkcos.Channel if cls is Channel else cls, instance)


class Channel(parkcos.Channel, metaclass=_AnyChannel):
    """See :class:`parkcos.Channel`."""

    __slots__ = ()

    def register(self) -> int:
        """Make it locatable under its name.  Do not yield it.  Returns: 0; -1 if the name is taken, also by itself."""
        return -1 if self.kernel.names.channels.get(self.name) is self else super().register()


class SysTask(Task):
    """A task with a name of its own kind, ``^name``, which `Task.locate` does not find.  It runs beside the others."""

    __slots__ = ()

    def __init__(self, fn: Any = None, /, *args: Any, **kwargs: Any) -> None:
        super().__init__(fn, *args, **kwargs)
        self.name = f"^{self.name}"

    def register(self, name: str | None = None) -> int:
        """Make it locatable.  Do not yield it.  Returns: 0; -1 if it cannot have the name."""
        return super().register(_SYSTEM + (self.name[1:] if name is None else name))

    def unregister(self, name: str | None = None) -> int:
        """Take the name back.  Do not yield it.  Returns: 0; -1 if it has not got it."""
        return super().unregister(_SYSTEM + (self.name[1:] if name is None else name))

    @staticmethod
    @operation
    def locate(name: str, location: Any = None, timeout: Any = None) -> Generator[Any, Any, Any]:
        """Yield it.  The system task registered as `name`; None."""
        return (yield parkcos.Task.locate(_SYSTEM + name, location, timeout))
