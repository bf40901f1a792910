"""A program's log on standard error, which must not stop the program when nobody reads it any more.

A pipe that nobody reads fills, and a terminal can be stopped (Ctrl-S).  Whoever writes on waits then, for ever perhaps,
and a network thread must not.
"""

from __future__ import annotations

import logging
import select
from typing import TextIO

RECORD_BYTES_MAX = 3900
"""A pipe that takes anything takes a record of this length, with its time and level before it, in one piece."""


class PatientHandler(logging.StreamHandler[TextIO]):
    """Leaves records out while the stream takes none, and says later how many those were."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._left_out = 0

    def takes(self, timeout_s: float | None = 0.0) -> bool:
        """Whether the stream takes a record now, or within `timeout_s`; None: wait for ever."""
        try:
            poll = select.poll()  # each thread its own
            poll.register(self.stream, select.POLLOUT)
            return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
        except (AttributeError, OSError, ValueError):  # the system has no such call, or the stream no descriptor
            return True

    def emit(self, record: logging.LogRecord) -> None:
        if not self.takes():
            self._left_out += 1
            return
        if self._left_out:
            text, self._left_out = f"{self._left_out} lines of this log are left out: nobody took them", 0
            super().emit(logging.LogRecord("parkcos", logging.WARNING, __file__, 0, text, None, None))
            if not self.takes():
                self._left_out = 1
                return
        super().emit(record)


def wait_for_log() -> None:
    """Wait until this program's log takes a record.  Not in the I/O thread."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PatientHandler):
            handler.takes(None)
