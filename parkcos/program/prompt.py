"""What is typed at a node's or scheduler's prompt: a command, perhaps a number.  Pure: `console.py` reads and acts.

Source: chapters 6.2 and 6.3, `--daemon`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from parkcos.errors import UsageError

_OTHER_NAMES = {"exit": "quit", "?": "help"}


@dataclass(frozen=True, slots=True)
class Command:
    """name: one of those that there are; number: what follows it, if it takes one."""

    name: str
    number: int = 0


def parse_command(line: str, commands: Mapping[str, str], with_number: frozenset[str] = frozenset()) -> Command | None:
    """The command in a line; None for an empty one.

    Args:
        commands: what each does, by name.
        with_number: those that take a number.

    Raises: UsageError, with the commands that there are.
    """
    words = line.split()
    if not words:
        return None
    name = words[0].lower()
    name = _OTHER_NAMES.get(name, name)
    if name not in commands:
        near = difflib.get_close_matches(name, [*commands, *_OTHER_NAMES], 1)
        hint = f", perhaps {near[0]!r}" if near else ""
        raise UsageError(f"there is no command {words[0]!r}{hint}; commands: {', '.join(commands)}, exit")
    if name in with_number:
        try:
            (text,) = words[1:]
            return Command(name, int(text))
        except ValueError:
            raise UsageError(f"write {name} and one number, as: {name} 4") from None
    if len(words) > 1:
        raise UsageError(f"{name} takes nothing more; it was given {' '.join(words[1:])!r}")
    return Command(name)


def help_text(commands: Mapping[str, str]) -> str:
    """The commands, one a line."""
    return "\n".join(f"  {name:10} {text}" for name, text in commands.items())
