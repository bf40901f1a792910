"""requirements/*.txt: what they pin is what pyproject.toml allows, with hashes; .ci/audit.py: what is known of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {"run": ["fast"], "test": ["test"], "dev": ["dev", "fast"], "lowest": ["test"]}
"""The extras that are in each."""


def wanted(extra: str = "") -> Iterator[Requirement]:
    """What parkcos needs with this extra, with those that it names in turn."""
    project = PROJECT["project"]
    for text in project["optional-dependencies"][extra] if extra else project["dependencies"]:
        requirement = Requirement(text)
        if requirement.name != "parkcos":
            yield requirement
        for more in requirement.extras if requirement.name == "parkcos" else ():
            yield from wanted(more)


def pinned(lock: str) -> dict[str, list[tuple[str, list[str]]]]:
    """Name -> version and hashes, of each line."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ")
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for line in text.splitlines():
        if match := re.match(r"([\w.-]+)==([\w.]+)", line):
            found.setdefault(match[1].lower(), []).append((match[2], re.findall(r"--hash=sha256:[0-9a-f]{64}", line)))
        else:
            assert line.startswith("#") or not line.strip(), line
    return found


@pytest.mark.parametrize("lock", ["run", "test", "dev", "lowest", "bench", "uv", "audit"])
def test_everything_has_hashes(lock: str) -> None:
    pins = pinned(lock)
    assert pins
    for name, lines in pins.items():
        assert all(hashes for _, hashes in lines), name


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_what_the_project_allows(lock: str) -> None:
    pins = pinned(lock)
    needed = [*wanted(), *(each for extra in LOCKS[lock] for each in wanted(extra))]
    assert len(needed) >= 5
    for each in needed:
        for version, _ in pins[each.name.lower()]:
            assert each.specifier.contains(version), f"{each} is pinned to {version}: make lock"


def test_the_lowest_versions_are_the_floors() -> None:
    pins = pinned("lowest")
    for each in wanted():
        (floor,) = [spec.version for spec in each.specifier if spec.operator == ">="]
        ((version, _),) = pins[each.name]
        assert each.name == "packaging" or Version(version) == Version(floor), "another one needs a newer packaging"


def test_no_floor_is_below_what_is_known_to_be_mended() -> None:
    """Of those that read what strangers send, or check who they are."""
    mended = {"aiohttp": "3.14.3", "cryptography": "50.0.0"}
    floors = {each.name: each.specifier for extra in ("", "http", "httpd") for each in wanted(extra)}
    for name, version in mended.items():
        (floor,) = [spec.version for spec in floors[name] if spec.operator == ">="]
        assert Version(floor) >= Version(version), name


def test_the_image_takes_the_lock_with_its_hashes() -> None:
    text = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    fetched = [line for line in text.splitlines() if re.search(r"pip (install|wheel|download)", line)]
    assert any("-r requirements/run.txt" in line for line in fetched)
    for line in fetched:
        for command in re.findall(r"pip (?:install|wheel|download)[^&]*", line):
            offline = "--no-index" in command or "--no-deps --no-build-isolation" in command
            assert offline or "--require-hashes" in command or line.startswith("#"), command


PACKAGE = {"name": "aiohttp", "version": "3.0"}
HOLE = {"id": "PYSEC-2026-1", "fix_versions": ["3.1"], "aliases": [], "description": ""}


@pytest.mark.parametrize(
    ("prints", "complains", "status", "says"),
    [
        ([{**PACKAGE, "vulns": []}], "", 0, "lock.txt: 1 of 1 packages audited, 0 known holes"),
        ([{**PACKAGE, "vulns": [HOLE]}], "", 1, "lock.txt: aiohttp 3.0: PYSEC-2026-1, mended in 3.1"),
        ([{**PACKAGE, "skip_reason": "not found"}], "", 0, "NOT AUDITED: the index knows nothing of holes in its 1"),
        (None, "ERROR: Could not connect to PyPI's vulnerability feed", 0, "NOT AUDITED: the index cannot be asked"),
        (None, "ERROR: requirement file is not there", 1, "pip-audit has failed"),
    ],
)
def test_what_is_known_of_holes_is_said(
    tmp_path: Path, prints: list[object] | None, complains: str, status: int, says: str
) -> None:
    """No network is no failure, but nothing else passes for that."""
    text = "" if prints is None else json.dumps({"dependencies": prints, "fixes": []})
    (tmp_path / "pip_audit.py").write_text(
        f"import sys\nassert '--require-hashes' in sys.argv\nprint({text!r})\nprint({complains!r}, file=sys.stderr)\n"
        f"sys.exit({int(prints is None or bool(status))})\n"
    )
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py", "lock.txt"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert says in done.stdout, (done.stdout, done.stderr)
    assert done.returncode == status
