"""SIGINT and SIGTERM in a program whose main thread has nothing to do but to wait for them.

A thread that waits for a lock is not always woken by a signal: one that comes just before it begins to wait is seen
only afterwards.  So each signal also writes to a socket, and that is what is waited for.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType


class Signals:
    """Made in the main thread, before others can know of the program: from then on neither of the two just ends it."""

    def __init__(self) -> None:
        self._came = False
        self._stop: Callable[[], object] = lambda: None
        self._reading, self._writing = socket.socketpair()
        for each in (self._reading, self._writing):
            each.setblocking(False)
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def wait(self, ended: Future[None], stop: Callable[[], object]) -> None:
        """Main thread: wait for `ended`, and call `stop` when a signal comes or has come before."""
        ended.add_done_callback(lambda _: self._wake())
        self._stop = stop
        if self._came:
            stop()
        while not ended.done():
            select.select([self._reading], [], [])
            with contextlib.suppress(BlockingIOError):
                self._reading.recv(4096)
        ended.result()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came = True
        self._stop()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # there is enough in it to be woken by
            self._writing.send(b"\0")
