"""What the layer as a whole promises: what it imports and exports, and what a task costs in memory."""

from __future__ import annotations

import ast
import tracemalloc
from pathlib import Path

import pytest

import parkcos.kernel
from parkcos.kernel import Task
from parkcos.kernel.names import NameTable


def test_no_socket_no_ssl_no_asyncio():
    for path in sorted(Path(parkcos.kernel.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                assert name.split(".")[0] not in {"socket", "ssl", "asyncio", "selectors"}, path
                if name.startswith("parkcos"):
                    assert name.startswith(("parkcos.kernel", "parkcos.errors")), path


def test_files_stay_small():
    for path in Path(parkcos.kernel.__file__).parent.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path


def test_exports():
    assert sorted(parkcos.kernel.__all__) == parkcos.kernel.__all__
    for name in parkcos.kernel.__all__:
        assert getattr(parkcos.kernel, name).__doc__, name


def test_public_methods_have_docstrings():
    for name in parkcos.kernel.__all__:
        thing = getattr(parkcos.kernel, name)
        if isinstance(thing, type) and thing.__module__.startswith("parkcos.kernel"):
            for attribute, value in vars(thing).items():
                if callable(value) and not attribute.startswith("_"):
                    inherited = any(getattr(base, attribute, None).__doc__ for base in thing.__mro__
                                    if getattr(base, attribute, None))  # fmt: skip
                    assert inherited or attribute in _DOCUMENTED_ABOVE, f"{name}.{attribute}"


_DOCUMENTED_ABOVE = {"begin", "cancel", "names", "expired"}


def test_a_name_table():
    table = NameTable()
    one, two = object(), object()
    assert table.register("a", one)
    assert table.register("a", one)
    assert table.register("b", one)
    assert not table.register("a", two)
    assert table.names_of(one) == ["a", "b"]
    assert not table.unregister("a", two)
    assert table.unregister("a", one)
    assert table.get("a") is None
    assert "b" in table
    assert len(table) == 1


def sleeping_bytes(kernel, count):
    """The memory that each of `count` sleeping tasks takes."""

    def sleeper(task=None):
        yield task.sleep(1000)

    def main(task=None):
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            Task(sleeper)
        yield task.sleep(1)
        cost = (tracemalloc.get_traced_memory()[0] - before) / count
        tracemalloc.stop()
        assert len(kernel.timers) == count
        return cost

    return kernel.main(main)


def test_a_sleeping_task_costs_at_most_a_kib(kernel):
    assert sleeping_bytes(kernel, 100_000) <= 1024


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_million_sleeping_tasks(kernel):
    assert sleeping_bytes(kernel, 1_000_000) <= 1024
