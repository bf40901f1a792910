"""parkcos/client/ends.py: whose word of a server's end counts, and what that end is counted as."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.client.dispatch_events import (
    CloseServerAsked,
    EnableAsked,
    Granted,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    OpenServer,
    ProcessLost,
    Run,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SilenceSeen,
    Started,
    TimePassed,
)
from parkcos.client.ends import EARLY_ENDS_MAX, END_WAIT_S
from tests.client.driven import Driven, N, abandoned, submitted


def down(server: int, reason: str = "signal 9", asked: bool = False) -> ServerIsDown:
    return ServerIsDown(server, reason, restarts=True, asked=asked)


def test_why_a_server_has_ended_is_said_in_any_case() -> None:
    for words, why in (
        ([down(N + 1, ""), ProcessLost(N + 1, "")], "it ended"),
        ([ProcessLost(N + 1, ""), TimePassed()], "it ended"),
        ([ProcessLost(N + 1, "reset"), TimePassed()], "reset"),
        ([ProcessLost(N + 1, "reset"), down(N + 1)], "signal 9"),
        ([ServerSetupFailed(N + 1, "")], "server_setup failed"),
        ([down(N + 1), ProcessLost(N, "gone"), ProcessLost(N + 1, "reset")], "signal 9"),
        ([NodeHasFailed(N, ""), ProcessLost(N + 1, "reset")], "NodeDisconnected"),
    ):
        c = Driven(servers=1)
        c(submitted(1, False))
        for word in words[:-1]:
            assert not abandoned(c(word))
        c.now = END_WAIT_S
        assert abandoned(c(words[-1])) == {1: f"its server 10.0.0.1:1001 ended: {why}"}


def test_the_second_word_is_awaited_from_the_first_on() -> None:
    c = Driven(servers=1)
    c(down(N + 1))
    c(down(N + 1), END_WAIT_S / 2)
    assert c.machine.next_deadline() == END_WAIT_S


def test_a_server_that_waits_for_an_address_is_forgotten_when_its_node_fails() -> None:
    c = Driven(servers=1)
    c(down(N + 1))
    c(ServerIsUp(N, N + 2, "10.0.0.1", N + 1))
    for event in (NodeHasFailed(N, "signal 9", died=True), NodeHasClosed(N), Granted(N), NodeIsReady(N)):
        c(event)
    assert c(ProcessLost(N + 1, "reset")) == []
    assert N + 2 not in c.machine.servers, "though its node is ready again"


def test_what_had_not_begun_and_was_not_sent_ahead_may_have_begun() -> None:
    c = Driven(servers=1)
    for task in (1, 2, 3):
        c(submitted(task, task > 1))
    c(down(N + 1))
    assert set(abandoned(c(ProcessLost(N + 1, "reset")))) == {1, 2, 3}


def test_what_was_sent_ahead_and_has_begun_is_not_run_twice() -> None:
    c = Driven(servers=1)
    c.warm()
    for task in (1, 2, 3, 4):
        c(submitted(task, False))
    assert [run.task for run in c.run(1)] == [2, 3, 4]
    c(Started(3))
    c(down(N + 1))
    assert set(abandoned(c(ProcessLost(N + 1, "reset")))) == {2, 3}
    assert list(c.machine.queue.pending) == [4]


def test_a_task_that_must_run_at_a_server_is_not_retried_elsewhere() -> None:
    c = Driven(servers=1)
    c(submitted(1, False, server=N + 1, retries=1))
    c(down(N + 1))
    (effect,) = c(ProcessLost(N + 1, "reset"))
    assert abandoned([effect]) == {1: "its server 10.0.0.1:1001 ended: signal 9"}


def test_an_open_server_of_which_its_setup_is_said_to_have_failed_is_given_nothing() -> None:
    c = Driven(servers=2)
    assert c(ServerSetupFailed(N + 1, "no such file")) == [], "it ends by itself"
    assert [c(submitted(task, False)) for task in (1, 2)] == [[Run(1, N + 2, False)], []]


def test_what_is_said_late_of_servers_whose_node_is_gone() -> None:
    c = Driven()
    c.bring(N, 2, opened=False)
    c(ServerIsReady(N + 1))
    c(ProcessLost(N, "reset"))
    assert c(CloseServerAsked(N + 1, True, True)) == [], "nobody could close it"
    assert c(down(N + 2)) == [], "it had not been ready"
    assert c(SilenceSeen(N + 1, True, "silence")) == []
    c(TimePassed(), END_WAIT_S)
    assert not c.machine.servers


# before a server is ready


def dies(c: Driven, server: int, first: str) -> list[Any]:
    words = [down(server), ProcessLost(server, "reset")]
    if first == "session":
        words.reverse()
    return c(words[0]) + c(words[1])


@pytest.mark.parametrize("first", ["node", "session"])
def test_servers_that_end_in_their_setup_count_whoever_says_so_first(first: str) -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    for server in range(N + 1, N + EARLY_ENDS_MAX):
        dies(c, server, first)
        assert c(ServerIsUp(N, server + 1, "10.0.0.1", 1)) == [OpenServer(server + 1)]
    dies(c, N + EARLY_ENDS_MAX, first)
    assert c(ServerIsUp(N, N + 9, "10.0.0.1", 1)) == [], "it would end, too"


def test_after_a_server_that_was_ready_as_many_may_end_in_their_setup_as_before() -> None:
    c = Driven()
    c.bring(N, 1, opened=False)
    for server in range(N + 1, N + 1 + 3 * EARLY_ENDS_MAX):
        if (server - N) % EARLY_ENDS_MAX == 0:
            c(ServerIsReady(server))
        dies(c, server, "node")
        assert c(ServerIsUp(N, server + 1, "10.0.0.1", 1)) == [OpenServer(server + 1)]


@pytest.mark.parametrize("first", ["node", "session"])
def test_servers_that_end_before_they_were_told_to_begin_do_not_count(first: str) -> None:
    c = Driven(disable_servers=True)
    c.bring(N, 1, opened=False)
    for server in range(N + 1, N + 2 + EARLY_ENDS_MAX):
        dies(c, server, first)
        c(ServerIsUp(N, server + 1, "10.0.0.1", 1))
        assert server + 1 in c.machine.servers
    assert c(EnableAsked(server + 1)) == [OpenServer(server + 1)]


@pytest.mark.parametrize("first", ["node", "session"])
def test_servers_that_end_after_they_were_ready_do_not_count(first: str) -> None:
    c = Driven(servers=EARLY_ENDS_MAX)
    for server in range(N + 1, N + 1 + EARLY_ENDS_MAX):
        dies(c, server, first)
        assert c(ServerIsUp(N, server + 10, "10.0.0.1", 1, server - N - 1)) == [OpenServer(server + 10)]
