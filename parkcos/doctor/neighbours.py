"""Whether a machine on the same cable is on, whatever its firewall says: it tells its hardware address when asked.

Linux asks (ARP, or neighbour discovery for IPv6) before it sends anything there, asks again when the answer has become
old, and tells every user what it knows (rtnetlink).  So after an attempt to connect it is enough to read what came.

What must not live here: what follows from it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Neighbour", "answers_on_the_cable", "neighbours"]

INCOMPLETE: Final = 0x01
FAILED: Final = 0x20

_LOOK_AGAIN_S: Final = 0.25
_TIMEOUT_S: Final = 2.0
_TICKS_PER_S: Final = 100  # the kernel's USER_HZ, the same on all machines
_RECEIVE_BYTES: Final = 1 << 16
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ENTRY: Final = struct.Struct("=BBHiHBB")  # ndmsg: family, two of padding, interface, state, flags, type
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr: length, type
_CACHE: Final = struct.Struct("=IIII")  # nda_cacheinfo: since confirmed, used, updated; references
_DUMP_NEIGHBOURS: Final = (30, 0x301)  # RTM_GETNEIGH; NLM_F_REQUEST and NLM_F_DUMP
_NEIGHBOUR: Final = 28  # RTM_NEWNEIGH
_DONE: Final = (2, 3)  # NLMSG_ERROR, NLMSG_DONE
_DST: Final = 1
_CACHEINFO: Final = 3


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What the system knows of an address on one of its cables.

    Attributes:
        addr: numeric.
        state: a bit of the kernel's NUD states.
        confirmed_s: how long ago it was last certain that the machine answers.
    """

    addr: str
    state: int
    confirmed_s: float


def answers_on_the_cable(addr: str, since: float, until: float) -> bool | None:
    """Return whether the machine has answered since an attempt to reach it was made.

    None if it is not on a cable of this machine, if the system does not tell, or if it need not ask now because there
    was an answer a moment before.

    Args:
        since: when the attempt began (``time.monotonic()``).
        until: how long to wait for certainty: a machine that has gone is noticed after 8 s.
    """
    while True:
        known = [one for one in neighbours() if one.addr == addr]
        now = time.monotonic()
        if not known:
            return None
        if any(one.confirmed_s <= now - since and not one.state & (INCOMPLETE | FAILED) for one in known):
            return True
        if all(one.state & FAILED for one in known):
            return False
        if now >= until:
            return None
        time.sleep(_LOOK_AGAIN_S)


def neighbours() -> list[Neighbour]:
    """Return what the system knows of its neighbours, empty where it does not tell."""
    if not hasattr(socket, "AF_NETLINK"):
        return []
    found: list[Neighbour] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.settimeout(_TIMEOUT_S)
            entry = _ENTRY.pack(0, 0, 0, 0, 0, 0, 0)
            sock.send(_HEADER.pack(_HEADER.size + len(entry), *_DUMP_NEIGHBOURS, 1, 0) + entry)
            while True:
                for kind, body in _messages(sock.recv(_RECEIVE_BYTES)):
                    if kind in _DONE:
                        return found
                    if kind == _NEIGHBOUR:
                        found += _neighbour(body)
    except OSError:
        return found


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, start)
        if length < _HEADER.size:
            return
        yield kind, data[start + _HEADER.size : start + length]
        start += (length + 3) & ~3


def _neighbour(body: bytes) -> list[Neighbour]:
    family, _, _, _, state, _, _ = _ENTRY.unpack_from(body)
    values: dict[int, bytes] = {}
    start = _ENTRY.size
    while start + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        if length < _ATTRIBUTE.size:
            break
        values[kind] = body[start + _ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3
    if family not in (socket.AF_INET, socket.AF_INET6) or _DST not in values or _CACHEINFO not in values:
        return []
    addr = socket.inet_ntop(family, values[_DST])
    return [Neighbour(addr, state, _CACHE.unpack_from(values[_CACHEINFO])[0] / _TICKS_PER_S)]
