"""parkcos/client/mapping.py, stream.py and completed.py, with servers that are tasks of a kernel in virtual time."""

from __future__ import annotations

import gc
import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos import (
    ForgottenYield,
    ScheduleError,
    ShippingError,
    Task,
    TaskAbandoned,
    UsageError,
    as_completed,
    cur_task,
)
from parkcos.client import mapping
from parkcos.client.stream import AHEAD, HELD, Results
from parkcos.kernel import Completion, Kernel
from parkcos.kernel.target import plain_call
from tests.kernel.virtual import VirtualKernel

Gen = Generator[Any, Any, Any]


@pytest.fixture
def kernel() -> Iterator[VirtualKernel]:
    kernel = VirtualKernel()
    yield kernel
    kernel.terminate()


class Servers:
    """What `map` needs of a Client: runs one task at each of `count` servers, the others wait in line."""

    def __init__(self, kernel: Kernel, count: int = 2, shown: int | None = None) -> None:
        self.kernel = kernel
        self.free = count
        self.shown = count if shown is None else shown
        self.line: deque[tuple[Any, Any, str, Completion[Task]]] = deque()
        self.running: list[Task] = []
        self.names: list[str] = []
        self.withdrawn = 0
        self.at_once: BaseException | None = None
        self.closing = False
        self.wants_servers: set[Callable[[], object]] = set()

    def must_run(self) -> None:
        pass

    def width(self, kind: str, least: int) -> int:
        return least * max(1, self.shown)

    def start_chunk(self, fn: Any, args: Any, limits: Any, prepare: Any) -> Completion[Task]:
        if self.closing:
            raise ScheduleError("it is being closed")
        record = SimpleNamespace(name="", plain=False)
        prepare(record)
        name = record.name
        whole = (plain_call, (fn, *args)) if record.plain else (fn, args)

        def start(completion: Completion[Task]) -> None:
            if "lock" in repr(args):
                raise ShippingError("argument 2: <list>[0][0] cannot be sent: lock object: no")
            self.line.append((*whole, name, completion))
            self.run()

        def cancel() -> None:
            self.withdrawn += 1
            for entry in self.line:
                if entry[3] is completion:
                    self.line.remove(entry)
                    completion.set_exception(TaskAbandoned("nobody waits for it to start"))
                    return

        completion = Completion(self.kernel, "map", start, on_cancel=cancel)
        return completion

    def run(self) -> None:
        while self.free and self.line:
            fn, args, name, completion = self.line.popleft()
            self.free -= 1
            self.names.append(name)
            task = self.kernel.spawn(fn, *args)
            self.running.append(task)
            task.add_end_callback(self.ended)
            completion.set_result(task)

    def ended(self, task: Task) -> None:
        self.running.remove(task)
        self.free += 1
        self.run()

    def map(self, fn: Any, *iterables: Any, chunksize: int = 1, ordered: bool = True) -> Results:
        return mapping.start(self, fn, iterables, chunksize, ordered)

    def more(self, count: int) -> None:
        self.free += count
        self.shown += count
        for fn in tuple(self.wants_servers):
            self.kernel.post(fn)
        self.run()


def takes(seconds: float, value: Any = None, task: Any = None) -> Gen:
    yield task.sleep(seconds)
    return seconds if value is None else value


def later(delay: float, fn: Callable[[], object] = lambda: None) -> Gen:
    task = cur_task()
    assert task is not None
    yield task.sleep(delay)
    fn()


def first_is_slow(n: int, task: Any = None) -> Gen:
    return (yield takes(1 if n else 1000, n, task))


def collect(results: Results, found: list[Any]) -> Gen:
    for item in results:
        found.append((yield item))


class Counted:
    """0, 1, 2, ... and how far it was consumed."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken += 1
            yield self.taken - 1


# -- order


def test_ordered_and_not(kernel: VirtualKernel) -> None:
    times = [5, 1, 3, 2, 2, 9, 1]

    def main() -> Gen:
        servers = Servers(kernel, 2)
        found = []
        for item in servers.map(takes, times):
            found.append((yield item))
        assert found == times
        assert set(servers.names) == {"takes"}
        found = []
        for item in servers.map(takes, times, ordered=False):
            found.append((yield item))
        assert found == [1, 3, 5, 2, 2, 1, 9]
        assert not servers.running

    kernel.main(main)


def plain(x: int, y: int = 0) -> int:
    return x * 10 + y


def generator(x: int, y: int = 0) -> Gen:
    yield
    return x * 10 + y


async def coroutine(x: int, y: int = 0, task: Any = None) -> int:
    await task.sleep(1)
    return x * 10 + y


def gives_a_generator(x: int, y: int = 0) -> Any:
    return generator(x, y)


@pytest.mark.parametrize("fn", [plain, generator, coroutine, gives_a_generator, lambda x, y: plain(x, y)])
@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_functions_of_all_kinds(kernel: VirtualKernel, fn: Any, chunksize: int) -> None:
    def main() -> Gen:
        results = yield Servers(kernel).map(fn, range(10), itertools.count(1), chunksize=chunksize)
        assert results == [x * 10 + x + 1 for x in range(10)]

    kernel.main(main)


def test_awaited(kernel: VirtualKernel) -> None:
    async def main() -> None:
        servers = Servers(kernel)
        assert [x async for x in servers.map(takes, [3, 1, 2])] == [3, 1, 2]
        assert [await item for item in servers.map(takes, [3, 1, 2], ordered=False)] == [1, 3, 2]
        assert await servers.map(takes, []) == []
        assert await servers.map(int, "12") == [1, 2]

    kernel.main(main)


@pytest.mark.parametrize("ordered", [True, False])
def test_several_tasks_share_one(kernel: VirtualKernel, ordered: bool) -> None:
    def main() -> Gen:
        servers = Servers(kernel, 3)
        found: list[Any] = []
        results = servers.map(takes, range(100, 0, -1), ordered=ordered)
        tasks = [Task(collect, results, found) for _ in range(40)]
        for task in tasks:
            yield task.result()
        assert sorted(found) == list(range(1, 101))

    kernel.main(main)


# -- bounds


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [1, 5])
def test_an_infinite_input_is_taken_as_needed(kernel: VirtualKernel, ordered: bool, chunksize: int) -> None:
    def main(task: Any = None) -> Gen:
        servers = Servers(kernel, 2)
        numbers = Counted()
        results = servers.map(generator, numbers, chunksize=chunksize, ordered=ordered)
        assert numbers.taken == 0, "nothing before it is asked for"
        for count, item in enumerate(results, 1):
            yield item
            yield task.sleep(1)  # a slow consumer: all that may run has run
            assert numbers.taken <= count + HELD * 2 * AHEAD * chunksize
            if count == 100:
                break
        del results, item
        yield
        taken = numbers.taken
        yield task.sleep(10)
        assert numbers.taken == taken
        assert not servers.line

    kernel.main(main)


def test_one_that_takes_long_stops_others_only_at_the_bound(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        servers = Servers(kernel, 2)
        numbers = Counted()
        results = servers.map(first_is_slow, numbers)
        item = next(results)
        waiting = Task(lambda: (yield item))
        yield
        yield later(500)
        assert numbers.taken == HELD * AHEAD * 2, "the other server went on"
        assert (yield waiting.result()) == 0

    kernel.main(main)


def test_more_servers_get_work_while_the_first_result_is_awaited(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        servers = Servers(kernel, 0)
        kernel.spawn(later, 5, lambda: servers.more(1))
        kernel.spawn(later, 6, lambda: servers.more(20))
        running = []
        kernel.spawn(later, 8, lambda: running.append(len(servers.running)))
        start = kernel.now
        results = servers.map(takes, itertools.repeat(100))
        yield next(results)
        assert kernel.now - start == 105
        assert running == [21]
        results.close()
        assert not servers.wants_servers

    kernel.main(main)


class Value:
    alive = 0

    def __init__(self, n: int) -> None:
        Value.alive += 1

    def __del__(self) -> None:
        Value.alive -= 1


@pytest.mark.parametrize("ordered", [True, False])
def test_results_that_were_taken_are_gone(kernel: VirtualKernel, ordered: bool) -> None:
    def main() -> Gen:
        for count, item in enumerate(Servers(kernel).map(Value, range(200), chunksize=2, ordered=ordered)):
            yield item
            assert Value.alive <= HELD * AHEAD * 2 * 2 + 2, f"after {count}"
        del item
        yield
        assert Value.alive == 0

    gc.collect()
    gc.disable()
    try:
        kernel.main(main)
    finally:
        gc.enable()


# -- errors


def odd(n: int) -> int:
    if n % 2:
        raise ValueError(n)
    return n


def odd_generator(n: int) -> Gen:
    yield
    return odd(n)


@pytest.mark.parametrize("fn", [odd, odd_generator])
@pytest.mark.parametrize("chunksize", [1, 4])
def test_what_a_call_raises_is_raised_at_its_item(kernel: VirtualKernel, fn: Any, chunksize: int) -> None:
    def main() -> Gen:
        found: list[Any] = []
        for item in Servers(kernel).map(fn, range(10), chunksize=chunksize):
            try:
                found.append((yield item))
            except ValueError as error:
                found.append(repr(error))
                if chunksize > 1:
                    (note,) = error.__notes__
                    assert "remote traceback" in note
                    assert "in odd\n" in note
                    assert "raise ValueError(n)" in note
                    assert "run_chunk" not in note
        assert found == [f"ValueError({n})" if n % 2 else n for n in range(10)]

    kernel.main(main)


def test_the_list_of_all_ends_with_the_first_error(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        servers = Servers(kernel)
        numbers = Counted()
        with pytest.raises(ValueError, match=r"^1$"):
            yield servers.map(odd_generator, numbers)
        yield
        yield
        assert not servers.running and not servers.line

    kernel.main(main)


def test_what_the_input_raises_comes_after_the_results(kernel: VirtualKernel) -> None:
    def numbers() -> Iterator[int]:
        yield from range(7)
        raise KeyError("no more")

    def main() -> Gen:
        found: list[Any] = []
        results = Servers(kernel).map(generator, numbers(), chunksize=3)
        with pytest.raises(KeyError, match="no more"):
            yield collect(results, found)
        assert found == [n * 10 for n in range(7)]
        assert next(results, "none") == "none"

    kernel.main(main)


def test_an_argument_that_cannot_travel_fails_alone(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        servers = Servers(kernel)
        args = [*range(11), threading.Lock(), *range(12, 30)]
        found: list[Any] = []
        for item in servers.map(type, args, chunksize=8):
            try:
                found.append((yield item))
            except ShippingError as error:
                found.append(str(error))
        assert found.pop(11) == (
            "a call of type, its arguments as <list>[0]: <list>[0][0] cannot be sent: lock object: no"
        )
        assert found == [int] * 29

    kernel.main(main)


def test_a_result_that_cannot_travel_fails_alone(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        found: list[Any] = []
        for item in Servers(kernel).map(lambda n: threading.Lock() if n == 2 else [n], range(5), chunksize=5):
            try:
                found.append((yield item))
            except ShippingError as error:
                found.append("lock" in str(error))
        assert found == [[0], [1], True, [3], [4]]

    kernel.main(main)


def test_a_client_that_closes_takes_no_more(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        servers = Servers(kernel)
        found: list[Any] = []
        kernel.spawn(later, 5, lambda: setattr(servers, "closing", True))
        with pytest.raises(ScheduleError, match="being closed"):
            yield collect(servers.map(takes, itertools.count(1)), found)
        assert found == list(range(1, len(found) + 1))
        assert 0 < len(found) <= HELD * AHEAD * 2

    kernel.main(main)


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ((5, [1]), {}, "wants a function.*not 5"),
        ((takes(1), [1]), {}, "wants a function"),
        ((plain,), {}, "write: client.map\\(plain, iterable\\)"),
        ((plain, [1], 2), {}, "iterable 2 is none: 2"),
        ((plain, list), {}, "iterable 1 is none"),
        ((plain, [1]), {"chunksize": 0}, "chunksize=0"),
        ((plain, [1]), {"chunksize": 1.5}, "chunksize=1.5"),
        ((plain, [1]), {"chunksize": True}, "chunksize=True"),
    ],
)
def test_what_makes_no_sense_is_said_at_the_call(
    kernel: VirtualKernel, args: Any, options: dict[str, Any], words: str
) -> None:
    def main() -> Gen:
        with pytest.raises(UsageError, match=words):
            Servers(kernel).map(*args, **options)
        yield

    kernel.main(main)


def test_a_forgotten_yield(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        servers = Servers(kernel)
        with pytest.raises(ForgottenYield, match="for item in map"):
            list(servers.map(plain, [1, 2]))
        with pytest.raises(ForgottenYield, match="for item in map"):
            for _ in servers.map(plain, [1]):
                pass
        for _ in servers.map(plain, itertools.count()):
            break  # that is none
        yield
        yield

    kernel.main(main)


def test_not_in_a_plain_thread(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        results = Servers(kernel).map(plain, [1])
        errors = []

        def use() -> None:
            try:
                next(results)
            except UsageError as error:
                errors.append(str(error))

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert "for tasks" in errors[0]
        yield

    kernel.main(main)


# -- leaving


def leave_by_break(servers: Servers) -> Gen:
    for item in servers.map(takes, itertools.repeat(3)):
        yield item
        break


def leave_before_the_yield(servers: Servers) -> Gen:
    results = servers.map(takes, itertools.repeat(3))
    yield next(results)
    for _ in results:
        break


def leave_by_an_error(servers: Servers) -> Gen:
    def consumer() -> Gen:
        for item in servers.map(takes, itertools.repeat(3)):
            raise ZeroDivisionError((yield item))

    with pytest.raises(ZeroDivisionError):
        yield consumer()


def leave_by_termination(servers: Servers) -> Gen:
    task = Task(collect, servers.map(takes, itertools.repeat(3), ordered=False), [])
    yield later(4)
    task.terminate()
    yield task()


def leave_by_close(servers: Servers) -> Gen:
    results = servers.map(takes, itertools.repeat(3), chunksize=2)
    yield next(results)
    results.close()
    assert next(results, None) is None


@pytest.mark.parametrize(
    "how", [leave_by_break, leave_before_the_yield, leave_by_an_error, leave_by_termination, leave_by_close]
)
def test_what_was_left_is_withdrawn_or_ended(kernel: VirtualKernel, how: Any) -> None:
    def main() -> Gen:
        servers = Servers(kernel)
        yield how(servers)
        left = kernel.now
        for _ in range(4):
            yield
        assert kernel.now == left
        assert not servers.line
        assert not servers.running
        assert servers.withdrawn > 0
        assert not servers.wants_servers

    kernel.main(main)


def test_sent_ahead_and_begun_after_it_was_left(kernel: VirtualKernel) -> None:
    """Too late to withdraw it: it is ended as soon as it is known to run."""

    def main() -> Gen:
        made: list[Completion[Task]] = []

        class Slow(Servers):
            def start_chunk(self, *args: Any) -> Completion[Task]:
                made.append(Completion(self.kernel, "map"))
                return made[-1]

        results = Slow(kernel).map(takes, [1, 2, 3])
        next(results)
        del results
        yield
        yield
        late = Task(takes, 1000)
        made[1].set_result(late)
        start = kernel.now
        yield late()
        assert kernel.now == start

    kernel.main(main)


def test_an_item_may_outlive_its_map_while_it_is_awaited(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        servers = Servers(kernel)
        assert (yield next(servers.map(takes, itertools.count(1)))) == 1
        yield
        yield
        assert not servers.running and not servers.line
        item = next(servers.map(takes, itertools.count(1)))
        yield
        yield
        with pytest.raises(UsageError, match="was left"):
            yield item

    kernel.main(main)


@pytest.mark.parametrize("ordered", [True, False])
def test_an_item_whose_wait_was_given_up(kernel: VirtualKernel, ordered: bool) -> None:
    """It can be yielded again; the others come all the same."""

    def consumer(servers: Servers, again: bool, found: list[Any]) -> Gen:
        for item in servers.map(takes, [10, 20, 30, 40], ordered=ordered):
            try:
                found.append((yield item))
            except KeyError:
                if again:
                    found.append((yield item))

    def main() -> Gen:
        for again in (True, False):
            found: list[Any] = []
            task = Task(consumer, Servers(kernel), again, found)
            yield later(5, lambda task=task: task.throw(KeyError()))  # type: ignore[misc]
            yield task.result()
            assert found == ([20, 30, 40] if ordered and not again else [10, 20, 30, 40])

    kernel.main(main)


# -- as_completed


def test_tasks_as_they_end(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        tasks = [Task(takes, n) for n in (3, 1, 2)]
        ended = Task(takes, 0)
        yield ended()
        found = []
        for item in as_completed([*tasks, ended]):
            task = yield item
            assert not task.is_alive()
            found.append((yield task.result()))
        assert found == [0, 1, 2, 3]
        assert (yield as_completed(tasks)) == tasks
        assert (yield as_completed([])) == []

    kernel.main(main)


def test_async_for_as_completed(kernel: VirtualKernel) -> None:
    async def main() -> None:
        tasks = {Task(takes, n) for n in (3, 1, 2)}
        assert [await task async for task in as_completed(tasks)] == [1, 2, 3]

    kernel.main(main)


def test_tasks_that_are_made_meanwhile(kernel: VirtualKernel) -> None:
    """From an iterator: calls that make a task, generators that do, tasks."""

    def made(servers: Servers, n: int) -> Gen:
        return (yield servers.start_chunk(takes, (n,), None, lambda record: None))

    def main() -> Gen:
        servers = Servers(kernel, 2)
        rtask = [
            lambda n: servers.start_chunk(takes, (n,), None, lambda record: None),
            lambda n: made(servers, n),
            lambda n: Task(takes, n),
        ]
        numbers = Counted()
        found = []
        for item in as_completed(rtask[n % 3](n) for n in numbers):
            task = yield item
            found.append((yield task.result()))
            assert numbers.taken <= len(found) + 64
            if len(found) == 90:
                break
        del item
        yield
        yield
        assert len(set(found)) == 90
        assert not servers.running and not servers.line

    kernel.main(main)


def test_tasks_of_the_program_are_left_alone(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        tasks = [Task(takes, n) for n in (5, 1)]
        for item in as_completed(tasks):
            assert (yield item) is tasks[1]
            break
        del item
        yield
        assert tasks[0]._callbacks == []
        assert (yield tasks[0].result()) == 5

    kernel.main(main)


def test_a_call_that_makes_no_task(kernel: VirtualKernel) -> None:
    def fails() -> Gen:
        yield
        raise ValueError("no server")

    def main() -> Gen:
        found: list[Any] = []
        for item in as_completed([fails(), Task(takes, 1), Completion(kernel, "op", lambda c: c.set_result(7))]):
            try:
                found.append((yield (yield item).result()))
            except (ValueError, UsageError) as error:
                found.append(str(error).split("\n")[0])
        assert sorted(found, key=str) == [1, "no server", "this gives no task, but 7"]

    kernel.main(main)


def test_the_time_limit_of_as_completed(kernel: VirtualKernel) -> None:
    def main() -> Gen:
        start = kernel.now
        tasks = [Task(takes, n) for n in (1, 2, 30, 40)]
        found: list[Any] = []
        for item in as_completed(tasks, timeout=10):
            try:
                found.append((yield item))
            except TimeoutError as error:
                found.append(str(error))
        assert found[:2] == tasks[:2]
        assert "2 tasks have not ended" in found[2]
        assert len(found) == 4
        assert kernel.now - start == 10
        assert all(task.is_alive() for task in tasks[2:])

    kernel.main(main)


@pytest.mark.parametrize("what", [5, [5], "task", [[]]])
def test_as_completed_of_something_else(kernel: VirtualKernel, what: Any) -> None:
    def main() -> Gen:
        with pytest.raises(UsageError, match="as_completed"):
            as_completed(Task(takes, 0) if what == "task" else what)
        with pytest.raises(UsageError, match=r"client\.rtask"):
            yield next(as_completed(iter([5])))

    kernel.main(main)


def test_a_task_of_another_kernel(kernel: VirtualKernel) -> None:
    kernel.threads = True
    other = Kernel("other")
    other.start()

    def main() -> Gen:
        task = other.spawn(takes, 0.01)
        assert (yield as_completed([task])) == [task]

    try:
        kernel.main(main)
    finally:
        other.terminate()


def test_a_call_that_is_given_to_as_completed_twice_is_refused(kernel: VirtualKernel) -> None:
    """It has one waiter: whoever waits for the second one is told so, and does not wait for ever."""

    def main() -> Gen:
        call = Completion(kernel, "op", lambda completion: completion.set_result(Task(takes, 1)))
        items = as_completed([call, call])
        with pytest.raises(UsageError, match="this op was begun before"):
            yield next(items)
        task = yield next(items)
        assert (yield task.result()) == 1
        assert next(items, None) is None

    kernel.main(main)
