"""What parkcos exports is what docs/api.md documents, in both directions: names, parameters, methods, attributes."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import parkcos

API = Path(__file__).parents[1] / "docs" / "api.md"

INTERNAL = {
    "Channel": {"kernel"},
    "Condition": {"as_wait"},
    "Lock": {"as_wait", "release_all", "restore"},
    "MonitorStatus": {"of"},
    "Parkcos": {"configure", "io", "network", "start", "start_network"},
    "RLock": {"as_wait", "release_all", "restore"},
    "RPS": {"make_task"},
    "Semaphore": {"as_wait"},
    "Task": {"is_local", "kernel"},
    "TaskHandle": {"as_wait"},
}
"""For other parts of parkcos: not promised to users, although they have no underscore."""


class Entry:
    """A heading of the page, and the table below it."""

    def __init__(self, signature: str) -> None:
        self.signature = signature
        self.members: dict[str, str] = {}


MORE: dict[str, Entry] = {}
"""What other modules offer, by its full name: it needs an extra."""


def read_page() -> tuple[dict[str, Entry], dict[str, str]]:
    """The entries, and the errors with their bases."""
    entries: dict[str, Entry] = {}
    errors: dict[str, str] = {}
    entry: Entry | None = None
    for line in API.read_text().splitlines():
        if heading := re.fullmatch(r"### `(parkcos\.\w+\.)?(\w+)(\(.*\))?`", line):
            where = MORE if heading[1] else entries
            name = f"{heading[1] or ''}{heading[2]}"
            assert name not in where, line
            entry = where[name] = Entry(heading[3] or "")
        elif line.startswith("#"):
            entry = None
        elif line.startswith("| `"):
            first, second = line.split(" | ")[:2]
            calls = re.findall(r"`(\w+)(\([^`]*\))?`", first)
            if entry is None:
                errors[calls[0][0]] = second.strip("`")
                continue
            signature = calls[0][1]
            for name, own in calls:
                assert name not in entry.members, line
                entry.members[name] = own or signature
    return entries, errors


ENTRIES, ERRORS = read_page()
OTHERS = [name for name in parkcos.__all__ if name not in ERRORS]
CLASSES = [name for name in OTHERS if inspect.isclass(getattr(parkcos, name))]


def parameters(signature: str) -> list[tuple[str, str, str]]:
    """(kind, name, default) of each parameter that the page gives."""
    function = ast.parse(f"def f{signature}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    found = []
    defaults = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
    for arg, default in zip(given.args, defaults, strict=True):
        found.append(("", arg.arg, ast.unparse(default) if default else "-"))
    if given.vararg:
        found.append(("*", given.vararg.arg, "-"))
    for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(("keyword", arg.arg, ast.unparse(default) if default else "-"))
    if given.kwarg:
        found.append(("**", given.kwarg.arg, "-"))
    return found


def real_parameters(function: Any) -> list[tuple[str, str, str]]:
    kinds = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**", "KEYWORD_ONLY": "keyword"}
    return [
        (kinds.get(p.kind.name, ""), p.name, "-" if p.default is p.empty else repr(p.default))
        for p in inspect.signature(function).parameters.values()
    ]


def real_members(name: str) -> set[str]:
    cls = getattr(parkcos, name)
    names = {member for member in dir(cls) if not member.startswith("_")}
    if dataclasses.is_dataclass(cls):
        names |= {field.name for field in dataclasses.fields(cls)}
    elif not getattr(cls, "__slots__", ()):
        for made_in_init in re.findall(r"self\.([a-z]\w*)\b[^=\n]* = ", inspect.getsource(cls.__init__)):
            names |= {made_in_init} & ENTRIES[name].members.keys()
    return names


def test_every_export_is_there_once_and_in_order() -> None:
    assert len(set(parkcos.__all__)) == len(parkcos.__all__)
    in_ruffs_order = sorted(parkcos.__all__, key=lambda name: (not name.isupper(), name))
    assert in_ruffs_order == parkcos.__all__
    assert [name for name in parkcos.__all__ if not hasattr(parkcos, name)] == []


def test_what_is_exported_is_what_is_documented() -> None:
    assert sorted([*ENTRIES, *ERRORS]) == sorted(parkcos.__all__)


@pytest.mark.parametrize("name", parkcos.__all__)
def test_export_has_a_docstring(name: str) -> None:
    value = getattr(parkcos, name)
    if isinstance(value, str):
        return
    doc = value.__doc__ or ""
    assert len(doc) > 15
    assert not doc.startswith(f"{name}("), "the docstring that dataclasses make"


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_error_is_what_the_page_says(name: str) -> None:
    error = getattr(parkcos, name)
    assert error.__bases__[0].__name__ == ERRORS[name]


@pytest.mark.parametrize("name", OTHERS)
def test_signature(name: str) -> None:
    signature = ENTRIES[name].signature
    value = getattr(parkcos, name)
    assert bool(signature) == callable(value)
    if inspect.isclass(value):
        assert parameters(signature) == real_parameters(value.__init__)[1:]
    elif signature:
        assert parameters(signature) == real_parameters(value)


@pytest.mark.parametrize("name", CLASSES)
def test_members(name: str) -> None:
    """In both directions; what is internal must exist, too, or it is forgotten here."""
    internal = INTERNAL.get(name, set())
    documented = set(ENTRIES[name].members)
    assert not documented & internal
    assert documented | internal == real_members(name)


@pytest.mark.parametrize(("name", "member"), [(n, m) for n in CLASSES for m in ENTRIES[n].members])
def test_member(name: str, member: str) -> None:
    """A method has the parameters that the page gives, and a docstring; what is no method has no parentheses."""
    signature = ENTRIES[name].members[member]
    value = getattr(getattr(parkcos, name), member, None)
    is_method = inspect.isroutine(value)
    assert bool(signature) == is_method
    if not is_method:
        return
    static = isinstance(inspect.getattr_static(getattr(parkcos, name), member), (staticmethod, classmethod))
    real = real_parameters(value)
    assert parameters(signature) == (real if static else real[1:])
    assert inspect.getdoc(value)


def test_what_other_modules_offer() -> None:
    """The same of what is not in `parkcos` itself."""
    assert list(MORE) == ["parkcos.httpd.HTTPServer"]
    for name, entry in MORE.items():
        module, _, own = name.rpartition(".")
        value = getattr(importlib.import_module(module), own)
        assert importlib.import_module(module).__all__ == [own]
        assert parameters(entry.signature) == real_parameters(value.__init__)[1:]
        assert inspect.getdoc(value)
        names = {*(each for each in dir(value) if not each.startswith("_")), *inspect.get_annotations(value)}
        assert names == set(entry.members)
        for member, signature in entry.members.items():
            if signature:
                assert parameters(signature) == real_parameters(getattr(value, member))[1:]
                assert inspect.getdoc(getattr(value, member))


def test_the_package_itself_names_the_commands() -> None:
    for options, code in (([], 0), (["--help"], 0), (["--doctor"], 2)):
        done = subprocess.run([sys.executable, "-m", "parkcos", *options], capture_output=True, text=True)
        assert done.returncode == code
        text = done.stdout if code == 0 else done.stderr
        for command in ("parkcosnode.py", "parkcos.py --doctor", "python -m parkcos.compat"):
            assert command in text


def test_what_is_imported_when_it_is_asked_for_is_what_type_checkers_see() -> None:
    tree = ast.parse(inspect.getsource(parkcos))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        node.module: tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert seen == parkcos._HOMES
    with pytest.raises(AttributeError, match="module 'parkcos' has no attribute 'Klient'"):
        _ = parkcos.Klient
    assert set(parkcos.__all__) <= set(dir(parkcos))
