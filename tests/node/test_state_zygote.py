"""parkcos/node/state.py where the process that starts the servers dies, or does not listen: it runs node_setup."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.cluster import messages as m
from parkcos.node.servers import GRACE_S
from parkcos.node.state import LOST_GRACE_S
from parkcos.node.state_events import (
    CloseAsked,
    CloseZygote,
    KillZygote,
    OpenZygote,
    ProcessLost,
    ReserveAsked,
    SchedulerSeen,
    SetupAsked,
    SetupDone,
    SetupFailed,
    TimePassed,
    ToClient,
    ToScheduler,
    ZygoteExited,
)
from tests.node.test_state import FREED, PA, PB, A, B, Driven, S, down, serving


def test_a_zygote_that_dies_while_its_node_is_to_be_set_up_anew() -> None:
    node = serving(1)
    node(CloseAsked(A, False, keep=True))
    assert node(ZygoteExited("killed")) == [down(100, asked=True), ToClient(PA, m.NodeClosed(A, kept=True))]
    assert node(SetupAsked(A, 1, False)) == [OpenZygote(A)]


def test_a_node_setup_that_does_not_end() -> None:
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, 2, False))
    assert node(CloseAsked(A, False)) == [CloseZygote()], "which it hears when it has ended"
    assert node.machine.next_deadline() is None
    assert node(CloseAsked(A, True), 10.0) == []
    assert node.machine.next_deadline() == 10.0 + GRACE_S
    assert node(ProcessLost(PA, "killed"), 11.0) == []
    assert node(CloseAsked(A, True), 11.1) == []
    assert node.machine.next_deadline() == 11.0 + LOST_GRACE_S, "the earliest counts"
    assert node(TimePassed(), 11.0 + LOST_GRACE_S) == [KillZygote()]
    assert node.machine.next_deadline() is None
    assert node(ZygoteExited("killed"), 12.0) == [ToScheduler(S, None)]
    for event in (ReserveAsked(S, B, PB), SetupAsked(B, 2, False), SetupDone(), CloseAsked(B, True)):
        node(event, 13.0)
    assert node.machine.kill_zygote_at is None, "that one heeds what it is told"


@pytest.mark.parametrize("end", [SetupDone(), SetupFailed("no such file")])
def test_a_node_setup_that_ends_in_time(end: Any) -> None:
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, 2, False))
    assert node(CloseAsked(A, True), 10.0) == [CloseZygote()]
    assert node(end, 11.0) == []
    assert node.machine.next_deadline() is None
    assert node(ZygoteExited("closed"), 11.1) == FREED
