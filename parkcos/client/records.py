"""What the dispatch machine knows: of each node, each server, each task, and of the client as a whole.

Records without behaviour; the parts of the machine say what happens to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from parkcos.client.backlog import Backlog
from parkcos.client.load import LoadHeap
from parkcos.cluster.node_info import NodeInfo

# The states of a node: found, and waiting for the client's program; asked for; being set up; in use; without the
# process that starts its servers; closing.
DISABLED, WANTED, SETUP, READY, FAILING, CLOSING = "disabled", "wanted", "setup", "ready", "failing", "closing"

# The states of a server, which may be DISABLED, too: in server_setup; given tasks; ready, but held back; ending.
OPENING, OPEN, PAUSED, ENDING = "opening", "open", "paused", "ending"
OWN = "own"
"""The state of a process beside the servers: for a single task, while that is there; of a space, when it is ready."""

SUSPENDED, SHORT, SILENT, FAILED = "suspended", "short", "silent", "failed"
"""The holds, for each of which a node or server is given nothing: its client suspended it; it is short of memory or
disk space; nothing is heard of it; all servers of the node died at once."""


@dataclass
class Stage:
    """How far the client is, which all parts of the machine must know.

    scheduler_lost: why no further node comes, as a clause; "" while one may.
    setup_error: why a setup failed, until a server is ready: what fails at all servers will fail at the next.
    closed_why: why it is being closed, unless its program asked for it.
    nodes_told: closing has come so far that the nodes were told: nothing more is sent.
    had_nodes: a client that closes waits for its first node, but not for another when all are lost.
    """

    scheduler_lost: str = ""
    setup_error: str = ""
    closing: bool = False
    closed_why: str = ""
    terminate: bool = False
    await_io: bool = False
    nodes_told: bool = False
    closed: bool = False
    had_nodes: bool = False


class Node(msgspec.Struct):
    info: NodeInfo
    cpus: int
    left: int
    """How many servers it has or will have."""
    state: str = WANTED
    servers: dict[int, None] = {}
    idle: dict[int, None] = {}
    queue: Backlog = msgspec.field(default_factory=Backlog)
    """CPU tasks that must run at this node."""
    io_queue: Backlog = msgspec.field(default_factory=Backlog)
    """I/O tasks that must run at this node, before its first server is open."""
    io_servers: LoadHeap = msgspec.field(default_factory=LoadHeap)
    """Its open servers, by how many I/O tasks are there."""
    foreign: float = 0.0
    """The share of its processors that others than this client use, when it last said so."""
    holds: dict[str, str] = {}
    """Why nothing is given to it now: each kind, and what is to be said of it."""
    condition: str = ""
    """What was last reported of that."""
    abandon: bool | None = None
    """Whether it is given up as soon as it is silent; None: as the client says."""
    restart: bool = False
    """It is closed to be set up again."""
    setup_id: int = 0
    """Of its last setup; 0: it was not set up yet."""
    initialized: bool = False
    """That was reported; it is no news when it has been set up again."""
    unwanted: bool = False
    """It was closed before it was granted."""
    reconsider: bool = False
    """The allocations have changed since its client asked for its end."""
    early_ends: int = 0
    """How many of its servers have ended before they were ready, since one was."""
    given_up: set[int] = set()
    """The places of such servers, by index: whatever it starts there is not used."""
    failures: int = 0
    """How often in a row all its servers died, with what starts them."""
    ready_at: float = 0.0
    own: dict[int, None] = {}
    """Processes beside its servers, by number, from when they are asked for until it says that they have ended."""
    own_servers: dict[int, None] = {}
    """Those that are up."""
    own_refusals: int = 0
    """How many it has refused, since one was up."""
    own_refused: str = ""
    """Why, the last time."""
    spaces: dict[int, str] = {}
    """Those with processes of their own of which it knows, and why they cannot be opened there; "": they can."""
    returned: bool = False
    """An earlier program of this client had set it up: its servers are asked whether they know that one."""
    space_ends: dict[int, int] = {}
    """How many processes of a space have ended before they were ready, since one was."""

    @property
    def all_servers(self) -> list[int]:
        """Those of single tasks, too."""
        return [*self.servers, *self.own_servers]

    @property
    def has_servers(self) -> bool:
        """Whether it has servers or gets some."""
        return bool(self.left) or self.restart


class End(msgspec.Struct):
    """What is known of the end of a server, from the first sign of it."""

    node_says: str = ""
    """Why, as its node says; or why the server is of no use."""
    session_says: str = ""
    """Why its session ended."""
    successor: bool | None = None
    """Whether its node starts another in its place; None until the node has said that the server ended."""
    asked: bool = False
    """Its node says that the end was asked for."""
    by_s: float | None = None
    """When the second of the two words is no longer waited for."""
    replace: bool = True
    """Whether the client wants another one in its place."""
    unwanted: bool = False
    """The client's program has asked for it."""
    leaving: bool = False
    """The server has said that it is about to end."""
    useless: bool = False
    """server_setup failed: another one in its place would be of no use."""
    early: bool = False
    """It ended before it was ready."""


class Server(msgspec.Struct):
    node: int
    addr: str
    port: int
    index: int
    """Its place at the node."""
    state: str = DISABLED
    cpu: dict[int, None] = {}
    """CPU tasks sent there, the running one first."""
    io: dict[int, None] = {}
    queue: Backlog = msgspec.field(default_factory=Backlog)
    """CPU tasks that must run at this server."""
    io_queue: Backlog = msgspec.field(default_factory=Backlog)
    """I/O tasks that must run at this server, before it is open."""
    load_s: float = 0.0
    """How long its CPU tasks are expected to take together."""
    head_since: float = 0.0
    recalled: bool = False
    """What is behind the running task was asked for."""
    end: End | None = None
    holds: dict[str, str] = {}
    """As a node's, beside what holds its whole node back."""
    condition: str = ""
    """What was last reported of that."""
    own: int = 0
    """The number of a process beside the servers; 0: it is one of them."""
    space: int = 0
    """Of which it is such a process; 0: it is for a single task."""
    slot: int = 0
    """The server whose slot it has, if it does."""
    lent: int = 0
    """The process that has this server's slot, if one does: it begins no CPU task meanwhile."""

    def ending(self) -> End:
        """What is known of its end, which there now is a sign of."""
        if self.end is None:
            self.end = End()
        return self.end


class OwnProcess(msgspec.Struct):
    """A process beside the servers, from when it is asked for until its node says that it has ended."""

    node: int
    task: int = 0
    """That is sent there when it is ready; 0: it was sent, or does not want it any more, or it is not for one alone."""
    space: int = 0
    """Of which it is; 0: it is for a single task."""
    server: int = 0
    """Once it is up."""
    ending: bool = False
    """Its node was told to end it."""
    returned: bool = False
    """An earlier program of this client had asked for it: it ends with the tasks that are there."""


class Task(msgspec.Struct):
    """A task from its submission to its last word.  number: one for its life, from 1 on."""

    number: int
    io: bool = False
    want_server: int = 0
    """Where it must run; 0: anywhere."""
    want_node: int = 0
    timeout_s: float = 0.0
    """Seconds that it may run; 0: no limit."""
    retries: int = 0
    """How often it may still run again."""
    priority: int = 0
    judged: bool = False
    """Whether the end of a run must be looked at to know if it runs again (`retry_on`)."""
    kind: str = ""
    """The function, by a name under which the length of its runs is estimated."""
    own: bool = False
    """Whether it is to have a process for itself."""
    niceness: int = 0
    """Of that process."""
    process: int = 0
    """The number of the last process for which it has asked."""
    exclusive: int = 0
    """The space with processes of its own in which it is to run; 0: in none such."""
    choice: int = 0
    """By which function of the program the servers are chosen where it may run; 0: by none."""
    server: int = 0
    """Where it was sent; 0: it waits, or has ended."""
    started: bool = False
    recalling: bool = False
    expected_s: float = 0.0
    """How long it was expected to take when it was sent."""
    hangs_at: float = 0.0
    """When it must have ended at the latest."""
    timed_out: bool = False
    cancelled: str = ""
    """Why it is to end, if it is."""
    tries: int = 0
    """How often it was sent to a server."""
