"""Client.map and as_completed, at two real servers."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos import Client, ScheduleError, ShippingError, Task, TaskAbandoned, TaskTerminated, as_completed
from parkcos.client.ahead import AHEAD_MAX
from parkcos.client.stream import HELD
from tests.live.lib import LIMIT_S, ends, me, run, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]


def double(n: int) -> int:
    return 2 * n


def square(n: int) -> Gen:
    yield
    return n * n


async def add(a: int, b: int, task: Any = None) -> int:
    await task.sleep(0.001)
    return a + b


def where(n: int) -> Gen:
    yield
    return os.getpid()


def waits(to: Any, n: int, task: Any = None) -> Gen:
    to.send((task, os.getpid()))
    return (yield task.receive())


def until_told(n: int, to: Any) -> Gen:
    """Ends at once, but for 0, which says who it is and waits for a word."""
    if n == 0:
        return (yield waits(to, n, parkcos.cur_task()))
    yield
    return n


def divides(n: int) -> float:
    return 1 / n


def divides_as_a_task(n: int) -> Gen:
    yield
    return divides(n)


class Panic(BaseException):
    """As those of foreign runtimes, which are not to be caught by `except Exception`."""


RAISED = (Panic("boom"), asyncio.CancelledError("stop"), SystemExit(3), GeneratorExit("done"))


def raises_one_of_them(n: int) -> int:
    if n < len(RAISED):
        raise RAISED[n]
    return n


def raises_as_a_task(n: int) -> Gen:
    yield
    return raises_one_of_them(n)


async def raises_as_a_coroutine(n: int) -> int:
    return raises_one_of_them(n)


# -- what comes


def test_functions_of_all_kinds_in_order() -> None:
    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        for fn in (double, square, lambda n: n + 1):
            for chunksize in (1, 7):
                expected = [n * n if fn is square else fn(n) for n in range(50)]
                found = []
                for item in client.map(fn, range(50), chunksize=chunksize):
                    found.append((yield item))
                assert found == expected
        assert (yield client.map(add, range(20), itertools.count(100))) == [100 + 2 * n for n in range(20)]
        assert len(set((yield client.map(where, range(200))))) == 2
        assert (yield client.map(len, ["a", "bc"])) == [1, 2]

    with_client(body)


def test_not_ordered_the_first_to_end_is_the_first_to_come() -> None:
    def body(client: Client) -> Gen:
        found = []
        for item in client.map(until_told, range(40), itertools.repeat(me()), ordered=False):
            found.append((yield item))
            if len(found) == 5:  # the other server goes on meanwhile
                rtask, _ = yield me().receive(LIMIT_S)
                rtask.send("told")
        assert sorted(found, key=str) == sorted([*range(1, 40), "told"], key=str)

    with_client(body)


def test_async_for() -> None:
    async def consume(client: Client) -> list[Any]:
        found = [x async for x in client.map(double, range(30), chunksize=4)]
        found += [await item for item in client.map(square, range(3))]
        found += await client.map(add, [1], [2])
        return found

    def body(client: Client) -> Gen:
        assert (yield consume(client)) == [*range(0, 60, 2), 0, 1, 4, 3]

    with_client(body)


@pytest.mark.parametrize(("fn", "chunksize"), [(square, 1), (double, 1), (double, 100)])
def test_ten_thousand_small_calls(fn: Any, chunksize: int) -> None:
    def body(client: Client) -> Gen:
        total = 0
        for item in client.map(fn, range(10_000), chunksize=chunksize):
            total += yield item
        return total

    assert with_client(body) == sum(n * n if fn is square else 2 * n for n in range(10_000))


def test_several_maps_at_once() -> None:
    def one(client: Client, first: int) -> Gen:
        found = []
        for item in client.map(double, range(first, first + 200), chunksize=3, ordered=bool(first % 2)):
            found.append((yield item))
        return sorted(found)

    def body(client: Client) -> Gen:
        found = yield ends([Task(one, client, n) for n in range(10)])
        assert found == [list(range(2 * n, 2 * n + 400, 2)) for n in range(10)]

    with_client(body)


def test_large_results_are_bounded() -> None:
    def body(client: Client) -> Gen:
        for item in client.map(bytes, [1 << 20] * 100):
            assert len((yield item)) == 1 << 20

    with_client(body)


class Counted:
    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.taken += 1
            yield self.taken - 1


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [1, 10])
def test_an_infinite_input_is_taken_as_needed(chunksize: int, ordered: bool) -> None:
    def body(client: Client) -> Gen:
        numbers = Counted()
        found = set()
        for item in client.map(double, numbers, chunksize=chunksize, ordered=ordered):
            found.add((yield item))
            most = 2 * (1 + AHEAD_MAX)  # at each of two servers, of short calls
            assert numbers.taken <= len(found) + HELD * most * 2 * chunksize
            if len(found) == 500:
                break
        if ordered:
            assert found == set(range(0, 1000, 2))

    with_client(body)


# -- errors


@pytest.mark.parametrize("fn", [divides, divides_as_a_task])
@pytest.mark.parametrize("chunksize", [1, 3])
def test_errors_come_at_their_item_with_the_remote_traceback(fn: Any, chunksize: int) -> None:
    def body(client: Client) -> Gen:
        found: list[Any] = []
        for item in client.map(fn, [2, 0, 4, "x", 1], chunksize=chunksize):
            try:
                found.append((yield item))
            except (ZeroDivisionError, TypeError) as error:
                found.append(type(error))
                note = "\n".join(error.__notes__)
                assert "remote traceback, at 127.0.0.1:" in note
                assert f'File "{divides.__code__.co_filename}", line ' in note
                assert "return 1 / n" in note
                assert "run_chunk" not in note
        assert found == [0.5, ZeroDivisionError, 0.25, TypeError, 1.0]

    with_client(body)


def test_what_cannot_travel() -> None:
    def body(client: Client) -> Gen:
        for fn, chunksize in ((str, 1), (str, 8), (until_told, 1)):
            found: list[Any] = []
            others = [itertools.repeat(None)] if fn is until_told else []
            for item in client.map(fn, [1, 2, threading.Lock(), 4], *others, chunksize=chunksize):
                try:
                    found.append(int((yield item)))
                except ShippingError as error:
                    found.append("lock" in str(error))
            assert found == [1, 2, True, 4]
        lock = threading.Lock()
        for item in client.map(lambda n: lock, range(3), chunksize=2):
            with pytest.raises(ShippingError, match="lock"):
                yield item
        back: list[Any] = []
        for item in client.map(lambda n: threading.Lock() if n == 1 else [n], range(3), chunksize=3):
            try:
                back.append((yield item))
            except ShippingError as error:
                back.append("lock" in str(error))
        assert back == [[0], True, [2]]

    with_client(body)


def test_a_lost_server_is_the_end_of_what_ran_there(tmp_path: Path) -> None:
    def dies(n: int, there: str, task: Any = None) -> Gen:
        if n == 30:
            while not os.path.exists(there):  # the results before have left
                yield task.sleep(0.005)
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    def body(client: Client) -> Gen:
        for chunksize in (1, 5):
            there = tmp_path / str(chunksize)
            found: list[Any] = []
            for item in client.map(dies, range(60), itertools.repeat(str(there)), chunksize=chunksize):
                if len(found) == 30:
                    there.touch()
                try:
                    found.append((yield item))
                except TaskAbandoned as error:
                    found.append("dies" in str(error) and "SIGKILL" in str(error))
            assert found == [True if 30 <= n < 30 + chunksize else n for n in range(60)]

    with_client(body)


def test_not_scheduled_or_closed() -> None:
    def main() -> Gen:
        client = Client()
        with pytest.raises(ScheduleError, match=r"write: yield client\.schedule"):
            client.map(double, [1])
        yield client.schedule()
        results = client.map(double, itertools.count())
        assert (yield next(results)) == 0
        yield client.close()
        with pytest.raises(ScheduleError):
            client.map(double, [1])
        with pytest.raises(ScheduleError):
            yield results

    run(main)


# -- leaving


def leave_by_break(client: Client, fn: Any) -> Gen:
    for item in client.map(fn, itertools.repeat(me()), itertools.count()):
        yield me().receive(LIMIT_S)  # one runs
        del item
        break


def leave_by_termination(client: Client, fn: Any) -> Gen:
    def consumer(to: Task) -> Gen:
        yield client.map(fn, itertools.repeat(to), itertools.count(), chunksize=3)

    task = Task(consumer, me())
    yield me().receive(LIMIT_S)
    task.terminate()
    yield task()


def leave_as_completed(client: Client, fn: Any) -> Gen:
    for item in as_completed(client.rtask(fn, me(), n) for n in itertools.count()):
        yield me().receive(LIMIT_S)
        del item
        break


def sleeps_without_a_yield(to: Any, n: int) -> Gen:
    """Ends for itself: nobody can end it from outside."""
    to.send((None, os.getpid()))
    time.sleep(0.1)
    return n
    yield


@pytest.mark.parametrize("how", [leave_by_break, leave_by_termination, leave_as_completed])
@pytest.mark.parametrize("fn", [waits, sleeps_without_a_yield])
def test_what_was_left_does_not_hold_up_close(how: Any, fn: Any) -> None:
    """`waits` would wait for ever."""

    def main() -> Gen:
        client = Client()
        yield client.schedule()
        yield how(client, fn)
        assert client._shell.side.wants_servers == set()
        yield client.close()
        assert client._shell.submissions == {}
        assert client._shell.machine.tasks == {}

    run(main)


def test_the_servers_are_free_again_after_it_was_left() -> None:
    def body(client: Client) -> Gen:
        for _ in range(5):
            yield leave_by_break(client, waits)
        assert (yield client.map(double, range(10))) == list(range(0, 20, 2))

    with_client(body)


def test_a_map_may_be_closed() -> None:
    def body(client: Client) -> Gen:
        results = client.map(waits, itertools.repeat(me()), itertools.count())
        next(results)
        yield me().receive(LIMIT_S)
        results.close()
        assert list(results) == []

    with_client(body)


# -- as_completed


def test_remote_and_local_tasks_as_they_end() -> None:
    def body(client: Client) -> Gen:
        slow = yield client.rtask(waits, me(), 0)
        yield me().receive(LIMIT_S)
        quick = []
        for n in range(5):
            quick.append((yield client.rtask(square, n)))
        local = Task(square, 9)
        found = []
        for item in as_completed([slow, *quick, local]):
            task = yield item
            found.append(task)
            if len(found) == 6:
                slow.send("now")
        assert set(found) == {slow, *quick, local}
        assert found[-1] is slow
        assert (yield slow.result()) == "now"

    with_client(body)


def test_as_completed_submits_as_needed() -> None:
    def body(client: Client) -> Gen:
        numbers = Counted()
        values = set()
        for item in as_completed(client.rtask(square, n) for n in numbers):
            task = yield item
            values.add((yield task.result()))
            assert numbers.taken <= len(values) + 64
            if len(values) == 1000:
                break

    with_client(body)


def test_as_completed_with_a_lost_server_and_a_time_limit() -> None:
    def body(client: Client) -> Gen:
        rtask = yield client.rtask(waits, me(), 0)
        _, pid = yield me().receive(LIMIT_S)
        with pytest.raises(TimeoutError):
            yield next(as_completed([rtask], timeout=0.01))
        os.kill(pid, signal.SIGKILL)
        (task,) = yield as_completed([rtask])
        assert task is rtask
        with pytest.raises(TaskAbandoned, match="SIGKILL"):
            yield task.result()

    with_client(body)


@pytest.mark.parametrize("fn", [raises_one_of_them, raises_as_a_task, raises_as_a_coroutine])
@pytest.mark.parametrize("chunksize", [1, 8])
def test_whatever_a_call_raises_is_the_end_of_that_call_only(fn: Any, chunksize: int) -> None:
    def body(client: Client) -> Gen:
        found: list[Any] = []
        for item in client.map(fn, range(8), chunksize=chunksize):
            try:
                found.append((yield item))
            except BaseException as error:
                found.append((type(error), str(error)))
        return found

    found = with_client(body, components=[Panic, raises_one_of_them])
    assert found[len(RAISED) :] == list(range(len(RAISED), 8))
    assert found[0][0] is Panic
    assert found[1][0] is asyncio.CancelledError
    assert found[2][0] is TaskTerminated, "a sys.exit of a call is not one of who waits for it"
    assert found[3][0] is TaskTerminated, "and so for GeneratorExit"
    assert [text for _, text in found[:2]] == ["boom", "stop"]


def test_a_builtin_that_exits_is_the_end_of_its_call_only() -> None:
    def body(client: Client) -> Gen:
        found: list[Any] = []
        for item in client.map(sys.exit, [3, 4], chunksize=2):
            with pytest.raises(TaskTerminated, match=r"sys.exit\([34]\)"):
                yield item
            found.append(True)
        return found

    assert with_client(body) == [True, True]


def test_a_chunk_that_is_terminated_ends_though_its_calls_catch_everything() -> None:
    def body(client: Client) -> Gen:
        results = client.map(waits_in_vain, [me()] * 4, chunksize=4)
        item = next(results)
        chunk, _ = yield me().receive(LIMIT_S)
        chunk.terminate()
        with pytest.raises(TaskTerminated):
            yield item
        assert (yield me().receive(0.0)) is None, "the next call did not begin"

    with_client(body)


def waits_in_vain(to: Any, task: Any = None) -> Gen:
    to.send((task, os.getpid()))
    yield task.receive()
