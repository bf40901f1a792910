"""parkcos/client/estimates.py: how long a function is expected to take."""

from __future__ import annotations

import pytest

from parkcos.client.estimates import KINDS_MAX, LONGEST_S, UNKNOWN_S, Estimates


def test_the_first_run_counts_as_it_is_and_later_ones_a_little() -> None:
    estimates = Estimates()
    assert estimates.of("work") == UNKNOWN_S
    estimates.took("work", 0.001)
    assert estimates.of("work") == 0.001
    estimates.took("work", 0.011)
    assert estimates.of("work") == pytest.approx(0.004)
    assert estimates.of("other") == UNKNOWN_S, "each for itself"


def test_one_long_run_is_soon_forgotten() -> None:
    estimates = Estimates()
    estimates.took("work", 3600.0)
    assert estimates.of("work") == LONGEST_S
    for _ in range(20):
        estimates.took("work", 0.0)
    assert estimates.of("work") < 0.002


def test_those_that_were_new_last_are_kept() -> None:
    estimates = Estimates()
    for number in range(KINDS_MAX + 1):
        estimates.took(str(number), 0.5)
    assert estimates.of("0") == UNKNOWN_S
    assert estimates.of("1") == 0.5
