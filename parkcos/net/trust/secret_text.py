"""What a cluster's secret may look like, and what is made of its text: 32 bytes from which all keys come.

A secret that parkcos has made has 256 random bits, so nothing need make guessing slow: it goes through HKDF at once;
a checksum tells one that was copied badly.  A text of the user's own goes through scrypt, with the cluster's name as
its salt, so that no table of guesses is good for two clusters; and it must not be one that is guessed all the same.

What must not live here: files (``secret.py``), and anything that prints a secret or a key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from typing import Final

from parkcos.errors import ConfigError

__all__ = ["CLUSTER", "SECRET_CHARS_MIN", "checked_cluster", "flaw_of", "key_material", "make_secret", "normalized"]

SECRET_CHARS_MIN: Final = 16
"""The length of the shortest text that is taken for a secret."""
CLUSTER: Final = "parkcos"
"""A cluster's name, if nobody gives it one."""
HOW_TO_MAKE: Final = (
    "leave it out, and each program reads the one in ~/.config/parkcos/secret; "
    "this command makes it, and says how to copy it to the other machines:  parkcos.py --make_secret"
)
"""What to do instead of giving a text that cannot be a secret."""

_CLUSTER_CHARS_MAX: Final = 64
_PIECES_MIN: Final = 10
"""Characters and known pieces of which a text consists, at least: about 47 bits, if they are chosen at random."""
_KNOWN_CHARS_MIN: Final = 3
_KNOWN: Final = (
    "abcdefghijklmnopqrstuvwxyz 01234567890123456789 qwertyuiopasdfghjklzxcvbnm password secret parkcos pycos admin"
)
"""What everybody would try first; read backwards, too."""

# Part of the protocol: two processes that differ in any of these do not understand each other.
_SALT: Final = b"parkcos cluster secret, version 2, of the cluster: "
_SCRYPT_N: Final = 2**17  # with r and p what OWASP's cheat sheet on storing passwords recommends: 128 MiB
_SCRYPT_R: Final = 8
_SCRYPT_P: Final = 1
_SCRYPT_BYTES_MAX: Final = 2 * 128 * _SCRYPT_N * _SCRYPT_R
_MADE: Final = re.compile(r"parkcos-1-([0-9a-f]{64})-([0-9a-f]{8})")
_LOOKS_MADE: Final = re.compile(r"parkcos-\d+-")


def make_secret() -> str:
    """A new one: ``parkcos-1-``, 256 random bits, and a checksum."""
    bits = secrets.token_hex(32)
    return f"parkcos-1-{bits}-{_checksum(bits)}"


def _checksum(bits: str) -> str:
    return hashlib.sha256(f"parkcos-1-{bits}".encode()).hexdigest()[:8]


def normalized(secret: str) -> str:
    """The text that counts: white space around it does not, and two Unicode spellings are one."""
    return unicodedata.normalize("NFC", secret.strip())


def flaw_of(secret: str) -> str:
    """What is wrong with a text, to be said after "the secret"; "" if it can be one.  It does not repeat the text."""
    secret = normalized(secret)
    if not secret:
        return "is empty"
    if _LOOKS_MADE.match(secret):
        made = _MADE.fullmatch(secret)
        if not secret.startswith("parkcos-1-"):
            return "was made by a later version of parkcos"
        if made is None or made[2] != _checksum(made[1]):
            return "was not copied well: a character is missing or wrong"
        return ""
    try:
        secret.encode()
    except UnicodeEncodeError:  # a command line that wasn't UTF-8
        return "isn't valid text: use characters that can be written as UTF-8"
    if len(secret) < SECRET_CHARS_MIN:
        return f"is too short: it needs at least {SECRET_CHARS_MIN} characters"
    if _pieces(secret.casefold()) < _PIECES_MIN:
        return "is too easy to guess: it repeats itself, or consists of sequences and of what everybody tries first"
    return ""


def _pieces(text: str) -> int:
    """Of how many characters a text consists, if what is known, or stands earlier in it, counts as one."""
    known = f"{_KNOWN}\0{_KNOWN[::-1]}\0{text}"
    begin = len(known) - len(text)
    count = at = 0
    while at < len(text):
        length = 0
        while at + length < len(text) and text[at : at + length + 1] in known[: begin + at + length]:
            length += 1
        at += length if length >= _KNOWN_CHARS_MIN else 1
        count += 1
    return count


def checked_cluster(name: str) -> str:
    """The name of a cluster as it counts.  Raises: ConfigError if it cannot be one."""
    found = normalized(name) if isinstance(name, str) else ""
    if not found or not found.isprintable() or len(found) > _CLUSTER_CHARS_MAX:
        raise ConfigError(
            f"the cluster cannot be called {name!r}: give a text of one line, without control characters, "
            f"of 1 to {_CLUSTER_CHARS_MAX} characters, on each machine the same"
        )
    return found


def key_material(secret: str, cluster: str = CLUSTER) -> bytes:
    """32 bytes, for HKDF's expand step (RFC 5869), of a secret and the name of its cluster.

    For a text of the user's own this takes a good part of a second and 128 MiB, for one that parkcos has made neither.

    Raises: ConfigError if either cannot be used.
    """
    if flaw := flaw_of(secret):
        raise ConfigError(f"the secret {flaw}; {HOW_TO_MAKE}")
    secret = normalized(secret)
    salt = _SALT + checked_cluster(cluster).encode()
    if made := _MADE.fullmatch(secret):
        return hmac.digest(salt, bytes.fromhex(made[1]), "sha256")  # HKDF's extract step
    return hashlib.scrypt(
        secret.encode(), salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, maxmem=_SCRYPT_BYTES_MAX, dklen=32
    )
