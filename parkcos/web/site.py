"""A web server in the I/O thread: its sockets, its routes behind the guard, its life.

Whoever makes one gives it the routes, streams and pages.  All of its addresses are relative: it may stand below a path
of another server (see `guard.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from parkcos.errors import ConfigError
from parkcos.net.finding.addresses import choose_address
from parkcos.net.iothread import IOThread
from parkcos.web.entrance import Entrance
from parkcos.web.guard import Guard
from parkcos.web.kind import Kind
from parkcos.web.listening import is_loopback, listen, listen_at_default, tls_context
from parkcos.web.pages import Pages
from parkcos.web.stream import Stream
from parkcos.web.tokens import Tokens

logger = logging.getLogger("parkcos")

BODY_BYTES_MAX = 1024 * 1024
LOOPBACK = "127.0.0.1"
IDLE_S = 30.0
"""A connection on which no request is under way, or none gets complete, is closed after this time."""
END_S = 1.0
"""Requests that are being answered may take so long at the end."""


@dataclass
class SiteOptions:
    """Where a site listens, and who may look.

    host: an address or name of this machine; "": all its addresses; None: for this machine alone.
    port: 0 for any free one; None: the first free one from that of the site's kind on.
    token, view_token: of who may look and act, and of who may look only.
    insecure: it may speak plain HTTP to other machines.
    """

    host: str | None = None
    port: int | None = None
    document_root: str | os.PathLike[str] | None = None
    keyfile: str | os.PathLike[str] | None = None
    certfile: str | os.PathLike[str] | None = None
    token: str | None = None
    hosts: Sequence[str] = ()
    view_token: str | None = None
    insecure: bool = False


class Part(Protocol):
    """What has routes."""

    def add_routes(self, app: web.Application) -> None:
        """Serve them."""


class Site:
    """One web server, open when this returns.  Not to be made in the I/O thread.

    Args:
        io: the I/O thread.
        kind: what it is called.
        options: where it listens, and who may look.
        parts: have its routes, beside those of its pages, of logging in and of /healthz.
        streams: likewise; they begin and end with it.
        static: the folder of its pages, with an index.html; None: it has none but the one where one logs in.

    Raises: ConfigError.
    """

    def __init__(
        self,
        io: IOThread,
        kind: Kind,
        options: SiteOptions,
        parts: Sequence[Part],
        streams: Sequence[Stream] = (),
        static: Path | None = None,
    ) -> None:
        self._streams = streams
        hosts = [options.hosts] if isinstance(options.hosts, str) else list(options.hosts)
        if not all(isinstance(host, str) and host for host in hosts):
            raise ConfigError(f"hosts={options.hosts!r}: give a list of names, as ['dash.example.org']")
        context = tls_context(options.certfile, options.keyfile)
        pages = Pages(static, options.document_root, kind)
        self._host = LOOPBACK if options.host is None else options.host
        if options.port is None and kind.port:
            sockets = listen_at_default(self._host, kind)
        else:
            sockets = listen(self._host, options.port or 0, kind)
        try:
            self.port = int(sockets[0].getsockname()[1])
            self.scheme = "http" if context is None else "https"
            exposed = context is None and not all(map(is_loopback, sockets))
            if exposed and not options.insecure:
                raise ConfigError(
                    f"host={options.host!r}: the {kind.name} would speak plain HTTP to other machines, and whoever "
                    f"listens in the network would get its token; give a certificate ({kind.certificate_option}; "
                    "parkcos.py --make_cert makes one), or give no host, and reach it through SSH (ssh -L); "
                    f"to take the risk: {kind.insecure_option}"
                )
            self.tokens = Tokens(
                _given(options.token, kind.token_variable), _given(options.view_token, kind.view_token_variable), kind
            )
            guard = Guard(self.tokens, self.port, context is not None, hosts, kind)
            self._entrance = Entrance(io.loop, context)
            self._runner = web.AppRunner(
                make_app(guard, *parts, *streams, pages, entrance=self._entrance),
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
        if exposed:
            text = "the %s at %s speaks plain HTTP to other machines: whoever listens in the network gets its token"
            logger.warning(text, kind.name, self.address)

    async def _start(self, sockets: list[socket.socket]) -> None:
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._entrance.open(sockets, server)
        for stream in self._streams:
            stream.start()

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

    @property
    def view_url(self) -> str | None:
        """The same, for who may look only; None if nobody may."""
        token = self.tokens.view_token
        return None if token is None else f"{self.address}?token={quote(token, safe='')}"

    @property
    def loggable_url(self) -> str:
        """The same, without a token that was given: its user knows it, and others may read the log."""
        return f"{self.address}?token=..." if self.tokens.given else self.url

    async def close(self, wait_s: float) -> None:
        """I/O thread: tell the viewers the last news, which may take `wait_s` seconds, and end."""
        await asyncio.gather(*(stream.close(wait_s) for stream in self._streams))
        await self._entrance.close()
        await self._runner.cleanup()


def _given(value: str | None, variable: str) -> str | None:
    """A token that was given, or that of the environment."""
    return value if value is not None else os.environ.get(variable) or None


def _log() -> logging.Logger:
    """For what goes wrong in a request; what is wrong with the request itself is its sender's affair."""
    log = logging.getLogger("parkcos.web")
    log.addFilter(_is_own_fault)
    return log


def _is_own_fault(record: logging.LogRecord) -> bool:
    faults = (HttpProcessingError, RequestPayloadError, ConnectionError)
    return record.exc_info is None or not isinstance(record.exc_info[1], faults)


def make_app(guard: Guard, *parts: Part, entrance: Entrance | None = None) -> web.Application:
    """All routes, behind the guard; entrance: which requests pass first."""
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[entrance.middleware] if entrance else [])
    guard.install(app)
    for part in parts:
        part.add_routes(app)
    app.router.add_get("/healthz", _healthz)
    return app


async def _healthz(request: web.Request) -> web.StreamResponse:
    """Whether it answers, for anybody."""
    return web.Response(text="ok")
