"""What plain programs say to the runtime of their process: `run`, `io`, `join`, `terminate`, `atexit`."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from parkcos.errors import UsageError, WouldHang
from parkcos.kernel import Task, cur_task
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.wait import Completion
from parkcos.net.runtime import Parkcos

logger = logging.getLogger("parkcos")

T = TypeVar("T")

_SAY_S = 5.0


def io(coroutine: Coroutine[Any, Any, Any]) -> Completion[Any]:
    """Run an asyncio coroutine in the I/O thread.  Yield it: gives its result or raises its exception.

    If the task is ended meanwhile, the coroutine is cancelled.

    Raises: UsageError if `coroutine` is none.
    """
    if not asyncio.iscoroutine(coroutine):
        raise UsageError(f"io() wants a coroutine, not {coroutine!r}\n  write: x = yield parkcos.io(fetch(url))")
    return io_wait("io", lambda: coroutine)


def io_wait(what: str, make: Callable[[], Coroutine[Any, Any, T]]) -> Completion[T]:
    """To be yielded: the result of a coroutine that is made, when it is yielded, to run in the I/O thread.

    what: the operation's name, for messages.
    """
    thread = Parkcos.instance().io
    running: list[Any] = []

    def start(completion: Completion[Any]) -> None:
        future = thread.run(make())
        running.append(future)

        def done(_: Any) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                completion.set_exception(error)
            else:
                completion.set_result(future.result())

        future.add_done_callback(done)

    def cancel() -> None:
        for future in running:
            future.cancel()

    return Completion(current_kernel(), what, start, on_cancel=cancel)


def run(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a task in a program that has nothing else to do, and wait in this plain thread until it has ended.

    Args: as of Task.
    Returns: its value.
    Raises: what it raised, SystemExit too: so a program whose last line is ``run(main)`` fails if `main` does, and
        ``sys.exit(3)`` in `main` is the program's; TaskTerminated; WouldHang in a task; NotATask.
        KeyboardInterrupt: Ctrl-C is one in the task, too, and raised here when that has ended; the next one terminates
        the task, and does not wait longer than a few seconds.
    """
    if cur_task() is not None or threading.get_ident() == current_kernel().ident:
        raise WouldHang("run() would stop every task here\n  write: x = yield Task(fn, ...).result()")
    task = Task(fn, *args, **kwargs)
    future = task.future()
    try:
        return future.result()
    except BaseException:
        if not future.done():  # it was raised in this thread, by a signal
            _end_with_its_thread(task, future)
        raise


def _end_with_its_thread(task: Task, future: Future[Any]) -> None:
    """Interrupt the task for which this thread waits no longer; what it does in a `finally` is waited for."""
    try:
        task.throw(KeyboardInterrupt())
        while not wait([future], _SAY_S).done:
            logger.warning("%r was interrupted, and has not ended yet; Ctrl-C again terminates it", task)
    except KeyboardInterrupt:
        task.terminate()
        wait([future], _SAY_S)


def join(timeout: float | None = None, show_running: bool = False) -> bool:
    """Wait in a plain thread until all tasks but daemons have ended; whether they have within `timeout` seconds."""
    return Parkcos.instance().join(timeout, show_running)


def terminate() -> None:
    """End all tasks and the runtime; the next Task starts another."""
    Parkcos.instance().terminate()


def atexit(priority: float, fn: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call `fn(*args, **kwargs)` when the runtime ends, high priority first."""
    Parkcos.instance().atexit(priority, fn, *args, **kwargs)
