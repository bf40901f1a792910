"""What the logs say of a turn: whose it is, and what becomes of its servers; nothing alarming if nothing happens."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.live.lib import Ports, Program
from tests.live.test_programs import HOLDS, SQUARES

pytestmark = pytest.mark.live


def test_every_line_of_a_turn_names_its_client(ports: Ports, tmp_path: Path) -> None:
    scheduler, _ = ports.scheduler()
    node, _ = ports.node(2)
    with scheduler, node:
        node.wait_for("belongs to the shared scheduler")
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("total 285")
            assert client.wait() == 0
        node.wait_for("-> free")
        phases = node.find(r"node \S+: \w+ -> \w+")
        assert len(phases) >= 4
        assert [line for line in phases if "(squares at 127.0.0.1)" not in line] == []
        scheduler.wait_for("it is the turn of squares at 127.0.0.1")
        scheduler.wait_for("the turn of squares at 127.0.0.1 is over, 0 wait")
        assert node.end() == 0
        assert scheduler.end() == 0
    for program in (node, scheduler, client):
        assert _alarming(program) == []


def _alarming(program: Program) -> list[str]:
    expected = "waits for its turn|waits for the servers of|has no node yet"
    return [line for line in program.find("WARNING|ERROR") if not re.search(expected, line)]


FAILS = """
def fails(of, task=None):
    yield
    return 1 / 0, of

def main(task=None):
    client = Client([fails], name="fails")
    yield client.schedule()
    yield client.rtask(fails, "unheard")
    rtask = yield client.rtask(fails, "heard")
    try:
        yield rtask.result()
    except ZeroDivisionError:
        print("heard of it", flush=True)
    yield client.close()

run(main)
"""


def test_a_failure_is_logged_once_by_whoever_is_left_with_it(ports: Ports, tmp_path: Path) -> None:
    node, _ = ports.node(1)
    with node, ports.client(tmp_path, FAILS) as client:
        client.wait_for("^heard of it")
        assert client.wait() == 0
        node.wait_for("-> free")
        assert node.end() == 0
    assert len(client.find("ERROR .*fails/.* failed, and nobody here has asked for its end:")) == 1
    assert client.text.count("return 1 / 0, of") == 1
    assert len(node.find("INFO .*fails/.* failed: ZeroDivisionError: division by zero")) == 2
    assert "Traceback" not in node.text


def test_a_server_that_dies_leaves_a_line_in_its_node_s_log(ports: Ports, tmp_path: Path) -> None:
    node, _ = ports.node(1)
    with node, ports.client(tmp_path, HOLDS) as client:
        pid = int(client.wait_for(r"runs at (\d+)")[1])
        os.kill(pid, signal.SIGKILL)
        node.wait_for(r"WARNING server 1 of holds at 127\.0\.0\.1 ended: it was killed by signal 9, SIGKILL")
        client.end(signal.SIGKILL)
    node, _ = ports.node(1)
    with node, ports.client(tmp_path, HOLDS) as client:
        zygote = psutil.Process(int(client.wait_for(r"runs at (\d+)")[1])).parent()
        assert zygote is not None
        zygote.kill()
        node.wait_for(
            r"WARNING all servers of holds at 127\.0\.0\.1 ended: the process that starts the servers was killed"
        )
        client.end(signal.SIGKILL)
