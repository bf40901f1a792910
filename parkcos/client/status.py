"""What a client's status_task is told: values, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from parkcos.errors import TaskAbandoned, TaskTerminated
from parkcos.kernel import Task
from parkcos.net.location import Location


class Statuses:
    """The numbers that `Status.status` may have.  Source: chapter 6.5, and its later versions."""

    NodeDiscovered = 2
    NodeInitialized = 3
    NodeSuspended = 4
    NodeResumed = 5
    NodeClosed = 6
    NodeDisconnected = 7
    """Lost, or not usable; or nothing is heard of it: then NodeResumed or NodeAbandoned follows."""
    NodeAbandoned = 8
    ServerDiscovered = 12
    ServerInitialized = 13
    ServerSuspended = 14
    ServerResumed = 15
    ServerClosed = 16
    ServerDisconnected = 17
    """As NodeDisconnected."""
    ServerAbandoned = 18
    TaskStarted = TaskCreated = 21
    ClientScheduled = 31
    ClientClosed = 32

    TaskAbandoned = TaskAbandoned
    """The `type` of the MonitorStatus of a task that was lost with its server."""
    TaskTerminated = TaskTerminated
    """The `type` of the MonitorStatus of a task that was terminated."""


@dataclass(frozen=True)
class Status:
    """A change of state.  status: one of `Scheduler`'s numbers; info: what it is about, as chapter 6.5 says.

    For nodes `info` is a NodeAvailInfo, for servers a Location, for a started task a TaskInfo, for the client None.
    """

    status: int
    info: Any
    reason: str = ""

    def __repr__(self) -> str:
        names = [n for n, v in vars(Statuses).items() if v == self.status and n[0] != "_"]
        reason = f", {self.reason}" if self.reason else ""
        return f"Status({names[-1] if names else self.status}, {self.info!r}{reason})"


@dataclass(frozen=True)
class NodeAvailInfo:
    """What a node has to offer.  Source: chapter 6.6.

    location: of the node; cpu: idle share in percent; memory, disk, swap: free bytes; None where it is not known.
    status: None: a status_task that compares ``message.status`` need not ask first whether it has one.
    """

    status: ClassVar[None] = None

    location: Location
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    swap: int | None = None
    name: str = ""
    cpus: int = 0
    platform: str = ""


@dataclass(frozen=True)
class TaskInfo:
    """A task that was started.  task: its reference; args, kwargs: of the call; start_time: seconds since the epoch."""

    task: Task
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    start_time: float = field(compare=False, default=0.0)
