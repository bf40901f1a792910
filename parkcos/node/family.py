"""What node, zygote and servers say to each other, and how none of them outlives its parent.

Node and zygote share a stream socket; every server writes fixed-size reports into one pipe.  Zygote and servers run the
client's code, so the node trusts nothing that comes from there: neither its length nor its meaning.
"""

from __future__ import annotations

import os
import secrets
import signal
import struct
import sys
from pathlib import Path
from typing import Annotated

import msgspec

import parkcos.errors
from parkcos.errors import ParkcosError
from parkcos.net.bounds import Count
from parkcos.node.server_config import ServerConfig

LENGTH = struct.Struct("<I")
NEWS_BYTES_MAX = 64 * 1024
"""The longest message from a zygote."""
ERROR_CHARACTERS_MAX = 12 * 1024
"""What a zygote says of an error: in UTF-8 it is at most four times as many bytes, which fit into one message."""

Error = Annotated[str, msgspec.Meta(max_length=NEWS_BYTES_MAX)]

REPORT = struct.Struct("<BIIQ")
"""kind, index, port, incarnation: small enough for a pipe to keep in one piece."""
LISTENING, CLOSES, RESTARTS, CLOSE_NODE = 1, 2, 3, 4
_KINDS = frozenset((LISTENING, CLOSES, RESTARTS, CLOSE_NODE))
TERMINATE = 0x80
"""With a kind that closes: what runs is not waited for."""

PIPES = 3
"""Of each server, and of the zygote: standard output, standard error, and what parkcos itself logs there."""


class Message(msgspec.Struct, array_like=True, tag=True):
    """Base of what goes through the socket."""


class Open(Message):
    """To the zygote: a client, or a space of one, begins.

    directory: with all that is the client's; its bundle lies there.
    shared: in which the objects lie that the client shares; "": in that, too.
    """

    config: ServerConfig
    directory: str
    shared: str = ""


class Fork(Message):
    """To the zygote, with the writing ends of `PIPES` pipes: start a server.

    ports: it takes the first free one; own: it is beside the servers; niceness: is added to that of the node.
    """

    index: int
    ports: list[int]
    own: bool = False
    niceness: int = 0


class Signal(Message):
    """To the zygote: a signal for a server, if it still lives."""

    index: int
    number: int


class Close(Message):
    """To the zygote: kill whatever is left, and end."""


class Opened(Message):
    """From the zygote: the bundle is open, node_setup is done."""


class OpenFailed(Message):
    """From the zygote.  setup: the client's code is the reason; else this node is, which does not run that code."""

    error: Error
    setup: bool = True


class Exited(Message):
    """From the zygote: a server has ended, and how."""

    index: Count
    reason: Error


encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(Open | Fork | Signal | Close).decode
decode_news = msgspec.msgpack.Decoder(Opened | OpenFailed | Exited).decode


def frame(message: Message) -> bytes:
    """A message with its length in front."""
    body = encode(message)
    return LENGTH.pack(len(body)) + body


class Malformed(ParkcosError):
    """What came through the socket or the pipe is none of the messages above."""


class Unframer:
    """Cuts a stream into the bodies of messages.  body_bytes_max: of each."""

    def __init__(self, body_bytes_max: int = 1 << 32) -> None:
        self._buffer = bytearray()
        self._body_bytes_max = body_bytes_max

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are whole now.  Raises: Malformed."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > self._body_bytes_max:
                raise Malformed(f"a message of {length} bytes")
            if len(self._buffer) < LENGTH.size + length:
                break
            bodies.append(bytes(self._buffer[LENGTH.size : LENGTH.size + length]))
            del self._buffer[: LENGTH.size + length]
        return bodies


def read_news(body: bytes) -> Opened | OpenFailed | Exited:
    """What a zygote says.  Raises: Malformed."""
    try:
        news: Opened | OpenFailed | Exited = decode_news(body)
        return news
    except msgspec.MsgspecError as error:
        raise Malformed(f"no message: {error}") from None


def read_reports(data: bytes) -> list[tuple[int, int, int, int]]:
    """Kind, index, port and incarnation of each.  Raises: Malformed."""
    if len(data) % REPORT.size:
        raise Malformed("a part of a server's report")
    reports = list(REPORT.iter_unpack(data))
    if any(kind & ~TERMINATE not in _KINDS or port > 65535 for kind, _, port, _ in reports):
        raise Malformed("a server's report without meaning")
    return reports


def shortened(text: str) -> str:
    """So much of a long error as may be told: its beginning and its end."""
    if len(text) <= ERROR_CHARACTERS_MAX:
        return text
    half = ERROR_CHARACTERS_MAX // 2 - 10
    return f"{text[:half]}\n...\n{text[-half:]}"


def command(module: str, *arguments: object) -> list[str]:
    """The command of a child that runs `main` of a module of parkcos: of this very package, wherever it was found.

    Its environment need not say where that is, so the programs that tasks start are not told.
    """
    start = Path(parkcos.errors.__file__).resolve().parent / "node" / "start.py"
    return [sys.executable, "-P", str(start), module, *map(str, arguments)]


def new_mark() -> str:
    """By which the processes of one client will be known; see `as_client.py`."""
    return f"{secrets.token_hex(8)}:"


def make_pipes(count: int) -> tuple[list[int], list[int]]:
    """Reading and writing ends.  Raises: OSError; then there are none."""
    reading: list[int] = []
    writing: list[int] = []
    try:
        for _ in range(count):
            ends = os.pipe()
            reading.append(ends[0])
            writing.append(ends[1])
    except OSError:
        for fd in (*reading, *writing):
            os.close(fd)
        raise
    return reading, writing


def die_with_parent(number: int, parent: int) -> None:
    """Have the kernel send this process the signal `number` when its parent ends (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, number, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)


def describe_exit(status: int) -> str:
    """How a process ended, from its wait status, in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "unknown"
        hint = " (perhaps the system ran out of memory)" if number == signal.SIGKILL else ""
        return f"it was killed by signal {number}, {name}{hint}"
    code = os.waitstatus_to_exitcode(status)
    return "it ended" if code == 0 else f"it ended with exit code {code}"
