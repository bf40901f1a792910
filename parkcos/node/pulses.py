"""A node says what it has to spare: to its client at the client's pulse interval, to schedulers when it has changed.

Everything here happens in the I/O thread.  Source: chapter 6.6.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import psutil

from parkcos.cluster import messages as m
from parkcos.node.records import FREE

if TYPE_CHECKING:
    from parkcos.node.program import NodeProgram

CHANGED = 0.1
"""Schedulers are told when free memory or disk space has changed by this share of what they were told last."""
_MEASURING = "measuring what this node has to spare"
_MEASURING_CPU = "measuring the use of this node's processors"
"""Another one: what has just been measured is not measured again, and so does not fail."""


CPU_S = 0.5
"""The time over which the use of the processors is measured, at least."""


class CpuUse:
    """How much of the processors is in use, since it was last asked.  Any thread, one at a time.

    psutil's own `cpu_percent` counts from the last call in the same thread.
    """

    def __init__(self) -> None:
        self._seen = _cpu_seconds()
        self._seen_at = time.monotonic()
        self._percent: float | None = None

    def percent(self) -> float:
        """In use now; what was measured last, if that was just now."""
        now = time.monotonic()
        if self._percent is None or now - self._seen_at >= CPU_S:
            busy, total = _cpu_seconds()
            passed = total - self._seen[1]
            used = 100.0 * (busy - self._seen[0]) / passed if passed > 0 else self._percent or 0.0
            self._percent = min(100.0, max(0.0, used))
            self._seen, self._seen_at = (busy, total), now
        return self._percent


def _cpu_seconds() -> tuple[float, float]:
    """Of all processors since the system began: in use, and all."""
    times = psutil.cpu_times()._asdict()
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)  # which are in user and nice
    return total - times["idle"] - times.get("iowait", 0.0), total


class Pulses:
    """What a node measures, and whom it tells."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._told = self._memory_and_disk = (0, 0)
        self._cpu_and_swap: tuple[float | None, int | None] = (None, None)
        self._cpu = CpuUse()

    def start(self) -> None:
        """Look from time to time whether schedulers are to be told; what is measured is of the time since then."""
        with self._program.recurring.trying("the look at this node's folder"):
            self._program.folders.keep()
        if self._looking is not None:
            with self._program.recurring.trying(_MEASURING_CPU):
                self._cpu.percent()
        memory, disk = self.memory_and_disk()
        if any(abs(now - told) > CHANGED * told for now, told in zip((memory, disk), self._told, strict=True)):
            self._told = memory, disk
            if self._program.machine.phase == FREE:
                self._program.tell_schedulers()
        self._looking = self._program.loop.call_later(self._program.options.pulse_intervals[0], self.start)

    def stop(self) -> None:
        """Measure no more."""
        for timer in (self._timer, self._looking):
            if timer is not None:
                timer.cancel()

    def serve(self, client: int, process: int, asked_s: float) -> None:
        """Tell this client about every `asked_s` seconds, within the node's bounds, as long as it is served."""
        least, most = self._program.options.pulse_intervals
        if self._timer is not None:
            self._timer.cancel()
        if asked_s > 0:
            self._pulse(client, process, min(max(asked_s, least), most))

    def _pulse(self, client: int, process: int, every_s: float) -> None:
        if self._program.machine.client != client:
            return
        self.tell(client, process)
        self._timer = self._program.loop.call_later(every_s, self._pulse, client, process, every_s)

    def tell(self, client: int, process: int, *, asked: bool = False) -> None:
        """Tell this client now.  asked: it wanted to know."""
        memory, disk = self.memory_and_disk()
        cpu, swap = self._cpu_and_swap
        with self._program.recurring.trying(_MEASURING_CPU):
            cpu = 100.0 - self._cpu.percent()
        with self._program.recurring.trying(_MEASURING):
            swap = psutil.swap_memory().free
        self._cpu_and_swap = cpu, swap
        self._program.box.send(process, "client", m.NodeAvail(client, cpu, memory, disk, swap, asked))

    def memory_and_disk(self) -> tuple[int, int]:
        """Free bytes; as they were last, if they cannot be measured now."""
        folder = self._program.folders.path
        with self._program.recurring.trying(_MEASURING):
            while not folder.exists():  # somebody has removed it, and it is made again soon
                folder = folder.parent
            self._memory_and_disk = psutil.virtual_memory().available, psutil.disk_usage(str(folder)).free
        return self._memory_and_disk
