"""The names under which tasks, channels and remote services of one process can be found.

One ``Names`` per kernel: ``kernel.names.tasks``, ``.channels`` and ``.services``.  Changed in the kernel thread or any
other; each change is one dictionary operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from parkcos.kernel.channel import Channel
    from parkcos.kernel.task import Task

__all__ = ["NameTable", "Names"]

T = TypeVar("T")


class NameTable(Generic[T]):
    """Names of one kind of thing; a name stands for one thing, a thing may have several names."""

    __slots__ = ("_things",)

    def __init__(self) -> None:
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> bool:
        """Give `thing` the name; False if another thing has it (registering the same twice is fine)."""
        return self._things.setdefault(name, thing) is thing

    def unregister(self, name: str, thing: T) -> bool:
        """Take the name from `thing`; False if it has not got it."""
        if self._things.get(name) is not thing:
            return False
        del self._things[name]
        return True

    def get(self, name: str) -> T | None:
        """The thing of that name, None if there is none."""
        return self._things.get(name)

    def names_of(self, thing: T) -> list[str]:
        """All names of `thing`, in order of registration."""
        return [name for name, other in list(self._things.items()) if other is thing]

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things


class Names:
    """The tables of one kernel, by kind.  services: those that networking offers to other processes."""

    __slots__ = ("channels", "services", "tasks")

    def __init__(self) -> None:
        self.tasks: NameTable[Task] = NameTable()
        self.channels: NameTable[Channel] = NameTable()
        self.services: NameTable[Any] = NameTable()

    def get(self, kind: str, name: str) -> Any:
        """What has this name among the things of one kind ("task", "channel", "rps"), None if nothing has."""
        tables: dict[str, NameTable[Any]] = {"task": self.tasks, "channel": self.channels, "rps": self.services}
        return tables[kind].get(name) if kind in tables else None
