"""Networks of other shapes: beyond a router, behind NAT, with multicast, with IPv6 only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import Host, Lab
from tests.netns.conftest import Site
from tests.netns.test_cluster import MAIN_JOB, hosts_of, ready

pytestmark = [pytest.mark.netns, pytest.mark.slow]


def masquerade(router: Host, lan: str, outside: str) -> None:
    """What comes from `lan` leaves with the router's own address, and nothing gets in that was not asked for."""
    inside_device, outside_device = router.interfaces[lan][0], router.interfaces[outside][0]
    rules = f"""
        table ip nat {{
            chain out {{
                type nat hook postrouting priority 100;
                oifname "{outside_device}" masquerade
            }}
        }}
        table ip guard {{
            chain pass {{
                type filter hook forward priority 0; policy drop;
                ct state established,related accept
                iifname "{inside_device}" accept
            }}
        }}
    """
    router.net("nft", "-f", "-", stdin=rules)


def naming(*nodes: Host) -> str:
    """The main job with these nodes named."""
    named = [node.ip for node in nodes]
    return MAIN_JOB.replace("Client([compute, Square])", f"Client([compute, Square], nodes={named!r})")


def test_one_contact_brings_its_neighbours(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client", "sched"], "b": ["node1", "node2", "node3"]}, routers={"r": ["a", "b"]})
    nodes = [site.node(net[name]) for name in ("node1", "node2", "node3")]
    for node in nodes:
        ready(site, node)
    scheduler = site.scheduler(net["sched"], "--node", net["node2"].ip)
    ready(site, scheduler)
    said = site.finish(site.client(net["client"], MAIN_JOB, "3"))
    assert hosts_of(said) == ["node1", "node2", "node3"]
    site.end(scheduler, *nodes)


def test_a_client_behind_nat(lab: Callable[..., Lab], site: Site) -> None:
    """Nobody can dial it: its nodes and servers use the connections that it has made."""
    net = lab({"home": ["client"], "lab": ["node1", "node2"]}, routers={"r": ["home", "lab"]})
    masquerade(net["r"], "home", "lab")
    nodes = [site.node(net[name]) for name in ("node1", "node2")]
    for node in nodes:
        ready(site, node)
    said = site.finish(site.client(net["client"], naming(net["node1"], net["node2"]), "2"))
    assert hosts_of(said) == ["node1", "node2"]
    site.end(*nodes)


def test_nodes_behind_nat(lab: Callable[..., Lab], site: Site) -> None:
    """The node dials the scheduler that it was told, and the node and its servers dial the client."""
    net = lab({"home": ["node1"], "lab": ["client", "sched"]}, routers={"r": ["home", "lab"]})
    masquerade(net["r"], "home", "lab")
    scheduler = site.scheduler(net["sched"])
    ready(site, scheduler)
    node = site.node(net["node1"], "--peer", f"{net['sched'].ip}:9705")
    ready(site, node)
    said = site.finish(site.client(net["client"], MAIN_JOB, "1"), patience_s=30)
    assert hosts_of(said) == ["node1"]
    site.end(scheduler, node)


def test_multicast_instead_of_broadcast(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["client", "node1", "sched"]})
    for host in net.hosts.values():  # broadcasts do not get through here
        host.net("ip", "route", "add", "blackhole", "10.77.0.255", check=False)
        host.net("nft", "add table inet f; add chain inet f c { type filter hook input priority 0; }; "
                        "add rule inet f c meta pkttype broadcast udp dport 9705-9706 drop")  # fmt: skip
    programs = [
        site.scheduler(net["sched"], "--ipv4_udp_multicast"),
        site.node(net["node1"], "--ipv4_udp_multicast"),
    ]
    for program in programs:
        ready(site, program)
    job = MAIN_JOB.replace("Parkcos(secret_file", "Parkcos(ipv4_udp_multicast=True, secret_file")
    said = site.finish(site.client(net["client"], job, "1"))
    assert hosts_of(said) == ["node1"]
    site.end(*programs)


def test_ipv6_only(lab: Callable[..., Lab], site: Site) -> None:
    """Hosts without IPv4 take their IPv6 addresses, and find each other by multicast."""
    net = lab({"a": ["client", "node1", "sched"]})
    for host in net.hosts.values():
        host.net("ip", "-4", "addr", "flush", "dev", "eth0")
    programs = [site.scheduler(net["sched"]), site.node(net["node1"])]
    for program in programs:
        ready(site, program)
    said = site.finish(site.client(net["client"], MAIN_JOB, "1"))
    assert hosts_of(said) == ["node1"]
    assert "uses address fd77::" in said
    site.end(*programs)


@pytest.mark.parametrize("cut", ["a", "b"])
def test_a_node_in_two_networks(lab: Callable[..., Lab], site: Site, cut: str) -> None:
    """One of the two was never there: the addresses of the other do."""
    net = lab({"a": ["client", "node1"], "b": ["client", "node1"]})
    host = net["node1"]
    port = host.ports[list(host.interfaces).index(cut)]
    host._switch.net("ip", "link", "set", "dev", port, "nomaster")
    addresses = {name: [address for _, address in net[name].interfaces.values()] for name in ("client", "node1")}
    node = site.node(host, *(option for address in addresses["node1"] for option in ("-i", address)))
    ready(site, node)
    job = MAIN_JOB.replace("Parkcos(secret_file", f"Parkcos({addresses['client']!r}, secret_file")
    said = site.finish(site.client(net["client"], job, "1"), patience_s=30)
    assert hosts_of(said) == ["node1"]
    site.end(node)
