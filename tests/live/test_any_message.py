"""Whatever a member of the cluster says, scheduler and node serve the others when it has left."""

from __future__ import annotations

import time
import typing
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parkcos import Client, LocalCluster, Location, Parkcos
from parkcos.cluster import messages as m
from parkcos.errors import TaskAbandoned, UsageError
from parkcos.net import wire
from parkcos.net.files.messages import ToReceiver, ToSender
from parkcos.net.finding import relay
from parkcos.net.network import Network
from parkcos.net.session.frames import DATA
from parkcos.net.session.peer import UP, Peer
from tests.live.any_message import Strange
from tests.live.lib import LIMIT_S, SECRET, Ports, Program, run, with_client
from tests.live.test_programs import SQUARES

pytestmark = pytest.mark.live

OF_EACH = 12
"""Messages of each kind, valid or not."""
SERVICES = {
    "scheduler": m.ToScheduler,
    "node": m.ToNode,
    "client": m.ToClient,
    "server": m.ToServer,
    "files": ToReceiver | ToSender,
    "relay": relay.Ask | relay.Heard,
}
TROUBLE = r"Traceback|Exception in callback|could not be handled|never retrieved"


@pytest.fixture
def member(ports: Ports) -> Iterator[Network]:
    """A network of this process, in the cluster of `ports`."""
    Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False)
    try:
        yield Parkcos.instance().network
    finally:
        Parkcos.instance().terminate()


def connected(network: Network, port: int) -> Peer:
    """The process at `port`, dialled again if it has ended the session."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        peer = network.hub.peer_at(Location("127.0.0.1", port))
        if peer is not None and peer.itself.state is UP:
            return peer.itself
        time.sleep(0.01)
    raise AssertionError(f"no session with the process at {port}: {peer}")


def answers(network: Network, port: int) -> None:
    """Wait until it has handled what was sent before, and answers a question."""

    def asks() -> Generator[Any, Any, int]:
        for _ in range(10):  # the session may be ending
            if (yield network.peer(Location("127.0.0.1", port), 5.0)) == 0:
                return 0
        return -1

    assert run(asks) == 0, f"the process at {port} does not answer"


def say_strange_things(network: Network, port: int, seed: int) -> int:
    """Messages of all kinds to all parts of that process; returns how many left."""
    peer = connected(network, port)
    strange = Strange(seed, [peer.incarnation, network.incarnation, 1, 2])
    said = 0
    for turn in range(OF_EACH):
        valid = turn % 3 != 2
        for service, kinds in SERVICES.items():
            for kind in typing.get_args(kinds):
                body = msgspec.msgpack.encode(strange.message(kind, valid=valid))
                peer = connected(network, port)
                said += network.post_service(peer, service, body, 0, [b"nonsense"] if turn % 2 else ())
        for kind in typing.get_args(wire.AnyMessage):
            if kind is wire.Service:
                continue
            peer = connected(network, port)  # what its schema does not allow would end the session
            message = msgspec.msgpack.encode([strange.message(kind, valid=True)])
            with peer.lock:
                peer.session.queue(DATA, [message])
            said += peer.post(wire.WhoIs("", 1 << 40))
        answers(network, port)
    return said


def unexpected(program: Program) -> list[str]:
    """What a program logs when it has not expected a message."""
    return program.find(TROUBLE)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_member_says_strange_things(ports: Ports, member: Network, tmp_path: Path, seed: int) -> None:
    scheduler, scheduler_port = ports.scheduler()
    node, node_port = ports.node(2)
    with scheduler, node:
        node.wait_for("belongs to the shared scheduler")
        assert say_strange_things(member, scheduler_port, seed) > 300
        assert say_strange_things(member, node_port, seed) > 300
        Parkcos.instance().terminate()
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("using the shared scheduler")
            client.wait_for("total 285")
            assert client.wait() == 0
    for program in (scheduler, node):
        assert not unexpected(program), program.text


TEXT = "x" * 10**6


def fails() -> None:
    raise ValueError(f"it begins {TEXT} it ends")


def fails_there() -> Generator[Any, Any, None]:
    yield fails()


def fine() -> Generator[Any, Any, str]:
    yield
    return "fine"


def test_who_fails_with_a_very_long_text_is_heard(cluster: LocalCluster, caplog: pytest.LogCaptureFixture) -> None:
    """It goes into one message, of which the beginning and the end travel."""

    def called(client: Client) -> Generator[Any, Any, str]:
        try:
            yield (yield client.rtask(fine)).finish()
        except TaskAbandoned as error:
            return str(error)
        return "nothing failed"

    for options in ({"node_setup": fails_there}, {"server_setup": fails_there}):
        with caplog.at_level("ERROR", "parkcos"):
            caplog.clear()
            assert "nothing failed" not in with_client(called, components=[fails], **options)
        assert "it begins xxx" in caplog.text
        assert "it ends" in caplog.text
        assert len(caplog.text) < 200_000


def test_a_task_with_a_very_long_name(cluster: LocalCluster) -> None:
    def called(client: Client) -> Generator[Any, Any, str]:
        result = yield (yield client.options(name="n" * 10**5, timeout_s=1e305).rtask(fine)).finish()
        return str(result)

    assert with_client(called) == "fine"
    with pytest.raises(UsageError, match="at most 1000 characters"):
        Client(name="n" * 1001)
