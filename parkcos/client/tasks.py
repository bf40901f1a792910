"""A client's tasks, from their submission to their end: a part of the dispatch machine.

A task has one number for all its runs, one way to run again, and one way to be ended: dropped while it waits, recalled
if it was only sent ahead, else ended by its server, or with it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client.places import Places
from parkcos.client.placing import Placing
from parkcos.client.records import ENDING, SILENT, Node, Server, Stage, Task

HANGS_S = 9.0
"""The time that a server has to end a task, after a grace, before it counts as hanging."""


class Tasks:
    """Those that were submitted and have not ended."""

    def __init__(self, places: Places, stage: Stage, order: Callable[[d.Effect], None]) -> None:
        self.places = places
        self.stage = stage
        self.order = order
        self.tasks: dict[int, Task] = {}
        self.placing = Placing(places, self.tasks, stage, order)
        self.cpu_tasks = 0
        self.unjudged: dict[int, None] = {}
        """Tasks whose run has ended, while it is not known yet whether they run again."""
        self._limits: list[tuple[float, int]] = []
        """A heap: when a task will have had its time and its grace, and its server must have ended it."""

    def submitted(self, event: d.Submitted, now: float) -> None:
        task = event.task
        self.tasks[task.number] = task
        if not task.io:
            self.cpu_tasks += 1
        if task.choice:
            self.placing.choices.add(task)
        self._place(task, now)

    def take_over(self, task: Task, at: int, now: float) -> None:
        """An earlier program of this client has sent it there."""
        if task.number not in self.tasks:
            self.tasks[task.number] = task
            self.cpu_tasks += not task.io
            self.placing.is_at(task, at, now)

    def _place(self, task: Task, now: float) -> None:
        if why_never := self.placing.place(task, now):
            self.abandon(task.number, why_never)

    def put_back(self, numbers: list[int], reason: str, now: float) -> None:
        """These were sent to a server that did not begin them: they are first in line again."""
        nodes: dict[int, None] = {}
        for number in reversed(numbers):
            task = self.tasks[number]
            task.server, task.recalling, task.hangs_at = 0, False, 0.0
            if task.cancelled:
                self.abandon(number, task.cancelled)
            elif self.stage.nodes_told or self.placing.is_nowhere(task):
                self.abandon(number, reason)
            else:
                self.placing.put_first(task)
                if task.want_node and not (task.own or task.exclusive):
                    nodes[task.want_node] = None
        self.placing.serve(nodes, now)

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
            self.placing.fill(at, now)

    def ended(self, event: d.Ended, now: float) -> None:
        task = self._task_at(event)
        if task is None or (event.cut and self._outlives_server(task)):
            return
        if not task.started:
            self.order(d.ReportStarted(task.number, task.server, event.remote_id))
        if not task.io:
            self.placing.estimates.took(task.kind, event.seconds)
        at = task.server
        self._leave_server(task, now)
        if task.judged and task.retries:
            task.started = False
            self.unjudged[task.number] = None
        else:
            self._forget(task)
        self.placing.fill(at, now)

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
            self.placing.fill(at, now)

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
            del self.placing.ahead.servers[at]

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
            processes = self.placing.processes
            if not self.placing.withdraw(task) and processes.let_go(task.process):
                processes.end(task.process, terminate=True)
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
            self.placing.processes.end(server.own, terminate)
        else:
            self.order(d.CloseServer(server.node, number, terminate, restart))

    def server_has_ended(self, number: int, server: Server, reason: str) -> list[int]:
        """What was sent there is abandoned, or runs again.  Returns: the latter, to be put back."""
        self.placing.ahead.servers.pop(number, None)
        self.placing.choices.server_has_ended(number)
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
        placing = self.placing
        queues = [placing.pending, placing.io_pending, *placing.choices.queues()]
        self.abandon_each([task for queue in queues for task in queue.drain()], reason)

    def abandon_unsent(self, reason: str) -> None:
        """Whatever waits, for whichever place, ends here."""
        for number, task in list(self.tasks.items()):
            if not task.server and number not in self.unjudged:
                self.abandon(number, reason)
        for queue in self.placing.queues():
            queue.drain()
        self.placing.processes.forget_all()
        for holder in self.places.holders():
            holder.queue.drain()
            holder.io_queue.drain()

    def _forget(self, task: Task) -> None:
        """It has ended."""
        del self.tasks[task.number]
        if not task.io:
            self.cpu_tasks -= 1
        if task.choice:
            self.placing.choices.forget(task)

    # -- time

    def next_deadline(self) -> float | None:
        """When it next wants to hear that time has passed."""
        deadline = self.placing.ahead.next_deadline()
        if self._limits and (deadline is None or self._limits[0][0] < deadline):
            deadline = self._limits[0][0]
        return deadline

    def time_passed(self, now: float) -> None:
        self.placing.ahead.time_passed(now)
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
        waiting = [task for queue in self.placing.queues() for task in queue]
        for holder in places.holders():
            waiting += holder.queue
            waiting += holder.io_queue
        for number in waiting:
            task = tasks[number]
            assert not task.server, f"task {number} waits and is at a server"
            assert not task.cancelled, f"task {number} waits, and is to end"
            assert not (task.recalling or task.hangs_at), f"task {number} waits, and keeps something of an earlier run"
            where = self.placing.queue_of(task)
            assert where is not None
            assert number in where, f"task {number} waits elsewhere than where it is looked for"
        assert len(set(waiting)) == len(waiting), "a task waits twice"
        assert not self.unjudged.keys() & set(waiting)
        assert all(not tasks[number].server for number in self.unjudged)
        soon = sum(bool(process.task) for process in self.placing.processes.by_number.values())
        assert sent + len(waiting) + soon + len(self.unjudged) == len(tasks), "a task is nowhere"
        self.placing.check()
        assert self.cpu_tasks == sum(not task.io for task in tasks.values())
