"""Command-line options that node and scheduler share, and what becomes of them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parkcos.errors import ConfigError
from parkcos.net.files.rules import parse_size
from parkcos.net.location import Location
from parkcos.net.options import NetworkOptions
from parkcos.net.runtime import VERSION
from parkcos.net.trust.certificates import load_certificates
from parkcos.net.trust.secret_text import CLUSTER
from parkcos.program.log import PatientHandler

if TYPE_CHECKING:
    import argparse

SPARE_PORTS = 32
"""So many ports beyond the highest a server tries whose own is taken."""


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """The options of both programs; each has the names of chapter 6 and those of later versions."""
    add = parser.add_argument
    add(
        *("-i", "--ip_addr", "--host"),
        dest="host",
        action="append",
        metavar="ADDR",
        help="own address or name (default: found); repeatable, for a machine in several networks",
    )
    add(
        *("--ext_ip_addr", "--ext_host"),
        dest="ext_host",
        action="append",
        metavar="ADDR",
        help="address that others are told, behind NAT; repeatable: each instead of the -i in the same place",
    )
    add("-u", "--udp_port", type=int, metavar="PORT", help="UDP port for discovery")
    add("--ipv4_udp_multicast", action="store_true", help="announce by multicast instead of broadcast")
    add("-n", "--name", default="", help="name of this process (default: the host's)")
    add(
        "--dest_path",
        type=Path,
        metavar="DIR",
        help="where files are kept (default: in the user's cache or temp folder)",
    )
    add(
        "--max_payload",
        metavar="SIZE",
        help="the largest argument, result, message or bundle that is taken (default: 2G; 1M for a scheduler)",
    )
    add("-s", "--secret", help="the cluster's secret; seen by other users of this machine: prefer a file")
    add("--secret_file", type=Path, metavar="FILE", help="file with the secret (default: ~/.config/parkcos/secret)")
    add("--old_secret_file", type=Path, metavar="FILE", help="the secret that is being replaced: accepted, too")
    add(
        "--grant",
        type=Path,
        metavar="FILE",
        help="take part by a grant (parkcos.py --make_grant), without the secret",
    )
    add(
        "--cluster",
        default=CLUSTER,
        metavar="NAME",
        help=f"its name: programs with another one are another cluster's (default: {CLUSTER})",
    )
    add("--certfile", type=Path, metavar="FILE", help="certificate of your own (PEM), instead of those from the secret")
    add("--keyfile", type=Path, metavar="FILE", help="its private key (default: it is in the certfile)")
    add("--cafile", type=Path, metavar="FILE", help="whom to trust (default: the certificate in the certfile alone)")
    add("--no_secret", action="store_true", help="no encryption and no authentication: anybody may run code here")
    add("--no_discovery", action="store_true", help="neither send nor answer UDP broadcasts")
    add("--daemon", action="store_true", help="do not read commands from standard input")
    add("-d", "--debug", action="store_true", help="log debug messages")
    add("--version", action="version", version=f"parkcos {VERSION}")


def network_options(
    args: argparse.Namespace,
    *,
    roles: tuple[str, ...],
    dial_roles: set[str],
    udp_port: int,
    tcp_ports: Sequence[int],
) -> NetworkOptions:
    """What the options say about the network.  Raises: ConfigError."""
    if args.no_secret and (args.secret or args.secret_file or args.old_secret_file):
        raise ConfigError("give either a secret or --no_secret, not both")
    if args.grant and (args.no_secret or args.secret or args.secret_file or args.old_secret_file or args.certfile):
        raise ConfigError("give either a grant, or what it stands for: a secret or a certificate, not both")
    if args.secret == "":
        raise ConfigError("an empty --secret protects nothing: leave it out, or say --no_secret")
    if args.no_secret and args.cluster != CLUSTER:
        raise ConfigError(f"--cluster {args.cluster} goes with a secret: without one, names keep nobody apart")
    if args.secret:
        logging.getLogger("parkcos").warning(
            "other users of this machine can read the secret, which --secret gives, in the list of processes: "
            "prefer a file (--secret_file)"
        )
    certificates = load_certificates(args.certfile, args.keyfile, args.cafile)
    own_udp = args.udp_port if args.udp_port is not None else udp_port
    options = NetworkOptions(
        host=args.host or ("127.0.0.1" if args.no_secret and not certificates else None),
        ext_host=args.ext_host,
        tcp_ports=tcp_ports,
        udp_port=own_udp,
        name=args.name,
        roles=roles,
        dial_roles=dial_roles,
        discover=not args.no_discovery,
        multicast=args.ipv4_udp_multicast,
        version=VERSION,
        certificates=certificates,
    )
    if args.max_payload:
        options.max_payload = parse_size(args.max_payload)
    if args.udp_port is not None:
        base = own_udp - udp_port + 9705
        options.target_udp_ports = (base, base + 1)
    if args.grant:
        options.take_grant(args.grant)
    elif args.no_secret and not certificates:
        logging.getLogger("parkcos").warning(
            "no secret: everybody who reaches %s may run code as this user", options.host
        )
    elif not args.no_secret:
        options.take_secret(args.secret, args.secret_file, args.old_secret_file, args.cluster)
    return options


def parse_ports(ranges: Sequence[str], count: int, default: int) -> list[int]:
    """The ports that `--tcp_ports` names: `n`, `n1-n2`, repeated; then those beyond the highest, up to `count`.

    Raises: ConfigError for what is no port.  Source: chapter 6.2.
    """
    ports: list[int] = []
    for text in ranges:
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", text)
        if not match:
            raise ConfigError(f"--tcp_ports {text}: write a port, as 9706, or a range, as 9706-9710")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last <= 65535:
            raise ConfigError(f"--tcp_ports {text}: ports are 1 to 65535, and a range goes from low to high")
        ports += [p for p in range(first, last + 1) if p not in ports]
    if not ports:
        ports = [default]
    ports += _beyond(max(ports), count - len(ports))
    if len(ports) < count:
        raise ConfigError(f"--tcp_ports: {count} ports are needed, and beyond {max(ports)} there are none")
    return ports


def enough_ports(ports: Sequence[int], own: int, cpus: int) -> list[int]:
    """The servers' ports, and as many more as are needed for `cpus` servers, beyond the highest, also the node's `own`.

    Returns: none if there were none, for any ports do then.
    """
    return [*ports, *_beyond(max(own, *ports), cpus - len(ports))] if ports else []


def ports_to_try(ports: Sequence[int], own: int, index: int) -> list[int]:
    """For server number `index`: its own of the servers' ports; if that is taken, others beyond the highest.

    One for which there is none has those beyond the highest, and then any; so has each where no ports are given.
    """
    if not ports:
        return [0]
    highest = max(own, *ports)
    if index < len(ports):
        return [ports[index], *_beyond(highest, SPARE_PORTS)]
    return [*_beyond(highest + index - len(ports), SPARE_PORTS), 0]


def _beyond(highest: int, count: int) -> range:
    return range(highest + 1, min(highest + count, 65535) + 1)


def parse_location(text: str, default_port: int) -> Location:
    """`host` or `host:port`.  Raises: ConfigError."""
    if (re.search(r"]?:\d+$", text) and text.count(":") == 1) or text.startswith("["):
        location = Location.parse(text)
        if not location.port:
            raise ConfigError(f"{text}: nobody listens at port 0; ports are 1 to 65535")
        return location
    return Location(text, default_port)


def set_up_logging(debug: bool, quiet: bool = False) -> None:
    """To standard error, one line a record, while somebody takes it.  quiet: only what is worth a warning."""
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    handlers = [PatientHandler(sys.stderr)]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=level, handlers=handlers)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
