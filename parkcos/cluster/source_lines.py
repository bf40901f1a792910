"""Lines of source files that have come with code, for tracebacks where there is no such file, or another."""

from __future__ import annotations

import linecache

_users: dict[str, set[int]] = {}
"""The spaces whose code has come from each file, by their numbers."""


class Lines:
    """Those of one space.

    Two spaces may have a file of the same name with other lines: then the one that comes later has it under another
    name, which says whose it is.
    """

    def __init__(self, space: int) -> None:
        self._space = space
        self._names: dict[str, str] = {}
        self._used: set[str] = set()

    def name_of(self, file: str) -> str:
        """What the file is called in tracebacks of code that comes from now on."""
        return self._names.get(file, file)

    def remember(self, file: str, first: int, text: str) -> None:
        """Have tracebacks show these lines.  first: counted from 1."""
        shipped, start = text.splitlines(keepends=True), first - 1
        if not self._shows(file, start, shipped) and _users.get(self.name_of(file), set()) - {self._space}:
            before = linecache.getlines(self.name_of(file))
            self._names[file] = f"{file} [space {self._space}]"
            _show(self.name_of(file), before)
        name = self.name_of(file)
        self._used.add(name)
        _users.setdefault(name, set()).add(self._space)
        if not self._shows(file, start, shipped):
            lines = linecache.getlines(name)
            lines = lines + ["\n"] * (start - len(lines))
            lines[start : start + len(shipped)] = shipped
            _show(name, lines)

    def _shows(self, file: str, start: int, lines: list[str]) -> bool:
        return linecache.getlines(self.name_of(file))[start : start + len(lines)] == lines

    def forget(self) -> None:
        """Its code is gone."""
        for name in self._used:
            users = _users[name]
            users.discard(self._space)
            if not users:
                del _users[name]
                linecache.cache.pop(name, None)
        self._used.clear()


def _show(name: str, lines: list[str]) -> None:
    # Without a time, it is not compared with a file.
    linecache.cache[name] = sum(map(len, lines)), None, lines, name
