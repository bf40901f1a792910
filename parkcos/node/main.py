"""The command `parkcosnode.py`: offers this machine's processors to the cluster."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence

from parkcos.cluster.options import (
    add_network_options,
    network_options,
    parse_location,
    parse_ports,
    set_up_logging,
)
from parkcos.errors import ConfigError, ParkcosError
from parkcos.net.network import NetworkOptions
from parkcos.net.runtime import VERSION, Parkcos
from parkcos.net.secret import ClusterKeys
from parkcos.node.program import DEFAULT_PORT, NodeOptions, NodeProgram, wait_until_stopped


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
    parser.add_argument("--local_cluster", type=int, metavar="FD", help=argparse.SUPPRESS)
    add_network_options(parser)
    return parser


def count_cpus(asked: int) -> int:
    """How many servers `-c asked` means on this machine.  Raises: ConfigError if that leaves none."""
    have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if asked > 0:
        return asked
    if have + asked < 1:
        raise ConfigError(f"-c {asked} leaves none of this machine's {have} processors")
    return have + asked


def main(argv: Sequence[str] | None = None) -> int:
    """Run a node until it is told to end.  Returns the exit code."""
    args = _parser().parse_args(argv)
    set_up_logging(args.debug, quiet=args.local_cluster is not None)
    try:
        if args.local_cluster is not None:
            return _run_local(args)
        cpus = count_cpus(args.cpus)
        ports = parse_ports(args.tcp_ports, cpus + 1, DEFAULT_PORT)
        options = network_options(args, roles=("node",), dial_roles=set(), udp_port=DEFAULT_PORT, tcp_ports=[ports[0]])
        peers = [parse_location(text, DEFAULT_PORT - 1) for text in args.peer]
        return run(options, NodeOptions(cpus, ports[1:], args.dest_path, peers, args.debug))
    except ParkcosError as error:
        print(f"parkcosnode.py: {error}", file=sys.stderr)
        return 1


def run(network: NetworkOptions, node: NodeOptions, ready: socket.socket | None = None) -> int:
    """Be a node with these options; returns the exit code.  ready: is told the port; when it closes, the node ends."""
    runtime = Parkcos.instance()
    program = runtime.start_network(network, lambda started: NodeProgram(started, node))
    if ready is not None:
        ready.sendall(json.dumps({"port": runtime.location.port}).encode() + b"\n")

        def parent_gone() -> None:
            program.loop.remove_reader(ready.fileno())
            program.stop()

        program.loop.call_soon_threadsafe(program.loop.add_reader, ready.fileno(), parent_gone)
    try:
        wait_until_stopped(program)
    finally:
        runtime.terminate()
    return 0


def _run_local(args: argparse.Namespace) -> int:
    """The node of a LocalCluster: its options come through a socket, whose end is this node's end."""
    sock = socket.socket(fileno=args.local_cluster)
    line = b""
    while not line.endswith(b"\n"):
        data = sock.recv(4096)
        if not data:
            return 1
        line += data
    config = json.loads(line)
    keys = ClusterKeys(bytes.fromhex(config["ca_seed"]), bytes.fromhex(config["mac_key"]))
    options = NetworkOptions(
        host=config["host"],
        tcp_ports=(0,),
        name=config["name"],
        keys=keys if keys.ca_seed else None,
        roles=("node",),
        dial_roles=set(),
        discover=False,
        version=VERSION,
        say_address=False,
    )
    return run(options, NodeOptions(config["cpus"], debug=args.debug), sock)


if __name__ == "__main__":
    sys.exit(main())
