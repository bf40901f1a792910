"""Which server runs which task: the client's half of the cluster, a state machine without clock, socket or thread.

Nodes are offered, wanted, granted, set up; their servers come up, are opened, run tasks, end.  Every task that was
submitted ends exactly once: with what the server said of it, or as abandoned with the reason.

A server that runs short tasks is sent a few ahead (see `_depth`), so that it need not wait for the network between
two of them; when another server has nothing to do, or the one that runs is slow, the others are recalled.

What runs at a server that is lost is abandoned.  What was only sent ahead runs elsewhere, if it is certain that it
had not begun: the session has said its last word, and the node says that the process is no more.

What the shell must know: a task's number comes once, and from 1 on.  An event says who speaks: what a server says of a
task that is not there any more is not heard, nor what a node says of an earlier setup.  A task that is still in `tasks`
after `handle(Ended)` is run again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from parkcos.client.controls import Controls
from parkcos.client.dispatch_events import (
    AbandonAsked,
    CloseAsked,
    CloseNode,
    CloseNodeAsked,
    CloseServerAsked,
    Effect,
    EnableAsked,
    Ended,
    EndTaskAsked,
    Event,
    Granted,
    LeaveScheduler,
    LoadSeen,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    ProcessLost,
    Reallocated,
    Recall,
    Recalled,
    Refused,
    ReportStatus,
    SchedulerLost,
    ServerIsDown,
    ServerIsLeaving,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SilenceSeen,
    Started,
    Submitted,
    SuspendAsked,
    TimePassed,
    TurnBegun,
    Withdrawn,
)
from parkcos.client.membership import SILENT
from parkcos.client.placing import (
    CLOSING,
    DISABLED,
    OPEN,
    PAUSED,
    STEAL_AFTER_S,
    STUCK_AFTER_S,
    WANTED,
    Node,
    Server,
)


@dataclass
class Dispatch(Controls):
    """The one door is :meth:`handle`."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        effects = list(self._HANDLERS[type(event)](self, event, now))
        effects += self._give_up()
        if self.closing:
            effects += self._wind_up(now)
        return effects

    def spoken_of(self) -> set[int]:
        """The nodes and servers that effects may be about."""
        followers = (follower.server for follower in self._followers.values())
        return {*self.nodes, *self._missed, *self._parting, *self.servers, *followers}

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        deadline = self._steal_at if self._ahead else None
        if self._ending:
            end_by = self.servers[next(iter(self._ending))].end_by
            if end_by is not None and (deadline is None or end_by < deadline):
                deadline = end_by
        if self._limits and (deadline is None or self._limits[0][0] < deadline):
            deadline = self._limits[0][0]
        return deadline

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
                assert not server.holds and not node.holds, f"server {number} is open and held back"
            elif node is not None:
                held = server.holds or node.holds
                assert held or server.state != PAUSED, f"server {number} is paused and nothing holds it back"
                assert number not in node.idle, f"server {number} is {server.state} and idle"
        for number, node in self.nodes.items():
            assert 0 <= node.left <= node.cpus, f"node {number} has {node.left} of {node.cpus} servers left"
            assert not (node.idle and node.waiting), f"tasks wait at node {number} beside idle servers"
            idle += len(node.idle)
        for ending, follower in self._followers.items():
            assert ending in self._ending, f"server {follower.server} waits for the end of one that has ended"
            assert follower.server not in self.servers, f"server {follower.server} is known before its time"
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

    # -- time and end

    def _time_passed(self, event: TimePassed, now: float) -> Iterator[Effect]:
        for number in list(self._ending):
            end_by = self.servers[number].end_by
            if end_by is None or end_by > now:
                break
            yield from self._end_server(number, now)
        if self._steal_at is not None and self._steal_at <= now:
            self._steal_at = None
            yield from self._steal(now)
        while self._limits and self._limits[0][0] <= now:
            yield from self._end_hanging(*heapq.heappop(self._limits), now)

    def _end_hanging(self, at: float, number: int, now: float) -> Iterator[Effect]:
        """It has had its time, or is to end, and its server has not been able to end it: its node ends that."""
        task = self.tasks.get(number)
        if task is not None and task.started and task.hangs_at == at:
            task.timed_out = not task.to_end
            server = self.servers[task.server]
            if server.node:
                yield from self._close_server(CloseServerAsked(task.server, True, True), server)

    def _steal(self, now: float) -> Iterator[Effect]:
        """Ask servers that do not get on for what they have not begun: for those that are idle, or will be sooner."""
        recalled = 0
        patience_s = STEAL_AFTER_S if self._idle else STUCK_AFTER_S
        for number in self._ahead:
            server = self.servers[number]
            if server.recalled or server.state != OPEN:
                continue
            if server.head_since + patience_s > now:
                self._steal_at = now + patience_s
                continue
            server.recalled = True
            server.mean_s = max(server.mean_s, now - server.head_since)
            for task in list(server.cpu)[1:]:
                record = self.tasks[task]
                if not record.want_server and not record.want_node:
                    record.recalling = True
                    recalled += 1
                    yield Recall(task, number)
            if self._idle and recalled >= self._idle:
                break

    def _close_asked(self, event: CloseAsked, now: float) -> Iterator[Effect]:
        self.closing = True
        self.terminate |= event.terminate
        self.await_io |= event.await_io
        self.closed_why = self.closed_why or event.why
        return iter(())

    def _awaits_tasks(self) -> bool:
        """Something still runs that closing waits for."""
        return not self.terminate and bool(self.tasks if self.await_io else self.cpu_tasks)

    def _give_up(self) -> Iterator[Effect]:
        """What waits for any server, when none is left and none will come, or none that would be of use."""
        if (self.pending or self.pending_io) and (reason := self.none_comes()):
            for task in [*self.pending, *self.pending_io]:
                yield from self._abandon(task, reason)
            self.pending.clear()
            self.pending_io.clear()

    def none_comes(self) -> str:
        """Why no server is left and none will come; "" as long as one may."""
        if not (self.closing or self.scheduler_lost or self.setup_error):
            return ""
        if not (self.scheduler_lost or self._had_nodes):
            return ""
        if any(n.restart or (n.left and n.state != CLOSING) for n in self.nodes.values() if not self._unused(n)):
            return ""
        if self.setup_error:
            why = f"where it was tried, {self.setup_error}"
        elif self.scheduler_lost:
            why = self.scheduler_lost
        else:
            why = self.closed_why or "the client is being closed"
        return f"no server is left, and {why}"

    def _unused(self, node: Node) -> bool:
        """A client that is being closed does not wait for a node that nobody has enabled."""
        return self.closing and node.state == DISABLED

    def _wind_up(self, now: float) -> Iterator[Effect]:
        """Closing, step by step: the CPU tasks, then the nodes, then the place at the scheduler."""
        if self.closed or self._awaits_tasks():
            return
        if not self._nodes_told:
            self._nodes_told = True
            self._missed.clear()
            yield from self._abandon_unsent()
            for number, node in list(self.nodes.items()):
                if node.state in (WANTED, DISABLED):
                    del self.nodes[number]  # the scheduler releases it when this client leaves
                    continue
                if SILENT in node.holds:
                    yield from self._give_node_up(number, node, "nothing is heard of it", now)
                    continue
                node.state, node.restart = CLOSING, False
                for server in node.servers:
                    self._retire(server)
                # What CPU tasks there are is not waited for; I/O tasks get their grace in any case.
                yield CloseNode(number, True, setup_id=node.setup_id)
        if not self.nodes and not self.servers:
            self.closed = True
            yield ReportStatus("ClientClosed", 0, self.closed_why)
            yield LeaveScheduler()

    def _abandon_unsent(self) -> Iterator[Effect]:
        for number in [n for n, t in self.tasks.items() if not t.server]:
            yield from self._abandon(number, self.closed_why or "the client was closed")
        self.pending.clear()
        self.pending_io.clear()
        for holder in self._holders():
            holder.waiting.clear()
            holder.waiting_io.clear()

    def _holders(self) -> list[Node | Server]:
        return [*self.nodes.values(), *self.servers.values()]

    _HANDLERS: ClassVar[dict[type, Callable[..., Iterator[Effect]]]] = {
        Offered: Controls._offered,
        Granted: Controls._granted,
        NodeIsReady: Controls._node_is_ready,
        NodeHasFailed: Controls._node_has_failed,
        NodeHasClosed: Controls._node_has_closed,
        ServerIsUp: Controls._server_is_up,
        ServerIsReady: Controls._server_is_ready,
        ServerIsLeaving: Controls._server_is_leaving,
        ServerSetupFailed: Controls._server_setup_failed,
        ServerIsDown: Controls._server_is_down,
        ProcessLost: Controls._process_lost,
        Submitted: Controls._submitted,
        Withdrawn: Controls._withdrawn,
        Started: Controls._started,
        Refused: Controls._refused,
        Ended: Controls._ended,
        Recalled: Controls._recalled,
        EndTaskAsked: Controls._end_task_asked,
        SchedulerLost: Controls._scheduler_lost,
        TurnBegun: Controls._turn_begun,
        SuspendAsked: Controls._suspend_asked,
        SilenceSeen: Controls._silence_seen,
        LoadSeen: Controls._load_seen,
        EnableAsked: Controls._enable_asked,
        CloseServerAsked: Controls._close_server_asked,
        CloseNodeAsked: Controls._close_node_asked,
        Reallocated: Controls._reallocated,
        AbandonAsked: Controls._abandon_asked,
        CloseAsked: _close_asked,
        TimePassed: _time_passed,
    }
