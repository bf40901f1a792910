"""One timer for a state machine: armed for its next deadline, asked again after each event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class DeadlineTimer:
    """Calls `passed()` in the loop's thread when the machine's deadline has come.

    Args:
        deadline: gives the machine's next deadline (in `time.monotonic` seconds), or None.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadline: Callable[[], float | None], passed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._deadline = deadline
        self._passed = passed
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None

    def rearm(self) -> None:
        """The machine has changed: look at its deadline again.  In the loop's thread."""
        deadline = self._deadline()
        if deadline == self._armed_for:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._armed_for = deadline
        if deadline is not None:
            self._handle = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._fire)

    def _fire(self) -> None:
        self._handle = self._armed_for = None
        self._passed()
        self.rearm()

    def cancel(self) -> None:
        """Never call again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
