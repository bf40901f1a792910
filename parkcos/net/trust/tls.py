"""TLS between the processes of a cluster: everybody who knows the secret is a certificate authority, and the same one.

A :class:`TlsIdentity` makes the authority's certificate from ``ClusterKeys`` (equal in every process), signs itself a
certificate that lives a week, and gives the two ``ssl`` contexts that sessions use: TLS 1.3, both sides verified,
nothing trusted but this authority.  Names are not checked: whoever knows the secret belongs.
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
import datetime
import os
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from parkcos.net.trust.secret import ClusterKeys

__all__ = [
    "LEAF_RENEW_S",
    "LEAF_VALID_S",
    "Certificate",
    "Identity",
    "TlsIdentity",
    "as_file",
    "certify",
    "explain_tls_error",
    "preload",
    "tls_context",
]

LEAF_VALID_S: Final = 7 * 86400.0
"""How long a process's certificate is valid after it is made.  It is valid a day before, for clocks that are behind."""
LEAF_RENEW_S: Final = 86400.0
"""A certificate older than this is replaced when a context is asked for next."""

_LEAF_BACKDATED_S: Final = 86400.0
_CA_NAME: Final = "parkcos cluster"
_CA_SERIAL: Final = 1
# The authority ends when the secret is changed, not on a date: the second is RFC 5280's "no well-defined end".
_CA_FROM: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_CA_UNTIL: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
_NAME_BYTES_MAX: Final = 64  # X.509's bound for a common name


class Identity(Protocol):
    """What sessions need of whatever a process proves itself with.

    asks_for: the name for which it asks whoever it dials, "" for none: see guests.py.
    """

    asks_for: str

    def server_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process accepts."""

    def client_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process dials."""

    def explain(self, exc: BaseException) -> str:
        """Return in plain words why the handshake that ended with *exc* failed."""


@dataclass(frozen=True)
class Certificate:
    """What a process proves itself with.

    trusted: the authorities' certificates, DER.
    shown: the process's key and its certificates, PEM.
    made_at: seconds since the epoch.
    """

    trusted: bytes
    shown: bytes
    made_at: float

    def is_fresh(self, now: float) -> bool:
        """Whether it need not be replaced yet.  A clock that was set back may show a time at which it is not valid."""
        return 0 <= now - self.made_at < LEAF_RENEW_S


def certify(keys: ClusterKeys, name: str, now: float) -> Certificate:
    """Return a new certificate for a process that holds *keys*.

    Args:
        name: goes into the certificate, for whoever looks into it; nothing is decided by it.
        now: seconds since the epoch.
    """
    ca_key = _ca_key(keys)
    trusted = _ca_certificate(ca_key)
    name = "".join(c for c in name if c.isprintable()).encode()[:_NAME_BYTES_MAX].decode(errors="ignore")
    shown = _leaf_pem(ca_key, name, now)
    if keys.old is not None:
        old_key = _ca_key(keys.old)
        trusted += _ca_certificate(old_key)
        shown += _link_pem(ca_key, old_key, now)
    return Certificate(trusted, shown, now)


class TlsIdentity:
    """A process's certificate and the contexts that present it.  Not to be used by two threads at once.

    Everything is made at the first question for a context, and the contexts are kept.  A context stays good for the
    connections that use it; ask again for each new one, for the certificate is renewed daily.

    Args:
        keys: the cluster's keys.
        name: as of :func:`certify`.
        clock: gives the time in seconds since the epoch.
        certificate: the first one, if somebody else has made it, as a parent for its child.
    """

    def __init__(
        self,
        keys: ClusterKeys,
        name: str = "parkcos",
        clock: Callable[[], float] = time.time,
        certificate: Certificate | None = None,
    ) -> None:
        self.asks_for = keys.name
        self._keys = keys
        self._name = name
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

    def ca_certificate(self) -> bytes:
        """Return the authority's certificate (DER): the same bytes in every process of the cluster."""
        return _ca_certificate(_ca_key(self._keys))

    def _current(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        now = self._clock()
        certificate = self._certificate
        if certificate is None or not certificate.is_fresh(now):
            certificate, self._contexts = certify(self._keys, self._name, now), None
            self._certificate = certificate
        if self._contexts is None:
            with as_file(certificate.shown) as path:
                self._contexts = (
                    tls_context(ssl.PROTOCOL_TLS_SERVER, certificate.trusted, path),
                    tls_context(ssl.PROTOCOL_TLS_CLIENT, certificate.trusted, path),
                )
        return self._contexts


def preload() -> None:
    """Do once what the first identity of a process needs (about 50 ms), so that those forked after this need not.

    That is not only the import: OpenSSL gets ready at the first key and the first context.
    """
    from parkcos.net.trust.secret import ClusterKeys

    TlsIdentity(ClusterKeys(os.urandom(32), b""), "").server_context()


def _ca_key(keys: ClusterKeys) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(keys.ca_seed)


def _ca_certificate(ca_key: Ed25519PrivateKey) -> bytes:
    """The authority's certificate, DER: nothing in it is chosen, and Ed25519 signatures have no randomness."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (_usage(certificates=True), True)]
    builder = _builder(_CA_NAME, ca_key.public_key(), _CA_SERIAL, _CA_FROM, _CA_UNTIL, extensions)
    return builder.sign(ca_key, None).public_bytes(Encoding.DER)


def _link_pem(ca_key: Ed25519PrivateKey, old_key: Ed25519PrivateKey, now: float) -> bytes:
    """The old authority's word for the key of the new one, PEM; it lives as long as a process's certificate.

    Both authorities have the same name, so this certificate counts as issued by itself, and the bound on the length
    of the chain (none between authority and process) still holds: RFC 5280, 4.2.1.9.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(certificates=True), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(old_key.public_key()), False),
    ]
    start, end = _lifetime(now)
    builder = _builder(_CA_NAME, ca_key.public_key(), x509.random_serial_number(), start, end, extensions)
    return builder.sign(old_key, None).public_bytes(Encoding.PEM)


def _lifetime(now: float) -> tuple[datetime.datetime, datetime.datetime]:
    start, end = (
        datetime.datetime.fromtimestamp(int(at), datetime.UTC) for at in (now - _LEAF_BACKDATED_S, now + LEAF_VALID_S)
    )
    return start, end


def _leaf_pem(ca_key: Ed25519PrivateKey, name: str, now: float) -> bytes:
    """A new key and a certificate for it, PEM, one after the other."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = Ed25519PrivateKey.generate()
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    ]
    start, end = _lifetime(now)
    builder = _builder(name, key.public_key(), x509.random_serial_number(), start, end, extensions)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem + builder.sign(ca_key, None).public_bytes(serialization.Encoding.PEM)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    """What a key may sign: certificates (and nothing else), or handshakes."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: str,
    public_key: Ed25519PublicKey,
    serial: int,
    start: datetime.datetime,
    end: datetime.datetime,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.CertificateBuilder:
    """A certificate to be signed by the authority; each extension goes with whether it is critical."""
    from cryptography import x509

    def named(common_name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject or "parkcos"))
        .issuer_name(named(_CA_NAME))
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder


def tls_context(side: ssl._SSLMethod, trusted_der: bytes, chain_path: str) -> ssl.SSLContext:
    """Return a context that speaks TLS 1.3, demands a certificate, and trusts only *trusted_der*.

    Args:
        side: ``ssl.PROTOCOL_TLS_SERVER`` or ``ssl.PROTOCOL_TLS_CLIENT``.
        trusted_der: one or more certificates, DER, one after the other.
        chain_path: a PEM file with the own key and certificate.
    """
    context = ssl.SSLContext(side)
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
