"""Names of hosts that tasks write: other tasks run while a name server is asked, and an unknown name is named."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

import parkcos
from parkcos import Client, ConfigError, Location, NodeAllocate, Scheduler, Task
from parkcos.client.side import ClientSide
from tests.live.lib import LIMIT_S, me, run, with_client
from tests.live.watched import at
from tests.resolver import HOST, NOBODY, Resolver

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("shared_node")]

Gen = Generator[Any, Any, Any]
Use = Callable[[str, int], Gen]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    return Resolver(monkeypatch)


def square(n: int) -> Gen:
    yield
    return n * n


def four(client: Client) -> Gen:
    return (yield (yield client.rtask(square, 2)).result())


def scheduled(client: Client) -> Gen:
    """What the client computes at its nodes."""
    assert (yield client.schedule(timeout=LIMIT_S)) == 0
    try:
        return (yield four(client))
    finally:
        yield client.close()


def name_and_port(host: str, port: int) -> Gen:
    return (yield scheduled(Client(nodes=[f"{host}:{port}"])))


def node_allocate(host: str, port: int) -> Gen:
    return (yield scheduled(Client(nodes=[NodeAllocate(host, port)])))


def several(host: str, port: int) -> Gen:
    """They are asked for at once."""
    return (yield scheduled(Client(nodes=[NodeAllocate(host, port), NodeAllocate(host, port, cpus=1)])))


def allocated_later(host: str, port: int) -> Gen:
    client = Client(nodes=[at(port, use=False)])
    assert (yield client.schedule(timeout=LIMIT_S)) == 0
    client.node_allocate(NodeAllocate(host, port))
    try:
        return (yield four(client))
    finally:
        yield client.close()


def at_a_node(host: str, port: int) -> Gen:
    client = Client(nodes=[at(port)])
    assert (yield client.schedule(timeout=LIMIT_S)) == 0
    try:
        assert (yield client.wait_for_servers(timeout=LIMIT_S))
        return (yield (yield client.rtask_at(Location(host, port), square, 2)).result())
    finally:
        yield client.close()


def tasks_at_a_node(host: str, port: int) -> Gen:
    client = Client(nodes=[at(port)])
    assert (yield client.schedule(timeout=LIMIT_S)) == 0
    try:
        assert (yield client.wait_for_servers(timeout=LIMIT_S))
        return 4 + len((yield client.tasks(Location(host, port))))
    finally:
        yield client.close()


def at_a_scheduler(host: str, port: int) -> Gen:
    """There is a node and no scheduler, which is told when the address is known."""
    with pytest.raises(parkcos.ScheduleError, match="is no scheduler"):
        yield Client().schedule(Location(host, port), timeout=LIMIT_S)
    return 4


USES = [name_and_port, node_allocate, several, allocated_later, at_a_node, tasks_at_a_node, at_a_scheduler]


def asked(resolver: Resolver) -> Gen:
    """To be yielded: returns when the resolver has been asked."""
    while not resolver.asked.is_set():
        yield me().sleep(0.005)


@pytest.mark.parametrize("use", USES)
def test_tasks_run_while_a_dead_name_server_is_asked(resolver: Resolver, port: int, use: Use) -> None:
    def main() -> Gen:
        uses = Task(use, HOST, port)
        yield asked(resolver)
        resolver.answers.set()  # while it is dead, this task runs
        return (yield uses.result())

    assert run(main) == 4


@pytest.mark.parametrize("use", [at_a_node, tasks_at_a_node, at_a_scheduler])
def test_a_name_that_is_unknown_is_named(resolver: Resolver, port: int, use: Use) -> None:
    resolver.answers.set()
    with pytest.raises(ConfigError, match=f"'{NOBODY}' cannot be resolved.*give the IP address"):
        run(use, NOBODY, port)


@pytest.mark.parametrize("use", [name_and_port, allocated_later])
def test_a_name_that_only_a_node_may_know_is_warned_of(
    resolver: Resolver, port: int, use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    def main() -> Gen:
        uses = Task(use, NOBODY, port)
        while f"'{NOBODY}' cannot be resolved" not in caplog.text:
            yield me().sleep(0.005)
        uses.terminate()
        yield uses.finish()

    resolver.answers.set()
    run(main)
    assert f"parkcosnode.py -n {NOBODY}" in caplog.text


@pytest.mark.parametrize("where", ["nodes", "host", "location"])
def test_the_time_limit_of_schedule_holds_for_the_name_server_too(resolver: Resolver, port: int, where: str) -> None:
    def main() -> Gen:
        client = Client(nodes=[f"{HOST}:{port}"] if where == "nodes" else [])
        location = {"nodes": None, "host": HOST, "location": Location(HOST, port)}[where]
        assert (yield client.schedule(location, timeout=0.01)) == -1

    run(main)
    assert resolver.asked.is_set()
    resolver.answers.set()


def test_nodes_of_a_scheduler_are_dialled_when_they_are_known(
    resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    there = Location("127.0.0.1", 9706)

    def main() -> Gen:
        Scheduler(nodes=[HOST, NOBODY])
        scheduler = ClientSide.of(parkcos.Parkcos.instance().network).private_scheduler()
        yield asked(resolver)
        assert there not in scheduler.contacts
        resolver.answers.set()
        while there not in scheduler.contacts or f"'{NOBODY}' cannot be resolved" not in caplog.text:
            yield me().sleep(0.005)
        scheduler.drop_contact(there)

    run(main)


def test_what_is_told_to_a_node_asks_no_name_server(resolver: Resolver, port: int) -> None:
    def body(client: Client) -> Gen:
        yield client.wait_for_servers(timeout=LIMIT_S)
        with pytest.raises(parkcos.ScheduleError, match=f"no server or node at {HOST}:{port}"):
            client.suspend_node(Location(HOST, port))

    with_client(body, nodes=[at(port)])
    assert not resolver.asked.is_set()
