"""What the node machine (state.py) is told, and what it orders."""

from __future__ import annotations

import msgspec

from parkcos.cluster import messages as m
from parkcos.cluster.message import Message

# -- events


class SchedulerSeen(msgspec.Struct, frozen=True):
    process: int


class ReserveAsked(msgspec.Struct, frozen=True):
    process: int
    """The scheduler's."""
    client: int
    client_process: int
    zombie_period_s: float = 0.0
    """The scheduler's; the node may have one of its own."""


class ReleaseAsked(msgspec.Struct, frozen=True):
    client: int
    process: int
    """The scheduler's."""


class SetupAsked(msgspec.Struct, frozen=True):
    client: int
    cpus: int
    restart_servers: bool
    process: int = 0
    """Who asks."""
    setup_id: int = 0
    """The client's number for this setup, with which it is told what comes of it."""
    run: int = 0
    """Of the client's program, if the client may return."""
    orphan_s: float = 0.0
    """How long its servers go on after that was lost."""


class ClientReturned(msgspec.Struct, frozen=True):
    """Another program of a client that may return, as it has proven: run counts its programs."""

    client: int
    process: int
    run: int


class SetupDone(msgspec.Struct, frozen=True):
    """The zygote has opened the bundle and run node_setup.  space, here and below: of which; 0: the client's own."""

    space: int = 0


class SetupFailed(msgspec.Struct, frozen=True):
    """setup: the client's components or its node_setup are the reason; else it is this node, and none of it has run."""

    error: str
    setup: bool = True
    space: int = 0


class ServerListening(msgspec.Struct, frozen=True):
    index: int
    port: int
    incarnation: int


class ServerExited(msgspec.Struct, frozen=True):
    index: int
    reason: str


class ZygoteExited(msgspec.Struct, frozen=True):
    """The zygote ended, because it was closed or by accident; with it all its servers.

    Exactly once for each OpenZygote, and the last that is said of that zygote and its servers.
    """

    reason: str
    space: int = 0


class ServerExceeded(msgspec.Struct, frozen=True):
    """It uses more of this node than it may.  why: in words."""

    index: int
    why: str


class CloseAsked(msgspec.Struct, frozen=True):
    """why: what the client is told, if it is not it that asked; keep: the node stays reserved for it.

    process: the client's that asks, 0: it was somebody else; setup_id: of which setup.
    """

    client: int
    terminate: bool
    why: str = ""
    keep: bool = False
    process: int = 0
    setup_id: int = 0


class CloseServerAsked(msgspec.Struct, frozen=True):
    client: int
    server: int
    terminate: bool
    restart: bool


class SpaceAsked(msgspec.Struct, frozen=True):
    """The client wants a zygote for a space: process: the client's."""

    client: int
    space: int
    process: int = 0


class CloseSpaceAsked(msgspec.Struct, frozen=True):
    """The client needs it no more, nor what runs there."""

    client: int
    space: int


class OwnAsked(msgspec.Struct, frozen=True):
    """The client wants a process beside the servers: for one task alone, or of a space.

    own: the client's number for it; process: the client's; memory: that is free here, in bytes, None: nobody knows.
    """

    client: int
    own: int
    niceness: int = 0
    process: int = 0
    memory: int | None = None
    space: int = 0


class EndOwnAsked(msgspec.Struct, frozen=True):
    """The client needs such a process no more.  terminate: what runs there is not waited for."""

    client: int
    own: int
    terminate: bool


class ProcessLost(msgspec.Struct, frozen=True):
    process: int
    reason: str


class StopAsked(msgspec.Struct, frozen=True):
    """The node program is to end.  terminate: at once; else when its client has closed."""

    terminate: bool


class HoursChanged(msgspec.Struct, frozen=True):
    """The hours of service.  closed: why no client is taken now, ended: why the present one has to go; "": not so."""

    closed: str
    ended: str = ""


class TasksSeen(msgspec.Struct, frozen=True):
    """What the servers do.  last: when one of them last began or ended a task, 0 if none has."""

    running: int
    last: float


class TimePassed(msgspec.Struct, frozen=True):
    pass


Event = (
    SchedulerSeen
    | ReserveAsked
    | ReleaseAsked
    | SetupAsked
    | ClientReturned
    | SetupDone
    | SetupFailed
    | ServerListening
    | ServerExited
    | ZygoteExited
    | CloseAsked
    | ServerExceeded
    | CloseServerAsked
    | SpaceAsked
    | CloseSpaceAsked
    | OwnAsked
    | EndOwnAsked
    | ProcessLost
    | StopAsked
    | HoursChanged
    | TasksSeen
    | TimePassed
)

# -- effects


class ToScheduler(msgspec.Struct, frozen=True):
    process: int
    message: m.NodeAnswer | None
    """None: say NodeState."""


class ToClient(msgspec.Struct, frozen=True):
    process: int
    message: Message


class OpenZygote(msgspec.Struct, frozen=True):
    """space: for which; 0: for the client's own servers."""

    client: int
    space: int = 0


class ForkServer(msgspec.Struct, frozen=True):
    """own: beside the servers, whose place no other takes; niceness: is added to that of the node."""

    index: int
    own: bool = False
    niceness: int = 0


class EndServer(msgspec.Struct, frozen=True):
    """Ask a server to end itself.

    grace_s: how long its tasks have for it; negative: its CPU tasks may run to their end.
    """

    index: int
    grace_s: float


class KillServer(msgspec.Struct, frozen=True):
    index: int
    why: str = "did not end in time"


class CloseZygote(msgspec.Struct, frozen=True):
    """Kill whatever is left of its processes and remove its files; then report ZygoteExited."""

    space: int = 0


class KillZygote(msgspec.Struct, frozen=True):
    """It runs the client's node_setup, and so does not hear that it is to close: kill it, and what it has started."""


class Stop(msgspec.Struct, frozen=True):
    """The node program may end."""


Effect = ToScheduler | ToClient | OpenZygote | ForkServer | EndServer | KillServer | CloseZygote | KillZygote | Stop
