"""parkcos/node/state.py"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parkcos.cluster import messages as m
from parkcos.node.records import CLOSING, FREE, RESERVED, SERVING, SETUP, STOPPED, WIPING
from parkcos.node.servers import GRACE_S, KILLED, PATIENT, STEADY_S
from parkcos.node.state import LOST_GRACE_S, SETUP_WAIT_S, NodeMachine
from parkcos.node.state_events import (
    CloseAsked,
    CloseServerAsked,
    CloseZygote,
    EndOwnAsked,
    EndServer,
    ForkServer,
    HoursChanged,
    KillServer,
    OpenZygote,
    OwnAsked,
    ProcessLost,
    ReleaseAsked,
    ReserveAsked,
    SchedulerSeen,
    ServerExceeded,
    ServerExited,
    ServerListening,
    SetupAsked,
    SetupDone,
    SetupFailed,
    Stop,
    StopAsked,
    TasksSeen,
    TimePassed,
    ToClient,
    ToScheduler,
    ZygoteExited,
)

S, A, PA, B, PB = 1, 10, 11, 20, 21  # a scheduler; clients and their processes
LEAVES = ToClient(PA, m.NodeLeaves(A, 0))
FREED = [ToClient(PA, m.NodeClosed(A)), ToScheduler(S, None)]


class Driven:
    def __init__(self, *events: Any) -> None:
        self.machine = NodeMachine()
        for event in events:
            self(event)

    def __call__(self, event: Any, now: float = 0.0) -> list[Any]:
        effects: list[Any] = list(self.machine.handle(event, now))
        self.machine.check()
        return effects

    @property
    def phase(self) -> str:
        return self.machine.phase


def down(server: int, reason: str = "killed", restarts: bool = False, asked: bool = False) -> ToClient:
    return ToClient(PA, m.ServerDown(A, server, reason, restarts, asked))


def serving(cpus: int = 2, restart_servers: bool = False, zombie_period_s: float = 0.0) -> Driven:
    """It serves A with servers 100, 101, ..., which have been up for long.  zombie_period_s: the scheduler's."""
    reserve = ReserveAsked(S, A, PA, zombie_period_s)
    node = Driven(SchedulerSeen(S), reserve, SetupAsked(A, cpus, restart_servers), SetupDone())
    for index in range(cpus):
        node(ServerListening(index, 9707 + index, 100 + index))
    return node


def test_a_server_that_uses_too_much_is_killed_and_its_client_hears_why() -> None:
    node = serving()
    assert node(ServerExceeded(1, "it uses too much")) == [KillServer(1, "it uses too much")]
    assert node(ServerExceeded(1, "it uses even more")) == [], "it is being killed"
    assert node(ServerExceeded(7, "there is none")) == []
    effects = node(ServerExited(1, "it was killed by signal 9"))
    assert effects == [down(101, "its node ended it: it uses too much", restarts=True), ForkServer(1)]
    node(ServerListening(1, 9708, 201))
    next_one = node(ServerExited(1, "a crash"), 200.0)
    assert next_one[0] == down(201, "a crash", restarts=True), "the next one has its own end"


def test_from_free_to_serving_and_back() -> None:
    node = Driven()
    assert node(SchedulerSeen(S)) == [ToScheduler(S, None)]
    assert node(ReserveAsked(S, A, PA)) == [ToScheduler(S, m.NodeAnswer(A, True))]
    assert node.phase == RESERVED
    assert node(SetupAsked(A, 2, False)) == [OpenZygote(A)]
    assert node.phase == SETUP
    assert node(SetupDone()) == [ToClient(PA, m.NodeReady(A)), ForkServer(0), ForkServer(1)]
    assert node(ServerListening(0, 9707, 100)) == [ToClient(PA, m.ServerUp(A, 0, "", 9707, 100))]
    assert node(ServerListening(1, 9708, 101)) == [ToClient(PA, m.ServerUp(A, 1, "", 9708, 101))]
    assert node.phase == SERVING
    assert node(CloseAsked(A, True), 50.0) == [EndServer(0, GRACE_S), EndServer(1, GRACE_S)]
    assert node.phase == CLOSING
    assert node(ServerExited(0, "exit code 0"), 51.0) == [down(100, "exit code 0", asked=True)]
    assert node(ServerExited(1, "exit code 0"), 51.0) == [down(101, "exit code 0", asked=True), CloseZygote()]
    assert node.phase == WIPING
    assert node(ZygoteExited("closed"), 51.1) == FREED
    assert node.phase == FREE
    assert (node.machine.clients_served, node.machine.lost, node.machine.client_process) == (1, 0, 0)
    assert node.machine.next_deadline() is None


def test_a_node_that_is_free_again_is_as_it_was() -> None:
    node = serving(2, zombie_period_s=60.0)
    node(CloseAsked(A, True, "closed by hand"), 10.0)
    for index in range(2):
        node(ServerExited(index, "exit code 0"), 11.0)
    node(ZygoteExited("closed"), 11.1)
    left = {
        "schedulers",
        "reserved_by",
        "clients_served",
        "cpus",
        "active_at",
    }  # what is overwritten, or for longer than a client
    left |= {"servers", "node"}  # the two parts themselves
    both = [{**vars(it), **vars(it.servers)} for it in (NodeMachine(), node.machine)]
    fresh, used = ({k: v for k, v in each.items() if k not in left} for each in both)
    assert fresh == used


def test_a_server_begins_once() -> None:
    """What runs there could say it again without end, and its client would be told each time."""
    node = serving(1)
    assert node(ServerListening(0, 9999, 999)) == []
    assert node.machine.servers.by_index[0].incarnation == 100


def test_whose_word_counts_for_the_client_that_is_served() -> None:
    node = Driven(SchedulerSeen(S), SchedulerSeen(77), ReserveAsked(S, A, PA))
    (refusal,) = node(ReserveAsked(S, A, PB))
    assert not refusal.message.ok, "another process as the client"
    assert node.machine.client_process == PA
    (refusal,) = node(ReserveAsked(77, A, PA))
    assert not refusal.message.ok, "another scheduler"
    assert node(ReleaseAsked(A, 77)) == []
    assert node.phase == RESERVED
    node(ProcessLost(S, "it was killed"))
    assert node(ReserveAsked(77, A, PA)) == [ToScheduler(77, m.NodeAnswer(A, True))], (
        "which follows the one that is gone"
    )
    assert node(ReleaseAsked(A, 77))[0] == ToClient(PA, m.NodeClosed(A))


def test_one_client_at_a_time() -> None:
    node = serving()
    assert node(ReserveAsked(S, A, PA)) == [ToScheduler(S, m.NodeAnswer(A, True))], "asked again"
    (refusal,) = node(ReserveAsked(S, B, PB))
    assert not refusal.message.ok
    assert "another client" in refusal.message.reason
    for event in (
        SetupAsked(B, 1, False),
        CloseAsked(B, True),
        ReleaseAsked(B, S),
        CloseServerAsked(B, 100, True, False),
    ):
        assert node(event) == []
    node(CloseAsked(A, True))
    (refusal,) = node(ReserveAsked(S, A, PA))
    assert "this client" in refusal.message.reason
    assert node(SetupAsked(A, 2, False)) == [], "it is closing"
    node = Driven(ReserveAsked(S, A, PA))
    (refusal,) = node(ReserveAsked(S, B, PB))
    assert not refusal.message.ok, "it is reserved"
    assert node.machine.client == A


def test_a_reservation_lapses() -> None:
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA))
    assert node.machine.next_deadline() == SETUP_WAIT_S
    assert node(ReserveAsked(S, A, PA), 5.0) == [ToScheduler(S, m.NodeAnswer(A, True))]
    assert node(TimePassed(), SETUP_WAIT_S) == []
    assert node(TimePassed(), 5.0 + SETUP_WAIT_S) == FREED
    assert node.machine.clients_served == 0, "nobody was served"
    assert node.machine.lost == A, "it may not know that it had the node: its scheduler offers it again"
    assert node(SetupAsked(A, 1, False)) == []


def test_release() -> None:
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA))
    assert node(ReleaseAsked(A, S)) == FREED
    assert node(ReleaseAsked(A, S)) == [ToScheduler(S, None)], "said again, for a scheduler that waits for it"
    node = serving(1)
    assert node(ReleaseAsked(A, S)) == [EndServer(0, GRACE_S)]
    node = Driven(ReserveAsked(S, A, PA), SetupAsked(A, 1, False))
    assert node(ReleaseAsked(A, S)) == [CloseZygote()]
    assert node(SetupDone()) == [], "too late"
    assert node(ZygoteExited("closed")) == [ToClient(PA, m.NodeClosed(A))]


def test_setup_that_fails() -> None:
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, 2, False))
    assert node(SetupFailed("no such file")) == [
        ToClient(PA, m.NodeFailed(A, "no such file", setup=True)),
        CloseZygote(),
    ]
    assert node.machine.next_deadline() is None, "node_setup has ended"
    assert node(SetupFailed("again")) == []
    assert node(ZygoteExited("closed")) == FREED


def test_a_node_that_lacks_what_the_client_requires_has_served_nobody() -> None:
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, 2, False))
    node.machine.serve = 1
    assert node(SetupFailed("no numpy", setup=False)) == [ToClient(PA, m.NodeFailed(A, "no numpy")), CloseZygote()]
    assert node(ZygoteExited("closed")) == FREED
    assert node.machine.clients_served == 0
    for event in (ReserveAsked(S, B, PB), SetupAsked(B, 2, False), SetupFailed("no such file")):
        node(event)
    assert Stop() in node(ZygoteExited("closed"))
    assert node.machine.clients_served == 1


def test_a_zygote_that_dies() -> None:
    node = serving()
    failed = ToClient(PA, m.NodeFailed(A, "killed"))
    assert node(ZygoteExited("killed")) == [LEAVES, down(100), down(101), failed, *FREED]
    assert node(ServerExited(0, "killed")) == []
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, 1, False), SetupDone())
    assert node(ZygoteExited("killed")) == [LEAVES, failed, *FREED], "no server listened yet"
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA), SetupAsked(A, 2, False))
    setup_failed, *freed = node(ZygoteExited("killed"))
    assert setup_failed.message.setup, "what waits for a server does not wait for ever"
    assert setup_failed.message.error.startswith(
        "killed, while it opened the client's components or ran its node_setup"
    )
    assert freed == FREED
    node = serving(1)
    node(CloseAsked(A, True))
    assert node(ZygoteExited("killed")) == [down(100, asked=True), *FREED]
    assert node(ZygoteExited("killed")) == []
    node = serving(1)
    node(CloseAsked(A, True, "closed by hand"))
    assert node(ZygoteExited("killed"))[0] == down(100, "closed by hand", asked=True), "why it was to end"
    node = serving(1)
    for event in (ServerExited(0, "killed"), ServerListening(0, 9707, 101), ServerExited(0, "killed")):
        node(event)
    assert node.machine.next_deadline() is not None, "there is none now, and that has been said"
    assert node(ZygoteExited("killed")) == [LEAVES, ToClient(PA, m.NodeFailed(A, "killed")), *FREED]


def test_a_lost_client_is_closed_soon_and_told_nothing_at_the_end() -> None:
    node = serving(1)
    assert node(ProcessLost(PA, "killed"), 7.0) == [EndServer(0, LOST_GRACE_S)]
    assert node.machine.next_deadline() == 7.0 + LOST_GRACE_S
    assert node(TimePassed(), 7.5) == [KillServer(0)]
    assert node(TimePassed(), 8.0) == []
    (told, _) = node(ServerExited(0, "killed by SIGKILL (perhaps the system ran out of memory)"))
    assert told.message.reason == "its node ended it, as it had lost the client: killed", "should it be there after all"
    assert node(ZygoteExited("closed")) == [ToScheduler(S, None)]
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA))
    assert node(ProcessLost(PA, "killed")) == [ToScheduler(S, None)]
    assert node.machine.lost == A, "as the scheduler is told"
    assert node(ReserveAsked(S, B, PB)) == [ToScheduler(S, m.NodeAnswer(B, True))]
    assert node.machine.lost == 0
    assert node(ReleaseAsked(B, S)) == [ToClient(PB, m.NodeClosed(B)), ToScheduler(S, None)], "another client"


def test_a_lost_scheduler_changes_nothing_but_who_is_told() -> None:
    node = serving(1)
    assert node(ProcessLost(S, "killed")) == []
    assert Driven(SchedulerSeen(S))(ProcessLost(0, "killed")) == [], "nobody's, of a node that serves nobody"
    node(SchedulerSeen(2))
    node(CloseAsked(A, True))
    node(ServerExited(0, "exit code 0"))
    assert node(ZygoteExited("closed")) == [FREED[0], ToScheduler(2, None)]


def test_a_server_that_its_node_has_killed_did_not_run_out_of_memory() -> None:
    node = serving(1)
    node(CloseServerAsked(A, 100, terminate=True, restart=True))
    assert node(TimePassed(), GRACE_S) == [KillServer(0)]
    effects = node(ServerExited(0, "killed by SIGKILL (perhaps the system ran out of memory)"), GRACE_S)
    assert effects[0] == down(100, f"it was closed with terminate=True: {KILLED}", restarts=True, asked=True)


def test_a_patient_close_kills_nobody_until_it_is_urgent() -> None:
    node = serving(2)
    assert node(CloseAsked(A, False)) == [EndServer(0, PATIENT), EndServer(1, PATIENT)]
    assert node.machine.next_deadline() is None
    assert node(CloseAsked(A, False)) == []
    assert node(CloseServerAsked(A, 101, True, True), 98.0) == [], "all of them end"
    assert node(ServerExited(0, "exit code 0"), 99.0) == [down(100, "exit code 0", asked=True)]
    assert node(CloseAsked(A, True), 100.0) == [EndServer(1, GRACE_S)]
    assert node(CloseAsked(A, True), 100.0) == [], "at the same moment"
    assert node(CloseAsked(A, True), 101.0) == []
    assert node.machine.next_deadline() == 100.0 + GRACE_S
    assert node(ProcessLost(PA, "killed"), 102.0) == [EndServer(1, LOST_GRACE_S)]
    assert node(TimePassed(), 102.0 + LOST_GRACE_S) == [KillServer(1)]


def test_a_server_that_dies_is_replaced_with_growing_pauses() -> None:
    node = serving(1)
    now, server = STEADY_S + 1, 100
    assert node(ServerExited(0, "killed"), now) == [down(server, restarts=True), ForkServer(0)]
    for pause in (0.0, 0.2, 1.0, 5.0, 5.0):
        server += 1
        now += 1.0
        node(ServerListening(0, 9707, server), now)
        effects = node(ServerExited(0, "killed"), now)
        assert effects[0] == down(server, restarts=True)
        assert effects[1:] == ([] if pause else [ForkServer(0)])
        assert node.machine.next_deadline() == (now + pause if pause else None)
        if pause:
            assert node(TimePassed(), now + pause / 2) == []
            now += pause
            assert node(TimePassed(), now) == [ForkServer(0)]
    now += STEADY_S
    assert node(ServerExited(0, "killed"), now) == [ForkServer(0)], "it never listened: nobody knew it"


def test_the_first_server_of_a_client_that_ends_at_once_counts() -> None:
    node = Driven(ReserveAsked(S, A, PA), SetupAsked(A, 1, False))
    node(SetupDone(), 50.0)
    assert node(ServerExited(0, "killed"), 51.0) == [ForkServer(0)]
    assert node(ServerExited(0, "killed"), 52.0) == []
    assert node.machine.next_deadline() == 52.2
    for late in (ServerListening(0, 9707, 100), ServerExited(0, "killed")):
        assert node(late, 52.1) == [], "it has ended, whatever was on its way"
    assert node.machine.next_deadline() == 52.2
    assert node(TimePassed(), 53.0) == [ForkServer(0)]
    assert node(ServerListening(0, 9707, 101), 53.0) == [ToClient(PA, m.ServerUp(A, 0, "", 9707, 101))]
    assert node(ServerExited(0, "killed"), 53.0 + STEADY_S)[1:] == [ForkServer(0)], "it was up for long enough"


def test_while_a_server_waits_to_be_replaced_the_node_closes() -> None:
    node = serving(1)
    node(ServerExited(0, "killed"), 1.0)
    node(ServerExited(0, "killed"), 2.0)
    assert node.machine.next_deadline() is not None
    assert node(CloseAsked(A, True), 2.1) == [CloseZygote()]
    assert node.machine.next_deadline() is None


def test_closing_one_server() -> None:
    node = serving(2)
    assert node(CloseServerAsked(A, 100, False, False)) == [EndServer(0, PATIENT)]
    assert node.machine.next_deadline() is None
    assert node(CloseServerAsked(A, 100, True, False), 3.0) == [EndServer(0, GRACE_S)]
    node(CloseServerAsked(A, 100, True, False), 4.0)
    assert node.machine.next_deadline() == 3.0 + GRACE_S, "asked twice is not longer"
    why = "it was closed with terminate=True: exit code 0"
    assert node(ServerExited(0, "exit code 0"), 5.0) == [down(100, why, asked=True)]
    assert node(CloseServerAsked(A, 101, False, True)) == [EndServer(1, PATIENT)]
    assert node(ServerExited(1, "exit code 0"), 6.0) == [
        down(101, "exit code 0", restarts=True, asked=True), ForkServer(1)
    ]  # fmt: skip
    assert node(CloseServerAsked(A, 101, False, True)) == [], "it has ended"
    node = serving(1)
    node(CloseServerAsked(A, 100, False, False))
    assert node(ServerExited(0, "exit code 0")) == [down(100, "exit code 0", asked=True)]
    assert node.phase == SERVING, "with no server, until its client closes it"
    assert node(CloseAsked(A, True)) == [CloseZygote()]


def test_restart_servers() -> None:
    node = serving(1, restart_servers=True)
    node(CloseServerAsked(A, 100, False, False))
    for server in (100, 101, 102):  # as often as it is asked, and without a pause
        node(CloseServerAsked(A, server, False, False))
        assert ForkServer(0) in node(ServerExited(0, "exit code 0"), 5.0)
        node(ServerListening(0, 9707, server + 1))


def test_a_server_that_comes_up_while_it_is_closed() -> None:
    node = Driven(ReserveAsked(S, A, PA), SetupAsked(A, 1, False), SetupDone())
    assert node(CloseAsked(A, True)) == [EndServer(0, GRACE_S)]
    assert node(ServerListening(0, 9707, 100)) == [], "nobody is to use it"
    assert node(ServerListening(5, 9707, 105)) == []
    assert node(ServerExited(5, "?")) == []


def test_stopping() -> None:
    node = Driven()
    assert node(StopAsked(False)) == [Stop()]
    assert node.phase == STOPPED
    assert node(StopAsked(True)) == []
    node = Driven(SchedulerSeen(S), ReserveAsked(S, A, PA))
    assert node(StopAsked(False)) == [FREED[0], Stop()]
    node = serving(1)
    assert node(StopAsked(False)) == []
    (refusal,) = node(ReserveAsked(S, B, PB))
    assert refusal.message == m.NodeAnswer(B, False, "the node is being stopped")
    assert node(StopAsked(True)) == [EndServer(0, LOST_GRACE_S)]
    node(ServerExited(0, "exit code 0"))
    assert node(ZygoteExited("closed")) == [FREED[0], Stop()]


def test_outside_of_its_hours_no_client_is_taken() -> None:
    night = "not in service until 17:00"
    node = Driven(SchedulerSeen(S))
    assert node(HoursChanged(night)) == [ToScheduler(S, None)]
    assert node(HoursChanged(night)) == [], "nothing new"
    assert node(ReserveAsked(S, A, PA)) == [ToScheduler(S, m.NodeAnswer(A, False, night))]
    assert node.machine.next_deadline() is None
    assert node(HoursChanged("")) == [ToScheduler(S, None)], "they hear that it is open"
    assert node(ReserveAsked(S, A, PA)) == [ToScheduler(S, m.NodeAnswer(A, True))]


def test_at_the_stop_a_client_stays_and_at_the_end_it_goes() -> None:
    night, why = "not in service until 17:00", "its node's hours of service ended at 08:00"
    node = serving(1)
    assert node(HoursChanged(night)) == []
    assert node(ReserveAsked(S, A, PA)) == [ToScheduler(S, m.NodeAnswer(A, True))], "whom it serves it goes on to serve"
    assert node(ReserveAsked(S, B, PB)) == [ToScheduler(S, m.NodeAnswer(B, False, night))]
    assert node(HoursChanged(night, why), 9.0) == [LEAVES, EndServer(0, GRACE_S)]
    assert node.machine.next_deadline() == 9.0 + GRACE_S
    assert node(TimePassed(), 9.0 + GRACE_S) == [KillServer(0)]
    assert node(ServerExited(0, "killed")) == [down(100, why, asked=True), CloseZygote()]
    assert node(ZygoteExited("closed")) == [ToClient(PA, m.NodeClosed(A, why)), ToScheduler(S, None)]
    assert node(HoursChanged("")) == [ToScheduler(S, None)]
    assert node(ReserveAsked(S, B, PB)) == [ToScheduler(S, m.NodeAnswer(B, True))]
    assert node(HoursChanged(night, why)) == [ToClient(PB, m.NodeClosed(B, why)), ToScheduler(S, None)], "reserved"
    node = Driven(ReserveAsked(S, A, PA), SetupAsked(A, 1, False))
    assert node(HoursChanged(night, why)) == [CloseZygote()], "in node_setup"


def test_the_end_hurries_a_patient_close() -> None:
    node = serving(1)
    node(CloseAsked(A, False))
    assert node(HoursChanged("later", "it is late"), 3.0) == [EndServer(0, GRACE_S)]


def test_a_client_hears_that_all_servers_end_before_the_first_has_ended() -> None:
    """What it loses with that would be run again at the next, and be lost again."""
    node = serving(2)
    assert node(CloseAsked(A, True, "its node was told to end"))[0] == LEAVES
    for asked in (CloseAsked(A, True), CloseAsked(A, False), ReleaseAsked(A, S), ProcessLost(PA, "killed")):
        node = serving(2)
        assert LEAVES not in node(asked), "nobody has to be told"


def test_it_serves_so_many_clients() -> None:
    node = serving(0)
    node.machine.serve = 2
    node(CloseAsked(A, True))
    assert node(ZygoteExited("closed")) == FREED
    node(ReserveAsked(S, B, PB))
    assert node(ReleaseAsked(B, S))[-1] == ToScheduler(S, None), "one that never came does not count"
    for event in (ReserveAsked(S, B, PB), SetupAsked(B, 1, False), SetupFailed("no")):
        node(event)
    assert node(ZygoteExited("closed")) == [ToClient(PB, m.NodeClosed(B)), Stop()], "one that came does"
    assert node.phase == STOPPED


def test_a_client_that_runs_nothing_is_closed() -> None:
    assert serving(1).machine.next_deadline() is None, "by default it may stay for ever"
    node = serving(1, zombie_period_s=60.0)
    assert node.machine.next_deadline() == 60.0
    node(TasksSeen(0, 20.0), 60.0)
    assert node(TimePassed(), 60.0) == []
    assert node.machine.next_deadline() == 80.0
    node(TasksSeen(1, 20.0), 80.0)
    assert node(TimePassed(), 80.0) == []
    assert node.machine.next_deadline() == 140.0, "it runs one"
    node(TasksSeen(0, 90.0), 140.0)
    assert node(TimePassed(), 140.0) == []
    node(TasksSeen(0, 90.0), 150.0)
    assert node(TimePassed(), 150.0) == [LEAVES, EndServer(0, GRACE_S)]
    assert node.machine.next_deadline() == 150.0 + GRACE_S
    why = "its node closed it: none of its tasks has run there for 60 s"
    assert node(ServerExited(0, "it ended"))[0] == down(100, why, asked=True)
    assert node(ZygoteExited("closed"))[0] == ToClient(PA, m.NodeClosed(A, why))


def test_a_node_that_closes_already_is_not_closed_for_running_nothing() -> None:
    node = serving(1, zombie_period_s=60.0)
    node(CloseAsked(A, False), 1.0)
    assert node.machine.next_deadline() is None
    assert node(TimePassed(), 100.0) == []
    assert node.machine.idled == 0


def test_the_shorter_of_two_idle_limits_counts() -> None:
    node = Driven()
    node.machine.zombie_period_s = 60.0
    for theirs, limit in ((0.0, 60.0), (100.0, 60.0), (20.0, 20.0)):
        node(ReserveAsked(S, A, PA, theirs))
        assert node.machine.idle_max_s == limit
        node(ReleaseAsked(A, S))
    assert node.machine.idle_max_s == 0


def test_a_node_that_is_set_up_anew_stays_with_its_client() -> None:
    node = serving(1)
    assert node(CloseAsked(A, True, keep=True)) == [EndServer(0, GRACE_S)]
    assert node(ServerExited(0, "it ended"))[-1] == CloseZygote()
    (answer,) = node(ReserveAsked(S, 99, 98))
    assert not answer.message.ok
    assert node(ZygoteExited("closed")) == [ToClient(PA, m.NodeClosed(A, kept=True))], "the scheduler hears nothing"
    assert (node.phase, node.machine.keep) == (RESERVED, False)
    assert node.machine.next_deadline() == SETUP_WAIT_S
    assert node(SetupAsked(A, 2, False)) == [OpenZygote(A)]


@pytest.mark.parametrize(
    "instead",
    [
        [CloseAsked(A, True)],
        [ReleaseAsked(A, S)],
        [StopAsked(True)],
        [StopAsked(False)],
        [HoursChanged("not in service until 17:00")],
        [ProcessLost(PA, "it ended")],
        [ProcessLost(PA, "it ended"), CloseAsked(A, True, keep=True)],
    ],
)
def test_a_node_is_not_kept_for_a_client_that_leaves_or_when_it_takes_none(instead: list[Any]) -> None:
    node = serving(1)
    for event in (CloseAsked(A, True, keep=True), *instead):
        node(event)
    node(ServerExited(0, "it ended"))
    node(ZygoteExited("closed"))
    assert node.phase in (FREE, STOPPED)


def test_who_closes_a_node_that_serves_nobody_changes_nothing_for_the_next_client() -> None:
    node = Driven(SchedulerSeen(S), CloseAsked(0, True, keep=True))
    for event in (ReserveAsked(S, A, PA), SetupAsked(A, 1, False)):
        node(event)
    assert node(ZygoteExited("killed"))[1:] == FREED, "it is not kept"


def test_closed_by_its_operator() -> None:
    node = serving(1)
    assert node(CloseAsked(A, True, "closed by hand")) == [LEAVES, EndServer(0, GRACE_S)]
    assert node(CloseAsked(A, True, "closed again")) == [], "it is said once"
    assert node(ServerExited(0, "it ended"))[0] == down(100, "closed by hand", asked=True)
    assert node(ZygoteExited("closed")) == [ToClient(PA, m.NodeClosed(A, "closed by hand")), ToScheduler(S, None)]
    node(ReserveAsked(S, A, PA))
    assert node(ReleaseAsked(A, S)) == FREED, "the reason is not kept for the next"
    node = serving(0)
    node(CloseAsked(A, True, "closed by hand"))
    for why in ("", "it is late"):
        node(CloseAsked(A, True, why))
    assert node(ZygoteExited("closed"))[0] == ToClient(PA, m.NodeClosed(A, "closed by hand")), "the first reason counts"


class AnyOrder(RuleBasedStateMachine):
    """A node with fake processes: one client's servers live at a time, and every close comes to its end."""

    clients = st.sampled_from([(A, PA), (B, PB)])

    def __init__(self) -> None:
        super().__init__()
        self.machine = NodeMachine(own_max=2)
        self.now = 0.0
        self.zygote = 0
        self.servers: dict[int, int] = {}
        self.numbers = 1000
        self.own: dict[int, int] = {}
        """Processes of single tasks by their client's number: what it has heard of them."""
        self.stopped = False
        self.tell(SchedulerSeen(S))

    def tell(self, event: Any) -> None:
        for effect in self.machine.handle(event, self.now):
            match effect:
                case OpenZygote(client):
                    assert not self.zygote
                    self.zygote = client
                case ForkServer(index, own):
                    assert self.zygote
                    assert own == (index >= self.machine.servers.cpus)
                    assert index not in self.servers
                    self.servers[index] = 0
                case EndServer(index, _) | KillServer(index):
                    assert index in self.servers
                case CloseZygote():
                    assert self.zygote
                case ToClient(_, m.ServerUp(own=own, incarnation=server)) if own:
                    assert self.own[own] == 0
                    self.own[own] = server
                case ToClient(_, m.ServerDown(incarnation=server, restarts=restarts)) if server in self.own.values():
                    assert not restarts
                    del self.own[next(own for own, n in self.own.items() if n == server)]
                case ToClient(_, m.OwnRefused(own=own)):
                    assert self.own.pop(own) == 0
                case Stop():
                    assert not self.zygote
                    self.stopped = True

    @rule(client=clients)
    def reserve(self, client: tuple[int, int]) -> None:
        self.tell(ReserveAsked(S, *client))

    @rule(client=clients, cpus=st.integers(1, 3), restart=st.booleans())
    def setup(self, client: tuple[int, int], cpus: int, restart: bool) -> None:
        self.tell(SetupAsked(client[0], cpus, restart))

    @rule(client=clients, what=st.sampled_from(["close", "patient", "release", "lost"]))
    def close(self, client: tuple[int, int], what: str) -> None:
        events = {"close": CloseAsked(client[0], True), "patient": CloseAsked(client[0], False)}
        events |= {"release": ReleaseAsked(client[0], S), "lost": ProcessLost(client[1], "killed")}
        self.tell(events[what])

    @rule(closed=st.sampled_from(["", "later"]), ends=st.booleans())
    def hours(self, closed: str, ends: bool) -> None:
        self.tell(HoursChanged(closed, "it is late" if closed and ends else ""))

    @precondition(lambda self: self.zygote and self.machine.phase == SETUP)
    @rule(ok=st.booleans())
    def set_up(self, ok: bool) -> None:
        self.tell(SetupDone() if ok else SetupFailed("no"))

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), what=st.sampled_from(["listen", "exit", "exit", "close", "restart"]))
    def server(self, data: st.DataObject, what: str) -> None:
        index = data.draw(st.sampled_from(list(self.servers)))
        if what == "exit":
            del self.servers[index]
            self.tell(ServerExited(index, "killed"))
        elif what == "listen" and not self.servers[index]:
            self.numbers += 1
            self.servers[index] = self.numbers
            self.tell(ServerListening(index, 1, self.numbers))
        elif self.servers[index]:
            self.tell(CloseServerAsked(self.zygote, self.servers[index], data.draw(st.booleans()), what == "restart"))

    @rule(client=clients)
    def start_own(self, client: tuple[int, int]) -> None:
        self.numbers += 1
        self.own[self.numbers] = 0
        self.tell(OwnAsked(client[0], self.numbers, process=client[1]))

    @precondition(lambda self: self.own)
    @rule(data=st.data(), terminate=st.booleans())
    def end_own(self, data: st.DataObject, terminate: bool) -> None:
        self.tell(EndOwnAsked(self.zygote, data.draw(st.sampled_from(list(self.own))), terminate))

    @precondition(lambda self: self.zygote)
    @rule()
    def zygote_exits(self) -> None:
        self.zygote = 0
        self.servers.clear()
        self.tell(ZygoteExited("it"))

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tell(TimePassed())
        deadline = self.machine.next_deadline()
        assert deadline is None or deadline > self.now

    @rule(terminate=st.booleans())
    def stop(self, terminate: bool) -> None:
        self.tell(StopAsked(terminate))

    @invariant()
    def holds(self) -> None:
        self.machine.check()
        assert bool(self.zygote) == (self.machine.phase in (SETUP, SERVING, CLOSING, WIPING))
        there = [server for server in self.machine.servers.by_index.values() if server.own]
        assert {server.own for server in there} == set(self.own), "each is there until its client has heard of its end"
        assert len(there) <= self.machine.servers.own_max
        if self.zygote:
            assert set(self.servers) == {s.index for s in self.machine.servers.by_index.values() if s.alive}
        assert self.stopped == (self.machine.phase == STOPPED)

    def teardown(self) -> None:
        """Everything that must end does, in bounded time."""
        if self.machine.client:
            self.tell(ReleaseAsked(self.machine.client, S))
        for _ in range(20):
            self.now += 10
            self.tell(TimePassed())
            for index in list(self.servers):
                del self.servers[index]
                self.tell(ServerExited(index, "killed"))
            if self.machine.phase == WIPING:
                self.zygote_exits()
        assert self.machine.phase in (FREE, STOPPED)


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


# found by tests/sim


def test_a_client_that_the_node_does_not_serve_any_more_is_told() -> None:
    node = Driven(ReserveAsked(S, A, PA), ProcessLost(PA, "it gave up the connection"))
    assert node.phase == FREE
    assert node(SetupAsked(A, 2, False, PA, 7)) == [ToClient(PA, m.NodeClosed(A, setup_id=7))]
    assert node(CloseAsked(A, True, process=PA, setup_id=7)) == [ToClient(PA, m.NodeClosed(A, setup_id=7))]
    node(ReserveAsked(S, B, PB))
    assert node(SetupAsked(A, 2, False, PA)) == [ToClient(PA, m.NodeClosed(A))]
    assert node(CloseAsked(A, True)) == [], "it was not the client that asked"
    assert node(SetupAsked(B, 2, False, PB)) == [OpenZygote(B)]
    assert node(SetupAsked(B, 2, False, PB)) == [], "asked twice"


def test_each_word_to_a_client_carries_the_number_of_its_setup() -> None:
    setup = SetupAsked(A, 1, False, PA, 7)
    node = Driven(ReserveAsked(S, A, PA), setup)
    assert node(SetupDone())[0] == ToClient(PA, m.NodeReady(A, 7))
    leaves, failed, closed = node(ZygoteExited("killed"))
    assert leaves == ToClient(PA, m.NodeLeaves(A, 7))
    assert failed == ToClient(PA, m.NodeFailed(A, "killed", setup_id=7))
    assert closed == ToClient(PA, m.NodeClosed(A, setup_id=7))
    node = Driven(ReserveAsked(S, A, PA), setup)
    assert node(SetupFailed("no"))[0] == ToClient(PA, m.NodeFailed(A, "no", setup=True, setup_id=7))
    node = Driven(ReserveAsked(S, A, PA), setup, CloseAsked(A, True, keep=True))
    assert node(ZygoteExited("closed")) == [ToClient(PA, m.NodeClosed(A, kept=True, setup_id=7))]
    assert node(ReleaseAsked(A, S)) == [ToClient(PA, m.NodeClosed(A))], "there was no other yet"


def test_the_next_client_hears_nothing_of_the_setup_of_the_one_before() -> None:
    node = Driven(ReserveAsked(S, A, PA), SetupAsked(A, 1, False, PA, 7))
    node(ZygoteExited("killed"))
    node(ReserveAsked(S, B, PB))
    assert node(ReleaseAsked(B, S))[0] == ToClient(PB, m.NodeClosed(B, setup_id=0))


def test_the_zygote_of_the_next_client_is_not_killed_in_the_place_of_the_last() -> None:
    node = Driven(ReserveAsked(S, A, PA), SetupAsked(A, 1, False))
    node(CloseAsked(A, True))
    assert node.machine.next_deadline() == GRACE_S
    node(ZygoteExited("killed"))
    assert node.machine.next_deadline() is None
    assert not node.machine.setting_up
