"""Where a client's tasks wait, and the rules by which each goes to a server: a part of the dispatch machine.

To the least loaded node; a few ahead to a server that runs short ones; the higher priority first, and within one who
came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from parkcos.client import dispatch_events as d
from parkcos.client.ahead import Ahead, has_room
from parkcos.client.backlog import Backlog
from parkcos.client.choices import Choices
from parkcos.client.estimates import Estimates
from parkcos.client.exclusive import Exclusive
from parkcos.client.load import LoadHeap
from parkcos.client.places import Places
from parkcos.client.processes import Processes
from parkcos.client.records import ENDING, OPEN, OWN, Node, Server, Stage, Task


class Placing:
    """tasks: all that there are."""

    def __init__(self, places: Places, tasks: dict[int, Task], stage: Stage, order: Callable[[d.Effect], None]) -> None:
        self.places = places
        self.tasks = tasks
        self.stage = stage
        self.order = order
        self.pending = Backlog()
        """CPU tasks that may run anywhere."""
        self.io_pending = Backlog()
        self.choices = Choices(places)
        self.estimates = Estimates()
        self.ahead = Ahead(places, tasks, order)
        self.processes = Processes(places, tasks, order)
        self.exclusive = Exclusive(places, tasks, self.processes, order, self.send, self.fill)

    # -- where a task goes

    def place(self, task: Task, now: float) -> str:
        """Send a task to where it may run, or put it in line for that.  Returns: why it will never run, or ""."""
        places = self.places
        if self.stage.closing:
            return self.stage.closed_why or "the client is being closed"
        if task.exclusive:
            return self.exclusive.add(task, now)
        if task.own:
            why_never = self.processes.add(task, now)
            if self.exclusive.spaces and self.processes.waits:
                self.exclusive.serve(now)
            return why_never
        if task.want_server:
            return self._place_at_server(task, now)
        if task.want_node:
            node = places.nodes.get(task.want_node)
            if node is None:
                return "that node is not used by this client"
            if not node.has_servers:
                return "no server is left at that node"
            idle = next(iter(node.idle), None)
            self._place_among(task, idle, node.queue, node.io_queue, node.io_servers, now)
        elif task.choice:
            at = self.choices.place_for(task)
            if at is None:
                self.choices.queue_of(task).add(task.number, task.priority)
            else:
                self.send(task.number, at, now)
        else:
            self._place_among(task, places.idle_server(), self.pending, self.io_pending, places.io_servers, now)
        return ""

    def _place_at_server(self, task: Task, now: float) -> str:
        server = self.places.servers.get(task.want_server)
        if server is None:
            return "that server has ended"
        if server.own:
            return f"that server is a process {'of a space' if server.space else 'for another task alone'}"
        if server.state == ENDING:
            down = server.end.node_says if server.end is not None else ""
            return f"that server has ended: {down}" if down else "that server is being closed"
        if not task.io:
            server.queue.add(task.number, task.priority)
            self.fill(task.want_server, now)
        elif server.state == OPEN:
            self.send(task.number, task.want_server, now)
        else:
            server.io_queue.add(task.number, task.priority)
        return ""

    def _place_among(
        self, task: Task, idle: int | None, queue: Backlog, io_queue: Backlog, io_servers: LoadHeap, now: float
    ) -> None:
        """To one of some servers.  I/O tasks go to that with the fewest of them; sooner to an idle one than to one
        whose CPU task may hog it."""
        if not task.io:
            if idle is None:
                queue.add(task.number, task.priority)
            else:
                self.send(task.number, idle, now)
            return
        at = io_servers.lightest()
        if at is None:
            io_queue.add(task.number, task.priority)
            return
        servers = self.places.servers
        if idle is not None and servers[at].cpu and len(servers[idle].io) <= len(servers[at].io):
            at = idle
        self.send(task.number, at, now)

    def queue_of(self, task: Task) -> Backlog | None:
        """Where it waits, if it does."""
        if task.exclusive:
            return self.exclusive.queue_of(task)
        if task.own:
            return self.processes.queue_of(task)
        holder: Node | Server | None
        if task.want_server:
            holder = self.places.servers.get(task.want_server)
        elif task.want_node:
            holder = self.places.nodes.get(task.want_node)
        elif task.choice:
            return self.choices.queue_of(task)
        else:
            return self.io_pending if task.io else self.pending
        if holder is None:
            return None
        return holder.io_queue if task.io else holder.queue

    def withdraw(self, task: Task) -> bool:
        """It is to wait no longer.  Returns: whether it did."""
        queue = self.queue_of(task)
        if queue is None or task.number not in queue:
            return False
        queue.remove(task.number)
        return True

    def put_first(self, task: Task) -> None:
        """It was sent to a server that did not begin it."""
        queue = self.queue_of(task)
        assert queue is not None
        queue.add_first(task.number, task.priority)

    def is_nowhere(self, task: Task) -> bool:
        """Whether the place where it must run is gone, or gives it none."""
        if self.queue_of(task) is None:
            return True
        if task.exclusive:
            return bool(self.exclusive.why_never(task))
        if task.own:
            return bool(self.processes.why_never(task))
        server, node = self.places.servers.get(task.want_server), self.places.nodes.get(task.want_node)
        ending = server is not None and server.state == ENDING
        return ending or (node is not None and not node.has_servers)

    def queues(self) -> list[Backlog]:
        """All in which tasks wait, but those of a node or server."""
        beside = [*self.processes.queues(), *self.exclusive.queues()]
        return [self.pending, self.io_pending, *self.choices.queues(), *beside]

    # -- who gets what

    def serve(self, nodes: Iterable[int], now: float) -> None:
        """Give what was put in line to who has nothing to do.  nodes: those for which some was."""
        places = self.places
        for node in [places.nodes[number] for number in nodes]:
            while node.queue and node.idle:
                self.send(node.queue.pop(), next(iter(node.idle)), now)
            while node.io_queue and (at := node.io_servers.lightest()) is not None:
                self.send(node.io_queue.pop(), at, now)
        for queue in self.choices.queues():
            while queue and (chosen := self.choices.place_for(self.tasks[next(iter(queue))])) is not None:
                self.send(queue.pop(), chosen, now)
        while self.pending and (idle := places.idle_server()) is not None:
            self.send(self.pending.pop(), idle, now)
        while self.io_pending and (at := places.io_servers.lightest()) is not None:
            self.send(self.io_pending.pop(), at, now)
        self.serve_beside(now)

    def serve_beside(self, now: float) -> None:
        """Ask for processes beside the servers, as far as tasks wait for them and there is room."""
        if self.processes.waits:
            self.processes.serve(now)
        if self.exclusive.spaces:
            self.exclusive.serve(now)

    def send(self, number: int, at: int, now: float) -> None:
        task = self.tasks[number]
        self.is_at(task, at, now)
        self.order(d.Run(number, at, task.io))

    def is_at(self, task: Task, at: int, now: float) -> None:
        """It is at that server from now on."""
        number, server = task.number, self.places.servers[at]
        task.server = at
        task.tries += 1
        if task.io:
            server.io[number] = None
            self.places.weigh_io(at, server)
        else:
            cpu = server.cpu
            if not cpu:
                server.head_since = now
                self.places.is_busy(at, server)
            cpu[number] = None
            task.expected_s = self.estimates.of(task.kind)
            server.load_s += task.expected_s
            if len(cpu) == 2:
                self.ahead.has_more(at, now)

    def open_to_tasks(self, number: int, now: float) -> None:
        """From now on the server is given tasks, first of all those that wait for it."""
        server = self.places.servers[number]
        server.state = OPEN
        self.places.weigh_io(number, server)
        accepting = [choice.io_queue for choice in self.choices.accepting(number)]
        for queue in (server.io_queue, self.places.nodes[server.node].io_queue, *accepting, self.io_pending):
            while queue:
                self.send(queue.pop(), number, now)
        self.fill(number, now)

    def admitted(self, event: d.Admitted, now: float) -> None:
        """Tasks that are placed by this choice may run at these servers, too."""
        choice = self.choices.by_number.get(event.choice)
        if choice is None:
            return
        for number in event.servers:
            server = self.places.servers.get(number)
            if server is None or server.state == ENDING or server.own:
                continue
            choice.servers[number] = None
            if server.state == OPEN:
                while choice.io_queue:
                    self.send(choice.io_queue.pop(), number, now)
                self.fill(number, now)

    def fill(self, number: int, now: float) -> None:
        """Give a server what it has room for."""
        server = self.places.servers[number]
        if server.own and server.state == OWN:
            if server.space:
                self.exclusive.has_less(number, now)
            elif not (server.cpu or server.io):  # it has had its task
                self.processes.end(server.own, terminate=False)
        if server.state != OPEN or server.lent:
            return
        node, cpu = self.places.nodes[server.node], server.cpu
        while not cpu or has_room(server):
            queue = self._next_queue(number, server, node)
            if self.exclusive.spaces and not cpu and self._lends(number, server, queue, now):
                return
            if queue is None:
                break
            self.send(queue.pop(), number, now)
        if not cpu:
            self.places.is_idle(number, server)
            self.ahead.one_is_idle(now)
            if self.exclusive.spaces and self.exclusive.waits:
                self.exclusive.serve(now)

    def _lends(self, number: int, server: Server, queue: Backlog | None, now: float) -> bool:
        """Whether the slot of a server goes to a process of a space, before the first task of this queue."""
        if process := self.exclusive.without_slot(server.node):
            self.exclusive.lend(number, process, now)
            return True
        best = self.exclusive.best_at(server.node)
        if best is None:
            return False
        theirs, process = best
        if queue is not None and (-queue.priority, next(iter(queue))) < (-theirs.priority, next(iter(theirs))):
            return False
        self.exclusive.lend(number, process, now)
        return True

    def _next_queue(self, number: int, server: Server, node: Node) -> Backlog | None:
        """Where the next task for a server waits: of the highest priority, and for this server sooner than for any."""
        first = None
        for queue in (server.queue, node.queue, self.pending):
            if queue.tasks and (first is None or queue.priority > first.priority):
                first = queue
        if self.choices.by_number:
            for choice in self.choices.accepting(number):
                if choice.queue.tasks and (first is None or choice.queue.priority > first.priority):
                    first = choice.queue
        return first

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        self.ahead.check()
        self.processes.check()
        self.exclusive.check()
        assert not (self.pending and self.places.idle), "tasks wait beside idle servers"
