"""A LocalCluster belongs to its program alone: keys of its own, the loopback, and no module of the current folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from parkcos.net.finding.addresses import local_interfaces
from parkcos.net.location import is_loopback
from tests.live.lib import ROOT, SECRET, Program

pytestmark = pytest.mark.live

PROGRAM = """
import os, sys
sys.path.append({root!r})
from parkcos import Client, LocalCluster, Parkcos, run

def where():
    yield
    return os.getpid(), os.getppid(), sys.flags.safe_path

def main(task=None):
    with LocalCluster(cpus=1) as cluster:
        client = Client([where])
        assert (yield client.schedule(timeout=20)) == 0
        server, zygote, safe = yield (yield client.rtask(where)).finish()
        print("listens", cluster.nodes[0].process.pid, zygote, server, cluster.location.addr, safe)
        input()
        print("again", (yield (yield client.rtask(where)).finish())[0])
        yield client.close()

if __name__ == "__main__":
    {first}
    run(main)
"""
ELSEWHERE = [each.addr for each in local_interfaces() if not is_loopback(each.addr) and ":" not in each.addr][:1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", *ELSEWHERE])
def test_it_listens_at_the_loopback_wherever_its_program_does(tmp_path: Path, host: str) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        PROGRAM.format(root=str(ROOT), first=f"Parkcos(host={host!r}, secret={SECRET!r}, discover_peers=False)")
    )
    with Program(path, cwd=tmp_path) as program:
        found = program.wait_for(r"listens (\d+) (\d+) (\d+) ([\d.]+) (\w+)")
        assert found[4] == "127.0.0.1"
        assert found[5] == "True", "the current folder would come first on the path"
        listening = [
            connection.laddr
            for pid in map(int, found.groups()[:3])
            for connection in psutil.Process(pid).net_connections()
            if connection.status == psutil.CONN_LISTEN or not connection.raddr
        ]
        assert len(listening) >= 2, "the node and the server"
        assert {address.ip for address in listening} == {"127.0.0.1"}
        program.say("\n")
        program.wait_for("again")
        assert program.wait() == 0, program.text


DEPENDENCIES = ["psutil", "msgspec", "cryptography", "cloudpickle", "uvloop", "logging", "queue", "random"]


def test_no_module_of_the_current_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    program_folder, current = tmp_path / "program", tmp_path / "current"
    program_folder.mkdir()
    current.mkdir()
    for name in DEPENDENCIES:
        leaves_a_mark = f"open({str(current / 'mark')!r}, 'a').write('{name} ')\nraise SystemExit(3)\n"
        (current / f"{name}.py").write_text(leaves_a_mark)
    (program_folder / "program.py").write_text(PROGRAM.format(root=str(ROOT), first="pass"))
    with Program(program_folder / "program.py", cwd=current) as program:
        program.wait_for("listens")
        assert psutil.Process(program.pid).cwd() == str(current)
        program.say("\n")
        assert program.wait() == 0, program.text
    assert not (current / "mark").exists(), (current / "mark").read_text()
    subprocess.run([sys.executable, "-c", "import psutil"], cwd=current, check=False)
    assert (current / "mark").read_text() == "psutil ", "the trap does not work"
