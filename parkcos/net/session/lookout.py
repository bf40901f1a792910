"""The lookout: which thread waits at the sockets of the sessions and reads what comes in.

To hand a message from the thread that read it to the thread that wants it costs more than all the rest of its way.
So while the kernel thread has no task to run, it waits at the sockets itself, reads, and runs the task that the
message is for.  A task may also compute for an hour: then the I/O thread reads, so that the process still takes
messages, answers pulses and can be told to end.

All sockets stand in one epoll, which the idle kernel thread polls and which the I/O thread, when it is its turn,
has in its own event loop, as an epoll can be polled like a socket.  So a change of turns is one call, however many
peers there are.  Whose turn it is:

- KERNEL from `sleep` on, whoever had it before;
- NOBODY's when the kernel thread leaves to run tasks: mostly it is back in microseconds;
- IO when `patrol`, which the hub calls in its tick, finds that the kernel thread has not come back since the last.

The reading itself is done under a lock, so each peer's messages are taken by one thread at a time and in order.  The
order also holds for what a reader passes on to the I/O thread: the kernel thread passes it on before it leaves, and
the I/O thread reads only in callbacks that were made ready after `patrol` ran there, which is later in the same queue.

Where there is no epoll (not Linux), the I/O thread watches each socket, and it is always its turn.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from parkcos.net.iothread import IOThread

KERNEL, NOBODY, IO = "kernel", "nobody", "io"

EAGER_S = 0.00015
"""To be woken costs 20 to 50 us on an idle machine, at both ends.  Who is in the middle of an exchange of messages (its
last wait was shorter than this) looks for the next one for so long before it sleeps."""

SLEEP_S_MAX = 3600.0
"""An epoll counts milliseconds in 32 bits; a longer sleep ends early."""

HAS_EPOLL = hasattr(select, "epoll") and hasattr(os, "eventfd")


class SleepingKernel(Protocol):
    """What the lookout needs of a kernel."""

    def awake(self) -> None: ...
    def has_posts(self) -> bool: ...
    def sleep_in(self, sleeper: Any) -> None: ...
    def post(self, fn: Callable[..., object], *args: Any) -> None: ...


class Lookout:
    """Watches sockets for one process.  It begins as the I/O thread's turn.

    Args:
        io: the I/O thread.
        left: called in the kernel thread each time it leaves the sockets to run tasks; it sees to it that `patrol`
            is called some milliseconds later, and again while it returns True.
    """

    def __init__(self, io: IOThread, left: Callable[[], object]) -> None:
        self.turn = IO
        self.lock = threading.Lock()
        """Held while a thread reads and hands out what it read."""
        self._io = io
        self._left = left
        self._kernel: SleepingKernel | None = None
        self._closed = False
        self._eager = False
        """The last wait was short: for as long the next one looks again and again, instead of going to sleep."""
        self._readers: dict[int, Callable[[], object]] = {}
        self._times_left = self._times_left_seen = 0
        self._epoll: select.epoll | None = None
        self._wake_fd = -1
        if HAS_EPOLL:
            self._epoll = select.epoll()
            self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._epoll.register(self._wake_fd, select.EPOLLIN)
            io.call(self._watch_epoll)

    # -- sockets

    def add(self, fd: int, readable: Callable[[], object]) -> None:
        """Call `readable` when there is something to read from `fd`.  I/O thread.

        It is called in either thread, under the lock, and again until nothing is left to read.
        """
        self._readers[fd] = readable
        if self._epoll is not None:
            self._epoll.register(fd, select.EPOLLIN)
        else:
            self._io.loop.add_reader(fd, self._read, fd)

    def remove(self, fd: int) -> None:
        """Forget `fd`, before it is closed; a second time does nothing.  Either thread (without epoll: I/O thread)."""
        if self._readers.pop(fd, None) is None:
            return
        if self._epoll is None:
            self._io.loop.remove_reader(fd)
        elif not self._epoll.closed:
            self._epoll.unregister(fd)

    def _read(self, fd: int) -> None:
        with self.lock:
            self._serve([(fd, 0)])

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        for fd, _ in ready:
            reader = self._readers.get(fd)
            if reader is not None:
                reader()
            elif fd == self._wake_fd:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)

    # -- the kernel thread's turn

    def attach(self, kernel: SleepingKernel) -> None:
        """Kernel thread: from now on it keeps the lookout while it is idle.

        Not if Ctrl-C can raise KeyboardInterrupt here: it would tear a message that is half read.
        """
        raises = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._epoll is not None and not self._epoll.closed and not raises:
            self._kernel = kernel
            kernel.sleep_in(self)

    def sleep(self, timeout_s: float) -> None:
        """Kernel thread: wait until there is something to read or `wake` is called, and read."""
        epoll, kernel = self._epoll, self._kernel
        assert epoll is not None
        assert kernel is not None
        try:
            with self.lock:  # the I/O thread may be reading; what it read is posted when it is done
                self.turn = KERNEL
            # Until here the I/O thread may have taken a wake-up off the eventfd; what that was for has been posted.
            ready = self._wait(epoll, kernel, min(timeout_s, SLEEP_S_MAX))
            kernel.awake()
            if ready:
                with self.lock:
                    self._serve(ready)
        finally:
            self._times_left += 1
            self.turn = NOBODY
            self._left()

    def _wait(self, epoll: select.epoll, kernel: SleepingKernel, timeout_s: float) -> list[tuple[int, int]]:
        if kernel.has_posts():
            return epoll.poll(0)
        began = time.perf_counter()
        if self._eager:
            until = began + (min(timeout_s, EAGER_S) if timeout_s >= 0 else EAGER_S)
            while time.perf_counter() < until:
                ready = epoll.poll(0)
                if ready or kernel.has_posts():
                    return ready
            if kernel.has_posts():  # since it was looked last
                return []
        ready = epoll.poll(timeout_s)
        self._eager = time.perf_counter() - began < EAGER_S
        return ready

    def wake(self) -> None:
        """Let `sleep` return.  Any thread."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake_fd, 1)

    # -- the I/O thread's turn

    def patrol(self) -> bool:
        """I/O thread: take over if the kernel thread has stayed away since the last call.

        Returns: whether it is away, and nobody reads: call again.
        """
        if self.turn is NOBODY and not self._closed:
            if self._times_left != self._times_left_seen:
                self._times_left_seen = self._times_left
                return True
            with self.lock:
                if self.turn is not NOBODY:
                    return False
                self.turn = IO
            self._watch_epoll()
        return False

    def _watch_epoll(self) -> None:
        assert self._epoll is not None
        loop = self._io.loop
        # Anew, also if it is watched still: a callback that was made ready before this must not read (see above).
        loop.remove_reader(self._epoll.fileno())
        loop.add_reader(self._epoll.fileno(), self._epoll_ready)

    def _epoll_ready(self) -> None:
        assert self._epoll is not None
        with self.lock:
            if self.turn is IO:
                self._serve(self._epoll.poll(0))
                return
        self._io.loop.remove_reader(self._epoll.fileno())

    # -- the end

    def close(self) -> None:
        """I/O thread, when all sockets are removed.  The kernel, if it runs on, sleeps elsewhere from then on."""
        if self._epoll is None or self._closed:
            return
        self._closed = True
        self._io.loop.remove_reader(self._epoll.fileno())
        if self._kernel is None:
            self._release()
        else:
            self._kernel.post(self._release)

    def descriptors(self) -> list[int]:
        """Its own, for who forks."""
        if self._epoll is None or self._epoll.closed:
            return []
        return [self._epoll.fileno(), self._wake_fd]

    def _release(self) -> None:
        """Kernel thread: nobody polls now."""
        if self._kernel is not None:
            self._kernel.sleep_in(None)
        assert self._epoll is not None
        self._epoll.close()
        fd, self._wake_fd = self._wake_fd, -1
        os.close(fd)


__all__ = ["HAS_EPOLL", "IO", "KERNEL", "NOBODY", "Lookout", "SleepingKernel"]
