"""The example of a program that is killed and started again."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, Cluster
from tests.live.lib import Program

pytestmark = [pytest.mark.slow, pytest.mark.live]


def test_restart_takes_each_result_once(node: Cluster, tmp_path: Path) -> None:
    results = tmp_path / "work" / "restart.results"
    results.parent.mkdir()
    example = Path(EXAMPLES, "restart.py")
    killed = 0
    while True:
        with Program(example, *node.options, cwd=results.parent) as program:
            program.wait_for("results are safe")
            if killed == 2:
                program.wait_for("all 20 results are in restart.results")
                assert program.wait() == 0
                break
            have = results.read_text().count("\n")
            while results.read_text().count("\n") < have + 2:
                assert program.process.poll() is None, program.text
                time.sleep(0.02)
            program.end(signal.SIGKILL)
            killed += 1
    assert sorted(results.read_text().splitlines(), key=lambda line: int(line.split()[0])) == [
        f"{n} {n * n}" for n in range(20)
    ]
    assert sorted(each.name for each in results.parent.iterdir()) == ["restart.me", "restart.results"]
