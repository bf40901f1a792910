"""Time limits and retries of remote tasks: `client.options`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos import Client, LocalCluster, MonitorStatus, Parkcos, Task, TaskAbandoned, TaskTimeout, UsageError, cur_task
from tests.live.lib import Program

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(2) as cluster:
        yield cluster
    Parkcos.instance().terminate()


def run(main: Any, *args: Any) -> Any:
    """The result of `main(client, *args)`, a task of a client of its own."""

    def program() -> Any:
        client = Client()
        yield client.schedule()
        try:
            return (yield main(client, *args))
        finally:
            yield client.close(terminate=True)

    value = Task(program).value(60)
    if isinstance(value, MonitorStatus):
        raise AssertionError(value.traceback)
    return value


def waits(seconds: float, task: Any = None) -> Any:
    yield task.sleep(seconds)
    return "waited"


def computes() -> Any:
    while True:
        pass
    yield


def heeds_nothing() -> Any:
    while True:
        try:
            while True:
                pass
        except KeyboardInterrupt:
            continue
    yield


def in_c() -> Any:
    ctypes.PyDLL(None).sleep(1000)  # holds the interpreter
    yield


def uses_its_grace(task: Any = None) -> Any:
    try:
        yield task.sleep(1000)
    except KeyboardInterrupt:
        return "in time, it thinks"


def swallows(task: Any = None) -> Any:
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            yield task.sleep(1000)


@pytest.mark.parametrize("fn", [waits, computes, uses_its_grace, swallows, heeds_nothing, in_c])
def test_a_task_over_its_time_is_ended_wherever_it_hangs(cluster: LocalCluster, fn: Any) -> None:
    def main(client: Client) -> Any:
        limited = client.options(timeout_s=0.2)
        rtask = yield limited.rtask(fn, *([1000.0] if fn is waits else []))
        status = yield rtask()
        with pytest.raises(TaskTimeout, match=r"0\.2 s"):
            yield rtask.result()
        others = yield client.map(waits, [0.01] * 4)  # both processors work again
        return status.type, others

    assert run(main) == (TaskTimeout, ["waited"] * 4)


def test_the_log_names_the_limit(tmp_path: Path) -> None:
    text = """\
from parkcos import Client, LocalCluster, Task

def waits(task=None):
    yield task.sleep(1000)

def main():
    client = Client()
    yield client.schedule()
    yield (yield client.options(timeout_s=0.25).rtask(waits)).finish()
    yield client.close()

with LocalCluster(1):
    Task(main).value()
"""
    (tmp_path / "program.py").write_text(text)
    with Program("program.py", cwd=tmp_path) as program:
        assert program.wait() == 0
        program.wait_for(r"waits/\d+@\S+ is interrupted: it has run for its time limit of 0\.25 s \(timeout_s\)")


def test_who_is_in_time_is_left_alone(cluster: LocalCluster) -> None:
    def main(client: Client) -> Any:
        rtask = yield client.options(timeout_s=30, name="quick one").rtask(waits, 0.01)
        return rtask.name, (yield rtask())

    assert run(main) == ("quick one", "waited")


def dies_at_first(notes: str, task: Any = None) -> Any:
    """Kills its server, the first two times."""
    with open(notes, "a") as file:
        file.write("x")
    if os.path.getsize(notes) < 3:
        yield task.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    message = yield task.receive()
    return os.getpid(), message


@pytest.mark.parametrize("io", [False, True])
def test_a_task_that_is_lost_is_run_anew(cluster: LocalCluster, tmp_path: Path, io: bool) -> None:
    def main(client: Client, notes: str) -> Any:
        limited = client.options(retries=3)
        rtask = yield (limited.io_rtask if io else limited.rtask)(dies_at_first, notes)
        first = hash(rtask)
        me = cur_task()
        while os.path.getsize(notes) < 3:  # messages go to the run that is there
            yield me.sleep(0.02)
        while rtask.send("hello") < 0 or not (yield rtask.deliver("again", timeout=5)):
            yield me.sleep(0.02)
        pid, message = yield rtask.result()
        assert hash(rtask) == first
        return pid > 0, message

    notes = tmp_path / "notes"
    notes.touch()
    ok, message = run(main, str(notes))
    assert ok
    assert message in ("hello", "again")
    assert notes.read_text() == "xxx"


def test_the_retries_are_counted_and_none_is_the_default(cluster: LocalCluster, tmp_path: Path) -> None:
    def main(client: Client, notes: str) -> Any:
        rtask = yield client.options(retries=1).rtask(dies_at_first, notes)
        twice = yield rtask()
        rtask = yield client.rtask(dies_at_first, notes + "2")
        return twice.type, (yield rtask()).type

    notes = tmp_path / "notes"
    assert run(main, str(notes)) == (TaskAbandoned, TaskAbandoned)
    assert notes.read_text() == "xx"
    assert (tmp_path / "notes2").read_text() == "x"


def fails_at_first(notes: str) -> Any:
    with open(notes, "a") as file:
        file.write("x")
    if os.path.getsize(notes) < 3:
        raise ConnectionError("no luck")
    yield
    return "done"


def test_a_failure_is_retried_if_it_is_asked_for(cluster: LocalCluster, tmp_path: Path) -> None:
    def main(client: Client, notes: str) -> Any:
        limited = client.options(retries=5, retry_on=(ConnectionError, KeyError))
        retried = yield (yield limited.rtask(fails_at_first, notes))()
        other = yield (yield client.options(retries=5).rtask(fails_at_first, notes + "2"))()
        return retried, other.type

    notes = tmp_path / "notes"
    assert run(main, str(notes)) == ("done", ConnectionError)
    assert notes.read_text() == "xxx"
    assert (tmp_path / "notes2").read_text() == "x"


def slow_for_one(x: int, task: Any = None) -> Any:
    yield task.sleep(1000 if x == 2 else 0.01)
    return x


def test_a_map_with_a_time_limit(cluster: LocalCluster) -> None:
    def main(client: Client) -> Any:
        results = []
        for item in client.options(timeout_s=0.3).map(slow_for_one, range(5)):
            try:
                results.append((yield item))
            except TaskTimeout:
                results.append("late")
        return results

    assert run(main) == [0, 1, "late", 3, 4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"timeout_s": "1"}, "timeout_s='1'"),
        ({"timeout_s": float("nan")}, "timeout_s=nan"),
        ({"retries": -1}, "retries=-1"),
        ({"retries": 1.5}, "retries=1.5"),
        ({"name": 5}, "name=5"),
        ({"retries": 1, "retry_on": "KeyError"}, "retry_on='KeyError'"),
        ({"retry_on": KeyError}, "needs retries"),
    ],
)
def test_options_that_are_none(options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Client().options(**options)
