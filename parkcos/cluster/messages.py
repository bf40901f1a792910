"""What node, scheduler and client say to each other.  Who may say what, and how it travels, is in `schemas.py`.

What a client and its servers say to each other about tasks is in `server_messages.py`.  A payload is opaque bytes here.
A process is named by its incarnation, a client by a random number, a task by a number that its client gave it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from parkcos.cluster import server_messages as sm
from parkcos.cluster.message import PLACES_MAX, Message, WithReason
from parkcos.cluster.node_info import Bytes, NodeInfo
from parkcos.net.bounds import Addr, Count, Name, Number, Port, Seconds, Text, must_be_numeric
from parkcos.net.trust.claims import Claim
from parkcos.net.trust.issuing import GRANT_BYTES_MAX

Percent = Annotated[float, msgspec.Meta(ge=-1, le=101)]
"""Measured: it may be a little off."""
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}$", max_length=40)]
"""Of a shared object: the name of its file."""
OwnNumber = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""The number that a client gives to a process of one task when it asks for it, and gives to no other."""
ServerGrant = Annotated[bytes, msgspec.Meta(max_length=GRANT_BYTES_MAX)]
"""By which processes are a client's servers: `encode_grant`.  b"": the client talks to them without TLS."""
SpaceNumber = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""The number that a client gives to a space, and to no other."""
NICENESS_MAX = 19
Niceness = Annotated[int, msgspec.Meta(ge=0, le=NICENESS_MAX)]

# -- to a scheduler


class NodeState(Message):
    """A node exists.

    client: whom it serves, 0 for nobody; idle: whom it has closed last, if because none of its tasks ran; lost: if
    because nothing was heard of it any more.
    """

    info: NodeInfo
    client: Number
    idle: Number = 0
    lost: Number = 0


class NodeAnswer(WithReason):
    """The answer to ReserveNode."""

    client: Number
    ok: bool
    reason: Text = ""


class Enqueue(Message):
    """A client wants the nodes when it is its turn.

    claim: of one that may return; orphan_s: how long its place is to be kept after its program was lost.
    """

    client: Number
    name: Name
    python: Name
    claim: Claim | None = None
    orphan_s: Seconds = 0.0


class WantNode(Message):
    """The client's answer to NodeOffer.  cpus: how many servers it wants there; 0: none, now and later."""

    client: Number
    node: Number
    cpus: Count


class ClientLeaves(Message):
    """The client has closed, or no longer waits: the next one's turn."""

    client: Number


class OfferAgain(Message):
    """From the client whose turn it is: its allocations have changed; what it did not want it may want now."""

    client: Number


class Contact(Message):
    """From a client: dial the node there, now and until it is there."""

    addr: Addr
    port: Port

    def __post_init__(self) -> None:
        must_be_numeric(self.addr)


NodeToScheduler = NodeState | NodeAnswer
ClientToScheduler = Enqueue | WantNode | ClientLeaves | OfferAgain | Contact
ToScheduler = NodeToScheduler | ClientToScheduler

# -- to a node


class ReserveNode(Message):
    """From a scheduler: serve this client and nobody else, until it or the scheduler says otherwise."""

    client: Number
    client_addr: Addr
    client_port: Port
    client_incarnation: Number
    zombie_period_s: Seconds = 0.0
    """A client that runs nothing there for so long is closed; 0: never."""
    client_name: Name = ""

    def __post_init__(self) -> None:
        must_be_numeric(self.client_addr)


class ReleaseNode(Message):
    """From a scheduler: that client is gone."""

    client: Number


class SetupNode(Message):
    """From the client; the payload is a Bundle.  Start `cpus` servers."""

    client: Number
    cpus: Count
    restart_servers: bool = False
    pulse_s: Seconds = 0.0
    """So often the node says what it has to spare; 0: never."""
    alive_s: Seconds = 0.0
    """After so many seconds of silence node and servers give the client a sign of life; 0: as they do for others."""
    forward_output: bool = False
    """Send what the tasks print."""
    setup_id: Number = 0
    """Of this setup, for the client to tell what is said of it from what was said of an earlier one."""
    grant: ServerGrant = b""
    """Of these servers, and of no others."""
    claim: Claim | None = None
    """Of a client that may return."""
    orphan_s: Seconds = 0.0
    """How long its servers are to go on after its program was lost."""


class ReturnToNode(Message):
    """From a client whose earlier program has set this node up and was lost: serve this one in its place.

    pulse_s, alive_s, forward_output: as in SetupNode.
    """

    client: Number
    claim: Claim
    pulse_s: Seconds = 0.0
    alive_s: Seconds = 0.0
    forward_output: bool = False


class ForwardOutput(Message):
    """From the client, which has set this node up: send what the tasks print from now on, too."""

    client: Number


class AskAvail(Message):
    """From the client, which has set this node up: say now what you have to spare; somebody watches."""

    client: Number


class CloseNode(Message):
    """From the client: end all servers.

    terminate: do not wait for what runs there; keep: stay reserved for the client, which sets the node up anew;
    setup_id: as in SetupNode, 0: it was not set up.
    """

    client: Number
    terminate: bool
    keep: bool = False
    setup_id: Number = 0


class CloseServer(Message):
    """From the client: end one server, after its CPU tasks (or at once), and start it anew if asked to."""

    client: Number
    server: Number
    terminate: bool
    restart: bool


class OpenSpace(Message):
    """From the client; the payload is a Bundle.  Have a zygote for this space, from which processes are started.

    grant: as in SetupNode.
    """

    client: Number
    space: SpaceNumber
    grant: ServerGrant = b""


class CloseSpace(Message):
    """From the client: end that zygote, and all that was started from it, at once."""

    client: Number
    space: SpaceNumber


class StartOwn(Message):
    """From the client: start a process beside the servers: for one task alone, or of a space.

    The answer is ServerUp with this number, and ServerDown at its end; or OwnRefused.
    niceness: is added to the node's own; space: for which OpenSpace was sent before; 0: as the servers.
    """

    client: Number
    own: OwnNumber
    niceness: Niceness = 0
    space: Number = 0


class EndOwn(Message):
    """From the client: end that process, whether it is up or not, after its CPU task (or at once)."""

    client: Number
    own: OwnNumber
    terminate: bool


class DropSpaces(Message):
    """From the client, to its servers: forget what these spaces hold.  No call in them follows."""

    client: Number
    spaces: Annotated[list[Number], msgspec.Meta(max_length=PLACES_MAX)]


class DropShared(Message):
    """From the client, to a node and to its servers: keep the shared objects with these digests no longer."""

    client: Number
    digests: Annotated[list[Digest], msgspec.Meta(max_length=PLACES_MAX)]


class AskState(Message):
    """From a scheduler: say who you are."""


SchedulerToNode = ReserveNode | ReleaseNode | AskState
ClientToNode = (
    SetupNode
    | ReturnToNode
    | ForwardOutput
    | AskAvail
    | CloseNode
    | CloseServer
    | OpenSpace
    | CloseSpace
    | StartOwn
    | EndOwn
    | DropShared
)
ToNode = SchedulerToNode | ClientToNode

# -- to a client


class ResumedServer(msgspec.Struct, array_like=True, frozen=True):
    """own: as in StartOwn; space: as in OpenSpace, if it is a process of one."""

    incarnation: Number
    own: Number = 0
    space: Number = 0


class Queued(Message):
    """From the scheduler: how many are before you in the queue, the one that runs included; 0: you run.

    waiting: how many wait; holder: who runs, its name and place; held_s: for how long.
    """

    client: Number
    position: Count
    waiting: Count = 0
    holder: Text = ""
    held_s: Seconds = 0.0


class Scheduled(Message):
    """From the scheduler: it is your turn."""

    client: Number


class NodeOffer(Message):
    """From the scheduler: this node is free; do you want it?"""

    client: Number
    info: NodeInfo


class NodeUnusable(WithReason):
    """From the scheduler: this node cannot be offered, and why."""

    client: Number
    info: NodeInfo
    reason: Text


class NodeGranted(Message):
    """From the scheduler: the node serves you now."""

    client: Number
    node: Number


class NodeReady(Message):
    """From the node: node_setup is done, servers are starting.  setup_id: as in SetupNode."""

    client: Number
    setup_id: Number = 0


class NodeResumed(Message):
    """From the node, the answer to ReturnToNode: it serves you as it did.  ServerUp follows for each of `servers`.

    setup_id: of the setup; ready: node_setup is done; cpus: how many servers were asked for; left: how many it has or
    will have.
    """

    client: Number
    setup_id: Number
    ready: bool
    cpus: Count
    left: Count
    servers: Annotated[list[ResumedServer], msgspec.Meta(max_length=PLACES_MAX)]


class NodeLeaves(Message):
    """From the node: it is about to end all servers, which you have not asked for.  setup_id: as in SetupNode."""

    client: Number
    setup_id: Number


class NodeFailed(WithReason):
    """From the node: it cannot serve you, and why.

    setup: the client's components or its node_setup are the reason; setup_id: as in SetupNode.
    """

    client: Number
    error: Text
    setup: bool = False
    setup_id: Number = 0


class ServerUp(Message):
    """From the node: a server process listens.  own: as in StartOwn, 0: it is one of the servers."""

    client: Number
    index: Count
    addr: Addr
    port: Port
    incarnation: Number
    own: Number = 0

    def __post_init__(self) -> None:
        if self.addr:
            must_be_numeric(self.addr)


class ServerDown(WithReason):
    """From the node: a server process ended.  restarts: another one is on its way."""

    client: Number
    incarnation: Number
    reason: Text
    restarts: bool
    asked: bool


class OwnRefused(WithReason):
    """From the node: the process of this number was not started, or ended before it was up, and why.

    setup: its space cannot be opened there, because of the client's code.
    """

    client: Number
    own: Number
    reason: Text
    setup: bool = False


class NodeClosed(WithReason):
    """From the node: all servers have ended, all files are gone.

    reason: if the client has not asked for it; kept: the node is still reserved for the client; setup_id: as in
    SetupNode, 0: it was only reserved.
    """

    client: Number
    reason: Text = ""
    kept: bool = False
    setup_id: Number = 0


class NodeAvail(Message):
    """From the node, every `pulse_s`, or (`asked`) because of AskAvail.

    cpu: idle share in percent; memory, disk, swap: free bytes.
    """

    client: Number
    cpu: Percent | None
    memory: Bytes | None
    disk: Bytes | None
    swap: Bytes | None
    asked: bool = False


class Dismissed(WithReason):
    """From the scheduler: this client has lost its turn, and why."""

    client: Number
    reason: Text


class Output(Message):
    """From the node: what is printed there; the payload is lines, in UTF-8, each with its end.

    server: its number, from 1 on; 0: of node_setup.
    error: it was printed to standard error.
    left_out: how many lines before were not sent, because the client was behind.
    """

    client: Number
    server: Number
    error: bool
    left_out: Number


SchedulerToClient = Queued | Scheduled | NodeOffer | NodeUnusable | NodeGranted | Dismissed
NodeToClient = (
    NodeReady
    | NodeResumed
    | NodeLeaves
    | NodeFailed
    | ServerUp
    | ServerDown
    | OwnRefused
    | NodeClosed
    | NodeAvail
    | Output
)
ServerToClient = (
    sm.ServerReady
    | sm.ServerFailed
    | sm.TaskStarted
    | sm.TaskRefused
    | sm.TaskEnded
    | sm.TaskRecalled
    | sm.AskServers
    | sm.ServerLeaves
    | sm.ServerResumed
)
ToClient = SchedulerToClient | NodeToClient | ServerToClient

# -- to a server

ToServer = (
    sm.Servers
    | sm.Define
    | sm.OpenServer
    | sm.RunTask
    | sm.RecallTask
    | sm.EndTask
    | sm.ReturnToServer
    | sm.ReleaseTasks
    | DropShared
    | DropSpaces
)
