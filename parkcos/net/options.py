"""What a process's presence on the network depends on, and what is found out from that before it begins."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.net.bounds import PAYLOAD_BYTES_MAX
from parkcos.net.files.messages import CHUNK_BYTES_MAX
from parkcos.net.finding.addresses import OwnAddress, choose_address
from parkcos.net.finding.datagram import NAME_CHARS_MAX, Key
from parkcos.net.location import PORT_MAX, resolve
from parkcos.net.trust.certificates import CertificateIdentity, Certificates
from parkcos.net.trust.granted import ROLES, read_grant
from parkcos.net.trust.issuing import Grant, authorities
from parkcos.net.trust.secret import ClusterKeys, cluster_keys, default_secret_path
from parkcos.net.trust.secret_text import CLUSTER
from parkcos.net.trust.signing import Signer
from parkcos.net.trust.tls import Identity, TlsIdentity

MAX_PAYLOAD_LEAST = 2 * CHUNK_BYTES_MAX
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
    """Received files lie below it; None: a folder of the user's own."""
    max_file_size: int | None = None
    """Of received files, in bytes; None or 0: no bound."""
    grant: Grant | None = None
    """What a process has that holds no keys of its cluster."""
    grant_mac_key: bytes | None = None
    """That of the datagrams, which goes with a grant."""
    revoked_file: Path | None = None
    """Keeps who was shut out."""
    incarnation: int = 0
    """The number of this process; 0: a random one."""
    max_payload: int = PAYLOAD_BYTES_MAX
    """Of a user's object as bytes that this process takes: an argument, a result, a message, a client's bundle."""
    identity: Identity | None = None
    """What it proves itself with, if somebody else has made that."""
    addresses: Sequence[OwnAddress] = ()
    """As `prepare` has found them, or to be found by the Network."""

    def take_secret(
        self,
        secret: str | None = None,
        secret_file: Path | None = None,
        old_secret_file: Path | None = None,
        cluster: str = CLUSTER,
    ) -> None:
        """Take part with the cluster's secret.  Args: as of `cluster_keys`.  Raises: ConfigError."""
        self.keys = cluster_keys(secret, secret_file, old_secret_file, cluster)
        self.revoked_file = None if secret else _revoked_file(secret_file)

    def take_grant(self, path: Path) -> None:
        """Take part by the grant in this file, without the secret.  Raises: ConfigError."""
        self.grant, self.grant_mac_key = read_grant(path)
        self.revoked_file = path.with_name(f"{path.name}.revoked")
        (role,) = self.grant.standing.roles
        if tuple(self.roles) != (role,):
            names = {held: what for what, held in ROLES.items()}
            asked = " and ".join(names.get(one, one) for one in self.roles)
            raise ConfigError(
                f"the grant in {path} is for a {names[role]}, and this is a {asked}: ask for one for that"
            )

    @property
    def owner(self) -> str:
        """To whom the grant was given; "": there is none."""
        return self.grant.standing.owner if self.grant is not None else ""

    def trusted(self) -> bytes:
        """The certificates of the cluster's authorities, DER."""
        source = self.grant or self.keys
        return authorities(source) if source is not None else b""

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
        if not isinstance(self.max_payload, int) or not MAX_PAYLOAD_LEAST <= self.max_payload < 1 << 63:
            raise ConfigError(
                f"max_payload={self.max_payload!r}: give bytes, at least {MAX_PAYLOAD_LEAST}, which files need"
            )
        if not isinstance(self.name, str) or not self.name.isprintable() or len(self.name) > NAME_CHARS_MAX:
            raise ConfigError(
                f"{self.name!r} is not a name: give a text of one line, without control characters, "
                f"of at most {NAME_CHARS_MAX} characters"
            )

    def prepare(self) -> None:
        """Find out beforehand what takes long, for processes that are forked after this.  Raises: ConfigError."""
        self.addresses = own_addresses(self.host, self.kept)


def _revoked_file(secret_file: Path | None) -> Path | None:
    """Where who was shut out is kept: beside the secret; None if this user has no place for that."""
    try:
        return (secret_file or default_secret_path()).with_name("revoked")
    except ConfigError:  # the secret was given otherwise
        return None


def _is_port(port: object, least: int) -> bool:
    return isinstance(port, int) and least <= port <= PORT_MAX


def datagram_key(keys: ClusterKeys | None, identity: Identity | None) -> Key:
    """What the datagrams of a process are sealed with: its cluster's key, or its certificates if there is no secret."""
    if keys is None and isinstance(identity, CertificateIdentity):
        return Signer(identity.current)
    return keys.mac_key if keys is not None else None


def new_incarnation() -> int:
    """The number of a process: also different in those that were forked from one."""
    return int.from_bytes(os.urandom(8)) >> 1 | 1


def identity_of(options: NetworkOptions, name: str, incarnation: int) -> Identity | None:
    """What a process proves itself with; None in a cluster without a secret and without certificates.

    name, incarnation: of the process.
    """
    if options.certificates is not None:
        return CertificateIdentity(options.certificates)
    source = options.grant or options.keys
    return TlsIdentity(source, name, roles=options.roles, incarnation=incarnation) if source else None


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
