"""docs/architecture.md says where to find what: it names every module, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

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
