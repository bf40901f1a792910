"""What a client may be given: numbers and texts that cannot be meant are refused before anything begins."""

from __future__ import annotations

import math

from parkcos.cluster import server_messages as sm
from parkcos.errors import UsageError
from parkcos.net.bounds import NAME_CHARS_MAX

MIN_PULSE_INTERVAL = 10.0
MAX_PULSE_INTERVAL = 100.0
"""Seconds.  Nodes have bounds of their own, by default these."""


def check_client(
    name: str, pulse_interval: float, threads: int | None, seed: int | None, shared_bytes_max: int, orphan_s: float
) -> None:
    """As `Client` takes them.  Raises: UsageError."""
    if not isinstance(pulse_interval, int | float) or not 0 < pulse_interval <= MAX_PULSE_INTERVAL:
        raise UsageError(
            f"pulse_interval={pulse_interval!r}: give seconds, more than 0 and at most {MAX_PULSE_INTERVAL:g}"
        )
    if not isinstance(name, str) or len(name) > NAME_CHARS_MAX:
        raise UsageError(f"name={str(name)[:60]!r}: give a text of at most {NAME_CHARS_MAX} characters")
    for what, number in (("threads", threads), ("seed", seed)):
        if number is not None and (type(number) is not int or number < 0):
            raise UsageError(f"{what}={number!r}: give a whole number, not below 0, or None")
    if type(shared_bytes_max) is not int or shared_bytes_max < 1:
        raise UsageError(f"shared_bytes_max={shared_bytes_max!r}: give a number of bytes, 1 or more")
    if seed is not None and seed.bit_length() > sm.SEED_BITS_MAX:
        raise UsageError(f"seed=...: give a whole number of at most {sm.SEED_BITS_MAX} bits")
    if not isinstance(orphan_s, int | float) or not 0 < orphan_s < math.inf:
        raise UsageError(f"orphan_s={orphan_s!r}: give seconds, more than 0")
