"""Threads for what blocks (disks), with results in the I/O thread.

They are daemons, so that a disk that hangs does not keep a program from its end; only where no thread starts once the
main part of a program has ended (`IOThread.start_thread`), they are not.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from parkcos.net.iothread import IOThread

logger = logging.getLogger("parkcos")

Tell = Callable[[Any, BaseException | None], object]
"""Called in the I/O thread with the result, or None and what was raised."""

_Job = tuple[Callable[..., Any], tuple[Any, ...], Tell]


IDLE_S = 1.0
"""A thread that had nothing to do for so long ends."""


class Workers:
    """At most `count` threads, made when there is work.  I/O thread only."""

    def __init__(self, io: IOThread, count: int, name: str) -> None:
        self._io = io
        self._count = count
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()  # a thread that leaves and a job that comes see each other
        self._threads = 0
        self._unfinished = 0
        self._closed = False

    def run(self, fn: Callable[..., Any], args: tuple[Any, ...], tell: Tell) -> None:
        """Run `fn(*args)` in a thread."""
        self._unfinished += 1
        with self._lock:
            self._jobs.put((fn, args, tell))
            another = self._unfinished > self._threads < self._count
            self._threads += another
        if another:
            self._io.start_thread(self._work, self._name)

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            fn, args, tell = job
            result, failure = None, None
            try:
                result = fn(*args)
            except BaseException as error:
                failure = error
            self._io.call(self._finished, tell, result, failure)
            del job, fn, args, tell, result, failure

    def _next_job(self) -> _Job | None:
        """None: end."""
        while True:
            try:
                return self._jobs.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._threads -= 1
                        return None

    def _finished(self, tell: Tell, result: Any, failure: BaseException | None) -> None:
        self._unfinished -= 1
        tell(result, failure)

    async def close(self, limit_s: float) -> None:
        """Wait until all is done, at most `limit_s` seconds, and end the threads."""
        deadline = self._io.loop.time() + limit_s
        while self._unfinished and self._io.loop.time() < deadline:
            await asyncio.sleep(0.005)
        if self._unfinished:
            logger.warning("a disk is still busy after %g s: what was to be done there may be left undone", limit_s)
        if not self._closed:
            self._closed = True
            with self._lock:
                for _ in range(self._threads):
                    self._jobs.put(None)


class Lane:
    """Runs functions one after the other, in whichever thread.  I/O thread only."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._waiting: deque[_Job] = deque()
        self._busy = False

    def run(self, fn: Callable[..., Any], args: tuple[Any, ...], tell: Tell) -> None:
        """Run `fn(*args)` after all that was given before."""
        self._waiting.append((fn, args, tell))
        self._next()

    def clear(self) -> None:
        """Forget what has not begun."""
        self._waiting.clear()

    def _next(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            fn, args, tell = self._waiting.popleft()
            self._workers.run(fn, args, lambda result, error: self._done(tell, result, error))

    def _done(self, tell: Tell, result: Any, error: BaseException | None) -> None:
        self._busy = False
        try:
            tell(result, error)  # may clear what waits
        finally:
            self._next()
