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

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from parkcos.client.dispatch_events import (
    CloseAsked,
    CloseNode,
    Effect,
    Ended,
    Event,
    Granted,
    LeaveScheduler,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    Recall,
    Recalled,
    Refused,
    ReportAbandoned,
    ReportRefused,
    ReportStarted,
    ReportStatus,
    Run,
    SchedulerLost,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SetupNode,
    Started,
    Submitted,
    TimePassed,
    Want,
    Withdrawn,
)
from parkcos.client.placing import (
    CLOSING,
    ENDING,
    OPEN,
    OPENING,
    READY,
    SETUP,
    STEAL_AFTER_S,
    WANTED,
    Node,
    Placing,
    Server,
    Task,
)

END_WAIT_S = 1.0
"""A server is known to be gone from its node and from its session; the second word is awaited so long."""


@dataclass
class Dispatch(Placing):
    """The one door is :meth:`handle`."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        effects = list(self._HANDLERS[type(event)](self, event, now))
        if self.closing or self.scheduler_lost or self.setup_error:
            effects += self._give_up()
        if self.closing or self.scheduler_lost:
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
        if event.setup and event.node in self.nodes:
            self.setup_error = event.error
        yield from self._drop_node(event.node, "NodeDisconnected", event.error, now)

    def _node_has_closed(self, event: NodeHasClosed, now: float) -> Iterator[Effect]:
        yield from self._drop_node(event.node, "NodeClosed", event.reason or "its node was closed", now)

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
        server.state, self.setup_error = OPEN, ""
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
            server.down = self.setup_error = event.error or "server_setup failed"
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
        """What waits for any server, when none is left and none will come, or none that would be of use."""
        if not (self.pending or self.pending_io) or not (self.scheduler_lost or self._had_nodes):
            return
        if any(n.left and n.state != CLOSING for n in self.nodes.values()):
            return
        if self.setup_error:
            why = f"where it was tried, {self.setup_error}"
        elif self.scheduler_lost:
            why = f"the scheduler is gone: {self.scheduler_lost}"
        else:
            why = "the client is being closed"
        reason = f"no server is left, and {why}"
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
        Submitted: Placing._submitted,
        Withdrawn: Placing._withdrawn,
        Started: Placing._started,
        Refused: Placing._refused,
        Ended: Placing._ended,
        Recalled: Placing._recalled,
        SchedulerLost: _scheduler_lost,
        CloseAsked: _close_asked,
        TimePassed: _time_passed,
    }


__all__ = [
    "CLOSING",
    "ENDING",
    "OPEN",
    "OPENING",
    "READY",
    "SETUP",
    "WANTED",
    "CloseAsked",
    "CloseNode",
    "Dispatch",
    "Effect",
    "Ended",
    "Event",
    "Granted",
    "LeaveScheduler",
    "Node",
    "NodeHasClosed",
    "NodeHasFailed",
    "NodeIsReady",
    "Offered",
    "OpenServer",
    "ProcessLost",
    "Recall",
    "Recalled",
    "Refused",
    "ReportAbandoned",
    "ReportRefused",
    "ReportStarted",
    "ReportStatus",
    "Run",
    "SchedulerLost",
    "Server",
    "ServerIsDown",
    "ServerIsReady",
    "ServerIsUp",
    "ServerSetupFailed",
    "SetupNode",
    "Started",
    "Submitted",
    "Task",
    "TimePassed",
    "Want",
    "Withdrawn",
]
