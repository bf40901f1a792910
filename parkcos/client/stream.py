"""A bounded stream of results, which comes from tasks: what `Client.map` and `as_completed` are made of.

``Flow`` takes from an input, a *batch* at a time, has each run as a task, and keeps what comes until somebody takes it.
Two bounds: the batches that run or wait for a server, and those of which not every result has been taken.  More is
taken from the input only when a result is taken, when a batch ends, or when there are more servers.

``Results`` is what the program has: an iterator of Items, each to be yielded once.  When it is dropped, the flow
closes.  So nothing inside refers to it: batches know their flow, and the flow knows its batches and Items.

All this is for the kernel thread, except for the end of a task of another kernel.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from threading import get_ident
from typing import Any

from parkcos.errors import ForgottenYield, UsageError
from parkcos.kernel import Call, Completion, Kernel, Outcome, Task
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.wait import TimedWait, Wait, Waitable

AHEAD = 4
"""Batches for each server that run or wait for it: it has work while the end of another one travels."""
HELD = 2
"""So many times as many may have results that nobody has taken: one that takes long does not stop the others."""
BURST = 64
"""After so many batches other tasks have a turn."""


class Result:
    """The place of one result."""

    __slots__ = ("batch", "done", "error", "item", "taken", "value")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.item: Item | None = None  # that waits for it
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = self.taken = False


class Batch:
    """What is one task, and gives `count` results.  own: whether the flow has made the task, and may end it."""

    __slots__ = ("completion", "flow", "left", "own", "results", "task")

    def __init__(self, flow: Flow, count: int, own: bool = True) -> None:
        self.flow = flow
        self.own = own
        self.results = [Result(self) for _ in range(count)]
        self.left = count
        """How many of them nobody has taken."""
        self.completion: Completion[Task] | None = None
        self.task: Task | None = None

    def submit(self, completion: Completion[Task]) -> None:
        """The task is what `completion` gives."""
        self.completion = completion
        try:
            completion.tell(self._created)
        except UsageError as error:  # somebody else waits for it
            self._created(None, error)

    def watch(self, task: Task) -> None:
        """The task is `task`."""
        self.task = task
        task.add_end_callback(self._ended)

    def leave(self) -> None:
        """Nobody wants its results."""
        if self.task is not None:
            self.task.drop_end_callback(self._ended)
            if self.own:
                self.task.terminate()
        elif self.completion is not None:
            self.completion.withdraw()

    def _created(self, task: Any, error: BaseException | None) -> None:
        self.completion = None
        if self.flow.closed:
            if isinstance(task, Task):
                task.terminate()
        elif error is not None:
            self.refused(error)
        elif isinstance(task, Task):
            self.watch(task)
        else:
            self.refused(UsageError(f"this gives no task, but {task!r}\n  write: client.rtask(fn, ...)"))

    def _ended(self, task: Task) -> None:
        kernel = self.flow.kernel
        if get_ident() != kernel.ident:
            kernel.post(self._ended, task)
            return
        outcome = task.outcome
        if not self.flow.closed and outcome is not None:
            self.flow.ended(self, self.opened(task, outcome))

    def refused(self, error: BaseException) -> None:
        """There is no task."""
        self.flow.ended(self, [(None, error)] * len(self.results))

    def opened(self, task: Task, outcome: Outcome) -> list[tuple[Any, BaseException | None]]:
        """Value and error for each result."""
        raise NotImplementedError


class Item(TimedWait[Any]):
    """One result to come.  A second yield gives it again."""

    __slots__ = ("_claims", "_flow", "_result", "_waits")

    def __init__(self, flow: Flow, result: Result | None) -> None:
        self._task = None  # a forgotten yield is noticed by the next next(); after `break` it is none
        self._begun = False
        self._timer = 0
        self._flow = flow
        self._result = result
        self._claims = True  # one of the results to come, if it is not said which
        self._waits = False

    def names(self) -> tuple[str, ...]:
        return (self._flow.what,)

    def begin(self, task: Task) -> None:
        flow = self._flow
        if self._waits:
            raise UsageError(f"{self._task!r} already waits for this item of {flow.what}; each has one waiter")
        if flow.fresh is self:
            flow.fresh = None
        self._task = task
        if self._result is None:
            if not self._claims:  # it was given up, and is yielded again
                if not flow.not_given:
                    raise UsageError(f"other items have taken all results of {flow.what}")
                flow.not_given -= 1
                self._claims = True
            if flow.arrived:
                self._result = flow.arrived.popleft()
        if self._result is not None and self._result.done:
            self.give()
        elif flow.closed:
            raise UsageError(
                f"this {flow.what} was left, and the result had not come\n  write: items = {flow.what}(...), and keep "
                "that while you wait for one of its items"
            )
        else:
            self._waits = True
            flow.waiting[self] = None
            if self._result is not None:
                self._result.item = self
            if flow.deadline is not None:
                self.arm(flow.kernel, max(0.0, flow.deadline - flow.kernel.clock()))

    def give(self) -> None:
        """Its result is there."""
        task, result = self._task, self._result
        assert task is not None and result is not None
        self._stop()
        if result.error is not None:
            self._flow.kernel.wake_error(task, result.error)
        else:
            self._flow.kernel.wake(task, result.value)
        self._flow.took(result)
        self._flow.look_left()

    def fail(self, error: BaseException) -> None:
        """There will be none."""
        task = self._task
        assert task is not None
        self._stop()
        self._flow.kernel.wake_error(task, error)
        self._flow.look_left()

    def cancel(self, task: Task) -> None:
        self._stop()
        if self._result is not None:
            self._flow.took(self._result)  # whoever wants it has this item
        else:
            self._claims = False
            self._flow.not_given += 1
        self._flow.look_left()

    def expired(self) -> None:
        flow = self._flow
        flow.end_input()
        self.fail(TimeoutError(f"{flow.what}: the time is over, and {len(flow.running)} tasks have not ended"))

    def _stop(self) -> None:
        if self._waits:
            self._waits = False
            self._flow.waiting.pop(self, None)
            self.disarm(self._flow.kernel)
            if self._result is not None:
                self._result.item = None


class Flow:
    """Takes, submits, keeps, gives.

    Args:
        what: the call, for messages (``"map"``).
        source: the input.
        ordered: whether results are given in the order of the input.
        width: how many batches may run or wait for a server, at this moment.
        wants_servers: where to say that more servers are of interest, if anywhere.
        timeout_s: the time that all may take.
    """

    def __init__(
        self,
        kernel: Kernel,
        what: str,
        source: Iterator[Any],
        ordered: bool,
        width: Callable[[], float],
        wants_servers: set[Callable[[], object]] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.kernel = kernel
        self.what = what
        self.source: Iterator[Any] | None = source
        self.ordered = ordered
        self.width = width
        self.deadline = None if timeout_s is None else kernel.clock() + timeout_s
        self.closed = False
        self.not_given = 0
        """What was taken from the input, and for which no Item has been given."""
        self.running: dict[Batch, None] = {}
        self.arrived: deque[Result] = deque()
        """Not ordered: what has ended and was not taken."""
        self.waiting: dict[Item, None] = {}
        self.fresh: Item | None = None
        """Given, and not yielded so far."""
        self._coming: deque[Result] = deque()
        """Ordered: the places of what was not given."""
        self._held = 0
        """Batches that have results which were not taken, or will have."""
        self._failure: BaseException | None = None
        self._filling = False
        self._left = False
        self._wants_servers = wants_servers
        if wants_servers is not None:
            wants_servers.add(self.fill)

    # -- what a kind of flow does

    def pull(self) -> Batch | None:
        """Take a batch from the input (by ``gather``) and submit it; None if there is none."""
        raise NotImplementedError

    def gather(self, count: int) -> list[Any]:
        """At most `count` things from the input; notes how it ends."""
        things: list[Any] = []
        source = self.source
        try:
            while source is not None and len(things) < count:
                things.append(next(source))
        except StopIteration:
            self.end_input()
        except BaseException as error:  # of the program's own generator: for who asks for the next result
            self.end_input(error)
        return things

    def end_input(self, error: BaseException | None = None) -> None:
        """Nothing more is taken.  error: raised after the last result."""
        self.source = None
        self._failure = self._failure or error
        if self._wants_servers is not None:
            self._wants_servers.discard(self.fill)

    # -- in

    def fill(self, least: int = 0) -> None:
        """Take from the input what there is room for, and at least so many batches."""
        if self._filling:
            return
        self._filling = True
        try:
            for _ in range(BURST):
                if self.source is None or not (least > 0 or self._has_room()):
                    return
                least -= 1
                try:
                    batch = self.pull()
                except Exception as error:
                    self.end_input(error)
                    return
                if batch is None:
                    return
            self.kernel.post(self.fill)
        finally:
            self._filling = False

    def _has_room(self) -> bool:
        width = self.width()
        return len(self.running) < width and self._held < HELD * width

    def add(self, batch: Batch) -> None:
        """A new batch, before it is submitted."""
        self._held += 1
        self.running[batch] = None
        self.not_given += len(batch.results)
        if self.ordered:
            self._coming += batch.results

    def replace(self, batch: Batch, parts: list[Batch]) -> None:
        """These run instead of `batch`, and share its results."""
        del self.running[batch]
        places = iter(batch.results)
        for part in parts:
            part.results = [next(places) for _ in part.results]
            for result in part.results:
                result.batch = part
            part.left = sum(not result.taken for result in part.results)
            self._held += bool(part.left)
            self.running[part] = None
        self._held -= bool(batch.left)
        batch.results = []

    # -- out

    def ended(self, batch: Batch, results: list[tuple[Any, BaseException | None]]) -> None:
        """What has come of a batch."""
        if self.closed:
            return
        self.running.pop(batch, None)
        places, batch.results, batch.task = batch.results, [], None  # no circle is left behind
        for place, (value, error) in zip(places, results, strict=True):
            place.value, place.error, place.done = value, error, True
            item = place.item
            if not self.ordered:
                item = next(iter(self.waiting), None)
                if item is None:
                    self.arrived.append(place)
                else:
                    item._result = place
            if item is not None:
                item.give()
        self.fill()

    def took(self, result: Result) -> None:
        """Somebody has this result, or is the only one who can have it."""
        if not result.taken:
            result.taken = True
            batch = result.batch
            batch.left -= 1
            if not batch.left:
                self._held -= 1
                self.fill()

    def next(self) -> Item | None:
        """The next Item; None if there is none.  Raises: what the input raised; ForgottenYield."""
        if self.fresh is not None:
            self.fresh = None
            raise ForgottenYield(
                f"the item before was not yielded: {self.what}() gives items to wait for, not results\n"
                f"  write: for item in {self.what}(...): result = yield item\n"
                f"  or, for all results in a list: results = yield {self.what}(...)"
            )
        self.fill(0 if self.not_given else 1)
        if self.not_given:
            self.not_given -= 1
            item = self.fresh = Item(self, self._coming.popleft() if self.ordered else None)
            return item
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return None

    # -- the end

    def leave(self) -> None:
        """Nobody can ask for more: close as soon as nobody waits."""
        self._left = True
        self.look_left()

    def look_left(self) -> None:
        """Close if it was left and nobody waits."""
        if self._left and not self.waiting:
            self.close()

    def close(self) -> None:
        """Take no more, withdraw what has not begun, end what runs, keep nothing."""
        if self.closed:
            return
        self.closed = True
        self.end_input()
        self._failure = self.fresh = None
        for batch in self.running:
            batch.leave()
        self.running.clear()
        self.arrived.clear()
        self._coming.clear()
        self.not_given = 0
        for item in list(self.waiting):
            item.fail(UsageError(f"the {self.what} was closed while a task waited for one of its results"))


class Results(Waitable):
    """An iterator of results to come: yield each, ``async for`` them, or yield the whole for a list.

    Several tasks may share it.  When it is dropped, or closed, what has not begun is withdrawn, what runs is ended.
    """

    __slots__ = ("_flow",)

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def __repr__(self) -> str:
        return f"<{self._flow.what}: {len(self._flow.running)} tasks run or wait for a server>"

    def __iter__(self) -> Iterator[Wait[Any]]:
        return self

    def __next__(self) -> Wait[Any]:
        self._check_thread()
        item = self._flow.next()
        if item is None:
            raise StopIteration
        return item

    def __aiter__(self) -> Results:
        return self

    def __anext__(self) -> Wait[Any]:
        self._check_thread()
        item = self._flow.next()
        if item is None:
            raise StopAsyncIteration
        return item

    def as_wait(self) -> Wait[list[Any]]:
        """All results, in a list.  The first error is raised, and ends the rest."""
        return Call(self._all())

    def __await__(self) -> Generator[Any, Any, list[Any]]:
        return (yield self.as_wait())  # type: ignore[no-any-return]

    def _all(self) -> Generator[Any, Any, list[Any]]:
        results = []
        try:
            for item in self:
                results.append((yield item))
        finally:
            self.close()
        return results

    def close(self) -> None:
        """Take no more inputs; withdraw what has not begun; terminate what runs.  In a task; do not yield it."""
        self._check_thread()
        self._flow.close()

    def _check_thread(self) -> None:
        flow = self._flow
        if get_ident() != flow.kernel.ident:
            raise UsageError(
                f"{flow.what}() is for tasks, and this is another thread\n  write: Task(fn)  and use it there"
            )

    def __del__(self, _finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        try:
            flow = self._flow
            if not flow.closed and not _finalizing():
                flow.kernel.post(flow.leave)  # not here: a finalizer runs anywhere, and between any two steps
        except Exception:  # its __init__ failed, or the process is half gone: a finalizer has nobody to tell
            return


def in_task(what: str) -> Kernel:
    """The kernel of the task that calls `what`.  Raises: UsageError if it is called elsewhere."""
    kernel = current_kernel()
    if get_ident() != kernel.ident:
        raise UsageError(f"{what}() is for tasks, and this is another thread\n  write: Task(fn)  and call it there")
    return kernel
