"""One file descriptor that tasks read and write without blocking: what pipes and sockets have in common.

An operation is a generator of *steps*: it tries, and yields READ or WRITE when it must wait until the descriptor can
be read or written, AGAIN when others should have a turn first, or a :class:`Lookup`.  It is tried once where it is
called, and goes on in the I/O thread if it has to wait; in a plain thread it waits there (`run_here`).  So each
operation is written once.

What was read stays in the object's buffer until the task takes it (`finish`): a time-out, or a task that is ended
while it waits, loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from parkcos.errors import UsageError, WouldHang
from parkcos.kernel.registry import cur_task
from parkcos.kernel.wait import Call
from parkcos.net.running import io_wait

T = TypeVar("T")

READ, WRITE, AGAIN = "read", "write", "again"

CHUNK_BYTES = 256 * 1024
"""At most so much is read or written in one step: the descriptor's lock is held so long."""
_LOOK_S = 0.25
"""A plain thread that waits looks so often whether the descriptor was closed."""


@dataclass(frozen=True)
class Lookup:
    """A step that needs the addresses of a host; it is resumed with what `getaddrinfo` gives."""

    host: str
    port: Any
    family: int
    kind: int


Steps = Generator[Any, Any, Any]


class Descriptor:
    """A file descriptor, whose owner has set it to not block.

    Args:
        fd: its number.
        close: closes it; called once.
        what: what it is to the user, for messages.

    Neither holds its owner, so that an owner that is dropped goes at once, and its descriptor with it.
    """

    def __init__(self, fd: int, close: Callable[[], object], what: str) -> None:
        self.fd = fd
        self.closed = False
        self._close = close
        self._what = what
        self._lock = threading.RLock()
        self._claims: dict[str, str] = {}
        self._waiters: list[tuple[asyncio.Future[None], str]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- operations

    def operation(
        self,
        name: str,
        directions: tuple[str, ...],
        steps: Callable[[], Steps],
        timeout_s: float | None,
        finish: Callable[[], T],
    ) -> Call[T]:
        """To be yielded: what `finish` gives when the steps are done.

        Args:
            name: what the user has called.
            directions: READ, WRITE: one operation at a time has each.
            timeout_s: for the waiting; after it the yield raises TimeoutError.
        """
        gen = self.operate(name, directions, steps, timeout_s, finish)
        gen.__name__ = name  # type: ignore[attr-defined]
        return Call(gen)

    def operate(
        self,
        name: str,
        directions: tuple[str, ...],
        steps: Callable[[], Steps],
        timeout_s: float | None,
        finish: Callable[[], T],
    ) -> Generator[Any, Any, T]:
        """The same, as a part of a generator."""
        with self.claim(name, directions):
            tried = steps()
            try:
                with self._lock:
                    self.check_open(name)
                    need = next(tried)
                yield io_wait(name, lambda: self.drive(name, tried, need, timeout_s))
            except StopIteration:
                return finish()
            finally:
                with self._lock:
                    tried.close()  # if it was given up, the I/O thread takes no further step
            return finish()

    def run_here(
        self,
        name: str,
        directions: tuple[str, ...],
        steps: Callable[[], Steps],
        timeout_s: float | None,
        finish: Callable[[], T],
    ) -> T:
        """The same in a plain thread, which waits.  Raises: WouldHang in a task."""
        if cur_task() is not None:
            raise WouldHang(f"a blocking {name}() would stop every task here\n  write: AsyncSocket(sock), and yield it")
        end = None if timeout_s is None else time.monotonic() + timeout_s
        answer: Any = None
        with self.claim(name, directions):
            tried = steps()
            while True:
                try:
                    with self._lock:
                        self.check_open(name)
                        need = tried.send(answer)
                except StopIteration:
                    return finish()
                answer = None
                if isinstance(need, Lookup):
                    answer = socket.getaddrinfo(need.host, need.port, family=need.family, type=need.kind)
                elif need is not AGAIN:
                    left = _LOOK_S if end is None else min(_LOOK_S, end - time.monotonic())
                    if left < 0:
                        raise self._too_late(name, timeout_s)
                    _wait_here(self.fd, need, left)

    @contextlib.contextmanager
    def claim(self, name: str, directions: tuple[str, ...]) -> Generator[None, None, None]:
        """For as long as it lasts no other operation has these directions.  Raises: UsageError if one has."""
        with self._lock:
            for direction in directions:
                if direction in self._claims:
                    raise UsageError(
                        f"{name}() of {self._what}: another task is in its {self._claims[direction]}(); "
                        f"only one at a time may {direction}\n  write: give it to one task, or let them share a Lock"
                    )
            self._claims.update(dict.fromkeys(directions, name))
        try:
            yield
        finally:
            with self._lock:
                for direction in directions:
                    del self._claims[direction]

    def check_open(self, name: str) -> None:
        """Raises: OSError if it is closed."""
        if self.closed:
            raise OSError(errno.EBADF, f"{name}(): {self._what} is closed")

    def _too_late(self, name: str, timeout_s: float | None) -> TimeoutError:
        return TimeoutError(f"{name}() of {self._what} took longer than {timeout_s} s")

    # -- in the I/O thread

    async def drive(self, name: str, steps: Steps, need: Any, timeout_s: float | None = None) -> None:
        """Go on with steps that need something; None to begin."""
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                while True:
                    answer: Any = None
                    if isinstance(need, Lookup):
                        loop = asyncio.get_running_loop()
                        answer = await loop.getaddrinfo(need.host, need.port, family=need.family, type=need.kind)
                    elif need is AGAIN:
                        await asyncio.sleep(0)
                    elif need is not None:
                        await self.ready(name, need)
                    with self._lock:
                        self.check_open(name)
                        need = steps.send(answer)
        except StopIteration:
            return
        except TimeoutError:
            if limit.expired():
                raise self._too_late(name, timeout_s) from None
            raise

    async def ready(self, name: str, direction: str) -> None:
        """Wait until it can be read or written.  Raises: OSError if it is closed meanwhile."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiter = (future, direction)
        with self._lock:
            self.check_open(name)
            self._loop = loop
            if direction is READ:
                loop.add_reader(self.fd, self._wake, READ)
            else:
                loop.add_writer(self.fd, self._wake, WRITE)
            self._waiters.append(waiter)
        try:
            await future
        finally:
            with self._lock:
                self._waiters.remove(waiter)
                if not self.closed:
                    self._disarm(loop, direction)

    def _disarm(self, loop: asyncio.AbstractEventLoop, direction: str) -> None:
        if not any(waits is direction for _, waits in self._waiters):
            if direction is READ:
                loop.remove_reader(self.fd)
            else:
                loop.remove_writer(self.fd)

    def _wake(self, direction: str) -> None:
        for future, waits in self._waiters:
            if waits is direction and not future.done():
                future.set_result(None)

    # -- the end

    def close(self) -> None:
        """Close it; who waits gets OSError.  Any thread; twice does nothing."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            if self._waiters and self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
                    self._loop.call_soon_threadsafe(self._close_under_waiters)
                    return
            self._close()

    def _close_under_waiters(self) -> None:
        assert self._loop is not None
        with self._lock:
            self._loop.remove_reader(self.fd)
            self._loop.remove_writer(self.fd)
            for future, _ in self._waiters:
                if not future.done():
                    future.set_exception(OSError(errno.EBADF, f"{self._what} was closed"))
            self._close()


def _wait_here(fd: int, need: str, left_s: float) -> None:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fd, select.POLLIN if need is READ else select.POLLOUT)
        poll.poll(left_s * 1000)
    else:
        with contextlib.suppress(OSError, ValueError):  # it was closed just now
            select.select([fd] if need is READ else [], [fd] if need is WRITE else [], [], left_s)
