"""Where a site listens: its addresses, its port or the first that is free, its certificate."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import ssl
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.web.kind import Kind

logger = logging.getLogger("parkcos")

BACKLOG = 128
PORTS_TRIED = 20
"""Ports from the kind's own on, of which the first free one is taken where none was given."""


def listen_at_default(host: str, kind: Kind) -> list[socket.socket]:
    """As `listen`, at the first free port from the kind's on; says so if that is another one.  Raises: ConfigError."""
    for port in range(kind.port, kind.port + PORTS_TRIED):
        try:
            sockets = listen(host, port, kind)
        except ConfigError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
                raise
            continue
        if port != kind.port:
            text = "port %d is taken, perhaps by another %s: port %d is used instead"
            logger.warning(text, kind.port, kind.name, port)
        return sockets
    raise ConfigError(
        f"the {kind.name} cannot listen at any port from {kind.port} to {port}: other programs do; "
        f"give another port ({kind.port_option}), or 0 for any free one"
    )


def listen(host: str, port: int, kind: Kind) -> list[socket.socket]:
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
        for family, type_, protocol, _, address in sorted(found, key=lambda each: each[0] == socket.AF_INET6):
            try:
                sock = stack.enter_context(socket.socket(family, type_, protocol))
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
            raise _not_bound(host, port, kind, failure) from failure
        stack.pop_all()
    return sockets


def is_loopback(sock: socket.socket) -> bool:
    """Whether it is for this machine alone."""
    return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


def _not_bound(host: str, port: int, kind: Kind, error: OSError) -> ConfigError:
    where = f"port {port}" + (f" of {host}" if host else "")
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"the {kind.name} cannot listen at {where}: another program does, perhaps another {kind.name}; "
            f"give another port ({kind.port_option}), or 0 for any free one"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"the {kind.name} may not listen at {where}: ports below 1024 are the administrator's")
    return ConfigError(f"the {kind.name} cannot listen at {where}: {error.strerror or error}")


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
