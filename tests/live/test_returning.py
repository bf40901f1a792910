"""A client that returns: its program is killed, and the next one takes over nodes, servers and tasks."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.lib import LIMIT_S, Ports, Program, gone

pytestmark = pytest.mark.live

TASKS = """
import json

def note(folder, line):
    fd = os.open(os.path.join(folder, "runs"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (line + "\\n").encode())
    os.close(fd)

def work(n, seconds, folder):
    note(folder, f"begins {n}")
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(os.path.join(folder, f"go{n}")):
        time.sleep(0.01)
    note(folder, f"ends {n}")
    return n, n * n

def main(task=None):
    client = Client(identity="me", orphan_s=ORPHAN_S, name="returns", **OPTIONS)
    print("scheduled", (yield client.schedule()), flush=True)
    handles = yield client.resumed()
    print("resumed", *(f"{each.name}:{each.state}" for each in handles), "end", flush=True)
    known = {each.name for each in handles}
    for n in range(COUNT):
        if f"work-{n}" not in known:
            handle = client.submit(work, n, SECONDS, os.getcwd(), name=f"work-{n}", **SUBMIT)
            handles.append(handle)
    print("submitted", *(each.number for each in handles), flush=True)
    for each in handles:
        try:
            print("result", json.dumps((yield each)), flush=True)
        except TaskAbandoned as error:
            print("lost", each.name, error, flush=True)
        if RELEASE:
            each.release()
    print("all", flush=True)
    if HOLD:
        yield task.receive()
    yield client.close()
    print("closed", flush=True)

if __name__ == "__main__":
    Task(main)
"""


def source(
    count: int = 4,
    seconds: float = 60.0,
    orphan_s: float = 30.0,
    release: bool = True,
    hold: bool = False,
    submit: str = "{}",
    options: str = "{}",
) -> str:
    head = f"COUNT, SECONDS, ORPHAN_S, RELEASE, HOLD = {count}, {seconds}, {orphan_s}, {release}, {hold}\n"
    return f"{head}SUBMIT, OPTIONS = {submit}, {options}\n{TASKS}"


@pytest.fixture
def node(ports: Ports) -> Iterator[Program]:
    """A node with two servers that leaves no process behind."""
    program, _ = ports.node()
    with program:
        yield program
        family = program.family()
        assert program.end(signal.SIGTERM) == 0, program.text
        assert gone(family) == []
        assert "Traceback" not in program.text


def go(folder: Path, *numbers: int) -> None:
    """Let these tasks end."""
    for n in numbers:
        (folder / f"go{n}").touch()


def runs(folder: Path) -> list[str]:
    """What the tasks have noted."""
    path = folder / "runs"
    return path.read_text().splitlines() if path.exists() else []


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def results(*programs: Program) -> list[int]:
    """The numbers of the tasks whose results came."""
    lines = [line for program in programs for line in program.find("^result ")]
    pairs = [json.loads(line.removeprefix("result ")) for line in lines]
    assert all(square == n * n for n, square in pairs)
    return sorted(n for n, _ in pairs)


def test_a_program_that_was_killed_is_followed_by_another(node: Program, ports: Ports, tmp_path: Path) -> None:
    with ports.client(tmp_path, source()) as first:
        first.wait_for("resumed end")
        node.wait_for("serving")
        first.wait_for("submitted")
        wait_until(lambda: len(runs(tmp_path)) >= 2)
        first.end(signal.SIGKILL)
    node.wait_for("its servers go on")
    go(tmp_path, 0)
    wait_until(lambda: "ends 0" in runs(tmp_path))
    with ports.client(tmp_path, source()) as second:
        resumed = second.wait_for("resumed (.*) end").group(1)
        assert {"work-0", "work-1"} <= {each.partition(":")[0] for each in resumed.split()}
        go(tmp_path, 1, 2, 3)
        second.wait_for("closed")
        assert second.wait() == 0
        assert results(second) == [0, 1, 2, 3]
    assert sorted(runs(tmp_path)) == sorted(f"{what} {n}" for what in ("begins", "ends") for n in range(4))
    node.wait_for("has come back")
    assert not (tmp_path / "me.tasks").exists(), "nothing is left to be taken over"


def test_what_was_not_released_is_told_again(node: Program, ports: Ports, tmp_path: Path) -> None:
    go(tmp_path, 0, 1, 2, 3)
    with ports.client(tmp_path, source(release=False, hold=True)) as first:
        first.wait_for("^all")
        first.end(signal.SIGKILL)
    with ports.client(tmp_path, source(hold=True)) as second:
        second.wait_for("resumed work-0:.* work-1:.* work-2:.* work-3:.* end")
        second.wait_for("^all")
        second.end(signal.SIGKILL)  # perhaps before its servers have heard what it has released
    with ports.client(tmp_path, source(count=0)) as third:
        third.wait_for("resumed end")
        third.wait_for("closed")
        assert third.wait() == 0
    assert results(first) == results(second) == [0, 1, 2, 3]
    assert len(runs(tmp_path)) == 8, "each has run once"


def test_a_task_with_a_process_of_its_own_goes_on(node: Program, ports: Ports, tmp_path: Path) -> None:
    with ports.client(tmp_path, source(count=2, submit="{'own_process': True}")) as first:
        first.wait_for("submitted")
        wait_until(lambda: len(runs(tmp_path)) >= 2)
        first.end(signal.SIGKILL)
    with ports.client(tmp_path, source(count=2, submit="{'own_process': True}")) as second:
        second.wait_for("resumed work-0:.* work-1:.* end")
        go(tmp_path, 0, 1)
        second.wait_for("closed")
        assert second.wait() == 0
    assert results(second) == [0, 1]
    assert len(runs(tmp_path)) == 4


def test_tasks_whose_server_has_ended_are_told_as_lost(node: Program, ports: Ports, tmp_path: Path) -> None:
    with ports.client(tmp_path, source(count=2)) as first:
        first.wait_for("submitted")
        wait_until(lambda: len(runs(tmp_path)) >= 2)
        first.end(signal.SIGKILL)
    node.wait_for("its servers go on")
    servers = [each for each in node.family()[1:] if each.ppid() != node.pid]  # they are their zygote's children
    assert len(servers) == 2
    servers[0].kill()
    with ports.client(tmp_path, source(count=0)) as second:
        second.wait_for("resumed .* end")
        go(tmp_path, 0, 1)
        second.wait_for("closed")
        assert second.wait() == 0
        assert len(second.find("^lost work-.* its server has ended")) == len(results(second)) == 1


def test_a_client_that_does_not_come_back_is_ended(node: Program, ports: Ports, tmp_path: Path) -> None:
    with ports.client(tmp_path, source(orphan_s=0.5)) as first:
        node.wait_for("-> serving")
        first.end(signal.SIGKILL)
    node.wait_for("its servers go on, for 0.5 s")
    node.wait_for("did not come back")
    node.wait_for("wiping -> free")
    with ports.client(tmp_path, source(count=1)) as second:
        second.wait_for("submitted")
        go(tmp_path, 0, 1, 2, 3)
        second.wait_for("closed")


def test_a_second_program_with_the_same_identity_is_refused(node: Program, ports: Ports, tmp_path: Path) -> None:
    with ports.client(tmp_path, source()) as first:
        first.wait_for("submitted")
        with ports.client(tmp_path, source()) as second:
            second.wait_for(f"me is in use by another program of this machine .process {first.pid}.")
        go(tmp_path, 0, 1, 2, 3)
        first.wait_for("closed")
    assert results(first) == [0, 1, 2, 3]


USES = """
import pathlib

def double(n):
    return 2 * n

def total(numbers):
    return sum(numbers)

def where():
    return os.getpid()

def text_of(name):
    return pathlib.Path(name).read_text()

def stays(task=None):
    yield task.receive()

def main(task=None):
    client = Client(identity="me", orphan_s=30, name="returns")
    yield client.schedule()
    handles = yield client.resumed()
    print("resumed", len(handles), flush=True)
    if not FIRST:
        print("doubles", (yield client.map(double, range(4))), flush=True)
        print("shared", (yield client.submit(total, client.share(list(range(1000))))), flush=True)
        print("own", (yield client.submit(double, 4, own_process=True)), flush=True)
        with client.space("mine", exclusive=True) as space:
            print("space", (yield client.submit(double, 5, space=space)), flush=True)
        servers = yield client.servers()
        rtask = yield client.rtask_at(servers[0], stays)
        print("sent", (yield Parkcos().send_file(servers[0], "note.txt")), flush=True)
        rtask.send(None)
        print("end", (yield rtask.finish()), flush=True)
        print("text", (yield client.submit(text_of, "note.txt", where=servers[0])), flush=True)
        before = yield client.submit(where, where=servers[1])
        client.restart_server(servers[1])
        while (after := (yield client.submit(where, where=str(servers[1].addr)))) == before:
            yield task.sleep(0.05)
        print("another server", flush=True)
        client.restart_node("127.0.0.1")
        yield task.sleep(0.2)
        yield client.wait_for_servers(2)
        print("again", (yield client.map(double, range(4))), flush=True)
    print("ready", flush=True)
    if FIRST:
        yield task.receive()
    yield client.close()
    print("closed", flush=True)

if __name__ == "__main__":
    Task(main)
"""


def test_what_was_taken_over_is_used_as_any(node: Program, ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note")
    with ports.client(tmp_path, f"FIRST = True\n{USES}") as first:
        first.wait_for("^ready")
        node.wait_for("-> serving")
        first.end(signal.SIGKILL)
    with ports.client(tmp_path, f"FIRST = False\n{USES}") as second:
        second.wait_for("^closed")
        assert second.wait() == 0
        for line in ("doubles [0, 2, 4, 6]", "shared 499500", "own 8", "space 10", "text a note", "another server"):
            assert line in second.lines, second.text
        assert "again [0, 2, 4, 6]" in second.lines
    node.wait_for("has come back")
