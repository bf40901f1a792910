"""The examples of clusters of other shapes: a shared scheduler, nodes in a cloud, nodes behind ssh."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from tests import logs
from tests.examples.conftest import (
    ENVIRON,
    EXAMPLES,
    TIMEOUT_S,
    program,
    run,
    secret_in,
    wait_for,
    without_waiting,
)
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.live]

FORWARD = """
import asyncio, sys

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()

async def main():
    def to(port):
        async def accepted(reader, writer):
            there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)
        return accepted
    servers = [await asyncio.start_server(to(port), "127.0.0.2", port) for port in map(int, sys.argv[1:])]
    print("forwards", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.contextmanager
def public_address(*ports: int) -> Iterator[str]:
    """What a cloud does for its instances: 127.0.0.2 is an address that others may dial, and that no program has."""
    command = [sys.executable, "-c", FORWARD, *map(str, ports)]
    with subprocess.Popen(command, env=ENVIRON, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as forwarder:
        try:
            assert forwarder.stdout is not None and forwarder.stdout.readline() == b"forwards\n"
            yield "127.0.0.2"
        finally:
            forwarder.terminate()


def test_remote_scheduler_gives_each_client_its_turn(tmp_path: Path) -> None:
    port, secret = free_ports(5)[0], secret_in(tmp_path)
    common = ["-i", "127.0.0.1", *secret]
    with (
        program(tmp_path, "parkcos", *common, "-u", str(port), "-t", str(port)),
        program(tmp_path, "parkcosnode", *common, "-u", str(port + 1), "--tcp_ports", str(port + 2), "-c", "2"),
    ):
        options = [*common, "-u", str(port), "--scheduler", f"127.0.0.1:{port}"]
        command = [sys.executable, str(EXAMPLES / "remote_scheduler.py"), *options]
        both = [subprocess.Popen(command, env=ENVIRON, stdout=PIPE, stderr=PIPE, text=True) for _ in range(2)]
        outputs = []
        for client in both:
            output, errors = logs.communicate(client, TIMEOUT_S)
            assert client.returncode == 0
            says = r"remote_scheduler.py waits for its turn: it is number 2 in the queue \(.* has had the "
            assert re.sub(says + r"nodes for \d+ s; 1 client waits\)\n", "", without_waiting(errors)) == ""
            outputs.append(output)
    for output in outputs:
        lines = output.splitlines()
        assert lines.count("It is this program's turn.") == 1
        asked = [line for line in lines if re.fullmatch(r"\S+ at 127\.0\.0\.1 has 2 processors; 1 of them .*", line)]
        assert len(asked) == 1
        results = [re.fullmatch(r"(\d+) from (\S+)", line) for line in lines if " from " in line]
        assert [int(match[1]) for match in results if match] == [0, 285, 328350, 332833500]
        assert len({match[2] for match in results if match}) == 1  # half of two processors
    log = (tmp_path / "parkcosnode.log").read_text()
    states = re.findall(r": (\w+ -> \w+) \(.*\)$", log, re.M)
    assert states.count("setup -> serving") == states.count("wiping -> free") == 2, log


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of this machine")
def test_cloud_computing_reaches_nodes_by_their_public_address(tmp_path: Path) -> None:
    port, secret = free_ports(4)[0], secret_in(tmp_path)
    inside = ["-i", "127.0.0.1", "--no_discovery", "--tcp_ports", str(port), "-c", "2", *secret]
    with (
        public_address(port, port + 1, port + 2) as address,
        program(tmp_path, "parkcosnode", "--ext_ip_addr", address, *inside) as node,
    ):
        wait_for(tmp_path / "parkcosnode.log", "uses address", node)
        lines = run(EXAMPLES / "cloud_computing.py", "-i", "127.0.0.1", *secret, f"{address}:{port}").splitlines()
    assert lines[0] == f"{address}:{port} is there"
    found = [re.fullmatch(r"task (\d) ran on .*, by way of (\S+):(\d+)", line) for line in lines[1:]]
    assert [int(match[1]) for match in found if match] == [0, 1, 2, 3]
    assert {match[2] for match in found if match} == {address}
    assert {int(match[3]) for match in found if match} <= {port + 1, port + 2}


def test_cloud_computing_says_which_nodes_are_not_there(tmp_path: Path) -> None:
    where = f"127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, str(EXAMPLES / "cloud_computing.py"), "-i", "127.0.0.1", *secret_in(tmp_path), where]
    done = logs.run(command, TIMEOUT_S, env=ENVIRON)
    assert done.stdout == f"{where} cannot be reached: the log says why\n"
    assert f"no process listens at {where}" in done.stderr
    assert done.stderr.endswith("There is no node that could be used.\n")
    assert done.returncode == 1


def test_ssh_ec2_by_way_of_loopback(tmp_path: Path) -> None:
    """As it looks from here when ssh forwards; tests/netns/test_ssh.py has the tunnel."""
    port, secret = free_ports(4)[0], secret_in(tmp_path)
    node = ["-i", "127.0.0.1", "-c", "2", "--tcp_ports", str(port), "--no_discovery", *secret]
    with program(tmp_path, "parkcosnode", *node):
        output = run(Path(EXAMPLES, "ssh_ec2.py"), *secret, "--tcp_port", str(port + 3), f"127.0.0.1:{port}")
    received = ", ".join(f"message {number}" for number in range(1, 6))
    found = re.findall(rf"^127\.0\.0\.1:(\d+) computed for (\S+) s, and had received: {received}\.$", output, re.M)
    assert [seconds for _, seconds in found] == ["0.3", "0.5"], output
    assert {int(at) for at, _ in found} == {port + 1, port + 2}
