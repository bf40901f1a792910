"""What the README tells a newcomer to do, done."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import pytest

from tests import logs
from tests.examples.conftest import ENVIRON, ROOT, TIMEOUT_S, Cluster, run

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


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.parametrize(
    ("line", "there", "code", "text"),
    [
        ("raise ValueError('bad input')", False, 1, "ValueError: bad input"),
        ("raise SystemExit(3)", False, 3, "ended itself by sys.exit(3)"),
        ("raise ValueError('bad input')", True, 1, "ValueError: bad input"),
        (
            "raise SystemExit('no such file')",
            True,
            1,
            "TaskTerminated: the task ended itself by sys.exit('no such file')",
        ),
        ("raise SystemExit(0)", True, 1, "TaskTerminated: the task ended itself by sys.exit(0)"),
    ],
)
def test_the_first_program_fails_if_its_task_does(tmp_path: Path, line: str, there: bool, code: int, text: str) -> None:
    """there: at the server, else in main."""
    begin = "    with Client" if not there else "    yield\n"
    assert BLOCKS[0].count(begin) == 1
    program = tmp_path / "first.py"
    program.write_text(BLOCKS[0].replace(begin, f"    {line}\n{begin}"))
    done = logs.run([sys.executable, str(program)], TIMEOUT_S, env=ENVIRON)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


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


@pytest.mark.live
def test_a_program_waits_for_its_servers_as_the_docs_say(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE | re.DOTALL)
    (waits,) = [block for block in blocks if "client.wait_for_servers(" in block]
    body = textwrap.indent(waits.replace("(4,", "(2,"), "    ")
    program = tmp_path / "servers.py"
    program.write_text(
        "from parkcos import Client, LocalCluster, run\n"
        f"def main():\n    client = Client()\n    yield client.schedule()\n{body}"
        "    print(count)\n    yield client.close()\n"
        "with LocalCluster(2):\n    run(main)\n"
    )
    assert run(program) == "2\n"


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
