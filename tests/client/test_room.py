"""parkcos/client/room.py: how much could begin now is how much would begin; and what waits."""

from __future__ import annotations

import pytest

from parkcos.client.ahead import AHEAD_MAX
from parkcos.client.dispatch_events import Run, SuspendAsked
from parkcos.client.estimates import UNKNOWN_S
from parkcos.client.room import room, wants
from parkcos.net.location import Location
from tests.client.driven import Driven, M, N, submitted

NODE = Location("10.0.0.1", 9706)  # of both nodes, in these tests


def learned(seconds: float, **cluster: int) -> Driven:
    """The function "fn" takes that long."""
    c = Driven(**cluster)
    c.machine.queue.estimates.took("fn", seconds)
    return c


def test_a_function_that_is_not_known_has_the_idle_servers() -> None:
    c = Driven(servers=2)
    assert (room(c.machine, "new").now, room(c.machine, "new").ahead) == (2, 0)
    c(submitted(1, kind="new"))
    assert room(c.machine, "new").total == 1
    c(SuspendAsked(N, True))
    assert room(c.machine, "new").total == 0
    assert room(c.machine, "new").nodes.keys() == {NODE}


@pytest.mark.parametrize("seconds", [0.0, 1e-5, 5e-5, 0.0003, 0.0005, 0.00199, 0.002, 0.0021, 5.0])
@pytest.mark.parametrize("busy", [0, 1, 2])
def test_what_it_promises_is_sent(seconds: float, busy: int) -> None:
    c = learned(seconds, servers=2)
    for task in range(busy):
        c(submitted(task + 1, kind="fn"))
    promised = room(c.machine, "fn")
    assert promised.now == 2 - busy
    assert promised.total <= 2 * (1 + AHEAD_MAX)
    heads = list(range(1, busy + 1))
    for number in range(100, 100 + promised.total):
        heads += [run.task for run in c(submitted(number, kind="fn")) if isinstance(run, Run)]
    assert len(heads) == busy + promised.now, "those begin at once"
    assert room(c.machine, "fn").total == 0, "what waits will have the others"
    for head in heads:
        c.run(head, seconds)
    assert not c.machine.queue.pending, "and the others were sent with the next word of their server"


def test_what_waits() -> None:
    c = learned(0.5, servers=1)
    assert wants(c.machine).servers == 1
    c(submitted(1, kind="fn"))
    for task in (2, 3):
        c(submitted(task, kind="fn"))
    c(submitted(4, kind="other"))
    c(submitted(5, node=N, kind="fn"))
    c(submitted(6, server=N + 1, kind="fn"))
    found = wants(c.machine)
    assert (found.tasks, found.io_tasks, found.servers) == (3, 0, 1)
    assert found.bound == {NODE: 2}
    assert found.expected_s == pytest.approx(4 * 0.5 + UNKNOWN_S)
    c(SuspendAsked(N, True))
    c(submitted(7, io=True))
    assert (wants(c.machine).io_tasks, wants(c.machine).servers) == (1, 0)


def test_two_nodes() -> None:
    c = Driven(servers=2, nodes=1)
    c.bring(M, 3)
    assert room(c.machine).now == 5
