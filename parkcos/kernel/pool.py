"""AsyncThreadPool: plain threads for what blocks, waited for by tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from parkcos.errors import UsageError, WouldHang
from parkcos.kernel.registry import cur_task, current_kernel
from parkcos.kernel.wait import Completion, Wait

__all__ = ["AsyncThreadPool"]

_Job = tuple[Completion[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class AsyncThreadPool:
    """`num_threads` daemon threads, made at once; ``x = yield pool.async_task(fn, ...)`` runs `fn` in one of them.

    Raises: UsageError if `num_threads` is not a positive whole number.
    """

    def __init__(self, num_threads: int) -> None:
        if not isinstance(num_threads, int) or num_threads < 1:
            raise UsageError(f"num_threads must be a whole number above 0, not {num_threads!r}")
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._unfinished = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"parkcos-pool-{i}", daemon=True) for i in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def async_task(self, target: Callable[..., Any] | None = None, /, *args: Any, **kwargs: Any) -> Wait[Any]:
        """Yield it.  ``target(*args, **kwargs)`` in a thread of the pool; also ``async_task(target=f, args=(...))``.

        Returns: its result.  Raises: what it raises; UsageError if the pool was terminated.
        """
        if target is None:
            target = kwargs.get("target")
            args, kwargs = tuple(kwargs.get("args", ())), kwargs.get("kwargs") or {}
        if not callable(target):
            raise UsageError(f"async_task() wants a function, not {target!r}")
        function = target

        def start(completion: Completion[Any]) -> None:
            with self._changed:
                if self._closed:
                    raise UsageError("the thread pool was terminated")
                self._unfinished += 1
            self._jobs.put((completion, function, args, kwargs))

        return Completion(current_kernel(), "async_task", start)

    def join(self) -> None:
        """Wait, in a plain thread, until all functions given so far are done.  Raises: WouldHang in a task."""
        self._not_in_task("join")
        with self._changed:
            self._changed.wait_for(lambda: self._unfinished == 0)

    def terminate(self) -> None:
        """Take no more functions, wait for those that are running or queued, and end the threads.  From a plain
        thread.  Raises: WouldHang in a task."""
        self._not_in_task("terminate")
        with self._changed:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _not_in_task(self, what: str) -> None:
        if cur_task() is not None:
            raise WouldHang(f"{what}() of a thread pool would stop every task here; call it from a plain thread")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            completion, function, args, kwargs = job
            try:
                completion.set_result(function(*args, **kwargs))
            except BaseException as exception:
                completion.set_exception(exception)
            finally:
                del job, completion, function, args, kwargs
                with self._changed:
                    self._unfinished -= 1
                    self._changed.notify_all()
