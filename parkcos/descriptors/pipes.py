"""Pipes for tasks: AsyncFile around one descriptor, AsyncPipe around a subprocess or several.

They work where asyncio can wait for a pipe: not on Windows.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
import subprocess
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, ClassVar

from parkcos.descriptors.readiness import AGAIN, CHUNK_BYTES, READ, WRITE, Descriptor, Steps
from parkcos.errors import UsageError
from parkcos.kernel.wait import Call, operation, seconds
from parkcos.net.running import io_wait

__all__ = ["AsyncFile", "AsyncPipe"]

_EXIT_POLL_S = 0.02


class AsyncFile:
    """One end of a pipe, a socket, a FIFO or a terminal, read and written by tasks without blocking.

    Args:
        fd: a binary file object, from which nothing has been read yet, or a file descriptor.  It is set to not block,
            and is closed with this object.

    Raises: UsageError if it is a text file (its ``.buffer`` will do) or a regular file, which never makes a reader
    wait.

    One task at a time may read, and one write.  ``with`` closes it.  Source: pycos.asyncfile.
    """

    def __init__(self, fd: Any) -> None:
        if isinstance(fd, io.TextIOBase):
            raise UsageError(
                f"AsyncFile reads and writes bytes, and {fd!r} is a text file\n"
                "  write: AsyncFile(file.buffer), or Popen(...) without text=True and encoding"
            )
        if isinstance(fd, bool) or not (isinstance(fd, int) or hasattr(fd, "fileno")):
            raise UsageError(f"AsyncFile wants a file object or a file descriptor, not {fd!r}")
        number = fd if isinstance(fd, int) else fd.fileno()
        if stat.S_ISREG(os.fstat(number).st_mode):
            raise UsageError(
                f"{fd!r} is a regular file, which is always ready\n"
                "  write: open() and read() it; if its disk is slow, yield pool.async_task(file.read)"
            )
        blocked = os.get_blocking(number)
        os.set_blocking(number, False)

        def close() -> None:
            if blocked:  # a terminal, say, is others' too
                with contextlib.suppress(OSError):
                    os.set_blocking(number, True)
            if isinstance(fd, int):
                os.close(fd)
            else:
                with contextlib.suppress(BrokenPipeError):
                    fd.close()

        self._file = fd  # what owns the descriptor is kept
        self._buffer = bytearray()
        self._descriptor = Descriptor(number, close, f"<AsyncFile {number}>")

    def __repr__(self) -> str:
        return f"<AsyncFile {self._descriptor.fd}>"

    def fileno(self) -> int:
        """The file descriptor.  Do not yield it."""
        return self._descriptor.fd

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._descriptor.closed

    def close(self) -> None:
        """Close it; a task that waits for it gets OSError.  Do not yield it."""
        self._descriptor.close()

    def __enter__(self) -> AsyncFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    # -- reading

    def read(self, size: int = 0, full: bool = False, timeout: float | None = None) -> Call[bytes]:
        """Yield it.  Read bytes.

        Args:
            size: at most so many; 0 or less: all until the end.
            full: wait for exactly `size`, unless the end comes first.
            timeout: seconds.

        Returns: bytes; b"" at the end; what has come if the time is over.
        Raises: TimeoutError if the time is over and nothing has come; UsageError if another task is reading.
        """
        wanted = None if size <= 0 else size if full else 1
        limit = seconds(timeout)

        def reading() -> Generator[Any, Any, bytes]:
            try:
                return (
                    yield from self._descriptor.operate(
                        "read", (READ,), lambda: self._fill(wanted), limit, lambda: self._take(size)
                    )
                )
            except TimeoutError:
                if self._buffer:
                    return self._take(size)
                raise

        gen = reading()
        gen.__name__ = "read"  # type: ignore[attr-defined]
        return Call(gen)

    def readline(self, size: int = 0, timeout: float | None = None) -> Call[bytes]:
        """Yield it.  Read one line, with its newline.

        Args:
            size: at most so many bytes; 0 or less: however long it is.
            timeout: seconds.

        Returns: bytes; b"" at the end; the last line may lack its newline.
        Raises: TimeoutError if the time is over: what has come so far is read next; UsageError.
        """
        return self._descriptor.operation(
            "readline", (READ,), lambda: self._fill_line(size), seconds(timeout), lambda: self._take_line(size)
        )

    def _fill(self, wanted: int | None) -> Steps:
        """Steps: read until so many bytes are there, None: until the end."""
        while wanted is None or len(self._buffer) < wanted:
            if not (yield from self._fill_once()):
                return
            if wanted is None or len(self._buffer) < wanted:
                yield AGAIN

    def _fill_line(self, size: int) -> Steps:
        searched = 0
        while self._buffer.find(b"\n", searched) < 0 and (size <= 0 or len(self._buffer) < size):
            searched = len(self._buffer)
            if searched:
                yield AGAIN
            if not (yield from self._fill_once()):
                return

    def _fill_once(self) -> Steps:
        while True:
            try:
                data = os.read(self._descriptor.fd, CHUNK_BYTES)
            except BlockingIOError:
                yield READ
                continue
            self._buffer += data
            return bool(data)

    def _take(self, size: int = 0) -> bytes:
        """What has been read, at most `size` bytes of it; 0 or less: all."""
        data = bytes(self._buffer if size <= 0 else self._buffer[:size])
        del self._buffer[: len(data)]
        return data

    def _take_line(self, size: int) -> bytes:
        length = self._buffer.find(b"\n") + 1 or len(self._buffer)
        return self._take(min(length, size) if size > 0 else length) if length else b""

    # -- writing

    def write(self, buf: Any, full: bool = False, timeout: float | None = None) -> Call[int]:
        """Yield it.  Write bytes.

        Args:
            buf: bytes, or what has a buffer.
            full: all of them; else as many as it takes at once, at least one.
            timeout: seconds.

        Returns: how many were written; fewer than all if the time is over.
        Raises: BrokenPipeError if nobody reads any more; TimeoutError if the time is over and nothing was written;
        UsageError if `buf` is no bytes, or another task is writing.
        """
        view = as_bytes(buf, "write")
        limit = seconds(timeout)
        written = Written()

        def writing() -> Generator[Any, Any, int]:
            try:
                yield from self._descriptor.operate(
                    "write", (WRITE,), lambda: self._drain(view, full, written), limit, lambda: None
                )
            except TimeoutError:
                if not written.count:
                    raise
            return written.count

        gen = writing()
        gen.__name__ = "write"  # type: ignore[attr-defined]
        return Call(gen)

    def _drain(self, view: memoryview, full: bool, written: Written) -> Steps:
        """Steps: write all of `view`, or some of it."""
        while written.count < len(view):
            try:
                written.count += os.write(self._descriptor.fd, view[written.count : written.count + CHUNK_BYTES])
            except BlockingIOError:
                yield WRITE
                continue
            if not full:
                return
            if written.count < len(view):
                yield AGAIN

    async def _write_all(self, view: memoryview) -> None:
        """In the I/O thread: write it all."""
        await self._descriptor.drive("write", self._drain(view, True, Written()), None)

    async def _read_all(self) -> None:
        """In the I/O thread: read until the end; `_take` gives it."""
        await self._descriptor.drive("read", self._fill(None), None)

    def _check_open(self, name: str) -> None:
        """Raises: OSError if it is closed."""
        self._descriptor.check_open(name)

    def _claim(self, name: str, direction: str) -> Any:
        """No other task may read or write for so long: see Descriptor.claim."""
        return self._descriptor.claim(name, (direction,))


class Written:
    """How many bytes of an operation are written."""

    count = 0


def as_bytes(data: Any, name: str) -> memoryview:
    """A view of bytes.  Raises: UsageError if `data` has none."""
    try:
        return memoryview(data).cast("B")
    except TypeError as error:
        hint = f"\n  write: yield x.{name}(text.encode())" if isinstance(data, str) else ""
        raise UsageError(f"{name}() wants bytes, not {type(data).__name__}: {error}{hint}") from None


class AsyncPipe:
    """A subprocess, or several in a row, whose input and output tasks write and read without blocking.

    Args:
        first: a ``subprocess.Popen`` object; what is written goes to its standard input.
        last: the Popen object whose output is read, if it is another one.  Its input is, perhaps through others,
            `first`'s output, and this program's end of that is closed here, so that `first` learns when nobody reads.

    Raises: UsageError if they are no Popen objects, or text=True or an encoding was given to them.

    Attributes: ``first``, ``last``; ``stdin``, ``stdout``, ``stderr``, each an :class:`AsyncFile`, or None where Popen
    was not given PIPE.  All others (``pid``, ``kill``, ``returncode``) are those of `last`.

    ``with`` closes the pipes; it does not wait for the processes.  Source: pycos.asyncfile.
    """

    _file_type: ClassVar[type[AsyncFile]] = AsyncFile

    def __init__(self, first: subprocess.Popen[Any], last: subprocess.Popen[Any] | None = None) -> None:
        last = first if last is None else last
        for process in (first, last):
            if not isinstance(process, subprocess.Popen):
                raise UsageError(
                    f"AsyncPipe wants a subprocess.Popen object, not {process!r}\n"
                    "  write: AsyncPipe(subprocess.Popen([...], stdin=PIPE, stdout=PIPE))"
                )
        self.first = first
        self.last = last
        self.stdin = None if first.stdin is None else self._file_type(first.stdin)
        self.stdout = None if last.stdout is None else self._file_type(last.stdout)
        self.stderr = None if last.stderr is None else self._file_type(last.stderr)
        if first is not last and first.stdout is not None:
            first.stdout.close()

    def __repr__(self) -> str:
        pids = f"{self.first.pid}" if self.first is self.last else f"{self.first.pid} to {self.last.pid}"
        return f"<AsyncPipe {pids}>"

    def __getattr__(self, name: str) -> Any:
        if name == "last":  # not made
            raise AttributeError(name)
        return getattr(self.last, name)

    def close(self) -> None:
        """Close the pipes; a task that waits for one gets OSError.  Do not yield it."""
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                file.close()
        self.poll()

    def __enter__(self) -> AsyncPipe:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def _piped(self, name: str) -> AsyncFile:
        file: AsyncFile | None = getattr(self, name)
        if file is None:
            raise UsageError(f"{self!r} has no {name}\n  write: Popen(..., {name}=subprocess.PIPE)")
        return file

    def read(self, size: int = 0, timeout: float | None = None) -> Call[bytes]:
        """Yield it.  Read from the last one's standard output: at most `size` bytes; 0: all until the end.

        Returns: bytes; b"" at the end; what has come if the `timeout` (seconds) is over.
        Raises: TimeoutError if nothing has; UsageError if there is no such pipe, or another task reads it.
        """
        return self._piped("stdout").read(size, timeout=timeout)

    def readline(self, size: int = 0, timeout: float | None = None) -> Call[bytes]:
        """Yield it.  Read a line, of at most `size` bytes if that is not 0, from the last one's standard output.

        Returns and raises as :meth:`AsyncFile.readline`.
        """
        return self._piped("stdout").readline(size, timeout=timeout)

    def read_stderr(self, size: int = 0, timeout: float | None = None) -> Call[bytes]:
        """Yield it.  As `read`, from standard error."""
        return self._piped("stderr").read(size, timeout=timeout)

    def readline_stderr(self, size: int = 0, timeout: float | None = None) -> Call[bytes]:
        """Yield it.  As `readline`, from standard error."""
        return self._piped("stderr").readline(size, timeout=timeout)

    def write(self, buf: Any, full: bool = False, timeout: float | None = None) -> Call[int]:
        """Yield it.  Write to the first one's standard input: all of `buf` if `full`, else what it takes at once.

        Returns: how many bytes.  Raises: BrokenPipeError if it does not read any more; TimeoutError; UsageError.
        """
        return self._piped("stdin").write(buf, full, timeout)

    def poll(self) -> int | None:
        """The exit code of the last one, None if it has not ended.  Do not yield it."""
        self.first.poll()
        return self.last.poll()

    @operation
    def wait(self, timeout: float | None = None) -> Generator[Any, Any, int]:
        """Yield it.  Wait until the last one has ended.

        It may wait for somebody to read what it writes, or to close its input: read it, close that.

        Returns: its exit code.  Raises: TimeoutError after `timeout` seconds.
        """
        limit = seconds(timeout)
        if self.poll() is None:

            async def ended() -> None:
                try:
                    async with asyncio.timeout(limit):
                        await _exit_of(self.last)
                except TimeoutError:
                    raise TimeoutError(f"{self!r} has not ended after {limit} s") from None

            yield io_wait("wait", ended)
        code = self.poll()
        assert code is not None
        return code

    @operation
    def communicate(self, input: Any = None) -> Generator[Any, Any, tuple[bytes | None, bytes | None]]:
        """Yield it.  Write `input`, close standard input, read all output, and wait until the processes have ended.

        Args:
            input: bytes, or a file open for reading bytes.  That the process does not read all is no error.

        Returns: (standard output, standard error); None for what is no pipe.  Raises: UsageError.
        """
        if input is not None:
            self._piped("stdin")._check_open("communicate")
        read: Callable[[int], Any] | None = getattr(input, "read", None)
        view = as_bytes(input, "communicate") if input is not None and read is None else None
        with contextlib.ExitStack() as claims:
            for file, direction in ((self.stdin, WRITE), (self.stdout, READ), (self.stderr, READ)):
                if file is not None and not file.closed:
                    claims.enter_context(file._claim("communicate", direction))
            yield io_wait("communicate", lambda: self._communicate(view, read))
            out = None if self.stdout is None else self.stdout._take()
            err = None if self.stderr is None else self.stderr._take()
        self.poll()
        return out, err

    async def _communicate(self, view: memoryview | None, read: Callable[[int], Any] | None) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                if self.stdin is not None and not self.stdin.closed:
                    group.create_task(self._feed(self.stdin, view, read))
                for file in (self.stdout, self.stderr):
                    if file is not None and not file.closed:
                        group.create_task(file._read_all())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        for process in (self.first, self.last):
            await _exit_of(process)

    async def _feed(self, stdin: AsyncFile, view: memoryview | None, read: Callable[[int], Any] | None) -> None:
        with contextlib.suppress(BrokenPipeError), stdin:
            if view is not None:
                await stdin._write_all(view)
            while read is not None and (data := await asyncio.to_thread(read, CHUNK_BYTES)):
                await stdin._write_all(as_bytes(data, "communicate"))


async def _exit_of(process: subprocess.Popen[Any]) -> None:
    """In the I/O thread: wait until it has ended."""
    while process.poll() is None:
        try:
            fd = os.pidfd_open(process.pid)
        except (AttributeError, OSError):  # another system, or a container that forbids it
            await asyncio.sleep(_EXIT_POLL_S)
            continue
        await _readable(fd, f"process {process.pid}")


async def _readable(fd: int, what: str) -> None:
    descriptor = Descriptor(fd, lambda: os.close(fd), what)
    try:
        await descriptor.ready("wait", READ)
    finally:
        descriptor.close()
