"""Signs of life: each process gives them while it has nothing else to say, and notices who gives none any more."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from parkcos.net.session.peer import DOWN, UP, Peer

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub

logger = logging.getLogger("parkcos")

SILENT_PULSES = 15
"""A process of which nothing was heard for so many pulses is gone; what is cut off for less loses nothing."""
PULSE_MIN_S = 0.05
WATCH_S = 0.25
"""How often it is looked for paths that have fallen silent, while there is traffic."""


class KeepAlive:
    """One for each hub.  I/O thread only."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._pulsing: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to pulse and to watch."""
        self._pulse()
        self._watch()

    def stop(self) -> None:
        """Do neither any more."""
        for handle in (self._pulsing, self._watching):
            if handle is not None:
                handle.cancel()

    def pulse_for(self, peer: Peer, every_s: float) -> None:
        """From now on give `peer` a sign of life after so many seconds of silence, if not more often."""
        if every_s < min(self._hub.pulse_s, peer.pulse_s):
            peer.pulse_s = max(every_s, PULSE_MIN_S)
            if self._pulsing is not None:
                self._pulsing.cancel()
                self._pulse()

    def _pulse(self) -> None:
        hub, now = self._hub, time.monotonic()
        often_s = min([hub.pulse_s, *(peer.pulse_s for peer in hub.peers())])
        self._pulsing = hub.io.loop.call_later(often_s / 4, self._pulse)
        for peer in hub.peers():
            silent_s = now - peer.session.last_heard
            if peer.state is DOWN and now > peer.gone_at:
                hub.end(peer, peer.reason or "its connection was closed, and it did not come back")
            elif peer.state is UP and silent_s > self.patience_s(peer):
                hub.end(peer, f"nothing was heard of it for {silent_s:.0f} s")
            elif peer.state is UP and now - peer.session.last_sent > 0.9 * min(hub.pulse_s, peer.pulse_s):
                with peer.lock:
                    peer.session.pulse()
                hub.write(peer)

    def patience_s(self, peer: Peer) -> float:
        """How long a process may be silent before it counts as gone."""
        return max(SILENT_PULSES * self._hub.pulse_s, peer.patience_s)

    def _watch(self) -> None:
        """Dial anew where nothing is acknowledged any more: a new connection finds a path that has healed sooner."""
        hub, now = self._hub, time.monotonic()
        self._watching = hub.io.loop.call_later(WATCH_S, self._watch)
        for peer in hub.peers():
            session, link = peer.session, peer.link
            if link is None or peer.dialing or not peer.dialable:
                continue
            if session.last_sent <= session.last_heard and not session.unacked_bytes:
                continue  # nothing is under way; what is may lie still while the other side is heard
            stalled = link.stalled()
            if stalled is None:  # the system does not tell: silence does
                stalled = bool(session.unacked_bytes) and now - session.last_heard > 2 * hub.pulse_s
            if stalled:
                logger.debug("%s: the path to %r is silent: dialling anew", hub.own.name, peer)
                hub.dialer.dial(peer)
