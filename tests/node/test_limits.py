"""parkcos/node/limits.py"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parkcos.errors import ConfigError
from parkcos.node.as_client import size_of
from parkcos.node.limits import MEMORY_BYTES_MIN, Limits, Use, checked_limits, look, too_much

MIB = 1 << 20
MARK = "a mark of the tests:"

FAMILY = """
import os, subprocess, sys
hold = bytearray(int(sys.argv[1]) << 20)
print("ready", flush=True)
sys.stdin.readline()
"""


def test_what_makes_no_sense() -> None:
    assert checked_limits(0, 0, 0) == Limits()
    assert checked_limits(MEMORY_BYTES_MIN, 7, 1).processes == 7
    with pytest.raises(ConfigError, match="--max_memory 1 MiB: a server needs 128 MiB"):
        checked_limits(MIB, 0, 0)
    with pytest.raises(ConfigError, match="--max_processes -1"):
        checked_limits(0, -1, 0)


def test_who_uses_too_much() -> None:
    limits = Limits(memory=200 * MIB, processes=10)
    assert too_much({0: Use(5, 100 * MIB), -99: Use(5, 150 * MIB)}, limits) == {}
    memory = too_much({0: Use(1, 100 * MIB), 1: Use(1, 300 * MIB), -99: Use(1, 201 * MIB)}, limits)
    assert memory.keys() == {1, -99}
    assert "use 300 MiB of memory, and may use 200 MiB (--max_memory)" in memory[1]
    (processes,) = too_much({0: Use(3), 1: Use(7), 2: Use(1)}, limits).items()
    assert processes[0] == 1
    assert (
        "has 11 processes and threads at this node, 7 of them there, and may have 10 (--max_processes)" in processes[1]
    )
    assert too_much({0: Use(10**6, 10**15)}, Limits()) == {}, "no bound"
    assert too_much({}, limits) == {}


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that holds 60 MiB, in a session of its own, and has the mark of server 4711, which is not there."""
    env = {**os.environ, "PARKCOS_FAMILY": f"{MARK}4711:"}
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY, "60"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


@pytest.mark.live
def test_processes_are_known_by_descent_by_group_and_by_mark(process: subprocess.Popen[bytes]) -> None:
    here = os.getpid()
    by_descent = look({}, {here: 3})
    assert by_descent[3].processes >= 2
    assert by_descent[3].memory > 60 * MIB
    of_zygote = look({here: "another"}, {process.pid: 5})
    assert of_zygote[5].processes == 1
    assert 60 * MIB < of_zygote[5].memory < 100 * MIB
    assert -here in of_zygote
    by_mark = look({1 << 30: MARK}, {4711: 6})
    assert by_mark.keys() == {6}
    assert by_mark[6].processes == 1 and by_mark[6].memory > 60 * MIB
    assert look({1 << 30: MARK}, {}).keys() == {-(1 << 30)}, "of a server that has ended"
    assert look({1 << 30: "none"}, {}) == {}


def test_what_a_folder_takes_up(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    (folder / "deep" / "deeper").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "large").write_bytes(os.urandom(5 * MIB))
    before = size_of(folder)
    (folder / "deep" / "deeper" / "file").write_bytes(os.urandom(MIB))
    (folder / "same").hardlink_to(folder / "deep" / "deeper" / "file")
    (folder / "link").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    with open(folder / "sparse", "wb") as file:
        file.truncate(100 * MIB)
    assert MIB <= size_of(folder) - before < 2 * MIB
    assert size_of(tmp_path / "none") == 0
