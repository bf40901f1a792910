"""`as_completed`: tasks in the order in which they end."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from types import CoroutineType, GeneratorType
from typing import Any

from parkcos.client.side import ClientSide
from parkcos.client.stream import AHEAD, Batch, Flow, Results, in_task
from parkcos.errors import UsageError
from parkcos.kernel import Completion, Kernel, Outcome, Task, Wait
from parkcos.kernel.wait import seconds
from parkcos.net.network import Network

AHEAD_MIN = 32
"""So many tasks are taken from an iterator at a time, however few servers there are: they may be local ones."""

MORE = (Wait, GeneratorType, CoroutineType)


def as_completed(rtasks: Iterable[Any], timeout: float | None = None) -> Results:
    """Tasks in the order in which they end: ``for item in as_completed(rtasks): task = yield item``.

    Also ``async for task in as_completed(rtasks)``, and ``tasks = yield as_completed(rtasks)`` for all in a list.
    Each is a Task that has ended: ``yield task.result()`` gives its value or raises its error at once.

    Args:
        rtasks: tasks, remote or local, and calls that make one and were not yielded: ``client.rtask(fn, x)``.
            A list, a set and the like are taken at once.  From an iterator, a few for each server are taken ahead:
            ``as_completed(client.rtask(fn, x) for x in xs)`` with infinite `xs` will do.
        timeout: seconds from now, for all together.

    Returns: an iterator of things to yield.  A call that makes no task raises there.  After `timeout` it is
    TimeoutError.  Who leaves the loop early leaves the tasks alone, but for those that were made here: they are
    withdrawn or terminated.
    Raises: UsageError.
    """
    kernel = in_task("as_completed")
    limit = seconds(timeout)
    if isinstance(rtasks, Task) or not isinstance(rtasks, Iterable):
        raise UsageError(f"as_completed() wants an iterable of tasks, not {rtasks!r}\n  write: as_completed([task])")
    if isinstance(rtasks, Iterator):
        source, several = rtasks, True
    else:
        things = list(rtasks)
        for thing in things:
            _check(thing)
        source, several = iter(things), False
    side = ClientSide.of(kernel.network) if isinstance(kernel.network, Network) else None

    def width() -> float:
        if not several:
            return float("inf")
        servers = 0 if side is None else sum(len(each.shell.ready) for each in list(side.clients.values()))
        return max(AHEAD_MIN, AHEAD * servers)

    wants = side.wants_servers if side is not None and several else None
    return Results(TaskFlow(kernel, "as_completed", source, False, width, wants, limit))


def _check(thing: Any) -> None:
    if not isinstance(thing, (Task, *MORE)):
        raise UsageError(
            f"as_completed() wants tasks, or calls that make one, not {thing!r}\n"
            "  write: as_completed(client.rtask(fn, x) for x in xs)"
        )


class TaskFlow(Flow):
    """The inputs are tasks, or make one."""

    def pull(self) -> Batch | None:
        things = self.gather(1)
        if not things:
            return None
        (thing,) = things
        _check(thing)
        one = One(self, 1, own=not isinstance(thing, Task))
        self.add(one)
        if isinstance(thing, Task):
            one.watch(thing)
        elif isinstance(thing, Completion):
            one.submit(thing)
        else:
            one.submit(_in_a_task(self.kernel, thing))
        return one


class One(Batch):
    """A task."""

    __slots__ = ()

    def opened(self, task: Task, outcome: Outcome) -> list[tuple[Any, BaseException | None]]:
        return [(task, None)]


def _in_a_task(kernel: Kernel, thing: Any) -> Completion[Task]:
    """What yielding `thing` gives."""
    made: list[Task] = []

    def run() -> Generator[Any, Any, Any]:
        return (yield thing)

    def start(completion: Completion[Task]) -> None:
        def ended(task: Task) -> None:
            outcome = task.outcome
            assert outcome is not None
            if outcome.kind == "finished":
                completion.set_result(outcome.value)
            else:
                completion.set_exception(outcome.to_raise())

        made.append(kernel.spawn(run))
        made[0].add_end_callback(ended)

    def cancel() -> None:
        made[0].terminate()

    return Completion(kernel, "as_completed", start, on_cancel=cancel)
