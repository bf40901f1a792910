"""The end of a process that was forked from another: as that of any Python program, but for what it shares.

The interpreter is not taken down: that would touch, and so copy, all that is shared with the other processes.
"""

from __future__ import annotations

import _io
import atexit
import contextlib
import faulthandler
import gc
import logging
import sys
import tempfile
import threading
import weakref
from typing import Any

EXIT_S = 5.0
"""After this time a process ends in any case, and prints what it was doing."""


def forget_parent() -> None:
    """In a process that was just forked: what its parent has registered for its own end is not done here."""
    atexit._clear()
    atexit.register(logging.shutdown)
    finalize: Any = weakref.finalize
    for finalizer in list(finalize._registry):
        finalizer.atexit = False  # of a temporary folder, say, which others still use
    atexit.register(finalize._exitfunc)
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util._finalizer_registry.clear()
        sys.modules["multiprocessing.process"]._children.clear()
        atexit.register(util._exit_function)


def finish() -> None:
    """In the main thread: wait for other threads, do what is registered for the end, and write what files still hold.

    Ends the process, with exit code 1, if that takes longer than EXIT_S.
    """
    with contextlib.suppress(RuntimeError):  # no thread can be started: the node ends this process then
        faulthandler.dump_traceback_later(EXIT_S, exit=True, file=2)  # it needs no interpreter that is let go
    with contextlib.suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    write_files()
    faulthandler.cancel_dump_traceback_later()


def write_files() -> None:
    """Those that are open, and were opened in this process: what its parent holds of others is the parent's."""
    kinds = (_io._IOBase, tempfile._TemporaryFileWrapper)  # the abstract classes of io would be asked for each object
    found: list[Any] = [obj for obj in gc.get_objects() if issubclass(type(obj), kinds)]
    texts = [file for file in found if issubclass(type(file), _io._TextIOBase)]
    others = [file for file in found if type(file).__module__ != "_io"]  # of gzip and the like, with files below
    for file in texts:
        with contextlib.suppress(Exception):
            file.flush()
    for file in others:
        with contextlib.suppress(Exception):
            file.close()
    for file in found:
        with contextlib.suppress(Exception):
            file.flush()
