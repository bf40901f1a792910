"""What a client tells, as events of the dashboard's model; and what the dashboard tells the client to do."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from parkcos.client import dispatch_events as d
from parkcos.client.client import Client
from parkcos.client.mapping import outcomes_of
from parkcos.client.records import (
    CLOSING,
    DISABLED,
    ENDING,
    OPEN,
    OPENING,
    OWN,
    PAUSED,
    SETUP,
    SHORT,
    SILENT,
    SUSPENDED,
    WANTED,
    Node,
    Server,
)
from parkcos.client.shell import CLOSED, RUNNING, WAITING
from parkcos.client.submission import Submission
from parkcos.cluster import messages as m
from parkcos.errors import TaskAbandoned, TaskTimeout
from parkcos.httpd import records as r
from parkcos.httpd.board import Board
from parkcos.httpd.texts import Describer, call_text, plain, plain_call, value_text
from parkcos.kernel import Outcome
from parkcos.net.location import Location
from parkcos.net.payload import Buffer

logger = logging.getLogger("parkcos")

F = TypeVar("F", bound=Callable[..., None])

_QUIET = frozenset({d.Submitted, d.CancelAsked, d.Started, d.Refused, d.Ended, d.Judged, d.Recalled, d.TimePassed})
"""Events that change no node and no server, but by what they order."""
_TAKES_BACK = (d.CancelAsked, d.Recalled, d.CloseServerAsked, d.CloseNodeAsked)
"""What ends tasks that have not begun because the program, or somebody at a dashboard, asked for something."""
_SUBJECTS = ("node", "server", "process", "number", "subject")
"""What events and effects call the node or server that they are about."""


CALLS_FROM = 10**9
"""The number of the first call that is no task of its own, but one of a chunk: no client has so many tasks."""


def _harmless(method: F) -> F:
    """A fault of the dashboard is logged; the client goes on."""

    @functools.wraps(method)
    def guarded(*args: Any) -> None:
        try:
            method(*args)
        except Exception:
            logger.exception("the dashboard has missed something")

    return guarded  # type: ignore[return-value]


class ClientWatch:
    """The observer of one client.

    Args:
        client: in any state; what it has already is shown.
        board: is told.
    """

    kind = "client"

    def __init__(self, client: Client, board: Board) -> None:
        self.client = client
        self.board = board
        board.refresh = self.sync
        board.watched = self.ask_nodes
        self.describer = Describer(self._described)
        self._nodes: dict[int, m.NodeInfo] = {}
        """Those that are shown as not ended."""
        self._servers: dict[int, int] = {}
        """Likewise; its node."""
        self._servers_of: dict[int, dict[int, None]] = {}
        self._by_index: dict[tuple[int, int], int] = {}
        """(node, its number there) -> server"""
        self._why: dict[int, str] = {}
        """The reason in the last status of a node or server, and whether it is lost."""
        self._lost: set[int] = set()
        self._servers_to_end: set[int] = set()
        """The servers that were asked to end with their tasks."""
        self._next_call = CALLS_FROM
        self._left = False
        """The client has been closed."""

    def attach(self) -> None:
        """Begin."""
        client = self.client
        with client._lock:
            client._observer = self
            for number, node in client._machine.nodes.items():
                self.board.tell(*self._look_at_node(number))
                if node.state not in (WANTED, DISABLED):
                    self._is_late_for(number, node.info)
            for number, submission in list(client._submissions.items()):
                self._begin(submission)
                task = client._machine.tasks.get(number)
                if task is not None and task.started:
                    self._report_started(d.ReportStarted(number, task.server), None)
        self.sync()

    def _is_late_for(self, number: int, info: m.NodeInfo) -> None:
        """What is printed at this node is told from now on; say so where it is shown."""
        note = "(what was printed here before this dashboard was made is not known)"
        if number not in self.client._forwards:
            if Location(info.addr, info.port) in self.client._side.contacts:
                note = "(the local cluster was set up before this dashboard was made: it prints where the program does)"
            else:
                self.client._ask_for_output(number)
        for server in (0, *self._servers_of.get(number, ())):
            self.board.tell(r.Printed(server, number, [note]))

    def detach(self) -> None:
        """End: the client is not watched any more."""
        with self.client._lock:
            if self.client._observer is self:
                self.client._observer = None
        self.describer.stop()

    @_harmless
    def ask_nodes(self) -> None:
        """What they have to spare, more often than the program wants to know it."""
        for number in self._nodes.copy():
            self.client._side.box.send(number, "node", m.AskAvail(self.client._id))

    @_harmless
    def sync(self) -> None:
        """The state of the client itself; now and then, and when something has happened to its nodes."""
        client, state = self.client, CLOSED if self._left else self.client._state
        reason = ""
        queue = []
        if state is RUNNING:
            if client._machine.stage.closing:
                reason = "it is being closed"
            elif client._machine.stage.scheduler_lost:
                reason = client._machine.stage.scheduler_lost
            elif not client._scheduler:
                reason = "the scheduler is gone; it is waited for"
        elif state is WAITING:
            reason = f"it is number {client._place_in_queue} in the queue" if client._position else ""
        if state in (RUNNING, WAITING):
            addr = str(client._network.location) if state is RUNNING else ""
            record = r.ClientRecord(
                r.hexed(client._id), client.name, addr, client._place_in_queue, state, self.board.model.started
            )
            queue.append(record)
        self.board.tell(r.StateChanged(state, reason), r.QueueChanged(queue))

    # -- the observer

    @_harmless
    def received(self, process: int, message: Any, payload: Buffer) -> None:
        """A message has come."""
        match message:
            case m.NodeAvail():
                self.board.tell(r.NodeLoad(process, message.cpu, message.memory, message.disk, message.swap))
            case m.ServerUp():
                self._by_index[process, message.index + 1] = message.incarnation
            case m.Output():
                server = self._by_index.get((process, message.server), 0) if message.server else 0
                if server or not message.server:
                    lines = bytes(payload).decode(errors="replace").split("\n")[:-1]
                    if message.left_out:
                        lines.insert(0, f"({message.left_out} lines left out)")
                    self.board.tell(r.Printed(server, process, lines))

    @_harmless
    def handled(self, event: d.Event, effects: Sequence[d.Effect]) -> None:
        """Under the client's lock; the orders are not yet executed."""
        match event:
            case d.CloseServerAsked(server, terminate=True):
                self._servers_to_end.add(server)
            case d.CloseNodeAsked(node, terminate=True):
                self._servers_to_end.update(self._servers_of.get(node, ()))
        if type(event) is d.Submitted:
            self._begin(self.client._submissions[event.task.number])
        touched: dict[int, None] = {}
        for effect in effects:
            if (tell := self._REPORTS.get(type(effect))) is not None:
                tell(self, effect, event)
            elif type(effect) not in (d.Run, d.Recall):
                _touch(touched, effect)
        if type(event) not in _QUIET:
            _touch(touched, event)
            if isinstance(event, d.Offered):
                touched[event.info.incarnation] = None
        if touched or self._left:
            for number in touched:
                self.board.tell(*self._look_at_node(number), *self._look_at_server(number))
            self.sync()

    @_harmless
    def ended(self, submission: Submission, outcome: Outcome) -> None:
        """Kernel thread."""
        task, rtask = submission.number, submission.rtask
        server = rtask.incarnation if rtask is not None else 0
        asked = bool(submission.cancelled) or server in self._servers_to_end
        if not submission.calls:
            self._task_ended(task, outcome, asked)
            return
        outcomes = [outcome] * len(submission.calls)
        if outcome.kind == "finished":
            outcomes = outcomes_of(outcome.value, str(rtask.location) if rtask is not None else "")
        for number, each in zip(submission.numbers(), outcomes, strict=False):
            if number != task and outcome.kind == "finished":  # of a chunk only the first one is shown to run
                self.board.tell(self._started(number, server, submission))
            self._task_ended(number, each, asked)

    def _task_ended(self, task: int, outcome: Outcome, asked: bool) -> None:
        """asked: somebody wanted it to end."""
        if outcome.kind == "finished":
            text = plain(outcome.value)
            self.board.tell(r.TaskEnded(task, "finished"))
            if text is not None:
                self.board.tell(r.TaskDescribed(task, result=text))
            elif self.board.model.show_args:
                self.describer.describe((task, False), functools.partial(value_text, outcome.value))
            return
        kind = type(outcome.exception)
        state = "failed"
        if outcome.kind == "terminated" or issubclass(kind, KeyboardInterrupt):  # it was told to end
            state = "terminated"
        elif issubclass(kind, TaskTimeout):
            state = "timed_out"
        elif issubclass(kind, TaskAbandoned):
            state = "terminated" if asked else "lost"
        text = outcome.traceback or ""
        if state == "terminated":
            self.board.tell(r.TaskEnded(task, state))
        else:
            self.board.tell(r.TaskEnded(task, state, _last_line(text) or kind.__name__, text))

    # -- tasks

    def _begin(self, submission: Submission) -> None:
        more = max(0, len(submission.calls) - 1)
        submission.more_shown_as = range(self._next_call, self._next_call + more)
        self._next_call += more
        self.board.tell(*[r.TaskSubmitted(each, submission.name, submission.io) for each in submission.numbers()])
        if self.board.model.show_args:
            self._describe_args(submission)

    def _describe_args(self, submission: Submission) -> None:
        kwargs = {} if submission.calls else submission.kwargs
        for number, args in zip(submission.numbers(), submission.calls or [submission.args], strict=True):
            text = plain_call(args, kwargs)
            if text is not None:
                self.board.tell(r.TaskDescribed(number, args=text))
            else:
                self.describer.describe((number, True), functools.partial(call_text, args, kwargs))

    @_harmless
    def _described(self, key: tuple[int, bool], text: str) -> None:
        task, args = key
        self.board.tell(r.TaskDescribed(task, args=text) if args else r.TaskDescribed(task, result=text))

    def show_args(self) -> None:
        """From now on they are shown, those of the tasks that run, too."""
        with self.client._lock:
            submissions = list(self.client._submissions.values())
        for submission in submissions:
            self._describe_args(submission)

    def _started(self, number: int, server: int, submission: Submission) -> r.TaskStarted:
        record = self.client._machine.servers.get(server)
        node = record.node if record is not None and record.node else self._servers.get(server, 0)
        return r.TaskStarted(number, server, node, submission.name, submission.io)

    def _report_started(self, effect: d.ReportStarted, event: Any) -> None:
        submission = self.client._submissions[effect.task]
        self.board.tell(self._started(effect.task, effect.server, submission))

    def _report_refused(self, effect: d.ReportRefused, event: Any) -> None:
        submission = self.client._submissions[effect.task]
        line = _last_line(effect.error)
        self.board.tell(*[r.TaskEnded(each, "failed", line, effect.error) for each in submission.numbers()])

    def _report_abandoned(self, effect: d.ReportAbandoned, event: Any) -> None:
        submission = self.client._submissions[effect.task]
        if submission.completion is None and submission.rtask is not None:
            return  # `ended` follows
        asked = isinstance(event, _TAKES_BACK) or (isinstance(event, d.NodeHasClosed) and not event.reason)
        asked = asked or self.client._machine.stage.closing
        state = "timed_out" if effect.timed_out else "cancelled" if asked else "lost"
        self.board.tell(*[r.TaskEnded(each, state, effect.reason) for each in submission.numbers()])

    def _report_retried(self, effect: d.ReportRetried, event: Any) -> None:
        submission = self.client._submissions[effect.task]
        self.board.tell(*[r.TaskRequeued(each, effect.reason) for each in submission.numbers()])

    # -- nodes and servers

    def _report_status(self, effect: d.ReportStatus, event: Any) -> None:
        number = effect.subject
        self._why[number] = "" if effect.name.endswith(("Resumed", "Initialized")) else effect.reason
        if effect.name in ("NodeDisconnected", "NodeAbandoned", "ServerDisconnected", "ServerAbandoned"):
            self._lost.add(number)
        else:
            self._lost.discard(number)
        if number:
            self.board.tell(*self._look_at_node(number), *self._look_at_server(number))

    def _leave(self, effect: d.LeaveScheduler, event: Any) -> None:
        self._left = True
        for number in list(self._nodes):
            self.board.tell(*self._look_at_node(number))

    def _look_at_node(self, number: int) -> Iterable[r.Event]:
        """What is new of a node and its servers."""
        node = self.client._machine.nodes.get(number)
        if node is None and number not in self._nodes:
            return
        servers = dict.fromkeys([*(node.servers if node is not None else ()), *self._servers_of.get(number, ())])
        if node is not None:
            if self._nodes.get(number) != node.info:
                info = self._nodes[number] = node.info
                yield r.NodeSeen(
                    number, info.name, info.addr, info.port, info.platform, info.cpus, info.memory, info.disk
                )
            yield r.NodeChanged(number, _node_state(node), self._why.get(number, ""))
        for server in servers:
            yield from self._look_at_server(server)
        if node is None:
            del self._nodes[number]
            self._servers_of.pop(number, None)
            yield r.NodeChanged(number, "lost" if number in self._lost else "closed", self._why.pop(number, ""))
            self._lost.discard(number)

    def _look_at_server(self, number: int) -> Iterable[r.Event]:
        machine = self.client._machine
        server = machine.servers.get(number)
        if server is not None:
            if number not in self._servers and server.node:
                self._servers[number] = server.node
                self._servers_of.setdefault(server.node, {})[number] = None
                index = self.client._indexes.get(number, 0)
                self._by_index[server.node, index] = number
                name = f"{self._nodes[server.node].name}/{index}" if server.node in self._nodes else str(index)
                yield r.ServerSeen(number, server.node, name, server.addr, server.port)
            holds = {*server.holds, *(machine.nodes[server.node].holds if server.node in machine.nodes else ())}
            why = self._why.get(number, "") or (server.end.node_says if server.end is not None else "")
            yield r.ServerChanged(number, _server_state(server, holds), why)
        elif number in self._servers:
            node = self._servers.pop(number)
            self._servers_of.get(node, {}).pop(number, None)
            yield r.ServerChanged(number, "lost" if number in self._lost else "closed", self._why.pop(number, ""))
            self._lost.discard(number)

    _REPORTS: ClassVar[dict[type, Callable[..., None]]] = {
        d.ReportStarted: _report_started,
        d.ReportRefused: _report_refused,
        d.ReportAbandoned: _report_abandoned,
        d.ReportRetried: _report_retried,
        d.ReportStatus: _report_status,
        d.LeaveScheduler: _leave,
    }


def _touch(touched: dict[int, None], thing: Any) -> None:
    for name in _SUBJECTS:
        number = getattr(thing, name, 0)
        if number:
            touched[number] = None


def _node_state(node: Node) -> str:
    if SILENT in node.holds:
        return "silent"
    states = {WANTED: "discovered", DISABLED: "disabled", SETUP: "setup", CLOSING: "closing"}
    if node.state in states:
        return states[node.state]
    return "suspended" if SUSPENDED in node.holds else "short" if SHORT in node.holds else "running"


def _server_state(server: Server, holds: set[str]) -> str:
    if SILENT in holds:
        return "silent"
    return {
        DISABLED: "setup",
        OPENING: "setup",
        OPEN: "running",
        OWN: "running",
        PAUSED: "suspended",
        ENDING: "closing",
    }[server.state]


def _last_line(text: str) -> str:
    lines = text.rstrip().rsplit("\n", 1)
    return lines[-1].strip()
