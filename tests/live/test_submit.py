"""`client.submit` and the handle it gives: from tasks, threads and asyncio, at real servers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos import (
    Client,
    LocalCluster,
    Location,
    PackedCall,
    RawOutcome,
    ScheduleError,
    ShippingError,
    TaskCancelled,
    TaskHandle,
    TaskTerminated,
    TaskTimeout,
    UsageError,
    WouldHang,
    pack_call,
    run,
)
from parkcos.client.facts import NodeFacts, ServerFacts
from tests.live.lib import LIMIT_S, me
from tests.resolver import NOBODY, Resolver

Gen = Generator[Any, Any, Any]


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    """Scheduled for all tests of the module; it has two servers."""
    client = Client()

    def begin() -> Gen:
        yield client.schedule(timeout=LIMIT_S)
        yield client.wait_for_servers(2, timeout=LIMIT_S)

    run(begin)
    yield client
    run(lambda: (yield client.close(terminate=True)))


def double(x: Any) -> Any:
    return 2 * x


def doubles(x: Any, task: Any = None) -> Gen:
    yield task.sleep(0)
    return 2 * x


async def doubled(x: Any) -> Any:
    return 2 * x


class Doubles:
    def __call__(self, x: Any) -> Any:
        return 2 * x


def fails() -> None:
    raise ValueError("no")


def holds(task: Any = None) -> Gen:
    """Until it is sent a message, which it returns."""
    return (yield task.receive())


def computes() -> None:
    while True:
        pass


def stuck_in_c() -> None:
    """In C code that heeds no signal, though it lets other threads run: a lock that is never given back."""
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_init(mutex, None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def until(handle: TaskHandle, state: str) -> None:
    end = time.monotonic() + LIMIT_S
    while handle.state != state:
        assert time.monotonic() < end, f"{handle!r} is not {state}"
        assert handle.state in ("waiting", "sent", "running"), handle
        time.sleep(0.005)


def occupy(client: Client, count: int = 2) -> list[TaskHandle]:
    """Tasks that have all servers until they are sent a message."""
    handles = [client.submit(holds) for _ in range(count)]
    for handle in handles:
        until(handle, "running")
    return handles


def let_go(handles: list[TaskHandle]) -> None:
    for handle in handles:
        handle.send("enough")
        assert handle.result(LIMIT_S) == "enough"


@pytest.mark.parametrize("fn", [double, doubles, doubled, Doubles(), lambda x: 2 * x])
def test_all_kinds_of_functions_from_a_thread(client: Client, fn: Any) -> None:
    handle = client.submit(fn, 21)
    assert handle.result(LIMIT_S) == 42
    assert (handle.state, handle.done, handle.tries, handle.exception()) == ("finished", True, 1, None)
    assert handle.server is not None
    assert handle.started is not None


def test_in_a_task(client: Client) -> None:
    def main() -> Gen:
        handles = [client.submit(double, n) for n in range(100)]
        got = []
        for handle in handles:
            got.append((yield handle))
        assert (yield handles[2]) == (yield handles[2]) == 4, "as often as one likes"
        failing = client.submit(fails)
        with pytest.raises(ValueError, match="no"):
            yield failing
        with pytest.raises(WouldHang, match="value = yield handle"):
            client.submit(double, 1).result()
        assert failing.state == "failed"
        return got

    assert run(main) == [2 * n for n in range(100)]


def test_in_a_coroutine_of_parkcos_and_in_asyncio(client: Client) -> None:
    async def main() -> Any:
        return await client.submit(double, 4)

    assert run(main) == 8
    assert asyncio.run(main()) == 8

    async def many() -> Any:
        return await asyncio.gather(*(client.submit(doubles, n) for n in range(20)))

    assert asyncio.run(many()) == [2 * n for n in range(20)]

    async def impatient() -> str:
        handle = client.submit(holds)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)
        handle.send("it goes on")
        return str(await handle)

    assert asyncio.run(impatient()) == "it goes on"


def test_as_a_future(client: Client) -> None:
    handles = [client.submit(double, n) for n in range(10)]
    futures = [handle.future() for handle in handles]
    assert futures[3] is handles[3].future()
    done, left = concurrent.futures.wait(futures, LIMIT_S)
    assert not left
    assert sorted(future.result() for future in done) == [2 * n for n in range(10)]
    assert isinstance(client.submit(fails).future().exception(LIMIT_S), ValueError)


def test_from_many_threads(client: Client) -> None:
    found: dict[int, int] = {}

    def works(number: int) -> None:
        handles = [client.submit(double, number * 100 + n) for n in range(50)]
        for n, handle in enumerate(handles):
            found[number * 100 + n] = handle.result(LIMIT_S)

    threads = [threading.Thread(target=works, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: 2 * number for number in found}
    assert len(found) == 200


def test_messages_before_and_after_it_has_begun(client: Client) -> None:
    def sums(count: int, task: Any = None) -> Gen:
        found = []
        for _ in range(count):
            found.append((yield task.receive()))
        return found

    busy = occupy(client)
    handle = client.submit(sums, 4)
    assert handle.state == "waiting"
    assert [handle.send(n) for n in (1, 2)] == [0, 0]
    let_go(busy)
    until(handle, "running")
    assert [handle.send(n) for n in (3, 4)] == [0, 0]
    assert handle.result(LIMIT_S) == [1, 2, 3, 4]
    assert handle.send(5) == -1


def test_the_higher_priority_first(client: Client) -> None:
    def tells(to: Any, what: int) -> None:
        to.send(what)

    def main() -> Gen:
        busy = [client.submit(holds) for _ in range(2)]
        late = [client.submit(tells, me(), priority, priority=priority) for priority in (0, -1, 3, 1)]
        busy[0].send("enough")
        got = []
        for _ in late:
            got.append((yield me().receive()))
        busy[1].send("enough")
        yield busy[0]
        yield busy[1]
        return got

    assert run(main) == [3, 1, 0, -1]


def test_a_place_of_its_own(client: Client) -> None:
    where = [client.submit(double, 1, where=at).result(LIMIT_S) for at in run(lambda: (yield client.servers()))]
    assert where == [2, 2]
    nowhere = client.submit(double, 1, where="no-such-host.invalid")
    with pytest.raises(ScheduleError, match="uses no server or node at no-such-host"):
        nowhere.result(LIMIT_S)


def test_cancelled_while_its_place_is_looked_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(monkeypatch)
    handle = client.submit(double, 1, where=NOBODY)
    assert resolver.asked.wait(LIMIT_S)
    assert handle.cancel("enough")
    assert cancelled(handle), "whatever the name server says, and whenever"
    resolver.answers.set()


def waits_for_word(task: Any = None) -> Gen:
    return (yield task.receive())


def test_a_place_that_a_function_chooses(client: Client) -> None:
    seen: list[tuple[NodeFacts, ServerFacts]] = []

    def second(node: NodeFacts, server: ServerFacts) -> bool:
        seen.append((node, server))
        return server.number == 2

    keeps = client.submit(waits_for_word, where=second, io=True)  # a function is known as long as a task of it is there
    handles = [client.submit(double, n, where=second) for n in range(50)]
    assert [handle.result(LIMIT_S) for handle in handles] == [2 * n for n in range(50)]
    keeps.send("enough")
    assert keeps.result(LIMIT_S) == "enough"
    (at,) = {handle.server for handle in [keeps, *handles]}
    assert sorted(server.number for _, server in seen) == [1, 2], "it is asked once about each"
    assert {(node.name, server.location) for node, server in seen if server.number == 2} == {("local", at)}

    handle = client.submit(double, 1, where=lambda node, server: node.resources.get("gpu", 0) > 0)
    assert handle.state == "waiting"
    assert client.wants().tasks == 1
    assert handle.cancel("enough")
    assert cancelled(handle)
    with pytest.raises(ZeroDivisionError):
        client.submit(double, 1, where=lambda node, server: bool(1 / 0))


def fails_at_the_first(marks: str) -> int:
    first = not os.path.exists(marks)
    if first:
        Path(marks).write_text(str(os.getpid()))
    if first or Path(marks).read_text() == str(os.getpid()):
        raise OSError("not here")
    return os.getpid()


def test_not_where_it_has_failed_before(client: Client, tmp_path: Path) -> None:
    failed: list[Location] = []
    for _ in range(2):
        handle = client.submit(
            fails_at_the_first,
            str(tmp_path / "first"),
            where=lambda node, server, no=tuple(failed): server.location not in no,
        )
        if handle.exception(LIMIT_S) is None:
            break
        assert handle.server is not None
        failed.append(handle.server)
    assert len(failed) == 1
    assert handle.server not in failed


def test_a_server_that_comes_later_is_asked_about(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    may_run, asked = threading.Event(), list[ServerFacts]()

    def decides(_: NodeFacts, server: ServerFacts) -> bool:
        if not may_run.is_set():
            return False
        asked.append(server)
        if len(asked) == 1:
            raise OSError("it does not know")
        return True

    handle = client.submit(double, 2, where=decides)
    assert handle.state == "waiting"
    may_run.set()
    for at in run(lambda: (yield client.servers())):
        client.close_server(at, restart=True)
        run(lambda: (yield client.wait_for_servers(2, timeout=LIMIT_S)))
    assert handle.result(LIMIT_S) == 4
    assert "it does not know" in caplog.text, "and so it accepts nothing"


def test_it_has_one_number_and_one_handle_for_all_its_runs(client: Client) -> None:
    def fails_twice(key: str) -> int:
        import builtins

        count = builtins.__dict__[key] = builtins.__dict__.get(key, 0) + 1
        if count < 3:
            raise OSError(count)
        return count

    (server, _) = run(lambda: (yield client.servers()))
    handle = client.submit(fails_twice, "_of_this_test", where=server, retries=5, retry_on=OSError)
    assert handle.result(LIMIT_S) == 3
    assert handle.tries == 3


def test_a_queue_above_hands_out_one_by_one(client: Client) -> None:
    """It never has more submitted than there is room for, and all servers have work."""

    def main() -> Gen:
        left, handles, most = 200, list[TaskHandle](), 0
        room = client.room(double)
        while room.now < 2:  # tasks of earlier tests end
            room = yield client.room_changes(room, double, timeout=LIMIT_S)
        while left:
            for _ in range(min(room.total, left)):
                handles.append(client.submit(double, left))
                left -= 1
            most = max(most, client.wants().tasks)
            if left:
                room = yield client.room_changes(room, double, timeout=LIMIT_S)
        total = 0
        for handle in handles:
            total += yield handle
        assert most <= 2 * 33, "what is sent ahead waits for the next word of its server"
        assert (yield client.room_changes(client.room(double), double, timeout=0.01)) == client.room(double)
        return total

    assert run(main) == 2 * sum(range(1, 201))


# -- packed elsewhere


PACKS = """
import sys
from pathlib import Path
from parkcos import RawOutcome, pack_call

class Point:
    def __init__(self, x):
        self.x = x

def moved(point, by, fails=False):
    if fails:
        raise KeyError(point.x + by)
    return Point(point.x + by)

def moves(point, by, task=None):
    yield task.sleep(0)
    return Point(point.x + by)

folder = Path(sys.argv[2])
if sys.argv[1] == "pack":
    for name, call in {
        "plain": pack_call(moved, Point(1), 2), "task": pack_call(moves, Point(1), by=3),
        "fails": pack_call(moved, Point(1), 4, fails=True),
    }.items():
        (folder / f"{name}.call").write_bytes(call.to_bytes())
else:
    for name in sys.argv[3:]:
        outcome = RawOutcome.from_bytes((folder / f"{name}.outcome").read_bytes())
        try:
            print(name, outcome.kind, outcome.value().x)
        except KeyError as error:
            print(name, outcome.kind, repr(error), "remote traceback" in error.__notes__[0])
"""


def test_a_call_that_is_packed_and_opened_elsewhere(client: Client, tmp_path: Path) -> None:
    """This program, in the middle, has none of its code."""
    script = tmp_path / "user.py"
    script.write_text(PACKS)

    def user(*words: str) -> list[str]:
        command = [sys.executable, str(script), words[0], str(tmp_path), *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()

    user("pack")
    names = ["plain", "task", "fails"]
    for name in names:
        handle = client.submit(PackedCall.from_bytes((tmp_path / f"{name}.call").read_bytes()))
        raw = handle.raw(LIMIT_S)
        assert handle.state == raw.kind
        assert handle.name in ("moved", "moves")
        (tmp_path / f"{name}.outcome").write_bytes(raw.to_bytes())
    assert user("open", *names) == ["plain finished 3", "task finished 4", "fails failed KeyError(5) True"]

    call = PackedCall.from_bytes((tmp_path / "plain.call").read_bytes())
    for wrong, match in (
        (lambda: client.submit(call, 1), "its arguments are packed already"),
        (lambda: client.submit(call, retries=1, retry_on=OSError), "not opened here"),
        (lambda: client.submit(dataclasses.replace(call, python="3.1")), "packed by Python 3.1"),
        (lambda: client.submit(double, 1).raw(), "is a call of this program"),
        (lambda: PackedCall.from_bytes(b"no"), "no packed call"),
        (lambda: RawOutcome.from_bytes(call.to_bytes()), "no outcome"),
        (lambda: pack_call(42), r"pack_call\(\) wants a function"),
    ):
        with pytest.raises(UsageError, match=match):
            wrong()


# -- its end


def cancelled(handle: TaskHandle) -> bool:
    with pytest.raises(TaskCancelled, match=r"enough"):
        handle.result(LIMIT_S)
    assert handle.cancel() is False
    return handle.state == "cancelled"


def test_cancel_while_it_waits(client: Client) -> None:
    busy = occupy(client)
    handle = client.submit(double, 1)
    assert handle.cancel("enough") is True
    assert cancelled(handle)
    assert handle.tries == 0
    let_go(busy)


def test_cancel_what_was_sent_ahead(client: Client) -> None:
    """Behind a task that runs: it has not begun, and never will."""

    def quick_or_not(wait: bool, task: Any = None) -> Gen:
        return (yield task.receive()) if wait else None

    for _ in range(3):
        client.submit(quick_or_not, False).result(LIMIT_S)
    server, _ = run(lambda: (yield client.servers()))
    first = client.submit(quick_or_not, True, where=server)
    ahead = client.submit(quick_or_not, False, where=server)
    until(first, "running")
    until(ahead, "sent")
    ahead.cancel("enough")
    assert cancelled(ahead)
    assert ahead.started is None
    first.send("done")
    assert first.result(LIMIT_S) == "done"


@pytest.mark.parametrize("fn", [holds, computes])
def test_cancel_while_it_runs_or_computes(client: Client, fn: Any) -> None:
    servers = run(lambda: (yield client.servers()))
    handle = client.submit(fn)
    until(handle, "running")
    handle.cancel("enough")
    assert cancelled(handle)
    assert run(lambda: (yield client.servers())) == servers, "its server stays"


@pytest.mark.slow
def test_cancel_while_it_is_stuck_in_c(client: Client) -> None:
    """It ends with its server, which is replaced."""
    handle = client.submit(stuck_in_c)
    until(handle, "running")
    handle.cancel("enough")
    with pytest.raises(TaskCancelled, match="enough"):
        handle.result(2 * LIMIT_S)
    run(lambda: (yield client.wait_for_servers(2, timeout=LIMIT_S)))
    assert client.submit(double, 1).result(LIMIT_S) == 2


def test_cancel_by_its_future_or_its_task(client: Client) -> None:
    handle = client.submit(holds)
    until(handle, "running")

    def main() -> Gen:
        (rtask,) = yield client.tasks()
        rtask.terminate()
        return (yield rtask.finish())

    run(main)
    assert handle.exception(LIMIT_S) is not None
    busy = occupy(client)
    future = client.submit(holds).future()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(LIMIT_S)
    let_go(busy)


def computes_as_task() -> Gen:
    while True:
        pass
    yield


def test_a_task_that_computes_is_ended_by_its_reference_as_by_its_handle(client: Client) -> None:
    def main() -> Gen:
        rtask = yield client.rtask(computes_as_task)
        rtask.terminate()
        return (yield rtask.finish())

    assert run(main).type is TaskTerminated


def test_a_hundred_thousand_that_wait(client: Client) -> None:
    busy = occupy(client)
    handles = [client.submit(double, n) for n in range(100_000)]
    for handle in reversed(handles):
        assert handle.cancel("enough")
    for handle in handles:
        assert isinstance(handle.exception(LIMIT_S), TaskCancelled)
    let_go(busy)
    assert client.submit(double, 1).result(LIMIT_S) == 2


def test_a_time_limit(client: Client) -> None:
    handle = client.submit(computes, timeout_s=0.2)
    with pytest.raises(TaskTimeout):
        handle.result(LIMIT_S)
    assert handle.state == "timed out"


# -- what cannot be


def test_what_cannot_be_submitted(client: Client) -> None:
    with pytest.raises(UsageError, match=r"submit\(\) wants a function"):
        client.submit(42)  # type: ignore[arg-type]
    lock = threading.Lock()
    for fn in (double, doubles):
        with pytest.raises(ShippingError, match=r"^argument 1: .*lock object"):
            client.submit(fn, lock)
    with pytest.raises(ShippingError, match=r"lock object"):
        client.submit(lambda: lock)
    with pytest.raises(UsageError, match="give a whole number"):
        client.submit(double, 1, priority=1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"submit\(retry_on=...\) needs retries"):
        client.submit(double, 1, retry_on=OSError)
    with pytest.raises(ScheduleError, match="runs no tasks"):
        Client().submit(double, 1)
    with pytest.raises(UsageError, match="give the reason"):
        client.submit(double, 1).cancel("")
