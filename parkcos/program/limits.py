"""Open files: a node or scheduler has one for each process that it knows."""

from __future__ import annotations

import contextlib

FILES_MAX = 65536


def raise_open_files() -> int:
    """Raise this process's limit of open files as far as it may; returns what it was before, 0 if that is not known."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if 0 <= soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft


def set_open_files(soft: int) -> None:
    """Set this process's limit back, for the users' programs, some of which cannot do with more (``select``)."""
    if soft <= 0:
        return
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
