"""The dashboard's model, shared by the threads that tell it something and those that serve viewers."""

from __future__ import annotations

import time

from parkcos.httpd import records as r
from parkcos.httpd.model import Model
from parkcos.web import board


class Board(board.Board[Model]):
    """One for each dashboard.  Every call in any thread."""

    def tell(self, *events: r.Event) -> None:
        """What has happened; viewers learn at once that the client, or the scheduler, is in another state."""
        state = self.model.state
        super().tell(*events)
        if self.model.state != state:
            self.urgent()

    def tick(self) -> None:
        """Another point for the charts."""
        self.refresh()
        with self.lock:
            self.model.point(time.time())

    def state(self) -> r.State:
        """The state itself."""
        self.refresh()
        return self.look(lambda model: model.snapshot(time.time()))
