"""Spaces with processes of their own, at real nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos import Client, LocalCluster, TaskAbandoned, TaskCancelled, UsageError, pack_call, run
from tests.live.lib import LIMIT_S, Ports, gone

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.name != "posix", reason="there are no forks")]

Gen = Generator[Any, Any, Any]
CPUS = 2

PRELOADED = """
import os

IMPORTED_BY = os.getpid()
THREADS = os.environ.get("OMP_NUM_THREADS")
"""

prepared = ""


def prepares_node() -> Gen:
    global prepared
    prepared = "node"
    yield
    return 0


def prepares_server() -> Gen:
    global prepared
    prepared += " and server"
    yield
    return 0


@pytest.fixture(scope="module")
def client(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Scheduled for all tests of the module."""
    module = tmp_path_factory.mktemp("components") / "preloaded.py"
    module.write_text(PRELOADED)
    client = Client([module], node_setup=prepares_node, server_setup=prepares_server)

    def begin() -> Gen:
        yield client.schedule(timeout=LIMIT_S)
        yield client.wait_for_servers(CPUS, timeout=LIMIT_S)

    run(begin)
    yield client
    run(lambda: (yield client.close(terminate=True)))


def until(holds: Any) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def pid() -> int:
    return os.getpid()


def leaves_something() -> int:
    os.environ["LEFT"] = "behind"
    os.chdir("/")
    sys.left = "behind"  # type: ignore[attr-defined]
    sys.modules["left"] = sys
    return os.getpid()


def finds() -> tuple[Any, ...]:
    return os.environ.get("LEFT"), os.getcwd() == "/", hasattr(sys, "left"), "left" in sys.modules, prepared


def test_nothing_is_shared_with_others(client: Client) -> None:
    with client.space("one", exclusive=True) as one, client.space("two", exclusive=True) as two:
        pids = {client.submit(leaves_something, space=one).result(LIMIT_S) for _ in range(3)}
        assert client.submit(finds, space=one).result(LIMIT_S) == ("behind", True, True, True, "node and server")
        nothing = (None, False, False, False, "node and server")
        assert client.submit(finds, space=two).result(LIMIT_S) == nothing
        assert {client.submit(finds).result(LIMIT_S) for _ in range(10)} == {nothing}
        others = {client.submit(pid, space=two).result(LIMIT_S), *(client.submit(pid).result(LIMIT_S) for _ in "1234")}
        assert not pids & others
        assert len(pids) <= CPUS, "they stay for the next task"


def before_the_fork() -> tuple[bool, str, str | None]:
    import preloaded  # type: ignore[import-not-found]

    return os.getppid() == preloaded.IMPORTED_BY, preloaded.THREADS, os.environ.get("MINE")


def test_preload_and_env(client: Client) -> None:
    env = {"OMP_NUM_THREADS": "7", "MINE": "yes"}
    with client.space("ready", preload=["preloaded"], env=env, exclusive=True) as space:
        assert client.submit(before_the_fork, space=space).result(LIMIT_S) == (True, "7", "yes")
        assert client.submit(before_the_fork).result(LIMIT_S) == (False, "1", None)


def spans(seconds: float) -> tuple[float, float]:
    start = time.monotonic()
    end = start + seconds
    while time.monotonic() < end:
        pass
    return start, time.monotonic()


def test_not_more_tasks_compute_than_there_are_servers(client: Client) -> None:
    names = ["", "first", "second"]
    for name in names[1:]:
        client.space(name, exclusive=True)
    handles = [client.submit(spans, 0.01, space=name) for _ in range(15) for name in names]
    times = [handle.result(LIMIT_S) for handle in handles]
    ends = sorted([(start, 1) for start, _ in times] + [(end, -1) for _, end in times])
    at_once, most = 0, 0
    for _, step in ends:
        at_once += step
        most = max(most, at_once)
    assert most <= CPUS
    for name in names[1:]:
        client.space(name, exclusive=True).close()


def reads(task: Any = None) -> Gen:
    got = yield task.receive()
    return got, os.getpid()


def test_io_tasks_and_messages(client: Client) -> None:
    with client.space("talks", exclusive=True) as space:
        handles = [client.submit(reads, io=True, space=space) for _ in range(5)]
        until(lambda: all(handle.state == "running" for handle in handles))
        for number, handle in enumerate(handles):
            handle.send(number)
        results = [handle.result(LIMIT_S) for handle in handles]
        assert [got for got, _ in results] == list(range(5))
        assert len({pid for _, pid in results}) == 1
        assert results[0][1] != client.submit(pid).result(LIMIT_S)


def computes() -> None:
    while True:
        pass


def ignores_everything() -> None:
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(60)


@pytest.mark.parametrize("fn", [computes, ignores_everything])
def test_cancelled_while_it_computes(client: Client, fn: Any) -> None:
    with client.space("busy", exclusive=True) as space:
        handle = client.submit(fn, space=space)
        until(lambda: handle.state == "running")
        handle.cancel()
        with pytest.raises((TaskCancelled, TaskAbandoned)):
            handle.result(LIMIT_S)
        assert client.submit(pid, space=space).result(LIMIT_S)


def ends_once(marks: str, whom: str) -> str:
    """Kill this process, or the one from which it was forked; at the second time, do not."""
    path = Path(marks) / whom
    if path.exists():
        return "again"
    path.touch()
    os.kill(os.getpid() if whom == "process" else os.getppid(), signal.SIGKILL)
    time.sleep(LIMIT_S)
    return "never said"


@pytest.mark.parametrize("whom", ["process", "zygote"])
def test_a_process_or_its_zygote_is_killed(client: Client, tmp_path: Path, whom: str) -> None:
    with client.space("dies", exclusive=True) as space:
        before = {client.submit(pid).result(LIMIT_S) for _ in range(10)}
        assert client.submit(ends_once, str(tmp_path), whom, space=space, retries=1).result(LIMIT_S) == "again"
        assert {client.submit(pid).result(LIMIT_S) for _ in range(10)} & before, "the servers have not noticed"


def test_what_is_shared(client: Client) -> None:
    np = pytest.importorskip("numpy")
    shared = client.share(np.arange(100_000.0))
    with client.space("array", exclusive=True) as space:
        assert client.submit(float_sum, shared, space=space).result(LIMIT_S) == 4999950000.0


def float_sum(array: Any) -> float:
    return float(array.sum())


def test_calls_that_were_packed_elsewhere(client: Client) -> None:
    with client.space("raw", exclusive=True) as space:
        handle = client.submit(pack_call(finds), space=space)
        assert handle.raw(LIMIT_S).value()[-1] == "node and server"


def test_a_space_that_cannot_be_opened(client: Client) -> None:
    space = client.space("broken", preload=["no_such_module"], exclusive=True)
    for _ in range(2):
        with pytest.raises(TaskAbandoned, match=r"its space cannot be opened: .*no_such_module.*preload"):
            client.submit(pid, space=space).result(LIMIT_S)
    space.close()


def test_a_space_that_is_closed(client: Client) -> None:
    space = client.space("short", exclusive=True)
    first = client.submit(pid, space=space).result(LIMIT_S)
    zygote = psutil.Process(first).ppid()
    handles = [client.submit(reads, space=space) for _ in range(5)]
    until(lambda: handles[0].state == "running")
    families = [psutil.Process(each) for each in (first, zygote)]
    space.close()
    for handle in handles:
        with pytest.raises((TaskCancelled, TaskAbandoned)):
            handle.result(LIMIT_S)
    assert gone(families) == []
    with pytest.raises(UsageError, match="it was closed"):
        client.submit(pid, space=space)
    assert client.submit(pid).result(LIMIT_S)


def test_calls_with_the_options_of_a_space_that_was_closed(client: Client) -> None:
    with client.space("over", exclusive=True) as space:
        calls = client.options(space=space)
    with pytest.raises(UsageError, match="its space 'over' is closed"):
        run(lambda: (yield calls.map(pid_of, [1])))


def pid_of(_: int) -> int:
    return os.getpid()


def test_bad_calls(client: Client) -> None:
    with pytest.raises(UsageError, match="no such space"):
        client.submit(pid, space="unheard of")
    with pytest.raises(UsageError, match="names of modules"):
        client.space("x", preload="numpy", exclusive=True)
    with pytest.raises(UsageError, match="LD_PRELOAD is read when a process starts"):
        client.space("x", env={"LD_PRELOAD": "x.so"}, exclusive=True)
    with pytest.raises(UsageError, match="exclusive=True"):
        client.space("x", preload=["numpy"])
    with client.space("x", exclusive=True) as space:
        with pytest.raises(UsageError, match="is there with other arguments"):
            client.space("x")
        assert client.space("x", exclusive=True) is space
        with pytest.raises(UsageError, match="own_process=True, space='x'"):
            client.submit(pid, own_process=True, space=space)
        with pytest.raises(UsageError, match="where=a function"):
            client.submit(pid, where=lambda node, server: True, space=space)
        at = run(lambda: (yield client.servers()))[0]
        with pytest.raises(TaskAbandoned, match="run at a node, and not at a server"):
            client.submit(pid, where=at, space=space).result(LIMIT_S)


PROGRAM = """
import os, time
from parkcos import Client, run


def pid():
    return os.getpid()


def main():
    with Client() as client:
        yield client.schedule()
        for name in "abcabc":
            print(name, (yield client.submit(pid, space=client.space(name, exclusive=True))), flush=True)
            {then}
    print("done", flush=True)


if __name__ == "__main__":
    run(main)
"""


def test_one_gives_way_to_another_where_the_node_has_place_for_one(ports: Ports, tmp_path: Path) -> None:
    node, _ = ports.node(1, "--own_max", "1")
    with node, ports.client(tmp_path, PROGRAM.format(then="pass")) as client:
        client.wait_for("done")
        pids = [line.split()[1] for line in client.text.splitlines() if line[:2] in ("a ", "b ", "c ")]
        assert len(set(pids)) == 6, "each time another process"
        assert client.wait() == 0
        node.wait_for("-> free")
        assert node.grown(2), "the node, and the zygote of the next client"
        assert [line for line in node.find("WARNING|ERROR") if "a space of" not in line] == []


def test_a_program_that_is_killed_leaves_nothing(ports: Ports, tmp_path: Path) -> None:
    node, _ = ports.node(1)
    with node, ports.client(tmp_path, PROGRAM.format(then="time.sleep(100)")) as client:
        match = client.wait_for(r"^a (\d+)")
        processes = [psutil.Process(int(match.group(1)))]
        processes += [processes[0].parent()]
        client.end(signal.SIGKILL)
        node.wait_for("-> free")
        assert gone(processes) == []
