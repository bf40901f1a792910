"""parkcos/client/components.py: what lies where at a node, and what is no component."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import msgspec
import pytest

from parkcos.client.components import bundle
from parkcos.cluster.bundle import File, Folder, Link
from parkcos.errors import ShippingError, UsageError


def paths(*components: Any) -> list[str]:
    """Where the files of these components lie at a node."""
    return [file.path for file in files(*components)]


def files(*components: Any) -> list[File]:
    return [entry for entry in bundle(list(components), None)[1].files if isinstance(entry, File)]


def links(*components: Any) -> dict[str, str]:
    """Where the links of these components lie at a node, and lead to."""
    return {entry.path: entry.to for entry in bundle(list(components), None)[1].files if isinstance(entry, Link)}


@pytest.fixture(params=["in it", "above it", "elsewhere"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files; the program is started in it, above it, or elsewhere."""
    folder = tmp_path / "a folder's ö"
    (folder / "inner" / "deep").mkdir(parents=True)
    (folder / "table.txt").write_text("t")
    (folder / "inner" / "a.txt").write_text("a")
    (folder / "inner" / "deep" / "a.txt").write_text("deep")
    (folder / "inner" / "__pycache__").mkdir()
    (folder / "inner" / "__pycache__" / "x.pyc").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir({"in it": folder, "above it": tmp_path, "elsewhere": tmp_path / "elsewhere"}[request.param])
    return folder


def test_a_file_lies_beside_the_servers_folders(folder: Path) -> None:
    assert paths(folder / "table.txt", folder / "inner" / "deep" / "a.txt") == ["table.txt", "a.txt"]


def test_a_folder_keeps_its_name_and_its_tree(folder: Path) -> None:
    assert paths(folder / "inner") == ["inner/a.txt", "inner/deep/a.txt"]
    assert paths(folder / "inner" / "deep" / "..") == ["inner/a.txt", "inner/deep/a.txt"]


def test_paths_that_are_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "inner")
    assert paths("../table.txt", "deep/a.txt") == ["table.txt", "a.txt"]
    assert paths(".") == ["inner/a.txt", "inner/deep/a.txt"]
    assert paths("..", "deep")[-2:] == ["a folder's ö/table.txt", "deep/a.txt"]


def test_a_link_keeps_its_name(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder / "inner" / "a.txt")
    (folder / "link").symlink_to("inner")
    (file,) = files(folder / "link.txt")
    assert (file.path, file.data) == ("link.txt", b"a")
    assert paths(folder / "link") == ["link/a.txt", "link/deep/a.txt"]


def test_a_link_within_its_folder_travels_as_it_is(folder: Path, tmp_path: Path) -> None:
    inner = folder / "inner"
    (inner / "first").symlink_to("second")
    (inner / "second").symlink_to("deep/../a.txt")
    (inner / "deep" / "up").symlink_to("../deep")
    (inner / "nowhere").symlink_to("deep/no_such")
    (inner / "itself").symlink_to("itself")
    (tmp_path / "way").symlink_to(inner)
    (inner / "absolute").symlink_to(tmp_path / "way" / "deep" / "a.txt")
    (inner / "deep" / "by_name").symlink_to("../../inner/a.txt")
    expected = {
        "first": "second",
        "second": "deep/../a.txt",
        "deep/up": "../deep",
        "nowhere": "deep/no_such",
        "itself": "itself",
        "absolute": "deep/a.txt",
        "deep/by_name": "../a.txt",
    }
    assert links(inner) == {f"inner/{name}": to for name, to in expected.items()}
    assert links(tmp_path / "way") == {f"way/{name}": to for name, to in expected.items()}
    assert paths(inner) == ["inner/a.txt", "inner/deep/a.txt"], "nothing travels twice"


def test_a_link_that_leads_out_of_its_folder_brings_what_it_leads_to(folder: Path) -> None:
    (folder / "inner" / "linked.txt").symlink_to("../table.txt")
    assert ("inner/linked.txt", b"t") in [(file.path, file.data) for file in files(folder / "inner")]
    assert links(folder / "inner") == {}


@pytest.mark.parametrize(
    ("to", "what"), [("../../elsewhere", "a folder"), ("../none", "no file"), ("/dev/null", "no file")]
)
def test_a_link_that_leads_out_to_no_file_is_refused(folder: Path, to: str, what: str) -> None:
    (folder / "inner" / "out").symlink_to(to)
    with pytest.raises(UsageError, match=rf"inner/out leads out of its component, to .*{what}"):
        bundle([folder / "inner"], None)


def test_an_empty_folder_travels(folder: Path) -> None:
    (folder / "inner" / "empty").mkdir()
    assert Folder("inner/empty") in bundle([folder / "inner"], None)[1].files
    assert bundle([folder / "inner" / "empty"], None)[1].files == [Folder("empty")]


def test_a_folder_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listdir = os.listdir

    def denied(path: Any) -> list[str]:  # of everybody but root
        if Path(path).name == "deep":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(ShippingError, match=r"inner/deep cannot be read: Permission denied"):
        bundle([folder / "inner"], None)


def test_what_is_neither_file_nor_folder_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(folder / "inner" / "pipe")
    assert paths(folder / "inner") == ["inner/a.txt", "inner/deep/a.txt"]
    assert "inner/pipe is neither a file nor a folder" in caplog.text


def test_a_name_that_is_not_utf8_is_named(folder: Path) -> None:
    (folder / "inner" / "caf\udce9.txt").write_text("x")
    with pytest.raises(UsageError, match=r"caf.udce9\.txt.* not UTF-8"):
        bundle([folder / "inner"], None)


def test_two_files_of_one_name(folder: Path) -> None:
    one, other = folder / "inner" / "a.txt", folder / "inner" / "deep" / "a.txt"
    with pytest.raises(UsageError) as caught:
        bundle([one, other], None)
    assert str(one) in str(caught.value) and str(other) in str(caught.value) and "'a.txt'" in str(caught.value)
    assert paths(one, one) == ["a.txt"], "the same file twice is no mistake"


@pytest.mark.parametrize("linked", [True, False])
def test_a_file_and_a_folder_of_one_name(folder: Path, linked: bool) -> None:
    other = folder / "other" / "inner"
    other.mkdir(parents=True)
    if linked:
        (other / "deep").symlink_to(".")
    else:
        (other / "deep").write_text("no folder")
    for order in (folder / "inner", other), (other, folder / "inner"):
        with pytest.raises(UsageError, match="would both be 'inner/deep'"):
            bundle(order, None)


def test_what_is_no_file(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no_such\.txt.*is no file"):
        bundle([folder / "no_such.txt"], None)
    with pytest.raises(UsageError, match="the whole file system"):
        bundle(["/"], None)


@pytest.mark.parametrize("module", [msgspec, msgspec._core, sys.modules["msgspec._utils"]])
def test_an_installed_package_with_compiled_parts_is_refused(module: Any) -> None:
    with pytest.raises(UsageError, match=r"it is installed .*compiled") as caught:
        bundle([module], None)
    assert "requirements=['msgspec']" in str(caught.value)


def test_an_installed_package_without_them_is_taken() -> None:
    shipper, made = bundle([cloudpickle], None)
    assert "cloudpickle/cloudpickle.py" in [file.path for file in made.files]
    assert "cloudpickle.cloudpickle" in shipper.by_reference


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; what is imported from it is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_brings_what_it_imports_from_its_folder(modules: Path) -> None:
    (modules / "ca_helper.py").write_text("import ca_other, cloudpickle\n")
    (modules / "ca_other.py").write_text("from ca_pack.inner import x\n")
    (modules / "ca_pack").mkdir()
    (modules / "ca_pack" / "__init__.py").write_text("")
    (modules / "ca_pack" / "inner.py").write_text("x = 1\n")
    import ca_helper  # type: ignore[import-not-found]

    shipper, made = bundle([ca_helper], None)
    found = [entry.path for entry in made.files if isinstance(entry, File)]
    assert sorted(found) == ["ca_helper.py", "ca_other.py", "ca_pack/__init__.py", "ca_pack/inner.py"]
    assert all(name in shipper.by_reference for name in ("ca_helper", "ca_other", "ca_pack.inner"))
    assert "cloudpickle" not in shipper.by_reference


def test_a_constant_that_differs_at_the_servers_is_told(modules: Path, caplog: pytest.LogCaptureFixture) -> None:
    (modules / "cb_config.py").write_text("N = 5\n")
    import cb_config  # type: ignore[import-not-found]

    cb_config.N = 7
    bundle([cb_config], None)
    assert "cb_config.N is 7 here, and 5 at the servers" in caplog.text
