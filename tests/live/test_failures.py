"""What goes wrong reaches the client, soon and in words, and nothing is lost that need not be."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator
from typing import Any

import psutil
import pytest

import parkcos
from parkcos import (
    Client,
    LocalCluster,
    MonitorStatus,
    NodeAllocate,
    NotATask,
    RemoteError,
    ScheduleError,
    ShippingError,
    Task,
    TaskAbandoned,
)
from tests.live.lib import LIMIT_S, ends, gone, run, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]


def waits(to: Any = None, task: Any = None) -> Gen:
    if to is not None:
        to.send((task, os.getpid()))
    return (yield task.receive())


def pid() -> Gen:
    yield
    return os.getpid()


def square(n: int) -> Gen:
    yield
    return n * n


def exits(code: int) -> Gen:
    yield
    os._exit(code)


def crashes() -> Gen:
    yield
    ctypes.string_at(0)


def quits() -> Gen:
    yield
    sys.exit("enough")


def test_killed_server_is_reported_with_the_signal_and_replaced() -> None:
    def body(client: Client) -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        rtask = yield client.rtask(waits, me)
        _, victim = yield me.receive(LIMIT_S)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(TaskAbandoned, match="SIGKILL"):
            yield rtask.result()
        assert not rtask.is_alive()
        assert (yield rtask.deliver("late", timeout=5)) == -1
        pids = set()
        tasks = []
        for _ in range(2):
            tasks.append((yield client.rtask(waits, me)))
            _, p = yield me.receive(LIMIT_S)
            pids.add(p)
        for t in tasks:
            t.send("done")
            assert (yield t()) == "done"
        assert len(pids) == 2
        assert victim not in pids

    with_client(body, [waits])


@pytest.mark.parametrize(
    ("fn", "args", "how"), [(exits, (3,), "exit code 3"), (exits, (0,), "ended"), (crashes, (), "SIGSEGV")]
)
def test_server_that_dies_of_its_task(fn: Any, args: Any, how: str) -> None:
    def body(client: Client) -> Gen:
        try:
            end = yield (yield client.rtask(fn, *args))()
            assert isinstance(end, MonitorStatus)
            error = end.exception
        except TaskAbandoned as raised:  # it died so soon that nobody heard that the task had begun
            error = raised
        assert isinstance(error, TaskAbandoned)
        assert how in str(error)
        values = []
        for n in range(6):
            values.append((yield client.rtask(square, n)))
        assert (yield ends(values)) == [n * n for n in range(6)]

    with_client(body)


def test_tasks_behind_one_that_kills_its_server_are_not_lost() -> None:
    """Many short tasks, some of which kill their server: those end as abandoned, all others give their result."""

    def body(client: Client) -> Gen:
        rtasks = []
        for n in range(200):
            try:
                rtasks.append((n, (yield client.rtask(exits, 7) if n % 50 == 25 else client.rtask(square, n))))
            except TaskAbandoned:
                assert n % 50 == 25
        for n, rtask in rtasks:
            end = yield rtask()
            if n % 50 == 25:
                assert end.type is TaskAbandoned
            else:
                assert end == n * n

    with_client(body)


def test_sys_exit_ends_that_task_only() -> None:
    def body(client: Client) -> Gen:
        (server, *_) = yield client.servers()
        before = yield (yield client.rtask_at(server, pid))()
        end = yield (yield client.rtask_at(server, quits))()
        assert end.type is SystemExit
        assert "enough" in end.traceback
        assert (yield (yield client.rtask_at(server, pid))()) == before

    def main() -> Gen:
        client = Client()
        yield client.schedule()
        yield (yield client.rtask(square, 1))()
        yield body(client)
        yield client.close()

    run(main)


def test_an_allocate_that_raises_or_exits_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The node that it was asked about is not used, the log says why, and the client goes on."""
    errors = [ValueError("no answer"), SystemExit("no answer")]

    class Fails(NodeAllocate):
        def allocate(self, *args: Any) -> int:
            raise errors[0]

    def main() -> Gen:
        client = Client(nodes=[Fails()])
        yield client.schedule()
        while "an allocate()" not in caplog.text:
            yield parkcos.cur_task().sleep(0.01)
        client.node_allocate(NodeAllocate())
        value = yield (yield client.rtask(square, 3)).result()
        yield client.close()
        return value

    with LocalCluster(cpus=1):
        while errors:
            caplog.clear()
            assert run(main) == 9
            assert f"{type(errors.pop(0)).__name__}: no answer" in caplog.text


def test_killed_node() -> None:
    """Zygote and servers are gone with it, and the client's tasks are abandoned."""

    def main(other: LocalCluster, victims: list[psutil.Process]) -> Gen:
        me = parkcos.cur_task()
        assert me is not None

        class Only(NodeAllocate):
            def allocate(self, ip_addr: str, name: str, platform: str, cpus: int, memory: Any, disk: Any) -> int:
                return cpus if name == "victim" else 0

        client = Client(nodes=[Only()])
        yield client.schedule()
        rtasks = []
        for _ in range(2):
            rtasks.append((yield client.rtask(waits, me)))
            yield me.receive(LIMIT_S)
        pending = Task(submits, client)
        yield me.sleep(0)
        node = psutil.Process(other.nodes[0].process.pid)
        while len(children := node.children(recursive=True)) < 4:  # zygote, two servers, the next client's zygote
            yield me.sleep(0.01)
        victims += [node, *children]
        other.nodes[0].process.kill()
        for rtask in rtasks:
            with pytest.raises(TaskAbandoned):
                yield rtask.result()
        pending.terminate()
        yield client.close()

    def submits(client: Client) -> Gen:
        yield client.rtask(square, 3)

    victims: list[psutil.Process] = []
    with LocalCluster(cpus=2, name="victim") as other:
        run(main, other, victims)
        assert gone(victims) == []


# -- what cannot be run at all


class Holder:
    def __init__(self) -> None:
        self.inner = {"lock": threading.Lock()}


def test_argument_that_cannot_be_pickled_is_named() -> None:
    def body(client: Client) -> Gen:
        with pytest.raises(ShippingError, match=r"inner.*lock"):
            yield client.rtask(square, Holder())
        assert (yield (yield client.rtask(square, 5))()) == 25

    with_client(body)


def test_result_that_cannot_be_pickled_is_named() -> None:
    def returns_lock() -> Gen:
        yield
        return {"the_lock": threading.Lock()}

    def body(client: Client) -> Gen:
        with pytest.raises(ShippingError, match="the_lock"):
            yield (yield client.rtask(returns_lock)).result()

    with_client(body)


GLOBAL_LOCK = threading.Lock()


def uses_a_global(how: int) -> Gen:
    yield
    if how == 0:
        with GLOBAL_LOCK:
            return 1
    if how == 1:
        return next(GLOBAL_LOCK)  # type: ignore[call-overload]
    if how == 2:
        return 1 in GLOBAL_LOCK  # type: ignore[operator]
    return GLOBAL_LOCK + how  # type: ignore[operator]


async def uses_a_global_too() -> None:
    async with GLOBAL_LOCK:  # type: ignore[attr-defined]
        pass


def test_a_global_that_could_not_travel_says_so_however_it_is_used() -> None:
    def body(client: Client) -> Gen:
        for fn, args in [(uses_a_global, (how,)) for how in range(4)] + [(uses_a_global_too, ())]:  # type: ignore[list-item]
            with pytest.raises(ShippingError, match=r"global 'GLOBAL_LOCK' is not at.*make it in the task"):
                yield (yield client.rtask(fn, *args)).result()

    with_client(body)


def test_message_that_cannot_be_pickled_raises_at_send() -> None:
    def body(client: Client) -> Gen:
        rtask = yield client.rtask(waits)
        with pytest.raises(ShippingError, match="lock"):
            rtask.send(Holder())
        rtask.send("fine")
        assert (yield rtask()) == "fine"

    with_client(body)


def plain(n: int) -> int:
    return n


def test_plain_function_shows_the_right_line() -> None:
    def body(client: Client) -> Gen:
        with pytest.raises(NotATask, match=r"plain is a plain function.*\n.*\n.*async def plain") as caught:
            yield client.rtask(plain, 3)
        text = str(caught.value)
        assert re.search(r"wrong: client\.rtask\(plain, \.\.\.\)\n.*and then client\.rtask\(plain, \.\.\.\)\n", text)
        assert "or:    client.map(plain, inputs)" in text
        with pytest.raises(NotATask, match=r"wrong: client\.io_rtask_at\(where, plain, \.\.\.\)"):
            yield client.options(timeout_s=9).io_rtask_at("127.0.0.1", plain, 3)
        assert "KeyError" not in "".join(traceback.format_exception(caught.value))

    with_client(body)


def test_wrong_arguments_raise_in_the_clients_task() -> None:
    def body(client: Client) -> Gen:
        with pytest.raises((RemoteError, TypeError), match=r"square.*(missing|argument)"):
            yield client.rtask(square)
        with pytest.raises((RemoteError, TypeError), match="unexpected keyword"):
            yield client.rtask(square, 3, wrong=4)
        assert (yield (yield client.rtask(square, 5))()) == 25

    with_client(body)


def test_class_that_the_server_lacks() -> None:
    """An instance of a class of an installed-looking module that is not there."""

    class Thing:
        def __reduce__(self) -> Any:
            return _lookup, ("a_module_of_nobody",)

    def body(client: Client) -> Gen:
        with pytest.raises(RemoteError, match=r"a_module_of_nobody.*components"):
            yield client.rtask(square, Thing())

    with_client(body)


def _lookup(name: str) -> Any:
    return __import__(name)


def test_client_that_is_not_scheduled() -> None:
    def main() -> Gen:
        client = Client()
        with pytest.raises(ScheduleError, match="schedule"):
            yield client.rtask(square, 3)
        yield client.close()
        with pytest.raises(ScheduleError):
            yield client.rtask(square, 3)

    run(main)


def test_unknown_server() -> None:
    def body(client: Client) -> Gen:
        yield client.rtask(square, 3)
        with pytest.raises(ScheduleError, match="no server or node at"):
            yield client.rtask_at(parkcos.Location("127.0.0.1", 1), square, 3)
        with pytest.raises(ScheduleError, match="no server or node at"):
            yield client.rtask_at("127.0.0.9", square, 3)

    with_client(body)


# -- computing without a yield


def hogs(to: Any, seconds: float, task: Any = None) -> Gen:
    to.send("starts")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    got = []
    while len(got) < 100:
        got.append((yield task.receive()))
    return got


def test_computing_task_gets_its_messages_in_order_afterwards() -> None:
    def body(client: Client) -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        rtask = yield client.rtask(hogs, me, 2.0)
        assert (yield me.receive(LIMIT_S)) == "starts"
        for n in range(100):
            assert (yield rtask.deliver(n, timeout=LIMIT_S)) == 1 if n == 50 else rtask.send(n) == 0
        assert rtask.is_alive()
        assert (yield rtask()) == list(range(100))

    with_client(body)


def reports(to: Any, go_on: str, task: Any = None) -> Gen:
    """Computes, without a yield, until a file is there that its client writes when it has the messages."""
    for n in range(5):
        to.send(n)
    deadline = time.monotonic() + LIMIT_S
    while not os.path.exists(go_on) and time.monotonic() < deadline:
        pass
    yield
    return os.path.exists(go_on)


def test_progress_messages_arrive_while_the_task_computes(tmp_path: Any) -> None:
    def body(client: Client) -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        rtask = yield client.rtask(reports, me, str(tmp_path / "go_on"))
        for n in range(5):
            assert (yield me.receive(LIMIT_S)) == n
        (tmp_path / "go_on").touch()
        assert (yield rtask()) is True

    with_client(body)


# -- what was sent ahead


def once(n: int, seconds: float, to: Any, task: Any = None) -> Gen:
    to.send(n)
    yield task.sleep(seconds)
    return n


def collects(task: Any = None) -> Gen:
    """How often each number came, until None does."""
    count: dict[int, int] = {}
    while (n := (yield task.receive())) is not None:
        count[n] = count.get(n, 0) + 1
    return count


def submits_many(client: Client, numbers: Any, to: Any) -> Gen:
    rtasks = []
    for n in numbers:
        rtasks.append((yield client.rtask(once, n, 0.1 if n % 60 == 59 else 0, to)))
    return (yield ends(rtasks))


def test_each_task_runs_exactly_once() -> None:
    """Short tasks are sent ahead, and taken back when a long one is before them."""

    def body(client: Client) -> Gen:
        counter = Task(collects)
        submitters = [Task(submits_many, client, range(i, 1200, 40), counter) for i in range(40)]
        results = yield ends(submitters)
        assert sorted(n for numbers in results for n in numbers) == list(range(1200))
        counter.send(None)
        assert (yield counter()) == dict.fromkeys(range(1200), 1)

    with_client(body)


def test_killed_zygote() -> None:
    """The process from which the servers are forked takes them along; the client is told, and the next one served."""

    def main() -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        client = Client()
        yield client.schedule()
        rtask = yield client.rtask(waits, me)
        server = psutil.Process((yield me.receive(LIMIT_S))[1])
        zygote = server.parent()
        assert zygote is not None
        zygote.kill()
        with pytest.raises(TaskAbandoned):
            yield rtask.result()
        yield client.close()
        return [server, zygote]

    assert gone(run(main)) == []

    def body(client: Client) -> Gen:
        assert (yield (yield client.rtask(square, 5))()) == 25

    with_client(body)
