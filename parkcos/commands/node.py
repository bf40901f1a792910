"""The command `parkcosnode.py`: offers this machine's processors to the cluster."""

from __future__ import annotations

import argparse
import datetime as dt
import math
import os
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from parkcos.errors import ConfigError, ParkcosError
from parkcos.net.files.own import own_folder
from parkcos.net.files.rules import parse_size
from parkcos.net.location import PORT_MAX
from parkcos.net.options import NetworkOptions
from parkcos.net.standard import open_standard
from parkcos.net.trust.claims import ORPHAN_MAX_S
from parkcos.node.groups import find_groups
from parkcos.node.hours import parse_hours
from parkcos.node.identity import settle
from parkcos.node.limits import checked_limits
from parkcos.node.offer import DEFAULT_PORT, OWN_PER_SERVER, NodeOptions, bound_own, count_cpus
from parkcos.node.processes import ProcessFile
from parkcos.node.running import run
from parkcos.program.commands import add_doctor_options, check_doctor_options, run_doctor
from parkcos.program.config import add_config_options, parse_with_config, save_config
from parkcos.program.options import (
    add_network_options,
    network_options,
    parse_location,
    parse_ports,
    set_up_logging,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parkcosnode.py", description="Offer this machine's processors to the clients of a parkcos cluster."
    )
    parser.add_argument(
        "-c",
        "--cpus",
        type=int,
        default=0,
        metavar="N",
        help="server processes: N, or all processors but -N, or all (0, the default)",
    )
    parser.add_argument(
        "--tcp_ports",
        "--node_ports",
        action="append",
        default=[],
        metavar="N1[-N2]",
        help=f"TCP ports: the first for the node, the others for its servers (default: {DEFAULT_PORT}-); repeatable",
    )
    parser.add_argument(
        "--peer", action="append", default=[], metavar="HOST[:PORT]", help="connect to this process; repeatable"
    )
    parser.add_argument(
        "--max_file_size",
        metavar="SIZE",
        help="of files that are sent to this node or its servers: bytes, or with K, M, G, T (default: no bound)",
    )
    add = parser.add_argument
    add("--serve", type=int, default=-1, metavar="N", help="end after N clients (default: -1, never)")
    add(
        "--zombie_period",
        type=float,
        default=0.0,
        metavar="S",
        help="close a client none of whose tasks has run for S seconds (default: 0, never)",
    )
    add(
        "--orphan_max",
        type=float,
        default=ORPHAN_MAX_S,
        metavar="S",
        help="keep the servers of a client that may return (Client(identity=)) for at most S seconds after its program "
        f"was lost (default: {ORPHAN_MAX_S:g}); 0: end them at once",
    )
    add(
        "--own_max",
        type=int,
        metavar="N",
        help="processes for single tasks that a client may have here at once, beside its servers "
        f"(default: {OWN_PER_SERVER} for each server)",
    )
    for name, text in (
        ("start", "take clients from this time of day on (default: now)"),
        ("stop", "take no new clients from this time of day on"),
        ("end", "end the clients' tasks at this time of day"),
    ):
        add(f"--service_{name}", metavar="HH:MM", help=text)
    add("--min_pulse_interval", type=float, default=10.0, metavar="S", help="the least that clients may ask for (10)")
    add("--max_pulse_interval", type=float, default=100.0, metavar="S", help="the most that clients may ask for (100)")
    add(
        "--resource",
        action="append",
        default=[],
        metavar="NAME=N",
        help="something that this machine has and clients may ask for, as gpu=1; repeatable",
    )
    add(
        "--env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable of this environment that clients' tasks have, too, also as another user; repeatable",
    )
    add("--owner", metavar="NAME", help="whose machine this is, as its grant says (--grant), which alone is believed")
    add(
        "--max_memory",
        metavar="SIZE",
        help="of each server, with what its tasks start: bytes, or with K, M, G, T (default: no bound)",
    )
    add(
        "--max_processes",
        type=int,
        default=0,
        metavar="N",
        help="processes and threads that a client may have here (default: 0, no bound)",
    )
    add(
        "--cgroup",
        metavar="DIR",
        help="the control group (v2) in which it makes others that bound this, or 'none' (default: its own, if it may)",
    )
    add("--max_disk", metavar="SIZE", help="what a client's folders here may hold (default: no bound)")
    add(
        "--disk_reserve",
        metavar="SIZE",
        help="what stays free on the disk when files come (default: a hundredth of it, and 64M at most)",
    )
    add("--clean", action="store_true", help="end an earlier node of the same folder, and its servers, first")
    add_config_options(parser)
    add_doctor_options(parser)
    add_network_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a node until it is told to end.  Returns the exit code."""
    open_standard()
    parser = _parser()
    try:
        client_user = settle()
        args = parse_with_config(parser, argv)
        set_up_logging(args.debug)
        cpus = count_cpus(args.cpus)
        ports = parse_ports(args.tcp_ports, cpus + 1, DEFAULT_PORT)
        check_doctor_options(args)
        if args.doctor is not None:
            scheduler_port = DEFAULT_PORT - 1
            return run_doctor(args, node_port=ports[0], scheduler_port=scheduler_port, udp_port=DEFAULT_PORT)
        peers = [parse_location(text, DEFAULT_PORT - 1) for text in args.peer]
        file_size = _size(args.max_file_size)
        node = NodeOptions(cpus, ports[1:], args.dest_path, peers, args.debug, **_service(args))
        bound_own(args.own_max, cpus)
        node.own_max, node.commands = args.own_max, not args.daemon
        node.client_user = client_user
        if args.save_config is not None:
            print(save_config(args.save_config, parser, args))
            return 0
        options = network_options(args, roles=("node",), dial_roles=set(), udp_port=DEFAULT_PORT, tcp_ports=[ports[0]])
        if args.owner is not None and args.owner != options.owner:
            theirs = f"the grant is {options.owner}'s" if options.owner else "this node has none"
            raise ConfigError(f"--owner {args.owner}: a grant alone says whose machine this is, and {theirs}")
        options.max_file_size = file_size
        options.dest_path = args.dest_path / "files" if args.dest_path else None
        words = sys.argv[1:] if argv is None else list(argv)
        return _run_alone(options, node, ports[0], args, lambda: command_beside(words, ports[0]))
    except ParkcosError as error:
        print(f"parkcosnode.py: {error}", file=sys.stderr)
        return 1


def _service(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of NodeOptions that say whom it serves, when, and with how much.  Raises: ConfigError."""
    if args.serve == 0 or args.serve < -1:
        raise ConfigError(f"--serve {args.serve}: give the number of clients to serve, or -1 for no bound")
    for name in ("zombie_period", "orphan_max", "min_pulse_interval", "max_pulse_interval"):
        if not 0 <= getattr(args, name) < math.inf:
            raise ConfigError(f"--{name} {getattr(args, name):g}: give seconds")
    least, most = args.min_pulse_interval, args.max_pulse_interval
    if least > most or least == 0:
        raise ConfigError(
            f"--min_pulse_interval {least:g}, --max_pulse_interval {most:g}: "
            "give seconds, more than 0, and the minimum not above the maximum"
        )
    return {
        "hours": parse_hours(args.service_start, args.service_stop, args.service_end, dt.datetime.now()),
        "serve": max(0, args.serve),
        "zombie_period_s": args.zombie_period,
        "orphan_max_s": args.orphan_max,
        "pulse_intervals": (least, most),
        "resources": parse_resources(args.resource),
        "env": _variables(args.env),
        "limits": checked_limits(_size(args.max_memory) or 0, args.max_processes, _size(args.max_disk) or 0),
        "disk_reserve": _size(args.disk_reserve),
    }


def _size(text: str | None) -> int | None:
    """Raises: ConfigError."""
    return parse_size(text) if text else None


def _variables(names: Sequence[str]) -> Sequence[str]:
    """Raises: ConfigError if one is no name of a variable that is set."""
    for name in names:
        if name not in os.environ:
            raise ConfigError(f"--env {name}: give the name of a variable that is set where this node is started")
    return names


def parse_resources(texts: Sequence[str]) -> dict[str, float]:
    """What `--resource NAME=N`, repeated, means.  Raises: ConfigError."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, amount = text.partition("=")
        try:
            number = float(amount)
        except ValueError:
            number = -1.0
        if not name.isidentifier() or not 0 <= number < math.inf:
            raise ConfigError(f"--resource {text}: write a name and a number, as  --resource gpu=1")
        if name in found:
            raise ConfigError(f"--resource {text}: {name} is given twice")
        found[name] = number
    return found


def command_beside(words: Sequence[str], port: int) -> str:
    """The command with which a node of these options runs beside the one at `port`: with ports and a folder of its own.

    A secret in it is not repeated.
    """
    kept: list[str] = []
    folder = ""
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in ("--tcp_ports", "--dest_path", "-s", "--secret") and not equals:
            value = next(rest, "")
        if name == "--dest_path":
            folder = value
        elif name in ("-s", "--secret"):
            kept += [name, "SECRET"]
        elif name not in ("--tcp_ports", "--clean"):
            kept.append(word)
    own = next((p for p in range(port + 100, PORT_MAX, 100) if _is_free(p)), port + 100)
    return shlex.join(
        ["parkcosnode.py", *kept, "--tcp_ports", str(own), *(["--dest_path", f"{folder}-{own}"] if folder else [])]
    )


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
    return True


def _run_alone(
    network: NetworkOptions, node: NodeOptions, port: int, args: argparse.Namespace, beside: Callable[[], str]
) -> int:
    """Be the only node of its folder: of its --dest_path, or, without one, of those with its port."""
    own = f"node-{port}"
    folder = node.dest_path or own_folder(for_others=node.client_user is not None) / own
    node.processes = ProcessFile(folder, own, node.client_user, node.dest_path, beside)
    node.processes.take(args.clean)
    try:
        node.groups = find_groups(args.cgroup, node.limits)
        run(network, node)
    finally:
        if node.groups is not None:
            node.groups.close()
        node.processes.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
