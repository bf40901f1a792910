"""The way to return from a generator that Python had before 3.7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parkcos.compat.sources import SourceFinder, compile_program


def value_of(body: str) -> Any:
    """What a generator function with this body returns."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
    space: dict[str, Any] = {}
    exec(compile_program(f"def function():\n    yield\n{lines}\n", "old.py"), space)
    gen = space["function"]()
    try:
        while True:
            next(gen)
    except StopIteration as stop:
        return stop.value


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("raise StopIteration(42)", 42),
        ("raise StopIteration((1, 2))", (1, 2)),
        ("raise StopIteration(1, 2)", 1),
        ("raise StopIteration(*[7, 8])", 7),
        ("raise StopIteration()", None),
        ("raise StopIteration", None),
        ("if True:\n    for i in range(9):\n        raise StopIteration(i)", 0),
        ("try:\n    raise StopIteration(1)\nexcept ValueError:\n    return 2", 1),
        ("try:\n    raise StopIteration(1)\nfinally:\n    x = 3", 1),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise StopIteration(5)", 5),
        ("with __import__('contextlib').nullcontext():\n    raise StopIteration(6)", 6),
        ("try:\n    raise StopIteration(1)\nexcept StopIteration as stop:\n    return (0, stop.value)", (0, 1)),
        ("try:\n    raise StopIteration(1)\nexcept (ValueError, StopIteration):\n    return 'caught'", "caught"),
        ("try:\n    raise StopIteration(1)\nexcept Exception:\n    return 'caught'", "caught"),
        ("try:\n    raise StopIteration(1)\nexcept:\n    x = 1\n    raise", 1),
        ("try:\n    raise StopIteration(1)\nexcept StopIteration as stop:\n    raise stop", 1),
        ("try:\n    raise StopIteration(1)\nfinally:\n    raise StopIteration(2)", 2),
        ("try:\n    x = 1\nexcept Exception:\n    pass\nelse:\n    raise StopIteration(3)", 3),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise StopIteration(4) from None", 4),
        ("try:\n    yield\n    raise StopIteration(1)\nexcept GeneratorExit:\n    return 2", 1),
        ("next(iter(()))\nraise StopIteration(1)", None),
        ("x = (yield 1), (yield 2)\nraise StopIteration(x)", (None, None)),
        ("global there\nthere = 4\nraise StopIteration(there)", 4),
    ],
)  # fmt: skip
def test_raise_means_return(body: str, value: Any) -> None:
    assert value_of(body) == value


def test_what_is_no_generator_stays_as_it_is() -> None:
    source = """
class Countdown:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if not self.n: raise StopIteration
        self.n -= 1
        return self.n

def outer():
    def plain():
        raise StopIteration(3)
    try:
        plain()
    except StopIteration as stop:
        yield stop.value
    yield from Countdown(2)
"""
    space: dict[str, Any] = {}
    exec(compile_program(source, "old.py"), space)
    assert list(space["outer"]()) == [3, 1, 0]


def test_functions_in_functions_methods_and_decorated_ones() -> None:
    source = """
import functools

def counted(f):
    @functools.wraps(f)
    def inner(*args, **kwargs):
        inner.calls += 1
        return f(*args, **kwargs)
    inner.calls = 0
    return inner

@counted
def outer(n):
    '''What it is.'''
    def inner(m):
        yield m
        raise StopIteration(m * 10)
    values = yield from inner(n)
    for m in inner(values):
        values += m
    raise StopIteration(values)

class Old:
    '''A class.'''
    def __init__(self, value): self.value = value
    def method(self):
        yield
        raise StopIteration(self.value)
    @staticmethod
    def static(value):
        yield
        raise StopIteration(value)
    @classmethod
    def of_class(cls):
        yield
        raise StopIteration(cls)
    @property
    def gen(self):
        yield
        raise StopIteration(self)

with_lambda = lambda f: (yield from f())
"""
    space: dict[str, Any] = {}
    exec(compile_program(source, "old.py"), space)

    def all_of(gen: Any) -> tuple[list[Any], Any]:
        given = []
        while True:
            try:
                given.append(next(gen))
            except StopIteration as stop:
                return given, stop.value

    old = space["Old"](3)
    assert all_of(space["outer"](1)) == ([1], 20)
    assert (space["outer"].calls, space["outer"].__doc__, space["Old"].__doc__) == (1, "What it is.", "A class.")
    assert all_of(old.method()) == ([None], 3)
    assert all_of(old.static(4)) == ([None], 4)
    assert all_of(old.of_class()) == ([None], space["Old"])
    assert all_of(old.gen) == ([None], old)
    assert all_of(space["with_lambda"](old.method)) == ([None], 3)


def test_what_stands_around_it_sees_what_it_saw_then() -> None:
    """A context manager is told of the StopIteration, as of any exception that passes; so it may keep it to itself."""
    source = """
class Manager:
    def __init__(self, keeps): self.keeps = keeps
    def __enter__(self): return self
    def __exit__(self, kind, error, trace):
        seen.append(kind)
        return self.keeps

def function(keeps):
    yield
    with Manager(keeps):
        raise StopIteration(1)
    return 2
"""
    seen: list[Any] = []
    space: dict[str, Any] = {"seen": seen}
    exec(compile_program(source, "old.py"), space)
    for keeps, value in (False, 1), (True, 2):
        gen = space["function"](keeps)
        next(gen)
        with pytest.raises(StopIteration) as stop:
            next(gen)
        assert stop.value.value == value
    assert seen == [StopIteration, StopIteration]


def test_new_sources_keep_what_they_are() -> None:
    """A generator that does not say so has what Python has now: a StopIteration that leaves it is a mistake."""
    space: dict[str, Any] = {}
    exec(compile_program("def function():\n    yield\n    next(iter(()))\n", "new.py"), space)
    gen = space["function"]()
    next(gen)
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        next(gen)


def test_lines_stay_where_they_are() -> None:
    source = "def f():\n    yield\n    if True:\n        raise StopIteration(\n            1 / 0)\n"
    space: dict[str, Any] = {}
    exec(compile_program(source, "old.py"), space)
    gen = space["f"]()
    next(gen)
    with pytest.raises(ZeroDivisionError) as error:
        next(gen)
    assert (error.traceback[-1].lineno, str(error.traceback[-1].path)[-6:]) == (4, "old.py")


def test_long_sums_are_compiled() -> None:
    long = " + ".join(["1"] * 900)
    space: dict[str, Any] = {}
    source = f"def f():\n    yield\n    assert {long} < 10 ** 4\n    raise StopIteration({long})\n"
    exec(compile_program(source, "old.py"), space)
    gen = space["f"]()
    next(gen)
    with pytest.raises(StopIteration, match="900"):
        next(gen)


def test_assertion_against_new_pythons_holds() -> None:
    exec(compile_program("import sys\nassert sys.version_info.minor < 7, 'too new'\n", "old.py"), {})
    with pytest.raises(AssertionError):
        exec(compile_program("import sys\nassert sys.version_info.minor < 6, 'too new'\n", "old.py"), {})


@pytest.mark.parametrize(
    "source",
    [
        b"# -*- coding: latin-1 -*-\nx = '\xe4'\n",
        b"#!/usr/bin/env python\n# vim: set fileencoding=cp1252 :\nx = '\xe4'\n",
        b"\xef\xbb\xbfx = '\xc3\xa4'\n",
        b"x = '\xc3\xa4'\r\n",
    ],
)
def test_encodings_are_those_that_the_source_declares(source: bytes) -> None:
    space: dict[str, Any] = {}
    exec(compile_program(source, "old.py"), space)
    assert space["x"] == "ä"


def test_imports_from_the_future_are_the_program_s_own() -> None:
    space: dict[str, Any] = {}
    exec(compile_program("def f(x: 1 + 1): pass\n", "old.py"), space)
    assert space["f"].__annotations__ == {"x": 2}
    exec(compile_program("from __future__ import annotations\ndef f(x: 1 + 1): pass\n", "old.py"), space)
    assert space["f"].__annotations__ == {"x": "1 + 1"}


def test_a_syntax_error_is_one() -> None:
    with pytest.raises(SyntaxError, match="invalid syntax"):
        compile_program("def f(:\n", "bad.py")


def test_modules_of_the_folder_are_found_and_installed_ones_are_not(tmp_path: Path) -> None:
    for folder in "lib", "venv/site-packages", "dist-packages/examples":
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "module.py").touch()

    def found(folder: Path, where: Path, name: str = "module") -> bool:
        return SourceFinder(str(folder)).find_spec(name, [str(where)]) is not None

    assert found(tmp_path, tmp_path / "lib")
    assert not found(tmp_path / "lib", tmp_path / "venv" / "site-packages")
    assert not found(tmp_path, tmp_path / "venv" / "site-packages")
    installed = tmp_path / "dist-packages" / "examples"  # a program that is itself there
    assert found(installed, installed) and not found(tmp_path, installed)
    for name in "json", "parkcos", "parkcos.node":  # below a folder that has everything
        assert SourceFinder("/").find_spec(name, None) is None
