"""Which server runs which task: the client's half of the cluster, a state machine without clock, socket or thread.

Nodes are offered, wanted, granted, set up; their servers come up, are opened, run tasks, end.  Every task that was
submitted ends exactly once: with what the server said of it, or as abandoned with the reason.

A server that runs short tasks is sent a few ahead (see `_depth`), so that it need not wait for the network between
two of them; when another server has nothing to do, those that have not begun are recalled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

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
    task: int
    ok: bool


@dataclass(frozen=True, slots=True)
class CloseAsked:
    terminate: bool


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
    | Started
    | Refused
    | Ended
    | Recalled
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
    servers: dict[int, None] = field(default_factory=dict)
    idle: dict[int, None] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)
    """CPU tasks that must run at this node."""


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
    mean_s: float = 1.0
    """A running mean of how long CPU tasks take there; at first unknown, that is, long."""
    head_since: float = 0.0
    recalled: bool = False
    down: str = ""
    """Why its node says it ended."""
    gone: str = ""
    """Why its session ended."""
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
    closing: bool = False
    terminate: bool = False
    closed: bool = False
    _idle_nodes: LoadHeap = field(default_factory=LoadHeap)
    """Nodes with an idle server, by the share of their servers that is busy."""
    _io_servers: LoadHeap = field(default_factory=LoadHeap)
    """Open servers, by what runs there."""
    _steal_at: float | None = None
    _ending: dict[int, None] = field(default_factory=dict)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        return list(self._HANDLERS[type(event)](self, event, now))

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        times = [t for s in self._ending if (t := self.servers[s].end_by) is not None]
        if self._steal_at is not None:
            times.append(self._steal_at)
        return min(times, default=None)

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        for number, server in self.servers.items():
            for task in (*server.cpu, *server.io):
                assert self.tasks[task].server == number, f"task {task} is at two servers"
        for number, task in self.tasks.items():
            if task.server:
                server = self.servers[task.server]
                assert number in (server.io if task.io else server.cpu), f"task {number} is nowhere"
        assert self.cpu_tasks == sum(not t.io for t in self.tasks.values())
        if self.closed:
            assert not self.tasks, "closed with tasks that never ended"

    # -- nodes

    def _offered(self, event: Offered, now: float) -> Iterator[Effect]:
        number = event.info.incarnation
        if self.closing or number in self.nodes:
            return
        yield ReportStatus("NodeDiscovered", number)
        if event.cpus > 0:
            self.nodes[number] = Node(event.info, event.cpus)
        yield Want(number, event.cpus)

    def _granted(self, event: Granted, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None or node.state != WANTED:
            return
        node.state = SETUP
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
        node = self.nodes.pop(number, None)
        if node is None:
            return
        self._idle_nodes.remove(number)
        for server in list(node.servers):
            self.servers[server].down = self.servers[server].down or reason
            if status == "NodeClosed":
                yield from self._await_end(server, now)
            else:
                yield from self._end_server(server, now)
        for task in list(node.waiting):
            yield from self._abandon(task, reason)
        yield ReportStatus(status, number, reason)
        yield from self._leave_if_closed()

    # -- servers

    def _server_is_up(self, event: ServerIsUp, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None or event.server in self.servers:
            return
        self.servers[event.server] = Server(event.node, event.addr, event.port)
        node.servers[event.server] = None
        yield ReportStatus("ServerDiscovered", event.server)
        yield OpenServer(event.server)

    def _server_is_ready(self, event: ServerIsReady, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is None or server.state != OPENING:
            return
        server.state = OPEN
        yield ReportStatus("ServerInitialized", event.server)
        self._io_servers.put(event.server, 0.0)
        while self.pending_io:
            yield self._send(self.pending_io.popleft(), event.server, now)
        yield from self._fill(event.server, now)

    def _server_setup_failed(self, event: ServerSetupFailed, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is not None:
            server.down = event.error
            yield from self._end_server(event.server, now)

    def _server_is_down(self, event: ServerIsDown, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is not None:
            server.down, server.asked = event.reason, event.asked
            yield from self._await_end(event.server, now)

    def _process_lost(self, event: ProcessLost, now: float) -> Iterator[Effect]:
        if event.process in self.nodes:
            reason = f"its node is gone: {event.reason}"
            yield from self._drop_node(event.process, "NodeDisconnected", reason, now)
        server = self.servers.get(event.process)
        if server is not None:
            server.gone = event.reason
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
            node.servers.pop(number, None)
            node.idle.pop(number, None)
            self._weigh(server.node)

    def _end_server(self, number: int, now: float) -> Iterator[Effect]:
        self._retire(number)
        self._ending.pop(number, None)
        server = self.servers.pop(number)
        reason = server.down or server.gone
        ahead = list(server.cpu)[1:]
        for task in [*list(server.cpu)[:1], *server.io, *server.waiting]:
            yield from self._abandon(task, f"its server {server.addr}:{server.port} ended: {reason}")
        for task in reversed(ahead):  # these had not begun: they run elsewhere
            record = self.tasks[task]
            record.server = 0
            if record.started or record.want_server:
                yield from self._abandon(task, f"its server {server.addr}:{server.port} ended: {reason}")
            else:
                self.pending.appendleft(task)
        yield ReportStatus("ServerClosed" if server.asked or self.closing else "ServerDisconnected", number, reason)
        yield from self._place_pending(now)
        yield from self._leave_if_closed()

    # -- tasks

    def _submitted(self, event: Submitted, now: float) -> Iterator[Effect]:
        task = self.tasks[event.task] = Task(event.io, want_server=event.server, want_node=event.node)
        if not event.io:
            self.cpu_tasks += 1
        if self.closing:
            yield from self._abandon(event.task, "the client is being closed")
        elif event.server:
            server = self.servers.get(event.server)
            if server is None or server.state == ENDING:
                yield from self._abandon(event.task, "that server has ended")
            elif event.io and server.state == OPEN:
                yield self._send(event.task, event.server, now)
            else:
                server.waiting.append(event.task)
                yield from self._fill(event.server, now)
        elif event.io:
            yield from self._place_io(event.task, task, now)
        else:
            yield from self._place_cpu(event.task, now)

    def _place_io(self, number: int, task: Task, now: float) -> Iterator[Effect]:
        if task.want_node:
            node = self.nodes.get(task.want_node)
            at = [s for s in node.servers if self.servers[s].state == OPEN] if node else []
            if at:
                yield self._send(number, min(at, key=lambda s: len(self.servers[s].io)), now)
            else:
                yield from self._abandon(number, "no server is open at that node")
            return
        server = self._io_servers.lightest()
        if server is None:
            self.pending_io.append(number)
        else:
            yield self._send(number, server, now)

    def _place_cpu(self, number: int, now: float) -> Iterator[Effect]:
        wanted = self.tasks[number].want_node
        if wanted:
            node = self.nodes.get(wanted)
            if node is None:
                yield from self._abandon(number, "that node is not used by this client")
            elif node.idle:
                yield self._send(number, next(iter(node.idle)), now)
            else:
                node.waiting.append(number)
            return
        lightest = self._idle_nodes.lightest()
        if lightest is None:
            self.pending.append(number)
        else:
            yield self._send(number, next(iter(self.nodes[lightest].idle)), now)

    def _place_pending(self, now: float) -> Iterator[Effect]:
        while self.pending and (lightest := self._idle_nodes.lightest()) is not None:
            yield self._send(self.pending.popleft(), next(iter(self.nodes[lightest].idle)), now)

    def _send(self, number: int, at: int, now: float) -> Run:
        task, server = self.tasks[number], self.servers[at]
        task.server = at
        if task.io:
            server.io[number] = None
        else:
            if not server.cpu:
                server.head_since = now
                self.nodes[server.node].idle.pop(at, None)
                self._weigh(server.node)
            server.cpu.append(number)
        self._io_servers.put(at, len(server.io) + len(server.cpu))
        return Run(number, at, task.io)

    def _weigh(self, number: int) -> None:
        node = self.nodes[number]
        if node.idle:
            self._idle_nodes.put(number, 1 - len(node.idle) / max(1, len(node.servers)))
        else:
            self._idle_nodes.remove(number)

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
            for queue in (server.waiting, node.waiting, self.pending):
                if queue:
                    yield self._send(queue.popleft(), number, now)
                    break
            else:
                break
        if not server.cpu and number not in node.idle:
            node.idle[number] = None
            self._weigh(server.node)
            if self._steal_at is None and any(len(s.cpu) > 1 for s in self.servers.values()):
                self._steal_at = now + STEAL_AFTER_S

    def _started(self, event: Started, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is not None and not task.started:
            task.started = True
            yield ReportStarted(event.task, task.server)

    def _refused(self, event: Refused, now: float) -> Iterator[Effect]:
        at = self._forget(event.task)
        if at is not None:
            yield ReportRefused(event.task, event.error)
            yield from self._next(at, now)

    def _ended(self, event: Ended, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is None:
            return
        if not task.started:
            yield ReportStarted(event.task, task.server)
        server = self.servers[task.server]
        if not task.io:
            server.mean_s += 0.3 * (min(event.seconds, 1.0) - server.mean_s)
        self._forget(event.task)
        yield from self._next(task.server, now)

    def _next(self, at: int, now: float) -> Iterator[Effect]:
        """Something ended at a server."""
        server = self.servers.get(at)
        if server is not None:
            server.head_since, server.recalled = now, False
            if server.state == OPEN:
                self._io_servers.put(at, len(server.io) + len(server.cpu))
                yield from self._fill(at, now)
        yield from self._close_if_done()

    def _forget(self, number: int) -> int | None:
        """A task has ended.  Returns the server that it was at."""
        task = self.tasks.pop(number, None)
        if task is None:
            return None
        if not task.io:
            self.cpu_tasks -= 1
        server = self.servers.get(task.server)
        if server is not None:
            if task.io:
                server.io.pop(number, None)
            elif number in server.cpu:
                server.cpu.remove(number)
        return task.server

    def _abandon(self, number: int, reason: str) -> Iterator[Effect]:
        task = self.tasks.get(number)
        if task is not None:
            self._forget(number)
            yield ReportAbandoned(number, reason, task.started)
            yield from self._close_if_done()

    def _recalled(self, event: Recalled, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is None or not event.ok:
            return
        server = self.servers[task.server]
        server.cpu.remove(event.task)
        task.server = 0
        self.pending.appendleft(event.task)
        yield from self._place_pending(now)

    # -- time and end

    def _time_passed(self, event: TimePassed, now: float) -> Iterator[Effect]:
        for number in list(self._ending):
            end_by = self.servers[number].end_by
            if end_by is not None and end_by <= now:
                yield from self._end_server(number, now)
        if self._steal_at is not None and self._steal_at <= now:
            self._steal_at = None
            if self._idle_nodes.lightest() is not None:
                yield from self._steal(now)

    def _steal(self, now: float) -> Iterator[Effect]:
        for number, server in self.servers.items():
            ahead = [t for t in list(server.cpu)[1:] if not self.tasks[t].want_server and not self.tasks[t].want_node]
            if not ahead or server.recalled:
                continue
            if now - server.head_since >= STEAL_AFTER_S:
                server.recalled = True
                server.mean_s = max(server.mean_s, now - server.head_since)
                for task in ahead:
                    yield Recall(task, number)
            else:
                self._steal_at = server.head_since + STEAL_AFTER_S

    def _close_asked(self, event: CloseAsked, now: float) -> Iterator[Effect]:
        if self.terminate or self.closed or (self.closing and not event.terminate):
            return
        self.closing, self.terminate = True, event.terminate
        if event.terminate:
            for number in [n for n, t in self.tasks.items() if not t.server]:
                yield from self._abandon(number, "the client was closed")
        yield from self._close_if_done()
        yield from self._leave_if_closed()

    def _close_if_done(self) -> Iterator[Effect]:
        if not self.closing or (self.cpu_tasks and not self.terminate):
            return
        for number, node in list(self.nodes.items()):
            if node.state == WANTED:
                del self.nodes[number]  # the scheduler releases it when this client leaves
            elif node.state != CLOSING:
                node.state = CLOSING
                yield CloseNode(number, self.terminate)

    def _leave_if_closed(self) -> Iterator[Effect]:
        if not self.closing or self.closed or (self.cpu_tasks and not self.terminate):
            return
        if self.nodes or self.servers:
            return
        for number in list(self.tasks):
            yield from self._abandon(number, "the client was closed")
        self.closed = True
        yield ReportStatus("ClientClosed", 0)
        yield LeaveScheduler()

    _HANDLERS = {
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
        Started: _started,
        Refused: _refused,
        Ended: _ended,
        Recalled: _recalled,
        CloseAsked: _close_asked,
        TimePassed: _time_passed,
    }
