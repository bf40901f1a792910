"""The signals of parkcos's programs: handlers that no child inherits, and a main thread that waits for a signal.

A child that is forked, as by ``multiprocessing``, has its parent's handlers, and would do at a SIGTERM what is meant
for its parent.  So a process that sets a handler here has children with the default ones.

A thread that waits for a lock is not always woken by a signal: one that comes just before it begins to wait is seen
only afterwards.  So each signal also writes to a socket, and that is what is waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any

_handled: set[int] = set()
_masks = threading.local()


def handle(number: int, handler: Any) -> None:
    """``signal.signal``, for this process and not for its children.  Main thread."""
    _handled.add(number)
    signal.signal(number, handler)


def _before_fork() -> None:
    # What comes meanwhile is the child's, or waits for the parent.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _handled)


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _after_fork_in_child() -> None:
    if _handled:
        signal.set_wakeup_fd(-1)
        for number in _handled:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        _handled.clear()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


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
            handle(number, self._handle)

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
