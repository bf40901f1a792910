"""parkcos/scheduler/state.py: a client whose program is lost keeps its place for a while, for the next run of it."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from parkcos.cluster import messages as m
from parkcos.net.trust.claims import SECOND, SUPERSEDED
from parkcos.scheduler.state import FREE, HELD, RELEASING, SchedulerMachine
from parkcos.scheduler.state_events import (
    ClientAsked,
    ClientLeft,
    ClientWanted,
    NodeAnswered,
    NodeReported,
    ProcessLost,
    TimePassed,
    ToClient,
    ToNode,
)
from tests.scheduler.test_state import A, B, Driven, M, N, asked, info, to

ORPHAN_S = 60.0


def run(client: int, number: int, process: int = 0) -> ClientAsked:
    """The program of that number of a client that may return."""
    return ClientAsked(client, process or client * 10 + number, "10.0.1.1", 5000, "c", "3.11", number, ORPHAN_S)


def held(*more: Any) -> Driven:
    """The first program of A has node N, set up; B waits."""
    s = Driven(NodeReported(info(N), 0), run(A, 1), ClientWanted(A, N, 4), NodeAnswered(N, A, True, ""), asked(B))
    for event in more:
        s(event)
    return s


def test_the_next_program_takes_the_place_of_one_that_was_lost() -> None:
    s = held()
    assert s(ProcessLost(11, "gone")) == [to(B, m.Queued(B, 1))], "who waits hears of it"
    assert s.state(N) == HELD
    assert s.machine.next_deadline() == ORPHAN_S
    assert s(NodeReported(info(M), 0)) == [], "nobody is there to want it"
    assert s(run(A, 2), 10.0) == [
        ToClient(12, m.Queued(A, 0)),
        ToClient(12, m.Scheduled(A)),
        ToClient(12, m.NodeOffer(A, info(M))),
        to(B, m.Queued(B, 1)),
    ]
    assert s.machine.next_deadline() is None
    assert ToNode(N, m.ReleaseNode(A)) in s(ClientLeft(A)), "the node that it has had all the time"


def test_after_a_while_it_is_the_next_ones_turn() -> None:
    s = held(ProcessLost(11, "gone"))
    assert s(TimePassed(), ORPHAN_S - 1) == []
    assert s(TimePassed(), ORPHAN_S) == [ToNode(N, m.ReleaseNode(A)), to(B, m.Scheduled(B))]
    assert s(run(A, 2), ORPHAN_S) == [ToClient(12, m.Queued(A, 1))], "it is behind the others"


def test_a_place_in_the_queue_is_kept_too() -> None:
    s = Driven(asked(B), run(A, 1))
    assert s(ProcessLost(11, "gone")) == []
    assert s(ClientLeft(B)) == []
    assert s.machine.current == A
    assert s(run(A, 2))[1] == ToClient(12, m.Scheduled(A))


def test_what_was_offered_or_asked_for_is_taken_back() -> None:
    s = Driven(NodeReported(info(N), 0), NodeReported(info(M), 0), run(A, 1), ClientWanted(A, M, 1))
    assert s(ProcessLost(11, "gone")) == [ToNode(M, m.ReleaseNode(A))]
    assert (s.state(N), s.state(M)) == (FREE, RELEASING)
    assert s(NodeAnswered(M, A, True, "")) == []
    assert ToClient(12, m.NodeOffer(A, info(N))) in s(run(A, 2))
    assert s(NodeReported(info(M), 0)) == [ToClient(12, m.NodeOffer(A, info(M)))]


def test_the_later_run_wins_over_one_that_is_there() -> None:
    s = held()
    effects = s(run(A, 2))
    assert effects[0] == ToClient(11, m.Dismissed(A, SUPERSEDED))
    assert ToClient(12, m.Scheduled(A)) in effects
    assert s(run(A, 1)) == [ToClient(11, m.Dismissed(A, SECOND))]
    assert s(ProcessLost(11, "gone")) == []
    assert s.machine.current == A


def test_of_two_copies_of_an_identity_the_first_one_has_it_while_it_is_there() -> None:
    s = held()
    assert s(run(A, 1, process=99)) == [ToClient(99, m.Dismissed(A, SECOND))]
    s(ProcessLost(11, "gone"))
    assert ToClient(99, m.Scheduled(A)) in s(run(A, 1, process=99))


def test_who_cannot_prove_that_it_is_the_client_is_not_heard() -> None:
    s = held()
    assert s(asked(A, process=99)) == []
    s(ProcessLost(11, "gone"))
    assert s(asked(A, process=99)) == []


class Returns(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.machine, self.now = SchedulerMachine(), 0.0
        self.programs: dict[int, int] = {}
        """The highest run of each client."""

    def do(self, event: Any) -> list[Any]:
        effects = list(self.machine.handle(event, self.now))
        self.machine.check()
        return effects

    @rule(client=st.integers(1, 3), number=st.integers(0, 5))
    def asks(self, client: int, number: int) -> None:
        self.do(run(client, number) if number else asked(client))
        record = self.machine.queue[client]
        assert record.run >= number or not record.run or record.process != client * 10 + number

    @rule(client=st.integers(1, 3), number=st.integers(0, 5))
    def is_lost(self, client: int, number: int) -> None:
        self.do(ProcessLost(client * 10 + number, "gone"))

    @rule(node=st.sampled_from([N, M]), client=st.integers(0, 3))
    def reports(self, node: int, client: int) -> None:
        self.do(NodeReported(info(node), client))

    @rule(node=st.sampled_from([N, M]), client=st.integers(1, 3), cpus=st.integers(0, 1))
    def wants(self, node: int, client: int, cpus: int) -> None:
        current = self.machine.queue.get(client)
        if current is not None and current.absent_until is None:
            self.do(ClientWanted(client, node, cpus))

    @rule(node=st.sampled_from([N, M]), client=st.integers(1, 3), ok=st.booleans())
    def answers(self, node: int, client: int, ok: bool) -> None:
        self.do(NodeAnswered(node, client, ok, "no"))

    @rule(client=st.integers(1, 3))
    def leaves(self, client: int) -> None:
        self.do(ClientLeft(client))

    @rule(seconds=st.sampled_from([0.5, ORPHAN_S]))
    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(TimePassed())
        assert all(c.absent_until is None or c.absent_until > self.now for c in self.machine.queue.values())


Returns.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestReturns = Returns.TestCase
