"""parkcos/scheduler/service.py: who may say what, what goes into the journal and when, whom it dials."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos.cluster import messages as m
from parkcos.cluster.message import Message
from parkcos.net.location import Location
from parkcos.scheduler import service as services
from parkcos.scheduler.journal import Entries, Journal
from parkcos.scheduler.service import SchedulerService
from tests.net.cluster_of_networks import WAIT_S, Changes, Place
from tests.scheduler.test_state import info

NODES = 1_000


class Noted(Journal):
    """A journal that counts how often it is given something."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.given = Changes()

    def write(self, entries: Entries) -> None:
        super().write(entries)
        self.given.add(entries)


class Driven:
    """A scheduler whose messages come from a test, with the client A of its own process."""

    def __init__(self, folder: Path) -> None:
        self.place = Place("scheduler")
        self.journal = Noted(folder)
        self.service = SchedulerService(self.place.network, journal=self.journal)
        self.own = self.place.network.incarnation
        self.service.box.serve("client", lambda *_: None)

    def says(self, process: int, *messages: Message) -> None:
        """All of it has been handled when this returns."""

        async def receive() -> None:
            for message in messages:
                self.service._received(process, message, 0, b"")

        self.place.io.run(receive()).result(WAIT_S)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Driven]:
    driven = Driven(tmp_path / "journal")
    yield driven
    driven.place.close()


def test_a_node_that_reports_again_costs_no_look_at_the_others(scheduler: Driven) -> None:
    """Nodes come together, and are noted together; what they have to spare changes all the time, and is not noted."""
    for node in range(1, NODES + 1):
        scheduler.says(node, m.NodeState(info(node), 0))
    noted = scheduler.journal.given.wait(lambda all: bool(all) and len(all[-1].nodes) == NODES)
    count = len(noted)
    scheduler.service._note = lambda: pytest.fail("nothing has changed")  # type: ignore[method-assign]
    for node in range(1, NODES + 1):
        scheduler.says(node, m.NodeState(info(node), 0))
    assert scheduler.service._noting is None
    assert len(scheduler.journal.given.items) == count
    assert count < NODES / 2


def test_the_queue_is_noted_before_anybody_is_told_the_next_thing(scheduler: Driven) -> None:
    scheduler.says(scheduler.own, m.Enqueue(7, "seven", "3.11"))
    assert [client.client for client in scheduler.journal.read().clients] == [7]
    scheduler.says(scheduler.own, m.Enqueue(8, "eight", "3.11"))
    assert [client.client for client in scheduler.journal.read().clients] == [7, 8]
    scheduler.says(scheduler.own, m.ClientLeaves(7))
    assert [client.client for client in scheduler.journal.read().clients] == [8]


def test_whose_turn_it_is_and_was_is_logged(scheduler: Driven, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "parkcos")
    addr = scheduler.place.network.location.addr
    scheduler.says(scheduler.own, m.Enqueue(7, "seven\x1b", "3.11"), m.Enqueue(8, "eight", "3.11"))
    scheduler.says(scheduler.own, m.ClientLeaves(7))
    assert [line for line in caplog.messages if "turn" in line] == [
        f"scheduler: it is the turn of seven? at {addr}",
        f"scheduler: the turn of seven? at {addr} is over, 1 wait",
        f"scheduler: it is the turn of eight at {addr}",
    ]


def test_each_speaks_for_itself_alone(scheduler: Driven) -> None:
    machine, own, stranger = scheduler.service.machine, scheduler.own, 99
    scheduler.says(stranger, m.NodeState(info(5), 0))
    assert not machine.nodes, "another one's node"
    scheduler.says(5, m.NodeState(info(5), 0))
    scheduler.says(own, m.Enqueue(7, "seven", "3.11"))
    before = machine.nodes[5].state
    scheduler.says(stranger, m.WantNode(7, 5, 1), m.OfferAgain(7), m.ClientLeaves(7))
    assert list(machine.queue) == [7]
    assert machine.nodes[5].state == before
    scheduler.says(own, m.WantNode(7, 5, 1), m.ClientLeaves(7))
    assert not machine.queue


def test_what_a_client_names_is_dialled_while_it_is_there(scheduler: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "CONTACTS_MAX", 3)
    with_ports: list[Any] = [m.Contact("127.0.0.1", port) for port in range(1, 6)]
    gone = Changes()
    client = Place("client")
    try:
        client.connect(scheduler.place)
        scheduler.service.start()
        scheduler.says(client.network.incarnation, *with_ports)
        assert [at.port for at, _ in scheduler.service.not_reached()] == [1, 2, 3]
        scheduler.place.network.hub.callbacks.gone.append(lambda peer, _: gone.add(peer.incarnation))
    finally:
        client.close()
    gone.wait(lambda all: client.network.incarnation in all)
    assert scheduler.service.not_reached() == []


def test_a_journal_that_cannot_be_written_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path / "j")
    blocking = journal.path.with_suffix(".new")
    blocking.mkdir()
    journal.write(Entries(nodes=["10.0.0.1:9706"]))
    assert "cannot be written" in caplog.text
    blocking.rmdir()
    journal.write(Entries(nodes=["10.0.0.1:9706"]))
    assert journal.read().locations() == [Location("10.0.0.1", 9706)]
    journal.write(Entries(nodes=["10.0.0.1:9706", "no place", "10.0.0.1:70000"]))
    assert Journal(tmp_path / "j").read().locations() == [Location("10.0.0.1", 9706)]
    assert "cannot be looked for" in caplog.text
