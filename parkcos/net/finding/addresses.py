"""Which of this machine's addresses a process takes, and where its broadcasts go.

The interfaces are asked, never the host name: on many machines the host name means 127.0.1.1, and a process that
took it would be found by nobody.  What was taken and why is one sentence for the log.

The choice itself is pure: the interfaces and the address that the routing table prefers can be given, as tests do.

What must not live here: sockets that stay open, asyncio, the sending of anything.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from parkcos.errors import ConfigError
from parkcos.net.location import is_loopback, numeric_address, resolve

__all__ = ["Interface", "OwnAddress", "broadcast_targets", "choose_address", "local_interfaces", "routed_address"]

_LOOPBACK: Final = "127.0.0.1"
_LOOPBACK_BROADCAST: Final = "127.255.255.255"  # reaches every listening socket of this machine, and only those
# Networks inside this machine, for containers and virtual machines: others cannot reach their addresses.
_VIRTUAL: Final = re.compile(
    r"docker|veth|virbr|br-[0-9a-f]{12}$|podman|cni|flannel|cali|lxcbr|lxdbr|vmnet|vboxnet|vEthernet"
)
GROUP_V4: Final = "239.255.97.5"
"""Where processes announce themselves by IPv4 multicast: of the range that an organisation may use as it likes."""
GROUP_V6: Final = "ff05::7061:726b:636f:73"
_ELSEWHERE: Final = ("198.51.100.1", 9)  # TEST-NET-2: never anybody's address, so it shows the default route


@dataclass(frozen=True, slots=True)
class Interface:
    """An address of this machine.

    Attributes:
        name: of the network interface, for example ``'eth0'``; it may have several addresses.
        addr: numeric, IPv4 or IPv6.
        broadcast: the IPv4 broadcast address of its network, ``None`` when it has none.
        computed: nobody has set that at the interface; it follows from address and mask.
        running: it has a cable, or whatever it needs instead.
    """

    name: str
    addr: str
    broadcast: str | None = None
    computed: bool = False
    running: bool = True


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """The address that a process takes.

    Attributes:
        addr: numeric; what the process binds to and announces.
        interfaces: where it broadcasts.
        why: one line for the log.
        loopback_only: nothing outside this machine can reach it, and it sends nothing there.
    """

    addr: str
    interfaces: tuple[Interface, ...]
    why: str
    loopback_only: bool


def local_interfaces() -> tuple[Interface, ...]:
    """Return every address of the interfaces of this machine that are up, in the system's order.

    Interfaces without a cable (or out of reach of their radio network) come last: a program that starts before the
    network is there should have its address when it comes.  Virtual ones that nothing is connected to are left out.
    """
    import psutil  # takes longer to import than this whole module, and tests do without

    stats = psutil.net_if_stats()
    connected: list[Interface] = []
    waiting: list[Interface] = []
    for name, entries in psutil.net_if_addrs().items():
        running = name not in stats or stats[name].isup
        if not running and ("up" not in getattr(stats[name], "flags", "").split(",") or _VIRTUAL.match(name)):
            continue
        for entry in entries:
            addr = numeric_address(entry.address) if entry.family in (socket.AF_INET, socket.AF_INET6) else None
            if addr is not None:
                broadcast, computed = _broadcast_address(entry) if entry.family == socket.AF_INET else (None, False)
                (connected if running else waiting).append(Interface(name, addr, broadcast, computed, running))
    return (*connected, *waiting)


def _broadcast_address(entry: Any) -> tuple[str | None, bool]:
    """Return the broadcast address of what psutil says of an IPv4 address, and whether it had to be computed.

    ``ip addr add`` sets none unless it is told to; the system broadcasts there all the same, but names the own address
    (or 0.0.0.0) as broadcast address.  Tunnels, whose other end is named, and networks of one or two hosts have none.
    """
    if entry.broadcast and entry.broadcast not in (entry.address, "0.0.0.0"):
        return entry.broadcast, False
    if not entry.netmask or entry.ptp or is_loopback(entry.address):
        return None, False
    network = ipaddress.IPv4Interface(f"{entry.address}/{entry.netmask}").network
    return (str(network.broadcast_address), True) if network.prefixlen <= 30 else (None, False)


def routed_address() -> str | None:
    """Return the own IPv4 address that the default route takes, or ``None`` without such a route.

    Connecting a UDP socket sends no packet; it only asks the routing table.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            asker.connect(_ELSEWHERE)
            return str(asker.getsockname()[0])
        except OSError:
            return None


def choose_address(
    host: str | None = None,
    interfaces: Sequence[Interface] | None = None,
    routed: Callable[[], str | None] = routed_address,
    kept: str = "",
) -> OwnAddress:
    """Return the address that this process should bind to and announce.

    Without *host*: an IPv4 address of an interface that is up, neither loopback nor link-local; rather not one of a
    network of containers or virtual machines; rather the one with the default route; else the first.  When there is
    none, an IPv6 address of that kind; when there is none of these either, 127.0.0.1.

    Args:
        host: an address of this machine (IPv4 or IPv6), or a name that means one.
        interfaces: this machine's addresses; asked of the system when not given.
        routed: gives the own address with the default route, asked only when there is a choice.
        kept: what it has taken before, and keeps, unless it is lost or better ones have come.

    Raises:
        ConfigError: *host* cannot be resolved, or isn't an address of this machine.
    """
    known = tuple(local_interfaces() if interfaces is None else interfaces)
    return _automatic(known, routed, kept) if host is None else _explicit(host, known)


def broadcast_targets(own: OwnAddress, port: int, *, multicast: bool = False) -> list[tuple[str, int]]:
    """Return where to send a datagram for every process that listens on UDP *port*: one per network.

    IPv6 has no broadcast, so there, and with *multicast*, it is the group that all join.  On the IPv6 loopback there is
    neither: those processes must be named.
    """
    if ":" in own.addr:
        return [] if own.loopback_only else [(GROUP_V6, port)]
    if multicast:
        return [(GROUP_V4, port)]
    if own.loopback_only:
        return [(_LOOPBACK_BROADCAST, port)]
    addresses = dict.fromkeys(i.broadcast for i in own.interfaces if i.broadcast and not is_loopback(i.addr))
    return [(addr, port) for addr in addresses]


def _automatic(known: tuple[Interface, ...], routed: Callable[[], str | None], kept: str) -> OwnAddress:
    usable = [i for i in known if ":" not in i.addr and not is_loopback(i.addr) and not _link_local(i.addr)]
    if not usable:
        usable = [i for i in known if ":" in i.addr and not is_loopback(i.addr) and not _on_one_cable(i.addr)]
    if not usable:
        others = _listed([i for i in known if not is_loopback(i.addr)])
        why = f"{_LOOPBACK} (this machine has no other address that is up{others}; only it can reach this process)"
        return OwnAddress(_LOOPBACK, _loopbacks(known, _LOOPBACK), why, loopback_only=True)
    before = next((i for i in usable if i.addr == kept and i.running and not _virtual(i)), None)
    default = routed() if len(usable) > 1 and before is None else None
    best = before or min(usable, key=lambda i: (_virtual(i), i.addr != default))  # the first of equals
    if best is before and len(usable) > 1:
        reason = "as before"
    elif best.addr == default:
        reason = "has the default route"
    elif len(usable) == 1:
        reason = "the only one"  # of its kind
    else:
        reason = "the first one"
    if _virtual(best):
        reason += ", and of a network inside this machine"
    others = _listed([i for i in known if i is not best and not is_loopback(i.addr)])
    heard = tuple(i for i in usable if i is best or not _virtual(i))
    return OwnAddress(best.addr, heard, f"{best.addr} ({best.name}, {reason}{others})", loopback_only=False)


def _explicit(host: str, known: tuple[Interface, ...]) -> OwnAddress:
    mine = {i.addr: i for i in known}
    found = resolve(host)
    own = [addr for addr in found if addr in mine or is_loopback(addr)]  # all of 127.0.0.0/8 is this machine
    own.sort(key=is_loopback)  # stable: an address that others can reach is better, if the name has both
    listing = ", ".join(f"{i.addr} ({i.name})" for i in known) or "none that is up"
    if not own:
        meant = host if found == (host,) else f"{host} (which means {', '.join(found)})"
        raise ConfigError(f"{meant} is not an address of this machine; its addresses are: {listing}")
    addr = own[0]
    if "%" in addr:
        raise ConfigError(f"{addr} is good on one cable only, so others cannot dial it; this machine has: {listing}")
    given = "given" if addr == host else f"{host!r} means it"
    if is_loopback(addr):
        why = f"{addr} (loopback, {given}; only this machine can reach this process)"
        return OwnAddress(addr, _loopbacks(known, addr), why, loopback_only=True)
    why = f"{addr} ({mine[addr].name}, {given})"
    return OwnAddress(addr, (mine[addr],), why, loopback_only=False)


def _loopbacks(known: tuple[Interface, ...], addr: str) -> tuple[Interface, ...]:
    same_kind = tuple(i for i in known if is_loopback(i.addr) and (":" in i.addr) == (":" in addr))
    return same_kind or (Interface("lo", addr),)


def _link_local(addr: str) -> bool:
    return addr.startswith("169.254.")


def _on_one_cable(addr: str) -> bool:
    return "%" in addr or addr.startswith("fe80:")


def _virtual(interface: Interface) -> bool:
    return _VIRTUAL.match(interface.name) is not None


def _listed(others: list[Interface]) -> str:
    return "; others: " + ", ".join(f"{i.addr} {i.name}" for i in others) if others else ""
