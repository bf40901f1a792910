"""The hours of service: when a node takes clients, and when it ends them.  Pure: the wall-clock time is given.

    start: open -> stop: no new client -> end: whoever is still served is ended -> the next start

Source: chapter 6.2, `--service_start`, `--service_stop`, `--service_end`.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from dataclasses import dataclass

from parkcos.errors import ConfigError


class Service(enum.Enum):
    """What a node does at some time of day."""

    OPEN = "open"
    LAST = "takes no new client"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Moment:
    """What holds now.  changes_s: seconds until `then` holds."""

    service: Service
    then: Service
    changes_s: float


@dataclass(frozen=True)
class Hours:
    """Times of day.  end: None if clients that are there at `stop` may stay.

    A time that a day does not have, because clocks are put forward, comes as much later as they are put forward; of
    a time that a day has twice, the first counts.
    """

    start: dt.time
    stop: dt.time
    end: dt.time | None = None

    def at(self, now: dt.datetime) -> Moment:
        """What holds at this time.  now: with a time zone, or without one: the machine's."""
        at = now.timestamp()
        days = [self._day(now, offset) for offset in range(-2, 4)]
        here = _service(days, at)
        later = sorted(t for day in days for t in day if at < t < float("inf"))
        for t in later:
            if (then := _service(days, t)) is not here:
                return Moment(here, then, t - at)
        raise AssertionError("hours that never change")  # the constructor of all of them refuses start == stop

    def _day(self, now: dt.datetime, offset: int) -> tuple[float, float, float]:
        """The service that starts `offset` days after today: its start, stop and end in seconds since the epoch."""
        day = now.date() + dt.timedelta(days=offset)

        def moment(time: dt.time) -> float:
            on = day if time >= self.start else day + dt.timedelta(days=1)
            return dt.datetime.combine(on, time, tzinfo=now.tzinfo).timestamp()

        start = moment(self.start)
        stop = max(start, moment(self.stop))
        return start, stop, max(stop, moment(self.end)) if self.end is not None else float("inf")

    @property
    def closed_text(self) -> str:
        """Why a client is not taken."""
        return f"not in service until {self.start:%H:%M}"

    @property
    def ended_text(self) -> str:
        """Why a client's servers are ended."""
        assert self.end is not None
        return f"its node's hours of service ended at {self.end:%H:%M}; the node serves again from {self.start:%H:%M}"


def _service(days: list[tuple[float, float, float]], at: float) -> Service:
    _, stop, end = max(day for day in days if day[0] <= at)
    return Service.OPEN if at < stop else Service.LAST if at < end else Service.CLOSED


def parse_hours(start: str | None, stop: str | None, end: str | None, now: dt.datetime) -> Hours | None:
    """The hours of service that the options name; None if there are none, and the node always serves.

    Args:
        now: is the start, if none is given.

    Raises: ConfigError for what is no time, and for times that make no sense together.
    """
    if start is None and stop is None and end is None:
        return None
    first = _parse("--service_start", start) if start is not None else now.time().replace(second=0, microsecond=0)
    last = _parse("--service_end", end) if end is not None else None
    if stop is None and last is None:
        raise ConfigError(
            f"--service_start {start}: say until when, with --service_stop or --service_end HH:MM, or both"
        )
    until = _parse("--service_stop", stop) if stop is not None else last
    assert until is not None
    said = f"--service_start {first:%H:%M}" if start is not None else f"service starts now, at {first:%H:%M}"
    for name, time in (("stop" if stop is not None else "end", until), ("end", last)):
        if time == first:
            raise ConfigError(f"{said}, and --service_{name} is the same: give two times that differ")
    if last is not None and _minutes(first, last) < _minutes(first, until):
        raise ConfigError(
            f"{said}, --service_stop {until:%H:%M}, --service_end {last:%H:%M}: "
            "after the start, the stop must come first, and then the end"
        )
    return Hours(first, until, last)


def _parse(option: str, text: str) -> dt.time:
    match = re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*", text, re.ASCII)
    if not match or int(match[1]) > 23 or int(match[2]) > 59:
        raise ConfigError(f"{option} {text}: write hours and minutes, from 00:00 to 23:59")
    return dt.time(int(match[1]), int(match[2]))


def _minutes(start: dt.time, time: dt.time) -> int:
    """From `start` on, round the clock."""
    return ((time.hour - start.hour) * 60 + time.minute - start.minute) % (24 * 60)
