"""The dashboard's model: events in, snapshots and changes out.  Without clock, socket or thread.

Every event takes O(1).  A revision counts the events that have changed something; `changes(since)` gives the whole
records that have changed after a revision, and what is gone, so that whoever applies it to any state that was right
between `since` and now has the state of now, also if some of it was known already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from parkcos.httpd import records as r
from parkcos.httpd.texts import ARGS_SHORT, clean
from parkcos.web.ledger import Ledger

HISTORY_S = 900.0
"""Points of the charts are kept for so long."""
NODE_POINTS_MAX = 200
ENDED_NODES_MAX = 1_000
ENDED_SERVERS_MAX = 1_000
"""So many nodes and servers that have ended are still shown."""
LINES_MAX = 200
LINE_MAX = 500
"""Of what the tasks of a server print; characters."""
OUTPUT_MAX = 16_000_000
"""Of what all servers print, characters; what was printed by those that have printed nothing for longest goes first."""
LINE_COST = 64
"""What a line takes beside its characters."""
DETAILS_MAX = 32_000_000
"""So many characters of arguments, tracebacks and results are kept for who looks at a task."""
TRACEBACK_MAX = 20_000
NAME_MAX = 200
ERROR_MAX = 500


@dataclass
class Model:
    """The one door is :meth:`handle`.

    Args:
        kind: "client" or "scheduler"; name: of the program.
        epoch: a text that no other run of a program has; revisions of different ones do not compare.
        started: when, in seconds since the epoch.
        poll_s: seconds between two points of the charts.
        tasks_max: so many ended tasks are kept; and while so many run or wait, further ones are shown when they start.
    """

    kind: str
    name: str
    epoch: str
    started: float
    version: str = ""
    poll_s: float = 10.0
    show_args: bool = True
    tasks_max: int = 10_000
    state: str = "new"
    reason: str = ""
    revision: int = 1
    totals: r.Totals = field(default_factory=r.Totals)
    nodes: dict[int, r.NodeRecord] = field(default_factory=dict)
    servers: dict[int, r.ServerRecord] = field(default_factory=dict)
    tasks: dict[int, r.TaskRecord] = field(default_factory=dict)
    clients: list[r.ClientRecord] = field(default_factory=list)
    details: dict[int, r.Detail] = field(default_factory=dict)
    """Of tasks, the oldest first."""
    output: dict[int, deque[str]] = field(default_factory=dict)
    """What the tasks of each server have printed last, and the setup of each node; who printed last comes last."""
    node_history: dict[int, deque[r.NodePoint]] = field(default_factory=dict)
    _node_log: Ledger = field(default_factory=Ledger)
    _server_log: Ledger = field(default_factory=Ledger)
    _task_log: Ledger = field(default_factory=Ledger)
    _clients_at: int = 0
    """The revision of the last change of the queue."""
    _history: deque[tuple[int, r.Point]] = field(default_factory=deque)
    _servers_of: dict[str, int] = field(default_factory=dict)
    """How many servers each node has now."""
    _ended_nodes: dict[int, None] = field(default_factory=dict)
    _ended_servers: dict[int, None] = field(default_factory=dict)
    _ended_tasks: deque[int] = field(default_factory=deque)
    _details_size: int = 0
    _output_size: int = 0
    _point_at: float = 0.0
    _done_then: int = 0

    def handle(self, event: r.Event, now: float) -> None:
        """Take a fact.  now: seconds since the epoch."""
        self._HANDLERS[type(event)](self, event, now)

    # -- what is given out

    def snapshot(self, now: float) -> r.State:
        """Everything.  The records are those of the model: write them out before the next event, or get later ones."""
        return r.State(
            self.revision,
            self.epoch,
            self.kind,
            self.name,
            self.state,
            self.reason,
            now,
            self.started,
            self.version,
            self.settings,
            self.totals,
            list(self.nodes.values()),
            list(self.servers.values()),
            list(self.tasks.values()),
            self.clients,
            [point for _, point in self._history],
        )

    def changes(self, since: int, now: float) -> r.Changes | None:
        """What has changed after the revision `since`; None if that is not known any more: take a snapshot."""
        nodes, servers = self._node_log.since(since), self._server_log.since(since)
        tasks = self._task_log.since(since)
        if since > self.revision or nodes is None or servers is None or tasks is None:
            return None
        points = []
        for at, point in reversed(self._history):
            if at <= since:
                break
            points.append(point)
        return r.Changes(
            self.revision,
            now,
            self.state,
            self.reason,
            self.totals,
            self.settings,
            [self.nodes[node] for node in nodes[0]],
            [self.servers[server] for server in servers[0]],
            [self.tasks[task] for task in tasks[0]],
            self.clients if self._clients_at > since else None,
            r.Gone([r.hexed(node) for node in nodes[1]], [r.hexed(server) for server in servers[1]], tasks[1]),
            points[::-1],
        )

    @property
    def settings(self) -> r.Settings:
        return r.Settings(self.poll_s, self.show_args)

    def point(self, now: float) -> None:
        """Add a point to the charts; to be called every `poll_s`."""
        used = [100.0 - node.cpu for node in self.nodes.values() if node.cpu is not None and not _ended(node)]
        elapsed_s = now - (self._point_at or self.started)
        rate = (self.totals.done - self._done_then) / elapsed_s if elapsed_s > 0 else 0.0
        self._point_at, self._done_then = now, self.totals.done
        cpu = round(sum(used) / len(used), 1) if used else None
        self.revision += 1
        self._history.append((self.revision, (now, self.totals.running, round(rate, 3), cpu)))
        while self._history[0][1][0] < now - HISTORY_S:
            self._history.popleft()

    def check(self) -> None:
        """The invariants; for tests."""
        tasks = self.tasks.values()
        assert self.totals.running == sum(task.state == "running" for task in tasks)
        assert len(self._ended_tasks) == sum(task.state in r.TASK_ENDED for task in tasks) <= self.tasks_max
        assert self.totals.done == len(self._ended_tasks) + self.totals.left_out
        assert self.totals.failed <= self.totals.done <= self.totals.submitted
        for records, log, ended in (
            (self.nodes, self._node_log, self._ended_nodes),
            (self.servers, self._server_log, self._ended_servers),
        ):
            assert set(log.order) == set(records)
            assert set(ended) == {number for number, record in records.items() if _ended(record)}
        assert set(self._task_log.order) == set(self.tasks)
        assert set(self.details) <= set(self.tasks)
        assert self._details_size == sum(detail.size for detail in self.details.values()) <= DETAILS_MAX
        assert self.output.keys() <= self.nodes.keys() | self.servers.keys()
        assert self._output_size == sum(_cost(lines) for lines in self.output.values()) <= OUTPUT_MAX
        for node in self.nodes.values():
            there = [server for server in self.servers.values() if server.node == node.id and not _ended(server)]
            assert node.servers == len(there)

    # -- nodes and servers

    def _touch_node(self, number: int) -> None:
        self.revision += 1
        self._node_log.touch(number, self.revision)

    def _touch_server(self, number: int) -> None:
        self.revision += 1
        self._server_log.touch(number, self.revision)

    def _node_seen(self, event: r.NodeSeen, now: float) -> None:
        node = self.nodes.get(event.node)
        if node is None:
            node = self.nodes[event.node] = r.NodeRecord(r.hexed(event.node))
            node.memory, node.disk = event.memory, event.disk
            node.servers = self._servers_of.get(node.id, 0)
        node.name, node.addr = clean(event.name, NAME_MAX), clean(event.addr, NAME_MAX)
        node.platform = clean(event.platform, NAME_MAX)
        node.port, node.cpus, node.pulse = event.port, event.cpus, now
        self._touch_node(event.node)

    def _node_changed(self, event: r.NodeChanged, now: float) -> None:
        node = self.nodes.get(event.node)
        reason = clean(event.reason, ERROR_MAX)
        if node is None or (node.state, node.reason, node.client) == (event.state, reason, event.client):
            return
        node.state, node.reason, node.client = event.state, reason, event.client
        self._touch_node(event.node)
        self._ended_nodes.pop(event.node, None)
        if event.state in r.NODE_ENDED:
            self._ended_nodes[event.node] = None
            if len(self._ended_nodes) > ENDED_NODES_MAX:
                self._drop_node(next(iter(self._ended_nodes)))

    def _drop_node(self, number: int) -> None:
        del self.nodes[number], self._ended_nodes[number]
        self.node_history.pop(number, None)
        self._drop_output(number)
        self._node_log.drop(number, self.revision)

    def _node_load(self, event: r.NodeLoad, now: float) -> None:
        node = self.nodes.get(event.node)
        if node is None:
            return
        node.cpu, node.memory, node.disk, node.swap = event.cpu, event.memory, event.disk, event.swap
        node.pulse = now
        self._touch_node(event.node)
        used = None if event.cpu is None else round(100.0 - event.cpu, 1)
        points = self.node_history.setdefault(event.node, deque(maxlen=NODE_POINTS_MAX))
        points.append((now, used, event.memory, node.running))

    def _server_seen(self, event: r.ServerSeen, now: float) -> None:
        if event.server in self.servers:
            return
        record = r.ServerRecord(r.hexed(event.server), r.hexed(event.node), clean(event.name, NAME_MAX), event.addr)
        record.port = event.port
        self.servers[event.server] = record
        self._touch_server(event.server)
        self._count_server(event.node, 1)

    def _server_changed(self, event: r.ServerChanged, now: float) -> None:
        server = self.servers.get(event.server)
        reason = clean(event.reason, ERROR_MAX)
        if server is None or _ended(server) or (server.state, server.reason) == (event.state, reason):
            return
        server.state, server.reason = event.state, reason
        self._touch_server(event.server)
        if not _ended(server):
            return
        self._count_server(int(server.node, 16), -1)
        self._ended_servers[event.server] = None
        if len(self._ended_servers) > ENDED_SERVERS_MAX:
            oldest = next(iter(self._ended_servers))
            del self.servers[oldest], self._ended_servers[oldest]
            self._drop_output(oldest)
            self._server_log.drop(oldest, self.revision)

    def _count_server(self, number: int, more: int) -> None:
        node_id = r.hexed(number)
        count = self._servers_of[node_id] = self._servers_of.get(node_id, 0) + more
        if not count:
            del self._servers_of[node_id]
        if (node := self.nodes.get(number)) is not None:
            node.servers = count
            self._touch_node(number)

    def _printed(self, event: r.Printed, now: float) -> None:
        number = event.server or event.node
        if not event.lines or (number not in self.servers and number not in self.nodes):
            return
        lines = self._drop_output(number)
        lines.extend(clean(line, LINE_MAX) for line in event.lines[-LINES_MAX:])
        self.output[number] = lines
        self._output_size += _cost(lines)
        while self._output_size > OUTPUT_MAX:
            oldest, lines = next(iter(self.output.items()))
            self._output_size -= _cost([lines.popleft()])
            if not lines:
                del self.output[oldest]

    def _drop_output(self, number: int) -> deque[str]:
        """Returns: the lines."""
        lines = self.output.pop(number, None) or deque(maxlen=LINES_MAX)
        self._output_size -= _cost(lines)
        return lines

    # -- tasks

    def _touch_task(self, number: int) -> None:
        self.revision += 1
        self._task_log.touch(number, self.revision)

    def _count(self, task: r.TaskRecord, submitted: int, running: int, done: int = 0, failed: int = 0) -> None:
        """At its server and node."""
        server_at, node_at = int(task.server or "0", 16), int(task.node or "0", 16)
        for at in (self.servers.get(server_at), self.nodes.get(node_at)):
            if at is not None:
                at.submitted += submitted
                at.running = max(0, at.running + running)
                at.done += done
                at.failed += failed
        if server_at in self.servers:
            self._touch_server(server_at)
        if node_at in self.nodes:
            self._touch_node(node_at)

    def _task_submitted(self, event: r.TaskSubmitted, now: float) -> None:
        self.totals.submitted += 1
        if len(self.tasks) - len(self._ended_tasks) < self.tasks_max:
            self._new_task(event.task, event.name, event.io, now)
        else:
            self.revision += 1

    def _new_task(self, number: int, name: str, io: bool, now: float) -> r.TaskRecord:
        task = self.tasks[number] = r.TaskRecord(number, clean(name, NAME_MAX), io=io, submitted=now)
        self._touch_task(number)
        return task

    def _task_started(self, event: r.TaskStarted, now: float) -> None:
        task = self.tasks.get(event.task) or self._new_task(event.task, event.name, event.io, now)
        if task.state != "queued":
            return
        task.state, task.started = "running", now
        task.server, task.node = r.hexed(event.server), r.hexed(event.node)
        self.totals.running += 1
        self._touch_task(event.task)
        self._count(task, 1, 1)

    def _task_requeued(self, event: r.TaskRequeued, now: float) -> None:
        task = self.tasks.get(event.task)
        if task is None or task.state != "running":
            return
        self.totals.running -= 1
        self._count(task, 0, -1, 1, 1)
        task.state, task.error, task.server, task.node = "queued", clean(event.reason, ERROR_MAX), "", ""
        self._touch_task(event.task)

    def _task_ended(self, event: r.TaskEnded, now: float) -> None:
        task = self.tasks.get(event.task)
        if task is not None and task.state in r.TASK_ENDED:
            return
        failed = event.state in r.TASK_FAILED
        self.totals.done += 1
        self.totals.failed += failed
        if task is None:  # one of very many that waited
            self.totals.left_out += 1
            self.revision += 1
            return
        if task.state == "running":
            self.totals.running -= 1
            self._count(task, 0, -1, 1, failed)
        task.state, task.ended, task.error = event.state, now, clean(event.error, ERROR_MAX)
        self._touch_task(event.task)
        if event.traceback:
            detail = self._detail(event.task)
            self._details_size -= detail.size
            detail.traceback = _end_of(event.traceback, TRACEBACK_MAX)
            self._keep(event.task, detail)
        self._ended_tasks.append(event.task)
        if len(self._ended_tasks) > self.tasks_max:
            oldest = self._ended_tasks.popleft()
            del self.tasks[oldest]
            self._drop_detail(oldest)
            self.totals.left_out += 1
            self._task_log.drop(oldest, self.revision)

    def _task_described(self, event: r.TaskDescribed, now: float) -> None:
        task = self.tasks.get(event.task)
        if task is None:
            return
        detail = self._detail(event.task)
        self._details_size -= detail.size
        if event.result is not None:
            detail.result = event.result
        if event.args is not None:
            detail.args = event.args
            if self.show_args:
                task.args = clean(event.args, ARGS_SHORT)
                self._touch_task(event.task)
        self._keep(event.task, detail)

    def _detail(self, number: int) -> r.Detail:
        return self.details.get(number) or r.Detail()

    def _keep(self, number: int, detail: r.Detail) -> None:
        self.details[number] = detail
        self._details_size += detail.size
        while self._details_size > DETAILS_MAX:
            self._drop_detail(next(iter(self.details)))

    def _drop_detail(self, number: int) -> None:
        detail = self.details.pop(number, None)
        if detail is not None:
            self._details_size -= detail.size

    # -- the whole

    def _state_changed(self, event: r.StateChanged, now: float) -> None:
        if (self.state, self.reason) != (event.state, event.reason):
            self.state, self.reason = event.state, clean(event.reason, ERROR_MAX)
            self.revision += 1

    def _queue_changed(self, event: r.QueueChanged, now: float) -> None:
        if event.clients != self.clients:
            self.clients = event.clients
            self.revision += 1
            self._clients_at = self.revision

    def _settings_changed(self, event: r.SettingsChanged, now: float) -> None:
        self.revision += 1
        if event.poll_s is not None:
            self.poll_s = event.poll_s
        if event.show_args is None or event.show_args == self.show_args:
            return
        self.show_args = event.show_args
        for number, task in self.tasks.items():
            known = self._detail(number).args
            shown = clean(known, ARGS_SHORT) if self.show_args and known is not None else None
            if task.args != shown:
                task.args = shown
                self._touch_task(number)

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        r.NodeSeen: _node_seen,
        r.NodeChanged: _node_changed,
        r.NodeLoad: _node_load,
        r.ServerSeen: _server_seen,
        r.ServerChanged: _server_changed,
        r.TaskSubmitted: _task_submitted,
        r.TaskStarted: _task_started,
        r.TaskRequeued: _task_requeued,
        r.TaskEnded: _task_ended,
        r.TaskDescribed: _task_described,
        r.Printed: _printed,
        r.StateChanged: _state_changed,
        r.QueueChanged: _queue_changed,
        r.SettingsChanged: _settings_changed,
    }


def _ended(record: r.NodeRecord | r.ServerRecord) -> bool:
    return record.state in r.NODE_ENDED


def _cost(lines: Iterable[str]) -> int:
    return sum(len(line) + LINE_COST for line in lines)


def _end_of(text: str, limit: int) -> str:
    """Of a long traceback the end says what has happened."""
    return clean(text if len(text) <= limit else "…" + text[1 - limit :], limit)
