"""What node, scheduler, client and servers say to each other: one closed schema for each receiver.

Functions, arguments and results are opaque bytes here; they travel beside the message, as its payload.
A process is named by its incarnation, a client by a random number, a task by a number that its client gave it.
"""

from __future__ import annotations

import msgspec

from parkcos.cluster.shipping import Definition


class Message(msgspec.Struct, array_like=True, tag=True):
    """Base of all messages between the parts of a cluster."""


class NodeInfo(msgspec.Struct, array_like=True, frozen=True):
    """A node as it describes itself.

    memory, disk: free bytes.
    scheduler: the shared one that it belongs to, or "".
    closed: why it takes no client now, whether it serves one or not; "" if it does.
    pulse_interval_min, pulse_interval_max: seconds; what a client may ask for.
    """

    incarnation: int
    name: str
    addr: str
    port: int
    cpus: int
    platform: str
    python: str
    version: str
    memory: int | None = None
    disk: int | None = None
    scheduler: str = ""
    closed: str = ""
    pulse_interval_min: float = 10.0
    pulse_interval_max: float = 100.0
    resources: dict[str, float] = {}
    """What its operator says it has, as gpu=1."""


# -- to a scheduler


class NodeState(Message):
    """A node exists.

    client: whom it serves, 0 for nobody; idle: whom it has closed last, if because none of its tasks ran; lost: if
    because nothing was heard of it any more.
    """

    info: NodeInfo
    client: int
    idle: int = 0
    lost: int = 0


class NodeAnswer(Message):
    """The answer to ReserveNode."""

    client: int
    ok: bool
    reason: str = ""


class Enqueue(Message):
    """A client wants the nodes when it is its turn."""

    client: int
    name: str
    python: str


class WantNode(Message):
    """The client's answer to NodeOffer.  cpus: how many servers it wants there; 0: none, now and later."""

    client: int
    node: int
    cpus: int


class ClientLeaves(Message):
    """The client has closed, or no longer waits: the next one's turn."""

    client: int


class OfferAgain(Message):
    """From the client whose turn it is: its allocations have changed; what it did not want it may want now."""

    client: int


class Contact(Message):
    """From a client: dial the node there, now and until it is there."""

    addr: str
    port: int


ToScheduler = NodeState | NodeAnswer | Enqueue | WantNode | ClientLeaves | OfferAgain | Contact

# -- to a node


class ReserveNode(Message):
    """From a scheduler: serve this client and nobody else, until it or the scheduler says otherwise."""

    client: int
    client_addr: str
    client_port: int
    client_incarnation: int
    zombie_period_s: float = 0.0
    """A client that runs nothing there for so long is closed; 0: never."""


class ReleaseNode(Message):
    """From a scheduler: that client is gone."""

    client: int


class SetupNode(Message):
    """From the client; the payload is a Bundle.  Start `cpus` servers."""

    client: int
    cpus: int
    restart_servers: bool = False
    pulse_s: float = 0.0
    """So often the node says what it has to spare; 0: never."""
    alive_s: float = 0.0
    """After so many seconds of silence node and servers give the client a sign of life; 0: as they do for others."""
    forward_output: bool = False
    """Send what the tasks print."""
    setup_id: int = 0
    """Of this setup, for the client to tell what is said of it from what was said of an earlier one."""


class ForwardOutput(Message):
    """From the client, which has set this node up: send what the tasks print from now on, too."""

    client: int


class CloseNode(Message):
    """From the client: end all servers.

    terminate: do not wait for what runs there; keep: stay reserved for the client, which sets the node up anew;
    setup_id: as in SetupNode, 0: it was not set up.
    """

    client: int
    terminate: bool
    keep: bool = False
    setup_id: int = 0


class CloseServer(Message):
    """From the client: end one server, after its CPU tasks (or at once), and start it anew if asked to."""

    client: int
    server: int
    terminate: bool
    restart: bool


class AskState(Message):
    """From a scheduler: say who you are."""


ToNode = ReserveNode | ReleaseNode | SetupNode | ForwardOutput | CloseNode | CloseServer | AskState

# -- to a client


class Queued(Message):
    """From the scheduler: how many are before you in the queue, the one that runs included; 0: you run."""

    client: int
    position: int


class Scheduled(Message):
    """From the scheduler: it is your turn."""

    client: int


class NodeOffer(Message):
    """From the scheduler: this node is free; do you want it?"""

    client: int
    info: NodeInfo


class NodeUnusable(Message):
    """From the scheduler: this node cannot be offered, and why."""

    client: int
    info: NodeInfo
    reason: str


class NodeGranted(Message):
    """From the scheduler: the node serves you now."""

    client: int
    node: int


class NodeReady(Message):
    """From the node: node_setup is done, servers are starting.  setup_id: as in SetupNode."""

    client: int
    setup_id: int = 0


class NodeFailed(Message):
    """From the node: it cannot serve you, and why.

    setup: the client's components or its node_setup are the reason; setup_id: as in SetupNode.
    """

    client: int
    error: str
    setup: bool = False
    setup_id: int = 0


class ServerUp(Message):
    """From the node: a server process listens."""

    client: int
    index: int
    addr: str
    port: int
    incarnation: int


class ServerDown(Message):
    """From the node: a server process ended.  restarts: another one is on its way."""

    client: int
    incarnation: int
    reason: str
    restarts: bool
    asked: bool


class NodeClosed(Message):
    """From the node: all servers have ended, all files are gone.

    reason: if the client has not asked for it; kept: the node is still reserved for the client; setup_id: as in
    SetupNode, 0: it was only reserved.
    """

    client: int
    reason: str = ""
    kept: bool = False
    setup_id: int = 0


class NodeAvail(Message):
    """From the node, every `pulse_s`.  cpu: idle share in percent; memory, disk, swap: free bytes."""

    client: int
    cpu: float | None
    memory: int | None
    disk: int | None
    swap: int | None


class Dismissed(Message):
    """From the scheduler: this client has lost its turn, and why."""

    client: int
    reason: str


class Output(Message):
    """From the node: what is printed there; the payload is lines, in UTF-8, each with its end.

    server: its number, from 1 on; 0: of node_setup.
    error: it was printed to standard error.
    left_out: how many lines before were not sent, because the client was behind.
    """

    client: int
    server: int
    error: bool
    left_out: int


class ServerReady(Message):
    """From a server: server_setup is done."""

    client: int


class ServerFailed(Message):
    """From a server: server_setup failed, and how."""

    client: int
    error: str


class TaskStarted(Message):
    """From a server.  id: the number of the task in its process."""

    client: int
    task: int
    id: int


class TaskRefused(Message):
    """From a server: the task could not be created, and why."""

    client: int
    task: int
    error: str


class TaskEnded(Message):
    """From a server.  The payload is the result, or a pickled Failure.

    seconds: how long it ran; id: as in TaskStarted, which is not sent for a task that has ended by then.
    cut: it was interrupted because its server ends, and no task there had asked for that.
    """

    client: int
    task: int
    kind: str
    seconds: float
    id: int
    cut: bool = False


class TaskRecalled(Message):
    """From a server: the answer to RecallTask.  ok: it had not begun, and never will here."""

    client: int
    task: int
    ok: bool


class ServerLeaves(Message):
    """From a server: it is about to end, and takes no more tasks."""

    client: int


class AskServers(Message):
    """From a server: which servers does this client have?  A task there looks for another."""

    client: int


ToClient = (
    Queued
    | Scheduled
    | NodeOffer
    | NodeUnusable
    | NodeGranted
    | NodeReady
    | NodeFailed
    | ServerUp
    | ServerDown
    | NodeClosed
    | NodeAvail
    | Dismissed
    | ServerReady
    | ServerFailed
    | TaskStarted
    | TaskRefused
    | TaskEnded
    | TaskRecalled
    | Output
    | AskServers
    | ServerLeaves
)

# -- to a server


class Define(Message):
    """From the client; the payload is what `encode_definitions` gives: what the calls that follow need."""

    client: int


class OpenServer(Message):
    """From the client: begin to serve it; the payload is the call of server_setup, if has_setup."""

    client: int
    has_setup: bool


class RunTask(Message):
    """From the client; the payload is the pickled (function, args, kwargs).

    io: not counted as using the CPU; timeout_s: how long it may run, 0 for ever; seed: of its random numbers, if its
    client has one: its number there, and the client's in words of 32 bits.
    """

    client: int
    task: int
    name: str
    io: bool
    timeout_s: float = 0.0
    seed: list[int] = []


class RecallTask(Message):
    """From the client: give a task back that has not begun."""

    client: int
    task: int


class EndTask(Message):
    """From the client: end a task that has begun, wherever it is, as one that has had its time."""

    client: int
    task: int


class Servers(Message):
    """From the client, an answer.  Address, port and incarnation of each."""

    client: int
    servers: list[tuple[str, int, int]]


ToServer = Servers | Define | OpenServer | RunTask | RecallTask | EndTask

encode = msgspec.msgpack.Encoder().encode
DECODERS = {
    "scheduler": msgspec.msgpack.Decoder(ToScheduler),
    "node": msgspec.msgpack.Decoder(ToNode),
    "client": msgspec.msgpack.Decoder(ToClient),
    "server": msgspec.msgpack.Decoder(ToServer),
}


class File(msgspec.Struct, array_like=True, frozen=True):
    """A file component.  path: relative to the client's directory on the node, with `/`."""

    path: str
    mode: int
    data: bytes


class Bundle(msgspec.Struct, array_like=True, frozen=True):
    """What a client brings to a node: opaque to the node, opened in the zygote."""

    files: list[File]
    definitions: list[Definition]
    node_setup: bytes | None = None
    """The pickled (function, args, kwargs)."""
    requirements: list[str] = []
    """What a node must have to be used."""
    threads: int | None = None
    """How many a call of numpy and the like uses, as `Client(threads=)`."""
    seeded: bool = False
    """The client's tasks have seeds."""


encode_bundle = msgspec.msgpack.Encoder().encode
decode_bundle = msgspec.msgpack.Decoder(Bundle).decode

encode_definitions = msgspec.msgpack.Encoder().encode
decode_definitions = msgspec.msgpack.Decoder(list[Definition]).decode
