"""parkcos/node/pulses.py: how much of the processors is in use."""

from __future__ import annotations

import threading
from collections import namedtuple

import pytest

from parkcos.node import pulses
from parkcos.node.pulses import CPU_S, CpuUse

Times = namedtuple("Times", "user system idle iowait guest")


class System:
    """What psutil and the clock say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.times = Times(100.0, 50.0, 1000.0, 10.0, 20.0)
        monkeypatch.setattr(pulses.psutil, "cpu_times", lambda: self.times)
        monkeypatch.setattr(pulses.time, "monotonic", lambda: self.now)

    def passes(self, user: float, idle: float, iowait: float = 0.0, guest: float = 0.0) -> None:
        self.now += user + idle + iowait
        self.times = Times(
            self.times.user + user,
            self.times.system,
            self.times.idle + idle,
            self.times.iowait + iowait,
            self.times.guest + guest,
        )


def test_what_is_in_use_since_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch)
    use = CpuUse()
    system.passes(user=3, idle=1)
    assert use.percent() == 75.0
    system.passes(user=1, idle=7, iowait=2, guest=1)
    assert use.percent() == 10.0, "who waits for a disk uses no processor; guests are in user already"
    system.passes(user=CPU_S / 2, idle=0)
    assert use.percent() == 10.0, "too short to measure"
    system.passes(user=CPU_S / 2, idle=0)
    assert use.percent() == 100.0


def test_whichever_thread_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch)
    use = CpuUse()
    system.passes(user=1, idle=1)
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.append(use.percent()))
    thread.start()
    thread.join()
    assert found == [50.0]


def test_a_clock_that_stands_still_or_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch)
    use = CpuUse()
    assert use.percent() == 0.0, "nothing is known yet"
    system.now += 1
    assert use.percent() == 0.0
    system.passes(user=1, idle=-2)
    assert 0.0 <= use.percent() <= 100.0
