"""Files to and from server processes, and the node's bound for them."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from parkcos import Client, Parkcos
from parkcos.kernel import cur_task
from tests.live.lib import Ports, with_client

pytestmark = pytest.mark.live

Gen = Generator[Any, Any, Any]


def waits(to: Any, task: Any = None) -> Gen:
    """Says where it is; then what is in its directory, whenever it is asked, until it is told None."""
    to.send((task, os.getcwd()))
    while (yield task.receive()) is not None:
        found = {}
        for folder, _, names in os.walk("."):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[path] = len(file.read())
        to.send(found)


def sends_back(location: Any, name: str, task: Any = None) -> Gen:
    """Makes a file and sends it."""
    import parkcos

    with open(name, "wb") as file:
        file.write(b"result" * 100_000)
    return (yield parkcos.Parkcos.instance().send_file(location, name, dir="results", timeout=20))


@pytest.mark.usefixtures("cluster")
def test_a_file_lies_in_the_servers_working_directory(tmp_path: Path) -> None:
    data = tmp_path / "input.dat"
    data.write_bytes(b"x" * 1_000_000)
    runtime = Parkcos.instance()

    def body(client: Client) -> Gen:
        task = cur_task()
        yield client.rtask(waits, task)
        there, cwd = yield task.receive()
        assert (yield runtime.send_file(there.location, data)) == 0
        assert (yield runtime.send_file(there.location, data, dir="a/b")) == 0
        there.send("?")
        first = yield task.receive()
        assert (yield runtime.del_file(there.location, data)) == 0
        there.send("?")
        second = yield task.receive()
        there.send(None)
        yield there.finish()
        return cwd, first, second

    cwd, first, second = with_client(body)
    assert first == {"./input.dat": 1_000_000, "./a/b/input.dat": 1_000_000}
    assert second == {"./a/b/input.dat": 1_000_000}
    assert not os.path.exists(cwd), "it goes with the client"


@pytest.mark.usefixtures("cluster")
def test_a_file_comes_back(tmp_path: Path) -> None:
    runtime = Parkcos.instance()

    def body(client: Client) -> Gen:
        rtask = yield client.rtask(sends_back, runtime.location, "result.bin")
        return (yield rtask.finish())

    assert with_client(body) == 0
    arrived = runtime.dest_path / "results" / "result.bin"
    assert arrived.read_bytes() == b"result" * 100_000
    arrived.unlink()
    arrived.parent.rmdir()


def test_max_file_size_of_a_node_holds_at_its_servers(tmp_path: Path) -> None:
    ports = Ports()
    (tmp_path / "large").write_bytes(b"x" * 100_001)
    (tmp_path / "small").write_bytes(b"x" * 10_240)
    node, port = ports.node(1, "--max_file_size", "10k", "--dest_path", str(tmp_path / "node"))
    with (
        node,
        ports.client(
            tmp_path,
            f"""
def where(task=None):
    yield
    return task

def main(task=None):
    runtime = Parkcos.instance()
    node = Location("127.0.0.1", {port})
    client = Client()
    yield client.schedule()
    there = yield (yield client.rtask(where))()
    for location in (node, there.location):
        for name in ("large", "small"):
            print(name, (yield runtime.send_file(location, name)), flush=True)
    yield client.close()

Task(main)
""",
        ) as client,
    ):
        assert client.wait() == 0
        lines = client.lines
        assert [line for line in lines if line.startswith(("large", "small"))] == ["large -1", "small 0"] * 2, lines
        assert len(client.find("max_file_size there is 10240")) == 2
        assert len(node.find("'large' for '', of .*, was not received: .*max_file_size there is 10240")) == 2
        assert (tmp_path / "node" / "files" / "small").stat().st_size == 10_240


def test_max_file_size_of_a_node_holds_for_components(tmp_path: Path) -> None:
    """Who waits for a server hears which file is too large."""
    ports = Ports()
    (tmp_path / "large").write_bytes(b"x" * 10_241)
    (tmp_path / "small").write_bytes(b"x" * 10_240)
    node, port = ports.node(1, "--max_file_size", "10k")
    source = f"""
def size():
    yield
    return os.path.getsize("../small")

def main(task=None):
    for components in (["small", "large"], ["small"]):
        client = Client(components, nodes=["127.0.0.1:{port}"])
        yield client.schedule()
        try:
            print("size", (yield (yield client.rtask(size)).result()), flush=True)
        except TaskAbandoned as error:
            print("abandoned", error, flush=True)
        yield client.close()

Task(main)
"""
    with node, ports.client(tmp_path, source) as client:
        assert client.wait() == 0
        client.wait_for("abandoned .*large of the client's components .*10241 bytes, and max_file_size there is 10240")
        client.wait_for("size 10240")


def test_default_folder_beside_that_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask, both keep others out of the folder that they share."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "small").write_bytes(b"x" * 10)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    ports = Ports()
    umask = os.umask(0o002)
    try:
        node, port = ports.node(1)
    finally:
        os.umask(umask)
    source = f"""
def main(task=None):
    print("sent", (yield Parkcos.instance().send_file(Location("127.0.0.1", {port}), "small")), flush=True)

Task(main)
"""
    with node:
        node.wait_for("uses address")
        with ports.client(tmp_path, source) as client:
            assert client.wait() == 0
        assert client.find("sent 0"), client.text
    [folder] = (tmp_path / "tmp").glob("parkcos-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "files" / "small").exists()


def test_sizes_that_are_none(tmp_path: Path) -> None:
    node, _ = Ports().node(1, "--max_file_size", "much")
    with node:
        assert node.wait() == 1
        assert node.find("'much' is no size")
