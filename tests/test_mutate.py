"""The tool that makes small changes: what it changes, and that it names those that no test notices."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from tests import mutate
from tests.mutate import Copy, mutants_of, survivors

SOURCE = textwrap.dedent('''
    """Of a module."""

    from typing import TYPE_CHECKING

    __all__ = ["Counter"]
    LIMIT = 5
    Number = int | float

    class Counter(Base, frozen=True):
        """Has no default."""

        step: int = 1

        def __init__(self) -> None:
            self.count = 0

        def add(self, number: int | None = 2) -> bool:
            """Count."""
            assert number != 7
            if not number or self.count + number > LIMIT and self.step:
                raise ValueError(f"{number + 1} is too much")
            self.count += number
            self.log(number, é="ä", late=True)
            return self.count == LIMIT

        def log(self, *args: object) -> None:
            """Of a subclass."""
            raise NotImplementedError

        def check(self) -> None:
            """The invariants; for tests."""
            for each in [1] if self.count != 0 else []:
                assert self.step == each
''').encode()


def changes() -> set[str]:
    return {str(mutant).partition(": ")[2] for mutant in mutants_of("some.py", SOURCE)}


def test_what_is_changed() -> None:
    call = "self.log(number, é='ä', late=True)"
    test = "not number or (self.count + number > LIMIT and self.step)"
    assert changes() == {
        "1 -> 2",
        "self.count = 0 -> pass",
        "0 -> 1",
        "2 -> 3",
        f"{test} -> (not number and (self.count + number > LIMIT and self.step))",
        f"{test} -> (self.count + number > LIMIT and self.step)",
        f"{test} -> (not number)",
        "not number -> (number)",
        "self.count + number > LIMIT and self.step -> (self.count + number > LIMIT or self.step)",
        "self.count + number > LIMIT and self.step -> (self.step)",
        "self.count + number > LIMIT and self.step -> (self.count + number > LIMIT)",
        "self.count + number > LIMIT -> (self.count + number >= LIMIT)",
        "self.count + number -> (self.count - number)",
        "raise ValueError(f'{number + 1} is too much') -> pass",
        "self.count += number -> pass",
        f"{call} -> pass",
        f"{call} -> self.log(number, late=True)",
        f"{call} -> self.log(number, é='ä')",
        "True -> False",
        "return self.count == LIMIT -> return None",
        "self.count == LIMIT -> (self.count != LIMIT)",
    }


def test_each_change_is_one_place_of_the_source_and_nothing_else() -> None:
    for mutant in mutants_of("some.py", SOURCE):
        changed = mutant.apply(SOURCE)
        ast.parse(changed)
        lines = [number for number, pair in enumerate(zip(SOURCE.split(b"\n"), changed.split(b"\n"), strict=True), 1)
                 if pair[0] != pair[1]]  # fmt: skip
        assert lines == [mutant.line], mutant


@pytest.mark.parametrize("path", mutate.FILES)
def test_every_file_that_is_named_is_there_and_can_be_changed(path: str) -> None:
    assert len(mutants_of(path, (mutate.ROOT / path).read_bytes())) > 20


TESTS = textwrap.dedent("""
    import pytest
    from parkcos.kernel.some import Counter

    def test_add():
        counter = Counter()
        assert not counter.add(1)
        while counter.count != 5:
            counter.add(2)
        with pytest.raises(ValueError, match="too much"):
            counter.add(1)
""")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_survivors_are_found_in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SOURCE.replace(b"(Base, frozen=True)", b"").replace('self.log(number, é="ä", late=True)'.encode(), b"pass")
    for file, text in {
        "parkcos/__init__.py": b"",
        "parkcos/kernel/some.py": source,
        "tests/kernel/test_some.py": TESTS.encode(),
        "pyproject.toml": b"[tool.pytest.ini_options]\nmarkers = ['slow', 'live', 'netns']\npythonpath = ['.']\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(text)
    path = "parkcos/kernel/some.py"
    chosen = ("2 -> 3", "self.count + number > LIMIT -> ", "return self.count == LIMIT", "self.count += number")
    sample = [m for m in mutants_of(path, source) if str(m).partition(": ")[2].startswith(chosen)]
    monkeypatch.setattr(mutate, "TEST_S", 2)  # without the counting the test hangs
    survived = survivors(tmp_path, sample, jobs=2)
    assert [str(mutant).partition(": ")[2] for mutant in survived] == [
        "2 -> 3",
        "return self.count == LIMIT -> return None",
    ]
    assert (tmp_path / path).read_bytes() == source
    copied = Copy(tmp_path, tmp_path / "copy")
    (copied.root / path).write_text("broken")
    with pytest.raises(RuntimeError, match=r"fail without any change(.|\n)*NameError: name 'broken' is not defined"):
        copied.prepare([path])
