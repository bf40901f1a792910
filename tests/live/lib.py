"""What the live tests share: programs of parkcos as subprocesses, and clients in this process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from parkcos import Client, Task, cur_task
from tests import logs
from tests.ports import free_ports
from tests.secret import OTHER_SECRET as OTHER_SECRET
from tests.secret import SECRET as SECRET
from tests.secret import secret_file

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON_PATH = [str(ROOT), str(ROOT / "tests" / "whole_lines")]
"""Of the programs that tests start."""
LIMIT_S = 20.0
"""Nothing here takes so long, on however busy a machine; what does, hangs."""


class Program:
    """A program of this Python; its output, both streams, is collected line by line.

    Ended by the `with` block at the latest.

    python: another one.  options: of Popen.
    """

    def __init__(
        self,
        *args: str | os.PathLike[str],
        cwd: Path | None = None,
        python: str | os.PathLike[str] = sys.executable,
        **options: Any,
    ) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [os.fspath(python), "-u", *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            **{"env": {**os.environ, "PYTHONPATH": os.pathsep.join(PYTHON_PATH)}, **options},
        )
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        shown = " ".join(map(str, args))
        logs.show(f"process {self.pid}: {shown}", lambda: self.text, lambda: not self._ended)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands still: on a busy machine its threads run on for a while."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def find(self, pattern: str) -> list[str]:
        """The lines so far in which `pattern` occurs."""
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until a line has come in which `pattern` occurs; the match in the last such line."""
        with self._news:
            self._news.wait_for(lambda: len(self.find(pattern)) >= times or self._ended, LIMIT_S)
        found = self.find(pattern)
        assert len(found) >= times, f"no line with {pattern!r} ({times} times) in:\n{self.text}"
        match = re.search(pattern, found[-1])
        assert match is not None
        return match

    def say(self, text: str) -> None:
        """Type `text`."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def family(self) -> list[psutil.Process]:
        """This process and all that it has started."""
        try:
            me = psutil.Process(self.pid)
            return [me, *me.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def grown(self, count: int) -> list[psutil.Process]:
        """Its family, when it has so many members."""
        end = time.monotonic() + LIMIT_S
        while len(family := self.family()) < count and time.monotonic() < end:
            time.sleep(0.01)
        return family

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; the exit code (negative: of the signal).  Its whole output is there then."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            code = self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.process.args} does not end:\n{self.text}") from None
        self._reader.join(LIMIT_S)
        assert not self._reader.is_alive(), f"somebody still has the output of {self.process.args}:\n{self.text}"
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.wait()


def gone(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Wait until these processes have ended; those that have not."""
    _, alive = psutil.wait_procs(list(processes), timeout=10)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


# -- in this process


def run(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a task of this process to its end; gives its result or raises what it raised."""
    task = Task(fn, *args, **kwargs)
    try:
        return task.future().result(LIMIT_S)
    except TimeoutError:
        task.terminate()
        raise AssertionError(f"{task!r} hangs") from None


def me() -> Task:
    """The task that calls it."""
    task = cur_task()
    assert task is not None
    return task


Body = Callable[[Client], Generator[Any, Any, Any]]


def with_client(body: Body, components: Any = (), **options: Any) -> Any:
    """Run ``body(client)``, with a client that is scheduled before and closed after."""

    def main() -> Generator[Any, Any, Any]:
        client = Client(components, **options)
        assert (yield client.schedule(timeout=LIMIT_S)) == 0
        try:
            result = yield body(client)
        except BaseException:
            yield client.close(terminate=True)
            raise
        yield client.close()
        return result

    return run(main)


def ends(rtasks: Iterable[Task]) -> Generator[Any, Any, list[Any]]:
    """To be yielded: what finish() of each task gives."""
    values = []
    for rtask in rtasks:
        values.append((yield rtask.finish()))
    return values


# -- programs


class Ports:
    """A cluster's ports of 127.0.0.1: for UDP one and the next lower one, and for the TCP of each program its own."""

    def __init__(self) -> None:
        self.udp = free_ports(2)[1]
        self.options = ["-i", "127.0.0.1", "--secret_file", secret_file(), "--daemon"]

    def node(
        self, cpus: int = 2, *options: str, command: Sequence[str] = (), program: Callable[..., Program] = Program
    ) -> tuple[Program, int]:
        """Start a node; its program and TCP port.  command: Python's arguments that run it; program: starts it."""
        ports = free_ports(cpus + 1)
        chosen = [text for port in ports for text in ("--tcp_ports", str(port))]
        command = [*(command or ["-m", "parkcos.commands.node"]), "-c", str(cpus), "-u", str(self.udp), *chosen]
        return program(*command, *self.options, *options), ports[0]

    def scheduler(self, *options: str) -> tuple[Program, int]:
        """Start a shared scheduler; its program and TCP port."""
        port = free_ports(1)[0]
        command = ["-m", "parkcos.commands.scheduler", "-t", str(port), "-u", str(self.udp - 1)]
        return Program(*command, *self.options, *options), port

    def client(
        self, folder: Path, source: str, name: str = "client.py", secret: str = SECRET, options: str = ""
    ) -> Program:
        """Start a client program.  source: what follows the usual beginning; options: more of Parkcos."""
        path = folder / name
        text = (
            "import logging, os, signal, sys, time\n"
            "import parkcos\n"
            "from parkcos import *\n"
            "logging.basicConfig(level=logging.INFO, format='%(levelname)s %(message)s')\n"
            f"parkcos.Parkcos(host='127.0.0.1', udp_port={self.udp - 1}, secret={secret!r}{options})\n" + source
        )
        if not path.exists() or path.read_text() != text:  # else one may be about to read it
            path.write_text(text)
        return Program(path, cwd=folder)
