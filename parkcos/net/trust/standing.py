"""What a certificate says of its holder: its roles, the one process that it is for, and, of a guest's, its owner.

It stands in the certificate as one URI for each role, ``parkcos://HOST/INCARNATION``, where HOST is the role alone for
who holds an authority's key, and ``GRANT.OWNER.ROLE`` for who was given a certificate of its own (a grant).  The host
is what name constraints of X.509 are about: so OpenSSL itself refuses, in the handshake, a certificate that says more
than the grant which has signed it.

What must not live here: keys, sockets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from msgspec import Meta

from parkcos.net.bounds import Number

SCHEME: Final = "parkcos"
OWNER_BYTES_MAX: Final = 100
_URI: Final = re.compile(rf"{SCHEME}://(?:([0-9a-f]{{16}})\.o([0-9a-f]*)\.)?([a-z]+)/([0-9]{{1,19}})")


@dataclass(frozen=True)
class Standing:
    """What is proven of a process.

    Attributes:
        roles: what it is: 'node', 'scheduler', 'peer' (a program with clients), 'server'.
        incarnation: its number; 0: of none, as of a grant.
        grant: the number of the grant by which it is here, 16 hexadecimal digits; "": it holds the authority's key.
        owner: to whom that was given.
    """

    roles: Annotated[frozenset[Annotated[str, Meta(max_length=20)]], Meta(max_length=8)]
    incarnation: Number = 0
    grant: Annotated[str, Meta(max_length=16)] = ""
    owner: Annotated[str, Meta(max_length=OWNER_BYTES_MAX)] = ""

    @property
    def hosts(self) -> list[str]:
        """One for each role, as a name constraint has them."""
        before = f"{self.grant}.o{self.owner.encode().hex()}." if self.grant else ""
        return [before + role for role in sorted(self.roles)]

    @property
    def uris(self) -> list[str]:
        """As they stand in a certificate."""
        return [f"{SCHEME}://{host}/{self.incarnation}" for host in self.hosts]


def read_standing(certificate: Mapping[str, Any] | None) -> Standing | None:
    """What a certificate that was verified says; None if it says nothing, or not one thing.

    certificate: as ``SSLSocket.getpeercert`` gives it.
    """
    found = [_URI.fullmatch(value) for kind, value in (certificate or {}).get("subjectAltName", ()) if kind == "URI"]
    if not found or None in found:
        return None
    try:
        parts = [(one[1] or "", bytes.fromhex(one[2] or "").decode(), int(one[4])) for one in found if one]
    except ValueError:
        return None
    grant, owner, incarnation = parts[0]
    if any(part != parts[0] for part in parts):
        return None
    return Standing(frozenset(one[3] for one in found if one), incarnation, grant, owner)


def doubt(proven: Standing | None, incarnation: int, roles: Sequence[str]) -> str:
    """Why what a process says of itself is not what its certificate says; "" if it is."""
    if proven is None:
        return "its certificate does not say what it is: install the same version of parkcos on both sides"
    if proven.incarnation != incarnation:
        return "it says that it is another process than the one that its certificate was made for"
    if not proven.roles.issuperset(roles):
        more = ", ".join(repr(role) for role in sorted(set(roles) - proven.roles))
        return f"it says that it is a {more}, for which it has no certificate"
    return ""
