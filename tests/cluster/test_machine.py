"""parkcos/cluster/machine.py: a machine that refuses a fact, and what becomes of the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from parkcos.client import dispatch_events as d
from parkcos.client.dispatch import Dispatch
from parkcos.cluster.machine import Refusals, told
from parkcos.node.state import NodeMachine
from parkcos.scheduler.state import SchedulerMachine


class Counting:
    """Orders what it is told, up to what cannot be."""

    def steps(self, event: list[int], now: float) -> Iterator[int]:
        for number in event:
            yield 60 // number

    def next_deadline(self) -> float | None:
        return None


def test_what_was_ordered_before_an_error_is_carried_out() -> None:
    assert told(Counting(), [1, 2, 3], 0.0) == ([60, 30, 20], None)
    orders, error = told(Counting(), [1, 2, 0, 3], 0.0)
    assert orders == [60, 30]
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("machine", [NodeMachine(), SchedulerMachine()])
def test_machines_refuse_what_is_no_event(machine: Any) -> None:
    orders, error = told(machine, "no event", 0.0)
    assert orders == [] and isinstance(error, KeyError)
    machine.check()


def test_a_client_machine_keeps_no_orders_for_later() -> None:
    machine = Dispatch()

    def breaks(event: Any, now: float) -> None:
        machine.order(d.LeaveScheduler())
        raise ValueError("what cannot be")

    machine._handlers[d.Reallocated] = breaks
    orders, error = told(machine, d.Reallocated(), 0.0)
    assert orders == [d.LeaveScheduler()] and isinstance(error, ValueError)
    assert told(machine, d.TimePassed(), 1.0) == ([], None)


def test_what_is_refused_is_logged_once_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.ERROR, "parkcos"):
        for _ in range(3):
            refusals.note("a RunTask of x", "server RunTask", ValueError("1"))
        refusals.note("a RunTask of x", "server RunTask", KeyError("1"))
        refusals.note("a Define of x", "server Define", KeyError("1"))
    assert [record.getMessage() for record in caplog.records] == [
        "a RunTask of x cannot be handled, and is refused (not logged again)",
        "a RunTask of x cannot be handled, and is refused (not logged again)",
        "a Define of x cannot be handled, and is refused (not logged again)",
    ]
