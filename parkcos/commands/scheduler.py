"""The command `parkcos.py`: the shared scheduler, which gives the nodes to one queued client after the other."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

from parkcos.errors import ConfigError, ParkcosError
from parkcos.net.files.own import own_folder
from parkcos.net.files.rules import parse_size
from parkcos.net.location import Location
from parkcos.net.options import MAX_PAYLOAD_LEAST
from parkcos.net.runtime import Parkcos
from parkcos.net.standard import open_standard
from parkcos.net.trust.claims import ORPHAN_MAX_S
from parkcos.net.trust.granted import ROLES
from parkcos.program.commands import add_doctor_options, check_doctor_options, make_cert, make_secret, run_doctor
from parkcos.program.grants import make_grant_file, revoke_grant
from parkcos.program.limits import raise_open_files
from parkcos.program.options import add_network_options, network_options, parse_location, set_up_logging
from parkcos.program.signals import Signals
from parkcos.scheduler.console import SchedulerConsole
from parkcos.scheduler.journal import Journal
from parkcos.scheduler.service import SchedulerService

DEFAULT_PORT = 9705
NODE_PORT = 9706
MAX_PULSE_INTERVAL_S = 100.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parkcos.py", description="Run the shared scheduler of a parkcos cluster: clients queue, and take turns."
    )
    parser.add_argument(
        "-t",
        "--tcp_port",
        "--scheduler_port",
        type=int,
        default=DEFAULT_PORT,
        metavar="PORT",
        help=f"TCP port (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--node", action="append", default=[], metavar="HOST[:PORT]", help="a node to connect to; repeatable"
    )
    parser.add_argument(
        "--zombie_period",
        type=float,
        default=10 * MAX_PULSE_INTERVAL_S,
        metavar="S",
        help="a client that has run nothing for S seconds loses its nodes and its turn; 0: never (default: 1000)",
    )
    parser.add_argument(
        "--orphan_max",
        type=float,
        default=ORPHAN_MAX_S,
        metavar="S",
        help="keep the place of a client that may return (Client(identity=)) for at most S seconds after its program "
        f"was lost (default: {ORPHAN_MAX_S:g}); 0: give it to the next one at once",
    )
    parser.add_argument(
        "--max_file_size",
        metavar="SIZE",
        help="of files that are sent to the scheduler: bytes, or with K, M, G, T (default: no bound)",
    )
    parser.add_argument("--clean", action="store_true", help="forget the clients of an earlier run")
    parser.add_argument(
        "--make_cert", nargs="?", const="", metavar="DIR", help="make a certificate for the cluster, and end"
    )
    parser.add_argument(
        "--make_grant",
        nargs=2,
        metavar=("OWNER", "FILE"),
        help="make a grant for OWNER, to take part without the secret, and end",
    )
    parser.add_argument("--role", choices=list(ROLES), default="node", help="what that grant is for (default: node)")
    parser.add_argument(
        "--days",
        type=int,
        metavar="N",
        help="how long those are valid (default: a certificate five years, a grant one)",
    )
    parser.add_argument(
        "--revoke",
        metavar="NAME",
        help="shut out a grant, by its number, or all that its owner was given until now; tell everybody, and end",
    )
    parser.add_argument(
        "--make_secret", nargs="?", const="", metavar="FILE", help="make a secret for the cluster, and end"
    )
    _add_dashboard_options(parser)
    add_doctor_options(parser)
    add_network_options(parser)
    return parser


def parse_nodes(args: argparse.Namespace) -> list[Location]:
    """Those that were named.  Raises: ConfigError."""
    return [parse_location(text, NODE_PORT) for text in args.node]


def _journal(args: argparse.Namespace) -> Journal:
    """Raises: ConfigError."""
    return Journal((args.dest_path or own_folder()) / f"scheduler-{args.tcp_port}", args.dest_path)


def _add_dashboard_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--httpd", action="store_true", help="offer a dashboard for browsers; its address is written to the log")
    add("--httpd_port", type=int, metavar="PORT", help="its port (default: 8181, or the next one that is free)")
    add("--httpd_host", metavar="ADDR", help="where it listens (default: for this machine alone)")
    add(
        "--httpd_token",
        metavar="TOKEN",
        help="what a browser must know (default: PARKCOS_HTTPD_TOKEN, which other users do not see, or a new one)",
    )
    add(
        "--httpd_view_token",
        metavar="TOKEN",
        help="the same for those who may only look (default: PARKCOS_HTTPD_VIEW_TOKEN, or nobody may)",
    )
    add(
        "--httpd_name",
        action="append",
        metavar="NAME",
        help="a name of this machine in browsers, beside its host name; repeatable",
    )
    add("--httpd_certfile", metavar="FILE", help="for HTTPS: a certificate (PEM)")
    add("--httpd_keyfile", metavar="FILE", help="its private key (default: it is in the certfile)")
    add(
        "--httpd_insecure",
        action="store_true",
        default=None,
        help="speak plain HTTP at another --httpd_host: who listens in the network can get the tokens",
    )


def _open_dashboard(service: SchedulerService, args: argparse.Namespace) -> Any:
    """Raises: ConfigError."""
    given = {name: value for name, value in vars(args).items() if name.startswith("httpd_") and value is not None}
    if not args.httpd:
        if given:
            raise ConfigError(f"--{next(iter(given))} goes with --httpd, which offers the dashboard")
        return None
    try:
        from parkcos.httpd import shared  # what it needs may not be installed
    except ImportError as error:
        raise ConfigError(f"--httpd: {error}") from error
    return shared.open_dashboard(service, **{name.removeprefix("httpd_"): value for name, value in given.items()})


def main(argv: Sequence[str] | None = None) -> int:
    """Run a scheduler until it is told to end.  Returns the exit code."""
    open_standard()
    args = _parser().parse_args(argv)
    set_up_logging(args.debug)
    stopped: Future[None] = Future()

    def stop() -> None:
        with contextlib.suppress(InvalidStateError):  # it was told twice
            stopped.set_result(None)

    try:
        if args.make_secret is not None:
            return make_secret(args.make_secret, args.cluster)
        if args.make_cert is not None:
            return make_cert(args.make_cert, args.days)
        if args.make_grant is not None:
            return make_grant_file(args)
        if args.revoke is not None:
            return revoke_grant(args, parse_nodes(args))
        check_doctor_options(args)
        if args.doctor is not None:
            return run_doctor(args, node_port=NODE_PORT, scheduler_port=args.tcp_port, udp_port=DEFAULT_PORT)
        options = network_options(
            args,
            roles=("scheduler",),
            dial_roles={"node"},
            udp_port=DEFAULT_PORT,
            tcp_ports=[args.tcp_port],
        )
        if not args.max_payload:  # nobody has an object for it
            options.max_payload = MAX_PAYLOAD_LEAST
        if not 0 <= args.zombie_period < math.inf:
            raise ConfigError(f"--zombie_period {args.zombie_period:g}: give seconds, or 0 for no bound")
        if not 0 <= args.orphan_max < math.inf:
            raise ConfigError(f"--orphan_max {args.orphan_max:g}: give seconds, or 0 for none")
        options.max_file_size = parse_size(args.max_file_size) if args.max_file_size else None
        options.dest_path = args.dest_path / "files" if args.dest_path else None
        nodes = parse_nodes(args)
        journal = _journal(args)
        if args.clean:
            journal.remove()
        runtime = Parkcos.instance()
        raise_open_files()
        signals = Signals()
        service = runtime.start_network(
            options, lambda network: SchedulerService(network, nodes, args.zombie_period, journal, args.orphan_max)
        )
        try:
            dashboard = _open_dashboard(service, args)
        except ParkcosError:
            runtime.terminate()
            raise
    except ParkcosError as error:
        print(f"parkcos.py: {error}", file=sys.stderr)
        return 1
    service.start()
    console = SchedulerConsole(service, stop, stopped.done)
    if not args.daemon:
        runtime.io.call(console.start)
    try:
        signals.wait(stopped, stop)
    finally:
        runtime.io.call(console.stop)
        if dashboard is not None:
            dashboard.close()
        runtime.terminate()
        journal.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
