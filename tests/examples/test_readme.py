"""What the README tells a newcomer to do, done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.conftest import ROOT, Cluster, run

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^ *```python\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
SUMS = [285, 332833500, 333328333350000]


def check(output: str) -> None:
    lines = [re.fullmatch(r"(\d+) from (127\.0\.0\.1:\d+)", line) for line in output.splitlines()]
    assert [int(line[1]) for line in lines if line] == SUMS, output
    assert len(lines) == len(SUMS)


@pytest.mark.slow
@pytest.mark.live
def test_the_first_program_runs(tmp_path: Path) -> None:
    program = tmp_path / "first.py"
    program.write_text(BLOCKS[0])
    check(run(program))


@pytest.mark.live
def test_the_map_runs(tmp_path: Path) -> None:
    head, _, _ = BLOCKS[0].partition("\n\n")
    _, main, end = BLOCKS[0].partition("if __name__")
    program = tmp_path / "map.py"
    program.write_text(f"{head}\n\n\n{BLOCKS[1]}\n\n{main}{end}")
    assert run(program).split() == [str(sum(n * n for n in range(100_000)))]


@pytest.mark.slow
@pytest.mark.live
def test_the_first_program_runs_on_a_node(tmp_path: Path, node: Cluster) -> None:
    """Changed as the README says, and with the options that keep this test on loopback."""
    head, main, _ = BLOCKS[0].partition("if __name__")
    assert main
    _, host, _, port, _, secret_file = node.options
    options = f"Parkcos(host={host!r}, udp_port={port}, secret_file={secret_file!r})"
    start = BLOCKS[2].replace("   ", "", 1).replace("\n   ", "\n")
    program = tmp_path / "first.py"
    program.write_text(f"from parkcos import Parkcos\n{options}\n{head}{start}")
    check(run(program))


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
