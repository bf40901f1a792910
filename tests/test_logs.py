"""The report of a test that fails shows what the programs of that test, and of its module, have said."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.logs import CHARS_MAX

ROOT = Path(__file__).resolve().parent.parent
TESTS = textwrap.dedent("""
    import subprocess, sys
    import pytest
    from tests import logs
    from tests.live.lib import Program

    @pytest.fixture(scope="module")
    def shared():
        with Program("-c", "print('shared', 'says'); input()") as program:
            program.wait_for("says")
            yield program

    def test_good(shared):
        with Program("-c", "print('of the', 'good test')") as program:
            program.wait()

    def test_bad(shared):
        with Program("-c", "print('of the', 'bad test'); print(6 * 'x', 100_000 * '-', 6 * 'y')") as program:
            program.wait()
            assert False

    def test_late():
        logs.run([sys.executable, "-uc", "import time; print('said', 'in time'); time.sleep(100)"], 3)
""")


@pytest.mark.slow
@pytest.mark.live
def test_the_logs_of_the_programs_of_a_test_that_fails(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert "2 failed, 1 passed" in done.stdout, done.stdout[-3000:]
    bad, _, late = done.stdout.partition("_ test_late _")
    assert "shared says" in bad
    assert "of the bad test" in bad
    assert "xxxxxx" in bad and "yyyyyy" in bad and "characters are left out" in bad
    assert len(bad) < CHARS_MAX + 10_000
    assert "said in time" in late
    assert "of the good test" not in done.stdout
    assert "of the bad test" not in late
