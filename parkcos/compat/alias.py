"""How ``import pycos`` comes to mean this layer: in a client's program, and at the servers that its client has.

A node need not know of it: the client's bundle carries a global whose unpickling calls :func:`at_server` there, before
anything else of the client's is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from parkcos.cluster.namespace import Globals
from parkcos.compat.sources import rewrite_modules_of

MODULES = ("netpycos", "dispycos", "asyncfile", "config", "httpd")

_HERE = {
    "pycos": "pycos",
    **{f"pycos.{module}": module for module in MODULES},
    "asyncoro": "asyncoro",
    "asyncoro.disasyncoro": "asyncoro.disasyncoro",
    "asyncoro.discoro": "asyncoro.discoro",
    "asyncoro.asyncfile": "asyncfile",
    "asyncoro.httpd": "httpd",
}
"""Where the modules of pycos are in this layer, and those of asyncoro, as it was called before."""

_FOUND_AT_SERVERS = (
    "hashlib", "multiprocessing", "os", "pickle", "platform", "psutil", "re", "shutil", "signal", "socket", "stat",
    "sys", "time", "traceback",
)  # fmt: skip
"""Modules that a dispycos server happens to have in its `__main__`: programs may use them without an import."""


class _AliasLoader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = importlib.import_module(f"parkcos.compat.{_HERE[name]}")


class AliasFinder(MetaPathFinder):
    """Finds ``pycos``, ``pycos.netpycos`` and the others here, whether or not pycos is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, _AliasLoader()) if fullname in _HERE else None


def install() -> None:
    """From now on, ``import pycos`` in this process imports this layer."""
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())


def install_in_children() -> None:
    """So it is in the processes that this one starts, with `subprocess` or `multiprocessing`, if they are of Python."""
    folder = os.path.join(os.path.dirname(__file__), "started")
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != folder]
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *others])
    if folder not in sys.path:  # which those of `multiprocessing` are given, instead of that variable
        sys.path.insert(1, folder)


def take_place(name: str) -> None:
    """In such a process, at its first import of `name`: it is this layer's."""
    install()
    main = getattr(sys.modules["__main__"], "__file__", None)
    if main is not None:
        rewrite_modules_of(os.path.dirname(os.path.realpath(main)))
    sys.modules[name] = importlib.import_module(f"parkcos.compat.{_HERE[name]}")


def at_server() -> str:
    """Called where the client's code is opened, once, in the client's folder."""
    from parkcos.compat import runtime

    runtime.at_server = True
    install()
    rewrite_modules_of(os.getcwd())
    return "pycos"


class _AtServer:
    """In the client's bundle, this is the call of :func:`at_server`."""

    def __reduce__(self) -> tuple[Callable[[], str], tuple[()]]:
        return at_server, ()


def names_for_servers() -> Callable[[], Any]:
    """A component that brings into a server's `__main__` the names that dispycos promises there, and does it first."""
    from parkcos.compat import netpycos
    from parkcos.node.serving import close_node, close_server

    names = Globals("__main__")
    names.update(__name__="__main__", __builtins__=__builtins__)
    names.update((name, importlib.import_module(name)) for name in _FOUND_AT_SERVERS)
    if "asyncoro" in sys.modules:
        names["asyncoro"] = importlib.import_module("parkcos.compat.asyncoro.disasyncoro")
    names.update(pycos=netpycos, dispycos_close_server=close_server, dispycos_close_node=close_node)
    names["_pycos_at_server"] = _AtServer()
    wanted = [name for name in names if not name.startswith("__")]
    exec(f"def _pycos_names():\n return {', '.join(wanted)}", names)
    made: Callable[[], Any] = names["_pycos_names"]
    return made
