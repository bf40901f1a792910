"""parkcos/httpd/watch.py: what happens to a client, and what the dashboard shows of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parkcos.client import dispatch_events as d
from parkcos.cluster import messages as m
from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import TaskAbandoned, TaskTimeout
from parkcos.httpd.watch import CALLS_FROM
from parkcos.kernel import Outcome
from tests.httpd.watched import N, Watched, watching


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    with watching() as make:
        yield make


def failed(error: BaseException) -> Outcome:
    return Outcome("failed", None, error, f"Traceback ...\n{type(error).__name__}: {error}\n")


# -- nodes and servers


def test_from_an_offer_to_the_end_of_a_node(watched: Callable[..., Watched]) -> None:
    it = watched()
    it.happens(d.Offered(NodeInfo(N, "kiln", "10.0.0.1", 9706, 8, "Linux", "3.11", "0"), 1))
    assert it.node() == "discovered"
    it.happens(d.Granted(N))
    assert it.node() == "setup"
    it.happens(d.NodeIsReady(N), d.ServerIsUp(N, N + 1, "10.0.0.1", 9707, 1))
    assert (it.node(), it.servers()) == ("running", ["setup"])
    it.happens(d.ServerIsReady(N + 1))
    assert it.servers() == ["running"]
    server = it.model.servers[N + 1]
    assert (server.name, server.node, server.addr, server.port) == ("kiln/1", it.model.nodes[N].id, "10.0.0.1", 9707)
    it.happens(d.CloseNodeAsked(N, False, False))
    assert (it.node(), it.servers()) == ("closing", ["closing"])
    it.happens(d.ServerIsDown(N + 1, "it was asked to end", restarts=False, asked=True))
    it.happens(d.ProcessLost(N + 1, "it has ended"), d.NodeHasClosed(N))
    assert (it.node(), it.servers()) == ("closed", ["closed"])


def test_a_process_for_a_single_task_is_shown_as_a_server(watched: Callable[..., Watched]) -> None:
    it = watched()
    it.happens(d.Offered(NodeInfo(N, "kiln", "10.0.0.1", 9706, 8, "Linux", "3.11", "0", own_max=1), 1))
    it.happens(d.Granted(N), d.NodeIsReady(N))
    it.submit(1, own=True)
    it.happens(d.ServerIsUp(N, N + 9, "10.0.0.1", 9799, 2, own=1))
    assert it.servers() == ["setup"]
    it.happens(d.ServerIsReady(N + 9))
    assert it.servers() == ["running"]
    it.happens(d.ServerIsDown(N + 9, "killed", restarts=False, asked=False), d.ProcessLost(N + 9, "killed"))
    assert it.servers() == ["lost"]


def test_the_worst_of_what_holds_a_node_back_is_shown(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.happens(d.LoadSeen(N, 0.5, "memory"))
    assert it.node() == "short"
    it.happens(d.SuspendAsked(N, True))
    assert (it.node(), it.servers()) == ("suspended", ["suspended"])
    it.happens(d.SilenceSeen(N, True, "nothing was heard of it for 250 s"))
    assert (it.node(), it.servers()) == ("silent", ["silent"])
    assert it.model.nodes[N].reason == "nothing was heard of it for 250 s"
    it.happens(d.SilenceSeen(N, False))
    assert it.node() == "suspended"
    it.happens(d.SuspendAsked(N, False), d.LoadSeen(N, 0.5))
    assert (it.node(), it.servers()) == ("running", ["running"])


def test_a_node_that_is_lost_takes_its_servers_and_tasks_along(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.submit(1)
    it.submit(2)
    it.happens(d.Started(1), d.ProcessLost(N + 1, "the cable was cut"), d.ProcessLost(N, "the cable was cut"))
    it.ends(1, failed(TaskAbandoned("the cable was cut")))
    assert (it.node(), it.servers()) == ("lost", ["lost"])
    assert "the cable was cut" in it.model.nodes[N].reason
    assert [it.task(number).state for number in (1, 2)] == ["lost", "queued"], "the other one waits for a node to come"


def test_a_client_that_is_closed(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    assert (it.model.state, it.model.reason, len(it.model.clients)) == ("running", "", 1)
    it.happens(d.CloseAsked(False))
    assert (it.model.state, it.model.reason, it.node()) == ("running", "it is being closed", "closing")
    it.happens(d.ProcessLost(N + 1, "it has ended"), d.NodeHasClosed(N))
    assert (it.model.state, it.model.reason, it.node(), it.model.clients) == ("closed", "", "closed", [])


def test_what_is_printed(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)

    def printed(server: int, text: bytes, left_out: int = 0) -> None:
        it.received(m.Output(0, server, False, left_out), text)

    printed(1, b"one\ntwo\n")
    printed(1, b"\xff\n", left_out=7)
    printed(0, b"the setup\n")
    printed(5, b"a server that nobody knows\n")
    assert {number: list(lines) for number, lines in it.model.output.items()} == {
        N + 1: ["one", "two", "(7 lines left out)", "\ufffd"],
        N: ["the setup"],
    }


# -- tasks


def test_a_task_from_the_call_to_its_result(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.submit(1, 2, "x")
    assert (it.task(1).state, it.task(1).args) == ("queued", "2, 'x'")
    it.happens(d.Started(1))
    assert (it.task(1).state, it.task(1).server) == ("running", it.model.servers[N + 1].id)
    assert (it.model.nodes[N].running, it.model.servers[N + 1].running) == (1, 1)
    it.ends(1, Outcome("finished", 4))
    assert (it.task(1).state, it.model.details[1].result) == ("finished", "4")
    assert (it.model.nodes[N].running, it.model.nodes[N].done, it.model.nodes[N].failed) == (0, 1, 0)


@pytest.mark.parametrize(
    ("outcome", "state", "error"),
    [
        (failed(ValueError("no")), "failed", "ValueError: no"),
        (failed(KeyboardInterrupt()), "terminated", ""),
        (Outcome("terminated"), "terminated", ""),
        (failed(TaskTimeout("it ran for 5 s")), "timed_out", "TaskTimeout: it ran for 5 s"),
        (failed(TaskAbandoned("its server is lost")), "lost", "TaskAbandoned: its server is lost"),
    ],
)
def test_ends(watched: Callable[..., Watched], outcome: Outcome, state: str, error: str) -> None:
    it = watched(servers=1)
    it.submit(1)
    it.happens(d.Started(1))
    it.ends(1, outcome)
    assert (it.task(1).state, it.task(1).error) == (state, error)
    assert it.model.totals.failed == (state in ("failed", "timed_out", "lost"))


@pytest.mark.parametrize(
    ("asked", "state"),
    [
        (d.CancelAsked(1), "terminated"),
        (d.CloseServerAsked(N + 1, True, False), "terminated"),
        (d.CloseNodeAsked(N, True, False), "terminated"),
        (d.CloseServerAsked(N + 1, False, False), "lost"),
        (d.CancelAsked(2), "lost"),
    ],
)
def test_a_task_lost_with_its_server_was_terminated_if_that_was_asked_for(
    watched: Callable[..., Watched], asked: Any, state: str
) -> None:
    it = watched(servers=2)
    for number in (1, 2):
        it.submit(number, want_server=N + number)
        it.happens(d.Started(number))
    it.happens(asked)
    it.ends(1, failed(TaskAbandoned("its server has ended")))
    assert it.task(1).state == state


@pytest.mark.parametrize(
    ("events", "state", "reason"),
    [
        ([d.CancelAsked(1, "nobody waits for it")], "cancelled", "nobody waits for it"),
        ([d.CloseNodeAsked(N, False, False), d.NodeHasClosed(N)], "cancelled", "closed"),
        ([d.NodeHasClosed(N, "its hours of service are over")], "lost", "its hours of service are over"),
        ([d.ProcessLost(N, "the cable was cut")], "lost", "the cable was cut"),
    ],
)
def test_a_task_that_never_begins(watched: Callable[..., Watched], events: list[Any], state: str, reason: str) -> None:
    it = watched(servers=1)
    it.happens(d.SuspendAsked(N, True))
    it.submit(1, want_node=N)
    it.happens(*events)
    assert it.task(1).state == state
    assert reason in it.task(1).error


def test_a_task_that_its_server_refuses(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.submit(1)
    it.happens(d.Refused(1, "Traceback ...\nTypeError: work() takes no arguments"))
    assert (it.task(1).state, it.task(1).error) == ("failed", "TypeError: work() takes no arguments")


def test_a_task_that_is_run_again_is_the_same_one(watched: Callable[..., Watched]) -> None:
    """It was lost with its server, or it raised what its options name."""
    it = watched(servers=2)
    it.submit(1, retries=2, judged=True)
    it.happens(d.Started(1))
    first = int(it.task(1).server, 16)
    it.happens(d.ServerIsDown(first, "killed", restarts=True, asked=False), d.ProcessLost(first, "it is gone"))
    assert it.task(1).state == "queued"
    assert it.task(1).error.endswith("ended: killed")
    it.happens(d.Started(1))
    assert (it.task(1).state, int(it.task(1).server, 16)) == ("running", 2 * N + 3 - first)
    it.happens(d.Ended(1, 1.0), d.Judged(1, "it raised OSError"))
    assert (it.task(1).state, it.task(1).error) == ("queued", "it raised OSError")
    it.happens(d.Started(1))
    it.ends(1, Outcome("finished", None))
    assert it.task(1).state == "finished"
    assert list(it.model.tasks) == [1]
    assert it.model.totals.submitted == 1


def test_each_call_of_a_chunk_is_a_task(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.submit(1, calls=[(2,), (3,), (4,)])
    numbers = [1, CALLS_FROM, CALLS_FROM + 1]
    assert [(task.id, task.args) for task in it.model.tasks.values()] == list(zip(numbers, "234", strict=True))
    it.happens(d.Started(1))
    assert [it.task(number).state for number in numbers] == ["running", "queued", "queued"]
    it.ends(1, Outcome("finished", [(20,), (30,), (40,)]))
    assert [it.task(number).state for number in numbers] == ["finished"] * 3
    assert [it.model.details[number].result for number in numbers] == ["20", "30", "40"]
    assert it.model.servers[N + 1].done == 3


def test_arguments_are_shown_when_that_is_asked_for(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    it.model.show_args = False
    it.submit(1, 5)
    assert it.task(1).args is None
    it.model.show_args = True
    it.watch.show_args()
    assert it.task(1).args == "5"


def test_a_slow_text_keeps_nobody_waiting(watched: Callable[..., Watched]) -> None:
    it = watched(servers=1)
    may_go_on, told = threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            assert may_go_on.wait(20)
            return "slow"

    it.submit(1, Slow())
    it.happens(d.Started(1))
    assert (it.task(1).state, it.task(1).args) == ("running", None)
    may_go_on.set()
    it.watch.describer.describe((1, False), lambda: told.set() or "made after it")  # type: ignore[func-returns-value]
    assert told.wait(20)
    assert it.task(1).args == "slow"


def test_a_fault_of_the_dashboard_is_not_the_clients(
    watched: Callable[..., Watched], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = watched(servers=1)
    with monkeypatch.context() as broken:
        broken.setattr(it.watch, "_submitted", lambda event: 1 / 0)
        it.submit(1)
    assert "has missed TaskSubmitted" in caplog.text
    it.happens(d.Started(1))
    assert it.task(1).state == "running"
