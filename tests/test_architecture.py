"""docs/architecture.md says where to find what: it names every module, and none that there is not.

And the parts of a client know each other in one direction, and each part of a machine has tests of its own.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def modules() -> set[str]:
    package = ROOT / "parkcos"
    return {path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"}


def test_every_module_has_its_place() -> None:
    named = set(re.findall(r"`(\w+(?:/\w+)*\.py)`", PAGE))
    assert sorted(modules() - named) == []


def test_what_is_named_is_there() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    named = {name for line in rows for name in re.findall(r"`([\w/]+\.py)`", line)}
    assert named
    assert sorted(name for name in named if not (ROOT / "parkcos" / name).is_file()) == []


def imports(folder: str) -> dict[str, set[str]]:
    """By the name of each file of this folder the others that it imports, be it for the type checker alone."""
    files = {path.stem: path for path in (ROOT / "parkcos" / folder).glob("*.py") if path.name != "__init__.py"}
    package = f"parkcos.{folder}"
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        meant: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == package:
                meant.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                meant.add(node.module.removeprefix(f"{package}."))
            elif isinstance(node, ast.Import):
                meant.update(alias.name.removeprefix(f"{package}.") for alias in node.names)
        found[name] = meant & files.keys() - {name}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Of all that are reached from each other, those that are more than one."""

    def reached_from(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            more = graph[ahead.pop()] - seen
            seen |= more
            ahead += more
        return seen

    reached = {name: reached_from(name) for name in graph}
    found = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in graph if a in reached[a]}
    return sorted(list(circle) for circle in found)


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e"}, "g": {"a"}}
    assert circles(graph) == [["a", "b", "c"], ["e", "f"]]


def test_no_more_than_two_files_of_a_client_know_each_other() -> None:
    graph = imports("client")
    assert "side" in graph["shell"], "at run time"
    assert "shell" in graph["handle"], "for the type checker"
    assert [circle for circle in circles(graph) if len(circle) > 2] == []


MACHINES = ["client/dispatch", "node/state", "node/executor", "scheduler/state"]
"""Those that decide, and do nothing themselves."""
RECORDS = {"records", "dispatch_events", "returning_events", "state_events"}
"""Modules of machines in which nothing is decided."""


def parts_of(machine: str) -> set[str]:
    """The modules that a machine is made of: of its folder, what it imports, and what that imports."""
    folder, first = machine.split("/")
    graph = imports(folder)
    found, new = set[str](), {first}
    while new:
        found |= new
        new = set[str]().union(*(graph[name] for name in new)) - found
    return found - RECORDS


@pytest.mark.parametrize("machine", MACHINES)
def test_each_part_of_a_machine_has_tests_of_its_own(machine: str) -> None:
    folder, first = machine.split("/")
    parts = parts_of(machine)
    assert first in parts
    for name in sorted(parts):
        tests = ROOT / "tests" / folder / f"test_{name}.py"
        assert tests.is_file(), f"parkcos/{folder}/{name}.py has no {tests.relative_to(ROOT)}"
        assert f"parkcos/{folder}/{name}.py" in tests.read_text(), f"{tests.relative_to(ROOT)} does not say so"
