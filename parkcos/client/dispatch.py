"""Which server runs which task: the client's half of the cluster, a state machine without clock, socket or thread.

Nodes are offered, wanted, granted, set up; their servers come up, are opened, run tasks, end.  Every task that was
submitted ends exactly once: with what the server said of it, or as abandoned with the reason.

The machine is made of parts, each of which knows those before it: `Places` (the nodes and servers), `Placing` (which
task goes where; `Processes` and `Exclusive` have those beside the servers), `Tasks` (their life), `Own` (what becomes
of processes beside the servers), `Holds` (why a place is given nothing), `Membership` (from an offer to the end, with
the `Ends` of servers), `Returning` (what an earlier program has left), `Controls` (what the program asks for).  Orders
are appended to one list, in the order in which they are to be executed.

A server that runs short tasks is sent a few ahead, so that it need not wait for the network between two of them; when
another server has nothing to do, or the one that runs is slow, the others are recalled.

What runs at a server that is lost is abandoned.  What was only sent ahead runs elsewhere, if it is certain that it
had not begun: the session has said its last word, and the node says that the process is no more.

What the shell must know: a task's number comes once, and from 1 on.  An event says who speaks: what a server says of a
task that is not there any more is not heard, nor what a node says of an earlier setup.  A task that is still in `tasks`
after `handle(Ended)` runs again, or is in `unjudged`: then the shell looks at its outcome, and says `Judged`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client import returning_events as r
from parkcos.client.controls import Controls
from parkcos.client.holds import Holds
from parkcos.client.membership import Membership
from parkcos.client.own import Own
from parkcos.client.places import Places
from parkcos.client.records import CLOSING, DISABLED, Node, Stage
from parkcos.client.returning import Returning
from parkcos.client.tasks import Tasks

_OF_TASKS = frozenset((d.Submitted, d.Started, d.Refused, d.Ended, d.Recalled))
"""Events that give no node room for a process for a single task."""


class Dispatch:
    """The one door is :meth:`handle`.

    Args:
        disable_nodes, disable_servers: each waits until the client's program enables it.
        abandon_zombies: a silent node is given up at once.
    """

    def __init__(
        self, *, disable_nodes: bool = False, disable_servers: bool = False, abandon_zombies: bool = False
    ) -> None:
        self._orders: list[d.Effect] = []
        order = self.order = self._orders.append
        self.stage = stage = Stage()
        self.places = places = Places()
        self.life = tasks = Tasks(places, stage, order)
        self.queue = tasks.placing
        self.holds = holds = Holds(places, tasks, order)
        self.own = own = Own(tasks, order)
        self.members = members = Membership(places, tasks, own, holds, stage, order)
        self.controls = controls = Controls(places, tasks, holds, members, stage, order)
        self.returning = returning = Returning(places, tasks, members, stage, order)
        members.disable_nodes, members.disable_servers = disable_nodes, disable_servers
        controls.abandon_zombies = abandon_zombies
        self.nodes, self.servers, self.tasks = places.nodes, places.servers, tasks.tasks
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            d.Submitted: tasks.submitted,
            d.Admitted: tasks.placing.admitted,
            d.SpaceDropped: self._space_dropped,
            d.CancelAsked: tasks.cancel_asked,
            d.Started: tasks.started,
            d.Refused: tasks.refused,
            d.Ended: tasks.ended,
            d.Judged: tasks.run_judged,
            d.Recalled: tasks.recalled,
            d.Offered: members.offered,
            d.Granted: members.granted,
            d.NodeIsReady: members.node_is_ready,
            d.NodeHasFailed: members.node_has_failed,
            d.NodeHasClosed: members.node_has_closed,
            d.ServerIsUp: members.server_is_up,
            d.ServerIsReady: members.server_is_ready,
            d.NodeIsLeaving: members.node_is_leaving,
            d.ServerIsLeaving: members.ends.server_is_leaving,
            d.ServerSetupFailed: members.ends.server_setup_failed,
            d.ServerIsDown: members.ends.server_is_down,
            d.OwnIsRefused: own.refused,
            d.ProcessLost: members.process_lost,
            d.SchedulerLost: members.scheduler_lost,
            d.TurnBegun: members.turn_begun,
            d.SuspendAsked: controls.suspend_asked,
            d.SilenceSeen: controls.silence_seen,
            d.LoadSeen: controls.load_seen,
            d.EnableAsked: controls.enable_asked,
            d.CloseServerAsked: controls.close_server_asked,
            d.CloseNodeAsked: controls.close_node_asked,
            d.Reallocated: controls.reallocated,
            d.AbandonAsked: controls.abandon_asked,
            r.Returns: returning.begin,
            r.NodeIsResumed: returning.node_is_resumed,
            r.ServerIsResumed: returning.server_is_resumed,
            d.CloseAsked: self._close_asked,
            d.TimePassed: self._time_passed,
        }

    def handle(self, event: d.Event, now: float) -> list[d.Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        return list(self.steps(event, now))

    def steps(self, event: d.Event, now: float) -> Iterable[d.Effect]:
        """The same; if it ends in an error, after the orders that came before it."""
        error = None
        try:
            kind = type(event)
            self._handlers[kind](event, now)
            if kind not in _OF_TASKS:
                self.queue.serve_beside(now)
                if self.returning.active:
                    self.returning.settle(event)
            stage = self.stage
            if stage.closing or stage.scheduler_lost or stage.setup_error:
                self._give_up()
                if stage.closing:
                    self._wind_up(now)
        except Exception as refused:
            error = refused
        orders = self._orders.copy()
        self._orders.clear()
        return orders if error is None else _up_to(orders, error)

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        first = self.life.next_deadline()
        if self.members.ends.awaited or self.queue.processes.again_at:
            for at in (self.members.ends.next_deadline(), self.queue.processes.next_deadline()):
                if at is not None and (first is None or at < first):
                    first = at
        return first

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        self.life.check()
        self.members.check()
        assert not self._orders, "orders that nobody was given"
        if self.stage.closed:
            assert not self.tasks, "closed with tasks that never ended"

    def none_comes(self, own: bool = False) -> str:
        """Why no server is left and none will come; "" as long as one may.  own: no process for a single task."""
        stage = self.stage
        if not (stage.closing or stage.scheduler_lost or stage.setup_error):
            return ""
        if not (stage.scheduler_lost or stage.had_nodes):
            return ""
        for node in self.nodes.values():
            gives = node.info.own_max if own else node.left
            if not self._unused(node) and (node.restart or (gives and node.state != CLOSING)):
                return ""
        if stage.setup_error:
            why = f"where it was tried, {stage.setup_error}"
        elif stage.scheduler_lost:
            why = stage.scheduler_lost
        else:
            why = stage.closed_why or "the client is being closed"
        return f"no server is left, and {why}"

    def number_from(self, first: int) -> None:
        """Before anything else: what is numbered here has numbers above this one."""
        self.members.count_from(first)
        self.queue.processes.count_from(first)

    # -- time and end

    def _time_passed(self, event: d.TimePassed, now: float) -> None:
        self.members.ends.time_passed(now)
        self.queue.processes.time_passed(now)
        self.life.time_passed(now)

    def _space_dropped(self, event: d.SpaceDropped, now: float) -> None:
        self.queue.exclusive.drop(event)

    def _close_asked(self, event: d.CloseAsked, now: float) -> None:
        stage = self.stage
        stage.closing = True
        stage.terminate |= event.terminate
        stage.await_io |= event.await_io
        stage.closed_why = stage.closed_why or event.why

    def _awaits_tasks(self) -> bool:
        """Something still runs that closing waits for."""
        return not self.stage.terminate and bool(self.tasks if self.stage.await_io else self.life.cpu_tasks)

    def _give_up(self) -> None:
        """What may run anywhere, when no place is left and none will come, or none that would be of use."""
        queue, life = self.queue, self.life
        if (queue.pending or queue.io_pending or queue.choices.by_number) and (reason := self.none_comes()):
            life.abandon_pending(reason)
        if queue.processes.pending and (reason := self.none_comes(own=True)):
            life.abandon_each(queue.processes.pending.drain(), reason)
        in_spaces = [line for line in queue.exclusive.queues() if line]
        if in_spaces and (reason := self.none_comes() or self.none_comes(own=True)):
            life.abandon_each([task for line in in_spaces for task in line.drain()], reason)

    def _unused(self, node: Node) -> bool:
        """A client that is being closed does not wait for a node that nobody has enabled."""
        return self.stage.closing and node.state == DISABLED

    def _wind_up(self, now: float) -> None:
        """Closing, step by step: the CPU tasks, then the nodes, then the place at the scheduler."""
        stage = self.stage
        if stage.closed or self._awaits_tasks():
            return
        if not stage.nodes_told:
            stage.nodes_told = True
            self.life.abandon_unsent(stage.closed_why or "the client was closed")
            self.members.close_nodes(now)
        if not self.nodes and not self.servers and not self.life.unjudged:
            stage.closed = True
            self.order(d.ReportStatus("ClientClosed", 0, stage.closed_why))
            self.order(d.LeaveScheduler())


def _up_to(orders: list[d.Effect], error: Exception) -> Iterator[d.Effect]:
    yield from orders
    raise error
