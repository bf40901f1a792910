"""Where a process can be reached: :class:`Location`, an IP address and a TCP port, and how a host's name becomes one.

A :class:`Location` is a plain value: equal, hashed and ordered by its address and port, so that two references to
one process are one key in a dict however its host was spelled.  Names are resolved here and nowhere else, and a name
that means nothing gives a sentence instead of a ``gaierror``.

A name server may be dead, and a task that waits for it would stop all others.  So a name that is written in a task is
looked up later, by what the task yields (``lookup.py``); everywhere else it is looked up where it is written.

What must not live here: choosing this machine's own address (``addresses.py``), sockets that stay open, asyncio.
"""

from __future__ import annotations

import functools
import re
import socket
from typing import Final, NoReturn

from parkcos.errors import ConfigError
from parkcos.kernel.registry import cur_task

__all__ = ["Location", "is_loopback", "must_wait", "numeric_address", "resolve"]

PORT_MAX: Final = 65535
_V4_IN_V6: Final = b"\0" * 10 + b"\xff\xff"
_NO_NAME: Final = re.compile(r"[\d.]*|.*:.*|\s.*|.*\s", re.DOTALL)
"""An address, or what can only be one with a mistake in it: no name server need be asked."""


def numeric_address(text: str) -> str | None:
    """Return *text* in the one spelling of its IP address, or ``None`` when it isn't a numeric address.

    ``'FD00:0::1'`` becomes ``'fd00::1'``; an IPv4 address inside IPv6 (``'::ffff:10.0.0.5'``) becomes the IPv4 one.
    The scope of a link-local IPv6 address (``'%eth0'``) is kept.
    """
    try:
        return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):  # ValueError: a NUL inside, or characters that are not ASCII
        pass
    bare, percent, scope = text.partition("%")
    if percent and not scope:
        return None
    try:
        packed = socket.inet_pton(socket.AF_INET6, bare)
    except (OSError, ValueError):
        return None
    if packed.startswith(_V4_IN_V6):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed) + percent + scope


def is_loopback(addr: str) -> bool:
    """Return whether the numeric address *addr* never leaves its machine (127.0.0.0/8 or ::1)."""
    return addr == "::1" or (addr.startswith("127.") and ":" not in addr)


def must_wait(host: str) -> bool:
    """Return whether *host* is not to be resolved here and now: it is a name, and this is a task."""
    return cur_task() is not None and not _NO_NAME.fullmatch(host)


def resolve(host: str) -> tuple[str, ...]:
    """Return every IP address that *host* (a name or a numeric address) stands for, IPv4 first, without doubles.

    This may ask a name server and so take seconds; a numeric address is answered at once.

    Raises:
        ConfigError: the name is empty, malformed or unknown.
    """
    numeric = numeric_address(host)
    if numeric is not None:
        return (numeric,)
    if not host or host != host.strip():
        raise ConfigError(f"{host!r} is not a host: give a host's name or its IP address, for example '10.0.0.5'")
    flags = socket.AI_NUMERICHOST if _NO_NAME.fullmatch(host) else 0  # no name server is asked for a mistyped address
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError(
            f"the host name {host!r} cannot be resolved ({reason}): check its spelling, add it to the hosts file "
            "or to DNS, or give the IP address instead"
        ) from exc
    except ValueError as exc:  # UnicodeError of the IDNA codec (a label too long), or a NUL inside
        raise ConfigError(f"{host!r} cannot be a host name ({exc}): give a name or an IP address") from exc
    addresses = [numeric_address(str(entry[4][0])) for entry in found]
    ordered = dict.fromkeys(addr for addr in addresses if addr is not None)
    if not ordered:
        raise ConfigError(f"the host name {host!r} has no IP address: give the IP address instead")
    return tuple(sorted(ordered, key=lambda addr: ":" in addr))  # a stable sort: only IPv4 before IPv6


@functools.total_ordering
class Location:
    """An address (numeric) and a TCP port: where a process, and with it a task, channel or peer, is reached.

    Immutable, hashable, ordered by address (as text), then port, and picklable; unpickling resolves nothing.
    Implements the ``Location`` of pycos.

    Args:
        host: a name or an IP address.  A name is resolved once: here, or, if this is a task, by the call that is given
            the location and yielded; who reads ``addr``, compares, hashes or pickles it before that waits for the name
            server.  An IPv4 address is preferred to an IPv6 one, because that is what parkcos listens on unless told
            otherwise.
        tcp_port: 0 to 65535.

    Raises:
        ConfigError: the name cannot be resolved (in a task: where it is), or the port isn't one.
    """

    __slots__ = ("_addr", "_host", "port")

    _addr: str
    _host: str
    port: int

    def __init__(self, host: str, tcp_port: int) -> None:
        try:
            port = int(tcp_port)
        except (TypeError, ValueError):
            port = -1
        if not 0 <= port <= PORT_MAX:
            raise ConfigError(f"{tcp_port!r} is not a TCP port: give a number from 0 to {PORT_MAX}")
        object.__setattr__(self, "_host", host)
        object.__setattr__(self, "_addr", "" if must_wait(host) else resolve(host)[0])
        object.__setattr__(self, "port", port)

    @property
    def addr(self) -> str:
        """The numeric address.  Raises: ConfigError if it was not known yet and the name cannot be resolved."""
        if not self._addr:
            self.look_up()
        return self._addr

    @property
    def is_known(self) -> bool:
        """Whether the address is known."""
        return bool(self._addr)

    def look_up(self) -> None:
        """Resolve the name, if it was not.  This may take seconds.  Raises: ConfigError."""
        if not self._addr:
            object.__setattr__(self, "_addr", resolve(self._host)[0])

    @classmethod
    def parse(cls, text: str) -> Location:
        """Return the location that *text* (``'host:port'``, or ``'[v6]:port'``) names: the inverse of ``str``.

        Raises:
            ConfigError: there is no port, an IPv6 address is not in brackets, or the host cannot be resolved.
        """
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            colon = ""  # an IPv6 address whose last group would be taken for the port
        if not colon or not host or not (port.isascii() and port.isdigit()):
            raise ConfigError(
                f"{text!r} is not a location: write 'host:port', such as '10.0.0.5:9705' or '[fd00::5]:9705'"
            )
        return cls(host, int(port))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Location cannot be changed (tried to set {name!r}): make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Location cannot be changed (tried to delete {name!r}): make another one")

    def __reduce__(self) -> tuple[type[Location], tuple[str, int]]:
        return Location, (self.addr, self.port)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Location):
            return NotImplemented
        return self.port == other.port and self.addr == other.addr

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Location):
            return NotImplemented
        return (self.addr, self.port) < (other.addr, other.port)

    def __hash__(self) -> int:
        return hash((self._addr or self.addr, self.port))

    def __repr__(self) -> str:
        host = self._addr or self._host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
