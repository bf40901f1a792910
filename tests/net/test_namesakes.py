"""parkcos/net/finding/namesakes.py, network.py: who announce one address are named, and tried where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parkcos.net.finding.datagram import Announce
from parkcos.net.finding.namesakes import AT_ONE_MAX, Namesakes
from tests.net.cluster_of_networks import Changes, Cluster, Log
from tests.ports import free_ports


def announce(incarnation: int, name: str = "one", addr: str = "10.0.2.15", port: int = 9706, **more: Any) -> Announce:
    return Announce(addr, port, incarnation, name, **{"roles": ("node",), "version": 1, "reply": False, **more})


def test_two_that_announce_one_address_are_named_once() -> None:
    namesakes = Namesakes()
    assert namesakes.heard(announce(1, "one"), "192.168.1.7") == ""
    assert namesakes.heard(announce(2, "two"), "192.168.1.8") == "", "the first may have been restarted"
    words = namesakes.heard(announce(1, "one"), "192.168.1.7")
    assert (
        "two (heard from 192.168.1.8) and one (heard from 192.168.1.7) both announce the address 10.0.2.15:9706"
        in words
    )
    assert "-i ADDRESS" in words
    assert namesakes.heard(announce(2, "two"), "192.168.1.8") == "", "it was said"
    assert namesakes.heard(announce(3), "10.0.2.15") == namesakes.heard(announce(4), "10.0.2.15") == ""


def test_who_is_restarted_again_and_again_is_one() -> None:
    namesakes = Namesakes()
    for incarnation in range(1, 5 * AT_ONE_MAX):
        for _ in range(3):
            assert namesakes.heard(announce(incarnation), "10.0.2.15") == ""


def test_one_that_is_heard_in_two_networks_is_one() -> None:
    namesakes = Namesakes()
    for source in ("10.0.2.15", "192.168.1.7") * 3:
        assert namesakes.heard(announce(1), source) == ""
    assert namesakes.heard(announce(2, port=9800), "10.0.2.15") == "", "another port is another address"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


@pytest.mark.live
def test_each_is_reached_where_its_datagrams_come_from(cluster: Cluster) -> None:
    """As two machines whose datagrams have passed a gateway: what they announce is nowhere, or is another's."""
    here = cluster.place("here", dial_roles={"node"})
    (port,) = free_ports(1)
    others = [
        cluster.place(name, host=host, ext_host="127.0.0.99", tcp_ports=(port,), roles=("node",))
        for name, host in (("one", "127.0.0.2"), ("two", "127.0.0.3"))
    ]
    up = Changes()
    here.network.hub.callbacks.up.append(lambda peer: up.add(peer.incarnation))
    with Log() as log:
        for other in others * 2:
            own = other.network
            said = announce(own.incarnation, own.name, "127.0.0.99", port)
            here.io.call(here.network._heard, said, (own.own.addr, 1))
        up.wait(lambda items: set(items) == {other.network.incarnation for other in others})
        log.wait_for(
            "one (heard from 127.0.0.2)", "two (heard from 127.0.0.3)", f"both announce the address 127.0.0.99:{port}"
        )
    assert all(map(here.is_connected_to, others))
