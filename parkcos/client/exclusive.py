"""Spaces with processes of their own, and the tasks in them: a part of the dispatch machine.

A node keeps more processes then than it runs CPU tasks at once: a process of a space that is given a CPU task has the
*slot* of a server lent, which begins nothing else until that process has no CPU task left.  Processes are asked for as
tasks wait for them, stay for the tasks to come, and give way to others when a node may have no more, or is short of
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from parkcos.client import dispatch_events as d
from parkcos.client.ahead import has_room
from parkcos.client.backlog import Backlog
from parkcos.client.places import Places
from parkcos.client.processes import Processes
from parkcos.client.records import CLOSING, ENDING, OPEN, OWN, Node, Server, Task

EARLY_ENDS_MAX = 3
"""When so many processes of a space have ended in server_setup at a node, one after the other, the next one would,
too."""


class Lines(msgspec.Struct):
    """What waits in a space, at any node (0) or at one."""

    cpu: dict[int, Backlog] = {}
    io: dict[int, Backlog] = {}


class Exclusive:
    """By number.

    Args:
        send: sends a task to a process.
        fill: gives a server what it has room for.
    """

    def __init__(
        self,
        places: Places,
        tasks: dict[int, Task],
        processes: Processes,
        order: Callable[[d.Effect], None],
        send: Callable[[int, int, float], None],
        fill: Callable[[int, float], None],
    ) -> None:
        self.places = places
        self.nodes = places.nodes
        self.servers = places.servers
        self.tasks = tasks
        self.processes = processes
        self.order = order
        self._send = send
        self._fill = fill
        self.spaces: dict[int, Lines] = {}
        """Those that have had tasks, and were not dropped."""

    # -- what waits

    def add(self, task: Task, now: float) -> str:
        """It waits for a process of its space, or is sent to one.  Returns: why it never will be, or ""."""
        if why_never := self.why_never(task):
            return why_never
        self.spaces.setdefault(task.exclusive, Lines())
        queue = self.queue_of(task)
        assert queue is not None
        queue.add(task.number, task.priority)
        self.serve(now)
        return ""

    def queue_of(self, task: Task) -> Backlog | None:
        """Where it waits; None: it cannot have a process."""
        lines = self.spaces.get(task.exclusive)
        if lines is None or (task.want_node and task.want_node not in self.nodes):
            return None
        return (lines.io if task.io else lines.cpu).setdefault(task.want_node, Backlog())

    def why_never(self, task: Task) -> str:
        """Why no process of its space will be where it must be; "" if one may."""
        if task.want_server:
            return "tasks of a space with processes of its own run at a node, and not at a server"
        if not task.want_node:
            return self.why_nowhere(task.exclusive)
        node = self.nodes.get(task.want_node)
        if node is None:
            return "that node is not used by this client"
        return self._why_not_at(node, task.exclusive)

    def why_nowhere(self, space: int) -> str:
        """Why it cannot be opened at any node that there is; "" if it can at one, or may be at those to come."""
        reasons = [node.spaces.get(space, "") for node in self.nodes.values()]
        return f"its space cannot be opened: {reasons[0]}" if reasons and all(reasons) else ""

    def _why_not_at(self, node: Node, space: int) -> str:
        if not node.info.own_max:
            return "that node starts no processes beside its servers (--own_max 0)"
        if node.state == CLOSING and not node.restart:
            return "that node is being closed"
        if not node.has_servers:
            return "no server is left at that node"
        failed = node.spaces.get(space, "")
        return f"its space cannot be opened there: {failed}" if failed else ""

    def queues(self) -> Iterator[Backlog]:
        """All in which tasks wait."""
        for lines in self.spaces.values():
            yield from lines.cpu.values()
            yield from lines.io.values()

    @property
    def waits(self) -> bool:
        """Whether a task waits for a process, or for the slot of a server."""
        return any(self.queues())

    # -- who gets what

    def serve(self, now: float) -> None:
        """Give processes what they can do now, and ask for those that are missing."""
        for number, lines in self.spaces.items():
            if any(lines.io.values()):
                self._send_io(number, lines, now)
            if any(lines.cpu.values()):
                for process in self._idle(number):
                    slot = next(iter(self.nodes[self.servers[process].node].idle), 0)
                    if slot and self.next_queue(number, self.servers[process].node):
                        self.lend(slot, process, now)
            while (at := self._node_for(number, lines, now)) is not None:
                self._start(number, at)
        if self.waits or self.processes.waits:
            self._make_room(now)

    def _send_io(self, number: int, lines: Lines, now: float) -> None:
        """I/O tasks go to that process with the fewest of them, and need no slot."""
        ready = [each for each in self._ready(number) if not self.nodes[self.servers[each].node].holds]
        for at, queue in lines.io.items():
            here = [each for each in ready if at in (0, self.servers[each].node)]
            while queue and here:
                self._send(queue.pop(), min(here, key=lambda each: len(self.servers[each].io)), now)

    def next_queue(self, space: int, node: int) -> Backlog | None:
        """Where the next CPU task for a process at this node waits: the higher priority first, then for this node."""
        lines = self.spaces[space].cpu
        here, anywhere = lines.get(node), lines.get(0)
        if not here:
            return anywhere or None
        return anywhere if anywhere and anywhere.priority > here.priority else here

    def best_at(self, node: int) -> tuple[Backlog, int] | None:
        """The queue whose first task should begin next in a process at this node that has nothing to do, and that."""
        best: tuple[int, int, Backlog, int] | None = None
        for space, lines in self.spaces.items():
            if not any(lines.cpu.values()):
                continue
            for process in self._idle(space):
                queue = self.next_queue(space, node) if self.servers[process].node == node else None
                if queue:
                    rank = -queue.priority, next(iter(queue))
                    if best is None or rank < best[:2]:
                        best = *rank, queue, process
        return None if best is None else best[2:]

    def without_slot(self, node: int) -> int:
        """A process there that runs CPU tasks, and whose slot has gone with its server; 0: there is none."""
        for number in self.nodes[node].own_servers:
            server = self.servers[number]
            if server.space and server.cpu and not server.slot:
                return number
        return 0

    def lend(self, slot: int, process: int, now: float) -> None:
        """A process has the slot of this server until it has no CPU task left."""
        self.servers[slot].lent, self.servers[process].slot = process, slot
        self.places.is_busy(slot, self.servers[slot])
        self.fill(process, now)

    def fill(self, number: int, now: float) -> None:
        """Give a process with a slot what it has room for; without a task, it gives the slot back."""
        server = self.servers[number]
        slot = self.servers.get(server.slot)
        if slot is None:
            return
        while slot.state == OPEN and (not server.cpu or has_room(server)):
            queue = self.next_queue(server.space, server.node) if server.state == OWN else None
            if not queue:
                break
            self._send(queue.pop(), number, now)
        if not server.cpu:
            self.return_slot(server, now)

    def has_less(self, number: int, now: float) -> None:
        """A CPU task has left this process.  Without another the slot is open to whatever comes first."""
        server = self.servers[number]
        if server.cpu:
            self.fill(number, now)
            return
        self.return_slot(server, now)
        if self.processes.waits or self.waits:
            self.serve(now)

    def has_ended(self, server: Server, now: float) -> None:
        """A server, or a process of a space, is no more."""
        if (process := self.servers.get(server.lent)) is not None:
            process.slot = 0  # it goes on, and has the next one that is free
            if (node := self.nodes.get(process.node)) is not None and node.idle:
                self.lend(next(iter(node.idle)), server.lent, now)
        self.return_slot(server, now)

    def return_slot(self, server: Server, now: float) -> None:
        """It needs none any more."""
        slot, server.slot = server.slot, 0
        if (lender := self.servers.get(slot)) is not None:
            lender.lent = 0
            self._fill(slot, now)

    def _ready(self, space: int) -> list[int]:
        """Its processes that have passed server_setup."""
        return [
            process.server
            for process in self.processes.of_space(space)
            if process.server in self.servers and self.servers[process.server].state == OWN
        ]

    def _idle(self, space: int) -> list[int]:
        return [each for each in self._ready(space) if not (self.servers[each].cpu or self.servers[each].slot)]

    # -- which processes there are

    def _node_for(self, space: int, lines: Lines, now: float) -> int | None:
        """Where a process is missing and may be asked for: where there are the fewest of them."""
        found: tuple[int, int] | None = None
        if not any((*lines.cpu.values(), *lines.io.values())):
            return None
        at_nodes = self._count(space)
        for number, node in self.nodes.items():
            count, _ = at_nodes.get(number, (0, 0))
            missing = self._is_missing(number, node, space, lines, at_nodes)
            if missing and (found is None or count < found[0]) and self.processes.free_places(number, node, now):
                found = count, number
        return None if found is None else found[1]

    def _is_missing(
        self, number: int, node: Node, space: int, lines: Lines, at_nodes: dict[int, tuple[int, int]]
    ) -> bool:
        """Whether more tasks wait than will have a process, or than will have one beside an idle server."""
        count, coming = at_nodes.get(number, (0, 0))
        if count >= node.left or self._why_not_at(node, space):
            return False
        anywhere = _length(lines, 0)
        if _length(lines, number) > coming or anywhere > sum(coming for _, coming in at_nodes.values()):
            return True
        beside_idle = sum(min(coming, len(self.nodes[at].idle)) for at, (_, coming) in at_nodes.items())
        return len(node.idle) > coming and anywhere > beside_idle

    def _count(self, space: int) -> dict[int, tuple[int, int]]:
        """By node: how many processes the space has there, and how many of them can take a task at once, or soon."""
        counts: dict[int, tuple[int, int]] = {}
        for process in self.processes.of_space(space):
            server = self.servers.get(process.server)
            if server is not None and server.state == ENDING:
                continue
            all_of_them, coming = counts.get(process.node, (0, 0))
            held = bool(self.nodes[process.node].holds)
            free = not held and (server is None or server.state != OWN or not (server.cpu or server.slot))
            counts[process.node] = all_of_them + 1, coming + free
        return counts

    def _start(self, space: int, at: int) -> None:
        node = self.nodes[at]
        if space not in node.spaces:
            if sum(not failed for failed in node.spaces.values()) >= node.info.own_max:
                unused = [each for each, failed in node.spaces.items() if not (failed or self._is_used_at(at, each))]
                for each in unused:
                    self._forget_at(at, each)
            node.spaces[space] = ""
            self.order(d.OpenSpace(at, space))
        self.processes.start(at, space=space)

    def _make_room(self, now: float) -> None:
        """Where processes wait to be started and there is no place for them: end one that has nothing to do."""
        for number, node in self.nodes.items():
            if self.processes.free_places(number, node) or not self._is_wanted(number, node):
                continue
            beside = [self.servers[each] for each in node.own_servers]
            if any(server.state == ENDING for server in beside):
                continue  # a place is about to be free
            self.end_idle(number)

    def _is_wanted(self, number: int, node: Node) -> bool:
        """Whether a process would be asked for there, if there were a place."""
        if self.processes.wants(number):
            return True
        return any(
            self._is_missing(number, node, space, lines, self._count(space))
            for space, lines in self.spaces.items()
            if any((*lines.cpu.values(), *lines.io.values()))
        )

    def end_idle(self, node: int) -> None:
        """End one process there that has nothing to do; none if each has."""
        for process in list(self.processes.by_number.values()):
            server = self.servers.get(process.server)
            if server is None or process.node != node or not server.space:
                continue
            if server.state == OWN and not (server.cpu or server.io or server.slot):
                self.processes.end(server.own, terminate=False)
                if not self._is_used_at(node, server.space):
                    self._forget_at(node, server.space)  # what it is forked from takes room, too
                return

    def _is_used_at(self, number: int, space: int) -> bool:
        """Whether it has processes at this node, or will have."""
        return any(process.node == number for process in self.processes.of_space(space))

    def _forget_at(self, number: int, space: int) -> None:
        """Nothing of it is at this node now, if it ever was."""
        if self.nodes[number].spaces.pop(space, None) is not None:
            self.order(d.CloseSpace(number, space))

    # -- what becomes of them

    def is_ready(self, number: int, server: Server, now: float) -> None:
        """A process has passed server_setup."""
        server.state = OWN
        self.nodes[server.node].space_ends.pop(server.space, None)
        self.serve(now)

    def ended_early(self, node_number: int, space: int, reason: str) -> list[int]:
        """A process ended before it was ready, most likely by what server_setup did.

        Returns: the tasks that are left without a place where they may run, if it was not the first.
        """
        node = self.nodes.get(node_number)
        if node is None:
            return []
        node.space_ends[space] = node.space_ends.get(space, 0) + 1
        if node.space_ends[space] < EARLY_ENDS_MAX:
            return []
        return self._fails(node_number, node, space, f"a process of it ended before it was ready: {reason}")

    def refused(self, event: d.OwnIsRefused, space: int) -> list[int]:
        """A node does not start a process.  Returns: the tasks that are left without a place where they may run."""
        node = self.nodes[event.node]
        if not event.setup:
            if not self._is_used_at(event.node, space):
                self._forget_at(event.node, space)  # it may not have the space any more
            self.end_idle(event.node)  # it may be short of memory
            return []
        return self._fails(event.node, node, space, event.reason)

    def _fails(self, number: int, node: Node, space: int, reason: str) -> list[int]:
        """It cannot be opened there."""
        node.spaces[space] = reason
        lines = self.spaces.get(space)
        if lines is None:
            return []
        nowhere = [number, 0] if self.why_nowhere(space) else [number]
        return [task for each in (lines.cpu, lines.io) for at in nowhere if at in each for task in each[at].drain()]

    def drop(self, event: d.SpaceDropped) -> None:
        """Its tasks were told to end; its processes end."""
        for own in [own for own, process in self.processes.by_number.items() if process.space == event.space]:
            self.processes.end(own, terminate=True)
        for number in self.nodes:
            self._forget_at(number, event.space)
        self.spaces.pop(event.space, None)

    def forget_node(self, number: int) -> list[int]:
        """It is not used any more.  Returns: the tasks that can only run there."""
        lines = [line for each in self.spaces.values() for line in (each.cpu, each.io)]
        return [task for line in lines for task in line.pop(number, Backlog()).drain()]

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        for number, server in self.servers.items():
            if server.lent and (process := self.servers.get(server.lent)) is not None:
                assert process.slot == number, f"server {number} has lent its slot to one that does not have it"
                assert not server.cpu, f"server {number} has lent its slot, and runs a task"
            if server.space:
                node = self.nodes.get(server.node)
                wasted = server.cpu and not server.slot and server.state == OWN and node is not None and node.idle
                assert not wasted, f"process {number} computes without a slot, and one is free"
        for space, lines in self.spaces.items():
            for process_number in self._idle(space):
                at = self.servers[process_number].node
                idle = self.nodes[at].idle and self.next_queue(space, at)
                assert not idle, f"tasks of space {space} wait, and process {process_number} has nothing to do"
            if any(lines.io.values()):
                free = [each for each in self._ready(space) if not self.nodes[self.servers[each].node].holds]
                assert not any(
                    queue for at, queue in lines.io.items() for each in free if at in (0, self.servers[each].node)
                ), "an I/O task waits beside a process"


def _length(lines: Lines, node: int) -> int:
    """How many tasks wait for this node, or (0) for any.  I/O tasks need one process, however many they are."""
    cpu, io = lines.cpu.get(node), lines.io.get(node)
    return (len(cpu) if cpu else 0) + bool(io)
