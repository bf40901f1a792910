"""The book: which processes this one knows, by where they live and by who they are.

A location may be known before it is known who lives there, and a process may have several; so both are kept.  Any
thread may ask and enter; what follows from an entry (dialling, merging, ending) is done by the hub.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence

from parkcos.net.location import Location
from parkcos.net.session.peer import GONE, Peer

GONE_MAX = 1000
"""Of so many processes it is remembered that they have gone; who asks for an older one finds that out by dialling."""


class Book:
    """Who lives where.

    Args:
        make: makes a peer from its location, its incarnation (0: not known) and the number of its session.
    """

    def __init__(self, make: Callable[[Location, int, int], Peer]) -> None:
        self.by_location: dict[Location, Peer] = {}
        self.by_incarnation: dict[int, Peer] = {}
        self._make = make
        self._sessions = itertools.count(1)
        self._lock = threading.Lock()
        """Held while something is entered, or all are looked through."""
        self._gone: deque[int] = deque()
        """The incarnations of those that have gone, the latest last."""

    def new_peer(self, location: Location, incarnation: int) -> Peer:
        """A process that was not known; it is not entered yet."""
        return self._make(location, incarnation, next(self._sessions))

    def peers(self) -> list[Peer]:
        """Everyone who is not gone, in the order in which they were met."""
        with self._lock:
            seen = {id(p): p for p in (*self.by_location.values(), *self.by_incarnation.values())}
        return [p for p in seen.values() if p.state is not GONE]

    def find(
        self, location: Location, incarnation: int, addresses: Sequence[Location], anew: bool = False
    ) -> tuple[Peer | None, bool]:
        """As `Hub.peer_at`.  Returns: the process, None if it is known to be gone, and whether it is new here."""
        # It is remembered that a process has gone; at its location there may be another one.
        lasting = bool(incarnation) and not anew
        peer = self.by_incarnation.get(incarnation) if incarnation else self.by_location.get(location)
        if peer is not None and ((there := _there(peer)) is not None or lasting):
            return there, False
        with self._lock:
            peer = self.by_incarnation.get(incarnation) if incarnation else None
            if peer is not None and ((there := _there(peer)) is not None or lasting):  # it came in meanwhile
                return there, False
            peer = self.by_location.get(location)
            there = _there(peer) if peer is not None else None
            # Another one may have been there before, be there since, or have this address in a network behind NAT: who
            # is there is seen when it is dialled.
            if there is not None and (not incarnation or there.incarnation in (0, incarnation)):
                if incarnation:
                    # It was dialled before anybody knew who lives there; now whoever asks for this process finds it.
                    there.incarnation = incarnation
                    self.by_incarnation[incarnation] = there
                return there, False
            peer = self.new_peer(location, incarnation)
            peer.addresses = tuple(addresses) or (location,)
            if there is None:
                self.by_location[location] = peer
            if incarnation:
                self.by_incarnation[incarnation] = peer
            return peer, True

    def recognise(self, peer: Peer, incarnation: int) -> Peer | None:
        """Enter that `peer` is this process.  Returns: who is known as it already, if it is not `peer`."""
        with self._lock:
            known = self.by_incarnation.get(incarnation)
            if known is not None and known is not peer and known.state is not GONE:
                return known
            peer.incarnation = incarnation
            self.by_incarnation[incarnation] = peer
            return None

    def enter(
        self, peer: Peer, incarnation: int, announced: Sequence[Location], proven_at: Location | None
    ) -> tuple[list[Peer], list[tuple[Peer, Location]]]:
        """Enter that `peer` is this process, and lives where it says.

        Args:
            proven_at: where it was reached, or came from, and so does live.
        Returns: those who turn out to be the same process; those who have lived where it was proven to be, and where.
        """
        same: list[Peer] = []
        replaced: list[tuple[Peer, Location]] = []
        with self._lock:
            peer.incarnation = incarnation
            for location in announced:
                there = self.by_location.get(location)
                # That it says so proves nothing: many machines have a bridge of the same address.
                if there is not None and there is not peer and location == proven_at:
                    if there.incarnation in (0, incarnation):
                        same.append(there)
                    elif there.dialable:
                        replaced.append((there, location))
                    there = None
                if there is None:
                    self.by_location[location] = peer
            self.by_incarnation[incarnation] = peer
        return same, replaced

    def replace(self, other: Peer, into: Peer) -> None:
        """Where `other` lives lives `into`: they are the same."""
        with self._lock:
            for location in self._homes(other):
                self.by_location[location] = into

    def strike(self, peer: Peer) -> None:
        """`peer` has gone: nobody lives there any more; for a while it is remembered who it was."""
        with self._lock:
            for location in self._homes(peer):
                del self.by_location[location]
            if self.by_incarnation.get(peer.incarnation) is peer:
                self._gone.append(peer.incarnation)
            while len(self._gone) > GONE_MAX:
                oldest = self.by_incarnation.get(self._gone.popleft())
                if oldest is not None and oldest.state is GONE:
                    del self.by_incarnation[oldest.incarnation]

    def _homes(self, peer: Peer) -> list[Location]:
        return [location for location, there in self.by_location.items() if there is peer]


def _there(peer: Peer) -> Peer | None:
    """The process that this is, or has turned out to be just now; None if that has gone."""
    peer = peer.itself
    return None if peer.state is GONE else peer
