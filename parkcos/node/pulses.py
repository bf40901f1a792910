"""A node says what it has to spare: to its client at the client's pulse interval, to schedulers when it has changed.

Everything here happens in the I/O thread.  Source: chapter 6.6.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil

from parkcos.cluster import messages as m
from parkcos.node import state as st

if TYPE_CHECKING:
    from parkcos.node.program import NodeProgram

CHANGED = 0.1
"""Schedulers are told when free memory or disk space has changed by this share of what they were told last."""
_MEASURING = "measuring what this node has to spare"


class Pulses:
    """What a node measures, and whom it tells."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._told = self._memory_and_disk = (0, 0)
        self._cpu_and_swap: tuple[float | None, int | None] = (None, None)
        psutil.cpu_percent()  # the first call measures nothing: it begins

    def start(self) -> None:
        """Look from time to time whether schedulers are to be told."""
        with self._program.recurring.trying("the look at this node's folder"):
            self._program.folders.keep()
        memory, disk = self.memory_and_disk()
        if any(abs(now - told) > CHANGED * told for now, told in zip((memory, disk), self._told, strict=True)):
            self._told = memory, disk
            if self._program.machine.phase == st.FREE:
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
        memory, disk = self.memory_and_disk()
        with self._program.recurring.trying(_MEASURING):
            self._cpu_and_swap = 100.0 - psutil.cpu_percent(), psutil.swap_memory().free
        cpu, swap = self._cpu_and_swap
        self._program.box.send(process, "client", m.NodeAvail(client, cpu, memory, disk, swap))
        self._timer = self._program.loop.call_later(every_s, self._pulse, client, process, every_s)

    def memory_and_disk(self) -> tuple[int, int]:
        """Free bytes; as they were last, if they cannot be measured now."""
        folder = self._program.folders.path
        with self._program.recurring.trying(_MEASURING):
            while not folder.exists():  # somebody has removed it, and it is made again soon
                folder = folder.parent
            self._memory_and_disk = psutil.virtual_memory().available, psutil.disk_usage(str(folder)).free
        return self._memory_and_disk
