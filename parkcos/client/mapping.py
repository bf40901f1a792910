"""`Client.map`: calls of one function with many arguments, as CPU tasks.

A chunk of calls is one task.  Where it is a single call of a generator function or an ``async def``, that is the task
itself, as by ``client.rtask``; all others run in ``run_chunk``.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Generator, Iterable
from types import CoroutineType, GeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from parkcos.client.stream import AHEAD, Batch, Flow, Results, in_task
from parkcos.client.submission import Submission, kind_of, name_of
from parkcos.errors import ScheduleError, ShippingError, UsageError
from parkcos.kernel import Call, Completion, Outcome, Task, failures
from parkcos.kernel import target as targets
from parkcos.kernel.explain import add_loop_note
from parkcos.net.payload import dumps, join
from parkcos.net.tasks import outcomes

if TYPE_CHECKING:
    from parkcos.client.limits import TaskLimits

TURN_S = 0.005
"""So long calls that never yield run at a server before its messages and other tasks have a turn."""

_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})


class Submits(Protocol):
    """What `map` asks of its client."""

    def must_run(self) -> None:
        """Raises: ScheduleError."""

    def start_chunk(
        self, fn: Any, args: tuple[Any, ...], limits: TaskLimits | None, prepare: Callable[[Submission], None]
    ) -> Completion[Task]:
        """As ``client.rtask(fn, *args)``.  prepare: completes the record.  Raises: ScheduleError, UsageError."""

    def width(self, kind: str, least: int) -> int:
        """How many tasks of this kind keep all servers busy, at least so many for each."""

    @property
    def wants_servers(self) -> set[Callable[[], object]]:
        """Called when there is a server more."""


def start(
    client: Submits,
    fn: Any,
    iterables: tuple[Iterable[Any], ...],
    chunksize: int,
    ordered: bool,
    limits: TaskLimits | None = None,
) -> Results:
    """What `Client.map` returns.  Raises: UsageError for what cannot be used."""
    client.must_run()
    kernel = in_task("map")
    if not callable(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(
            f"map() wants a function, a generator function or an async def, not {fn!r}\n"
            "  write: client.map(function, iterable)"
        )
    if type(chunksize) is not int or chunksize < 1:
        raise UsageError(f"map(chunksize={chunksize!r}): give the number of calls in a task, 1 or more")
    if not iterables:
        raise UsageError(f"map() wants the arguments of the calls\n  write: client.map({name_of(fn)}, iterable)")
    inputs = []
    for number, iterable in enumerate(iterables, 1):
        try:
            inputs.append(iter(iterable))
        except TypeError:
            raise UsageError(
                f"map(): iterable {number} is none: {iterable!r}\n"
                f"  write: client.map({name_of(fn)}, [{iterable!r}])  for one call with it"
            ) from None

    plain = chunksize == 1 and not targets.is_task(kernel.kinds, fn)

    def submit(fn: Any, args: tuple[Any, ...], name: str) -> Completion[Task]:
        def prepare(record: Submission) -> None:
            if limits is None or not limits.name:
                record.name = name
            record.plain = plain
            if fn is run_chunk:
                record.calls = args[1]
                record.kind = kind_of(args[0], len(args[1]))

        return client.start_chunk(fn, args, limits, prepare)

    kind = kind_of(fn, chunksize)

    def width() -> int:
        return client.width(kind, AHEAD)

    flow = MapFlow(kernel, "map", zip(*inputs, strict=False), ordered, width, client.wants_servers)
    flow.prepare(fn, chunksize, submit)
    return Results(flow)


class MapFlow(Flow):
    """The inputs are tuples of arguments."""

    def prepare(self, fn: Any, chunksize: int, submit: Callable[[Any, tuple[Any, ...], str], Completion[Task]]) -> None:
        """submit: gives what ``client.rtask(fn, *args)`` does, for a task of that name."""
        self.fn = fn
        self.name = name_of(fn)
        self.chunksize = chunksize
        self.direct = chunksize == 1
        self.submit = submit

    def pull(self) -> Batch | None:
        calls = self.gather(self.chunksize)
        if not calls:
            return None
        chunk = Chunk(self, calls)
        completion = chunk.completion_of()
        self.add(chunk)
        chunk.submit(completion)
        return chunk


class Chunk(Batch):
    """Some calls, which are one task."""

    __slots__ = ("calls",)

    flow: MapFlow

    def __init__(self, flow: MapFlow, calls: list[tuple[Any, ...]]) -> None:
        super().__init__(flow, len(calls))
        self.calls = calls

    def completion_of(self) -> Completion[Task]:
        """Its task, to be submitted.  Raises: ScheduleError if the client takes none."""
        flow = self.flow
        if flow.direct:
            return flow.submit(flow.fn, self.calls[0], flow.name)
        return flow.submit(run_chunk, (flow.fn, self.calls), flow.name)

    def refused(self, error: BaseException) -> None:
        if isinstance(error, ShippingError) and not self.flow.direct:
            part, _, text = str(error).partition(": ")
            if part == "argument 1":
                error = ShippingError(f"the function {self.flow.name}: {text}")
            elif len(self.calls) > 1:
                return self._halve()
            else:
                error = ShippingError(f"a call of {self.flow.name}, its arguments as <list>[0]: {text}")
        super().refused(error)

    def _halve(self) -> None:
        """Some argument cannot travel: only its own call is to fail."""
        flow, middle = self.flow, len(self.calls) // 2
        parts = [Chunk(flow, self.calls[:middle]), Chunk(flow, self.calls[middle:])]
        flow.replace(self, list(parts))
        for part in parts:
            try:
                completion = part.completion_of()
            except ScheduleError as error:
                part.refused(error)
            else:
                part.submit(completion)

    def opened(self, task: Task, outcome: Outcome) -> list[tuple[Any, BaseException | None]]:
        if outcome.kind != outcomes.FINISHED:
            error = outcome.to_raise()
            return [(None, error) for _ in self.results]
        if self.flow.direct:
            return [(outcome.value, None)]
        where = str(task.location)
        return [_opened(result, where) for result in outcome.value]


def outcomes_of(results: list[tuple[Any, ...]], where: str) -> list[Outcome]:
    """How each call of a chunk has ended; results: what its `run_chunk` gave; where: at which server."""
    found = []
    for result in results:
        if len(result) == 1:
            found.append(Outcome("finished", result[0]))
        else:
            kind, form, payload = result
            found.append(outcomes.unpack(kind, form, payload, where))
    return found


def _opened(result: tuple[Any, ...], where: str) -> tuple[Any, BaseException | None]:
    if len(result) == 1:
        return result[0], None
    kind, form, payload = result
    return None, outcomes.unpack(kind, form, payload, where).to_raise()


# -- at a server


def run_chunk(fn: Any, calls: list[tuple[Any, ...]], task: Any = None) -> Generator[Any, Any, list[tuple[Any, ...]]]:
    """The task of a chunk: for each call ``(value,)``, or how it failed, as `outcomes.pack` packs it."""
    kinds = task.kernel.kinds
    is_task = targets.is_task(kinds, fn)
    results: list[tuple[Any, ...]] = []
    turn = time.monotonic() + TURN_S
    for args in calls:
        waits = False
        try:
            value = targets.make_generator(kinds, task, fn, args, {}) if is_task else fn(*args)
            if isinstance(value, (GeneratorType, CoroutineType, Call)):
                waits = True
                value = yield value
        except KeyboardInterrupt:  # the server is to end, or the time is over
            raise
        except BaseException as error:
            if waits and not isinstance(error, Exception) and _below_chunk(error) is None:
                raise  # it was thrown into the chunk itself, which is to end
            results.append(_failure(error))
        else:
            results.append((value,))
        if time.monotonic() >= turn:
            yield
            turn = time.monotonic() + TURN_S
    return _that_travel(results)


def _below_chunk(error: BaseException) -> TracebackType | None:
    """The part of its traceback that begins in the call; None if there is none."""
    trace = failures.trace_of(error)
    while trace is not None and trace.tb_frame.f_code is run_chunk.__code__:
        trace = trace.tb_next
    return trace


def _failure(error: BaseException) -> tuple[Any, ...]:
    failures.set_trace(error, _below_chunk(error))
    add_loop_note(error)
    kind, form, buffers = outcomes.pack(Outcome("failed", None, error, failures.text_of(error)))
    return kind, form, bytes(join(buffers))


def _that_travel(results: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same; what cannot be pickled is a failure of its own call, and not of all."""
    if all(type(result[0]) in _PLAIN for result in results):
        return results
    try:
        dumps(results)
    except ShippingError:
        for position, result in enumerate(results):
            if len(result) == 1:
                kind, form, buffers = outcomes.pack(Outcome("finished", result[0]))
                if kind != outcomes.FINISHED:
                    results[position] = kind, form, bytes(join(buffers))
    return results
