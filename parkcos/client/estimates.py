"""How long the tasks of each function take: what sending ahead is decided by."""

from __future__ import annotations

UNKNOWN_S = 1.0
"""What a function is expected to take that has not ended yet: too long to wait behind it."""
LONGEST_S = 1.0
"""Longer runs count as this, so that short ones after them are found to be short soon."""
NEW_SHARE = 0.3
"""The share of the last run in the running mean."""
KINDS_MAX = 1024
"""Functions whose means are kept, those that were new last."""


class Estimates:
    """A running mean for each function."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def of(self, kind: str) -> float:
        """The seconds that a task of this function is expected to take."""
        return self._means.get(kind, UNKNOWN_S)

    def took(self, kind: str, seconds: float) -> None:
        """One has ended."""
        means = self._means
        if seconds > LONGEST_S:
            seconds = LONGEST_S
        mean = means.get(kind)
        if mean is not None:
            means[kind] = mean + NEW_SHARE * (seconds - mean)
            return
        means[kind] = seconds
        if len(means) > KINDS_MAX:
            del means[next(iter(means))]
