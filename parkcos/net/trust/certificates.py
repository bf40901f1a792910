"""Certificates of the user's own, in place of those that come from the cluster's secret.

:func:`load_certificates` reads and judges the three files that a program is given; :class:`CertificateIdentity` gives
the contexts for sessions, and takes up files that were renewed; :func:`make_certificate` makes a pair to start with.

Nothing is trusted but the certificates in the ``cafile``.  Without one, it is the own certificate alone: then all
processes share one certificate and its key, and nobody else comes in.  What stands behind the first certificate in the
``certfile`` (the chain up to a public authority, say) is shown to others and never trusted.

What must not live here: sockets, asyncio, the secret.
"""

from __future__ import annotations

import datetime
import logging
import os
import ssl
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from parkcos.errors import ConfigError
from parkcos.net.trust.tls import as_file, explain_tls_error, tls_context

if TYPE_CHECKING:
    from cryptography import x509

__all__ = [
    "DAYS_DEFAULT",
    "CertificateIdentity",
    "Certificates",
    "certificate_summary",
    "load_certificates",
    "make_certificate",
    "read_private",
    "write_new",
]

DAYS_DEFAULT: Final = 5 * 365
"""How long a certificate of :func:`make_certificate` is valid, in days."""
EXPIRES_SOON_S: Final = 14 * 86400.0
"""A certificate that ends within this time is warned of."""

_FILE_BYTES_MAX: Final = 1 << 20
_HANDSHAKE_STEPS: Final = 4  # a handshake of TLS 1.3 in memory needs two
_CERTIFICATE_NAME: Final = "certificate.pem"
_KEY_NAME: Final = "key.pem"
_CLOCKS: Final = "or set the clocks of the two machines"

_NOT_ACCEPTED: Final = (
    "UNKNOWN_CA",
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
)

_logger: Final = logging.getLogger("parkcos")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files of a process hold, and where they lie.  The key is never printed.

    Attributes:
        certfile: path of the own certificate, with the chain behind it if it has one.
        keyfile: path of its private key; that of *certfile* if the key is in there.
        cafile: path of the certificates that are trusted; empty: the own one alone.
        chain: what is in *certfile*, PEM.
        key: the key, PEM.
        trusted: what is in *cafile*, PEM; empty as *cafile*.
        marks: by which one sees that the files have been replaced since.
    """

    certfile: str
    keyfile: str
    cafile: str
    chain: str = field(repr=False)
    key: str = field(repr=False)
    trusted: str = field(repr=False)
    marks: str = field(default="", compare=False)

    @property
    def authority(self) -> str:
        """The file that says who is trusted."""
        return self.cafile or self.certfile

    @property
    def key_block(self) -> bytes:
        """The private key, PEM, without what else is in the file."""
        return _key_block(self.key)


def load_certificates(
    certfile: str | Path | None,
    keyfile: str | Path | None = None,
    cafile: str | Path | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> Certificates | None:
    """Read the files of a process and prove that they work together; None if there is no *certfile*.

    Args:
        certfile: PEM: the own certificate, then the chain behind it, if it has one.
        keyfile: PEM: its private key, without a passphrase; None: it is in *certfile*.
        cafile: PEM: the certificates whose holders, and whose issued certificates' holders, are trusted; None: only
            the own certificate is.
        clock: gives the time in seconds since the epoch.

    Raises:
        ConfigError: a file is missing, unreadable, no PEM, or open to others though it holds the key; the key does
            not fit; the certificate is expired, not valid yet, not signed by *cafile*, or not meant for both ends
            of a connection.  The message names the file and the remedy.

    Source: chapter 6.2 (``certfile``, ``keyfile``).
    """
    if certfile is None:
        if keyfile is not None or cafile is not None:
            raise ConfigError("a keyfile or cafile goes with a certificate: give the certfile, too")
        return None
    own_path, key_path = Path(certfile).absolute(), Path(keyfile or certfile).absolute()
    ca_path = Path(cafile).absolute() if cafile is not None else None
    paths = str(own_path), str(key_path), str(ca_path or "")
    marks = _marks(*paths)  # before the reading: what changes meanwhile is seen later
    loaded = Certificates(
        *paths,
        _read(own_path, "certificate", private=own_path == key_path),
        _read(key_path, "key", private=True),
        _read(ca_path, "CA", private=False) if ca_path is not None else "",
        marks,
    )
    _check(loaded, clock())
    return loaded


class CertificateIdentity:
    """The contexts of a process with certificates of its own.  Not to be used by two threads at once.

    Files that have changed on disk are taken up for the next connection; if there is something wrong with them, that
    is logged, and those from before stay.

    Args:
        loaded: the certificates to begin with.  Where this process may not read the files (a server that runs as
            another user), it goes on with these.
        clock: gives the time in seconds since the epoch.
    """

    asks_for = ""
    tells_standing = False

    def __init__(self, loaded: Certificates, clock: Callable[[], float] = time.time) -> None:
        self._loaded = loaded
        self._clock = clock
        self._seen = loaded.marks
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def current(self) -> Certificates:
        """Return what the files hold now, or held when they were last in order."""
        self._current()
        return self._loaded

    def server_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process accepts."""
        return self._current()[0]

    def client_context(self) -> ssl.SSLContext:
        """Return the context for the connections that this process dials."""
        return self._current()[1]

    def explain(self, exc: BaseException) -> str:
        """Return in plain words, fit for one log line, why the handshake that ended with *exc* failed."""
        own, authority = self._loaded.certfile, self._loaded.authority
        if isinstance(exc, ssl.SSLCertVerificationError):
            if "expired" in exc.verify_message:
                return f"its certificate has expired: renew it there, {_CLOCKS}"
            if "not yet valid" in exc.verify_message:
                return f"its certificate is not valid yet: {_CLOCKS[3:]}"
            return (
                f"its certificate is not one that {authority} vouches for ({exc.verify_message}): give both sides "
                "the same cafile, or the same certificate; or it has no certificate but a secret only"
            )
        if isinstance(exc, ssl.SSLError):
            fault = (exc.reason or str(exc)).upper().replace(" ", "_")
            if "ALERT_CERTIFICATE_EXPIRED" in fault:
                return f"it says that the certificate of this process, {own}, has expired: renew it, {_CLOCKS}"
            if any(name in fault for name in _NOT_ACCEPTED):
                return (
                    f"it does not accept the certificate of this process, {own}: its cafile does not vouch for it, "
                    f"or its clock is wrong, or it has no certificate but a secret only"
                )
            if "CERTIFICATE_REQUIRED" in fault or "DID_NOT_RETURN" in fault:
                return "a side showed no certificate, and both must"
        return explain_tls_error(exc)

    def _current(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        marks = _marks(self._loaded.certfile, self._loaded.keyfile, self._loaded.cafile)
        if marks and marks != self._seen:
            self._seen = marks
            self._renew()
        if self._contexts is None:
            self._contexts = _contexts(self._loaded)
        return self._contexts

    def _renew(self) -> None:
        old = self._loaded
        try:
            fresh = load_certificates(old.certfile, old.keyfile, old.cafile or None, clock=self._clock)
        except ConfigError as exc:
            _logger.warning("the certificate has changed and cannot be used, the one from before stays: %s", exc)
            return
        if fresh is not None and fresh != old:
            self._loaded, self._contexts = fresh, None
            _logger.info("the certificate in %s was renewed and is used for new connections", old.certfile)


def make_certificate(folder: Path, days: int = DAYS_DEFAULT, name: str = "parkcos") -> tuple[Path, Path]:
    """Make a self-signed certificate and its key (mode 0600), for all machines of a cluster to share.

    Args:
        folder: where both go; made if it is not there.
        days: how long it is valid.
        name: goes into the certificate, for people.

    Returns: the paths of certificate and key.

    Raises:
        ConfigError: *days* makes no sense, one of the files is there already, or cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    if not 0 < days <= 36500:
        raise ConfigError(f"a certificate cannot be valid for {days} days: give 1 to 36500")
    certificate_path, key_path = folder / _CERTIFICATE_NAME, folder / _KEY_NAME
    for path in (certificate_path, key_path):
        if os.path.lexists(path):
            raise ConfigError(f"{path} is there already, and is not overwritten: move it away, or give another folder")
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    both_ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - datetime.timedelta(days=1))  # for clocks that are behind
        .not_valid_after(start + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both_ends), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None)
    )
    encoding = serialization.Encoding.PEM
    key_pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(key_path, key_pem, 0o600)
        write_new(certificate_path, certificate.public_bytes(encoding), 0o644)
    except OSError as exc:
        raise ConfigError(f"the certificate cannot be written into {folder} ({exc.strerror}): give another") from exc
    return certificate_path, key_path


def certificate_summary(loaded: Certificates) -> tuple[str, str, datetime.datetime]:
    """Return the own certificate's subject, its SHA-256 fingerprint's beginning, and when it ends: for people."""
    import hashlib

    from cryptography.hazmat.primitives.serialization import Encoding

    own = _parse(loaded.chain, loaded.certfile)[0]
    digest = hashlib.sha256(own.public_bytes(Encoding.DER)).hexdigest()[:16]
    return own.subject.rfc4514_string(), digest, own.not_valid_after_utc


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Make a file that was not there.  Raises: OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
    with open(fd, "wb") as file:
        file.write(content)


def read_private(path: Path, what: str) -> str:
    """The ASCII text of a file that nobody but its owner may read.  what: it holds.  Raises: ConfigError."""
    return _read(path, what, private=True)


def _read(path: Path, what: str, *, private: bool) -> str:
    """The text of a file.  private: nobody but its owner may read it."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise ConfigError(f"the {what} file {path} is not there: give the path of a PEM file") from None
    except OSError as exc:
        raise ConfigError(
            f"the {what} file {path} cannot be read ({exc.strerror}): make it readable for this user (chown, chmod), "
            "or give another"
        ) from exc
    if private and os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"{path} holds the private key and is open to other users (mode {stat.S_IMODE(mode):04o}): run  "
            f"chmod 600 {path}  and, if others may have read it, make a new certificate"
        )
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"the {what} file {path} is larger than {_FILE_BYTES_MAX} bytes: is it the right file?")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(
            f"the {what} file {path} is no PEM file (text that begins with -----BEGIN ...): convert it with  "
            "openssl x509  or  openssl pkey"
        ) from None


def _check(loaded: Certificates, now: float) -> None:
    """Raise a ConfigError unless a process with these files could talk to another one with the same."""
    own = _parse(loaded.chain, loaded.certfile)[0]
    trusted = _parse(loaded.trusted, loaded.cafile) if loaded.cafile else [own]
    _check_key(loaded, own)
    for certificate, path in ((own, loaded.certfile), *((ca, loaded.authority) for ca in trusted)):
        name = certificate.subject.rfc4514_string() or "without a name"
        if len(trusted) > 1 and certificate is not own:
            continue  # of several authorities one may have expired
        if certificate.not_valid_after_utc.timestamp() < now:
            raise ConfigError(
                f"the certificate {name} in {path} has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} "
                "UTC: renew it, or set this machine's clock"
            )
        if certificate.not_valid_before_utc.timestamp() > now:
            raise ConfigError(
                f"the certificate {name} in {path} is not valid before "
                f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: set this machine's clock, or wait"
            )
    try:
        fault = _handshake_with_itself(_contexts(loaded))
    except (ssl.SSLError, ValueError) as exc:
        raise ConfigError(f"the certificate in {loaded.certfile} cannot be used ({exc}): make another one") from exc
    if fault is not None:
        words = getattr(fault, "verify_message", None) or fault.reason or str(fault)
        if "purpose" in words:
            raise ConfigError(
                f"the certificate in {loaded.certfile} is not meant for both ends of a connection ({words}): its "
                "extended key usage needs serverAuth and clientAuth, or must be left out"
            )
        raise ConfigError(
            f"the certificate in {loaded.certfile} is not signed by any in {loaded.authority} ({words}): give the "
            "cafile with the certificate of the authority that signed it (and put what is in between into the certfile)"
        )
    left_s = own.not_valid_after_utc.timestamp() - now
    if left_s < EXPIRES_SOON_S:
        _logger.warning("the certificate in %s expires in %.1f days: renew it", loaded.certfile, left_s / 86400)


def _check_key(loaded: Certificates, own: x509.Certificate) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    if "PRIVATE KEY-----" not in loaded.key:
        raise ConfigError(f"there is no private key (PEM) in {loaded.keyfile}: give the file with it as keyfile")
    try:
        key = load_pem_private_key(_key_block(loaded.key), None)
    except TypeError:  # cryptography's word for: it wants a password
        raise ConfigError(
            f"the key in {loaded.keyfile} has a passphrase, and nobody is there to type it: write one without with  "
            "openssl pkey -in FILE -out NEW_FILE"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"the key in {loaded.keyfile} cannot be read as PEM ({exc}): give another file") from exc
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        raise ConfigError(
            f"the key in {loaded.keyfile} does not fit the certificate in {loaded.certfile}: give the key that the "
            "certificate was made with"
        )


def _key_block(text: str) -> bytes:
    """The first private key in a PEM file, which may hold other things before it."""
    end = text.index("PRIVATE KEY-----")
    return text[text.rindex("-----BEGIN", 0, end) :].encode()


def _parse(text: str, path: str) -> list[x509.Certificate]:
    """The certificates in a PEM text.  Raises: ConfigError if there is none, or one cannot be read."""
    from cryptography import x509

    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigError(f"there is no certificate (PEM) in {path}: give a file with -----BEGIN CERTIFICATE-----")
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as exc:
        raise ConfigError(f"a certificate in {path} cannot be read as PEM ({exc}): give another file") from exc


def _contexts(loaded: Certificates) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    from cryptography.hazmat.primitives.serialization import Encoding

    if loaded.cafile:
        trusted = _parse(loaded.trusted, loaded.cafile)
    else:
        trusted = _parse(loaded.chain, loaded.certfile)[:1]
    trusted_der = b"".join(certificate.public_bytes(Encoding.DER) for certificate in trusted)
    pem = _key_block(loaded.key).decode() + "\n" + loaded.chain
    with as_file(pem.encode()) as path:
        server, client = (
            tls_context(side, trusted_der, path) for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
        )
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is trusted need not be signed by itself
    return server, client


def _handshake_with_itself(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> ssl.SSLError | None:
    """What would go wrong between two processes with these contexts, None if nothing would."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        contexts[1].wrap_bio(to_client, to_server),
        contexts[0].wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_HANDSHAKE_STEPS):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as exc:
                return exc
    return None


def _marks(*paths: str) -> str:
    """What shows that a file was replaced or written to; empty if one of them is not there or may not be read."""
    found: list[str] = []
    for path in dict.fromkeys(path for path in paths if path):
        try:
            status = os.stat(path)
        except OSError:
            return ""
        if not os.access(path, os.R_OK):
            return ""
        found.append(f"{status.st_mtime_ns}.{status.st_size}.{status.st_ino}")
    return " ".join(found)
