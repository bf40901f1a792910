"""Calls in spaces of their own, at real servers: the same names, side by side."""

from __future__ import annotations

import array
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos import (
    RPS,
    Channel,
    Client,
    LocalCluster,
    Location,
    MonitorStatus,
    PackedCall,
    Space,
    Task,
    TaskHandle,
    UsageError,
    run,
)
from parkcos.cluster import server_messages as sm
from parkcos.cluster.message import Message
from parkcos.cluster.postbox import Postbox
from tests.live.lib import LIMIT_S

pytestmark = pytest.mark.live

Gen = Generator[Any, Any, Any]

PROGRAM = """
import sys
from pathlib import Path
from parkcos import RawOutcome, pack_call
from helper import scale

N = {n}
runs = 0

class Point:
    def __init__(self, x):
        self.x = x

class Wrong(Exception):
    def __init__(self, a, b):
        super().__init__(a + b)

def work(point):
    global runs
    runs += 1
    point.x += 1
    assert type(point) is Point
    return scale(point.x) + N, runs

def makes():
    import helper
    assert helper.scale is scale
    return Point(scale(N))

def fails():
    raise Wrong({n}, N)

async def waits(task=None):
    global runs
    runs = N
    message = await task.receive()
    return message, runs, scale(1)

folder = Path(sys.argv[0]).parent
if sys.argv[1] == "pack":
    for fn, args in ((work, (Point(1),)), (makes, ()), (fails, ()), (waits, ())):
        (folder / f"{{fn.__name__}}.call").write_bytes(pack_call(fn, *args).to_bytes())
else:
    for name in ("makes", "fails"):
        outcome = RawOutcome.from_bytes((folder / f"{{name}}.outcome").read_bytes())
        try:
            value = outcome.value()
            print(type(value) is Point, value.x)
        except Wrong as error:
            print(error, *error.__notes__)
"""


class Users:
    """Two programs that have the same names in them, and the same modules."""

    def __init__(self, folder: Path) -> None:
        self.folders = [folder / "1", folder / "2"]
        for number, each in enumerate(self.folders, 1):
            each.mkdir()
            (each / "user.py").write_text(PROGRAM.format(n=number * 100))
            (each / "helper.py").write_text(f"FACTOR = {number}\ndef scale(x):\n    return x * FACTOR\n")
            self.run(number, "pack")

    def run(self, number: int, what: str) -> list[str]:
        command = [sys.executable, str(self.folders[number - 1] / "user.py"), what]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()

    def call(self, number: int, name: str) -> PackedCall:
        return PackedCall.from_bytes((self.folders[number - 1] / f"{name}.call").read_bytes())


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Users:
    return Users(tmp_path_factory.mktemp("users"))


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


@pytest.fixture
def servers(client: Client) -> list[Location]:
    return list(run(lambda: (yield client.servers())))


@pytest.fixture
def defined(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How many definitions were sent to servers, by space."""
    sent: Counter[int] = Counter()
    send = Postbox.send

    def spied(self: Postbox, process: int, part: str, message: Message, *rest: Any, **options: Any) -> bool:
        if isinstance(message, sm.Define):
            sent[message.space] += 1
        return send(self, process, part, message, *rest, **options)

    monkeypatch.setattr(Postbox, "send", spied)
    return sent


def named(client: Client, number: int) -> Space | str:
    """The space of this name; 0: none."""
    return client.space(str(number)) if number else ""


def test_two_programs_alternate_and_neither_travels_again(
    client: Client, users: Users, servers: list[Location], defined: Counter[int]
) -> None:
    calls = [users.call(number, "work") for number in (1, 2)]
    for turn in range(1, 101):
        handles = [
            client.submit(call, where=servers[0], space=named(client, space)) for space, call in enumerate(calls, 1)
        ]
        assert [each.raw(LIMIT_S).value() for each in handles] == [(102, turn), (204, turn)]
    assert defined == {named(client, 1).number: 1, named(client, 2).number: 1}


def test_what_comes_of_it_is_of_each_programs_own_classes(client: Client, users: Users) -> None:
    for number in (1, 2):
        for name in ("makes", "fails"):
            raw = client.submit(users.call(number, name), space=named(client, number + 2)).raw(LIMIT_S)
            (users.folders[number - 1] / f"{name}.outcome").write_bytes(raw.to_bytes())
        made, failed, *remote = users.run(number, "open")
        assert made == f"True {number * number * 100}"
        assert failed.startswith(f"{200 * number} ")
        assert any(line.strip() == f"raise Wrong({number * 100}, N)" for line in remote), remote


def test_tasks_of_two_spaces_run_at_once(client: Client, users: Users, servers: list[Location]) -> None:
    handles = [
        client.submit(users.call(number, "waits"), where=servers[0], io=True, space=named(client, number + 4))
        for number in (1, 2)
    ]
    for handle in handles:
        until_running(handle)
    for number, handle in enumerate(handles, 1):
        handle.send(f"for {number}")
    assert [each.raw(LIMIT_S).value() for each in handles] == [("for 1", 100, 1), ("for 2", 200, 2)]


def until_running(handle: TaskHandle) -> None:
    end = time.monotonic() + LIMIT_S
    while handle.state != "running":
        assert handle.state in ("waiting", "sent") and time.monotonic() < end, handle
        time.sleep(0.005)


# -- in one program


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


class Unequal(Exception):
    def __init__(self, point: Point, _: int) -> None:
        super().__init__("not equal")
        self.point = point


def offered(point: Point, task: Any = None) -> Gen:
    yield
    return type(point) is Point and Point(point.x + 1)


def receives(count: int, task: Any = None) -> Gen:
    """Is sent points by whoever finds it, by itself, its channel and its RPS."""
    channel = Channel("points of a space")
    assert channel.register() == 0
    yield channel.subscribe(task)
    RPS(offered).register()
    task.register("receiver of a space")
    found = []
    for _ in range(count):
        found.append((yield task.receive()))
    channel.close()
    assert all(type(each) is Point for each in found), found
    return Point(sum(each.x for each in found))


def sends(task: Any = None) -> Gen:
    there = yield Task.locate("receiver of a space", timeout=LIMIT_S)
    assert there.send(Point(1)) == 0
    assert (yield there.deliver(Point(20), LIMIT_S)) == 1
    channel = yield Channel.locate("points of a space", timeout=LIMIT_S)
    channel.send(Point(300))
    assert (yield channel.deliver(Point(4000), LIMIT_S, 1)) == 1
    rps = yield RPS.locate("offered", timeout=LIMIT_S)
    made = yield (yield rps(Point(5))).result()
    assert type(made) is Point and made.x == 6
    yield task.monitor(there)
    status: MonitorStatus = yield task.receive()
    assert type(status.value) is Point
    end = yield there.result()
    assert type(end) is Point
    return end


def test_everything_that_is_sent_is_of_the_classes_of_the_space(client: Client, servers: list[Location]) -> None:
    assert client.submit(offered, Point(1)).result(LIMIT_S).x == 2, "there is one of this name in no space, too"
    for where in servers:
        client.submit(offered, Point(1), where=where).result(LIMIT_S)
    receiver = client.submit(receives, 5, where=servers[0], space=named(client, 7))
    sender = client.submit(sends, where=servers[1], space=named(client, 7))
    until_running(receiver)
    receiver.send(Point(50_000))
    assert sender.result(LIMIT_S).x == receiver.result(LIMIT_S).x == 54_321
    assert type(receiver.result()) is Point


def unequal() -> None:
    raise Unequal(Point(1), 2)


def fails_when_told(task: Any = None) -> Gen:
    task.register("to fail in a space")
    watcher = yield task.receive()
    yield watcher.monitor(task)
    raise Unequal(Point(1), 2)


def watches(task: Any = None) -> Gen:
    """Asks for the end of another task, and is told of it by that one, too."""
    other = yield Task.locate("to fail in a space", timeout=LIMIT_S)
    yield task.monitor(other)
    other.send(task)
    found = []
    for _ in range(2):
        status: MonitorStatus = yield task.receive()
        error: Any = status.exception
        found.append((status.type is Unequal, type(error) is Unequal, type(error.point) is Point))
    return found


def test_a_monitor_elsewhere_is_told_of_an_exception_of_its_space(client: Client, servers: list[Location]) -> None:
    failing = client.submit(fails_when_told, where=servers[0], space=named(client, 8))
    assert client.submit(watches, where=servers[1], space=named(client, 8)).result(LIMIT_S) == [(True, True, True)] * 2
    with pytest.raises(Unequal):
        failing.result(LIMIT_S)


@pytest.mark.parametrize("own_process", [False, True])
def test_an_exception_of_a_space_is_of_the_programs_class(client: Client, own_process: bool) -> None:
    with pytest.raises(Unequal) as caught:
        client.submit(unequal, space=named(client, 8), own_process=own_process).result(LIMIT_S)
    assert type(caught.value.point) is Point


def first_of(points: Any) -> Any:
    return type(points[0]) is Point and points[0].x, points[1][0]


def test_what_is_shared_is_shared_with_every_space(client: Client) -> None:
    shared = client.share([Point(3), array.array("d", [1.5]) * 100_000])
    for space in (0, 9, 10, 9):
        assert client.submit(first_of, shared, space=named(client, space)).result(LIMIT_S) == (3, 1.5)


def test_a_program_that_defines_a_function_again(
    client: Client, servers: list[Location], defined: Counter[int]
) -> None:
    """As a notebook does: what was sent to one space stays what it is there."""
    versions = []
    for number in (1, 2):
        exec(f"factor{number} = {number}\ndef work(x):\n    return x * factor{number}, len(work.__name__)\n", globals())
        versions.append(globals()["work"])
        assert client.submit(versions[-1], 5, where=servers[0], space=named(client, 10 + number)).result(LIMIT_S) == (
            5 * number,
            4,
        )
    for _ in range(20):
        handles = [
            client.submit(each, 5, where=servers[0], space=named(client, space))
            for space, each in enumerate(versions, 11)
        ]
        assert [each.result(LIMIT_S) for each in handles] == [(5, 4), (10, 4)]
    assert defined == {named(client, 11).number: 1, named(client, 12).number: 1}


kept: Any = None


def keeps() -> None:
    global kept
    kept = array.array("d", [0.0]) * 1_000_000
    sys.weakly_kept = weakref.ref(kept)  # type: ignore[attr-defined]


def is_kept() -> tuple[bool, bool]:
    return kept is not None, sys.weakly_kept() is not None  # type: ignore[attr-defined]


def test_a_space_that_is_dropped_is_forgotten(client: Client, servers: list[Location], defined: Counter[int]) -> None:
    def ask(space: int) -> Any:
        return client.submit(is_kept, where=servers[1], space=named(client, space)).result(LIMIT_S)

    client.submit(keeps, where=servers[1], space=named(client, 13)).result(LIMIT_S)
    assert [ask(space) for space in (13, 14, 0)] == [(True, True), (False, True), (False, True)]
    gone, stays = named(client, 13), named(client, 14)
    gone.close()
    assert [ask(space) for space in (14, 0)] == [(False, False)] * 2
    shell = client._shell
    known = [key for known in shell.known.values() for key in known if key[0] in (gone.number, stays.number)]
    assert {key[0] for key in known} == {stays.number}
    assert gone.number not in shell.shipper._of_spaces
    with pytest.raises(UsageError, match="was closed"):
        client.submit(is_kept, space=gone)
    assert ask(13) == (False, False), "another space of that name"


def twice(x: int, task: Any = None) -> Gen:
    yield
    return versions_of(x)


def versions_of(x: int) -> int:
    return 2 * x


def test_the_other_calls_take_a_space_too(client: Client, defined: Counter[int]) -> None:
    space = client.space("of options")

    def main() -> Gen:
        there = client.options(space=space)
        rtask = yield there.rtask(twice, 4)
        return (yield rtask.result()), (yield there.map(versions_of, range(5)))

    assert run(main) == (8, [0, 2, 4, 6, 8])
    assert set(defined) == {space.number}
