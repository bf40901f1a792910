"""What the programs of the rows share. A program is a function per peer; `main` runs one and prints one line of JSON.

pycos and parkcos have the same vocabulary, so one text, run on `Tasks`, measures both.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psutil

HOST = "127.0.0.1"
SECONDS = float(os.environ.get("BENCH_SECONDS", "0.5"))  # how long a measurement lasts at least

Result = dict[str, float]


class NotThereYet(Exception):
    """The library does not have what the row needs."""


def main(programs: Mapping[str, Callable[..., Result | None]]) -> None:
    """Run the program named first on the command line with the other words as arguments; numbers become ints."""
    name, *words = sys.argv[1:]
    try:
        result = programs[name](*(int(word) if word.isdigit() else word for word in words))
    except NotThereYet as missing:
        result = {"missing": str(missing)}  # type: ignore[dict-item]
    if result is not None:
        print(json.dumps(result), flush=True)
    sys.stdout.flush()
    os._exit(0)  # several peers hang at exit; the runner clears away what is left


def rate(run: Callable[[int], float]) -> float:
    """Operations per second. `run(n)` does n and gives the seconds they took; n grows until it is long enough."""
    run(10)  # warms up
    n = 1
    while (seconds := run(n)) < SECONDS:
        n = max(n + 1, int(n * min(10.0, 1.2 * SECONDS / max(seconds, 1e-9))))
    return n / seconds


def need(*names: str) -> Any:
    """The module parkcos, once it has these names."""
    try:
        parkcos = importlib.import_module("parkcos")
    except ImportError as error:
        raise NotThereYet(str(error)) from error
    if missing := [name for name in names if not hasattr(parkcos, name)]:
        raise NotThereYet(f"parkcos.{', '.join(missing)}")
    return parkcos


class Tasks:
    """pycos, or parkcos: `Task` and `Location`, and a presence on the network."""

    def __init__(self, library: str, network: bool = False) -> None:
        self.is_parkcos = library == "parkcos"
        if self.is_parkcos:
            self.module = need("Task", *(("Location", "Parkcos") if network else ()))
        else:
            self.module = importlib.import_module("pycos")
            if network:
                importlib.import_module("pycos.netpycos")
        self.Task = self.module.Task

    def go_online(self, secure: bool = True) -> Any:
        """Start the network on loopback. parkcos with TLS, or without; pycos in plain."""
        ports = {"host": HOST, "tcp_port": 0, "udp_port": free_port(socket.SOCK_DGRAM)}
        if not self.is_parkcos:
            return self.module.Pycos(**ports, discover_peers=False)
        return self.module.Parkcos(**ports, **({"secret": "a secret for the bench"} if secure else {"no_secret": True}))

    def peer_options(self) -> dict[str, bool]:
        """pycos at its best: it keeps a connection only when told to."""
        return {} if self.is_parkcos else {"stream_send": True}


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def kill_tree(pid: int) -> None:
    """End a process that this program started, and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@contextlib.contextmanager
def partner(*words: object) -> Iterator[int]:
    """This same module as a second process; gives the port that it announces."""
    spec = sys.modules["__main__"].__spec__
    assert spec is not None
    command = [sys.executable, "-m", spec.name, *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:  # pycos logs to its standard output
                if line.startswith("port "):
                    yield int(line.split()[1])
                    break
                if line.startswith('{"missing"'):
                    raise NotThereYet(json.loads(line)["missing"])
            else:
                raise RuntimeError(f"{command} ended without a port")
        finally:
            kill_tree(process.pid)


def announce(port: int) -> None:
    """The other half of `partner`: say the port, then serve until the partner's end."""
    print(f"port {port}", flush=True)
    sys.stdin.read()
