"""The datagrams of discovery: what they may say, how they are sealed, and the gate that lets in only good ones.

A datagram is the magic bytes, a MAC (HMAC-SHA256 cut to 16 bytes, over all that follows it), the time of sending (8
bytes, milliseconds since the epoch, big-endian) and a msgpack body of a closed schema.  A cluster with certificates and
without a secret uses another magic, and a signature (``signing.py``) in place of the MAC; one without both a third, and
nothing.  So each kind of process can say what the other one is.  Nothing behind MAC or signature is looked at before
that is right, and nothing is ever unpickled.

What an accepted datagram says is a hint where to dial; who answers there proves itself in TLS (``tls.py``).

What must not live here: sockets, clocks (the time is an argument), asyncio, logging.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from parkcos.errors import ConfigError, ProtocolError
from parkcos.net.bounds import Addr, Number, Port, Roles
from parkcos.net.location import numeric_address
from parkcos.net.trust.signing import PROOF_BYTES_MAX, Signer, proof_bytes

__all__ = [
    "DATAGRAM_BYTES_MAX",
    "REASONS",
    "Announce",
    "DatagramGate",
    "DatagramRejected",
    "Key",
    "Leaving",
    "encode",
    "sent_at",
]

NAME_CHARS_MAX: Final = 128
"""Of a process."""
DATAGRAM_BYTES_MAX: Final = 1200
"""Fits every path without being cut up (IPv6 promises 1280 bytes); whatever is larger is not ours."""

_MAGIC: Final = b"PKC1"  # sealed with the cluster's key
_MAGIC_OPEN: Final = b"PKC0"  # of a cluster without a secret
_MAGIC_SIGNED: Final = b"PKC2"  # of a cluster with certificates and without a secret
_MAGIC_FAMILY: Final = b"PKC"
_MAC_BYTES: Final = 16
_TIME: Final = struct.Struct(">Q")
_NO_MAC: Final = b""
# A cluster of 2,000 processes that each announce themselves every 5 s makes 48,000 datagrams in two minutes.
_REMEMBERED_MAX: Final = 65536


class Announce(msgspec.Struct, frozen=True, tag="announce", array_like=True, forbid_unknown_fields=True):
    """Sent by every process that can be found.

    Attributes:
        addr: the numeric address to dial.
        port: the TCP port to dial.
        incarnation: the process's own random number (64 bits): another one is another process.
        name: what its user calls it, for people.
        roles: what it is, for example ``'node'``, ``'scheduler'``, ``'peer'``.
        version: of the protocol that it speaks over TCP.
        reply: asks whoever hears it to announce itself to the sender.
        answers: the incarnation of somebody whom the sender has heard, and whom it tells this; so it was sent after
            that one had begun.  0: everybody is told.
    """

    addr: Addr
    port: Port
    incarnation: Number
    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    roles: Roles
    version: Annotated[int, Meta(ge=0, le=65535)]
    reply: bool
    answers: Number = 0


class Leaving(msgspec.Struct, frozen=True, tag="leaving", array_like=True, forbid_unknown_fields=True):
    """Sent by a process that ends in good order; the fields are those of its :class:`Announce`."""

    addr: Addr
    port: Port
    incarnation: Number


REASONS: Final[dict[str, str]] = {
    "magic": "is not a parkcos datagram",
    "version": "is of another version of parkcos",
    "oversized": f"is larger than {DATAGRAM_BYTES_MAX} bytes",
    "no_secret": "comes from a program without a secret, and this one has one",
    "has_secret": "comes from a program with a secret, and this one has none",
    "mac": "has a wrong MAC: it uses another secret",
    "stale": "was sent too long ago, or by a machine whose clock differs: set the clocks",
    "replay": "came twice",
    "unproven": "may have been sent before this process began",
    "signed": "comes from a program with certificates and no secret, which this one is not",
    "signature": "is not signed with a certificate that this process trusts",
    "malformed": "has a content that no parkcos of this version sends",
}
"""Every reason to reject a datagram, in words that go on after ``a datagram from 10.0.0.7``."""


class DatagramRejected(ProtocolError):
    """A datagram was not let in; ``reason`` is a key of :data:`REASONS`."""

    def __init__(self, reason: str, words: str | None = None) -> None:
        super().__init__(f"the datagram {words or REASONS[reason]}")
        self.reason = reason
        self.message: Announce | None = None
        """Of one that is unproven: what it says."""
        self.words = words or REASONS[reason]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Announce | Leaving]] = msgspec.msgpack.Decoder(Announce | Leaving)


Key = bytes | Signer | None
"""What a cluster's datagrams are sealed with: a key made from the secret, certificates where there is no secret, or
nothing."""


def encode(message: Announce | Leaving, mac_key: Key, now: float) -> bytes:
    """Return the datagram that says *message*.

    Args:
        message: what to say.
        mac_key: the cluster's key.
        now: seconds since the epoch.

    Raises:
        ConfigError: a field is too long or out of its range, so that nobody would let the datagram in.
    """
    body = _encoder.encode(message)
    try:
        _decode(body)
    except DatagramRejected as exc:
        raise ConfigError(f"a field is too long or out of its range, so nobody would hear {message!r}") from exc
    sealed = _TIME.pack(int(now * 1000)) + body
    if mac_key is None:
        datagram = _MAGIC_OPEN + sealed
    elif isinstance(mac_key, Signer):
        datagram = _MAGIC_SIGNED + mac_key.sign(sealed) + sealed
    else:
        datagram = _MAGIC + _mac(mac_key, sealed) + sealed
    if len(datagram) > _bytes_max(mac_key):
        raise ConfigError(
            f"make the name, the roles or the chain of certificates shorter, a datagram has {_bytes_max(mac_key)} "
            f"bytes at most: {message!r}"
        )
    return datagram


def sent_at(data: bytes) -> float | None:
    """Return the time (seconds since the epoch) that a datagram carries, unproven; None if it is too short."""
    start = len(_MAGIC) + (_MAC_BYTES if data.startswith(_MAGIC) else 0)
    if data.startswith(_MAGIC_SIGNED):
        start += proof_bytes(data[len(_MAGIC) :])
    if len(data) < start + _TIME.size:
        return None
    return float(_TIME.unpack_from(data, start)[0]) / 1000


class DatagramGate:
    """Opens datagrams and lets in only those of the own cluster, fresh, complete, and each once.

    Args:
        mac_key: the cluster's key; ``None`` lets in only datagrams of processes without a secret and certificates.
        old_mac_key: that of a secret which is being replaced; its datagrams are let in, too.  What is sent sealed
            with both keys is let in once.
        max_age_s: how far the time in a datagram may be from the receiver's clock, either way.
        remembered_max: how many datagrams are remembered to recognise doubles; the oldest are forgotten first.
        incarnation: of this process, which has begun at `began` (seconds since the epoch).  What this process does not
            remember may have been sent, and have come, before that: as long as it could be fresh all the same, only
            those are let in who answer this process, or have done so.  0: whoever is fresh is let in.
    """

    def __init__(
        self,
        mac_key: Key,
        max_age_s: float = 60.0,
        remembered_max: int = _REMEMBERED_MAX,
        old_mac_key: bytes | None = None,
        incarnation: int = 0,
        began: float = 0.0,
    ) -> None:
        self._mac_key = mac_key
        self._old_mac_key = old_mac_key
        self._max_age_s = max_age_s
        self._remembered_max = remembered_max
        self._incarnation = incarnation
        self._settled_at = began + 2 * max_age_s  # the clock of who sent it may be ahead, and then it is fresh longer
        self._proven: set[int] = set()
        self._seen: dict[bytes, float] = {}  # mark of a datagram -> when it may be forgotten; in order of arrival
        self.counts: dict[str, int] = dict.fromkeys(REASONS, 0)
        """How many datagrams were rejected, by reason."""

    def open(self, data: bytes, now: float) -> Announce | Leaving:
        """Return what the datagram *data*, which came at *now* (seconds since the epoch), says.

        Raises:
            DatagramRejected: it is not let in; counted in :attr:`counts`.  Whoever is unproven may be asked.
        """
        try:
            return self._open(data, now)
        except DatagramRejected as exc:
            self.counts[exc.reason] += 1
            raise

    def _open(self, data: bytes, now: float) -> Announce | Leaving:
        if len(data) > _bytes_max(self._mac_key):
            raise DatagramRejected("oversized")
        mac, sealed = self._unseal(data, now)
        if len(sealed) < _TIME.size:
            raise DatagramRejected("malformed")
        ahead_s = _TIME.unpack_from(sealed)[0] / 1000 - now
        if abs(ahead_s) > self._max_age_s:
            side = "ahead of" if ahead_s > 0 else "behind"
            raise DatagramRejected("stale", f"is {abs(ahead_s):.0f} s {side} this machine's clock: set the clocks")
        message = _decode(sealed[_TIME.size :])
        marked = mac if mac and self._old_mac_key is None else hashlib.sha256(sealed).digest()[:_MAC_BYTES]
        self._remember(marked, now)
        if isinstance(message, Announce) and self._incarnation and now < self._settled_at:
            self._must_be_proven(message)
        return message

    def _must_be_proven(self, message: Announce) -> None:
        if message.answers == self._incarnation and len(self._proven) < self._remembered_max:
            self._proven.add(message.incarnation)
        elif message.answers != self._incarnation and message.incarnation not in self._proven:
            rejected = DatagramRejected("unproven")
            rejected.message = message
            raise rejected

    def _unseal(self, data: bytes, now: float) -> tuple[bytes, bytes]:
        """Return the MAC (empty without a secret) and what it vouches for."""
        magic = data[: len(_MAGIC)]
        if magic not in (_MAGIC, _MAGIC_OPEN, _MAGIC_SIGNED):
            raise DatagramRejected("version" if magic[:-1] == _MAGIC_FAMILY else "magic")
        if isinstance(self._mac_key, Signer):
            content = self._mac_key.signed(data[len(_MAGIC) :], now) if magic == _MAGIC_SIGNED else None
            if content is None:
                raise DatagramRejected("signature")
            return _NO_MAC, content
        if magic == _MAGIC_SIGNED:
            raise DatagramRejected("signed")
        if self._mac_key is None:
            if magic == _MAGIC:
                raise DatagramRejected("has_secret")
            return _NO_MAC, data[len(_MAGIC) :]
        if magic == _MAGIC_OPEN:
            raise DatagramRejected("no_secret")
        end = len(_MAGIC) + _MAC_BYTES
        mac, sealed = data[len(_MAGIC) : end], data[end:]
        keys = (self._mac_key,) if self._old_mac_key is None else (self._mac_key, self._old_mac_key)
        if not any(hmac.compare_digest(mac, _mac(key, sealed)) for key in keys):
            raise DatagramRejected("mac")
        return mac, sealed

    def _remember(self, mark: bytes, now: float) -> None:
        """Reject a datagram that was let in before; forget those that are too old to be let in again."""
        seen = self._seen
        if mark in seen:
            raise DatagramRejected("replay")
        while seen:
            oldest = next(iter(seen))
            if seen[oldest] > now and len(seen) < self._remembered_max:
                break
            del seen[oldest]
        # Its time may be max_age_s in the future, and then it is fresh for twice that.
        seen[mark] = now + 2 * self._max_age_s


def _bytes_max(key: Key) -> int:
    return DATAGRAM_BYTES_MAX + (PROOF_BYTES_MAX if isinstance(key, Signer) else 0)


def _mac(key: bytes, sealed: bytes) -> bytes:
    return hmac.digest(key, sealed, "sha256")[:_MAC_BYTES]


def _decode(body: bytes) -> Announce | Leaving:
    try:
        message = _decoder.decode(body)
    except (ValueError, RecursionError) as exc:  # msgspec's own errors are ValueErrors, as is UnicodeDecodeError
        raise DatagramRejected("malformed") from exc
    if numeric_address(message.addr) != message.addr:
        raise DatagramRejected("malformed")
    return message
