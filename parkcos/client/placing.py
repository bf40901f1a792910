"""Where a client's tasks are placed: the half of the dispatch machine that deals with tasks.

Its state, what waits where, and the rules by which a task goes to a server: to the least loaded node, a few ahead to
a server that runs short ones, back if that does not get on.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from parkcos.client.dispatch_events import (
    Effect,
    Ended,
    EndTask,
    EndTaskAsked,
    Offered,
    Recalled,
    Refused,
    ReportAbandoned,
    ReportRefused,
    ReportStarted,
    Run,
    ServerIsUp,
    Started,
    Submitted,
    Withdrawn,
)
from parkcos.client.load import LoadHeap
from parkcos.cluster import messages as m

AHEAD_S = 0.002
"""So much work may wait at a server behind the running task."""
AHEAD_MAX = 32
STEAL_AFTER_S = 0.005
"""Seconds that a task may run before what waits behind it is recalled, if another server is idle."""
STUCK_AFTER_S = 0.1
"""The same if none is: others will have their turn there sooner than behind this one."""

HANGS_S = 9.0
"""A server ends a task that has had its time, after a grace; if nothing is heard of that for so long, it hangs."""

# -- state

DISABLED, WANTED, SETUP, READY, FAILING, CLOSING = "disabled", "wanted", "setup", "ready", "failing", "closing"
OPENING, OPEN, PAUSED, ENDING = "opening", "open", "paused", "ending"


class Node(msgspec.Struct):
    info: m.NodeInfo
    cpus: int
    left: int
    """How many servers it has or will have."""
    state: str = WANTED
    servers: dict[int, None] = {}
    idle: dict[int, None] = {}
    waiting: deque[int] = msgspec.field(default_factory=deque)
    """CPU tasks that must run at this node."""
    waiting_io: deque[int] = msgspec.field(default_factory=deque)
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
    """It is closed to be set up anew."""
    setup_id: int = 0
    """Of its last setup; 0: it was not set up yet."""
    initialized: bool = False
    """That was reported; it is no news when it has been set up anew."""
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

    @property
    def has_servers(self) -> bool:
        """Whether it has servers or gets some."""
        return bool(self.left) or self.restart


class Server(msgspec.Struct):
    node: int
    addr: str
    port: int
    index: int
    """Its place at the node."""
    state: str = OPENING
    cpu: deque[int] = msgspec.field(default_factory=deque)
    """CPU tasks sent there, the running one first."""
    io: dict[int, None] = {}
    waiting: deque[int] = msgspec.field(default_factory=deque)
    """CPU tasks that must run at this server."""
    waiting_io: deque[int] = msgspec.field(default_factory=deque)
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
    opened: bool = False
    """It was told to begin."""
    replace: bool = True
    """Another one is wanted in its place."""
    leaving: bool = False
    """It has said that it is about to end."""
    useless: bool = False
    """No other one in its place would be of use, or none is wanted."""
    unwanted: bool = False
    """The client's program has asked for its end."""
    ended_early: bool = False
    """It ended before it was ready."""
    holds: dict[str, str] = {}
    """The same, beside what holds its whole node back."""
    condition: str = ""
    """What was last reported of that."""


class Task(msgspec.Struct):
    io: bool
    want_server: int
    want_node: int
    timeout_s: float
    retries: int
    server: int = 0
    """Where it was sent, 0: it waits."""
    started: bool = False
    recalling: bool = False
    hangs_at: float = 0.0
    """When it must have ended at the latest."""
    timed_out: bool = False
    to_end: bool = False
    """It was asked to."""


@dataclass
class Placing:
    """The state of the dispatch machine, and what it does with tasks.

    disable_nodes, disable_servers: each waits until the client's program enables it.
    abandon_zombies: a silent node is given up at once.
    """

    disable_nodes: bool = False
    disable_servers: bool = False
    abandon_zombies: bool = False
    nodes: dict[int, Node] = field(default_factory=dict)
    servers: dict[int, Server] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    """Submitted and not ended."""
    pending: deque[int] = field(default_factory=deque)
    pending_io: deque[int] = field(default_factory=deque)
    cpu_tasks: int = 0
    scheduler_lost: str = ""
    closed_why: str = ""
    """If not by its program."""
    setup_error: str = ""
    """Why a setup failed, until a server is ready: what fails at all servers will fail at the next."""
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
    _limits: list[tuple[float, int]] = field(default_factory=list)
    """A heap: when a task will have had its time and its grace, and its server must have ended it."""
    _ending: dict[int, None] = field(default_factory=dict)
    """In the order of their end_by."""
    _followers: dict[int, ServerIsUp] = field(default_factory=dict)
    """Server that is ending -> the one that has taken its address, of which nobody is to hear before that end."""
    _unsaid: dict[int, tuple[int, bool]] = field(default_factory=dict)
    """Servers that have ended here, while their node has yet to say whether another one takes the place: the node, and
    whether that place counts in its `left`."""
    _parting: dict[int, Offered] = field(default_factory=dict)
    """Nodes that were given up, and whose sessions have yet to end: they are wanted again after that."""
    _missed: dict[int, Offered] = field(default_factory=dict)
    """Nodes that may be reserved for this client though they are not in `nodes`: lost without a word of their own and
    wanted again, or wanted of a scheduler that is gone."""
    _setups: int = 0
    """How many nodes were set up, or set up anew."""
    _had_nodes: bool = False
    """A client that closes waits for its first node, but not for another when all are lost."""
    _nodes_told: bool = False
    """Closing has come so far that the nodes were told: nothing more is sent."""

    # -- tasks

    def _submitted(self, event: Submitted, now: float) -> Iterator[Effect]:
        self.tasks[event.task] = Task(event.io, event.server, event.node, event.timeout_s, event.retries)
        if not event.io:
            self.cpu_tasks += 1
        if self.closing:
            yield from self._abandon(event.task, self.closed_why or "the client is being closed")
        elif event.server:
            server = self.servers.get(event.server)
            if server is None:
                yield from self._abandon(event.task, "that server has ended")
            elif server.state == ENDING:
                down = f"that server has ended: {server.down}" if server.down else "that server is being closed"
                yield from self._abandon(event.task, down)
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
            elif not node.has_servers:
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
        yield from self._abandon(event.task, event.reason)

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
            node, server = self.nodes.get(task.want_node), self.servers.get(task.want_server)
            if (
                self._nodes_told
                or (task.want_server and (server is None or server.state == ENDING))
                or (task.want_node and (node is None or not node.has_servers))
            ):
                yield from self._abandon(number, reason)
            elif server is not None:
                (server.waiting_io if task.io else server.waiting).appendleft(number)
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
                if self._steal_at is None:
                    self._steal_at = now + STUCK_AFTER_S
        return Run(number, at, task.io)

    def _weigh(self, number: int, node: Node) -> None:
        if node.idle:
            self._idle_nodes.put(number, 1 - len(node.idle) / len(node.servers) + node.foreign)
        else:
            self._idle_nodes.remove(number)

    def _weigh_io(self, number: int, server: Server) -> None:
        if server.state == OPEN:
            self._io_servers.put(number, len(server.io))
            self.nodes[server.node].io_servers.put(number, len(server.io))

    def _depth(self, server: Server) -> int:
        """How many CPU tasks a server may have, the running one included."""
        return 1 + min(AHEAD_MAX, int(AHEAD_S / max(server.mean_s, 1e-5)))

    def _open_to_tasks(self, number: int, now: float) -> Iterator[Effect]:
        """From now on the server is given tasks, first of all those that wait for it."""
        server = self.servers[number]
        server.state = OPEN
        self._weigh_io(number, server)
        for queue in (server.waiting_io, self.nodes[server.node].waiting_io, self.pending_io):
            while queue:
                yield self._send(queue.popleft(), number, now)
        yield from self._fill(number, now)

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
            if self._ahead and (self._steal_at is None or self._steal_at > now + STEAL_AFTER_S):
                self._steal_at = now + STEAL_AFTER_S

    def _started(self, event: Started, now: float) -> Iterator[Effect]:
        task = self._task_at(event)
        if task is not None and not task.started:
            task.started = True
            if task.timeout_s:
                self._limit(event.task, task, now + task.timeout_s)
            yield ReportStarted(event.task, task.server, event.remote_id)

    def _task_at(self, event: Started | Refused | Ended | Recalled) -> Task | None:
        """Of which a server speaks; None: it is not there any more, but was abandoned, or is run again elsewhere."""
        task = self.tasks.get(event.task)
        return task if task is not None and task.server and task.server == event.server else None

    def _limit(self, number: int, task: Task, at: float) -> None:
        """Its server is to end it then; if that cannot, its node ends the server."""
        task.hangs_at = at + HANGS_S
        heapq.heappush(self._limits, (task.hangs_at, number))

    def _end_task_asked(self, event: EndTaskAsked, now: float) -> Iterator[Effect]:
        task = self.tasks.get(event.task)
        if task is not None and task.started and not task.to_end:
            task.to_end, task.retries = True, 0
            self._limit(event.task, task, now)
            yield EndTask(event.task, task.server)

    def _refused(self, event: Refused, now: float) -> Iterator[Effect]:
        task = self._task_at(event)
        if task is None:
            return
        self._forget(event.task, task, now)
        yield ReportRefused(event.task, event.error)
        yield from self._fill(task.server, now)

    def _ended(self, event: Ended, now: float) -> Iterator[Effect]:
        task = self._task_at(event)
        if task is None or (event.cut and self._is_run_anew(task)):
            return
        if not task.started:
            yield ReportStarted(event.task, task.server, event.remote_id)
        if not task.io:
            server = self.servers[task.server]
            server.mean_s += 0.3 * (min(event.seconds, 1.0) - server.mean_s)
        self._forget(event.task, task, now)
        yield from self._fill(task.server, now)

    def _is_run_anew(self, task: Task) -> bool:
        """It was interrupted: whether it counts as lost with its server, when that has ended."""
        server = self.servers[task.server]
        return bool(task.retries) and not (task.want_server or server.unwanted or self._nodes_told)

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
        yield ReportAbandoned(number, reason, task.started, task.timed_out)

    def _recalled(self, event: Recalled, now: float) -> Iterator[Effect]:
        task = self._task_at(event)
        if task is None or not event.ok:
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

    def _retire(self, number: int, state: str = ENDING) -> None:
        """Nothing more is sent there; while it is PAUSED, for the time being."""
        server = self.servers[number]
        server.state = state
        self._io_servers.remove(number)
        node = self.nodes.get(server.node)
        if node is not None:
            node.io_servers.remove(number)
            if number in node.idle:
                del node.idle[number]
                self._idle -= 1
            self._weigh(server.node, node)
