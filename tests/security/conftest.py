"""What the tests of attacks share: a cluster whose secret is in a file, and nowhere in a test's source."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.live.conftest import ports, stack
from tests.live.lib import Ports
from tests.net.conftest import cluster, log, often

__all__ = ["cluster", "log", "often", "ports", "stack"]


class Site(Ports):
    """A cluster with a secret of its own, or this one, in the file `secret` of the folder."""

    def __init__(self, folder: Path, secret: str = "") -> None:
        super().__init__()
        folder.mkdir(mode=0o700, exist_ok=True)
        self.secret_file = folder / "secret"
        self.secret = secret or secrets.token_urlsafe(32)
        self.secret_file.write_text(self.secret)
        self.secret_file.chmod(0o600)
        self.options = ["-i", "127.0.0.1", "--secret_file", str(self.secret_file), "--daemon"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "keys")
