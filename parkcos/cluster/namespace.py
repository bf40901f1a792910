"""Where a client's code lives at a server: its `__main__`, and a module for each of the client's own modules.

Used in the zygote and in servers only.  The space 0 is the process's own: it changes `sys.modules`, as a client's code
expects.  Each other space has modules of its own, which nobody else finds: code of several runs side by side.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import sys
import types
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from parkcos.cluster.own_imports import Importer
from parkcos.cluster.source_lines import Lines
from parkcos.errors import NoNetworkYet, ShippingError
from parkcos.kernel import failures, spaces
from parkcos.net.payload import PICKLE, Buffer, loads

if TYPE_CHECKING:
    from parkcos.cluster.definitions import Definition

Key = tuple[str, str]
"""(module, global name)."""


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


class Namespace:
    """The modules of one space, and what is being made for them.  Kernel thread only.

    number: of the space; 0: the process's own modules.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.modules: dict[str, types.ModuleType] = {} if number else sys.modules
        self.lines = Lines(number)
        self._pending: dict[Key, Definition] = {}
        """What is being installed: a base class may be asked for before its turn."""
        self._making: set[Key] = set()
        """What is being installed and cannot be found by its name yet."""
        self._waiting: set[Key] = set()
        """What is installed after something that needs it."""
        self._later: dict[Key, Definition] = {}
        """What needs a network, as references to tasks and channels do: installed where there is one."""
        self._installed: dict[Key, bytes] = {}
        """The digest of what was installed last under each name."""
        self._given: set[Key] = set()
        """The names whose values have come from the client, and not only why there is none."""
        self._loose: dict[str, types.ModuleType] = {}
        """The globals of functions at the client that are no module's there: "name#number"."""
        self.builtins: dict[str, Any] = vars(builtins)
        self.import_module: Callable[[str], types.ModuleType] = importlib.import_module
        if number:
            importer = Importer(self.modules)
            self.import_module = importer.module
            self.builtins = {**self.builtins, "__import__": importer, spaces.KEY: self}
            self.module_globals("__main__")
            spaces.add(self)

    def loads(self, form: int, payload: Buffer) -> Any:
        """As `payload.loads`, of what is of this space."""
        with spaces.within(self if self.number else None):
            return loads(form, payload)

    # -- what is there

    def module_globals(self, name: str) -> dict[str, Any]:
        """The globals of its module `name`, which is made if there is none.  Never imports anything."""
        if "#" in name:
            if name not in self._loose:
                self._loose[name] = self.fresh_module(name.partition("#")[0])
            return vars(self._loose[name])
        module = self.modules.get(name)
        if module is None:
            module = self.modules[name] = self.fresh_module(name)
            parent, _, child = name.rpartition(".")
            if parent:
                self.module_globals(parent)
                setattr(self.modules[parent], child, module)
        return vars(module)

    def fresh_module(self, name: str) -> types.ModuleType:
        """A module with the names that chapter 6 promises to a client's code."""
        module = types.ModuleType(name)
        module.__dict__["__builtins__"] = self.builtins
        if name != "__main__":  # it may be a package, of which other modules lie here as files
            module.__path__ = [os.path.join(folder, *name.split(".")) for folder in sys.path]
        # By name: this layer must not know the ones above, which the package as a whole imports.
        module.__dict__["parkcos"] = importlib.import_module("parkcos")
        return module

    def resolve(self, module: str, qualname: str) -> Any:
        """What `qualname` stands for in `module`; installs it first if it is on its way.

        Raises: ShippingError if it is not there.
        """
        head, *rest = qualname.split(".")
        names = self.module_globals(module)
        if (definition := self._pending.get((module, head))) is not None:
            self._install(definition)
        if (module, head) in self._making:
            raise _Circular((module, head))
        if (module, head) in self._later:
            raise NoNetworkYet(f"{module}.{head} needs a network")
        try:
            found = names[head]
        except KeyError:
            what = "use it in a function of its space" if self.number else "list it in the client's components"
            raise ShippingError(f"{module}.{head} is not at this server: {what}") from None
        for part in rest:
            found = getattr(found, part)
        return found

    def find(self, module: str, name: str) -> Any:
        """What a pickle means by these; None if that module is none of its own.  Raises: ShippingError."""
        return self.resolve(module, name) if module in self.modules else None

    def has(self, obj: Any, module: str, name: str) -> bool:
        """Whether it is `obj` that is found so."""
        if module not in self.modules:
            return False
        head, *rest = name.split(".")
        found = vars(self.modules[module]).get(head)
        for part in rest:
            found = getattr(found, part, None) if isinstance(found, type) else None
        return found is obj

    def file_of(self, name: str) -> str:
        """What a source file is called in the tracebacks of its code."""
        return self.lines.name_of(name)

    # -- what comes

    def begin(self, key: Key, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """As the function of this module."""
        module, name = key
        made = self.module_globals(module)[name] = make(*args)
        self._making.discard(key)
        return made

    def install(self, definitions: Iterable[Definition]) -> None:
        """Set these globals, each only if it is new or its client has replaced it."""
        for definition in definitions:
            for source in definition.sources:
                self.lines.remember(source.file, source.first, source.text)
            known = self._installed.get((definition.module, definition.name))
            if definition.kind not in ("source", "shared") and known != definition.digest:
                self._pending[definition.module, definition.name] = definition
        while self._pending:
            self._install(next(iter(self._pending.values())))

    def install_rest(self) -> None:
        """Where there is a network: what had to wait for one."""
        definitions = list(self._later.values())
        self._later.clear()
        self.install(definitions)

    def _install(self, definition: Definition) -> None:
        module, name = key = definition.module, definition.name
        del self._pending[key]
        names = self.module_globals(module)
        if definition.kind == "missing":
            value = Unshipped(name, definition.blob.decode())
            if key in self._given:
                names[name] = value  # what came before is not the client's any more
            else:
                names.setdefault(name, value)
            self._installed[key] = definition.digest
            return
        self._making.add(key)
        try:
            value = self.loads(PICKLE, definition.blob)
        except _Circular as circular:
            by, circular.by = circular.by, key
            self._making.discard(key)
            if circular.wanted != key:
                self._pending[key] = definition
                raise
            if by is not None and key not in self._waiting:
                # That is made without this, and completed with it: a base class whose attributes refer to this one.
                self._pending[key] = definition
                self._waiting.add(key)
                try:
                    self._install(self._pending[by])
                finally:
                    self._waiting.discard(key)
                if key in self._pending:
                    self._install(definition)
                return
            value = Unshipped(name, "it is needed itself to make it")
        except ModuleNotFoundError as error:
            value = Unshipped(
                name,
                f"no module named {error.name!r} here: install it at this node, or list it in the client's components",
            )
        except NoNetworkYet:
            self._later[key] = definition
            value = Unshipped(name, "it is, or refers to, a task or channel, and node_setup has no network")
        except Exception as error:
            value = Unshipped(name, f"it cannot be rebuilt here: {failures.line_of(error)}")
        self._making.discard(key)
        names[name] = value
        self._given.add(key)
        if key not in self._later:
            self._installed[key] = definition.digest


class _Circular(Exception):
    """What is `wanted` is just being made, and needs for that what is made `by` this definition."""

    def __init__(self, wanted: Key) -> None:
        self.wanted = wanted
        self.by: Key | None = None


HOME = spaces.home = Namespace(0)
"""The process's own."""

_others: dict[int, Namespace] = {}


def of(number: int) -> Namespace:
    """The space with this number, which is made if there is none."""
    if not number:
        return HOME
    if number not in _others:
        _others[number] = Namespace(number)
    return _others[number]


def drop(numbers: Iterable[int]) -> None:
    """Forget these spaces.  What runs in them may go on, and keeps alive what it uses."""
    for number in numbers:
        if (space := _others.pop(number, None)) is not None:
            space.lines.forget()


# -- what pickles of code call to be made again, in the space that is being opened


def _here() -> Namespace:
    space = spaces.inside()
    return space if isinstance(space, Namespace) else HOME


def imported_globals(name: str) -> dict[str, Any]:
    """The globals of a module that is imported if need be."""
    return vars(_here().import_module(name))


def module_globals(name: str) -> dict[str, Any]:
    """The globals of the client's module `name`, which is made if there is none."""
    return _here().module_globals(name)


def resolve(module: str, qualname: str) -> Any:
    """What `qualname` stands for in `module`.  Raises: ShippingError if it is not there."""
    return _here().resolve(module, qualname)


def begin(key: Key, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Unpickles the function or class that is installed under this name: found by it before it is complete."""
    return _here().begin(key, make, args)


def make_type_variable(kind: Any, module: str, name: str, constraints: tuple[Any, ...], options: Any) -> Any:
    """Unpickles a TypeVar, ParamSpec or TypeVarTuple."""
    made = kind(name, *constraints, **options)
    made.__module__ = module
    return made


def make_function(
    code: types.CodeType, names: dict[str, Any], name: str, cells: tuple[types.CellType, ...]
) -> types.FunctionType:
    """Unpickles a function, which `set_function` completes."""
    names.setdefault("__builtins__", _here().builtins)
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
            _here().import_module(name)
