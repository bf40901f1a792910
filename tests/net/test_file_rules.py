"""parkcos/net/files/rules.py: where a file may lie, and whether it may be written."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.errors import ConfigError
from parkcos.net.files.rules import (
    PARTIAL_PREFIX,
    STALE_S,
    Existing,
    Refused,
    check_name,
    check_own_folder,
    check_size,
    folders_of,
    is_partial,
    kept_mode,
    must_compare,
    parse_size,
    partial_name,
    printable,
    stale,
)


@pytest.mark.parametrize(
    "folder",
    [
        "/", "/etc", "..", "a/..", "a/../b", "../a", "a//b", "a/", "/a", ".", "./a", "a/.", "a\0b", "a/b\0", "a/\udcff",
        "x" * 256, "ä" * 128, "/".join("a" * 65), PARTIAL_PREFIX + "x", "a/.PARKCOS-Part-b",
    ],
)  # fmt: skip
def test_folder_is_refused(folder: str) -> None:
    with pytest.raises(Refused):
        folders_of(folder, windows=False)


@pytest.mark.parametrize(
    ("folder", "components"),
    [
        ("", ()), ("a", ("a",)), ("a/b/c", ("a", "b", "c")), ("...", ("...",)), ("~", ("~",)), (" ", (" ",)),
        ("a\\..\\b", ("a\\..\\b",)), (".hidden", (".hidden",)), ("x" * 255, ("x" * 255,)), ("-rf", ("-rf",)),
    ],
)  # fmt: skip
def test_folder_is_taken(folder: str, components: tuple[str, ...]) -> None:
    assert folders_of(folder, windows=False) == components


@given(st.text(alphabet=st.sampled_from("ab./\\\0 ~:\udc80")))
def test_what_is_taken_stays_below(folder: str) -> None:
    try:
        components = folders_of(folder, windows=False)
    except Refused:
        return
    joined = os.path.normpath(os.path.join("/base", *components))
    assert joined == "/base" or joined.startswith("/base/")
    assert len(joined.strip("/").split("/")) == 1 + len(components)
    for component in components:
        component.encode()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0", "x" * 256, PARTIAL_PREFIX, "\udcff"])
def test_name_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        check_name(name, windows=False)


@pytest.mark.parametrize("name", ["a\\b", "c:", "a:stream", "*", "a.", "a "])
def test_name_is_refused_on_windows_only(name: str) -> None:
    assert check_name(name, windows=False) == name
    with pytest.raises(Refused):
        check_name(name, windows=True)


def test_size() -> None:
    check_size(10**12, None)
    check_size(10**12, 0)
    check_size(10, 10)
    with pytest.raises(Refused, match="11 bytes, and max_file_size there is 10"):
        check_size(11, 10)


def test_must_compare() -> None:
    assert not must_compare(None, 5, overwrite=False)
    assert must_compare(Existing(5, regular=True), 5, overwrite=False)
    assert must_compare(Existing(5, regular=True), 5, overwrite=True)
    assert not must_compare(Existing(6, regular=True), 5, overwrite=True)
    with pytest.raises(Refused, match="overwrite was not asked for"):
        must_compare(Existing(6, regular=True), 5, overwrite=False)
    for overwrite in (False, True):
        with pytest.raises(Refused, match="no regular file"):
            must_compare(Existing(5, regular=False), 5, overwrite)


def test_partial_names() -> None:
    first = partial_name("data.bin", 5, 7)
    assert first == partial_name("data.bin", 5, 7)
    assert len({first, partial_name("data.bin", 5, 8), partial_name("data.bin", 6, 7), partial_name("x", 5, 7)}) == 4
    assert is_partial(first)
    assert not is_partial("data.bin")
    assert len(partial_name("x" * 255, 2**60, 2**60)) < 64


def test_only_old_partial_files_are_stale() -> None:
    mine, old = partial_name("a", 1, 1), partial_name("b", 1, 1)
    files = [(mine, 1000.0), (old, 999.0 - STALE_S), ("data", 0.0)]
    assert stale(files, 1000.0) == [old]
    assert stale(files, 1000.0 + STALE_S) == [old]


def test_mode_loses_what_gives_rights() -> None:
    assert kept_mode(0o7755) == 0o755
    assert kept_mode(stat.S_IFREG | 0o640) == 0o640


def test_what_others_say_stays_in_one_line_of_the_log() -> None:
    assert printable("no\n2026 ERROR all is lost\x1b[2J") == "no?2026 ERROR all is lost?[2J"


def status(mode: int, user: int = 1000) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, user, 1, 1, 0, 0, 0))


@pytest.mark.parametrize(
    ("there", "text"),
    [
        (status(stat.S_IFDIR | 0o700, 1001), "belongs to another user"),
        (status(stat.S_IFDIR | 0o770), "others can write"),
        (status(stat.S_IFDIR | 0o702), "others can write"),
        (status(stat.S_IFLNK | 0o777), "no folder"),
        (status(stat.S_IFREG | 0o600), "no folder"),
    ],
)
def test_folder_in_the_shared_temp_folder_is_refused(there: Any, text: str) -> None:
    with pytest.raises(Refused, match=text):
        check_own_folder("/tmp/x", there, 1000)


def test_own_folder_is_taken() -> None:
    check_own_folder("/tmp/x", status(stat.S_IFDIR | 0o700), 1000)
    check_own_folder("/tmp/x", status(stat.S_IFDIR | 0o755), 1000)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1048576", 2**20), ("10k", 10240), ("3 M", 3 << 20), (" 2G ", 2 << 30), ("1t", 1 << 40)],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "10 MB", "١k", "1e6"])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)
