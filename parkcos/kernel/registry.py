"""Which kernel belongs to which thread: the only state of this layer that the whole process shares.

``_kernels`` maps a thread's id to the kernel that runs in that thread; under the key 0, which is no thread's id, it
holds the default kernel, the one that tasks get which are made in any other thread.  ``_factory`` makes the
default kernel when it is first needed; networking replaces it with ``set_default_kernel_factory``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parkcos.kernel.kernel import Kernel
    from parkcos.kernel.task import Task

__all__ = ["cur_task", "current_kernel", "set_default_kernel_factory"]

_DEFAULT = 0
_kernels: dict[int, Kernel] = {}
_factory: Callable[[], Kernel] | None = None
_lock = threading.RLock()


def current_kernel() -> Kernel:
    """The kernel of the calling thread, else the default kernel, which is made and started if there is none.

    Returns: a kernel that runs (or was just started).  Do not yield it.
    """
    kernel = _kernels.get(get_ident())
    if kernel is not None:
        return kernel
    kernel = _kernels.get(_DEFAULT)
    if kernel is not None and not kernel.stopped:
        return kernel
    with _lock:
        kernel = _kernels.get(_DEFAULT)
        if kernel is None or kernel.stopped:
            kernel = _kernels[_DEFAULT] = (_factory or _start_default_kernel)()
        return kernel


def cur_task() -> Task | None:
    """The task that is running in this thread; None outside of a task, and in a thread that runs no kernel."""
    kernel = _kernels.get(get_ident())
    return None if kernel is None else kernel.current


def set_default_kernel_factory(factory: Callable[[], Kernel] | None) -> Callable[[], Kernel] | None:
    """Say how the default kernel is made from now on.

    Args:
        factory: called without arguments in the thread that first needs a kernel; returns a started kernel.
            None goes back to a plain kernel in a thread of its own, for which the program waits at its end.

    The present default kernel is forgotten (not stopped), so that the next task asks the factory.

    Returns: the factory until now, to be given back.
    """
    global _factory
    with _lock:
        before, _factory = _factory, factory
        _kernels.pop(_DEFAULT, None)
    return before


def bind(kernel: Kernel) -> None:
    """Note that `kernel` runs in the calling thread."""
    _kernels[get_ident()] = kernel


def unbind(kernel: Kernel) -> None:
    """Forget that `kernel` runs in the calling thread."""
    if _kernels.get(get_ident()) is kernel:
        del _kernels[get_ident()]


def forget_all() -> list[Kernel]:
    """In a process that was forked: no kernel runs here, whatever its thread.  Returns: those of the parent."""
    global _lock
    kernels = list(dict.fromkeys(_kernels.values()))
    _kernels.clear()
    _lock = threading.RLock()  # another thread may have held it
    return kernels


def _start_default_kernel() -> Kernel:
    from parkcos.kernel.kernel import Kernel

    kernel = Kernel()
    kernel.finish_at_exit()
    kernel.start()
    return kernel
