"""What a client lists as components becomes a bundle: files, modules as files, and definitions."""

from __future__ import annotations

import inspect
import logging
import os
import reprlib
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from parkcos.cluster.bundle import Bundle, File, Folder, Link
from parkcos.cluster.definitions import Definition
from parkcos.cluster.imports import Companions
from parkcos.cluster.origins import compiled_part, origin_of, place_of, travels_by_value
from parkcos.cluster.shipping import ByReference, Shipper
from parkcos.errors import ShippingError, UsageError
from parkcos.net.payload import Buffer

logger = logging.getLogger("parkcos")

_SKIPPED = {"__pycache__", ".git"}
_Found = tuple[Path, File | Folder | Link]
"""What travels, and where it lies here."""


def bundle(
    components: Any,
    node_setup: Any,
    requirements: Sequence[str] = (),
    threads: int | None = None,
    seeded: bool = False,
) -> tuple[Shipper, Bundle]:
    """Look at a client's components.

    Args: as of Client.

    Returns: the client's shipper, which knows what the servers have as files, and the bundle for the nodes.
    Raises: UsageError, ShippingError naming the component and what is wrong with it.
    """
    files = _Files()
    code: list[Any] = []
    modules: list[str] = []
    packages: list[str] = []
    for component in _listed(components):
        if isinstance(component, str | os.PathLike):
            if not os.fspath(component):
                raise UsageError("'' is no component: give the path of a file or folder; '.' is this folder")
            files.add(_component(Path(component)))
        elif isinstance(component, types.ModuleType):
            (packages if hasattr(component, "__path__") else modules).append(component.__name__)
            files.add(_module(component))
        elif callable(component) or isinstance(component, type):
            code.append(component)
        elif travels_by_value(type(component).__module__):
            code.append(type(component))
        else:
            raise UsageError(
                f"{reprlib.repr(component)} is no component: list functions, classes, modules, and paths of files"
            )
    listed = ByReference(modules, packages)
    for name, path in _companions([*modules, *packages]).items():
        if name not in listed:
            modules.append(name)
            files.add([_file(path, _remote_path(name, path))])
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
    made = Bundle(files.all(), list(definitions.values()), setup, list(requirements), threads=threads, seeded=seeded)
    return shipper, made


def with_setup_call(made: Bundle, buffers: Sequence[Buffer], needed: Sequence[Definition]) -> Bundle:
    """The bundle for a node where node_setup is called with arguments of its own, as packed here."""
    definitions = {(each.module, each.name): each for each in [*made.definitions, *needed]}
    return msgspec.structs.replace(made, definitions=list(definitions.values()), node_setup=b"".join(buffers))


def _listed(components: Any) -> Iterable[Any]:
    if isinstance(components, list | tuple | set | frozenset):
        return components
    return [components]


def _component(path: Path) -> Iterator[_Found]:
    """What a path brings, and where it lies in the client's folder at a node: one rule, wherever it is here.

    A file lies there under its name, a folder under its name with its tree.
    """
    absolute = Path(os.path.abspath(path))  # a link keeps its own name
    if absolute.is_dir():
        if not absolute.name:
            raise UsageError(f"the component {str(path)!r} is the whole file system: list folders in it")
        yield from _tree(absolute, absolute.name)
    elif absolute.is_file():
        yield _file(absolute, absolute.name)
    else:
        raise UsageError(f"the component {str(path)!r} is no file (looked in {Path.cwd()}); list functions as such")


def _file(path: Path, remote: str) -> _Found:
    return path, File(remote, path.stat().st_mode & 0o777, path.read_bytes())


def _tree(folder: Path, remote: str, root: str = "") -> Iterator[_Found]:
    """What lies in a folder.  root: of the component, as a path without links; this folder's by default."""
    root = root or os.path.realpath(folder)
    yield folder, Folder(remote)
    for name in sorted(set(os.listdir(folder)) - _SKIPPED):
        path, there = folder / name, f"{remote}/{name}"
        if path.is_symlink():
            yield _link(path, there, root)
        elif path.is_dir():
            yield from _tree(path, there, root)
        elif path.is_file():
            yield _file(path, there)
        else:
            logger.warning("%s is neither a file nor a folder, and does not travel with the component", path)


def _link(path: Path, remote: str, root: str) -> _Found:
    """A link in the tree of a component: as it is where it leads to something there, else what it leads to."""
    target = os.path.realpath(path)
    if Path(target).is_relative_to(root):
        folder, to = os.path.realpath(path.parent), os.readlink(path)
        way = os.path.normpath(f"{os.path.relpath(folder, root)}/{to}")
        if os.path.isabs(to) or way.split("/")[0] == "..":
            to = os.path.relpath(target, folder)  # it led there through folders that do not travel
        return path, Link(remote, to)
    if path.is_file():
        return _file(path, remote)
    what = "a folder" if path.is_dir() else "what is no file"
    raise UsageError(
        f"the link {path} leads out of its component, to {what} ({target}), and cannot travel\n"
        f"  write: a copy of the folder in place of the link, or list what is needed of {root} one by one"
    )


class _Files:
    """What travels as files: no two may get the same name."""

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}

    def add(self, found: Iterable[_Found]) -> None:
        """Raises: ShippingError, UsageError."""
        try:
            for path, entry in found:
                for i, char in enumerate(entry.path):
                    if char == "/":
                        self._add(path, Folder(entry.path[:i]))
                self._add(path, entry)
        except OSError as error:
            raise ShippingError(f"the component {error.filename} cannot be read: {error.strerror}") from error

    def _add(self, path: Path, entry: File | Folder | Link) -> None:
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the component {str(path)!r} cannot travel: its name is not UTF-8") from None
        other, there = self._found.setdefault(entry.path, (path, entry))
        if there != entry:
            raise UsageError(
                f"the components {other} and {path} would both be {entry.path!r} at the servers\n"
                "  write: the folder in which they are, which keeps its tree, or give one of them another name"
            )

    def all(self) -> list[File | Folder | Link]:
        return [entry for _, entry in self._found.values()]


def _remote_path(name: str, path: Path) -> str:
    """Where the file of a module is looked for."""
    parts = name.split(".")
    return "/".join([*parts, path.name]) if path.stem == "__init__" else "/".join(parts) + path.suffix


def _module(module: types.ModuleType) -> Iterator[_Found]:
    name = module.__name__
    if name == "__main__":
        raise UsageError("the program itself cannot be a component: list its functions and classes")
    if name in sys.builtin_module_names or name.partition(".")[0] in sys.stdlib_module_names:
        return  # every Python has it
    _refuse_installed(name)
    parts = name.split(".")
    paths = getattr(module, "__path__", None)
    if paths is not None:
        for folder in map(Path, paths):
            yield from _tree(folder, "/".join(parts))
        return
    source = inspect.getsourcefile(module)
    if source is None or not Path(source).is_file():
        raise ShippingError(f"the module {name} has no source file that could travel: install it at the nodes")
    yield _file(Path(source), _remote_path(name, Path(source)))
    for i in range(1, len(parts)):  # the packages above it
        parent = sys.modules.get(".".join(parts[:i]))
        init = getattr(parent, "__file__", None)
        if init:
            yield _file(Path(init), "/".join([*parts[:i], Path(init).name]))


def _refuse_installed(name: str) -> None:
    """Raises: UsageError for a package with compiled parts: libraries that it needs lie elsewhere."""
    top = name.partition(".")[0]
    place = place_of(sys.modules[top]) if top in sys.modules else None
    origin = origin_of(top)
    if place is not None and origin.kind == "installed" and (compiled := compiled_part(top, place)):
        raise UsageError(
            f"{name} cannot be a component: it is installed ({origin.why}), and has compiled parts, as {compiled}\n"
            f"  write: Client(..., requirements=[{top!r}]), and install it at the nodes"
        )


def _companions(modules: Sequence[str]) -> dict[str, Path]:
    """The modules of the program's own that servers must be able to import beside these, which are listed."""
    companions = Companions()
    companions.of_program()
    companions.of_modules(modules)
    for module, name, here, there in companions.changed:
        logger.warning(
            "%s.%s is %r here, and %r at the servers, which import %s from its file: pass it as an argument",
            module,
            name,
            here,
            there,
            module,
        )
    return {name: Path(file) for name, file in companions.files.items() if file is not None}
