"""The ports that tests choose: each once, and none that the system may give to somebody else."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_ports


def test_processes_that_choose_at_the_same_time_get_different_ports() -> None:
    code = "from tests.ports import free_ports\nfor n in range(100): print(*free_ports(3))"
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parent.parent}
    processes = [subprocess.Popen([sys.executable, "-c", code], **options) for _ in range(3)]  # type: ignore[call-overload]
    chosen = [int(port) for process in processes for port in process.communicate(timeout=50)[0].split()]
    assert len(chosen) == len(set(chosen)) == 900


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_somebody_has_is_passed_over(kind: socket.SocketKind) -> None:
    (before,) = free_ports(1)
    taken = range(before + 1, before + 50)  # a session beside this one may take some of them first
    sockets = [socket.socket(socket.AF_INET, kind) for _ in taken]
    try:
        for sock, port in zip(sockets, taken, strict=True):
            sock.bind(("127.0.0.1", port))
        assert not set(taken).intersection(free_ports(2))
    finally:
        for sock in sockets:
            sock.close()


def test_none_is_of_the_range_that_the_system_gives_away() -> None:
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not given.exists():
        pytest.skip("the range of this system is not known")
    low, high = map(int, given.read_text().split())
    assert not set(range(low, high + 1)).intersection(free_ports(5))
