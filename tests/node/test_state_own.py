"""parkcos/node/servers.py where a client has processes for single tasks, beside the servers."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.cluster import messages as m
from parkcos.node.records import CLOSING, SERVING
from parkcos.node.servers import GRACE_S, OWN_MEMORY_BYTES_MIN, PATIENT
from parkcos.node.state import LOST_GRACE_S
from parkcos.node.state_events import (
    CloseAsked,
    CloseServerAsked,
    CloseZygote,
    EndOwnAsked,
    EndServer,
    ForkServer,
    KillServer,
    OwnAsked,
    ProcessLost,
    ReserveAsked,
    SchedulerSeen,
    ServerExited,
    ServerListening,
    SetupAsked,
    TasksSeen,
    TimePassed,
    ToClient,
    ZygoteExited,
)
from tests.node.test_state import FREED, LEAVES, PA, PB, A, B, Driven, S, down, serving

X, Y = 7, 8
"""Numbers that the client has given to such processes."""


def with_room(own_max: int = 2, **options: Any) -> Driven:
    """As `serving`, with one server; processes of single tasks may be started."""
    node = serving(1, **options)
    node.machine.servers.own_max = own_max
    return node


def ask(own: int = X, niceness: int = 0, memory: int | None = None) -> OwnAsked:
    return OwnAsked(A, own, niceness, PA, memory)


def up(own: int, index: int, server: int) -> ToClient:
    return ToClient(PA, m.ServerUp(A, index, "", 9000, server, own))


def refused(own: int, reason: str) -> ToClient:
    return ToClient(PA, m.OwnRefused(A, own, reason))


def test_from_its_start_to_its_end() -> None:
    node = with_room()
    assert node(ask(niceness=5)) == [ForkServer(1, own=True, niceness=5)]
    assert node(ServerListening(1, 9000, 700)) == [up(X, 1, 700)]
    assert node(EndOwnAsked(A, X, False)) == [EndServer(1, PATIENT)]
    assert node.machine.next_deadline() is None, "what runs there may take its time"
    assert node(ServerExited(1, "it ended"), 5.0) == [down(700, "it ended", asked=True)]
    assert list(node.machine.servers.by_index) == [0]
    assert node(ask(Y)) == [ForkServer(1, own=True)], "the place is free again"


@pytest.mark.parametrize("after_s", [0.0, 100.0])
@pytest.mark.parametrize("restart_servers", [False, True])
def test_one_that_dies_is_not_replaced(after_s: float, restart_servers: bool) -> None:
    node = with_room(restart_servers=restart_servers)
    node(ask())
    node(ServerListening(1, 9000, 700))
    assert node(ServerExited(1, "killed"), after_s) == [down(700)]
    assert node.machine.next_deadline() is None
    assert node.phase == SERVING
    node(ask())
    node(ServerListening(1, 9000, 701))
    node(CloseServerAsked(A, 701, False, restart=True))
    assert node(ServerExited(1, "it ended")) == [down(701, "it ended", asked=True)], "nor is one that was to be"
    assert node(ServerExited(0, "killed"), 100.0) == [down(100, restarts=True), ForkServer(0)], "a server is, as ever"


def test_the_last_process_of_a_node_may_be_one_of_a_single_task() -> None:
    node = with_room()
    node(CloseServerAsked(A, 100, False, False))
    node(ServerExited(0, "it ended"))
    for own in (X, Y):
        assert node(ask(own)) == [ForkServer(1, own=True)]
        assert node(ServerExited(1, "killed")) == [refused(own, "killed")]
        assert node.phase == SERVING


def test_one_that_ends_before_it_is_up_is_refused() -> None:
    node = with_room()
    node(ask())
    assert node(ServerExited(1, "it could not be started: out of memory")) == [
        refused(X, "it could not be started: out of memory")
    ]
    node(ask())
    assert node(EndOwnAsked(A, X, True), 1.0) == [EndServer(1, GRACE_S)]
    assert node.machine.next_deadline() == 1.0 + GRACE_S
    assert node(ServerListening(1, 9000, 700), 1.1) == [], "its client does not wait for it any more"
    assert node(TimePassed(), 1.0 + GRACE_S) == [KillServer(1)]
    (word,) = node(ServerExited(1, "killed"), 8.0)
    assert isinstance(word.message, m.OwnRefused), "one word of its end, and the right one"


def test_not_more_than_the_node_may_have() -> None:
    node = with_room(own_max=2)
    assert node(ask(X)) == [ForkServer(1, own=True)]
    assert node(ask(Y)) == [ForkServer(2, own=True)]
    why = "the node has 2 processes beside its servers, and may have 2 (--own_max)"
    assert node(ask(9)) == [refused(9, why)]
    node(EndOwnAsked(A, X, True))
    assert node(ask(9)) == [refused(9, why)], "it is still there"
    node(ServerExited(1, "killed"))
    assert node(ask(9)) == [ForkServer(1, own=True)]
    assert with_room(own_max=0)(ask())[0].message.reason.endswith("may have 0 (--own_max)")


def test_none_is_started_where_memory_is_short() -> None:
    node = with_room()
    (refusal,) = node(ask(memory=OWN_MEMORY_BYTES_MIN - 1))
    assert "127 MiB of free memory" in refusal.message.reason
    assert node(ask(memory=OWN_MEMORY_BYTES_MIN)) == [ForkServer(1, own=True)]


def test_only_for_the_client_that_is_served() -> None:
    stranger = OwnAsked(B, X, process=PB)
    why = "the node does not serve this client now"
    not_now = ToClient(PB, m.OwnRefused(B, X, why))
    assert Driven()(stranger) == [not_now]
    node = with_room()
    assert node(stranger) == [not_now]
    assert node(OwnAsked(A, X, process=PB)) == [ToClient(PB, m.OwnRefused(A, X, why))], "somebody else says so"
    node(ask())
    assert node(EndOwnAsked(B, X, True)) == []
    node(CloseAsked(A, False))
    assert node(ask(Y)) == [refused(Y, why)]
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, 1, False))
    assert node(ask()) == [refused(X, why)], "it is not set up yet"


@pytest.mark.parametrize(
    ("event", "grace_s"),
    [
        (CloseAsked(A, False), PATIENT),
        (CloseAsked(A, False, keep=True), PATIENT),
        (CloseAsked(A, True), GRACE_S),
        (ProcessLost(PA, "killed"), LOST_GRACE_S),
    ],
)
def test_they_end_with_the_servers(event: Any, grace_s: float) -> None:
    node = with_room()
    node(ask(X))
    node(ask(Y))
    node(ServerListening(1, 9000, 700))
    assert node(event) == [EndServer(index, grace_s) for index in (0, 1, 2)]
    for index in (0, 1):
        assert CloseZygote() not in node(ServerExited(index, "it ended"))
        assert node.phase == CLOSING
    *_, last = node(ServerExited(2, "it ended"))
    assert last == CloseZygote()


def test_they_end_with_the_zygote() -> None:
    node = with_room()
    node(ask(X))
    node(ask(Y))
    node(ServerListening(1, 9000, 700))
    assert node(ZygoteExited("killed")) == [
        LEAVES,
        down(100),
        down(700),
        refused(Y, "killed"),
        ToClient(PA, m.NodeFailed(A, "killed")),
        *FREED,
    ]
    node(ReserveAsked(S, B, PB))
    assert node(SetupAsked(B, 1, False))
    assert not node.machine.servers.by_index


def test_one_counts_as_a_task_from_its_start_to_its_end() -> None:
    node = with_room(zombie_period_s=60.0)
    node(ask(), 10.0)
    for now in (60.0, 120.0, 180.0):
        node(TasksSeen(0, 0.0), now)
        assert node(TimePassed(), now) == [], "it does not say what runs there"
    node(ServerExited(1, "it ended"), 200.0)
    assert node.machine.next_deadline() == 260.0
    assert node(TimePassed(), 259.0) == []
    assert node(TimePassed(), 260.0) == [LEAVES, EndServer(0, GRACE_S)]
