"""TLS between the processes of a cluster: everybody who knows the secret is a certificate authority, and the same one.

A :class:`TlsIdentity` makes the authority's certificate from ``ClusterKeys`` (equal in every process), signs itself a
certificate that lives a week, and gives the two ``ssl`` contexts that sessions use: TLS 1.3, both sides verified,
nothing trusted but this authority.  Names are not checked; what a process is stands in its certificate (standing.py).
:func:`explain_tls_error` says in words why a handshake failed.

While a secret is being replaced (``ClusterKeys.old``), a process trusts the authorities of both.  Its certificate is
signed by the new one; after it goes a second certificate, in which the old authority vouches for the new one's key.
So whoever knows only the new secret, only the old one, or both, accepts it in either direction, at the first dial.
(Nothing needs to be chosen, which is as well: Python's ssl shows neither side which authorities the other one knows
before the certificates have been sent.)  The other way round, nobody ever vouches for the old authority, so it is
worth nothing to those who have forgotten it.

In TLS 1.3 the client's handshake is done before the server has judged the client's certificate: a client that is
refused learns it at its first read.  So a session must not count as open before the server's first bytes.

What must not live here: sockets, asyncio, the secret itself.  ``cryptography.x509`` takes longer to import than all
the rest together, so it is imported at the first certificate; a program that forks calls :func:`preload` before.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from parkcos.net.trust.issuing import Certificate, Grant, certify, make_grant

if TYPE_CHECKING:
    from parkcos.net.trust.secret import ClusterKeys

__all__ = [
    "Context",
    "Identity",
    "TlsIdentity",
    "as_file",
    "explain_tls_error",
    "preload",
    "tls_context",
]


class Identity(Protocol):
    """What sessions need of whatever a process proves itself with.

    asks_for: the name for which it asks whoever it dials, "" for none: see guests.py.
    tells_standing: the certificates say what their holders are.
    """

    asks_for: str
    tells_standing: bool

    def server_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process accepts."""

    def client_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process dials."""

    def explain(self, exc: BaseException) -> str:
        """Return in plain words why the handshake that ended with *exc* failed."""


class TlsIdentity:
    """A process's certificate and the contexts that present it.  Not to be used by two threads at once.

    Everything is made at the first question for a context, and the contexts are kept.  A context stays good for the
    connections that use it; ask again for each new one, for the certificate is renewed daily.

    Args:
        source: the cluster's keys, or a grant.
        name, roles, incarnation: as of :func:`certify`.
        clock: gives the time in seconds since the epoch.
        certificate: the first one, if somebody else has made it, as a parent for its child.
        circle: as of :class:`Context`.
    """

    tells_standing = True

    def __init__(
        self,
        source: ClusterKeys | Grant,
        name: str = "parkcos",
        clock: Callable[[], float] = time.time,
        certificate: Certificate | None = None,
        *,
        roles: Iterable[str] = ("peer",),
        incarnation: int = 0,
        circle: str = "",
    ) -> None:
        self.asks_for = source.name
        self.circle = circle
        self._source = source
        self._name = name
        self._roles = tuple(roles)
        self._incarnation = incarnation
        self._clock = clock
        self._certificate = certificate
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def server_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process accepts."""
        return self._current()[0]

    def client_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process dials."""
        return self._current()[1]

    def explain(self, exc: BaseException) -> str:
        """Return in plain words why the handshake that ended with *exc* failed."""
        return explain_tls_error(exc)

    def _current(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        now = self._clock()
        certificate = self._certificate
        if certificate is None or not certificate.is_fresh(now):
            certificate, self._contexts = certify(self._source, self._name, now, self._roles, self._incarnation), None
            self._certificate = certificate
        if self._contexts is None:
            with as_file(certificate.shown) as path:
                self._contexts = (
                    tls_context(ssl.PROTOCOL_TLS_SERVER, certificate.trusted, path, self.circle),
                    tls_context(ssl.PROTOCOL_TLS_CLIENT, certificate.trusted, path, self.circle),
                )
        return self._contexts


def preload() -> None:
    """Do once what the first identity of a process needs (about 50 ms), so that those forked after this need not.

    That is not only the import: OpenSSL gets ready at the first key and the first context.
    """
    from parkcos.net.trust.secret import ClusterKeys

    keys = ClusterKeys(os.urandom(32), b"")
    TlsIdentity(make_grant(keys, "server"), "").server_context()


class Context(ssl.SSLContext):
    """circle: to whose processes it leads, as this one calls them; see guests.py."""

    circle: str = ""


def tls_context(side: ssl._SSLMethod, trusted_der: bytes, chain_path: str, circle: str = "") -> Context:
    """Return a context that speaks TLS 1.3, demands a certificate, and trusts only *trusted_der*.

    Args:
        side: ``ssl.PROTOCOL_TLS_SERVER`` or ``ssl.PROTOCOL_TLS_CLIENT``.
        trusted_der: one or more certificates, DER, one after the other.
        chain_path: a PEM file with the own key and certificate.
        circle: as of :class:`Context`.
    """
    context = Context(side)
    context.circle = circle
    context.check_hostname = False  # addresses change, and whoever knows the secret belongs
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    if side is ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # sessions are long and never resumed: two messages less in each handshake
    context.load_verify_locations(cadata=trusted_der)
    context.load_cert_chain(chain_path)
    return context


@contextlib.contextmanager
def as_file(pem: bytes) -> Iterator[str]:
    """Give *pem* a path for as long as the block runs: ``load_cert_chain`` takes nothing else.

    In memory where Linux offers it, so that no private key touches a disk; otherwise a temporary file that only
    this user can read.
    """
    with contextlib.ExitStack() as cleanup:
        fd = -1
        path = ""
        if hasattr(os, "memfd_create"):
            with contextlib.suppress(OSError):  # forbidden in some sandboxes
                fd = os.memfd_create("parkcos-certificate", os.MFD_CLOEXEC)
                cleanup.callback(os.close, fd)
                path = f"/proc/self/fd/{fd}"
        if not os.path.exists(path):
            import tempfile  # seldom needed, and slow to import

            fd, path = tempfile.mkstemp(prefix="parkcos-", suffix=".pem")  # mode 0600
            cleanup.callback(os.unlink, path)
            cleanup.callback(os.close, fd)  # before the file is removed: callbacks run last to first
        os.write(fd, pem)
        yield path


# What ssl calls a fault (a part of SSLError.reason), and what it means to the reader of a log.
_ANOTHER_SECRET: Final = (
    "the other side uses another secret (copy the secret file of one machine to the other), "
    "or certificates of its own (--certfile)"
)
_CLOCKS: Final = "a certificate is expired or not valid yet: the clocks of the two machines differ by days; set them"
_NOT_TLS: Final = (
    "the other side does not speak TLS: it is another program, or a parkcos without a secret (--no_secret)"
)
_TOO_OLD: Final = "the other side offers no TLS 1.3: it is another program, or its OpenSSL is too old"
CLOSED: Final = "the other side closed the connection during the handshake: it ended, or it does not speak TLS"
_NO_CERTIFICATE: Final = "a side showed no certificate: it is not a parkcos of this cluster"
_REASONS: Final = (
    ("CERTIFICATE_REQUIRED", _NO_CERTIFICATE),
    ("DID_NOT_RETURN_A_CERTIFICATE", _NO_CERTIFICATE),
    ("CERTIFICATE_EXPIRED", _CLOCKS),
    ("ALERT_PROTOCOL_VERSION", _TOO_OLD),
    ("UNSUPPORTED_PROTOCOL", _TOO_OLD),
    ("VERSION_TOO_LOW", _TOO_OLD),
    ("UNKNOWN_CA", _ANOTHER_SECRET),
    ("BAD_CERTIFICATE", f"{_ANOTHER_SECRET}, or the clocks of the two machines differ by more than a day"),
    ("CERTIFICATE_UNKNOWN", _ANOTHER_SECRET),
    ("CERTIFICATE_VERIFY_FAILED", _ANOTHER_SECRET),
    ("DECRYPT_ERROR", _ANOTHER_SECRET),
    ("BAD_SIGNATURE", _ANOTHER_SECRET),
    ("EOF", CLOSED),
    ("WRONG_VERSION_NUMBER", _NOT_TLS),
    ("VERSION_NUMBER", _NOT_TLS),
    ("HTTP", _NOT_TLS),
    ("UNKNOWN_PROTOCOL", _NOT_TLS),
    ("LENGTH_TOO_LONG", _NOT_TLS),
    ("LENGTH_MISMATCH", _NOT_TLS),
    ("UNEXPECTED_MESSAGE", _NOT_TLS),
    ("RECORD", _NOT_TLS),
)
_VERIFY_EXPIRED: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def explain_tls_error(exc: BaseException) -> str:
    """Return in plain words, fit for one log line, why the handshake that ended with *exc* failed."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _CLOCKS if exc.verify_code in _VERIFY_EXPIRED else _ANOTHER_SECRET
    if isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return CLOSED
    if isinstance(exc, ssl.SSLError):
        # A fault that Python knows no name for has it in the text only, in other letters.
        fault_name = getattr(exc, "reason", None) or str(exc)
        text = fault_name.upper().replace(" ", "_")
        for fault, words in _REASONS:
            if fault in text:
                return words
        return f"the TLS handshake failed: {fault_name}"
    if isinstance(exc, TimeoutError) or "handshake is taking longer" in str(exc):  # the latter is asyncio's
        return "the other side did not answer in time: it is overloaded, cut off, or does not speak TLS"
    if isinstance(exc, (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)):
        return CLOSED
    return f"the connection failed: {str(exc) or type(exc).__name__}"
