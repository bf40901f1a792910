"""parkcos/client/sharing.py: when a task is sent, held back, given back; with a node that takes files when told to."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos.client import dispatch_events as d
from parkcos.client import sharing
from parkcos.client.records import CLOSING, ENDING, OPEN, READY
from parkcos.client.sharing import Sharing
from parkcos.cluster.definitions import DATA, Definition
from parkcos.cluster.shared import FOLDER, Shared
from parkcos.cluster.shipping import Shipper
from parkcos.errors import UsageError

NODE, SERVER, OTHER = 7, 71, 72
Done = Callable[[Any, bool, str], None]


class Client:
    """A client with one node that has two servers.  Its machine is told of in `happened`."""

    def __init__(self, bytes_max: int = 10_000) -> None:
        self.submissions: dict[int, Any] = {}
        self.known: dict[int, dict[tuple[int, str, str], bytes]] = {SERVER: {}, OTHER: {}}
        self.happened: list[Any] = []
        self.definitions: list[Definition] = []
        """That tasks need."""
        self.bundled: dict[tuple[str, str], bytes] = {}
        self.coming: dict[str, Done] = {}
        self.peers: dict[int, str] = {NODE: "the node"}
        network: Any = SimpleNamespace(
            io=SimpleNamespace(call=lambda fn, *args: fn(*args)),
            hub=SimpleNamespace(by_incarnation=self.peers),
            files=SimpleNamespace(send_open=self._send_open),
        )
        self.node = SimpleNamespace(state=READY)
        self.servers = {number: SimpleNamespace(node=NODE, state=OPEN) for number in (SERVER, OTHER)}
        machine: Any = SimpleNamespace(nodes={NODE: self.node}, servers=self.servers)
        self.shipper = Shipper()
        self.space = 0
        self.sharing = Sharing(
            machine,
            self.submissions,
            self.known,
            threading.RLock(),
            lambda: network,
            self.happened.append,
            lambda task, at: self.happened.append((task, at)),
            lambda process, part, digests: self.happened.append(("drop", process, part, digests)),
        )
        self.sharing.bytes_max = bytes_max
        self.sharing.node_begins(NODE)

    def _send_open(self, peer: str, file: int, name: str, folder: str, done: Done) -> None:
        assert (peer, folder) == ("the node", FOLDER)
        self.coming[name] = done

    def share(self, *sizes: int) -> list[Shared]:
        return [self.sharing.share(self.shipper, bytes([n]) * size) for n, size in enumerate(sizes)]

    def run(self, task: int, *shared: Shared, at: int = SERVER) -> None:
        definitions = self.definitions
        large = self.sharing.file_large(definitions, self.bundled, self.space)
        record = SimpleNamespace(
            server=at, shared=shared, large=large, definitions=definitions, files=(), space=self.space
        )
        self.submissions[task] = record
        self.sharing.run(task, at)

    def end(self, task: int) -> None:
        at = self.submissions.pop(task).server
        self.sharing.handled(d.Ended(task, 0.1, False, at))

    def arrived(self, shared: Shared, ok: bool = True, reason: str = "") -> None:
        self.coming.pop(shared.digest)(None, ok, reason)


def test_a_task_is_held_back_until_its_object_has_come() -> None:
    client = Client()
    (shared,) = client.share(100)
    client.run(1, shared)
    client.run(2, shared, at=OTHER)
    assert client.happened == []
    assert client.sharing.held == {1: SERVER, 2: OTHER}
    client.arrived(shared)
    assert client.happened == [(1, SERVER), (2, OTHER)]
    client.run(3, shared)
    assert client.happened[2:] == [(3, SERVER)]
    assert client.sharing.held == {}
    assert not client.coming


def test_what_cannot_be_sent_is_told_with_the_reason() -> None:
    client = Client()
    (shared,) = client.share(100)
    client.run(1, shared)
    client.arrived(shared, False, "the disk is full")
    why = f"the {shared} that is shared cannot be brought to its node: the disk is full"
    assert client.happened == [d.Refused(1, why, SERVER)]
    client.run(2, shared)
    assert client.coming, "it is tried again"
    client.node.state = CLOSING
    client.arrived(shared, False, "the node closes that client")
    assert client.happened[1:] == [(2, SERVER)], "the server gives it back, or it is lost with that"


def test_a_node_that_is_gone() -> None:
    client = Client()
    (shared,) = client.share(100)
    client.peers.clear()
    client.run(1, shared)
    (refused,) = client.happened
    assert "that is gone" in refused.error


def test_who_is_held_back_and_wanted_back_or_to_end_was_not_sent() -> None:
    client = Client()
    (shared,) = client.share(100)
    for task in (1, 2, 3):
        client.run(task, shared)
    recalled, refused = d.Recalled(1, True, SERVER), d.Refused(2, "enough", SERVER)
    assert not client.sharing.take_back(d.Recalled(1, True, OTHER))
    assert client.sharing.take_back(recalled)
    assert client.sharing.take_back(refused)
    assert client.happened == [recalled, refused]
    client.arrived(shared)
    assert client.happened[2:] == [(3, SERVER)]
    assert not client.sharing.take_back(d.Recalled(3, True, SERVER))


def test_a_server_that_ends_gives_back_what_it_was_not_sent() -> None:
    client = Client()
    (shared,) = client.share(100)
    client.run(1, shared)
    client.run(2, shared, at=OTHER)
    client.run(3, shared)
    del client.submissions[3]  # it is abandoned
    client.servers[SERVER].state = ENDING
    client.sharing.handled(d.Ended(9, 0.1))
    assert client.happened == []
    client.sharing.handled(d.ServerIsLeaving(SERVER))
    assert client.happened == [d.Recalled(1, True, SERVER)]
    client.arrived(shared)
    assert client.happened[1:] == [(2, OTHER)]


def test_what_comes_for_an_earlier_setup_counts_no_more() -> None:
    client = Client()
    (shared,) = client.share(100)
    client.run(1, shared)
    earlier = client.coming.pop(shared.digest)
    client.sharing.node_begins(NODE)
    client.run(1, shared)
    earlier(None, True, "")
    assert client.happened == []
    client.arrived(shared)
    assert client.happened == [(1, SERVER)]
    client.sharing.keep_only([])
    earlier(None, False, "late")
    assert client.happened == [(1, SERVER)]


def test_a_task_that_came_back_by_another_server_is_sent_to_that_one() -> None:
    client = Client()
    (shared,) = client.share(100)
    client.run(1, shared)
    client.run(1, shared, at=OTHER)
    client.arrived(shared)
    assert client.happened == [(1, OTHER)]


def test_what_is_dropped_is_told_in_parts_and_who_waits_for_room_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "DROPPED_AT_ONCE", 2)
    client = Client()
    *small, large = client.share(2000, 2000, 2000, 9000)
    client.run(1, *small)
    for each in small:
        client.arrived(each)
    client.run(2, large)
    client.happened.clear()
    client.end(1)
    first, second, third = (each.digest for each in small)
    parts = [(NODE, "node"), (SERVER, "server"), (OTHER, "server")]
    assert client.happened == [("drop", *part, some) for some in ([first, second], [third]) for part in parts]
    client.arrived(large)
    assert client.happened[-1] == (2, SERVER)


def test_what_a_call_needs_and_what_no_node_can_have_together() -> None:
    client = Client()
    one, two = client.share(5000, 5000)
    packed = client.shipper.pack_call(len, ([one],), {})
    assert client.sharing.needed(packed[2]) == (one,)
    assert client.sharing.needed([]) == ()
    packed = client.shipper.pack_call(len, ([one, two],), {})
    with pytest.raises(UsageError, match=r"needs 2 shared objects, 9.* KiB together, and a node keeps 9.77 KiB"):
        client.sharing.needed(packed[2])


def test_equal_objects_are_one() -> None:
    client = Client()
    one = client.share(100)[0]
    assert client.share(100)[0] is one


def a_global(data: bytes, name: str = "DATA") -> Definition:
    return Definition("module", name, DATA, b"digest of " + data[:1], data)


def test_a_large_definition_comes_to_the_node_once_and_to_the_servers_as_its_digest() -> None:
    client = Client(bytes_max=1 << 20)
    client.definitions = [a_global(b"1" * sharing.LARGE_BYTES), a_global(b"small", "OTHER")]
    client.run(1)
    client.run(2, at=OTHER)
    (digest,) = client.coming
    assert client.happened == []
    client.coming.pop(digest)(None, True, "")
    assert client.happened == [(1, SERVER), (2, OTHER)]
    large, small = client.sharing.without_blobs(client.definitions, client.submissions[1].files)
    assert (large.blob, large.file, large.digest) == (b"", digest, client.definitions[0].digest)
    assert small is client.definitions[1]
    client.known[SERVER][0, "module", "DATA"] = large.digest
    client.run(3)
    assert client.happened[2:] == [(3, SERVER)]
    assert client.submissions[3].files == (), "the server has it"
    client.definitions = [a_global(b"2" * sharing.LARGE_BYTES)]
    client.run(4)
    assert client.coming.keys().isdisjoint({digest}), "it is another one now"
    assert client.coming
    client.bundled["module", "DATA"] = client.definitions[0].digest
    assert not client.sharing.file_large(client.definitions, client.bundled)


def test_a_large_definition_that_cannot_come_as_a_file_travels_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(bytes_max=1 << 20)
    client.definitions = [a_global(b"1" * sharing.LARGE_BYTES)]
    client.run(1)
    client.coming.popitem()[1](None, False, "the disk is full")
    assert client.happened == [(1, SERVER)]
    assert client.sharing.without_blobs(client.definitions, client.submissions[1].files) == client.definitions
    client.run(2)
    assert client.happened[1:] == [(2, SERVER)], "it is not tried there again"
    small = Client(bytes_max=sharing.LARGE_BYTES)
    small.definitions = client.definitions
    small.run(1)
    assert small.happened == [(1, SERVER)], "there is no room for it"
    monkeypatch.setattr(tempfile, "tempdir", "/does/not/exist")
    client.definitions = [a_global(b"2" * sharing.LARGE_BYTES)]
    client.run(3)
    assert client.happened[2:] == [(3, SERVER)], "nor a file here"


def test_large_definitions_of_one_name_in_two_spaces_are_two_files() -> None:
    client = Client(bytes_max=1 << 20)
    for task, client.space in enumerate((0, 1, 0, 1), 1):
        client.definitions = [a_global(b"%d" % client.space * sharing.LARGE_BYTES)]
        client.run(task)
    assert len(client.coming) == 2
    for come in list(client.coming.values()):
        come(None, True, "")
    assert sorted(client.happened) == [(task, SERVER) for task in (1, 2, 3, 4)]
    files = [client.submissions[task].files for task in (1, 2, 3, 4)]
    assert files[0] == files[2] != files[1] == files[3], "and none was written again"
    client.known[SERVER][0, "module", "DATA"] = client.definitions[0].digest
    client.run(5)
    assert client.submissions[5].files, "what the server has under this name it has in another space"
    client.sharing.drop_spaces([1])
    assert [key[0] for key in client.sharing._large] == [0]
