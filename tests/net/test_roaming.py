"""parkcos/net/roaming.py where addresses are this machine's own; those of real networks are in tests/netns."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from parkcos.errors import ConfigError
from parkcos.net import roaming
from parkcos.net.finding import discovery
from parkcos.net.finding.addresses import Interface, OwnAddress
from parkcos.net.location import Location
from tests.net.cluster_of_networks import Cluster, Log, Place
from tests.ports import free_ports

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="needs a 127.0.0.2")


def address(addr: str) -> OwnAddress:
    return OwnAddress(addr, (Interface("lo", addr),), addr, loopback_only=False)


@pytest.fixture
def log() -> Iterator[Log]:
    with Log(level=10) as made:
        yield made


def test_a_system_that_tells_nothing_is_asked_until_the_address_can_be_had(
    cluster: Cluster, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | Exception] = ["127.0.0.1"]

    def own_addresses(host: object, kept: str) -> list[OwnAddress]:
        if isinstance(found[0], Exception):
            raise found[0]
        return [address(found[0])]

    def refuses() -> socket.socket:
        raise PermissionError("not here")

    monkeypatch.setattr(roaming, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(roaming, "_listening", refuses)
    monkeypatch.setattr(roaming, "own_addresses", own_addresses)
    one = cluster.place("one", addresses=[address("127.0.0.1")], say_address=True)
    other = cluster.place("other")
    other.connect(one)
    port = one.location.port
    found[0] = ConfigError("eth9 is on fire")
    log.wait_for("one: its address has changed, and cannot be followed: eth9 is on fire")
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", port))
        found[0] = "127.0.0.2"
        log.wait_for(f"cannot listen at 127.0.0.2 port {port}: Address already in use")
        assert one.network.location == Location("127.0.0.1", port)
    log.wait_for("one: its address can be followed again")
    log.wait_for("one: this machine's network has changed: the address is 127.0.0.2 now")
    third = cluster.place("third")

    def connects() -> object:
        return (yield third.network.peer(Location("127.0.0.2", port)))

    assert third.run(connects) == 0
    assert third.reference(one.network.location) == Location("127.0.0.2", port)
    assert other.is_connected_to(one), "it is reached where it was, which is still this machine"


def test_an_address_that_is_announced_later_than_it_is_there(
    cluster: Cluster, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a new IPv6 address, which nothing can be bound to while the system makes sure that nobody else has it."""
    found = ["127.0.0.1"]
    failures = [OSError(99, "Cannot assign requested address")] * 2
    bound = discovery.bound_socket

    def bound_socket(family: int, addr: str, port: int, *, shared: bool) -> socket.socket:
        if addr == "127.0.0.2" and failures:
            raise failures.pop()
        return bound(family, addr, port, shared=shared)

    monkeypatch.setattr(roaming, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(discovery, "bound_socket", bound_socket)
    monkeypatch.setattr(roaming, "own_addresses", lambda host, kept: [address(found[0])])
    (udp_port,) = free_ports(1)
    heard = {"discover": True, "udp_port": udp_port, "target_udp_ports": [udp_port]}
    one = cluster.place("one", addresses=[address("127.0.0.1")], say_address=True, **heard)
    found[0] = "127.0.0.2"
    one.io.run(_news(one)).result(10)
    log.wait_for("one: its address has changed, and cannot be followed: no UDP socket can be bound to 127.0.0.2")
    log.wait_for("one: its address can be followed again")
    assert not failures
    assert all(each.private_port for each in one.network.discoveries), "it is announced"


async def _news(place: Place) -> None:
    place.network._roaming._news.set()
