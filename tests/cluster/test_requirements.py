"""parkcos/cluster/requirements.py: what may be required, and what is there."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from parkcos.cluster.requirements import is_importable, parse_requirement, parse_requirements, what_is_missing
from parkcos.errors import ConfigError


def install(folder: Path, package: str, version: str, *modules: str) -> None:
    """As an installer leaves it.  modules: files, as `a.py` and `b/c.py`."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{module},,\n" for module in modules))
    for module in modules:
        path = folder / module
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('it was imported')\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with two packages: one of its module's name, one not."""
    install(tmp_path, "parkcos-kiln", "2.5.1", "parkcos_kiln/__init__.py", "parkcos_kiln/glaze.py")
    install(tmp_path, "Parkcos-Pottery-Tools", "1.0rc1", "potter_of_parkcos.py")
    (tmp_path / "lone_parkcos.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name", "versions"),
    [
        ("numpy", "numpy", None),
        ("numpy>=1.26", "numpy", ">=1.26"),
        (" scipy == 1.* ", "scipy", "==1.*"),
        ("numpy>=1.26,<3", "numpy", "<3,>=1.26"),
        ("zope.interface~=6.0", "zope.interface", "~=6.0"),
        ("_private.tools", "_private.tools", None),
        ("numpy; python_version >= '3'", "numpy", None),
    ],
)
def test_what_can_be_required(text: str, name: str, versions: str | None) -> None:
    found = parse_requirement(text)
    assert found.name == name
    assert (None if found.versions is None else str(found.versions)) == versions
    assert parse_requirement(found.text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be understood"),
        ("numpy >> 1", "cannot be understood"),
        ("numpy=1.26", "cannot be understood"),
        ("numpy>=new", "cannot be understood"),
        ("no/path.py", "cannot be understood"),
        ("a b", "cannot be understood"),
        ("parkcos[fast]", "names extras, which cannot be checked"),
        ("numpy @ https://example.org/numpy.whl", "names a URL, which cannot be checked"),
        ("numpy; extra == 'gpu'", "names extras, which cannot be checked"),
        (7, "the requirement 7 is no text"),
    ],
)
def test_what_cannot(text: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_requirement(text)


@pytest.mark.parametrize("texts", ["numpy", 7, None])
def test_a_list_is_wanted(texts: object) -> None:
    with pytest.raises(ConfigError, match="give a list, as requirements="):
        parse_requirements(texts)


@pytest.mark.parametrize(
    "text",
    [
        "parkcos-kiln",
        "Parkcos_Kiln",  # names of packages are the same in all their spellings
        "parkcos_kiln",
        "parkcos_kiln.glaze",
        "parkcos-kiln>=2,<3",
        "parkcos_kiln==2.5.*",
        "parkcos-pottery-tools",
        "potter_of_parkcos",
        "potter_of_parkcos<2",  # the version of the package that it came with
        "lone_parkcos",
        "json",
        "os.path",
        "importlib.metadata",
        "parkcos-nonesuch>=3; sys_platform == 'amiga'",
    ],
)
def test_what_is_there(site: Path, text: str) -> None:
    assert what_is_missing([text]) == []
    assert not {"parkcos_kiln", "potter_of_parkcos"} & sys.modules.keys()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("parkcos-nonesuch", "it is not installed"),
        ("parkcos_nonesuch.inner", "it is not installed"),
        ("parkcos_kiln.oven", "it is not installed"),
        ("lone_parkcos.inner", "it is not installed"),
        ("parkcos-nonesuch>=1", "it is not installed"),
        ("parkcos-kiln>=3", "version 2.5.1 is installed"),
        ("potter_of_parkcos>=1.0", "version 1.0rc1 is installed"),
        ("lone_parkcos>=1", "there is a module lone_parkcos, but no installed package that gives it a version"),
    ],
)
def test_what_is_missing(site: Path, text: str, why: str) -> None:
    assert what_is_missing(["json", text, "parkcos-kiln"]) == [f"{text}: {why}"]


def test_all_that_is_missing_is_named(site: Path) -> None:
    assert what_is_missing(["aaa-nonesuch", "parkcos-kiln<2"]) == [
        "aaa-nonesuch: it is not installed",
        "parkcos-kiln<2: version 2.5.1 is installed",
    ]


def test_what_the_client_brings_is_there() -> None:
    assert what_is_missing(["model_of_parkcos"]) != []
    assert what_is_missing(["model_of_parkcos"], {"model_of_parkcos"}) == []


def test_what_was_installed_meanwhile_is_there(site: Path) -> None:
    assert what_is_missing(["parkcos-late>=4"]) != []
    install(site, "parkcos-late", "4.0", "late_of_parkcos.py")
    assert what_is_missing(["parkcos-late>=4", "late_of_parkcos"]) == []


def test_a_version_that_is_none_is_not_the_one_wanted(site: Path) -> None:
    install(site, "parkcos-old", "today", "old_of_parkcos.py")
    assert importlib.metadata.version("parkcos-old") == "today"
    assert what_is_missing(["parkcos-old"]) == []
    assert what_is_missing(["parkcos-old>=1"]) == ["parkcos-old>=1: version today is installed"]


def test_a_module_without_a_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "specless_parkcos", type(sys)("specless_parkcos"))
    assert is_importable("specless_parkcos")
    assert not is_importable("specless_parkcos.inner")
