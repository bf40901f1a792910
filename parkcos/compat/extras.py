"""What pycos offers beside tasks: its logger, Struct, Singleton, pickling, and a database cursor for tasks."""

from __future__ import annotations

import logging
import pickle
import sys
import warnings
from collections.abc import Generator
from typing import Any, Self, TextIO

from parkcos import kernel
from parkcos.compat import config
from parkcos.kernel import AsyncThreadPool, Semaphore, operation

RUNTIME_LOGGER = "parkcos"
"""What parkcos itself logs."""


class Logger(logging.Logger):
    """A logger of the standard `logging` with a stream of its own; the levels are its attributes, too.

    Args:
        name: at the head of each line.
        stream: to which it writes.
        level: a number, or the name of one; None: INFO.
        log_ms: show milliseconds.
    """

    DEBUG, INFO, WARNING, WARN, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.WARNING, logging.ERROR
    CRITICAL, FATAL = logging.CRITICAL, logging.CRITICAL

    def __init__(
        self, name: str, stream: TextIO | None = sys.stdout, level: int | str | None = None, log_ms: bool = False
    ) -> None:
        super().__init__(name, logging.INFO if level is None else level)
        self.handler = logging.StreamHandler(stream)
        self.addHandler(self.handler)
        self.show_ms(log_ms)

    def setLevel(self, level: int | str) -> None:
        """From now on, what is below `level` is not written."""
        super().setLevel(level)
        self._cache.clear()  # type: ignore[attr-defined]  # the manager, which does it for others, does not know this one

    def log(self, msg: Any, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Write ``msg % args`` whatever the level is; with a level before `msg`, as `logging` does."""
        if isinstance(msg, int) and args:
            super().log(msg, *args, **kwargs)
        else:
            self._log(logging.INFO, msg, args, **kwargs)

    @property
    def stream(self) -> Any:
        """To which it writes; may be set."""
        return self.handler.stream

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        self.handler.setStream(stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()

    def show_ms(self, flag: bool) -> None:
        """Whether lines have milliseconds."""
        moment = "%(asctime)s.%(msecs)03d" if flag else "%(asctime)s"
        self.handler.setFormatter(logging.Formatter(f"{moment} %(name)s - %(message)s", "%Y-%m-%d %H:%M:%S"))

    def flush(self) -> None:
        """Write what is not written yet."""
        self.handler.flush()

    shutdown = flush
    warn, fatal = logging.Logger.warning, logging.Logger.critical

    def __reduce__(self) -> Any:
        return (_the_logger, ()) if self is logger else (Logger, (self.name,))


class _TheLogger(Logger):
    """``pycos.logger``: on standard error; its level is that of what parkcos itself logs, too."""

    def setLevel(self, level: int | str) -> None:
        super().setLevel(level)
        if not hasattr(self, "handler"):
            return  # it is being made
        runtime = logging.getLogger(RUNTIME_LOGGER)
        runtime.setLevel(level)
        if not runtime.hasHandlers():
            runtime.addHandler(self.handler)


def _the_logger() -> Logger:
    return logger


logger: Logger = _TheLogger("pycos", sys.stderr)


class Struct:
    """An object with the attributes that it is given.  An unknown one is None, with a warning."""

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        warnings.warn(f"this Struct has no attribute {name!r}", stacklevel=2)
        return None

    def __repr__(self) -> str:
        return f"Struct({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


class Singleton(type):
    """A metaclass: the class has one instance, the first one; ``Singleton.discard(cls)`` forgets it."""

    _instances: dict[type, Any] = {}  # noqa: RUF012  of all classes that have this metaclass

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls not in Singleton._instances:
            Singleton._instances[cls] = super().__call__(*args, **kwargs)
        return Singleton._instances[cls]

    @classmethod
    def instance(mcs, cls: type) -> Any:
        """The one instance of `cls`; None if there is none yet."""
        return Singleton._instances.get(cls)

    @classmethod
    def discard(mcs, cls: type) -> None:
        """The next call of `cls` makes another one."""
        Singleton._instances.pop(cls, None)


def serialize(obj: Any) -> bytes:
    """`obj` as bytes.  parkcos itself pickles in its own way: to replace this function changes nothing there."""
    protocol = config.PickleProtocolVersion
    return pickle.dumps(obj, pickle.HIGHEST_PROTOCOL if protocol is None else protocol)


def deserialize(data: bytes) -> Any:
    """What `serialize` has made bytes of."""
    return pickle.loads(data)


unserialize = deserialize


class Condition(kernel.Condition):
    """As there; whoever notifies need not own the lock."""

    __slots__ = ()

    def _check(self, what: str) -> None:
        if what != "notify":
            super()._check(what)


class AsyncDBCursor:
    """A database cursor whose statements are executed in a thread of `thread_pool`, one at a time.

    Every attribute but the three calls is the cursor's.
    """

    def __init__(self, thread_pool: AsyncThreadPool, cursor: Any) -> None:
        self._thread_pool = thread_pool
        self._cursor = cursor
        self._turn = Semaphore()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    @operation
    def _call(self, fn: Any, *args: Any) -> Generator[Any, Any, Any]:
        yield self._turn.acquire()
        try:
            return (yield self._thread_pool.async_task(fn, *args))
        finally:
            self._turn.release()

    def execute(self, query: str, args: Any = None) -> Any:
        """Yield it."""
        return self._call(self._cursor.execute, query, *(() if args is None else (args,)))

    def executemany(self, query: str, args: Any) -> Any:
        """Yield it."""
        return self._call(self._cursor.executemany, query, args)

    def callproc(self, proc: str, args: Any = ()) -> Any:
        """Yield it."""
        return self._call(self._cursor.callproc, proc, args)
