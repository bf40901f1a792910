"""Which nodes a client wants, and how many of their processors."""

from __future__ import annotations

import fnmatch
import logging
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real

from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import ConfigError, UsageError
from parkcos.net.location import PORT_MAX, Location, must_wait, resolve

NODE_PORT = 9706
_HAS_PORT = re.compile(r"^(\[.*\]|[^:*]+):\d+$")
_PATTERN_WITH_PORT = re.compile(r"^[^:]*\*[^:]*:\d+$")
_NAME = re.compile(r"(?![\d.]+$)[^\s:\[\]\0]([^:\[\]\0]*[^\s:\[\]\0])?")
"""What a node may be called, and is no address with a mistake in it."""

logger = logging.getLogger("parkcos")


class NodeAllocate:
    """What a client asks of a node.  Source: chapter 6.7.

    Args:
        node: name or address of a node, or a pattern with ``*``; a host's name or an address is dialled, broadcast or
            not; the name that a node was started with (``parkcosnode.py -n``) is known when the node is found.
            ``'HOST:PORT'`` and ``'[IPV6]:PORT'`` name the port, too.  The host's name that a task gives is looked up by
            ``schedule`` or ``node_allocate``, while other tasks run.
        port: TCP port of the node, of several at one address; None: the one in `node`, else 9706 is dialled and any is
            taken.
        platform: a regular expression that must occur in the node's ``platform.platform()``, in whatever case.
        cpus: processors, a whole number, that it must have at least; None or 0: any number.
        memory, disk: free bytes that it must have at least; None or 0: any.  A node that falls short of them later is
            given no tasks until it has them again.
        resources: what its operator must say it has, and how much at least: ``{"gpu": 1}`` for a node that was started
            with ``--resource gpu=1``.
        use: False to leave the node out.

    A subclass may override :meth:`allocate`.

    Raises: ConfigError.
    """

    def __init__(
        self,
        node: str = "*",
        port: int | None = None,
        platform: str = "",
        cpus: int | None = None,
        memory: int | None = None,
        disk: int | None = None,
        resources: Mapping[str, float] | None = None,
        *,
        use: bool = True,
    ) -> None:
        for what, given, kind in (("node", node, "a text"), ("platform", platform, "a regular expression, as text")):
            if not isinstance(given, str):
                raise ConfigError(f"NodeAllocate({what}={given!r}): give {kind}")
        if cpus is not None and not isinstance(cpus, Integral):
            raise ConfigError(f"NodeAllocate(cpus={cpus!r}): give a whole number, 0 or more, or None")
        for what, number in (("cpus", cpus), ("memory", memory), ("disk", disk)):
            if number is not None and not _is_amount(number):
                raise ConfigError(f"NodeAllocate({what}={number!r}): give a number, 0 or more, or None")
        if _PATTERN_WITH_PORT.search(node):
            raise ConfigError(f"NodeAllocate({node!r}): write the port of a pattern apart\n  write: port=...")
        if _HAS_PORT.search(node):
            node, _, own_port = node.rpartition(":")
            node, port = node.strip("[]"), port or int(own_port)
        if port is not None and not (isinstance(port, int) and 0 <= port <= PORT_MAX):
            raise ConfigError(f"NodeAllocate(port={port!r}): give a port, 1 to {PORT_MAX}, or None")
        self.node = node
        self.port = port or NODE_PORT
        self.port_given = bool(port)
        self.platform = platform
        self.cpus = cpus or 0
        self.memory = memory or 0
        self.disk = disk or 0
        if not isinstance(resources or {}, Mapping) or not all(
            isinstance(name, str) and _is_amount(amount) for name, amount in (resources or {}).items()
        ):
            raise ConfigError(
                f"NodeAllocate(resources={resources!r}): write names and numbers, as resources={{'gpu': 1}}"
            )
        self.resources = dict(resources or {})
        self.use = use
        try:
            self._platform = re.compile(platform, re.IGNORECASE)
        except re.error as error:
            raise ConfigError(f"NodeAllocate(platform={platform!r}) is no regular expression: {error}") from None
        self._addrs: tuple[str, ...] | None = None
        if "*" in node:
            self._addrs = ()
        elif not must_wait(node):
            self.look_up()

    def __repr__(self) -> str:
        return f"NodeAllocate({self.node!r})"

    @property
    def is_known(self) -> bool:
        """Whether the addresses are known, or that there are none."""
        return self._addrs is not None

    def look_up(self) -> tuple[str, ...]:
        """The addresses of the node; none for a pattern, and for a name that only the node itself knows.

        A name that was written in a task may be looked up now, which may take seconds.
        """
        if self._addrs is None:
            self._addrs = _addresses(self.node)
        return self._addrs

    @property
    def location(self) -> Location | None:
        """Where to dial the node; None for a pattern, and for a name that only the node itself knows."""
        addrs = self.look_up()
        return Location(addrs[0], self.port) if addrs else None

    def matches(self, ip_addr: str, name: str) -> bool:
        """Whether this is about the node with that address and name."""
        if addrs := self.look_up():
            return ip_addr in addrs or name == self.node
        return fnmatch.fnmatchcase(ip_addr, self.node) or fnmatch.fnmatchcase(name, self.node)

    def allocate(self, ip_addr: str, name: str, platform: str, cpus: int, memory: int | None, disk: int | None) -> int:
        """How many processors of the node to use: 0 not to use it, a negative number to ask the next allocation."""
        if not self.matches(ip_addr, name):
            return -1
        if not self.use:
            return 0
        return -1 if self._lacking(platform, cpus, memory, disk) else cpus

    def _lacking(self, platform: str, cpus: int, memory: int | None, disk: int | None) -> list[str]:
        """What such a node has too little of."""
        lacking = []
        if not self._platform.search(platform):
            lacking.append(f"its platform is {platform!r}, {self.platform!r} was asked for")
        if cpus < self.cpus:
            lacking.append(f"it has {cpus} processors, {self.cpus} were asked for")
        for what, free, wanted in (("memory", memory, self.memory), ("disk", disk, self.disk)):
            if (free or 0) < wanted:
                has = f"it does not say how much {what} is" if free is None else f"it has {free:,} bytes of {what}"
                lacking.append(f"{has} free, {wanted:,} were asked for")
        return lacking


def _addresses(node: str) -> tuple[str, ...]:
    """Those of a host's name; none for what may be a node's own.  Raises: ConfigError for what is neither."""
    try:
        return resolve(node)
    except ConfigError as error:
        if not _NAME.fullmatch(node):
            raise
        logger.warning("%s; until then only a node that was started with  parkcosnode.py -n %s  is used", error, node)
        return ()


def _is_amount(number: object) -> bool:
    return isinstance(number, Real) and 0 <= float(number) < math.inf


def allocations(nodes: Iterable[str | NodeAllocate]) -> list[NodeAllocate]:
    """What a client's `nodes` means; empty: every node, entirely."""
    if isinstance(nodes, str | NodeAllocate):
        raise ConfigError(f"nodes must be a list\n  write: nodes=[{nodes!r}]")
    if not isinstance(nodes, Iterable):
        raise ConfigError(f"nodes must be a list of names, addresses and NodeAllocate, not {nodes!r}")
    chosen = []
    for node in nodes:
        if not isinstance(node, str | NodeAllocate):
            raise ConfigError(f"nodes may hold names, addresses and NodeAllocate, not {node!r}")
        chosen.append(NodeAllocate(node) if isinstance(node, str) else node)
    return chosen or [NodeAllocate("*")]


def cpus_wanted(
    chosen: Sequence[NodeAllocate], info: NodeInfo, who_is_at: Callable[[Location], int] = lambda _: 0
) -> tuple[int, NodeAllocate | None]:
    """Ask the allocations in turn.

    Args:
        who_is_at: the incarnation of the process that is dialled there, 0 if it is not known: ports may be forwarded.
    Returns: how many processors, and by whose word; (0, None) if none wants it.
    Raises: UsageError for an answer that is no number; what an allocate() raises.
    """
    for allocation in chosen:
        if not _is_at_port(allocation, info, who_is_at) or _resources_lacking(allocation, info):
            continue
        answer = allocation.allocate(info.addr, info.name, info.platform, info.cpus, info.memory, info.disk)
        try:
            cpus = int(operator.index(answer))
        except TypeError:
            raise UsageError(
                f"{type(allocation).__name__}.allocate() must return a whole number, not {answer!r}"
            ) from None
        if cpus >= 0:
            return min(cpus, info.cpus), allocation
    return 0, None


def _is_at_port(allocation: NodeAllocate, info: NodeInfo, who_is_at: Callable[[Location], int]) -> bool:
    """There may be several nodes at an address."""
    if not allocation.port_given or allocation.port == info.port:
        return True
    at = allocation.location
    return at is not None and who_is_at(at) == info.incarnation


def _resources_lacking(allocation: NodeAllocate, info: NodeInfo) -> list[str]:
    wanted = ((name, amount, info.resources.get(name, 0)) for name, amount in allocation.resources.items())
    return [f"it has {has:g} {name}, {amount:g} were asked for" for name, amount, has in wanted if has < amount]


def why_unwanted(chosen: Sequence[NodeAllocate], info: NodeInfo, who_is_at: Callable[[Location], int]) -> str:
    """Why none of the allocations wants a node, to be said to whoever wonders.  Arguments: as for `cpus_wanted`."""
    reasons = []
    for each in chosen:
        if not each.matches(info.addr, info.name):
            continue
        lacking = _resources_lacking(each, info) + each._lacking(info.platform, info.cpus, info.memory, info.disk)
        if not _is_at_port(each, info, who_is_at):
            reasons.append(f"{each!r} asks for port {each.port}, it has {info.port}")
        elif not each.use:
            reasons.append(f"{each!r} leaves it out")
            break
        else:
            reasons += lacking or [f"{type(each).__name__}.allocate() does not want it"]
    return "; ".join(dict.fromkeys(reasons)) or "nodes= does not name it"
