"""parkcos/client/returning.py: a program takes over what an earlier one of its client has left."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from parkcos.client import returning_events as r
from parkcos.client.dispatch_events import (
    CancelAsked,
    CloseAsked,
    Ended,
    EndOwn,
    EndTask,
    Granted,
    NodeHasClosed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    ReportStarted,
    Run,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    SetupNode,
    Started,
    Want,
)
from parkcos.client.records import OPEN, OWN, Task
from tests.client.driven import Driven, M, N, abandoned, info, submitted

OLD = 1 << 32
"""The first number of the earlier program's."""


def up(server: int, own: int = 0, node: int = N) -> ServerIsUp:
    return ServerIsUp(node, server, "10.0.0.1", server, server - node - 1, own)


def resumed(*servers: int, node: int = N, ready: bool = True, left: int = 2, own: int = 0) -> r.NodeIsResumed:
    return r.NodeIsResumed(node, OLD + 1, ready, left, [r.ServerKept(each, own) for each in servers])


def returns(*tasks: tuple[int, int], nodes: int = 1) -> tuple[Driven, list[Any]]:
    """A program that returns.  tasks: number and server of those that were noted."""
    c = Driven()
    noted = [r.NodeNoted(replace(info(node), own_max=4), 2) for node in [N, M][:nodes]]
    effects = c(r.Returns(noted, [r.TaskNoted(task, server // 1000 * 1000, server) for task, server in tasks]))
    return c, effects


def lost(effects: list[Any]) -> dict[int, str]:
    return {each.task: each.reason for each in effects if isinstance(each, r.ReportLost)}


def over(effects: list[Any]) -> bool:
    return r.ReportResumed() in effects


def test_the_first_program_has_nothing_to_take_over() -> None:
    _, effects = returns(nodes=0)
    assert effects == [r.ReportResumed()]


def test_nodes_servers_and_tasks_are_taken_over_step_by_step() -> None:
    c, effects = returns((OLD + 1, N + 1), (OLD + 2, N + 1))
    assert effects == [r.ReturnToNode(N)]
    assert c(resumed(N + 1, N + 2)) == []
    assert c.told() == [("NodeDiscovered", N), ("NodeInitialized", N)]
    assert c(up(N + 1)) == [r.ReturnToServer(N + 1)]
    assert c(up(N + 2)) == [r.ReturnToServer(N + 2)]
    assert c(r.ServerIsResumed(N + 1, True, [Task(OLD + 1, kind="f"), Task(OLD + 2, kind="f")])) == []
    assert over(c(r.ServerIsResumed(N + 2, True, [])))
    assert c(Started(OLD + 1, N + 1, 7)) == [ReportStarted(OLD + 1, N + 1, 7)]
    c(ServerIsReady(N + 1))
    c(ServerIsReady(N + 2))
    assert c.machine.servers[N + 1].state == OPEN
    assert c(submitted(1)) == [Run(1, N + 2, False)], "the other one is busy"
    assert c(Ended(OLD + 1, 0.1, False, N + 1, 7)) == []
    assert c(Ended(OLD + 2, 0.1, False, N + 1, 8)) == [ReportStarted(OLD + 2, N + 1, 8)]
    assert c(submitted(2)) == [Run(2, N + 1, False)]


def test_what_no_server_knows_is_lost() -> None:
    c, _ = returns((OLD + 1, N + 1), (OLD + 2, N + 2), (OLD + 3, M + 1), nodes=2)
    c(resumed(N + 1))
    assert lost(c(up(N + 1))) == {}
    effects = c(r.ServerIsResumed(N + 1, True, []))
    assert list(lost(effects)) == [OLD + 1]
    assert "had not come to its server" in lost(effects)[OLD + 1]
    effects = c(NodeHasClosed(M))
    assert list(lost(effects)) == [OLD + 3]
    assert over(effects)
    assert Want(M, 2) in effects, "it can be had again"


def test_what_ends_with_its_server_is_lost_at_once() -> None:
    c, _ = returns((OLD + 2, N + 2))
    assert lost(c(resumed(N + 1))) == {OLD + 2: "its server has ended, before its program came back"}


def test_a_server_that_ends_before_it_has_answered() -> None:
    for ends in (ServerIsDown(N + 1, "signal 9", True, False), ProcessLost(N, "gone")):
        c, _ = returns((OLD + 1, N + 1))
        c(resumed(N + 1))
        effects = c(ends)
        assert list(lost(effects)) == [OLD + 1]
        assert over(effects)


def test_the_last_words_of_a_server_may_come_after_its_nodes() -> None:
    c, _ = returns((OLD + 1, N + 1))
    c(resumed(N + 1))
    c(up(N + 1))
    assert lost(c(ServerIsDown(N + 1, "signal 9", True, False))) == {}
    assert over(c(r.ServerIsResumed(N + 1, True, [Task(OLD + 1)])))
    assert c(Ended(OLD + 1, 0.1, False, N + 1, 7)) == [ReportStarted(OLD + 1, N + 1, 7)]
    assert abandoned(c(ProcessLost(N + 1, "reset"))) == {}


def test_a_task_taken_over_that_ends_with_its_server_is_abandoned() -> None:
    c, _ = returns((OLD + 1, N + 1))
    c(resumed(N + 1))
    c(up(N + 1))
    c(r.ServerIsResumed(N + 1, True, [Task(OLD + 1)]))
    c(ServerIsDown(N + 1, "signal 9", True, False))
    assert list(abandoned(c(ProcessLost(N + 1, "reset")))) == [OLD + 1]


def test_a_server_that_was_not_opened_begins_now() -> None:
    c, _ = returns()
    c(resumed(N + 1))
    c(up(N + 1))
    effects = c(r.ServerIsResumed(N + 1, False, []))
    assert OpenServer(N + 1) in effects
    assert over(effects)
    c(ServerIsReady(N + 1))
    assert c(submitted(1)) == [Run(1, N + 1, False)]


def test_later_servers_of_that_node_are_asked_too() -> None:
    """They are forked from what was made for the earlier program, and know that one."""
    c, _ = returns()
    c(resumed(N + 1))
    c(up(N + 1))
    c(r.ServerIsResumed(N + 1, True, []))
    assert c(up(N + 5)) == [r.ReturnToServer(N + 5)]
    assert c(r.ServerIsResumed(N + 5, False, [])) == [OpenServer(N + 5)]


def test_a_node_that_is_in_its_setup() -> None:
    c, _ = returns()
    effects = c(resumed(ready=False))
    assert over(effects), "it has no servers yet"
    c(NodeIsReady(N, OLD + 1))
    assert c(up(N + 1)) == [r.ReturnToServer(N + 1)]


def test_a_process_of_its_own_ends_with_its_task() -> None:
    c, _ = returns((OLD + 1, N + 9))
    c(resumed(N + 9, own=OLD + 5))
    assert c(up(N + 9, OLD + 5)) == [r.ReturnToServer(N + 9)]
    c(r.ServerIsResumed(N + 9, True, [Task(OLD + 1, own=True)]))
    assert c.machine.servers[N + 9].state == OWN
    assert c(ServerIsReady(N + 9)) == []
    assert EndOwn(N, OLD + 5, False) in c(Ended(OLD + 1, 0.1, False, N + 9, 3))


def test_a_process_of_its_own_without_a_task_is_ended() -> None:
    c, _ = returns()
    c(resumed(N + 9, own=OLD + 5))
    c(up(N + 9, OLD + 5))
    assert EndOwn(N, OLD + 5, False) in c(r.ServerIsResumed(N + 9, True, []))


def test_tasks_of_a_space_end_one_after_the_other() -> None:
    c, _ = returns()
    c(resumed(N + 9, own=OLD + 5))
    c(up(N + 9, OLD + 5))
    c(r.ServerIsResumed(N + 9, True, [Task(OLD + 1)], more=True))
    c(r.ServerIsResumed(N + 9, True, [Task(OLD + 2, io=True)]))
    assert not c(Ended(OLD + 1, 0.1, False, N + 9, 3))[1:], "another one is there"
    assert EndOwn(N, OLD + 5, False) in c(Ended(OLD + 2, 0.1, False, N + 9, 4))


def test_a_node_that_is_offered_does_not_serve_it_any_more() -> None:
    c = Driven()
    c(Offered(info(N), 2))
    effects = c(r.Returns([r.NodeNoted(info(N), 2)], [r.TaskNoted(OLD + 1, N, N + 1)]))
    assert list(lost(effects)) == [OLD + 1]
    assert r.ReturnToNode(N) not in effects
    (setup,) = c(Granted(N))
    assert isinstance(setup, SetupNode)


def test_a_node_that_has_closed_is_set_up_as_any() -> None:
    c, _ = returns()
    assert Want(N, 2) in c(NodeHasClosed(N))
    (setup,) = c(Granted(N))
    assert isinstance(setup, SetupNode)
    c(NodeIsReady(N, setup.setup_id))
    assert c(up(N + 1)) == [OpenServer(N + 1)]


def test_what_waits_for_a_node_that_has_no_servers_any_more_is_abandoned() -> None:
    c, _ = returns()
    assert c(submitted(1, node=N)) == []
    assert "no server is left at that node" in abandoned(c(resumed(left=0)))[1]


def test_numbers_of_setups_and_processes_are_above_the_earlier_programs() -> None:
    c = Driven()
    c.machine.number_from(OLD)
    c(Offered(info(N), 2))
    (setup,) = c(Granted(N))
    assert setup.setup_id > OLD


def test_a_task_taken_over_is_cancelled_as_any() -> None:
    c, _ = returns((OLD + 1, N + 1))
    c(resumed(N + 1))
    c(up(N + 1))
    c(r.ServerIsResumed(N + 1, True, [Task(OLD + 1)]))
    c(Started(OLD + 1, N + 1, 7))
    assert c(CancelAsked(OLD + 1, "enough")) == [EndTask(OLD + 1, N + 1)]


@pytest.mark.parametrize("step", range(3))
def test_a_client_that_closes_meanwhile_waits_for_nothing(step: int) -> None:
    c, _ = returns((OLD + 1, N + 1), (OLD + 2, N + 1))
    for event in [resumed(N + 1), up(N + 1)][:step]:
        c(event)
    effects = c(CloseAsked(True))
    effects += c(NodeHasClosed(N, setup_id=OLD + 1))
    for event in (ProcessLost(N + 1, "it has ended"), ServerIsDown(N + 1, "it has ended", False, True)):
        effects += c(event)
    assert list(lost(effects)) == [OLD + 1, OLD + 2]
    assert over(effects)
    assert c.machine.stage.closed
