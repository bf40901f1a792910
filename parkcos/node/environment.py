"""The environment variables of the processes that run a client's code, which the programs that tasks start inherit.

As a rule they are the node's own without parkcos's secrets.  Where tasks run as another user, who is not to know what
the operator has there (keys of clouds, tokens), only a few are handed on.  Source: chapter 6.12.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence

from parkcos.node.identity import ClientUser

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""How many threads numpy and the like use for one call; read when they are imported."""

_HANDED_ON = {"PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", *THREADS}
"""To another user, beside the locale's."""
_SECRET = re.compile(r"PARKCOS_.*(SECRET|TOKEN|KEY|PASSWORD)")


def environment(user: ClientUser | None, kept: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a zygote, and so of its servers.

    Args:
        user: as whom they run; None: as this process.
        kept: names of variables that they have in any case.
    """
    if user is None:
        found = {name: value for name, value in os.environ.items() if not _SECRET.fullmatch(name)}
    else:
        found = {name: value for name, value in os.environ.items() if name in _HANDED_ON or name.startswith("LC_")}
        with contextlib.suppress(ImportError, KeyError):  # a user without an entry
            import pwd

            entry = pwd.getpwuid(user.uid)
            found |= {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    return found | {name: os.environ[name] for name in kept if name in os.environ}


def limit_threads(threads: int | None) -> None:
    """Say how many threads a call of numpy and the like uses in this process and in those that it starts.

    threads: None: one, if the node's environment says nothing, since there is a server for each processor; 0: what the
        environment says, or they choose themselves.
    """
    for name in THREADS:
        if threads is None:
            os.environ.setdefault(name, "1")
        elif threads:
            os.environ[name] = str(threads)
