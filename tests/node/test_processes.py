"""parkcos/node/processes.py"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from parkcos.errors import ConfigError
from parkcos.node import processes as pr
from parkcos.node.processes import FILE, Process, Processes, ProcessFile, started_at, this_system, waits_for_device


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until its input ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pr, "FADE_S", 0.05)
    return tmp_path / "dest"


def left(folder: Path, *found: Process, system: str = "", name: str = "node-1") -> None:
    """What a node that died has left."""
    client = folder / name / "client-1"
    client.mkdir(parents=True)
    (client / "data").write_text("of a client")
    (folder / FILE).write_bytes(msgspec.json.encode(Processes(system or this_system(), name, list(found))))


def test_taken_and_given_back(folder: Path) -> None:
    file = ProcessFile(folder, "node-1")
    file.take(clean=False)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    me = Process(os.getpid(), started_at(os.getpid()), "node")
    assert msgspec.json.decode((folder / FILE).read_bytes(), type=Processes).processes == [me]
    other = ProcessFile(folder, "node-2")
    with pytest.raises(ConfigError, match="another node uses"):
        other.take(clean=False)
    with pytest.raises(ConfigError, match="another node uses"):
        other.take(clean=True)
    file.release()
    assert not folder.exists()
    file.release()


def test_a_folder_that_it_has_not_made_stays(folder: Path) -> None:
    folder.mkdir()
    file = ProcessFile(folder, "node-1")
    file.take(clean=False)
    file.release()
    assert list(folder.iterdir()) == [], "its user has made it"


def test_folders_that_a_killed_node_has_made_go_with_the_next_one(folder: Path) -> None:
    killed = ProcessFile(folder / "inner", "node-1")
    killed.take(clean=False)
    killed._close()
    again = ProcessFile(folder / "inner", "node-1")
    again.take(clean=False)
    again.release()
    assert not folder.exists()


def test_a_living_process_is_found_and_ended_on_demand(folder: Path, sleeper: subprocess.Popen[bytes]) -> None:
    left(folder, Process(sleeper.pid, started_at(sleeper.pid), "server"))
    file = ProcessFile(folder, "node-2")
    with pytest.raises(ConfigError, match=rf"an earlier node .* \(process ids: server {sleeper.pid}\).*--clean"):
        file.take(clean=False)
    assert sleeper.poll() is None
    assert (folder / "node-1" / "client-1").exists()
    file.take(clean=True)
    assert sleeper.wait() != 0
    assert not (folder / "node-1").exists()
    file.release()


def test_another_process_of_the_same_number_is_left_alone(folder: Path, sleeper: subprocess.Popen[bytes]) -> None:
    number, started = sleeper.pid, started_at(sleeper.pid)
    strangers = [Process(number, "1", "node"), Process(number, "", "node"), Process(os.getpid(), "1", "node")]
    for system, found in (("", strangers), ("another boot", [Process(number, started, "node")])):
        left(folder, *found, system=system)
        file = ProcessFile(folder, "node-1")
        file.take(clean=True)
        assert not (folder / "node-1" / "client-1").exists(), "they are not that node: it is dead"
        file.release()
        assert sleeper.poll() is None


def test_what_is_no_such_file(folder: Path) -> None:
    for text in ("", "{", '{"system": 1}'):
        folder.mkdir(exist_ok=True)
        (folder / FILE).write_text(text)
        file = ProcessFile(folder, "node-1")
        file.take(clean=False)
        file.release()
    folder.mkdir(exist_ok=True)
    (folder / FILE).symlink_to(folder / "elsewhere")
    with pytest.raises(ConfigError, match="cannot use"):
        ProcessFile(folder, "node-1").take(clean=False)
    assert not (folder / "elsewhere").exists()


def test_only_folders_of_clients_are_removed(folder: Path) -> None:
    for name in ("..", "files", "node-1/..", "/"):
        (folder / "client-1").mkdir(parents=True)
        (folder / FILE).write_bytes(msgspec.json.encode(Processes("another boot", name, [])))
        file = ProcessFile(folder, "node-1")
        file.take(clean=False)
        assert (folder / "client-1").exists(), name
        (folder / "client-1").rmdir()
        file.release()


def test_started_at(sleeper: subprocess.Popen[bytes]) -> None:
    assert started_at(sleeper.pid) == started_at(sleeper.pid) != ""
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert started_at(sleeper.pid) == "", "it has ended, though nobody has asked how"
    sleeper.wait()
    assert started_at(sleeper.pid) == ""


def test_processes_that_have_ended_are_not_noted(folder: Path, sleeper: subprocess.Popen[bytes]) -> None:
    file = ProcessFile(folder, "node-1")
    file.take(clean=False)
    file.write({os.getpid(): "node", sleeper.pid: "zygote", 2**22 + 1: "server"})
    found = msgspec.json.decode((folder / FILE).read_bytes(), type=Processes).processes
    assert [(p.pid, p.what) for p in found] == [(os.getpid(), "node"), (sleeper.pid, "zygote")]
    file.release()


def test_a_file_that_is_removed_is_made_again(folder: Path) -> None:
    """With its folder, and as soon as it can be; nobody else's is written to."""
    file = ProcessFile(folder, "node-1")
    file.take(clean=False)
    shutil.rmtree(folder)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises((OSError, ConfigError)):
            file.write({os.getpid(): "node"})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    file.write({os.getpid(): "node"})
    assert [p.what for p in msgspec.json.decode((folder / FILE).read_bytes(), type=Processes).processes] == ["node"]
    with pytest.raises(ConfigError, match="another node uses"):
        ProcessFile(folder, "node-1").take(clean=False)
    shutil.rmtree(folder)
    other = ProcessFile(folder, "node-2")
    other.take(clean=False)
    before = (folder / FILE).read_bytes()
    with pytest.raises(ConfigError, match=r"another node uses .* by now"):
        file.write({os.getpid(): "node"})
    assert (folder / FILE).read_bytes() == before
    file.release()
    assert (folder / FILE).exists()
    other.release()
    assert not folder.exists()


def test_what_does_not_wait_for_a_device() -> None:
    assert not waits_for_device(os.getpid())
    assert not waits_for_device(0), "it has not begun"
    assert not waits_for_device(2**22 + 1), "nor is there one"
