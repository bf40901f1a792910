"""The secrets of the tests' clusters, as parkcos makes them: keys come from them in no time."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

SECRET = "parkcos-1-59830ebc3a4184110566bf1a290d08473dfdcbd492ce498b14cd1a5e2fa2e441-74c446fe"
OTHER_SECRET = "parkcos-1-01db91d06032cc64162c16f8e35725b0e632beebdde8b2c2459979d04fb1e20c-fa6b72c3"


@cache
def secret_file() -> str:
    """A file with the first one, for as long as this process lives."""
    shared = os.environ.get("PYTEST_DEBUG_TEMPROOT")  # a test may have one of its own, in which it wants nothing else
    folder = Path(tempfile.mkdtemp(prefix="parkcos-tests-", dir=shared))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "secret"
    path.touch(mode=0o600)
    path.write_text(f"{SECRET}\n")
    return str(path)
