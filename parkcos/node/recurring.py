"""What a node does again and again, and what may fail for a while: without file descriptors, with a full disk.

The log says so once, when something begins to fail for a reason that nothing else has failed for yet, and once when it
works again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from parkcos.errors import ConfigError

logger = logging.getLogger("parkcos")


class Recurring:
    """What fails at present, and why."""

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}

    @contextlib.contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Around something that is tried again later, and may raise OSError or ConfigError.  what: its name."""
        try:
            yield
        except (OSError, ConfigError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if reason not in self._failing.values():
                logger.warning("%s fails, and is tried again: %s", what, reason)
            self._failing[what] = reason
        else:
            reason = self._failing.pop(what, "")
            if reason and reason not in self._failing.values():
                logger.info("%s works again", what)
