"""parkcos/scheduler: a queue that is taken up, nodes that are offered again, clients that run nothing; the journal."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parkcos.cluster import messages as m
from parkcos.errors import ConfigError
from parkcos.scheduler.console import status_text
from parkcos.scheduler.journal import Entries, Journal
from parkcos.scheduler.state import ABSENT_S, HELD, RESERVING, TAKEN, UNWANTED, ClientRecord
from parkcos.scheduler.state_events import (
    ClientLeft,
    ClientWanted,
    ClientWantsAgain,
    NodeAnswered,
    NodeReported,
    TimePassed,
    ToNode,
)
from tests.scheduler.test_state import A, B, C, Driven, M, N, asked, held, info, reserve, to


def restored(*clients: int, now: float = 0.0) -> Driven:
    """A scheduler that was started again, in whose queue these were."""
    before = Driven(*[asked(client) for client in clients])
    after = Driven()
    after.machine.restore(copy.deepcopy(list(before.machine.queue.values())), now)
    after.machine.check()
    return after


def test_clients_come_back_to_their_places() -> None:
    s = restored(A, B)
    assert s(NodeReported(info(N), A)) == [], "a node that serves it as before"
    assert s(NodeReported(info(M), 0)) == [], "a free one waits for whose turn it is"
    assert s(asked(C)) == [to(C, m.Queued(C, 2))], "a new one is behind them"
    assert s(asked(B)) == [to(B, m.Queued(B, 1))]
    assert s(asked(A)) == [to(A, m.Queued(A, 0)), to(A, m.Scheduled(A)), to(A, m.NodeOffer(A, info(M)))]
    assert s(asked(A)) == [], "it is back"
    assert s.machine.queue_changes == 3
    assert s.machine.next_deadline() is None
    assert s(ClientLeft(A))[0] == ToNode(N, m.ReleaseNode(A)), "the node that it has had all the time"


def test_a_client_comes_back_from_another_address() -> None:
    s = restored(A)
    s(asked(A, addr="10.9.9.9"))
    s(NodeReported(info(N), 0))
    (reserve,) = s(ClientWanted(A, N, 1))
    assert reserve.message.client_addr == "10.9.9.9"


def test_another_process_cannot_come_back_in_the_place_of_a_client() -> None:
    s = restored(A)
    assert s(asked(A, process=77)) == []
    assert s(NodeReported(info(N), 0)) == []
    assert s(asked(A))[-1] == to(A, m.NodeOffer(A, info(N)))


def test_a_node_that_is_free_again_before_its_client_has_come_back_is_offered_to_it() -> None:
    """The client wants it again, but cannot say so before it has found the scheduler."""
    s = restored(A)
    s(NodeReported(info(N), A))
    assert s(NodeReported(info(N), 0)) == []
    assert s(asked(A))[-1] == to(A, m.NodeOffer(A, info(N)))
    s = restored(A)
    s(NodeReported(info(N), A))
    s(NodeReported(info(N), 0, idle=A))
    assert not s.machine.queue, "it has run nothing there, and so lost its turn"


def test_who_does_not_come_back_in_time_has_lost_its_place() -> None:
    s = restored(A, B, now=100.0)
    s(asked(B), 101.0)
    s(NodeReported(info(N), A), 101.0)
    assert s.machine.next_deadline() == 100.0 + ABSENT_S
    assert s(TimePassed(), 100.0 + ABSENT_S - 1) == []
    assert s(TimePassed(), 100.0 + ABSENT_S) == [ToNode(N, m.ReleaseNode(A)), to(B, m.Scheduled(B))]
    assert s(asked(A)) == [to(A, m.Queued(A, 1))], "as any other"


def test_nobody_comes_back() -> None:
    s = restored(A, B, C)
    s(NodeReported(info(N), 0))
    assert s(TimePassed(), ABSENT_S) == []
    assert s(asked(4))[1:] == [to(4, m.Scheduled(4)), to(4, m.NodeOffer(4, info(N)))]


def test_a_node_that_was_refused_is_offered_again_when_it_has_more() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A), ClientWanted(A, N, 0))
    assert s.state(N) == UNWANTED
    more = msgspec.structs.replace(info(N), memory=10)
    assert s(NodeReported(more, 0)) == [to(A, m.NodeOffer(A, more))]
    s(ClientWanted(A, N, 0))
    assert s(NodeReported(more, 0)) == [], "nothing has changed"
    assert s(ClientWanted(A, N, 4)) == [reserve(N, A)], "the client thinks better of it"
    assert s(NodeReported(msgspec.structs.replace(info(N), memory=20), 0)) == [], "it is asked already"
    assert s.state(N) == RESERVING


def test_what_was_refused_is_offered_again_when_the_client_wants_other_things() -> None:
    s = Driven(NodeReported(info(N), 0), NodeReported(info(M), 0), asked(A), asked(B))
    s(ClientWanted(A, N, 0))
    assert s(ClientWantsAgain(B)) == [], "it is not its turn"
    assert s(ClientWantsAgain(A)) == [to(A, m.NodeOffer(A, info(N)))]


def test_a_node_that_its_client_closed_can_be_had_again() -> None:
    s = held()
    s(NodeReported(info(N), 0))
    assert s.state(N) == UNWANTED
    assert s(ClientWantsAgain(A)) == [to(A, m.NodeOffer(A, info(N)))]


def test_a_client_wants_a_node_again_that_has_not_let_it_go_yet() -> None:
    s = held()
    assert s(ClientWanted(A, N, 4)) == []
    assert s.state(N) == HELD
    assert s(NodeReported(info(N), 0)) == [reserve(N, A)]
    assert s.state(N) == RESERVING
    s(NodeAnswered(N, A, True, ""))
    assert s(NodeReported(info(N), 0)) == [], "once"
    assert s.state(N) == UNWANTED


def test_a_client_that_runs_nothing_loses_its_turn_with_its_last_node() -> None:
    s = held(asked(B))
    s.machine.zombie_period_s = 60.0
    s(NodeReported(info(M), 0))
    s(ClientWanted(A, M, 1))
    assert s(NodeReported(info(N), 0, idle=A)) == [], "it has another one"
    s = held(NodeReported(info(M), 5), asked(B))
    dismissed, *rest = s(NodeReported(info(N), 0, idle=A))
    assert isinstance(dismissed.message, m.Dismissed)
    assert "none of its tasks has run for the zombie period" in dismissed.message.reason
    assert rest == [
        to(B, m.Scheduled(B)), to(B, m.NodeOffer(B, info(N))), to(B, m.NodeUnusable(B, info(M), TAKEN))
    ]  # fmt: skip
    assert s(ClientLeft(A)) == []


def test_the_zombie_period_travels_to_the_nodes() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A))
    s.machine.zombie_period_s = 60.0
    (effect,) = s(ClientWanted(A, N, 4))
    assert effect.message.zombie_period_s == 60.0


def test_the_journal_gives_back_what_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "scheduler-1")
    assert journal.read() == Entries()
    clients = [ClientRecord(A, 10, "10.0.0.1", 5000, "é", "3.11"), ClientRecord(B, 20, "::1", 1, "b", "3.11", 5.0)]
    journal.write(Entries(clients, ["10.0.0.1:9706"]))
    assert Journal(journal.path.parent).read() == Entries(clients, ["10.0.0.1:9706"])
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.end()
    assert journal.path.exists(), "somebody is in the queue"
    journal.write(Entries([], ["10.0.0.1:9706"]))
    journal.end()
    assert not (tmp_path / "a").exists()


def test_folders_that_it_has_not_made_stay(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Journal(tmp_path / "a" / "scheduler-1").end()
    assert list((tmp_path / "a").iterdir()) == []
    killed = Journal(tmp_path / "b" / "scheduler-1")
    killed.write(Entries([], ["10.0.0.1:9706"]))
    again = Journal(killed.path.parent)
    assert again.read() == Entries([], ["10.0.0.1:9706"])
    again.end()
    assert not (tmp_path / "b").exists(), "an earlier run had made them"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"clients": [{"client": "x"}]}', b"\xff\x00"])
def test_a_journal_that_is_none(tmp_path: Path, content: bytes, caplog: Any) -> None:
    journal = Journal(tmp_path)
    journal.path.write_bytes(content)
    assert journal.read() == Entries()
    assert "cannot be read, and a new one is begun" in caplog.text


def test_a_journal_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--dest_path: the folder .*file.* cannot be used"):
        Journal(tmp_path / "file" / "scheduler-1")


def test_status() -> None:
    s = held(asked(B), NodeReported(info(M), 5))
    assert status_text(s.machine) == (
        "client c at 10.0.1.1:5000: has its turn\n"
        "client c at 10.0.1.1:5000: waits, number 2\n"
        "node n100 at 10.0.0.100:9706, 4 processors: held for c\n"
        "node n200 at 10.0.0.200:9706, 4 processors: held for a client of another scheduler"
    )
