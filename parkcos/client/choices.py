"""Tasks that may run only where a function of the program accepts the server: a part of the dispatch machine.

The function itself is called by the shell, once for each server; the machine knows which servers each accepts.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from parkcos.client.backlog import Backlog
from parkcos.client.places import Places
from parkcos.client.records import OPEN, Task


class Choice(msgspec.Struct):
    """servers: those that were accepted and have not ended.  tasks: how many there are that have not ended."""

    queue: Backlog = msgspec.field(default_factory=Backlog)
    io_queue: Backlog = msgspec.field(default_factory=Backlog)
    servers: dict[int, None] = {}
    tasks: int = 0


class Choices:
    """By number; each is forgotten with its last task."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.by_number: dict[int, Choice] = {}

    def add(self, task: Task) -> None:
        """It was submitted."""
        self.by_number.setdefault(task.choice, Choice()).tasks += 1

    def forget(self, task: Task) -> None:
        """It has ended."""
        choice = self.by_number[task.choice]
        choice.tasks -= 1
        if not choice.tasks:
            del self.by_number[task.choice]

    def queue_of(self, task: Task) -> Backlog:
        """Where it waits."""
        choice = self.by_number[task.choice]
        return choice.io_queue if task.io else choice.queue

    def place_for(self, task: Task) -> int | None:
        """Where it may go now: to an idle server of the least loaded node; an I/O task, to that with the fewest."""
        servers, nodes = self.places.servers, self.places.nodes
        found: tuple[float, int] | None = None
        for number in self.by_number[task.choice].servers:
            server = servers[number]
            if server.state != OPEN or ((server.cpu or server.lent) and not task.io):
                continue
            node = nodes[server.node]
            load = len(server.io) if task.io else 1 - len(node.idle) / len(node.servers) + node.foreign
            if found is None or load < found[0]:
                found = load, number
        return None if found is None else found[1]

    def accepting(self, server: int) -> Iterator[Choice]:
        """Those by which tasks may run at this server."""
        return (choice for choice in self.by_number.values() if server in choice.servers)

    def server_has_ended(self, number: int) -> None:
        for choice in self.by_number.values():
            choice.servers.pop(number, None)

    def queues(self) -> list[Backlog]:
        """All in which tasks wait."""
        return [queue for choice in self.by_number.values() for queue in (choice.queue, choice.io_queue)]

    def unmet(self) -> int:
        """How many tasks wait for servers of which none is there."""
        servers = self.places.servers
        return sum(
            len(choice.queue) + len(choice.io_queue)
            for choice in self.by_number.values()
            if not any(servers[number].state == OPEN for number in choice.servers)
        )
