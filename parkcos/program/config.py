"""A program's options in a file: `--save_config FILE` and `--config FILE`.  JSON; nothing in it is ever evaluated.

The keys are the options' long names, without the dashes.  Source: chapter 6.2.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parkcos.errors import ConfigError
from parkcos.net.files.disk import Folder

NOT_SAVED = {
    "host": "it is one machine's own",
    "ext_host": "it is one machine's own",
    "name": "it is one machine's own",
    "secret": "others could read it there; use --secret_file",
    "clean": "it is for one start",
    "config": "",
    "save_config": "",
    "doctor": "",
    "json": "",
    "help": "",
    "version": "",
}
"""Options that are no part of a configuration, by their names in the program, and why; "": they do something else."""

RIVALS = ({"secret", "secret_file"}, {"no_secret"})
"""Of these two groups only one makes sense: what the command line says of one makes the file's other one void."""


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """`--save_config` and `--config`."""
    parser.add_argument("--save_config", type=Path, metavar="FILE", help="write these options to FILE, and end")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="options from FILE; the command line has the last word"
    )


def parse_with_config(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says, and for the rest the file of its `--config`.  Raises: ConfigError for a bad file."""
    given = parser.parse_args(argv)
    if given.config is None:
        return given
    values = load_config(given.config, parser)
    said = _said(parser, argv)
    for one, other in (RIVALS, RIVALS[::-1]):
        if said & one:
            for name in other | (one - said):
                values.pop(name, None)
    for name, value in values.items():
        if name not in said:
            setattr(given, name, value)
    return given


def load_config(path: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The options in a file, by their names in the program.  Raises: ConfigError, naming what is wrong with which."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--config {path}: is no text") from None
    try:
        found = json.loads(text, object_pairs_hook=_no_duplicates)
    except ValueError as error:
        raise ConfigError(f"--config {path}: is not JSON as --save_config writes it: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f'--config {path}: must be an object of options, as {{"cpus": 4}}')
    keys = {_long_name(action): action for action in _options(parser).values()}
    never = {_long_name(action): why for action in parser._actions if (why := NOT_SAVED.get(action.dest))}
    values = {}
    for key, value in found.items():
        action = keys.get(key)
        if key in never:
            raise ConfigError(f"--config {path}: {key!r} cannot stand in such a file: {never[key]}")
        if action is None:
            near = difflib.get_close_matches(key, keys, 1)
            hint = f"perhaps {near[0]!r} is meant" if near else f"known are {', '.join(keys)}"
            raise ConfigError(f"--config {path}: there is no option {key!r} that can be saved; {hint}")
        values[action.dest] = _value(action, value, f"--config {path}: {key}")
    return values


def save_config(path: Path, parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """Write the options that differ from their defaults; returns what to tell the user.  Raises: ConfigError."""
    saved, left_out = {}, []
    for action in _options(parser).values():
        value = getattr(args, action.dest)
        if value != action.default:
            saved[_long_name(action)] = str(value.absolute()) if isinstance(value, Path) else value
    for action in parser._actions:
        if NOT_SAVED.get(action.dest) and getattr(args, action.dest, None) not in (None, action.default):
            left_out.append(f"--{_long_name(action)} is not saved: {NOT_SAVED[action.dest]}")
    text = json.dumps(saved, indent=2) + "\n"
    try:
        with Folder(path.parent, (), make=False) as folder:
            folder.write_whole(path.name, text.encode())
    except OSError as error:
        raise ConfigError(f"--save_config {path}: cannot be written: {error.strerror}") from None
    return "\n".join([f"saved {', '.join(saved) or 'no option: all have their defaults'} in {path}", *left_out])


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {action.dest: action for action in parser._actions if action.dest not in NOT_SAVED}


def _long_name(action: argparse.Action) -> str:
    """The chapter's name of an option: its first long one, or the short one."""
    names = [name for name in action.option_strings if name.startswith("--")] or list(action.option_strings)
    return names[0].lstrip("-")


def _said(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> set[str]:
    """Which options stand on the command line: those that still have a value when nothing has a default."""
    nothing: Any = object()
    bare = argparse.Namespace(**{action.dest: nothing for action in parser._actions})
    for action in parser._actions:
        if isinstance(action, argparse._AppendAction):
            setattr(bare, action.dest, None)
    parser.parse_args(argv, bare)
    return {name for name, value in vars(bare).items() if value is not nothing and value is not None}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} stands there twice")
    return found


def _value(action: argparse.Action, value: Any, where: str) -> Any:
    if isinstance(action, argparse._AppendAction):
        if not isinstance(value, list):
            raise ConfigError(f"{where}: must be a list, as [{_example(action)}]; it is {json.dumps(value)}")
        return [_single(action, item, where) for item in value]
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: must be true or false; it is {json.dumps(value)}")
        return value
    return _single(action, value, where)


def _single(action: argparse.Action, value: Any, where: str) -> Any:
    kind = action.type
    if kind is int or kind is float:
        right = isinstance(value, int) or (kind is float and isinstance(value, float))
        if isinstance(value, bool) or not right:
            raise ConfigError(f"{where}: must be a {'whole ' if kind is int else ''}number; it is {json.dumps(value)}")
        return kind(value)
    if not isinstance(value, str):
        raise ConfigError(f"{where}: must be a text, as {_example(action)}; it is {json.dumps(value)}")
    return kind(value) if callable(kind) else value


def _example(action: argparse.Action) -> str:
    return json.dumps(str(action.metavar or action.dest.upper()))
