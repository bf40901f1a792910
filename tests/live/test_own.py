"""Tasks with a process for themselves, at real nodes."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos import (
    Client,
    LocalCluster,
    MonitorStatus,
    Scheduler,
    Status,
    Task,
    TaskAbandoned,
    TaskCancelled,
    TaskTimeout,
    UsageError,
    run,
)
from parkcos.net.session import book
from tests.live.lib import LIMIT_S, gone

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.name != "posix", reason="there are no forks")]

Gen = Generator[Any, Any, Any]
OWN_MAX = 8
"""Of the cluster of this module, which has two servers."""

prepared = ""


def prepares() -> Gen:
    global prepared
    prepared = "prepared"
    yield
    return 0


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    """Scheduled for all tests of the module."""
    client = Client(server_setup=prepares)

    def begin() -> Gen:
        yield client.schedule(timeout=LIMIT_S)
        yield client.wait_for_servers(2, timeout=LIMIT_S)

    run(begin)
    yield client
    run(lambda: (yield client.close(terminate=True)))


def here() -> tuple[int, int, str, str]:
    return os.getpid(), os.nice(0), os.getcwd(), prepared


def waits(task: Any = None) -> Gen:
    got = yield task.receive()
    return os.getpid(), got


def test_each_has_a_process_that_ends_with_it(client: Client) -> None:
    servers = {client.submit(here).result(LIMIT_S)[0] for _ in range(20)}
    first, second = (client.submit(here, own_process=True, niceness=n).result(LIMIT_S) for n in (0, 7))
    assert second[1] == first[1] + 7
    assert first[3] == "prepared", "server_setup was run there"
    assert len({first[0], second[0], *servers}) == 2 + len(servers)
    for pid, _, folder, _ in (first, second):
        assert not gone([psutil.Process(pid)] if psutil.pid_exists(pid) else [])
        until(lambda folder=folder: not Path(folder).exists())
    assert {client.submit(here).result(LIMIT_S)[0] for _ in range(20)} <= servers, "they have been there all the time"


def until(holds: Any) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_leaves_the_servers_to_others(client: Client) -> None:
    """Also if it computes: they are two, and so are the tasks that run beside it."""
    own = client.submit(computes, own_process=True)
    handles = [client.submit(waits) for _ in range(2)]
    for handle in handles:
        handle.send("go on")
    assert len({handle.result(LIMIT_S)[0] for handle in handles}) == 2
    assert own.cancel()


def computes() -> None:
    while True:
        pass


def test_a_node_has_only_so_many(client: Client) -> None:
    handles = [client.submit(waits, own_process=True) for _ in range(OWN_MAX + 3)]
    until(lambda: sum(handle.state == "running" for handle in handles) == OWN_MAX)
    assert [handle.state for handle in handles[OWN_MAX:]] == ["waiting"] * 3
    for handle in handles:
        handle.send("go on")
    assert len({handle.result(LIMIT_S)[0] for handle in handles}) == len(handles)


def dies(marks: str, name: str) -> str:
    """The first time; one of a node dies with its servers, if any does."""
    path = Path(marks) / name
    if path.exists():
        return "survived"
    path.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never said"


def test_it_dies_alone(client: Client, tmp_path: Path) -> None:
    beside = [client.submit(waits), client.submit(waits, own_process=True)]
    until(lambda: all(handle.state == "running" for handle in beside))
    with pytest.raises(TaskAbandoned, match="killed by signal 9"):
        client.submit(dies, str(tmp_path), "first", own_process=True).result(LIMIT_S)
    again = client.submit(dies, str(tmp_path), "second", own_process=True, retries=1)
    assert again.result(LIMIT_S) == "survived"
    assert again.tries == 2
    for handle in beside:
        handle.send("go on")
        assert handle.result(LIMIT_S)[1] == "go on"


def holds_the_interpreter() -> None:
    libc = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_init(mutex, None)
    for _ in range(2):
        libc.pthread_mutex_lock(mutex)


@pytest.mark.parametrize("task", [waits, computes, holds_the_interpreter])
def test_cancelled_while_it_runs(client: Client, task: Any) -> None:
    """One that holds the interpreter has the usual grace before its node ends it."""
    handle = client.submit(task, own_process=True)
    until(lambda: handle.state == "running")
    handle.cancel()
    with pytest.raises(TaskCancelled):
        handle.result(2 * LIMIT_S)
    until(lambda: not processes(client))


def processes(client: Client) -> list[int]:
    """Those that there are, or that are asked for, as the client knows."""
    return list(client._shell.machine.queue.processes.by_number)


def test_cancelled_at_any_moment_of_its_start(client: Client) -> None:
    ended = set()
    for moment in range(40):
        handle = client.submit(here, own_process=True)
        time.sleep(0.005 * (moment % 20))
        handle.cancel()
        try:
            handle.result(LIMIT_S)
        except TaskCancelled:
            ended.add("cancelled")
        else:
            ended.add("finished")
    assert "cancelled" in ended
    until(lambda: not processes(client))
    assert client.submit(here, own_process=True).result(LIMIT_S)


def test_a_time_limit(client: Client) -> None:
    with pytest.raises(TaskTimeout):
        client.submit(computes, own_process=True, timeout_s=0.2).result(LIMIT_S)


def test_what_cannot_be_meant(client: Client) -> None:
    for wrong, words in (
        ({"niceness": 5}, "own_process=True, niceness=5"),
        ({"own_process": True, "niceness": 20}, "a whole number from 0 to 19"),
        ({"own_process": True, "niceness": -1}, "a whole number from 0 to 19"),
        ({"own_process": True, "niceness": 1.5}, "a whole number from 0 to 19"),
    ):
        with pytest.raises(UsageError, match=words):
            client.submit(here, **wrong)
        with pytest.raises(UsageError, match=words):
            client.options(**wrong)
    server = client.submit(whereabouts).result(LIMIT_S)
    with pytest.raises(TaskAbandoned, match="started at a node, and not at a server"):
        client.submit(here, where=server, own_process=True).result(LIMIT_S)


def whereabouts(task: Any = None) -> Gen:
    yield
    return task.location


def test_no_status_is_told_of_it(client: Client) -> None:
    """But of its task."""
    told: list[Any] = []

    def watch(task: Any = None) -> Gen:
        task.set_daemon()
        while True:
            told.append((yield task.receive()))

    watcher = client.status_task = Task(watch)
    try:
        client.submit(here, own_process=True).result(LIMIT_S)
        until(lambda: not processes(client) and any(isinstance(message, MonitorStatus) for message in told))
    finally:
        client.status_task = None
        watcher.terminate()
    assert [m.status for m in told if isinstance(m, Status)] == [Scheduler.TaskStarted]


def footprint(client: Client, cluster: LocalCluster) -> dict[str, int]:
    """What a process that has ended may have left in this process, at the node, and in that which starts servers."""
    client._nodes.forget_the_gone()
    gc.collect()
    machine = client._shell.machine
    tables = [
        client._shell.locations,
        client._shell.known,
        client._nodes.indexes,
        client._shell.submissions,
        machine.servers,
        machine.tasks,
    ]
    node = psutil.Process(cluster.nodes[0].process.pid)
    family = [psutil.Process(), node, *node.children(recursive=True)]
    return {
        "records": sum(map(len, tables)),
        "processes": len(family),
        "descriptors": sum(process.num_fds() for process in family),
        # A pool begins a thread whenever all that it has are busy, up to a few.
        "threads": sum(process.num_threads() for process in family),
        "objects here": len(gc.get_objects()),
        "pages elsewhere": sum(process.memory_full_info().uss for process in family[1:]) // mmap.PAGESIZE,
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_one_after_another(client: Client, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "GONE_MAX", 20)  # processes that are gone are remembered, the last ones
    found = []
    for count in (100, 900):
        for _ in range(count):
            client.submit(here, own_process=True).result(LIMIT_S)
        until(lambda: not processes(client) and len(client._shell.machine.servers) == 2)
        found.append(footprint(client, cluster))
    early, late = found
    assert {key: late[key] for key in list(late)[:3]} == {key: early[key] for key in list(late)[:3]}
    assert late["threads"] < early["threads"] + 90
    assert late["objects here"] < early["objects here"] + 900
    assert late["pages elsewhere"] < early["pages elsewhere"] + 900
