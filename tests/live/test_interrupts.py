"""Ctrl-C, and Jupyter's interrupt, while a program waits in run()."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import pytest

from tests.live.lib import Program

pytestmark = pytest.mark.live


def program(tmp_path: Path, text: str) -> Program:
    path = tmp_path / "program.py"
    path.write_text("from parkcos import Client, LocalCluster, Parkcos, Task, cur_task, run\n" + textwrap.dedent(text))
    return Program(path)


def test_ctrl_c_ends_the_task_and_the_next_run_works(tmp_path: Path) -> None:
    text = """
        def main():
            print("waits", flush=True)
            try:
                yield cur_task().sleep()
            finally:
                yield cur_task().sleep(0.01)
                print("finally", flush=True)

        def other():
            yield
            return [task.name for task in cur_task().kernel.tasks()]

        try:
            run(main)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        print("then", run(other))
    """
    with program(tmp_path, text) as here:
        here.wait_for("waits")
        os.kill(here.pid, signal.SIGINT)
        assert here.wait() == 0, here.text
        order = [line for line in here.lines if line in ("finally", "interrupted") or line.startswith("then")]
        assert order == ["finally", "interrupted", "then ['other']"]


def test_the_second_ctrl_c_ends_a_task_that_heeds_nothing(tmp_path: Path) -> None:
    text = """
        def main():
            print("waits", flush=True)
            try:
                while True:
                    try:
                        yield cur_task().sleep()
                    except KeyboardInterrupt:
                        print("goes on", flush=True)
            finally:
                print("finally", flush=True)

        run(main)
    """
    with program(tmp_path, text) as here:
        here.wait_for("waits")
        os.kill(here.pid, signal.SIGINT)
        here.wait_for("goes on")
        os.kill(here.pid, signal.SIGINT)
        assert here.wait() != 0
        assert here.find("^finally$")
        assert here.find("^KeyboardInterrupt$")
