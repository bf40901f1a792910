"""Processes beside the servers: which there are, and which single tasks wait for one (those of spaces: exclusive.py).

A part of the dispatch machine.  A place at a node is taken from when the process is asked for until the node says that
it has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client.backlog import Backlog
from parkcos.client.places import Places
from parkcos.client.records import CLOSING, ENDING, READY, Node, OwnProcess, Task

AGAIN_S = (0.2, 1.0, 5.0)
"""Seconds for which nothing more is asked of a node that has refused a process, and the next one, and all others."""


class Processes:
    """They are known by the number that the client gives to each.  tasks: all that there are."""

    def __init__(self, places: Places, tasks: dict[int, Task], order: Callable[[d.Effect], None]) -> None:
        self.places = places
        self.nodes = places.nodes
        self.tasks = tasks
        self.order = order
        self.pending = Backlog()
        """Tasks that may have one at any node."""
        self.at_node: dict[int, Backlog] = {}
        """Tasks that must have one at a certain node."""
        self.by_number: dict[int, OwnProcess] = {}
        self._of_server: dict[int, int] = {}
        self._count = 0
        self.again_at: dict[int, float] = {}
        """When nodes that have refused one are asked again."""

    # -- which tasks get one

    def add(self, task: Task, now: float) -> str:
        """It waits for one, or gets one now.  Returns: why it never will, or ""."""
        if why_never := self.why_never(task):
            return why_never
        queue = self.queue_of(task)
        assert queue is not None
        queue.add(task.number, task.priority)
        self.serve(now)
        return ""

    def queue_of(self, task: Task) -> Backlog | None:
        """Where it waits; None: it cannot have one."""
        if not task.want_node:
            return self.pending
        return self.at_node.setdefault(task.want_node, Backlog()) if task.want_node in self.nodes else None

    def why_never(self, task: Task) -> str:
        """Why the place where it must be gives it none; "" if it may."""
        if task.want_server:
            return "a process of its own is started at a node, and not at a server"
        if not task.want_node:
            return ""
        node = self.nodes.get(task.want_node)
        if node is None:
            return "that node is not used by this client"
        if not node.info.own_max:
            return "that node starts no processes beside its servers (--own_max 0)"
        return "that node is being closed" if node.state == CLOSING and not node.restart else ""

    def queues(self) -> list[Backlog]:
        """All in which tasks wait."""
        return [self.pending, *self.at_node.values()]

    def serve(self, now: float) -> None:
        """Ask for a process for each task that waits, as far as there is room: at the node with the fewest of them."""
        while free := [
            (-queue.priority, len(node.own), number)
            for number, node in self.nodes.items()
            if (queue := self._next_queue(number)) and self.free_places(number, node, now)
        ]:
            *_, number = min(free)
            task = self.tasks[self._next_queue(number).pop()]
            task.process = self.start(number, task=task.number, niceness=task.niceness)

    def _next_queue(self, number: int) -> Backlog:
        """Where the next task for a node waits: of the highest priority, and for this node sooner than for any."""
        here, anywhere = self.at_node.get(number), self.pending
        return anywhere if not here or (anywhere and anywhere.priority > here.priority) else here

    def free_places(self, number: int, node: Node, now: float = -math.inf) -> int:
        """How many processes may be asked for there now; one that has just refused some has none for a while."""
        if node.state != READY or node.holds or self.again_at.get(number, -math.inf) > now:
            return 0
        return max(0, node.info.own_max - len(node.own))

    def start(self, at: int, *, task: int = 0, niceness: int = 0, space: int = 0) -> int:
        """Ask for one, where there is a place for it.  Returns: its number."""
        self._count += 1
        self.nodes[at].own[self._count] = None
        self.by_number[self._count] = OwnProcess(at, task, space)
        self.order(d.StartOwn(at, self._count, niceness, space))
        return self._count

    def count_from(self, first: int) -> None:
        """The numbers of processes are above this one."""
        self._count = max(self._count, first)

    def wants(self, number: int) -> bool:
        """Whether a single task waits for a place at this node."""
        node = self.nodes[number]
        return bool(self._next_queue(number)) and node.state == READY and not node.holds

    def of_space(self, space: int) -> list[OwnProcess]:
        """Those that there are, or soon will be."""
        return [process for process in self.by_number.values() if process.space == space and not process.ending]

    # -- what becomes of one

    def is_up(self, event: d.ServerIsUp) -> OwnProcess | None:
        """What it is; None: nobody wants it any more."""
        process = self.by_number.get(event.own)
        if process is None or process.node != event.node:
            return None
        process.server = event.server
        self._of_server[event.server] = event.own
        self.nodes[event.node].own_refusals = 0
        wanted = process.task or process.returned or process.space
        return process if wanted and (process.task or not process.ending) else None

    def refused(self, event: d.OwnIsRefused, now: float) -> int:
        """Returns: the task that waits again, or 0."""
        process = self.by_number.get(event.own)
        if process is None or process.node != event.node:
            return 0
        self._forget(event.own)
        if process.ending or event.setup or not (process.task or process.space):
            return 0
        node = self.nodes[process.node]
        node.own_refused = event.reason
        self.again_at[process.node] = now + AGAIN_S[min(node.own_refusals, len(AGAIN_S) - 1)]
        node.own_refusals += 1
        return process.task

    def at_server(self, server: int) -> OwnProcess | None:
        """The one that is up as this server."""
        return self.by_number.get(self._of_server.get(server, 0))

    def ended(self, server: int) -> int:
        """Its node says that it has ended.  Returns: the task that was to be sent there and was not, or 0."""
        process = self._forget(self._of_server.get(server, 0))
        if process is None:
            return 0
        self.again_at.pop(process.node, None)  # what it was short of may be there now
        return process.task

    def let_go(self, own: int) -> int:
        """Its task has been sent there, or does not want it any more.  Returns: that task, or 0."""
        process = self.by_number.get(own)
        if process is None:
            return 0
        task, process.task = process.task, 0
        return task

    def end(self, own: int, terminate: bool) -> None:
        """Have it ended, whether it is up or not, unless it has ended."""
        process = self.by_number.get(own)
        if process is None:
            return
        process.ending = True
        server = self.places.servers.get(process.server)
        if server is not None and server.state != ENDING:
            self.places.retire(process.server)
        self.order(d.EndOwn(process.node, own, terminate))

    def lose_node(self, number: int, node: Node) -> list[int]:
        """All at this node are no more.  Returns: the tasks that were to be sent there."""
        self.again_at.pop(number, None)
        lost = [self._forget(own) for own in list(node.own)]
        return [process.task for process in lost if process is not None and process.task]

    def _forget(self, own: int) -> OwnProcess | None:
        process = self.by_number.pop(own, None)
        if process is not None:
            self._of_server.pop(process.server, None)
            self.nodes[process.node].own.pop(own, None)
        return process

    # -- what waits

    @property
    def waits(self) -> bool:
        """Whether a task waits for one."""
        return bool(self.pending) or any(self.at_node.values())

    def forget_node(self, number: int) -> list[int]:
        """It is not used any more.  Returns: the tasks that wait for a process there."""
        queue = self.at_node.pop(number, None)
        return queue.drain() if queue is not None else []

    def forget_all(self) -> None:
        """No task waits for one any more."""
        for queue in self.queues():
            queue.drain()
        for process in self.by_number.values():
            process.task = 0

    def held_back(self) -> tuple[int, dict[int, str]]:
        """How many tasks wait, and which nodes give them none at all, and why."""
        why = {}
        for number, node in self.nodes.items():
            if not node.info.own_max:
                why[number] = "it starts no processes beside its servers (--own_max 0)"
            elif number in self.again_at:
                why[number] = node.own_refused
        return sum(len(queue) for queue in self.queues()), why

    def next_deadline(self) -> float | None:
        """When it next wants to hear that time has passed."""
        return min(self.again_at.values(), default=None)

    def time_passed(self, now: float) -> None:
        for number in [number for number, at in self.again_at.items() if at <= now]:
            del self.again_at[number]

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        for own, process in self.by_number.items():
            assert own in self.nodes[process.node].own, f"process {own} is at no node"
            task = self.tasks[process.task] if process.task else None
            assert task is None or (task.process == own and not task.server), f"process {own} has another's task"
        assert sum(len(node.own) for node in self.nodes.values()) == len(self.by_number)
        for number, node in self.nodes.items():
            assert len(node.own) <= node.info.own_max, f"node {number} has too many processes for single tasks"
            assert all(self.by_number[own].node == number for own in node.own)
            idle = self._next_queue(number) and self.free_places(number, node)
            assert not idle, f"tasks wait for a process, and node {number} has room"
