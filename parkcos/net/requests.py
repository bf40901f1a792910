"""What this process has asked others and not been answered yet.  Kernel thread only, but for `gone`."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from parkcos.net import wire
from parkcos.net.peer import Peer

OnAnswer = Callable[[wire.Answer | None], None]
"""Called once, with the answer, or None if the process that was asked is gone."""


class Requests:
    """Open questions by number."""

    def __init__(self) -> None:
        self._next = itertools.count(1).__next__
        self._open: dict[int, tuple[Peer, OnAnswer]] = {}

    def add(self, peer: Peer, on_answer: OnAnswer) -> int:
        """A new question to `peer`; returns its number."""
        number = self._next()
        self._open[number] = (peer, on_answer)
        return number

    def drop(self, number: int) -> None:
        """Nobody waits for the answer any more."""
        self._open.pop(number, None)

    def answered(self, answer: wire.Answer) -> None:
        """An answer came in."""
        entry = self._open.pop(answer.request, None)
        if entry is not None:
            entry[1](answer)

    def gone(self, peer: Peer) -> None:
        """`peer` will not answer any more."""
        for number in [n for n, (asked, _) in self._open.items() if asked is peer or asked.merged is peer]:
            self._open.pop(number)[1](None)
