"""Programs of parkcos on the hosts of a lab."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import logs
from tests.lab import Host, HostProcess
from tests.secret import SECRET

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


class Site:
    """Starts programs on hosts, and keeps what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_text(f"{SECRET}\n")
        self.secret.chmod(0o600)
        self.started: list[tuple[str, HostProcess]] = []

    def start(self, host: Host, *command: str) -> HostProcess:
        """Run a program of the checkout there, with the secret of all."""
        name = f"{len(self.started)}-{host.name}"
        environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with open(self.folder / f"{name}.log", "wb") as log:
            process = host.popen(
                [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ
            )
        self.started.append((name, process))
        logs.show(f"{host.name}: {' '.join(command)}", lambda: self.said(process), lambda: process.poll() is None)
        return process

    def node(self, host: Host, *options: str) -> HostProcess:
        script = str(ROOT / "scripts" / "parkcosnode.py")
        folder = ["--dest_path", str(self.folder / f"dest-{host.name}")]
        return self.start(host, script, "--daemon", "-c", "2", "--secret_file", str(self.secret), *folder, *options)

    def scheduler(self, host: Host, *options: str) -> HostProcess:
        script = str(ROOT / "scripts" / "parkcos.py")
        return self.start(host, script, "--daemon", "--secret_file", str(self.secret), *options)

    def client(self, host: Host, program: str, *options: str) -> HostProcess:
        path = self.folder / "client.py"
        if not path.exists():
            path.write_text(program)
        elif path.read_text() != program:  # an earlier one may be about to read its own
            path = self.folder / f"client-{len(self.started)}.py"
            path.write_text(program)
        return self.start(host, str(path), str(self.secret), *options)

    def said(self, process: HostProcess) -> str:
        """What the process has printed and logged until now."""
        name = next(name for name, one in self.started if one is process)
        return (self.folder / f"{name}.log").read_text()

    def wait_for(self, process: HostProcess, text: str, lines: str = "") -> str:
        """Wait until it has said so; everything that it has said.  lines: only those that begin so are looked at."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = self.said(process)
            if text in "\n".join(line for line in said.splitlines() if line.startswith(lines)):
                return said
            assert process.poll() is None, f"it ended without saying {text!r}:\n{said}"
            assert time.monotonic() < deadline, f"it does not say {text!r}:\n{said}"
            time.sleep(0.02)

    def finish(self, process: HostProcess, patience_s: float = PATIENCE_S) -> str:
        """Wait for its end, which must be a good one; everything that it has said."""
        code = process.wait(patience_s)
        said = self.said(process)
        assert code == 0, said
        return said

    def end(self, *processes: HostProcess) -> None:
        """SIGTERM to all, which must end them well."""
        for process in processes:
            process.terminate()
        for process in processes:
            self.finish(process)


@pytest.fixture
def site(tmp_path: Path, lab: Callable[..., Any]) -> Site:
    return Site(tmp_path)
