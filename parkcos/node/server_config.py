"""What every server of a client needs to know: put together by the node, read where servers start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from parkcos.net.bounds import PAYLOAD_BYTES_MAX
from parkcos.net.options import NetworkOptions
from parkcos.net.runtime import VERSION
from parkcos.net.trust.issuing import decode_grant
from parkcos.node.limits import Limits

if TYPE_CHECKING:
    from parkcos.net.network import Network
    from parkcos.node.offer import NodeOptions


class ServerConfig(msgspec.Struct, array_like=True, frozen=True):
    """What every server of a client needs to know.

    hosts: the node's addresses.
    automatic: they were not given, and are others when the machine has others.
    grant: by which they are servers of the client, as `encode_grant` gives it; b"" without TLS.
    max_file_size: in bytes; None for no bound.
    max_payload: in bytes.
    patience_s: how long the client may be silent before it counts as gone, if longer than others.
    alive_s: after so many seconds of silence the client wants a sign of life; 0: as others.
    limits: of what the client may use.
    run: of the client's program, if the client may return; 0: it may not.
    orphan_s: how long its servers go on after that was lost.
    """

    hosts: list[str]
    ext_hosts: list[str]
    node_name: str
    client: int
    client_process: int
    client_at: list[tuple[str, int]]
    grant: bytes
    pulse_s: float
    debug: bool
    max_file_size: int | None = None
    patience_s: float = 0.0
    alive_s: float = 0.0
    automatic: bool = False
    limits: Limits = Limits()
    max_payload: int = PAYLOAD_BYTES_MAX
    run: int = 0
    orphan_s: float = 0.0


def server_config(
    network: Network,
    node: NodeOptions,
    client: int,
    client_process: int,
    grant: bytes,
    silence_s: tuple[float, float],
    run: int,
    orphan_s: float,
) -> ServerConfig:
    """For the servers of a client at this node.  silence_s: `patience_s` and `alive_s`."""
    peer = network.hub.by_incarnation.get(client_process)
    client_at = peer.addresses if peer is not None else ()
    options = network.options
    return ServerConfig(
        hosts=[own.addr for own in network.addresses],
        ext_hosts=[options.ext_host] if isinstance(options.ext_host, str) else list(options.ext_host or ()),
        node_name=network.name,
        client=client,
        client_process=client_process,
        client_at=[(at.addr, at.port) for at in client_at],
        grant=grant,
        pulse_s=options.pulse_s,
        debug=node.debug,
        max_file_size=options.max_file_size,
        max_payload=options.max_payload,
        patience_s=silence_s[0],
        alive_s=silence_s[1],
        automatic=options.host is None,
        limits=node.limits,
        run=run,
        orphan_s=orphan_s,
    )


def network_options(config: ServerConfig) -> NetworkOptions:
    """What all servers of a client have in common."""
    return NetworkOptions(
        host=None if config.automatic else config.hosts,
        kept=config.hosts[0],
        ext_host=config.ext_hosts,
        name=config.node_name,
        grant=decode_grant(config.grant) if config.grant else None,
        roles=("server",),
        discover=False,
        pulse_s=config.pulse_s,
        version=VERSION,
        say_address=False,
        max_file_size=config.max_file_size,
        max_payload=config.max_payload,
    )
