"""parkcos/scheduler/state.py"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parkcos.cluster import messages as m
from parkcos.cluster.message import Message
from parkcos.cluster.node_info import NodeInfo
from parkcos.scheduler.state import (
    FREE,
    HELD,
    LEFT_MAX,
    LOST,
    OFFERED,
    RELEASING,
    RESERVING,
    RETRY_S,
    TAKEN,
    UNKNOWN_MAX,
    UNWANTED,
    SchedulerMachine,
)
from parkcos.scheduler.state_events import (
    ClientAsked,
    ClientLeft,
    ClientWanted,
    NodeAnswered,
    NodeLost,
    NodeReported,
    ProcessLost,
    TimePassed,
    ToClient,
    ToNode,
)

A, B, C = 1, 2, 3  # clients; their processes are ten times that
N, M = 100, 200  # nodes


def info(node: int, python: str = "3.11", closed: str = "") -> NodeInfo:
    return NodeInfo(node, f"n{node}", f"10.0.{node // 256}.{node % 256}", 9706, 4, "Linux", python, "0", closed=closed)


def asked(client: int, process: int = 0, addr: str = "10.0.1.1") -> ClientAsked:
    return ClientAsked(client, process or client * 10, addr, 5000, "c", "3.11")


def to(client: int, message: Message) -> ToClient:
    return ToClient(client * 10, message)


def reserve(node: int, client: int) -> ToNode:
    return ToNode(node, m.ReserveNode(client, "10.0.1.1", 5000, client * 10, client_name="c"))


class Driven:
    def __init__(self, *events: Any) -> None:
        self.machine = SchedulerMachine()
        for event in events:
            self(event)

    def __call__(self, event: Any, now: float = 0.0) -> list[Any]:
        effects: list[Any] = list(self.machine.handle(event, now))
        self.machine.check()
        return effects

    def state(self, node: int) -> str:
        return self.machine.nodes[node].state


def held(*more: Any) -> Driven:
    """A runs and has node N."""
    return Driven(NodeReported(info(N), 0), asked(A), ClientWanted(A, N, 4), NodeAnswered(N, A, True, ""), *more)


def test_a_client_gets_a_node() -> None:
    s = Driven()
    assert s(NodeReported(info(N), 0)) == []
    assert s(asked(A)) == [
        to(A, m.Queued(A, 0)), to(A, m.Scheduled(A)), to(A, m.NodeOffer(A, info(N)))
    ]  # fmt: skip
    assert s(ClientWanted(A, N, 4)) == [reserve(N, A)]
    assert s(NodeAnswered(N, A, True, "")) == [to(A, m.NodeGranted(A, N))]
    assert s(NodeReported(info(M), 0)) == [to(A, m.NodeOffer(A, info(M)))], "a node that comes later"
    assert s(asked(A)) == [], "asked twice"


def test_clients_wait_in_order_and_hear_their_place() -> None:
    s = held()
    assert s(asked(B)) == [to(B, m.Queued(B, 1))]
    assert s(asked(C)) == [to(C, m.Queued(C, 2))]
    assert s(ClientLeft(A)) == [
        ToNode(N, m.ReleaseNode(A)), to(B, m.Scheduled(B)), to(C, m.Queued(C, 1))
    ]  # fmt: skip
    assert s(NodeReported(info(N), 0)) == [to(B, m.NodeOffer(B, info(N)))]


def test_one_that_waits_no_longer_lets_the_others_up() -> None:
    s = held(asked(B), asked(C))
    assert s(ClientLeft(B)) == [to(C, m.Queued(C, 1))]
    assert s(ClientLeft(B)) == []
    assert s.machine.current == A
    s(asked(B))
    assert s(ClientLeft(B)) == [], "nobody is behind it"


def test_changes_of_the_queue_are_counted() -> None:
    s = Driven()
    for event, changes in (
        (NodeReported(info(N), 0), 0),
        (asked(A), 1),
        (asked(A), 1),
        (asked(B), 2),
        (ClientLeft(C), 2),
        (ClientLeft(B), 3),
        (ProcessLost(A * 10, "killed"), 4),
    ):
        s(event)
        assert s.machine.queue_changes == changes


def test_an_unwanted_node_is_the_next_clients() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A), asked(B))
    assert s(ClientWanted(A, N, 0)) == []
    assert s.state(N) == UNWANTED
    assert s(NodeReported(info(N), 0)) == [], "it is not offered again and again"
    assert s(ClientWanted(A, N, 2)) == [reserve(N, A)], "but the client may think better of it"
    s(NodeAnswered(N, A, True, ""))
    s(ClientLeft(A))
    assert s(NodeReported(info(N), 0)) == [to(B, m.NodeOffer(B, info(N)))]
    assert s(ClientWanted(B, N, 0)) == []
    s(asked(C))
    assert to(C, m.NodeOffer(C, info(N))) in s(ClientLeft(B)), "it was never reserved: free at once"
    assert s(ClientLeft(C)) == []
    assert s.state(N) == FREE


def test_another_python() -> None:
    s = Driven(asked(A))
    reason = "it runs Python 3.12, this client 3.11"
    assert s(NodeReported(info(N, "3.12"), 0)) == [to(A, m.NodeUnusable(A, info(N, "3.12"), reason))]
    assert s.state(N) == UNWANTED
    more = msgspec.structs.replace(info(N, "3.12"), memory=10)
    assert s(NodeReported(more, 0)) == [], "nor does it help that it has more"


def test_a_silent_node_is_asked_again() -> None:
    s = Driven(NodeReported(info(N), 0), NodeReported(info(M), 0), asked(A))
    s(ClientWanted(A, N, 1), 1.0)
    s(ClientWanted(A, M, 1), 1.5)
    assert s.machine.next_deadline() == 1.0 + RETRY_S
    assert s(TimePassed(), 2.0) == [reserve(N, A)]
    assert s.machine.next_deadline() == 2.5
    s(NodeAnswered(M, A, True, ""), 2.1)
    assert s.machine.next_deadline() == 3.0
    assert s(TimePassed(), 2.5) == []
    s(NodeAnswered(N, A, True, ""), 2.6)
    assert s.machine.next_deadline() is None
    assert s(NodeAnswered(N, A, True, ""), 2.7) == [], "the second answer"
    assert s(TimePassed(), 9.0) == []


def test_a_node_that_refuses_is_offered_when_it_is_free() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A), ClientWanted(A, N, 4))
    assert s(NodeAnswered(N, A, False, "busy")) == [to(A, m.NodeUnusable(A, info(N), "busy"))]
    assert s.machine.next_deadline() is None
    assert s(NodeReported(info(N), 0)) == [to(A, m.NodeOffer(A, info(N)))]


def test_a_node_of_another_schedulers_client() -> None:
    s = Driven(asked(A))
    assert s(NodeReported(info(N), 99)) == [to(A, m.NodeUnusable(A, info(N), TAKEN))]
    assert s.state(N) == HELD
    assert s(NodeReported(info(N), 0)) == [to(A, m.NodeOffer(A, info(N)))]
    assert s(NodeReported(info(N), 99)) == [to(A, m.NodeUnusable(A, info(N), TAKEN))]
    assert s(ClientWanted(A, N, 0)) == []
    assert s(ClientWanted(A, N, 4)) == [to(A, m.NodeUnusable(A, info(N), TAKEN))], "taken meanwhile"
    s(NodeReported(info(N), 0))
    s(ClientWanted(A, N, 4))
    assert s(NodeReported(info(N), 99)) == [to(A, m.NodeUnusable(A, info(N), TAKEN))]
    assert s(NodeAnswered(N, A, False, "busy")) == []
    assert s.machine.next_deadline() is None


def test_a_node_outside_of_its_hours() -> None:
    closed = info(N, closed="not in service until 17:00")
    unusable = to(A, m.NodeUnusable(A, closed, closed.closed))
    s = Driven(NodeReported(closed, 0))
    assert s(asked(A))[-1] == unusable
    assert s(NodeReported(info(N), 0)) == [to(A, m.NodeOffer(A, info(N)))]
    assert s(NodeReported(closed, 0)) == [unusable], "while the client thinks"
    assert s(ClientWanted(A, N, 4)) == [unusable]
    s(NodeReported(info(N), 0))
    s(ClientWanted(A, N, 4))
    assert s(NodeReported(closed, 0)) == [], "its answer says so"
    assert s(NodeAnswered(N, A, False, closed.closed)) == [unusable]
    s(NodeReported(info(N), 0))
    s(ClientWanted(A, N, 4))
    s(NodeAnswered(N, A, True, ""))
    assert s(NodeReported(closed, A)) == [], "it is its client's last hour"
    other = info(M, closed="not in service until 18:00")
    assert s(NodeReported(other, 99)) == [to(A, m.NodeUnusable(A, other, other.closed))], "and another's"
    assert s(NodeReported(other, 0)) == [to(A, m.NodeUnusable(A, other, other.closed))], "whom it has closed"
    assert s(NodeReported(closed, 0)) == [], "whom it closed knows why"
    assert s(NodeReported(info(N), 0)) == [to(A, m.NodeOffer(A, info(N)))], "the next day, for the same client"


def test_a_report_from_before_the_question() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A))
    assert s(NodeReported(info(N), 0)) == []
    assert s.state(N) == OFFERED
    s(ClientWanted(A, N, 1))
    assert s(NodeReported(info(N), 0)) == []
    assert s(NodeReported(info(N), A)) == [], "its answer is on its way"
    assert s.state(N) == RESERVING
    assert s(NodeAnswered(N, A, True, "")) == [to(A, m.NodeGranted(A, N))]


def test_a_node_that_gave_its_client_up_is_not_offered_to_it_again() -> None:
    s = held(asked(B))
    assert s(NodeReported(info(N), 0)) == []
    assert s.state(N) == UNWANTED
    assert to(B, m.NodeOffer(B, info(N))) in s(ClientLeft(A))


def test_a_client_leaves_while_its_node_is_asked() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A), ClientWanted(A, N, 4))
    assert s(ClientLeft(A)) == [ToNode(N, m.ReleaseNode(A))]
    assert s.state(N) == RELEASING
    assert s.machine.next_deadline() is None
    assert s(NodeAnswered(N, A, True, "")) == [ToNode(N, m.ReleaseNode(A))]
    assert s(NodeReported(info(N), A)) == []
    assert s.state(N) == RELEASING
    s(asked(B))
    assert s(NodeReported(info(N), 0)) == [to(B, m.NodeOffer(B, info(N)))]


def test_a_client_that_wants_a_node_twice_gets_it_once() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A), ClientWanted(A, N, 4))
    assert s(ClientWanted(A, N, 4)) == [], "it is asked already"
    s(NodeAnswered(N, A, True, ""))
    assert s(NodeReported(info(N), 0)) == [], "and when it is let go, it is not asked again"
    assert s.state(N) == UNWANTED


def test_late_words_do_not_count() -> None:
    s = held(asked(B))
    assert s(ClientWanted(B, N, 4)) == [], "it is not its turn"
    assert s(ClientWanted(A, 999, 4)) == []
    assert s(NodeAnswered(999, A, True, "")) == []
    assert s(NodeAnswered(N, 999, False, "no")) == []
    assert s(ClientWanted(A, N, 0)) == []
    assert s.state(N) == HELD


def test_lost_nodes() -> None:
    s = held()
    assert s(NodeLost(N, "killed")) == [], "the client sees that itself"
    s(NodeReported(info(M), 0))
    assert s(ProcessLost(M, "killed")) == []
    assert s(ClientWanted(A, M, 1)) == [to(A, m.NodeUnusable(A, info(M), LOST))], "lost while the client thought"
    assert s(ClientWanted(A, M, 1)) == []
    s(NodeReported(info(M), 0))
    s(ClientWanted(A, M, 1))
    assert s(ProcessLost(M, "killed")) == [to(A, m.NodeUnusable(A, info(M), LOST))], "lost while it was asked"
    assert s.machine.next_deadline() is None
    assert s(NodeLost(M, "killed")) == []
    assert not s.machine.nodes


def test_a_node_that_is_lost_while_its_client_waits_to_have_it_again() -> None:
    s = held()
    assert s(ClientWanted(A, N, 1)) == [], "it has yet to say that it is free"
    assert s(NodeLost(N, "killed")) == [to(A, m.NodeUnusable(A, info(N), LOST))]


def test_a_program_that_dies_with_several_clients() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A, 55), asked(B, 55), asked(C), ClientWanted(A, N, 1))
    effects = s(ProcessLost(55, "killed"))
    assert effects == [to(C, m.Queued(C, 1)), ToNode(N, m.ReleaseNode(A)), to(C, m.Scheduled(C))]
    assert list(s.machine.queue) == [C]


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order: the invariants hold, one client runs, in the order of asking."""

    clients, nodes = st.integers(1, 4), st.sampled_from([N, M, 300])

    def __init__(self) -> None:
        super().__init__()
        self.machine = SchedulerMachine()
        self.now = 0.0
        self.line: list[int] = []

    def tell(self, event: Any) -> None:
        self.now += 0.3
        for effect in self.machine.handle(event, self.now):
            if isinstance(effect.message, m.Scheduled):
                assert effect.message.client == self.line[0]
            if isinstance(effect.message, m.NodeOffer | m.NodeUnusable | m.NodeGranted):
                assert effect.message.client == self.line[0], "only the one that runs hears of nodes"

    @rule(client=clients)
    def ask(self, client: int) -> None:
        if client not in self.line:
            self.line.append(client)
        self.tell(asked(client))

    @rule(client=clients)
    def leave(self, client: int) -> None:
        if client in self.line:
            self.line.remove(client)
        self.tell(ClientLeft(client))

    @rule(node=nodes, client=st.integers(0, 5))
    def report(self, node: int, client: int) -> None:
        self.tell(NodeReported(info(node), client))

    @rule(node=nodes, client=clients, ok=st.booleans())
    def answer(self, node: int, client: int, ok: bool) -> None:
        self.tell(NodeAnswered(node, client, ok, ""))

    @rule(node=nodes, client=clients, cpus=st.integers(0, 2))
    def want(self, node: int, client: int, cpus: int) -> None:
        self.tell(ClientWanted(client, node, cpus))

    @rule(node=nodes)
    def lose(self, node: int) -> None:
        self.tell(ProcessLost(node, "killed"))

    @rule()
    def wait(self) -> None:
        self.tell(TimePassed())

    @invariant()
    def holds(self) -> None:
        self.machine.check()
        assert list(self.machine.queue) == self.line
        deadlines = [n.retry_at for n in self.machine.nodes.values() if n.retry_at is not None]
        assert self.machine.next_deadline() == min(deadlines, default=None)


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


# found by tests/sim


def test_a_new_scheduler_does_not_take_a_clients_own_node_from_it() -> None:
    s = Driven(asked(A))
    assert s(NodeReported(info(N), A)) == [], "it serves this very client"
    assert s.state(N) == HELD
    assert s(NodeReported(info(M), 999)) == [to(A, m.NodeUnusable(A, info(M), TAKEN))]


def test_a_node_that_was_not_reached_when_its_client_left() -> None:
    s = held(NodeLost(N, "silence"))
    s(ClientLeft(A))
    assert s(NodeReported(info(N), A)) == [ToNode(N, m.ReleaseNode(A))]
    assert s.state(N) == RELEASING
    s(asked(B))
    assert s(NodeReported(info(N), A)) == []
    assert s(NodeReported(info(N), 0)) == [to(B, m.NodeOffer(B, info(N)))]


def test_a_release_that_was_lost_with_the_session() -> None:
    s = held()
    assert s(ClientLeft(A)) == [ToNode(N, m.ReleaseNode(A))]
    s(ProcessLost(N, "silence"))
    assert s(NodeReported(info(N), A)) == [ToNode(N, m.ReleaseNode(A))]


def test_a_client_that_asks_again_keeps_its_node() -> None:
    s = held(ProcessLost(A * 10, "silence"), NodeLost(N, "silence"), asked(A))
    assert s(NodeReported(info(N), A)) == []
    assert s.state(N) == HELD


def test_any_node_lost_in_a_clients_turn_is_told_when_it_is_wanted() -> None:
    s = Driven(NodeReported(info(N), 0), asked(A), ClientWanted(A, N, 0))
    assert s(NodeLost(N, "killed")) == []
    assert s(ClientWanted(A, N, 1)) == [to(A, m.NodeUnusable(A, info(N), LOST))], "it was offered a second time"


def test_a_client_that_left_and_asks_again_gets_its_node_when_that_is_free() -> None:
    s = held()
    s(ClientLeft(A))
    s(asked(A))
    assert s.state(N) == RELEASING
    assert s(NodeReported(info(N), 0)) == [to(A, m.NodeOffer(A, info(N)))]


def test_a_node_that_had_lost_its_client_is_offered_to_it_again() -> None:
    s = held()
    assert s(NodeReported(info(N), 0, lost=A)) == [to(A, m.NodeOffer(A, info(N)))]
    s = held()
    s(ClientWanted(A, N, 1))
    s(NodeReported(info(N), 0, lost=A))
    s(ClientWanted(A, N, 1))
    s(NodeAnswered(N, A, True, ""))
    assert s(NodeReported(info(N), 0)) == [], "what it wanted before was fulfilled"


def test_a_node_that_was_wanted_before_it_was_known_is_had_when_it_is_free() -> None:
    """The client knows it from a scheduler that ended; it serves the client, and has just given it up."""
    s = Driven(asked(A), asked(B))
    assert s(ClientWanted(A, N, 1)) == []
    assert s(NodeReported(info(N), A)) == [], "sent before it was free"
    assert s(NodeReported(info(N), 0)) == [reserve(N, A)]
    s = Driven(asked(A), asked(B))
    s(ClientWanted(A, N, 1))
    assert s(NodeReported(info(N), 0)) == [to(A, m.NodeOffer(A, info(N)))], "it is free already"
    s = Driven(asked(A), asked(B))
    s(ClientWanted(A, N, 1))
    s(ClientLeft(A))
    assert not s.machine.unknown, "the next client has not asked for it"
    s = Driven(asked(A), asked(B))
    s(ClientWanted(A, N, 1))
    s(NodeReported(info(N), 999))
    s(ClientLeft(A))
    s(ClientLeft(B))
    assert s(ProcessLost(N, "killed")) == [], "it was another's, and nobody is there who wants it"


def test_a_wish_for_a_node_is_over_when_that_serves_another_client() -> None:
    """Kept, it was answered when the client had left: to nobody."""
    s = held(ClientWanted(A, N, 1))
    assert s.machine.nodes[N].again
    s(NodeReported(info(N), 999))
    assert not s.machine.nodes[N].again
    s(ClientLeft(A))
    assert s(ProcessLost(N, "killed")) == []


def test_who_wants_ever_more_nodes_that_are_not_there_fills_nothing() -> None:
    s = Driven(asked(A))
    for node in range(UNKNOWN_MAX + 5):
        s(ClientWanted(A, node + 1000, 1))
    assert len(s.machine.unknown) == UNKNOWN_MAX


def test_the_next_client_does_not_hear_of_what_was_lost_in_the_turn_before() -> None:
    s = held(asked(B))
    s(NodeLost(N, "killed"))
    s(ClientLeft(A))
    assert not s.machine.lost
    assert s(ClientWanted(B, N, 1)) == []


def test_of_clients_that_left_the_last_are_remembered() -> None:
    s = Driven()
    for client in range(1, LEFT_MAX + 2):
        s(asked(client))
        s(ClientLeft(client))
    assert next(iter(s.machine._left)) == 2
    assert len(s.machine._left) == LEFT_MAX
