"""Folders and files where others write, too: what somebody puts there first, or meanwhile, leads nobody astray."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parkcos.cluster.folders import OwnFolders
from parkcos.commands import node
from parkcos.errors import ConfigError
from parkcos.net.files import own
from parkcos.net.files.disk import Folder
from parkcos.net.files.own import OwnFolder, own_folder
from parkcos.net.files.rules import Refused
from parkcos.node.client_folders import BUNDLE, SHARED, ClientFolders
from parkcos.node.identity import ClientUser
from parkcos.node.processes import ProcessFile
from parkcos.scheduler.journal import Entries, Journal
from tests.secret import secret_file

STRANGER = 4711
SWAPS = 2000


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder as /tmp."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """What the attacker wants changed, and cannot reach: a folder with a file."""
    folder = tmp_path / "victim"
    folder.mkdir(mode=0o700)
    (folder / "precious").write_text("as it was")
    return folder


def untouched(victim: Path) -> bool:
    """Whether nothing of it has changed."""
    return (
        os.listdir(victim) == ["precious"]
        and (victim / "precious").read_text() == "as it was"
        and stat.S_IMODE(victim.stat().st_mode) == 0o700
    )


def refused_or(work: Callable[[], object]) -> bool:
    """Whether it was done; else it was refused."""
    with contextlib.suppress(Refused, OSError, ConfigError):
        work()
        return True
    return False


# Where folders lie by default


@pytest.fixture
def machine(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with a cache, on a machine with a temporary folder that all share; the cache."""
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    monkeypatch.setattr(own, "_file_system", lambda folder: "ext4")
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


def test_the_user_s_cache_is_taken_rather_than_what_all_share(machine: Path, shared: Path) -> None:
    assert own_folder() == machine / "parkcos"
    assert own_folder(for_others=True).parent == shared


@pytest.mark.parametrize("why", ["others write there", "it is not there", "it is on no disk of this machine", "none"])
def test_where_there_is_no_cache(machine: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    match why:
        case "others write there":
            machine.chmod(0o777)
        case "it is not there":
            machine.rmdir()
        case "none":
            monkeypatch.delenv("XDG_CACHE_HOME")
            monkeypatch.setenv("HOME", "/nonexistent")
        case _:
            monkeypatch.setattr(own, "_file_system", lambda folder: "nfs4")
    assert own_folder().parent == shared
    assert own_folder().name.startswith("parkcos-")


def test_a_temporary_folder_of_its_own_is_taken(machine: Path, shared: Path) -> None:
    """As a job has one, on a fast disk, which is removed after it."""
    shared.chmod(0o700)
    assert own_folder().parent == shared


def test_the_kind_of_file_system_is_known(tmp_path: Path) -> None:
    assert own._file_system(Path("/proc")) == "proc"
    assert own._file_system(tmp_path / "none") == ""


# What is there first


@pytest.mark.parametrize("kind", ["link", "file", "open"])
def test_what_somebody_has_put_there_first_is_refused(shared: Path, victim: Path, kind: str) -> None:
    name = shared / "parkcos-me"
    match kind:
        case "link":
            name.symlink_to(victim)
        case "file":
            name.touch()
        case "open":
            name.mkdir()
            name.chmod(0o777)
    with pytest.raises(Refused, match="dest_path"):
        OwnFolder(shared, "parkcos-me", "files", mode=0o711)
    assert untouched(victim)
    assert list(shared.iterdir()) == [name]


@pytest.mark.root
@pytest.mark.parametrize("level", ["shared", "shared/parkcos-me"])
def test_another_user_s_folder_is_refused(shared: Path, level: str) -> None:
    folder = shared.parent / level
    folder.mkdir(exist_ok=True)
    os.chown(folder, STRANGER, -1)
    with pytest.raises(Refused, match="belongs to another user"):
        OwnFolder(shared, "parkcos-me")


def test_a_folder_in_which_all_can_change_all_is_refused(shared: Path) -> None:
    shared.chmod(0o777)
    with pytest.raises(Refused, match=r"chmod \+t"):
        OwnFolder(shared, "parkcos-me")
    assert list(shared.iterdir()) == []


# What is changed meanwhile


class Attacker:
    """Gives a name in turn to a link to the victim's folder, to a folder, and to nothing, while a `with` lasts.

    It has the very user's rights, so that not even the sticky bit keeps it from doing so.
    """

    def __init__(self, name: Path, victim: Path) -> None:
        self.name = name
        self.victim = victim
        self.turns = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._swap)

    def _swap(self) -> None:
        mine = itertools.count()
        while not self._end.is_set():
            self.turns += 1
            with contextlib.suppress(OSError):
                self.name.symlink_to(self.victim)
            with contextlib.suppress(OSError):
                self.name.unlink()
            with contextlib.suppress(OSError):
                self.name.mkdir(mode=0o700)
            with contextlib.suppress(OSError):
                self.name.rename(self.name.with_name(f"moved-{next(mine)}"))

    def __enter__(self) -> Attacker:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()


def attacked(attacker: Attacker, fn: Callable[[], object]) -> list[bool]:
    """Whether it was done, each time, until it was done often and the attacker had many turns too."""
    done: list[bool] = []
    while len(done) < SWAPS or attacker.turns <= SWAPS // 20:
        done.append(refused_or(fn))
    return done


def test_swapped_links_lead_nobody_astray(shared: Path, victim: Path) -> None:
    def make_and_write() -> None:
        with OwnFolder(shared, "parkcos-me", "files", mode=0o711) as folder:
            folder.write_whole("file", b"data")
            os.close(folder.open("other", os.O_RDWR | os.O_CREAT))

    with Attacker(shared / "parkcos-me", victim) as attacker:
        done = attacked(attacker, make_and_write)
    assert untouched(victim)
    assert any(done), "else nothing was tried"


def test_swapped_links_at_the_level_below(shared: Path, victim: Path) -> None:
    (shared / "parkcos-me").mkdir(mode=0o700)
    with Attacker(shared / "parkcos-me" / "node-9706", victim) as attacker:
        done = attacked(attacker, OwnFolders(shared / "parkcos-me" / "node-9706", mode=0o711).make)
    assert untouched(victim)
    assert any(done), "else nothing was tried"


# Files


@pytest.mark.parametrize("kind", ["link", "hanging link", "hard link"])
def test_a_file_takes_the_place_of_a_link_and_does_not_follow_it(shared: Path, victim: Path, kind: str) -> None:
    match kind:
        case "link":
            (shared / "file").symlink_to(victim / "precious")
        case "hanging link":
            (shared / "file").symlink_to(victim / "new")
        case _:
            (shared / "file").hardlink_to(victim / "precious")
    with Folder(shared, (), make=False) as folder:
        folder.write_whole("file", b"data")
    assert untouched(victim)
    assert (shared / "file").read_bytes() == b"data"
    assert not (shared / "file").is_symlink()
    assert stat.S_IMODE((shared / "file").stat().st_mode) == 0o600
    assert os.listdir(shared) == ["file"]


@pytest.mark.parametrize("name", ["options.json", "options.json.new"])
def test_saved_options_overwrite_nothing_through_a_link(
    shared: Path, victim: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (shared / name).symlink_to(victim / "precious")
    file = shared / "options.json"
    words = ["--secret_file", secret_file(), "--save_config", str(file)]
    assert node.main(["-c", "1", *words]) == 0
    assert untouched(victim)
    assert '"cpus": 1' in file.read_text()
    capsys.readouterr()
    assert node.main([*words[:-1], str(shared / "none" / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["journal.json", "journal.new"])
def test_the_journal_overwrites_nothing_through_a_link(shared: Path, victim: Path, name: str) -> None:
    journal = Journal(shared / "scheduler-9705", shared)
    (shared / "scheduler-9705" / name).symlink_to(victim / "precious")
    journal.write(Entries(nodes=["127.0.0.1:9706"]))
    assert untouched(victim)
    assert journal.read().nodes == ["127.0.0.1:9706"]


def test_nor_is_one_read_through_a_link(shared: Path, victim: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Journal(victim.parent / "elsewhere")
    elsewhere.write(Entries(nodes=["127.0.0.1:1"]))
    journal = Journal(shared / "scheduler-9705", shared)
    journal.path.symlink_to(elsewhere.path)
    assert journal.read().nodes == []
    assert "cannot be read" in caplog.text


def test_a_node_notes_its_processes_in_no_file_of_somebody_else_s_choice(shared: Path, victim: Path) -> None:
    (shared / "node.processes").symlink_to(victim / "precious")
    with pytest.raises(ConfigError, match=r"cannot use .*node\.processes"):
        ProcessFile(shared, "node-9706", dest_path=shared).take(clean=False)
    assert untouched(victim)


# Clients' folders, where tasks run as another user


class Watching(ClientUser):
    """What a process of that user sees of a folder when it gets in."""

    def check_folder(self, folder: Path) -> None:
        """Nothing to check."""

    def let_in(self, path: Path) -> None:
        """Nobody was in there before."""
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert {entry.name for entry in path.iterdir()} == {BUNDLE, SHARED}
        path.chmod(0o770)


def test_the_clients_user_is_let_in_when_the_node_has_done_its_part(shared: Path) -> None:
    """So what an earlier client has left running cannot put a link where the node writes."""
    shared.chmod(0o755)
    user = Watching(STRANGER, STRANGER, os.getgid(), same_user=True)
    folders = ClientFolders(9706, shared, user, lambda: None)
    directory = folders.make(b"bundle")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    folders.hand_over(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o770


# Another user at work


SWAPPER = """
import os, sys
os.setgid({stranger}); os.setuid({stranger})
name, victim = sys.argv[1:]
print("ready", flush=True)
while True:
    for act in (lambda: os.symlink(victim, name), lambda: os.unlink(name), lambda: os.mkdir(name, 0o777),
                lambda: os.rmdir(name), lambda: os.rename(name, name + "-moved")):
        try:
            act()
        except OSError:
            pass
"""


@pytest.fixture
def stranger_at_work(victim: Path) -> Iterator[tuple[Path, Path]]:
    """A folder as /tmp in which another user swaps what is called `parkcos-me`, and that."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o1777)
    name = folder / "parkcos-me"
    command = [sys.executable, "-I", "-c", SWAPPER.format(stranger=STRANGER), str(name), str(victim)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd="/") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield folder, name
        finally:
            process.kill()
    for path in folder.iterdir():
        path.unlink() if path.is_symlink() else path.rmdir() if not any(path.iterdir()) else None
    subprocess.run(["rm", "-r", str(folder)], check=True)


@pytest.mark.root
@pytest.mark.live
def test_another_user_in_a_sticky_folder_gets_nowhere(stranger_at_work: tuple[Path, Path], victim: Path) -> None:
    folder, name = stranger_at_work

    def make_and_write() -> None:
        with OwnFolder(folder, name.name, "files") as mine:
            mine.write_whole("file", b"data")

    tries = 0
    while not refused_or(make_and_write):
        tries += 1
        assert tries < 1_000_000
    for _ in range(200):
        make_and_write()  # once it is there, nobody takes it away
    assert (name / "files" / "file").read_bytes() == b"data"
    assert name.stat().st_uid == os.geteuid()
    assert untouched(victim)
