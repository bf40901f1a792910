"""The node program's options of chapter 6.2: its prompt, its hours, its configuration, and what it leaves behind."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.lib import LIMIT_S, ROOT, SECRET, Ports, Program, free_ports, gone
from tests.live.test_programs import HOLDS, SQUARES

pytestmark = pytest.mark.live

# Holds a node until it is told that it has lost it.
WATCHES = """
def waits(to, task=None):
    to.send(("runs at", os.getpid()))
    try:
        yield task.receive()
    except KeyboardInterrupt:
        to.send(("interrupted",))
        raise

def main(task=None):
    statuses = Task(watch)
    client = Client(name="watches", status_task=statuses)
    print("scheduled", (yield client.schedule()), flush=True)
    rtask = yield client.rtask(waits, task)
    print(*(yield task.receive()), flush=True)
    print(*(yield task.receive()), flush=True)
    yield task.receive()

def watch(task=None):
    task.set_daemon()
    while True:
        print("status:", (yield task.receive()), flush=True)

if __name__ == "__main__":
    Task(main)
"""
IDLE = """
def work(task=None):
    yield task.sleep(0.1)

def is_told(task=None):
    task.set_daemon()
    while True:
        message = yield task.receive()
        if isinstance(message, Status) and message.status == Scheduler.ClientClosed:
            print(f"told: ClientClosed: {message.reason}", flush=True)

def main(task=None):
    client = Client([work], name="idle", status_task=Task(is_told))
    print("scheduled", (yield client.schedule()), flush=True)
    yield (yield client.rtask(work)).finish()
    print("worked", flush=True)
    yield task.receive()

Task(main)
"""


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ports:
    """Of nodes that read commands, and keep their files in a folder of the test."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    found = Ports()
    found.options.remove("--daemon")
    return found


@pytest.fixture
def left_behind(tmp_path: Path) -> Iterator[Path]:
    """Nothing, after all of it has ended."""
    yield tmp_path / "tmp"
    assert list((tmp_path / "tmp").iterdir()) == []


def end_stopped(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it knows another process of that number
        process.kill()


def at(minutes: int) -> str:
    """The time of day, so many minutes from now."""
    return f"{dt.datetime.now() + dt.timedelta(minutes=minutes):%H:%M}"


# The prompt


def test_status_shows_what_runs_and_close_ends_it(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    node, port = ports.node(2)
    with node, ports.client(tmp_path, WATCHES) as client:
        node.wait_for("^commands: status, close, quit, terminate, cpus, help")
        client.wait_for("runs at")
        pid = int(client.wait_for(r"runs at (\d+)")[1])
        node.grown(5)  # with two servers, and a zygote for the next client
        node.say("status\n")
        node.wait_for("server 2, pid")
        assert node.find(rf"^node .* at 127\.0\.0\.1:{port}, pid {node.pid}: serves a client; clients served: 0")
        assert node.find(r"client: .* at 127\.0\.0\.1:\d+")
        assert len(node.find(rf"server [12], pid {pid}: 1 task$")) == 1
        others = node.find(r"server [12], pid \d+: 0 tasks$")
        zygotes = node.find(r"process that starts servers, pid")
        shown = {int(re.findall(r"pid (\d+)", line)[0]) for line in others + zygotes}
        assert shown | {pid, node.pid} == {process.pid for process in node.family()}
        node.say("close\n")
        client.wait_for("interrupted")
        client.wait_for("the node .* was closed: its node was closed by its operator")
        client.wait_for("status: Status.NodeClosed.*its node was closed by its operator")
        node.say("status\n")
        node.wait_for("serves nobody; clients served: 1")
        node.say("close\n")
        node.wait_for("there is no client")
        client.end(signal.SIGKILL)
        with ports.client(tmp_path, SQUARES, "next.py") as after:
            after.wait_for("total 285")
            assert after.wait() == 0
        assert node.end() == 0


def test_quit_waits_for_what_runs(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    works = IDLE.replace("0.1", "1.0").replace(
        "yield (yield client.rtask(work)).finish()",
        """
    rtask = yield client.rtask(work)
    print("runs", flush=True)
    print("finish:", (yield rtask.finish()), flush=True)""",
    )
    node, _ = ports.node(1)
    with node, ports.client(tmp_path, works) as client:
        client.wait_for("^runs")
        node.say("quit\n")
        client.wait_for("finish: None")
        node.wait_for("ends when the running tasks have ended")
        assert node.wait() == 0
        client.end(signal.SIGKILL)


def test_terminate_ends_at_once(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    node, _ = ports.node(1)
    with node, ports.client(tmp_path, HOLDS) as client:
        client.wait_for("runs at")
        node.say("terminate\n")
        assert node.wait() == 0
        client.wait_for("end: MonitorStatus")


def test_cpus_for_the_next_client(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    node, _ = ports.node(1)
    with node:
        node.wait_for("commands:")
        node.say("cpus 3\n")
        node.wait_for("the next client gets up to 3 servers")
        node.say("cpus -10000\ncpus many\nstattus\nhelp\n")
        node.wait_for("-c -10000 leaves none")
        node.wait_for("write cpus and one number")
        node.wait_for("there is no command 'stattus', perhaps 'status'; commands: status, close")
        node.wait_for("  quit       take no client")
        with ports.client(tmp_path, WATCHES) as client:
            client.wait_for("runs at")
            client.wait_for("status: Status.ServerInitialized", times=3)
            node.say("status\n")
            node.wait_for("server 3, pid")
            client.end(signal.SIGKILL)
            node.wait_for("wiping -> free")
        node.say("exit\n")
        node.wait_for("^ends$")
        assert node.wait() == 0


def test_the_end_of_the_input_is_not_the_nodes_end(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    node, _ = ports.node(1)
    with node:
        node.wait_for("commands:")
        assert node.process.stdin is not None
        node.process.stdin.write("status")  # without an end of line
        node.process.stdin.close()
        node.wait_for("serves nobody")
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("total 285")
        assert node.process.poll() is None
        assert node.end() == 0
    ports.options.append("--daemon")
    with ports.node(1)[0] as daemon:
        daemon.wait_for("uses address")
        daemon.say("terminate\n")
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("total 285")
        assert not daemon.find("commands:")
        assert daemon.end() == 0


def test_at_a_terminal(ports: Ports, left_behind: Path) -> None:
    port, (master, terminal) = free_ports(1)[0], pty.openpty()
    command = ["-m", "parkcos.commands.node", "-c", "1", "-u", str(ports.udp), "--tcp_ports", str(port), *ports.options]
    starter = (
        "import fcntl, os, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"  # this terminal is the node's own
        f"os.execv(sys.executable, [sys.executable, *{command!r}])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, master)
        try:
            node = subprocess.Popen(
                [sys.executable, "-c", starter],
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                start_new_session=True,
                env=environment,
            )
        finally:
            os.close(terminal)
        stack.callback(node.wait)
        stack.callback(node.kill)
        seen = ""
        for words, answer in (("parkcosnode> ", "status\n"), ("serves nobody", "exit\n")):
            while words not in seen:
                seen += os.read(master, 4096).decode()
            os.write(master, answer.encode())
        with contextlib.suppress(OSError):  # the terminal's end
            while data := os.read(master, 4096):
                seen += data.decode()
        assert node.wait(LIMIT_S) == 0, seen
        assert "ends\r\n" in seen


# Whom it serves, and when


def test_serve_one_client(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    node, _ = ports.node(1, "--serve", "1")
    with node, ports.client(tmp_path, SQUARES) as client:
        client.wait_for("total 285")
        assert client.wait() == 0
        assert node.wait() == 0
    with Program("-m", "parkcos.commands.node", "--serve", "0") as wrong:
        assert wrong.wait() == 1
        assert "--serve 0: give the number of clients" in wrong.text


def test_outside_its_hours_a_node_says_when(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    start = at(120)
    node, _ = ports.node(1, "--service_start", start, "--service_end", at(240))
    with node, ports.client(tmp_path, SQUARES) as client:
        client.wait_for(f"the node .* is not used: not in service until {start}")
        client.wait_for(f"no node yet.*Seen, but not usable: .*not in service until {start}")
        node.say("status\n")
        node.wait_for(f"^  not in service until {start}")
        client.end(signal.SIGKILL)
        assert node.end() == 0
    with ports.node(1, "--service_start", at(-60), "--service_stop", at(60))[0] as open_node:
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("total 285")
        assert open_node.end() == 0


def test_at_the_end_of_service_the_servers_end(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    """The node's clock is put forward under it, as clocks are: to after the end, then to the next start."""
    program = tmp_path / "clock.py"
    hand = tmp_path / "hand"

    def put_forward(hours: int) -> None:
        """At once: the node looks at it all the time."""
        beside = tmp_path / "hand.new"
        beside.write_text(str(hours))
        beside.rename(hand)

    put_forward(0)
    program.write_text(
        "import datetime, sys\n"
        "from types import SimpleNamespace\n"
        "import parkcos.node.program as program\n"
        "class Clock:\n"
        "    @staticmethod\n"
        "    def now():\n"
        f"        hours = float(open({str(hand)!r}).read())\n"
        "        return datetime.datetime.now() + datetime.timedelta(hours=hours)\n"
        "program.dt = SimpleNamespace(datetime=Clock)\n"
        "program.CLOCK_S = 0.1\n"
        "from parkcos.commands.node import main\n"
        "sys.exit(main())\n"
    )
    start, stop, end = at(-60), at(120), at(240)
    hours = ("--service_start", start, "--service_stop", stop, "--service_end", end)
    node, _ = ports.node(1, *hours, command=[str(program)])
    with node, ports.client(tmp_path, WATCHES) as client:
        client.wait_for("runs at")
        put_forward(3)
        node.wait_for(f"not in service until {start}")
        node.say("status\n")
        node.wait_for("server 1, pid .*: 1 task$")
        put_forward(5)
        client.wait_for("interrupted")
        client.wait_for(f"was closed: its node's hours of service ended at {end}; the node serves again from {start}")
        with ports.client(tmp_path, SQUARES, "next.py") as after:
            after.wait_for(f"is not used: not in service until {start}")
            client.end(signal.SIGKILL)  # it would get the node again
            put_forward(24)
            after.wait_for("total 285")
            assert after.wait() == 0
        assert node.end() == 0


def test_a_client_that_runs_nothing_is_closed(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    node, _ = ports.node(1, "--zombie_period", "1.5")
    with node:
        with ports.client(tmp_path, IDLE) as idle, ports.client(tmp_path, SQUARES, "next.py") as after:
            idle.wait_for("was closed: its node closed it: none of its tasks has run there for 1.5 s")
            idle.wait_for("told: ClientClosed: the scheduler has closed this client: none of its tasks has run for the")
            after.wait_for("total 285")
            idle.end(signal.SIGKILL)
        with ports.client(tmp_path, IDLE.replace("0.1", "4.0"), "busy.py") as busy:
            busy.wait_for("worked")  # longer than two periods
            assert not busy.find("was closed")
            busy.wait_for("was closed")
            busy.end(signal.SIGKILL)
        assert node.end() == 0


def test_nothing_is_heard_of_a_node_less_often_than_it_allows(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    watches = WATCHES.replace("Client(", "Client(pulse_interval=100, ")
    bounds = ("--min_pulse_interval", "0.1", "--max_pulse_interval", "0.2")
    with ports.node(1, *bounds)[0] as node, ports.client(tmp_path, watches) as client:
        client.wait_for("status: NodeAvailInfo", times=4)
        client.end(signal.SIGKILL)
        assert node.end() == 0


@pytest.mark.parametrize("option", ["-d", None])
def test_debug_messages(ports: Ports, tmp_path: Path, left_behind: Path, option: str | None) -> None:
    with ports.node(1, *([option] if option else []))[0] as node, ports.client(tmp_path, SQUARES) as client:
        client.wait_for("total 285")
        assert node.end() == 0
        assert bool(node.find(" DEBUG .*: connected ")) == bool(option), node.text


# Configuration


def test_a_configuration_is_saved_and_used(ports: Ports, tmp_path: Path, left_behind: Path) -> None:
    file = tmp_path / "node.json"
    ports.options[2:4] = ["-s", SECRET]
    with ports.node(3, "--serve", "1", "-n", "mine", "--save_config", str(file))[0] as saver:
        assert saver.wait() == 0
        assert "--secret is not saved: others could read it there; use --secret_file" in saver.text
        assert "--name is not saved: it is one machine's own" in saver.text
        assert SECRET not in file.read_text()
    saved = json.loads(file.read_text())
    assert sorted(saved) == ["cpus", "serve", "tcp_ports", "udp_port"]
    assert file.stat().st_mode & 0o777 == 0o600
    command = ["-m", "parkcos.commands.node", "--config", str(file), "-c", "1", *ports.options]
    with Program(*command) as node, ports.client(tmp_path, SQUARES) as client:
        node.wait_for(f"uses address.*|listens.*{saved['tcp_ports'][0]}")
        node.say("status\n")
        node.wait_for("gets up to 1|server 1")
        client.wait_for("total 285")
        assert node.wait() == 0, "--serve 1"
        assert not node.find("server 2|up to 3")
    file.write_text('{"cpus": 1, "servce": 2}')
    with Program("-m", "parkcos.commands.node", "--config", str(file)) as wrong:
        assert wrong.wait() == 1
        assert f"--config {file}: there is no option 'servce' that can be saved; perhaps 'serve' is meant" in wrong.text


# An earlier node


def test_a_second_node_of_a_folder_does_not_start(ports: Ports, tmp_path: Path) -> None:
    folder = tmp_path / "dest"
    first, _ = ports.node(1, "--dest_path", str(folder))
    with first, ports.client(tmp_path, HOLDS) as client:
        client.wait_for("runs at")
        with ports.node(1, "--dest_path", str(folder))[0] as second:
            assert second.wait() == 1
            assert re.search(
                rf"an earlier node of {folder} is still there \(process ids: .*node {first.pid}", second.text
            )
            assert "--clean, which ends it and its servers" in second.text
        assert first.process.poll() is None
        family = first.grown(4)  # with a server, and a zygote for the next client
        third, _ = ports.node(1, "--dest_path", str(folder), "--clean")
        with third:
            third.wait_for("--clean: ending the earlier node")
            third.wait_for("commands:")
            assert gone(family) == []
            assert first.wait() == 0, "it ended in order"
            with ports.client(tmp_path, SQUARES, "next.py") as after:
                after.wait_for("total 285")
            assert third.end() == 0
        client.end(signal.SIGKILL)
    assert not folder.exists()


def test_a_second_node_is_told_the_command_that_works(ports: Ports) -> None:
    first, port = ports.node(1)
    with first:
        first.wait_for("uses address")
        refused = Program(
            "-m", "parkcos.commands.node", "-c", "1", f"--tcp_ports={port}", *ports.options, "-u", str(ports.udp)
        )
        with refused:
            assert refused.wait() == 1
            command = refused.wait_for(r"beside it on this machine, write: parkcosnode.py (.*)")[1]
        assert SECRET not in refused.text, "others may read a log"
        words = [SECRET if word == "SECRET" else word for word in shlex.split(command)]
        with Program("-m", "parkcos.commands.node", *words) as second:
            second.wait_for("uses address")
            assert second.end() == 0


def test_a_folder_that_its_user_has_made_stays(ports: Ports, tmp_path: Path) -> None:
    (tmp_path / "dest").mkdir()
    node, _ = ports.node(1, "--dest_path", str(tmp_path / "dest"))
    with node:
        node.wait_for("commands:|uses address")
        assert node.end() == 0
    assert list((tmp_path / "dest").iterdir()) == []


def test_what_a_killed_node_left_is_removed(ports: Ports, tmp_path: Path) -> None:
    folder = tmp_path / "dest"
    first, _ = ports.node(1, "--dest_path", str(folder))
    with first, ports.client(tmp_path, HOLDS) as client:
        client.wait_for("runs at")
        family = first.grown(4)  # with a server, and a zygote for the next client
        deadline = time.monotonic() + 10
        while len(json.loads((folder / "node.processes").read_text())["processes"]) < len(family):
            assert time.monotonic() < deadline, (folder / "node.processes").read_text()
            time.sleep(0.05)
        for how in (signal.SIGSTOP, signal.SIGKILL):  # so that nobody can clean up
            for process in family:
                process.send_signal(how)
        first.wait()
        assert list(folder.glob("node-*/client-*"))
        client.end(signal.SIGKILL)
    second, _ = ports.node(1, "--dest_path", str(folder))
    with second:
        second.wait_for("commands:")
        assert list(folder.glob("node-*/client-*")) == []
        assert second.end() == 0


def test_servers_that_have_lost_their_node(ports: Ports, tmp_path: Path) -> None:
    """A zygote that is stopped when its node is killed cannot end itself: it is found, and ended on demand."""
    folder = tmp_path / "dest"
    first, _ = ports.node(1, "--dest_path", str(folder))
    with contextlib.ExitStack() as stack, first, ports.client(tmp_path, HOLDS) as client:
        client.wait_for("runs at")
        family = first.grown(4)  # with a server, and a zygote for the next client
        first.say("status\n")
        first.wait_for("server 1, pid")
        zygotes = [psutil.Process(int(re.findall(r"pid (\d+)", line)[0])) for line in first.find("that starts servers")]
        deadline = time.monotonic() + 10
        while len(json.loads((folder / "node.processes").read_text())["processes"]) < len(family):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for zygote in zygotes:
            stack.callback(end_stopped, zygote)
            zygote.suspend()
        first.process.kill()
        first.process.wait()
        with ports.node(1, "--dest_path", str(folder))[0] as second:
            assert second.wait() == 1
            assert "is still there" in second.text
            assert str(zygotes[0].pid) in second.text
        with ports.node(1, "--dest_path", str(folder), "--clean")[0] as third:
            third.wait_for("commands:")
            assert gone(family) == []
            assert third.end() == 0
        client.end(signal.SIGKILL)
