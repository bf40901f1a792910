"""Each process bounds the payloads that it takes.

Honest senders learn the bound before they send; of others the session ends, and no memory is taken on their word.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from parkcos import Client, Parkcos, TaskAbandoned
from parkcos.errors import ConfigError, ProtocolError, ShippingError
from parkcos.net.bounds import PAYLOAD_BYTES_MAX
from parkcos.net.options import NetworkOptions
from parkcos.net.session.frames import BIG, BIG_SIZE, PART, FrameReader, header
from parkcos.net.session.peer import UP, Peer
from parkcos.net.tasks.rps import RPS
from tests.live.lib import LIMIT_S, SECRET, Ports, Program, run, with_client
from tests.live.watched import at
from tests.net.cluster_of_networks import Cluster, Log, Place

pytestmark = pytest.mark.live

MIB = 1 << 20
BOUND = 2 * MIB
LARGE = b"x" * (BOUND + 1)
"""It travels as it is: as a payload it has so many bytes."""
FITS = b"y" * BOUND


@pytest.fixture
def narrow(cluster: Cluster) -> Place:
    return cluster.place("narrow", max_payload=BOUND)


def receiver(place: Place) -> tuple[Any, list[Any]]:
    got: list[Any] = []

    def receive(task: Any = None) -> Any:
        task.set_daemon()
        while True:
            got.append((yield task.receive()))

    return place.spawn(receive), got


def connected(a: Place, b: Place) -> Peer:
    a.connect(b)
    peer = a.peer_of(b)
    assert peer is not None
    return peer


# -- whoever is dishonest


def test_a_process_that_was_told_nothing_takes_two_gibibytes() -> None:
    assert PAYLOAD_BYTES_MAX == NetworkOptions().max_payload == 2 * 1024**3
    reader = FrameReader()
    reader.trusted = True
    reader.feed(header(BIG, 8, 1) + BIG_SIZE.pack(PAYLOAD_BYTES_MAX), 0)
    assert reader._big is not None
    reader.release()
    reader = FrameReader()
    reader.trusted = True
    with pytest.raises(ProtocolError, match="not accepted: max_payload is 2147483648"):
        reader.feed(header(BIG, 8, 1) + BIG_SIZE.pack(PAYLOAD_BYTES_MAX + 1), 0)
    assert reader._big is None, "memory was taken for it"


@pytest.mark.parametrize("size", [BOUND + 1, 1 << 40, (1 << 64) - 1])
def test_whoever_announces_more_loses_its_session(cluster: Cluster, narrow: Place, log: Log, size: int) -> None:
    liar, other = cluster.place("liar"), cluster.place("other")
    task, got = receiver(narrow)
    peer = connected(liar, narrow)
    with peer.lock:
        peer.session.queue(BIG, [BIG_SIZE.pack(size)])
        peer.session.queue(PART, [b"z" * 1000])
    liar.reference(task).send("this comes after it")
    log.wait_for("refused a connection", f"a payload of {size} bytes is not accepted: max_payload is {BOUND} here")
    there = narrow.peer_of(liar)
    assert there is not None and there.session._reader._big is None
    assert other.run(lambda task: (yield task.deliver("fine", 10)), other.reference(task)) == 1
    assert got == ["fine"]


def test_a_payload_of_just_that_size_is_taken(cluster: Cluster, narrow: Place) -> None:
    task, got = receiver(narrow)
    other = cluster.place("other")
    assert other.run(lambda task: (yield task.deliver(FITS, 20)), other.reference(task)) == 1
    assert got == [FITS]


# -- whoever is honest


@pytest.fixture
def honest(cluster: Cluster, narrow: Place) -> Place:
    place = cluster.place("honest")
    connected(place, narrow)
    return place


def test_a_message_is_not_sent_and_the_session_stays(narrow: Place, honest: Place) -> None:
    task, got = receiver(narrow)
    there = honest.reference(task)
    with pytest.raises(ShippingError, match=f"{len(LARGE)} bytes are too many for narrow .* takes {BOUND} at most"):
        honest.call(there.send, LARGE)
    with pytest.raises(ShippingError, match="too many for narrow"):
        honest.run(lambda task: (yield task.deliver(LARGE, 10)), there)
    assert not honest.network.requests._open, "a question that nobody was asked waits for ever"
    assert honest.run(lambda task: (yield task.deliver("small", 10)), there) == 1
    assert got == ["small"]
    peer = honest.peer_of(narrow)
    assert peer is not None and peer.state is UP


def test_the_arguments_of_an_rps(narrow: Place, honest: Place) -> None:
    def take(data: bytes, task: Any = None) -> Any:
        yield
        return len(data)

    narrow.call(lambda: RPS(take, name="take").register())

    def ask(data: bytes, task: Any = None) -> Any:
        rps = yield RPS.locate("take", location=narrow.location, timeout=10)
        return (yield (yield rps(data)).finish())

    with pytest.raises(ShippingError, match="too many for narrow"):
        honest.run(ask, LARGE)
    assert not honest.network.requests._open
    assert honest.run(ask, b"small") == 5


def test_a_result_is_too_large_for_who_asks_for_it(narrow: Place, honest: Place) -> None:
    """Before the task has ended, and after."""

    def work(task: Any = None) -> Any:
        yield task.receive()
        return LARGE

    for early in (True, False):
        task = honest.spawn(work)
        there = narrow.reference(task)

        def ask(task: Any = None, there: Any = there, early: bool = early) -> Any:
            waits = there.result()
            there.send("go")
            if early:
                return (yield waits)
            yield task.sleep(0.05)
            return (yield there.result())

        with pytest.raises(ShippingError, match="too many for narrow"):
            narrow.run(ask)


def test_what_was_posted_before_the_bound_was_known(cluster: Cluster, narrow: Place, log: Log) -> None:
    hasty = cluster.place("hasty")
    task, got = receiver(narrow)
    there = hasty.reference(task)

    def both(task: Any = None) -> Any:
        there.send(LARGE)
        return (yield there.deliver(LARGE, 20))

    with pytest.raises(ShippingError, match=f"too large for narrow .*, whose max_payload is {BOUND}"):
        hasty.run(both)
    log.wait_for("a ToTask was not sent: its payload is too large for narrow")
    assert hasty.run(lambda task: (yield task.deliver("small", 10)), there) == 1
    assert got == ["small"]


@pytest.mark.parametrize("size", [0, -1, 1000, 1 << 63, 1e9, "2G"])
def test_bounds_that_are_none(size: Any) -> None:
    with pytest.raises(ConfigError, match="max_payload"):
        NetworkOptions(max_payload=size).check()


# -- a client, its nodes and servers


@pytest.fixture
def node() -> Iterator[tuple[Program, int]]:
    ports = Ports()
    program, port = ports.node(1, "--max_payload", "2M")
    with program:
        Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False, max_payload=4 * MIB)
        try:
            yield program, port
        finally:
            Parkcos.instance().terminate()


def size_of(data: bytes) -> Generator[Any, Any, int]:
    yield
    return len(data)


def made(size: int) -> Generator[Any, Any, bytes]:
    yield
    return b"r" * size


def setup_with(data: bytes) -> Any:
    def setup() -> Generator[Any, Any, int]:
        yield
        return int(not data)

    return setup


def test_arguments_and_results(node: tuple[Program, int]) -> None:
    _, port = node

    def body(client: Client) -> Generator[Any, Any, None]:
        with pytest.raises(ShippingError, match=rf"size_of cannot be sent: .* takes {BOUND} at most"):
            yield client.rtask(size_of, b"a" * (3 * MIB))
        with pytest.raises(ShippingError, match="size_of cannot be sent"):
            yield client.submit(size_of, b"a" * (3 * MIB))
        assert (yield (yield client.rtask(made, 3 * MIB)).finish()) == b"r" * (3 * MIB)
        with pytest.raises(ShippingError, match=r"too many for .*, which takes 4194304 at most"):
            yield client.submit(made, 5 * MIB)
        assert (yield client.submit(size_of, b"a" * MIB)) == MIB

    with_client(body, nodes=[at(port)])


def test_a_setup_that_is_too_large(node: tuple[Program, int], caplog: pytest.LogCaptureFixture) -> None:
    """Of the node: its bundle; of the servers: their first call.  The node is free again at once."""
    program, port = node

    def scheduled(**options: Any) -> Any:
        def main() -> Generator[Any, Any, Any]:
            client = Client([size_of], nodes=[at(port)], **options)
            assert (yield client.schedule(timeout=LIMIT_S)) == 0
            try:
                return (yield client.submit(size_of, b"1234"))
            finally:
                yield client.close()

        return run(main)

    large = setup_with(b"s" * (3 * MIB))
    for options in ({"node_setup": large}, {"server_setup": large}):
        caplog.clear()
        with pytest.raises(TaskAbandoned, match=f"takes {BOUND} at most"):
            scheduled(**options)
        assert "cannot be used" in caplog.text
    assert scheduled() == 4
    assert not program.find("Traceback")
