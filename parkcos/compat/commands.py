"""pycos's own programs, ``dispycosnode.py`` and ``dispycos.py``: parkcosnode.py and parkcos.py with their options.

Most have the same name there.  What is left: a scheduler's port stands for that of UDP, too; and what tunes pycos's own
ways of waiting is taken and not used.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from parkcos.compat.config import DispycosSchedulerPort
from parkcos.errors import ConfigError


def command(program: str) -> Callable[[Sequence[str]], int] | None:
    """What runs instead of `program`, with its options: gives the exit code.  None: it is none of pycos's own."""
    names = {
        "dispycosnode.py": ("parkcos.commands.node", node_options),
        "discoronode.py": ("parkcos.commands.node", node_options),
        "dispycos.py": ("parkcos.commands.scheduler", scheduler_options),
    }
    found = names.get(os.path.basename(program))
    if found is None:
        return None
    module, options = found

    def run(argv: Sequence[str]) -> int:
        try:
            taken = options(argv)
        except ConfigError as error:
            print(f"{os.path.basename(program)}: error: {error}", file=sys.stderr)
            return 2
        return int(importlib.import_module(module).main(taken))

    return run


def node_options(argv: Sequence[str]) -> list[str]:
    """What parkcosnode.py is given for the options `argv` of dispycosnode.py.

    Raises: ConfigError for a file that pycos has saved and that cannot be read.
    """
    argv = _with_saved(argv)
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


_LISTS = {"host": ["-i", "--host"], "ext_host": ["--ext_host"], "node_ports": ["--node_ports"], "peers": ["--peer"]}
"""Options that may be given several times, by their names in a file: the command line's are instead of the file's."""

_SAVED_AS = {"peers": "peer", "loglevel": "debug"}
_DEFAULTS = ("", "[]", "False", "None")


def _with_saved(argv: Sequence[str]) -> list[str]:
    """`argv` with the options that stand in its `--config`, if pycos has written that; they are never evaluated."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    given, others = parser.parse_known_args(argv)
    values = {} if given.config is None else _saved(given.config)
    if not values:
        return list(argv)
    lists = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, options in _LISTS.items():
        lists.add_argument(*options, action="append", dest=name)
    said = vars(lists.parse_known_args(others)[0])
    saved = []
    for name, value in values.items():
        option = f"--{_SAVED_AS.get(name, name)}"
        if value == "True":
            saved.append(option)
        elif name in _LISTS:
            saved += [] if said[name] else [f"{option}={each}" for each in _listed(given.config, name, value)]
        elif value not in _DEFAULTS:
            saved.append(f"{option}={value}")
    return saved + others


def _saved(path: str) -> dict[str, str]:
    """The options in a file of pycos's; {} if it is another kind of file."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return {}  # parkcosnode.py says what is wrong with it
    if not text.lstrip().startswith("[DEFAULT]"):
        return {}
    found = configparser.ConfigParser(interpolation=None)
    try:
        found.read_string(text)
    except configparser.Error as error:
        raise ConfigError(f"--config {path}: is not as pycos saves it: {error}") from None
    return dict(found.defaults())


def _listed(path: str, name: str, text: str) -> list[str]:
    try:
        values = ast.literal_eval(text or "[]")
    except (ValueError, SyntaxError):
        values = None
    if not isinstance(values, list):
        raise ConfigError(f"--config {path}: {name} = {text}: give a list, as ['...']")
    return [str(value) for value in values]


def _take(argv: Sequence[str], *unused: str, flags: Sequence[str] = ()) -> tuple[argparse.Namespace, list[str]]:
    """The options that mean something else here, and the rest."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--scheduler_port", type=int)
    for name in unused:
        parser.add_argument(name, type=float)
    for name in flags:
        parser.add_argument(name, action="store_true")
    given, options = parser.parse_known_args(argv)
    return given, options
