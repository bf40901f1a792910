"""How a process takes leave: what it has sent arrives first, as far as there is time.  I/O thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub

LINGER_S = 5.0
"""A process that ends waits so long for the others to acknowledge what it has sent."""
GOODBYE_S = 0.5
"""And then so long for them to close their connections: all has arrived, and nothing is lost that is not said."""


class Goodbye:
    """One for each hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._progress = asyncio.Event()
        self.lingering = False
        """This process ends, and waits for others to take what was sent; that some end too is no news now."""

    async def linger(self) -> None:
        """Wait, for a while, until what was sent has arrived."""
        self.lingering = True
        self._hub.flush_dirty()
        await self._until(lambda: not any(peer.owes for peer in self._hub.peers()), LINGER_S)

    async def say(self) -> None:
        """Say it to everybody, and wait a little until they have heard.

        Whoever hears it closes the connection.  To close before that loses what is on its way, if anything comes in.
        """
        for peer in self._hub.peers():
            self._hub.flush(peer)
            with peer.lock:
                peer.session.bye("closed")
            self._hub.write(peer)
        await self._until(lambda: not any(p.link and not p.dismissed for p in self._hub.peers()), GOODBYE_S)

    async def _until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Wait until `done()`, which is asked again whenever something has come in or somebody is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not done():
                    self._progress.clear()
                    await self._progress.wait()

    def progressed(self) -> None:
        """Something has come in, or somebody is gone.  Any thread."""
        if self.lingering:
            self._hub.io.call(self._progress.set)
