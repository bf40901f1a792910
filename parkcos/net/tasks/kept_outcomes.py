"""How tasks of this process ended, kept for a while: a question from another process may come after the end."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from parkcos.net.payload import Buffer, join

KEPT_MAX = 10_000
KEPT_BYTES_MAX = 16 * 1024 * 1024


class Ended(NamedTuple):
    """As `outcomes.pack` gives it, in one piece; payload None: it was too large to keep."""

    kind: str
    form: int
    payload: Buffer | None


class KeptOutcomes:
    """The latest ends, up to a bound of count and bytes.  Any thread."""

    def __init__(self, count_max: int = KEPT_MAX, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._ends: OrderedDict[int, Ended] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, task: int, kind: str, form: int, buffers: Sequence[Buffer]) -> None:
        """Keep how `task` ended; the oldest are forgotten for it."""
        size = sum(map(len, buffers))
        ended = Ended(kind, form, join(buffers) if size <= self._bytes_max // 4 else None)
        with self._lock:
            self._take(task)
            self._ends[task] = ended
            self._bytes += _size(ended)
            while len(self._ends) > self._count_max or self._bytes > self._bytes_max:
                self._take(next(iter(self._ends)))

    def get(self, task: int) -> Ended | None:
        """How `task` ended; None if that is not known, or not any more."""
        with self._lock:
            return self._ends.get(task)

    def _take(self, task: int) -> None:
        ended = self._ends.pop(task, None)
        if ended is not None:
            self._bytes -= _size(ended)


def _size(ended: Ended) -> int:
    return 0 if ended.payload is None else len(ended.payload)
