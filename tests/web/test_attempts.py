"""parkcos/web/attempts.py: five wrong tokens a minute from one place, and what is remembered of that."""

from __future__ import annotations

import pytest

from parkcos.web import attempts
from parkcos.web.attempts import PLACES_MAX, WINDOW_S, WRONG_MAX, Attempts, place_of

HERE, THERE = "10.0.0.1", "10.0.0.2"


def test_five_wrong_ones_a_minute() -> None:
    tried = Attempts()
    for second in range(WRONG_MAX):
        assert tried.wait_s(HERE, float(second)) == 0
        tried.wrong(HERE, float(second))
    assert tried.wait_s(HERE, 10.0) == WINDOW_S - 10.0, "until the first of them is a minute old"
    assert tried.wait_s(THERE, 10.0) == 0
    assert tried.wait_s(HERE, WINDOW_S) == 0
    tried.wrong(HERE, WINDOW_S)
    assert tried.wait_s(HERE, WINDOW_S) == 1.0, "then the second one"


def test_in_any_minute_there_are_no_more_than_five() -> None:
    tried, looked_at = Attempts(), []
    for now in map(float, range(600)):
        if tried.wait_s(HERE, now) == 0:
            tried.wrong(HERE, now)
            looked_at.append(now)
    assert len(looked_at) == 10 * WRONG_MAX
    for first, sixth in zip(looked_at, looked_at[WRONG_MAX:], strict=False):
        assert sixth - first >= WINDOW_S


def test_a_crowd_takes_no_more_memory_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PLACES_MAX", 100)
    assert PLACES_MAX < 10_000
    tried = Attempts()
    for _ in range(WRONG_MAX):
        tried.wrong(HERE, 0.0)
    for number in range(99):
        tried.wrong(f"place {number}", 1.0)
    assert (len(tried), tried.wait_s(HERE, 1.0)) == (100, WINDOW_S - 1.0)
    tried.wrong("place 0", 2.0)
    for number in range(99, 1_000):
        tried.wrong(f"place {number}", 3.0)
    assert len(tried) == 100


@pytest.mark.parametrize(
    ("addr", "place"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_place(addr: str | None, place: str) -> None:
    """Who has an IPv6 address has all of its network: trying from each of them is no way round."""
    assert place_of(addr) == place
