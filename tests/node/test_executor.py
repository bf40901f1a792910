"""parkcos/node/executor.py"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parkcos.cluster.server_messages import TaskRecalled
from parkcos.node.executor import (
    CLOSE_GRACE_S,
    INTERRUPT_GRACE_S,
    Abandon,
    Answer,
    Asked,
    Close,
    CloseAsked,
    EndAsked,
    Ended,
    Executor,
    Exit,
    GiveUp,
    Interrupt,
    Leave,
    Recalled,
    Start,
    Terminate,
    TimedOut,
    TimePassed,
)

CLIENT = 77


class Driven:
    def __init__(self, *events: Any) -> None:
        self.machine = Executor(CLIENT)
        for event in events:
            self(event)

    def __call__(self, event: Any, now: float = 0.0) -> list[Any]:
        effects: list[Any] = list(self.machine.handle(event, now))
        self.machine.check()
        return effects


def test_cpu_tasks_run_one_at_a_time_in_order() -> None:
    server = Driven()
    assert server(Asked(1, io=False)) == [Start(1)]
    assert server(Asked(2, io=False)) == []
    assert server(Asked(3, io=False)) == []
    assert server(Ended(1)) == [Start(2)]
    assert server(Ended(2)) == [Start(3)]
    assert server(Ended(3)) == []
    assert server(Asked(4, io=False)) == [Start(4)]


def test_io_tasks_start_at_once() -> None:
    server = Driven(Asked(1, io=False))
    assert server(Asked(2, io=True)) == [Start(2)]
    assert server(Asked(3, io=True)) == [Start(3)]
    assert server.machine.running == 3
    assert server(Ended(2)) == []
    assert server.machine.running == 2
    assert server(Ended(99)) == [], "an unknown task is nobody's"


def test_only_what_has_not_begun_is_given_back() -> None:
    server = Driven(Asked(1, io=False), Asked(2, io=False), Asked(3, io=True))
    assert server(Recalled(2)) == [Answer(TaskRecalled(CLIENT, 2, True))]
    assert server(Recalled(1)) == [Answer(TaskRecalled(CLIENT, 1, False))]
    assert server(Recalled(3)) == [Answer(TaskRecalled(CLIENT, 3, False))]
    assert server(Recalled(2)) == [Answer(TaskRecalled(CLIENT, 2, False))]
    assert server(Ended(1)) == []
    assert server(Asked(2, io=False)) == [Start(2)], "it may come again"


def test_patient_close_waits_for_the_cpu_task_then_interrupts_io_tasks() -> None:
    server = Driven(Asked(1, io=False), Asked(2, io=False), Asked(3, io=True))
    assert server(CloseAsked(-1.0)) == [Leave(), Abandon(2)]
    assert server.machine.next_deadline() is None
    assert server(Ended(1), 100.0) == [Interrupt(3)]
    assert server.machine.next_deadline() == 100.0 + INTERRUPT_GRACE_S
    assert server(Ended(3), 101.0) == [Exit()]
    assert server.machine.next_deadline() is None


def test_close_with_grace_interrupts_everything_then_terminates() -> None:
    server = Driven(Asked(1, io=False), Asked(2, io=True), Asked(3, io=False))
    assert server(CloseAsked(9.0), 1.0) == [Leave(), Abandon(3), Interrupt(1), Interrupt(2)]
    assert server.machine.next_deadline() == 1.0 + INTERRUPT_GRACE_S, "never longer than the chapter's five seconds"
    assert server(TimePassed(), 5.9) == []
    assert server(Ended(2), 5.95) == []
    assert server(TimePassed(), 6.0) == [Terminate(1)]
    assert server.machine.next_deadline() is None
    assert server(Ended(1), 6.1) == [Exit()]


def test_close_again_shortens_the_grace_only() -> None:
    server = Driven(Asked(1, io=False))
    server(CloseAsked(-1.0), 0.0)
    assert server(CloseAsked(5.0), 1.0) == [Interrupt(1)]
    assert server(CloseAsked(5.0), 2.0) == []
    assert server.machine.next_deadline() == 6.0
    assert server(CloseAsked(0.5), 3.0) == []
    assert server.machine.next_deadline() == 3.5
    assert server(CloseAsked(-1.0), 3.1) == []
    assert server.machine.next_deadline() == 3.5


def test_a_close_without_grace_terminates_at_once() -> None:
    server = Driven(Asked(1, io=False))
    assert server(CloseAsked(0.0), 1.0) == [Leave(), Interrupt(1)]
    assert server.machine.next_deadline() == 1.0
    assert server(TimePassed(), 1.0) == [Terminate(1)]
    server = Driven(Asked(1, io=False), CloseAsked(5.0))
    assert server(CloseAsked(0.0), 2.0) == []
    assert server.machine.next_deadline() == 2.0, "the grace that it had is over"


def test_an_idle_server_exits_at_once_and_once() -> None:
    server = Driven()
    assert server(CloseAsked(-1.0)) == [Leave(), Exit()]
    assert server(CloseAsked(1.0)) == []
    assert server(TimePassed(), 99.0) == []


def test_a_task_over_its_time_is_interrupted_closed_given_up() -> None:
    server = Driven(Asked(1, io=False, timeout_s=10.0), Asked(2, io=True, timeout_s=30.0), Asked(3, io=False))
    assert server.machine.next_deadline() == 10.0
    assert server(TimePassed(), 9.9) == []
    assert server(TimePassed(), 10.0) == [TimedOut(1), Interrupt(1)]
    assert server.machine.next_deadline() == 10.0 + INTERRUPT_GRACE_S
    assert server(TimePassed(), 15.0) == [Close(1)]
    assert server.machine.next_deadline() == 15.0 + CLOSE_GRACE_S
    assert server(TimePassed(), 16.0) == [Leave(), Abandon(3), GiveUp(1)]
    assert server(Asked(4, io=True), 16.1) == [Abandon(4)]


def test_a_task_that_is_to_end_is_closed_interrupted_given_up() -> None:
    server = Driven(Asked(1, io=False), Asked(2, io=True, timeout_s=10.0), Asked(3, io=False))
    assert server(EndAsked(3), 1.0) == [], "it has not begun"
    assert server(EndAsked(2), 1.0) == [Close(2), Interrupt(2)]
    assert server(Ended(2), 1.1) == []
    assert server.machine.next_deadline() is None
    assert server(EndAsked(1), 2.0) == [Close(1), Interrupt(1)]
    assert server(EndAsked(1), 3.0) == []
    assert server(TimePassed(), 6.9) == []
    assert server(TimePassed(), 2.0 + INTERRUPT_GRACE_S) == [Leave(), Abandon(3), GiveUp(1)]


def test_a_task_over_its_time_that_is_to_end_has_its_grace() -> None:
    server = Driven(Asked(1, io=False, timeout_s=10.0))
    server(TimePassed(), 10.0)
    assert server(EndAsked(1), 11.0) == []
    assert server.machine.next_deadline() == 10.0 + INTERRUPT_GRACE_S


def test_the_time_of_a_task_begins_with_its_start() -> None:
    server = Driven(Asked(1, io=False, timeout_s=10.0), Asked(2, io=False, timeout_s=10.0))
    assert server(Ended(1), 9.0) == [Start(2)]
    assert server.machine.next_deadline() == 19.0
    server(Asked(3, io=False, timeout_s=1.0))
    server(Recalled(3))
    assert server(Ended(2), 12.0) == []
    assert server.machine.next_deadline() is None, "no limit is left over"


def test_a_closing_server_begins_nothing() -> None:
    server = Driven(Asked(1, io=False), Asked(9, io=False, timeout_s=1.0))
    assert server(CloseAsked(-1.0)) == [Leave(), Abandon(9)]
    assert server(Asked(2, io=False, timeout_s=1.0)) == [Abandon(2)]
    assert server(Asked(3, io=True, timeout_s=1.0)) == [Abandon(3)]


class AnyOrder(RuleBasedStateMachine):
    """Each task asked for is started, given back or abandoned, once; CPU tasks never run together."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Executor(CLIENT)
        self.now = 0.0
        self.count = 0
        self.asked: dict[int, bool] = {}
        self.running: dict[int, bool] = {}
        self.exits = 0

    def tell(self, event: Any) -> None:
        for effect in self.machine.handle(event, self.now):
            match effect:
                case Start(task):
                    io = self.asked.pop(task)
                    assert io or all(self.running.values())
                    self.running[task] = io
                case Abandon(task):
                    del self.asked[task]
                case Answer(answer) if answer.ok:
                    del self.asked[answer.task]
                case Interrupt(task) | Terminate(task):
                    assert task in self.running
                case Exit():
                    assert not self.running
                    self.exits += 1

    @rule(io=st.booleans())
    def ask(self, io: bool) -> None:
        self.count += 1
        self.asked[self.count] = io
        self.tell(Asked(self.count, io))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(list(self.running)))
        del self.running[task]
        self.tell(Ended(task))

    @precondition(lambda self: self.count)
    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        self.tell(Recalled(data.draw(st.integers(1, self.count))))

    @precondition(lambda self: self.count)
    @rule(data=st.data())
    def end_one(self, data: st.DataObject) -> None:
        self.tell(EndAsked(data.draw(st.integers(1, self.count))))

    @rule(grace=st.sampled_from([-1.0, 0.5, 5.0]))
    def close(self, grace: float) -> None:
        self.tell(CloseAsked(grace))

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tell(TimePassed())
        deadline = self.machine.next_deadline()
        assert deadline is None or deadline > self.now

    @invariant()
    def holds(self) -> None:
        self.machine.check()
        assert self.exits == self.machine.exited
        assert list(self.asked) == list(self.machine.waiting)
        if not self.running and not self.machine.closing:
            assert not self.asked, "idle while tasks wait"


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
