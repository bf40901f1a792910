"""Signatures with certificates of the user's own, where a cluster has these and no secret: for its datagrams.

What is signed carries the signer's certificate, with those between it and the authority.  It is let in if a connection
of that signer would be: if one of the trusted certificates is the signer's, or has issued it, at this time.

What must not live here: what is signed; sockets, clocks (the time is an argument).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from parkcos.net.trust.certificates import Certificates

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["PROOF_BYTES_MAX", "Signer", "proof_bytes"]

PROOF_BYTES_MAX: Final = 8192
"""Of a signature and the certificates with it: what is larger would be cut into more datagrams than networks like."""
CHAIN_MAX: Final = 4
_LENGTHS: Final = struct.Struct(">BHH")  # how many certificates; the bytes of all of them; of the signature
_LENGTH: Final = struct.Struct(">H")
_KNOWN_MAX: Final = 4096
_LABEL: Final = b"parkcos discovery datagrams, signature, version 1\0"


def proof_bytes(data: bytes) -> int:
    """Return how long the proof at the beginning of *data* is, right or not; more than *data* has if it is none."""
    if len(data) < _LENGTHS.size:
        return PROOF_BYTES_MAX
    _, shown_bytes, signature_bytes = _LENGTHS.unpack_from(data)
    return int(_LENGTHS.size + shown_bytes + signature_bytes)


class Signer:
    """Signs for this process, and judges what others have signed.  Not to be used by two threads at once.

    current: gives this process's certificates, which may be renewed.
    """

    def __init__(self, current: Callable[[], Certificates]) -> None:
        self._current = current
        self._loaded: Certificates | None = None
        self._known: dict[bytes, list[x509.Certificate]] = {}
        """By the digest of the certificates that came: from the signer's to one that is trusted; empty if none is."""

    def sign(self, content: bytes) -> bytes:
        """Return what proves to others who has said *content*."""
        self._refresh()
        signature = _sign(self._key, _LABEL + content)
        return _LENGTHS.pack(self._count, len(self._shown), len(signature)) + self._shown + signature

    def signed(self, data: bytes, now: float) -> bytes | None:
        """Return the content behind the proof at the beginning of *data*; None if that does not hold.

        now: seconds since the epoch.
        """
        if len(data) < _LENGTHS.size:
            return None
        count, shown_bytes, signature_bytes = _LENGTHS.unpack_from(data)
        middle = _LENGTHS.size + shown_bytes
        end = middle + signature_bytes
        if end > min(len(data), PROOF_BYTES_MAX) or not 0 < count <= CHAIN_MAX:
            return None
        self._refresh()
        path = self._path(data[_LENGTHS.size : middle], count)
        content = data[end:]
        if not path or not all(_is_valid(each, now) for each in path):
            return None
        return content if _verifies(path[0], data[middle:end], _LABEL + content) else None

    def _refresh(self) -> None:
        """Take up what has been renewed."""
        loaded = self._current()
        if loaded is self._loaded:
            return
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

        chain = x509.load_pem_x509_certificates(loaded.chain.encode())[:CHAIN_MAX]
        self._trusted = x509.load_pem_x509_certificates(loaded.trusted.encode()) if loaded.cafile else chain[:1]
        self._key = load_pem_private_key(loaded.key_block, None)
        if not loaded.cafile:
            chain = chain[:1]  # exactly this one is trusted
        shown = [certificate.public_bytes(Encoding.DER) for certificate in chain]
        self._count = len(shown)
        self._shown = b"".join(_LENGTH.pack(len(der)) + der for der in shown)
        self._known.clear()
        self._loaded = loaded

    def _path(self, shown: bytes, count: int) -> list[x509.Certificate]:
        mark = hashlib.sha256(shown).digest()
        if mark not in self._known:
            while len(self._known) >= _KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[mark] = self._judged(shown, count)
        return self._known[mark]

    def _judged(self, shown: bytes, count: int) -> list[x509.Certificate]:
        from cryptography import x509

        chain = []
        try:
            for _ in range(count):
                (length,) = _LENGTH.unpack_from(shown)
                chain.append(x509.load_der_x509_certificate(shown[_LENGTH.size : _LENGTH.size + length]))
                shown = shown[_LENGTH.size + length :]
            return self._vouched_for(chain) if not shown and _is_for_connections(chain[0]) else []
        except Exception:  # of whatever a stranger calls a certificate
            return []

    def _vouched_for(self, chain: list[x509.Certificate]) -> list[x509.Certificate]:
        """The path to a trusted certificate: the first itself, or one that has issued it, directly or over others."""
        for place, certificate in enumerate(chain):
            path = chain[: place + 1]
            if certificate in self._trusted:
                return path
            for issuer in self._trusted:
                if _has_issued(issuer, certificate):
                    return [*path, issuer]
            if place + 1 == len(chain) or not _has_issued(chain[place + 1], certificate):
                break
        return []


def _is_for_connections(certificate: x509.Certificate) -> bool:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in uses and ExtendedKeyUsageOID.CLIENT_AUTH in uses


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    from cryptography import x509

    if issuer.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
        if not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except Exception:  # a wrong signature, no such extension, a key of another kind
        return False
    try:
        return bool(issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign)
    except x509.ExtensionNotFound:
        return True


def _is_valid(certificate: x509.Certificate, now: float) -> bool:
    return certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp()


def _sign(key: Any, content: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    signature: bytes
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(content, ec.ECDSA(hashes.SHA256()))
    else:  # Ed25519, Ed448: TLS knows no others
        signature = key.sign(content)
    return signature


def _verifies(certificate: x509.Certificate, signature: bytes, content: bytes) -> bool:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    key: Any = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(signature, content)
    except Exception:  # InvalidSignature; whatever a strange key raises
        return False
    return True
