"""The README's first hour in a fresh environment: what a newcomer types, and what a newcomer does wrong.

parkcos is installed from its wheel; the programs have a home of their own, and run in a folder with a name that is not
plain.  Of a healthy program nothing stays to be read beside what it prints.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.conftest import ROOT, without_waiting
from tests.examples.test_readme import BLOCKS, SUMS, check
from tests.httpd.asking import Browser
from tests.live.lib import Program, gone
from tests.packaging.environment import build, install
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.live]

FIRST = BLOCKS[0]
HEAD, _, START = FIRST.partition("if __name__")
(DASHBOARD,) = re.findall(
    r"^```python\n(from parkcos.httpd .*?)^```$", (ROOT / "docs" / "dashboard.md").read_text(), re.MULTILINE | re.DOTALL
)


def changed(text: str, *changes: tuple[str, str]) -> str:
    """The text with each of these replaced, which it has once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Newcomer:
    """Somebody with a fresh environment, a home and a folder, who starts programs."""

    def __init__(self, scripts: Path, folder: Path) -> None:
        self.scripts = scripts
        self.folder = folder / "erste Schritte für alle"
        self.folder.mkdir()
        home = folder / "home"
        home.mkdir()
        ours = ("PYTHON", "PYTEST", "XDG_", "VIRTUAL_ENV")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environ |= {"HOME": str(home), "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        self.udp = free_ports(2)[1]

    def start(self, *args: str | Path) -> Program:
        """Run Python with these arguments, in a terminal of its own as far as Ctrl-C is concerned."""
        python = self.scripts / "python"
        return Program(*args, python=python, cwd=self.folder, env=self.environ, start_new_session=True)

    def program(self, name: str, text: str) -> Program:
        (self.folder / name).write_text(text)
        return self.start(name)

    def command(self, name: str, *options: str) -> Program:
        return self.start(self.scripts / name, "--daemon", "-i", "127.0.0.1", *options)

    def on_nodes(self, text: str) -> str:
        """A program as "Several machines" changes it, on this machine alone."""
        start = "if __name__" + BLOCKS[2].partition("if __name__")[2].replace("\n   ", "\n")
        options = f"Parkcos(host='127.0.0.1', udp_port={self.udp - 1})"
        return f"from parkcos import Parkcos\n{options}\n{text.partition('if __name__')[0]}{start}"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripts of the fresh environment."""
    pytest.importorskip("hatchling", reason="needs hatchling: pip install 'parkcos[test]'")
    pytest.importorskip("pip", reason="needs pip: pip install 'parkcos[test]'")
    tmp = tmp_path_factory.mktemp("env")
    return install(build("build_wheel", tmp), tmp)


@pytest.fixture
def newcomer(scripts: Path, tmp_path: Path) -> Newcomer:
    return Newcomer(scripts, tmp_path)


def check_log(program: Program) -> None:
    """What a node or a scheduler has logged is no trouble."""
    assert program.lines
    assert program.find(r"\b(WARNING|ERROR|CRITICAL|Traceback|[Rr]efused)\b") == []


def test_it_is_the_installed_package(newcomer: Newcomer) -> None:
    with newcomer.program("where.py", "import parkcos\nprint(parkcos.__file__)\n") as program:
        assert program.wait() == 0
    assert Path(program.text).is_relative_to(newcomer.scripts.parent)


def test_the_first_program(newcomer: Newcomer) -> None:
    with newcomer.program("first.py", FIRST) as program:
        assert program.wait() == 0
    check(without_waiting(program.text + "\n"))


def test_the_map(newcomer: Newcomer) -> None:
    text = f"{HEAD.partition(chr(10))[0]}\n\n\n{BLOCKS[1]}\n\nif __name__{START}"
    with newcomer.program("map.py", text) as program:
        assert program.wait() == 0
    assert without_waiting(program.text + "\n") == f"{sum(n * n for n in range(100_000))}\n"


def test_a_call_that_fails_is_read_from_the_page(newcomer: Newcomer) -> None:
    """And it is the last thing that the program says."""
    wrong = "return sum(i * i for i in range(n)) // (n - 10)  # what is wrong"
    text = changed(
        FIRST,
        ("return sum(i * i for i in range(n))", wrong),
        ("        yield client.schedule()", f"        {DASHBOARD.splitlines()[-1]}\n        yield client.schedule()"),
        ("        run(main)", "        try:\n            run(main)\n        finally:\n            input('READ IT\\n')"),
    )
    with newcomer.program("fails.py", f"{DASHBOARD.splitlines()[0]}\n{text}") as program:
        browser = Browser(program.wait_for(r"the dashboard of fails\.py: (http://\S+)")[1], bearer=False)
        login = browser.ask("GET", f"/?token={browser.token}")
        cookie = {"Cookie": login.headers["Set-Cookie"].partition(";")[0]}

        def failed() -> list[dict[str, str]]:
            state = browser.ask("GET", "/api/state", cookie)
            assert state.status == 200, state
            return [task for task in state.json["tasks"] if task["state"] == "failed"]

        program.wait_for("READ IT")
        (task,) = failed()
        shown = browser.ask("GET", f"/api/tasks/{task['id']}", cookie).json["traceback"]
        program.say("\n")
        assert program.wait() == 1
    assert "in compute" in shown
    assert wrong in shown
    assert shown.rstrip().endswith("ZeroDivisionError: integer division or modulo by zero")
    assert program.text.count(wrong) == 1, "it is printed once, and by nobody else before"
    assert program.text.endswith("ZeroDivisionError: integer division or modulo by zero")


@pytest.mark.parametrize("to_all", [True, False], ids=["at the terminal", "to the program"])
def test_ctrl_c(newcomer: Newcomer, to_all: bool) -> None:
    """A terminal sends it to all processes of the program, `kill -INT` to one."""
    cleans_up = (
        "def cleans_up():\n    try:\n        yield main()\n    finally:\n        print('finally', flush=True)\n\n\n"
    )
    text = changed(
        FIRST, ("100_000)", "10**12)"), ("if __name__", f"{cleans_up}if __name__"), ("run(main)", "run(cleans_up)")
    )
    with newcomer.program("long.py", text) as program:
        program.wait_for("from 127", times=2)
        family = program.family()
        assert len(family) > 3
        (os.killpg if to_all else os.kill)(program.pid, signal.SIGINT)
        assert program.wait() == -signal.SIGINT
        assert gone(family) == []
    assert [int(line.split()[0]) for line in program.find("from 127")] == SUMS[:2]
    assert len(program.find("^finally$")) == 1
    assert len(program.find("^KeyboardInterrupt")) == 1
    assert program.find("WARNING(?!.* was interrupted$)|ERROR|refused") == []


@pytest.mark.parametrize("block", [True, False], ids=["with", "without"])
def test_a_cell_that_failed_is_run_again(newcomer: Newcomer, block: bool) -> None:
    """At a prompt, with each cell compiled as a notebook does it; the cluster is of an earlier cell."""
    cell = changed(HEAD, ("        rtasks = []\n", "        rtasks = []\n        fails_once.pop()\n"))
    if not block:
        cell = re.sub("^    with (.*) as client:", "        client = \\1", cell, flags=re.MULTILINE)
        cell = re.sub("^        ", "    ", cell.rstrip() + "\n        yield client.close()\n", flags=re.MULTILINE)
    (newcomer.folder / "cell").write_text(f"{cell}\nrun(main)\n")
    with newcomer.start("-q", "-i") as prompt:
        prompt.say("from parkcos import LocalCluster\ncluster = LocalCluster(cpus=2)\n")
        prompt.say("cluster.start()\nfails_once = []\n")
        again = "exec(compile(open('cell').read(), '<cell>', 'exec'))\n"
        prompt.say(again)
        prompt.wait_for("^IndexError: pop from empty list")
        prompt.say("fails_once = [1]\n" + again)
        prompt.wait_for("from 127", times=3)
        prompt.say("cluster.close()\nexit()\n")
        assert prompt.wait() == 0
    assert [int(line) for line in re.findall(r"(\d+) from 127", prompt.text)] == SUMS
    after = prompt.text.rpartition("IndexError: pop from empty list")[2]
    assert not re.search("Traceback|WARNING|ERROR|refused|waits", without_waiting(after))


@pytest.fixture
def node(newcomer: Newcomer) -> Iterator[Program]:
    ports = [text for port in free_ports(3) for text in ("--tcp_ports", str(port))]
    with newcomer.command("parkcosnode.py", "-c", "2", "-u", str(newcomer.udp), *ports) as node:
        node.wait_for(r".")
        yield node
        assert node.end() == 0
    check_log(node)


@pytest.fixture(params=["scheduler", "none"])
def scheduler(request: pytest.FixtureRequest, newcomer: Newcomer) -> Iterator[Program | None]:
    """A shared scheduler, or none: each program has one then."""
    if request.param == "none":
        yield None
        return
    ports = ["-t", str(free_ports(1)[0]), "-u", str(newcomer.udp - 1)]
    with newcomer.command("parkcos.py", *ports) as scheduler:
        scheduler.wait_for(r".")
        yield scheduler
        assert scheduler.end() == 0
    check_log(scheduler)


def test_a_second_program_waits_for_the_first(newcomer: Newcomer, scheduler: Program | None, node: Program) -> None:
    """It says for whom; without a shared scheduler, that the node has another client."""
    says = "first.py has no node yet, those that it has seen are in use: .*serves another client"
    if scheduler is not None:
        says = "first.py waits for its turn.*holder.py at 127.0.0.1 has had"
    holds = "        print('has the nodes', flush=True)\n        yield io(asyncio.to_thread(input))\n"
    text = changed(
        FIRST, ("import Client,", "import Client, io,"), ("        rtasks = []\n", f"{holds}        rtasks = []\n")
    )
    with newcomer.program("holder.py", f"import asyncio\n{newcomer.on_nodes(text)}") as first:
        first.wait_for("has the nodes")
        with newcomer.program("first.py", newcomer.on_nodes(FIRST)) as second:
            second.wait_for(says)
            assert second.find("from 127") == []
            first.say("\n")
            assert first.wait() == 0
            assert second.wait() == 0
    for program in (first, second):
        waits = r"^.*(has no node yet|waits for its turn).*\n"
        said = re.sub(waits, "", program.text + "\n", flags=re.MULTILINE)
        check(without_waiting(said).removeprefix("has the nodes\n"))
