"""How many wrong tokens may come from one place, and from when on it may try again."""

from __future__ import annotations

import ipaddress
from collections import deque

WRONG_MAX = 5
"""Wrong tokens from one place within `WINDOW_S`."""
WINDOW_S = 60.0
PLACES_MAX = 4096
"""Places that are remembered; then the one whose last wrong token is oldest is forgotten."""


class Attempts:
    """A machine: it has no clock.  now: seconds of one that only grows.

    What is tried while a place must wait is not looked at and does not count: so nobody is shut out for longer than
    `WINDOW_S` by what he has tried too often.
    """

    def __init__(self) -> None:
        self._wrong: dict[str, deque[float]] = {}
        """Place -> when wrong tokens came from there, in the order in which they last did."""

    def __len__(self) -> int:
        return len(self._wrong)

    def wait_s(self, place: str, now: float) -> float:
        """Seconds until a token from there is looked at again; 0: it is at once."""
        times = self._wrong.get(place)
        return 0.0 if times is None or len(times) < WRONG_MAX else max(0.0, times[0] + WINDOW_S - now)

    def wrong(self, place: str, now: float) -> None:
        """A wrong token came from there."""
        times = self._wrong.pop(place, None) or deque(maxlen=WRONG_MAX)
        times.append(now)
        self._wrong[place] = times
        if len(self._wrong) > PLACES_MAX:
            del self._wrong[next(iter(self._wrong))]


def place_of(addr: str | None) -> str:
    """What counts as one place: an IPv4 address, or the network of an IPv6 one, since a machine has all of that."""
    try:
        found = ipaddress.ip_address((addr or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
