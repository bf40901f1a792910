"""A sender a hundred times faster than its receiver: both keep their memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.lib import SECRET, Program, free_ports

pytestmark = pytest.mark.live

MEMORY_MIB = 64
"""How much a process may grow; what is sent in all is several times that, and what the windows allow is less."""

COMMON = """
import resource, sys
from parkcos import Location, Parkcos, Task

def grown():
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - at_first) // 1024

SIZE, COUNT = {size}, {count}
"""

RECEIVER = """
def sink(task=None):
    task.register("sink")
    sender, _ = yield task.receive()
    for number in range(COUNT):
        got, _ = yield task.receive()
        assert got == number, (got, number)
        if number < 150:
            yield task.sleep(0.01)  # a hundred times slower than it is sent
    sender.send("all")
    print("GROWN", grown(), flush=True)

Parkcos("127.0.0.1", {port}, secret={secret!r}, discover_peers=False)
at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Task(sink).value()
"""

SENDER = """
def source(task=None):
    sink = yield Task.locate("sink", Location("127.0.0.1", {port}), timeout=20)
    sink.send((task, None))
    for number in range(COUNT):
        yield sink.send((number, bytes(SIZE)))
    assert (yield task.receive(timeout=60)) == "all"
    print("GROWN", grown(), flush=True)

Parkcos("127.0.0.1", secret={secret!r}, discover_peers=False)
at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Task(source).value()
"""


@pytest.mark.parametrize(("size", "count"), [(100_000, 3000), (500, 200_000)])
def test_memory_stays_bounded(tmp_path: Path, size: int, count: int) -> None:
    (port,) = free_ports(1)
    words = {"size": size, "count": count, "port": port, "secret": SECRET}
    for name, program in (("receiver", RECEIVER), ("sender", SENDER)):
        (tmp_path / f"{name}.py").write_text((COMMON + program).format(**words))
    with (
        Program(tmp_path / "receiver.py", cwd=tmp_path) as receiver,
        Program(tmp_path / "sender.py", cwd=tmp_path) as sender,
    ):
        for process in (receiver, sender):
            grown = int(process.wait_for(r"GROWN (\d+)")[1])
            assert grown < MEMORY_MIB, f"{grown} MiB more for {size * count >> 20} MiB sent"
            assert process.wait() == 0, process.text
