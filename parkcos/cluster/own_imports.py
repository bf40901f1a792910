"""The ``__import__`` of code in a space: it finds the modules of that space first, then those of the process.

``importlib.import_module`` and ``sys.modules`` know nothing of spaces: they find the modules of the process.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any


class Importer:
    """modules: the space's own, by their names."""

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self._modules = modules

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """As the builtin function."""
        if level:
            name = importlib.util.resolve_name("." * level + name, _package(globals or {}))
        top = name.partition(".")[0]
        if top not in self._modules and name not in self._modules:
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        module = self.module(name)
        if not fromlist:
            return self.module(top)
        for each in fromlist:
            if each != "*" and not hasattr(module, each):  # then the import statement says what is missing
                with contextlib.suppress(ModuleNotFoundError):
                    self.module(f"{name}.{each}")
        return module

    def module(self, name: str) -> ModuleType:
        """The space's own module of that name, else that of the process, which is imported if need be."""
        found = self._modules.get(name)
        if found is None:
            found = importlib.import_module(name)
            above, _, last = name.rpartition(".")
            if above in self._modules:
                setattr(self._modules[above], last, found)
        return found


def _package(names: Mapping[str, Any]) -> str:
    """That to which imports in a module with these globals are relative."""
    package = names.get("__package__")
    if package is None:
        package = names.get("__name__", "")
        if "__path__" not in names:
            package = package.rpartition(".")[0]
    return str(package)
