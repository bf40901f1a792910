"""What the node machine (state.py) is told, and what it orders."""

from __future__ import annotations

from dataclasses import dataclass

from parkcos.cluster import messages as m

# -- events


@dataclass(frozen=True, slots=True)
class SchedulerSeen:
    process: int


@dataclass(frozen=True, slots=True)
class ReserveAsked:
    process: int
    """The scheduler's."""
    client: int
    client_process: int
    zombie_period_s: float = 0.0
    """The scheduler's; the node may have one of its own."""


@dataclass(frozen=True, slots=True)
class ReleaseAsked:
    client: int


@dataclass(frozen=True, slots=True)
class SetupAsked:
    client: int
    cpus: int
    restart_servers: bool
    process: int = 0
    """Who asks."""
    setup_id: int = 0
    """The client's number for this setup, with which it is told what comes of it."""


@dataclass(frozen=True, slots=True)
class SetupDone:
    """The zygote has opened the bundle and run node_setup."""


@dataclass(frozen=True, slots=True)
class SetupFailed:
    """setup: the client's components or its node_setup are the reason; else it is this node, and none of it has run."""

    error: str
    setup: bool = True


@dataclass(frozen=True, slots=True)
class ServerListening:
    index: int
    port: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class ServerExited:
    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class ZygoteExited:
    """The zygote ended, because it was closed or by accident; with it all its servers.

    Exactly once for each OpenZygote, and the last that is said of that zygote and its servers.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class CloseAsked:
    """why: what the client is told, if it is not it that asked; keep: the node stays reserved for it.

    process: the client's that asks, 0: it was somebody else; setup_id: of which setup.
    """

    client: int
    terminate: bool
    why: str = ""
    keep: bool = False
    process: int = 0
    setup_id: int = 0


@dataclass(frozen=True, slots=True)
class CloseServerAsked:
    client: int
    server: int
    terminate: bool
    restart: bool


@dataclass(frozen=True, slots=True)
class ProcessLost:
    process: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The node program is to end.  terminate: at once; else when its client has closed."""

    terminate: bool


@dataclass(frozen=True, slots=True)
class HoursChanged:
    """The hours of service.  closed: why no client is taken now, ended: why the present one has to go; "": not so."""

    closed: str
    ended: str = ""


@dataclass(frozen=True, slots=True)
class TasksSeen:
    """What the servers do.  last: when one of them last began or ended a task, 0 if none has."""

    running: int
    last: float


@dataclass(frozen=True, slots=True)
class TimePassed:
    pass


Event = (
    SchedulerSeen
    | ReserveAsked
    | ReleaseAsked
    | SetupAsked
    | SetupDone
    | SetupFailed
    | ServerListening
    | ServerExited
    | ZygoteExited
    | CloseAsked
    | CloseServerAsked
    | ProcessLost
    | StopAsked
    | HoursChanged
    | TasksSeen
    | TimePassed
)

# -- effects


@dataclass(frozen=True, slots=True)
class ToScheduler:
    process: int
    message: m.NodeAnswer | None
    """None: say NodeState."""


@dataclass(frozen=True, slots=True)
class ToClient:
    process: int
    message: m.Message


@dataclass(frozen=True, slots=True)
class OpenZygote:
    client: int


@dataclass(frozen=True, slots=True)
class ForkServer:
    index: int


@dataclass(frozen=True, slots=True)
class EndServer:
    """Ask a server to end itself.

    grace_s: how long its tasks have for it; negative: its CPU tasks may run to their end.
    """

    index: int
    grace_s: float


@dataclass(frozen=True, slots=True)
class KillServer:
    index: int


@dataclass(frozen=True, slots=True)
class CloseZygote:
    """Kill whatever is left of the client's processes and remove its files; then report ZygoteExited."""


@dataclass(frozen=True, slots=True)
class KillZygote:
    """It runs the client's node_setup, and so does not hear that it is to close: kill it, and what it has started."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The node program may end."""


Effect = ToScheduler | ToClient | OpenZygote | ForkServer | EndServer | KillServer | CloseZygote | KillZygote | Stop
