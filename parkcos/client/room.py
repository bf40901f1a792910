"""How much a client could begin now, and what waits: for queues that stand above it, and clusters that grow.

Pure: read from the dispatch machine, in time proportional to the number of servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from parkcos.client.ahead import AHEAD_MAX, AHEAD_S
from parkcos.client.backlog import Backlog
from parkcos.client.dispatch import Dispatch
from parkcos.client.placing import Placing
from parkcos.client.records import OPEN, Node, Server
from parkcos.net.location import Location

SHORTEST_S = 1e-5
"""A function counts as taking that long at least."""


@dataclass(frozen=True)
class Places:
    """Of one node.

    now: servers with nothing to do; ahead: tasks that could be sent behind the first ones; own: tasks that could have
    processes of their own.
    """

    now: int = 0
    ahead: int = 0
    own: int = 0


@dataclass(frozen=True)
class Room:
    """What could be submitted without waiting in line, for a function of a certain length.

    Attributes:
        now: tasks that would begin at once.
        ahead: tasks that would be sent to a server beside those, to begin within milliseconds.
        own: tasks that would begin at once in processes of their own, beside all these.
        nodes: the same by node, with all nodes that have servers; what waits already may have these places ahead.
    """

    now: int = 0
    ahead: int = 0
    own: int = 0
    nodes: Mapping[Location, Places] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All free places at servers."""
        return self.now + self.ahead


@dataclass(frozen=True)
class Wants:
    """What waits for a server.

    Attributes:
        tasks, io_tasks: those that may run at any server.
        own_tasks: those that may have a process of their own at any node.
        bound: those that must run at one node or server, by that node; those of a server that is unknown by now, none.
        expected_s: how long all CPU tasks that wait are expected to take together, each function as it did until now,
            a second each where it is not known.
        servers: how many the client has that are given tasks.
    """

    tasks: int = 0
    io_tasks: int = 0
    own_tasks: int = 0
    bound: Mapping[Location, int] = field(default_factory=dict)
    expected_s: float = 0.0
    servers: int = 0


def room(machine: Dispatch, kind: str = "") -> Room:
    """For a function by the name under which its length is estimated."""
    expected_s = max(SHORTEST_S, machine.queue.estimates.of(kind))
    nodes: dict[Location, Places] = {}
    all_now = all_places = all_own = 0
    for node_number, node in machine.nodes.items():
        now = total = 0
        own = machine.queue.processes.free_places(node_number, node)
        for number in node.servers:
            server = machine.servers[number]
            if server.state == OPEN:
                now += not (server.cpu or server.lent)
                total += _free_places(server, expected_s)
        if node.servers or own:
            nodes[Location(node.info.addr, node.info.port)] = Places(now, total - now, own)
        all_own += own
        all_now += now
        all_places += total
    ahead = max(0, all_places - all_now - len(machine.queue.pending))  # what waits will have those places
    return Room(all_now, ahead, all_own, nodes)


def _free_places(server: Server, expected_s: float) -> int:
    """How many tasks of that length `Placing.fill` would send there."""
    free_s = AHEAD_S - server.load_s
    if server.lent:
        return 0
    if server.cpu and free_s <= 0:
        return 0
    by_time = -int(-free_s // expected_s)  # rounded up: the last one may last longer
    return min(max(by_time, not server.cpu), 1 + AHEAD_MAX - len(server.cpu))


def open_servers(machine: Dispatch) -> list[int]:
    """Those that are given tasks."""
    return [number for number, server in machine.servers.items() if server.state == OPEN]


def kept_busy_by(machine: Dispatch, kind: str) -> int:
    """How many tasks of this function keep a server busy while what follows them is on its way."""
    return min(2 * (1 + AHEAD_MAX), int(2 * AHEAD_S / max(SHORTEST_S, machine.queue.estimates.of(kind))))


def wants(machine: Dispatch) -> Wants:
    """What waits now."""
    queue = machine.queue
    bound: dict[Location, int] = {}
    own = queue.processes
    chosen = list(queue.choices.by_number.values())
    waiting = [*queue.pending, *own.pending, *(task for choice in chosen for task in choice.queue)]
    beside = list(queue.exclusive.spaces.values())
    for lines in beside:
        waiting += [task for line in lines.cpu.values() for task in line]
    for node_number, node in machine.nodes.items():
        location = Location(node.info.addr, node.info.port)
        if own_here := own.at_node.get(node_number):
            waiting += own_here
            bound[location] = bound.get(location, 0) + len(own_here)
        for line in (line[node_number] for lines in beside for line in (lines.cpu, lines.io) if node_number in line):
            bound[location] = bound.get(location, 0) + len(line)
        holders: list[Node | Server] = [node, *(machine.servers[number] for number in node.servers)]
        for holder in holders:
            waiting += holder.queue
            if count := len(holder.queue) + len(holder.io_queue):
                bound[location] = bound.get(location, 0) + count
    return Wants(
        len(queue.pending) + sum(len(each) for each in _anywhere(queue, io=False)),
        len(queue.io_pending) + sum(len(each) for each in _anywhere(queue, io=True)),
        len(own.pending),
        bound,
        sum(queue.estimates.of(machine.tasks[number].kind) for number in waiting),
        sum(server.state == OPEN for server in machine.servers.values()),
    )


def _anywhere(queue: Placing, io: bool) -> list[Backlog]:
    """The lines of tasks that are bound to no node, but to a choice or a space."""
    chosen = [choice.io_queue if io else choice.queue for choice in queue.choices.by_number.values()]
    lines = [lines.io if io else lines.cpu for lines in queue.exclusive.spaces.values()]
    return [*chosen, *(line[0] for line in lines if 0 in line)]
