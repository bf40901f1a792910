"""pycos.asyncfile: pipes and other descriptors for tasks."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, cast

import parkcos

__all__ = ["AsyncFile", "AsyncPipe"]


def _binary(file: Any) -> Any:
    return file.buffer if isinstance(file, io.TextIOWrapper) else file


class AsyncFile(parkcos.AsyncFile):
    """One end of a pipe or a socket; see :class:`parkcos.AsyncFile`.  Of a text file it takes the bytes."""

    def __init__(self, fd: Any) -> None:
        super().__init__(_binary(fd))

    def readline(self, size: int = 0, sizehint: int = 100, timeout: float | None = None) -> Any:  # type: ignore[override]
        """Yield it.  A line.  sizehint: not needed."""
        return super().readline(size, timeout)


class AsyncPipe(parkcos.AsyncPipe):
    """A process, or several in a row; see :class:`parkcos.AsyncPipe`."""

    _file_type = AsyncFile

    def readline(self, size: int = 0, sizehint: int = 100, timeout: float | None = None) -> Any:  # type: ignore[override]
        """Yield it.  A line of the last process's output."""
        return super().readline(size, timeout)

    def readline_stderr(self, size: int = 0, sizehint: int = 100, timeout: float | None = None) -> Any:  # type: ignore[override]
        """Yield it.  A line of what it says on standard error."""
        return super().readline_stderr(size, timeout)

    def communicate(self, input: Any = None) -> Any:
        """Yield it.  Writes `input` (bytes, or a file, also one that was opened for text), gives (output, errors)."""
        call = cast(Callable[[Any], Any], super().communicate)
        return call(_binary(input))
