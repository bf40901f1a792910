"""parkcos/net/finding/addresses.py"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from types import SimpleNamespace

import psutil
import pytest

from parkcos.errors import ConfigError
from parkcos.net.finding.addresses import (
    GROUP_V4,
    GROUP_V6,
    Interface,
    OwnAddress,
    broadcast_targets,
    choose_address,
    local_interfaces,
    routed_address,
)

LO = Interface("lo", "127.0.0.1")
LO6 = Interface("lo", "::1")
ETH0 = Interface("eth0", "10.0.0.5", "10.0.0.255")
ETH1 = Interface("eth1", "192.168.7.5", "192.168.7.255")
ETH6 = Interface("eth0", "fd00::5")
CABLE6 = Interface("eth0", "fe80::5%eth0")
AUTOIP = Interface("eth2", "169.254.3.4", "169.254.255.255")
DOCKER = Interface("docker0", "172.17.0.1", "172.17.255.255")
BRIDGE = Interface("br-0123456789ab", "172.18.0.1", "172.18.255.255")
TUNNEL = Interface("tun0", "10.8.0.2")


def no_route() -> None:
    return None


def never() -> str | None:
    raise AssertionError("there is no choice, so the routing table need not be asked")


def route(addr: str) -> Callable[[], str | None]:
    return lambda: addr


def test_the_only_one() -> None:
    own = choose_address(None, [LO, LO6, ETH0, ETH6, CABLE6], never)
    assert (own.addr, own.interfaces, own.loopback_only) == ("10.0.0.5", (ETH0,), False)
    assert own.why == "10.0.0.5 (eth0, the only one; others: fd00::5 eth0, fe80::5%eth0 eth0)"


def test_the_default_route_decides() -> None:
    own = choose_address(None, [LO, ETH0, ETH1], route("192.168.7.5"))
    assert own.addr == "192.168.7.5"
    assert own.interfaces == (ETH0, ETH1)
    assert own.why == "192.168.7.5 (eth1, has the default route; others: 10.0.0.5 eth0)"


def test_without_a_route_the_first() -> None:
    own = choose_address(None, [LO, ETH0, ETH1], no_route)
    assert own.addr == "10.0.0.5"
    assert "the first one" in own.why


def test_a_route_through_something_unknown() -> None:
    assert choose_address(None, [LO, ETH0, ETH1], route("100.64.0.1")).addr == "10.0.0.5"


def test_what_was_taken_before_is_kept_while_it_is_there() -> None:
    own = choose_address(None, [LO, ETH0, ETH1], never, kept="192.168.7.5")
    assert (own.addr, own.interfaces) == ("192.168.7.5", (ETH0, ETH1))
    assert own.why == "192.168.7.5 (eth1, as before; others: 10.0.0.5 eth0)"
    assert choose_address(None, [LO, ETH0], never, kept="192.168.7.5").addr == "10.0.0.5"
    assert choose_address(None, [LO, ETH0], never, kept="127.0.0.1").addr == "10.0.0.5"
    assert choose_address(None, [LO, DOCKER, ETH0], no_route, kept="172.17.0.1").addr == "10.0.0.5"
    without_cable = dataclasses.replace(ETH1, running=False)
    assert choose_address(None, [LO, ETH0, without_cable], no_route, kept="192.168.7.5").addr == "10.0.0.5"
    assert choose_address(None, [LO, without_cable], never, kept="192.168.7.5").addr == "192.168.7.5"


@pytest.mark.parametrize(
    "virtual", [DOCKER, BRIDGE, Interface("virbr0", "192.168.122.1"), Interface("veth1a", "10.1.1.1")]
)
def test_virtual_networks_come_last(virtual: Interface) -> None:
    own = choose_address(None, [LO, virtual, ETH0], no_route)
    assert (own.addr, own.interfaces) == ("10.0.0.5", (ETH0,))
    only = choose_address(None, [LO, virtual], never)
    assert (only.addr, only.interfaces, only.loopback_only) == (virtual.addr, (virtual,), False)
    assert "inside this machine" in only.why


def test_loopback_when_there_is_nothing_else() -> None:
    own = choose_address(None, [LO, LO6, AUTOIP, CABLE6], never)
    assert (own.addr, own.interfaces, own.loopback_only) == ("127.0.0.1", (LO,), True)
    assert "no other address" in own.why
    assert "169.254.3.4 eth2" in own.why
    assert choose_address(None, [], never).addr == "127.0.0.1"


def test_given_address() -> None:
    own = choose_address("192.168.7.5", [LO, ETH0, ETH1], never)
    assert own == OwnAddress("192.168.7.5", (ETH1,), "192.168.7.5 (eth1, given)", False)
    assert choose_address("169.254.3.4", [LO, AUTOIP], never).addr == "169.254.3.4"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_given_loopback(host: str) -> None:
    own = choose_address(host, [LO, LO6, ETH0], never)
    assert (own.addr, own.loopback_only) == (host, True)
    assert "only this machine" in own.why


def test_given_ipv6() -> None:
    own = choose_address("FD00:0::5", [LO, ETH0, ETH6], never)
    assert (own.addr, own.interfaces, own.loopback_only) == ("fd00::5", (ETH6,), False)
    assert broadcast_targets(own, 9705) == [(GROUP_V6, 9705)]
    with pytest.raises(ConfigError, match="one cable only"):
        choose_address("fe80::5%eth0", [LO, ETH0, CABLE6], never)


@pytest.mark.parametrize("host", ["10.0.0.6", "0.0.0.0", "8.8.8.8", "fd00::6"])
def test_given_address_of_another_machine(host: str) -> None:
    with pytest.raises(ConfigError, match=r"not an address of this machine.*127\.0\.0\.1 \(lo\), 10\.0\.0\.5 \(eth0\)"):
        choose_address(host, [LO, ETH0], never)


def resolver(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def answer(*_: object, **__: object) -> list[tuple[object, ...]]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_given_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch, "10.0.0.5")
    own = choose_address("mybox", [LO, ETH0], never)
    assert own.addr == "10.0.0.5"
    assert own.why == "10.0.0.5 (eth0, 'mybox' means it)"


def test_a_name_that_means_loopback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch, "127.0.1.1", "10.0.0.5")
    assert choose_address("mybox", [LO, ETH0], never).addr == "10.0.0.5"
    resolver(monkeypatch, "127.0.1.1")
    own = choose_address("mybox", [LO, ETH0], never)
    assert (own.addr, own.loopback_only) == ("127.0.1.1", True)
    assert own.why == "127.0.1.1 (loopback, 'mybox' means it; only this machine can reach this process)"


def test_a_name_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch, "10.0.0.77")
    with pytest.raises(ConfigError, match=r"yourbox \(which means 10\.0\.0\.77\) is not an address of this machine"):
        choose_address("yourbox", [LO, ETH0], never)


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch)
    with pytest.raises(ConfigError, match="'mars' cannot be resolved"):
        choose_address("mars", [LO, ETH0], never)


def test_the_host_name_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the host name was asked")

    for name in ("gethostname", "getaddrinfo", "gethostbyname", "getfqdn"):
        monkeypatch.setattr(socket, name, refuse)
    assert choose_address(None, [LO, ETH0, DOCKER], no_route).addr == "10.0.0.5"
    choose_address()  # this machine, whatever it has


def test_broadcast_targets() -> None:
    both = choose_address(None, [LO, ETH0, ETH1, DOCKER, TUNNEL], no_route)
    assert broadcast_targets(both, 9706) == [("10.0.0.255", 9706), ("192.168.7.255", 9706)]
    twice = OwnAddress("10.0.0.5", (ETH0, Interface("eth0", "10.0.0.6", "10.0.0.255")), "", False)
    assert broadcast_targets(twice, 9706) == [("10.0.0.255", 9706)]
    for host in ("127.0.0.1", "127.3.3.3"):
        assert broadcast_targets(choose_address(host, [LO, ETH0], never), 9706) == [("127.255.255.255", 9706)]
    assert broadcast_targets(choose_address("::1", [LO, LO6, ETH0], never), 9706) == []
    assert broadcast_targets(both, 9706, multicast=True) == [(GROUP_V4, 9706)]


def test_ipv6_when_there_is_no_ipv4() -> None:
    own = choose_address(None, [LO, LO6, AUTOIP, CABLE6, ETH6], never)
    assert (own.addr, own.interfaces, own.loopback_only) == ("fd00::5", (ETH6,), False)


def entry(addr: str, broadcast: str | None = None, mask: str = "255.255.255.0", ptp: str = "") -> SimpleNamespace:
    family = socket.AF_INET6 if ":" in addr else socket.AF_INET
    return SimpleNamespace(family=family, address=addr, broadcast=broadcast, netmask=mask, ptp=ptp or None)


@pytest.mark.parametrize("given", [None, "", "0.0.0.0", "10.1.2.3"])
@pytest.mark.parametrize(
    ("mask", "broadcast"),
    [
        ("255.255.255.0", "10.1.2.255"),
        ("255.255.0.0", "10.1.255.255"),
        ("255.255.255.252", "10.1.2.3"),
        ("255.255.255.254", None),
        ("255.255.255.255", None),
    ],
)
def test_a_broadcast_address_that_nobody_has_set(
    monkeypatch: pytest.MonkeyPatch, given: str | None, mask: str, broadcast: str | None
) -> None:
    addr = "10.1.2.2" if broadcast == "10.1.2.3" else "10.1.2.3"
    table = {"eth0": [entry(addr, given if given != "10.1.2.3" else addr, mask)]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: table)
    monkeypatch.setattr(psutil, "net_if_stats", dict)
    (found,) = local_interfaces()
    assert found == Interface("eth0", addr, broadcast, computed=broadcast is not None)


def test_tunnels_and_loopback_have_no_broadcast_address(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"lo": [entry("127.0.0.1", None, "255.0.0.0")], "tun0": [entry("10.8.0.2", None, ptp="10.8.0.2")]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: table)
    monkeypatch.setattr(psutil, "net_if_stats", dict)
    assert local_interfaces() == (LO, TUNNEL)


def test_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "lo": ([entry("127.0.0.1"), entry("::1")], True, "up,loopback,running"),
        "eth0": ([entry("10.0.0.5", "10.0.0.255")], False, "up,broadcast,multicast"),  # no cable
        "eth1": ([entry("10.1.0.5", "10.1.0.255"), entry("FD00:0::5")], True, "up,broadcast,running"),
        "eth2": ([entry("10.2.0.5", "10.2.0.255")], False, "broadcast"),  # switched off
        "docker0": ([entry("172.17.0.1", "172.17.255.255")], False, "up,broadcast"),  # no container
        "dummy": ([SimpleNamespace(family=17, address="02:fc:00:00:00:01", broadcast=None)], True, "up"),
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {name: row[0] for name, row in table.items()})
    monkeypatch.setattr(
        psutil,
        "net_if_stats",
        lambda: {name: SimpleNamespace(isup=row[1], flags=row[2]) for name, row in table.items()},
    )
    second = Interface("eth1", "10.1.0.5", "10.1.0.255")
    assert local_interfaces() == (
        LO,
        LO6,
        second,
        Interface("eth1", "fd00::5"),
        dataclasses.replace(ETH0, running=False),
    )
    assert choose_address(routed=no_route).addr == "10.1.0.5"
    del table["eth1"]
    assert choose_address(routed=never).addr == "10.0.0.5"  # rather than loopback for ever


def test_this_machine() -> None:
    found = local_interfaces()
    assert any(i.addr == "127.0.0.1" for i in found)
    own = choose_address()
    assert own.addr == "127.0.0.1" or own.addr in {i.addr for i in found}
    assert own.why.startswith(own.addr)
    routed = routed_address()
    assert routed is None or routed in {i.addr for i in found}
