"""How long the fuzzers run: seconds in the tests, and as long as `make fuzz SECONDS=600` says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

SECONDS = float(os.environ.get("PARKCOS_FUZZ_SECONDS", "0"))
"""Of each fuzzer; 0: as short as it is among the other tests."""
PER_SECOND = 200
"""Examples that any of the pure ones manages on a slow machine."""


def examples(least: int) -> int:
    """How many a pure fuzzer tries."""
    return max(least, int(SECONDS * PER_SECOND))


def seeds(first: int, least: int) -> Iterator[int]:
    """For a fuzzer that takes its time: at least so many, and further ones until the time is over."""
    end = time.monotonic() + SECONDS
    seed = first
    while seed < first + least or time.monotonic() < end:
        yield seed
        seed += 1
