"""parkcos/node/shared_files.py with real disks and sockets: who may leave files at a node, and when they go."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos.cluster.shared import FOLDER
from parkcos.net.files import receiving
from parkcos.node.shared_files import SharedFiles
from tests.net.cluster_of_networks import WAIT_S, Cluster, Log, Place
from tests.net.sending import MIB, all_files, result, send, wait_until_idle

pytestmark = pytest.mark.live

DIGEST = "d" * 40


class Node:
    """A place that takes the files of one client, `a`, into its folder."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.a = cluster.place("a")
        self.place = cluster.place("b", dest_path=folder.parent / "dest")
        self.folder = folder
        (folder / FOLDER).mkdir(parents=True)
        self.serves = self.a.network.incarnation
        self.files = SharedFiles(self.place.network.files, lambda process: folder if process == self.serves else None)

    def send(self, data: bytes, digest: str = DIGEST) -> tuple[bool, str]:
        """From a file without a name."""
        over = threading.Event()
        outcome: list[Any] = []

        def done(_: Any, ok: bool, reason: str) -> None:
            outcome.extend((ok, reason))
            over.set()

        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            hub, files = self.a.network.hub, self.a.network.files
            peer = self.a.io.run(_peer(hub, self.place)).result(WAIT_S)
            self.a.io.call(files.send_open, peer, file.fileno(), digest, FOLDER, done)
            assert over.wait(WAIT_S)
        wait_until_idle(self.a, self.place)
        return outcome[0], outcome[1]

    def call(self, fn: Any, *args: Any) -> None:
        """In its I/O thread."""
        self.place.io.run(_call(fn, *args)).result(WAIT_S)

    @property
    def there(self) -> list[str]:
        return all_files(self.folder / FOLDER)


async def _peer(hub: Any, place: Place) -> Any:
    return hub.peer_at(place.location)


async def _call(fn: Any, *args: Any) -> None:
    fn(*args)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Cluster() as cluster:
        yield Node(cluster, tmp_path / "client-1")


def test_a_file_without_a_name_lies_in_the_clients_folder(node: Node) -> None:
    data = os.urandom(3 * MIB + 17)
    assert node.send(data) == (True, "")
    there = node.folder / FOLDER / DIGEST
    assert there.read_bytes() == data
    assert stat.S_IMODE(there.stat().st_mode) == 0o444
    assert node.send(data) == (True, ""), "it is there"
    assert node.there == [DIGEST]
    assert not (node.folder.parent / "dest").exists()


def test_files_of_that_name_lie_there_from_its_client_only(node: Node, tmp_path: Path) -> None:
    node.serves = 0
    ok, reason = node.send(b"x")
    assert not ok
    assert "the node does not serve that client" in reason
    assert node.there == []
    (tmp_path / "file").write_bytes(b"x")
    with Log() as log:
        assert result(send(node.a, node.place, tmp_path / "file", FOLDER)) == -1
        log.wait_for("was not sent", "the node does not serve that client")


def test_its_folder_is_not_made_again(node: Node) -> None:
    (node.folder / FOLDER).rmdir()
    assert not node.send(b"x")[0]
    assert not (node.folder / FOLDER).exists(), "it would be left behind"


def test_a_task_cannot_lead_the_node_elsewhere(node: Node, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / DIGEST).write_text("mine")
    (node.folder / FOLDER).rmdir()
    (node.folder / FOLDER).symlink_to(outside)
    assert not node.send(b"x")[0]
    node.call(node.files.drop, node.serves, [DIGEST])
    assert (outside / DIGEST).read_text() == "mine"


def test_what_is_dropped_is_gone_and_may_come_again(node: Node) -> None:
    other = "e" * 40
    for digest in (DIGEST, other):
        assert node.send(b"x", digest)[0]
    node.call(node.files.drop, node.a.network.incarnation + 1, [DIGEST])
    assert node.there == [DIGEST, other], "another's word does not count"
    node.call(node.files.drop, node.serves, ["f" * 40, DIGEST])
    assert node.there == [other]
    assert node.send(b"again")[0]
    assert (node.folder / FOLDER / DIGEST).read_bytes() == b"again"


def test_what_is_on_its_way_when_the_client_is_closed_leaves_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all = receiving.Incoming._write_all

    def closed_meanwhile(self: receiving.Incoming) -> int | None:
        upto = write_all(self)
        if self.files is node.place.network.files:
            node.place.io.call(node.files.end)
        return upto

    monkeypatch.setattr(receiving.Incoming, "_write_all", closed_meanwhile)
    ok, reason = node.send(os.urandom(8 * MIB))
    assert not ok
    assert "closes that client" in reason
    assert node.there == []
