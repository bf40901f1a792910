"""parkcos/descriptors/pipes.py, with readiness.py: real subprocesses and pipes, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

import parkcos
from parkcos.descriptors.pipes import AsyncFile, AsyncPipe
from parkcos.errors import ForgottenYield, TaskTerminated, UsageError
from parkcos.kernel import Task
from parkcos.net import iothread
from tests.net.cluster_of_networks import WAIT_S

pytestmark = pytest.mark.live

MIB = 1024 * 1024
PATIENT = [sys.executable, "-c", "import sys; sys.stdin.buffer.read()"]


@pytest.fixture(params=["uvloop", "asyncio"], autouse=True)
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "asyncio":
        monkeypatch.setattr(iothread, "_new_loop", asyncio.SelectorEventLoop)
    yield
    parkcos.terminate()


def run(fn: Callable[..., Any], *args: Any) -> Any:
    """The value of a task, or what it raised."""
    return Task(fn, *args).future().result(WAIT_S)


@contextlib.contextmanager
def popen(*command: Any, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A subprocess with all three pipes, unless said otherwise; it does not outlive the test."""
    options = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE} | options
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_S)
        for file in (process.stdin, process.stdout, process.stderr):
            if file is not None:
                file.close()


def python(text: str, **options: Any) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    return popen(sys.executable, "-c", text, **options)


@pytest.fixture
def ends() -> Iterator[tuple[AsyncFile, AsyncFile]]:
    """The two ends of a pipe."""
    reading, writing = os.pipe()
    with AsyncFile(reading) as reader, AsyncFile(writing) as writer:
        yield reader, writer


# AsyncPipe


def test_fifty_megabytes_through_cat() -> None:
    data = random.Random(1).randbytes(50 * MIB)

    def write(pipe: AsyncPipe) -> Any:
        count = yield pipe.write(data, full=True)
        pipe.stdin.close()
        return count

    def main() -> Any:
        with AsyncPipe(process) as pipe:
            writer = Task(write, pipe)
            digest, most = hashlib.sha256(), 0
            while chunk := (yield pipe.read(100_000)):
                digest.update(chunk)
                most = max(most, len(chunk))
            return digest.digest(), most, (yield writer.result()), (yield pipe.wait())

    with popen("cat") as process:
        digest, most, count, code = run(main)
    assert digest == hashlib.sha256(data).digest()
    assert most <= 100_000
    assert (count, code) == (len(data), 0)


def test_communicate() -> None:
    """Both outputs and the input are far larger than a pipe holds."""
    data = random.Random(2).randbytes(5 * MIB)
    text = (
        "import sys; d = sys.stdin.buffer.read(); sys.stderr.buffer.write(d[::-1]); sys.stdout.buffer.write(d); exit(3)"
    )

    def main(input: Any) -> Any:
        with AsyncPipe(process) as pipe:
            out, err = yield pipe.communicate(input)
            return out, err, pipe.returncode

    with python(text) as process:
        assert run(main, data) == (data, data[::-1], 3)
    with python(text) as process:
        assert run(main, io.BytesIO(data)) == (data, data[::-1], 3)


def test_communicate_while_the_process_writes_before_it_reads() -> None:
    text = "import sys; sys.stdout.buffer.write(b'x' * 3_000_000); print(len(sys.stdin.buffer.read()))"

    def main() -> Any:
        with AsyncPipe(process) as pipe:
            return (yield pipe.communicate(b"y" * 3_000_000))

    with python(text) as process:
        assert run(main) == (b"x" * 3_000_000 + b"3000000\n", b"")


def test_communicate_without_pipes_and_with_a_process_that_reads_nothing() -> None:
    def main(input: Any = None) -> Any:
        with AsyncPipe(process) as pipe:
            return (yield pipe.communicate(input))

    with popen("true", stdin=None, stdout=None, stderr=None) as process:
        assert run(main) == (None, None)
        with pytest.raises(UsageError, match=r"write: Popen\(\.\.\., stdin=subprocess\.PIPE\)"):
            run(main, b"x")
    with popen("true", stderr=None) as process:
        assert run(main, b"x" * 1_000_000) == (b"", None)


def test_communicate_says_what_went_wrong_with_its_input() -> None:
    class Broken(io.BytesIO):
        def read(self, size: Any = -1) -> bytes:
            raise LookupError("no tape")

    def main() -> Any:
        with AsyncPipe(process) as pipe:
            yield pipe.communicate(Broken())

    with popen("cat") as process, pytest.raises(LookupError, match="no tape"):
        run(main)


def test_async_def() -> None:
    async def main() -> Any:
        with AsyncPipe(process) as pipe:
            await pipe.write(b"one\ntwo\nthree", full=True)
            pipe.stdin.close()
            lines = []
            while line := await pipe.readline():
                lines.append(line)
            return lines, await pipe.wait(WAIT_S)

    with popen("cat") as process:
        assert run(main) == ([b"one\n", b"two\n", b"three"], 0)


def test_stderr() -> None:
    def main() -> Any:
        with AsyncPipe(process) as pipe:
            line = yield pipe.readline_stderr()
            rest = yield pipe.read_stderr()
            return line, rest, (yield pipe.read())

    with python("import sys; sys.stderr.write('a\\nb\\nc'); print('out')") as process:
        assert run(main) == (b"a\n", b"b\nc", b"out\n")


def test_a_pipeline() -> None:
    """Three programs; the last ends first, and the others learn that nobody reads."""

    def main() -> Any:
        with AsyncPipe(first, last) as pipe:
            assert pipe.stdin is None
            assert pipe.pid == last.pid
            lines = yield pipe.read()
            return lines, (yield pipe.wait())

    with (
        popen("yes", stdin=None, stderr=None) as first,
        popen("tr", "y", "n", stdin=first.stdout, stderr=None) as middle,
        popen("head", "-3", stdin=middle.stdout, stderr=None) as last,
    ):
        assert middle.stdout is not None
        middle.stdout.close()
        assert run(main) == (b"n\nn\nn\n", 0)
        assert middle.wait(WAIT_S) == -signal.SIGPIPE
        assert first.wait(WAIT_S) == -signal.SIGPIPE


def test_a_process_that_does_not_read() -> None:
    def main() -> Any:
        with AsyncPipe(process) as pipe:
            yield pipe.readline()
            try:
                yield pipe.write(b"x" * 10 * MIB, full=True)
            except BrokenPipeError as error:
                return error.errno

    with python("import os; os.close(0); print('closed', flush=True); input()") as process:
        assert run(main) == errno.EPIPE


def test_a_process_that_stops_reading_while_a_task_writes() -> None:
    def write(pipe: AsyncPipe) -> Any:
        yield pipe.write(b"x" * 10 * MIB, full=True)

    def main() -> Any:
        with AsyncPipe(process) as pipe:
            writer = Task(write, pipe)
            yield pipe.readline()  # it has read some
            process.kill()
            status = yield writer.finish()
            return status.type, (yield pipe.wait())

    text = "import sys, time; sys.stdin.read(100_000); print('read', flush=True); time.sleep(1000)"
    with python(text) as process:
        assert run(main) == (BrokenPipeError, -signal.SIGKILL)


def test_a_process_that_is_killed_while_a_task_reads() -> None:
    def main() -> Any:
        with AsyncPipe(process) as pipe:
            reader = Task(read, pipe)
            yield pipe.write(b"1\n")
            yield reader.deliver("begin")
            assert pipe.poll() is None
            pipe.kill()
            return (yield reader.result()), (yield pipe.wait()), pipe.poll()

    def read(pipe: AsyncPipe, task: Any = None) -> Any:
        yield task.receive()
        return (yield pipe.read())

    with popen("cat") as process:
        data, code, polled = run(main)
    assert data in (b"1\n", b"")  # it may have been killed before
    assert (code, polled) == (-signal.SIGKILL, -signal.SIGKILL)


def test_wait_has_a_time_limit() -> None:
    def main() -> Any:
        with AsyncPipe(process) as pipe:
            with pytest.raises(TimeoutError, match=r"<AsyncPipe \d+> has not ended after 0.01 s"):
                yield pipe.wait(0.01)
            waiting = [Task(wait, pipe) for _ in range(3)]
            yield
            pipe.stdin.close()
            codes = []
            for task in waiting:
                codes.append((yield task.result()))
            return codes

    def wait(pipe: AsyncPipe) -> Any:
        return (yield pipe.wait())

    with popen("cat") as process:
        assert run(main) == [0, 0, 0]


def test_wait_where_the_kernel_has_no_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")

    def main() -> Any:
        with AsyncPipe(process) as pipe:
            pipe.stdin.close()
            return (yield pipe.wait())

    with popen("cat") as process:
        assert run(main) == 0


def test_the_task_is_terminated_while_it_waits() -> None:
    """Its pipes are closed, and so the process ends."""
    waits = threading.Event()

    def wait_for(what: str) -> Any:
        with AsyncPipe(process) as pipe:
            call = {
                "read": lambda: pipe.read(),
                "write": lambda: pipe.write(b"x" * 10 * MIB, full=True),
                "wait": lambda: pipe.wait(),
                "communicate": lambda: pipe.communicate(),
            }[what]
            Task(told, waits)
            yield call()

    def told(event: threading.Event) -> Any:
        yield
        event.set()

    for what, command in (("read", "cat"), ("wait", "cat"), ("write", "sleep"), ("communicate", "sleep")):
        waits.clear()
        with popen(command, *(["1000"] if command == "sleep" else [])) as process:
            task = Task(wait_for, what)
            assert waits.wait(WAIT_S)
            task.terminate()
            with pytest.raises(TaskTerminated):
                task.future().result(WAIT_S)
            if command == "cat":
                assert process.wait(WAIT_S) == 0


def test_with_does_not_swallow() -> None:
    def main() -> Any:
        with AsyncPipe(process):
            yield
            raise LookupError("mine")

    with popen("cat") as process, pytest.raises(LookupError, match="mine"):
        run(main)


def test_what_is_no_pipe() -> None:
    with pytest.raises(UsageError, match=r"write: AsyncPipe\(subprocess\.Popen\("):
        AsyncPipe(["cat"])  # type: ignore[arg-type]
    with popen("cat", text=True) as process, pytest.raises(UsageError, match="without text=True"):
        AsyncPipe(process)
    with popen("true", stdout=None) as process, AsyncPipe(process) as pipe:
        with pytest.raises(UsageError, match=r"has no stdout\n +write: Popen\(\.\.\., stdout=subprocess\.PIPE\)"):
            pipe.read()
        assert not hasattr(pipe, "nonsense")


# AsyncFile


def test_read_of_a_size(ends: tuple[AsyncFile, AsyncFile]) -> None:
    reader, writer = ends

    def main() -> Any:
        yield writer.write(b"abcdef")
        some = yield reader.read(2)
        more = yield reader.read(100)
        full = Task(read_full)
        yield writer.write(b"gh")
        yield writer.write(bytearray(b"ij"))
        five = yield full.finish(0.01)
        yield writer.write(memoryview(b"klmn"))
        five = five or (yield full.result())
        writer.close()
        return some, more, five, (yield reader.read(100, full=True)), (yield reader.read()), (yield reader.readline())

    def read_full() -> Any:
        return (yield reader.read(5, full=True))

    assert run(main) == (b"ab", b"cdef", b"ghijk", b"lmn", b"", b"")


def test_readline(ends: tuple[AsyncFile, AsyncFile]) -> None:
    reader, writer = ends
    long = b"x" * 300_000

    def write() -> Any:
        yield writer.write(b"one\n\n" + long + b"\nlast", full=True)
        writer.close()

    def main() -> Any:
        Task(write)
        first = yield reader.readline()
        empty = yield reader.readline(size=10)
        part = yield reader.readline(size=10)
        rest = yield reader.readline()
        return (
            first,
            empty,
            part,
            rest,
            (yield reader.readline(2)),
            (yield reader.readline(3)),
            (yield reader.readline()),
        )

    assert run(main) == (b"one\n", b"\n", long[:10], long[10:] + b"\n", b"la", b"st", b"")


def test_time_limits_lose_nothing(ends: tuple[AsyncFile, AsyncFile]) -> None:
    reader, writer = ends

    def main() -> Any:
        for wait in (reader.read(timeout=0.01), reader.readline(timeout=0), reader.read(1, timeout=-1)):
            with pytest.raises(TimeoutError, match=r"of <AsyncFile \d+> took longer than"):
                yield wait
        yield writer.write(b"abc")
        with pytest.raises(TimeoutError):
            yield reader.readline(timeout=0.01)
        part = yield reader.read(timeout=0.01)
        yield writer.write(b"def\n")
        line = yield reader.readline(timeout=WAIT_S)
        written = yield writer.write(b"x" * MIB, full=True, timeout=0.01)
        with pytest.raises(TimeoutError):
            yield writer.write(b"x" * MIB, full=True, timeout=0)
        read = 0
        while read < written:
            read += len((yield reader.read(MIB)))
        return part, line, 0 < written < MIB, read == written

    assert run(main) == (b"abc", b"def\n", True, True)


def test_a_reader_that_is_ended_loses_nothing(ends: tuple[AsyncFile, AsyncFile]) -> None:
    reader, writer = ends

    def read() -> Any:
        yield reader.read()

    def main(task: Any = None) -> Any:
        waiting = Task(read)
        yield
        yield writer.write(b"abc")
        waiting.terminate()
        yield waiting.finish()
        yield writer.write(b"def")
        return (yield reader.read(6, full=True))

    assert run(main) == b"abcdef"


def test_one_reader_and_one_writer_at_a_time(ends: tuple[AsyncFile, AsyncFile]) -> None:
    reader, writer = ends

    def read() -> Any:
        return (yield reader.read())

    def write() -> Any:
        return (yield writer.write(b"x" * MIB, full=True))

    def main() -> Any:
        reading = Task(read)
        yield
        with pytest.raises(UsageError, match=r"(?s)readline\(\) of <AsyncFile \d+>: another task is in its read\(\)"):
            yield reader.readline()
        assert (yield write()) == MIB
        writer.close()
        return len((yield reading.result()))

    assert run(main) == MIB


def test_close_wakes_who_waits(ends: tuple[AsyncFile, AsyncFile]) -> None:
    reader, writer = ends

    def read() -> Any:
        yield reader.read()

    def write() -> Any:
        yield writer.write(b"x" * MIB, full=True)

    def main() -> Any:
        reading = Task(read)
        yield
        reader.close()
        reader.close()
        first = yield reading.finish()
        with pytest.raises(OSError, match=r"read\(\): <AsyncFile \d+> is closed"):
            yield reader.read()
        return first.type, first.exception.errno, reader.closed

    assert run(main) == (OSError, errno.EBADF, True)


def test_close_from_another_thread_wakes_a_writer(ends: tuple[AsyncFile, AsyncFile]) -> None:
    reader, writer = ends

    def write() -> Any:
        yield writer.write(b"x" * MIB, full=True)

    def main() -> Any:
        writing = Task(write)
        yield reader.read(1)
        thread = threading.Thread(target=writer.close)
        thread.start()
        status = yield writing.finish()
        thread.join()
        return status.exception.errno

    assert run(main) == errno.EBADF


def test_what_is_no_async_file(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        with pytest.raises(UsageError, match="is a regular file, which is always ready"):
            AsyncFile(file)
        with pytest.raises(UsageError, match="is a regular file"):
            AsyncFile(file.fileno())
    for wrong in ("name", None, True):
        with pytest.raises(UsageError, match="wants a file object or a file descriptor, not"):
            AsyncFile(wrong)
    reading, writing = os.pipe()
    os.close(writing)
    with open(reading) as text, pytest.raises(UsageError, match=r"write: AsyncFile\(file\.buffer\)"):
        AsyncFile(text)


def test_text_is_not_written(ends: tuple[AsyncFile, AsyncFile]) -> None:
    with pytest.raises(UsageError, match=r"(?s)wants bytes, not str.*write: yield x\.write\(text\.encode\(\)\)"):
        ends[1].write("text")
    with pytest.raises(UsageError, match="must be a number of seconds"):
        ends[0].read(timeout="soon")  # type: ignore[arg-type]


def test_a_forgotten_yield_is_noticed(ends: tuple[AsyncFile, AsyncFile]) -> None:
    def main() -> Any:
        ends[1].write(b"x")
        yield

    with pytest.raises(ForgottenYield, match="write"):
        run(main)


def test_a_borrowed_descriptor_gets_its_mode_back() -> None:
    ours, theirs = os.openpty()
    borrowed = os.dup(theirs)
    try:
        with AsyncFile(borrowed):
            assert not os.get_blocking(theirs)
        assert os.get_blocking(theirs)
    finally:
        os.close(ours)
        os.close(theirs)
