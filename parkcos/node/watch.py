"""Looks again and again at what the client uses of this node, and ends what uses more than it may."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parkcos.cluster.shared import size_in_words
from parkcos.node import state_events as ev
from parkcos.node.as_client import size_of
from parkcos.node.limits import look, too_much

if TYPE_CHECKING:
    from parkcos.node.program import NodeProgram

logger = logging.getLogger("parkcos")

LOOK_S = 0.5
MEASURE_S = 2.0
"""Until the client's folders are measured again."""
REST = 20
"""Times as long as a look takes, until the next one: so looking takes a twentieth of a processor at most."""


class Watch:
    """I/O thread only; it looks in threads."""

    def __init__(self, program: NodeProgram) -> None:
        self._program = program
        self._limits = program.options.limits
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Look from now on, if there is something to look for."""
        create = self._program.loop.create_task
        if self._limits.memory or self._limits.processes:
            self._tasks.append(create(self._again("the look at a client's processes", LOOK_S, self._look)))
        if self._limits.disk:
            self._tasks.append(create(self._again("measuring a client's folders", MEASURE_S, self._measure)))

    def stop(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()

    async def _again(self, what: str, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            began = time.monotonic()
            if self._program.nurseries:
                with contextlib.suppress(RuntimeError), self._program.recurring.trying(what):
                    await work()  # RuntimeError: no thread can be started now
            await asyncio.sleep(max(every_s, REST * (time.monotonic() - began)))

    async def _look(self) -> None:
        program = self._program
        client = program.machine.client
        nurseries = dict(program.nurseries)
        zygotes = {nursery.pid: nursery.mark for nursery in nurseries.values()}
        servers = {pid: index for index in program.machine.servers.by_index if (pid := program.tally(index).pid)}
        uses = await asyncio.to_thread(look, zygotes, servers)
        if program.machine.client != client:
            return
        for number, why in too_much(uses, self._limits).items():
            if number >= 0:  # unless another has taken its place meanwhile
                if servers.get(program.tally(number).pid) == number:
                    program.handle(ev.ServerExceeded(number, why))
                continue
            for nursery in nurseries.values():
                if nursery.pid == -number:
                    nursery.end(f"was ended by its node: {why}")

    async def _measure(self) -> None:
        program = self._program
        client = program.machine.client
        folders = [nursery.directory for nursery in program.nurseries.values() if nursery.directory is not None]
        size = await asyncio.to_thread(self._size_of, folders)
        if size > self._limits.disk and program.machine.client == client and not program.machine.why:
            used, most = size_in_words(size), size_in_words(self._limits.disk)
            why = f"its files take up {used} of its node's disk, and may take up {most} (--max_disk)"
            logger.warning("the client is closed: %s", why)
            program.handle(ev.CloseAsked(client, terminate=True, why=f"its node closed it: {why}"))

    def _size_of(self, folders: Sequence[Path]) -> int:
        user = self._program.options.client_user
        return sum(size_of(folder) if user is None else user.size_of(folder) for folder in folders)
