"""Hints: where others say that a process is.  Each leads to a dial; so many do at once, and the others wait.

Whoever may announce may make things up, and a dial into nothing takes its time.  So no source of hints has all the
places, and those of all sources have their turns.  What finds no room is forgotten: honest processes announce
themselves again and again.  I/O thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from parkcos.net.finding.datagram import Announce
from parkcos.net.session.peer import CONNECTING, Peer

DIALS_MAX = 64
DIALS_OF_ONE_MAX = 32
WAITING_OF_ONE_MAX = 256
SOURCES_MAX = 16
"""Of hints that wait."""


class Hints:
    """dial: begins to dial whom a hint names; gives it, None if there is nothing to dial.  Both get its source, too."""

    def __init__(self, dial: Callable[[Announce, str], Peer | None]) -> None:
        self._dial = dial
        self._dialled: dict[Peer, str] = {}
        """The processes that are being dialled, each with the source of its hint."""
        self._waiting: dict[str, dict[int, Announce]] = {}
        """By source, the one whose turn it is first, and incarnation."""

    def add(self, announce: Announce, source: str) -> None:
        """Dial whom it names, now or as soon as there is room."""
        if self._has_room(source):
            self._begin(announce, source)
            return
        waiting = self._waiting.get(source, {})
        if announce.incarnation in waiting or len(waiting) < WAITING_OF_ONE_MAX:
            if source not in self._waiting and len(self._waiting) >= SOURCES_MAX:
                return
            waiting[announce.incarnation] = announce
            self._waiting[source] = waiting

    def go_on(self) -> None:
        """A dial has ended, whoever wanted it."""
        for source in list(self._waiting):
            while source in self._waiting and self._has_room(source):
                waiting = self._waiting.pop(source)
                self._begin(waiting.pop(next(iter(waiting))), source)
                if waiting:
                    self._waiting[source] = waiting  # behind the others
                    break

    def _has_room(self, source: str) -> bool:
        self._dialled = {peer: whose for peer, whose in self._dialled.items() if peer.state is CONNECTING}
        of_source = Counter(self._dialled.values())[source]
        return len(self._dialled) < DIALS_MAX and of_source < DIALS_OF_ONE_MAX

    def _begin(self, announce: Announce, source: str) -> None:
        peer = self._dial(announce, source)
        if peer is not None and peer.state is CONNECTING:
            self._dialled[peer] = source
