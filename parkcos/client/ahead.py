"""Tasks that are sent ahead, behind the one that a server runs, and taken back: a part of the dispatch machine.

A server that runs short tasks need not wait for the network between two of them then.  When another has nothing to do,
or the running one takes long, the others are recalled.
"""

from __future__ import annotations

from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client.places import Places
from parkcos.client.records import OPEN, OWN, Server, Task

AHEAD_S = 0.002
"""The work that may wait at a server, that of the running task included."""
AHEAD_MAX = 32
"""Tasks that may wait there behind the running one."""
STEAL_AFTER_S = 0.005
"""Seconds that a task may run before what waits behind it is recalled, if another server is idle."""
STUCK_AFTER_S = 0.1
"""The same if none is: others will have their turn there sooner than behind this one."""


def has_room(server: Server) -> bool:
    """Whether another CPU task may be sent there behind those that it has."""
    return server.load_s < AHEAD_S and len(server.cpu) <= AHEAD_MAX


class Ahead:
    """tasks: all that there are."""

    def __init__(self, places: Places, tasks: dict[int, Task], order: Callable[[d.Effect], None]) -> None:
        self.places = places
        self.tasks = tasks
        self.order = order
        self.servers: dict[int, None] = {}
        """Those with more than one CPU task."""
        self._steal_at: float | None = None

    def has_more(self, at: int, now: float) -> None:
        """A server has a second CPU task."""
        self.servers[at] = None
        if self._steal_at is None:
            self._steal_at = now + STUCK_AFTER_S

    def one_is_idle(self, now: float) -> None:
        """A server has nothing to do."""
        if self.servers and (self._steal_at is None or self._steal_at > now + STEAL_AFTER_S):
            self._steal_at = now + STEAL_AFTER_S

    def recall(self, number: int, server: Server) -> None:
        """Ask for what it has not begun: others may run it, or it waits for this one."""
        server.recalled = len(server.cpu) > 1
        for task in list(server.cpu)[1:]:
            record = self.tasks[task]
            if not record.recalling:
                record.recalling = True
                self.order(d.Recall(task, number))

    def next_deadline(self) -> float | None:
        """When it next wants to hear that time has passed."""
        return self._steal_at if self.servers else None

    def time_passed(self, now: float) -> None:
        if self._steal_at is not None and self._steal_at <= now:
            self._steal_at = None
            self._steal(now)

    def _steal(self, now: float) -> None:
        """Ask servers that do not get on for what they have not begun: for those that are idle, or will be sooner."""
        recalled = 0
        patience_s = STEAL_AFTER_S if self.places.idle else STUCK_AFTER_S
        for number in self.servers:
            server = self.places.servers[number]
            if server.recalled or server.state not in (OPEN, OWN):
                continue
            if server.head_since + patience_s > now:
                self._steal_at = now + patience_s
                continue
            server.recalled = True
            head = self.tasks[next(iter(server.cpu))]
            longer_s = max(0.0, now - server.head_since - head.expected_s)
            head.expected_s += longer_s
            server.load_s += longer_s
            for task in list(server.cpu)[1:]:
                record = self.tasks[task]
                if not (record.want_server or record.want_node or record.recalling):
                    record.recalling = True
                    recalled += 1
                    self.order(d.Recall(task, number))
            if self.places.idle and recalled >= self.places.idle:
                break

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        for number, server in self.places.servers.items():
            assert (len(server.cpu) > 1) == (number in self.servers), f"server {number} is wrongly known to have more"
