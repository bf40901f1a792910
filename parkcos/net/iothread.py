"""The I/O thread: one asyncio loop for all sockets, timers and TLS of a process.  It never runs the user's code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from parkcos.kernel.forked import refuse
from parkcos.net.standard import open_standard

logger = logging.getLogger("parkcos")

T = TypeVar("T")

CLEAN_UP_S = 3.0
"""Time that coroutines have for their ``finally`` blocks when the program ends."""
THREADS_MUST_START_EARLY = sys.version_info[:2] == (3, 12)
"""Python 3.12 starts no thread once the main thread has ended, and tasks go on after that."""
_EARLY_THREADS = 8


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop()

    class Loop(uvloop.Loop):  # type: ignore[misc, unused-ignore]
        """uvloop has threads of its own that look names up, and a child that was forked dies of them at its end."""

        async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:
            look_up = functools.partial(socket.getaddrinfo, host, port)
            try:
                return look_up(**{**options, "flags": options.get("flags", 0) | socket.AI_NUMERICHOST})
            except socket.gaierror:  # it is a name
                return await self.run_in_executor(None, functools.partial(look_up, **options))

    return Loop()


class IOThread:
    """One event loop in a daemon thread of its own.

    Args:
        name: of the thread, for debuggers.
    """

    def __init__(self, name: str = "parkcos-io") -> None:
        open_standard()
        self.loop = _new_loop()
        self._pool = concurrent.futures.ThreadPoolExecutor(
            _EARLY_THREADS if THREADS_MUST_START_EARLY else None, thread_name_prefix=f"{name}-pool"
        )
        self._started = threading.Event()
        self._closing = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; returns when its loop runs."""
        self.thread.start()
        if THREADS_MUST_START_EARLY:
            all_there = threading.Barrier(_EARLY_THREADS)
            for _ in range(_EARLY_THREADS):
                self._pool.submit(all_there.wait)
        self._started.wait()

    def start_thread(self, work: Callable[[], object], name: str) -> None:
        """Run `work` in a daemon thread, or where no thread starts any more, in one that was started with this one."""
        if THREADS_MUST_START_EARLY:
            self._pool.submit(work)
        else:
            threading.Thread(target=work, name=name, daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.set_default_executor(self._pool)
        self.loop.call_soon(self._started.set)
        try:
            while not self._closing:
                with contextlib.suppress(SystemExit, KeyboardInterrupt):  # a coroutine's, which asyncio lets out
                    self.loop.run_forever()
        finally:
            self._finish()
            self.loop.close()

    def _finish(self) -> None:
        """Cancel what still runs, and let it clean up."""
        deadline = self.loop.time() + CLEAN_UP_S
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        generators = self.loop.create_task(self.loop.shutdown_asyncgens())
        while (pending := [task for task in (*tasks, generators) if not task.done()]) and self.loop.time() < deadline:
            self._run_briefly(asyncio.wait(pending, timeout=max(0.0, deadline - self.loop.time())))
        self._run_briefly(asyncio.sleep(0))  # whoever waits for them is told
        if pending:
            names = ", ".join(getattr(task.get_coro(), "__qualname__", repr(task)) for task in pending)
            logger.warning("cut off at the end, since they clean up for more than %g s: %s", CLEAN_UP_S, names)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run_briefly(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task = self.loop.create_task(coroutine)
        with contextlib.suppress(SystemExit, KeyboardInterrupt, RuntimeError):  # the last: it was stopped once more
            self.loop.run_until_complete(task)

    def in_thread(self) -> bool:
        """Whether the caller runs in this thread."""
        return threading.get_ident() == self.thread.ident

    def call(self, fn: Callable[..., object], *args: Any) -> None:
        """Run `fn(*args)` in the I/O thread soon; ignored once the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(fn, *args)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the I/O thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def forked(self) -> None:
        """In a child that was forked: this thread is not there."""
        self.call = self.run = refuse  # type: ignore[method-assign]

    def close(self) -> None:
        """Stop the loop and wait for the thread."""
        self._closing = True
        if self.thread.is_alive():
            self.call(self.loop.stop)
            if not self.in_thread():
                self.thread.join(CLEAN_UP_S + 2.0)
