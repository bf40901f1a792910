"""Modules beside a program travel by themselves, wherever it is started from and however its folder is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.lib import Program

pytestmark = pytest.mark.live

FILES = {
    "helper.py": "import config\nfrom tools import consts\ndef f(x): return config.SCALE * x + consts.OFFSET\n",
    "config.py": "SCALE = 3\n",
    "named.py": "CALLS = 0\ndef g(x):\n    import helper\n    return helper.f(x) + CALLS\n",
    "late.py": "from config import SCALE\ndef late(x): return SCALE + x\n",
    "tools/__init__.py": "from .inner.deep import deep\n",
    "tools/consts.py": "OFFSET = 100\n",
    "tools/inner/__init__.py": "",
    "tools/inner/deep.py": "from ..consts import OFFSET\nclass Deep:\n    pass\ndef deep(x): return x + OFFSET\n",
    "space/fit.py": "def fit(x): return -x\n",
}

PROGRAM = """
import helper, named, tools.inner.deep, space.fit
from tools import deep as of_package
from parkcos import Client, LocalCluster, run

def work(x):
    import late
    yield
    return helper.f(x), late.late(x), tools.inner.deep.deep(x), of_package(x), space.fit.fit(x), tools.inner.deep.Deep()

def g_there(x):
    yield
    return named.g(x)

def main():
    client = Client()
    yield client.schedule()
    *values, made = yield (yield client.rtask(work, 5)).result()
    print('says:', *values, type(made) is tools.inner.deep.Deep, (yield (yield client.rtask(g_there, 1)).result()))
    yield client.close()

if __name__ == "__main__":
    with LocalCluster(cpus=1):
        run(main)
"""

SAID = "115 8 105 105 -5 True 103"


def said(program: Program) -> list[str]:
    """What it says, without what a slow machine has it log."""
    return [line.removeprefix("says: ") for line in program.lines if line.startswith("says: ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder's ö"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("place", ["/", "its own"])
def test_of_a_script(folder: Path, place: str) -> None:
    (folder / "program.py").write_text(PROGRAM)
    with Program(folder / "program.py", cwd=folder if place == "its own" else Path(place)) as program:
        assert program.wait() == 0
        assert said(program) == [SAID]


def test_of_a_program_in_a_package(folder: Path) -> None:
    """Run by its module's name, with imports that are relative."""
    files = {name: (folder / name).read_text() for name in FILES}
    for name, text in files.items():
        new = folder / "package" / name
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(
            text.replace("import helper", "from . import helper").replace("import config", "from . import config")
        )
    (folder / "package" / "helper.py").write_text(
        "from . import config\nfrom .tools import consts\ndef f(x): return config.SCALE * x + consts.OFFSET\n"
    )
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "program.py").write_text(
        "from . import helper\nfrom .named import g\nfrom parkcos import Client, LocalCluster, run\n"
        "def work(x):\n    yield\n    return helper.f(x), g(x)\n"
        "def main():\n    client = Client()\n    yield client.schedule()\n"
        "    print('says:', (yield (yield client.rtask(work, 5)).result()))\n    yield client.close()\n"
        "if __name__ == '__main__':\n    with LocalCluster(cpus=1):\n        run(main)\n"
    )
    with Program("-m", "package.program", cwd=folder) as program:
        assert program.wait() == 0
        assert said(program) == ["(115, 115)"]


def test_of_what_is_typed(folder: Path) -> None:
    """At a prompt or in a notebook: the program has no file, its folder is the current one."""
    with Program("-c", PROGRAM.replace("__name__ == ", "True or "), cwd=folder) as program:
        assert program.wait() == 0
        assert said(program) == [SAID]


def test_what_a_module_has_been_given_here_is_seen_if_it_travels_by_value(folder: Path) -> None:
    (folder / "program.py").write_text(
        "from named import g\nimport sys\nfrom parkcos import Client, LocalCluster, run\n"
        "def work(x):\n    yield\n    return g(x)\n"
        "def main():\n    client = Client()\n    yield client.schedule()\n"
        "    sys.modules['named'].CALLS = 1000\n"
        "    print('says:', (yield (yield client.rtask(work, 1)).result()))\n    yield client.close()\n"
        "with LocalCluster(cpus=1):\n    run(main)\n"
    )
    with Program(folder / "program.py") as program:
        assert program.wait() == 0
        assert said(program) == ["1103"]


def test_an_installed_module_that_a_node_lacks_says_what_to_write(folder: Path) -> None:
    """As after `pip install -e .` on this machine only: it is not sent, and the error says what to do."""
    (folder / "helper-1.0.dist-info").mkdir()
    (folder / "helper-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n")
    (folder / "helper-1.0.dist-info" / "RECORD").write_text("helper.py,,\n")
    (folder / "program.py").write_text(
        "import helper\nfrom parkcos import Client, LocalCluster, run\n"
        "def work(x):\n    import helper\n    yield\n    return helper.f(x)\n"
        "def main(*listed):\n    client = Client([work, *listed])\n    yield client.schedule()\n"
        "    try:\n        print('says:', (yield (yield client.rtask(work, 5)).result()))\n"
        "    except ModuleNotFoundError as error:\n        print('says:', error.__notes__[-1].replace('\\n', ''))\n"
        "    yield client.close()\n"
        "with LocalCluster(cpus=1):\n    run(main)\n    import config, tools\n    run(main, helper, config, tools)\n"
    )
    with Program(folder / "program.py") as program:
        assert program.wait() == 0
        assert said(program) == [
            "there is no module helper there: install it there, or list it in the client's components"
            "  write: import helper  and  Client([..., helper])",
            "115",
        ]
