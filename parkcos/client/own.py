"""What becomes of processes beside the servers: a part of the dispatch machine.

A task with a process for itself waits until a node has room for another one, and is sent there when that is ready.
When it has ended, so does the process.  One of a space stays for the next task of it: see exclusive.py.
"""

from __future__ import annotations

from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client.records import OWN, Node, Server
from parkcos.client.tasks import Tasks


class Own:
    def __init__(self, tasks: Tasks, order: Callable[[d.Effect], None]) -> None:
        self.tasks = tasks
        self.processes = tasks.placing.processes
        self.exclusive = tasks.placing.exclusive
        self.order = order

    def refused(self, event: d.OwnIsRefused, now: float) -> None:
        process = self.processes.by_number.get(event.own)
        if process is not None and process.space and process.node == event.node:
            self.processes.refused(event, now)
            left = [] if process.ending else self.exclusive.refused(event, process.space)
            self.tasks.abandon_each(left, f"its space cannot be opened: {event.reason}")
        elif task := self.processes.refused(event, now):
            self.tasks.put_back([task], event.reason, now)

    def is_ready(self, number: int, server: Server, now: float) -> None:
        """It is given its task."""
        if server.space:
            self.exclusive.is_ready(number, server, now)
        elif task := self.processes.let_go(server.own):
            server.state = OWN
            self.tasks.placing.send(task, number, now)

    def has_ended(self, event: d.ServerIsDown, server: Server | None, now: float) -> None:
        """A node says so of a process that may be one.  server: its record, if it was opened."""
        process = self.processes.at_server(event.server)
        task = self.processes.ended(event.server)
        if process is not None and process.space:
            if not event.asked and (server is None or server.state != OWN):
                left = self.exclusive.ended_early(process.node, process.space, event.reason)
                self.tasks.abandon_each(left, f"its space cannot be opened: {event.reason}")
        elif task and (server is None or event.asked):
            self.tasks.put_back([task], event.reason, now)
        elif task:
            self._was_useless(task, f"its process ended before it was ready: {event.reason}", now)

    def is_given_up(self, server: Server, reason: str, now: float) -> None:
        """It has ended for the client, and its node has not said so."""
        self.processes.end(server.own, terminate=True)
        if task := self.processes.let_go(server.own):
            self._was_useless(task, reason, now)

    def _was_useless(self, number: int, reason: str, now: float) -> None:
        """Its process ended before it was ready, most likely by what server_setup did: it counts as lost with that."""
        task = self.tasks.tasks[number]
        if task.retries:
            self.tasks.run_again(task, reason)
            self.tasks.put_back([number], reason, now)
        else:
            self.tasks.abandon(number, reason)

    def lose_node(self, number: int, node: Node, reason: str, now: float) -> None:
        """All at this node are no more: what had not begun there waits again."""
        self.tasks.put_back(self.processes.lose_node(number, node), reason, now)

    def forget_node(self, number: int, reason: str) -> None:
        """What can only be there ends here."""
        self.tasks.abandon_each([*self.processes.forget_node(number), *self.exclusive.forget_node(number)], reason)
