"""Descriptors 0, 1 and 2: in a program that was started without them, as some daemons are, sockets would land there.

Then whatever prints would write into a connection.
"""

from __future__ import annotations

import os
import sys


def open_standard() -> None:
    """Have those lead to /dev/null that are closed.  For before anything else is opened."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest that is free, so this one
            os.set_inheritable(opened, True)
            if getattr(sys, name) is None:
                stream = open(opened, "w" if fd else "r", closefd=False)  # noqa: SIM115
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
