"""Who of the tasks is told which processes come and go."""

from __future__ import annotations

import threading

from parkcos.kernel import Kernel, Task
from parkcos.net.location import Location
from parkcos.net.session.peer import Peer


class PeerStatus:
    """A peer came or went: `location`, `name`, `status` (PeerStatus.Online or PeerStatus.Offline)."""

    Online = 1
    Offline = 0

    def __init__(self, location: Location, name: str, status: int) -> None:
        self.location = location
        self.name = name
        self.status = status

    def __repr__(self) -> str:
        return f"PeerStatus({self.location}, {self.name!r}, {'Online' if self.status else 'Offline'})"


class PeerStatuses:
    """The tasks that are told, and what they were told.  Kernel thread, but for `tell`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._tasks: dict[Task, None] = {}
        self._online: dict[Peer, None] = {}

    def tell(self, task: Task | None) -> None:
        """From now on tell `task`, first of all who are there now; None: nobody any more.  Any thread."""
        if threading.get_ident() != self._kernel.ident:
            self._kernel.post(self.tell, task)
            return
        if task is None:
            self._tasks.clear()
            return
        self._tasks[task] = None
        for peer in self._online:
            task.send(PeerStatus(peer.location, peer.name, PeerStatus.Online))

    def changed(self, peer: Peer, status: int) -> None:
        """`peer` has come or gone; that one is gone that was never there is no news."""
        if status == PeerStatus.Online:
            self._online[peer] = None
        elif peer in self._online:
            del self._online[peer]
        else:
            return
        for task in list(self._tasks):
            if task.send(PeerStatus(peer.location, peer.name, status)) < 0:
                del self._tasks[task]
