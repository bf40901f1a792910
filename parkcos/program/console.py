"""Commands for a node or scheduler: reads them from standard input, if that is a terminal or a pipe, and answers.

Everything here happens in the I/O thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable, Iterable

from parkcos.errors import ParkcosError

LINE_BYTES_MAX = 4096
FOREGROUND_S = 1.0
"""A program in the background of a terminal looks again after this time whether it has it."""


def can_read(fd: int) -> bool:
    """Whether commands may come from there: a terminal, a pipe or a socket, and not a file, or nothing at all."""
    try:
        mode = os.fstat(fd).st_mode
        return os.isatty(fd) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
    except OSError:
        return False


class Console:
    """Reads lines.

    Args:
        loop: of the I/O thread.
        obey: does what a line says, and gives the answer.  Raises: ParkcosError, whose text is the answer.
        stopped: whether the program has ended.
        commands: their names.
        prompt: shown where a terminal waits for a line.
        fd: where lines come from.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        obey: Callable[[str], str],
        stopped: Callable[[], bool],
        commands: Iterable[str],
        prompt: str,
        fd: int = 0,
    ) -> None:
        self._loop = loop
        self._do = obey
        self._stopped = stopped
        self._commands = commands
        self._prompt = prompt
        self.fd = fd
        self._buffer = b""
        self._reading = False
        self._terminal = os.isatty(fd)

    def start(self) -> None:
        """Read from now on, until the end of the input; the program runs on then."""
        if not can_read(self.fd):
            return
        self._say(f"commands: {', '.join(self._commands)}")
        self._read_on()

    def _read_on(self) -> None:
        if self._stopped():
            return
        if self._terminal and not _in_foreground(self.fd):
            self._loop.call_later(FOREGROUND_S, self._read_on)
            return
        self._reading = True
        self._loop.add_reader(self.fd, self._readable)

    def stop(self) -> None:
        """Read no more."""
        if self._reading:
            self._reading = False
            with contextlib.suppress(ValueError, OSError):
                self._loop.remove_reader(self.fd)

    def _readable(self) -> None:
        if self._terminal and not _in_foreground(self.fd):  # reading would stop this process
            self.stop()
            self._read_on()
            return
        try:
            data = os.read(self.fd, LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if not data:
            self.stop()
            lines, self._buffer = [self._buffer], b""
        elif len(self._buffer) > LINE_BYTES_MAX:
            self._buffer = b""
            self._say("a line is too long, and left out")
        for line in lines:
            self._obey(line.decode(errors="replace"))

    def _obey(self, line: str) -> None:
        text = ""
        try:
            text = self._do(line)
        except ParkcosError as error:
            text = str(error)
        self._say(text)

    def _say(self, text: str) -> None:
        prompt = self._prompt if self._terminal and not self._stopped() else ""
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            print(f"{text}\n{prompt}" if text else prompt, end="", flush=True)


def _in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # not this process's terminal: whoever gave it wants it read
        return True
