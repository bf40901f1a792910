"""The main job on several hosts: programs that are told no address find each other by real broadcast."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Host, HostProcess, Lab
from tests.netns.conftest import Site

pytestmark = [pytest.mark.netns, pytest.mark.slow]

MAIN_JOB = textwrap.dedent("""
    import json, logging, platform, sys
    from parkcos import Client, Parkcos, Task, logger

    logging.basicConfig(level=logging.INFO)
    WORK = 12
    NODES = int(sys.argv[2])

    class Square:
        def __init__(self, n):
            self.n, self.square = n, n * n

    def compute(n, home, task=None):
        home.send(("begin", n))
        extra = yield task.receive(timeout=20)  # from the client, while this runs
        yield task.sleep(0.05)
        return Square(n + extra), platform.node()

    def main(task=None):
        client = Client([compute, Square])
        assert (yield client.schedule(timeout=15)) == 0
        while len({server.addr for server in (yield client.servers())}) < NODES:  # so that each has something to do
            yield task.sleep(0.05)
        waiting, hosts = [], set()
        for n in range(WORK):
            rtask = yield client.rtask(compute, n, task)
            assert (yield task.receive(timeout=20)) == ("begin", n)
            rtask.send(100)
            waiting.append(rtask)
        for n, rtask in enumerate(waiting):
            square, host = yield rtask.result()
            assert type(square) is Square and square.square == (n + 100) ** 2
            hosts.add(host)
        yield client.close()
        print("RESULT", json.dumps(sorted(hosts)))

    Parkcos(secret_file=sys.argv[1])
    Task(main)
""")
"""Functions, a class, messages and results; the hosts where the tasks ran are printed."""


def hosts_of(said: str) -> list[str]:
    (line,) = (line for line in said.splitlines() if line.startswith("RESULT "))
    found: list[str] = json.loads(line.removeprefix("RESULT "))
    return found


def ready(site: Site, process: HostProcess) -> None:
    site.wait_for(process, "uses address")


@pytest.mark.parametrize("order", [*itertools.permutations(["scheduler", "nodes"]), ("client", "nodes", "scheduler")])
def test_client_shared_scheduler_and_two_nodes_find_each_other(
    lab: Callable[..., Lab], site: Site, order: tuple[str, ...]
) -> None:
    net = lab({"a": ["client", "sched", "node1", "node2"]})
    location = net["sched"].ip

    def start_client() -> HostProcess:
        return site.client(net["client"], program, "2")

    program = MAIN_JOB
    if order[0] == "client":  # nobody is there yet: it is told to wait for the shared scheduler
        program = program.replace("client.schedule(", f"client.schedule({location!r}, ")
    processes: dict[str, list[HostProcess]] = {}
    start: dict[str, Callable[[], list[HostProcess]]] = {
        "client": lambda: [start_client()],
        "scheduler": lambda: [site.scheduler(net["sched"])],
        "nodes": lambda: [site.node(net["node1"]), site.node(net["node2"])],
    }
    for what in order:
        processes[what] = start[what]()
        for process in processes[what]:
            ready(site, process)
    client = processes["client"][0] if "client" in processes else start_client()
    said = site.finish(client)
    assert hosts_of(said) == ["node1", "node2"]
    if order[0] != "client":
        assert f"using the shared scheduler at {location}:9705" in said
    for name in ("client", "node1"):
        assert any(net[name].ip in site.said(p) for n, p in site.started if n.endswith(name))
    site.end(*processes["scheduler"], *processes["nodes"])


def test_two_clients_take_turns_at_the_shared_scheduler(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client1", "client2", "sched", "node1"]})
    servants = [site.scheduler(net["sched"]), site.node(net["node1"])]
    for servant in servants:
        ready(site, servant)
    clients = [site.client(net[name], MAIN_JOB, "1") for name in ("client1", "client2")]
    for client in clients:
        assert hosts_of(site.finish(client)) == ["node1"]
    site.end(*servants)


@pytest.mark.parametrize("first", ["nodes", "client"])
def test_private_scheduler(lab: Callable[..., Lab], site: Site, first: str) -> None:
    net = lab({"a": ["client", "node1", "node2"]})
    if first == "client":
        client = site.client(net["client"], MAIN_JOB, "2")
        site.wait_for(client, "has no node yet")  # and how to start one
    nodes = [site.node(net["node1"]), site.node(net["node2"])]
    if first == "nodes":
        for node in nodes:
            ready(site, node)
        client = site.client(net["client"], MAIN_JOB, "2")
    assert hosts_of(site.finish(client)) == ["node1", "node2"]
    site.end(*nodes)


HOSTS_FILES = {
    "unknown": "127.0.0.1 localhost\n",
    "loopback": "127.0.0.1 localhost\n127.0.1.1 client node1\n",
    "wrong": "127.0.0.1 localhost\n203.0.113.9 client node1\n",
}


@pytest.mark.parametrize("kind", HOSTS_FILES)
def test_what_the_host_name_means_does_not_matter(
    lab: Callable[..., Lab], site: Site, tmp_path: Path, kind: str
) -> None:
    hosts_file = tmp_path / "hosts"
    hosts_file.write_text(HOSTS_FILES[kind])
    net = lab({"a": ["client", "node1"]}, hosts_file=str(hosts_file))
    node = site.node(net["node1"])
    client = site.client(net["client"], MAIN_JOB, "1")
    said = site.finish(client)
    assert hosts_of(said) == ["node1"]
    for host, text in ((net["client"], said), (net["node1"], site.said(node))):
        (line,) = (line for line in text.splitlines() if "uses address" in line)
        assert f"uses address {host.ip} (eth0" in line
    site.end(node)


def test_a_machine_that_has_only_loopback(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["alone"]})
    host = net["alone"]
    host.net("ip", "link", "del", "dev", "eth0")
    node = site.node(host)
    client = site.client(host, MAIN_JOB, "1")
    said = site.finish(client)
    assert hosts_of(said) == ["alone"]
    assert "uses address 127.0.0.1 (this machine has no other address" in said
    site.end(node)


LOSING_JOB = textwrap.dedent("""
    import platform, sys, time
    from parkcos import Client, Parkcos, Task, TaskAbandoned

    def where(seconds, task=None):
        yield task.sleep(seconds)
        return platform.node()

    def one(client, address):
        rtask = yield client.rtask_at(address, where, 600.0)
        print("STARTED at", address)
        try:
            yield rtask.result()
        except TaskAbandoned as error:
            print("LOST", address, round(time.monotonic()), error)

    def main(task=None):
        client = Client([where], pulse_interval=0.2)
        yield client.schedule(timeout=15)
        while len((yield client.nodes())) < 2:
            yield task.sleep(0.05)
        doomed, other = sys.argv[2:4]
        yield Task(one, client, doomed).finish()
        for _ in range(4):
            rtask = yield client.rtask(where, 0.01)
            print("THEN", (yield rtask.result()))
        yield client.close()
        print("RESULT []")

    Parkcos(secret_file=sys.argv[1], pulse_s=0.2)
    Task(main)
""")


def test_a_node_whose_host_loses_its_power(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client", "node1", "node2"]})
    nodes = {name: site.node(net[name], "--min_pulse_interval", "0.2") for name in ("node1", "node2")}
    doomed: Host = net["node1"]
    client = site.client(net["client"], LOSING_JOB, doomed.ip, net["node2"].ip)
    site.wait_for(client, "STARTED")
    doomed.crash()
    said = site.wait_for(client, "LOST")
    assert "nothing was heard of it" in said
    said = site.finish(client)
    assert [line for line in said.splitlines() if line.startswith("THEN")] == ["THEN node2"] * 4
    site.end(nodes["node2"])


def test_nothing_is_found_in_another_network(lab: Callable[..., Lab], site: Site) -> None:
    """Broadcast stays in its LAN; a node beyond the router is named."""
    net = lab({"a": ["client"], "b": ["node1"]}, routers={"r": ["a", "b"]})
    node = site.node(net["node1"])
    ready(site, node)
    program: Any = MAIN_JOB.replace(
        "Client([compute, Square])", f"Client([compute, Square], nodes=[{net['node1'].ip!r}])"
    )
    client = site.client(net["client"], program, "1")
    assert hosts_of(site.finish(client)) == ["node1"]
    site.end(node)
