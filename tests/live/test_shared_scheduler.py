"""A shared scheduler that ends and is started again, that is steered by hand, that takes a turn away."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pty
import signal
from pathlib import Path

import pytest

from tests.live.lib import SECRET, Ports, Program, free_ports
from tests.live.test_programs import SQUARES

pytestmark = pytest.mark.live

COUNTS = """
def counts(to, task=None):
    number = 0
    to.send(("runs at", os.getpid()))
    while not (yield task.receive(timeout=0.01)):
        number += 1
    return os.getpid(), number > 0

def main(task=None):
    task.register("main")
    client = Client([counts], name="counts")
    print("scheduled", (yield client.schedule()), flush=True)
    rtask = yield client.rtask(counts, task)
    print(*(yield task.receive()), flush=True)
    yield task.receive()
    second = yield client.rtask(counts, task)
    print("also", *(yield task.receive()), flush=True)
    for each in (rtask, second):
        yield each.deliver(True)
        print("end:", *(yield each()), flush=True)
    yield client.close()
    print("closed", flush=True)

main_task = Task(main)
signal.signal(signal.SIGUSR1, lambda *_: main_task.send("go"))
main_task.value()
"""
"""Runs a task, and a second one after SIGUSR1; both to their end then."""


def start(ports: Ports, port: int, folder: Path, *options: str) -> Program:
    """A scheduler at a port of its own, which keeps its journal in `folder`."""
    command = ["-m", "parkcos.commands.scheduler", "-t", str(port), "-u", str(ports.udp - 1)]
    return Program(*command, *ports.options, "--dest_path", str(folder), *options)


def go_on(client: Program) -> None:
    client.process.send_signal(signal.SIGUSR1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_started_again_it_takes_up_where_it_was(ports: Ports, tmp_path: Path, how: int) -> None:
    """Running tasks do not notice; who waits has its turn in the old order; new nodes and tasks are served."""
    (port,) = free_ports(1)
    first = start(ports, port, tmp_path / "dest")
    node, _ = ports.node(2)
    with first, node:
        first.wait_for("uses address")
        with ports.client(tmp_path, COUNTS, "runs.py") as runs:
            pid = runs.wait_for(r"runs at (\d+)")[1]
            with ports.client(tmp_path, SQUARES, "waits.py") as waits:
                waits.wait_for("number 2 in the queue")
                with ports.client(tmp_path, SQUARES, "last.py") as last:
                    last.wait_for(
                        r"number 3 in the queue \(counts at 127.0.0.1 has had the nodes for \d+ s; 2 clients wait\)"
                    )
                    first.end(how)
                    for client in (runs, waits, last):
                        client.wait_for("waits 30 s for it to come back")
                    with start(ports, port, tmp_path / "dest") as again:
                        again.wait_for("takes up 3 clients of an earlier run")
                        for client in (runs, waits, last):
                            client.wait_for("is back")
                        assert not waits.find("scheduled")
                        go_on(runs)
                        runs.wait_for("also runs at")
                        assert runs.wait_for(r"end: (\d+) True")[1]
                        runs.wait_for("closed")
                        assert runs.find(f"end: {pid} True"), "the same process, which never stopped"
                        waits.wait_for("total 285")
                        last.wait_for("total 285")
                        assert (runs.wait(), waits.wait(), last.wait()) == (0, 0, 0)
                        node.wait_for("-> serving", times=3)
                        assert again.end(signal.SIGTERM) == 0
    assert not (tmp_path / "dest").exists(), "a scheduler that nobody uses leaves nothing"


def test_who_does_not_come_back_loses_its_place(ports: Ports, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    first = start(ports, port, tmp_path / "dest")
    node, _ = ports.node(2)
    with first, node:
        first.wait_for("uses address")
        with ports.client(tmp_path, COUNTS, "runs.py") as runs:
            runs.wait_for("runs at")
            first.end(signal.SIGKILL)
            runs.end(signal.SIGKILL)
        journal = tmp_path / "dest" / f"scheduler-{port}" / "journal.json"
        assert [client["name"] for client in json.loads(journal.read_bytes())["clients"]] == ["counts"]
        with start(ports, port, tmp_path / "dest", "--clean") as again:
            again.wait_for("uses address")
            with ports.client(tmp_path, SQUARES) as client:
                client.wait_for("total 285")
                assert not client.find("number 2 in the queue"), "--clean forgets who was there"


def test_nobody_starts_it_again(ports: Ports, tmp_path: Path) -> None:
    """Who runs goes on with its nodes, who waits is told; the next scheduler serves the same node."""
    soon = "import parkcos.client.turn\nparkcos.client.turn.SCHEDULER_BACK_S = 1.0\n"
    first, _ = ports.scheduler()
    node, _ = ports.node(2)
    with first, node:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, soon + COUNTS, "runs.py") as runs:
            runs.wait_for("runs at")
            with ports.client(tmp_path, soon + SQUARES, "waits.py") as waits:
                waits.wait_for("number 2 in the queue")
                first.end(signal.SIGKILL)
                waits.wait_for("ScheduleError.*the scheduler is gone")
            runs.wait_for("there is no scheduler any more")
            go_on(runs)
            runs.wait_for("closed")
            assert runs.wait() == 0
        second, _ = ports.scheduler()
        with second:
            node.wait_for("belongs to the shared scheduler", 2)
            with ports.client(tmp_path, SQUARES, "next.py") as client:
                client.wait_for("using the shared scheduler")
                client.wait_for("total 285")


IDLE = """
def main(task=None):
    client = Client(name="idle")
    client.status_task = Task(is_told)
    print("scheduled", (yield client.schedule()), flush=True)
    rtask = yield client.rtask(waits)
    print("busy", flush=True)
    yield task.receive()
    yield rtask.deliver("end")
    while (yield client.servers()):
        yield task.sleep(0.05)
    try:
        yield client.rtask(os.getpid)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    try:
        yield client.rtask(nothing)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    yield client.close()
    print("closed", flush=True)

def nothing():
    yield

def is_told(task=None):
    task.set_daemon()
    while True:
        message = yield task.receive()
        if isinstance(message, Status) and message.status == Scheduler.ClientClosed:
            print(f"told: ClientClosed: {message.reason}", flush=True)

def waits(task=None):
    yield task.receive()

main_task = Task(main)
signal.signal(signal.SIGUSR1, lambda *_: main_task.send("go"))
main_task.value()
"""
"""Runs a task until SIGUSR1, and then nothing."""


def test_an_idle_client_loses_its_turn(ports: Ports, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    node, _ = ports.node(2)
    with start(ports, port, tmp_path / "dest", "--zombie_period", "1") as scheduler, node:
        scheduler.wait_for("uses address")
        with ports.client(tmp_path, IDLE, "idle.py") as idle:
            idle.wait_for("busy")
            with ports.client(tmp_path, SQUARES, "next.py") as client:
                client.wait_for("number 2 in the queue")
                go_on(idle)
                idle.wait_for("was closed by the scheduler: none of its tasks has run for the zombie period")
                idle.wait_for("told: ClientClosed: the scheduler has closed this client: none of its tasks has run")
                client.wait_for("total 285")
            idle.wait_for("(TaskAbandoned|ScheduleError) .*the scheduler has closed this client")
            idle.wait_for("closed")
            assert idle.wait() == 0


def test_the_prompt(ports: Ports, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = ["-m", "parkcos.commands.scheduler", "-t", str(port), "-u", str(ports.udp - 1)]
    options = [option for option in ports.options if option != "--daemon"]
    node, _ = ports.node(2, "-n", "one")
    with Program(*command, *options, "--dest_path", str(tmp_path / "dest")) as scheduler:
        scheduler.wait_for("commands: status, quit, help")
        scheduler.say("status\n")
        scheduler.wait_for("no client")
        scheduler.wait_for("no node")
        with node, ports.client(tmp_path, COUNTS, "runs.py") as runs:
            runs.wait_for("runs at")
            with ports.client(tmp_path, SQUARES, "waits.py") as waits:
                waits.wait_for("number 2 in the queue")
                scheduler.say("status\n")
                scheduler.wait_for("client counts at .*: has its turn")
                scheduler.wait_for("client squares at .*: waits, number 2")
                scheduler.wait_for("node one at .*, 2 processors: held for counts")
                scheduler.say("statsu\n")
                scheduler.wait_for("there is no command 'statsu', perhaps 'status'")
                go_on(runs)
                waits.wait_for("total 285")
        scheduler.say("exit\n")
        assert scheduler.wait() == 0


def test_in_the_background_of_a_terminal_it_reads_nothing(ports: Ports, tmp_path: Path) -> None:
    """As with --daemon; who reads a terminal from the background is stopped by the system."""
    (port,), (master, terminal) = free_ports(1), pty.openpty()
    options = [option for option in ports.options if option != "--daemon"]
    command = ["-m", "parkcos.commands.scheduler", "-t", str(port), "-u", str(ports.udp - 1), *options]
    starter = (
        "import os, signal, subprocess, sys\n"
        f"terminal = os.open({os.ttyname(terminal)!r}, os.O_RDWR)\n"  # of this session, whose first process this is
        f"scheduler = subprocess.Popen([sys.executable, *{command!r}], stdin=terminal, process_group=0)\n"
        "signal.signal(signal.SIGTERM, lambda *_: scheduler.terminate())\n"
        "print('in the background', os.tcgetpgrp(terminal) == os.getpgrp(), flush=True)\n"
        "sys.exit(scheduler.wait())\n"
    )
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, master)
        stack.callback(os.close, terminal)
        scheduler = stack.enter_context(Program("-c", starter, start_new_session=True))
        scheduler.wait_for("in the background True")
        scheduler.wait_for("uses address")
        os.write(master, b"status\nquit\n")
        node = stack.enter_context(ports.node(1)[0])
        node.wait_for("belongs to the shared scheduler")  # who finds a node that does not yet looks no further
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("using the shared scheduler")
            client.wait_for("total 285")
        assert not scheduler.find("no client|no node|^ends")
        assert scheduler.end(signal.SIGTERM) == 0


PEER = """
Parkcos().terminate()
Parkcos(host="127.0.0.1", secret={secret!r}, discover_peers=False)

def told(task=None):
    print("peer", (yield Parkcos().peer(Location("127.0.0.1", {port}))), flush=True)

Task(told).value()
"""


def test_a_scheduler_of_another_network_is_used_once_it_is_a_peer(ports: Ports, tmp_path: Path) -> None:
    """As chapter 6.3.2 has it; there is no broadcast in this client, so that it can have found it in no other way."""
    scheduler, port = ports.scheduler()
    node, _ = ports.node(1)
    with scheduler, node:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, PEER.format(secret=SECRET, port=port) + SQUARES) as client:
            client.wait_for("peer 0")
            client.wait_for("using the shared scheduler at")
            client.wait_for("total 285")
            assert client.wait() == 0


def test_a_scheduler_of_the_programs_own_beside_a_shared_one(ports: Ports, tmp_path: Path) -> None:
    """Scheduler() says that the program's own is to be used, and takes the nodes' names and what Parkcos takes."""
    scheduler, _ = ports.scheduler()
    node, port = ports.node(1)
    own = (
        "Parkcos().terminate()\n"
        f"Scheduler(nodes=[Location('127.0.0.1', {port})], host='127.0.0.1', udp_port={ports.udp - 1}, "
        f"secret={SECRET!r}, name='own')\n"
        "print('is', Parkcos().name, flush=True)\n"
    )
    with scheduler, node:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, SQUARES, "first.py") as client:
            client.wait_for("using the shared scheduler")  # so this is what a program would do
            client.wait_for("total 285")
        with ports.client(tmp_path, own + SQUARES) as client:
            client.wait_for("is own")
            client.wait_for("total 285")
            assert client.wait() == 0
            assert not client.find("shared scheduler")


def test_a_default_folder_that_others_can_write_to(
    ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could change the journal could change the order of the clients."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / f"parkcos-{getpass.getuser()}"
    folder.mkdir()
    folder.chmod(0o777)
    scheduler, _ = ports.scheduler()
    with scheduler:
        assert scheduler.wait() == 1
        assert scheduler.find(f"others can write into {folder}: take that right away, or give dest_path")
    folder.chmod(0o700)
    scheduler, _ = ports.scheduler()
    with scheduler:
        scheduler.wait_for("uses address")
        assert scheduler.end(signal.SIGTERM) == 0
    assert not folder.exists()


def test_bad_options(ports: Ports) -> None:
    for options, words in (
        (["--zombie_period", "-1"], "--zombie_period -1: give seconds"),
        (["--max_file_size", "many"], "many"),
        (["--dest_path", "/proc/none"], "--dest_path: the folder /proc/none"),
        (["-t", "70000"], "70000 is not a TCP port"),
        (["-u", "0"], "0 cannot be the UDP port"),
    ):
        scheduler, _ = ports.scheduler(*options)
        with scheduler:
            scheduler.wait_for(words)
            assert scheduler.wait() == 1


TWO_CLIENTS = """
from parkcos import Client, run


def square(n, task=None):
    yield task.sleep(0)
    return n * n


def main():
    for number in (1, 2):
        with Client(name=f"client {number}") as client:
            yield client.schedule()
            print("client", number, "ends with", sum((yield client.map(square, range(4)))), flush=True)


if __name__ == "__main__":
    run(main)
"""


def test_every_client_of_a_program_uses_the_shared_scheduler(ports: Ports, tmp_path: Path) -> None:
    """Not only the first: the next one has to wait behind those of other programs, too."""
    scheduler, _ = ports.scheduler()
    node, _ = ports.node(1)
    with scheduler, node:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, TWO_CLIENTS) as client:
            client.wait_for("client 1 ends with 14")
            client.wait_for("client 2 ends with 14")
            assert client.wait() == 0
        scheduler.wait_for("it is the turn of client 1")
        scheduler.wait_for("it is the turn of client 2")
