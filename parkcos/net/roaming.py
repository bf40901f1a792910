"""The own addresses, for as long as a process runs: a network that comes late, another lease, another network.

The system says when something has changed (netlink, on Linux); elsewhere it is asked every few seconds.  What is new is
bound and announced.  What this machine has lost is given up, with the connections from there: their other ends are
dialled again.  I/O thread.

What must not live here: which address is taken (addresses.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from typing import TYPE_CHECKING

import msgspec

from parkcos.errors import ConfigError
from parkcos.net.finding.addresses import OwnAddress, local_interfaces
from parkcos.net.forked import own as owned
from parkcos.net.location import Location, is_loopback
from parkcos.net.options import own_addresses, told_addresses
from parkcos.net.session.peer import UP

if TYPE_CHECKING:
    from parkcos.net.network import Network

logger = logging.getLogger("parkcos")

SETTLE_S = 0.2
"""The time from the first news to a look: news come in bursts."""
LOOK_AGAIN_S = 5.0
"""The time between looks where the system does not tell of changes, or while an address cannot be had."""

_LINKS, _IPV4, _IPV6 = 0x1, 0x10, 0x100
"""Of what netlink tells: interfaces, and their addresses."""


class Roaming:
    """Follows this machine's addresses for a network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._news = asyncio.Event()
        self._news.set()  # it may have been long since the addresses were chosen
        self._ear: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._complaint = ""

    def start(self) -> None:
        """Begin to watch, unless this process has been given nothing but the loopback."""
        network = self._network
        if network.options.host is not None and all(own.loopback_only for own in network.addresses):
            return
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # not here: it is asked
                self._ear = _listening()
                network.io.loop.add_reader(self._ear.fileno(), self._hear)
        self._task = network.io.loop.create_task(self._follow())

    async def close(self) -> None:
        """Watch no more."""
        if self._ear is not None:
            self._network.io.loop.remove_reader(self._ear.fileno())
            self._ear.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _hear(self) -> None:
        assert self._ear is not None
        with contextlib.suppress(OSError):  # too much has happened to be told: something has
            self._ear.recv(1 << 16)
        self._news.set()

    async def _follow(self) -> None:
        while True:
            complaint = self._complaint
            sure = self._ear is not None and not complaint
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), None if sure else LOOK_AGAIN_S)
                await asyncio.sleep(SETTLE_S)
            self._news.clear()
            try:
                await self._look()
            except (ConfigError, OSError) as error:
                if str(error) != complaint:
                    logger.warning("%s: its address has changed, and cannot be followed: %s", self._network.name, error)
                self._complaint = str(error)

    async def _look(self) -> None:
        network, loop = self._network, self._network.io.loop
        own, told = await loop.run_in_executor(None, self._found)  # names may have to be looked up
        unfinished, self._complaint = self._complaint, ""
        same = [*map(_what_matters, own)] == [*map(_what_matters, network.addresses)] and told == network.told
        if same and not unfinished:
            return
        moved = told != network.told or [o.addr for o in own] != [o.addr for o in network.addresses]
        logger.log(
            logging.INFO if moved and network.options.say_address else logging.DEBUG,
            "%s: this machine's network has changed: the address is %s now",
            network.name,
            " and ".join(o.why for o in own),
        )
        if moved:
            self._move([o.addr for o in own], told)
        network.addresses = own
        for discovery, at in zip(network.discoveries, own, strict=True):
            await discovery.move(at)
        if unfinished:
            logger.info("%s: its address can be followed again", network.name)

    def _found(self) -> tuple[list[OwnAddress], list[str]]:
        """Raises: ConfigError."""
        options = self._network.options
        own = own_addresses(options.host, self._network.own.addr)
        return own, told_addresses([o.addr for o in own], options.ext_host)

    def _move(self, addrs: list[str], told: list[str]) -> None:
        network, hub = self._network, self._network.hub
        has = {i.addr for i in local_interfaces()}

        def is_there(addr: str) -> bool:
            return addr in has or is_loopback(addr)

        hub.door.move(addrs, is_there)
        hub.own = msgspec.structs.replace(hub.own, addr=told[0], addrs=tuple(told[1:]))
        network.told, network.location = told, Location(told[0], hub.own.port)
        for peer in hub.peers():
            peer.session.own = hub.own  # for the next greeting
            link = peer.link
            if peer.state is UP and link is not None and not is_there(link.own_addr):
                hub.break_off(peer, f"this machine does not have the address {link.own_addr} any more")


def _what_matters(own: OwnAddress) -> tuple[object, ...]:
    return own.addr, own.loopback_only, {(i.name, i.addr, i.broadcast, i.running) for i in own.interfaces}


def _listening() -> socket.socket:
    """A netlink socket that tells of changes.  Raises: OSError."""
    assert sys.platform == "linux"
    sock = owned(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE))
    try:
        sock.setblocking(False)
        sock.bind((0, _LINKS | _IPV4 | _IPV6))
    except OSError:
        sock.close()
        raise
    return sock
