"""The entrance of a site: connections from the moment they are accepted, and how many there may be.

Descriptors are the program's, too, so each connection counts at once, with TLS before its handshake.  When there are
too many, in all or of one address, the one that has done nothing for longest gives way.  One that is being answered
never does; but who has not asked all of it yet is not.  Nothing is made for who says nothing but the socket itself.
What must not live here: requests, routes, and who may look.  I/O thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import StreamReader, web

CONNECTIONS_MAX = 256
OF_ONE_ADDRESS_MAX = 128
HANDSHAKE_S = 5.0
"""The time in which a TLS handshake must begin, and then end."""
FIRST_WORD_S = 30.0
"""The time in which a first request must begin."""
CLOSE_S = 1.0
PAUSE_S = 0.1
"""After this time connections are accepted again, when there were no descriptors."""
_ACCEPTED_AT_ONCE = 64

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Connection:
    """One that was accepted.  transport: once it has begun to talk, and shaken hands."""

    def __init__(self, sock: socket.socket, addr: str) -> None:
        self.sock = sock
        self.addr = addr
        self.transport: asyncio.Transport | None = None
        self.asked: StreamReader | None = None
        """What comes with the request that is being answered."""

    @property
    def is_idle(self) -> bool:
        """Whether it is waited for, and not it for an answer: it asks nothing, or has not asked all of it."""
        return self.asked is None or not self.asked.is_eof()

    def close(self) -> None:
        """End it; whoever waits for it sees that."""
        if self.transport is not None:
            self.transport.abort()
        else:
            with contextlib.suppress(OSError):  # it is gone
                self.sock.shutdown(socket.SHUT_RDWR)


class Entrance:
    """Accepts connections for an aiohttp server.

    Args:
        loop: of the I/O thread.
        context: for HTTPS, or None.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext | None) -> None:
        self._loop = loop
        self._context = context
        self._sockets: Sequence[socket.socket] = ()
        self._server: web.Server | None = None
        self._connections: dict[_Connection, None] = {}
        """In the order in which they have last done something."""
        self._of: dict[Any, _Connection] = {}
        """By aiohttp's handler of the connection."""
        self._beginning: set[asyncio.Task[None]] = set()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """To be passed by all requests, first of all: what is being answered is no idle connection."""
        connection = self._of.get(request.protocol)
        if connection is None:  # it was lost just now
            return await handler(request)
        connection.asked = request.content
        try:
            return await handler(request)
        finally:
            connection.asked = None
            if connection in self._connections:
                self._connections[connection] = self._connections.pop(connection)

    def open(self, sockets: Sequence[socket.socket], server: web.Server) -> None:
        """Accept at these sockets, for this server, which from now on tells of each connection."""
        self._sockets, self._server = sockets, server
        lost = server.connection_lost

        def connection_lost(handler: Any, error: BaseException | None = None) -> None:
            lost(handler, error)
            connection = self._of.pop(handler, None)
            if connection is not None:
                self._connections.pop(connection, None)

        server.connection_lost = connection_lost  # type: ignore[method-assign,assignment]
        for sock in sockets:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    async def close(self) -> None:
        """Accept nobody any more, and end what has not begun to talk; the rest is the server's."""
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        for connection in list(self._connections):
            if connection.transport is None:
                connection.close()
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=CLOSE_S)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, address = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._make_room(None)
                    self._loop.remove_reader(listener.fileno())
                    self._loop.call_later(PAUSE_S, self._resume, listener)
                return
            sock.setblocking(False)
            connection = _Connection(sock, address[0])
            if not self._has_room(connection.addr):
                sock.close()
                continue
            self._connections[connection] = None
            task = self._loop.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    def _resume(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _has_room(self, addr: str) -> bool:
        """Whether one more may come from there, perhaps because another one has given way."""
        if sum(connection.addr == addr for connection in self._connections) >= OF_ONE_ADDRESS_MAX:
            return self._make_room(addr)
        return len(self._connections) < CONNECTIONS_MAX or self._make_room(None)

    def _make_room(self, addr: str | None) -> bool:
        """Close the connection that has been idle for longest, of this address, or of any."""
        for connection in self._connections:
            if connection.is_idle and addr in (None, connection.addr):
                del self._connections[connection]
                connection.close()
                return True
        return False

    async def _begin(self, connection: _Connection) -> None:
        """Wait for its first byte, shake hands, and hand it over to the server."""
        server, sock = self._server, connection.sock
        assert server is not None

        def handler() -> asyncio.Protocol:
            made = server()
            self._of[made] = connection
            return made

        limit_s = FIRST_WORD_S if self._context is None else HANDSHAKE_S
        try:
            if not await self._talks(sock, limit_s):
                raise ConnectionAbortedError
            transport, _ = await self._loop.connect_accepted_socket(
                handler, sock, ssl=self._context, ssl_handshake_timeout=None if self._context is None else HANDSHAKE_S
            )
        except BaseException as error:
            self._connections.pop(connection, None)
            sock.close()
            if not isinstance(error, OSError):
                raise
            return
        connection.transport = transport
        if connection not in self._connections:  # it has given way meanwhile
            transport.abort()

    async def _talks(self, sock: socket.socket, limit_s: float) -> bool:
        """Whether it says anything before it ends, and within this time."""
        ready = asyncio.Event()
        self._loop.add_reader(sock.fileno(), ready.set)
        try:
            async with asyncio.timeout(limit_s):
                await ready.wait()
        finally:
            self._loop.remove_reader(sock.fileno())
        return sock.recv(1, socket.MSG_PEEK) != b""
