"""The examples with a dashboard: what a browser is shown while they run."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import logs
from tests.examples.conftest import ENVIRON, EXAMPLES, TIMEOUT_S, Cluster
from tests.httpd.asking import Browser, Viewer
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.live]


@contextlib.contextmanager
def running(cluster: Cluster, tasks: int, name: str) -> Iterator[tuple[subprocess.Popen[str], Viewer]]:
    """The example, and somebody who looks at its dashboard."""
    options = [*cluster.options, "--port", str(free_ports(1)[0]), "--tasks", str(tasks), "--longest", "0.4"]
    command = [sys.executable, str(EXAMPLES / name), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRON, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            match = re.search(r"the dashboard of (\S+): (http://\S+)", process.stderr.readline())
            assert match is not None
            assert match[1] == name
            with Viewer(Browser(re.sub(r"//[^/]*:", "//127.0.0.1:", match[2]))) as viewer:
                yield process, viewer
        finally:
            process.terminate()


def look_until_the_end(viewer: Viewer) -> None:
    """It is sent the last changes before the program ends."""
    with contextlib.suppress(EOFError):
        for _ in viewer:
            pass


def test_httpd1_is_shown_while_it_runs(cluster: Cluster) -> None:
    with running(cluster, 6, "httpd1.py") as (process, viewer):
        look_until_the_end(viewer)
        output, errors = logs.communicate(process, TIMEOUT_S)
    assert process.returncode == 0
    assert not errors or "ValueError: 3 is an unlucky number" in errors  # the node's log, if it is the program's own
    results = [str(number**2) if number != 3 else "failed" for number in range(1, 7)]
    printed = re.findall(r"^number (\d) takes 0\.\d s\n", output, re.M)
    # A cluster of the program's own prints where it does, each of its servers when it likes.
    assert sorted(printed) == ([] if cluster.ports else list("123456"))
    assert [line for line in output.splitlines() if ":" in line] == [
        f"{number}: {result}" for number, result in enumerate(results, 1)
    ]
    state = viewer.state
    assert (state["name"], state["state"]) == ("httpd1.py", "closed")
    assert (state["totals"]["submitted"], state["totals"]["done"], state["totals"]["failed"]) == (6, 6, 1)
    (failed,) = [task for task in state["tasks"] if task["state"] == "failed"]
    assert failed["error"] == "ValueError: 3 is an unlucky number"
    assert failed["args"].startswith("3, 0.")


def test_httpd2_has_a_status_task_too(cluster: Cluster) -> None:
    with running(cluster, 4, "httpd2.py") as (process, viewer):
        look_until_the_end(viewer)
        output, errors = logs.communicate(process, TIMEOUT_S)
    assert (process.returncode, errors) == (0, "")
    *ended, last = output.splitlines()
    found = [re.fullmatch(r"compute/\d+@\S+ has ended with (\d+)", line) for line in ended]
    assert sorted(int(match[1]) for match in found if match) == [1, 4, 9, 16]
    assert last == "all are done"
    assert viewer.state["totals"]["done"] == 4
