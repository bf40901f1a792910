"""parkcos/node/hours.py"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.errors import ConfigError
from parkcos.node.hours import Hours, Moment, Service, parse_hours

OPEN, LAST, CLOSED = Service.OPEN, Service.LAST, Service.CLOSED
HOUR = 3600.0


@pytest.fixture(scope="module", autouse=True)
def berlin() -> Iterator[None]:
    """Berlin's clocks, as a rule, which needs no database of time zones."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def hours(start: str | None, stop: str | None, end: str | None, now: str = "09:30") -> Hours:
    found = parse_hours(start, stop, end, dt.datetime.fromisoformat(f"2024-01-10T{now}:42"))
    assert found is not None
    return found


def on(text: str, fold: int = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(fold=fold)


def test_the_example_of_the_chapter() -> None:
    night = hours("17:00", "07:00", "08:00")
    expected = [
        ("00:00", OPEN, LAST, 7.0),
        ("06:59", OPEN, LAST, 1 / 60),
        ("07:00", LAST, CLOSED, 1.0),
        ("07:59", LAST, CLOSED, 1 / 60),
        ("08:00", CLOSED, OPEN, 9.0),
        ("16:59", CLOSED, OPEN, 1 / 60),
        ("17:00", OPEN, LAST, 14.0),
        ("23:59", OPEN, LAST, 7 + 1 / 60),
    ]
    for wall, service, then, changes_h in expected:
        found = night.at(on(f"2024-01-10T{wall}"))
        assert (found.service, found.then) == (service, then), wall
        assert found.changes_s == pytest.approx(changes_h * HOUR), wall
    assert night.at(on("2024-01-10T06:00").replace(tzinfo=dt.UTC)) == Moment(OPEN, LAST, HOUR), "a zone that is given"
    assert night.closed_text == "not in service until 17:00"
    assert "ended at 08:00" in night.ended_text


def test_by_day_and_with_only_one_end() -> None:
    day = hours("08:00", "16:00", None)
    assert day.at(on("2024-01-10T07:00")) == Moment(LAST, OPEN, HOUR), "who is there may stay"
    assert day.at(on("2024-01-10T12:00")) == Moment(OPEN, LAST, 4 * HOUR)
    assert day.at(on("2024-01-10T16:00")) == Moment(LAST, OPEN, 16 * HOUR)
    strict = hours("08:00", None, "16:00")
    assert strict.at(on("2024-01-10T15:00")) == Moment(OPEN, CLOSED, HOUR)
    assert strict.at(on("2024-01-10T16:00")) == Moment(CLOSED, OPEN, 16 * HOUR)


def test_without_a_start_it_starts_now() -> None:
    assert hours(None, "16:00", "17:00", now="09:30") == Hours(dt.time(9, 30), dt.time(16), dt.time(17))
    assert hours(None, None, "7:05").end == dt.time(7, 5)
    assert parse_hours(None, None, None, dt.datetime(2024, 1, 1)) is None


@pytest.mark.parametrize(
    ("given_times", "words"),
    [
        (("24:00", "07:00", None), "--service_start 24:00: write hours and minutes"),
        (("17:00", "7", None), "--service_stop 7: write"),
        (("17:00", "07:60", None), "--service_stop 07:60: write"),
        (("17:00", None, "noon"), "--service_end noon: write"),
        (("17:00", "", None), "--service_stop : write"),
        (("17:00", None, None), "--service_start 17:00: say until when, with --service_stop or --service_end"),
        (("17:00", "17:00", None), "--service_start 17:00, and --service_stop is the same"),
        (("17:00", "07:00", "17:00"), "--service_end is the same"),
        (("17:00", None, "17:00"), "--service_start 17:00, and --service_end is the same"),
        ((None, "09:30", None), "service starts now, at 09:30, and --service_stop is the same"),
        (("17:00", "08:00", "07:00"), "the stop must come first"),
        (("17:00", "07:00", "18:00"), "the stop must come first"),
    ],
)
def test_what_makes_no_sense(given_times: tuple[str | None, str | None, str | None], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hours(*given_times)
    assert words in str(caught.value)


def test_clocks_are_put_forward() -> None:
    """On 31 March 2024, 02:00 to 03:00 was missing in Berlin."""
    night = hours("22:00", "02:30", "04:00")
    assert night.at(on("2024-03-31T01:59")) == Moment(OPEN, LAST, HOUR / 60 + HOUR / 2)
    assert night.at(on("2024-03-31T03:29")).service is OPEN
    assert night.at(on("2024-03-31T03:30")) == Moment(LAST, CLOSED, HOUR / 2)
    # A service that would end before it starts is left out, and does not go on for a day.
    missing = hours("02:30", "03:15", "03:20")
    assert missing.at(on("2024-03-31T03:00")).service is CLOSED
    assert missing.at(on("2024-03-31T12:00")) == Moment(CLOSED, OPEN, 14.5 * HOUR)


def test_clocks_are_put_back() -> None:
    """On 27 October 2024, 02:00 to 03:00 came twice in Berlin; the first time counts."""
    night = hours("22:00", "02:30", "02:45")
    assert night.at(on("2024-10-27T01:45")) == Moment(OPEN, LAST, 0.75 * HOUR)
    assert night.at(on("2024-10-27T02:40")) == Moment(LAST, CLOSED, HOUR / 12)
    assert night.at(on("2024-10-27T02:15", fold=1)) == Moment(CLOSED, OPEN, 19.75 * HOUR), "not again"
    assert hours("02:30", "02:20", None).at(on("2024-10-27T02:25", fold=1)).service is OPEN


minutes = st.integers(0, 24 * 60 - 1)


@given(minutes, minutes, st.none() | minutes, st.datetimes(dt.datetime(2023, 1, 1), dt.datetime(2026, 1, 1)))
def test_it_goes_round(start: int, stop: int, end: int | None, now: dt.datetime) -> None:
    """Whatever the hours: what is foretold holds then, and the order is open, last, closed, open."""
    texts = [None if m is None else f"{m // 60:02}:{m % 60:02}" for m in (start, stop, end)]
    try:
        found = parse_hours(*texts, now)
    except ConfigError:
        return
    assert found is not None
    order = [OPEN, LAST, CLOSED] if found.end not in (None, found.stop) else [OPEN, LAST if end is None else CLOSED]
    at = now
    seen = [found.at(at)]
    for _ in range(4):
        at = dt.datetime.fromtimestamp(at.timestamp() + seen[-1].changes_s + 0.001)
        seen.append(found.at(at))
    for before, after in pairwise(seen):
        assert before.changes_s > 0
        assert after.service is before.then
        if at.month not in (3, 10):
            assert after.service is order[(order.index(before.service) + 1) % len(order)]
