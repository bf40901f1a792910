"""pycos's own programs, ``dispycosnode.py`` and ``dispycos.py``: parkcosnode.py and parkcos.py with their options.

Most have the same name there.  What is left: secrets that are too short are lengthened, as in the programs; a
scheduler's port stands for that of UDP, too; and what tunes pycos's own ways of waiting is taken and not used.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from parkcos.compat.config import DispycosSchedulerPort
from parkcos.compat.runtime import secret_of


def command(program: str) -> Callable[[Sequence[str]], int] | None:
    """What runs instead of `program`, with its options: gives the exit code.  None: it is none of pycos's own."""
    names = {
        "dispycosnode.py": ("parkcos.node.main", node_options),
        "discoronode.py": ("parkcos.node.main", node_options),
        "dispycos.py": ("parkcos.scheduler.main", scheduler_options),
    }
    found = names.get(os.path.basename(program))
    if found is None:
        return None
    module, options = found
    return lambda argv: int(importlib.import_module(module).main(options(argv)))


def node_options(argv: Sequence[str]) -> list[str]:
    """What parkcosnode.py is given for the options `argv` of dispycosnode.py."""
    given, options = _take(argv, "--msg_timeout", "--ping_interval")
    if given.scheduler_port is not None:
        options += ["--udp_port", str(given.scheduler_port + 1)]
    return options


def scheduler_options(argv: Sequence[str]) -> list[str]:
    """What parkcos.py is given for the options `argv` of dispycos.py."""
    given, options = _take(argv, "--pulse_interval", "--ping_interval", "--node_port", flags=["--relay_nodes"])
    port = DispycosSchedulerPort if given.scheduler_port is None else given.scheduler_port
    if given.node_port not in (None, port + 1):
        print(f"--node_port {given.node_port:g}: nodes are looked for at UDP port {port + 1}", file=sys.stderr)
    if given.scheduler_port is not None:
        options += ["--tcp_port", str(port), "--udp_port", str(port)]
    return options


def _take(argv: Sequence[str], *unused: str, flags: Sequence[str] = ()) -> tuple[argparse.Namespace, list[str]]:
    """The options that mean something else here, and the rest, with the secret as it is here."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-s", "--secret", default="")
    parser.add_argument("--scheduler_port", type=int)
    for name in unused:
        parser.add_argument(name, type=float)
    for name in flags:
        parser.add_argument(name, action="store_true")
    given, options = parser.parse_known_args(argv)
    if given.secret:
        options += ["--secret", secret_of(given.secret)]
    return given, options
