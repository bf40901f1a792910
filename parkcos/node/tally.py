"""How many tasks each server of a client runs: written by the servers, read by their node, in shared memory.

A server that runs many short tasks must not wait, nor wake its node, to say so.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from dataclasses import dataclass

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

SERVERS_MAX = 4096
"""Servers of a node."""
OWN_MAX = 4096
"""Processes of single tasks, beside them."""
PLACES_MAX = SERVERS_MAX + OWN_MAX
"""Processes that are counted."""
_WORDS = 3
_BYTES = PLACES_MAX * _WORDS * 8


@dataclass(frozen=True, slots=True)
class ServerTally:
    """pid: 0 if it has not begun; tasks: that it runs; last: when one began or ended (`time.monotonic`), 0 if none."""

    pid: int
    tasks: int
    last: float


class Tally:
    """fd: of a file that `make_tally_file` made; this object maps it, and leaves it open."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, _BYTES)
        self._words = memoryview(self._map).cast("Q")

    def begin(self, index: int) -> None:
        """This process is server number `index` from now on."""
        if index < PLACES_MAX:
            self._words[index * _WORDS + 1] = 0
            self._words[index * _WORDS] = os.getpid()

    def note(self, index: int, tasks: int) -> None:
        """The server runs so many tasks now."""
        if index < PLACES_MAX:
            self._words[index * _WORDS + 2] = time.monotonic_ns()
            self._words[index * _WORDS + 1] = tasks

    def read(self, index: int) -> ServerTally:
        """What the server last said."""
        if index >= PLACES_MAX:
            return ServerTally(0, 0, 0.0)
        pid, tasks, last = self._words[index * _WORDS : (index + 1) * _WORDS]
        return ServerTally(pid, tasks, last / 1e9)

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._map.close()


def make_tally_file() -> int:
    """An open file without a name, for the servers of one client; the caller closes it."""
    sealed = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")
    if sealed:
        fd = os.memfd_create("parkcos", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.truncate(fd, _BYTES)
    if sealed:  # who reads beyond the end of a file that a task has cut short is killed by the system
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
