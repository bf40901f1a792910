"""parkcos/node/tally.py"""

from __future__ import annotations

import os
import sys
import time

import pytest

from parkcos.node.tally import PLACES_MAX, ServerTally, Tally, make_tally_file


def test_what_one_process_writes_another_reads() -> None:
    fd = make_tally_file()
    node = Tally(fd)
    assert node.read(0) == ServerTally(0, 0, 0.0)
    server = Tally(fd)
    os.close(fd)
    before = time.monotonic()
    for index in (0, PLACES_MAX - 1):
        server.begin(index)
        server.note(index, 3)
        found = node.read(index)
        assert (found.pid, found.tasks) == (os.getpid(), 3)
        assert before <= found.last <= time.monotonic()
    server.begin(0)
    assert node.read(0).tasks == 0, "a new process runs nothing"
    assert node.read(0).last == node.read(0).last >= before, "but the place was in use"
    server.begin(PLACES_MAX)
    server.note(PLACES_MAX, 1)
    assert node.read(PLACES_MAX) == ServerTally(0, 0, 0.0)
    server.close()
    node.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has such files")
def test_nobody_can_cut_it_short() -> None:
    """Who would read it then, its node, would be killed."""
    fd = make_tally_file()
    with pytest.raises(PermissionError):
        os.truncate(fd, 0)
    os.close(fd)
