"""Processes that hold keys leave no core files, in which others could find these later.

Only the size of core files is bounded: so processes of one user can be looked at and signalled by that user as before.
"""

from __future__ import annotations

import contextlib


def leave_no_core_files() -> None:
    """From now on, this process and those that it starts leave none, unless they raise their limit again."""
    try:
        import resource
    except ImportError:  # not on Windows, which has none
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
