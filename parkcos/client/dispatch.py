"""Which server runs which task: the client's half of the cluster, a state machine without clock, socket or thread.

Nodes are offered, wanted, granted, set up; their servers come up, are opened, run tasks, end.  Every task that was
submitted ends exactly once: with what the server said of it, or as abandoned with the reason.

A server that runs short tasks is sent a few ahead (see `_depth`), so that it need not wait for the network between
two of them; when another server has nothing to do, those that have not begun are recalled.

What runs at a server that is lost is abandoned.  What was only sent ahead runs elsewhere, if it is certain that it
had not begun: the session has said its last word, and the node says that the process is no more.

What the shell must know: a task's number comes once, and from 1 on.  The end of a task that is not in `tasks` (it was
abandoned meanwhile) is not to be reported: look there before `handle(Ended)`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from parkcos.client.load import LoadHeap
from parkcos.cluster import messages as m

AHEAD_S = 0.002
"""So much work may wait at a server behind the running task."""
AHEAD_MAX = 32
STEAL_AFTER_S = 0.005
END_WAIT_S = 1.0
"""A server is known to be gone from its node and from its session; the second word is awaited so long."""


# -- events


@dataclass(frozen=True, slots=True)
class Offered:
    """The scheduler offers a node, and the client's allocations say how many servers it wants there."""

    info: m.NodeInfo
    cpus: int


@dataclass(frozen=True, slots=True)
class Granted:
    node: int


@dataclass(frozen=True, slots=True)
class NodeIsReady:
    node: int


@dataclass(frozen=True, slots=True)
class NodeHasFailed:
    """The node says so; or the scheduler: it cannot be had (NodeUnusable)."""

    node: int
    error: str


@dataclass(frozen=True, slots=True)
class NodeHasClosed:
    node: int


@dataclass(frozen=True, slots=True)
class ServerIsUp:
    node: int
    server: int
    addr: str
    port: int


@dataclass(frozen=True, slots=True)
class ServerIsReady:
    server: int


@dataclass(frozen=True, slots=True)
class ServerSetupFailed:
    server: int
    error: str


@dataclass(frozen=True, slots=True)
class ServerIsDown:
    """Its node says that it ended."""

    server: int
    reason: str
    restarts: bool
    asked: bool


@dataclass(frozen=True, slots=True)
class ProcessLost:
    """A session ended for good."""

    process: int
    reason: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """server, node: where it must run, 0 for anywhere."""

    task: int
    io: bool
    server: int = 0
    node: int = 0


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nobody waits any more for a task to start: it need not, if it has not been sent yet."""

    task: int


@dataclass(frozen=True, slots=True)
class Started:
    task: int


@dataclass(frozen=True, slots=True)
class Refused:
    task: int
    error: str


@dataclass(frozen=True, slots=True)
class Ended:
    task: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Recalled:
    """ok: it has not begun and never will there.  Unasked: the server is closing and gives it back."""

    task: int
    ok: bool


@dataclass(frozen=True, slots=True)
class SchedulerLost:
    """No further node will be offered or granted."""

    reason: str


@dataclass(frozen=True, slots=True)
class CloseAsked:
    """terminate: wait for no task; await_io: wait for I/O tasks too."""

    terminate: bool
    await_io: bool = False


@dataclass(frozen=True, slots=True)
class TimePassed:
    pass


Event = (
    Offered
    | Granted
    | NodeIsReady
    | NodeHasFailed
    | NodeHasClosed
    | ServerIsUp
    | ServerIsReady
    | ServerSetupFailed
    | ServerIsDown
    | ProcessLost
    | Submitted
    | Withdrawn
    | Started
    | Refused
    | Ended
    | Recalled
    | SchedulerLost
    | CloseAsked
    | TimePassed
)

# -- effects


@dataclass(frozen=True, slots=True)
class Want:
    """Answer an offer."""

    node: int
    cpus: int


@dataclass(frozen=True, slots=True)
class SetupNode:
    node: int
    cpus: int


@dataclass(frozen=True, slots=True)
class CloseNode:
    node: int
    terminate: bool


@dataclass(frozen=True, slots=True)
class OpenServer:
    server: int


@dataclass(frozen=True, slots=True)
class Run:
    task: int
    server: int
    io: bool


@dataclass(frozen=True, slots=True)
class Recall:
    task: int
    server: int


@dataclass(frozen=True, slots=True)
class ReportStarted:
    task: int
    server: int


@dataclass(frozen=True, slots=True)
class ReportRefused:
    task: int
    error: str


@dataclass(frozen=True, slots=True)
class ReportAbandoned:
    task: int
    reason: str
    started: bool


@dataclass(frozen=True, slots=True)
class ReportStatus:
    """For the client's status_task.  name: of the status in chapter 6.5; subject: a node's or server's number."""

    name: str
    subject: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeaveScheduler:
    """Everything is closed: the next client's turn."""


Effect = (
    Want
    | SetupNode
    | CloseNode
    | OpenServer
    | Run
    | Recall
    | ReportStarted
    | ReportRefused
    | ReportAbandoned
    | ReportStatus
    | LeaveScheduler
)

# -- state

WANTED, SETUP, READY, CLOSING = "wanted", "setup", "ready", "closing"
OPENING, OPEN, ENDING = "opening", "open", "ending"


@dataclass(slots=True)
class Node:
    info: m.NodeInfo
    cpus: int
    state: str = WANTED
    left: int = 0
    """How many servers it has or will have."""
    servers: dict[int, None] = field(default_factory=dict)
    idle: dict[int, None] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)
    """CPU tasks that must run at this node."""
    waiting_io: deque[int] = field(default_factory=deque)
    """I/O tasks that must run at this node, before its first server is open."""
    io_servers: LoadHeap = field(default_factory=LoadHeap)
    """Its open servers, by how many I/O tasks are there."""


@dataclass(slots=True)
class Server:
    node: int
    addr: str
    port: int
    state: str = OPENING
    cpu: deque[int] = field(default_factory=deque)
    """CPU tasks sent there, the running one first."""
    io: dict[int, None] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)
    """CPU tasks that must run at this server."""
    waiting_io: deque[int] = field(default_factory=deque)
    """I/O tasks that must run at this server, before it is open."""
    mean_s: float = 1.0
    """A running mean of how long CPU tasks take there; at first unknown, that is, long."""
    head_since: float = 0.0
    recalled: bool = False
    """What is behind the running task was asked for."""
    down: str = ""
    """Why its node says it ended, or why it is of no use."""
    gone: str = ""
    """Why its session ended."""
    reported: bool = False
    """Its node has said that it ended."""
    restarts: bool = False
    """Its node will start another in its place."""
    asked: bool = False
    end_by: float | None = None


@dataclass(slots=True)
class Task:
    io: bool
    server: int = 0
    """Where it was sent, 0: it waits."""
    want_server: int = 0
    want_node: int = 0
    started: bool = False
    recalling: bool = False


@dataclass
class Dispatch:
    """The one door is :meth:`handle`."""

    nodes: dict[int, Node] = field(default_factory=dict)
    servers: dict[int, Server] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    """Submitted and not ended."""
    pending: deque[int] = field(default_factory=deque)
    pending_io: deque[int] = field(default_factory=deque)
    cpu_tasks: int = 0
    scheduler_lost: str = ""
    closing: bool = False
    terminate: bool = False
    await_io: bool = False
    closed: bool = False
    _idle_nodes: LoadHeap = field(default_factory=LoadHeap)
    """Nodes with an idle server, by the share of their servers that is busy."""
    _io_servers: LoadHeap = field(default_factory=LoadHeap)
    """Open servers, by how many I/O tasks are there."""
    _ahead: dict[int, None] = field(default_factory=dict)
    """Servers with more than one CPU task."""
    _idle: int = 0
    """How many servers are idle."""
    _steal_at: float | None = None
    _ending: dict[int, None] = field(default_factory=dict)
    """In the order of their end_by."""
    _useless: dict[int, int] = field(default_factory=dict)
    """Server -> node: given up here, but its node has not said yet whether another one takes its place."""
    _had_nodes: bool = False
    """A client that closes waits for its first node, but not for another when all are lost."""
    _nodes_told: bool = False
    """Closing has come so far that the nodes were told: nothing more is sent."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        effects = list(self._HANDLERS[type(event)](self, event, now))
        if self.closing or self.scheduler_lost:
            effects += self._give_up()
            effects += self._wind_up()
        return effects

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        end_by = self.servers[next(iter(self._ending))].end_by if self._ending else None
        if end_by is None or (self._steal_at is not None and self._steal_at < end_by):
            return self._steal_at
        return end_by

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        sent, idle = 0, 0
        for number, server in self.servers.items():
            for task in (*server.cpu, *server.io):
                assert self.tasks[task].server == number, f"task {task} is at two servers"
                sent += 1
            assert (len(server.cpu) > 1) == (number in self._ahead), f"server {number} is wrongly known to have more"
            node = self.nodes.get(server.node)
            if server.state == OPEN:
                assert node is not None, f"server {number} is open without a node"
                assert number in node.servers
                assert (number in node.idle) == (not server.cpu), f"server {number} is wrongly idle or busy"
                assert not server.waiting_io, "an open server takes every I/O task"
                assert server.cpu or not server.waiting, f"server {number} is idle while tasks wait for it"
            elif node is not None:
                assert number not in node.idle, f"server {number} is {server.state} and idle"
        for number, node in self.nodes.items():
            assert 0 <= node.left <= node.cpus, f"node {number} has {node.left} of {node.cpus} servers left"
            assert not (node.idle and node.waiting), f"tasks wait at node {number} beside idle servers"
            idle += len(node.idle)
        waiting = [*self.pending, *self.pending_io]
        for holder in self._holders():
            waiting += holder.waiting
            waiting += holder.waiting_io
        for task in waiting:
            assert not self.tasks[task].server, f"task {task} waits and is at a server"
        assert len(set(waiting)) == len(waiting), "a task waits twice"
        assert sent + len(waiting) == len(self.tasks), "a task is nowhere"
        assert idle == self._idle
        assert not (self.pending and self._idle), "tasks wait beside idle servers"
        assert self.cpu_tasks == sum(not t.io for t in self.tasks.values())
        if self.closed:
            assert not self.tasks, "closed with tasks that never ended"

    # -- nodes

    def _offered(self, event: Offered, now: float) -> Iterator[Effect]:
        number = event.info.incarnation
        if self._nodes_told or self.scheduler_lost:
            return
        known = self.nodes.get(number)
        if known is None:
            yield ReportStatus("NodeDiscovered", number)
            if event.cpus > 0:
                self.nodes[number] = Node(event.info, event.cpus, left=event.cpus)
        elif known.state != WANTED:
            return  # it is in use
        else:  # it was not to be had, and now it is
            known.info = event.info
        yield Want(number, event.cpus if known is None else known.cpus)

    def _granted(self, event: Granted, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None or node.state != WANTED:
            return
        node.state = SETUP
        self._had_nodes = True
        yield SetupNode(event.node, node.cpus)

    def _node_is_ready(self, event: NodeIsReady, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is not None and node.state == SETUP:
            node.state = READY
            yield ReportStatus("NodeInitialized", event.node)

    def _node_has_failed(self, event: NodeHasFailed, now: float) -> Iterator[Effect]:
        yield from self._drop_node(event.node, "NodeDisconnected", event.error, now)

    def _node_has_closed(self, event: NodeHasClosed, now: float) -> Iterator[Effect]:
        yield from self._drop_node(event.node, "NodeClosed", "its node was closed", now)

    def _drop_node(self, number: int, status: str, reason: str, now: float) -> Iterator[Effect]:
        node = self.nodes.get(number)
        if node is None:
            return
        for server in list(node.servers):
            self.servers[server].down = self.servers[server].down or reason or status
            self._retire(server)
        del self.nodes[number]
        for server in [s for s, at in self._useless.items() if at == number]:
            del self._useless[server]
        for server in node.servers:
            # Their sessions have the last word: what they sent last may still be on its way.
            yield from self._await_end(server, now)
        for task in [*node.waiting, *node.waiting_io]:
            yield from self._abandon(task, reason)
        yield ReportStatus(status, number, reason)

    def _scheduler_lost(self, event: SchedulerLost, now: float) -> Iterator[Effect]:
        self.scheduler_lost = event.reason or "it ended"
        reason = f"the scheduler is gone: {self.scheduler_lost}"
        for number in [n for n, node in self.nodes.items() if node.state == WANTED]:
            yield from self._drop_node(number, "NodeDisconnected", reason, now)

    # -- servers

    def _server_is_up(self, event: ServerIsUp, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None or node.state != READY or event.server in self.servers:
            return
        self.servers[event.server] = Server(event.node, event.addr, event.port)
        node.servers[event.server] = None
        self._weigh(event.node, node)
        yield ReportStatus("ServerDiscovered", event.server)
        yield OpenServer(event.server)

    def _server_is_ready(self, event: ServerIsReady, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is None or server.state != OPENING:
            return
        server.state = OPEN
        node = self.nodes[server.node]
        yield ReportStatus("ServerInitialized", event.server)
        self._weigh_io(event.server, server)
        for queue in (server.waiting_io, node.waiting_io, self.pending_io):
            while queue:
                yield self._send(queue.popleft(), event.server, now)
        yield from self._fill(event.server, now)

    def _server_setup_failed(self, event: ServerSetupFailed, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is not None:
            server.down = server.down or event.error or "server_setup failed"
            yield from self._end_server(event.server, now)

    def _server_is_down(self, event: ServerIsDown, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is not None:
            server.down, server.asked = event.reason or "it ended", event.asked
            server.reported, server.restarts = True, event.restarts
            yield from self._await_end(event.server, now)
            return
        node = self.nodes.get(self._useless.pop(event.server, 0))
        if node is not None and event.restarts:
            node.left += 1

    def _process_lost(self, event: ProcessLost, now: float) -> Iterator[Effect]:
        if event.process in self.nodes:
            reason = f"its node is gone: {event.reason}"
            yield from self._drop_node(event.process, "NodeDisconnected", reason, now)
        server = self.servers.get(event.process)
        if server is not None:
            server.gone = event.reason or "it ended"
            yield from self._await_end(event.process, now)

    def _await_end(self, number: int, now: float) -> Iterator[Effect]:
        """Its node and its session both have a word to say; what it sent last may still be on its way."""
        server = self.servers[number]
        self._retire(number)
        if server.down and server.gone:
            yield from self._end_server(number, now)
        elif server.end_by is None:
            server.end_by = now + END_WAIT_S
            self._ending[number] = None

    def _retire(self, number: int) -> None:
        """Nothing more is sent there."""
        server = self.servers[number]
        server.state = ENDING
        self._io_servers.remove(number)
        node = self.nodes.get(server.node)
        if node is not None:
            node.io_servers.remove(number)
            if number in node.idle:
                del node.idle[number]
                self._idle -= 1
            self._weigh(server.node, node)

    def _end_server(self, number: int, now: float) -> Iterator[Effect]:
        self._retire(number)
        self._ending.pop(number, None)
        self._ahead.pop(number, None)
        server = self.servers.pop(number)
        why = server.down or server.gone
        reason = f"its server {server.addr}:{server.port} ended: {why}"
        # Only then is the word of what had begun complete.
        certain = bool(server.down and server.gone) and not self._nodes_told
        back = []
        for position, task in enumerate(server.cpu):
            record = self.tasks[task]
            record.server = 0
            if position and certain and not record.started and not record.want_server:
                back.append(task)
            else:
                yield from self._abandon(task, reason)
        for task in [*server.io, *server.waiting, *server.waiting_io]:
            yield from self._abandon(task, reason)
        closed = server.asked or self.closing
        yield ReportStatus("ServerClosed" if closed else "ServerDisconnected", number, why)
        yield from self._put_back(back, reason, now)
        node = self.nodes.get(server.node)
        if node is not None:
            node.servers.pop(number, None)
            self._weigh(server.node, node)
            if not server.restarts:
                node.left -= 1
                if not server.reported:
                    self._useless[number] = server.node
                yield from self._abandon_at(node, why)

    def _abandon_at(self, node: Node, reason: str) -> Iterator[Effect]:
        """What waits for the servers of a node that has none, and gets none."""
        if not node.left:
            for task in [*node.waiting, *node.waiting_io]:
                yield from self._abandon(task, f"no server is left at that node: {reason}")
            node.waiting.clear()
            node.waiting_io.clear()

    # -- tasks

    def _submitted(self, event: Submitted, now: float) -> Iterator[Effect]:
        self.tasks[event.task] = Task(event.io, want_server=event.server, want_node=event.node)
        if not event.io:
            self.cpu_tasks += 1
        if self.closing:
            yield from self._abandon(event.task, "the client is being closed")
        elif event.server:
            server = self.servers.get(event.server)
            if server is None or server.state == ENDING:
                yield from self._abandon(event.task, "that server has ended")
            elif not event.io:
                server.waiting.append(event.task)
                yield from self._fill(event.server, now)
            elif server.state == OPEN:
                yield self._send(event.task, event.server, now)
            else:
                server.waiting_io.append(event.task)
        elif event.node:
            node = self.nodes.get(event.node)
            if node is None:
                yield from self._abandon(event.task, "that node is not used by this client")
            elif not node.left:
                yield from self._abandon(event.task, "no server is left at that node")
            else:
                yield from self._place_at_node(event.task, node, now)
        elif event.io:
            lightest = self._idle_nodes.lightest()
            idle = None if lightest is None else next(iter(self.nodes[lightest].idle))
            yield from self._place_io(event.task, self._io_servers, idle, self.pending_io, now)
        else:
            lightest = self._idle_nodes.lightest()
            if lightest is None:
                self.pending.append(event.task)
            else:
                yield self._send(event.task, next(iter(self.nodes[lightest].idle)), now)

    def _withdrawn(self, event: Withdrawn, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is None or task.server:
            return
        for holder in [self.nodes.get(task.want_node), self.servers.get(task.want_server)]:
            for queue in (holder.waiting, holder.waiting_io) if holder is not None else ():
                if event.task in queue:
                    queue.remove(event.task)
        for queue in (self.pending, self.pending_io):
            if event.task in queue:
                queue.remove(event.task)
        yield from self._abandon(event.task, "nobody waits for it to start")

    def _place_at_node(self, number: int, node: Node, now: float) -> Iterator[Effect]:
        idle = next(iter(node.idle), None)
        if self.tasks[number].io:
            yield from self._place_io(number, node.io_servers, idle, node.waiting_io, now)
        elif idle is None:
            node.waiting.append(number)
        else:
            yield self._send(number, idle, now)

    def _place_io(
        self, number: int, servers: LoadHeap, idle: int | None, waiting: deque[int], now: float
    ) -> Iterator[Effect]:
        """To the server with the fewest I/O tasks; sooner to an idle one than to one whose CPU task may hog it."""
        at = servers.lightest()
        if at is None:
            waiting.append(number)
            return
        if idle is not None and self.servers[at].cpu and len(self.servers[idle].io) <= len(self.servers[at].io):
            at = idle
        yield self._send(number, at, now)

    def _put_back(self, numbers: list[int], reason: str, now: float) -> Iterator[Effect]:
        """These were sent to a server that did not begin them: they are first in line again."""
        nodes: dict[int, Node] = {}
        for number in reversed(numbers):
            task = self.tasks[number]
            task.server, task.recalling = 0, False
            node = self.nodes.get(task.want_node)
            if task.want_server or self._nodes_told or (task.want_node and (node is None or not node.left)):
                yield from self._abandon(number, reason)
            elif node is not None:
                nodes[task.want_node] = node
                (node.waiting_io if task.io else node.waiting).appendleft(number)
            else:
                (self.pending_io if task.io else self.pending).appendleft(number)
        for node in nodes.values():
            while node.waiting and node.idle:
                yield self._send(node.waiting.popleft(), next(iter(node.idle)), now)
            while node.waiting_io and (at := node.io_servers.lightest()) is not None:
                yield self._send(node.waiting_io.popleft(), at, now)
        while self.pending and (lightest := self._idle_nodes.lightest()) is not None:
            yield self._send(self.pending.popleft(), next(iter(self.nodes[lightest].idle)), now)
        while self.pending_io and (at := self._io_servers.lightest()) is not None:
            yield self._send(self.pending_io.popleft(), at, now)

    def _send(self, number: int, at: int, now: float) -> Run:
        task, server = self.tasks[number], self.servers[at]
        task.server = at
        if task.io:
            server.io[number] = None
            self._weigh_io(at, server)
        else:
            if not server.cpu:
                server.head_since = now
                node = self.nodes[server.node]
                if at in node.idle:
                    del node.idle[at]
                    self._idle -= 1
                    self._weigh(server.node, node)
            server.cpu.append(number)
            if len(server.cpu) == 2:
                self._ahead[at] = None
        return Run(number, at, task.io)

    def _weigh(self, number: int, node: Node) -> None:
        if node.idle:
            self._idle_nodes.put(number, 1 - len(node.idle) / max(1, len(node.servers)))
        else:
            self._idle_nodes.remove(number)

    def _weigh_io(self, number: int, server: Server) -> None:
        if server.state == OPEN:
            self._io_servers.put(number, len(server.io))
            self.nodes[server.node].io_servers.put(number, len(server.io))

    def _depth(self, server: Server) -> int:
        """How many CPU tasks a server may have, the running one included."""
        return 1 + min(AHEAD_MAX, int(AHEAD_S / max(server.mean_s, 1e-5)))

    def _fill(self, number: int, now: float) -> Iterator[Effect]:
        """Give a server what it has room for."""
        server = self.servers[number]
        if server.state != OPEN:
            return
        node = self.nodes[server.node]
        depth = self._depth(server)
        while len(server.cpu) < depth:
            queue = server.waiting or node.waiting or self.pending
            if not queue:
                break
            yield self._send(queue.popleft(), number, now)
        if not server.cpu and number not in node.idle:
            node.idle[number] = None
            self._idle += 1
            self._weigh(server.node, node)
            if self._steal_at is None and self._ahead:
                self._steal_at = now + STEAL_AFTER_S

    def _started(self, event: Started, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is not None and task.server and not task.started:
            task.started = True
            yield ReportStarted(event.task, task.server)

    def _refused(self, event: Refused, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is None or not task.server:
            return
        self._forget(event.task, task, now)
        yield ReportRefused(event.task, event.error)
        yield from self._fill(task.server, now)

    def _ended(self, event: Ended, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is None or not task.server:
            return
        if not task.started:
            yield ReportStarted(event.task, task.server)
        if not task.io:
            server = self.servers[task.server]
            server.mean_s += 0.3 * (min(event.seconds, 1.0) - server.mean_s)
        self._forget(event.task, task, now)
        yield from self._fill(task.server, now)

    def _forget(self, number: int, task: Task, now: float) -> None:
        """A task has ended."""
        del self.tasks[number]
        if not task.io:
            self.cpu_tasks -= 1
        if task.server:
            self._take(number, task, now)

    def _take(self, number: int, task: Task, now: float) -> None:
        """A task is no longer at its server."""
        server = self.servers[task.server]
        if task.io:
            del server.io[number]
            self._weigh_io(task.server, server)
            return
        if server.cpu[0] == number:
            server.cpu.popleft()
            server.head_since, server.recalled = now, False
        else:
            server.cpu.remove(number)
        if len(server.cpu) == 1:
            del self._ahead[task.server]

    def _abandon(self, number: int, reason: str) -> Iterator[Effect]:
        """A task that is at no server, and in no queue from which it could be sent, ends here."""
        task = self.tasks.pop(number)
        if not task.io:
            self.cpu_tasks -= 1
        yield ReportAbandoned(number, reason, task.started)

    def _recalled(self, event: Recalled, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is None or not task.server or not event.ok:
            return
        at = task.server
        server = self.servers[at]
        self._take(event.task, task, now)
        if not task.recalling and server.state != ENDING:  # it is closing; its node will say so
            self._retire(at)
            for number in [*server.waiting, *server.waiting_io]:
                yield from self._abandon(number, "that server is being closed")
            server.waiting.clear()
            server.waiting_io.clear()
        yield from self._put_back([event.task], "its server was closed", now)
        if not server.cpu:
            yield from self._fill(at, now)

    # -- time and end

    def _time_passed(self, event: TimePassed, now: float) -> Iterator[Effect]:
        for number in list(self._ending):
            end_by = self.servers[number].end_by
            if end_by is None or end_by > now:
                break
            yield from self._end_server(number, now)
        if self._steal_at is not None and self._steal_at <= now:
            self._steal_at = None
            if self._idle:
                yield from self._steal(now)

    def _steal(self, now: float) -> Iterator[Effect]:
        """Some servers are idle: ask those for what they have not begun that do not get on."""
        recalled = 0
        for number in self._ahead:
            server = self.servers[number]
            if server.recalled or server.state != OPEN:
                continue
            if server.head_since + STEAL_AFTER_S > now:
                self._steal_at = now + STEAL_AFTER_S
                continue
            server.recalled = True
            server.mean_s = max(server.mean_s, now - server.head_since)
            for task in list(server.cpu)[1:]:
                record = self.tasks[task]
                if not record.want_server and not record.want_node:
                    record.recalling = True
                    recalled += 1
                    yield Recall(task, number)
            if recalled >= self._idle:
                break

    def _close_asked(self, event: CloseAsked, now: float) -> Iterator[Effect]:
        self.closing = True
        self.terminate = self.terminate or event.terminate
        self.await_io = self.await_io or event.await_io
        return iter(())

    def _awaits_tasks(self) -> bool:
        """Something still runs that closing waits for."""
        return not self.terminate and bool(self.tasks if self.await_io else self.cpu_tasks)

    def _give_up(self) -> Iterator[Effect]:
        """What waits for any server, when none is left and none will come."""
        if not (self.pending or self.pending_io) or not (self.scheduler_lost or self._had_nodes):
            return
        if any(n.left and n.state != CLOSING for n in self.nodes.values()):
            return
        lost = self.scheduler_lost
        reason = f"no server is left, and {f'the scheduler is gone: {lost}' if lost else 'the client is being closed'}"
        for task in [*self.pending, *self.pending_io]:
            yield from self._abandon(task, reason)
        self.pending.clear()
        self.pending_io.clear()

    def _wind_up(self) -> Iterator[Effect]:
        """Closing, step by step: the CPU tasks, then the nodes, then the place at the scheduler."""
        if not self.closing or self.closed or self._awaits_tasks():
            return
        if not self._nodes_told:
            self._nodes_told = True
            yield from self._abandon_unsent()
            for number, node in list(self.nodes.items()):
                if node.state == WANTED:
                    del self.nodes[number]  # the scheduler releases it when this client leaves
                    continue
                node.state = CLOSING
                for server in node.servers:
                    self._retire(server)
                # What CPU tasks there are is not waited for; I/O tasks get their grace in any case.
                yield CloseNode(number, True)
        if not self.nodes and not self.servers:
            self.closed = True
            yield ReportStatus("ClientClosed", 0)
            yield LeaveScheduler()

    def _abandon_unsent(self) -> Iterator[Effect]:
        for number in [n for n, t in self.tasks.items() if not t.server]:
            yield from self._abandon(number, "the client was closed")
        self.pending.clear()
        self.pending_io.clear()
        for holder in self._holders():
            holder.waiting.clear()
            holder.waiting_io.clear()

    def _holders(self) -> list[Node | Server]:
        return [*self.nodes.values(), *self.servers.values()]

    _HANDLERS: ClassVar[dict[type, Callable[..., Iterator[Effect]]]] = {
        Offered: _offered,
        Granted: _granted,
        NodeIsReady: _node_is_ready,
        NodeHasFailed: _node_has_failed,
        NodeHasClosed: _node_has_closed,
        ServerIsUp: _server_is_up,
        ServerIsReady: _server_is_ready,
        ServerSetupFailed: _server_setup_failed,
        ServerIsDown: _server_is_down,
        ProcessLost: _process_lost,
        Submitted: _submitted,
        Withdrawn: _withdrawn,
        Started: _started,
        Refused: _refused,
        Ended: _ended,
        Recalled: _recalled,
        SchedulerLost: _scheduler_lost,
        CloseAsked: _close_asked,
        TimePassed: _time_passed,
    }
