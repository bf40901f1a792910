"""Where a zygote and its servers print: pipes to the node, or, without them, where the node itself does.

The node's programs say what they do on a third stream, the node's own standard error, which is in no pipe: so what a
client's code prints is told from it, also what C code and other programs print that a task starts.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
from collections.abc import Sequence


def keep_log() -> int:
    """A descriptor of this process's standard error, for as long as it lives, whatever becomes of number 2."""
    try:
        return os.dup(2)
    except OSError:  # it has none
        return os.open(os.devnull, os.O_WRONLY)


def print_into(pipes: Sequence[int]) -> None:
    """This process, and those that it starts, print there from now on, or, if there are none, where they did.

    pipes: the ends for standard output and standard error, which are closed.
    """
    for fd, end in enumerate(pipes, start=1):
        os.dup2(end, fd)
        os.close(end)


def print_lines(*, piped: bool) -> None:
    """A line that is printed appears when it is whole; in pipes as UTF-8, which is what the node reads."""
    for fd, name in ((1, "stdout"), (2, "stderr")):
        if piped:  # what the interpreter has made may be a file's, whose encoding cannot be changed
            stream = open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        elif (old := getattr(sys, name)) is not None:
            old.reconfigure(line_buffering=True)


def explain_crashes() -> None:
    """Have a process that dies in C code print where it was."""
    with contextlib.suppress(RuntimeError, ValueError, OSError):  # no standard error
        faulthandler.enable()


def set_up_server_logging(server: int, log: int, *, debug: bool, piped: bool) -> None:
    """What parkcos logs goes to the node's log; what the client's code logs is printed, unless it says otherwise.

    Args:
        server: its number, from 1 on.
        log: as of `keep_log`.
        piped: the node reads what is printed, and says whose it is.
    """
    own = f"%(asctime)s server {server} %(levelname)s %(message)s"
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(format="%(levelname)s %(message)s" if piped else own, level=level)
    handler = logging.StreamHandler(
        open(log, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    )
    handler.setFormatter(logging.Formatter(own))
    for name in ("parkcos", "asyncio"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
