"""The node's hold on a zygote: starts it, gives it orders, hears from it and from its servers.  I/O thread only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.node import family
from parkcos.node.as_client import kill
from parkcos.node.identity import ClientUser, remove_folder
from parkcos.node.output import Printed
from parkcos.node.tally import Tally, make_tally_file

logger = logging.getLogger("parkcos")

KILL_S = 10.0
"""What is killed has ended after this time."""
PIPES_MAX = 16
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_CODE = "from parkcos.node.zygote import main; main()"


class Nursery:
    """One zygote and its servers.

    Args:
        news: called with Opened, OpenFailed and Exited.
        report: called with kind, index, port, incarnation.
        ended: called once, with the reason, when the zygote and its directory are gone.
        open_files: how many its processes may have open; 0: as many as this one.
        user: as whom they run; None: as this process.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        news: Callable[[family.Message], None],
        report: Callable[[int, int, int, int], None],
        ended: Callable[[str], None],
        open_files: int = 0,
        user: ClientUser | None = None,
    ) -> None:
        self.loop = loop
        self._user = user
        self.directory: Path | None = None
        self.printed: Printed | None = None
        """Who takes what its processes print, if that comes here."""
        self._reaping = False
        """It has ended, or is about to."""
        self._pipes: list[int] = []
        """Have come, and their message has not yet."""
        self._news = news
        self._report = report
        self._ended = ended
        self._unframer = family.Unframer()
        self._unsent = bytearray()
        self._orders, theirs = socket.socketpair()
        self._orders.setblocking(False)
        self._reports, reports_end = os.pipe()
        os.set_blocking(self._reports, False)
        tally = make_tally_file()
        self.tally = Tally(tally)
        """What the servers do."""
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _CODE,
                    str(theirs.fileno()),
                    str(reports_end),
                    str(os.getpid()),
                    str(open_files),
                    str(tally),
                    *([str(user.uid), str(user.gid)] if user is not None else []),
                ],
                pass_fds=(theirs.fileno(), reports_end, tally),
                stdin=subprocess.DEVNULL,
                env=family.environment(),
                cwd="/",
            )
        finally:
            theirs.close()
            os.close(reports_end)
            os.close(tally)
        loop.add_reader(self._orders.fileno(), self._readable)
        loop.add_reader(self._reports, self._reported)

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid

    def order(self, order: family.Message) -> None:
        """Send an order; it may be on its way for a while."""
        self._unsent += family.frame(order)
        self._write()

    def _write(self) -> None:
        try:
            while self._unsent:
                n = self._orders.send(self._unsent)
                del self._unsent[:n]
        except BlockingIOError:
            self.loop.add_writer(self._orders.fileno(), self._write)
            return
        except OSError:
            self._unsent.clear()
        with contextlib.suppress(ValueError, OSError):
            self.loop.remove_writer(self._orders.fileno())

    def _readable(self) -> None:
        try:
            data, pipes, _, _ = socket.recv_fds(self._orders, 1 << 16, PIPES_MAX, CLOSE_ON_EXEC)
            self._pipes += pipes
        except BlockingIOError:
            return
        except OSError:
            data = b""
        for body in self._unframer.feed(data):
            news = family.decode_news(body)
            if isinstance(news, family.Printing):
                self._take_pipes(news.index)
            else:
                self._news(news)
        if not data:
            self.loop.remove_reader(self._orders.fileno())
            self._reported()
            if self._user is None:
                self.kill_family()  # if it was killed, what its servers have started is still there
            self._reaping = True
            self._task = self.loop.create_task(self._bury())

    def _take_pipes(self, index: int) -> None:
        pipes, self._pipes = self._pipes[:2], self._pipes[2:]
        if self.printed is not None and len(pipes) == 2:
            self.printed.add(index + 1, *pipes)
            return
        logger.error("what server %d prints cannot be read: this process has too many files open", index + 1)
        for fd in pipes:
            os.close(fd)

    def _reported(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._reports, family.REPORT.size * 256)
            if not data:
                self.loop.remove_reader(self._reports)
            for kind, index, port, incarnation in family.REPORT.iter_unpack(data):
                self._report(kind, index, port, incarnation)

    async def _bury(self) -> None:
        status = await asyncio.to_thread(self._process.wait)
        self._close_fds()
        if self.printed is not None:
            await asyncio.to_thread(self.printed.finish)
        if self.directory is not None:
            await asyncio.to_thread(self._remove_directory, self.directory)
        self.tally.close()  # not before: the node reads it as long as it knows this zygote
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
        self._ended(f"the process that starts the servers {how}")

    def _remove_directory(self, directory: Path) -> None:
        if left := remove_folder(directory, self._user):
            logger.warning("a client's files are left behind: %s", left)

    def _close_fds(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            self.loop.remove_reader(self._reports)
        self._orders.close()
        os.close(self._reports)
        while self._pipes:
            os.close(self._pipes.pop())

    def kill_family(self) -> None:
        """The zygote, if it is there, and all that it and its servers have started; it ends as if by itself."""
        if self._reaping:
            return  # its number may be another process's by now
        family_and_self = (-self.pid, self.pid)  # if it has just begun, it has no group yet
        if self._user is None:
            kill(signal.SIGKILL, family_and_self)
        else:
            self._killing = self.loop.create_task(asyncio.to_thread(self._kill_as, self._user, *family_and_self))

    def kill(self) -> None:
        """At the very end, for a zygote that no client ever used."""
        with contextlib.suppress(ValueError, OSError):
            self.loop.remove_reader(self._orders.fileno())
        if self._user is None:
            self._process.kill()
            self._process.wait()
        else:
            self._orders.shutdown(socket.SHUT_RDWR)  # of which it ends as well, unless somebody has stopped it
            self._kill_as(self._user, self.pid)
        self._close_fds()
        self.tally.close()
        if self.directory is not None:
            self._remove_directory(self.directory)

    def _kill_as(self, user: ClientUser, *pids: int) -> None:
        try:
            user.kill(signal.SIGKILL, pids)
            self._process.wait(KILL_S)
        except (ConfigError, subprocess.TimeoutExpired) as error:
            logger.warning("the process %d that starts servers may not have ended: %s", self.pid, error)
