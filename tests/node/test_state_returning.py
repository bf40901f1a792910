"""parkcos/node/state.py and servers.py: a client whose program is lost, and the next one that takes its place."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from parkcos.cluster import messages as m
from parkcos.net.trust.claims import SECOND, SUPERSEDED
from parkcos.node.records import CLOSING, FREE, SERVING, SETUP
from parkcos.node.servers import PATIENT
from parkcos.node.state import LOST_GRACE_S, NodeMachine
from parkcos.node.state_events import (
    ClientReturned,
    CloseAsked,
    CloseZygote,
    EndServer,
    OwnAsked,
    ProcessLost,
    ReserveAsked,
    SchedulerSeen,
    ServerExited,
    ServerListening,
    SetupAsked,
    SetupDone,
    SpaceAsked,
    TimePassed,
    ToClient,
    ZygoteExited,
)
from tests.node.test_state import PA, PB, A, B, Driven, S

PNEXT, ORPHAN_S = 12, 60.0
"""The process of the next run; how long servers go on."""


def served(cpus: int = 2, run: int = 1, done: bool = True, own_max: int = 4) -> Driven:
    """It serves A, which may return, with servers 100, 101, ..."""
    node = Driven()
    node.machine.servers.own_max = own_max
    for event in (SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, cpus, False, PA, 7, run, ORPHAN_S)):
        node(event)
    if done:
        node(SetupDone())
        for index in range(cpus):
            node(ServerListening(index, 5000 + index, 100 + index))
    return node


def lost(node: Driven, now: float = 0.0) -> list[Any]:
    return node(ProcessLost(PA, "refused"), now)


def up(index: int, own: int = 0) -> ToClient:
    return ToClient(PNEXT, m.ServerUp(A, index, "", 5000 + index, 100 + index, own))


def test_servers_go_on_without_their_program_and_serve_the_next() -> None:
    node = served()
    assert lost(node) == []
    assert node.phase == SERVING
    assert node.machine.next_deadline() == ORPHAN_S
    assert node(ReserveAsked(S, B, PB))[0].message.ok is False
    assert node(ClientReturned(A, PNEXT, 2), 10.0) == [
        ToClient(PNEXT, m.NodeResumed(A, 7, True, 2, 2, [m.ResumedServer(100), m.ResumedServer(101)])),
        up(0),
        up(1),
    ]
    assert node.machine.next_deadline() is None
    assert node(ProcessLost(PA, "again"), 11.0) == []
    assert node(ProcessLost(PNEXT, "refused"), 20.0) == []
    assert node.machine.next_deadline() == 20.0 + ORPHAN_S


def test_after_a_while_nobody_is_waited_for_any_more() -> None:
    node = served(cpus=1)
    lost(node)
    assert node(TimePassed(), ORPHAN_S - 1) == []
    assert node(TimePassed(), ORPHAN_S) == [EndServer(0, LOST_GRACE_S)]
    assert node.phase == CLOSING
    (answer,) = node(ClientReturned(A, PNEXT, 2), ORPHAN_S)
    assert answer == ToClient(PNEXT, m.NodeClosed(A)), "it can be had again when it is free"
    assert node(ServerExited(0, "it ended"))[-1] == CloseZygote()
    node(ZygoteExited("closed"))
    assert node.phase == FREE
    assert node.machine.lost == A


def test_a_program_that_is_lost_to_its_node_alone_can_have_it_again() -> None:
    """It lives, and did not hear that its servers have died meanwhile: so its scheduler hears that it had lost it."""
    node = served(cpus=1)
    lost(node)
    node(ZygoteExited("signal 9"))
    assert node.phase == FREE
    assert node.machine.lost == A


def test_a_client_that_may_not_return_is_ended_at_once() -> None:
    node = served(cpus=1, run=0)
    node.machine.orphan_s = 0.0
    assert EndServer(0, LOST_GRACE_S) in lost(node)
    assert node.phase == CLOSING


def test_a_client_that_is_closing_is_not_waited_for() -> None:
    node = served(cpus=1)
    node(CloseAsked(A, False))
    assert EndServer(0, LOST_GRACE_S) in lost(node)


def test_the_later_run_takes_the_place_of_one_that_is_there() -> None:
    node = served(cpus=1)
    effects = node(ClientReturned(A, PNEXT, 2))
    assert effects[0] == ToClient(PA, m.NodeClosed(A, SUPERSEDED, setup_id=7))
    assert isinstance(effects[1].message, m.NodeResumed)
    assert lost(node) == [], "it is another's now"
    assert node(ClientReturned(A, PA, 1)) == [ToClient(PA, m.NodeClosed(A, SECOND))]


def test_of_two_copies_of_an_identity_the_first_one_has_it_while_it_is_there() -> None:
    node = served(cpus=1)
    assert node(ClientReturned(A, PNEXT, 1)) == [ToClient(PNEXT, m.NodeClosed(A, SECOND))]
    lost(node)
    assert isinstance(node(ClientReturned(A, PNEXT, 1))[0].message, m.NodeResumed)


def test_a_node_in_its_setup() -> None:
    node = served(done=False)
    lost(node)
    assert node.phase == SETUP
    assert node(ClientReturned(A, PNEXT, 2)) == [ToClient(PNEXT, m.NodeResumed(A, 7, False, 2, 2, []))]
    assert node(SetupDone())[0] == ToClient(PNEXT, m.NodeReady(A, 7))


def test_servers_that_have_ended_are_not_named() -> None:
    node = served()
    lost(node)
    node(ServerExited(0, "killed"), 100.0)
    resumed = node(ClientReturned(A, PNEXT, 2), 10.0)[0].message
    assert resumed.servers == [m.ResumedServer(101)]
    assert resumed.left == 2, "another one is on its way"


def test_processes_beside_the_servers_go_on_and_what_is_not_up_is_ended() -> None:
    node = served(cpus=1)
    node(OwnAsked(A, 1, process=PA))
    node(ServerListening(1, 5001, 101))
    node(OwnAsked(A, 2, process=PA))
    lost(node)
    effects = node(ClientReturned(A, PNEXT, 2))
    assert effects[0] == EndServer(2, PATIENT)
    assert effects[1].message.servers == [m.ResumedServer(100), m.ResumedServer(101, own=1)]
    assert effects[2:] == [up(0), up(1, own=1)]


def test_the_spaces_of_the_earlier_program_end_when_nothing_runs_there() -> None:
    node = served(cpus=1)
    node(SpaceAsked(A, 9, PA))
    node(SetupDone(space=9))
    node(OwnAsked(A, 1, process=PA, space=9))
    node(ServerListening(1, 5001, 101))
    lost(node)
    effects = node(ClientReturned(A, PNEXT, 2))
    assert effects[0].message.servers == [m.ResumedServer(100), m.ResumedServer(101, own=1, space=9)]
    assert CloseZygote(9) not in effects
    assert CloseZygote(9) in node(ServerExited(1, "it ended"))


class Returns(RuleBasedStateMachine):
    """Programs of one client and another come, are lost, return, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.node = NodeMachine()
        self.now = 0.0
        self.told: dict[int, list[Any]] = {}
        self.do(SchedulerSeen(S))

    def do(self, event: Any) -> None:
        for effect in self.node.handle(event, self.now):
            if isinstance(effect, ToClient):
                self.told.setdefault(effect.process, []).append(effect.message)
        self.node.check()

    @rule(client=st.sampled_from([A, B]), process=st.integers(10, 14))
    def reserve(self, client: int, process: int) -> None:
        self.do(ReserveAsked(S, client, process))

    @rule(client=st.sampled_from([A, B]), process=st.integers(10, 14), run=st.integers(0, 4))
    def set_up(self, client: int, process: int, run: int) -> None:
        if process == self.node.client_process:
            self.do(SetupAsked(client, 2, False, process, 1, run, ORPHAN_S if run else 0.0))

    @rule()
    def is_set_up(self) -> None:
        if self.node.setting_up:
            self.do(SetupDone())

    @rule(index=st.integers(0, 1))
    def listens(self, index: int) -> None:
        if index in self.node.servers.by_index:
            self.do(ServerListening(index, 5000, 100 + index))

    @rule(index=st.integers(0, 1))
    def exits(self, index: int) -> None:
        if index in self.node.servers.by_index:
            self.do(ServerExited(index, "it ended"))

    @rule()
    def zygote_exits(self) -> None:
        if not self.node.zygote_gone:
            self.do(ZygoteExited("it ended"))

    @rule(process=st.integers(10, 14))
    def is_lost(self, process: int) -> None:
        self.do(ProcessLost(process, "refused"))

    @rule(client=st.sampled_from([A, B]), process=st.integers(10, 14), run=st.integers(1, 4))
    def returns(self, client: int, process: int, run: int) -> None:
        before = self.node.run
        self.told[process] = []
        self.do(ClientReturned(client, process, run))
        answers = [each for each in self.told[process] if isinstance(each, m.NodeResumed | m.NodeClosed)]
        assert answers, "it is told in any case"
        if isinstance(answers[-1], m.NodeResumed):
            assert self.node.client_process == process
            assert self.node.run == run >= before

    @rule(terminate=st.booleans())
    def close(self, terminate: bool) -> None:
        self.do(CloseAsked(self.node.client, terminate))

    @rule(seconds=st.sampled_from([1.0, ORPHAN_S]))
    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(TimePassed())

    @invariant()
    def waits_for_no_more_than_it_said(self) -> None:
        until = self.node.orphaned_until
        assert until is None or until <= self.now + ORPHAN_S


Returns.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestReturns = Returns.TestCase
