"""What this process has asked others and not been answered yet.  Kernel thread only."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

from parkcos.errors import ShippingError
from parkcos.net import wire
from parkcos.net.session.peer import Peer

logger = logging.getLogger("parkcos")

OnAnswer = Callable[[wire.Answer | None], None]
"""Called once, with the answer, or None if the process that was asked is gone."""


class Requests:
    """Open questions by number."""

    def __init__(self) -> None:
        self._next = itertools.count(1).__next__
        self._open: dict[int, tuple[Peer, OnAnswer]] = {}
        self._withdrawn: dict[int, Peer] = {}

    def add(self, peer: Peer, on_answer: OnAnswer) -> int:
        """A new question to `peer`; returns its number."""
        number = self._next()
        self._open[number] = (peer, on_answer)
        return number

    def drop(self, number: int) -> None:
        """Nobody waits for the answer any more."""
        self._open.pop(number, None)

    def withdraw(self, number: int) -> None:
        """Nobody waits any more for the delivery `number`; if it is made all the same, that is said."""
        entry = self._open.pop(number, None)
        if entry is not None and entry[0].post(wire.Withdraw(number)):
            self._withdrawn[number] = entry[0]

    def answered(self, peer: Peer, answer: wire.Answer) -> None:
        """`peer` has answered; what it was not asked counts for nothing."""
        entry = self._open.get(answer.request)
        if entry is not None and entry[0].itself is peer.itself:
            del self._open[answer.request]
            entry[1](answer)
            return
        asked = self._withdrawn.get(answer.request)
        if asked is None or asked.itself is not peer.itself:
            return
        del self._withdrawn[answer.request]
        if answer.value > 0:
            logger.warning("a message to %r was delivered after all, when deliver() had already returned", peer)

    def gone(self, peer: Peer) -> None:
        """`peer` will not answer any more."""
        for number in [n for n, (asked, _) in self._open.items() if asked.itself is peer]:
            self._open.pop(number)[1](None)
        for number in [n for n, asked in self._withdrawn.items() if asked.itself is peer]:
            del self._withdrawn[number]


def delivered(answer: wire.Answer) -> int:
    """What the answer to a delivery says.  Raises: ShippingError if the message came there and was of no use."""
    if answer.error:
        raise ShippingError(answer.error)
    return answer.value


def must_be_encodable(question: wire.Message) -> None:
    """Raises: ShippingError if `question` cannot leave, or would be refused, and so would never be answered."""
    try:
        wire.decode(wire.encode([question]))
    except (TypeError, ValueError, OverflowError) as error:
        raise ShippingError(f"a {type(question).__name__} cannot be sent: {error}") from error
