"""The environment that every measured program runs in: the peers, and what parkcos needs; never the checkout's own.

Runs before psutil and the rest are there, so: standard library only.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "bench" / ".venv-peers"
PYTHON = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOCK = ROOT / "requirements" / "bench.txt"
PEERS = ["pycos", "distributed", "ray", "ipyparallel", "uvloop"]


def ensure() -> None:
    """Make the environment, or make it again when the lock has changed."""
    digest = hashlib.sha256(sys.version.encode() + LOCK.read_bytes()).hexdigest()
    stamp = FOLDER / "installed"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"setting up {FOLDER} from {LOCK.relative_to(ROOT)}", flush=True)
    venv.create(FOLDER, with_pip=True, clear=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", LOCK], check=True)
    stamp.write_text(digest)
