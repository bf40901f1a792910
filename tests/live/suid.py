"""An interpreter that is suid, with all that a node needs, where users without an account can run it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.live.lib import ROOT, Program

NODE_UID, NODE_GID = 12345, 12345
CLIENT_UID, CLIENT_GID = 12346, 12347
_PLACES = (Path("/var/tmp"), Path("/tmp"), Path("/opt"))
_NOT_NEEDED = ("site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "lib2to3", "turtledemo")


class SuidPython:
    """A folder with a Python of its own: `python` is suid and sgid, `plain` is not; `work` is the node user's."""

    def __init__(self, folder: Path) -> None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.folder = folder
        folder.chmod(0o755)
        for name in ("bin", "lib", "packages"):
            (folder / name).mkdir(mode=0o755)
        library = folder / "lib" / f"python{version}"
        _copy(Path(sysconfig.get_path("stdlib")), library)
        for path in _requirements("parkcos", set()):
            _copy(path, folder / "packages" / path.name)
        _copy(ROOT / "parkcos", folder / "packages" / "parkcos")
        self.plain = folder / "bin" / "plain"
        self.plain.write_bytes(self._binary())
        self.plain.chmod(0o755)
        self.python = folder / "bin" / f"python{version}"
        shutil.copy(self.plain, self.python)
        self.set_bits()
        self.work = folder / "work"
        self.work.mkdir()
        os.chown(self.work, NODE_UID, NODE_GID)
        self.work.chmod(0o755)

    def set_bits(self) -> None:
        os.chown(self.python, CLIENT_UID, CLIENT_GID)
        self.python.chmod(0o6755)  # after chown, which takes the bits away

    def _binary(self) -> bytes:
        """The interpreter; one that needs a library of its own finds it in this folder."""
        data = Path(os.path.realpath(sys.executable)).read_bytes()
        if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
            return data
        there = Path(sysconfig.get_config_var("LIBDIR"))
        shared = sysconfig.get_config_var("INSTSONAME")
        old, new = os.fsencode(there) + b"\0", os.fsencode(self.folder / "lib")
        if not (there / shared).exists() or old not in data or len(new) >= len(old):
            return data  # it is found in some other way
        shutil.copy(there / shared, self.folder / "lib" / shared)
        return data.replace(old, new.ljust(len(old), b"\0"))

    def popen(self, groups: tuple[int, ...] = (CLIENT_GID,)) -> dict[str, Any]:
        """Arguments of Popen: as the node's user, in a folder that it can enter."""
        env = {name: value for name, value in os.environ.items() if name != "HOME"}
        env |= {"PYTHONPATH": str(self.folder / "packages"), "HOME": str(self.work), "USER": "parkcos-test-node"}
        return {"user": NODE_UID, "group": NODE_GID, "extra_groups": groups, "cwd": self.folder, "env": env}

    def program(self, *args: str | os.PathLike[str], plain: bool = False) -> Program:
        """Start a program of this Python as the node's user."""
        return Program(*args, python=self.plain if plain else self.python, **self.popen())

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        return subprocess.run([self.python, *args], capture_output=True, text=True, timeout=30, **self.popen())


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        skipped = shutil.ignore_patterns(*_NOT_NEEDED, "config-*")
        shutil.copytree(source, target, ignore=skipped, ignore_dangling_symlinks=True)
        for inner, _, names in os.walk(target):
            os.chmod(inner, 0o755)
            for name in names:
                os.chmod(os.path.join(inner, name), 0o644)
    else:
        shutil.copy(source, target)
        target.chmod(0o644)


def _requirements(name: str, seen: set[str]) -> set[Path]:
    """What of site-packages the distribution needs, and the optional uvloop."""
    found: set[Path] = set()
    for text in [*(metadata.requires(name) or ()), *(["uvloop"] if name == "parkcos" else [])]:
        match = re.match(r"[\w.-]+", text)
        assert match is not None
        if "extra ==" in text or match[0] in seen:
            continue
        seen.add(match[0])
        with contextlib.suppress(metadata.PackageNotFoundError):
            for file in metadata.files(match[0]) or ():
                if file.parts[0] not in ("..", "__pycache__"):
                    found.add(Path(str(file.locate().parents[len(file.parts) - 1]), file.parts[0]))
            found |= _requirements(match[0], seen)
    return found


def _fit(place: Path) -> str:
    """Why a suid program cannot be tried in this folder."""
    if not place.is_dir() or not place.stat().st_mode & stat.S_IXOTH:
        return "not open to all users"
    flags = os.statvfs(place).f_flag
    return "mounted nosuid or noexec" if flags & (os.ST_NOSUID | os.ST_NOEXEC) else ""


@contextlib.contextmanager
def suid_python() -> Iterator[SuidPython]:
    """Make one, and remove it after."""
    reasons = {place: _fit(place) for place in _PLACES}
    place = next((place for place, reason in reasons.items() if not reason), None)
    if place is None:
        pytest.skip(f"a suid program cannot be run: {reasons}")
    folder = Path(tempfile.mkdtemp(prefix="pk-", dir=place))
    try:
        yield SuidPython(folder)
    finally:
        shutil.rmtree(folder)
