"""From a client's place in the queue to its end: what it says before its turn, and how it gives that up."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from typing import Any, ClassVar

import pytest

import parkcos
from parkcos import Client, Location, RemoteError, ScheduleError, ShippingError, Task, TaskTerminated, UsageError
from parkcos.client import waiting
from parkcos.client.side import ClientSide
from parkcos.kernel import Completion
from parkcos.net.finding import lookup
from tests.live.lib import LIMIT_S, ROOT, Program, free_ports, me, run, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]


def square(n: int) -> Gen:
    yield
    return n * n


def squares_two(client: Client) -> Gen:
    return (yield (yield client.rtask(square, 2)).result())


def turn_of(client: Client, **options: Any) -> Gen:
    return (yield client.schedule(**options))


def queue_length() -> int:
    scheduler = ClientSide.of(parkcos.Parkcos.instance().network).scheduler
    assert scheduler is not None
    return len(scheduler.machine.queue)


def until_queued(count: int) -> Gen:
    while queue_length() != count:
        yield me().sleep(0.005)


# -- before the turn


def test_close_while_a_client_waits_for_its_turn() -> None:
    def body(first: Client) -> Gen:
        second, third = Client(name="second"), Client(name="third")
        waits = Task(turn_of, second)
        yield until_queued(2)
        yield second.close()
        with pytest.raises(ScheduleError, match="closed while it waited for its turn"):
            yield waits.result()
        turn = Task(turn_of, third)
        yield until_queued(2)
        yield first.close()
        assert (yield turn.result()) == 0, "nobody stands between it and the nodes"
        assert (yield (yield third.rtask(square, 3)).result()) == 9
        yield third.close()

    with_client(body)


def is_known(client: Client, side: ClientSide) -> bool:
    """Whether messages and losses reach it."""
    return any(each.shell is client._shell for each in side.clients.values())


@pytest.mark.parametrize("how", ["close", "terminate", "timeout"])
def test_a_client_that_still_looks_for_its_scheduler_never_queues(how: str) -> None:
    """It is named, and is not there; when the client is given up, nobody dials it any more."""

    def main() -> Gen:
        client = Client()
        (port,) = free_ports(1)
        waits = Task(turn_of, client, location=Location("127.0.0.1", port), timeout=0.1 if how == "timeout" else None)
        while not client._shell.is_open() or not is_known(client, ClientSide.of(waits.kernel.ensure_network())):
            yield me().sleep(0.005)
        if how == "close":
            yield client.close()
            with pytest.raises(ScheduleError, match="closed while it waited"):
                yield waits.result()
        elif how == "terminate":
            waits.terminate()
            with pytest.raises(TaskTerminated):
                yield waits.result()
        else:
            assert (yield waits.result()) == -1
        assert client._shell.is_open() == (how == "timeout"), "only then it may be scheduled again"
        assert not is_known(client, client._shell.side)
        assert [task for task in waits.kernel.tasks() if task is not me()] == [], "none looks for it any more"

    run(main)
    assert with_client(squares_two) == 4


def test_a_client_whose_time_in_the_queue_was_over_is_scheduled_again() -> None:
    def body(first: Client) -> Gen:
        second = Client(name="second")
        ids = set()
        for _ in range(3):
            assert (yield second.schedule(timeout=0.1)) == -1
            ids.add(second._shell.id)
            yield until_queued(1)
            with pytest.raises(ScheduleError, match="schedule\\(\\)  first"):
                yield second.rtask(square, 3)
        assert len(ids) == 3, "what is under way for an earlier one is not meant"
        turn = Task(turn_of, second)
        yield until_queued(2)
        yield first.close()
        assert (yield turn.result()) == 0
        assert (yield (yield second.rtask(square, 3)).result()) == 9
        yield second.close()
        third = Client(name="third")
        yield third.close()
        with pytest.raises(ScheduleError, match="was scheduled before, or closed"):
            yield third.schedule()

    with_client(body)


def test_a_task_that_is_ended_in_schedule_gives_up_its_place() -> None:
    def body(first: Client) -> Gen:
        waits = Task(turn_of, Client(name="second"))
        yield until_queued(2)
        waits.terminate()
        yield waits.finish()
        yield until_queued(1)

    with_client(body)


def test_close_when_the_network_cannot_be_had(tmp_path: Any) -> None:
    """What schedule() says is not hidden by what close() in a `finally` would say."""
    (tmp_path / "parkcos").mkdir(mode=0o700)
    secret = tmp_path / "parkcos" / "secret"
    secret.write_text("short")
    secret.chmod(0o600)
    program = tmp_path / "program.py"
    program.write_text(
        "from parkcos import Client, run\n"
        "def main():\n"
        "    client = Client()\n"
        "    try:\n"
        "        yield client.schedule()\n"
        "    finally:\n"
        "        yield client.close()\n"
        "run(main)\n"
    )
    with Program(program, env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path)}) as done:
        assert done.wait() == 1
        assert "ConfigError" in done.text
        assert "AttributeError" not in done.text


# -- what travels


def test_a_server_setup_that_cannot_travel_is_told_by_schedule() -> None:
    lock = threading.Lock()

    def setup() -> Gen:
        yield lock
        return 0

    def main() -> Gen:
        client = Client(server_setup=setup)
        with pytest.raises(ShippingError, match="lock"):
            yield client.schedule()
        yield client.close()

    run(main)


class Packed:
    """Notes in which thread it is pickled."""

    threads: ClassVar[list[int]] = []

    def __reduce__(self) -> Any:
        Packed.threads.append(threading.get_ident())
        return int, (7,)


def test_server_setup_is_packed_once_and_in_the_program_s_task() -> None:
    packed = Packed()

    def setup() -> Gen:
        global setup_saw
        setup_saw = packed  # type: ignore[name-defined]
        yield
        return 0

    def saw() -> Gen:
        yield
        return setup_saw  # type: ignore[name-defined]

    def main() -> Gen:
        Packed.threads.clear()
        client = Client(server_setup=setup)
        yield client.schedule()
        here, times = threading.get_ident(), len(Packed.threads)
        while len((yield client.servers())) < 2:
            yield me().sleep(0.005)
        assert Packed.threads == [here] * times, "not again for each server"
        assert times
        assert (yield (yield client.rtask(saw)).result()) == 7
        yield client.close()

    run(main)


def test_a_task_that_cannot_be_sent_is_refused_and_the_others_run() -> None:
    """Its name is no text that a message can carry."""

    def body(client: Client) -> Gen:
        yield (yield client.rtask(square, 1)).result()
        with pytest.raises(RemoteError, match="it could not be sent"):
            yield client.options(name="\ud800").rtask(square, 2)
        assert (yield (yield client.rtask(square, 3)).result()) == 9

    with_client(body)


# -- names of places


def test_no_task_waits_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run, and the client's lock is free, while a name that no node has is resolved."""
    asked = threading.Event()
    others_ran = threading.Event()

    def slow(host: str) -> tuple[str, ...]:
        assert host == "alias.example"
        asked.set()
        assert others_ran.wait(LIMIT_S), "the tasks stand still meanwhile"
        return ("127.0.0.1",)

    def body(client: Client) -> Gen:
        yield (yield client.rtask(square, 1)).result()
        for call, expected in (
            (lambda: client.rtask_at("alias.example", square, 3), 9),
            (lambda: tasks_at(client), []),
        ):
            asked.clear()
            others_ran.clear()
            looks = Task(value_of, call)
            while not asked.is_set():
                yield
            assert (yield (yield client.rtask(square, 2)).result()) == 4
            others_ran.set()
            assert (yield looks.result()) == expected

    monkeypatch.setattr(lookup, "resolve", slow)
    with_client(body)


def tasks_at(client: Client) -> Completion[Any]:
    return client.tasks("alias.example")


def value_of(call: Any) -> Gen:
    given = yield call()
    return (yield given.result()) if isinstance(given, Task) else given


def test_a_place_that_is_none_is_named() -> None:
    def body(client: Client) -> Gen:
        yield (yield client.rtask(square, 1)).result()
        for call in (client.rtask_at("nowhere.invalid", square, 1), client.tasks("nowhere.invalid")):
            with pytest.raises(ScheduleError, match=r"no server or node at nowhere.invalid; it uses local \(127"):
                yield call
        with pytest.raises(ScheduleError, match=r"nowhere.invalid"):
            client.suspend_node("nowhere.invalid")

    with_client(body)


# -- a long life


def test_what_is_remembered_of_servers_goes_with_them() -> None:
    def body(client: Client) -> Gen:
        seen = set()
        for _ in range(6):
            while not (servers := (yield client.servers())):
                yield me().sleep(0.005)
            seen.add(servers[0])
            rtask = yield client.rtask_at(servers[0], square, 2)
            assert (yield rtask.result()) == 4
            client.restart_server(servers[0], terminate=True)
            while servers[0] in (yield client.servers()):
                yield me().sleep(0.005)
        locations = client._shell.locations  # which the I/O thread looks through every few seconds
        while len((yield client.servers())) < 2 or len(locations) > 2:
            yield me().sleep(0.02)
        for table in (client._shell.locations, client._nodes.indexes, client._shell.known):
            assert len(table) == 2
        assert len(client._nodes.infos) == 1

    with_client(body)


# -- waiting for servers


def waits_for_a_word(task: Any = None) -> Gen:
    return (yield task.receive())


def closes(client: Client) -> Gen:
    yield client.close()


def test_waiting_for_servers(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SAY_S", 0.02)

    def main() -> Gen:
        client = Client()
        with pytest.raises(ScheduleError, match=r"yield client.schedule\(\)  first"):
            yield client.wait_for_servers()
        yield client.schedule()
        for senseless in (0, "2", None):
            with pytest.raises(UsageError, match="1 or more"):
                yield client.wait_for_servers(senseless)  # type: ignore[arg-type]
        assert (yield client.wait_for_servers(2)) == 2
        assert len((yield client.servers())) == 2
        assert (yield client.wait_for_servers()) == 2
        assert (yield client.wait_for_servers(3, timeout=0.2)) == 2, "there is no third"
        assert not client._shell.waits.for_servers
        rtask = yield client.rtask(waits_for_a_word)
        forever = Task(value_of, lambda: client.wait_for_servers(3))
        yield
        closed = Task(closes, client)
        with pytest.raises(ScheduleError, match="of 3 servers: it is being closed"):
            yield forever.result()
        assert closed.is_alive(), "it waits for its task"
        rtask.send("go")
        yield closed.result()

    run(main)
    assert "waits for 3 servers: 2 are ready" in caplog.text


def test_waiting_for_servers_that_cannot_be_set_up() -> None:
    def fails() -> Gen:
        yield
        return 1

    def main() -> Gen:
        with Client(server_setup=fails) as client:
            yield client.schedule()
            with pytest.raises(ScheduleError, match=r"no server is left, and where it was tried, .*setup"):
                yield client.wait_for_servers()

    run(main)


def test_a_server_that_is_suspended_is_not_ready() -> None:
    def body(client: Client) -> Gen:
        yield client.wait_for_servers(2)
        (first, _) = yield client.servers()
        client.suspend_server(first)
        waits = Task(value_of, lambda: client.wait_for_servers(2))
        yield (yield client.rtask(square, 2)).result()
        assert waits.is_alive()
        client.resume_server(first)
        assert (yield waits.result()) == 2

    with_client(body)
