"""Chapter 6.12: a node under a suid interpreter, whose clients' tasks run as another user.

The users are numbers without accounts; the node's user starts a suid copy of this Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos.node.as_client import FAMILY
from parkcos.node.processes import FILE
from tests.live.lib import LIMIT_S, SECRET, Ports, Program, gone
from tests.live.suid import CLIENT_GID, CLIENT_UID, NODE_GID, NODE_UID, SuidPython, suid_python

pytestmark = [pytest.mark.live, pytest.mark.root]

RUNS_AS = rf"clients' tasks run as user {CLIENT_UID}, group {CLIENT_GID} \(suid interpreter\)"

# A task says who it is and where, leaves files, and names the harm that it could do.
TRIES = """
import json

def prepares():
    global setup
    yield
    open("made-by-setup", "w").close()
    setup = list(os.getresuid())
    return 0

def tries(node_pid, uid, gid, folders, files, task=None):
    yield
    done = []
    def attempt(what, fn, *args):
        try:
            fn(*args)
            done.append(what)
        except PermissionError:
            pass
        except OSError as error:
            done.append(f"{what}: {error}")
    for fn in (os.setuid, os.seteuid):
        attempt(fn.__name__, fn, uid)
    for fn in (os.setgid, os.setegid):
        attempt(fn.__name__, fn, gid)
    attempt("setresuid", os.setresuid, -1, -1, uid)
    attempt("setgroups", os.setgroups, [gid])
    for number in (0, signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
        attempt(f"signal {number}", os.kill, node_pid, number)
    for name in ("mem", "environ", "fd/1"):
        attempt(name, os.open, f"/proc/{node_pid}/{name}", os.O_RDONLY)
    own = os.path.dirname(os.getcwd())
    outer = os.path.dirname(own)
    attempt("rename outer", os.rename, outer, outer + "-other")
    attempt("remove outer", os.rmdir, outer)
    for path in folders:
        attempt(f"make in {path}", os.mkdir, path + "/new")
        attempt(f"make file in {path}", open, path + "/new", "w")
        attempt(f"list {path}", os.listdir, path)
        attempt(f"chmod {path}", os.chmod, path, 0o777)
        attempt(f"utime {path}", os.utime, path)
        attempt(f"rename {path}", os.rename, path, path + "-other")
        attempt(f"remove {path}", os.rmdir, path)
    open("mine", "w").close()
    for path in files:
        attempt(f"read {path}", open, path)
        attempt(f"write {path}", open, path, "r+")
        attempt(f"truncate {path}", os.truncate, path, 0)
        attempt(f"chmod {path}", os.chmod, path, 0o777)
        attempt(f"rename {path}", os.rename, path, path + "-other")
        attempt(f"replace {path}", os.rename, "mine", path)
        attempt(f"remove {path}", os.unlink, path)
    os.makedirs("deep/er", exist_ok=True)
    for place in (".", "deep/er", own, outer):
        with open(place + "/made-by-a-task", "w") as file:
            file.write("x")
    found = os.stat(own)
    with open("/proc/self/environ") as file:
        file.read()  # as a process can that has changed no ids
    return {
        "ids": [*os.getresuid(), *os.getresgid()], "setup": setup, "done": done, "own": own,
        "folder": [found.st_uid, found.st_gid, found.st_mode & 0o7777], "made": sorted(os.listdir(own)),
    }

def holds(to, task=None):
    os.makedirs("deep/er", exist_ok=True)
    open("deep/er/made-by-a-task", "w").close()
    to.send(os.getcwd())
    yield task.receive()

def main(task=None):
    client = Client([tries, holds], name="tries", node_setup=prepares)
    print("scheduled", (yield client.schedule(timeout=15)), flush=True)
    print("result", json.dumps((yield (yield client.rtask(tries, *ASKED)).result())), flush=True)
    if HOLDS:
        yield client.rtask(holds, task)
        print("holds in", (yield task.receive()), flush=True)
        yield task.receive()
    yield client.close()
    print("closed", flush=True)

Task(main)
"""


@pytest.fixture(scope="module")
def python() -> Iterator[SuidPython]:
    with suid_python() as python:
        yield python


class Place:
    """Where nodes of a test keep their files, and who uses them."""

    def __init__(self, python: SuidPython, ports: Ports, tmp_path: Path) -> None:
        self.python = python
        self.ports = ports
        ports.options = ["-i", "127.0.0.1", "-s", SECRET, "--daemon"]  # no file of another user
        self.tmp_path = tmp_path
        self.dest = python.work / "dest"
        self.port = 0

    def node(self, *options: str, plain: bool = False) -> Program:
        """Start one, as the node's user."""

        def program(*args: Any) -> Program:
            return self.python.program(*args, plain=plain)

        node, self.port = self.ports.node(2, "--dest_path", str(self.dest), *options, program=program)
        return node

    @property
    def folder(self) -> Path:
        """The node's."""
        return self.dest / f"node-{self.port}"

    @property
    def clients(self) -> list[str]:
        """What the clients have in it."""
        return sorted(path.name for path in self.folder.iterdir())

    def client(self, node: Program, holds: bool = False) -> Program:
        """Start a client whose task tries to do harm; and with `holds`, stays there with another one."""
        folders = [str(self.dest), str(self.folder)]
        asked = [node.pid, NODE_UID, NODE_GID, folders, [str(self.dest / "node.processes")]]
        source = f"ASKED = {asked!r}\nHOLDS = {holds}\n{TRIES}"
        return self.ports.client(self.tmp_path, source)


@pytest.fixture
def place(python: SuidPython, ports: Ports, tmp_path: Path) -> Iterator[Place]:
    """Nothing is there before, nor after."""
    place = Place(python, ports, tmp_path)
    yield place
    left = sorted(path.relative_to(python.work) for path in python.work.rglob("*"))
    for path in python.work.iterdir():
        shutil.rmtree(path)
    assert left == []


def result_of(client: Program) -> dict[str, Any]:
    """What the task that tries to do harm says."""
    result: dict[str, Any] = json.loads(client.wait_for("^result (.*)")[1])
    return result


def assert_isolated(place: Place, client: Program) -> None:
    result = result_of(client)
    assert result["ids"] == [CLIENT_UID] * 3 + [CLIENT_GID] * 3
    assert result["setup"] == [CLIENT_UID] * 3
    assert result["done"] == []
    assert result["folder"] == [CLIENT_UID, CLIENT_GID, 0o700]
    assert Path(result["own"]).parent.parent == place.folder
    assert {"made-by-a-task", "made-by-setup"} <= set(result["made"])


def families(node: Program, theirs: int = 0) -> dict[int, list[int]]:
    """By user: the node's processes, when none of them is just about to become the clients' user.

    theirs: wait until so many are the clients'.
    """
    deadline = time.monotonic() + LIMIT_S
    while True:
        found: dict[int, list[int]] = {}
        settled = True
        for process in node.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                uids = process.uids()
                settled = settled and uids.real == uids.effective == uids.saved
                found.setdefault(uids.real, []).append(process.pid)
        settled = settled and len(found.get(CLIENT_UID, [])) >= theirs
        if settled and len(found.get(NODE_UID, [])) == 1:  # a child has begun that has not yet run the interpreter
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_tasks_run_as_another_user_and_cannot_alter_the_nodes_files(place: Place) -> None:
    with place.node() as node:
        node.wait_for(RUNS_AS)
        for _ in range(2):
            with place.client(node) as client:
                assert_isolated(place, client)
                client.wait_for("^closed")
                assert client.wait() == 0
        with place.client(node, holds=True) as client:
            client.wait_for("^holds in")
            assert place.clients == ["client-3"]
            outer = (place.folder / "client-3").stat()
            assert (outer.st_uid, outer.st_gid, outer.st_mode & 0o7777) == (NODE_UID, CLIENT_GID, 0o770)
            assert not (place.folder / "client-3" / ".bundle").exists()
            found = families(node, theirs=4)
            assert found.pop(NODE_UID) == [node.pid]
            assert len(found.pop(CLIENT_UID)) == 4, "two zygotes and two servers"
            assert not found
            processes = node.family()
            assert node.end() == 0
            assert gone(processes) == []
            client.end(signal.SIGKILL)
    assert node.find("Traceback|left behind") == []


def test_a_zygote_that_is_killed_leaves_nothing(place: Place) -> None:
    with place.node() as node:
        with place.client(node, holds=True) as client:
            here = Path(client.wait_for("^holds in (.*)")[1])
            server = next(p for p in node.family() if len(p.parents()) > 1 and p.cwd() == str(here))
            zygote = server.parent()
            assert zygote is not None and zygote.pid != node.pid
            servers = zygote.children()
            zygote.send_signal(signal.SIGKILL)
            assert gone([zygote, *servers]) == []
            node.wait_for("serving -> free")
            client.end(signal.SIGKILL)
        with place.client(node) as client:
            assert_isolated(place, client)
            client.wait_for("^closed")
        assert node.end() == 0
    assert node.find("Traceback|left behind") == [], node.text


@pytest.mark.slow
def test_what_a_killed_node_leaves_is_ended_and_removed_by_the_next(place: Place) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(place.node())
        folder = place.folder
        client = stack.enter_context(place.client(first, holds=True))
        client.wait_for("^holds in")
        stopped = first.grown(5)[1:]
        until_noted(folder.parent / FILE, stopped)
        for process in stopped:  # these do not end with it
            process.suspend()
            stack.callback(end_stopped, process)
        first.process.kill()
        assert first.process.wait(LIMIT_S) == -signal.SIGKILL  # the others still have its output
        client.end(signal.SIGKILL)
        assert (folder / "client-1" / "own").exists()
        with place.node() as refused:
            refused.wait_for("an earlier node .* is still there")
            assert refused.wait() == 1
        with place.node("--clean") as second:
            second.wait_for(RUNS_AS)
            assert gone(stopped) == []
            assert not folder.exists()
            with place.client(second) as other:
                assert_isolated(place, other)
                other.wait_for("^closed")
            assert second.end() == 0


def until_noted(file: Path, processes: list[psutil.Process]) -> None:
    """A node notes its processes soon after they have started."""
    deadline = time.monotonic() + LIMIT_S
    while not all(str(process.pid) in file.read_text() for process in processes):
        assert time.monotonic() < deadline, file.read_text()
        time.sleep(0.01)


def end_stopped(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # it knows another process of that number
        process.kill()


def test_no_task_runs_as_the_nodes_user_when_the_bits_are_taken_away(place: Place) -> None:
    """The interpreter belongs to the clients' user, who can do that."""
    with place.node() as node:
        node.wait_for(RUNS_AS)
        with place.client(node) as client:
            assert_isolated(place, client)
            client.wait_for("^closed")
        warm = families(node, theirs=1)[CLIENT_UID]
        place.python.python.chmod(0o755)
        try:
            for pid in warm:
                os.kill(pid, signal.SIGKILL)
            node.wait_for(f"does not run as user {CLIENT_UID}, group {CLIENT_GID} .any more.: .*ug.s", 2)
            assert set(families(node)) <= {NODE_UID}
            with place.client(node) as client:
                client.wait_for("the node .* cannot be used: the process that starts the servers ended with")
                assert client.find("^result") == []
                client.end(signal.SIGKILL)
        finally:
            place.python.set_bits()
        with place.client(node) as client:
            assert_isolated(place, client)
            client.wait_for("^closed")
        assert node.end() == 0


USES_MUCH = """
import subprocess

def files():
    for number in range(12):
        with open(f"file-{number}", "wb") as file:
            file.write(os.urandom(1 << 20))
    time.sleep(600)

def processes():
    yield
    return len([subprocess.Popen(["sleep", "600"]) for _ in range(100)])

def main(task=None):
    client = Client(name="uses much")
    yield client.schedule()
    try:
        print("got", (yield client.submit(WHAT)), flush=True)
    except BaseException as error:
        print("heard:", type(error).__name__, " ".join(str(error).split()), flush=True)
    yield client.close(terminate=True)

Task(main)
"""


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        ("files", ("--max_disk", "8M"), r"its files take up .* and may take up 8 MiB \(--max_disk\)"),
        ("processes", ("--max_processes", "60"), "heard: .*(BlockingIOError|--max_processes)"),
    ],
)
def test_what_tasks_use_is_bounded_also_as_another_user(
    place: Place, what: str, options: tuple[str, str], words: str
) -> None:
    with place.node(*options) as node:
        with place.ports.client(place.tmp_path, USES_MUCH.replace("WHAT", what)) as client:
            client.wait_for(words)
            assert client.wait() == 0, client.text
        node.wait_for("-> free")
        assert node.end() == 0
    assert "Traceback" not in node.text


ENVIRONMENT = """
def environment():
    yield
    return sorted(os.environ)

def main(task=None):
    client = Client([environment])
    yield client.schedule()
    print("found", *(yield (yield client.rtask(environment)).result()), flush=True)
    yield client.close()

Task(main)
"""


def test_tasks_do_not_have_the_operators_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "LC_ALL", "OMP_NUM_THREADS", "MODEL"):
        monkeypatch.setenv(name, "C")
    with place.node("--env", "MODEL") as node:
        with place.ports.client(place.tmp_path, ENVIRONMENT) as client:
            found = client.wait_for("^found (.*)")[1].split()
            assert client.wait() == 0
        assert node.end() == 0
    assert {"PATH", "LC_ALL", "OMP_NUM_THREADS", "MODEL"} <= set(found)
    others = {name for name in found if name not in {"PATH", "LANG", "LANGUAGE", "TZ", "MODEL", FAMILY}}
    assert {name for name in others if not name.startswith("LC_") and not name.endswith("_THREADS")} == set()
    with place.node("--env", "NOT_SET") as node:
        node.wait_for("^parkcosnode.py: --env NOT_SET: give the name of a variable that is set")
        assert node.wait() == 1


@pytest.mark.parametrize(
    ("mode", "says"),
    [(0o700, r"cannot reach .*chmod o\+x {},"), (0o777, r"could change what is in {},.*chmod go-w")],
)
def test_a_folder_that_is_not_fit_is_refused(place: Place, mode: int, says: str) -> None:
    outer = place.python.work / "outer"
    place.dest = outer / "dest"
    place.dest.mkdir(parents=True)
    for folder in (outer, place.dest):
        os.chown(folder, NODE_UID, NODE_GID)
        folder.chmod(0o755)
    outer.chmod(mode)
    with place.node() as node:
        node.wait_for(rf"^parkcosnode.py: clients' tasks, which run as user {CLIENT_UID}.*{says.format(outer)}")
        assert node.wait() == 1
    assert list(place.dest.iterdir()) == []
    place.dest.rmdir()
    outer.rmdir()


def test_an_interpreter_whose_bits_have_no_effect_is_refused(python: SuidPython) -> None:
    command = ["setpriv", "--no-new-privs", python.python, "-m", "parkcos.commands.node", "-c", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, **python.popen())
    assert done.returncode == 1
    assert "parkcosnode.py: the interpreter is suid, but the system starts it without" in done.stderr


PLAIN = """
def says(task=None):
    yield
    folder = os.path.dirname(os.getcwd())
    return *os.getresuid(), os.getcwd(), oct(os.stat(folder).st_mode & 0o7777)

def main(task=None):
    client = Client([says])
    yield client.schedule(timeout=15)
    *ids, here, mode = yield (yield client.rtask(says)).result()
    print("says", ids, here, mode, flush=True)
    yield client.close()
    print("closed", flush=True)

Task(main)
"""


def test_without_suid_tasks_run_as_the_node(place: Place) -> None:
    with place.node(plain=True) as node:
        with place.ports.client(place.tmp_path, PLAIN) as client:
            here = place.folder / "client-1" / "parkcosproc-"
            client.wait_for(rf"^says \[{', '.join([str(NODE_UID)] * 3)}\] {here}[12] 0o700$")
            client.wait_for("^closed")
        assert node.end() == 0
    assert node.find("clients' tasks run as") == []


SENDS = """
def reads():
    global read
    with open("sent/before") as file:
        read = [file.read()]
    yield
    return 0

def reads_again(task=None):
    yield
    with open("../sent/before") as file:
        return [*read, file.read()]

def enables(task=None):
    client = yield task.receive()
    while True:
        message = yield task.receive()
        if message.status == Scheduler.NodeDiscovered:
            with open("before", "w") as file:
                file.write("data")
            os.chmod("before", 0o600)
            yield Parkcos.instance().send_file(message.info.location, "before", dir="sent")
            client.enable_node(message.info.location)

def main(task=None):
    statuses = Task(enables)
    statuses.set_daemon()
    client = Client([reads, reads_again], status_task=statuses, node_setup=reads, disable_nodes=True)
    statuses.send(client)
    yield client.schedule(timeout=15)
    print("read", (yield (yield client.rtask(reads_again)).result()), flush=True)
    yield client.close()
    print("closed", flush=True)

Task(main)
"""


def test_a_file_sent_before_the_setup_is_found_there(place: Place) -> None:
    with place.node() as node:
        with place.ports.client(place.tmp_path, SENDS) as client:
            client.wait_for(r"^read \['data', 'data'\]")
            client.wait_for("^closed")
        assert node.end() == 0
    assert node.find("Traceback|left behind|cannot be moved") == []
    for folder in ("files/sent", "files", "."):  # what was received there was moved
        (place.dest / folder).rmdir()


LOCAL = """
import os
from parkcos import Client, LocalCluster, Task

def ids(task=None):
    yield
    return os.getresuid()

def main(task=None):
    with LocalCluster(cpus=1):
        client = Client([ids])
        assert (yield client.schedule(timeout=15)) == 0
        print("ids", (yield (yield client.rtask(ids)).result()), flush=True)
        yield client.close()

Task(main)
"""


def test_a_local_cluster_works_under_it_too(python: SuidPython) -> None:
    script = python.folder / "local.py"
    script.write_text(LOCAL)
    with python.program(script) as program:
        program.wait_for(rf"^ids \({CLIENT_UID}, {CLIENT_UID}, {CLIENT_UID}\)")
        assert program.wait() == 0
    assert not (Path("/tmp") / "parkcos-parkcos-test-node").exists()


SHARES = """
def total(data, task=None):
    yield
    return sum(data), os.stat("../../.parkcos-shared").st_mode & 0o7777

def main(task=None):
    client = Client([total], name="shares")
    yield client.schedule(timeout=15)
    shared = client.share(bytes(range(256)) * 4000)
    print("result", (yield (yield client.rtask(total, shared)).result()), flush=True)
    yield client.close()

Task(main)
"""


def test_tasks_read_what_is_shared_with_them(place: Place) -> None:
    with place.node() as node:
        with place.ports.client(place.tmp_path, SHARES) as client:
            client.wait_for(rf"^result \({sum(range(256)) * 4000}, {0o755}\)")
            assert client.wait() == 0
        node.wait_for("-> free")
        assert place.clients == []
    assert node.find("Traceback|left behind") == []


IN_SPACE = """
import os
from parkcos import *

def looks(shared):
    return os.getuid(), os.getcwd(), sum(shared)

def main(task=None):
    client = Client()
    yield client.schedule(timeout=15)
    shared = client.share(list(range(100_000)))
    with client.space("apart", exclusive=True) as space:
        uid, folder, total = yield client.submit(looks, shared, space=space)
        other = (yield client.submit(looks, shared))[1]
    print("in a space", uid, total, os.path.dirname(folder) != os.path.dirname(other), flush=True)
    yield client.close()
    print("closed", flush=True)

Task(main)
"""


def test_a_space_with_processes_of_its_own(place: Place) -> None:
    with place.node() as node, place.ports.client(place.tmp_path, IN_SPACE) as client:
        client.wait_for(f"in a space {CLIENT_UID} 4999950000 True")
        client.wait_for("closed")
        node.wait_for("-> free")
