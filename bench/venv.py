"""The environment that every measured program runs in: the peers, and what parkcos needs; never the checkout's own.

Runs before psutil and the rest are there, so: standard library only.
"""

import hashlib
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "bench" / ".venv-peers"
PYTHON = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PEERS = ["pycos", "distributed", "ray", "ipyparallel", "uvloop"]
BASICS = ["psutil", "cloudpickle", "cryptography", "msgspec"]  # what parkcos needs, until its pyproject.toml says so


def ensure() -> None:
    """Make the environment, or bring it up to date when the list of packages changed."""
    wanted = sorted({*PEERS, "psutil", *_parkcos_dependencies()})
    stamp = FOLDER / "installed"
    digest = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"setting up {FOLDER}: {', '.join(wanted)}", flush=True)
    venv.create(FOLDER, with_pip=True, clear=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
    stamp.write_text(digest)


def _parkcos_dependencies() -> list[str]:
    pyproject = ROOT / "pyproject.toml"
    if not pyproject.exists():
        return BASICS
    return list(tomllib.loads(pyproject.read_text()).get("project", {}).get("dependencies", BASICS))
