"""A client that waits says for what: which nodes were seen, and why each of them is given nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.live.lib import Ports
from tests.live.test_programs import SQUARES

pytestmark = pytest.mark.live

SUSPENDED = """
def place(task=None):
    yield
    return task.location

def main(task=None):
    client = Client([place], name="suspender")
    yield client.schedule()
    there = yield (yield client.rtask(place)).result()
    wherever = HERE
    client.suspend_node("127.0.0.1") if wherever == "node" else client.suspend_server(there)
    waiting = [Task(ends, client.rtask, place), Task(ends, client.rtask_at, there, place)]
    yield task.receive()
    client.resume_node("127.0.0.1") if wherever == "node" else client.resume_server(there)
    for each in waiting:
        yield each.finish()
    print("both are done", flush=True)
    yield client.close()

def ends(submit, *args, task=None):
    rtask = yield submit(*args)
    yield rtask.result()

running = Task(main)
signal.signal(signal.SIGUSR1, lambda *_: running.send("go on"))
"""


def test_why_each_node_that_was_seen_is_not_used(ports: Ports, tmp_path: Path) -> None:
    wanted = """nodes=[
        NodeAllocate('127.0.0.1', cpus=64), NodeAllocate(memory=2**60), NodeAllocate(resources={'gpu': 1}),
        NodeAllocate(platform='Plan 9'), NodeAllocate('10.9.9.9')
    ], name="""
    with ports.node()[0], ports.client(tmp_path, SQUARES.replace("name=", wanted)) as client:
        said = client.wait_for("has no node yet.*Seen, but not usable: (.*)")[1]
        for why in (
            "): it has 2 processors, 64 were asked for; it has ",
            " bytes of memory free, 1,152,921,504,606,846,976 were asked for; ",
            "it has 0 gpu, 1 were asked for; its platform is ",
            "'Plan 9' was asked for",
        ):
            assert why in said
        client.end(signal.SIGKILL)
    for wanted, why in (
        ("nodes=[NodeAllocate('127.0.0.1', use=False)]", r"NodeAllocate\('127.0.0.1'\) leaves it out"),
        ("nodes=['10.9.9.*']", "nodes= does not name it"),
    ):
        with ports.node()[0], ports.client(tmp_path, SQUARES.replace("name=", f"{wanted}, name=")) as client:
            client.wait_for(f"has no node yet.*Seen, but not usable: .*: {why}")
            client.end(signal.SIGKILL)


def test_why_the_only_node_is_not_used_any_more(ports: Ports, tmp_path: Path) -> None:
    go = "yield client.wait_for_servers(2); print('go', flush=True); yield task.receive()"
    waits = SQUARES.replace("rtasks = []", go)
    node, _ = ports.node()
    with node, ports.client(tmp_path, waits) as client:
        client.wait_for("^go")
        node.end(signal.SIGKILL)
        said = client.wait_for("has no node any more.*")[0]
        assert "None was seen" not in said
        assert said.endswith("): it is gone")
        client.end(signal.SIGKILL)


@pytest.mark.parametrize("where", ["node", "server"])
def test_tasks_that_wait_for_a_suspended_place(ports: Ports, tmp_path: Path, where: str) -> None:
    with ports.node(1)[0] as node, ports.client(tmp_path, SUSPENDED.replace("HERE", repr(where))) as client:
        named = r"\S+ \(127\.0\.0\.1:\d+\)" if where == "node" else r"the server at \S+"
        client.wait_for(
            rf"suspender: 2 tasks wait for what is given none: {named}: suspended: its client asked for it", times=2
        )
        client.process.send_signal(signal.SIGUSR1)
        client.wait_for("^both are done")
        assert client.wait() == 0
        assert node.end() == 0
