"""parkcos/httpd/acting.py: what a person does at a dashboard, what is then shown, and what is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from parkcos.client import dispatch_events as d
from parkcos.cluster.node_info import NodeInfo
from parkcos.httpd.acting import Refused
from parkcos.httpd.watch import CALLS_FROM
from tests.httpd.watched import N, Watched, watching


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    with watching() as make:
        yield make


def test_a_node_is_suspended_resumed_and_closed(watched: Callable[..., Watched]) -> None:
    it = watched(servers=2)
    it.actions.node(N, "kiln", "suspend", False)
    assert (it.node(), it.servers()) == ("suspended", ["suspended"] * 2)
    it.actions.node(N, "kiln", "resume", False)
    assert (it.node(), it.servers()) == ("running", ["running"] * 2)
    it.actions.node(N, "kiln", "close", True)
    assert (it.node(), it.servers()) == ("closing", ["closing"] * 2)
    assert it.orders(d.CloseNode) == [d.CloseNode(N, True)]
    for what in ("suspend", "resume", "close", "restart"):
        with pytest.raises(Refused, match=f"{what}: the node kiln is being closed already"):
            it.actions.node(N, "kiln", what, False)
    it.happens(d.NodeHasClosed(N))
    with pytest.raises(Refused, match="close: the node kiln is not in use any more"):
        it.actions.node(N, "kiln", "close", False)


def test_a_node_is_restarted_once_it_has_been_set_up(watched: Callable[..., Watched]) -> None:
    it = watched()
    it.happens(d.Offered(NodeInfo(N, "kiln", "10.0.0.1", 9706, 8, "Linux", "3.11", "0"), 1))
    with pytest.raises(Refused, match="restart: the node kiln has not been set up yet"):
        it.actions.node(N, "kiln", "restart", False)
    it.happens(d.Granted(N), d.NodeIsReady(N))
    it.actions.node(N, "kiln", "restart", False)
    assert it.orders(d.CloseNode) == [d.CloseNode(N, False, keep=True)]


def test_a_server_is_suspended_resumed_and_restarted(watched: Callable[..., Watched]) -> None:
    it = watched(servers=2)
    it.actions.server(N + 1, "kiln/1", "suspend", False)
    assert (it.node(), it.servers()) == ("running", ["suspended", "running"])
    it.actions.server(N + 1, "kiln/1", "resume", False)
    assert it.servers() == ["running", "running"]
    it.actions.server(N + 1, "kiln/1", "restart", False)
    assert it.servers() == ["closing", "running"]
    assert it.orders(d.CloseServer) == [d.CloseServer(N, N + 1, False, True)]


def test_a_server_that_is_closing_can_be_told_to_hurry(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.submit(1)
    it.happens(d.Started(1))
    it.actions.server(N + 1, "kiln/1", "close", False)
    assert it.servers() == ["closing"]
    for what, terminate in (("close", False), ("restart", False), ("suspend", True), ("resume", False)):
        with pytest.raises(Refused, match=f"{what}: the server kiln/1 is being closed already; with terminate"):
            it.actions.server(N + 1, "kiln/1", what, terminate)
    it.actions.server(N + 1, "kiln/1", "close", True)
    assert it.orders(d.CloseServer)[-1] == d.CloseServer(N, N + 1, True, False)
    it.happens(d.ServerIsDown(N + 1, "it was asked to end", False, True), d.ProcessLost(N + 1, "it has ended"))
    with pytest.raises(Refused, match="close: the server kiln/1 has ended"):
        it.actions.server(N + 1, "kiln/1", "close", True)


def test_a_server_that_is_set_up_cannot_be_resumed(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.happens(d.ServerIsUp(N, N + 2, "10.0.0.1", 9708, 2))
    with pytest.raises(Refused, match="resume: the server kiln/2 is still being set up"):
        it.actions.server(N + 2, "kiln/2", "resume", False)
    it.actions.server(N + 2, "kiln/2", "restart", True)  # its server_setup may hang
    assert it.orders(d.CloseServer) == [d.CloseServer(N, N + 2, True, True)]


def test_tasks_are_ended_wherever_they_are(watched: Callable[..., Watched]) -> None:
    """One runs, one waits, one is on its way to its server; one is not known: this is given back as missed."""
    it = watched(servers=2)
    it.submit(1, want_server=N + 1)
    it.happens(d.Started(1))
    it.submit(2, want_server=N + 1)
    it.submit(3, want_server=N + 2)
    assert it.actions.terminate([1, 2, 3, 4]) == [4]
    assert it.orders(d.EndTask) == [d.EndTask(1, N + 1)]
    assert it.orders(d.Recall) == [d.Recall(3, N + 2)]
    assert (it.task(2).state, it.task(3).state) == ("cancelled", "queued")
    it.happens(d.Recalled(3, True))
    assert [it.task(number).error for number in (2, 3)] == ["it was terminated from the dashboard"] * 2


def test_one_call_ends_its_chunk(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.submit(1, calls=[(2,), (3,)])
    it.happens(d.Started(1))
    assert it.actions.terminate([CALLS_FROM]) == []
    assert it.orders(d.EndTask) == [d.EndTask(1, N + 1)]


def test_a_client_that_does_not_run_can_be_told_nothing(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    before = len(it.client.orders)
    it.stop()
    for action in (
        lambda: it.actions.node(N, "kiln", "close", True),
        lambda: it.actions.server(N + 1, "kiln/1", "close", True),
        lambda: it.actions.terminate([1]),
    ):
        with pytest.raises(Refused, match=r"the client test\.py is closed, and runs nothing"):
            action()
    assert len(it.client.orders) == before
