"""Events and effects of the dispatch machine: what happens to a client's nodes, servers, tasks; what is to be done.

An event is a past fact, an effect an order.  Nodes and servers are named by their incarnation, tasks by a number.
The two dataclasses have a field that does not count when they are compared; all others are made faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from parkcos.client import returning_events as r
from parkcos.client.records import Task
from parkcos.cluster.node_info import NodeInfo

# -- events


class Offered(msgspec.Struct, frozen=True):
    """The scheduler offers a node, and the client's allocations say how many servers it wants there."""

    info: NodeInfo
    cpus: int


class Granted(msgspec.Struct, frozen=True):
    node: int


class NodeIsReady(msgspec.Struct, frozen=True):
    """setup_id, here and below: of which setup the node speaks; None: of no certain one."""

    node: int
    setup_id: int | None = None


class NodeHasFailed(msgspec.Struct, frozen=True):
    """The node says so; or the scheduler: it cannot be had (NodeUnusable)."""

    node: int
    error: str
    setup: bool = False
    """The client's components or its node_setup are the reason."""
    died: bool = False
    """What starts its servers has died, and they with it; the node itself is there."""
    setup_id: int | None = None


class NodeHasClosed(msgspec.Struct, frozen=True):
    node: int
    reason: str = ""
    """If the client has not asked for it."""
    kept: bool = False
    """It is still reserved for this client, to be set up again."""
    setup_id: int | None = None


class ServerIsUp(msgspec.Struct, frozen=True):
    """index: its place at the node, which those have, too, that the node starts when it ends; own: as in StartOwn."""

    node: int
    server: int
    addr: str
    port: int
    index: int = 0
    own: int = 0


class ServerIsReady(msgspec.Struct, frozen=True):
    server: int


class NodeIsLeaving(msgspec.Struct, frozen=True):
    """Its servers are about to end, all of them."""

    node: int
    setup_id: int | None = None


class ServerIsLeaving(msgspec.Struct, frozen=True):
    """It says that it is about to end."""

    server: int


class ServerSetupFailed(msgspec.Struct, frozen=True):
    server: int
    error: str


class ServerIsDown(msgspec.Struct, frozen=True):
    """Its node says that it ended."""

    server: int
    reason: str
    restarts: bool
    asked: bool


class OwnIsRefused(msgspec.Struct, frozen=True):
    """A node says that it has not started a process beside its servers, or that this ended before it was up.

    setup: its space cannot be opened there.
    """

    node: int
    own: int
    reason: str
    setup: bool = False


class ProcessLost(msgspec.Struct, frozen=True):
    """A session ended for good."""

    process: int
    reason: str


class Submitted(msgspec.Struct, frozen=True):
    """task: its record, which is the machine's from now on."""

    task: Task


class Admitted(msgspec.Struct, frozen=True):
    """These servers are accepted by a function that chooses where tasks may run."""

    choice: int
    servers: tuple[int, ...]


class SpaceDropped(msgspec.Struct, frozen=True):
    """A space with processes of its own is needed no more.  Its tasks were cancelled before."""

    space: int


class CancelAsked(msgspec.Struct, frozen=True):
    """A task is to end, wherever it is, and not to run again."""

    task: int
    reason: str = "it was cancelled"


class Started(msgspec.Struct, frozen=True):
    """server, here and below: the one that says so; remote_id: what it calls the task."""

    task: int
    server: int = 0
    remote_id: int = 0


class Refused(msgspec.Struct, frozen=True):
    task: int
    error: str
    server: int = 0


class Ended(msgspec.Struct, frozen=True):
    """cut: it was interrupted because its server ends."""

    task: int
    seconds: float
    cut: bool = False
    server: int = 0
    remote_id: int = 0


class Recalled(msgspec.Struct, frozen=True):
    """ok: it has not begun and never will there.  Unasked: the server is closing and gives it back."""

    task: int
    ok: bool
    server: int = 0


class Judged(msgspec.Struct, frozen=True):
    """The end of a run was looked at.  again: why it is to run again, if its retries allow it; "": it does not."""

    task: int
    again: str = ""


class SchedulerLost(msgspec.Struct, frozen=True):
    """No further node will be offered or granted.  reason: a clause, as "the scheduler is gone"."""

    reason: str


class TurnBegun(msgspec.Struct, frozen=True):
    """Anew, at a scheduler that does not know what it, or the one before it, had offered and was asked for."""


class CloseAsked(msgspec.Struct, frozen=True):
    """terminate: wait for no task; await_io: wait for I/O tasks too; why: if not the program has asked for it."""

    terminate: bool
    await_io: bool = False
    why: str = ""


class SuspendAsked(msgspec.Struct, frozen=True):
    """Nothing more is to be given to a node or server; or (suspend False) again."""

    number: int
    suspend: bool


class SilenceSeen(msgspec.Struct, frozen=True):
    """Nothing was heard of a node or server for a while; or (silent False) now it is heard again."""

    process: int
    silent: bool
    reason: str = ""


class LoadSeen(msgspec.Struct, frozen=True):
    """What a node says of itself.  busy: the share of its processors in use, None: unknown; short: of what, or ""."""

    node: int
    busy: float | None
    short: str = ""


class EnableAsked(msgspec.Struct, frozen=True):
    """A node or server that waits for the client's program (`disable_nodes`, `disable_servers`) may begin."""

    number: int


class CloseServerAsked(msgspec.Struct, frozen=True):
    server: int
    terminate: bool
    restart: bool


class CloseNodeAsked(msgspec.Struct, frozen=True):
    """restart: it is set up again for this client when its servers have ended."""

    node: int
    terminate: bool
    restart: bool


class Reallocated(msgspec.Struct, frozen=True):
    """The client's allocations have changed: what it is closing it may want again."""


class AbandonAsked(msgspec.Struct, frozen=True):
    """Whether a silent node is given up at once.  node: 0 for all."""

    node: int
    abandon: bool


class TimePassed(msgspec.Struct, frozen=True):
    pass


Event = (
    r.Event
    | Offered
    | Granted
    | NodeIsReady
    | NodeHasFailed
    | NodeHasClosed
    | ServerIsUp
    | ServerIsReady
    | NodeIsLeaving
    | ServerIsLeaving
    | ServerSetupFailed
    | ServerIsDown
    | OwnIsRefused
    | ProcessLost
    | Submitted
    | Admitted
    | SpaceDropped
    | CancelAsked
    | Started
    | Refused
    | Ended
    | Recalled
    | Judged
    | SchedulerLost
    | TurnBegun
    | CloseAsked
    | SuspendAsked
    | SilenceSeen
    | LoadSeen
    | EnableAsked
    | CloseServerAsked
    | CloseNodeAsked
    | Reallocated
    | AbandonAsked
    | TimePassed
)

# -- effects


class Want(msgspec.Struct, frozen=True):
    """Answer an offer."""

    node: int
    cpus: int


class Consider(msgspec.Struct, frozen=True):
    """It was closed, and the allocations have changed since: treat it as if it were offered."""

    node: int


@dataclass(frozen=True, slots=True)
class SetupNode:
    """setup_id: to tell what is said of this setup from what was said of an earlier one."""

    node: int
    cpus: int
    setup_id: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class CloseNode:
    """keep: it stays reserved for this client, and is set up again; setup_id: of its last setup, 0: there was none."""

    node: int
    terminate: bool
    keep: bool = False
    setup_id: int = field(default=0, compare=False)


class CloseServer(msgspec.Struct, frozen=True):
    """Ask the server's node to end it, and to start another in its place or not."""

    node: int
    server: int
    terminate: bool
    restart: bool


class OpenSpace(msgspec.Struct, frozen=True):
    """Tell a node of a space, before the first process of it is asked for."""

    node: int
    space: int


class CloseSpace(msgspec.Struct, frozen=True):
    """The node may forget it; what runs there ends."""

    node: int
    space: int


class StartOwn(msgspec.Struct, frozen=True):
    """Ask a node for a process beside its servers.  own: the client's number for it; space: of which it is to be."""

    node: int
    own: int
    niceness: int = 0
    space: int = 0


class EndOwn(msgspec.Struct, frozen=True):
    """Ask the node to end it, whether it is up or not."""

    node: int
    own: int
    terminate: bool


class Dismiss(msgspec.Struct, frozen=True):
    """End the session with a process that was given up: what it sends later is not listened to."""

    process: int
    reason: str


class OpenServer(msgspec.Struct, frozen=True):
    server: int


class Run(msgspec.Struct, frozen=True):
    task: int
    server: int
    io: bool


class Recall(msgspec.Struct, frozen=True):
    task: int
    server: int


class EndTask(msgspec.Struct, frozen=True):
    task: int
    server: int


class ReportStarted(msgspec.Struct, frozen=True):
    task: int
    server: int
    remote_id: int = 0


class ReportRefused(msgspec.Struct, frozen=True):
    task: int
    error: str


class ReportAbandoned(msgspec.Struct, frozen=True):
    """timed_out: its server was ended because it did not end in time."""

    task: int
    reason: str
    started: bool
    timed_out: bool = False


class ReportRetried(msgspec.Struct, frozen=True):
    """It was lost with its server, or failed in a way for which it is tried again: it will run again."""

    task: int
    reason: str


class ReportStatus(msgspec.Struct, frozen=True):
    """For the client's status_task.  name: of the status in chapter 6.5; subject: a node's or server's number."""

    name: str
    subject: int
    reason: str = ""
    own: bool = False
    """It is of a process beside the servers, of which the client's program hears nothing."""


class LeaveScheduler(msgspec.Struct, frozen=True):
    """Everything is closed: the next client's turn."""


Effect = (
    r.Effect
    | Want
    | Consider
    | SetupNode
    | CloseNode
    | CloseServer
    | OpenSpace
    | CloseSpace
    | StartOwn
    | EndOwn
    | Dismiss
    | OpenServer
    | Run
    | Recall
    | EndTask
    | ReportStarted
    | ReportRefused
    | ReportAbandoned
    | ReportRetried
    | ReportStatus
    | LeaveScheduler
)
