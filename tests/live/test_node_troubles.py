"""A node without what it needs: its folder, room on the disk, file descriptors; and what it keeps from its clients."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos.net.files.own import own_folder
from tests.live.lib import LIMIT_S, Ports, Program, free_ports
from tests.live.test_programs import SQUARES

pytestmark = pytest.mark.live

BRINGS_MUCH = """
def looks():
    yield
    return os.path.getsize("../data")

def main(task=None):
    client = Client(["data"], name="brings much")
    yield client.schedule()
    print("found", (yield (yield client.rtask(looks)).result()), flush=True)

Task(main)
"""


def node_with_a_small_disk(ports: Ports, tmp_path: Path, stack: contextlib.ExitStack) -> tuple[Program, Path]:
    """Of 1 MiB; and where that is, for the node."""
    disk = tmp_path / "disk"
    disk.mkdir()
    python = tmp_path / "python"
    mount = f"mount -t tmpfs -o size=1m none {disk}"
    python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{mount} && exec {sys.executable} "$@"\' sh "$@"\n')
    python.chmod(0o755)
    node, _ = ports.node(1, "--dest_path", str(disk), program=lambda *args: Program(*args, python=python))
    return stack.enter_context(node), disk


@pytest.mark.root
def test_a_disk_that_is_too_full_for_a_client(ports: Ports, tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """It hears so, nothing of it stays, and the next client finds room."""
    node, disk = node_with_a_small_disk(ports, tmp_path, stack)
    (tmp_path / "data").write_bytes(os.urandom(3 << 20))
    client = stack.enter_context(ports.client(tmp_path, BRINGS_MUCH))
    client.wait_for("the node .* cannot be used: it cannot take the client's files: No space left on device")
    node.wait_for("the client's files cannot be taken: .*No space left on device")
    node.wait_for("-> free")
    seen = Path(f"/proc/{node.pid}/root{disk}")
    assert list(seen.glob("node-*/client-*")) == []
    assert len(node.find("-> setup")) == 1, "it was asked once"
    client.end()
    with ports.client(tmp_path, SQUARES, "next.py") as after:
        after.wait_for("^total 285")
        assert after.wait() == 0
    assert node.end() == 0
    assert "Traceback" not in node.text


SHARES_MUCH = """
TABLE = os.urandom(2 << 20)

def sizes(*data):
    yield
    return [len(each) for each in data], len(TABLE)

def main(task=None):
    client = Client(name="shares much")
    yield client.schedule()
    large, small = client.share(os.urandom(3 << 20)), client.share(os.urandom(1 << 10))
    try:
        yield client.rtask(sizes, large, small)
    except RemoteError as error:
        print("refused:", error, flush=True)
    print("found", (yield (yield client.rtask(sizes, small)).result()), flush=True)
    yield client.close()

Task(main)
"""


@pytest.mark.root
def test_a_disk_that_is_too_full_for_what_is_shared(ports: Ports, tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """Its task hears so, others go on; and a large global, for which there is no room either, comes without a file."""
    node, disk = node_with_a_small_disk(ports, tmp_path, stack)
    with ports.client(tmp_path, SHARES_MUCH) as client:
        client.wait_for(
            "^refused: the bytes of 3 MiB that is shared cannot be brought to its node: the disk is too full"
        )
        client.wait_for(rf"^found \(\[{1 << 10}\], {2 << 20}\)")
        assert client.wait() == 0
    node.wait_for("-> free")
    assert list(Path(f"/proc/{node.pid}/root{disk}").glob("node-*/client-*")) == []
    assert node.end() == 0
    assert "Traceback" not in node.text


@pytest.mark.parametrize("given", [True, False])
def test_a_folder_that_is_removed_is_made_again(
    ports: Ports, tmp_path: Path, stack: contextlib.ExitStack, given: bool
) -> None:
    """As those do who clean /tmp; what the node measures goes on, and the next client is served."""
    options = ("--dest_path", str(tmp_path / "dest")) if given else ()
    node, port = ports.node(1, "--min_pulse_interval", "0.1", *options)
    stack.enter_context(node)
    folder = tmp_path / "dest" if given else own_folder() / f"node-{port}"
    with ports.client(tmp_path, SQUARES) as client:
        assert client.wait() == 0, client.text
    node.wait_for("-> free")
    shutil.rmtree(folder)
    node.wait_for("was removed while this node uses it: it is made again")
    with ports.client(tmp_path, SQUARES) as client:
        assert client.wait() == 0, client.text
    node.wait_for("-> free", 2)
    shutil.rmtree(folder)
    node.wait_for("it is made again", 2)
    deadline = time.monotonic() + LIMIT_S
    while not (folder / "node.processes").exists():
        assert time.monotonic() < deadline, node.text
        time.sleep(0.01)
    assert "Traceback" not in node.text
    assert node.end() == 0
    assert not folder.exists()


def test_a_stranger_has_made_the_default_folder_first(ports: Ports, tmp_path: Path) -> None:
    shared, elsewhere = tmp_path / "tmp", tmp_path / "elsewhere"
    for folder in (shared, elsewhere):
        folder.mkdir()
    (shared / own_folder().name).symlink_to(elsewhere)
    env = {**os.environ, "TMPDIR": str(shared)}
    for module in ("node", "scheduler"):
        with Program("-m", f"parkcos.commands.{module}", *ports.options, env=env) as program:
            assert program.wait() == 1
            program.wait_for(r"^parkcos.*: .*perhaps a link")
    assert list(elsewhere.iterdir()) == []


def test_a_node_without_file_descriptors_says_so_once(
    ports: Ports, tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    node, _ = ports.node(1, "--min_pulse_interval", "0.05")
    stack.enter_context(node)
    with ports.client(tmp_path, SQUARES) as client:
        assert client.wait() == 0, client.text
    node.wait_for("-> free")
    node.grown(2)  # a zygote waits for the next client
    limits = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    node.wait_for("fails, and is tried again: Too many open files")  # each kind of measuring says so for itself
    (zygote,) = psutil.Process(node.pid).children()
    zygote.kill()
    node.wait_for("was killed by signal 9 before any client came; starting another")
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, limits)
    node.wait_for("works again")
    with ports.client(tmp_path, SQUARES) as client:
        assert client.wait() == 0, client.text
    assert node.end() == 0
    said = [line.partition("WARNING ")[2] for line in node.find("Too many open files")]
    assert len(said) == len(set(said)), "each once"
    assert "Traceback" not in node.text


STOPS = """
def stops():
    yield
    os.kill(os.getppid(), signal.SIGSTOP)

def main(task=None):
    client = Client([stops])
    yield client.schedule()
    yield (yield client.rtask(stops)).finish()
    print("stopped", flush=True)

Task(main)
"""


def test_a_client_cannot_keep_a_node_from_the_next_one(
    ports: Ports, tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    """By stopping the process that starts its servers, which so does not end them."""
    node = stack.enter_context(ports.node(1)[0])
    with ports.client(tmp_path, STOPS) as client:
        client.wait_for("^stopped")
        client.end(signal.SIGKILL)
    node.wait_for("-> free")
    with ports.client(tmp_path, SQUARES) as client:
        assert client.wait() == 0, client.text
    assert node.end() == 0


LOOKS = """
def looks():
    yield
    found = {}
    for pid in (os.getpid(), os.getppid()):
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[pid, name] = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                pass
    print("\\x1b[2J", flush=True)
    try:
        os.open("/dev/tty", os.O_RDWR)
        return "it has a terminal"
    except OSError:
        return sorted(link for link in found.values() if "pts" in link or "tty" in link)

def setup():
    print("set up")
    yield
    return 0

def main(task=None):
    client = Client([looks], node_setup=setup)
    yield client.schedule()
    print("terminals:", (yield (yield client.rtask(looks)).result()), flush=True)
    yield client.close()

Task(main)
"""


def test_clients_do_not_hold_the_nodes_terminal(ports: Ports, tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """It is open for reading, too: they would read what the operator types."""
    ours, theirs = pty.openpty()
    stack.callback(os.close, ours)
    at_terminal = f"t = os.open({os.ttyname(theirs)!r}, os.O_RDWR); os.dup2(t, 0); os.dup2(t, 2); os.close(t)"
    code = f"import os, sys; {at_terminal}; from parkcos.commands.node import main; sys.exit(main())"
    node = stack.enter_context(ports.node(1, command=("-c", code))[0])
    with ports.client(tmp_path, LOOKS) as client:
        client.wait_for(r"^terminals: \[\]")
        assert client.wait() == 0
    os.close(theirs)
    assert node.end() == 0
    log = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while data := os.read(ours, 4096):
            log += data
    assert re.search(rb"INFO node_setup at .*: set up\r\n", log), log
    assert re.search(rb"INFO server .*/1: \\x1b\[2J\r\n", log), log


WITHOUT_STREAMS = """
def square(n):
    print("printed")
    yield
    return n * n

def main(task=None):
    client = Client([square])
    yield client.schedule()
    value = yield (yield client.rtask(square, 7)).result()
    yield client.close()
    with open("found", "w") as file:
        file.write(f"{value} {[os.readlink(f'/proc/self/fd/{fd}') for fd in range(3)]}")

Task(main)
"""


def test_programs_without_standard_streams(ports: Ports, tmp_path: Path, stack: contextlib.ExitStack) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" <&- >&- 2>&-\n')
    python.chmod(0o755)

    def program(*args: str | os.PathLike[str], **options: Any) -> Program:
        return stack.enter_context(Program(*args, python=python, **options))

    node, _ = ports.node(1, program=program)
    shared = ["-m", "parkcos.commands.scheduler", "-t", str(free_ports(1)[0]), "-u", str(ports.udp - 1), *ports.options]
    scheduler = program(*shared)
    with ports.client(tmp_path, WITHOUT_STREAMS, "seen.py") as client:
        assert client.wait() == 0, client.text
    (tmp_path / "found").unlink()
    assert program(tmp_path / "seen.py", cwd=tmp_path).wait() == 0
    assert (tmp_path / "found").read_text() == "49 ['/dev/null', '/dev/null', '/dev/null']"
    for other in (node, scheduler):
        assert [os.readlink(f"/proc/{other.pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
        assert other.end() == 0
