"""The way to return from a generator that Python had before 3.7."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.compat.sources import compile_program


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


def test_lines_stay_where_they_are() -> None:
    source = "def f():\n    yield\n    if True:\n        raise StopIteration(\n            1 / 0)\n"
    space: dict[str, Any] = {}
    exec(compile_program(source, "old.py"), space)
    gen = space["f"]()
    next(gen)
    with pytest.raises(ZeroDivisionError) as error:
        next(gen)
    assert (error.traceback[-1].lineno, str(error.traceback[-1].path)[-6:]) == (4, "old.py")


def test_assertion_against_new_pythons_holds() -> None:
    exec(compile_program("import sys\nassert sys.version_info.minor < 7, 'too new'\n", "old.py"), {})
    with pytest.raises(AssertionError):
        exec(compile_program("import sys\nassert sys.version_info.minor < 6, 'too new'\n", "old.py"), {})


def test_a_syntax_error_is_one() -> None:
    with pytest.raises(SyntaxError, match="invalid syntax"):
        compile_program("def f(:\n", "bad.py")
