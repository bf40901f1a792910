"""The doctor on one host looks at another: off, behind a firewall, with nothing listening, or well."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.netns.conftest import ROOT, Site

pytestmark = [pytest.mark.netns, pytest.mark.slow]


def doctor(site: Site, host: Host, *options: str, secret: str = "") -> tuple[int, list[dict[str, str]]]:
    """What `parkcos.py --doctor` says on that host: the exit code and the findings."""
    done = host.run(
        [sys.executable, str(ROOT / "scripts" / "parkcos.py"), "--doctor", *options, "--json"]
        + (["--secret", secret] if secret else ["--secret_file", str(site.secret)]),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=50,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def about(findings: list[dict[str, str]], what: str) -> list[tuple[str, str]]:
    """Level and words of the findings about that."""
    return [(f["level"], f["text"]) for f in findings if f["about"].startswith(what)]


def started(site: Site, host: Host, *options: str) -> Any:
    node = site.node(host, *options)
    site.wait_for(node, "uses address")
    return node


def test_a_node_that_is_well(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one", "two"]})
    node = started(site, net["two"])
    code, findings = doctor(site, net["one"], net["two"].ip)
    assert code == 0, findings
    scheduler, program, udp = about(findings, net["two"].ip)
    assert scheduler[0] == "ok" and "no scheduler listens" in scheduler[1]
    assert program[0] == "ok" and "node 'two'" in program[1]
    assert udp[0] == "ok" and "answered" in udp[1]
    ((_, address),) = about(findings, "address")
    assert f"{net['one'].ip} (eth0" in address
    site.end(node)


def test_hosts_whose_interfaces_have_no_broadcast_address(lab: Callable[..., Lab], site: Site) -> None:
    """As `ip addr add` leaves them: they find each other all the same."""
    net = lab({"a": ["one", "two"]})
    for host in (net["one"], net["two"]):
        ((device, address),) = host.interfaces.values()
        host.net("ip", "addr", "del", f"{address}/24", "dev", device)
        host.net("ip", "addr", "add", f"{address}/24", "dev", device)
    node = started(site, net["two"])
    code, findings = doctor(site, net["one"])
    assert code == 0, findings
    ((level, interface),) = about(findings, "interface")
    assert level == "ok" and f"{net['one'].ip} has no broadcast address set; 10.77." in interface
    (answer,) = about(findings, "broadcast")
    assert answer[0] == "ok" and "node 'two'" in answer[1]
    site.end(node)


def test_nothing_listens(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one", "two"]})
    code, findings = doctor(site, net["one"], net["two"].ip)
    assert code == 1
    said = about(findings, net["two"].ip)
    assert [level for level, _ in said] == ["problem", "problem"]
    assert all("refused: the machine is on" in text for _, text in said)


def test_a_firewall_that_drops(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one", "two"]})
    node = started(site, net["two"])
    net["two"].block(net["one"].ip)
    code, findings = doctor(site, net["one"], net["two"].ip)
    assert code == 1
    said = about(findings, net["two"].ip)
    assert all("no answer, though the machine is on: a firewall" in text for _, text in said) and said
    site.end(node)


def test_a_firewall_that_rejects(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one", "two"]})
    node = started(site, net["two"])
    net["two"]._firewall("block", [f"ip saddr {net['one'].ip} reject with icmp type admin-prohibited"])
    code, findings = doctor(site, net["one"], net["two"].ip)
    assert code == 1
    said = about(findings, net["two"].ip)
    assert all("rejected, though the machine is on" in text for _, text in said) and said
    site.end(node)


def test_a_firewall_that_lets_only_ssh_through(lab: Callable[..., Lab], site: Site) -> None:
    """Beyond a router, where no ARP tells: another port shows that the machine is on."""
    net = lab({"a": ["one"], "b": ["two"]}, routers={"r": ["a", "b"]})
    node = started(site, net["two"])
    net["two"]._firewall("block", [f"ip saddr {net['one'].ip} tcp dport != 22 drop"])
    code, findings = doctor(site, net["one"], net["two"].ip)
    assert code == 1
    assert any("though the machine is on: a firewall" in text for _, text in about(findings, net["two"].ip))
    site.end(node)


@pytest.mark.parametrize("known", ["", "stale", "fresh"])
def test_a_host_that_is_off(lab: Callable[..., Lab], site: Site, known: str) -> None:
    """Also one whose hardware address is known from before; but if that is fresh, the system does not ask again yet."""
    net = lab({"a": ["one", "two"]})
    off = net["two"]
    if known:
        with net["one"].socket() as sock, contextlib.suppress(ConnectionRefusedError):
            sock.connect((off.ip, 9))
        assert "REACHABLE" in net["one"].net("ip", "neigh", "show", off.ip)
    off.crash()
    if known == "stale":
        net["one"].net("ip", "neigh", "change", off.ip, "dev", "eth0", "nud", "stale")
    code, findings = doctor(site, net["one"], off.ip)
    assert code == 1
    ((level, text),) = about(findings, off.ip)
    assert level == "problem" and "the machine is off" in text
    assert ("or a firewall" in text) == (known == "fresh")


def test_a_host_that_is_off_beyond_a_router(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one"], "b": ["two"]}, routers={"r": ["a", "b"]})
    net["two"].crash()
    code, findings = doctor(site, net["one"], net["two"].ip)
    assert code == 1
    ((level, text),) = about(findings, net["two"].ip)
    assert level == "problem" and "the machine is off" in text


def test_udp_is_dropped(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one", "two"]})
    node = started(site, net["two"])
    net["two"]._firewall("block", ["udp dport { 9705, 9706 } drop"])
    code, findings = doctor(site, net["one"], net["two"].ip)
    assert code == 0
    assert [f["text"] for f in findings if f["level"] == "hint" and "a firewall drops UDP" in f["text"]]
    site.end(node)


def test_broadcast(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one", "two", "three"]})
    code, findings = doctor(site, net["one"])
    assert code == 0, findings
    ((level, text),) = about(findings, "broadcast")
    assert level == "hint" and "no other machine answered" in text
    nodes = [started(site, net["two"]), started(site, net["three"])]
    code, findings = doctor(site, net["one"])
    assert code == 0, findings
    said = about(findings, "broadcast")
    assert [level for level, _ in said] == ["ok", "ok"]
    assert {"node 'two'" in said[0][1], "node 'two'" in said[1][1]} == {True, False}
    code, findings = doctor(site, net["one"], secret="a secret of nobody else")
    assert code == 1
    said = about(findings, "broadcast")
    assert said and all("another secret" in text for level, text in said if level == "problem")
    site.end(*nodes)


def test_another_secret(lab: Callable[..., Lab], site: Site) -> None:
    net = lab({"a": ["one", "two"]})
    node = started(site, net["two"])
    code, findings = doctor(site, net["one"], net["two"].ip, secret="a secret of nobody else")
    assert code == 1
    assert any("a parkcos is there" in text and "another secret" in text for _, text in about(findings, net["two"].ip))
    site.end(node)
