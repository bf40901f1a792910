"""What a program's code imports, found by reading it: nothing is run or loaded for that.

A program's function that uses `f` of ``from helper import f`` brings it along when it travels (shipping.py).  One that
uses the module itself, ``import helper`` with ``helper.f()``, or imports it when it is called, needs one that can be
imported there: such modules of the program's own, and all that they import, are its companions: they travel as files.

What must not live here: what counts as the program's own (origins.py), how files travel (client/components.py).
"""

from __future__ import annotations

import contextlib
import dis
import importlib.util
import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from parkcos.cluster.origins import is_below, origin, origin_of, place_of, root_of


class Import(NamedTuple):
    """``import module``, or, with names, ``from module import names``.  later: in a function, which may be called."""

    module: str
    names: tuple[str, ...]
    later: bool


_IMPORT_NAME = dis.opmap["IMPORT_NAME"]


def imports_in(code: CodeType, package: str, *, later: bool = False) -> Iterator[Import]:
    """The imports in code of a module of this package, also those of its functions."""
    if _IMPORT_NAME in code.co_code[::2]:
        given: list[Any] = []
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                level, names = given[-2:]
                with contextlib.suppress(ImportError):  # relative, beyond the topmost package
                    module = importlib.util.resolve_name("." * level + step.argval, package)
                    yield Import(module, names or (), later)
            elif step.opname != "EXTENDED_ARG":
                given.append(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from imports_in(inner, package, later=True)


def find(name: str) -> ModuleSpec | None:
    """Where a module is, or would be imported from; None if it is nowhere.  Imports nothing."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    above, _, _ = name.rpartition(".")
    with contextlib.suppress(Exception):  # of a finder that somebody has added to the path
        if not above:
            return PathFinder.find_spec(name)
        package = find(above)
        if package is not None and package.submodule_search_locations is not None:
            return PathFinder.find_spec(name, package.submodule_search_locations)
    return None


def place_of_spec(spec: ModuleSpec) -> str | None:
    """A module's file, or the folder of a package that has none."""
    if spec.has_location:
        return spec.origin
    return next(iter(spec.submodule_search_locations or ()), None)


def code_of(spec: ModuleSpec) -> CodeType | None:
    """A module's code; None if it has none, or a mistake."""
    get_code = getattr(spec.loader, "get_code", None)
    with contextlib.suppress(ImportError, SyntaxError, ValueError, OSError):
        code = get_code(spec.name) if get_code is not None else None
        return code if isinstance(code, CodeType) else None
    return None


def compile_file(path: str) -> CodeType | None:
    """The code of a program; None if there is none, or it has a mistake."""
    with contextlib.suppress(OSError, SyntaxError, ValueError), io.open_code(path) as file:
        return compile(file.read(), path, "exec", dont_inherit=True)
    return None


def constants_in(code: CodeType) -> dict[str, Any]:
    """The globals that a module sets once, to a constant."""
    found: dict[str, Any] = {}
    stored: set[str] = set()
    before = None
    for step in dis.get_instructions(code):
        if step.opname == "STORE_NAME":
            if before is not None and before.opname in ("LOAD_CONST", "LOAD_SMALL_INT") and not step.is_jump_target:
                found[step.argval] = before.argval
            if step.argval in stored:
                found.pop(step.argval, None)
            stored.add(step.argval)
        if step.opname != "EXTENDED_ARG":
            before = step
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _with_inner(name: str) -> list[str]:
    """A loaded module, and those loaded ones that are in it, if it is a package."""
    return [name, *(each for each in list(sys.modules) if each.startswith(f"{name}."))]


@dataclass
class Companions:
    """The program's own modules that its servers must be able to import.

    Attributes:
        files: name of each, and its file; None for a package that is a mere folder.
        changed: what differs there from what this process has: (module, global, value here, value in the file).
        by_value: others of its own, of which functions and classes travel by value.
        named: all modules that were imported by what was followed, whether they are the program's own or not.
    """

    files: dict[str, str | None] = field(default_factory=dict)
    changed: list[tuple[str, str, Any, Any]] = field(default_factory=list)
    by_value: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    _folders: list[str] = field(default_factory=list)

    def of_program(self) -> None:
        """Follow what the program that runs here imports."""
        main = sys.modules["__main__"]
        file = getattr(main, "__file__", None)
        if not isinstance(file, str) or not os.path.isfile(file):  # it is typed at a prompt, or in a notebook
            self._folders.append(os.getcwd())
            self._follow_names(main)
            self._complete()
        elif origin("__main__", file).kind in ("own", "compiled"):
            spec = getattr(main, "__spec__", None)  # of python -m package.module
            self.of_file(file, spec.name if spec is not None else "__main__", getattr(main, "__package__", None) or "")

    def of_file(self, file: str, name: str = "__main__", package: str = "") -> None:
        """Follow what a program's file imports."""
        self._folders.append(root_of(name, file))
        code = compile_file(file)
        if code is not None:
            self._follow(code, package, as_file=False)
        self._complete()

    def of_modules(self, names: Iterable[str]) -> None:
        """Follow what these modules import, which travel as files themselves, packages with all that is in them."""
        for name in names:
            for inner in _with_inner(name):
                place = place_of(sys.modules[inner])
                if place is not None and origin_of(inner).kind in ("own", "compiled"):
                    self._folders.append(root_of(inner, place))
                    self._visit(inner, as_file=True)
        self._complete()

    def _follow_names(self, main: ModuleType) -> None:
        for value in list(vars(main).values()):
            if isinstance(value, ModuleType) and origin_of(value.__name__).travels:
                for name in _with_inner(value.__name__):  # `import a.b` has left the name `a` only
                    self._visit(name, as_file=True)
            elif isinstance(value, FunctionType | type) and isinstance(value.__module__, str):
                self._visit(value.__module__, as_file=False)
                if value.__module__ == "__main__":
                    for inner in (value, *vars(value).values()):
                        if isinstance(inner, FunctionType):
                            self._follow(inner.__code__, "", as_file=False, later=True)

    def _follow(self, code: CodeType, package: str, *, as_file: bool, later: bool = False) -> None:
        for found in imports_in(code, package, later=later):
            inner = [name for each in found.names if find(name := f"{found.module}.{each}") is not None]
            for name in inner:
                self._visit(name, as_file=True)
            if len(inner) < len(found.names) or not found.names:
                self._visit(found.module, as_file=as_file or found.later or not found.names)

    def _visit(self, name: str, *, as_file: bool) -> None:
        """Take a module, if it is one of the program's, and what it imports.

        as_file: it must be importable; else its functions and classes travel by value.
        """
        self.named.add(name)
        if name in self.files or (not as_file and name in self.by_value):
            return
        if name in ("__main__", "__mp_main__") or name.partition(".")[0] in sys.stdlib_module_names:
            return  # a file of such a name would hide what Python needs at the server
        spec = find(name)
        place = place_of_spec(spec) if spec is not None else None
        if spec is None or place is None or spec.name != name or not origin(name, place).travels:
            return  # or it is another module's second name
        if not any(is_below(place, folder) for folder in self._folders):
            return
        above = name.rpartition(".")[0]
        if as_file:
            self.by_value.discard(name)
            self.files[name] = place if os.path.isfile(place) else None
            if above:
                self._visit(above, as_file=True)
        else:
            self.by_value.add(name)
        code = code_of(spec)
        if code is None:
            return
        if as_file and name in sys.modules:
            self._compare(name, constants_in(code))
        self._follow(code, above if spec.submodule_search_locations is None else name, as_file=as_file)

    def _compare(self, name: str, constants: dict[str, Any]) -> None:
        here = vars(sys.modules[name])
        for each, there in constants.items():
            # None, and what has a leading underscore, is mostly a cache's beginning.
            if type(here.get(each)) is type(there) is not type(None) and here[each] != there and each[0] != "_":
                self.changed.append((name, each, here[each], there))

    def _complete(self) -> None:
        """A package is imported as a whole: where some of its modules are files, the others are, too."""
        while left := [name for name in self.by_value if "." in name and name.partition(".")[0] in self.files]:
            self.by_value.difference_update(left)
            for name in left:
                self._visit(name, as_file=True)
