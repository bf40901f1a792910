"""Running tasks, hearing from them and of them, and closing: against two real servers."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Generator
from typing import Any

import pytest

import parkcos
from parkcos import (
    Channel,
    Client,
    MonitorStatus,
    ScheduleError,
    Scheduler,
    Status,
    Task,
    TaskInfo,
    TaskTerminated,
)
from tests.live.lib import LIMIT_S, ends, me, run, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]
MIB = 1 << 20


def square(n: int) -> Gen:
    yield
    return n * n


def echo(x: Any) -> Gen:
    yield
    return x


def fails(n: int) -> Gen:
    yield
    return 1 / n


def interval(seconds: float, task: Any = None) -> Gen:
    """Where, from when and until when it ran; sleeps, so that a second task could begin."""
    start = time.monotonic()
    yield task.sleep(seconds)
    return os.getpid(), start, time.monotonic()


def talks(to: Any = None, task: Any = None) -> Gen:
    """Says who and where it is, then gives back whatever comes, until None does."""
    if to is not None:
        to.send((task, os.getpid()))
    seen = []
    while True:
        message = yield task.receive()
        if message is None:
            return seen
        seen.append(message)
        if to is not None:
            to.send(message)


# -- how they run


def test_cpu_tasks_run_one_at_a_time_at_a_server() -> None:
    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2, LIMIT_S)
        rtasks = []
        for _ in range(12):
            rtasks.append((yield client.rtask(interval, 0.02)))
        return (yield ends(rtasks))

    spans = sorted(with_client(body))
    assert len({server for server, _, _ in spans}) == 2
    for (server, _, end), (other, start, _) in itertools.pairwise(spans):
        assert server != other or end <= start


def test_io_tasks_run_beside_each_other_and_beside_cpu_tasks() -> None:
    def body(client: Client) -> Gen:
        """None of them ends before all have begun."""
        rtasks = []
        for _ in range(20):
            rtasks.append((yield client.io_rtask(talks, me())))
        for _ in range(2):
            rtasks.append((yield client.rtask(talks, me())))
        servers = set()
        for _ in rtasks:
            servers.add((yield me().receive(LIMIT_S))[1])
        assert len(servers) == 2
        for rtask in rtasks:
            rtask.send(None)
        assert (yield ends(rtasks)) == [[]] * 22

    with_client(body)


def test_ten_thousand_tasks() -> None:
    def submit(client: Client, numbers: range) -> Gen:
        total = 0
        for n in numbers:
            rtask = yield client.rtask(square, n)
            total += yield rtask()
        return total

    def body(client: Client) -> Gen:
        submitters = [Task(submit, client, range(i, 10_000, 200)) for i in range(200)]
        return sum((yield ends(submitters)))

    assert with_client(body) == sum(n * n for n in range(10_000))


def test_large_arguments_and_results() -> None:
    def body(client: Client) -> Gen:
        big = bytearray(os.urandom(MIB)) * 50
        back = yield (yield client.rtask(echo, big)).result()
        assert type(back) is bytearray
        assert back == big
        assert (yield (yield client.rtask(len_of, bytes(big))).result()) == 50 * MIB

    with_client(body)


def len_of(x: Any) -> Gen:
    yield
    return len(x)


# -- where


def test_places() -> None:
    def body(client: Client) -> Gen:
        yield (yield client.rtask(square, 1))()
        while len(servers := (yield client.servers())) < 2:
            yield me().sleep(0.01)
        assert (yield client.nodes()) == ["127.0.0.1"]
        assert len(set(servers)) == 2
        assert (yield client.tasks()) == []
        pids = {}
        for server in servers:
            for call in (client.rtask_at, client.io_rtask_at):
                rtask = yield call(server, talks, me())
                who, pid = yield me().receive(LIMIT_S)
                assert who == rtask
                assert rtask.location == who.location == server
                assert pids.setdefault(server, pid) == pid
                assert (yield client.tasks(server)) == [rtask]
                assert (yield client.tasks("127.0.0.1")) == [rtask] == (yield client.tasks())
                rtask.send(None)
                assert (yield rtask()) == []
        assert len(set(pids.values())) == 2
        at_node = []
        for _ in range(2):
            at_node.append((yield client.rtask_at("127.0.0.1", talks, me())))
            yield me().receive(LIMIT_S)
        assert {t.location for t in at_node} == set(servers)
        for rtask in at_node:
            rtask.send(None)
        yield ends(at_node)

    with_client(body)


# -- how they end


def test_ends_of_all_kinds() -> None:
    def body(client: Client) -> Gen:
        good = yield client.rtask(square, 3)
        assert (yield good()) == (yield good.finish()) == (yield good.result()) == 9
        assert not good.is_alive()
        bad = yield client.rtask(fails, 0)
        end = yield bad()
        assert isinstance(end, MonitorStatus)
        assert end.type is ZeroDivisionError
        assert "1 / n" in end.traceback
        with pytest.raises(ZeroDivisionError) as caught:
            yield bad.result()
        note = "\n".join(caught.value.__notes__)
        here = fails.__code__
        assert f'File "{here.co_filename}", line {here.co_firstlineno + 2}, in fails' in note
        assert "1 / n" in note
        ended = yield client.rtask(talks)
        assert ended.terminate() == 0
        assert (yield ended()).type is TaskTerminated
        with pytest.raises(TaskTerminated):
            yield ended.result()
        assert ended.send("too late") == -1

    with_client(body)


def test_time_limit_of_finish() -> None:
    def body(client: Client) -> Gen:
        rtask = yield client.rtask(talks)
        assert (yield rtask.finish(timeout=0.01)) is None
        rtask.send(None)
        assert (yield rtask.finish(timeout=LIMIT_S)) == []

    with_client(body)


def test_monitors() -> None:
    def body(client: Client) -> Gen:
        rtasks = {}
        for n in (0, 1):
            rtask = yield client.rtask(fails, n)
            rtasks[rtask] = n
            assert (yield me().monitor(rtask)) == 0
        for _ in rtasks:
            status = yield me().receive(LIMIT_S)
            if rtasks[status.info]:
                assert (status.type, status.value) == (StopIteration, 1.0)
            else:
                assert status.type is ZeroDivisionError
                assert isinstance(status.exception, ZeroDivisionError)

    with_client(body)


def watches(other: Any, task: Any = None) -> Gen:
    assert (yield task.monitor(other)) == 0
    other.send(None)
    status = yield task.receive()
    return status.info == other, status.type.__name__, status.value


def test_remote_task_monitors_another_one() -> None:
    def body(client: Client) -> Gen:
        other = yield client.rtask(talks)
        assert (yield (yield client.rtask(watches, other)).result()) == (True, "StopIteration", [])

    with_client(body)


def test_status_task() -> None:
    told: list[Any] = []

    def status(task: Any = None) -> Gen:
        while True:
            message = yield task.receive()
            told.append(message)
            if isinstance(message, Status) and message.status == Scheduler.ClientClosed:
                return

    task = []

    def main() -> Gen:
        me = parkcos.cur_task()
        assert me is not None
        task.append(Task(status))
        client = Client(status_task=task[0])
        yield client.schedule()
        while len((yield client.servers())) < 2:  # else the client may be closed before the second is there
            yield me.sleep(0.01)
        rtask = yield client.rtask(square, 7)
        yield rtask()
        yield client.close()
        yield task[0].finish(LIMIT_S)
        return rtask

    rtask = run(main)
    numbers = [m.status for m in told if isinstance(m, Status)]
    assert numbers[0] == Scheduler.ClientScheduled
    assert numbers[-1] == Scheduler.ClientClosed
    for number in (Scheduler.NodeDiscovered, Scheduler.NodeInitialized, Scheduler.NodeClosed, Scheduler.TaskStarted):
        assert numbers.count(number) == 1
    assert numbers.count(Scheduler.ServerDiscovered) == 2
    assert numbers.count(Scheduler.ServerClosed) == 2
    (info,) = [m.info for m in told if isinstance(m, Status) and m.status == Scheduler.TaskCreated]
    assert isinstance(info, TaskInfo)
    assert (info.task, info.args, info.kwargs) == (rtask, (7,), {})
    (end,) = [m for m in told if isinstance(m, MonitorStatus)]
    assert (end.info, end.type, end.value) == (rtask, StopIteration, 49)


# -- messages


def test_messages_both_ways_in_order() -> None:
    def body(client: Client) -> Gen:
        rtask = yield client.rtask(talks, me())
        assert (yield me().receive(LIMIT_S))[0] == rtask
        for n in range(1000):
            yield rtask.send(n)
        for n in range(1000):
            assert (yield me().receive(LIMIT_S)) == n
        assert (yield rtask.deliver("last", timeout=LIMIT_S)) == 1
        assert (yield me().receive(LIMIT_S)) == "last"
        rtask.send(None)
        assert (yield rtask()) == [*range(1000), "last"]

    with_client(body)


def tells(other: Any, task: Any = None) -> Gen:
    for n in range(100):
        yield other.send(n)
    return (yield other.deliver(None, timeout=20))


def test_remote_tasks_talk_to_each_other() -> None:
    def body(client: Client) -> Gen:
        listener = yield client.rtask(talks, me())
        yield me().receive(LIMIT_S)
        teller = yield client.rtask(tells, listener)
        assert teller.location != listener.location
        assert (yield teller()) == 1
        assert (yield listener()) == list(range(100))

    with_client(body)


def subscribes(channel: Any, to: Any, task: Any = None) -> Gen:
    assert (yield channel.subscribe(task)) == 0
    to.send("ready")
    got = []
    while (message := (yield task.receive())) is not None:
        got.append(message)
    yield channel.unsubscribe(task)
    return got


def test_channel_across_processes() -> None:
    def body(client: Client) -> Gen:
        channel = Channel("news of the tests")
        channel.register()
        rtasks = []
        for _ in range(2):
            rtasks.append((yield client.io_rtask(subscribes, channel, me())))
            assert (yield me().receive(LIMIT_S)) == "ready"
        for n in range(10):
            channel.send(n)
        assert (yield channel.deliver(None, timeout=LIMIT_S, n=2)) == 2
        assert (yield ends(rtasks)) == [list(range(10))] * 2
        channel.close()

    with_client(body)


# -- closing


def test_close_returns_when_every_result_has_arrived() -> None:
    def main() -> Gen:
        client = Client()
        yield client.schedule()
        rtasks = []

        def submit(n: int) -> Gen:
            rtasks.append((yield client.rtask(echo, bytes([n]) * MIB)))

        yield ends([Task(submit, n) for n in range(40)])
        yield client.close()
        assert all(t.outcome is not None for t in rtasks)
        assert sorted(t.outcome.value[0] for t in rtasks) == list(range(40))
        assert all(len(t.outcome.value) == MIB for t in rtasks)
        with pytest.raises(ScheduleError):
            yield client.rtask(square, 1)

    run(main)


def stubborn(how: str, to: Any, task: Any = None) -> Gen:
    to.send("runs")
    try:
        if how == "waits":
            yield task.receive()
        else:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                pass
    except KeyboardInterrupt:
        yield to.deliver("interrupted", timeout=5)
        return "cleaned up"


@pytest.mark.parametrize("how", ["waits", "computes"])
def test_close_with_terminate_interrupts(how: str) -> None:
    def main() -> Gen:
        client = Client()
        yield client.schedule()
        rtask = yield client.rtask(stubborn, how, me())
        assert (yield me().receive(LIMIT_S)) == "runs"
        yield client.close(terminate=True)
        assert (yield me().receive(LIMIT_S)) == "interrupted"
        assert (yield rtask.finish(LIMIT_S)) == "cleaned up"

    run(main)


def immortal(to: Any, task: Any = None) -> Gen:
    to.send("runs")
    while True:
        try:
            yield task.receive()
        except KeyboardInterrupt:
            to.send("no")


@pytest.mark.slow
def test_grace_of_terminate_ends() -> None:
    def main() -> Gen:
        client = Client()
        yield client.schedule()
        rtask = yield client.rtask(immortal, me())
        assert (yield me().receive(LIMIT_S)) == "runs"
        yield client.close(terminate=True)
        assert (yield me().receive(LIMIT_S)) == "no"
        assert (yield rtask.finish(LIMIT_S)).type is TaskTerminated

    run(main)


def test_close_awaits_io_tasks_only_if_asked() -> None:
    def main(await_io: bool) -> Gen:
        client = Client()
        yield client.schedule()
        rtask = yield client.io_rtask(talks, me())
        yield me().receive(LIMIT_S)
        closing = Task(closes, client, await_io)
        if await_io:
            assert (yield closing.finish(0.2)) is None
            rtask.send(None)
        assert (yield closing.finish(LIMIT_S)) == "closed"
        return (yield rtask.finish(LIMIT_S))

    def closes(client: Client, await_io: bool) -> Gen:
        yield client.close(await_io=await_io)
        return "closed"

    assert run(main, True) == []
    assert run(main, False).type is KeyboardInterrupt


def test_clients_one_after_another_and_two_at_once() -> None:
    def one(n: int, done: list[int]) -> Gen:
        client = Client(name=f"client {n}")
        assert (yield client.schedule(timeout=LIMIT_S)) == 0
        assert (yield (yield client.rtask(square, n))()) == n * n
        done.append(n)
        yield client.close()

    def both(done: list[int]) -> Gen:
        tasks = [Task(one, n, done) for n in range(3)]
        yield ends(tasks)

    done: list[int] = []
    for n in range(3):
        run(one, n, done)
    run(both, done)
    assert done == [0, 1, 2, 0, 1, 2]


def test_schedule_that_expires_while_the_queue_goes_on() -> None:
    def main() -> Gen:
        first, late, third = Client(), Client(), Client()
        assert (yield first.schedule()) == 0
        assert (yield late.schedule(timeout=0.05)) == -1
        waiting = Task(schedules, third)
        assert (yield waiting.finish(0.05)) is None
        yield first.close()
        assert (yield waiting.finish(LIMIT_S)) == 0
        assert (yield (yield third.rtask(square, 2))()) == 4
        yield late.close()
        yield third.close()

    def schedules(client: Client) -> Gen:
        return (yield client.schedule())

    run(main)


def test_submitter_that_goes_away_does_not_hold_up_close() -> None:
    """Tasks that nobody waits for any more, and that were not sent, are not run."""

    def submits(client: Client) -> Gen:
        yield client.rtask(square, 1)

    def main() -> Gen:
        client = Client(nodes=["127.0.0.77"])
        yield client.schedule()
        submitter = Task(submits, client)
        yield
        yield
        submitter.terminate()
        yield submitter()
        yield client.close()

    run(main)
