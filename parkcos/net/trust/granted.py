"""The file of a grant: by which somebody takes part in a cluster without its secret.

It holds a key, so it is kept as the secret is: mode 0600.  Beside the grant it has the key of the datagrams, with which
its holder finds the others, and is found.

What must not live here: what a grant is (issuing.py).
"""

from __future__ import annotations

import base64
import textwrap
from pathlib import Path
from typing import Annotated, Final

import msgspec

from parkcos.errors import ConfigError
from parkcos.net.trust.certificates import read_private, write_new
from parkcos.net.trust.issuing import Grant, make_grant
from parkcos.net.trust.secret import ClusterKeys

ROLES: Final = {"node": "node", "client": "peer", "scheduler": "scheduler"}
"""What a grant may be for, and the role that this is."""
_BEGIN: Final = "-----BEGIN PARKCOS GRANT-----"
_END: Final = "-----END PARKCOS GRANT-----"


class _Content(msgspec.Struct, array_like=True):
    grant: Grant
    mac_key: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


def write_grant(path: Path, keys: ClusterKeys, what: str, owner: str, days: float) -> Grant:
    """Make a grant and its file.

    Args:
        path: of the file; there must be none.
        what: one of ROLES.
        owner: to whom it is given.
        days: how long it is valid.

    Raises: ConfigError: one of the arguments makes no sense, or the file cannot be made.
    """
    if what not in ROLES:
        raise ConfigError(f"a grant is for one of {', '.join(ROLES)}, not for {what!r}")
    if not owner.strip() or not owner.isprintable():
        raise ConfigError(f"{owner!r} is no name: give that of whom the grant is for")
    if not 0 < days <= 36500:
        raise ConfigError(f"a grant cannot be valid for {days:g} days: give 1 to 36500")
    grant = make_grant(keys, ROLES[what], owner.strip(), days=days)
    packed = base64.b64encode(msgspec.msgpack.encode(_Content(grant, keys.mac_key))).decode()
    text = "\n".join([_BEGIN, *textwrap.wrap(packed, 64), _END, ""])
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(path, text.encode(), 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and is not overwritten: move it away, or give another") from None
    except OSError as exc:
        raise ConfigError(f"the grant cannot be written to {path} ({exc.strerror}): give another file") from exc
    return grant


def read_grant(path: Path) -> tuple[Grant, bytes]:
    """The grant in a file, and the key of the datagrams.

    Raises: ConfigError: the file is missing, unreadable, open to others, or holds no grant.
    """
    lines = read_private(path, "grant").split()
    joined = " ".join(lines)
    if not joined.startswith(_BEGIN) or not joined.endswith(_END):
        raise ConfigError(f"{path} holds no grant: make one with  parkcos.py --make_grant OWNER")
    body = "".join(joined.removeprefix(_BEGIN).removesuffix(_END).split())
    try:
        content = msgspec.msgpack.decode(base64.b64decode(body, validate=True), type=_Content)
    except ValueError:
        raise ConfigError(f"the grant in {path} is damaged: copy it again") from None
    return content.grant, content.mac_key
