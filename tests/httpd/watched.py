"""A client without a network, with a dashboard: what happens to it goes in, what is shown comes out.

Its machine is real; what that orders nobody does.  This is the one place of these tests that knows how a client is
watched and told to do something: they themselves speak of events and of the dashboard's records.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from parkcos import Client
from parkcos.client import dispatch_events as d
from parkcos.client.shell import CLOSED, RUNNING, Watch
from parkcos.client.submission import Submission
from parkcos.cluster import messages as m
from parkcos.cluster.node_info import NodeInfo
from parkcos.httpd import records as r
from parkcos.httpd.acting import ClientActions
from parkcos.httpd.board import Board
from parkcos.httpd.server import new_model
from parkcos.httpd.watch import ClientWatch
from parkcos.kernel import Outcome
from parkcos.net.location import Location
from parkcos.net.payload import PICKLE

N = 1000
"""A node; its servers are N + 1, ..."""


class _Network:
    location = Location("10.0.0.9", 9705)


class _RunsAt:
    """A reference to a task, of which the dashboard asks only where it runs."""

    location = Location("10.0.0.1", 9707)

    def __init__(self, server: int) -> None:
        self.incarnation = server


class Unwired(Client):
    """orders: what would be done, the oldest first."""

    def __init__(self) -> None:
        super().__init__(name="test.py")
        network: Any = _Network()
        self._shell.state, self._shell.network = RUNNING, network
        self._turn.scheduler = 1
        self._shell.handle = self.handle  # type: ignore[method-assign]
        self.orders: list[d.Effect] = []

    def handle(self, event: d.Event) -> None:
        """As the shell's, but nothing is done of what is ordered."""
        shell = self._shell
        effects = shell.machine.handle(event, 0.0)
        if isinstance(event, d.ServerIsUp):
            self._nodes.indexes[event.server] = event.index
        if shell.observing is not None:
            shell.observing.handled(event, effects)
        self.orders += effects
        for effect in effects:
            if isinstance(effect, d.ReportStarted):
                shell.submissions[effect.task].rtask = _RunsAt(effect.server)  # type: ignore[assignment]


class Watched:
    """What happens to the client, and what the dashboard shows of it."""

    def __init__(self, servers: int = 0) -> None:
        self.client = Unwired()
        self.board = Board(new_model("client", "test.py", 10.0, True, 100))
        self.model = self.board.model
        self.watch = ClientWatch(self.client, self.board)
        self.watch.attach()
        self.actions = ClientActions(self.client, self.watch.task_of)
        if servers:
            self.happens(d.Offered(NodeInfo(N, "kiln", "10.0.0.1", 9706, 8, "Linux", "3.11", "0"), servers))
            self.happens(d.Granted(N), d.NodeIsReady(N))
        for index in range(1, servers + 1):
            self.received(m.ServerUp(0, index - 1, "10.0.0.1", 9706 + index, N + index), b"")
            self.happens(d.ServerIsUp(N, N + index, "10.0.0.1", 9706 + index, index), d.ServerIsReady(N + index))

    def happens(self, *events: d.Event) -> None:
        for event in events:
            if isinstance(event, d.Started | d.Ended | d.Refused | d.Recalled) and not event.server:
                event = replace(event, server=self.client._shell.machine.tasks[event.task].server)
            self.client.handle(event)

    def submit(self, number: int, *args: Any, calls: Sequence[tuple[Any, ...]] = (), **limits: Any) -> None:
        """calls: the arguments of each, of a chunk."""
        what: dict[str, Any] = {"name": "work", "args": args, "kwargs": {}, "calls": calls, **limits}
        made = Submission(number=number, form=PICKLE, buffers=[], definitions=[], **what)
        self.client._shell.submissions[number] = made
        self.happens(d.Submitted(made))

    def ends(self, number: int, outcome: Outcome) -> None:
        """It had begun, and has ended for good."""
        if number in self.client._shell.machine.tasks:
            self.happens(d.Ended(number, 1.0))
        self.observing.ended(self.client._shell.submissions.pop(number), outcome)

    def received(self, message: Any, payload: Any) -> None:
        """The node has said this."""
        self.observing.received(N, message, payload)

    @property
    def observing(self) -> Watch:
        watch = self.client._shell.observing
        assert watch is not None
        return watch

    def orders(self, kind: type[d.Effect]) -> list[d.Effect]:
        """Those of this kind."""
        return [order for order in self.client.orders if type(order) is kind]

    def node(self) -> str:
        """The state of the node."""
        return self.model.nodes[N].state

    def servers(self) -> list[str]:
        """Their states."""
        return [server.state for server in self.model.servers.values()]

    def task(self, number: int) -> r.TaskRecord:
        return self.model.tasks[number]

    def stop(self) -> None:
        """The client has left its scheduler."""
        self.client._shell.state = CLOSED


@contextlib.contextmanager
def watching() -> Iterator[Callable[..., Watched]]:
    """Makes them, and detaches their dashboards at the end."""
    made: list[Watched] = []

    def make(servers: int = 0) -> Watched:
        made.append(Watched(servers))
        return made[-1]

    yield make
    for each in made:
        each.watch.detach()
