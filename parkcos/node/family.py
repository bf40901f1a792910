"""What node, zygote and servers say to each other, and how none of them outlives its parent.

Node and zygote share a stream socket; every server writes fixed-size reports into one pipe.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from pathlib import Path

import msgspec

import parkcos.errors
from parkcos.net.certificates import Certificates
from parkcos.net.secret import ClusterKeys

LENGTH = struct.Struct("<I")

REPORT = struct.Struct("<BIIQ")
"""kind, index, port, incarnation: small enough for a pipe to keep in one piece."""
LISTENING, CLOSES, RESTARTS, CLOSE_NODE = 1, 2, 3, 4
TERMINATE = 0x80
"""With a kind that closes: what runs is not waited for."""


class ServerConfig(msgspec.Struct, array_like=True, frozen=True):
    """What every server of a client needs to know.

    keys: None in a cluster without a secret.
    certificates: with what is in the files, which the server's user may perhaps not read.
    max_file_size: in bytes; None for no bound.
    patience_s: how long the client may be silent before it counts as gone, if longer than others.
    piped: the node reads what is printed.
    alive_s: after so many seconds of silence the client wants a sign of life; 0: as others.
    """

    hosts: list[str]
    ext_hosts: list[str]
    node_name: str
    client: int
    client_process: int
    client_at: list[tuple[str, int]]
    keys: ClusterKeys | None
    certificates: Certificates | None
    pulse_s: float
    debug: bool
    max_file_size: int | None = None
    patience_s: float = 0.0
    piped: bool = False
    alive_s: float = 0.0


class Message(msgspec.Struct, array_like=True, tag=True):
    """Base of what goes through the socket."""


class Open(Message):
    """To the zygote: a client begins.  directory: with all that is the client's; its bundle lies there."""

    config: ServerConfig
    directory: str


class Fork(Message):
    """To the zygote: start a server.  ports: of which it takes the first free one."""

    index: int
    ports: list[int]


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

    error: str
    setup: bool = True


class Exited(Message):
    """From the zygote: a server has ended, and how."""

    index: int
    reason: str


class Printing(Message):
    """From the zygote, with the reading ends of two pipes: standard output and error of a server, or (-1) its own."""

    index: int


encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(Open | Fork | Signal | Close).decode
decode_news = msgspec.msgpack.Decoder(Opened | OpenFailed | Exited | Printing).decode


def frame(message: Message) -> bytes:
    """A message with its length in front."""
    body = encode(message)
    return LENGTH.pack(len(body)) + body


class Unframer:
    """Cuts a stream into the bodies of messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are whole now."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if len(self._buffer) < LENGTH.size + length:
                break
            bodies.append(bytes(self._buffer[LENGTH.size : LENGTH.size + length]))
            del self._buffer[: LENGTH.size + length]
        return bodies


def environment() -> dict[str, str]:
    """The environment for a child: it must find this very package, however this program found it."""
    package = str(Path(parkcos.errors.__file__).resolve().parent.parent)
    paths = (package, os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def die_with_parent(number: int, parent: int) -> None:
    """Have the kernel send this process the signal `number` when its parent ends (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
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
