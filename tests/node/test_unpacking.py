"""parkcos/node/unpacking.py: whatever a client sends, it lies in its directory, and no link leads out of that."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from parkcos.cluster.bundle import File, Folder, Link
from parkcos.net.files.rules import Refused
from parkcos.node.unpacking import unpack


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "client-1"
    directory.mkdir()
    return directory


def test_files_folders_and_links_are_written(directory: Path) -> None:
    unpack(
        [
            Link("tree/link", "deep/a"),
            Folder("tree/empty"),
            File("tree/deep/a", 0o7777, b"a"),
            Link("up", "tree"),
        ],
        directory,
        None,
    )
    assert (directory / "tree" / "empty").is_dir()
    assert (directory / "up" / "link").read_bytes() == b"a"
    assert os.readlink(directory / "tree" / "link") == "deep/a"
    assert (directory / "tree" / "deep" / "a").stat().st_mode & 0o7777 == 0o755


def test_a_file_that_is_too_large_is_refused(directory: Path) -> None:
    with pytest.raises(Refused, match=r"the file big of the client's components .* 11 bytes, .* is 10"):
        unpack([File("big", 0o600, b"x" * 11)], directory, 10)


OUT = {
    "absolute": [Link("a", "/etc/passwd")],
    "above": [Link("a", "../secret")],
    "the directory above": [Link("a", "..")],
    "through another": [Link("a", "b"), Link("b", "../secret")],
    "one that a later link turns": [Link("a", "b/.."), Link("b", ".")],
    "and back": [Link("a", "../no_such/../secret")],
    "below a link": [Link("a", ".."), Link("a/b", "secret")],
    "a file by its name": [File("../new", 0o600, b"x")],
    "an absolute file": [File("/tmp/../../new", 0o600, b"x")],
    "a file that is the directory": [File(".", 0o600, b"x")],
    "a folder": [Folder("../new")],
}


@pytest.mark.parametrize("entries", OUT.values(), ids=list(OUT))
def test_nothing_leads_out(directory: Path, entries: list[File | Folder | Link]) -> None:
    secret = directory.parent / "secret"
    secret.write_text("of the node")
    with pytest.raises(ValueError, match=r"outside of|out of the client's directory"):
        unpack(entries, directory, None)
    assert os.listdir(directory.parent) == ["client-1", "secret"] or os.listdir(directory.parent) == [
        "secret",
        "client-1",
    ]


def test_no_file_is_written_through_a_link(directory: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        unpack([Link("a", ".."), File("a/new", 0o600, b"x")], directory, None)
    assert not (directory.parent / "new").exists()


NAMES = some.sampled_from(["a", "b", "c", ".", "..", "a/b", "b/a", "a/..", "../x", "/tmp", "b/../..", "", "c/c/c"])
PATHS = some.lists(NAMES, min_size=1, max_size=3).map("/".join)
ENTRIES = some.one_of(
    some.builds(Link, PATHS, PATHS),
    some.builds(Folder, PATHS),
    some.builds(File, PATHS, some.just(0o600), some.just(b"x")),
)


@given(some.lists(ENTRIES, max_size=6))
def test_whatever_a_client_sends(entries: list[File | Folder | Link]) -> None:
    with tempfile.TemporaryDirectory() as top:
        directory = Path(os.path.realpath(top), "home", "client-1")
        directory.mkdir(parents=True)
        try:
            unpack(entries, directory, None)
        except (OSError, ValueError):
            complete = False
        else:
            complete = True
        assert [path for path in Path(top).rglob("*") if "client-1" not in path.parts] == [directory.parent]
        if complete:
            for path in directory.rglob("*"):
                assert Path(os.path.realpath(path)).is_relative_to(directory)
