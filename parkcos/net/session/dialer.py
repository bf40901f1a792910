"""The dialler: makes connections, and makes them anew when they break or a path falls silent.  I/O thread.

While nothing answers, an attempt begins every second beside those that are still waiting: a path that heals is found
within that second, not when the system thinks it time to try again.  Attempts take the process's addresses in turn, so
the path that works is found too.  The first that comes through is kept.

An address that a process only says it has may be another's, as that of a bridge: what answers there, or refuses, says
nothing about the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from parkcos.errors import PeerError, ProtocolError
from parkcos.net.location import Location
from parkcos.net.session import link as links
from parkcos.net.session import session as sessions
from parkcos.net.session.door import CROSSED, GIVEN_UP, in_words, read_hello
from parkcos.net.session.link import Link
from parkcos.net.session.peer import CONNECTING, GONE, Peer

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub

CONNECT_PULSES = 5
"""For so long a process is dialled that was never there."""
REDIAL_DELAYS_S = (0.0, 0.1, 0.2, 0.4, 0.8)
"""How long after an attempt that has failed the next one begins."""
ATTEMPT_EVERY_S = 1.0
DIAL_TIMEOUT_S = 5.0
REFUSED_MAX = 2
"""A port that refuses so often in a row has no process behind it any more."""


class Dialer:
    """Dials for a hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.tasks: set[asyncio.Task[None]] = set()
        self.ended: Callable[[], object] = lambda: None
        """Called when somebody is dialled no longer, whatever came of it."""

    def dial(self, peer: Peer, wait_s: float = 0.0) -> None:
        """Connect to `peer`, after `wait_s` seconds; in place of the connection that it has, if it has one.

        Until it is connected, or gone; that it is not there is told as its end.
        """
        if peer.dialing or peer.state is GONE or self.hub.closing:
            return
        peer.dialing = True
        task = self.hub.io.loop.create_task(self._dial(peer, peer.link, wait_s))
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not self.hub.closing:
            self.ended()

    async def _dial(self, peer: Peer, stale: Link | None, wait_s: float) -> None:
        attempts: dict[asyncio.Task[None], Location] = {}
        refused: dict[Location, int] = {}
        failures = number = 0
        try:
            await asyncio.sleep(wait_s)
            while self._is_wanted(peer, stale):
                address = peer.addresses[number % len(peer.addresses)]
                number += 1
                attempts[self.hub.io.loop.create_task(self._attempt(peer, address, stale))] = address
                done, _ = await asyncio.wait(attempts, timeout=ATTEMPT_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    address = attempts.pop(task)
                    error = task.exception()
                    if isinstance(error, OSError | PeerError):
                        failures += 1
                        self._failed(peer, address, error, refused)
                    elif error is not None:
                        raise error
                self._look_at_the_time(peer)
                if done and self._is_wanted(peer, stale):
                    delay = REDIAL_DELAYS_S[min(failures, len(REDIAL_DELAYS_S) - 1)]
                    await asyncio.sleep(delay * random.uniform(0.8, 1.2))
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
            peer.dialing = False
        if self._is_wanted(peer, None):  # lost again meanwhile
            self.dial(peer)

    def _is_wanted(self, peer: Peer, stale: Link | None) -> bool:
        """Whether `peer` lacks a connection, or has only the stale one."""
        if peer.state is GONE or peer.link is None:
            return peer.state is not GONE
        return peer.link is stale and stale.stalled() is not False

    def _failed(self, peer: Peer, address: Location, error: BaseException, refused: dict[Location, int]) -> None:
        """refused: how often in a row each address has, which is kept here."""
        peer.reason = reason = in_words(error, self.hub.identity)
        refused[address] = refused.get(address, 0) + 1 if isinstance(error, ConnectionRefusedError) else 0
        if _is_final(error) and CROSSED not in reason:
            if reason != GIVEN_UP and not _is_its_own(peer, address):
                peer.addresses = tuple(at for at in peer.addresses if at != address)  # somebody else's
                return
            if reason != GIVEN_UP:
                self.hub.refusals.dialled(peer, reason)
            self.hub.end(peer, reason)
        elif refused[address] >= REFUSED_MAX and (
            _is_its_own(peer, address) or all(refused.get(at, 0) >= REFUSED_MAX for at in peer.addresses)
        ):
            self.hub.end(peer, f"no process listens at {peer.location} (connection refused)")

    def _look_at_the_time(self, peer: Peer) -> None:
        if peer.state is CONNECTING and time.monotonic() - peer.down_since > CONNECT_PULSES * self.hub.pulse_s:
            self.hub.end(peer, peer.reason or "cannot be reached")

    async def _attempt(self, peer: Peer, address: Location, stale: Link | None) -> None:
        """Connect, greet, and hand the connection over; raises what went wrong."""
        hub = self.hub
        context, asks_for = hub.guests.to_dial(address, peer.circle if peer.session.peer is not None else None)
        loopback = hub.own.addr.startswith("127.") and address.addr.startswith("127.")
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            source = hub.own.addr if loopback else None
            link = await links.connect(address.addr, address.port, context, source, asks_for)
            try:
                async with peer.dial_lock:  # only one of the attempts goes further at a time
                    await self._greet(peer, link, address, stale)
            except BaseException:
                link.close()
                raise

    async def _greet(self, peer: Peer, link: Link, address: Location, stale: Link | None) -> None:
        """Exchange greetings.  Closes `link` if it turns out that it is not needed."""
        hub = self.hub
        hello = await read_hello(link)
        reason = sessions.refusal(hub.own, hello) or hub.proof.doubt(link, hello)
        if hello.incarnation == hub.own.incarnation:
            reason = "this is the own process"
        if reason:
            with contextlib.suppress(OSError):
                link.send([sessions.encode_hello(hub.own)])  # so that it knows why, too
            raise PeerError(reason)
        if peer.incarnation not in (0, hello.incarnation):
            restarted = f"it was restarted: another process is at {address} now"
            if not _is_its_own(peer, address):
                raise PeerError(restarted)
            hub.end(peer, restarted)
            with contextlib.suppress(OSError):
                link.send([sessions.encode_bye(CROSSED)])
            link.close()
            return
        if not self._is_wanted(peer, stale):  # it has dialled in meanwhile, or is heard again
            with contextlib.suppress(OSError):
                link.send([sessions.encode_bye(CROSSED)])
            link.close()
            return
        if not hub.recognise(peer, hello):  # reached by another of its addresses
            with contextlib.suppress(OSError):
                link.send([sessions.encode_bye(CROSSED)])
            link.close()
            return
        peer.greeting = True
        try:
            link.send([peer.session.greeting()])
            first, hello = hello, await read_hello(link)
            if (hello.incarnation, hello.roles) != (first.incarnation, first.roles):
                raise ProtocolError("it says that it is somebody else than a moment ago")
        finally:
            peer.greeting = False
        if peer.state is GONE or not (peer.link is None or peer.link is stale):
            link.close()
        else:
            hub.connected(link, hello, peer, address)


def _is_its_own(peer: Peer, address: Location) -> bool:
    """Whether what is found at `address` tells of `peer`: it was there before, or there is no other address."""
    return address == peer.proven_at or len(peer.addresses) == 1


def _is_final(error: BaseException) -> bool:
    """Whether dialling again would end in the same way: the other side, or this one, has said no."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return isinstance(error, PeerError | ssl.SSLError)
