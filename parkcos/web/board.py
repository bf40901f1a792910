"""A model that threads share: whoever watches something tells it, whoever serves viewers asks it.

Its lock is held for a moment only; what is given out is written as JSON without it.  A record that changes meanwhile
is written as it is then, and is sent again with the next changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from parkcos.web.answers import encode


class Model(Protocol):
    """What has revisions: each change makes the next one.

    epoch: a text that no other run of a program has; revisions of different ones do not compare.
    poll_s: seconds between two looks of its viewers.
    """

    epoch: str
    revision: int
    poll_s: float

    def handle(self, event: Any, now: float) -> None:
        """Take a fact.  now: seconds since the epoch."""

    def snapshot(self, now: float) -> Any:
        """Everything, as something that msgspec writes."""

    def changes(self, since: int, now: float) -> Any:
        """What has changed after the revision `since`, likewise; None if that is not known any more."""


M = TypeVar("M", bound=Model)
T = TypeVar("T")


class Board(Generic[M]):
    """One for each model.  Every call in any thread."""

    def __init__(self, model: M) -> None:
        self.model = model
        self.lock = threading.Lock()
        self.urgent: Callable[[], object] = lambda: None
        """Called, in any thread, when viewers should not wait for the next poll."""
        self.refresh: Callable[[], object] = lambda: None
        """Called before something is given out: tells what changes without being told."""
        self.watched: Callable[[], object] = lambda: None
        """Called at each poll, and at the first look, while somebody watches."""
        self._snapshot: tuple[int, bytes] = (0, b"")

    def tell(self, *events: Any) -> None:
        """What has happened."""
        now = time.time()
        with self.lock:
            for event in events:
                self.model.handle(event, now)

    def tick(self) -> None:
        """`poll_s` have passed, whether anybody looks or not."""

    def snapshot(self) -> tuple[int, bytes]:
        """The revision, and the state as JSON; the same for all who ask before something changes."""
        self.refresh()
        revision, known = self._snapshot
        if revision == self.model.revision:
            return revision, known
        with self.lock:
            revision, state = self.model.revision, self.model.snapshot(time.time())
        self._snapshot = revision, encode(state)
        return self._snapshot

    def changes(self, since: int) -> tuple[int, bytes] | None:
        """The revision, and what has changed since as JSON; None if that is not known any more."""
        self.refresh()
        with self.lock:
            revision, changes = self.model.revision, self.model.changes(since, time.time())
        return None if changes is None else (revision, encode(changes))

    def look(self, get: Callable[[M], T]) -> T:
        """What `get` finds in the model."""
        with self.lock:
            return get(self.model)
