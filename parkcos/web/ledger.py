"""Which things have changed, and which are gone, since when: a part of the model."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

GONE_MAX = 20_000
"""So many things that are gone are remembered; who has not looked for longer begins anew."""


@dataclass
class Ledger:
    """Revisions only grow.  Every call takes O(1), but `since`, which takes as long as its answer."""

    order: dict[int, int] = field(default_factory=dict)
    """Thing -> the revision of its last change, in this order."""
    gone: deque[tuple[int, int]] = field(default_factory=deque)
    """Revision, thing."""
    forgotten: int = 0
    """What has gone up to this revision may be forgotten."""

    def touch(self, thing: int, revision: int) -> None:
        """It is there, and has changed."""
        self.order.pop(thing, None)
        self.order[thing] = revision

    def drop(self, thing: int, revision: int) -> None:
        """It is not there any more."""
        self.order.pop(thing, None)
        self.gone.append((revision, thing))
        if len(self.gone) > GONE_MAX:
            self.forgotten = self.gone.popleft()[0]

    def since(self, revision: int) -> tuple[list[int], list[int]] | None:
        """What has changed after `revision` and what is gone, in the order of that; None: not known any more."""
        if revision < self.forgotten:
            return None
        changed = []
        for thing, at in reversed(self.order.items()):
            if at <= revision:
                break
            changed.append(thing)
        gone: dict[int, None] = {}
        for at, thing in reversed(self.gone):
            if at <= revision:
                break
            if thing not in self.order:
                gone[thing] = None
        return changed[::-1], list(gone)[::-1]
