"""Where a client's code lives at a server: its `__main__`, and a module for each of the client's own modules.

Used in the zygote and in servers only: it changes `sys.modules` of its process, as a client's code expects.
"""

from __future__ import annotations

import contextlib
import importlib
import linecache
import os
import sys
import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from parkcos.errors import NoNetworkYet, ShippingError
from parkcos.kernel import failures
from parkcos.net.payload import PICKLE, loads

if TYPE_CHECKING:
    from parkcos.cluster.definitions import Definition, Source

_pending: dict[tuple[str, str], Definition] = {}
"""What is being installed: a base class may be asked for before its turn."""

_making: set[tuple[str, str]] = set()
"""What is being installed and cannot be found by its name yet."""

_waiting: set[tuple[str, str]] = set()
"""What is installed after something that needs it."""

_later: dict[tuple[str, str], Definition] = {}
"""What needs a network, as references to tasks and channels do: installed where there is one."""

_installed: dict[tuple[str, str], bytes] = {}
"""The digest of what was installed last under each name."""

_given: set[tuple[str, str]] = set()
"""The names whose values have come from the client, and not only why there is none."""

_spaces: dict[str, types.ModuleType] = {}
"""Namespaces of functions at the client that are no module's there: "name#number"."""


class Unshipped:
    """Stands for a global that could not travel; says so when it is used."""

    def __init__(self, name: str, reason: str) -> None:
        self.__dict__["_why"] = f"the global {name!r} is not at this server: {reason}"

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise ShippingError(self.__dict__["_why"])

    __call__ = __bool__ = __setattr__ = __delattr__ = _fail
    __enter__ = __exit__ = __aenter__ = __aexit__ = __await__ = __iter__ = __next__ = __aiter__ = __anext__ = _fail
    __len__ = __getitem__ = __setitem__ = __delitem__ = __contains__ = __reversed__ = _fail
    __int__ = __float__ = __index__ = __neg__ = __abs__ = __lt__ = __le__ = __gt__ = __ge__ = _fail
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __matmul__ = _fail
    __floordiv__ = __mod__ = __pow__ = __and__ = __or__ = __iadd__ = _fail

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._fail()

    def __repr__(self) -> str:
        return f"<{self.__dict__['_why']}>"


class Globals(dict[str, Any]):
    """Stands for a module's globals while a function travels; arrives as the very dictionary.

    A function that is made with these as its globals has those of that module at a server.

    imported: they are those of a module that the server has.
    """

    def __init__(self, module: str, imported: bool = False) -> None:
        super().__init__()
        self.module = module
        self.imported = imported

    def __reduce__(self) -> Any:
        return imported_globals if self.imported else module_globals, (self.module,)


def imported_globals(name: str) -> dict[str, Any]:
    """The globals of a module that is imported if need be."""
    return vars(importlib.import_module(name))


def module_globals(name: str) -> dict[str, Any]:
    """The globals of the module `name`, which is made if there is none.  Never imports anything."""
    if "#" in name:
        if name not in _spaces:
            _spaces[name] = fresh_module(name.partition("#")[0])
        return vars(_spaces[name])
    module = sys.modules.get(name)
    if module is None:
        module = sys.modules[name] = fresh_module(name)
        parent, _, child = name.rpartition(".")
        if parent:
            module_globals(parent)
            setattr(sys.modules[parent], child, module)
    return vars(module)


def fresh_module(name: str) -> types.ModuleType:
    """A module with the names that chapter 6 promises to a client's code."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = __builtins__
    if name != "__main__":  # it may be a package, of which other modules lie here as files
        module.__path__ = [os.path.join(folder, *name.split(".")) for folder in sys.path]
    # By name: this layer must not know the ones above, which the package as a whole imports.
    module.__dict__["parkcos"] = importlib.import_module("parkcos")
    return module


def resolve(module: str, qualname: str) -> Any:
    """What `qualname` stands for in `module`; installs it first if it is on its way.

    Raises: ShippingError if it is not there.
    """
    head, *rest = qualname.split(".")
    space = module_globals(module)
    if (definition := _pending.get((module, head))) is not None:
        _install(definition)
    if (module, head) in _making:
        raise _Circular((module, head))
    if (module, head) in _later:
        raise NoNetworkYet(f"{module}.{head} needs a network")
    try:
        found = space[head]
    except KeyError:
        raise ShippingError(f"{module}.{head} is not at this server: list it in the client's components") from None
    for part in rest:
        found = getattr(found, part)
    return found


def begin(key: tuple[str, str], make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Unpickles the function or class that is installed under this name: found by it before it is complete."""
    module, name = key
    made = module_globals(module)[name] = make(*args)
    _making.discard(key)
    return made


def make_type_variable(kind: Any, module: str, name: str, constraints: tuple[Any, ...], options: Any) -> Any:
    """Unpickles a TypeVar, ParamSpec or TypeVarTuple."""
    made = kind(name, *constraints, **options)
    made.__module__ = module
    return made


def make_function(
    code: types.CodeType, names: dict[str, Any], name: str, cells: tuple[types.CellType, ...]
) -> types.FunctionType:
    """Unpickles a function, which `set_function` completes."""
    names.setdefault("__builtins__", __builtins__)
    return types.FunctionType(code, names, name, None, cells or None)


def set_function(function: types.FunctionType, state: tuple[Any, ...]) -> None:
    """Unpickles what may refer to the function itself."""
    attributes, own, contents, used, submodules = state
    for name, value in attributes.items():
        setattr(function, name, value)
    vars(function).update(own)
    function.__globals__.update(used)
    for cell, content in zip(function.__closure__ or (), contents, strict=True):
        if content:
            (cell.cell_contents,) = content
    for name in submodules:
        with contextlib.suppress(ImportError):  # it is named when it is used
            importlib.import_module(name)


def remember(source: Source) -> None:
    """Have tracebacks show these lines, also where there is no such file, or another."""
    lines = linecache.getlines(source.file)
    shipped = source.text.splitlines(keepends=True)
    start, end = source.first - 1, source.first - 1 + len(shipped)
    if lines[start:end] != shipped:
        lines = lines + ["\n"] * (start - len(lines))
        lines[start:end] = shipped
        # Without a time, it is not compared with the file.
        linecache.cache[source.file] = sum(map(len, lines)), None, lines, source.file


def install(definitions: Iterable[Definition]) -> None:
    """Set these globals, each only if it is new or its client has replaced it."""
    for definition in definitions:
        for source in definition.sources:
            remember(source)
        known = _installed.get((definition.module, definition.name))
        if definition.kind not in ("source", "shared") and known != definition.digest:
            _pending[definition.module, definition.name] = definition
    while _pending:
        _install(next(iter(_pending.values())))


def install_rest() -> None:
    """Where there is a network: what had to wait for one."""
    definitions = list(_later.values())
    _later.clear()
    install(definitions)


def _install(definition: Definition) -> None:
    module, name = key = definition.module, definition.name
    del _pending[key]
    space = module_globals(module)
    if definition.kind == "missing":
        value = Unshipped(name, definition.blob.decode())
        if key in _given:
            space[name] = value  # what came before is not the client's any more
        else:
            space.setdefault(name, value)
        _installed[key] = definition.digest
        return
    _making.add(key)
    try:
        value = loads(PICKLE, definition.blob)
    except _Circular as circular:
        by, circular.by = circular.by, key
        _making.discard(key)
        if circular.wanted != key:
            _pending[key] = definition
            raise
        if by is not None and key not in _waiting:
            # That is made without this, and completed with it: a base class whose attributes refer to this subclass.
            _pending[key] = definition
            _waiting.add(key)
            try:
                _install(_pending[by])
            finally:
                _waiting.discard(key)
            if key in _pending:
                _install(definition)
            return
        value = Unshipped(name, "it is needed itself to make it")
    except ModuleNotFoundError as error:
        value = Unshipped(
            name, f"no module named {error.name!r} here: install it at this node, or list it in the client's components"
        )
    except NoNetworkYet:
        _later[key] = definition
        value = Unshipped(name, "it is, or refers to, a task or channel, and node_setup has no network")
    except Exception as error:
        value = Unshipped(name, f"it cannot be rebuilt here: {failures.line_of(error)}")
    _making.discard(key)
    space[name] = value
    _given.add(key)
    if key not in _later:
        _installed[key] = definition.digest


class _Circular(Exception):
    """What is `wanted` is just being made, and needs for that what is made `by` this definition."""

    def __init__(self, wanted: tuple[str, str]) -> None:
        self.wanted = wanted
        self.by: tuple[str, str] | None = None
