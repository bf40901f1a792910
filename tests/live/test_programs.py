"""Nodes, schedulers and clients as the programs that they are: how they find each other, and how they end."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.lib import OTHER_SECRET, SECRET, Ports, Program, free_ports, gone

pytestmark = pytest.mark.live

SQUARES = """
def square(n, task=None):
    yield task.sleep(0.01)
    return n * n

def main(task=None):
    client = Client([square], name="squares")
    print("scheduled", (yield client.schedule()), flush=True)
    rtasks = []
    for n in range(10):
        rtasks.append((yield client.rtask(square, n)))
    total = 0
    for rtask in rtasks:
        total += yield rtask()
    yield client.close()
    print(f"total {total}", flush=True)  # in one write: the log comes in between

Task(main)
"""

HOLDS = """
def waits(to, task=None):
    to.send(("runs at", os.getpid()))
    print("a task is running", flush=True)
    yield task.receive()

def main(task=None):
    client = Client(name="holds")
    print("scheduled", (yield client.schedule()), flush=True)
    rtask = yield client.rtask(waits, task)
    print(*(yield task.receive()), flush=True)
    try:
        print("end:", (yield rtask()), flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        yield client.close(terminate=True)
        print("closed", flush=True)

if __name__ == "__main__":
    Task(main)
"""


@pytest.fixture
def tmpdir_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def node(ports: Ports, tmpdir_of_programs: Path) -> Iterator[Program]:
    """A node that leaves no process and no file behind."""
    program, _ = ports.node()
    with program:
        yield program
        family = program.family()
        assert program.end(signal.SIGTERM) == 0, program.text
        assert gone(family) == []
        assert list(tmpdir_of_programs.iterdir()) == []
        assert "Traceback" not in program.text


def test_programs_find_each_other_whoever_starts_first(ports: Ports, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(ports.client(tmp_path, SQUARES))
        client.wait_for("scheduled 0")
        stack.enter_context(ports.node()[0])
        stack.enter_context(ports.node()[0])  # a second one, on the same machine
        client.wait_for("total 285")
        assert client.wait() == 0


def test_shared_scheduler_is_found_and_serves_in_order(ports: Ports, tmp_path: Path, node: Program) -> None:
    scheduler, _ = ports.scheduler()
    with scheduler:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, HOLDS, "first.py") as first:
            first.wait_for("using the shared scheduler")
            first.wait_for("runs at")
            with contextlib.ExitStack() as stack:
                second = stack.enter_context(ports.client(tmp_path, SQUARES, "second.py"))
                second.wait_for("waits for its turn")
                expires = SQUARES.replace("client.schedule()", "client.schedule(timeout=0.5)").split("rtasks = []")[0]
                late = stack.enter_context(ports.client(tmp_path, expires + "\nTask(main)\n", "late.py"))
                late.wait_for("scheduled -1")
                assert late.wait() == 0
                assert not second.find("scheduled")
                first.end(signal.SIGINT)
                second.wait_for("total 285")
                assert second.wait() == 0
        assert scheduler.end(signal.SIGINT) == 0
        assert "Traceback" not in scheduler.text


def test_a_node_is_asked_for_by_the_name_that_it_announces(ports: Ports, tmp_path: Path) -> None:
    source = SQUARES.replace("Client([square]", "Client([square], nodes=['the lab']").replace(
        "total += yield rtask()", "total += yield rtask(); print('at', rtask.location.port, flush=True)"
    )
    named, _ = ports.node(1, "-n", "the lab")
    other, _ = ports.node(1, "-n", "the lab 2")
    with named, other, ports.client(tmp_path, source) as client:
        client.wait_for("total 285")
        assert client.wait() == 0
        assert len(set(client.find("^at"))) == 1
        named.wait_for("node the lab: .* -> ")
        assert not other.find("node the lab 2: .* -> ")


def test_shared_scheduler_that_is_named(ports: Ports, tmp_path: Path) -> None:
    scheduler, port = ports.scheduler("--no_discovery")
    node, _ = ports.node(1, "--no_discovery", "--peer", f"127.0.0.1:{port}")
    source = SQUARES.replace("schedule()", f"schedule(Location('127.0.0.1', {port}))")
    with scheduler, node, ports.client(tmp_path, source) as client:
        client.wait_for("total 285")
        assert client.wait() == 0


def test_a_client_that_finds_out_late_that_its_node_belongs_to_a_shared_scheduler(ports: Ports, tmp_path: Path) -> None:
    """It has begun with a scheduler of its own, for it heard of no other; its node knows better."""
    scheduler, port = ports.scheduler()
    node, node_port = ports.node(1)
    through = SQUARES.replace("schedule()", f"schedule(Location('127.0.0.1', {port}))")
    named = SQUARES.replace("Client([square]", f"Client([square], nodes=[NodeAllocate('127.0.0.1', {node_port})]")
    deaf = f"Parkcos().terminate()\nParkcos(host='127.0.0.1', secret={SECRET!r}, discover_peers=False)\n"
    with scheduler, node:
        with ports.client(tmp_path, through) as client:
            client.wait_for("total 285")  # so node and scheduler have met
        with ports.client(tmp_path, HOLDS, "holds.py") as holds, contextlib.ExitStack() as stack:
            holds.wait_for("runs at")
            late = stack.enter_context(ports.client(tmp_path, deaf + named, "late.py"))
            late.wait_for("scheduled 0")
            late.wait_for("belongs to the shared scheduler")
            holds.end(signal.SIGINT)
            late.wait_for("total 285")
            assert late.wait() == 0


ASKS = """
def main(task=None):
    print("peer", (yield Parkcos().peer(Location("127.0.0.1", int(sys.argv[1])))), flush=True)
    print("located", (yield Task.locate("nobody has this name")), flush=True)

Task(main)
"""


@pytest.mark.parametrize("program", ["node", "scheduler"])
def test_a_node_and_a_scheduler_answer_as_any_peer(ports: Ports, tmp_path: Path, program: str) -> None:
    """Without an answer, who looks for a name at all peers would wait for ever."""
    process, port = ports.node(1) if program == "node" else ports.scheduler()
    with process:
        process.wait_for("uses address")
        with ports.client(tmp_path, ASKS.replace("int(sys.argv[1])", str(port))) as client:
            client.wait_for("peer 0")
            client.wait_for("located None")
            assert client.wait() == 0
        assert process.end(signal.SIGTERM) == 0
        assert "Traceback" not in process.text


def test_killed_client_frees_the_node(ports: Ports, tmp_path: Path, node: Program) -> None:
    with ports.client(tmp_path, HOLDS, "victim.py") as victim:
        pid = int(victim.wait_for(r"runs at (\d+)")[1])
        server = psutil.Process(pid)
        victim.end(signal.SIGKILL)
        assert gone([server]) == []
    with ports.client(tmp_path, SQUARES, "next.py") as client:
        client.wait_for("total 285")
        assert client.wait() == 0


def test_killed_client_of_a_shared_scheduler(ports: Ports, tmp_path: Path, node: Program) -> None:
    scheduler, _ = ports.scheduler()
    with scheduler:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, HOLDS, "victim.py") as victim, contextlib.ExitStack() as stack:
            victim.wait_for("runs at")
            client = stack.enter_context(ports.client(tmp_path, SQUARES, "next.py"))
            client.wait_for("waits for its turn")
            victim.end(signal.SIGKILL)
            client.wait_for("total 285")
            assert client.wait() == 0
        assert scheduler.end(signal.SIGTERM) == 0


def test_killed_node_is_reported_and_takes_its_servers_along(ports: Ports, tmp_path: Path) -> None:
    with ports.node()[0] as node, ports.client(tmp_path, HOLDS) as client:
        client.wait_for("runs at")
        family = node.grown(5)
        assert len(family) == 5
        node.end(signal.SIGKILL)
        client.wait_for(r"end: MonitorStatus\(.*TaskAbandoned")
        assert gone(family) == []
        client.end(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_node_and_scheduler_end_cleanly_while_a_client_runs(
    ports: Ports, tmp_path: Path, tmpdir_of_programs: Path, number: int
) -> None:
    scheduler, _ = ports.scheduler()
    with scheduler, ports.node()[0] as node:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, HOLDS) as client:
            client.wait_for("runs at")
            family = node.family()
            assert node.end(number) == 0
            assert gone(family) == []
            client.wait_for("end: MonitorStatus")
            client.wait()  # a client that waits for it would be in its journal
            assert scheduler.end(number) == 0
            assert list(tmpdir_of_programs.iterdir()) == []
            assert "Traceback" not in node.text + scheduler.text


ONE_TASK = """
def main(task=None):
    client = Client()
    yield client.schedule()
    rtask = yield client.rtask(runs, task)
    print((yield task.receive()), flush=True)
    try:
        print((yield rtask.result()), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    yield client.close()
    print("closed", flush=True)

Task(main)
"""

WAITS = """
def runs(to, task=None):
    to.send("runs")
    yield task.receive()
"""

SAVES = """
def runs(to, task=None):
    to.send("runs")
    try:
        yield task.receive()
    except KeyboardInterrupt:
        yield task.sleep(2)
        return "saved"
"""


def test_a_node_that_is_told_to_end_interrupts_its_tasks_and_not_their_client(ports: Ports, tmp_path: Path) -> None:
    with ports.node()[0] as node, ports.client(tmp_path, WAITS + ONE_TASK) as client:
        client.wait_for("^runs")
        assert node.end(signal.SIGTERM) == 0
        client.wait_for("^TaskTerminated the task was interrupted")
        client.wait_for("^closed")
        assert client.wait() == 0


def test_the_tasks_of_a_node_that_is_told_to_end_have_their_grace(ports: Ports, tmp_path: Path) -> None:
    with ports.node()[0] as node, ports.client(tmp_path, SAVES + ONE_TASK) as client:
        client.wait_for("^runs")
        assert node.end(signal.SIGTERM) == 0
        client.wait_for("^saved")
        client.wait_for("WARNING .* was closed: its node was told to end")
        assert client.wait() == 0


RETRIED = """
def says_where(to, task=None):
    to.send(os.getpid())
    return (yield task.receive())

def main(task=None):
    client = Client()
    yield client.schedule()
    limited = client.options(retries=1)
    rtasks = [(yield limited.rtask(says_where, task)), (yield limited.io_rtask(says_where, task))]
    for _ in rtasks:
        yield task.receive()
    print("both run", flush=True)
    for _ in rtasks:
        yield task.receive()
    print("both run again", flush=True)
    for rtask in rtasks:
        assert (yield rtask.deliver("done", timeout=20)) == 1
        print((yield rtask.result()), flush=True)
    yield client.close()

Task(main)
"""


def test_with_retries_a_node_that_is_told_to_end_loses_no_task(ports: Ports, tmp_path: Path) -> None:
    with ports.node()[0] as first, ports.client(tmp_path, RETRIED) as client:
        client.wait_for("both run$")
        with ports.node()[0]:
            assert first.end(signal.SIGTERM) == 0
            client.wait_for("both run again")
            client.wait_for("^done")
            client.wait_for("^done")
            assert client.wait() == 0
    assert client.text.count("is run again") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", ["node", "scheduler"])
def test_it_ends_in_order_as_soon_as_it_is_seen(
    ports: Ports, tmpdir_of_programs: Path, program: str, number: int
) -> None:
    """A signal that comes with the first line of its log ends it as any other does."""
    process, _ = ports.node(1) if program == "node" else ports.scheduler()
    with process:
        process.wait_for("uses address")
        assert process.end(number) == 0
    assert list(tmpdir_of_programs.iterdir()) == []
    assert "Traceback" not in process.text


def test_ctrl_c_ends_the_tasks_and_a_second_one_the_program(ports: Ports, tmp_path: Path, node: Program) -> None:
    with ports.client(tmp_path, HOLDS, "once.py") as client:
        client.wait_for("runs at")
        client.process.send_signal(signal.SIGINT)
        client.wait_for("^closed")
        client.wait()
    stubborn = HOLDS.replace("yield client.close(terminate=True)", "yield task.receive()")
    with ports.client(tmp_path, stubborn, "twice.py") as client:
        client.wait_for("runs at")
        client.process.send_signal(signal.SIGINT)
        client.wait_for("^interrupted")
        client.process.send_signal(signal.SIGINT)
        client.wait()
        assert not client.find("^closed")
    with ports.client(tmp_path, SQUARES, "next.py") as client:
        client.wait_for("total 285")


def test_ctrl_c_in_value(ports: Ports, tmp_path: Path, node: Program) -> None:
    """The main thread waits in value() when it comes."""
    with ports.client(tmp_path, HOLDS.replace("Task(main)", "Task(main).value()")) as client:
        client.wait_for("runs at")
        client.process.send_signal(signal.SIGINT)
        client.wait_for("^closed")
        client.wait()


def test_no_node_is_said_and_said_again(ports: Ports, tmp_path: Path) -> None:
    with ports.client(tmp_path, SQUARES) as client:
        words = r"WARNING squares has no node yet\. Start one on each machine with  parkcosnode\.py"
        client.wait_for(words, times=2)
        client.end(signal.SIGKILL)


def test_taken_port(ports: Ports) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        for module, option in (("node", "--tcp_ports"), ("scheduler", "-t")):
            command = ["-m", f"parkcos.commands.{module}", option, str(port), "-u", str(ports.udp)]
            with Program(*command, *ports.options) as taken:
                assert taken.wait() == 1
                assert re.search(rf"^parkcos.*TCP port {port} .*is taken", taken.text, re.MULTILINE)
                assert "Traceback" not in taken.text


def test_a_server_whose_port_is_taken_has_one_beyond_the_highest(ports: Ports, tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        taken = sock.getsockname()[1]
        own = str(free_ports(1)[0])
        options = ("--tcp_ports", own, "--tcp_ports", str(taken))
        node = Program("-m", "parkcos.commands.node", "-c", "1", "-u", str(ports.udp), *options, *ports.options)
        with node, ports.client(tmp_path, SQUARES) as client:
            client.wait_for("^total 285")
            said = rf"TCP port {taken} is taken by another process: this server has port \d+"
            node.wait_for(rf"WARNING server \S+/1 \(parkcos\): {said}")
            assert client.wait() == 0
        assert "Traceback" not in node.text


NO_FORK = SQUARES.replace(
    "def main",
    """
def breaks_fork():
    yield
    real, failures = os.fork, iter([OSError(11, "Resource temporarily unavailable")] * 3)
    def fork():
        for error in failures:
            raise error
        return real()
    os.fork = fork
    return 0

def main""",
).replace("Client([square]", "Client([square], node_setup=breaks_fork")


def test_servers_that_cannot_be_forked_are_forked_later(ports: Ports, tmp_path: Path) -> None:
    """As when the system has no room for another process."""
    with ports.node()[0] as node:
        with ports.client(tmp_path, NO_FORK) as client:
            client.wait_for("^total 285")
            assert client.wait() == 0
        unable = r"server \d of .* ended: it could not be started: Resource temporarily unavailable"
        assert len(node.find(unable)) == 3
        assert node.end() == 0


def test_wrong_secret_is_said_on_both_sides(ports: Ports, tmp_path: Path) -> None:
    node, port = ports.node()
    source = SQUARES.replace('name="squares"', f"name='squares', nodes=[NodeAllocate('127.0.0.1', {port})]")
    with node, ports.client(tmp_path, source, secret=OTHER_SECRET) as client:
        client.wait_for(r"127\.0\.0\.1.*secret")
        node.wait_for(r"127\.0\.0\.1.*secret")
        client.wait_for("has no node yet")
        assert len(node.find("refused a connection from 127.0.0.1.*secret")) == 1
        client.end(signal.SIGKILL)


def test_other_python_version_is_said(ports: Ports, tmp_path: Path) -> None:
    """A node that claims to run another Python."""
    other = tmp_path / "other.py"
    other.write_text(
        "import platform, sys\n"
        "platform.python_version_tuple = lambda: ('3', '99', '0')\n"
        "from parkcos.commands.node import main\n"
        "sys.exit(main())\n"
    )
    command = [other, "-c", "1", "-u", str(ports.udp), "--tcp_ports", str(ports.udp)]
    with Program(*command, *ports.options) as node, ports.client(tmp_path, SQUARES) as client:
        client.wait_for(r"WARNING squares: the node .* is not used: it runs Python 3\.99, this client 3\.\d+")
        client.wait_for(r"no node yet.*Seen, but not usable: .*3\.99")
        assert node.process.poll() is None
        client.end(signal.SIGKILL)


def test_program_ends_when_its_tasks_have(ports: Ports, tmp_path: Path, node: Program) -> None:
    """Main falls off its end, and raises, while a task goes on."""
    for n, end in enumerate(("", "raise SystemExit(3)\n", "raise ValueError('of main')\n")):
        with ports.client(tmp_path, SQUARES + end, f"{n}.py") as client:
            client.wait_for("total 285")
            assert client.wait() == (0, 3, 1)[n]


def test_code_that_is_typed(ports: Ports, tmp_path: Path, node: Program) -> None:
    with Program("-i", "-q", cwd=tmp_path) as prompt:
        client = ports.client(tmp_path, SQUARES)  # for its text
        client.process.kill()
        client.wait()
        for line in (tmp_path / "client.py").read_text().splitlines(keepends=True):
            prompt.say(line)
        prompt.say("\n")
        prompt.wait_for("total 285")
        prompt.say("exit()\n")
        assert prompt.wait() == 0
    with Program("-", cwd=tmp_path) as piped:
        piped.say((tmp_path / "client.py").read_text())
        assert piped.process.stdin is not None
        piped.process.stdin.close()
        piped.wait_for("total 285")
        assert piped.wait() == 0


def test_scheduler_that_is_not_there(ports: Ports, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    source = SQUARES.split("rtasks = []")[0]
    source = source.replace("schedule()", f"schedule(Location('127.0.0.1', {port}), timeout=0.3)")
    with ports.client(tmp_path, source + "\nTask(main)\n") as client:
        client.wait_for("scheduled -1")
        assert client.wait() == 0
