"""Where a client's code runs: which folders it is in, what it finds there, and what it can ask of its servers."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos import (
    Channel,
    Client,
    LocalCluster,
    ParkcosError,
    Scheduler,
    Status,
    Task,
    TaskAbandoned,
    close_node,
    close_server,
)
from tests.live.lib import LIMIT_S, me, run, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]

seen_by_setup: dict[str, Any] = {}


def sets_up_node(task: Any = None) -> Gen:
    yield task.sleep(0)
    import threading

    seen_by_setup.update(cwd=os.getcwd(), pid=os.getpid(), threads=threading.active_count())
    with open("of_setup.txt", "w") as file:
        file.write("made by node_setup")
    return 0


def looks_around() -> Gen:
    yield
    with open("../table.txt") as file, open("../of_setup.txt") as made:
        found = file.read(), made.read()
    return {
        "cwd": os.getcwd(),
        "path": sys.path[:2],
        "PATH": os.environ["PATH"].split(os.pathsep)[0],
        "found": found,
        "setup": seen_by_setup,
        "pid": os.getpid(),
        "stdin": sys.stdin.read(),
    }


def test_folders_of_node_and_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Components lie in the node's folder, where node_setup runs; each server's is below, both are searched."""
    (tmp_path / "table.txt").write_text("a component")
    monkeypatch.chdir(tmp_path)

    def body(client: Client) -> Gen:
        while len(servers := (yield client.servers())) < 2:
            yield me().sleep(0.01)
        found = []
        for server in servers:
            found.append((yield (yield client.rtask_at(server, looks_around)).result()))
        return found

    both = with_client(body, ["table.txt", looks_around], node_setup=sets_up_node)
    for seen in both:
        folder, own = os.path.split(seen["cwd"])
        assert own in ("parkcosproc-1", "parkcosproc-2")
        assert seen["path"] == [seen["cwd"], folder]
        assert seen["PATH"] == folder
        assert seen["found"] == ("a component", "made by node_setup")
        assert seen["setup"]["cwd"] == folder
        assert seen["setup"]["threads"] == 1, "there is no network yet"
        assert seen["setup"]["pid"] != seen["pid"]
        assert seen["stdin"] == ""
        assert not os.path.exists(folder), "all of it is gone with the client"
    assert len({seen["cwd"] for seen in both}) == 2
    assert len({seen["setup"]["pid"] for seen in both}) == 1, "it ran once"


home: Any = None
"""A task of the client, or a channel."""


def says(to: Any = None) -> Gen:
    yield
    return (to or home).send("from a server")


def test_a_component_may_refer_to_tasks_and_channels() -> None:
    """They need a network, which there is none of where the components are opened, before servers are forked."""
    global home

    def body(client: Client) -> Gen:
        while len(servers := (yield client.servers())) < 2:
            yield me().sleep(0.01)
        for server in servers:
            yield (yield client.rtask_at(server, says)).result()
            assert (yield me().receive(LIMIT_S)) == "from a server"

    def main() -> Gen:
        global home
        channel = Channel("home of the tests")
        yield channel.subscribe(me())
        for one in (me(), channel):
            home = one
            client = Client([says])
            yield client.schedule()
            yield body(client)
            yield client.close()
        channel.close()

    try:
        run(main)
    finally:
        home = None


def sends(to: Any = None, task: Any = None) -> Gen:
    yield task.sleep(0)
    (to or home).send("from node_setup")
    return 0


def asks() -> Gen:
    yield parkcos.io(asyncio.sleep(0))
    return 0


def locates(task: Any = None) -> Gen:
    yield Task.locate("nobody", timeout=1)
    return 0


def starts(task: Any = None) -> Gen:
    yield task.sleep(0)
    parkcos.Parkcos(host="127.0.0.1", no_secret=True)
    return 0


@pytest.mark.parametrize("how", ["argument", "global", asks, locates, starts])
def test_node_setup_has_no_network(how: Any) -> None:
    """It can talk to nobody, and says so, whatever it tries: threads of a network would not survive the fork."""
    global home
    reasons: list[str] = []
    clients: list[Client] = []

    def watches(seeker: Task, task: Any = None) -> Gen:
        while True:
            status = getattr((message := (yield task.receive())), "status", None)
            if status == Scheduler.NodeDiscovered:
                clients[0].enable_node(message.info.location, *([seeker] if how == "argument" else []))
            elif status in (Scheduler.NodeDisconnected, Scheduler.NodeInitialized):
                reasons.append(message.reason)

    def main() -> Gen:
        global home
        home = me() if how == "global" else None
        watcher = Task(watches, me())
        setup = how if callable(how) else sends
        client = Client(status_task=watcher, node_setup=setup, disable_nodes=True)
        clients.append(client)
        yield client.schedule()
        with pytest.raises(TaskAbandoned, match="node_setup"):
            yield client.rtask(says)
        yield client.close()
        watcher.terminate()
        yield watcher.finish()

    try:
        run(main)
    finally:
        home = None
    (reason,) = reasons
    assert "has no network" in reason


def waits(to: Any, task: Any = None) -> Gen:
    to.send("runs")
    yield task.receive()


def test_tasks_of_a_node_by_its_location(cluster: LocalCluster) -> None:
    def body(client: Client) -> Gen:
        rtask = yield client.rtask(waits, me())
        yield me().receive(LIMIT_S)
        assert (yield client.tasks(cluster.location)) == [rtask]
        rtask.send("done")
        yield rtask.finish()

    with_client(body)


def test_when_a_task_was_started() -> None:
    infos: list[Any] = []

    def watches(task: Any = None) -> Gen:
        while True:
            message = yield task.receive()
            if isinstance(message, Status) and message.status == Scheduler.TaskCreated:
                infos.append(message.info)

    def main() -> Gen:
        watcher = Task(watches)
        client = Client(status_task=watcher)
        yield client.schedule()
        before = time.time()
        yield (yield client.rtask(divide, 6, by=3)).finish()
        after = time.time()
        yield client.close()
        watcher.terminate()
        yield watcher.finish()
        return before, after

    before, after = run(main)
    (info,) = infos
    assert before <= info.start_time <= after
    assert (info.args, info.kwargs) == ((6,), {"by": 3})


def divide(number: int, by: int) -> Gen:
    yield
    return number / by


def test_servers_are_closed_by_their_tasks_only() -> None:
    for call in (close_server, close_node):
        with pytest.raises(ParkcosError, match=rf"{call.__name__}\(\) works in a task at a server"):
            call()
