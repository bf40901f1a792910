"""Which shared objects of a client are at a node, which are on their way, and which tasks wait for them.  Pure.

The client alone decides what is kept there: as much as the bound allows, and where another object needs the room, what
no task there needs and was used the longest time ago goes first.  Tasks get their objects in the order in which they
came; while one waits for room, which others have to leave, those behind it wait, too, so that its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

BYTES_MAX = 4 << 30


class Send(msgspec.Struct, frozen=True):
    """Send this object to the node."""

    digest: str


class Drop(msgspec.Struct, frozen=True):
    """Have the node keep these no longer."""

    digests: list[str]


class Release(msgspec.Struct, frozen=True):
    """Let a task begin.  reason: why it cannot, for what it needs is not there.  failed: the digest of that."""

    task: int
    reason: str = ""
    failed: str = ""


Order = Send | Drop | Release


class Shelf:
    """What one node has, from one setup to the next.

    Args:
        bytes_max: of the objects that are there and on their way.
        tasks: gives the tasks that are at the node, those that wait included, each with the digests that it needs.
    """

    def __init__(self, bytes_max: int, tasks: Callable[[], Iterable[tuple[int, Collection[str]]]]) -> None:
        self.bytes_max = bytes_max
        self._tasks = tasks
        self._there: dict[str, int] = {}
        """Their bytes; what was used last comes last."""
        self._coming: dict[str, int] = {}
        self._waiting: dict[int, Mapping[str, int]] = {}
        """What tasks need that were not released."""
        self.blocked = False
        """A task waits for others to leave, which `room` is told of."""

    @property
    def bytes(self) -> int:
        """Of all that is there or on its way."""
        return sum(self._there.values()) + sum(self._coming.values())

    def check(self) -> None:
        """The invariants; for tests."""
        assert self.bytes <= self.bytes_max
        assert not self._there.keys() & self._coming.keys()
        for needs in self._waiting.values():
            assert self.blocked or any(digest in self._coming for digest in needs), "a task waits for nothing"

    def ask(self, task: int, needs: Mapping[str, int]) -> list[Order]:
        """A task is to run there.  needs: bytes by digest, at most bytes_max together."""
        self._waiting[task] = needs
        return [] if self.blocked else self._serve([task])

    def arrived(self, digest: str) -> list[Order]:
        """An object is there."""
        self._there[digest] = self._coming.pop(digest)
        return self.room()

    def failed(self, digest: str, reason: str) -> list[Order]:
        """An object could not be sent."""
        del self._coming[digest]
        self._forget_the_gone()
        released: list[Order] = [
            Release(task, reason, digest) for task, needs in self._waiting.items() if digest in needs
        ]
        for each in released:
            assert isinstance(each, Release)
            del self._waiting[each.task]
        return released + self.room()

    def forget(self, task: int) -> bool:
        """A task is not to run there.  Returns: whether it was still waiting; then `room` is to be asked."""
        return self._waiting.pop(task, None) is not None

    def room(self) -> list[Order]:
        """A task may have left."""
        self.blocked = False
        self._forget_the_gone()
        return self._serve(list(self._waiting))

    def _forget_the_gone(self) -> None:
        present = {task for task, _ in self._tasks()}
        self._waiting = {task: needs for task, needs in self._waiting.items() if task in present}

    def _serve(self, tasks: Iterable[int]) -> list[Order]:
        orders: list[Order] = []
        for task in tasks:
            needs = self._waiting[task]
            missing = {digest: size for digest, size in needs.items() if not self._has(digest)}
            if missing:
                dropped = self._make_room(task, sum(missing.values()))
                if dropped is None:
                    self.blocked = True
                    break
                if dropped:
                    orders.append(Drop(dropped))
                self._coming.update(missing)
                orders += map(Send, missing)
            elif self._coming.keys().isdisjoint(needs):
                del self._waiting[task]
                for digest in needs:
                    self._there[digest] = self._there.pop(digest)
                orders.append(Release(task))
        return orders

    def _has(self, digest: str) -> bool:
        return digest in self._there or digest in self._coming

    def _make_room(self, task: int, size: int) -> list[str] | None:
        """What is dropped for a task; None: there is no room until others leave."""
        size -= self.bytes_max - self.bytes
        if size <= 0:
            return []
        needed = {digest for at, digests in self._tasks() if at not in self._waiting for digest in digests}
        for waiting, needs in self._waiting.items():  # this one, and those before it
            needed.update(needs)
            if waiting == task:
                break
        dropped = []
        for digest in self._there:
            if size <= 0:
                break
            if digest not in needed:
                dropped.append(digest)
                size -= self._there[digest]
        if size > 0:
            return None
        for digest in dropped:
            del self._there[digest]
        return dropped
