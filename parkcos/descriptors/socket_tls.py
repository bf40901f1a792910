"""The TLS contexts of AsyncSocket, from certificate files.  The sessions of a cluster have tls.py."""

from __future__ import annotations

import os
import ssl

from parkcos.errors import ConfigError

__all__ = ["client_context", "server_context"]

PathLike = str | os.PathLike[str]


def server_context(keyfile: PathLike | None, certfile: PathLike, cafile: PathLike | None) -> ssl.SSLContext:
    """For a server that shows `certfile`; with `cafile` its clients must show one that this verifies.

    Raises: ConfigError if a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_own(context, keyfile, certfile)
    if cafile is not None:
        _load_trusted(context, cafile)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(keyfile: PathLike | None, certfile: PathLike | None, cafile: PathLike | None) -> ssl.SSLContext:
    """For a client that trusts `cafile`, and then checks the server's name, else `certfile`, and nothing else.

    It shows `certfile` itself if it has its key, in `keyfile` or in the same file.
    Raises: ConfigError if a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if certfile is not None and (keyfile is not None or _has_key(certfile)):
        _load_own(context, keyfile, certfile)
    trusted = cafile if cafile is not None else certfile
    assert trusted is not None
    if cafile is None:
        context.check_hostname = False  # only the owner of this very certificate's key can be there
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_trusted(context, trusted)
    return context


def _has_key(certfile: PathLike) -> bool:
    try:
        with open(certfile, "rb") as file:
            return b"PRIVATE KEY-----" in file.read()
    except OSError as error:
        raise ConfigError(f"the certificate {os.fspath(certfile)!r} cannot be read: {error.strerror}") from None


def _load_own(context: ssl.SSLContext, keyfile: PathLike | None, certfile: PathLike) -> None:
    try:
        context.load_cert_chain(certfile, keyfile)
    except OSError as error:
        where = "" if keyfile is None else f" with the key {os.fspath(keyfile)!r}"
        hint = "" if keyfile is not None else "; give its key as keyfile, if it is in a file of its own"
        raise ConfigError(f"the certificate {os.fspath(certfile)!r}{where} cannot be used: {error}{hint}") from None


def _load_trusted(context: ssl.SSLContext, cafile: PathLike) -> None:
    try:
        context.load_verify_locations(cafile)
    except OSError as error:
        raise ConfigError(f"the certificates {os.fspath(cafile)!r} cannot be used: {error}") from None
