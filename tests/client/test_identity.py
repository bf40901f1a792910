"""parkcos/client/identity.py: the file by which the next run of a program is known."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from parkcos.client.identity import Identity, place_of
from parkcos.errors import ConfigError
from tests.live.lib import ROOT

HOLDS = """
import sys
from pathlib import Path
from parkcos.client.identity import Identity
identity = Identity(Path(sys.argv[1]))
print(identity.run, flush=True)
sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Another program that has it."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLDS, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "1\n"
    return program


def test_each_run_has_the_next_number_and_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "me"
    first = Identity(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert place_of(path) == place_of(tmp_path / "." / "me") is not None
    claim = first.claim(77)
    first.close(forget=True)
    second = Identity(path)
    assert (first.run, second.run) == (1, 2)
    assert second.first_number > first.first_number + 2**31
    assert first.key == second.key
    assert claim.holds(second.key.number, 77)
    second.close(forget=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["me"]


def test_one_program_at_a_time_has_it_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "me"
    other = holder(path)
    with pytest.raises(ConfigError, match=rf"in use by another program of this machine \(process {other.pid}\)"):
        Identity(path)
    other.kill()
    other.communicate()
    again = Identity(path)
    assert again.run == 2
    again.close(forget=True)


@pytest.mark.parametrize(
    "content", ["", "hello\n", '{"seed":"00","run":1}', '{"seed":"' + "0" * 64 + '","run":-1}', "[" * 300]
)
def test_what_is_no_identity_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "me"
    path.write_text(content)
    path.chmod(0o600)
    if not content:
        Identity(path).close(forget=True)  # as `touch` has made it
        return
    with pytest.raises(ConfigError, match="is no identity of a client"):
        Identity(path)
    assert path.read_text() == content


def test_files_that_cannot_be_one(tmp_path: Path) -> None:
    path = tmp_path / "me"
    path.touch(0o644)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Identity(path)
    with pytest.raises(ConfigError, match="cannot be opened: Is a directory"):
        Identity(tmp_path)
    with pytest.raises(ConfigError, match="cannot be opened: No such file"):
        Identity(tmp_path / "nowhere" / "me")
