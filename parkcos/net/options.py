"""What a process's presence on the network depends on, and what is found out from that before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.net.finding.addresses import OwnAddress, choose_address
from parkcos.net.finding.datagram import NAME_CHARS_MAX
from parkcos.net.location import PORT_MAX, resolve
from parkcos.net.trust.certificates import CertificateIdentity, Certificates
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import Identity, TlsIdentity

CLIENT_UDP_PORT = 9705
NODE_UDP_PORT = 9706


@dataclass
class NetworkOptions:
    """What a process's presence on the network depends on.

    keys: of the cluster; None for a cluster without a secret.
    certificates: of the user's own, for the sessions, instead of those that come from the keys.
    tcp_ports: tried in order, 0 for any.
    roles: what this process is to others ('node', 'scheduler', 'peer', 'server').
    dial_roles: others that announce one of these roles are dialled.
    """

    host: str | Sequence[str] | None = None
    """Own address or name, or several: the first is the one that references carry."""
    ext_host: str | Sequence[str] | None = None
    """What others are told instead of the own address, or of each, in the same order."""
    tcp_ports: Sequence[int] = (0,)
    udp_port: int = CLIENT_UDP_PORT
    target_udp_ports: Sequence[int] = (CLIENT_UDP_PORT, NODE_UDP_PORT)
    name: str = ""
    keys: ClusterKeys | None = None
    certificates: Certificates | None = None
    roles: tuple[str, ...] = ("peer",)
    dial_roles: set[str] = field(default_factory=lambda: {"peer"})
    discover: bool = True
    multicast: bool = False
    pulse_s: float = 5.0
    version: str = "0"
    say_address: bool = True
    kept: str = ""
    """Without `host`, the own address is this one, while the machine has it."""
    dest_path: Path | None = None
    """Received files lie below it; None: a folder of the user's own below the temp folder."""
    max_file_size: int | None = None
    """Of received files, in bytes; None or 0: no bound."""
    identity: Identity | None = None
    addresses: Sequence[OwnAddress] = ()
    """These two as `prepare` has found them, or to be found by the Network."""

    def check(self) -> None:
        """Look at what no later step would name.  Raises: ConfigError."""
        for port in self.tcp_ports:
            if not _is_port(port, 0):
                raise ConfigError(
                    f"{port!r} is not a TCP port: give one from 1 to {PORT_MAX}, or 0 for any that is free"
                )
        if not all(_is_port(port, 1) for port in (self.udp_port, *self.target_udp_ports)):
            raise ConfigError(
                f"{self.udp_port!r} cannot be the UDP port: give a number from 2 to {PORT_MAX - 1} "
                "(nodes use the next one up from their scheduler's and clients')"
            )
        if not isinstance(self.pulse_s, int | float) or not 0 < self.pulse_s < math.inf:
            raise ConfigError(f"pulse_s={self.pulse_s!r}: give seconds, more than 0")
        if not isinstance(self.name, str) or not self.name.isprintable() or len(self.name) > NAME_CHARS_MAX:
            raise ConfigError(
                f"{self.name!r} is not a name: give a text of one line, without control characters, "
                f"of at most {NAME_CHARS_MAX} characters"
            )

    def prepare(self) -> None:
        """Find out beforehand what takes long, for processes that are forked after this.  Raises: ConfigError."""
        self.identity = identity_of(self, self.name)
        if self.identity is not None:
            self.identity.server_context()
        self.addresses = own_addresses(self.host, self.kept)


def _is_port(port: object, least: int) -> bool:
    return isinstance(port, int) and least <= port <= PORT_MAX


def identity_of(options: NetworkOptions, name: str) -> Identity | None:
    """What a process called `name` proves itself with; None in a cluster without a secret and without certificates."""
    if options.certificates is not None:
        return CertificateIdentity(options.certificates)
    return TlsIdentity(options.keys, name) if options.keys else None


def own_addresses(host: str | Sequence[str] | None, kept: str = "") -> list[OwnAddress]:
    """The addresses that `host` means, the first one first.  kept: see `choose_address`.  Raises: ConfigError."""
    hosts = [host] if host is None or isinstance(host, str) else list(host)
    return [choose_address(one, kept=kept) for one in hosts]


def told_addresses(own: Sequence[str], ext_host: str | Sequence[str] | None) -> list[str]:
    """What others are told: the first of `ext_host` instead of the first own address, and so on; more of them, too.

    Raises: ConfigError for a name that means nothing.
    """
    ext = [ext_host] if isinstance(ext_host, str) else list(ext_host or ())
    told = [resolve(host)[0] for host in ext]
    return [*told, *own[len(told) :]]
