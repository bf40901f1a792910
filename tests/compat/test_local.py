"""Small programs of one process, in ``programs/``; what each prints stands at its end, and would stand with pycos too.

Where pycos is known to be broken, it is what pycos promises: transforms, categories and channels as subscribers work; a
condition whose time is over owns its lock, and that of a task that has ended is free; sys.exit() ends one task; entries
of atexit may have equal priorities; value() and finish() go together; a task that was terminated is told apart; a
task that waits at a socket that is closed gets an error.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests import logs
from tests.live.lib import LIMIT_S, ROOT

pytestmark = pytest.mark.live

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))


@pytest.mark.parametrize("path", PROGRAMS, ids=[path.stem for path in PROGRAMS])
def test_it_prints(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "parkcos.compat", str(path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = logs.run(command, LIMIT_S, cwd=tmp_path, env=environ)
    wanted = re.findall(r"^# > (.*)$", path.read_text(), re.MULTILINE)
    assert wanted
    assert (done.stdout.splitlines(), done.returncode) == (wanted, 0), done.stderr
