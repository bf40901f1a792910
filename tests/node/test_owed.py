"""parkcos/node/owed.py, and what executor.py keeps: what a server has to say to a client that may return."""

from __future__ import annotations

from typing import Any

from parkcos.cluster import server_messages as sm
from parkcos.node import executor as ex
from parkcos.node.executor import Executor
from parkcos.node.owed import Owed, described, resumptions

CLIENT = 5


def asked(number: int, name: str = "f") -> sm.RunTask:
    return sm.RunTask(CLIENT, number, name, False)


def test_what_was_not_released_is_told_again_in_its_order() -> None:
    owed, told = Owed(), list[Any]()
    buffer = bytearray(b"one")
    for number in (3, 1, 2):
        owed.keep(asked(number), sm.TaskEnded(CLIENT, number, "finished", 0.1, 7), 1, [buffer, b"!"])
    buffer[:] = b"two"  # the next task's
    owed.release([1, 99])
    assert [each.task for each in owed.described()] == [3, 2]
    owed.tell(lambda message, form, buffers: told.append((message.task, form, buffers)))  # type: ignore[attr-defined]
    assert told == [(3, 1, [b"one!"]), (2, 1, [b"one!"])]


def test_tasks_are_told_of_in_messages_of_a_bounded_size() -> None:
    tasks = [described(asked(number, "long" * 200)) for number in range(1, 2 * sm.RESUMED_MAX + 2)]
    assert len(tasks[0].name) == sm.RESUMED_NAME_MAX
    messages = list(resumptions(CLIENT, True, tasks))
    assert [(len(each.tasks), each.more) for each in messages] == [
        (sm.RESUMED_MAX, True),
        (sm.RESUMED_MAX, True),
        (1, False),
    ]
    assert [task for each in messages for task in each.tasks] == tasks
    assert list(resumptions(CLIENT, False, [])) == [sm.ServerResumed(CLIENT, False, [], False)]
    assert not next(resumptions(CLIENT, True, tasks[: sm.RESUMED_MAX])).more


def serving(*tasks: int) -> Executor:
    machine = Executor(CLIENT, keeps=True)
    for task in tasks:
        machine.handle(ex.Asked(task, io=False), 0.0)
        machine.handle(ex.Ended(task), 0.0)
        machine.check()
    return machine


def test_a_server_that_ends_in_peace_waits_until_all_is_released() -> None:
    machine = serving(1, 2)
    assert machine.handle(ex.CloseAsked(-1.0), 0.0) == [ex.Leave()]
    assert machine.handle(ex.Released([1]), 0.0) == []
    assert machine.handle(ex.Released([2]), 0.0) == [ex.Exit()]
    assert machine.next_deadline() is None


def test_but_not_for_ever() -> None:
    machine = serving(1, 2)
    machine.handle(ex.CloseAsked(-1.0), 0.0)
    assert machine.next_deadline() == ex.RELEASE_S
    assert machine.handle(ex.TimePassed(), ex.RELEASE_S - 1) == []
    assert machine.handle(ex.TimePassed(), ex.RELEASE_S) == [ex.Exit()]
    assert machine.next_deadline() is None


def test_one_that_is_to_end_at_once_does_not() -> None:
    machine = serving(1)
    assert machine.handle(ex.CloseAsked(-1.0), 0.0) == [ex.Leave()]
    assert machine.handle(ex.CloseAsked(5.0), 0.0) == [ex.Exit()]


def test_without_an_identity_nothing_is_kept() -> None:
    machine = Executor(CLIENT)
    machine.handle(ex.Asked(1, io=False), 0.0)
    machine.handle(ex.Ended(1), 0.0)
    assert machine.handle(ex.CloseAsked(-1.0), 0.0) == [ex.Leave(), ex.Exit()]
