"""A client's tasks, from their submission to their end: a part of the dispatch machine.

What waits where, and the rules by which a task goes to a server: to the least loaded node, a few ahead to a server
that runs short ones, back if that does not get on.  A task has one number for all its runs, one way to run again, and
one way to be ended: dropped while it waits, recalled if it was only sent ahead, else ended by its server, or with it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client.ahead import Ahead, has_room
from parkcos.client.backlog import Backlog
from parkcos.client.choices import Choices
from parkcos.client.estimates import Estimates
from parkcos.client.exclusive import Exclusive
from parkcos.client.load import LoadHeap
from parkcos.client.places import Places
from parkcos.client.processes import Processes
from parkcos.client.records import ENDING, OPEN, OWN, SILENT, Node, Server, Stage, Task

HANGS_S = 9.0
"""The time that a server has to end a task, after a grace, before it counts as hanging."""


class Tasks:
    """Those that were submitted and have not ended."""

    def __init__(self, places: Places, stage: Stage, order: Callable[[d.Effect], None]) -> None:
        self.places = places
        self.stage = stage
        self.order = order
        self.tasks: dict[int, Task] = {}
        self.processes = Processes(places, self.tasks, order)
        self.exclusive = Exclusive(places, self.tasks, self.processes, order, self.send, self.fill)
        self.pending = Backlog()
        """CPU tasks that may run anywhere."""
        self.io_pending = Backlog()
        self.cpu_tasks = 0
        self.unjudged: dict[int, None] = {}
        """Tasks whose run has ended, while it is not known yet whether they run again."""
        self.choices = Choices(places)
        self.estimates = Estimates()
        self.ahead = Ahead(places, self.tasks, order)
        self._limits: list[tuple[float, int]] = []
        """A heap: when a task will have had its time and its grace, and its server must have ended it."""

    # -- where a task goes

    def submitted(self, event: d.Submitted, now: float) -> None:
        task = event.task
        self.tasks[task.number] = task
        if not task.io:
            self.cpu_tasks += 1
        if task.choice:
            self.choices.add(task)
        self._place(task, now)

    def _place(self, task: Task, now: float) -> None:
        """Send a task to where it may run, or put it in line for that."""
        places = self.places
        if self.stage.closing:
            self.abandon(task.number, self.stage.closed_why or "the client is being closed")
        elif task.exclusive:
            if why_never := self.exclusive.add(task, now):
                self.abandon(task.number, why_never)
        elif task.own:
            if why_never := self.processes.add(task, now):
                self.abandon(task.number, why_never)
            elif self.exclusive.spaces and self.processes.waits:
                self.exclusive.serve(now)
        elif task.want_server:
            self._place_at_server(task, now)
        elif task.want_node:
            node = places.nodes.get(task.want_node)
            if node is None:
                self.abandon(task.number, "that node is not used by this client")
            elif not node.has_servers:
                self.abandon(task.number, "no server is left at that node")
            else:
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

    def _place_at_server(self, task: Task, now: float) -> None:
        server = self.places.servers.get(task.want_server)
        if server is None:
            self.abandon(task.number, "that server has ended")
        elif server.own:
            whose = "of a space" if server.space else "for another task alone"
            self.abandon(task.number, f"that server is a process {whose}")
        elif server.state == ENDING:
            down = server.end.node_says if server.end is not None else ""
            self.abandon(task.number, f"that server has ended: {down}" if down else "that server is being closed")
        elif not task.io:
            server.queue.add(task.number, task.priority)
            self.fill(task.want_server, now)
        elif server.state == OPEN:
            self.send(task.number, task.want_server, now)
        else:
            server.io_queue.add(task.number, task.priority)

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

    def _queue_of(self, task: Task) -> Backlog | None:
        """Where it waits, if it does."""
        if task.exclusive:
            return self.exclusive.queue_of(task)
        if task.own:
            return self.processes.queue_of(task)
        holder: Node | Server | Tasks | None
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

    def put_back(self, numbers: list[int], reason: str, now: float) -> None:
        """These were sent to a server that did not begin them: they are first in line again."""
        places = self.places
        nodes: dict[int, Node] = {}
        for number in reversed(numbers):
            task = self.tasks[number]
            task.server, task.recalling, task.hangs_at = 0, False, 0.0
            node, server = places.nodes.get(task.want_node), places.servers.get(task.want_server)
            queue = self._queue_of(task)
            if task.cancelled:
                self.abandon(number, task.cancelled)
            elif (
                queue is None
                or self.stage.nodes_told
                or (server is not None and server.state == ENDING)
                or self._is_nowhere(task, node)
            ):
                self.abandon(number, reason)
            else:
                queue.add_first(number, task.priority)
                if node is not None and not (task.own or task.exclusive):
                    nodes[task.want_node] = node
        for node in nodes.values():
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

    def _is_nowhere(self, task: Task, node: Node | None) -> bool:
        """Whether it cannot run where it must.  node: that one."""
        if task.exclusive:
            return bool(self.exclusive.why_never(task))
        if task.own:
            return bool(self.processes.why_never(task))
        return node is not None and not node.has_servers

    def serve_beside(self, now: float) -> None:
        """Ask for processes beside the servers, as far as tasks wait for them and there is room."""
        if self.processes.waits:
            self.processes.serve(now)
        if self.exclusive.spaces:
            self.exclusive.serve(now)

    def send(self, number: int, at: int, now: float) -> None:
        task, server = self.tasks[number], self.places.servers[at]
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
        self.order(d.Run(number, at, task.io))

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
            else:  # it has had its task
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

    # -- what servers say

    def started(self, event: d.Started, now: float) -> None:
        task = self._task_at(event)
        if task is None or task.started:
            return
        task.started = True
        self.order(d.ReportStarted(task.number, task.server, event.remote_id))
        if task.cancelled:
            if task.recalling:  # it had begun by then
                self._end(task, now)
        elif task.timeout_s:
            self._limit(task, now + task.timeout_s)

    def refused(self, event: d.Refused, now: float) -> None:
        task = self._task_at(event)
        if task is not None:
            at = task.server
            self._leave_server(task, now)
            self._forget(task)
            self.order(d.ReportRefused(task.number, event.error))
            self.fill(at, now)

    def ended(self, event: d.Ended, now: float) -> None:
        task = self._task_at(event)
        if task is None or (event.cut and self._outlives_server(task)):
            return
        if not task.started:
            self.order(d.ReportStarted(task.number, task.server, event.remote_id))
        if not task.io:
            self.estimates.took(task.kind, event.seconds)
        at = task.server
        self._leave_server(task, now)
        if task.judged and task.retries:
            task.started = False
            self.unjudged[task.number] = None
        else:
            self._forget(task)
        self.fill(at, now)

    def run_judged(self, event: d.Judged, now: float) -> None:
        task = self.tasks.get(event.task)
        if task is None or event.task not in self.unjudged:
            return
        del self.unjudged[event.task]
        if event.again and task.retries and not (task.cancelled or self.stage.closing):
            self.run_again(task, event.again)
            self._place(task, now)
        else:
            self._forget(task)

    def recalled(self, event: d.Recalled, now: float) -> None:
        task = self._task_at(event)
        if task is None or not event.ok:
            return
        at = task.server
        server = self.places.servers[at]
        unasked = not task.recalling
        self._leave_server(task, now)
        if unasked and server.state != ENDING:  # it is closing; its node will say so
            self.places.retire(at)
            self.abandon_waiting(server, "that server is being closed")
        self.put_back([task.number], "its server was closed", now)
        if not server.cpu:
            self.fill(at, now)

    def _task_at(self, event: d.Started | d.Refused | d.Ended | d.Recalled) -> Task | None:
        """Of which a server speaks; None: it is not there any more, but was abandoned, or is run again elsewhere."""
        task = self.tasks.get(event.task)
        return task if task is not None and task.server and task.server == event.server else None

    def _leave_server(self, task: Task, now: float) -> None:
        """It is no longer at its server."""
        number, at = task.number, task.server
        server = self.places.servers[at]
        task.server, task.recalling, task.hangs_at = 0, False, 0.0
        if task.io:
            del server.io[number]
            self.places.weigh_io(at, server)
            return
        cpu = server.cpu
        was_head = next(iter(cpu)) == number
        del cpu[number]
        server.load_s = server.load_s - task.expected_s if cpu else 0.0
        if was_head:
            server.head_since, server.recalled = now, False
        if len(cpu) == 1:
            del self.ahead.servers[at]

    def _outlives_server(self, task: Task) -> bool:
        """It was interrupted: whether it counts as lost with its server, when that has ended."""
        end = self.places.servers[task.server].end
        unwanted = end is not None and end.unwanted
        return bool(task.retries) and not (task.want_server or unwanted or self.stage.nodes_told)

    # -- the end

    def cancel_asked(self, event: d.CancelAsked, now: float) -> None:
        task = self.tasks.get(event.task)
        if task is None or task.cancelled:
            return
        task.cancelled, task.retries = event.reason, 0
        if event.task in self.unjudged:
            return
        if not task.server:
            queue = self._queue_of(task)
            if queue is not None and event.task in queue:
                queue.remove(event.task)
            elif self.processes.let_go(task.process):
                self.processes.end(task.process, terminate=True)
            self.abandon(event.task, event.reason)
        elif task.started or task.io:
            self._end(task, now)
        elif not task.recalling:
            task.recalling = True
            self.order(d.Recall(event.task, task.server))

    def _end(self, task: Task, now: float) -> None:
        """Its server is to end it."""
        self._limit(task, now)
        self.order(d.EndTask(task.number, task.server))

    def _limit(self, task: Task, at: float) -> None:
        """Its server is to end it then; if that cannot, its node ends the server."""
        task.hangs_at = at + HANGS_S
        heapq.heappush(self._limits, (task.hangs_at, task.number))

    def _end_hanging(self, at: float, number: int) -> None:
        """It has had its time, or is to end, and its server has not been able to end it: its node ends that."""
        task = self.tasks.get(number)
        if task is not None and task.server and task.hangs_at == at:
            task.timed_out = not task.cancelled
            server = self.places.servers[task.server]
            if server.node:
                self.close_server(task.server, server, terminate=True, restart=True)

    def close_server(self, number: int, server: Server, terminate: bool, restart: bool) -> None:
        """Its node is to end it.  What waits for it, and for no other, ends here."""
        if server.state != ENDING:
            self.places.retire(number)
            self.abandon_waiting(server, "that server is being closed")
        server.ending().replace = restart
        if server.own:
            self.processes.end(server.own, terminate)
        else:
            self.order(d.CloseServer(server.node, number, terminate, restart))

    def server_has_ended(self, number: int, server: Server, reason: str) -> list[int]:
        """What was sent there is abandoned, or runs again.  Returns: the latter, to be put back."""
        self.ahead.servers.pop(number, None)
        self.choices.server_has_ended(number)
        end = server.end
        # Only then is the word of what had begun complete.
        certain = end is not None and bool(end.node_says and end.session_says) and SILENT not in server.holds
        back = []
        for position, each in enumerate([*server.cpu, *server.io]):
            task = self.tasks[each]
            had_begun = not (0 < position < len(server.cpu) and certain and not task.started)
            if task.want_server or self.stage.nodes_told or task.timed_out or (task.cancelled and had_begun):
                self.abandon(each, reason)
            elif not had_begun:
                back.append(each)
            elif task.retries:
                self.run_again(task, reason)
                back.append(each)
            else:
                self.abandon(each, reason)
        self.abandon_waiting(server, reason)
        return back

    def run_again(self, task: Task, reason: str) -> None:
        task.retries -= 1
        task.started = False
        self.order(d.ReportRetried(task.number, reason))

    def abandon(self, number: int, reason: str) -> None:
        """A task that is at no server, and in no queue from which it could be sent, ends here."""
        task = self.tasks[number]
        self._forget(task)
        self.order(d.ReportAbandoned(number, reason, task.started, task.timed_out))

    def abandon_waiting(self, holder: Node | Server, reason: str) -> None:
        """What waits for just this one ends here."""
        self.abandon_each([*holder.queue.drain(), *holder.io_queue.drain()], reason)

    def abandon_each(self, numbers: list[int], reason: str) -> None:
        """These wait nowhere any more, and end here."""
        for number in numbers:
            self.abandon(number, reason)

    def abandon_pending(self, reason: str) -> None:
        """What may run anywhere, but not in a process of its own, ends here."""
        queues = [self.pending, self.io_pending, *self.choices.queues()]
        self.abandon_each([task for queue in queues for task in queue.drain()], reason)

    def abandon_unsent(self, reason: str) -> None:
        """Whatever waits, for whichever place, ends here."""
        for number, task in list(self.tasks.items()):
            if not task.server and number not in self.unjudged:
                self.abandon(number, reason)
        for queue in (self.pending, self.io_pending, *self.choices.queues(), *self.exclusive.queues()):
            queue.drain()
        self.processes.forget_all()
        for holder in self.places.holders():
            holder.queue.drain()
            holder.io_queue.drain()

    def _forget(self, task: Task) -> None:
        """It has ended."""
        del self.tasks[task.number]
        if not task.io:
            self.cpu_tasks -= 1
        if task.choice:
            self.choices.forget(task)

    # -- time

    def next_deadline(self) -> float | None:
        """When it next wants to hear that time has passed."""
        deadline = self.ahead.next_deadline()
        if self._limits and (deadline is None or self._limits[0][0] < deadline):
            deadline = self._limits[0][0]
        return deadline

    def time_passed(self, now: float) -> None:
        self.ahead.time_passed(now)
        while self._limits and self._limits[0][0] <= now:
            self._end_hanging(*heapq.heappop(self._limits))

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        places, tasks = self.places, self.tasks
        sent = 0
        for number, server in places.servers.items():
            for sent_task in (*server.cpu, *server.io):
                assert tasks[sent_task].server == number, f"task {sent_task} is at two servers"
                sent += 1
            expected = sum(tasks[each].expected_s for each in server.cpu)
            assert abs(server.load_s - expected) < 1e-6, f"server {number} has {expected} s to do, not {server.load_s}"
        waiting = [*self.pending, *self.io_pending, *(task for queue in self.choices.queues() for task in queue)]
        for holder in places.holders():
            waiting += holder.queue
            waiting += holder.io_queue
        for queue in (*self.processes.queues(), *self.exclusive.queues()):
            waiting += queue
        for number in waiting:
            task = tasks[number]
            assert not task.server, f"task {number} waits and is at a server"
            assert not task.cancelled, f"task {number} waits, and is to end"
            assert not (task.recalling or task.hangs_at), f"task {number} waits, and keeps something of an earlier run"
            where = self._queue_of(task)
            assert where is not None
            assert number in where, f"task {number} waits elsewhere than where it is looked for"
        assert len(set(waiting)) == len(waiting), "a task waits twice"
        assert not self.unjudged.keys() & set(waiting)
        assert all(not tasks[number].server for number in self.unjudged)
        soon = sum(bool(process.task) for process in self.processes.by_number.values())
        assert sent + len(waiting) + soon + len(self.unjudged) == len(tasks), "a task is nowhere"
        self.ahead.check()
        self.processes.check()
        self.exclusive.check()
        assert not (self.pending and places.idle), "tasks wait beside idle servers"
        assert self.cpu_tasks == sum(not task.io for task in tasks.values())
