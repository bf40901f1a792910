"""The web server of a dashboard: its sockets, its routes, its life in the I/O thread.  Where it may be reached."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from parkcos.errors import ConfigError
from parkcos.httpd.api import POLL_MAX_S, POLL_MIN_S, Actions, Api
from parkcos.httpd.board import Board
from parkcos.httpd.metrics import Metrics
from parkcos.httpd.stream import Stream
from parkcos.net.finding.addresses import choose_address
from parkcos.net.iothread import IOThread
from parkcos.web.entrance import Entrance
from parkcos.web.guard import Guard
from parkcos.web.pages import Pages
from parkcos.web.tokens import Tokens

logger = logging.getLogger("parkcos")

TOKEN_VARIABLE = "PARKCOS_HTTPD_TOKEN"
BODY_BYTES_MAX = 1024 * 1024
BACKLOG = 128
LOOPBACK = "127.0.0.1"
PORT = 8181
PORTS_TRIED = 20
"""Ports from PORT on, of which the first free one is taken where none was given."""
IDLE_S = 30.0
"""A connection on which no request is under way, or none gets complete, is closed after this time."""
END_S = 1.0
"""Requests that are being answered may take so long at the end."""


@dataclass
class SiteOptions:
    """Where a dashboard listens, and who may look.

    host: an address or name of this machine; "": all its addresses; None: for this machine alone.
    port: 0 for any free one; None: the first free one from 8181 on.
    """

    host: str | None = None
    port: int | None = None
    document_root: str | os.PathLike[str] | None = None
    keyfile: str | os.PathLike[str] | None = None
    certfile: str | os.PathLike[str] | None = None
    token: str | None = None
    hosts: Sequence[str] = ()


def checked_poll(poll_s: object) -> float:
    """Raises: ConfigError."""
    if isinstance(poll_s, bool) or not isinstance(poll_s, int | float) or not POLL_MIN_S <= poll_s <= POLL_MAX_S:
        raise ConfigError(f"poll_sec={poll_s!r}: give seconds, from {POLL_MIN_S:g} to {POLL_MAX_S:g}")
    return float(poll_s)


class Site:
    """One dashboard, open when this returns.  Not to be made in the I/O thread.

    Raises: ConfigError.
    """

    def __init__(
        self, io: IOThread, board: Board, options: SiteOptions, actions: Actions, show_args: Callable[[], object]
    ) -> None:
        self._io = io
        self._board = board
        self._options = options
        hosts = [options.hosts] if isinstance(options.hosts, str) else list(options.hosts)
        if not all(isinstance(host, str) and host for host in hosts):
            raise ConfigError(f"hosts={options.hosts!r}: give a list of names, as ['dash.example.org']")
        context = tls_context(options.certfile, options.keyfile)
        pages = Pages(options.document_root)
        self._host = LOOPBACK if options.host is None else options.host
        sockets = listen_at_default(self._host) if options.port is None else listen(self._host, options.port)
        try:
            self.port = int(sockets[0].getsockname()[1])
            token = options.token if options.token is not None else os.environ.get(TOKEN_VARIABLE) or None
            self.tokens = Tokens(token, self.port)
            self.scheme = "http" if context is None else "https"
            self.stream = Stream(board, io.loop)
            guard = Guard(self.tokens, context is not None, hosts)
            self._entrance = Entrance(io.loop, context)
            api = Api(board, self.stream, actions, show_args)
            app = make_app(guard, api, self.stream, Metrics(board), pages, self._entrance)
            self._runner = web.AppRunner(
                app,
                access_log=None,
                handle_signals=False,
                shutdown_timeout=END_S,
                keepalive_timeout=IDLE_S,
                logger=_log(),
            )
            io.run(self._start(sockets)).result()
        except BaseException:
            for each in sockets:
                each.close()
            raise
        board.urgent = lambda: io.call(self.stream.push_soon)
        url = f"{self.address}?token=..." if self.tokens.given else self.url
        logger.warning("the dashboard of %s: %s", board.model.name, url)

    async def _start(self, sockets: list[socket.socket]) -> None:
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._entrance.open(sockets, server)
        self.stream.start()

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        host = self._host
        if host in ("", "0.0.0.0", "::"):
            host = choose_address().addr
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def url(self) -> str:
        """The same, with the token."""
        return f"{self.address}?token={quote(self.tokens.token, safe='')}"

    async def close(self, wait_s: float) -> None:
        """I/O thread: tell the viewers the last news, which may take `wait_s` seconds, and end."""
        self._board.urgent = lambda: None
        await self.stream.close(wait_s)
        await self._entrance.close()
        await self._runner.cleanup()


def _log() -> logging.Logger:
    """For what goes wrong in a request; what is wrong with the request itself is its sender's affair."""
    log = logging.getLogger("parkcos.httpd")
    log.addFilter(_is_own_fault)
    return log


def _is_own_fault(record: logging.LogRecord) -> bool:
    faults = (HttpProcessingError, RequestPayloadError, ConnectionError)
    return record.exc_info is None or not isinstance(record.exc_info[1], faults)


def make_app(
    guard: Guard, api: Api, stream: Stream, metrics: Metrics, pages: Pages, entrance: Entrance | None = None
) -> web.Application:
    """All routes, behind the guard; entrance: which requests pass first."""
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[entrance.middleware] if entrance else [])
    guard.install(app)
    for part in (api, stream, metrics, pages):
        part.add_routes(app)
    app.router.add_post("/login", guard.login)
    return app


def listen_at_default(host: str) -> list[socket.socket]:
    """As `listen`, at the first free port from PORT on; says so if that is another one.  Raises: ConfigError."""
    for port in range(PORT, PORT + PORTS_TRIED):
        try:
            sockets = listen(host, port)
        except ConfigError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
                raise
            continue
        if port != PORT:
            logger.warning("port %d is taken, perhaps by another dashboard: port %d is used instead", PORT, port)
        return sockets
    raise ConfigError(
        f"the dashboard cannot listen at any port from {PORT} to {port}: other programs do; "
        "give another port (port=9000, --httpd_port 9000), or 0 for any free one"
    )


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets at all addresses of `host`, with one port.  Raises: ConfigError."""
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ConfigError(f"port={port!r}: give a number from 1 to 65535, or 0 for any free port")
    if not isinstance(host, str):
        raise ConfigError(f"host={host!r}: give an address or name of this machine, or '' for all its addresses")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host={host!r}: that is no address or name of a machine: {error}") from error
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        failure: OSError | None = None
        for family, kind, protocol, _, address in sorted(found, key=lambda each: each[0] == socket.AF_INET6):
            try:
                sock = stack.enter_context(socket.socket(family, kind, protocol))
                if os.name == "posix":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address[0], port, *address[2:]))
                sock.listen(BACKLOG)
            except OSError as error:
                failure = error
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT):
                    break
                continue
            failure = None
            sock.setblocking(False)
            port = sock.getsockname()[1]
            sockets.append(sock)
        if failure is not None and (not sockets or failure.errno == errno.EADDRINUSE):
            raise _not_bound(host, port, failure) from failure
        stack.pop_all()
    return sockets


def _not_bound(host: str, port: int, error: OSError) -> ConfigError:
    where = f"port {port}" + (f" of {host}" if host else "")
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"the dashboard cannot listen at {where}: another program does, perhaps another dashboard; "
            "give another port (port=8182, --httpd_port 8182), or 0 for any free one"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"the dashboard may not listen at {where}: ports below 1024 are the administrator's")
    return ConfigError(f"the dashboard cannot listen at {where}: {error.strerror or error}")


def tls_context(
    certfile: str | os.PathLike[str] | None, keyfile: str | os.PathLike[str] | None
) -> ssl.SSLContext | None:
    """For HTTPS; None without a certificate.  Raises: ConfigError."""
    if certfile is None:
        if keyfile is not None:
            raise ConfigError(f"keyfile={str(keyfile)!r} needs the certificate that it belongs to: give certfile, too")
        return None
    for path in (certfile, keyfile):
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"{str(path)!r} is no file (looked in {Path.cwd()}); certfile and keyfile are PEM files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key that wants a password is refused: there is nobody to type it.
        context.load_cert_chain(certfile, keyfile, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"certfile={str(certfile)!r}, keyfile={str(keyfile) if keyfile else None!r} cannot be used: {error}; both "
            "must be PEM files, the key without a password and that of the certificate"
        ) from error
    return context
