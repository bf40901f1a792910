"""What a client's code prints at this node, and the programs that it starts: read, logged, sent to the client.

One thread does nothing else.  It may wait for a log that nobody reads, which the node's network must not; meanwhile the
pipes fill, and whoever prints waits, as before a slow terminal.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import select
import selectors
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from parkcos.cluster import messages as m
from parkcos.cluster.postbox import Postbox
from parkcos.net.payload import PICKLE
from parkcos.program.log import RECORD_BYTES_MAX, wait_for_log

logger = logging.getLogger("parkcos")

READ_BYTES = 16 * 1024
"""At a time from each pipe: who prints without end keeps the others waiting no longer than this takes to log."""
LINE_BYTES_MAX = RECORD_BYTES_MAX - 300
"""A longer line becomes several; the rest is for the name of its server."""
REST_BYTES_MAX = 1024 * 1024
"""What a process that was not ended with its server still prints is read so far."""
FINISH_S = 2.0
"""A client's end waits so long for its last lines, should the log not take them."""
BACKLOG_BYTES_MAX = 512 * 1024
"""A client that has so much yet to acknowledge is sent no lines: its tasks' ends come first."""

_SHOWN = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160)) if number != 9}
_SHOWN |= {number: f"\\u{number:04x}" for number in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""In a log, nothing moves the cursor, ends a line or turns its direction round that the client's code has printed."""


class Lines:
    """Cuts what is printed into lines, of which each is as a terminal would show it in the end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in whole for piece in _cut(line)]
        if len(self._rest) > LINE_BYTES_MAX:
            *more, self._rest = _cut(self._rest)
            pieces += more
        return [piece.decode(errors="backslashreplace") for piece in pieces]

    def end(self) -> list[str]:
        """The line that was begun, if one was."""
        rest, self._rest = self._rest, b""
        return [piece.decode(errors="backslashreplace") for piece in _cut(rest)] if rest else []


def _cut(line: bytes) -> list[bytes]:
    """The pieces of one line.  What a carriage return goes back over, as that of a progress bar, is left out."""
    line = line.rstrip(b"\r").rpartition(b"\r")[2]
    pieces = []
    while len(line) > LINE_BYTES_MAX:
        end = LINE_BYTES_MAX
        while end > LINE_BYTES_MAX - 4 and line[end] & 0xC0 == 0x80:  # not within a character
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]


class Sink(Protocol):
    """Takes what is read from one pipe.  Called in the thread that reads."""

    def feed(self, data: bytes) -> None:
        """Take what came."""

    def end(self) -> None:
        """Take what is left: nothing more comes."""


class LineSink:
    """Cuts what is read into lines, and has them taken.  take: called with one or more."""

    def __init__(self, take: Callable[[list[str]], None]) -> None:
        self._lines = Lines()
        self._take = take

    def feed(self, data: bytes) -> None:
        """Have those lines taken that are whole now."""
        if found := self._lines.feed(data):
            self._take(found)

    def end(self) -> None:
        """Have the line taken that was begun."""
        if rest := self._lines.end():
            self._take(rest)


class CopySink:
    """Writes what is read to a descriptor, as it is.

    A read may end within a line, if more waits behind it: the rest of it is written with that, and not before a line
    of another process.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Write what came."""
        whole = len(data) < READ_BYTES
        data = self._rest + data
        end = len(data) if whole else data.rfind(b"\n") + 1 or len(data)
        self._rest = data[end:]
        self._write(data[:end])

    def end(self) -> None:
        """Write what is left."""
        rest, self._rest = self._rest, b""
        self._write(rest)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody reads it any more
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:  # the program, which has the same open, has made it so
                    select.select([], [self._fd], [])


class OutputThread:
    """Reads pipes: `add` and `finish` may be called in any thread, what is read is taken in this one."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._to_do: deque[Callable[[], None]] = deque()
        self._streams: dict[int, tuple[Sink, object]] = {}
        self._lock = threading.Lock()
        self._open = True
        """There is somebody to be woken.  Under the lock."""
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="parkcos-output", daemon=True)
        self._thread.start()

    def add(self, fd: int, sink: Sink, owner: object) -> None:
        """Read from a pipe until its end, and close it then; the sink gets what is read."""
        os.set_blocking(fd, False)
        if not self._call(functools.partial(self._add, fd, sink, owner)):
            os.close(fd)

    def finish(self, owner: object, then: Callable[[], None], timeout: float) -> None:
        """Wait until what is in an owner's pipes was taken, they are closed, and `then` called.

        timeout: seconds; what is not done by then is done later.
        """
        done = threading.Event()

        def finish() -> None:
            for fd in [fd for fd, stream in self._streams.items() if stream[1] is owner]:
                left = REST_BYTES_MAX
                while left > 0 and (count := self._read(fd)):
                    left -= count
                self._end(fd)
            _guarded(then)
            done.set()

        if self._call(finish):
            done.wait(timeout)

    def close(self, timeout: float = FINISH_S) -> None:
        """End it, and close what is left; what was not read by then is not shown."""
        self._call(self._stop)
        self._thread.join(timeout)

    def _call(self, fn: Callable[[], None]) -> bool:
        """Have this called in the thread; returns False if it has ended."""
        with self._lock:
            if self._open:
                self._to_do.append(fn)
                with contextlib.suppress(BlockingIOError):  # it is full: the thread will wake up
                    os.write(self._wake_write, b"\0")
            return self._open

    def _stop(self) -> None:
        self._stopped = True

    def _run(self) -> None:
        while not self._stopped:
            for key, _ in self._selector.select():
                if key.fd in self._streams:
                    self._read(key.fd)
                elif key.fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                    self._do()
        with self._lock:
            self._open = False
            os.close(self._wake_read)
            os.close(self._wake_write)
        self._do()
        for fd in list(self._streams):
            self._end(fd)
        self._selector.close()

    def _do(self) -> None:
        while self._to_do:
            _guarded(self._to_do.popleft())

    def _add(self, fd: int, sink: Sink, owner: object) -> None:
        try:
            self._selector.register(fd, selectors.EVENT_READ)
        except OSError:
            os.close(fd)
            raise
        self._streams[fd] = (sink, owner)

    def _read(self, fd: int) -> int:
        """Read once; returns how much, 0 at the end and if there is nothing."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if data:
            _guarded(self._streams[fd][0].feed, data)
        else:
            self._end(fd)
        return len(data)

    def _end(self, fd: int) -> None:
        stream = self._streams.pop(fd, None)
        if stream is not None:
            self._selector.unregister(fd)
            os.close(fd)
            _guarded(stream[0].end)


_LEVELS = logging.getLevelNamesMapping()


def _guarded(fn: Callable[..., None], *args: bytes) -> None:
    """What cannot be shown must not keep others from it."""
    try:
        fn(*args)
    except Exception:
        logger.exception("what tasks print cannot be shown")


class _Stream:
    """One pipe of a client's process: its lines are sent, logged, or shown where this program prints.

    Args:
        printed: says which.
        server: its number, from 1 on, 0 for the zygote.
        fd: 1 for standard output, 2 for standard error.
    """

    def __init__(self, printed: Printed, server: int, fd: int) -> None:
        self._printed = printed
        self._lines = LineSink(functools.partial(printed.take, server, fd == 2))
        self._copy = CopySink(fd)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        (self._copy if self._printed.copies else self._lines).feed(data)

    def end(self) -> None:
        """Take what is left."""
        self._copy.end()
        self._lines.end()


Send = Callable[[int, bool, list[str]], None]
"""Called with (server, error, lines): the server's number from 1 on, 0 for node_setup; whether it was standard error;
the lines, or none, to say at the end how many were left out."""


class Printed:
    """What one client's code prints at this node, and what parkcos logs at its servers.

    Args:
        node: its name.
        log: what is printed stands in the log; else it is printed where this program prints, unless it is sent.
    """

    def __init__(self, thread: OutputThread, node: str, *, log: bool = True) -> None:
        self._thread = thread
        self._node = node
        self._log = log
        self._send: Send | None = None
        self._setup = "the process that starts servers"

    @property
    def copies(self) -> bool:
        """What is printed goes where this program prints, as it is."""
        return not self._log and self._send is None

    def opens(self) -> None:
        """The zygote runs a client's code from now on."""
        self._setup = "node_setup"

    def send_to(self, send: Send) -> None:
        """From now on, send it to the client, too.  Any thread."""
        self._send = send

    def add(self, server: int, output: int, error: int, log: int = -1) -> None:
        """Read these pipes of a server that is forked, or (0) of the zygote."""
        self._thread.add(output, _Stream(self, server, 1), self)
        self._thread.add(error, _Stream(self, server, 2), self)
        if log >= 0:
            self._thread.add(log, LineSink(functools.partial(self._take_log, server)), self)

    def finish(self) -> None:
        """The processes have ended: wait until all that they have printed was shown.  Not in the I/O thread."""
        send = self._send
        self._thread.finish(self, (lambda: send(0, False, [])) if send else (lambda: None), FINISH_S)

    def take(self, server: int, error: bool, lines: list[str]) -> None:
        """These were printed."""
        if self._send is not None:
            self._send(server, error, lines)
        if self._log:
            for line in lines:
                self._to_log(logging.INFO, f"{self._name(server)}: ", line)

    def _take_log(self, server: int, lines: list[str]) -> None:
        for line in lines:
            name, _, text = line.partition(" ")
            level = _LEVELS.get(name)
            if level is None:  # the client's code has written into this pipe
                level, text = logging.INFO, line
            self._to_log(level, f"{self._name(server)} (parkcos): ", text)

    def _name(self, server: int) -> str:
        return f"server {self._node}/{server}" if server else f"{self._setup} at {self._node}"

    def _to_log(self, level: int, whose: str, line: str) -> None:
        if logger.isEnabledFor(level):
            for piece in _cut(line.translate(_SHOWN).encode()):  # it may have become longer
                wait_for_log()
                logger.log(level, "%s%s", whose, piece.decode())


class Forwarding:
    """Sends lines to a client; those that it cannot take now are left out, and how many those were is said later."""

    def __init__(self, box: Postbox, client: int, process: int) -> None:
        self._box = box
        self._client = client
        self._process = process
        self._left_out = 0

    def __call__(self, server: int, error: bool, lines: list[str]) -> None:
        """Send lines, or, if there are none, only how many were left out."""
        peer = self._box.network.hub.by_incarnation.get(self._process)
        if peer is None or not (lines or self._left_out):
            return
        if lines and peer.backlog_bytes > BACKLOG_BYTES_MAX:
            self._left_out += len(lines)
            return
        text = "".join(f"{line}\n" for line in lines).encode()
        message = m.Output(self._client, server, error, self._left_out)
        self._left_out = 0
        self._box.send(self._process, "client", message, PICKLE, [text] if text else ())
