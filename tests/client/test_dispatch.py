"""parkcos/client/dispatch.py"""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.ahead import AHEAD_MAX, STEAL_AFTER_S, STUCK_AFTER_S
from parkcos.client.dispatch_events import (
    CancelAsked,
    CloseAsked,
    CloseNode,
    CloseServer,
    Ended,
    EndTask,
    Granted,
    Judged,
    LeaveScheduler,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    Recall,
    Recalled,
    Refused,
    ReportAbandoned,
    ReportRefused,
    ReportRetried,
    ReportStarted,
    ReportStatus,
    Run,
    SchedulerLost,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SetupNode,
    Started,
    SuspendAsked,
    TimePassed,
    Want,
)
from parkcos.client.ends import END_WAIT_S
from parkcos.client.tasks import HANGS_S
from tests.client.driven import Driven, M, N, abandoned, info, submitted

# nodes and servers


def test_from_an_offer_to_an_open_server() -> None:
    c = Driven()
    assert c(Offered(info(N), 2)) == [Want(N, 2)]
    assert c(Granted(N)) == [SetupNode(N, 2)]
    assert c(Granted(N)) == []
    assert c(NodeIsReady(N)) == []
    assert c(ServerIsUp(N, 1001, "10.0.0.1", 9707)) == [OpenServer(1001)]
    assert c(ServerIsUp(N, 1001, "10.0.0.1", 9707)) == []
    assert c(ServerIsReady(1001)) == []
    assert c(ServerIsReady(1001)) == []
    assert c(ServerIsReady(99)) == []
    assert c(ServerIsUp(M, 99, "10.0.0.1", 9707)) == []
    assert c.statuses == [
        ("NodeDiscovered", N), ("NodeInitialized", N), ("ServerDiscovered", 1001), ("ServerInitialized", 1001)
    ]  # fmt: skip


def test_an_unwanted_node() -> None:
    c = Driven()
    assert c(Offered(info(N), 0)) == [Want(N, 0)]
    assert c(Granted(N)) == []
    assert not c.machine.nodes


def test_a_node_that_could_not_be_had_and_is_offered_again() -> None:
    c = Driven()
    c(Offered(info(N), 2))
    assert c(Offered(info(N), 2)) == [Want(N, 2)]
    c(Granted(N))
    assert c(Offered(info(N), 2)) == [], "it is in use"
    assert c.statuses == [("NodeDiscovered", N)]
    c(Offered(info(M), 2))
    c(NodeHasFailed(M, "it serves another client"))
    assert c(Offered(info(M), 2)) == [Want(M, 2)]


def test_tasks_for_a_node_that_is_never_had() -> None:
    c = Driven()
    c(Offered(info(N), 2))
    assert c(submitted(1, False, node=N)) == []
    assert c(submitted(2, True, node=N)) == []
    assert abandoned(c(NodeHasFailed(N, "it is gone"))) == {1: "it is gone", 2: "it is gone"}


def test_server_setup_that_fails() -> None:
    c = Driven()
    c.bring(N, 2, opened=False)
    c(submitted(1, False, server=1001))
    c(submitted(2, True, server=1001))
    c(submitted(3, False, node=N))
    effects = c(ServerSetupFailed(1001, "no such file"))
    assert set(abandoned(effects)) == {1, 2}
    assert "no such file" in abandoned(effects)[1]
    assert abandoned(c(ServerSetupFailed(1002, "no such file"))) == {3: "no server is left at that node: no such file"}
    assert abandoned(c(submitted(4, False, node=N))) == {4: "no server is left at that node"}
    assert abandoned(c(submitted(5, False))) == {5: "no server is left, and where it was tried, no such file"}
    c(ServerIsDown(1002, "killed", restarts=True, asked=False))
    assert c(submitted(6, False, node=N)) == [], "its node starts another"
    c(ServerIsUp(N, 1003, "10.0.0.1", 1))
    assert c(ServerIsReady(1003)) == [Run(6, 1003, False)]


def test_setup_that_fails_everywhere_ends_what_waits() -> None:
    c = Driven()
    c(Offered(info(N), 1))
    c(Offered(info(M), 1))
    c(Granted(N))
    c(submitted(1, False))
    c(submitted(2, True))
    assert abandoned(c(NodeHasFailed(N, "node_setup failed", setup=True))) == {}, "another node may still do"
    c(Granted(M))
    assert set(abandoned(c(NodeHasFailed(M, "node_setup failed", setup=True)))) == {1, 2}
    assert "node_setup failed" in abandoned(c(submitted(3, False)))[3]
    c(Offered(info(N), 1))
    assert c(submitted(4, False)) == [], "it may do better now"


# where tasks run


def test_one_cpu_task_at_a_server_at_the_least_loaded_node() -> None:
    c = Driven(servers=2, nodes=2)
    servers = [c(submitted(task, False))[0].server for task in (1, 2, 3, 4)]
    assert sorted(servers) == [1001, 1002, 2001, 2002]
    assert {servers[0] // 1000, servers[1] // 1000} == {1, 2}, "to the node with less to do"
    assert c(submitted(5, False)) == []
    assert c(submitted(6, False)) == []
    assert c.run(2, 1.0) == [Run(5, servers[1], False)], "in order"
    assert c.run(1, 1.0) == [Run(6, servers[0], False)]


def test_io_tasks_run_beside_others_and_spread() -> None:
    c = Driven(servers=2)
    (cpu,) = c(submitted(1, False))
    (io,) = c(submitted(2, True))
    assert io.server != cpu.server, "a CPU task may hog its server"
    assert sorted(c(submitted(t, True))[0].server for t in (3, 4, 5)) in ([1001, 1001, 1002], [1001, 1002, 1002])
    assert c.machine.life.cpu_tasks == 1


def test_tasks_wait_for_the_first_server() -> None:
    c = Driven()
    assert c(submitted(1, False)) == []
    assert c(submitted(2, True)) == []
    c.bring(N, 1, opened=False)
    assert c(submitted(3, True, node=N)) == []
    assert c(submitted(4, True, server=1001)) == []
    assert c(submitted(5, False, server=1001)) == []
    assert c(ServerIsReady(1001)) == [
        Run(4, 1001, True), Run(3, 1001, True), Run(2, 1001, True), Run(5, 1001, False)
    ]  # fmt: skip
    assert c.run(5, 1.0) == [Run(1, 1001, False)]


def test_tasks_for_a_node_or_server() -> None:
    c = Driven(servers=1, nodes=2)
    assert c(submitted(1, False, node=M)) == [Run(1, 2001, False)]
    assert c(submitted(2, False, node=M)) == []
    assert c(submitted(3, False, server=2001)) == []
    assert c(submitted(4, True, node=M)) == [Run(4, 2001, True)]
    assert c(submitted(5, True, server=2001)) == [Run(5, 2001, True)]
    assert c.run(1, 1.0) == [Run(3, 2001, False)], "the other server is idle and is not theirs"
    assert c.run(3, 1.0) == [Run(2, 2001, False)]
    assert abandoned(c(submitted(6, False, node=77))) == {6: "that node is not used by this client"}
    assert abandoned(c(submitted(7, True, node=77))) == {7: "that node is not used by this client"}
    assert abandoned(c(submitted(8, False, server=77))) == {8: "that server has ended"}


def test_what_is_reported() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    assert c(Started(1)) == [ReportStarted(1, 1001)]
    assert c(Started(1)) == []
    assert c(Ended(1, 0.1)) == []
    assert c(Ended(1, 0.1)) == []
    assert c(Started(1)) == []
    c(submitted(2, False))
    assert c(Ended(2, 0.1)) == [ReportStarted(2, 1001)], "its start was not heard"
    c(submitted(3, False))
    c(submitted(4, False))
    assert c(Refused(3, "no such module")) == [ReportRefused(3, "no such module"), Run(4, 1001, False)]
    assert c(Refused(3, "no such module")) == []


# ahead, and back


def test_short_tasks_are_sent_ahead_long_ones_are_not() -> None:
    c = Driven(servers=1)
    for task in range(1, 6):
        c(submitted(task, False))
    assert c.run(1, 1.0) == [Run(2, 1001, False)]
    for task in range(2, 6):
        c.run(task, 1.0)
    c.warm()
    for task in range(100, 200):
        c(submitted(task, False))
    assert c.run(100) == [Run(task, 1001, False) for task in range(101, 102 + AHEAD_MAX)]
    assert c.run(101) == [Run(102 + AHEAD_MAX, 1001, False)]


def ahead() -> Driven:
    """1001 runs task 100 and has 101, 102; 1002 runs 99."""
    c = Driven(servers=1)
    c.warm()
    c.bring(M, 1)
    (run,) = c(submitted(99, False, node=M))
    assert run.server == 2001
    for task in (90, 100, 101, 102):
        c(submitted(task, False))
    assert c.run(90) == [Run(task, 1001, False) for task in (100, 101, 102)]
    return c


def test_an_idle_server_gets_what_another_has_not_begun() -> None:
    c = ahead()
    c(Started(100))
    assert c.machine.next_deadline() == STUCK_AFTER_S, "nobody is idle"
    assert c(Ended(99, 0.01), 0.01) == [ReportStarted(99, 2001)]
    assert c.machine.next_deadline() == 0.01 + STEAL_AFTER_S
    assert c(TimePassed(), 0.01 + STEAL_AFTER_S) == [Recall(101, 1001), Recall(102, 1001)]
    assert c.machine.next_deadline() is None, "once is enough"
    assert c(Recalled(101, True)) == [Run(101, 2001, False)]
    assert c(Recalled(102, False)) == [], "it had begun"
    assert c(Ended(100, 1.1)) == []
    assert c(Ended(102, 0.1)) == [ReportStarted(102, 1001)]


def test_short_tasks_do_not_wait_behind_a_long_one_while_others_have_their_backlog() -> None:
    """No server is idle: what is recalled from the slow one is next in line."""
    c = ahead()
    c(Started(100))
    c(submitted(103, False))
    assert c(TimePassed(), STUCK_AFTER_S) == [Recall(101, 1001), Recall(102, 1001)]
    assert c(Recalled(101, True)) == []
    assert c(Recalled(102, True)) == []
    assert c(submitted(104, False)) == [], "there is no hurry, and nothing more is sent behind the slow one"
    assert {run.task for run in (*c.run(99, 1.0), *c.run(102, 1.0))} == {102, 101}
    assert list(c.machine.queue.pending) == [103, 104]


def test_after_a_recall_the_function_counts_as_slow() -> None:
    c = ahead()
    c(Started(100))
    c(TimePassed(), STUCK_AFTER_S)
    c(Recalled(101, True))
    c(Recalled(102, True))
    assert [type(each) for each in c(Ended(100, STUCK_AFTER_S), STUCK_AFTER_S)] == [Run], "one, and none ahead"


def test_nothing_is_recalled_from_a_server_that_gets_on() -> None:
    c = ahead()
    c(Ended(99, 1.0), 1.0)
    assert c(Ended(100, 0.0), 1.004) != []
    assert c(TimePassed(), 1.0 + STEAL_AFTER_S) == []
    again = c.machine.next_deadline()
    assert again is not None
    assert again > 1.0 + STEAL_AFTER_S, "time goes on"
    c(Ended(101, 0.0), again)
    c(Ended(102, 0.0), again)
    assert c(TimePassed(), again) == []
    assert c.machine.next_deadline() is None


def test_tasks_that_must_run_there_are_not_recalled() -> None:
    c = Driven(servers=1)
    c.warm()
    for task in (1, 2, 4):
        c(submitted(task, False, server=1001))
    c(submitted(3, False, node=N))
    c(Started(1))
    c(Ended(1, 0.0))
    c.bring(M, 1)
    assert c(TimePassed(), 9.0) == []
    assert c.machine.next_deadline() is None


def test_a_server_that_closes_gives_its_tasks_back() -> None:
    c = Driven(servers=1, nodes=2)
    (first,) = c(submitted(1, False))
    closing, other = first.server, 3002 - first.server
    c(submitted(2, False, server=closing))
    effects = c(Recalled(1, True))
    assert abandoned(effects) == {2: "that server is being closed"}
    assert [e for e in effects if isinstance(e, Run)] == [Run(1, other, False)]
    assert abandoned(c(submitted(3, False, server=closing))) == {3: "that server is being closed"}
    (io,) = c(submitted(4, True))
    assert io.server == other


def test_io_tasks_and_tasks_bound_to_a_place_are_given_back_too() -> None:
    c = Driven(servers=2)
    c(submitted(1, True, server=1001))
    assert set(abandoned(c(Recalled(1, True)))) == {1}, "it must run there and cannot"
    (run,) = c(submitted(2, True, node=N))
    assert run.server == 1002
    c.bring(M, 1)
    assert c(Recalled(2, True)) == [], "it waits for a server of its node"
    c(ServerIsUp(N, 1003, "10.0.0.1", 1))
    assert c(ServerIsReady(1003)) == [Run(2, 1003, True)]


# losses


@pytest.mark.parametrize("first", ["node", "session"])
def test_a_server_that_dies(first: str) -> None:
    c = ahead()
    c(Started(100))
    words = [ServerIsDown(1001, "signal 9", restarts=True, asked=False), ProcessLost(1001, "reset")]
    if first == "session":
        words.reverse()
    assert c(words[0], 1.0) == [], "its other word is waited for"
    assert c.machine.servers[1001].end.by_s == 1.0 + END_WAIT_S
    effects = c(words[1], 1.1)
    assert abandoned(effects) == {100: "its server 10.0.0.1:1001 ended: signal 9"}
    assert effects[0].started
    assert list(c.machine.queue.pending) == [101, 102], "these had not begun"
    assert c.run(99, 1.0) == [Run(101, 2001, False)]
    assert c.machine.next_deadline() is None
    assert ("ServerDisconnected", 1001) in c.statuses


@pytest.mark.parametrize("word", [ServerIsDown(1001, "signal 9", True, False), ProcessLost(1001, "reset")])
def test_without_the_second_word_nothing_runs_twice(word: Any) -> None:
    c = ahead()
    c(word, 1.0)
    assert c(TimePassed(), 1.5) == []
    effects = c(TimePassed(), 1.0 + END_WAIT_S)
    assert set(abandoned(effects)) == {100, 101, 102}, "perhaps they run there still"
    assert c(Started(101)) == []
    assert c(Ended(101, 0.1)) == [], "its late word does not count"


def test_what_it_sent_last_counts() -> None:
    c = ahead()
    c(ServerIsDown(1001, "signal 9", restarts=True, asked=False))
    assert c(Ended(100, 0.0)) == [ReportStarted(100, 1001)]
    assert c(Started(101)) == [ReportStarted(101, 1001)]
    assert set(abandoned(c(ProcessLost(1001, "reset")))) == {101}
    assert list(c.machine.queue.pending) == [102]


def test_a_lost_node_waits_for_the_last_words_of_its_servers() -> None:
    c = ahead()
    c(Started(100))
    assert c(ProcessLost(N, "reset")) == [Want(N, 1)], "should it be there"
    assert ("NodeDisconnected", N) in c.statuses
    assert c(submitted(7, False)) == [], "nothing more is sent there"
    effects = c(ProcessLost(1001, "reset"))
    assert abandoned(effects) == {100: "its server 10.0.0.1:1001 ended: its node is gone: reset"}
    assert list(c.machine.queue.pending) == [101, 102, 7]


def test_a_server_closed_for_good_leaves_its_node_without() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, node=N))
    c(submitted(2, False, node=N))
    c(ServerIsDown(1001, "exit code 0", restarts=False, asked=True))
    effects = c(ProcessLost(1001, "closed"))
    assert abandoned(effects)[2] == "no server is left at that node: exit code 0"
    assert ("ServerClosed", 1001) in c.statuses


def test_a_node_that_closes() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    assert c(NodeHasClosed(N)) == []
    assert set(abandoned(c(TimePassed(), END_WAIT_S))) == {1}
    assert c.machine.next_deadline() is None
    assert c(NodeHasClosed(N)) == []


def test_a_client_that_is_closed_by_others_is_told_so_at_once() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    assert c.run(1, 1.0) == []
    c(ServerIsDown(1001, "its node closed it", False, True))
    c(ProcessLost(1001, "closed"))
    c(NodeHasClosed(N, "its node closed it"))
    c(Offered(info(M), 1))
    c(submitted(2, False, node=M))
    why = "the scheduler has closed this client: idle"
    effects = c.machine.handle(CloseAsked(True, why=why), 0.0)
    assert abandoned(effects) == {2: why}
    assert effects[-2:] == [ReportStatus("ClientClosed", 0, why), LeaveScheduler()]
    assert abandoned(c(submitted(3, False))) == {3: why}


def test_the_scheduler_is_gone() -> None:
    c = Driven(servers=1)
    c(Offered(info(M), 1))
    c(submitted(1, False, node=M))
    assert abandoned(c(SchedulerLost("the scheduler is gone: killed"))) == {1: "the scheduler is gone: killed"}
    assert c(Offered(info(3000), 1)) == []
    assert c(submitted(2, False)) == [Run(2, 1001, False)], "it goes on with the nodes it has"
    assert c(submitted(3, False)) == []
    effects = c(ProcessLost(N, "reset"))
    assert abandoned(effects) == {3: "no server is left, and the scheduler is gone: killed"}
    assert set(abandoned(c(submitted(4, False)))) == {4}


# closing


def test_close_waits_for_cpu_tasks_not_for_io_tasks() -> None:
    c = Driven(servers=1)
    for task in (1, 2):
        c(submitted(task, False))
    c(submitted(3, True))
    assert c(CloseAsked(False)) == []
    assert abandoned(c(submitted(4, False))) == {4: "the client is being closed"}
    assert c.run(1, 1.0) == [Run(2, 1001, False)]
    assert c.run(2, 1.0) == [CloseNode(N, True)]
    assert c(CloseAsked(True)) == []
    assert c(Offered(info(M), 1)) == []
    c(ServerIsDown(1001, "exit code 0", restarts=False, asked=True))
    assert c(Ended(3, 1.0)) == [ReportStarted(3, 1001)], "it said something in its grace"
    assert c(ProcessLost(1001, "closed")) == []
    assert c(NodeHasClosed(N)) == [LeaveScheduler()]
    assert c.machine.stage.closed
    assert c.statuses[-3:] == [("ServerClosed", 1001), ("NodeClosed", N), ("ClientClosed", 0)]
    assert c(CloseAsked(True)) == []
    assert set(abandoned(c(submitted(9, False)))) == {9}


def test_close_waits_for_io_tasks_if_asked() -> None:
    c = Driven(servers=1)
    c(submitted(1, True))
    assert c(CloseAsked(False, await_io=True)) == []
    assert c.run(1) == [CloseNode(N, True)]


def test_close_with_terminate() -> None:
    c = Driven(servers=1)
    for task in (1, 2):
        c(submitted(task, False))
    effects = c(CloseAsked(True))
    assert abandoned(effects) == {2: "the client was closed"}
    assert effects[-1] == CloseNode(N, True)
    assert c.run(1, 1.0) == [], "interrupted, it has ended"
    c(NodeHasClosed(N))
    assert c(TimePassed(), 9.0) == [LeaveScheduler()]


def test_patience_that_ends() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    assert c(CloseAsked(False)) == []
    assert c(CloseAsked(False)) == []
    assert c(CloseAsked(True)) == [CloseNode(N, True)]
    assert c(Recalled(1, True)) == [ReportAbandoned(1, "its server was closed", False)]


def test_close_without_any_node() -> None:
    c = Driven()
    assert c(CloseAsked(False)) == [LeaveScheduler()]


def test_close_with_tasks_before_any_node_is_there() -> None:
    c = Driven()
    c(submitted(1, False))
    assert c(CloseAsked(False)) == []
    c.bring(N, 1, opened=False)
    assert c(ServerIsReady(1001)) == [Run(1, 1001, False)]
    assert c.run(1) == [CloseNode(N, True)]


def test_close_drops_nodes_that_are_not_granted_yet() -> None:
    c = Driven()
    c(Offered(info(N), 1))
    assert c(CloseAsked(False)) == [LeaveScheduler()]
    assert c(Granted(N)) == [], "the scheduler releases it"


def test_close_when_no_server_can_be_used() -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    c(submitted(1, False))
    c(submitted(2, True))
    assert set(abandoned(c(ServerSetupFailed(1001, "no such file")))) == {1, 2}
    effects = c(CloseAsked(False))
    assert effects[-1] == CloseNode(N, True)


def test_close_when_all_nodes_are_lost() -> None:
    c = Driven(servers=1)
    for task in (1, 2):
        c(submitted(task, False))
    c(ProcessLost(N, "reset"))
    assert set(abandoned(c(ProcessLost(1001, "reset")))) == {1}
    effects = c(CloseAsked(False))
    assert abandoned(effects) == {2: "no server is left, and the client is being closed"}
    assert effects[-1] == LeaveScheduler()


def test_a_server_that_comes_up_while_its_node_closes_is_not_opened() -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    assert c(CloseAsked(False)) == [CloseNode(N, True)]
    assert c(ServerIsReady(1001)) == []
    assert c(ServerIsUp(N, 1002, "10.0.0.1", 1)) == []
    assert c(NodeHasFailed(N, "its zygote was killed")) == []
    assert c(TimePassed(), 9.0) == [LeaveScheduler()]


def test_a_task_is_ended_wherever_it_is() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, retries=5))
    c(Started(1))
    assert c(CancelAsked(1), 10.0) == [EndTask(1, N + 1)]
    assert c(CancelAsked(1), 11.0) == []
    assert c(CancelAsked(2)) == []
    assert c.machine.next_deadline() == 10.0 + HANGS_S
    assert c(TimePassed(), 10.0 + HANGS_S) == [CloseServer(N, N + 1, True, True)], "its server cannot"
    c(ServerIsDown(N + 1, "killed", restarts=True, asked=True))
    (ended,) = c(ProcessLost(N + 1, "killed"))
    assert isinstance(ended, ReportAbandoned), "it is not run again"
    assert (ended.task, ended.timed_out) == (1, False)


def test_a_task_that_heeds_it_leaves_its_server_alone() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    c(Started(1))
    c(CancelAsked(1), 10.0)
    c(Ended(1, 1.0), 11.0)
    assert c(TimePassed(), 10.0 + HANGS_S) == []


def cancelled(io: bool = False) -> Driven:
    """Task 1 was sent to its server, which has not said that it has begun, and is to end."""
    c = Driven(servers=1)
    c(submitted(1, io, retries=5))
    assert c(CancelAsked(1, "enough")) == [EndTask(1, N + 1) if io else Recall(1, N + 1)]
    assert c(CancelAsked(1, "enough")) == [], "once is enough"
    return c


def test_a_task_that_was_only_sent_ahead_is_recalled_to_be_cancelled() -> None:
    c = cancelled()
    assert abandoned(c(Recalled(1, True))) == {1: "enough"}
    assert c(submitted(2, False)) == [Run(2, N + 1, False)], "its place is free"


def test_a_task_that_had_begun_when_it_was_recalled_is_ended() -> None:
    c = cancelled()
    assert c(Recalled(1, False)) == [], "its server is about to say that it has begun, or has ended"
    assert c(Started(1), 10.0) == [ReportStarted(1, N + 1), EndTask(1, N + 1)]
    assert c(TimePassed(), 10.0 + HANGS_S) == [CloseServer(N, N + 1, True, True)]


def test_an_io_task_begins_at_once_and_is_ended_by_its_server() -> None:
    c = cancelled(io=True)
    assert c(Started(1)) == [ReportStarted(1, N + 1)]
    assert c(Ended(1, 0.0)) == []


@pytest.mark.parametrize("began", [False, True])
def test_a_task_that_is_lost_while_it_is_cancelled_does_not_run_again(began: bool) -> None:
    c = cancelled()
    if began:
        c(Started(1))
    c(ServerIsDown(N + 1, "killed", restarts=True, asked=False))
    assert list(abandoned(c(ProcessLost(N + 1, "killed")))) == [1]


def test_a_hundred_thousand_tasks_that_wait_are_cancelled_one_by_one() -> None:
    """Each in the same time: from the middle as from the ends.  (Looking for each in a list would take a minute.)"""
    c = Driven(servers=1)
    handle = c.machine.handle
    for task in range(100_001):
        handle(submitted(task + 1, False, priority=task % 3), 0.0)
    numbers = list(c.machine.queue.pending)
    for task in numbers[50_000:] + numbers[:50_000]:
        (effect,) = handle(CancelAsked(task), 0.0)
        assert effect == ReportAbandoned(task, "it was cancelled", started=False)
    c.machine.check()
    assert list(c.machine.tasks) == [1]


# -- runs that are looked at


def judged(retries: int = 1) -> Driven:
    """Task 1 has run, and is to be looked at; task 2 has its server."""
    c = Driven(servers=1)
    c(submitted(1, False, retries=retries, judged=True))
    c(submitted(2, False))
    assert c.run(1) == [Run(2, N + 1, False)], "the server does not wait for that"
    assert list(c.machine.life.unjudged) == [1]
    return c


def test_a_run_that_is_good_was_the_last() -> None:
    c = judged()
    assert c(Judged(1)) == []
    assert list(c.machine.tasks) == [2]


def test_a_run_that_is_not_is_followed_by_another_under_the_same_number() -> None:
    c = judged(retries=2)
    assert c(Judged(1, "it raised")) == [ReportRetried(1, "it raised")]
    assert c(Judged(1, "it raised")) == [], "it waits, and is not looked at"
    assert c.run(2) == [Run(1, N + 1, False)]
    assert c(Started(1)) == [ReportStarted(1, N + 1)]
    c(Ended(1, 0.0))
    assert c(Judged(1, "it raised")) == [ReportRetried(1, "it raised"), Run(1, N + 1, False)]
    c.run(1)
    assert not c.machine.tasks, "there are no more retries, and nothing to look at"


@pytest.mark.parametrize("lost", [False, True])
def test_the_limit_of_one_run_does_not_count_for_the_next(lost: bool) -> None:
    """When that of the first one is over, the next one has been sent, and not begun: its server is not to blame."""
    c = Driven(servers=1)
    c(submitted(1, False, retries=1, timeout_s=1.0, judged=not lost))
    c(Started(1), 0.0)
    if lost:
        c(ServerIsDown(N + 1, "killed", restarts=True, asked=False))
        c(ProcessLost(N + 1, "killed"))
        c(ServerIsUp(N, N + 2, "10.0.0.1", 1))
        assert c(ServerIsReady(N + 2)) == [Run(1, N + 2, False)]
    else:
        c(Ended(1, 0.5))
        assert Run(1, N + 1, False) in c(Judged(1, "it raised"))
    assert c(TimePassed(), 1.0 + HANGS_S) == []


def test_a_task_whose_run_is_looked_at_can_be_cancelled() -> None:
    c = judged()
    assert c(CancelAsked(1)) == []
    assert c(Judged(1, "it raised")) == []
    assert list(c.machine.tasks) == [2]


def test_closing_waits_for_the_last_run_to_be_looked_at() -> None:
    c = judged()
    c.run(2)
    assert c(CloseAsked(True)) == [CloseNode(N, True)]
    assert c(NodeHasClosed(N)) == []
    assert c(TimePassed(), 9.0) == []
    assert c(Judged(1, "it raised")) == [LeaveScheduler()]


# -- priorities


def test_the_higher_priority_is_first_and_within_one_who_came_first() -> None:
    c = Driven(servers=1)
    for task, priority in enumerate((0, 0, 5, -1, 5, 0), 1):
        c(submitted(task, False, priority=priority))
    order = [1]
    while runs := c.run(order[-1], 1.0):
        order += [run.task for run in runs]
    assert order == [1, 3, 5, 2, 6, 4], "what runs is left alone"


def test_what_may_run_anywhere_goes_before_what_must_run_here_if_it_is_more_urgent() -> None:
    c = Driven(servers=1)
    c(submitted(1, False))
    c(submitted(2, False, server=N + 1))
    c(submitted(3, False, node=N))
    c(submitted(4, False, priority=1))
    assert [c.run(task, 1.0)[0].task for task in (1, 4, 2)] == [4, 2, 3]


def test_what_comes_back_is_first_within_its_priority() -> None:
    c = Driven(servers=1)
    c.warm()
    for task in (1, 2, 3):
        c(submitted(task, False))
    c.run(1)  # 2 runs, 3 is sent ahead
    c(submitted(4, False, priority=1))
    c(submitted(5, False))
    c(SuspendAsked(N + 1, True))
    c(Recalled(3, True))
    assert list(c.machine.queue.pending) == [4, 3, 5]
