"""parkcos/node/tally.py"""

from __future__ import annotations

import os
import time

from parkcos.node.tally import SERVERS_MAX, ServerTally, Tally, make_tally_file


def test_what_one_process_writes_another_reads() -> None:
    fd = make_tally_file()
    node = Tally(fd)
    assert node.read(0) == ServerTally(0, 0, 0.0)
    server = Tally(fd)
    os.close(fd)
    before = time.monotonic()
    for index in (0, SERVERS_MAX - 1):
        server.begin(index)
        server.note(index, 3)
        found = node.read(index)
        assert (found.pid, found.tasks) == (os.getpid(), 3)
        assert before <= found.last <= time.monotonic()
    server.begin(0)
    assert node.read(0).tasks == 0, "a new process runs nothing"
    assert node.read(0).last == node.read(0).last >= before, "but the place was in use"
    server.begin(SERVERS_MAX)
    server.note(SERVERS_MAX, 1)
    assert node.read(SERVERS_MAX) == ServerTally(0, 0, 0.0)
    server.close()
    node.close()
