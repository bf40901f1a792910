"""Finding the other processes of the cluster on the local networks: the UDP shell around ``datagram.py``.

Each process has two sockets.  The *shared* one listens on the well-known port beside those of other processes of this
machine; every one of them hears each broadcast, but a datagram to one address reaches only one of them.  So everything
is sent from a *private* socket with a port of its own, and answers go there.  Both feed the same handler.

Every process announces itself again and again, so it never matters which program started first; the first
announcements ask for an answer, so that a newcomer knows within a moment who is there.

Must run in the event loop's thread.  What must not live here: what is done with an announcement, TCP, the format.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from parkcos.errors import ConfigError
from parkcos.net.finding.addresses import GROUP_V4, GROUP_V6, OwnAddress, broadcast_targets
from parkcos.net.finding.datagram import Announce, DatagramGate, DatagramRejected, Key, Leaving, encode
from parkcos.net.forked import own
from parkcos.net.location import is_loopback

__all__ = [
    "ANNOUNCE_FIRST_S",
    "ANNOUNCE_INTERVAL_S",
    "ANNOUNCE_JITTER",
    "Discovery",
    "bound_socket",
    "join_group",
    "send_to_group",
]

ANNOUNCE_FIRST_S: Final = (0.0, 0.1, 0.3, 1.0, 2.0)
"""When a process that starts announces itself, in seconds after its start: often, for datagrams get lost."""
ANNOUNCE_INTERVAL_S: Final = 5.0
"""How often after that: what a lost datagram or a mended cable costs at most, a few bytes per second and process."""
ANNOUNCE_JITTER: Final = 0.2
"""The interval varies by this fraction either way, so that a room of machines switched on at once drifts apart."""

_RECEIVE_BUFFER_BYTES: Final = 1 << 20  # a newcomer in a big cluster is answered by everybody at once
_COMPLAINTS_MAX: Final = 256  # remembered, and so logged

_logger: Final = logging.getLogger(__name__)


class _Ear(asyncio.DatagramProtocol):
    """Hands what a socket receives to its owner."""

    def __init__(self, received: Callable[[bytes, tuple[Any, ...]], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._received(data, addr)

    def error_received(self, exc: Exception) -> None:
        _logger.debug("a receiving UDP socket reports: %s", exc)  # nobody listens there (any more): no news


class Discovery:
    """Announces this process, and tells what other processes announce.

    Args:
        gate: judges what comes in; not to be shared with another ``Discovery``.
        own: this process's address, and where to broadcast.
        udp_port: the well-known port to listen on, beside others.
        target_ports: the UDP ports to broadcast to.
        announce: gives what to announce, each time; its ``reply`` doesn't matter.
        heard: called with each announcement of another process, and the address that it came from.
        left: called when another process says that it ends.
        mac_key: what to seal with, that of *gate*.
        clock: gives seconds since the epoch.
        multicast: announce by IPv4 multicast instead of broadcast; with an IPv6 address it is always multicast.
        enabled: when false nothing is sent, and nothing is heard.
        chance: for the jitter.
        old_mac_key: that of a secret which is being replaced; everything is sent sealed with it, too.
    """

    def __init__(
        self,
        gate: DatagramGate,
        own: OwnAddress,
        udp_port: int,
        target_ports: Sequence[int],
        announce: Callable[[], Announce],
        heard: Callable[[Announce, tuple[str, int]], None],
        left: Callable[[Leaving], None],
        mac_key: Key,
        clock: Callable[[], float] = time.time,
        enabled: bool = True,
        multicast: bool = False,
        chance: random.Random | None = None,
        old_mac_key: bytes | None = None,
    ) -> None:
        self._gate = gate
        self._udp_port = udp_port
        self._target_ports = tuple(dict.fromkeys(target_ports))
        self._wants_multicast = multicast
        self._settle(own)
        self.paused = False
        """While it is, this process announces itself to nobody but those that it greets, and hears nobody."""
        self._announce = announce
        self._heard = heard
        self._left = left
        self._mac_key = mac_key
        self._old_mac_key = old_mac_key
        self._clock = clock
        self._enabled = enabled
        self._chance = chance or random.Random()
        self._incarnation = -1
        self._private: socket.socket | None = None
        self._transports: list[asyncio.DatagramTransport] = []
        self._timer: asyncio.TimerHandle | None = None
        self._rounds = 0
        self._complaints: set[tuple[str, str]] = set()

    def _settle(self, own: OwnAddress) -> None:
        self._own = own
        self._targets = [
            target
            for port in self._target_ports
            for target in broadcast_targets(own, port, multicast=self._wants_multicast)
        ]
        self._mute = own.loopback_only and ":" in own.addr  # there is neither broadcast nor multicast
        self._multicast = not self._mute and (self._wants_multicast or ":" in own.addr)
        self._local = own.loopback_only or is_loopback(own.addr)

    @property
    def private_port(self) -> int:
        """The UDP port that everything is sent from and answers come to; 0 when not running."""
        return int(self._private.getsockname()[1]) if self._private is not None else 0

    async def start(self) -> None:
        """Open the sockets and announce this process for the first time.

        When the well-known port cannot be had, that is logged, and the process finds others but is found only by
        those that it greets.

        Raises:
            ConfigError: not even the private socket can be bound: the own address is not (any more) this machine's;
                or what is to be announced does not fit into a datagram.
        """
        if not self._enabled or self._private is not None:
            return
        loop = asyncio.get_running_loop()
        first = self._announce()
        encode(first, self._mac_key, self._clock())  # raises now, and not at each round
        self._incarnation = first.incarnation
        family = socket.AF_INET6 if ":" in self._own.addr else socket.AF_INET
        try:
            private = bound_socket(family, self._own.addr, 0, shared=False)
        except OSError as exc:
            raise ConfigError(
                f"no UDP socket can be bound to {self._own.addr} ({exc.strerror}): is it still this machine's address?"
            ) from exc
        self._private = private
        sockets = [private]
        try:
            if self._multicast:
                send_to_group(private, self._own)
            if not self._mute:
                shared = bound_socket(family, "", self._udp_port, shared=True)
                sockets.append(shared)
                if self._multicast:
                    join_group(shared, self._own)
        except OSError as exc:
            _logger.error(
                "UDP port %d cannot be used for discovery%s (%s): another program holds it. This process greets "
                "others but cannot be greeted; end that program, or give all programs of the cluster another port",
                self._udp_port,
                " by multicast" if self._multicast else "",
                exc.strerror,
            )
        for sock in sockets:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Ear(self._receive), sock=sock)
            if self._private is None:  # closed meanwhile
                transport.close()
            else:
                self._transports.append(transport)
        self._rounds = 0
        if self._private is not None:
            self._tick()

    async def move(self, own: OwnAddress) -> None:
        """Go on at another address, or with other interfaces, as if it were the start.  Raises: ConfigError."""
        self._shut()
        self._settle(own)
        await self.start()

    def close(self) -> None:
        """Say farewell, stop announcing and hearing, and close the sockets.  May be called twice."""
        if self._private is not None:
            said = self._announce()
            self._broadcast(Leaving(said.addr, said.port, said.incarnation))
        self._shut()

    def _shut(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._private = None
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    def probe(self) -> None:
        """Announce this process now, and ask everybody who hears it to answer."""
        if self._private is not None and not self.paused:
            self._broadcast(msgspec.structs.replace(self._announce(), reply=True))

    def greet(self, addr: str, port: int = 0) -> None:
        """Announce this process to one host, which a broadcast may not reach, and ask who hears it there to answer.

        port: the UDP port; 0: the usual ones.  Of several programs that share a port one hears it.
        """
        if (":" in addr) != (":" in self._own.addr):
            return
        for datagram in self._sealed(msgspec.structs.replace(self._announce(), reply=True)):
            for target_port in (port,) if port else self._target_ports:
                self._send(datagram, (addr, target_port))

    def _tick(self) -> None:
        """Arm the timer for the next announcement, and make this one."""
        starting = self._rounds < len(ANNOUNCE_FIRST_S)
        self._rounds += 1
        if self._rounds < len(ANNOUNCE_FIRST_S):
            wait_s = ANNOUNCE_FIRST_S[self._rounds] - ANNOUNCE_FIRST_S[self._rounds - 1]
        else:
            wait_s = ANNOUNCE_INTERVAL_S * self._chance.uniform(1 - ANNOUNCE_JITTER, 1 + ANNOUNCE_JITTER)
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)
        if not self.paused:
            self._broadcast(msgspec.structs.replace(self._announce(), reply=starting))

    def _broadcast(self, message: Announce | Leaving) -> None:
        datagrams = self._sealed(message)
        for target in self._targets:
            for datagram in datagrams:
                self._send(datagram, target)

    def _sealed(self, message: Announce | Leaving) -> list[bytes]:
        """The datagram, for each secret that somebody may have: one, but while a secret is being replaced."""
        now = self._clock()
        keys: list[Key] = [self._mac_key] if self._old_mac_key is None else [self._mac_key, self._old_mac_key]
        return [encode(message, key, now) for key in keys]

    def _send(self, datagram: bytes, target: tuple[str, int]) -> None:
        """Send, or log why not: the network may be down now and back in a minute, and the next round tries again."""
        if self._private is None:
            return
        if self._local and not (is_loopback(target[0]) or target[0] in (GROUP_V4, GROUP_V6)):  # groups stay on loopback
            return
        try:
            self._private.sendto(datagram, target)
        except BlockingIOError:
            pass  # the system's buffer is full: the same as a datagram lost on the way
        except OSError as exc:
            if self._first("send", exc.strerror or str(exc)):
                _logger.warning(
                    "a discovery datagram to %s:%d cannot be sent (%s); it is tried again, and not logged again",
                    *target,
                    exc.strerror or exc,
                )

    def _receive(self, data: bytes, sender: tuple[Any, ...]) -> None:
        if self._private is None or self.paused:
            return  # perhaps closed between the receiving and this call
        source = (str(sender[0]), int(sender[1]))
        if self._local and not is_loopback(source[0]):
            return  # the shared socket hears every network; this process belongs to this machine
        try:
            message = self._gate.open(data, self._clock())
        except DatagramRejected as exc:
            self._complain(source[0], exc)
            if exc.message is not None and exc.message.incarnation != self._incarnation:
                self._answer(exc.message, source, reply=True)
            return
        if message.incarnation == self._incarnation:
            return
        if is_loopback(message.addr) and not is_loopback(source[0]):
            return  # whoever dialled that would dial itself
        if isinstance(message, Leaving):
            self._left(message)
            return
        if message.reply:
            self._answer(message, source, reply=False)
        self._heard(message, source)

    def _answer(self, message: Announce, source: tuple[str, int], *, reply: bool) -> None:
        """reply: ask for an answer, too."""
        answer = msgspec.structs.replace(self._announce(), reply=reply, answers=message.incarnation)
        for datagram in self._sealed(answer):
            self._send(datagram, source)

    def _complain(self, addr: str, rejected: DatagramRejected) -> None:
        if rejected.reason in ("replay", "unproven"):
            # Two networks on one cable, or the network itself, may double a datagram; others began earlier: no news.
            _logger.debug("a datagram from %s %s", addr, rejected.words)
        elif self._first(addr, rejected.reason):
            _logger.warning("a datagram from %s %s (not logged again for this address)", addr, rejected.words)

    def _first(self, about: str, reason: str) -> bool:
        """Return whether this complaint is a new one; never more than a bounded number are."""
        if (about, reason) in self._complaints or len(self._complaints) >= _COMPLAINTS_MAX:
            return False
        self._complaints.add((about, reason))
        return True


def bound_socket(family: socket.AddressFamily, addr: str, port: int, *, shared: bool) -> socket.socket:
    """Return a UDP socket that may broadcast, bound to *addr* and *port*; if *shared*, beside others of its kind."""
    sock = own(socket.socket(family, socket.SOCK_DGRAM))
    try:
        sock.setblocking(False)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "SO_REUSEPORT"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 on this port is another's business
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.bind((addr, port))
    except OSError:
        sock.close()
        raise
    return sock


def send_to_group(sock: socket.socket, own: OwnAddress) -> None:
    """Let *sock* send to the group through the interface of the own address, and no further than this network."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, _interface_index(own))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own.addr))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)


def join_group(sock: socket.socket, own: OwnAddress) -> None:
    """Let *sock* hear what others send to the group on the network of the own address."""
    if sock.family == socket.AF_INET6:
        group = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("@I", _interface_index(own))
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    else:
        group = socket.inet_aton(GROUP_V4) + socket.inet_aton(own.addr)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)


def _interface_index(own: OwnAddress) -> int:
    return socket.if_nametoindex(own.interfaces[0].name)
