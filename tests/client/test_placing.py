"""parkcos/client/placing.py: which server is lightest, and what goes back to where."""

from __future__ import annotations

from parkcos.client.dispatch_events import (
    Granted,
    LoadSeen,
    NodeIsReady,
    Offered,
    Recalled,
    Run,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
)
from tests.client.driven import Driven, M, N, abandoned, info, submitted


def one_server_each(*, before: bool = False) -> Driven:
    """N, with room for another server, was there before M.  before: others use N, which it says without any server."""
    c = Driven()
    for event in (Offered(info(N), 2), Granted(N), NodeIsReady(N)):
        c(event)
    if before:
        c(LoadSeen(N, 0.6))
    c(ServerIsUp(N, N + 1, "10.0.0.1", N + 1))
    c(ServerIsReady(N + 1))
    c.bring(M, 1)
    return c


def test_who_was_there_first_is_the_lightest_of_equals() -> None:
    assert one_server_each()(submitted(1, False)) == [Run(1, N + 1, False)]


def test_a_server_that_is_not_open_yet_counts_as_busy() -> None:
    c = one_server_each()
    c(ServerIsUp(N, N + 2, "10.0.0.1", N + 2))
    assert c(submitted(1, False)) == [Run(1, M + 1, False)]


def test_others_load_counts_from_before_the_first_server() -> None:
    assert one_server_each(before=True)(submitted(1, False)) == [Run(1, M + 1, False)]


def test_io_tasks_that_have_ended_weigh_nothing() -> None:
    c = Driven(servers=2)
    assert [c(submitted(task, True))[0].server for task in (1, 2, 3)] == [N + 1, N + 2, N + 1]
    for task in (1, 3):
        c.run(task)
    assert c(submitted(4, True)) == [Run(4, N + 1, True)]


def test_the_share_of_a_nodes_servers_that_is_busy_counts_and_not_their_number() -> None:
    c = Driven()
    c.bring(N, 4)
    c.bring(M, 1)
    (run,) = c(submitted(1, False, node=N))
    assert c(submitted(2, False)) == [Run(2, M + 1, False)], f"{run.server} is busy, and three others are not"


def test_an_io_task_goes_to_an_idle_server_only_to_avoid_a_busy_one() -> None:
    c = Driven(servers=1, nodes=2)
    c(LoadSeen(N, 0.5))
    assert c(submitted(1, True)) == [Run(1, N + 1, True)], "no server has one, nor a CPU task: the first"
    c = Driven(servers=2)
    c(submitted(1, False))
    assert [c(submitted(task, True))[0].server for task in (2, 3)] == [N + 2, N + 1], "rather than a second one there"


def test_why_a_server_takes_no_task_any_more() -> None:
    c = Driven(servers=1)
    c(ServerIsDown(N + 1, "signal 9", restarts=True, asked=False))
    assert abandoned(c(submitted(1, False, server=N + 1))) == {1: "that server has ended: signal 9"}


def test_an_io_task_that_was_given_back_waits_for_any_server() -> None:
    c = Driven(servers=1)
    c(submitted(1, True))
    assert c(Recalled(1, True)) == []
    c.bring(M, 1, opened=False)
    assert c(ServerIsReady(M + 1)) == [Run(1, M + 1, True)]


def test_what_is_given_back_goes_to_another_server_of_its_node() -> None:
    c = Driven(servers=2)
    c(submitted(1, True, node=N))
    assert c(Recalled(1, True)) == [Run(1, N + 2, True)]
    c = Driven(servers=2)
    for task in (1, 2):
        c(submitted(task, False, node=N))
    assert c(Recalled(1, True)) == [], "that is busy"
    assert c.run(2) == [Run(1, N + 2, False)]
