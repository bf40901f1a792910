"""What a server's tasks have started ends with that server, however that ends, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from typing import Any

import psutil
import pytest

import parkcos
from parkcos import Client, TaskAbandoned
from tests.live.lib import LIMIT_S, gone, run

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]

LASTS = [sys.executable, "-c", "import time; time.sleep(600)"]
"""A program that outlives the tests, unless somebody ends it."""
helper = 0


def begins_helper() -> Gen:
    """The client's node_setup."""
    global helper
    yield
    helper = subprocess.Popen(LASTS).pid
    return 0


def starts(to: Any) -> Gen:
    """Programs of the server's group, in a session of their own, and orphans of both kinds; and a fork."""
    yield
    direct = [subprocess.Popen(LASTS, start_new_session=own).pid for own in (False, True)]
    script = (
        "import subprocess, sys; own = sys.argv[1] == '1'; "
        "print(subprocess.Popen(sys.argv[2:], stdout=sys.stderr, start_new_session=own).pid)"
    )
    orphans = [
        int(subprocess.check_output([sys.executable, "-c", script, own, *LASTS], stderr=subprocess.DEVNULL))
        for own in "01"
    ]
    fork = os.fork()
    if fork == 0:
        time.sleep(600)
        os._exit(0)
    to.send((os.getpid(), helper, [*direct, *orphans, fork]))
    os.system(" ".join([LASTS[0], LASTS[1], f"'{LASTS[2]}'"]))  # holds up the server, and its interrupts
    while True:
        yield parkcos.cur_task().receive()


def started(client: Client) -> Gen:
    """Two tasks that have started programs; gives each with its server's process, helper and programs."""
    me = parkcos.cur_task()
    found = []
    for _ in range(2):
        rtask = yield client.rtask(starts, me)
        server, setup, programs = yield me.receive(LIMIT_S)
        found.append((rtask, psutil.Process(server), psutil.Process(setup), [psutil.Process(pid) for pid in programs]))
    return found


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_programs_end_with_the_server_whose_task_has_started_them(how: str) -> None:
    def main() -> Gen:
        client = Client(node_setup=begins_helper)
        yield client.schedule(timeout=LIMIT_S)
        try:
            (rtask, server, setup, programs), (_, _, _, others) = yield started(client)
            if how == "killed":
                server.send_signal(signal.SIGKILL)
            else:
                client.close_server(rtask.location, terminate=True)
            with pytest.raises(TaskAbandoned) as caught:
                yield rtask.result()
            # The client has heard of the end, and may run the task again.
            left = [p for p in programs[:4] if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            assert (left, gone(programs)) == ([], [])
            assert all(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in (setup, *others))
            expected = "SIGKILL" if how == "killed" else "it was closed with terminate=True: its node killed it"
            assert expected in str(caught.value)
            assert ("out of memory" in str(caught.value)) == (how == "killed")
        finally:
            yield client.close(terminate=True)
        assert gone([setup, *others]) == []

    run(main)


def test_programs_end_with_a_zygote_that_is_killed() -> None:
    def main() -> Gen:
        client = Client(node_setup=begins_helper)
        yield client.schedule(timeout=LIMIT_S)
        try:
            families = yield started(client)
            zygote = families[0][1].parent()
            assert zygote is not None
            zygote.kill()
            assert gone([p for _, server, setup, programs in families for p in (server, setup, *programs)]) == []
        finally:
            yield client.close(terminate=True)

    run(main)
