"""How an example is run: where it finds its cluster, and what is told of it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ENVIRON = os.environ | {"PYTHONPATH": str(ROOT)}
TIMEOUT_S = 40.0
SERVERS = 2


def free_ports(count: int) -> int:
    """The first of so many successive TCP and UDP ports, below those that the system gives away."""
    while True:
        first = random.randrange(10_000, 32_000)
        with contextlib.ExitStack() as sockets, contextlib.suppress(OSError):
            for port in range(first, first + count):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sockets.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            return first


def run(program: Path, *options: str) -> str:
    """Run a program to its end; what it prints.  A good run says nothing on standard error."""
    command = [sys.executable, str(program), *options]
    done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout


class Cluster:
    """How the examples are told where to run, and where they may be seen to run."""

    def __init__(self, options: list[str], ports: set[int] | None) -> None:
        self.options = options
        self.ports = ports

    def run(self, name: str) -> str:
        output = run(EXAMPLES / name, *self.options)
        if self.ports is not None:
            used = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", output)}
            assert used, output
            assert used <= self.ports  # perhaps not all: the example may have done its work before all were ready
        return output


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Cluster]:
    """A node that somebody has started on this machine, as the README says."""
    (tmp_path / "secret").write_text("the secret of this test\n")
    (tmp_path / "secret").chmod(0o600)
    port = free_ports(SERVERS + 1)
    common = ["-i", "127.0.0.1", "-u", str(port), "--secret_file", str(tmp_path / "secret")]
    node = [sys.executable, str(ROOT / "scripts" / "parkcosnode.py"), "--daemon", "-c", str(SERVERS)]
    with open(tmp_path / "node.log", "w") as log:
        process = subprocess.Popen([*node, "--tcp_ports", str(port), *common], env=ENVIRON, stdout=log, stderr=log)
        try:
            # The node is not waited for: the examples find it however long it takes to start.
            yield Cluster(common, set(range(port + 1, port + 1 + SERVERS)))
        finally:
            process.terminate()
            ended = process.wait(TIMEOUT_S)
    print((tmp_path / "node.log").read_text())
    assert ended == 0


@pytest.fixture(params=["node", "local"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A node that somebody has started, or none."""
    if request.param == "local":
        return Cluster(["--local"], None)
    started: Cluster = request.getfixturevalue("node")
    return started
