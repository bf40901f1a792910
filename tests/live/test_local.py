"""LocalCluster: from plain scripts, tasks and asyncio; and nothing of it stays, however the program ends."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.live.lib import ROOT, SECRET, Program, free_ports, gone

pytestmark = pytest.mark.live

BEGIN = """
import asyncio, os, sys
from parkcos import *

def square(n):
    yield
    return n * n

def work(task=None):
    client = Client([square])
    yield client.schedule()
    rtasks = []
    for n in range(10):
        rtasks.append((yield client.rtask(square, n)))
    total = 0
    for rtask in rtasks:
        total += yield rtask()
    yield client.close()
    return total
"""

PLAIN = """
with LocalCluster(cpus=2):
    print(f"total {Task(work).value()}")
with LocalCluster(cpus=1):
    print("again", Task(work).value())
"""

IN_A_TASK = """
def main(task=None):
    with LocalCluster(cpus=2):
        print(f"total {(yield Task(work)())}")
    with LocalCluster(cpus=1):
        print("again", (yield Task(work)()))

Task(main)
"""

IN_ASYNCIO = """
async def main():
    async with LocalCluster(cpus=2):
        print(f"total {await asyncio.wrap_future(Task(work).future())}")
    async with LocalCluster(cpus=1):
        print("again", await asyncio.wrap_future(Task(work).future()))

asyncio.run(main())
"""

RAISES = """
with LocalCluster(cpus=2):
    print(f"total {Task(work).value()}")
    print("again", Task(work).value())
    raise SystemExit(5)
"""

SHORT = """
for _ in range(2):
    with LocalCluster(cpus=2):
        pass
LocalCluster(cpus=1).start()
"""

SLOW = """
def setup(task=None):
    while not os.path.exists(THE_FILE):
        yield task.sleep(0.05)
    return 0

def main(task=None):
    client = Client(server_setup=setup)
    yield client.schedule()
    rtask = yield client.rtask(square, 3)
    print("square", (yield rtask()))
    yield client.close()

with LocalCluster(cpus=1):
    Task(main).future().result()
"""

HOLDS = """
def waits(to, task=None):
    to.send(os.getpid())
    yield task.receive()

def main(task=None):
    client = Client()
    yield client.schedule()
    yield client.rtask(waits, task)
    print("runs at", (yield task.receive()), flush=True)
    yield task.receive()

with LocalCluster(cpus=2):
    Task(main).value()
"""


@pytest.fixture
def tmpdir_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def start(tmp_path: Path, source: str) -> Program:
    path = tmp_path / "program.py"
    path.write_text(BEGIN + source)
    return Program(path, cwd=tmp_path)


def test_it_may_end_before_it_has_started(tmp_path: Path, tmpdir_of_programs: Path) -> None:
    with start(tmp_path, SHORT) as program:
        assert program.wait() == 0
        assert program.text == ""
    assert list(tmpdir_of_programs.iterdir()) == []


def test_it_says_that_it_waits_for_servers(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(BEGIN + SLOW.replace("THE_FILE", repr(str(tmp_path / "go"))))
    with Program("program.py", cwd=tmp_path) as program:
        program.wait_for("program.py waits for the servers of a node to be ready")
        (tmp_path / "go").touch()
        assert program.wait() == 0
        assert program.find("square 9")


@pytest.mark.parametrize(("source", "code"), [(PLAIN, 0), (IN_A_TASK, 0), (IN_ASYNCIO, 0), (RAISES, 5)])
def test_where_it_is_used(tmp_path: Path, tmpdir_of_programs: Path, source: str, code: int) -> None:
    with start(tmp_path, source) as program:
        assert program.wait() == code, program.text
        assert program.find("total 285")
        assert program.find("again 285")
        assert "Traceback" not in program.text
    assert list(tmpdir_of_programs.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_stays_when_the_program_is_ended(tmp_path: Path, tmpdir_of_programs: Path, number: int) -> None:
    with start(tmp_path, HOLDS) as program:
        pid = int(program.wait_for(r"runs at (\d+)")[1])
        family = program.grown(6)
        assert pid in [p.pid for p in family]
        assert len(family) == 6, "program, node, zygote, two servers, and the zygote for the next client"
        program.end(number)
    assert gone(family) == []
    assert list(tmpdir_of_programs.iterdir()) == []


FORKS = """
import time

def forks(to):
    yield
    pid = os.fork()
    if pid == 0:  # in nobody's group, and no program of its own: only its environment tells whose it is
        os.setsid()
        time.sleep(600)
    to.send((os.getppid(), pid))

def main(task=None):
    for _ in range(2):
        client = Client()
        yield client.schedule()
        yield client.rtask(forks, task)
        print("zygote and fork", *(yield task.receive()), flush=True)
        sys.stdin.readline()
        yield client.close()

with LocalCluster(cpus=1):
    Task(main).value()
"""
"""Two clients, one after the other; each closes when there is a line to read."""


def test_the_first_zygote_is_forked_and_its_client_leaves_nothing(tmp_path: Path) -> None:
    """Nor does the end of its client end the node, which is known by the same mark; the next one has a zygote, too."""
    with start(tmp_path, FORKS) as program:
        found = program.wait_for(r"zygote and fork (\d+) (\d+)")
        zygote, fork = (psutil.Process(int(pid)) for pid in found.groups())
        node = zygote.parent()
        assert node is not None and zygote.cmdline() == node.cmdline()
        program.say("\n")
        second = program.wait_for(r"zygote and fork (\d+) (\d+)", times=2)
        assert gone([zygote, fork]) == []
        assert psutil.Process(int(second[1])).parent() == node
        assert "parkcos.node.zygote" in psutil.Process(int(second[1])).cmdline()
        program.say("\n")
        assert program.wait() == 0, program.text


def test_two_at_once(tmp_path: Path) -> None:
    clusters = "with LocalCluster(cpus=1, name='a'), LocalCluster(cpus=1, name='b'):\n"
    source = clusters + "    print('total', Task(work).value())\n"
    with start(tmp_path, source) as program:
        assert program.wait() == 0, program.text
        assert program.find("total 285")


def test_a_server_that_computes_dies_with_the_program(tmp_path: Path) -> None:
    """It never looks whether anybody is still there."""
    source = HOLDS.replace("yield task.receive()\n\ndef main", "while True: pass\n    yield\n\ndef main")
    with start(tmp_path, source) as program:
        server = psutil.Process(int(program.wait_for(r"runs at (\d+)")[1]))
        program.end(signal.SIGKILL)
    assert gone([server]) == []


ENVIRONMENT = """
def environment():
    yield
    import subprocess
    lines = subprocess.run(["env"], stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [line for line in lines if line.startswith(("PYTHONPATH", "PARKCOS_HTTPD", "PARKCOS_SECRET", "MINE"))]

def main(task=None):
    with LocalCluster(cpus=1):
        client = Client([environment])
        yield client.schedule()
        print("found", sorted((yield (yield client.rtask(environment)).result())))
        yield client.close()

Task(main)
"""


def test_what_tasks_start_finds_nothing_of_parkcos_in_its_environment(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(BEGIN + ENVIRONMENT)
    secrets = {"PARKCOS_HTTPD_TOKEN": "of the dashboard", "PARKCOS_SECRET": "of the cluster", "MINE": "is kept"}
    env = {**os.environ, **secrets, "PYTHONPATH": f"/nowhere:{ROOT}"}
    with Program(path, cwd=tmp_path, env=env) as program:
        assert program.wait() == 0, program.text
    assert program.find("^found") == [f"found ['MINE=is kept', 'PYTHONPATH=/nowhere:{ROOT}']"]
    del env["PYTHONPATH"]
    (tmp_path / "queue.py").write_text("raise SystemExit('this is not the queue that was asked for')")
    with Program(
        "-P",
        "-c",
        f"import sys; sys.path.append({str(ROOT)!r}); exec(open('program.py').read())",
        cwd=tmp_path,
        env=env,
    ) as program:
        assert program.wait() == 0, program.text
    assert program.find("^found") == ["found ['MINE=is kept']"]


SHADOWING = ["queue.py", "random.py", "token.py", "socket.py", "json.py", "logging.py", "parkcos.py"]


@pytest.mark.parametrize("name", ["plain", "a folder, it's Günter's \"best\""])
def test_files_in_the_current_folder_that_are_called_as_modules_are(tmp_path: Path, name: str) -> None:
    """They are nobody's business; a program that lies beside them would import them itself."""
    folder, programs = tmp_path / name, tmp_path / f"programs of {name}"
    folder.mkdir()
    programs.mkdir()
    for shadow in SHADOWING:
        (folder / shadow).write_text("raise ImportError(f'{__file__} is not the one')\n")
    (programs / "program.py").write_text(BEGIN + PLAIN.split("with LocalCluster(cpus=1)")[0])
    with Program(programs / "program.py", cwd=folder) as program:
        assert program.wait() == 0, program.text
        assert program.find("total 285")
        assert "ImportError" not in program.text


WAITS = """
def main(task=None):
    client = Client(name="early")
    try:
        yield client.schedule()
        print("never", (yield client.rtask(square, 3)))
    except Exception as error:
        print("early:", type(error).__name__, error, flush=True)
    yield client.close()
    try:
        print("never", (yield Client(name="late").schedule()))
    except Exception as error:
        print("late:", type(error).__name__, error, flush=True)

with LocalCluster(cpus=1) as cluster:
    Task(main).value()
    try:
        cluster.location
    except Exception as error:
        print("asked:", type(error).__name__, error, flush=True)
with LocalCluster(cpus=1):
    print("END")
"""


def test_a_node_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits, schedules or asks is told its own words."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / f"parkcos-{getpass.getuser()}").write_text("in the way of the node's folder")
    with start(tmp_path, WAITS) as program:
        reason = f"the node of the LocalCluster did not start: .*{getpass.getuser()}"
        program.wait_for(f"early: (TaskAbandoned|ScheduleError) .*{reason}")
        program.wait_for(f"late: ScheduleError {reason}")
        program.wait_for(f"asked: ParkcosError {reason}")
        program.wait_for("END")
        assert program.wait() == 0
        assert "Traceback" not in program.text


def test_a_node_that_is_killed_before_it_says_anything(tmp_path: Path) -> None:
    source = WAITS.replace("    Task(main)", "    os.kill(cluster.nodes[0].process.pid, 9)\n    Task(main)", 1)
    with start(tmp_path, source) as program:
        program.wait_for("early: .*LocalCluster did not start: it was killed by signal 9, SIGKILL")
        assert program.wait() == 0


def test_a_node_that_dies(tmp_path: Path) -> None:
    """Who holds a task, and who waits for a server, is told; so is who schedules after that."""
    source = """
def waits(to, task=None):
    to.send("runs")
    yield task.receive()

def main(cluster, task=None):
    client = Client()
    yield client.schedule()
    running = yield client.rtask(waits, task)
    waiting = client.rtask(waits, task)
    yield task.receive()
    os.kill(cluster.nodes[0].process.pid, 9)
    for each in (running.result(), waiting):
        try:
            print("never", (yield each))
        except Exception as error:
            print("told:", type(error).__name__, error, flush=True)
    yield client.close()
    try:
        print("never", (yield Client().schedule()))
    except Exception as error:
        print("late:", type(error).__name__, error, flush=True)

with LocalCluster(cpus=1) as cluster:
    Task(main, cluster).value()
"""
    with start(tmp_path, source) as program:
        program.wait_for("told: TaskAbandoned", times=2)
        program.wait_for("late: ScheduleError the node of the LocalCluster has ended: it was killed by signal 9")
        assert program.wait() == 0
        assert "never" not in program.text


STOPPED = """
import signal
from parkcos.deploy import local

with LocalCluster(cpus=1) as cluster:
    print("listens", cluster.location.port, flush=True)
    pid = cluster.nodes[0].process.pid
    os.kill(pid, signal.SIGSTOP)
    local.STOP_TIMEOUT_S = 0.1
print("gone", not os.path.exists(f"/proc/{pid}"), flush=True)
local.START_TIMEOUT_S = local.END_WAIT_S = 0.1
local.family.command = lambda *_: ["sleep", "600"]
with LocalCluster(cpus=1) as cluster:
    print("told:", cluster.nodes[0].ended.result(), flush=True)
    print(f"left: {cluster.nodes}", flush=True)
"""


def test_a_node_that_hangs_is_killed(tmp_path: Path) -> None:
    """When it is to end, and when it says nothing at all."""
    with start(tmp_path, STOPPED) as program:
        program.wait_for("the node of the local cluster did not end within 0.1 s, and is killed")
        program.wait_for("gone True")
        program.wait_for("told: the node of the LocalCluster did not start: it has not said anything for 0.1 s")
        program.wait_for(r"left: \[\]")
        assert program.wait() == 0, program.text


SCALES = """
def places(task=None):
    yield
    return os.getppid()

def main(cluster, task=None):
    client = Client([places])
    yield client.schedule()
    for count in (2, 1):
        cluster.scale(count)
        while len((yield client.servers())) != count:
            yield task.sleep(0.01)
        found = []
        for location in (yield client.servers()):
            found.append((yield (yield client.rtask_at(location, places)).result()))
        print(count, "zygotes", len(set(found)), "nodes", len(cluster.nodes), flush=True)
    yield client.close()

with LocalCluster(cpus=1) as cluster:
    first = cluster.location
    Task(main, cluster).value()
    assert cluster.location == first
"""


def test_more_nodes_and_fewer_again(tmp_path: Path) -> None:
    with start(tmp_path, SCALES) as program:
        program.wait_for("2 zygotes 2 nodes 2")
        program.wait_for("1 zygotes 1 nodes 1")
        assert program.wait() == 0, program.text


@pytest.mark.parametrize(
    "options", [f"secret={SECRET!r}", "no_secret=True", "certfile={certfile!r}, keyfile={keyfile!r}"]
)
def test_who_knows_the_program_s_secret_does_not_get_into_its_cluster(tmp_path: Path, options: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "parkcos.commands.scheduler", "--make_cert", str(tmp_path / "own")], check=True
    )
    certfile, keyfile = str(tmp_path / "own" / "certificate.pem"), str(tmp_path / "own" / "key.pem")
    options = options.format(certfile=certfile, keyfile=keyfile)
    own = f"Parkcos(host='127.0.0.1', udp_port={free_ports(1)[0]}, {options})\n"
    work = "    print('total', Task(work).value(), flush=True)\n"
    at = "    print('at', cluster.location.port, flush=True)\n"
    source = f"{own}with LocalCluster(cpus=2) as cluster:\n{work}{at}"
    (tmp_path / "stranger.py").write_text(
        f"import sys\nfrom parkcos import *\n{own.replace('udp_port', 'discover_peers=False, udp_port')}"
        "def main(task=None):\n"
        "    print('peer', (yield Parkcos().peer(Location('127.0.0.1', int(sys.argv[1])), 5)))\n"
        "Task(main)\n"
    )
    with start(tmp_path, source + "    sys.stdin.read()\n" + work) as program:
        port = program.wait_for(r"at (\d+)")[1]
        assert program.find("total 285"), program.text
        with Program(tmp_path / "stranger.py", port) as stranger:
            stranger.wait_for("peer -1")
        assert program.wait() == 0
        assert len(program.find("total 285")) == 2
