"""parkcos/cluster/imports.py and code_doctor.py: what code imports, without running it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from parkcos.cluster.imports import Companions, Import, constants_in, imports_in
from parkcos.commands.scheduler import main as scheduler_main
from parkcos.errors import ConfigError
from parkcos.program.code_doctor import examine_code
from tests.cluster.test_origins import write


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a", [Import("a", (), False)]),
        ("import a.b as c, d", [Import("a.b", (), False), Import("d", (), False)]),
        ("from a import b, c as d", [Import("a", ("b", "c"), False)]),
        ("from a import *", [Import("a", ("*",), False)]),
        ("from . import a", [Import("pack.age", ("a",), False)]),
        ("from ..other import a", [Import("pack.other", ("a",), False)]),
        ("from .....other import a", []),
        ("def f():\n import a", [Import("a", (), True)]),
        (
            "class A:\n def f(self):\n  return lambda: __import__('b') or [1 for x in y]\n import a",
            [Import("a", (), True)],
        ),
        ("try:\n import a\nexcept ImportError: a = None", [Import("a", (), False)]),
        ("\n".join(f"x{i} = {i}.5" for i in range(400)) + "\nfrom a import b", [Import("a", ("b",), False)]),
    ],
)
def test_imports(source: str, found: list[Import]) -> None:
    assert list(imports_in(compile(source, "x", "exec"), "pack.age")) == found


def test_constants() -> None:
    source = """
\"\"\"Words.\"\"\"
from a import b
N: int = 5
name = "x"
twice = 1
twice = 2
made = f(3)
either = 7 if made else other
def f(): pass
"""
    assert constants_in(compile(source, "x", "exec")) == {"N": 5, "name": "x"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a program; every module in it is a trap."""
    folder = tmp_path / "a folder's ö"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


TRAP = "__import__('sys').exit('it was run')\n"


def companions(folder: Path, source: str) -> Companions:
    found = Companions()
    found.of_file(str(write(folder / "program.py", TRAP + source)))
    return found


def test_a_module_that_is_used_as_such_and_what_it_imports(folder: Path) -> None:
    write(folder / "od_helper.py", TRAP + "from od_config import N\nimport json, cloudpickle, od_no_such\n")
    write(folder / "od_config.py", TRAP)
    write(folder / "od_unused.py", TRAP)
    found = companions(folder, "import od_helper\n")
    assert found.files == {name: str(folder / f"{name}.py") for name in ("od_helper", "od_config")}
    assert found.by_value == set()


def test_a_module_of_which_names_are_imported_travels_by_value(folder: Path) -> None:
    """And what that imports in its functions, or as a module, does not."""
    write(folder / "oe_helper.py", TRAP + "from oe_other import g\ndef f():\n import oe_late\n")
    write(folder / "oe_other.py", TRAP + "import oe_module\n")
    write(folder / "oe_late.py", TRAP)
    write(folder / "oe_module.py", TRAP)
    found = companions(folder, "from oe_helper import f\n")
    assert set(found.files) == {"oe_late", "oe_module"}
    assert found.by_value == {"oe_helper", "oe_other"}


def test_a_package_is_taken_with_what_is_above(folder: Path) -> None:
    write(folder / "of_pack" / "__init__.py", TRAP + "from .consts import N\n")
    write(folder / "of_pack" / "consts.py", TRAP)
    write(folder / "of_pack" / "unused.py", TRAP)
    write(folder / "of_pack" / "named.py", TRAP)
    write(folder / "of_pack" / "sub" / "__init__.py", TRAP)
    write(folder / "of_pack" / "sub" / "deep.py", TRAP + "from .. import sibling\n")
    write(folder / "of_pack" / "sibling.py", TRAP)
    write(folder / "of_space" / "inner.py", TRAP)
    found = companions(folder, "import of_pack.sub.deep\nfrom of_pack.named import f\nimport of_space.inner\n")
    ends = ("", ".consts", ".sub", ".sub.deep", ".sibling", ".named")
    assert set(found.files) == {*(f"of_pack{end}" for end in ends), "of_space", "of_space.inner"}
    assert found.files["of_pack"] == str(folder / "of_pack" / "__init__.py")
    assert found.files["of_space"] is None


def test_what_is_not_taken(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies elsewhere, is installed, would hide the standard library, or has a mistake that nobody can follow."""
    write(tmp_path / "elsewhere" / "og_elsewhere.py", TRAP)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    write(folder / "queue.py", TRAP)
    write(folder / "og_mistake.py", "def (:\n")
    found = companions(folder, "import og_elsewhere, queue, parkcos, numpy, msgspec, og_mistake\n")
    assert found.files == {"og_mistake": str(folder / "og_mistake.py")}


def test_a_second_name_of_a_module_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file under that name would be another module."""
    write(folder / "ol_real.py", "")
    import ol_real  # type: ignore[import-not-found]

    monkeypatch.setitem(sys.modules, "ol_real", ol_real)
    monkeypatch.setitem(sys.modules, "ol_alias", ol_real)
    assert companions(folder, "import ol_alias\n").files == {}


def test_circles_end(folder: Path) -> None:
    write(folder / "oh_a.py", TRAP + "import oh_b\n")
    write(folder / "oh_b.py", TRAP + "from oh_a import x\nimport program\n")
    assert set(companions(folder, "from oh_a import x\n").files) == {"oh_b", "oh_a", "program"}


def test_a_constant_that_was_changed_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "oi_config.py", "N = 5\nname = 'x'\n_started = False\nthing = None\nvalues = 3\n")
    import oi_config  # type: ignore[import-not-found]

    monkeypatch.setitem(sys.modules, "oi_config", oi_config)
    oi_config.N = 7
    oi_config._started = True
    oi_config.thing = object()
    oi_config.values = [1]
    assert companions(folder, "import oi_config\n").changed == [("oi_config", "N", 7, 5)]


# -- the doctor


def test_doctor_says_of_each_module_whether_it_travels(folder: Path, tmp_path: Path) -> None:
    write(folder / "oj_helper.py", TRAP + "import msgspec.json\n")
    write(folder / "oj_named.py", TRAP)
    program = write(
        folder / "program.py",
        TRAP + "import oj_helper, json, oj_missing, parkcos\nfrom oj_named import f\nimport tests.lab\n",
    )
    before = list(sys.path)
    said = {finding.about: str(finding) for finding in examine_code(str(program))}
    assert sys.path == before
    assert "travels as a file" in said["module oj_helper"]
    assert "by value" in said["module oj_named"]
    assert "site-packages" in said["module msgspec"] and "requirements=['msgspec']" in said["module msgspec"]
    assert said["module oj_missing"].startswith("hint") and "not found" in said["module oj_missing"]
    assert said["module tests.lab"].startswith("hint") and "not below the program's folder" in said["module tests.lab"]
    assert said["Python and parkcos"].endswith("every node has json, parkcos")
    assert len(said) == 6


def test_doctor_as_a_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "ok_helper.py", TRAP)
    program = str(write(folder / "program.py", TRAP + "import ok_helper\n"))
    assert scheduler_main(["--doctor", "--code", program]) == 0
    assert "module ok_helper: travels as a file" in capsys.readouterr().out
    for wrong, words in [
        (["--code", program], "--code goes with --doctor"),
        (["--doctor", "127.0.0.1", "--code", program], "give one of them"),
        (["--doctor", "--code", str(folder / "none.py")], "cannot be read"),
    ]:
        assert scheduler_main(wrong) == 1
        assert words in capsys.readouterr().err


def test_doctor_of_a_program_with_a_mistake(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"program\.py.*invalid syntax"):
        examine_code(str(write(folder / "program.py", "def (:\n")))
