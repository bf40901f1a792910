"""parkcos/cluster/origins.py: what is installed, however that was done, and what is the program's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import types
import venv
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from parkcos.cluster.origins import origin_of, travels_by_value

ROOT = Path(__file__).parents[2]

FINDER = """
import sys
from importlib.util import spec_from_file_location
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "found":
            return spec_from_file_location(name, {!r})
sys.meta_path.append(Finder)
"""

EXPECTED = {
    "plain": ("installed", "site-packages"),
    "of_src": ("installed", "_of_src.pth"),
    "flat_project": ("installed", "_flat.pth"),
    "tests_of_flat": ("own", "flat"),
    "listed_by_old_metadata": ("installed", "easy-install.pth"),
    "found": ("installed", "editable"),
    "of_conda": ("installed", "conda.pth"),
    "targeted": ("installed", "the distribution Targeted 1.0"),
    "targeted_too": ("installed", "the distribution Targeted 1.0"),
    "hatched": ("installed", "hatched-1.0-py3.egg"),
    "built": ("own", "built_once"),
    "shared": ("own", "shared_by_all"),
    "folder.inner": ("own", "shared_by_all"),
    "swig": ("compiled", "_swig"),
    "fast": ("compiled", "deep"),
    "fast.plain": ("compiled", "deep"),
    "email.message": ("standard", "standard library"),
    "sys": ("standard", "built into"),
    "parkcos.client.client": ("standard", "parkcos itself"),
    "__main__": ("own", "the program itself"),
    "by_hand": ("own", "without a file"),
    "plain.by_hand": ("installed", "site-packages"),
    "not_there": ("unknown", "loaded"),
}
"""Kind, and what the reason names."""

PROGRAM = """
import importlib, json, sys, types
import parkcos
from parkcos.cluster.origins import origin_of
names = json.loads(sys.argv[1])
sys.modules["by_hand"] = types.ModuleType("by_hand")
for name in names:
    if name not in ("by_hand", "plain.by_hand", "not_there"):
        importlib.import_module(name)
sys.modules["plain.by_hand"] = types.ModuleType("plain.by_hand")
print(json.dumps({name: origin_of(name) for name in names}))
"""


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_each_way_of_being_installed(tmp_path: Path) -> None:
    """A Python of its own, with what installers leave behind."""
    builder = venv.EnvBuilder(symlinks=True)
    builder.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    packages = Path(
        sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")})
    )
    write(packages / "zz_what_parkcos_needs.pth", sysconfig.get_path("purelib") + "\n")
    write(packages / "plain" / "__init__.py")

    write(packages / "_of_src.pth", str(tmp_path / "a src'ö" / "src"))
    write(tmp_path / "a src'ö" / "pyproject.toml", '[project]\nname = "something-else"\n')
    write(tmp_path / "a src'ö" / "src" / "of_src" / "__init__.py")

    write(packages / "_flat.pth", str(tmp_path / "flat"))
    write(tmp_path / "flat" / "pyproject.toml", '[project]\nname = "Flat-Project"\n')
    write(tmp_path / "flat" / "flat_project" / "__init__.py")
    write(tmp_path / "flat" / "tests_of_flat.py")

    write(packages / "easy-install.pth", str(tmp_path / "old"))
    write(tmp_path / "old" / "setup.py")
    write(tmp_path / "old" / "oldest.egg-info" / "PKG-INFO", "Metadata-Version: 2.1\nName: oldest\nVersion: 1.0\n")
    write(tmp_path / "old" / "oldest.egg-info" / "top_level.txt", "listed_by_old_metadata\n")
    write(tmp_path / "old" / "listed_by_old_metadata.py")

    found = write(tmp_path / "by_finder" / "found.py")
    write(packages / "__editable___found_finder.py", FINDER.format(str(found)))
    write(packages / "__editable__.found.pth", "import __editable___found_finder")

    write(packages / "conda.pth", str(tmp_path / "developed"))
    write(tmp_path / "developed" / "of_conda.py")

    info = tmp_path / "target" / "targeted-1.0.dist-info"
    write(info / "METADATA", "Metadata-Version: 2.1\nName: Targeted\nVersion: 1.0\n")
    write(info / "RECORD", "targeted/__init__.py,,\ntargeted_too.py,,\n../bin/tool.py,,\n")
    write(tmp_path / "target" / "targeted" / "__init__.py")
    write(tmp_path / "target" / "targeted_too.py")

    write(tmp_path / "hatched-1.0-py3.egg" / "hatched.py")

    write(tmp_path / "built_once" / "built.egg-info" / "PKG-INFO", "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n")
    write(tmp_path / "built_once" / "built.egg-info" / "top_level.txt", "built\n")
    write(tmp_path / "built_once" / "built.py")

    shared = tmp_path / "shared_by_all"
    for name in ("shared.py", "folder/inner.py", "swig.py", "fast/__init__.py", "fast/plain.py"):
        write(shared / name)
    write(shared / f"_swig{EXTENSION_SUFFIXES[0]}")
    write(shared / "fast" / "inner" / f"deep{EXTENSION_SUFFIXES[0]}")

    folders = [tmp_path / name for name in ("target", "hatched-1.0-py3.egg", "built_once", "shared_by_all")]
    done = subprocess.run(
        [python, write(tmp_path / "program.py", PROGRAM), json.dumps(list(EXPECTED))],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(map(str, [*folders, tmp_path / "flat", tmp_path / "by_finder", ROOT]))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    origins = json.loads(done.stdout)
    assert {name: kind for name, (kind, _) in origins.items()} == {name: kind for name, (kind, _) in EXPECTED.items()}
    assert [name for name, (_, words) in EXPECTED.items() if words not in origins[name][1]] == []


def test_what_this_python_has() -> None:
    for name in ("msgspec", "msgspec._core", "cloudpickle", "pytest"):
        __import__(name)
        assert origin_of(name).kind == "installed", origin_of(name)
    assert not travels_by_value("json.decoder")
    assert not travels_by_value(None)
    assert travels_by_value("__main__")
    assert travels_by_value(__name__), "tests lie beside a package that is installed as editable, and are not"


@pytest.mark.parametrize("strange", [5, None, types.SimpleNamespace()])
def test_a_module_that_says_strange_things_of_itself(strange: object, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("strange_module")
    module.__file__ = module.__path__ = strange  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "strange_module", module)
    assert origin_of("strange_module").kind == "own"
