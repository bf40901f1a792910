"""Processes that announce one address: virtual machines and containers may each have it, in a network of its own.

Pure: no socket, no clock.  What must not live here: how such a process is reached all the same.
"""

from __future__ import annotations

from parkcos.net.finding.datagram import Announce
from parkcos.net.location import Location

LOCATIONS_MAX = 10_000
AT_ONE_MAX = 8
"""Of so many that were heard at one address it is remembered, for those that were restarted stand there, too."""


class Namesakes:
    """Notices them.  One that was restarted is followed by another at its address, but never heard again after that."""

    def __init__(self) -> None:
        self._heard: dict[Location, dict[int, str]] = {}
        """Who was heard there, in words by incarnation, the latest last."""
        self._told: set[Location] = set()

    def heard(self, announce: Announce, source: str) -> str:
        """source: the address that the announcement came from.  Returns: what the user must know, once; else ""."""
        at = Location(announce.addr, announce.port)
        there = self._heard.pop(at, {})
        returns = announce.incarnation in there and announce.incarnation != next(reversed(there))
        there.pop(announce.incarnation, None)
        last = next(reversed(there.values()), "")
        there[announce.incarnation] = f"{announce.name} (heard from {source})"
        if len(there) > AT_ONE_MAX:
            del there[next(iter(there))]
        self._heard[at] = there
        if len(self._heard) > LOCATIONS_MAX:
            self._told.discard(oldest := next(iter(self._heard)))
            del self._heard[oldest]
        if not returns or at in self._told:
            return ""
        self._told.add(at)
        return (
            f"{last} and {there[announce.incarnation]} both announce the address {at}, so that others may reach one "
            "of them only: each machine or container has it in a network of its own, perhaps. Start each with  "
            "-i ADDRESS,  its own address in a network that the others are in, or with  --ext_host ADDRESS"
        )
