"""parkcos/net/files/service.py with real disks and sockets: what arrives, what is refused, where links lead."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import UsageError
from parkcos.net.files import disk, own, service
from parkcos.net.files import messages as m
from parkcos.net.files.disk import Folder
from parkcos.net.files.own import default_dest_path
from parkcos.net.files.rules import STALE_S, Refused, partial_name
from tests.net.cluster_of_networks import Cluster, Log, Place
from tests.net.sending import (
    MIB,
    Counter,
    Hostile,
    all_files,
    deleted,
    made_file,
    result,
    send,
    wait_until_idle,
)

pytestmark = pytest.mark.live


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture
def two(cluster: Cluster, dest: Path) -> tuple[Place, Place]:
    return cluster.place("a"), cluster.place("b", dest_path=dest)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 3 MiB and a bit."""
    return made_file(tmp_path / "data.bin", 3 * MIB + 17)


# what arrives


@pytest.mark.parametrize("size", [0, 1, 40_000, 512 * 1024, 3 * MIB + 17])
def test_a_file_arrives(two: tuple[Place, Place], tmp_path: Path, dest: Path, size: int) -> None:
    a, b = two
    file = made_file(tmp_path / "data.bin", size)
    file.chmod(0o4751)
    assert result(send(a, b, str(file), "x/y")) == 0
    assert all_files(dest) == ["x/y/data.bin"]
    arrived = dest / "x" / "y" / "data.bin"
    assert arrived.read_bytes() == file.read_bytes()
    assert stat.S_IMODE(arrived.stat().st_mode) == 0o751
    wait_until_idle(a, b)


def test_an_identical_file_is_not_sent_again(two: tuple[Place, Place], source: Path, dest: Path) -> None:
    a, b = two
    counter = Counter(a)
    assert result(send(a, b, source)) == 0
    assert counter.bytes == source.stat().st_size
    before = (dest / source.name).stat()
    assert [result(send(a, b, source, overwrite=o)) for o in (False, True)] == [0, 0]
    assert counter.bytes == source.stat().st_size
    after = (dest / source.name).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_overwrite(two: tuple[Place, Place], source: Path, dest: Path, log: Log) -> None:
    a, b = two
    old = made_file(dest.parent / "old", source.stat().st_size, seed=2).read_bytes()
    for content in (old, old[:-1]):
        dest.mkdir(exist_ok=True)
        (dest / source.name).write_bytes(content)
        assert result(send(a, b, source)) == -1
        log.wait_for("was not sent to b", "overwrite was not asked for")
        log.wait_for("of a at", "was not received", "overwrite was not asked for")
        assert (dest / source.name).read_bytes() == content
        assert result(send(a, b, source, overwrite=True)) == 0
        assert (dest / source.name).read_bytes() == source.read_bytes()
    assert all_files(dest) == [source.name]


def test_many_files_at_once(two: tuple[Place, Place], tmp_path: Path, dest: Path) -> None:
    a, b = two
    made = [made_file(tmp_path / f"f{i}", 100_000 + i, seed=i) for i in range(30)]
    assert [result(task) for task in [send(a, b, file, "many") for file in made]] == [0] * 30
    assert all((dest / "many" / file.name).read_bytes() == file.read_bytes() for file in made)
    wait_until_idle(a, b)


def test_both_ways_at_once(cluster: Cluster, tmp_path: Path) -> None:
    a, b = cluster.place("a", dest_path=tmp_path / "at_a"), cluster.place("b", dest_path=tmp_path / "at_b")
    file = made_file(tmp_path / "f", 5 * MIB)
    assert [result(task) for task in (send(a, b, file), send(b, a, file))] == [0, 0]
    assert (tmp_path / "at_a" / "f").read_bytes() == (tmp_path / "at_b" / "f").read_bytes() == file.read_bytes()


def test_a_link_is_followed_at_the_sender(two: tuple[Place, Place], source: Path, dest: Path) -> None:
    a, b = two
    link = source.parent / "link"
    link.symlink_to(source)
    assert result(send(a, b, link)) == 0
    assert not (dest / "link").is_symlink()
    assert (dest / "link").read_bytes() == source.read_bytes()


def test_del_file(two: tuple[Place, Place], source: Path, dest: Path, log: Log) -> None:
    a, b = two
    assert result(send(a, b, source, "x")) == 0
    assert deleted(a, b, source, "x") == 0
    assert all_files(dest) == []
    assert deleted(a, b, source, "x") == -1
    log.wait_for("may not delete the file 'data.bin' in 'x'", "no such file")
    log.wait_for("the file 'data.bin' in 'x' at b", "was not deleted: there is no such file")
    assert deleted(a, b, "x") == -1
    log.wait_for("was not deleted: it is no regular file")


# what is refused


@pytest.mark.parametrize(
    ("folder", "reason"), [("/etc", "absolute"), ("../x", "'..' is no folder"), ("a/../../x", "'..' is no folder")]
)
def test_folders_stay_below(two: tuple[Place, Place], source: Path, log: Log, folder: str, reason: str) -> None:
    a, b = two
    assert result(send(a, b, source, folder)) == -1
    log.wait_for("was not sent", reason)
    assert deleted(a, b, source, folder) == -1
    log.wait_for("was not deleted", reason)


def test_wrong_arguments_are_said_at_once(two: tuple[Place, Place]) -> None:
    a, b = two
    there = a.network.files
    for call in (
        lambda: there.send("b", "f", None, False, None),  # type: ignore[arg-type]
        lambda: there.send(b.location, 5, None, False, None),  # type: ignore[arg-type]
        lambda: there.send(b.location, "", None, False, None),
        lambda: there.send(b.location, "f", 5, False, None),  # type: ignore[arg-type]
        lambda: there.send(b.location, "f", None, False, "soon"),  # type: ignore[arg-type]
        lambda: there.delete("b", "f", None, None),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError):
            call()


def test_what_cannot_be_read(two: tuple[Place, Place], tmp_path: Path, log: Log) -> None:
    a, b = two
    os.mkfifo(tmp_path / "pipe")
    assert [result(send(a, b, tmp_path / name)) for name in ("nothing", "pipe", ".")] == [-1] * 3
    log.wait_for("nothing' was not sent", "No such file")
    log.wait_for("pipe' was not sent", "no regular file")
    wait_until_idle(a, b)


def test_nobody_is_there(two: tuple[Place, Place], source: Path, log: Log) -> None:
    a, b = two
    assert result(send(a, a, source)) == -1
    log.wait_for("this process itself")
    b.close()
    assert result(send(a, b.location, source)) == -1
    log.wait_for("was not sent to", "no process listens")


def test_max_file_size(cluster: Cluster, tmp_path: Path, source: Path, log: Log) -> None:
    a, b = cluster.place("a"), cluster.place("b", dest_path=tmp_path / "dest", max_file_size=MIB)
    assert result(send(a, b, source)) == -1
    log.wait_for("was not sent to b", f"max_file_size there is {MIB}")
    log.wait_for("was not received", f"max_file_size there is {MIB}")
    assert result(send(a, b, made_file(tmp_path / "small", MIB))) == 0


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("..", "f"),
        ("/", "f"),
        ("a/../..", "f"),
        ("", "../f"),
        ("", ".."),
        ("a//..", "f"),
        ("", partial_name("f", 1, 1)),
    ],
)
def test_hostile_names(two: tuple[Place, Place], dest: Path, folder: str, name: str) -> None:
    hostile = Hostile(*two)
    (dest.parent / "f").write_text("mine")
    hostile.say(m.Offer(1, folder, name, 1, 1, 0o644, True))
    assert isinstance(hostile.answer(1), m.Failed)
    hostile.say(m.Delete(2, folder, name))
    assert isinstance(hostile.answer(2), m.Failed)
    assert (dest.parent / "f").read_text() == "mine"
    assert sorted(os.listdir(dest.parent)) in (["f"], ["dest", "f"])


def test_hostile_offers_are_bounded(two: tuple[Place, Place], dest: Path, log: Log) -> None:
    a, b = two
    hostile = Hostile(a, b)
    for number in range(service.RECEIVED_AT_ONCE + 1):
        hostile.say(m.Offer(number, "", f"f{number}", 10, 1, 0o644, False))
    assert "at once" in hostile.answer(service.RECEIVED_AT_ONCE).reason
    hostile.answer(0, m.Accept)
    hostile.say(m.Offer(0, "", "g", 10, 1, 0o644, False))
    log.wait_for("offers two files under one number")
    a.close()
    wait_until_idle(b)
    assert all_files(dest) == [], "no empty partial files"


def test_nonsense_about_files(two: tuple[Place, Place], log: Log) -> None:
    a, b = two
    hostile = Hostile(a, b)
    for body in (b"", b"\xff", b"\x93\x01\x02"):
        a.network.post_service(hostile.peer, m.SERVICE, body)
    log.wait_for("what is no message about a file")
    for message in (m.Accept(1, 0), m.Chunk(1, 5), m.Done(7), m.End(9, b"d" * 32), m.Cancel(9, "x", True)):
        hostile.say(message, b"x")
    hostile.say(m.Offer(5, "", "f", 0, 1, 0o644, False))
    assert isinstance(hostile.answer(5), m.Accept)
    hostile.say(m.End(5, hashlib.sha256().digest()))
    hostile.answer(5, m.Done)


# links


def test_links_lead_nowhere(two: tuple[Place, Place], source: Path, dest: Path, log: Log) -> None:
    a, b = two
    outside = dest.parent / "outside"
    outside.mkdir()
    (outside / source.name).write_text("mine")
    dest.mkdir()
    (dest / "folder").symlink_to(outside)
    (dest / source.name).symlink_to(outside / source.name)
    (dest / "file").write_text("no folder")
    for folder in ("folder", "folder/deeper", "file", None):
        for overwrite in (False, True):
            assert result(send(a, b, source, folder, overwrite)) == -1
        if folder != "file":
            assert deleted(a, b, source, folder) == -1
    assert all_files(outside) == [source.name]
    assert (outside / source.name).read_text() == "mine"
    log.wait_for("was not sent", "'folder' is no folder there, but a link or a file")
    log.wait_for("was not sent", "no regular file")
    wait_until_idle(a, b)


def test_a_link_that_is_put_there_meanwhile(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = dest.parent / "outside"
    outside.mkdir()
    (dest / "a").mkdir(parents=True)
    lstat = os.lstat

    def swapping(path: Any, **where: Any) -> os.stat_result:
        status = lstat(path, **where)
        if path == "a":
            (dest / "a").rename(dest / "was_a")
            (dest / "a").symlink_to(outside)
        return status

    monkeypatch.setattr(disk.os, "lstat", swapping)
    with pytest.raises(Refused, match="a link or a file"):
        Folder(dest, ["a"], make=True)


def test_no_file_is_opened_through_a_link(dest: Path) -> None:
    (dest.parent / "victim").write_text("mine")
    dest.mkdir()
    (dest / "link").symlink_to(dest.parent / "victim")
    folder = Folder(dest, [], make=False)
    try:
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT):
            with pytest.raises(OSError, match="symbolic link"):
                folder.open("link", flags)
    finally:
        folder.close()


def test_a_partial_file_that_is_a_link(two: tuple[Place, Place], source: Path, dest: Path, log: Log) -> None:
    a, b = two
    victim = dest.parent / "victim"
    victim.write_text("mine")
    dest.mkdir()
    status = source.stat()
    partial = dest / partial_name(source.name, status.st_size, status.st_mtime_ns)
    for plant in (lambda: partial.symlink_to(victim), lambda: partial.hardlink_to(victim)):
        plant()
        assert result(send(a, b, source)) == -1
        log.wait_for("was not sent", "something else than a partial file")
        partial.unlink()
    assert victim.read_text() == "mine"


# dest_path


def test_default_folder_is_the_users_own(
    cluster: Cluster, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(own.tempfile, "tempdir", str(tmp_path))
    a, b = cluster.place("a"), cluster.place("b")
    folder = default_dest_path()
    assert folder.parent.parent == tmp_path
    assert not folder.parent.exists()
    assert b.network.files.dest_path == folder
    assert result(send(a, b, source)) == 0
    assert (folder / source.name).exists()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)] == [0o700] * 2


def test_default_folder_that_others_can_write_to(
    cluster: Cluster, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Log
) -> None:
    monkeypatch.setattr(own.tempfile, "tempdir", str(tmp_path))
    a, b = cluster.place("a"), cluster.place("b")
    folder = default_dest_path().parent
    folder.mkdir()
    folder.chmod(0o777)
    assert result(send(a, b, source)) == -1
    log.wait_for("was not sent", "others can write into")
    assert all_files(folder) == []


def test_old_partial_files_are_removed(two: tuple[Place, Place], source: Path, dest: Path) -> None:
    a, b = two
    dest.mkdir()
    old, fresh, other = (dest / name for name in (partial_name("x", 1, 1), partial_name("y", 1, 1), "old"))
    for path in (old, fresh, other):
        path.write_text("part")
    for path in (old, other):
        os.utime(path, (time.time() - STALE_S - 100,) * 2)
    assert result(send(a, b, source)) == 0
    assert all_files(dest) == sorted([fresh.name, other.name, source.name])
