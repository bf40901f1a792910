"""parkcos/cluster/source_lines.py: the lines that tracebacks show."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from typing import Any

import pytest

from parkcos.cluster.source_lines import Lines


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines(0)
    yield made
    made.forget()


def test_lines_are_known_beside_those_of_the_file(lines: Lines, tmp_path: Any) -> None:
    path = str(tmp_path / "gone.py")
    lines.remember(path, 3, "def f():\n    return 1\n")
    lines.remember(path, 7, "x = 2")
    linecache.checkcache()
    assert [linecache.getline(path, n).strip() for n in (1, 3, 4, 5, 7, 8)] == [
        "",
        "def f():",
        "return 1",
        "",
        "x = 2",
        "",
    ]
    (tmp_path / "there.py").write_text("a = 1\nb = 2\nc = 3\n")
    there = str(tmp_path / "there.py")
    lines.remember(there, 2, "b = 2\n")
    assert linecache.cache[there][1] is not None, "it is as the file says, which may change"
    lines.remember(there, 2, "b = 5\n")
    assert linecache.getlines(there) == ["a = 1\n", "b = 5\n", "c = 3\n"]


def test_two_spaces_with_other_lines_in_a_file_of_one_name(tmp_path: Any) -> None:
    path = str(tmp_path / "gone.py")
    first, second, third = (Lines(number) for number in (0, 7, 8))
    first.remember(path, 1, "a = 1\nb = 1\n")
    second.remember(path, 1, "a = 1\n")
    assert second.name_of(path) == path, "as long as they agree"
    second.remember(path, 2, "b = 2\n")
    assert second.name_of(path) == f"{path} [space 7]"
    assert linecache.getlines(path) == ["a = 1\n", "b = 1\n"]
    assert linecache.getlines(second.name_of(path)) == ["a = 1\n", "b = 2\n"], "with those that it has shown before"
    third.remember(path, 2, "b = 1\n")
    first.remember(path, 2, "b = 3\n")
    assert first.name_of(path) == f"{path} [space 0]", "code of the third has the lines under that name"
    first.remember(path, 2, "b = 4\n")
    linecache.checkcache()
    shown = {each.name_of(path): linecache.getline(each.name_of(path), 2) for each in (first, second, third)}
    assert list(shown.values()) == ["b = 4\n", "b = 2\n", "b = 1\n"]
    for each in (first, second, third):
        each.forget()
    assert not shown.keys() & linecache.cache.keys()
