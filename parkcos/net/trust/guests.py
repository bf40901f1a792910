"""Guests: processes with keys of their own, which this one knows beside those of its own cluster.

Each client makes keys for its servers, so that they hold none of the cluster's; and a program that is in somebody's
cluster may have a `LocalCluster`, which nobody else of that cluster may enter.  Such processes are a circle, with the
name of its keys; the own cluster is the circle "".  This process knows them by their locations when it dials, and when
they dial, by the name for which their TLS handshake asks (SNI).  They themselves hold one set of keys only, and know of
no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterable, Sequence

from parkcos.net.location import Location
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import Identity, TlsIdentity

FIRST_WORD_S = 1.0
"""Without TLS, who dials waits for a greeting, but a guest begins at once: it has so many seconds to do so."""
_HANDSHAKE = b"\x16"


class Guests:
    """Which keys are for whom.

    Args:
        identity: of this process in its own cluster; None: there it talks without TLS.
        incarnation, roles: of this process, in each circle.
    """

    def __init__(self, identity: Identity | None, incarnation: int = 0, roles: Sequence[str] = ("peer",)) -> None:
        self._own = identity
        self._incarnation, self._roles = incarnation, tuple(roles)
        self._by_name: dict[str, TlsIdentity] = {}
        self._at: dict[Location, TlsIdentity] = {}
        self.grants: dict[int, str] = {}
        """The grant that a process of a circle must have, by its incarnation, where that is known."""

    def welcome(self, keys: ClusterKeys) -> None:
        """Know processes that hold these keys, which have a name.  Any thread."""
        self._by_name[keys.name] = TlsIdentity(keys, roles=self._roles, incarnation=self._incarnation, circle=keys.name)

    def get_ready(self, keys_name: str) -> None:
        """Make what the first connections will need, while nobody waits for it.  I/O thread."""
        for identity in (self._own, self._by_name.get(keys_name)):
            if identity is not None:
                identity.server_context()

    def live_at(self, locations: Iterable[Location], keys_name: str) -> None:
        """Processes with the keys of this name are at these locations."""
        if (identity := self._by_name.get(keys_name)) is not None:
            self._at.update(dict.fromkeys(locations, identity))

    def left(self, locations: Iterable[Location], keys_name: str) -> None:
        """Processes with these keys are there no more."""
        identity = self._by_name.get(keys_name)
        for location in locations:
            if identity is not None and self._at.get(location) is identity:
                self._at.pop(location, None)

    def circle_at(self, location: Location) -> str:
        """The name of the keys of who lives there; "" is the own cluster."""
        identity = self._at.get(location)
        return "" if identity is None else identity.circle

    def tells_standing(self, circle: str) -> bool:
        """Whether the certificates in a circle say what their holders are."""
        return bool(circle) or (self._own is not None and self._own.tells_standing)

    def dismiss(self, keys_name: str) -> None:
        """Know them no more."""
        identity = self._by_name.pop(keys_name, None)
        for location in [location for location, there in self._at.copy().items() if there is identity]:
            self._at.pop(location, None)

    def to_dial(self, location: Location, circle: str | None = None) -> tuple[ssl.SSLContext | None, str]:
        """The context for who is there, None for no TLS, and the name to ask for, if any.  I/O thread.

        circle: the process is known to be of this one, wherever it is now.
        """
        identity = self._at.get(location, self._own) if circle is None else self._by_name.get(circle, self._own)
        if identity is None:
            return None, ""
        return identity.client_context(), identity.asks_for

    async def to_accept(self, sock: socket.socket) -> ssl.SSLContext | None:
        """The context for who has just connected, None for no TLS.  I/O thread."""
        identity = self._own
        if identity is None and self._by_name and await _begins_with(sock, _HANDSHAKE):
            identity = next(iter(self._by_name.copy().values()), None)
        if identity is None:
            return None
        context = identity.server_context()
        context.sni_callback = self._choose if self._by_name else None
        return context

    def _choose(self, sock: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        identity = self._by_name.get(name or "")
        if identity is not None:
            sock.context = identity.server_context()


async def _begins_with(sock: socket.socket, first: bytes) -> bool:
    """Whether this is what comes first, and soon."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    sock.setblocking(False)
    loop.add_reader(sock.fileno(), ready.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), FIRST_WORD_S)
    finally:
        loop.remove_reader(sock.fileno())
    return ready.is_set() and sock.recv(len(first), socket.MSG_PEEK) == first
