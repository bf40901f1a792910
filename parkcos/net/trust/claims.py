"""Claims: by which a program proves that it is the next run of one that was there before.

A client that may return has a key of its own (Ed25519), of which its number is made: so nobody else can claim that
number.  Each run of the program has a number, too, the highest so far.  A claim says: I am this run of that client, in
the process of this incarnation; it is of no use to another process, which TLS knows by another incarnation.

What must not live here: where the key is kept; who is asked to believe a claim.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec

from parkcos.net.bounds import Number
from parkcos.net.trust.secret import ClusterKeys

__all__ = ["ORPHAN_MAX_S", "SECOND", "SEED_BYTES", "SUPERSEDED", "Claim", "ClaimKey"]

SEED_BYTES: Final = 32
ORPHAN_MAX_S: Final = 3600.0
"""For so long, if its operator does not say otherwise, a process keeps what a client may come back for."""
SUPERSEDED: Final = "a later run of its program has come back in its place"
SECOND: Final = "another program with its identity is there"
"""What a program is told whose place another one has taken, and one that does not get it."""
_CLAIM_LABEL: Final = b"parkcos claim of a returning client, version 1\0"
_CLAIM_INFO: Final = b"parkcos claims, Ed25519 seed, version 1"
_CA_INFO: Final = b"parkcos servers of a returning client, Ed25519 seed, version 1"
_MAC_INFO: Final = b"parkcos servers of a returning client, HMAC-SHA256 key, version 1"


class Claim(msgspec.Struct, array_like=True, frozen=True):
    """public: the key of which the client's number is made; run: the program's; signature: over these and the process.

    Attributes:
        public: 32 bytes.
        run: counts the programs that had this key, from 1 on.
        signature: 64 bytes.
    """

    public: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    run: Number
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]

    def holds(self, client: int, process: int) -> bool:
        """Whether that process is a run of that client."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if client != _number_of(self.public):
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(
                self.signature, _content(self.public, self.run, process)
            )
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class ClaimKey:
    """What a returning client has of its own.  seed: 32 random bytes, from which all of it follows."""

    seed: bytes = field(repr=False)

    @property
    def number(self) -> int:
        """Of the client, always the same."""
        return _number_of(self._public)

    @property
    def server_keys(self) -> ClusterKeys:
        """With which it is the authority of its servers, as the run before was."""
        return ClusterKeys(
            self._expand(_CA_INFO), self._expand(_MAC_INFO), name=f"parkcos-{self.number.to_bytes(8).hex()}"
        )

    def claim(self, run: int, process: int) -> Claim:
        """That the process of this incarnation is this run of the client."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self._expand(_CLAIM_INFO))
        public = self._public
        return Claim(public, run, key.sign(_content(public, run, process)))

    @property
    def _public(self) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._expand(_CLAIM_INFO)).public_key().public_bytes_raw()

    def _expand(self, info: bytes) -> bytes:
        """HKDF-Expand of RFC 5869 for one block of SHA-256."""
        return hmac.digest(self.seed, info + b"\x01", "sha256")


def _number_of(public: bytes) -> int:
    return int.from_bytes(hashlib.sha256(public).digest()[:8]) >> 1 | 1


def _content(public: bytes, run: int, process: int) -> bytes:
    return _CLAIM_LABEL + public + run.to_bytes(8) + process.to_bytes(8)
