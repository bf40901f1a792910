"""Hosts whose addresses come late, change, or are those of another network: programs there follow them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from tests.lab import Host, Lab
from tests.netns.conftest import Site

pytestmark = [pytest.mark.netns, pytest.mark.slow]

CLIENT = textwrap.dedent("""
    import logging, os, platform, sys
    from parkcos import Client, Parkcos, Task

    logging.basicConfig(level=logging.INFO)

    def compute(home, task=None):
        home.send("runs")
        word = yield task.receive(timeout=60)
        return word, platform.node()

    def main(task=None):
        client = Client([compute])
        assert (yield client.schedule(timeout=30)) == 0
        rtask = yield client.rtask(compute, task)
        assert (yield task.receive(timeout=60)) == "runs"
        print("RUNS")
        while not os.path.exists(sys.argv[2]):
            yield task.sleep(0.05)
        assert (yield rtask.deliver("go", timeout=60)) == 1
        print("RESULT", *(yield rtask.result()))
        yield client.close()

    Parkcos(secret_file=sys.argv[1])
    Task(main)
""")
"""A task that waits for a word, which is sent when a file is there."""

RESULT = "RESULT go node1"


def lose(host: Host) -> None:
    host.net("ip", "-4", "addr", "flush", "dev", "eth0")
    host.net("ip", "-6", "addr", "flush", "dev", "eth0")


def have(host: Host, address: str) -> None:
    host.net("ip", "addr", "add", f"{address}/24", "brd", "+", "dev", "eth0")
    host.net("ip", "route", "replace", "default", "dev", "eth0")


def test_a_node_that_starts_before_its_network(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client", "node1"]})
    host = net["node1"]
    lose(host)
    node = site.node(host)
    site.wait_for(node, "uses address 127.0.0.1")
    client = site.client(net["client"], CLIENT, str(site.secret))  # a file that is there
    site.wait_for(client, "has no node yet")
    have(host, host.ip)
    assert RESULT in site.finish(client)
    assert f"the address is {host.ip} " in site.said(node)
    site.end(node)


@pytest.mark.parametrize("who", ["node1", "client"])
def test_an_address_that_changes_while_a_task_runs(lab: Callable[..., Lab], site: Site, who: str) -> None:
    """What runs goes on over a new connection, and who comes afterwards finds the node where it is."""
    net = lab({"a": ["client", "node1"]})
    node = site.node(net["node1"])
    site.wait_for(node, "uses address")
    go = site.folder / "go"
    client = site.client(net["client"], CLIENT, str(go))
    site.wait_for(client, "RUNS")
    lose(net[who])
    moved = node if who == "node1" else client
    site.wait_for(moved, "the address is 127.0.0.1 ")
    have(net[who], "10.77.0.77")
    site.wait_for(moved, "the address is 10.77.0.77 ")
    go.touch()
    assert RESULT in site.finish(client)
    assert "is gone" not in site.said(client)
    assert RESULT in site.finish(site.client(net["client"], CLIENT, str(go)))
    site.end(node)
