"""What a busy kernel thread leaves undone: the I/O thread does it every few milliseconds, while there is anything."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from parkcos.net.session.lookout import NOBODY
from parkcos.net.session.peer import UP, Peer

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub

TICK_S = 0.005
TICKS_IDLE = 10


class Ticker:
    """One for each hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ticking = False
        self._lock = threading.Lock()
        self._idle_ticks = 0
        self._unacknowledged: deque[Peer] = deque()
        """Peers that have sent something since the last tick."""

    def keep(self) -> None:
        """Tick, until there was nothing to do for a while; any thread."""
        if not self._ticking:
            with self._lock:
                if self._ticking:
                    return
                self._ticking = True
            self._hub.io.call(self._tick)

    def acknowledge(self, peer: Peer) -> None:
        """With the next tick, if nothing else is sent there until then.  The thread that has the lookout."""
        if not peer.heard:
            peer.heard = True
            self._unacknowledged.append(peer)
            self.keep()

    def _tick(self) -> None:
        hub = self._hub
        busy = hub.lookout.patrol() or bool(hub.dirty)
        hub.flush_dirty()
        for _ in range(len(self._unacknowledged)):
            peer = self._unacknowledged.popleft()
            if peer.swamped and peer.state is UP:
                self._unacknowledged.append(peer)
                busy = True
                continue
            peer.heard = False
            if peer.state is UP:
                with peer.lock:
                    due = peer.session.acknowledge()
                if due:
                    busy = True
                    hub.write(peer)
        self._idle_ticks = 0 if busy else self._idle_ticks + 1
        if self._idle_ticks <= TICKS_IDLE and not hub.closed:
            hub.io.loop.call_later(TICK_S, self._tick)
            return
        self._ticking = False
        self._idle_ticks = 0
        # Another thread makes work and then asks whether this ticks; here it is the other way round, so one of the
        # two always sees the other.
        if (hub.lookout.turn is NOBODY or hub.dirty or self._unacknowledged) and not hub.closed:
            self.keep()
