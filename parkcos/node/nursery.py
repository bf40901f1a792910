"""The node's hold on a zygote: gives it orders, hears from it and from its servers.  I/O thread only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parkcos.errors import ConfigError
from parkcos.node import family
from parkcos.node.as_client import end_family, kill
from parkcos.node.birth import Newborn
from parkcos.node.groups import Group, Groups
from parkcos.node.identity import ClientUser, remove_folder
from parkcos.node.output import Printed

logger = logging.getLogger("parkcos")

KILL_S = 10.0
"""What is killed has ended after this time."""
SEND_AGAIN_S = 0.05
"""After this time the zygote has taken some of the descriptors that are on their way, of which the system bounds the
number."""

THREAD_AGAIN_S = 0.5
"""Until a thread is asked for again that could not be started."""

REPORTS_MAX = 4096
"""Reports that are read at a time: more than a pipe holds."""
ORDERS_MAX = 20_000
"""Orders that wait for a zygote: more than are needed to start, end and kill the servers of the largest node."""


class Nursery:
    """One zygote and its servers.

    Args:
        news: called with Opened, OpenFailed and Exited.
        report: called with kind, index, port, incarnation.
        ended: called once, with the reason, when the zygote and its directory are gone.
        printed: takes what its processes print.
        newborn: the zygote itself.
        user: as whom its processes run; None: as this one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        news: Callable[[family.Message], None],
        report: Callable[[int, int, int, int], None],
        ended: Callable[[str], None],
        printed: Printed,
        newborn: Newborn,
        user: ClientUser | None = None,
    ) -> None:
        self.loop = loop
        self._user = user
        self.directory: Path | None = None
        self._group: Group | None = None
        self.printed = printed
        self._reaping = False
        """It has ended, or is about to."""
        self._why = ""
        """It was ended for this."""
        self._news = news
        self._report = report
        self._ended = ended
        self._unframer = family.Unframer(family.NEWS_BYTES_MAX)
        self._unsent: deque[tuple[bytearray, list[int]]] = deque()
        """Orders, each with descriptors that go with its first byte."""
        self._process, self._mark = newborn.process, newborn.mark
        self._orders, self._reports = newborn.orders, newborn.reports
        self.tally = newborn.tally
        """What the servers do."""
        printed.add(0, *newborn.printed)
        self._orders.setblocking(False)
        os.set_blocking(self._reports, False)
        loop.add_reader(self._orders.fileno(), self._readable)
        loop.add_reader(self._reports, self._reported)

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid

    @property
    def mark(self) -> str:
        """By which its processes are known; see `as_client.py`."""
        return self._mark

    def opens(self, directory: Path, space: int, groups: Groups | None) -> None:
        """A client begins, or a space of one (not 0), whose files are there.  groups: for its processes."""
        self.directory = directory
        if groups is not None and not self._reaping:  # its number may be another process's by now
            self._group = groups.begin(self.pid, space)
        self.printed.opens()

    def bind(self, index: int, pid: int) -> None:
        """A server listens, and runs no code of the client yet: from now on it is in a group of its own."""
        if self._group is not None:
            self._group.take(index, pid)

    def bounds_of(self, index: int) -> str:
        """Why a server has ended that has: because of its group's bounds, or ""."""
        return self._group.ended(index) if self._group is not None else ""

    def fork(self, order: family.Fork) -> None:
        """Have a server started."""
        try:
            reading, writing = family.make_pipes(family.PIPES)
        except OSError as error:  # too many files: it is tried again later
            failed = family.Exited(order.index, f"it could not be started: {error.strerror}")
            self.loop.call_soon(self._news, failed)
            return
        self.printed.add(order.index + 1, *reading)
        if self._group is not None:
            self._group.starts(order.index)
        self.order(order, writing)

    def order(self, order: family.Message, descriptors: Sequence[int] = ()) -> None:
        """Send an order; it may be on its way for a while.  descriptors: go with it, and are closed here."""
        self._unsent.append((bytearray(family.frame(order)), list(descriptors)))
        self._write()
        if len(self._unsent) > ORDERS_MAX:
            self._expel("takes no orders, and ever more are caused")

    def _write(self) -> None:
        try:
            while self._unsent:
                data, descriptors = self._unsent[0]
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
                del data[: self._orders.sendmsg([data], rights)]
                _close_all(descriptors)
                if not data:
                    self._unsent.popleft()
        except BlockingIOError:
            self.loop.add_writer(self._orders.fileno(), self._write)
            return
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                self.loop.call_later(SEND_AGAIN_S, self._write)
                return
            self._forget_orders()
        with contextlib.suppress(ValueError, OSError):
            self.loop.remove_writer(self._orders.fileno())

    def _forget_orders(self) -> None:
        for _, descriptors in self._unsent:
            _close_all(descriptors)
        self._unsent.clear()

    def _readable(self) -> None:
        """Descriptors that come along are not taken: the system closes them."""
        try:
            data = self._orders.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            bodies = self._unframer.feed(data)
            if bodies:  # what a server has reported comes before the news of its end
                self._reported()
            for body in bodies:
                self._news(family.read_news(body))
        except family.Malformed as malformed:
            self._expel(f"has sent {malformed} to the node")
            return
        if not data:
            self._reported()
            if self._user is None:
                self.kill_family()  # if it was killed, what its servers have started is still there
            self._begin_to_bury()

    def _reported(self) -> None:
        try:
            data = os.read(self._reports, family.REPORT.size * REPORTS_MAX)
        except BlockingIOError:
            return
        if not data:
            self.loop.remove_reader(self._reports)
        try:
            for kind, index, port, incarnation in family.read_reports(data):
                self._report(kind, index, port, incarnation)
        except family.Malformed as malformed:
            self._expel(f"or a server has sent {malformed} to the node")

    def _expel(self, why: str) -> None:
        """The client's code does in the name of parkcos what parkcos does not: nothing more is heard from there."""
        self.end(f"was ended: it {why}, which parkcos does not do, but the client's code there can")

    def end(self, why: str) -> None:
        """The zygote is killed, with all that it and its servers have started.  why: what is said of it."""
        if not self._reaping:
            self._why = why
            self.kill_family()
            self._begin_to_bury()

    def _begin_to_bury(self) -> None:
        if not self._reaping:
            self._reaping = True
            self.loop.remove_reader(self._orders.fileno())
            self.loop.remove_reader(self._reports)
            self._task = self.loop.create_task(self._bury())

    async def _bury(self) -> None:
        status = await self._in_thread(self._process.wait)
        await self._in_thread(self._end_family)
        why = await self._in_thread(self._group.end) if self._group is not None else ""
        self._close_fds()
        await self._in_thread(self.printed.finish)
        if self.directory is not None:
            await self._in_thread(self._remove_directory, self.directory)
        self.tally.close()  # not before: the node reads it as long as it knows this zygote
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
        how = f"{how}: {why}" if why else how
        self._ended(f"the process that starts the servers {self._why or how}")

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do what may take a while, when there is a thread for it: the client's processes may be as many as may be."""
        while True:
            try:
                return await asyncio.to_thread(work, *args)
            except RuntimeError:  # no thread can be started
                await asyncio.sleep(THREAD_AGAIN_S)

    def _end_family(self) -> None:
        """What the servers have started, as a zygote that was killed does not do by itself."""
        why = "they do not end, or cannot be found now"
        try:
            user, mark = self._user, self._mark
            ended = user.end_family(mark) if user is not None else end_family([mark], os.getpid())
        except ConfigError as error:
            ended, why = False, str(error)
        if not ended:
            logger.warning("programs that a client's tasks have started may be there still: %s", why)

    def _remove_directory(self, directory: Path) -> None:
        if left := remove_folder(directory, self._user):
            logger.warning("a client's files are left behind: %s", left)

    def _close_fds(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            self.loop.remove_reader(self._reports)
            self.loop.remove_writer(self._orders.fileno())
        self._orders.close()
        os.close(self._reports)
        self._forget_orders()

    def kill_family(self) -> None:
        """The zygote, if it is there, and all that it and its servers have started; it ends as if by itself."""
        if self._reaping:
            return  # its number may be another process's by now
        if self._user is None:
            kill(signal.SIGKILL, [-self.pid])
        else:
            self._killing = self.loop.create_task(asyncio.to_thread(self._kill_as, self._user, -self.pid))

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


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
