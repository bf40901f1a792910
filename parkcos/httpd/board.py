"""A model that threads share: whoever watches tells it, whoever serves viewers asks it.

Its lock is held for a moment only; what is given out is written as JSON without it.  A record that changes meanwhile
is written as it is then, and is sent again with the next changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from parkcos.httpd import records as r
from parkcos.httpd.model import Model

encode = msgspec.json.Encoder().encode


class Board:
    """One for each dashboard.  Every call in any thread."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.lock = threading.Lock()
        self.urgent: Callable[[], object] = lambda: None
        """Called, in any thread, when viewers should not wait for the next poll."""
        self.refresh: Callable[[], object] = lambda: None
        """Called before something is given out: tells what changes without being told."""
        self.watched: Callable[[], object] = lambda: None
        """Called at each poll, and at the first look, while somebody watches."""
        self._snapshot: tuple[int, bytes] = (0, b"")

    def tell(self, *events: r.Event) -> None:
        """What has happened."""
        now = time.time()
        state = self.model.state
        with self.lock:
            for event in events:
                self.model.handle(event, now)
        if self.model.state != state:
            self.urgent()

    def point(self) -> None:
        """Another point for the charts."""
        self.refresh()
        with self.lock:
            self.model.point(time.time())

    def snapshot(self) -> tuple[int, bytes]:
        """The revision, and the state as JSON; the same for all who ask before something changes."""
        self.refresh()
        revision, known = self._snapshot
        if revision == self.model.revision:
            return revision, known
        with self.lock:
            state = self.model.snapshot(time.time())
        self._snapshot = state.revision, encode(state)
        return self._snapshot

    def state(self) -> r.State:
        """The state itself."""
        self.refresh()
        with self.lock:
            return self.model.snapshot(time.time())

    def changes(self, since: int) -> tuple[int, bytes] | None:
        """The revision, and what has changed since as JSON; None if that is not known any more."""
        self.refresh()
        with self.lock:
            changes = self.model.changes(since, time.time())
        return None if changes is None else (changes.revision, encode(changes))

    def look(self, get: Callable[[Model], Any]) -> Any:
        """What `get` finds in the model."""
        with self.lock:
            return get(self.model)
