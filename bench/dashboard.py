"""What viewers of the dashboard cost the program: `python -m bench.dashboard`, without nodes.

1,000 nodes and 10,000 tasks are told to a real dashboard, at the default interval; a process of its own reads the
streams of ten viewers.  Printed is the processor time of the program (all threads), as percent of one core: while
nobody looks, while they do (from when each has the state), and the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

from parkcos.httpd import records as r
from parkcos.httpd.board import Board
from parkcos.httpd.server import new_model
from parkcos.httpd.shared import NoActions
from parkcos.httpd.site import Site
from parkcos.net.iothread import IOThread
from parkcos.web.site import SiteOptions

SERVERS = 100_000
"""Numbers of servers begin here."""
PULSE_S = 50.0
"""So often each node says what it has, by default."""
FEED_S = 0.1


async def view(url: str, count: int) -> None:
    """Read `count` streams until they end; says when each has its state, and at the end how much has come."""
    parts = urlsplit(url)
    token = parts.query.partition("=")[2]

    async def one() -> int:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 26)
        head = f"GET /api/stream HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        begun = False
        size = 0
        while data := await reader.read(1 << 20):
            size += len(data)
            if not begun and b"\n\n" in data:
                begun = True
                print("has the state", flush=True)
        writer.close()
        return size

    sizes = await asyncio.gather(*(one() for _ in range(count)))
    print(sum(sizes), flush=True)


class Cluster:
    """Tells the board what a cluster does."""

    def __init__(self, board: Board, nodes: int, tasks: int) -> None:
        self._board = board
        self._nodes = nodes
        self._numbers = itertools.count(1)
        self._running: list[int] = []
        for node in range(1, nodes + 1):
            name = f"node{node}"
            board.tell(
                r.NodeSeen(
                    node, name, f"10.0.{node // 250}.{node % 250}", 9706, "Linux-6.1.0-x86_64", 4, 1 << 33, 1 << 36
                ),
                r.NodeChanged(node, "running"),
                r.ServerSeen(SERVERS + node, node, f"{name}/1", "10.0.0.1", 9707),
                r.ServerChanged(SERVERS + node, "running"),
            )
            self._load(node)
        for _ in range(tasks + nodes):
            self.begin()
        for _ in range(tasks):
            self.end()

    def _load(self, node: int) -> None:
        self._board.tell(r.NodeLoad(node, 37.5, 8_000_000_000 + node, 70_000_000_000, 2_000_000_000))

    def begin(self) -> None:
        """A task is submitted, and starts."""
        number = next(self._numbers)
        node = number % self._nodes + 1
        self._board.tell(r.TaskSubmitted(number, "compute", False))
        self._board.tell(r.TaskDescribed(number, args=f"{number}, 0.5, name='a task of the benchmark'"))
        self._board.tell(r.TaskStarted(number, SERVERS + node, node, "compute", False))
        self._running.append(number)

    def end(self) -> None:
        """The one that runs longest ends."""
        number = self._running.pop(0)
        self._board.tell(r.TaskEnded(number, "finished"))
        self._board.tell(r.TaskDescribed(number, result="4.25"))

    def live(self, rate: float, ended: threading.Event) -> None:
        """So many tasks a second begin and end; nodes tell their load at their pulse."""
        begun, loads, tasks = time.monotonic(), 0, 0
        while not ended.wait(FEED_S):
            elapsed = time.monotonic() - begun
            while tasks < elapsed * rate:
                tasks += 1
                self.end()
                self.begin()
            while loads < elapsed * self._nodes / PULSE_S:
                loads += 1
                self._load(loads % self._nodes + 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard", description=__doc__.partition("\n")[0])
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--tasks", type=int, default=10_000, help="that have ended and are shown")
    parser.add_argument("--rate", type=float, default=100.0, help="tasks that begin and end in a second (default: 100)")
    parser.add_argument("--seconds", type=float, default=40.0, help="of each measurement (default: 40)")
    parser.add_argument("--poll", type=float, default=10.0, help="interval in seconds (default: 10)")
    parser.add_argument("--view", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.view:
        asyncio.run(view(options.view, options.viewers))
        return

    board = Board(new_model("client", "bench", options.poll, True, 10_000))
    cluster = Cluster(board, options.nodes, options.tasks)
    io = IOThread()
    io.start()
    site = Site(io, board, SiteOptions("127.0.0.1", 0), NoActions(), lambda: None)
    ended = threading.Event()
    feeder = threading.Thread(target=cluster.live, args=(options.rate, ended))
    feeder.start()

    def measure() -> float:
        used, begun = time.process_time(), time.monotonic()
        time.sleep(options.seconds)
        return 100.0 * (time.process_time() - used) / (time.monotonic() - begun)

    alone = measure()
    command = [sys.executable, "-m", "bench.dashboard", "--view", site.url, "--viewers", str(options.viewers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewers:
        assert viewers.stdout is not None
        for _ in range(options.viewers):
            viewers.stdout.readline()
        seen = measure()
        io.run(site.close(5.0)).result()
        ended.set()
        received = int(viewers.stdout.read())
    feeder.join()
    io.close()
    print(f"{options.nodes} nodes, {options.tasks} tasks, {options.rate:g} tasks/s, every {options.poll:g} s")
    print(f"nobody looks: {alone:.2f} % of a core; {options.viewers} viewers: {seen:.2f} %")
    print(f"the viewers cost {seen - alone:.2f} % of a core, and were sent {received / 1e6:.1f} MB in all")


if __name__ == "__main__":
    main()
