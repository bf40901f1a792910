"""What those are told who watch a client: a dashboard, an adaptive cluster, a service of jobs.

An observer is told complete events: each says all about its subject that an observer may want to know, so none needs
to look into the client.  Nodes, servers and tasks are named by numbers that are never used again in this client; the
same numbers may be given to :meth:`Client.control` and :meth:`Client.cancel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from parkcos.kernel import Outcome
from parkcos.net.location import Location


class ClientChanged(msgspec.Struct, frozen=True):
    """state: new, waiting, running or closed.  place: in the queue of its scheduler, 1 when it has its turn.  location:
    where the client is, once it has its turn."""

    id: int
    name: str
    state: str
    reason: str = ""
    place: int = 0
    location: Location | None = None


class NodeChanged(msgspec.Struct, frozen=True):
    """state: discovered, disabled, setup, running, suspended, short (of memory or disk space), silent, closing; and at
    last closed or lost.  memory, disk: bytes in all, None: not known."""

    node: int
    name: str
    location: Location
    platform: str
    cpus: int
    memory: int | None
    disk: int | None
    state: str
    reason: str = ""


class NodeLoad(msgspec.Struct, frozen=True):
    """What a node has to spare: cpu and swap in percent, memory and disk in bytes."""

    node: int
    cpu: float | None
    memory: int | None
    disk: int | None
    swap: int | None


class ServerChanged(msgspec.Struct, frozen=True):
    """state: setup, running, suspended, silent, closing; and at last closed or lost.  name: of its node and its number
    there.  own: it is beside the servers: for a single task, or of a space."""

    server: int
    node: int
    name: str
    location: Location
    state: str
    reason: str = ""
    own: bool = False


class Printed(msgspec.Struct, frozen=True):
    """Lines that were printed at a server; server 0: by the setup of the node."""

    node: int
    server: int
    lines: list[str]


class TaskSubmitted(msgspec.Struct, frozen=True):
    """calls: the arguments of each, if it is a chunk of calls; then `args` is not what the program has written."""

    task: int
    name: str
    io: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: Sequence[tuple[Any, ...]] = ()


class TaskStarted(msgspec.Struct, frozen=True):
    task: int
    name: str
    io: bool
    server: int
    node: int


class TaskRequeued(msgspec.Struct, frozen=True):
    """It was lost with its server, or raised what its options name, and runs again."""

    task: int
    reason: str


class TaskEnded(msgspec.Struct, frozen=True):
    """state: finished, failed, terminated, cancelled (before it began), timed_out, lost.

    outcome: what has come of it, None if it never began; calls: that of each, if it was a chunk of calls.
    server, node: where it ran last, 0: it never began.
    """

    task: int
    state: str
    reason: str = ""
    outcome: Outcome | None = None
    calls: Sequence[Outcome] = ()
    server: int = 0
    node: int = 0


Event = (
    ClientChanged
    | NodeChanged
    | NodeLoad
    | ServerChanged
    | Printed
    | TaskSubmitted
    | TaskStarted
    | TaskRequeued
    | TaskEnded
)


class Observer(Protocol):
    """Who watches: ``client.observe(observer)``."""

    def told(self, event: Event) -> None:
        """Something has happened.  In any thread, one at a time: be quick, wait for nothing, raise nothing."""
