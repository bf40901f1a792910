"""Python's ``atexit`` in programs for pycos, whose wait for tasks had its place among the handlers.

Handlers are called last one first.  The wait stands where pycos was made: what a program registers later is called
before it, and so may end the tasks for which it would wait for ever; what was there before is called after it.
The wait itself cannot be such a handler: Python shuts its thread pools, and starts no more threads, before it calls
those.  So ``atexit.register`` is replaced, which parkcos does in no program of its own.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable
from typing import Any

from parkcos.kernel import failures

__all__ = ["LaterHandlers"]

logger = logging.getLogger("parkcos")

_OF_PYTHON = sys.stdlib_module_names | {"parkcos"}
"""Modules whose handlers stay where they are: they end logging, remove temporary folders, which tasks still use."""


class _Handler:
    """One call that was registered; it is made once."""

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call: tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]] | None = (fn, args, kwargs)

    def __call__(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            fn, args, kwargs = call
            fn(*args, **kwargs)


class LaterHandlers:
    """The handlers that are registered from now on, but for Python's own."""

    def __init__(self) -> None:
        self._handlers: list[_Handler] = []
        register, unregister = atexit.register, atexit.unregister

        def noted(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
            if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] in _OF_PYTHON or not callable(fn):
                return register(fn, *args, **kwargs)
            handler = _Handler(fn, args, kwargs)
            register(handler)
            self._handlers.append(handler)
            return fn

        def forgotten(fn: Callable[..., Any], /) -> None:
            unregister(fn)
            for handler in self._handlers:
                if handler.call is not None and handler.call[0] == fn:
                    handler.call = None

        atexit.register, atexit.unregister = noted, forgotten

    def call(self) -> None:
        """Call them, the last one first, also those that come while this goes on.  What they raise is logged."""
        while self._handlers:
            handler = self._handlers.pop()
            try:
                handler()
            except Exception:
                failures.log_failure(logger, "a function that was registered with atexit failed")
