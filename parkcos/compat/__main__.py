"""``python -m parkcos.compat [options] program.py [args]``: runs a program that was written for pycos."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import types
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from parkcos import LocalCluster, Parkcos
from parkcos.compat import alias, runtime
from parkcos.compat.commands import command
from parkcos.compat.sources import compile_program, rewrite_modules_of
from parkcos.errors import ParkcosError
from parkcos.net.options import CLIENT_UDP_PORT
from parkcos.net.trust.secret_text import CLUSTER
from parkcos.program.options import add_network_options, network_options, parse_location


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m parkcos.compat",
        description="Run a program that was written for pycos or dispycos. Options go before its name; they take "
        "the place of what the program gives to Pycos(). Pycos's own programs, dispycosnode.py and dispycos.py, are "
        "parkcosnode.py and parkcos.py then, with their options after their name.",
    )
    add_network_options(parser)
    parser.add_argument("-t", "--tcp_port", type=int, default=0, metavar="PORT", help="TCP port (default: any)")
    parser.add_argument(
        "--node", action="append", default=[], metavar="HOST[:PORT]", help="a node to contact; repeatable"
    )
    parser.add_argument("--local", action="store_true", help="run on a node of this program's own, on this machine")
    parser.add_argument("program", help="the program's file")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments")
    return parser


def _take_options(args: argparse.Namespace) -> None:
    given: dict[str, Any] = {
        "host": args.host,
        "tcp_port": args.tcp_port,
        "udp_port": args.udp_port,
        "name": args.name,
        "secret": args.secret,
        "secret_file": args.secret_file,
        "old_secret_file": args.old_secret_file,
        "cluster": args.cluster if args.cluster != CLUSTER else "",
        "no_secret": args.no_secret,
        "ext_ip_addr": args.ext_host,
        "ipv4_udp_multicast": args.ipv4_udp_multicast,
        "certfile": args.certfile,
        "keyfile": args.keyfile,
        "cafile": args.cafile,
        "dest_path": args.dest_path,
    }
    runtime.command_line.update((name, value) for name, value in given.items() if value)
    if args.no_discovery:
        runtime.command_line["discover_peers"] = False
    if runtime.command_line:  # for a program that says nothing of its network, and needs it all the same
        options = network_options(
            args, roles=("peer",), dial_roles={"peer"}, udp_port=CLIENT_UDP_PORT, tcp_ports=(args.tcp_port,)
        )
        options.dest_path = args.dest_path
        Parkcos.instance().configure(options)
    if args.debug:
        logging.basicConfig(level=logging.DEBUG)
    if args.node:
        from parkcos.compat import dispycos

        dispycos.nodes_to_contact.extend(parse_location(text, dispycos.DispycosNodePort) for text in args.node)


def _show_the_program_s_frames(program: str) -> None:
    """Tracebacks begin where the program does."""
    show = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        top = trace
        while top is not None and top.tb_frame.f_code.co_filename != program:
            top = top.tb_next
        if top is None and not (isinstance(error, SyntaxError) and error.filename == program):
            top = trace
        show(kind, error.with_traceback(top), top)

    sys.excepthook = excepthook


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program that the command line names, as the `__main__` of this process."""
    argv = sys.argv[1:] if argv is None else argv
    own = command(argv[0]) if argv else None
    if own is not None:
        sys.exit(own(argv[1:]))
    parser = _parser()
    args = parser.parse_args(argv)
    path = os.path.abspath(args.program)
    try:
        with io.open_code(path) as file:
            source = file.read()
        _take_options(args)
    except (OSError, ParkcosError) as error:
        parser.error(str(error))
    folder = os.path.dirname(os.path.realpath(path))
    sys.argv[:] = [args.program, *args.args]
    if not sys.flags.safe_path:
        sys.path[0] = folder
    alias.install()
    alias.install_in_children()
    rewrite_modules_of(folder)
    module = types.ModuleType("__main__")
    vars(module).update(__file__=path, __builtins__=__builtins__, __spec__=None, __cached__=None)
    sys.modules["__main__"] = module
    if args.local:
        LocalCluster().start()
    _show_the_program_s_frames(path)
    exec(compile_program(source, path), vars(module))


if __name__ == "__main__":
    main()
