"""One timer for a state machine: set for the machine's next deadline after each event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from parkcos.net.iothread import IOThread

AGAIN_S = 1.0
"""The wait for a machine that has the same deadline again when it has passed: it has refused to hear of it."""


class DeadlineTimer:
    """Calls `passed()` in the I/O thread when the machine's deadline has come.

    It never asks the machine, which others may be changing just then: whoever has told the machine something says its
    next deadline, under the machine's lock.  `passed` does so, too.
    """

    def __init__(self, io: IOThread, passed: Callable[[], None]) -> None:
        self._io = io
        self._passed = passed
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._cancelled = False
        self._missed: float | None = None
        """A deadline that had passed when the machine was last told so."""

    def set(self, deadline: float | None) -> None:
        """The machine's next deadline (in `time.monotonic` seconds), or None.  Any thread, under the machine's lock."""
        if deadline != self._deadline:
            self._deadline = deadline
            self._io.call(self._arm)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        deadline = self._deadline
        if deadline is not None and not self._cancelled:
            wait_s = AGAIN_S if deadline == self._missed else max(0.0, deadline - time.monotonic())
            self._handle = self._io.loop.call_later(wait_s, self._fire)

    def _fire(self) -> None:
        self._missed = self._deadline if self._deadline is not None and self._deadline <= time.monotonic() else None
        self._handle = self._deadline = None  # so that the same one is a new one
        self._passed()

    def cancel(self) -> None:
        """Never call again.  I/O thread."""
        self._cancelled = True
        self._arm()
