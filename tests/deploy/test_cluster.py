"""parkcos/deploy/cluster.py: the rules of all clusters, with nodes that are none; messages.py: what a node is told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from parkcos.deploy.cluster import Cluster, StartedNode
from parkcos.deploy.messages import Begin, Failed, Ready, line, read_begin, read_news
from parkcos.errors import ParkcosError, UsageError
from parkcos.net.location import Location
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import Certificate


class Side:
    """Notes what a cluster says to the client side of its program."""

    def __init__(self) -> None:
        self.contacts: list[Location] = []
        self.failures: dict[object, str] = {}
        self.said: list[str] = []

    def private_scheduler(self) -> None:
        self.said.append("scheduler")

    def add_contact(self, location: Location) -> None:
        self.contacts.append(location)

    def drop_contact(self, location: Location) -> None:
        if location in self.contacts:
            self.contacts.remove(location)

    def cluster_failed(self, cluster: object, reason: str) -> None:
        self.failures[cluster] = reason
        self.lose_cluster(reason)

    def lose_cluster(self, reason: str) -> None:
        self.said.append(reason)


class Node(StartedNode):
    """Starts and ends when a test says so; once closed, at once."""

    def _close(self) -> None:
        if not self.ended.done():
            self._is_gone("")


class Nodes(Cluster):
    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.all: list[Any] = []
        self.side = Side()
        self._side = self.side  # type: ignore[assignment]

    def _launch(self) -> StartedNode:
        self.all.append(Node(self._called))
        return self.all[-1]  # type: ignore[no-any-return]


def at(port: int) -> Location:
    return Location("10.0.0.1", port)


def begun(count: int) -> tuple[Nodes, Side]:
    """A cluster whose nodes listen at 1, 2, ..."""
    cluster = Nodes(count)
    cluster.start()
    for port, node in enumerate(cluster.all, start=1):
        node._listens(at(port))
    return cluster, cluster.side


def test_nodes_are_used_from_when_they_listen_until_they_are_closed() -> None:
    cluster, side = begun(2)
    assert side.said == ["scheduler"]
    assert side.contacts == [at(1), at(2)]
    late = cluster.start_node()
    assert side.contacts == [at(1), at(2)]
    cluster.close()
    assert side.contacts == []
    assert side.said == ["scheduler", "the Nodes was closed"]
    assert all(node.ended.result(0) == "the Nodes was closed" for node in cluster.all)
    with pytest.raises(ParkcosError, match="the Nodes was closed"):
        late.location.result(0)
    assert cluster.nodes == []
    cluster.close()
    assert len(side.said) == 2, "once"


def test_scale_starts_what_is_missing_and_closes_the_youngest() -> None:
    cluster, side = begun(1)
    cluster.scale(3)
    assert cluster.nodes == cluster.all
    assert len(cluster.all) == 3
    for port, node in enumerate(cluster.all[1:], start=2):
        node._listens(at(port))
    cluster.scale(3)
    assert len(cluster.all) == 3
    cluster.scale(1)
    assert cluster.nodes == cluster.all[:1]
    assert [node.ended.done() for node in cluster.all] == [False, True, True]
    assert side.contacts == [at(1)]
    cluster.all[0]._is_gone("it was killed")
    cluster.scale(2)
    assert cluster.nodes == cluster.all[3:], "who has ended is not counted"
    cluster.scale(0)
    assert cluster.nodes == []
    for wrong in (-1, 1.5, "2"):
        with pytest.raises(UsageError, match="give the number of nodes"):
            cluster.scale(wrong)  # type: ignore[arg-type]


def test_a_cluster_fails_with_its_last_node(caplog: pytest.LogCaptureFixture) -> None:
    cluster, side = begun(2)
    first, second = cluster.all
    first._is_gone("it was killed by signal 9")
    assert side.contacts == [at(2)]
    assert side.failures == {}, "the other one is there"
    assert "the node of the Nodes has ended: it was killed by signal 9" in caplog.text
    second._is_gone("its disk is full")
    assert side.failures == {cluster: "the node of the Nodes has ended: its disk is full"}
    third = cluster.start_node()
    assert side.failures == {}, "there is hope again"
    third._is_gone("no room")
    reason = "the node of the Nodes did not start: no room"
    assert side.failures == {cluster: reason}
    with pytest.raises(ParkcosError, match=reason):
        third.location.result(0)
    cluster.close()
    assert side.failures == {}


def test_what_cannot_be_started_leaves_no_other_node() -> None:
    class Second(Nodes):
        def _launch(self) -> StartedNode:
            if self.all:
                raise OSError("no process can be started")
            return super()._launch()

    cluster = Second(2)
    with pytest.raises(OSError, match="no process"):
        cluster.start()
    assert [node.ended.done() for node in cluster.all] == [True]
    assert cluster.nodes == []


def test_what_needs_a_cluster_that_was_started() -> None:
    cluster = Nodes(1)
    for call in (cluster.start_node, lambda: cluster.scale(1)):
        with pytest.raises(UsageError, match=r"the Nodes was not started\n  write: with Nodes"):
            call()
    cluster.start()
    with pytest.raises(UsageError, match="this Nodes has been started already"):
        cluster.start()
    cluster.close()


def test_a_foreign_event_loop_waits_for_all_nodes() -> None:
    async def main() -> None:
        cluster = Nodes(2)
        entering = asyncio.ensure_future(cluster.__aenter__())
        while len(cluster.all) < 2:
            await asyncio.sleep(0)
        cluster.all[0]._listens(at(1))
        cluster.all[1]._is_gone("no room")
        with pytest.raises(ParkcosError, match="did not start: no room"):
            await entering
        assert cluster.nodes == [], "nobody would close the others"

    asyncio.run(main())


def test_what_program_and_node_say_survives_the_way() -> None:
    keys = ClusterKeys(b"\0" * 32, b"\xff" * 32, name="k")
    begin = Begin("local\n", 2, keys, 7, Certificate(b"\n", b"\0", 1.5), False, 1 << 30)
    for message, read in ((begin, read_begin), (Ready(9706), read_news), (Failed("a\nb \u2028"), read_news)):
        sent = line(message)  # type: ignore[arg-type]
        assert sent.endswith(b"\n") and sent.count(b"\n") == 1
        assert read(sent) == message  # type: ignore[operator]
    for wrong in (b"\n", b"{}\n", b'{"type": "Ready"}\n', b'{"type": "Ready", "port": "1"}\n', b'{"port": 1}\n'):
        with pytest.raises(msgspec.MsgspecError):
            read_news(wrong)
