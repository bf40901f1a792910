"""parkcos/errors.py: one tree, all of it named, and all of it raised somewhere."""

from __future__ import annotations

import inspect
from pathlib import Path

import parkcos
from parkcos import errors

SOURCES = "".join(path.read_text() for path in Path(parkcos.__file__).parent.rglob("*.py"))


def test_all_are_exported_and_used() -> None:
    classes = {name for name, thing in vars(errors).items() if inspect.isclass(thing)}
    assert sorted(classes) == sorted(errors.__all__)
    for name in classes:
        assert SOURCES.count(name) > 2, f"nothing uses {name}"
        if name != "HotSwapException":
            assert issubclass(getattr(errors, name), errors.ParkcosError)
