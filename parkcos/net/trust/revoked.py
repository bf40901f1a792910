"""Who was shut out: grants, and owners of grants, that a holder of the cluster's secret has revoked.

Each entry is signed with the cluster's key, so everybody may take it over from anybody, and lists are merged by putting
them together.  An owner's entry is about the grants made until then: who is given another one later comes in again.

What must not live here: connections, and the file that keeps the list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec

from parkcos.errors import ConfigError
from parkcos.net.bounds import Seconds
from parkcos.net.trust.issuing import made_at, sign, verifier
from parkcos.net.trust.standing import OWNER_BYTES_MAX, Standing

ENTRIES_MAX: Final = 1000
_LABEL: Final = b"parkcos revocation, version 1\0"
_GRANT: Final = re.compile("[0-9a-f]{16}")


class Revocation(msgspec.Struct, array_like=True, frozen=True):
    """One entry.

    name: a grant's number, or the owner of grants; at: when it was revoked, in seconds since the epoch.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=OWNER_BYTES_MAX)]
    at: Seconds
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]

    @property
    def signed(self) -> bytes:
        """What the signature is of."""
        return _signed(self.name, self.at)


def revoke(source: Any, name: str, now: float) -> Revocation:
    """An entry of now.

    Args:
        source: the cluster's keys.
        name: a grant's number, or the owner of grants.
        now: seconds since the epoch.

    Raises: ConfigError: that is no name.
    """
    if not name or not name.isprintable() or len(name.encode()) > OWNER_BYTES_MAX:
        raise ConfigError(f"{name!r} is no name: give the number of a grant, or the name of its owner")
    at = float(math.ceil(now))
    return Revocation(name, at, sign(source, _signed(name, at)))


class Revocations:
    """The entries that a process knows.

    Args:
        trusted: the certificates of the cluster's authorities, DER; called when there is something to be verified.
    """

    def __init__(self, trusted: Callable[[], bytes]) -> None:
        self._trusted = trusted
        self._by_name: dict[str, Revocation] = {}

    @property
    def entries(self) -> Sequence[Revocation]:
        """All of them.  Any thread."""
        return list(self._by_name.copy().values())

    def merge(self, entries: Iterable[Revocation]) -> tuple[list[Revocation], list[str]]:
        """Take over what is new and truly signed.  One thread at a time.

        Returns: that; and in words, what was left out, and why.
        """
        fresh = [entry for entry in entries if not self._knows(entry)]
        if not fresh:
            return [], []
        is_signed = verifier(self._trusted())
        taken, left_out = [], []
        for entry in fresh:
            if not is_signed(entry.signed, entry.signature):
                left_out.append("a revocation without a signature of this cluster, which counts for nothing")
            elif entry.name not in self._by_name and len(self._by_name) >= ENTRIES_MAX:
                left_out.append(f"{entry.name!r} cannot be shut out: {ENTRIES_MAX} are already; change the secret")
            elif not self._knows(entry):
                self._by_name[entry.name] = entry
                taken.append(entry)
        return taken, left_out

    def _knows(self, entry: Revocation) -> bool:
        known = self._by_name.get(entry.name)
        return known is not None and known.at >= entry.at

    def bars(self, standing: Standing | None) -> bool:
        """Whether who has this standing was shut out.  Any thread."""
        if standing is None or not standing.grant or not self._by_name:
            return False
        if standing.grant in self._by_name:
            return True
        entry = self._by_name.get(standing.owner)
        return entry is not None and made_at(standing.grant) <= entry.at


def is_grant(name: str) -> bool:
    """Whether this is the number of a grant, and no owner's name."""
    return _GRANT.fullmatch(name) is not None


def _signed(name: str, at: float) -> bytes:
    return _LABEL + f"{at:.0f}\0{name}".encode()
