"""parkcos/web/static, parkcos/httpd/static: which file may know which, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parkcos.httpd.site import STATIC as DASHBOARD
from parkcos.web.pages import STATIC as SHARED

LINE_MAX = 120
SCRIPTS = {path.name: path for folder in (SHARED, DASHBOARD) for path in sorted(folder.glob("*.js"))}


def imported(path: Path) -> set[str]:
    return set(re.findall(r'^(?:import|export) .*"\./([\w/.]+)";$', path.read_text(), re.MULTILINE))


def test_no_file_of_one_site_hides_a_shared_one() -> None:
    assert {path.name for path in SHARED.iterdir()} & {path.name for path in DASHBOARD.iterdir()} == set()


def test_what_all_sites_share_knows_no_site() -> None:
    scripts = sorted(SHARED.glob("*.js"))
    assert any(imported(path) for path in scripts)
    for path in scripts:
        for name in imported(path):
            assert (SHARED / name).is_file(), f"{path.name} imports {name}"


def test_a_page_is_imported_by_the_application_alone() -> None:
    pages = {name for name in SCRIPTS if name.startswith("page_")}
    assert imported(SCRIPTS["app.js"]) >= pages
    for name, path in SCRIPTS.items():
        assert name == "app.js" or not imported(path) & pages, name


@pytest.mark.parametrize("folder", [SHARED, DASHBOARD])
def test_lines_are_as_short_as_those_of_the_program(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.suffix in (".js", ".css", ".html")]
    assert files
    for path in files:
        for number, line in enumerate(path.read_text().split("\n"), 1):
            assert len(line) <= LINE_MAX or "data:image" in line, f"{path.name}:{number} has {len(line)} characters"
