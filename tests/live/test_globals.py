"""Globals at a real server: which namespace they are of, and what arrives there when the client changes them."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parkcos import Client
from tests.live.lib import Program, with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]

table: dict[str, int] = {}


class Settings:
    level = 1
    seen: ClassVar[list[int]] = []


def looks() -> Gen:
    yield
    return dict(table), Settings.level, list(Settings.seen)


def changes_there() -> Gen:
    yield
    table["there"] = 1
    Settings.level = 5


def test_what_changes_in_place_at_the_client_arrives() -> None:
    def body(client: Client) -> Gen:
        first = yield client.rtask(looks)
        yield first.result()

        def there(fn: Any) -> Any:
            return (yield (yield client.rtask_at(first.location, fn)).result())

        assert (yield there(looks)) == ({}, 1, [])
        table["here"] = 2
        Settings.seen.append(3)
        assert (yield there(looks)) == ({"here": 2}, 1, [3])
        yield there(changes_there)
        assert (yield there(looks)) == ({"here": 2, "there": 1}, 5, [3]), "the client's have not changed since"
        Settings.level = 7
        assert (yield there(looks)) == ({"here": 2, "there": 1}, 7, [3])
        del table["here"]
        assert (yield there(looks)) == ({}, 7, [3])

    try:
        with_client(body)
    finally:
        table.clear()
        Settings.level = 1
        Settings.seen.clear()


SOURCE = """
count = {start}

def step():
    global count
    count += 1
    return count

def work():
    yield
    return step(), __name__
"""


def namespace(start: int, kind: str) -> Any:
    """A function `work` of a namespace that is no module's."""
    names: dict[str, Any] = {}
    if kind == "named":
        names = {"__name__": "__main__"}
    elif kind == "module":
        names = vars(types.ModuleType("plugin"))
    exec(SOURCE.format(start=start), names)
    return names["work"]


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("bare", [(11, "builtins"), (21, "builtins")] * 2),
        ("named", [(11, "__main__"), (21, "__main__")] * 2),
        ("module", [(11, "plugin"), (21, "plugin"), (12, "plugin"), (22, "plugin")]),
    ],
)
def test_namespaces_of_the_same_names(kind: str, found: list[Any]) -> None:
    """Each finds its own; one that is a module's lives at the server, else it is the client's at each call."""
    works = [namespace(10, kind), namespace(20, kind)]

    def body(client: Client) -> Gen:
        first = yield client.rtask(works[0])
        results = [(yield first.result())]
        for work in (works[1], *works):
            results.append((yield (yield client.rtask_at(first.location, work)).result()))
        return results

    assert with_client(body) == found


def test_a_decorator_of_an_installed_module_finds_the_globals_of_that_module() -> None:
    """Not those of the client's, which may have the same names."""

    def body(client: Client) -> Gen:
        return (yield (yield client.rtask(uses_context)).result())

    assert with_client(body) == (["in", "out"], "the client's own")


_GeneratorContextManager = "the client's own"
seen: list[str] = []


@contextlib.contextmanager
def context() -> Any:
    seen.append("in")
    yield
    seen.append("out")


def uses_context() -> Gen:
    own = _GeneratorContextManager
    with context():
        yield
    return list(seen), own


PROGRAM = """
import dataclasses, functools, sys
import parkcos

loaded = []

@dataclasses.dataclass(frozen=True)
class Point:
    x: int

@functools.cache
def doubled(n):
    return Point(n.x * 2)

def sets_up():
    loaded.append("by server_setup")
    yield
    return 0

def work(point):
    from {relative}helper import plus_one
    yield
    return doubled(point), plus_one(point.x), list(loaded)

def main():
    client = parkcos.Client([{component}], server_setup=sets_up)
    yield client.schedule()
    for _ in range(2):
        found, plus, seen = yield (yield client.rtask(work, Point(3))).result()
        print("found", found == Point(6), type(found) is Point, plus, seen)
    yield client.close()

if __name__ == "__main__":
    with parkcos.LocalCluster(cpus=1):
        parkcos.Task(main).value()
"""

RUN_BY_RUNPY = "import runpy; runpy.run_path('program.py', run_name='__main__')"


@pytest.mark.parametrize(
    "command",
    [
        ["program.py"],
        ["-m", "apackage.program"],
        ["-m", "cProfile", "-o", "profile", "program.py"],
        ["-m", "trace", "--count", "-C", "counts", "program.py"],
        ["-m", "pdb", "-c", "continue", "-c", "quit", "program.py"],
        ["-c", RUN_BY_RUNPY],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_program_that_is_run_by_another(command: list[str], tmp_path: Path) -> None:
    """Its `__main__` may be another module there; what it sees of itself is the same."""
    package = "apackage.program" in command
    folder = tmp_path / "apackage" if package else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("def plus_one(n):\n    return n + 1\n")
    component = "sys.modules['apackage']" if package else "'helper.py'"
    source = PROGRAM.replace("{relative}", "." if package else "").replace("{component}", component)
    (folder / "program.py").write_text(source)
    with Program(*command, cwd=tmp_path) as program:
        assert program.wait() in (0, 1)
        assert program.find("^(> |.*)found") == ["found True True 4 ['by server_setup']"] * 2, program.text
