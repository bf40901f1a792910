"""parkcos/node/servers.py: a client's spaces.  Processes of single tasks: test_state_own.py; servers: test_state.py."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.cluster import messages as m
from parkcos.node.records import FREE, SERVING, WIPING
from parkcos.node.servers import GRACE_S
from parkcos.node.state_events import (
    CloseAsked,
    CloseSpaceAsked,
    CloseZygote,
    EndOwnAsked,
    EndServer,
    ForkServer,
    OpenZygote,
    OwnAsked,
    ServerExited,
    ServerListening,
    SetupDone,
    SetupFailed,
    SpaceAsked,
    TasksSeen,
    TimePassed,
    ToClient,
    ZygoteExited,
)
from tests.node.test_state import FREED, LEAVES, PA, PB, A, Driven, down, serving
from tests.node.test_state_own import X, Y, up, with_room

Q, R = 31, 32  # spaces
NONE = "the node does not have that space, or no place for it: it may have 2 (--own_max)"


def ask(own: int = X, space: int = Q, process: int = PA) -> OwnAsked:
    return OwnAsked(A, own, 0, process, None, space)


def refused(own: int, reason: str, setup: bool = False) -> ToClient:
    return ToClient(PA, m.OwnRefused(A, own, reason, setup))


def with_space(**options: Any) -> Driven:
    """One server 100, and a process 700 of the space Q."""
    node = with_room(**options)
    node(SpaceAsked(A, Q, PA))
    node(SetupDone(Q))
    node(ask())
    node(ServerListening(1, 9000, 700))
    return node


def test_from_its_start_to_its_end() -> None:
    node = with_room()
    assert node(SpaceAsked(A, Q, PA)) == [OpenZygote(A, Q)]
    assert node(SpaceAsked(A, Q, PA)) == [], "it is on its way"
    assert node(ask()) == [], "its zygote is not ready"
    assert node(SetupDone(Q)) == [ForkServer(1, own=True)]
    assert node(ServerListening(1, 9000, 700)) == [up(X, 1, 700)]
    assert node(ask(Y)) == [ForkServer(2, own=True)]
    assert node(CloseSpaceAsked(A, Q), 1.0) == [EndServer(1, GRACE_S), EndServer(2, GRACE_S)]
    assert node(ServerExited(1, "it ended"), 2.0) == [
        down(700, "it was closed with terminate=True: it ended", asked=True)
    ]
    (word, close) = node(ServerExited(2, "it ended"), 2.0)
    assert isinstance(word.message, m.OwnRefused)
    assert close == CloseZygote(Q)
    assert node(ZygoteExited("closed", Q)) == []
    assert node.phase == SERVING
    assert node(ask()) == [refused(X, NONE)]


def test_strangers_ask_in_vain() -> None:
    node = with_room()
    assert node(SpaceAsked(A, Q, PB)) == []
    assert node(SpaceAsked(77, Q, PA)) == []
    node(SpaceAsked(A, Q, PA))
    assert node(CloseSpaceAsked(77, Q)) == []
    assert list(node.machine.servers.spaces) == [Q]


def test_one_that_cannot_be_opened() -> None:
    node = with_room()
    node(SpaceAsked(A, Q, PA))
    node(ask())
    assert node(SetupFailed("no module named x", True, Q)) == [refused(X, "no module named x", True), CloseZygote(Q)]
    assert node(ask(Y)) == [refused(Y, "no module named x", True)]
    assert node(ZygoteExited("closed", Q)) == []
    assert node.phase == SERVING, "the client has its servers"
    assert not node.machine.servers.spaces


def test_not_more_than_it_may_have() -> None:
    node = with_room(own_max=2)
    assert [node(SpaceAsked(A, space, PA)) for space in (Q, R)] == [[OpenZygote(A, Q)], [OpenZygote(A, R)]]
    assert node(SpaceAsked(A, 33, PA)) == []
    assert node(ask(X, 33)) == [refused(X, NONE)]


def test_its_zygote_dies() -> None:
    node = with_space()
    node(SpaceAsked(A, R, PA))
    assert node(ZygoteExited("killed", Q)) == [down(700)]
    assert node.phase == SERVING
    assert node(ask(Y, R)) == []
    assert node(ZygoteExited("killed", R)) == [refused(Y, "killed, while it opened the space", True)]
    assert list(node.machine.servers.by_index) == [0]


def test_one_is_not_wanted_before_its_zygote_is_ready() -> None:
    node = with_room()
    node(SpaceAsked(A, Q, PA))
    node(ask())
    assert node(EndOwnAsked(A, X, True)) == [refused(X, "its client needs it no more")]
    assert node(SetupDone(Q)) == []


def test_the_node_is_closed() -> None:
    node = with_space()
    node(SpaceAsked(A, R, PA))
    node(ask(Y, R))
    effects = node(CloseAsked(A, True), 5.0)
    assert effects == [EndServer(0, GRACE_S), EndServer(1, GRACE_S), refused(Y, "its node was closed")]
    node(ServerExited(0, "it ended"), 6.0)
    assert node(ServerExited(1, "it ended"), 6.0)[1:] == [CloseZygote(), CloseZygote(Q), CloseZygote(R)]
    assert node.phase == WIPING
    assert node(ZygoteExited("closed", R)) == []
    assert node(ZygoteExited("closed")) == [], "not before all are gone"
    assert node(ZygoteExited("closed", Q)) == FREED
    assert node.phase == FREE


def test_the_clients_own_zygote_dies() -> None:
    """All that is the client's ends, and the node is free when the last is gone."""
    node = with_space()
    effects = node(ZygoteExited("killed"))
    assert effects[:3] == [LEAVES, down(100), down(700)]
    assert effects[-1] == CloseZygote(Q)
    assert isinstance(effects[3].message, m.NodeFailed)
    assert node.phase == WIPING
    assert node(ZygoteExited("closed", Q)) == FREED


@pytest.mark.parametrize("runs", [False, True])
def test_processes_that_have_nothing_to_do_are_no_reason_to_stay(runs: bool) -> None:
    node = with_space(zombie_period_s=10.0)
    node(TasksSeen(int(runs), 0.0), 10.0)
    effects = node(TimePassed(), 10.0)
    assert bool(effects) != runs


def test_serving_another_client_it_knows_no_space() -> None:
    node = serving(1)
    node.machine.servers.own_max = 2
    assert node(ask()) == [refused(X, NONE)]


def test_the_clients_own_zygote_dies_while_a_space_is_being_closed() -> None:
    node = with_space()
    assert node(CloseSpaceAsked(A, Q)) == [EndServer(1, GRACE_S)]
    assert node(ZygoteExited("killed"))[-1] == CloseZygote(Q), "nobody will say that its server has ended"
    assert node(CloseSpaceAsked(A, Q)) == []
    assert node(ZygoteExited("closed", Q)) == FREED
