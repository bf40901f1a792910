"""How a zygote begins: as a program of its own, or forked from a node that has itself just begun.

A program of its own takes an interpreter's start and the import of parkcos; a fork takes a millisecond, and shares the
node's memory.  But a process can be forked only as long as it has one thread, and knows nothing that a client's code
must not see: so it is done once, for the first zygote of a node whose environment was made for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from parkcos.net.trust import tls
from parkcos.node import family, zygote
from parkcos.node.as_client import FAMILY
from parkcos.node.environment import environment
from parkcos.node.identity import ClientUser
from parkcos.node.tally import Tally, make_tally_file


class Forked:
    """A child that was forked, as far as ``subprocess.Popen`` is wanted here.  Any thread."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._waiting = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, however long that takes."""
        with self._waiting:
            if self._code is None:
                self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self._code

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):  # a thread that waits has just heard of its end
                os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Newborn:
    """The node's hold on a zygote that has just begun.

    mark: by which the processes of its client are known; see `as_client.py`.
    orders: the socket between both.
    reports: the pipe in which its servers report.
    printed: the pipes of its standard output and standard error.
    tally: what the servers do.
    """

    process: subprocess.Popen[bytes] | Forked
    mark: str
    orders: socket.socket
    reports: int
    printed: tuple[int, int]
    tally: Tally


@dataclass(frozen=True)
class _Inherited:
    """The zygote's ends of that, as descriptors."""

    orders: int
    reports: int
    printed: tuple[int, int]
    tally: int


def spawn(open_files: int = 0, user: ClientUser | None = None, kept: Sequence[str] = ()) -> Newborn:
    """Start a zygote as a program of its own.

    Args:
        open_files: how many its processes may have open; 0: as many as this one.
        user: as whom they run; None: as this process.
        kept: names of variables of the environment that they have in any case; see `environment.py`.

    Raises: OSError if it cannot be started now.
    """
    mark = family.new_mark()

    def start(theirs: _Inherited, ours: Sequence[int]) -> subprocess.Popen[bytes]:
        handed = (theirs.orders, theirs.reports, os.getpid(), open_files, theirs.tally)
        isolation = (user.uid, user.gid) if user is not None else ()
        return subprocess.Popen(
            family.command("parkcos.node.zygote", *handed, *isolation),
            pass_fds=(theirs.orders, theirs.reports, theirs.tally),
            stdin=subprocess.DEVNULL,
            stdout=theirs.printed[0],
            stderr=theirs.printed[1],
            env=environment(user, kept) | {FAMILY: mark},
            cwd="/",
            start_new_session=True,  # without a terminal, and the terminal's Ctrl-C does not come to its group
        )

    return _begin(mark, start)


def fork(apart: Sequence[int]) -> Newborn:
    """Fork a zygote from this process, which must have no second thread yet, no secret and no standard input.

    The variable FAMILY of this process's environment is its mark, and this process is spared where that is looked for.

    apart: descriptors that are this process's alone.

    Raises: OSError if it cannot be started now.
    """
    zygote.warm_up()

    def start(theirs: _Inherited, ours: Sequence[int]) -> Forked:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return Forked(pid)
        try:
            os.setsid()
            os.chdir("/")
            for fd in (*ours, *apart):
                os.close(fd)
            for fd, end in enumerate(theirs.printed, start=1):
                os.dup2(end, fd)
                os.close(end)
            tls.preload()
            zygote.serve(theirs.orders, theirs.reports, parent, theirs.tally)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    return _begin(os.environ[FAMILY], start)


def _begin(mark: str, start: Callable[[_Inherited, Sequence[int]], subprocess.Popen[bytes] | Forked]) -> Newborn:
    """Make what both share, and have `start` start the zygote with its ends and, not to be kept, with the node's."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        orders, orders_end = socket.socketpair()
        ours.callback(orders.close)
        theirs.callback(orders_end.close)
        reading, writing = family.make_pipes(3)
        tally_fd = make_tally_file()
        for fd in reading:
            ours.callback(os.close, fd)
        for fd in (*writing, tally_fd):
            theirs.callback(os.close, fd)
        tally = Tally(tally_fd)
        ours.callback(tally.close)
        inherited = _Inherited(orders_end.fileno(), writing[0], (writing[1], writing[2]), tally_fd)
        process = start(inherited, (orders.fileno(), *reading))
        ours.pop_all()
    return Newborn(process, mark, orders, reading[0], (reading[1], reading[2]), tally)
