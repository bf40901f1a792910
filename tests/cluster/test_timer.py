"""parkcos/cluster/timer.py, and that its users ask their machines for deadlines under their locks only."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos.client import dispatch_events as d
from parkcos.client.shell import ClientShell
from parkcos.cluster.timer import AGAIN_S, DeadlineTimer
from parkcos.net.iothread import IOThread
from parkcos.node import executor as ex
from parkcos.node.server import Server

WAIT_S = 20.0


@pytest.fixture
def io() -> Iterator[IOThread]:
    io = IOThread()
    io.start()
    yield io
    io.close()


def until_idle(io: IOThread) -> None:
    """Wait until the I/O thread has done what it was asked for."""
    done = threading.Event()
    io.call(done.set)
    assert done.wait(WAIT_S)


def test_it_calls_at_each_deadline_and_at_the_same_one_again(io: IOThread) -> None:
    passed: list[str | None] = []
    done = threading.Event()
    deadlines = iter([5.0, 5.0, None])  # all have passed long ago

    def time_passed() -> None:
        passed.append(threading.current_thread().name)
        deadline = next(deadlines)
        timer.set(deadline)
        if deadline is None:
            done.set()

    timer = DeadlineTimer(io, time_passed)
    timer.set(5.0)
    assert done.wait(WAIT_S)
    until_idle(io)
    assert passed == ["parkcos-io"] * 3


def test_the_last_word_counts_whoever_says_it(io: IOThread) -> None:
    passed = threading.Event()
    timer = DeadlineTimer(io, passed.set)
    timer.set(0.0)
    timer.set(time.monotonic() + 3600)
    for deadline in (1e9, 0.0, None, 1e9):
        thread = threading.Thread(target=timer.set, args=(deadline,))
        thread.start()
        thread.join()
    passed.clear()
    until_idle(io)
    assert timer._handle is not None and not passed.is_set()
    timer.set(0.0)
    assert passed.wait(WAIT_S)


def test_nothing_is_called_after_cancel(io: IOThread) -> None:
    passed = threading.Event()
    timer = DeadlineTimer(io, passed.set)
    timer.set(time.monotonic() + 3600)
    io.call(timer.cancel)
    io.call(timer.set, 0.0)
    until_idle(io)
    until_idle(io)
    assert timer._handle is None and not passed.is_set()


class Guarded:
    """A machine that is asked for its deadline under its lock, and has one that passes."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.asked: list[bool] = []
        self.passed = threading.Event()
        self.running = 0

    def steps(self, event: Any, now: float) -> Iterator[Any]:
        if type(event) in (ex.TimePassed, d.TimePassed):
            self.passed.set()
        return iter(())

    def next_deadline(self) -> float | None:
        self.asked.append(self.lock._is_owned())
        return None if self.passed.is_set() else 0.0


def test_a_server_asks_its_executor_under_its_lock(io: IOThread) -> None:
    server: Any = Server.__new__(Server)
    server.lock, server.index, server.tally = threading.RLock(), 0, SimpleNamespace(note=lambda *_: None)
    server.network = SimpleNamespace(io=io)
    server.executor = machine = Guarded(server.lock)
    server.timer = DeadlineTimer(io, lambda: server.handle(ex.TimePassed()))
    server.handle(ex.Ended(1))
    assert machine.passed.wait(WAIT_S)
    until_idle(io)
    assert machine.asked == [True, True]


def test_a_client_asks_its_machine_under_its_lock(io: IOThread) -> None:
    client: Any = ClientShell("client")
    client.machine = machine = Guarded(client.lock)
    client.timer = DeadlineTimer(io, lambda: client.handle(d.TimePassed()))
    client.handle(d.CancelAsked(1))
    assert machine.passed.wait(WAIT_S)
    until_idle(io)
    assert machine.asked == [True, True]


def test_a_machine_that_refuses_to_hear_of_time_is_not_asked_without_end(io: IOThread) -> None:
    """Its deadline stays as it is."""
    passed: list[float] = []
    twice = threading.Event()

    def time_passed() -> None:
        passed.append(time.monotonic())
        if len(passed) == 3:
            twice.set()
        timer.set(0.0 if len(passed) < 3 else None)

    timer = DeadlineTimer(io, time_passed)
    timer.set(0.0)
    assert twice.wait(WAIT_S)
    assert [late - early >= 0.9 * AGAIN_S for early, late in itertools.pairwise(passed)] == [True, True]
