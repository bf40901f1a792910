"""What an administrator must be able to see later: who came, who was refused or shut out, whose turn it was, what was
ended by force.

One line each, under the name ``parkcos.audit``, which can be sent to a place of its own (``logging``).  Whoever causes
many lines causes no more than a few a second: how many were left out is said in their place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("parkcos.audit")

LINES_S = 10.0
"""So many lines a second, for long."""
BURST = 200
"""And so many at once."""


class Audit:
    """One for each network; any thread.  clock: gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._room = float(BURST)
        self._at = clock()
        self._left_out = 0

    def note(self, level: int, text: str, *args: object) -> None:
        """Write a line.  args: as of `logging`; what others have chosen in them must be printable."""
        with self._lock:
            now = self._clock()
            self._room = min(BURST, self._room + (now - self._at) * LINES_S)
            self._at = now
            if self._room < 1:
                self._left_out += 1
                return
            self._room -= 1
            left_out, self._left_out = self._left_out, 0
        if left_out:
            logger.warning("%d lines of the audit are left out: there were too many at once", left_out)
        logger.log(level, text, *args)
