"""What a client tells its observers, as events of the dashboard's model."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable

from parkcos.client import observer as o
from parkcos.client.client import Client
from parkcos.client.observing import state_of
from parkcos.httpd import records as r
from parkcos.httpd.board import Board
from parkcos.httpd.texts import Describer, call_text, plain, plain_call, value_text
from parkcos.kernel import Outcome

logger = logging.getLogger("parkcos")

CALLS_FROM = 10**9
"""The number of the first call that is no task of its own, but one of a chunk: no client has so many tasks."""


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
        board.watched = client.ask_load
        self.describer = Describer(self._described)
        self._nodes: dict[int, o.NodeChanged] = {}
        """What was last said of each that is not gone."""
        self._servers: set[int] = set()
        self._tasks: dict[int, o.TaskSubmitted] = {}
        """Those that have not ended."""
        self._calls: dict[int, range] = {}
        """The numbers of the calls after the first one, of a task that is a chunk of them."""
        self._chunks: dict[int, int] = {}
        """The task of each of these."""
        self._next_call = CALLS_FROM
        self._closed = False

    def attach(self) -> None:
        """Begin."""
        self.client.observe(self, output=True)

    def detach(self) -> None:
        """End: the client is not watched any more."""
        self.client.unobserve(self)
        self.describer.stop()

    def sync(self) -> None:
        """The state of the client itself, now and then."""
        if not self._closed:
            self.told(self.client.standing())

    def task_of(self, shown: int) -> int:
        """The client's task of which this number is shown."""
        return self._chunks.get(shown, shown)

    def told(self, event: o.Event) -> None:
        match event:
            case o.ClientChanged():
                self._client(event)
            case o.NodeChanged():
                self._node(event)
            case o.NodeLoad():
                self.board.tell(r.NodeLoad(event.node, event.cpu, event.memory, event.disk, event.swap))
            case o.ServerChanged():
                self._server(event)
            case o.Printed():
                self.board.tell(r.Printed(event.server, event.node, event.lines))
            case o.TaskSubmitted():
                self._submitted(event)
            case o.TaskStarted():
                self.board.tell(r.TaskStarted(event.task, event.server, event.node, event.name, event.io))
            case o.TaskRequeued():
                self.board.tell(*[r.TaskRequeued(each, event.reason) for each in self._shown(event.task)])
            case o.TaskEnded():
                self._ended(event)

    def _client(self, event: o.ClientChanged) -> None:
        queue = []
        self._closed = event.state == "closed"
        if event.state in ("running", "waiting"):
            addr = str(event.location or "")
            started = self.board.model.started
            queue.append(r.ClientRecord(r.hexed(event.id), event.name, addr, event.place, event.state, started))
        self.board.tell(r.StateChanged(event.state, event.reason), r.QueueChanged(queue))

    # -- nodes and servers

    def _node(self, event: o.NodeChanged) -> None:
        known = self._nodes.get(event.node)
        if known is None or _facts(known) != _facts(event):
            at = event.location
            self.board.tell(
                r.NodeSeen(
                    event.node, event.name, at.addr, at.port, event.platform, event.cpus, event.memory, event.disk
                )
            )
        if event.state in ("closed", "lost"):
            self._nodes.pop(event.node, None)
        else:
            self._nodes[event.node] = event
        self.board.tell(r.NodeChanged(event.node, event.state, event.reason))

    def _server(self, event: o.ServerChanged) -> None:
        if event.server not in self._servers:
            self._servers.add(event.server)
            at = event.location
            self.board.tell(r.ServerSeen(event.server, event.node, event.name, at.addr, at.port))
        self.board.tell(r.ServerChanged(event.server, event.state, event.reason))
        if event.state in ("closed", "lost"):
            self._servers.discard(event.server)

    # -- tasks

    def _shown(self, task: int) -> Iterable[int]:
        """All numbers by which it is shown."""
        return (task, *self._calls.get(task, ()))

    def _submitted(self, event: o.TaskSubmitted) -> None:
        self._tasks[event.task] = event
        if len(event.calls) > 1:
            more = self._calls[event.task] = range(self._next_call, self._next_call + len(event.calls) - 1)
            self._next_call = more.stop
            self._chunks.update(dict.fromkeys(more, event.task))
        self.board.tell(*[r.TaskSubmitted(each, event.name, event.io) for each in self._shown(event.task)])
        if self.board.model.show_args:
            self._describe_args(event)

    def show_args(self) -> None:
        """From now on they are shown, those of the tasks that run, too."""
        for event in list(self._tasks.values()):
            self._describe_args(event)

    def _describe_args(self, event: o.TaskSubmitted) -> None:
        kwargs = {} if event.calls else event.kwargs
        for number, args in zip(self._shown(event.task), event.calls or [event.args], strict=False):
            text = plain_call(args, kwargs)
            if text is not None:
                self.board.tell(r.TaskDescribed(number, args=text))
            else:
                self.describer.describe((number, True), functools.partial(call_text, args, kwargs))

    def _described(self, key: tuple[int, bool], text: str) -> None:
        task, args = key
        self.board.tell(r.TaskDescribed(task, args=text) if args else r.TaskDescribed(task, result=text))

    def _ended(self, event: o.TaskEnded) -> None:
        shown, submitted = self._shown(event.task), self._tasks.pop(event.task, None)
        for number in self._calls.pop(event.task, ()):
            self._chunks.pop(number, None)
        if event.outcome is None:  # it never began
            for number in shown:
                self.board.tell(r.TaskEnded(number, event.state, _last_line(event.reason), _whole(event)))
        elif not event.calls:
            self._task_ended(event.task, event.state, event.outcome)
        else:
            name, io = (submitted.name, submitted.io) if submitted is not None else ("", False)
            for number, outcome in zip(shown, event.calls, strict=False):
                if number != event.task and event.outcome.kind == "finished":  # only the first one is shown to run
                    self.board.tell(r.TaskStarted(number, event.server, event.node, name, io))
                whole = outcome is event.outcome
                self._task_ended(number, event.state if whole else state_of(outcome), outcome)

    def _task_ended(self, task: int, state: str, outcome: Outcome) -> None:
        if state == "finished":
            text = plain(outcome.value)
            self.board.tell(r.TaskEnded(task, "finished"))
            if text is not None:
                self.board.tell(r.TaskDescribed(task, result=text))
            elif self.board.model.show_args:
                self.describer.describe((task, False), functools.partial(value_text, outcome.value))
        elif state == "terminated":
            self.board.tell(r.TaskEnded(task, state))
        else:
            text = outcome.traceback or ""
            self.board.tell(r.TaskEnded(task, state, _last_line(text) or type(outcome.exception).__name__, text))


def _facts(event: o.NodeChanged) -> tuple[object, ...]:
    """What does not change with its state."""
    return event.name, event.location, event.platform, event.cpus, event.memory, event.disk


def _whole(event: o.TaskEnded) -> str:
    """The traceback of a task that could not be created; the others have none."""
    return event.reason if event.state == "failed" else ""


def _last_line(text: str) -> str:
    lines = text.rstrip().rsplit("\n", 1)
    return lines[-1].strip()
