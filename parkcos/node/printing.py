"""Where a zygote and its servers print: into pipes that their node has made, and of which it keeps the other ends.

So they hold neither the node's terminal nor its log.  A server has a third pipe for what parkcos itself logs there, by
which that is told from what a client's code prints, also from what C code and other programs print that a task starts.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
from collections.abc import Sequence

from parkcos.program.log import PatientHandler


def print_into(pipes: Sequence[int]) -> None:
    """This process, and those that it starts, print there from now on.

    pipes: the ends for standard output and standard error, which are closed.
    """
    for fd, end in enumerate(pipes, start=1):
        os.dup2(end, fd)
        os.close(end)


def print_lines() -> None:
    """A line that is printed appears when it is whole, and as UTF-8, which is what the node reads."""
    for fd, name in ((1, "stdout"), (2, "stderr")):
        stream = open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def explain_crashes() -> None:
    """Have a process that dies in C code print where it was."""
    with contextlib.suppress(RuntimeError, ValueError, OSError):  # no standard error
        faulthandler.enable()


class _LevelFirst(logging.Formatter):
    """Each line of a record begins with its level, by which the node knows how to log it."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(f"{record.levelname} {line}" for line in super().format(record).split("\n"))


def set_up_server_logging(log: int, *, debug: bool) -> None:
    """What parkcos logs goes to the node's log; what the client's code logs is printed, unless it says otherwise.

    log: the writing end of a pipe to the node.
    """
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.DEBUG if debug else logging.INFO)
    handler = PatientHandler(
        open(log, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    )
    handler.setFormatter(_LevelFirst())
    for name in ("parkcos", "asyncio"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
