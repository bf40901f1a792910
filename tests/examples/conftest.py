"""How an example is run: where it finds its cluster, and what is told of it."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import logs
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ENVIRON = os.environ | {"PYTHONPATH": str(ROOT)}
TIMEOUT_S = 40.0
SERVERS = 2


def run(program: Path, *options: str, cwd: str | Path | None = None) -> str:
    """Run a program to its end, started in the folder `cwd`; what it prints.

    A good run says nothing on standard error.
    """
    command = [sys.executable, str(program), *options]
    done = logs.run(command, TIMEOUT_S, env=ENVIRON, cwd=cwd)
    assert (done.returncode, without_waiting(done.stderr)) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout


def without_waiting(errors: str) -> str:
    """What a program says on standard error, but for what it says on a slow machine: it waits for its first server,
    or for its node to close."""
    waits = r"(waits for the servers of a node to be ready|is closing: waits for \d+ tasks and \d+ nodes)"
    return re.sub(rf"^.* {waits}\n", "", errors, flags=re.MULTILINE)


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


@contextlib.contextmanager
def program(folder: Path, name: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program of scripts/ that somebody has started."""
    log = folder / f"{name}.log"
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), "--daemon", *options]
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=ENVIRON, stdout=out, stderr=out)
    logs.show(" ".join([name, *options]), log.read_text, lambda: process.poll() is None)
    try:
        yield process
    finally:
        process.terminate()
        ended = process.wait(TIMEOUT_S)
    assert ended == 0


def wait_for(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Until a program has logged this."""
    end = time.monotonic() + TIMEOUT_S
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def secret_in(folder: Path) -> list[str]:
    """The option that names the secret of these tests."""
    secret = folder / "secret"
    secret.write_text("the secret of this test\n")
    secret.chmod(0o600)
    return ["--secret_file", str(secret)]


@contextlib.contextmanager
def started_node(folder: Path) -> Iterator[tuple[Cluster, int]]:
    """A node that somebody has started on this machine, as the README says, and its process id."""
    port = free_ports(SERVERS + 1)[0]
    common = ["-i", "127.0.0.1", "-u", str(port), *secret_in(folder)]
    with program(folder, "parkcosnode", "-c", str(SERVERS), "--tcp_ports", str(port), *common) as process:
        # The node is not waited for: the examples find it however long it takes to start.
        yield Cluster(common, set(range(port + 1, port + 1 + SERVERS))), process.pid


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Cluster]:
    """A node of this test's own."""
    with started_node(tmp_path) as (cluster, _):
        yield cluster


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory, shared_pids: set[int]) -> Iterator[Cluster]:
    """A node for all tests of a module, which use it one after the other."""
    with started_node(tmp_path_factory.mktemp("node")) as (cluster, pid):
        shared_pids.add(pid)
        yield cluster


@pytest.fixture(params=["node", "local"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """A node that somebody has started, or none."""
    if request.param == "local":
        return Cluster(["--local"], None)
    started: Cluster = request.getfixturevalue("node")
    return started


@pytest.fixture(params=["node", "local"])
def place(request: pytest.FixtureRequest) -> Cluster:
    """The node of the module, or none."""
    if request.param == "local":
        return Cluster(["--local"], None)
    started: Cluster = request.getfixturevalue("shared_node")
    return started


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of an example, in this process."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return runpy.run_path(str(EXAMPLES / name))


def finish(generator: Any) -> Any:
    """Run a generator that only gives others a turn."""
    try:
        while True:
            next(generator)
    except StopIteration as end:
        return end.value


def sieve(limit: int) -> list[bool]:
    """Whether each number below `limit` is a prime."""
    prime = [False, False, *[True] * (limit - 2)]
    for n in range(2, int(limit**0.5) + 1):
        prime[n * n :: n] = [False] * len(range(n * n, limit, n))
    return prime
