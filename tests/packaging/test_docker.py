"""docker/entry.sh, the command of the image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.name == "nt", reason="it is a script for sh")
@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["--daemon"], ["parkcosnode.py", "--daemon"]),
        (["--serve", "1"], ["parkcosnode.py", "--serve", "1"]),
        (["parkcosnode.py", "--serve", "1"], ["parkcosnode.py", "--serve", "1"]),
        (["parkcos.py", "-n", "a name"], ["parkcos.py", "-n", "a name"]),
        ([], ["parkcosnode.py"]),
        ([""], ["parkcosnode.py", ""]),
    ],
)
def test_options_are_for_the_node_and_programs_are_run(arguments: list[str], runs: list[str], tmp_path: Path) -> None:
    for name in ("parkcosnode.py", "parkcos.py"):
        (tmp_path / name).write_text('#!/bin/sh\necho $$\nprintf \'%s\\n\' "${0##*/}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen([ROOT / "docker" / "entry.sh", *arguments], env=environ, stdout=-1, text=True) as process:
        pid, *said = process.communicate(timeout=20)[0].removesuffix("\n").split("\n")
    assert said == runs
    assert int(pid) == process.pid, "it is the process that gets the signals"
