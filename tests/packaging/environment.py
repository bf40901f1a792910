"""A fresh environment in which parkcos is installed from its wheel, as a user would have it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
WINDOWS = os.name == "nt"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


def build(how: str, tmp: Path) -> Path:
    """Build from a copy of what the wheel needs: a build leaves nothing in the checkout and takes nothing else."""
    source = tmp / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("parkcos", "scripts", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-c", f"from hatchling import build; build.{how}({str(tmp)!r})", cwd=source)
    (wheel,) = tmp.glob("*.whl")
    return wheel


def install(wheel: Path, tmp: Path) -> Path:
    """Make an environment and install the wheel into it; its folder of scripts.

    It borrows this environment's site-packages for everything else, so no index is asked.
    """
    venv.create(tmp / "venv", with_pip=False, symlinks=not WINDOWS)
    folder = tmp / "venv" / ("Scripts" if WINDOWS else "bin")
    python = folder / "python"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    run(*pip, wheel, cwd=tmp)
    own_packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp).stdout.strip()
    borrowed = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    Path(own_packages, "borrowed.pth").write_text("\n".join(borrowed))
    return folder
