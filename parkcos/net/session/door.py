"""The door: connections that come in, until it is known who they are.  I/O thread.

Also what both sides of a greeting share.  What must not live here: dialling, and what follows a greeting.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING

import msgspec

from parkcos.errors import ConfigError, PeerError, ProtocolError
from parkcos.net.forked import own
from parkcos.net.location import Location
from parkcos.net.session import link as links
from parkcos.net.session import session as sessions
from parkcos.net.session.frames import BYE, HEADER, HELLO, HELLO_BYTES_MAX
from parkcos.net.session.link import Link
from parkcos.net.session.peer import GONE, Peer
from parkcos.net.session.session import Hello
from parkcos.net.trust.tls import Identity, explain_tls_error

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub

logger = logging.getLogger("parkcos")

ANY_PORT_TRIES = 20
"""Of several addresses, the port that the system finds free at the first may be taken at another."""
GREETING_TIMEOUT_S = 10.0
GREETINGS_MAX = 256
"""More half-open connections than this at once are refused, oldest first, so that strangers cannot use up sockets."""
PAUSE_S = 0.1
PAUSE_LOG_S = 5.0
FRESH_S = 5.0
"""A connection so young is not given up for another one that the same process dials."""

CROSSED = "crossed"
GIVEN_UP = "this side had given the connection up, and has reported what was in it as lost"
NO_GREETING = "it did not say who it is: what came is no greeting of parkcos"


class Door:
    """Listens for a hub, and greets who comes."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.greetings: dict[asyncio.Task[None], float] = {}
        self.listeners: list[socket.socket] = []
        self._paused_at = -PAUSE_LOG_S

    def listen(self, addrs: Sequence[str], ports: Sequence[int]) -> int:
        """Bind the first free of `ports` (0: any) on all of `addrs`.  Returns the port.

        Raises: ConfigError naming the ports that are taken.
        """
        for port in chain.from_iterable(repeat(port, 1 if port else ANY_PORT_TRIES) for port in ports):
            try:
                self.listeners = _bound(addrs, port)
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue
                raise ConfigError(f"cannot listen at {addrs[0]} port {port}: {error.strerror}") from None
            return _at(self.listeners[0]).port
        if not any(ports):
            raise ConfigError(f"no TCP port was found that is free at {' and '.join(addrs)}: give one (tcp_port=)")
        shown = ", ".join(map(str, ports[:5]))
        raise ConfigError(
            f"TCP port {shown} of {addrs[0]} is taken by another process (or not allowed): "
            "end that process, or give another port (--tcp_ports, tcp_port=)"
        )

    def start(self) -> None:
        """Begin to accept."""
        for sock in self.listeners:
            self.hub.io.loop.add_reader(sock.fileno(), self._accept, sock)

    def move(self, addrs: Sequence[str], is_there: Callable[[str], bool]) -> None:
        """Listen at these addresses, too, and no longer where this machine is not.

        is_there: whether it has an address.  Raises: ConfigError if the port is taken there.
        """
        port = self.hub.own.port
        missing = [addr for addr in addrs if addr not in {_at(sock).addr for sock in self.listeners}]
        try:
            new = _bound(missing, port)
        except OSError as error:
            raise ConfigError(f"cannot listen at {missing[0]} port {port}: {error.strerror}") from None
        gone = [sock for sock in self.listeners if not is_there(_at(sock).addr)]
        for sock in new:
            self.hub.io.loop.add_reader(sock.fileno(), self._accept, sock)
        self._close(gone)
        self.listeners = [*(sock for sock in self.listeners if sock not in gone), *new]

    def close(self) -> None:
        """Accept nobody any more; greetings that are under way go on."""
        self._close(self.listeners)

    def _close(self, listeners: Sequence[socket.socket]) -> None:
        for sock in listeners:
            self.hub.io.loop.remove_reader(sock.fileno())
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                sock, addr = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause(listener, error)
                return
            if len(self.greetings) >= GREETINGS_MAX:
                self._drop_oldest()
            loop = self.hub.io.loop
            task = loop.create_task(self._greet(sock, str(Location(addr[0], addr[1]))))
            self.greetings[task] = loop.time()
            task.add_done_callback(lambda t, sock=sock: self._greeted(t, sock))  # type: ignore[misc]

    def _drop_oldest(self) -> None:
        oldest = min(self.greetings, key=self.greetings.__getitem__)
        oldest.cancel()
        del self.greetings[oldest]

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """There is no descriptor left for those who wait at the door: let some strangers go, and look again soon."""
        if self.greetings:
            self._drop_oldest()
        loop = self.hub.io.loop
        if loop.time() - self._paused_at > PAUSE_LOG_S:
            self._paused_at = loop.time()
            logger.warning(
                "no more connections can be accepted (%s): others wait. Allow this process more open files (ulimit -n)",
                error.strerror,
            )
        loop.remove_reader(listener.fileno())
        loop.call_later(PAUSE_S, self._resume, listener)

    def _resume(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:  # not closed meanwhile
            self.hub.io.loop.add_reader(listener.fileno(), self._accept, listener)

    def _greeted(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        self.greetings.pop(task, None)
        if task.cancelled() and sock.fileno() >= 0:  # before it began
            sock.close()

    async def _greet(self, sock: socket.socket, text: str) -> None:
        hub = self.hub
        link: Link | None = None
        try:
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                context = await hub.guests.to_accept(sock)
                link = await links.accepted(sock, context, text)
                link.send([sessions.encode_hello(hub.own)])
                hello = await read_hello(link)
                reason = (
                    sessions.refusal(hub.own, hello)
                    or hub.proof.doubt(link, hello)
                    or self._crossed(hello)
                    or self._given_up(hello)
                )
                if hello.incarnation in hub.shut_out:
                    reason = "this side has closed the connection"
                if reason:
                    link.send([sessions.encode_bye(reason)])
                    raise PeerError(reason)
                hub.connected(link, hello, self._peer_of(hello, link))
        except (OSError, PeerError, TimeoutError, asyncio.CancelledError) as error:
            if link is not None:
                link.close()
            elif sock.fileno() >= 0:
                sock.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            hub.refusals.accepted(text, error)

    def _crossed(self, hello: Hello) -> str | None:
        """Both sides dial at once, and reach each other: the connection of the higher incarnation is kept."""
        hub = self.hub
        if hello.incarnation == hub.own.incarnation:
            return CROSSED  # this process has dialled itself: the other end says so
        peer = hub.by_incarnation.get(hello.incarnation)
        if peer is None:
            return None
        link = peer.link
        if link is not None and (hub.io.loop.time() - link.opened_at >= FRESH_S or link.stalled()):
            link = None  # whatever comes now is meant
        if link is not None and not link.dialed and is_another_session(peer, hello):
            return CROSSED  # it dials two addresses of this process at once: it will find out
        if hub.own.incarnation < hello.incarnation:
            return None
        return CROSSED if peer.greeting or (link is not None and link.dialed and not hello.to_session) else None

    def _given_up(self, hello: Hello) -> str | None:
        """It goes on with a session that this side has given up: what was in it has been reported as lost."""
        peer = self.hub.by_incarnation.get(hello.incarnation)
        if hello.to_session and (peer is None or peer.state is GONE or peer.session.id != hello.to_session):
            return GIVEN_UP
        return None

    def _peer_of(self, hello: Hello, link: Link) -> Peer:
        """Who dialled in: somebody known, or somebody new."""
        hub = self.hub
        peer = hub.by_incarnation.get(hello.incarnation)
        if peer is not None and is_another_session(peer, hello):
            hub.end(peer, "it gave up the connection to this process")
        if peer is None or peer.state is GONE:
            at_home = [Location(addr, hello.port) for addr in (hello.addr, *hello.addrs) if addr == link.peer_addr]
            peer = hub.book.by_location.get(at_home[0]) if at_home else None
            if peer is None or peer.incarnation not in (0, hello.incarnation):
                peer = hub.book.new_peer(Location(hello.addr, hello.port), hello.incarnation)
        return peer


def _bound(addrs: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets that listen at these addresses, all at the same port.  port: 0: any.  Raises: OSError."""
    bound: list[socket.socket] = []
    try:
        for addr in addrs:
            sock = own(socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_STREAM))
            bound.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((addr, port))
            sock.listen(512)
            port = _at(sock).port
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound


def _at(sock: socket.socket) -> Location:
    addr, port = sock.getsockname()[:2]
    return Location(addr, port)


async def read_hello(link: Link) -> Hello:
    """The first frame of a connection.

    Raises: PeerError with the other side's reason for a BYE; ProtocolError for anything else that is no greeting.
    """
    length, kind, _ = HEADER.unpack(await link.read_exactly(HEADER.size))
    if length > HELLO_BYTES_MAX:
        raise ProtocolError(NO_GREETING)
    body = await link.read_exactly(length)
    if kind == BYE:
        raise PeerError(body.decode(errors="replace"))
    if kind != HELLO:
        raise ProtocolError(NO_GREETING)
    return sessions.decode_hello(body)


def is_another_session(peer: Peer, hello: Hello) -> bool:
    """Whether `hello` begins a session beside the one that is there.

    With the same session it only has not got this side's answer before the connection broke.
    """
    there = peer.session.peer
    return not hello.to_session and there is not None and there.session != hello.session


def in_words(error: BaseException, identity: Identity | None = None) -> str:
    """Why a connection came to nothing, for one line of the log.  identity: what this process showed."""
    if isinstance(error, ssl.SSLError):
        return identity.explain(error) if identity else explain_tls_error(error)
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def with_port(own: Hello, port: int) -> Hello:
    """The own greeting, with the port that was found."""
    return msgspec.structs.replace(own, port=port)
