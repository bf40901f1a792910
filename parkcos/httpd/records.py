"""What the dashboard shows: the records as viewers get them (JSON), and the events that they are made from.

Nodes and servers are named by their incarnation here, and by the same in hexadecimal in the records: a browser's
numbers are not wide enough.  Tasks are named by the number that their client gave them.  Times are seconds since the
epoch, 0: not yet.
"""

from __future__ import annotations

import msgspec

# The states, as docs/dashboard.md explains them.

NODE_ENDED = frozenset({"closed", "lost"})
SERVER_ENDED = NODE_ENDED
TASK_ENDED = frozenset({"finished", "failed", "terminated", "timed_out", "lost", "cancelled"})
TASK_STATES = TASK_ENDED | {"queued", "running"}
TASK_FAILED = frozenset({"failed", "timed_out", "lost"})

Point = tuple[float, int, float, float | None]
"""time, running tasks, tasks per second, CPU in use in percent."""
NodePoint = tuple[float, float | None, int | None, int]
"""time, CPU in use in percent, available memory in bytes, running tasks."""


def hexed(number: int) -> str:
    """As the records name a node or server; "" for 0."""
    return f"{number:x}" if number else ""


class NodeRecord(msgspec.Struct):
    """cpu: free, in percent; memory, disk, swap: available, in bytes; servers: how many it has now; pulse: when it last
    said what it has; client: whom it serves, in a scheduler's dashboard."""

    id: str
    name: str = ""
    addr: str = ""
    port: int = 0
    platform: str = ""
    state: str = "discovered"
    reason: str = ""
    cpus: int = 0
    servers: int = 0
    submitted: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    swap: int | None = None
    pulse: float = 0.0
    client: str = ""


class ServerRecord(msgspec.Struct):
    """submitted: how many tasks have begun there."""

    id: str
    node: str
    name: str = ""
    addr: str = ""
    port: int = 0
    state: str = "setup"
    reason: str = ""
    submitted: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0


class TaskRecord(msgspec.Struct):
    """args: shortened; None: not shown, or not known yet; error: the last line of the traceback, or why it was lost."""

    id: int
    name: str
    server: str = ""
    node: str = ""
    io: bool = False
    args: str | None = None
    state: str = "queued"
    submitted: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    error: str = ""


class ClientRecord(msgspec.Struct):
    """A client in a scheduler's queue.  position: in the queue, as the logs say it; 1 has its turn."""

    id: str
    name: str
    addr: str
    position: int
    state: str
    since: float


class Totals(msgspec.Struct):
    """done: ended in any way; failed: of these, with an error, too late, or lost; left_out: ended, and not shown any
    more."""

    submitted: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    left_out: int = 0


class Settings(msgspec.Struct):
    poll_s: float
    show_args: bool


class State(msgspec.Struct):
    """Everything that a viewer sees."""

    revision: int
    epoch: str
    kind: str
    name: str
    state: str
    reason: str
    time: float
    started: float
    version: str
    settings: Settings
    totals: Totals
    nodes: list[NodeRecord]
    servers: list[ServerRecord]
    tasks: list[TaskRecord]
    clients: list[ClientRecord]
    history: list[Point]


class Gone(msgspec.Struct):
    """What is not shown any more."""

    nodes: list[str]
    servers: list[str]
    tasks: list[int]


class Changes(msgspec.Struct):
    """What has changed since a revision: whole records.  clients: None if they have not."""

    revision: int
    time: float
    state: str
    reason: str
    totals: Totals
    settings: Settings
    nodes: list[NodeRecord]
    servers: list[ServerRecord]
    tasks: list[TaskRecord]
    clients: list[ClientRecord] | None
    gone: Gone
    history: list[Point]


class Detail(msgspec.Struct):
    """Of a task, for who looks at it alone."""

    args: str | None = None
    traceback: str = ""
    result: str | None = None

    @property
    def size(self) -> int:
        """In characters."""
        return len(self.args or "") + len(self.traceback) + len(self.result or "")


# -- answers


class NodeAnswer(msgspec.Struct):
    """output: the last lines of its setup."""

    node: NodeRecord
    history: list[NodePoint]
    output: list[str]


class ServerAnswer(msgspec.Struct):
    """output: the last lines of its tasks."""

    server: ServerRecord
    output: list[str]


class TaskAnswer(msgspec.Struct):
    """args: None: not shown, or not known yet."""

    task: TaskRecord
    args: str | None
    traceback: str
    result: str | None


class TasksAnswer(msgspec.Struct):
    """total: how many there are, of which `tasks` are a part."""

    tasks: list[TaskRecord]
    total: int


class Available(msgspec.Struct):
    """As NodeAvailInfo: percent, and bytes."""

    cpu: float | None
    memory: int | None
    disk: int | None
    swap: int | None


class NodeStatus(msgspec.Struct):
    """A node with the names of pycos."""

    name: str
    addr: str
    status: str
    servers: int
    update_time: float
    tasks_submitted: int
    tasks_done: int
    avail_info: Available


class Done(msgspec.Struct):
    """Of what was to be done."""

    ok: bool = True


class Terminated(msgspec.Struct):
    """missed: those that had ended, or just began."""

    missed: list[int]
    ok: bool = True


# -- events


class NodeSeen(msgspec.Struct):
    """memory, disk: bytes, None: not known."""

    node: int
    name: str
    addr: str
    port: int
    platform: str
    cpus: int
    memory: int | None = None
    disk: int | None = None


class NodeChanged(msgspec.Struct):
    node: int
    state: str
    reason: str = ""
    client: str = ""


class NodeLoad(msgspec.Struct):
    node: int
    cpu: float | None
    memory: int | None
    disk: int | None
    swap: int | None


class ServerSeen(msgspec.Struct):
    server: int
    node: int
    name: str
    addr: str
    port: int


class ServerChanged(msgspec.Struct):
    server: int
    state: str
    reason: str = ""


class TaskSubmitted(msgspec.Struct):
    task: int
    name: str
    io: bool


class TaskStarted(msgspec.Struct):
    task: int
    server: int
    node: int
    name: str
    io: bool


class TaskRequeued(msgspec.Struct):
    """It was lost with its server, or raised what its options name, and will be run again."""

    task: int
    reason: str


class TaskEnded(msgspec.Struct):
    task: int
    state: str
    error: str = ""
    traceback: str = ""


class TaskDescribed(msgspec.Struct):
    """Its arguments, or its result, as text."""

    task: int
    args: str | None = None
    result: str | None = None


class Printed(msgspec.Struct):
    """By the tasks of a server; server 0: by the setup of a node."""

    server: int
    node: int
    lines: list[str]


class StateChanged(msgspec.Struct):
    state: str
    reason: str = ""


class QueueChanged(msgspec.Struct):
    clients: list[ClientRecord]


class SettingsChanged(msgspec.Struct):
    """None: as it was."""

    poll_s: float | None = None
    show_args: bool | None = None


Event = (
    NodeSeen
    | NodeChanged
    | NodeLoad
    | ServerSeen
    | ServerChanged
    | TaskSubmitted
    | TaskStarted
    | TaskRequeued
    | TaskEnded
    | TaskDescribed
    | Printed
    | StateChanged
    | QueueChanged
    | SettingsChanged
)
