"""Ports for the programs of tests, which open them a while after the test has chosen them.

They lie below the range from which the system gives ports away, to connections and to who asks for any: one of that
range may be somebody else's by then.  And no two tests of this machine get the same one, in whatever process they run.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import tempfile
from pathlib import Path
from typing import Final

_PORTS: Final = range(10_000, 32_000)
"""Linux gives away those from 32768 on, other systems those from 49152 on."""


def free_ports(count: int) -> range:
    """Successive ports that are free for TCP and UDP; the next call gives others, in other processes, too.

    Nobody gets those beside them: a program that was given one for UDP announces itself at the next ones as well.
    """
    while True:
        ports = _next(1 + count + 1)[1:-1]
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in ports:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sockets.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            return ports


def _next(count: int) -> range:
    """The ports after those that were given out before, by a file that grows by a byte for each.

    What is appended is never written over, so the place where it ends belongs to one process without a lock.
    """
    folder = os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir()  # that of all sessions
    with open(Path(folder) / f"parkcos-test-ports-{getpass.getuser()}", "ab", buffering=0) as given:
        given.write(bytes(count))
        first = (given.tell() - count) % len(_PORTS)
    if first + count > len(_PORTS):
        return _next(count)
    return _PORTS[first : first + count]
