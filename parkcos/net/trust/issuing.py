"""Certificates: the authority that a cluster's keys are, those that processes show, and grants.

Whoever holds the cluster's keys is its authority.  Others get a :class:`Grant`: a key with which they sign certificates
for themselves, in one role.  A client's servers have one from an authority of the client's own, and so have
nothing that is the cluster's.

What must not live here: TLS's contexts, sockets, the secret itself.  ``cryptography.x509`` takes longer to import than
all the rest together, so it is imported at the first certificate.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from parkcos.errors import ConfigError
from parkcos.net.trust.standing import OWNER_BYTES_MAX, Standing

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from parkcos.net.trust.secret import ClusterKeys

__all__ = [
    "GRANT_BYTES_MAX",
    "LEAF_RENEW_S",
    "LEAF_VALID_S",
    "Certificate",
    "Grant",
    "certify",
    "decode_grant",
    "encode_grant",
    "make_grant",
]

LEAF_VALID_S: Final = 7 * 86400.0
"""How long a process's certificate is valid after it is made.  It is valid a day before, for clocks that are behind."""
LEAF_RENEW_S: Final = 86400.0
"""A certificate older than this is replaced when a context is asked for next."""

_LEAF_BACKDATED_S: Final = 86400.0
GRANT_BYTES_MAX: Final = 16 * 1024

_CA_NAME: Final = "parkcos cluster"
_GRANT_NAME: Final = "parkcos grant"
_CA_SERIAL: Final = 1
# The authority ends when the secret is changed, not on a date: the second is RFC 5280's "no well-defined end".
_CA_FROM: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_CA_UNTIL: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
_NAME_BYTES_MAX: Final = 64  # X.509's bound for a common name


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


@dataclass(frozen=True)
class Grant:
    """The right to be one thing in a cluster, for who is not to have the cluster's keys.

    Attributes:
        seed: 32 bytes, an Ed25519 private key, which signs its holder's certificates.
        certificates: for that key, PEM, and those behind it up to what others trust.
        trusted: the authorities' certificates, DER.
        standing: what its holder is.
        name: of the keys, as ``ClusterKeys.name``.
    """

    seed: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)] = field(repr=False)
    certificates: Annotated[bytes, msgspec.Meta(max_length=GRANT_BYTES_MAX)] = field(repr=False)
    trusted: Annotated[bytes, msgspec.Meta(max_length=GRANT_BYTES_MAX)] = field(repr=False)
    standing: Standing
    name: Annotated[str, msgspec.Meta(max_length=100)] = ""


_encode_grant: Final = msgspec.msgpack.Encoder().encode
_decode_grant: Final = msgspec.msgpack.Decoder(Grant).decode


def make_grant(keys: ClusterKeys, role: str, owner: str = "", *, now: float | None = None, days: float = 0) -> Grant:
    """Make a grant, with a number that no other one has.

    Args:
        role: what its holder will be.
        owner: to whom it is given, at most 100 bytes of UTF-8.
        now: seconds since the epoch.
        days: how long it is valid from `now` on; 0: as long as the keys are.

    Raises: ConfigError: the owner's name is too long.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding

    if len(owner.encode()) > OWNER_BYTES_MAX:
        raise ConfigError(
            f"the owner's name {owner[:20]!r}... is too long: give one of {OWNER_BYTES_MAX} bytes at most"
        )
    now = time.time() if now is None else now
    standing = Standing(frozenset([role]), grant=f"{int(now) & 0xFFFFFFFF:08x}{os.urandom(4).hex()}", owner=owner)
    ca_key, seed = _ca_key(keys), os.urandom(32)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    permitted = [x509.UniformResourceIdentifier(host) for host in standing.hosts]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(certificates=True), True),
        (x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    ]
    start, end = _CA_FROM, _CA_UNTIL
    if days:
        start, end = (
            datetime.datetime.fromtimestamp(int(at), datetime.UTC)
            for at in (now - _LEAF_BACKDATED_S, now + days * 86400)
        )
    builder = _builder(_GRANT_NAME, _CA_NAME, key.public_key(), x509.random_serial_number(), start, end, extensions)
    trusted, behind = _authority(keys, now)
    return Grant(seed, builder.sign(ca_key, None).public_bytes(Encoding.PEM) + behind, trusted, standing, keys.name)


def authorities(source: ClusterKeys | Grant) -> bytes:
    """The certificates of the authorities that who holds this trusts, DER."""
    return source.trusted if isinstance(source, Grant) else _authority(source, time.time())[0]


def made_at(grant: str) -> float:
    """When the grant of this number was made, in seconds since the epoch."""
    return float(int(grant[:8], 16))


def sign(keys: ClusterKeys, content: bytes) -> bytes:
    """The authority's signature, 64 bytes, which `verifier` knows."""
    return _ca_key(keys).sign(content)


def verifier(trusted: bytes) -> Callable[[bytes, bytes], bool]:
    """What says whether a content has a signature by one of these authorities.  trusted: their certificates, DER."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    keys: list[Any] = []
    while trusted:
        length = 4 + int.from_bytes(trusted[2:4])  # each is a SEQUENCE of 256 to 65535 bytes
        keys.append(x509.load_der_x509_certificate(trusted[:length]).public_key())
        trusted = trusted[length:]

    def is_signed(content: bytes, signature: bytes) -> bool:
        for key in keys:
            try:
                key.verify(signature, content)
            except InvalidSignature:
                continue
            return True
        return False

    return is_signed


def encode_grant(grant: Grant) -> bytes:
    """As it travels, to whom it is for."""
    return _encode_grant(grant)


def decode_grant(data: bytes) -> Grant:
    """Raises: ValueError if it is none."""
    return _decode_grant(data)


def certify(
    source: ClusterKeys | Grant, name: str, now: float, roles: Iterable[str] = (), incarnation: int = 0
) -> Certificate:
    """Return a new certificate for a process that holds *source*.

    Args:
        name: goes into the certificate, for whoever looks into it; nothing is decided by it.
        now: seconds since the epoch.
        roles: what the process is; of a grant that is known.
        incarnation: its number.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    name = "".join(c for c in name if c.isprintable()).encode()[:_NAME_BYTES_MAX].decode(errors="ignore")
    if isinstance(source, Grant):
        key, issuer, trusted, behind = (
            Ed25519PrivateKey.from_private_bytes(source.seed),
            _GRANT_NAME,
            source.trusted,
            source.certificates,
        )
        standing = replace(source.standing, incarnation=incarnation)
    else:
        key, issuer, (trusted, behind) = _ca_key(source), _CA_NAME, _authority(source, now)
        standing = Standing(frozenset(roles), incarnation)
    return Certificate(trusted, _leaf_pem(key, issuer, name, standing, now) + behind, now)


def _authority(keys: ClusterKeys, now: float) -> tuple[bytes, bytes]:
    """The authorities that are trusted, DER, and what is shown behind a certificate of the first one, PEM."""
    ca_key = _ca_key(keys)
    if keys.old is None:
        return _ca_certificate(ca_key), b""
    old_key = _ca_key(keys.old)
    return _ca_certificate(ca_key) + _ca_certificate(old_key), _link_pem(ca_key, old_key, now)


def _ca_key(keys: ClusterKeys) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(keys.ca_seed)


def _ca_certificate(ca_key: Ed25519PrivateKey) -> bytes:
    """The authority's certificate, DER: nothing in it is chosen, and Ed25519 signatures have no randomness."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    # Between it and a process there is a grant, perhaps.
    extensions = [(x509.BasicConstraints(ca=True, path_length=1), True), (_usage(certificates=True), True)]
    builder = _builder(_CA_NAME, _CA_NAME, ca_key.public_key(), _CA_SERIAL, _CA_FROM, _CA_UNTIL, extensions)
    return builder.sign(ca_key, None).public_bytes(Encoding.DER)


def _link_pem(ca_key: Ed25519PrivateKey, old_key: Ed25519PrivateKey, now: float) -> bytes:
    """The old authority's word for the key of the new one, PEM; it lives as long as a process's certificate.

    Both authorities have the same name, so this certificate counts as issued by itself, and the bound on the length
    of the chain (a grant between authority and process) still holds: RFC 5280, 4.2.1.9.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=1), True),
        (_usage(certificates=True), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(old_key.public_key()), False),
    ]
    start, end = _lifetime(now)
    builder = _builder(_CA_NAME, _CA_NAME, ca_key.public_key(), x509.random_serial_number(), start, end, extensions)
    return builder.sign(old_key, None).public_bytes(Encoding.PEM)


def _lifetime(now: float) -> tuple[datetime.datetime, datetime.datetime]:
    start, end = (
        datetime.datetime.fromtimestamp(int(at), datetime.UTC) for at in (now - _LEAF_BACKDATED_S, now + LEAF_VALID_S)
    )
    return start, end


def _leaf_pem(ca_key: Ed25519PrivateKey, issuer: str, name: str, standing: Standing, now: float) -> bytes:
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
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in standing.uris]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    ]
    start, end = _lifetime(now)
    builder = _builder(name, issuer, key.public_key(), x509.random_serial_number(), start, end, extensions)
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
    issuer: str,
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
        .issuer_name(named(issuer))
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder
