"""What a client that may return has sent and not released, in a file beside its identity.

So the next run of its program knows what to ask for, and of what to say that it is lost.  The servers say themselves
what runs there.  A line is written before what it is about is sent; it survives the end of the program, and of the
machine as far as the system has written it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import ConfigError
from parkcos.net.files.disk import Folder

logger = logging.getLogger("parkcos")

LINES_MAX = 10_000
"""When there are so many lines more than twice what is still true, the file is written again."""

RECENT_MAX = 10_000
"""So many tasks are remembered that were released: the word of it may not have reached their servers."""


class NotedNode(msgspec.Struct, tag="node"):
    """A node that was set up.  grants: of its servers, by space."""

    info: NodeInfo
    cpus: int
    grants: dict[int, str] = {}


class NotedTask(msgspec.Struct, tag="task"):
    """A task that was sent.  digest: of function and arguments; node, server: where it was sent last."""

    number: int
    name: str
    digest: str
    io: bool
    node: int
    server: int


class _Released(msgspec.Struct, tag="released"):
    tasks: list[int]


class _NodeLeft(msgspec.Struct, tag="left"):
    node: int


_Line = NotedNode | NotedTask | _Released | _NodeLeft


class Sent:
    """An open file.  Not to be used by two threads at once.

    Raises: ConfigError if it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.nodes: dict[int, NotedNode] = {}
        self.tasks: dict[int, NotedTask] = {}
        self.recent: dict[int, None] = {}
        """Tasks released last, of which their server may not have heard."""
        self._lines = 0
        self._fd = -1
        self._failing = False
        try:
            self._read()
            self._rewrite()
        except OSError as error:
            raise ConfigError(f"the file {path} of the client's tasks cannot be used: {error.strerror}") from None

    # -- what is noted

    def node(self, info: NodeInfo, cpus: int, grants: dict[int, str]) -> None:
        """It is about to be set up, or given another space."""
        self._note(NotedNode(info, cpus, grants))

    def node_left(self, number: int) -> None:
        """It serves this client no more."""
        if number in self.nodes:
            self._note(_NodeLeft(number))

    def task(self, task: NotedTask) -> None:
        """It is about to be sent."""
        self._note(task)

    def released(self, tasks: list[int]) -> None:
        """What has come of them is safe."""
        if known := [number for number in tasks if number in self.tasks]:
            self._note(_Released(known))

    def close(self, forget: bool) -> None:
        """forget: remove it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if forget:
            self.path.unlink(missing_ok=True)

    # -- the file

    def _note(self, line: _Line) -> None:
        self._take(line)
        if self._fd < 0:
            return
        try:
            os.write(self._fd, msgspec.json.encode(line) + b"\n")
            self._lines += 1
            if self._lines > 2 * (len(self.nodes) + len(self.tasks) + len(self.recent)) + LINES_MAX:
                self._rewrite()
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._failing = True
                logger.error("the file %s of the client's tasks cannot be written: %s", self.path, error.strerror)

    def _take(self, line: _Line) -> None:
        match line:
            case NotedNode(info):
                self.nodes[info.incarnation] = line
            case NotedTask(number):
                self.tasks[number] = line
            case _Released(tasks):
                for number in tasks:
                    self.tasks.pop(number, None)
                    self.recent[number] = None
                    if len(self.recent) > RECENT_MAX:
                        del self.recent[next(iter(self.recent))]
            case _NodeLeft(node):
                self.nodes.pop(node, None)

    def _read(self) -> None:
        try:
            with open(self.path, "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return
        decode = msgspec.json.Decoder(_Line).decode
        for place, text in enumerate(lines, 1):
            if not text:
                continue
            try:
                self._take(decode(text))
            except ValueError as error:
                if place < len(lines):  # the last one may be half written
                    logger.warning("%s, line %d cannot be understood, and is left out: %s", self.path, place, error)

    def _rewrite(self) -> None:
        lines: list[_Line] = [*self.nodes.values(), *self.tasks.values(), _Released(list(self.recent))]
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        with Folder(self.path.parent, (), make=False) as folder:
            folder.write_whole(self.path.name, data)
            fd = folder.open(self.path.name, os.O_WRONLY | os.O_APPEND)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._lines = fd, len(lines)
