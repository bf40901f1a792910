"""How a shell tells its state machine a fact, and what becomes of one that cannot be.

A machine raises where it makes a mistake, or where it is told what no honest process says.  What it had ordered until
then is carried out, since it counts with that; its timer is set; then whoever told it the fact hears of the error.  A
message of another process is refused in this way, and the postbox goes on with the next.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

logger = logging.getLogger("parkcos")


class Machine(Protocol):
    """What all state machines of a cluster have."""

    def steps(self, event: Any, now: float) -> Iterable[Any]:
        """Take a fact; the orders that follow from it, one by one, or all in a list."""


def told(machine: Machine, event: Any, now: float) -> tuple[list[Any], Exception | None]:
    """Tell the machine a fact.

    Returns: its orders, to be carried out in this order, and the error to raise after that.
    """
    orders: list[Any] = []
    try:
        orders.extend(machine.steps(event, now))  # one by one: those before an error count
    except Exception as error:
        return orders, error
    return orders, None


class Refusals:
    """Logs what was refused, with the traceback, once for each kind of it."""

    def __init__(self) -> None:
        self._said: set[tuple[str, type]] = set()

    def note(self, what: str, kind: str, error: BaseException) -> None:
        """what: a text for people; kind: of what it is."""
        if (kind, type(error)) not in self._said:
            self._said.add((kind, type(error)))
            logger.error("%s cannot be handled, and is refused (not logged again)", what, exc_info=error)
