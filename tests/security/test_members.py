"""What a member of the cluster, who has its secret and knows every number, can do to another one's work: nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos import Client, Parkcos
from parkcos.cluster import messages as m
from parkcos.cluster import schemas
from parkcos.net import wire
from parkcos.net.location import Location
from parkcos.net.payload import PICKLE
from parkcos.net.trust.claims import ClaimKey
from parkcos.net.trust.secret import ClusterKeys
from tests.live.lib import with_client
from tests.live.watched import at
from tests.net.cluster_of_networks import Cluster, Place
from tests.security.conftest import Site


def square(n: int) -> Generator[Any, Any, int]:
    yield
    return n * n


def tell(place: Place, location: Location, part: str, *messages: Any) -> None:
    """Say this to a process, and wait until it was handled."""
    place.run(lambda: (yield place.network.peer(location, 10.0)))
    peer = place.network.hub.book.by_location[location].itself
    for message in messages:
        peer.post(wire.Service(wire.EMPTY, PICKLE, False, part, schemas.encode(message)))
    place.run(lambda: (yield place.network.peer(location, 10.0)))


@pytest.mark.slow
def test_another_one_s_work_goes_on(site: Site, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    scheduler, scheduler_port = site.scheduler()
    stack.enter_context(scheduler)
    node, port = site.node(1)
    stack.enter_context(node)
    Parkcos(host="127.0.0.1", udp_port=site.udp - 1, secret_file=site.secret_file, discover_peers=False)
    stack.callback(Parkcos.instance().terminate)
    cluster = stack.enter_context(Cluster())
    keys = ClusterKeys.derive(site.secret)
    mallory = cluster.place("mallory", keys=keys)
    desktop = cluster.place("desktop", keys=keys, roles=("node",))
    node_at, scheduler_at = Location("127.0.0.1", port), Location("127.0.0.1", scheduler_port)

    def attack(client: Client) -> None:
        shell = client._shell
        (number,) = shell.machine.nodes
        (server,) = shell.machine.servers
        me = mallory.network.incarnation
        heard = shell.identity.claim(Parkcos.instance().network.incarnation)  # as nodes and schedulers hear it
        tell(
            mallory,
            node_at,
            "node",
            m.CloseNode(shell.id, True),
            m.CloseServer(shell.id, server, True, False),
            m.SetupNode(shell.id, 1),
            m.OpenSpace(shell.id, 1),
            m.CloseSpace(shell.id, 1),
            m.StartOwn(shell.id, 77),
            m.EndOwn(shell.id, 77, True),
            m.DropShared(shell.id, ["0" * 40]),
            m.ForwardOutput(shell.id),
            m.ReleaseNode(shell.id),
            m.ReserveNode(shell.id, "127.0.0.1", 1, me),
            m.ReturnToNode(shell.id, ClaimKey(b"m" * 32).claim(99, me)),
            m.ReturnToNode(shell.id, heard),
        )
        tell(
            mallory,
            scheduler_at,
            "scheduler",
            m.ClientLeaves(shell.id),
            m.WantNode(shell.id, number, 0),
            m.OfferAgain(shell.id),
            m.Enqueue(shell.id, "mallory", "3.11"),
            m.Enqueue(shell.id, "mallory", "3.11", ClaimKey(b"m" * 32).claim(99, me)),
            m.Enqueue(shell.id, "mallory", "3.11", heard),
        )
        info = client._nodes.infos[number]
        tell(desktop, scheduler_at, "scheduler", m.NodeState(info, 0), m.NodeAnswer(shell.id, False, "no"))
        own = Parkcos.instance().location
        for place, kinds in (
            (mallory, [m.NodeClosed(shell.id), m.Dismissed(shell.id, "go")]),
            (desktop, [m.NodeClosed(shell.id), m.ServerDown(shell.id, server, "it was killed", False, False)]),
            (desktop, [m.ServerUp(shell.id, 0, "127.0.0.1", 1, server), m.NodeFailed(shell.id, "it burns")]),
        ):
            tell(place, own, "client", *kinds)

    def body(client: Client) -> Generator[Any, Any, list[Any]]:
        before = yield client.map(square, range(3))
        yield parkcos.io(asyncio.to_thread(attack, client))
        after = yield client.map(square, range(3))
        assert client._shell.machine.nodes and client._shell.machine.servers
        return [*before, *after]

    identity = tmp_path / "me"
    assert with_client(body, [square], nodes=[at(port)], identity=identity) == [0, 1, 4, 0, 1, 4]
    node.wait_for("refused a claim to a client that it cannot prove from mallory")
    node.wait_for("refused the message CloseNode for a client that is another program's from mallory")
    assert len(node.find("is another program's")) == 9
    assert not node.find("serving -> closing.*mallory")
    scheduler.wait_for("it is the turn of")
