"""Relay: a process of a remote network tells whom it hears there, so that one contact brings its neighbours.

Broadcasts end at a router.  Whoever has dialled one process beyond it asks that one (`ask`); it answers with the
announcements that it has heard lately, and goes on to pass on new ones.  Source: ``relay`` of pycos's ``peer``; "one
node of each remote network is enough" of chapter 6.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import msgspec

from parkcos.net import wire
from parkcos.net.finding.datagram import Announce
from parkcos.net.location import is_loopback, numeric_address
from parkcos.net.session.peer import GONE, Peer

if TYPE_CHECKING:
    from parkcos.net.network import Network

SERVICE = "relay"
FRESH_S = 30.0
"""An announcement that was not repeated for so long is old; they come every five seconds."""
AGAIN_S = 20.0
"""The same process is not passed on again sooner."""
HEARD_MAX = 20_000
BATCH_MAX = 200
"""So many announcements go into one message."""


class Ask(msgspec.Struct, array_like=True, tag=1):
    """Tell me whom you hear, now and from now on."""


class Heard(msgspec.Struct, array_like=True, tag=2):
    """These processes were heard here."""

    announces: Annotated[list[Announce], msgspec.Meta(max_length=BATCH_MAX)]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Ask | Heard).decode


class Relay:
    """Passes on what `network` hears, and takes what others pass on.  I/O thread, but for `ask`.

    Args:
        heard: called with each announcement that was passed on.
        clock: gives seconds.
    """

    def __init__(self, network: Network, heard: Callable[[Announce], None], clock: Callable[[], float]) -> None:
        self._network = network
        self._told_here = heard
        self._clock = clock
        self._heard: dict[int, tuple[Announce, float]] = {}
        """By incarnation, the latest last, with its time."""
        self._asked: dict[Peer, dict[int, float]] = {}
        """Who wants to know, and when they were last told of whom."""
        network.services[SERVICE] = self._received

    def ask(self, peer: Peer) -> None:
        """Ask `peer` whom it hears.  Any thread."""
        self._network.post_service(peer, SERVICE, _encode(Ask()))

    def heard(self, announce: Announce) -> None:
        """This process has heard an announcement."""
        now = self._clock()
        self._heard.pop(announce.incarnation, None)
        self._heard[announce.incarnation] = announce, now
        while self._heard:
            oldest = next(iter(self._heard))
            if len(self._heard) <= HEARD_MAX and now - self._heard[oldest][1] <= FRESH_S:
                break
            del self._heard[oldest]
        for peer in list(self._asked):
            self._pass_on(peer, [announce], now)

    def _pass_on(self, peer: Peer, announces: list[Announce], now: float) -> None:
        if peer.state is GONE:
            self._asked.pop(peer, None)
            return
        told = self._asked[peer]
        fit = [
            announce
            for announce in announces
            if now - told.get(announce.incarnation, -AGAIN_S) >= AGAIN_S
            and announce.incarnation != peer.incarnation
            and is_loopback(announce.addr) == is_loopback(peer.location.addr)
        ]
        for announce in fit:
            told[announce.incarnation] = now
        for at in range(0, len(fit), BATCH_MAX):
            self._network.post_service(peer, SERVICE, _encode(Heard(fit[at : at + BATCH_MAX])))
        if len(told) > HEARD_MAX:
            self._asked[peer] = {one: at for one, at in told.items() if now - at < AGAIN_S}

    def _received(self, peer: Peer, message: wire.Service) -> None:
        try:
            content = _decode(message.body)
        except (ValueError, RecursionError) as error:
            self._network.hub.refusals.message(peer, "sent the relay something that is no message for it", error)
            return
        self._network.io.call(self._handle, peer, content)

    def _handle(self, peer: Peer, content: Ask | Heard) -> None:
        if isinstance(content, Ask):
            self._asked.setdefault(peer, {})
            self._pass_on(peer, [announce for announce, _ in self._heard.values()], self._clock())
            return
        for announce in content.announces:
            if numeric_address(announce.addr) == announce.addr:
                self._told_here(announce)
