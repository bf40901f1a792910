"""What a user has after ``pip install``: four commands, and a folder of scripts in which ``import parkcos`` works.

The package is built as a wheel and as an editable wheel, and each is installed into a fresh environment. That
environment borrows this one's site-packages for everything else, so no index is asked.
"""

from __future__ import annotations

import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from parkcos import examples
from tests.packaging.environment import ROOT, WINDOWS, build, install, run

pytestmark = [pytest.mark.slow, pytest.mark.live]

PYTEST = """\
#!{python}
import sys
from pytest import console_main
if __name__ == "__main__":
    sys.exit(console_main())
"""

NEIGHBOUR = """\
#!{python}
import os, sys
import parkcos.errors
from parkcos import errors
import parkcos
print(parkcos.__file__)
assert sys.modules["parkcos"] is parkcos and parkcos.errors is errors
assert os.path.dirname(os.path.abspath(__file__)) in map(os.path.abspath, sys.path), "sys.path was not restored"
"""

TEST_FILE = """\
import importlib.util
import multiprocessing
import os
import pickle

import parkcos
from parkcos import errors

def test_it_is_the_package():
    assert os.path.basename(parkcos.__file__) == "__init__.py"
    assert parkcos.__path__ and parkcos.__spec__.submodule_search_locations
    assert os.path.samefile(importlib.util.find_spec("parkcos").origin, parkcos.__file__)

def test_an_error_is_the_same_class_after_a_round_trip():
    error = pickle.loads(pickle.dumps(errors.ConfigError("bad")))
    assert type(error) is errors.ConfigError and error.args == ("bad",)

def test_an_error_passes_through_a_fresh_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        error = pool.apply(errors.ConfigError, ("bad",))
        pool.close()
        pool.join()
    assert type(error) is errors.ConfigError and error.args == ("bad",)
"""


@pytest.fixture(scope="module", params=["build_wheel", "build_editable"])
def scripts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripts of a fresh environment in which parkcos is installed."""
    pytest.importorskip("hatchling", reason="needs hatchling: pip install 'parkcos[test]'")
    pytest.importorskip("pip", reason="needs pip: pip install 'parkcos[test]'")

    tmp = tmp_path_factory.mktemp("env")
    return install(build(request.param, tmp), tmp)


COMMANDS = ["parkcosnode.py", "parkcosnode", "parkcos.py", "parkcos"]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_tells_its_options(scripts: Path, tmp_path: Path, command: str) -> None:
    # Windows knows what to do with a .py file only in a shell.
    start = [scripts / "python", scripts / command] if WINDOWS and command.endswith(".py") else [scripts / command]
    output = run(*start, "--help", cwd=tmp_path).stdout
    assert "usage:" in output
    assert "--daemon" in output


@pytest.mark.skipif(WINDOWS, reason="needs scripts that name their interpreter")
@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs_in_the_environment_it_was_installed_into(scripts: Path, command: str) -> None:
    """Not in that which built the wheel, which may be gone by now."""
    head = "".join((scripts / command).read_text().splitlines(keepends=True)[:3])
    assert str(scripts / "python") in head


def test_the_examples_are_listed_and_copied_and_run(scripts: Path, tmp_path: Path) -> None:
    python = scripts / "python"
    there = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
    listed = run(python, "-m", "parkcos.examples", cwd=tmp_path).stdout
    assert [line.split()[0] for line in listed.splitlines() if ".py " in line] == [n for n in there if n[0] != "_"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "client2.py").write_text("changed")
    said = run(python, "-m", "parkcos.examples", "own", cwd=tmp_path).stdout
    assert f"{len(there) - 1} files are in own; 1 were there already" in said
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == there
    assert (tmp_path / "own" / "client2.py").read_text() == "changed"
    assert "--local" in run(python, "client1.py", "--help", cwd=tmp_path / "own").stdout


def test_the_examples_lie_in_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs hatchling: pip install 'parkcos[test]'")
    with zipfile.ZipFile(build("build_wheel", tmp_path)) as wheel:
        found = [Path(name).name for name in wheel.namelist() if name.startswith("parkcos/example_files/")]
    assert sorted(found) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def test_examples_that_cannot_be_copied_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert examples.main([str(tmp_path / "file")]) == 1
    assert f"cannot be copied to {tmp_path / 'file'}: File exists" in capsys.readouterr().err


def test_every_way_to_start_pytest_finds_the_package(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "test_import.py").write_text(TEST_FILE)
    python = scripts / "python"
    bare = scripts / "pytest"
    bare.write_text(PYTEST.format(python=python))
    bare.chmod(0o755)
    for start in ([python, "-m", "pytest"], [python, bare] if WINDOWS else [bare]):
        output = run(*start, "-p", "no:cacheprovider", "test_import.py", cwd=tmp_path).stdout
        assert "3 passed" in output


def test_a_script_beside_the_commands_finds_the_package(scripts: Path, tmp_path: Path) -> None:
    script = scripts / "neighbour.py"
    script.write_text(NEIGHBOUR.format(python=scripts / "python"))
    assert Path(run(scripts / "python", script, cwd=tmp_path).stdout.strip()).name == "__init__.py"
    # The same where Python was told the folder in another way.
    code = "import parkcos.errors as e; print(e.__file__)"
    assert run(scripts / "python", "-c", code, cwd=scripts).stdout.strip().endswith("errors.py")


@pytest.mark.skipif(WINDOWS, reason="needs symbolic links")
def test_a_link_to_the_command_does_not_hide_that_the_package_is_missing(scripts: Path, tmp_path: Path) -> None:
    """pipx and uv link commands into one folder, where scripts of other environments lie, too."""
    (tmp_path / "parkcos.py").symlink_to(scripts / "parkcos.py")
    script = tmp_path / "other.py"
    script.write_text(
        textwrap.dedent("""
        try:
            import parkcos
        except ModuleNotFoundError as error:
            print(error)
    """)
    )
    assert run(sys.executable, "-S", script, cwd=tmp_path).stdout.strip() == "No module named 'parkcos'"
