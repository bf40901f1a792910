"""What a client lists as components becomes a bundle: files, modules as files, and definitions."""

from __future__ import annotations

import inspect
import os
import reprlib
import sys
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from parkcos.cluster import messages as m
from parkcos.cluster.shipping import Definition, Shipper, travels_by_value
from parkcos.errors import ShippingError, UsageError
from parkcos.net.payload import Buffer

_SKIPPED = {"__pycache__", ".git"}


def bundle(components: Any, node_setup: Any, requirements: Sequence[str] = ()) -> tuple[Shipper, m.Bundle]:
    """Look at a client's components.

    Returns: the client's shipper, which knows what the servers have as files, and the bundle for the nodes.
    Raises: UsageError, ShippingError naming the component and what is wrong with it.
    """
    files: dict[str, m.File] = {}
    code: list[Any] = []
    modules: list[str] = []
    packages: list[str] = []
    for component in _listed(components):
        if isinstance(component, str | os.PathLike):
            if not os.fspath(component):
                raise UsageError("'' is no component: give the path of a file or folder; '.' is this folder")
            for file in _files(Path(component)):
                files[file.path] = file
        elif isinstance(component, types.ModuleType):
            (packages if hasattr(component, "__path__") else modules).append(component.__name__)
            for file in _module_files(component):
                files[file.path] = file
        elif callable(component) or isinstance(component, type):
            code.append(component)
        elif travels_by_value(type(component).__module__):
            code.append(type(component))
        else:
            raise UsageError(
                f"{reprlib.repr(component)} is no component: list functions, classes, modules, and paths of files"
            )
    shipper = Shipper(modules, packages)
    definitions: dict[tuple[str, str], Definition] = {}
    setup: bytes | None = None
    if node_setup is not None:
        code.append(node_setup)
        _, buffers, _ = shipper.pack((node_setup, (), {}))
        setup = b"".join(buffers)
    for component in code:
        module = getattr(component, "__module__", None)
        if isinstance(component, type) and not travels_by_value(module):
            continue  # built in or installed: the servers have it
        for definition in shipper.pack(component)[2]:
            definitions[definition.module, definition.name] = definition
    return shipper, m.Bundle(list(files.values()), list(definitions.values()), setup, list(requirements))


def with_setup_call(made: m.Bundle, buffers: Sequence[Buffer], needed: Sequence[Definition]) -> m.Bundle:
    """The bundle for a node where node_setup is called with arguments of its own, as packed here."""
    definitions = {(each.module, each.name): each for each in [*made.definitions, *needed]}
    return m.Bundle(made.files, list(definitions.values()), b"".join(buffers), made.requirements)


def _listed(components: Any) -> Iterable[Any]:
    if isinstance(components, list | tuple | set | frozenset):
        return components
    return [components]


def _files(path: Path) -> Iterable[m.File]:
    if path.is_dir():
        for inner in sorted(p for p in path.rglob("*") if p.is_file() and not _SKIPPED.intersection(p.parts)):
            yield _file(inner, _remote_path(inner, path))
        return
    if not path.is_file():
        raise UsageError(f"the component {str(path)!r} is no file (looked in {Path.cwd()}); list functions as such")
    yield _file(path, _remote_path(path, path))


def _remote_path(path: Path, root: Path) -> str:
    """Below the client's current directory files keep their path; elsewhere they lose it."""
    absolute = path.resolve()
    here = Path.cwd().resolve()
    if absolute.is_relative_to(here):
        return absolute.relative_to(here).as_posix()
    return absolute.relative_to(root.resolve().parent).as_posix()


def _file(path: Path, remote: str) -> m.File:
    try:
        return m.File(remote, path.stat().st_mode & 0o777, path.read_bytes())
    except OSError as error:
        raise ShippingError(f"the component {path} cannot be read: {error.strerror}") from error


def _module_files(module: types.ModuleType) -> Iterable[m.File]:
    name = module.__name__
    if name == "__main__":
        raise UsageError("the program itself cannot be a component: list its functions and classes")
    if name in sys.builtin_module_names or name.partition(".")[0] in sys.stdlib_module_names:
        return  # every Python has it
    parts = name.split(".")
    paths = getattr(module, "__path__", None)
    if paths is not None:
        for directory in map(Path, paths):
            for path in sorted(p for p in directory.rglob("*") if p.is_file() and not _SKIPPED.intersection(p.parts)):
                yield _file(path, "/".join([*parts, *path.relative_to(directory).parts]))
        return
    source = inspect.getsourcefile(module)
    if source is None or not Path(source).is_file():
        raise ShippingError(f"the module {name} has no source file that could travel: install it at the nodes")
    yield _file(Path(source), "/".join(parts) + Path(source).suffix)
    for i in range(1, len(parts)):  # the packages above it
        parent = sys.modules.get(".".join(parts[:i]))
        init = getattr(parent, "__file__", None)
        if init:
            yield _file(Path(init), "/".join([*parts[:i], Path(init).name]))
