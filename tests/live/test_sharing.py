"""Objects that a client shares with its tasks: how often they travel, who waits for them, and where they cannot go."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parkcos import Client, Parkcos, RemoteError, ShippingError, Task, TaskAbandoned, TaskCancelled, UsageError
from parkcos.cluster.shared import FOLDER, Shared
from parkcos.net.files.service import Files
from parkcos.net.session.link import Link
from tests.conftest import no_leaks
from tests.live.lib import LIMIT_S, SECRET, Ports, me, with_client
from tests.live.watched import Gen, at, pid, wait_until

pytestmark = pytest.mark.live

MIB = 1 << 20


class Wire:
    """Counts what this process gives its sockets to send."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        send = Link.send

        def counted(link: Link, buffers: Any) -> None:
            self.bytes += sum(map(len, buffers))
            send(link, buffers)

        monkeypatch.setattr(Link, "send", counted)


class Gate:
    """Shared objects begin to travel when it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._held: list[Any] = []
        self._lock = threading.Lock()
        send_open = Files.send_open

        def held(files: Files, peer: Any, file: int, name: str, *rest: Any) -> None:
            with self._lock:
                self.asked.append(name)
                if self._held is not None:
                    self._held.append((files, peer, file, name, *rest))
                    return
            send_open(files, peer, file, name, *rest)

        monkeypatch.setattr(Files, "send_open", held)
        self._send_open = send_open

    def open(self) -> None:
        with self._lock:
            held, self._held = self._held, None  # type: ignore[assignment]
        for files, *rest in held:
            files.io.call(self._send_open, files, *rest)


@pytest.fixture(scope="module")
def two_nodes(shared_pids: set[int]) -> Iterator[tuple[int, int]]:
    """Their TCP ports; the second one takes no file of more than 80 MiB."""
    with no_leaks("the nodes of this module", set()):
        ports = Ports()
        first, port = ports.node(2, "-n", "first")
        with first:
            second, other = ports.node(2, "-n", "second", "--max_file_size", str(80 * MIB))
            with second:
                shared_pids.update((first.pid, second.pid))
                Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False)
                with_client(_warms, **nodes(port, other))
                yield port, other
                Parkcos.instance().terminate()


def _warms(client: Client) -> Gen:
    """All connections and threads that stay are there."""
    yield client.wait_for_servers(4, LIMIT_S)
    yield client.map(looks, [np.ones(3)], [0])


def nodes(*ports: int) -> dict[str, Any]:
    return {"nodes": [at(port) for port in ports]}


def looks(data: Any, number: int) -> Any:
    """Where it runs, and what it sees of an array."""
    return os.getcwd().rpartition("/")[0], os.getpid(), float(data[number]), type(data).__name__, data.flags.writeable


def total(data: Any) -> Any:
    yield
    return int(data.sum())


DATA: Any = None


def total_of_global(task: Any = None) -> Any:
    yield
    return int(DATA.sum())


def adds_to_global(task: Any = None) -> Any:
    yield
    DATA[:] += 1
    return int(DATA.max())


def on_disk(*data: Any) -> Any:
    """The shared objects at the node, in bytes, and what this task was given of them."""
    yield
    size = 0
    for path in Path("..", FOLDER).iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has gone just now
            size += path.stat().st_size
    return size, [int(each[0]) for each in data]


def waits(data: Any, to: Any, task: Any = None) -> Any:
    to.send(os.getcwd())
    yield task.receive()
    return int(data[0])


def dies_once(data: Any, flag: str) -> Any:
    yield
    if not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return int(data.sum())


def result_of(completion: Any) -> Gen:
    """A task for each call: it waits for the end, too."""
    rtask = yield completion
    return (yield rtask.result())


# how often they travel


def test_an_array_of_64_mb_for_1000_tasks_travels_once_to_each_node(
    two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.arange(8_000_000, dtype=float)

    def body(client: Client) -> Gen:
        yield client.wait_for_servers(4, LIMIT_S)
        wire = Wire(monkeypatch)
        shared = client.share(array)
        array[:] = -1  # too late
        found = yield client.map(looks, itertools.repeat(shared, 1000), range(1000))
        return shared.size, wire.bytes, found

    size, sent, found = with_client(body, **nodes(*two_nodes))
    assert size > array.nbytes
    assert {folder for folder, *_ in found} and len({folder for folder, *_ in found}) == 2
    assert len({process for _, process, *_ in found}) == 4
    assert [value for _, _, value, *_ in found] == list(range(1000))
    assert {each[3:] for each in found} == {("ndarray", False)}
    assert 2 * size < sent < 2 * size + 4 * MIB
    assert not any(os.path.exists(folder) for folder, *_ in found), "it goes with the client"


def test_globals_and_closures_and_equal_objects_travel_once(
    two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body(client: Client) -> Gen:
        global DATA
        yield client.wait_for_servers(2, LIMIT_S)
        wire = Wire(monkeypatch)
        DATA = local = client.share(np.ones(MIB))
        assert client.share(np.ones(MIB)) is local

        def of_closure() -> Any:
            yield
            return int(local.sum())

        tasks = []
        for _ in range(20):
            tasks += [
                Task(result_of, client.rtask(total_of_global)),
                Task(result_of, client.rtask(of_closure)),
                Task(result_of, client.rtask(total, data=local)),
            ]
        for task in tasks:
            assert (yield task.result()) == MIB
        assert int(local.get().sum()) == MIB
        return local.size, wire.bytes

    try:
        size, sent = with_client(body, **nodes(two_nodes[0]))
        assert size < sent < size + MIB
    finally:
        globals()["DATA"] = None


def test_a_large_global_travels_once_to_each_node(two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """And is each server's own: a task may change it there."""
    size = 4 * MIB

    def body(client: Client) -> Gen:
        global DATA
        yield client.wait_for_servers(2, LIMIT_S)
        servers = yield client.servers()
        assert len(servers) == 2
        found, sent = [], []
        for value in (1, 2):
            wire = Wire(monkeypatch)
            DATA = np.full(size, value, np.uint8)
            for _ in range(2):
                for server in servers:
                    found.append((yield result_of(client.rtask_at(server, adds_to_global))))
            sent.append(wire.bytes)
        return found, sent

    try:
        found, sent = with_client(body, **nodes(two_nodes[0]))
    finally:
        globals()["DATA"] = None
    assert found == [2, 2, 3, 3, 3, 3, 4, 4]
    assert all(size < each < size + MIB for each in sent)


def test_a_large_global_that_a_node_takes_as_no_file_travels_to_each_server(two_nodes: tuple[int, int]) -> None:
    def body(client: Client) -> Gen:
        global DATA
        yield client.wait_for_servers(2, LIMIT_S)
        DATA = np.ones(90 * MIB, np.uint8)
        assert (yield result_of(client.rtask(total_of_global))) == 90 * MIB

    try:
        with_client(body, **nodes(two_nodes[1]))
    finally:
        globals()["DATA"] = None


def test_the_least_recently_used_goes_first_and_comes_again(two_nodes: tuple[int, int]) -> None:
    bound = 5 * MIB // 2

    def body(client: Client) -> Gen:
        shared = [client.share(np.full(MIB, number, np.uint8)) for number in range(5)]
        for _ in range(3):
            for number, each in enumerate(shared):
                used, firsts = yield result_of(client.rtask(on_disk, each, shared[number - 1]))
                assert firsts == [number, (number - 1) % 5]
                assert used <= bound
        tasks = [Task(result_of, client.rtask(on_disk, each)) for each in shared * 10]
        for number, task in enumerate(tasks):
            used, firsts = yield task.result()
            assert firsts == [number % 5]
            assert used <= bound
        with pytest.raises(UsageError, match=r"needs 3 shared objects, 3 MiB together, and a node keeps 2.5 MiB"):
            yield client.rtask(on_disk, *shared[:3])
        with pytest.raises(ShippingError, match=r"ndarray of 3 MiB cannot be shared: a node keeps 2.5 MiB"):
            client.share(np.zeros(3 * MIB, np.uint8))

    with_client(body, shared_bytes_max=bound, **nodes(two_nodes[0]))


# tasks that are held back


def test_a_task_begins_when_its_object_is_there_and_others_go_on(
    two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)

    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        shared = client.share(np.arange(MIB))
        waiting = Task(result_of, client.rtask(total, shared))
        yield wait_until(lambda: gate.asked)
        for _ in range(10):
            assert (yield result_of(client.rtask(total, np.ones(3)))) == 3
        assert waiting.is_alive()
        gate.open()
        assert (yield waiting.result()) == MIB * (MIB - 1) // 2

    with_client(body, **nodes(two_nodes[0]))


def test_who_waits_may_leave(two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU tasks and I/O tasks; the others begin."""
    gate = Gate(monkeypatch)

    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        shared = client.share(np.arange(MIB))
        waiting = [Task(result_of, call(total, shared)) for call in (client.rtask, client.io_rtask) for _ in range(10)]
        yield wait_until(lambda: gate.asked)
        for task in waiting[::2]:
            task.terminate()
        gate.open()
        for task in waiting[1::2]:
            assert (yield task.result()) == MIB * (MIB - 1) // 2

    with_client(body, **nodes(two_nodes[0]))


def test_the_client_is_closed_while_tasks_wait(two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)

    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        shared = client.share(np.arange(MIB))
        waiting = [Task(result_of, client.rtask(total, shared)) for _ in range(10)]
        yield wait_until(lambda: gate.asked)
        yield client.close(terminate=True)
        for task in waiting:
            assert isinstance((yield task.finish()).exception, TaskAbandoned)

    with_client(body, **nodes(two_nodes[0]))
    gate.open()  # nobody is there to take it


def kill_server(client: Client, server: Any, process: int) -> None:
    os.kill(process, signal.SIGKILL)


def close_server(client: Client, server: Any, process: int) -> None:
    client.close_server(server, restart=True)


def loads(data: Any = ()) -> Gen:
    """A node_setup."""
    yield
    return 0


def restart_node(client: Client, server: Any, process: int) -> None:
    client.restart_node("127.0.0.1")


@pytest.mark.parametrize("do", [kill_server, close_server, restart_node])
def test_what_a_server_was_not_sent_is_not_lost_with_it(
    two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch, do: Any
) -> None:
    gate = Gate(monkeypatch)

    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        server = (yield client.servers())[0]
        number = next(number for number, location in client._shell.locations.items() if location == server)
        process = yield result_of(client.rtask_at(server, pid))
        shared = client.share(np.arange(MIB))
        waiting = [Task(result_of, client.rtask(total, shared)) for _ in range(10)]
        yield wait_until(lambda: len(client._shell.sharing.held) >= 2)  # at both servers
        do(client, server, process)
        yield wait_until(lambda: number not in client._shell.machine.servers)
        gate.open()
        for task in waiting:
            assert (yield task.result()) == MIB * (MIB - 1) // 2

    with_client(body, **nodes(two_nodes[0]))


def test_a_node_that_cannot_take_it_says_why_and_the_others_are_not_lost(two_nodes: tuple[int, int]) -> None:
    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        large = client.share(np.ones(90 * MIB, np.uint8))
        for _ in range(2):
            with pytest.raises(RemoteError, match=r"is shared cannot be brought to its node: .*max_file_size"):
                yield client.rtask(total, large)
        assert (yield result_of(client.rtask(total, client.share(np.ones(MIB))))) == MIB

    with_client(body, **nodes(two_nodes[1]))


# nodes and servers that begin again


def test_a_node_that_is_set_up_again_gets_it_again(two_nodes: tuple[int, int]) -> None:
    def body(client: Client) -> Gen:
        shared = client.share(np.arange(MIB))
        folders = set()
        for _ in range(2):
            rtask = yield client.rtask(waits, shared, me())
            folders.add(os.path.dirname((yield me().receive(LIMIT_S))))
            rtask.send("end")
            assert (yield rtask.result()) == 0
            client.restart_node("127.0.0.1")
        assert len(folders) == 2
        assert (yield result_of(client.rtask(total, shared))) == MIB * (MIB - 1) // 2

    with_client(body, **nodes(two_nodes[0]))


def test_a_task_that_is_run_again_finds_it(two_nodes: tuple[int, int], tmp_path: Path) -> None:
    def body(client: Client) -> Gen:
        shared = client.share(np.arange(MIB))
        rtask = yield client.options(retries=1).rtask(dies_once, shared, str(tmp_path / "flag"))
        assert (yield rtask.result()) == MIB * (MIB - 1) // 2

    with_client(body, **nodes(two_nodes[0]))
    assert (tmp_path / "flag").exists()


# where it cannot be used


def test_it_is_not_sent_in_messages_nor_to_another_clients_tasks(two_nodes: tuple[int, int]) -> None:
    kept: list[Shared] = []

    def body(client: Client) -> Gen:
        kept.append(client.share(np.arange(MIB)))
        rtask = yield client.rtask(waits, kept[0], me())
        yield me().receive(LIMIT_S)
        with pytest.raises(ShippingError, match="travels with the calls of its client only"):
            rtask.send(kept[0])
        rtask.send("end")
        yield rtask.result()

    with_client(body, **nodes(two_nodes[0]))

    def other(client: Client) -> Gen:
        with pytest.raises(ShippingError, match="belongs to another client"):
            yield client.rtask(total, kept[0])

    with_client(other, **nodes(two_nodes[0]))
    assert int(kept[0].get().sum()) == MIB * (MIB - 1) // 2


def test_setups_run_too_early_for_it(two_nodes: tuple[int, int]) -> None:
    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        shared = client.share(np.arange(MIB))
        with pytest.raises(ShippingError, match=r"node_setup runs before shared objects are there: give it  shared"):
            client.restart_node("127.0.0.1", shared)
        assert (yield result_of(client.rtask(total, shared))) == MIB * (MIB - 1) // 2

    with_client(body, node_setup=loads, **nodes(two_nodes[0]))


def test_what_is_cancelled_while_it_waits_was_not_sent(
    two_nodes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)

    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        shared = client.share(np.arange(MIB))
        handles = [client.submit(total, shared, io=io) for io in (False, True) for _ in range(4)]
        yield wait_until(lambda: gate.asked)
        for handle in handles[::2]:
            assert handle.cancel("enough")
        for handle in handles[::2]:
            with pytest.raises(TaskCancelled, match="enough"):
                yield handle
        assert len((yield client.servers())) == 2, "none has to end with its task"
        gate.open()
        for handle in handles[1::2]:
            assert (yield handle) == MIB * (MIB - 1) // 2

    with_client(body, **nodes(two_nodes[0]))
