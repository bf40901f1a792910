"""parkcos/scheduler/service.py: who may say what, what goes into the journal and when, whom it dials."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos.cluster import messages as m
from parkcos.cluster.message import Message
from parkcos.net.location import Location
from parkcos.scheduler import service as services
from parkcos.scheduler import state as st
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

    def write(self, entries: Entries) -> bool:
        written = super().write(entries)
        self.given.add(entries)
        return written


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
    occupied(journal)
    journal.write(Entries(nodes=["10.0.0.1:9706"]))
    assert "cannot be written" in caplog.text
    shutil.rmtree(journal.path)
    journal.write(Entries(nodes=["10.0.0.1:9706"]))
    assert journal.read().locations() == [Location("10.0.0.1", 9706)]
    journal.write(Entries(nodes=["10.0.0.1:9706", "no place", "10.0.0.1:70000"]))
    assert Journal(tmp_path / "j").read().locations() == [Location("10.0.0.1", 9706)]
    assert "cannot be looked for" in caplog.text


def occupied(journal: Journal) -> None:
    """Something else has its name, and does not give way."""
    journal.path.unlink(missing_ok=True)
    journal.path.mkdir()
    (journal.path / "full").touch()


def folder_removed(journal: Journal) -> None:
    shutil.rmtree(journal.path.parent)


def folder_replaced(journal: Journal) -> None:
    shutil.rmtree(journal.path.parent)
    journal.path.parent.write_text("something else")


@pytest.mark.parametrize("trouble", [occupied, folder_removed, folder_replaced])
def test_a_scheduler_without_its_journal_serves_and_writes_it_when_it_can(
    scheduler: Driven,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Journal], None],
) -> None:
    monkeypatch.setattr(services, "NOTE_AGAIN_S", 0.01)
    caplog.set_level(logging.INFO, "parkcos")
    journal = scheduler.journal
    scheduler.says(scheduler.own, m.Enqueue(7, "seven", "3.11"))
    trouble(journal)
    scheduler.says(scheduler.own, m.Enqueue(8, "eight", "3.11"))
    assert list(scheduler.service.machine.queue) == [7, 8]
    if trouble is not folder_removed:  # which is made again
        count = len(journal.given.items)
        journal.given.wait(lambda all: len(all) >= count + 3)
        assert len([line for line in caplog.messages if "cannot be written, which is tried again" in line]) == 1
        if trouble is folder_replaced:
            journal.path.parent.unlink()
        else:
            shutil.rmtree(journal.path)
        journal.given.wait(lambda _: "is written again" in caplog.text)
    assert [client.client for client in journal.read().clients] == [7, 8]
    assert scheduler.service._noting is None or trouble is not folder_removed


def test_a_process_has_so_many_clients_in_the_queue(scheduler: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "CLIENTS_MAX", 2)
    heard: list[Any] = []
    scheduler.service.box.serve("client", lambda process, message, form, payload: heard.append(message))
    scheduler.says(scheduler.own, *(m.Enqueue(number, "x", "3.11") for number in (1, 2, 3, 2)))
    scheduler.says(scheduler.own)
    assert list(scheduler.service.machine.queue) == [1, 2]
    assert [message.client for message in heard if isinstance(message, m.Dismissed)] == [3]
    scheduler.says(scheduler.own, m.ClientLeaves(1), m.Enqueue(3, "x", "3.11"))
    assert list(scheduler.service.machine.queue) == [2, 3]


def test_a_message_that_the_machine_refuses_harms_no_other(
    scheduler: Driven, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the machine had ordered by then is carried out, its timer is set, and the log says so once."""
    machine, service, own = scheduler.service.machine, scheduler.service, scheduler.own
    heard = Changes()
    service.box.serve("client", lambda process, message, form, payload: heard.add(message))

    def breaks(machine: Any, event: st.ClientWantsAgain, now: float) -> Iterator[st.Effect]:
        machine.queue[event.client].absent_until = now + 3600.0
        machine._absent += 1
        yield st.ToClient(own, m.Scheduled(event.client))
        raise RuntimeError("this cannot be")

    monkeypatch.setitem(st.SchedulerMachine._HANDLERS, st.ClientWantsAgain, breaks)
    scheduler.says(own, m.Enqueue(7, "seven", "3.11"))
    heard.wait(lambda all: m.Scheduled(7) in all)
    before = len(heard.items)
    for message in (m.OfferAgain(7), m.OfferAgain(7), m.Enqueue(8, "eight", "3.11")):
        service.box.send(own, "scheduler", message)
    said = heard.wait(lambda all: any(isinstance(each, m.Queued) and each.client == 8 for each in all))
    assert said[before:][:2] == [m.Scheduled(7), m.Scheduled(7)]
    assert list(machine.queue) == [7, 8]
    assert service._timer._deadline == machine.next_deadline() is not None
    refused = [record for record in caplog.records if "cannot be handled, and is refused" in record.getMessage()]
    assert [record.getMessage() for record in refused] == [
        "a OfferAgain of this process for the scheduler cannot be handled, and is refused (not logged again)"
    ]
    assert refused[0].exc_info is not None
