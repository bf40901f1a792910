"""What tasks print: in the node's log with the server's name, and at a client that asked for it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from parkcos.node.output import LINE_BYTES_MAX
from tests.live.lib import LIMIT_S, Ports, Program, gone

pytestmark = pytest.mark.live

PRINTS = """
import ctypes, subprocess

def setup():
    print("node_setup prints")
    yield
    return 0

def server_setup():
    print("server_setup prints")
    yield
    return 0

def prints(task=None):
    print("plain")
    print("to stderr", file=sys.stderr)
    logging.getLogger("mine").warning("a record of mine")
    os.write(1, "from C, \\u00e9\\n".encode())
    subprocess.run(["echo", "of a program"])
    print("\\r 10%\\r 20%\\r100% done")
    print("red \\x1b[31m, \\u6c49")
    print("  between spaces  ")
    print("x" * 5000)
    yield

def crashes():
    print("before the crash")
    yield
    ctypes.string_at(0)

def killed():
    print("begun", end="", flush=True)
    yield
    os.kill(os.getpid(), signal.SIGKILL)

def partly():
    yield
    print("no end of the line", end="")

def main(task=None):
    client = Client(node_setup=setup, server_setup=server_setup, forward_output=FORWARD)
    yield client.schedule()
    for fn in (prints, crashes, killed, partly):
        try:
            rtask = yield client.rtask(fn)
            yield rtask.finish()
        except TaskAbandoned:  # it ended before the client heard that it had begun
            pass
    yield client.close()
    print("closed", flush=True)

def run():
    Task(main).value()
"""

# What is shown: [of the server, to standard error, text].
SHOWN = [
    ("node_setup", "out", "node_setup prints"),
    ("server", "out", "server_setup prints"),
    ("server", "out", "plain"),
    ("server", "err", "to stderr"),
    ("server", "err", "WARNING a record of mine"),
    ("server", "out", "from C, é"),
    ("server", "out", "of a program"),
    ("server", "out", "100% done"),
    ("server", "out", "red \x1b[31m, 汉"),
    ("server", "out", "  between spaces  "),
    ("server", "out", "x" * LINE_BYTES_MAX),
    ("server", "out", "x" * (5000 - LINE_BYTES_MAX)),
    ("server", "out", "before the crash"),
    ("server", "err", "Fatal Python error: Segmentation fault"),
    ("server", "out", "begun"),
    ("server", "out", "no end of the line"),
]


def source(forward: bool) -> str:
    return PRINTS.replace("FORWARD", str(forward))


def counts(lines: list[str], wanted: list[str]) -> dict[str, int]:
    """How often each of the wanted lines is there, if not once."""
    return {line: lines.count(line) for line in wanted if lines.count(line) != 1 and "server_setup" not in line}


def wait_until(program: Program, holds: Callable[[list[str]], bool]) -> None:
    """Wait until this holds of the lines of a program that prints many."""
    with program._news:
        assert program._news.wait_for(lambda: holds(program.lines), LIMIT_S), program.text[-1000:]


def wait_until_stopped(program: Program) -> None:
    deadline = time.monotonic() + LIMIT_S
    while psutil.Process(program.pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, program.text
        time.sleep(0.01)


@pytest.mark.parametrize("forward", [False, True])
def test_what_is_printed_is_logged_and_shown(
    tmp_path: Path, ports: Ports, stack: contextlib.ExitStack, forward: bool
) -> None:
    node = stack.enter_context(ports.node(1, "-n", "kiln")[0])
    client = stack.enter_context(ports.client(tmp_path, source(forward) + "run()\n"))
    assert client.wait() == 0, client.text
    node.wait_for("-> free")
    names = {"server": "server kiln/1", "node_setup": "node_setup at kiln"}
    logged = [re.sub("^.* INFO (server kiln|node_setup)", r"\1", line) for line in node.lines]
    wanted = [f"{names[who]}: {text}".replace("\x1b", "\\x1b") for who, _, text in SHOWN]
    assert counts(logged, wanted) == {}, node.text
    assert len(node.find("server kiln/1: server_setup prints")) == 3, "each server that took another's place printed it"
    assert not node.find("server kiln/1:.*task "), "what parkcos logs at a server is not doubled"
    assert not client.find("DEBUG|server 1 ")
    names = {"server": "[kiln/1]", "node_setup": "[kiln]"}
    wanted = [f"{names[who]} {text}" for who, _, text in SHOWN]
    if forward:
        assert counts(client.lines, wanted) == {}, client.text
        after = client.lines[client.lines.index("closed") :]
        assert not [line for line in after if line.startswith("[kiln")], "what they printed is shown by then"
    else:
        assert not client.find(r"^\[kiln")
    family = node.family()
    node.end()
    assert gone(family) == []


def test_a_node_whose_log_is_a_file(tmp_path: Path, ports: Ports, stack: contextlib.ExitStack) -> None:
    log = tmp_path / "node.log"
    to_file = f"f = os.open({str(log)!r}, os.O_CREAT | os.O_WRONLY); os.dup2(f, 1); os.dup2(f, 2); "
    code = f"import os, sys; {to_file} from parkcos.commands.node import main; sys.exit(main())"
    node = stack.enter_context(ports.node(1, "-n", "kiln", command=("-c", code))[0])
    client = stack.enter_context(ports.client(tmp_path, source(True) + "run()\n"))
    assert client.wait() == 0, client.text
    assert counts(client.lines, [f"[kiln/1] {text}" for who, _, text in SHOWN if who == "server"]) == {}
    assert node.end() == 0
    assert "INFO server kiln/1: of a program\n" in log.read_text()


def test_standard_error_is_shown_there(tmp_path: Path, ports: Ports, stack: contextlib.ExitStack) -> None:
    stack.enter_context(ports.node(1, "-n", "kiln")[0])
    run = "sys.stderr = open('err', 'w')\nsys.stdout = open('out', 'w')\nrun()\n"
    client = stack.enter_context(ports.client(tmp_path, source(True) + run))
    assert client.wait() == 0, client.text
    found = {name: (tmp_path / name).read_text().splitlines() for name in ("out", "err")}
    for who, name, text in SHOWN:
        if who == "server" and "setup" not in text:
            assert found[name].count(f"[kiln/1] {text}") == 1, text
            assert f"[kiln/1] {text}" not in found["err" if name == "out" else "out"]


def test_a_local_cluster_prints_where_its_program_does(tmp_path: Path) -> None:
    for forward in (False, True):
        path = tmp_path / "program.py"
        run = "with LocalCluster(cpus=1):\n    run()\n"
        path.write_text("import logging, os, signal, sys\nfrom parkcos import *\n" + source(forward) + run)
        with Program(path, cwd=tmp_path) as program:
            assert program.wait() == 0, program.text
            for who, _, text in SHOWN[:1] + SHOWN[2:4] + SHOWN[5:7] + SHOWN[12:14]:
                name = {"server": "local/1", "node_setup": "local"}[who]
                found = [line for line in program.lines if line.endswith(text)]
                assert found == [f"[{name}] {text}" if forward else text], program.text
            assert program.text.count("no end of the line") == 1
            assert ("closed" in program.lines) if forward else ("closed" in program.text)


ENDLESS = """
def endless(to):
    to.send("begins")
    while True:
        print("y")
        print("no", file=sys.stderr)
    yield

def pid():
    yield
    return os.getpid()

def main(task=None):
    client = Client(forward_output=True)
    yield client.schedule()
    rtask = yield client.rtask(endless, task)
    yield task.receive()
    for n in range(30):
        other = yield client.rtask(pid)
        yield other.finish()
        yield task.sleep(0.05)
    sys.stderr = open("seen", "w")
    print("others go on", file=sys.stderr, flush=True)
    yield task.receive()
    yield client.close(terminate=True)
    sys.stderr.write("closed")
    sys.stderr.close()

sys.stderr = sys.stdout = open(os.devnull, "w")
t = Task(main)
sys.stdin.readline()
t.send(1)
t.value()
"""


def test_a_task_that_prints_without_end(tmp_path: Path, ports: Ports, stack: contextlib.ExitStack) -> None:
    node = stack.enter_context(ports.node(2, "-n", "kiln")[0])
    client = stack.enter_context(ports.client(tmp_path, ENDLESS))
    wait_until(node, lambda lines: len(lines) > 1000)
    rss = psutil.Process(node.pid).memory_info().rss
    wait_until(node, lambda lines: len(lines) > 20000)
    grown = psutil.Process(node.pid).memory_info().rss - rss
    assert grown < 20e6
    client.say("end\n")
    assert client.wait() == 0
    assert (tmp_path / "seen").read_text().endswith("closed")
    node.wait_for("-> free")


MUCH = """
def much(file):
    yield
    while not os.path.exists(file):
        time.sleep(0.01)
    for n in range(4000):
        print(n, "-" * 1000)
    return "printed"

def main(task=None):
    client = Client(forward_output=True)
    yield client.schedule()
    rtask = yield client.rtask(much, os.path.abspath("begin"))
    print("about to stop", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    print("it has", (yield rtask.finish()), flush=True)
    yield client.close()
    print("closed", flush=True)

Task(main)
"""


def test_a_client_that_is_behind_is_told_how_much_it_missed(
    tmp_path: Path, ports: Ports, stack: contextlib.ExitStack
) -> None:
    """While it is stopped, its tasks run on, and the node keeps no more than a bound for it."""
    node = stack.enter_context(ports.node(1, "-n", "kiln")[0])
    client = stack.enter_context(ports.client(tmp_path, MUCH))
    client.wait_for("about to stop")
    wait_until_stopped(client)
    (tmp_path / "begin").touch()
    wait_until(node, lambda lines: "server kiln/1: 3999 " in lines[-1])
    client.process.send_signal(signal.SIGCONT)
    client.wait_for("^it has printed")
    left_out = int(client.wait_for(r"^\[kiln\] (\d+) lines left out: they came faster than this program took them")[1])
    assert client.wait() == 0
    shown = len(client.find(r"^\[kiln/1\] \d+ -"))
    assert shown + left_out == 4000
    assert shown < 2000


UNREAD = """
def endless(to):
    to.send("begins")
    while True:
        print("y" * 1000)
    yield

def pid():
    yield
    return os.getpid()

def main(task=None):
    client = Client()
    yield client.schedule()
    yield client.rtask(endless, task)
    yield task.receive()
    print("begins", flush=True)
    sys.stdin.readline()
    rtask = yield client.rtask(pid)
    print("others run:", (yield rtask.finish()) > 0, flush=True)
    yield client.close(terminate=True)
    print("closed", flush=True)

Task(main)
"""
SHORT = """
def main(task=None):
    client = Client()
    yield client.schedule()
    yield client.close()

Task(main)
"""


def test_a_log_that_nobody_reads_stops_the_task_that_prints_and_not_the_node(
    tmp_path: Path, ports: Ports, stack: contextlib.ExitStack
) -> None:
    log = tmp_path / "log"
    os.mkfifo(log)
    reading = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    stack.callback(os.close, reading)
    code = (
        f"import os, sys; os.dup2(os.open({str(log)!r}, os.O_WRONLY), 2); "
        "from parkcos.commands.node import main; sys.exit(main())"
    )
    node = stack.enter_context(ports.node(2, "-n", "kiln", command=("-c", code))[0])
    client = stack.enter_context(ports.client(tmp_path, UNREAD))
    client.wait_for("^begins")
    writing = os.open(log, os.O_WRONLY)
    deadline = time.monotonic() + LIMIT_S
    while select.select([], [writing], [], 0)[1]:  # it is not full
        assert time.monotonic() < deadline, client.text
        time.sleep(0.01)
    os.close(writing)
    client.say("go on\n")
    client.wait_for("^closed")
    assert client.find("^others run: True")
    assert client.wait() == 0
    text = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            text += os.read(reading, 1 << 16)
    assert re.search(rb"server kiln/[12]: yyy", text)
    with ports.client(tmp_path, SHORT, "short.py") as short:
        assert short.wait() == 0
    while not re.search(rb"WARNING \d+ lines of this log are left out: nobody took them", text):
        assert select.select([reading], [], [], LIMIT_S)[0], text[-2000:]
        text += os.read(reading, 1 << 20)
    assert node.end() == 0
