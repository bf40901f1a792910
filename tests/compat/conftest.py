"""Programs of pycos's kind, run as they stand: ``python -m parkcos.compat program.py``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.lib import Ports, Program
from tests.secret import secret_file

BEGINNING = """
import sys, time, random, os
import pycos
"""
NETWORKED = BEGINNING + "import pycos.netpycos\n"
CLUSTER = NETWORKED + "from pycos.dispycos import *\n"


SLOW = re.compile(
    " is closing: waits for | waits for the servers of |still (looking|waiting) for |: waiting for "
    "|closed the connection during the handshake"
)
"""In what is logged when something takes long on a busy machine."""


class Programs:
    """Starts programs in a folder of their own."""

    node_port = 0
    """The TCP port of the node, if there is one: at the port that pycos's programs expect, there may be a stranger."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, ports: Ports | None = None) -> None:
        self.folder = folder
        self.stack = stack
        self._ports = ports

    def start(self, source: str, *args: str, name: str = "program.py", options: tuple[str, ...] = ()) -> Program:
        """Start a program.  options: of the command, before the program's name."""
        (self.folder / name).write_text(source)
        if self._ports is not None:
            options = ("-i", "127.0.0.1", "-u", str(self._ports.udp - 1), "--secret_file", secret_file(), *options)
        command = ["-m", "parkcos.compat", *options, name, *args]
        return self.stack.enter_context(Program(*command, cwd=self.folder))

    def run(self, source: str, *args: str, name: str = "program.py", options: tuple[str, ...] = ()) -> list[str]:
        """Run a program to its end; the lines of both streams, but for those that say that something takes long."""
        program = self.start(source, *args, name=name, options=options)
        assert program.wait() == 0, program.text
        return [line for line in program.lines if not SLOW.search(line)]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Programs]:
    """Programs without a network."""
    with contextlib.ExitStack() as stack:
        yield Programs(tmp_path, stack)


@pytest.fixture(scope="module")
def ports() -> Ports:
    return Ports()


@pytest.fixture
def peers(tmp_path: Path, ports: Ports) -> Iterator[Programs]:
    """Programs that find each other on loopback."""
    with contextlib.ExitStack() as stack:
        yield Programs(tmp_path, stack, ports)


@pytest.fixture(scope="module")
def node_and_port(ports: Ports, shared_pids: set[int]) -> Iterator[tuple[Program, int]]:
    """A node with two servers, started as always: it knows nothing of this layer."""
    program, port = ports.node(2)
    shared_pids.add(program.pid)
    with program:
        program.wait_for("uses address")
        yield program, port


@pytest.fixture
def node(node_and_port: tuple[Program, int]) -> Program:
    """That node."""
    return node_and_port[0]


@pytest.fixture
def cluster(peers: Programs, node_and_port: tuple[Program, int]) -> Programs:
    """Programs that find it."""
    peers.node_port = node_and_port[1]
    return peers
