"""How what happens to a client becomes what its observers are told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from parkcos.client import dispatch_events as d
from parkcos.client import observer as o
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
from parkcos.client.submission import Submission
from parkcos.cluster import messages as m
from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import TaskAbandoned, TaskTimeout
from parkcos.kernel import Outcome
from parkcos.net.location import Location
from parkcos.net.payload import Buffer

if TYPE_CHECKING:
    from parkcos.client.nodes import Nodes
    from parkcos.client.shell import ClientShell

logger = logging.getLogger("parkcos")

_QUIET = frozenset({d.Submitted, d.CancelAsked, d.Started, d.Refused, d.Ended, d.Judged, d.Recalled, d.TimePassed})
"""Events that change no node and no server, but by what they order."""
_TAKES_BACK = (d.CancelAsked, d.Recalled, d.CloseServerAsked, d.CloseNodeAsked)
"""What ends tasks that have not begun because the program, or somebody who watches, asked for something."""
_SUBJECTS = ("node", "server", "process", "number", "subject")
"""What events and effects call the node or server that they are about."""


class Observing:
    """Of one client, for all its observers.  Everything here is called under the client's lock, or takes it.

    standing: tells how the client itself stands.
    """

    def __init__(self, shell: ClientShell, nodes: Nodes, standing: Callable[[], o.ClientChanged]) -> None:
        self._shell = shell
        self._client_nodes = nodes
        self._standing = standing
        self.observers: dict[o.Observer, bool] = {}
        """And whether each wants what is printed."""
        self._nodes: dict[int, NodeInfo] = {}
        """Those that observers know and were not told to be gone."""
        self._servers: dict[int, o.ServerChanged] = {}
        """Likewise; what was said of each last."""
        self._servers_of: dict[int, dict[int, None]] = {}
        self._by_index: dict[tuple[int, int], int] = {}
        """(node, its number there) -> server"""
        self._why: dict[int, str] = {}
        """The reason in the last status of a node or server."""
        self._lost: set[int] = set()
        """Nodes and servers whose last status was that they are lost."""
        self._servers_to_end: set[int] = set()
        """The servers that were asked to end with their tasks."""
        self._asked: set[int] = set()
        """Tasks that have ended with one of these, whose end is yet to be told."""
        self._left = False
        """The client has been closed, though it does not know it yet."""
        for number in shell.machine.nodes:
            self._look_at_node(number)

    @property
    def wants_output(self) -> bool:
        """Whether somebody wants what is printed."""
        return any(self.observers.values())

    def add(self, observer: o.Observer, output: bool) -> None:
        """From now on it is told what happens; first of all, what there is."""
        shell = self._shell
        self.observers[observer] = output
        one = {observer: output}
        self._tell(self._standing(), one)
        for number, info in self._nodes.items():
            node = shell.machine.nodes.get(number)
            if node is not None:
                self._tell(_of_node(number, info, _node_state(node), self._why.get(number, "")), one)
        for known in self._servers.values():
            self._tell(known, one)
        if output:
            for number, node in shell.machine.nodes.items():
                if node.state not in (WANTED, DISABLED):
                    self._is_late_for(number, node.info, one)
        for number, record in shell.submissions.items():
            self._tell(_submitted(record), one)
            task = shell.machine.tasks.get(number)
            if task is not None and task.started:
                self._tell(self._started(record, task.server), one)

    def _is_late_for(self, number: int, info: NodeInfo, observers: dict[o.Observer, bool]) -> None:
        """What is printed at this node is told from now on; say so where it is shown."""
        note = "(what was printed here before this dashboard was made is not known)"
        if number not in self._client_nodes.forwards:
            if Location(info.addr, info.port) in self._shell.side.contacts:
                note = "(the local cluster was set up before this dashboard was made: it prints where the program does)"
            else:
                self._client_nodes.ask_for_output(number)
        for server in (0, *self._servers_of.get(number, ())):
            self._tell(o.Printed(number, server, [note]), observers)

    def _tell(self, event: o.Event, observers: dict[o.Observer, bool] | None = None) -> None:
        for observer in list(self.observers if observers is None else observers):
            try:
                observer.told(event)
            except Exception:
                logger.exception("%s: %r has missed %s", self._shell.name, observer, type(event).__name__)

    # -- from the client

    def received(self, process: int, message: Any, payload: Buffer) -> None:
        """A message has come, and will be dealt with."""
        match message:
            case m.NodeAvail():
                self._tell(o.NodeLoad(process, message.cpu, message.memory, message.disk, message.swap))
            case m.ServerUp():
                self._by_index[process, message.index + 1] = message.incarnation
            case m.Output():
                server = self._by_index.get((process, message.server), 0) if message.server else 0
                if server or not message.server:
                    lines = bytes(payload).decode(errors="replace").split("\n")[:-1]
                    if message.left_out:
                        lines.insert(0, f"({message.left_out} lines left out)")
                    wanting = {observer: True for observer, output in self.observers.items() if output}
                    self._tell(o.Printed(process, server, lines), wanting)

    def handled(self, event: d.Event, effects: Sequence[d.Effect]) -> None:
        """The machine has been told a fact, and its orders will be executed."""
        match event:
            case d.Submitted(task):
                self._tell(_submitted(self._shell.submissions[task.number]))
            case d.CloseServerAsked(server, terminate=True):
                self._servers_to_end.add(server)
            case d.CloseNodeAsked(node, terminate=True):
                self._servers_to_end.update(self._servers_of.get(node, ()))
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
        for number in touched:
            self._look_at_node(number)
            self._look_at_server(number)
        if touched:
            self._tell_standing()

    def ended(self, record: Submission, outcome: Outcome) -> None:
        """A task that had started has ended, for good.  Kernel thread."""
        rtask = record.rtask
        server = rtask.incarnation if rtask is not None else 0
        asked = bool(record.cancelled) or server in self._servers_to_end or record.number in self._asked
        self._asked.discard(record.number)
        calls: Sequence[Outcome] = ()
        if record.calls:
            calls = [outcome] * len(record.calls)
            if outcome.kind == "finished":
                calls = outcomes_of(outcome.value, str(rtask.location) if rtask is not None else "")
        with self._shell.lock:
            state = outcome.value.kind if record.opaque and outcome.kind == "finished" else state_of(outcome, asked)
            self._tell(o.TaskEnded(record.number, state, "", outcome, calls, server, self._node_of(server)))

    # -- tasks

    def _node_of(self, server: int) -> int:
        known = self._shell.machine.servers.get(server)
        if known is not None and known.node:
            return known.node
        told = self._servers.get(server)
        return told.node if told is not None else 0

    def _started(self, record: Submission, server: int) -> o.TaskStarted:
        return o.TaskStarted(record.number, record.name, record.io, server, self._node_of(server))

    def _report_started(self, effect: d.ReportStarted, event: Any) -> None:
        self._tell(self._started(self._shell.submissions[effect.task], effect.server))

    def _report_refused(self, effect: d.ReportRefused, event: Any) -> None:
        self._tell(o.TaskEnded(effect.task, "failed", effect.error))

    def _report_abandoned(self, effect: d.ReportAbandoned, event: Any) -> None:
        record = self._shell.submissions[effect.task]
        if record.completion is None and record.rtask is not None:  # `ended` follows
            if record.rtask.incarnation in self._servers_to_end:
                self._asked.add(effect.task)
            return
        asked = isinstance(event, _TAKES_BACK) or (isinstance(event, d.NodeHasClosed) and not event.reason)
        asked = asked or bool(record.cancelled) or self._shell.machine.stage.closing
        state = "timed_out" if effect.timed_out else "cancelled" if asked else "lost"
        self._tell(o.TaskEnded(effect.task, state, effect.reason))

    def _report_retried(self, effect: d.ReportRetried, event: Any) -> None:
        self._tell(o.TaskRequeued(effect.task, effect.reason))

    # -- nodes and servers

    def _report_status(self, effect: d.ReportStatus, event: Any) -> None:
        number = effect.subject
        self._why[number] = "" if effect.name.endswith(("Resumed", "Initialized")) else effect.reason
        if effect.name in ("NodeDisconnected", "NodeAbandoned", "ServerDisconnected", "ServerAbandoned"):
            self._lost.add(number)
        else:
            self._lost.discard(number)
        if number:
            self._look_at_node(number)
            self._look_at_server(number)
            self._tell_standing()

    def _tell_standing(self) -> None:
        if not self._left:
            self._tell(self._standing())

    def _leave(self, effect: d.LeaveScheduler, event: Any) -> None:
        self._left = True
        for number in list(self._nodes):
            self._look_at_node(number)
        self._tell(o.ClientChanged(self._shell.id, self._shell.name, "closed", self._shell.machine.stage.closed_why))

    def _look_at_node(self, number: int) -> None:
        """Tell what is new of a node and its servers."""
        node = self._shell.machine.nodes.get(number)
        if node is None and number not in self._nodes:
            return
        if node is not None:
            self._nodes[number] = node.info
            self._tell(_of_node(number, node.info, _node_state(node), self._why.get(number, "")))
        present = node.all_servers if node is not None else ()
        for server in dict.fromkeys([*present, *self._servers_of.get(number, ())]):
            self._look_at_server(server)
        if node is None:
            info = self._nodes.pop(number)
            self._servers_of.pop(number, None)
            state = "lost" if number in self._lost else "closed"
            self._lost.discard(number)
            self._tell(_of_node(number, info, state, self._why.pop(number, "")))

    def _look_at_server(self, number: int) -> None:
        machine = self._shell.machine
        server = machine.servers.get(number)
        known = self._servers.get(number)
        if server is not None:
            if known is None:
                if not server.node:
                    return
                index = self._client_nodes.indexes.get(number, 0)
                self._by_index[server.node, index] = number
                self._servers_of.setdefault(server.node, {})[number] = None
                name = f"{self._nodes[server.node].name}/{index}" if server.node in self._nodes else str(index)
                at = server.node
            else:
                name, at = known.name, known.node
            holds = {*server.holds, *(machine.nodes[server.node].holds if server.node in machine.nodes else ())}
            why = self._why.get(number, "") or (server.end.node_says if server.end is not None else "")
            state = _server_state(server, holds)
            location = Location(server.addr, server.port)
            now = o.ServerChanged(number, at, name, location, state, why, bool(server.own))
            if now != known:
                self._servers[number] = now
                self._tell(now)
        elif known is not None:
            del self._servers[number]
            self._servers_of.get(known.node, {}).pop(number, None)
            self._servers_to_end.discard(number)
            state = "lost" if number in self._lost else "closed"
            self._lost.discard(number)
            why = self._why.pop(number, "")
            self._tell(o.ServerChanged(number, known.node, known.name, known.location, state, why, known.own))

    _REPORTS: ClassVar[dict[type, Callable[..., None]]] = {
        d.ReportStarted: _report_started,
        d.ReportRefused: _report_refused,
        d.ReportAbandoned: _report_abandoned,
        d.ReportRetried: _report_retried,
        d.ReportStatus: _report_status,
        d.LeaveScheduler: _leave,
    }


def state_of(outcome: Outcome, asked: bool = False) -> str:
    """The state of a task that has ended so.  asked: somebody wanted it to end."""
    if outcome.kind == "finished":
        return "finished"
    kind = type(outcome.exception)
    if outcome.kind == "terminated" or issubclass(kind, KeyboardInterrupt):  # it was told to end
        return "terminated"
    if issubclass(kind, TaskTimeout):
        return "timed_out"
    if issubclass(kind, TaskAbandoned):
        return "terminated" if asked else "lost"
    return "failed"


def _submitted(record: Submission) -> o.TaskSubmitted:
    return o.TaskSubmitted(record.number, record.name, record.io, record.args, record.kwargs, record.calls)


def _of_node(number: int, info: NodeInfo, state: str, reason: str) -> o.NodeChanged:
    location = Location(info.addr, info.port)
    return o.NodeChanged(number, info.name, location, info.platform, info.cpus, info.memory, info.disk, state, reason)


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
    states = {DISABLED: "setup", OPENING: "setup", OPEN: "running", OWN: "running", PAUSED: "suspended"}
    return states[server.state] if server.state != ENDING else "closing"
