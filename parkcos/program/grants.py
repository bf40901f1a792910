"""What `parkcos.py` does about grants: make one (`--make_grant`), and revoke (`--revoke`)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.net.location import Location
from parkcos.net.network import Network
from parkcos.net.options import CLIENT_UDP_PORT
from parkcos.net.runtime import Parkcos
from parkcos.net.session.peer import UP, Peer
from parkcos.net.trust.granted import write_grant
from parkcos.net.trust.revoked import Revocation, is_grant, revoke
from parkcos.net.trust.secret import cluster_keys
from parkcos.program.options import network_options

DAYS_DEFAULT = 365
SPREAD_S = 7.0
"""Every process announces itself every 6 s at the latest, and is told then."""
_PROGRAMS = {"node": "parkcosnode.py", "scheduler": "parkcos.py --daemon"}


def make_grant_file(args: argparse.Namespace) -> int:
    """Make a grant and print what to do with it; the exit code.  Raises: ConfigError."""
    owner, file = args.make_grant
    path = Path(file).absolute()
    keys = cluster_keys(args.secret, args.secret_file, args.old_secret_file, args.cluster)
    grant = write_grant(path, keys, args.role, owner, args.days or DAYS_DEFAULT)
    program = _PROGRAMS.get(args.role)
    start = f"{program} --grant {path.name}" if program else f"parkcos.Parkcos(grant={path.name!r})"
    print(
        f"made the grant {grant.standing.grant} for {owner}, in {path}\n\n"
        f"Give the file to {owner} over a way that you trust. It lets its holder be a {args.role} of this cluster,\n"
        "and nothing else, until it ends or is revoked:\n\n"
        f"    {start}\n\n"
        f"    parkcos.py --revoke {grant.standing.grant}     # this one\n"
        f"    parkcos.py --revoke {owner!r}     # all that {owner} was given until then"
    )
    return 0


def revoke_grant(args: argparse.Namespace, nodes: Sequence[Location]) -> int:
    """Shut somebody out, tell all that can be found, and print who was told; the exit code.  Raises: ConfigError."""
    options = network_options(
        args, roles=("peer",), dial_roles={"node", "scheduler"}, udp_port=CLIENT_UDP_PORT, tcp_ports=[0]
    )
    if options.keys is None:
        raise ConfigError("--revoke needs the cluster's secret, with which the list of who is shut out is signed")
    entry = revoke(options.keys, args.revoke, time.time())
    runtime = Parkcos.instance()
    network = runtime.start_network(options, lambda made: made)
    try:
        told = _tell(network, entry, nodes)
    finally:
        runtime.terminate()
    what = f"the grant {args.revoke}" if is_grant(args.revoke) else f"all that {args.revoke!r} was given until now"
    print(f"revoked {what}; kept in {options.revoked_file}")
    for peer in told:
        print(f"told {' and '.join(peer.roles)} {peer!r}")
    if not told:
        print("nobody was found who could be told: each node and scheduler is, as soon as it meets one that knows")
    print("Who has the secret itself is not shut out: for that, change it.")
    return 0


def _tell(network: Network, entry: Revocation, nodes: Sequence[Location]) -> list[Peer]:
    """Take the entry, and give it time to spread.  Returns: who was told."""
    for location in nodes:
        network.hub.peer_at(location)
    network.io.call(network.revoking.take, [entry])
    network.look_for(("node", "scheduler"))
    print(f"telling nodes and schedulers, for {SPREAD_S:g} s ...", flush=True)
    time.sleep(SPREAD_S)
    return [peer for peer in network.hub.peers() if peer.state is UP and not peer.owes]
