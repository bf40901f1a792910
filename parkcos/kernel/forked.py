"""What a fork leaves of the kernels in the child: nothing that runs.

The child has a copy of everything and one thread.  The kernel of another thread does not run there, and the kernel of
this thread must not go on: its tasks, sessions and sockets are the parent's.  So in the child each kernel becomes a
``ForkedKernel``, which refuses in words, and a task made there gets a new kernel.  A child that a task has forked ends
where the task would give control back to the kernel.

Nothing of this costs the loop anything: it looks its own methods up, and sets ``current``, as always.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import traceback
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn

from parkcos.errors import UsageError
from parkcos.kernel import failures, registry
from parkcos.kernel.failures import is_a
from parkcos.kernel.kernel import Kernel
from parkcos.kernel.loop import cut

if TYPE_CHECKING:
    from parkcos.kernel.task import Task

__all__ = ["ForkedKernel", "keep_for_ever", "leave", "refuse"]

FORKED = (
    "this belongs to the process from which this one was forked, and works only there\n"
    "  write: make what is needed in this process: a Task, a Client, Parkcos(...)"
)
_AT_A_YIELD = (
    "parkcos: the child that a task has forked came to a yield (or an await), and there are no tasks in it; it ends\n"
    "  write: os._exit(code) where the child is done; or parkcos.run(main) in it, to have tasks\n"
)

_kept: list[Any] = []


def refuse(*_: Any, **__: Any) -> NoReturn:
    """Stands in the child for what works in the parent only.  Raises: UsageError."""
    raise UsageError(FORKED)


class ForkedKernel(Kernel):
    """A kernel of the parent process, as the child sees it."""

    post = spawn = start_from_outside = ensure_network = call_later = request_flush = refuse

    # ---- where the loop comes to, if it was in this thread that the fork was made ---------------------------------

    @property
    def current(self) -> Task | None:
        """The task that has forked: it may still call its own operations, and ends at the yield."""
        return self.__dict__.get("forked_by")

    @current.setter
    def current(self, task: Task | None) -> NoReturn:
        self._at_a_yield()

    def _returned(self, task: Task, value: Any) -> NoReturn:
        if task._stack:
            self._at_a_yield()  # of who called it
        _end(0)

    def _raised(self, task: Task, exception: BaseException) -> NoReturn:
        if is_a(exception, SystemExit):
            code = exception.code
            if code is None or isinstance(code, int):
                _end(code or 0)
            sys.stderr.write(f"{code}\n")
        else:
            cut(exception)
            sys.stderr.write(failures.text_of(exception))
        _end(1)

    def _at_a_yield(self, *_: Any) -> NoReturn:
        sys.stderr.write(_AT_A_YIELD)
        _end(1)

    idle = _yielded = _cut_short = interrupt = _shutdown = _at_a_yield  # type: ignore[assignment]


def leave(kernel: Kernel) -> None:
    """In the child: `kernel` is the parent's."""
    if isinstance(kernel, ForkedKernel):
        return
    network, task = kernel.network, kernel.current if kernel.ident == get_ident() else None
    kernel.stopped = kernel._stopping = True
    kernel.ident = -1
    kernel.sleep_in(None)
    keep_for_ever(kernel, kernel.live.copy(), kernel._ready[:], kernel.timers.heap[:], list(kernel._inbox))
    kernel._inbox.clear()
    kernel._ready.clear()
    kernel._flushes.clear()
    kernel.timers.heap.clear()
    kernel.__class__ = ForkedKernel
    kernel.__dict__["forked_by"] = task
    if network is not None:
        network.forked()


def keep_for_ever(*things: Any) -> None:
    """In the child: what is the parent's is not cleaned up here, and no ``finally`` of its tasks runs."""
    if not _kept:
        atexit.register(_outlive_the_interpreter)
    _kept.extend(things)


def _outlive_the_interpreter() -> None:
    with contextlib.suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))


def _end(code: int) -> NoReturn:
    """End as a child of ``multiprocessing`` does: wait for its own threads and tasks; ``atexit`` is the parent's."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _in_child() -> None:
    for kernel in registry.forget_all():
        leave(kernel)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
