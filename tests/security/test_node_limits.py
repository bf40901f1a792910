"""What a client cannot use up at a node: its tasks hear why, and the node serves on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parkcos.errors import ConfigError
from parkcos.net.files.disk import RESERVE_BYTES, Target, free_bytes
from parkcos.net.files.rules import Refused
from parkcos.node.client_folders import ClientFolders
from tests.live.lib import Ports, Program

MIB = 1 << 20

GOES_WRONG = """
import os, subprocess, sys, time

def task_that_goes_wrong(task=None):
    yield
    {body}
    return "unharmed"

def fine(task=None):
    yield
    return "fine"

def main(task=None):
    client = Client(name="goes wrong")
    assert (yield client.schedule()) == 0
    try:
        print("got", (yield (yield client.rtask(task_that_goes_wrong)).result()), flush=True)
    except BaseException as error:
        print("heard:", type(error).__name__, " ".join(str(error).split()), flush=True)
    {after}
    yield client.close()

Task(main)
"""
AFTER = 'print("then", (yield (yield client.rtask(fine)).result()), flush=True)'
NEXT = """
def fine(task=None):
    yield
    return "fine"

def main(task=None):
    client = Client(name="next")
    assert (yield client.schedule()) == 0
    print("next", (yield (yield client.rtask(fine)).result()), flush=True)
    yield client.close()

Task(main)
"""


def goes_wrong(
    ports: Ports, folder: Path, body: str, *options: str, after: str = AFTER, lines: str = "", cgroup: str = "none"
) -> tuple[Program, Program]:
    """Run that at a node with these options, and another client after it.  Returns: node and client, which have ended.

    lines: that the client prints.  cgroup: as the option.
    """
    node, _ = ports.node(1, "--cgroup", cgroup, *options)
    body = "\n    ".join(body.strip().splitlines())
    with node:
        with ports.client(folder, GOES_WRONG.format(body=body, after=after)) as client:
            client.wait_for("^(heard|got)")
            if lines:
                client.wait_for(lines)
            assert client.wait() == 0, client.text
        serves_the_next(ports, folder, node)
    return node, client


def serves_the_next(ports: Ports, folder: Path, node: Program) -> None:
    """Another client has the node; then it ends."""
    node.wait_for("-> free")
    with ports.client(folder, NEXT, "next.py") as other:
        other.wait_for("^next fine")
        assert other.wait() == 0, other.text
    assert node.end() == 0
    assert "Traceback" not in node.text


@pytest.mark.live
def test_memory_of_one_process_is_an_error_in_the_task(ports: Ports, tmp_path: Path) -> None:
    _, client = goes_wrong(ports, tmp_path, "data = bytes(400 << 20)", "--max_memory", "256M", lines="^then fine")
    client.wait_for("^heard: .*MemoryError")


@pytest.mark.live
def test_as_much_memory_as_there_may_be_is_had(ports: Ports, tmp_path: Path) -> None:
    _, client = goes_wrong(ports, tmp_path, "data = bytes(100 << 20)", "--max_memory", "256M", lines="^then fine")
    client.wait_for("^got unharmed")


MANY_TOGETHER = """
code = "import time; data = b'x' * (90 << 20); time.sleep(600)"
children = [subprocess.Popen([sys.executable, "-c", code], start_new_session=True) for _ in range(5)]
time.sleep(600)
"""


@pytest.mark.live
def test_memory_of_what_a_task_has_started_ends_its_server(ports: Ports, tmp_path: Path) -> None:
    """Each process may have so much, and all together may not; sessions of their own do not hide them."""
    node, client = goes_wrong(ports, tmp_path, MANY_TOGETHER, "--max_memory", "256M", lines="^then fine")
    client.wait_for(r"^heard: .* its node ended it: its processes use .* and may use 256 MiB \(--max_memory\)")
    node.wait_for(r"server 1 of goes wrong .* is killed: its processes use .*--max_memory")


@pytest.mark.live
@pytest.mark.parametrize("what", ["processes", "threads"])
def test_a_task_that_starts_ever_more_ends_its_server(ports: Ports, tmp_path: Path, what: str) -> None:
    body = {
        "processes": "held = [subprocess.Popen(['sleep', '600'], start_new_session=True) for _ in range(60)]",
        "threads": "import threading\n"
        "held = [threading.Thread(target=time.sleep, args=(600,), daemon=True) for _ in range(60)]\n"
        "[each.start() for each in held]",
    }[what]
    body += "\ntime.sleep(600)"
    node, client = goes_wrong(ports, tmp_path, body, "--max_processes", "50", lines="^then fine")
    client.wait_for(r"^heard: .* its client has \d+ processes and threads .* may have 50 \(--max_processes\)")
    node.wait_for(r"server 1 of goes wrong .* is killed: its client has")


@pytest.mark.live
def test_one_file_that_is_too_large_is_an_error_in_the_task(ports: Ports, tmp_path: Path) -> None:
    body = "open('large', 'wb').write(bytes(9 << 20))"
    _, client = goes_wrong(ports, tmp_path, body, "--max_disk", "8M", lines="^then fine")
    client.wait_for("^heard: .*File too large")


@pytest.mark.live
def test_many_files_close_the_client(ports: Ports, tmp_path: Path) -> None:
    body = """
for number in range(12):
    with open(f"file-{number}", "wb") as file:
        file.write(os.urandom(1 << 20))
time.sleep(600)
"""
    node, client = goes_wrong(ports, tmp_path, body, "--max_disk", "8M", after="pass")
    client.wait_for(
        r"its node closed it: its files take up .* of its node's disk, and may take up 8 MiB \(--max_disk\)"
    )
    node.wait_for(r"the client is closed: its files take up .* \(--max_disk\)")


SETS_UP = """
def set_up():
    {body}
    yield
    return 0

def main(task=None):
    client = Client(name="sets up", node_setup=set_up)
    yield client.schedule()
    yield client.rtask(set_up)

Task(main)
"""


@pytest.mark.live
@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        ("data = bytes(400 << 20)", ("--max_memory", "256M"), "MemoryError"),
        (
            "import subprocess, time; held = [subprocess.Popen(['sleep', '600']) for _ in range(60)]; time.sleep(600)",
            ("--max_processes", "50"),
            r"was ended by its node: its client has \d+ processes",
        ),
    ],
)
def test_node_setup_is_bounded_as_well(
    ports: Ports, tmp_path: Path, body: str, options: tuple[str, ...], words: str
) -> None:
    node, _ = ports.node(1, "--cgroup", "none", *options)
    with node:
        with ports.client(tmp_path, SETS_UP.format(body=body)) as client:
            client.wait_for(words)
            client.end()
        serves_the_next(ports, tmp_path, node)


# What stays free on the disk


def disk(free: int, total: int) -> Callable[[object], os.statvfs_result]:
    """A disk with so many MiB."""
    return lambda _: os.statvfs_result((MIB, MIB, total, free, free, 0, 0, 0, 0, 255))


@pytest.mark.parametrize(
    ("total", "reserve", "free"),
    [(100_000, None, 100 * MIB - RESERVE_BYTES), (1000, None, 90 * MIB), (1000, 0, 100 * MIB), (1000, 500 * MIB, 0)],
)
def test_so_much_is_free_for_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, reserve: int | None, free: int
) -> None:
    monkeypatch.setattr(os, "statvfs", disk(100, total))
    assert free_bytes(tmp_path, reserve) == free


@pytest.mark.parametrize("reserve", [None, 95 * MIB])
def test_what_is_reserved_is_left_when_a_file_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserve: int | None
) -> None:
    monkeypatch.setattr(os, "statvfs", disk(100, 1000))
    with contextlib.closing(_Closing(Target(tmp_path, (), "name", "partial", reserve=reserve))) as target:
        target.it.open(0, 5 * MIB)
        with pytest.raises(Refused, match=r"the disk is too full: .* beside what is reserved"):
            target.it.open(0, 91 * MIB)


class _Closing:
    def __init__(self, it: Target) -> None:
        self.it = it

    def close(self) -> None:
        self.it.close(keep=False)


def test_what_is_reserved_is_left_when_a_client_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = ClientFolders(9706, tmp_path, None, lambda: None, 99 * MIB)
    monkeypatch.setattr(os, "statvfs", disk(100, 1000))
    with pytest.raises(OSError, match="No space left on device"):
        folders.make(bytes(2 * MIB))
    assert list(folders.path.iterdir()) == []
    assert folders.make(b"bundle").is_dir()


# Options that make no sense


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max_memory", "1M"), "a server needs 128 MiB"),
        (("--max_memory", "much"), "'much' is no size"),
        (("--max_disk", "-1"), "is no size"),
        (("--max_processes", "-1"), "--max_processes -1"),
        (("--disk_reserve", "1P"), "is no size"),
    ],
)
def test_what_makes_no_sense_is_said_at_the_start(
    capsys: pytest.CaptureFixture[str], options: tuple[str, str], words: str
) -> None:
    from parkcos.commands import node

    with contextlib.suppress(SystemExit, ConfigError):
        assert node.main(["-i", "127.0.0.1", "--no_secret", *options]) == 1
    assert words in capsys.readouterr().err
