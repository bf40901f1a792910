"""The I/O thread: one asyncio loop for all sockets, timers and TLS of a process.  It never runs the user's code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from parkcos.kernel.forked import refuse

T = TypeVar("T")


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
        self.loop = _new_loop()
        self._started = threading.Event()
        self._closing = False
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; returns when its loop runs."""
        self.thread.start()
        self._started.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._started.set)
        try:
            while not self._closing:
                with contextlib.suppress(SystemExit, KeyboardInterrupt):  # a coroutine's, which asyncio lets out
                    self.loop.run_forever()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            with contextlib.suppress(Exception):
                self.loop.run_until_complete(asyncio.sleep(0))
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())
                self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

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
                self.thread.join(5)
