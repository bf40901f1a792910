"""How long a client lives: `with client:`, and clients that nobody closes."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from typing import Any

import pytest

from parkcos import Client, ScheduleError, Task, TaskTerminated
from parkcos.client import waiting
from tests.live.lib import LIMIT_S, me, run
from tests.live.test_schedule import until_queued

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]


def square(n: int) -> Gen:
    yield
    return n * n


def waits(to: Any, task: Any = None) -> Gen:
    to.send(task)
    return (yield task.receive())


def told(path: str, task: Any = None) -> Gen:
    """Takes a moment, and leaves a word."""
    yield task.sleep(0.1)
    with open(path, "w") as file:
        file.write("done")


def the_next_one() -> Gen:
    client = Client(name="next")
    yield client.schedule()
    value = yield (yield client.rtask(square, 3)).result()
    yield client.close()
    return value


# -- a client whose task has failed


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("oops"), Odd("oops"), SystemExit(3), GeneratorExit()])
def test_a_client_ends_with_the_task_that_scheduled_it_and_failed(error: BaseException) -> None:
    """What it had started is terminated, and nobody waits behind it."""
    clients: list[Client] = []
    started: list[Task] = []

    def main(to: Task) -> Gen:
        client = Client(name="failing")
        clients.append(client)
        yield client.schedule()
        started.append((yield client.rtask(waits, to)))
        raise error

    def body() -> Gen:
        failed = Task(main, me())
        yield failed.finish()
        assert failed.outcome is not None
        assert failed.outcome.exception is error
        with pytest.raises(TaskTerminated):
            yield started[0].result()
        assert (yield the_next_one()) == 9
        with pytest.raises(ScheduleError, match="runs no tasks"):
            clients[0].rtask(square, 1)

    run(body)


def test_a_client_ends_with_its_task_that_was_terminated(caplog: pytest.LogCaptureFixture) -> None:
    def main(client: Client, to: Task) -> Gen:
        yield client.schedule()
        to.send("scheduled")
        yield me().sleep()

    def body() -> Gen:
        client = Client(name="one")
        task = Task(main, client, me())
        yield me().receive(LIMIT_S)
        task.terminate()
        assert (yield the_next_one()) == 9

    run(body)
    assert "one is closed" in caplog.text
    assert "has terminated" in caplog.text or "was terminated" in caplog.text


# -- a client whose task has returned


def schedules(client: Client) -> Gen:
    yield client.schedule()


def test_a_client_is_used_when_the_task_that_scheduled_it_has_returned() -> None:
    """And one that waits behind it waits as long as it runs something."""

    def body() -> Gen:
        client = Client(name="kept")
        yield Task(schedules, client).finish()
        assert (yield (yield client.rtask(square, 2)).result()) == 4
        rtask = yield client.io_rtask(waits, me())
        yield me().receive(LIMIT_S)
        behind = Task(the_next_one)
        yield until_queued(2)
        yield me().sleep(0.3)  # many times as long as it takes to give way
        rtask.send("still there")
        assert (yield rtask.result()) == "still there"
        yield client.close()
        assert (yield behind.result()) == 9

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "SAY_S", 0.02)
        run(body)


def test_a_client_that_was_forgotten_gives_way_to_the_next(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgets() -> Gen:
        client = Client(name="forgotten")
        yield client.schedule()
        return (yield (yield client.rtask(square, 2)).result())

    monkeypatch.setattr(waiting, "SAY_S", 0.05)
    assert run(forgets) == 4
    assert run(the_next_one) == 9
    assert "behind forgotten of this very program, which forgets has scheduled and not closed" in caplog.text
    assert "forgotten gives way" in caplog.text


def test_a_client_that_its_program_has_scheduled_gives_way_to_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook: run(client.schedule) in a cell, and its work in others."""
    monkeypatch.setattr(waiting, "SAY_S", 0.02)
    client = Client(name="of the notebook")

    def body() -> Gen:
        behind = Task(the_next_one)
        yield until_queued(2)
        yield me().sleep(0.3)
        assert (yield (yield client.rtask(square, 2)).result()) == 4
        yield client.close()
        assert (yield behind.result()) == 9

    assert run(client.schedule) == 0
    run(body)
    assert "gives way" not in caplog.text
    assert "behind of the notebook of this very program, which is not closed yet" in caplog.text


# -- blocks


def test_the_end_of_a_block_in_a_generator_is_the_end_of_its_client(tmp_path: Any) -> None:
    """The function returns when the client is closed, which waits for its tasks."""
    path = tmp_path / "word"

    def main() -> Gen:
        with Client() as client:
            yield client.schedule()
            yield client.rtask(told, str(path))
            assert not path.exists()
        assert client._shell.machine.stage.closing
        return client

    client = run(main)
    assert path.read_text() == "done"
    assert not client._shell.is_open()
    assert run(the_next_one) == 9


def test_several_blocks_in_turn() -> None:
    def main() -> Gen:
        total = 0
        for n in range(5):
            with Client() as client:
                yield client.schedule()
                total += yield (yield client.rtask(square, n)).result()
        assert len(me()._stack or ()) == 2, "beside the caller; what waits for their ends does not pile up"
        return total

    def outer() -> Gen:
        value = yield main()
        assert not me()._stack
        return value

    assert run(outer) == 30


def test_a_block_in_an_async_def(tmp_path: Any) -> None:
    path = tmp_path / "word"

    async def main() -> Client:
        async with Client() as client:
            await client.rtask(told, str(path))
        assert path.read_text() == "done"
        return client

    assert not run(main)._shell.is_open()


async def fails_async(to: Task) -> None:
    async with Client() as client:
        to.send(await client.rtask(waits, to))
        raise ValueError("oops")


def fails(to: Task) -> Gen:
    with Client() as client:
        yield client.schedule()
        to.send((yield client.rtask(waits, to)))
        raise ValueError("oops")


@pytest.mark.parametrize("main", [fails, fails_async])
def test_a_block_that_is_left_by_an_exception_terminates_what_runs(main: Any) -> None:
    def body() -> Gen:
        with pytest.raises(ValueError, match="oops") as caught:
            yield main(me())
        frames = [frame.name for frame in traceback.extract_tb(caught.tb)]
        assert frames == ["body", main.__name__]
        ends = []
        for _ in range(2):  # one came from there, and one is the client's own
            ends.append((yield me().receive(LIMIT_S)).outcome)
        assert [end.kind for end in ends if end is not None] == ["failed"], "its end was waited for"

    run(body)


@pytest.mark.parametrize("main", [fails, fails_async])
def test_a_task_that_is_terminated_in_a_block_ends_at_once(main: Any) -> None:
    def body() -> Gen:
        task = Task(main, me())
        yield until_queued(1)
        task.terminate()
        yield task.finish()
        assert (yield the_next_one()) == 9

    run(body)


def test_a_block_in_a_plain_thread() -> None:
    def use(client: Client) -> Gen:
        return (yield (yield client.rtask(square, 7)).result())

    with Client() as client:
        run(client.schedule)
        assert run(use, client) == 49
        run(schedule_again, client)
    assert not client._shell.is_open()
    with Client():
        pass


def schedule_again(client: Client) -> Gen:
    with pytest.raises(ScheduleError, match="scheduled before"):
        yield client.schedule()
