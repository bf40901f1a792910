"""Code that travels: how a client's functions, classes and globals become bytes.

What belongs to the client's own program (its `__main__` and modules that are not installed) travels *by value*: one
:class:`Definition` for each global name that a shipped function uses, found by following the names in its code.
The server puts each into the module of the same name (its `__main__` for the client's `__main__`), so functions sent
separately see each other, and an instance of the client's class that comes home is of the client's class.
What is installed travels by reference, and is imported there.

A data global is set at a server when it arrives for the first time, and again only when the client's value has been
replaced or changed since: what a task there has assigned is not overwritten by the next call.

A function whose globals are not those of its module, as `exec` makes them, finds its own globals there and not those
of a namesake: they are a namespace of their own if they look like a module's, else they travel with the function.
"""

from __future__ import annotations

import dis
import functools
import io
import linecache
import pickle
import sys
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cloudpickle import cloudpickle as _cp

from parkcos.cluster import blobs, namespace, shared
from parkcos.cluster.changes import Watch, digest
from parkcos.cluster.definitions import CODE, DATA, MISSING, SHARED, SOURCE, Definition, Source
from parkcos.cluster.origins import travels_by_value
from parkcos.cluster.shared import Shared
from parkcos.errors import ShippingError
from parkcos.net.payload import PICKLE, Buffer, assemble, explain, keep_large
from parkcos.net.pickling import BufferCallback, ByValue, code_in, completed, is_found, is_wrapper, reduce_wrapper

_PLAIN = frozenset((int, float, str, bytes, bool, type(None)))
NAMES_MAX = 1000

Key = tuple[str, str]
"""(module, global name)."""


class ByReference:
    """Contains the names of these modules, and of all that is in these packages."""

    def __init__(self, modules: Iterable[str], packages: Iterable[str]) -> None:
        self._modules = frozenset(modules)
        self._packages = tuple(f"{package}." for package in packages)

    def __contains__(self, module: str) -> bool:
        return module in self._modules or f"{module}.".startswith(self._packages)


class _Pickler(ByValue):
    """Pickles one object; notes which by-value globals it needs instead of taking them in.

    Args:
        root: what this pickle is the definition of, and the name of that; None for arguments.
    """

    def __init__(
        self,
        shipper: Shipper,
        file: io.BytesIO,
        root: Any = None,
        key: Key | None = None,
        buffer_callback: BufferCallback = None,
    ) -> None:
        super().__init__(file, buffer_callback)
        self.shipper = shipper
        self.root = root
        self.key = key
        self.needs: dict[Key, Any] = {}
        self.sources: dict[Source, None] = {}
        self._loose: dict[int, dict[str, Any]] = {}
        """By the id of globals that have no home: what of them travels in this pickle."""
        self._cells: dict[int, _Cell] = {}

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is types.FunctionType and obj in _CALLED_THERE:
            return NotImplemented  # by its name, without the long way through cloudpickle
        wrapper = is_wrapper(obj)
        if kind in _TYPE_VARIABLES:
            return self._reduced_variable(obj)
        if kind is Shared:
            return self._reduced_shared(obj)
        if wrapper or kind is types.FunctionType or issubclass(kind, type):
            module = getattr(obj, "__module__", None) or ""
            own = module not in self.shipper.by_reference and travels_by_value(module)
            if own and obj is not self.root and (key := self._global_of(obj, module)):
                return namespace.resolve, key
            if own and wrapper:
                return self._begun(obj, reduce_wrapper(obj))
            if own and kind is not types.FunctionType:
                return self._begun(obj, completed(obj, _cp._dynamic_class_reduce(obj)))
            if kind is types.FunctionType and not wrapper and (own or not is_found(obj)):
                return self._begun(obj, self._reduced_function(obj))
        return super().reducer_override(obj)

    def _reduced_variable(self, obj: Any) -> Any:
        module, name = obj.__module__, obj.__name__
        own = module not in self.shipper.by_reference and travels_by_value(module)
        if not own or vars(sys.modules[module]).get(name) is not obj:
            return super().reducer_override(obj)
        if obj is not self.root:
            self.needs[module, name] = obj
            return namespace.resolve, (module, name)
        options = {each: value for each in _OF_VARIABLES if (value := getattr(obj, f"__{each}__", None))}
        made = type(obj), module, name, getattr(obj, "__constraints__", ()), options
        return self._begun(obj, (namespace.make_type_variable, made))

    def _reduced_shared(self, obj: Shared) -> tuple[Any, ...]:
        if obj.shipper is not self.shipper:
            raise ShippingError(f"{obj!r} belongs to another client: share the object with this one, too")
        self.needs["", obj.digest] = obj
        return shared.restore, (obj.digest, str(obj))

    def _begun(self, obj: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
        """`reduced`; if `obj` is what is defined here, it is found by its name as soon as it is made.

        What it holds may refer to it by that name: classes that refer to each other, say.
        """
        if obj is not self.root:
            return reduced
        make, args, *rest = reduced
        return namespace.begin, (self.key, make, args), *rest

    def _global_of(self, obj: Any, module: str) -> Key | None:
        """(module, qualified name) if that is where `obj` is found; notes the global it hangs on."""
        qualname: str = obj.__qualname__
        head, _, _ = qualname.partition(".")
        if self.root is not None and module == self.root.__module__ and head == self.root.__qualname__:
            return None  # part of the class that is being defined here
        space, holder = module, vars(sys.modules[module]).get(head)
        names = getattr(obj, "__globals__", {})
        if holder is not obj and names.get(head) is obj:
            space, holder = self.shipper.space_of(names), obj
            if not space:
                return None
        found = holder
        for part in qualname.split(".")[1:]:
            found = getattr(found, part, None)
        if found is not obj:
            return None
        self.needs[space, head] = holder
        return space, qualname

    def _reduced_function(self, func: types.FunctionType) -> tuple[Any, ...]:
        """What makes a function that finds its globals where they live at the server."""
        code, names = func.__code__, global_names(func.__code__)
        used = {name: func.__globals__[name] for name in names if name in func.__globals__ and name not in _OF_MODULES}
        cells = func.__closure__ or ()
        contents = [_contents(cell) for cell in cells]
        attributes = {name: getattr(func, name) for name in _ATTRIBUTES}
        submodules = _submodules([*used.values(), *(each[0] for each in contents if each)], {*names, *code.co_names})
        lives_in: dict[str, Any]
        if space := self.shipper.space_of(func.__globals__):
            lives_in = namespace.Globals(space)
            if space in self.shipper.by_reference or not self.shipper.is_own(space):
                lives_in = namespace.Globals(space, imported=True)
            else:
                if package := func.__globals__.get("__package__"):
                    used["__package__"] = package  # for imports in the function that are relative to it
                self.needs.update(((space, name), value) for name, value in used.items())
            used = {}
        else:
            lives_in = self._loose.setdefault(
                id(func.__globals__),
                {name: func.__globals__[name] for name in ("__name__", "__package__") if name in func.__globals__},
            )
        if source := self.shipper.source_of(code):
            self.sources[source] = None
        made = (code, lives_in, func.__name__, tuple(self._cells.setdefault(id(c), _Cell(c)) for c in cells))
        state = (attributes, dict(vars(func)), contents, used, submodules)
        return namespace.make_function, made, state, None, None, namespace.set_function


_CALLED_THERE = frozenset(
    (namespace.resolve, namespace.begin, namespace.make_function, namespace.set_function, code_in)
)
"""What pickles of code call to be made again."""

_ATTRIBUTES = ("__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__", "__annotations__")

_OF_MODULES = frozenset(
    ("__name__", "__builtins__", "__spec__", "__loader__", "__package__", "__path__", "__cached__", "__dict__")
)
"""Globals that a module has of its own at a server."""


_TYPE_VARIABLES = frozenset((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple))
_OF_VARIABLES = ("bound", "covariant", "contravariant", "infer_variance", "default")


class _Cell:
    """Stands for a variable of an enclosing function; arrives as an empty one, shared by those who share it here."""

    __slots__ = ("cell",)

    def __init__(self, cell: types.CellType) -> None:
        self.cell = cell  # so that its id stays its own

    def __reduce__(self) -> Any:
        return types.CellType, ()


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # it is empty
        return ()


@functools.lru_cache(1000)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """The names that code, and the code of functions and classes in it, looks up outside of functions."""
    names = {each.argval: None for each in dis.get_instructions(code) if each.opname in _LOOKUPS}
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names.update(dict.fromkeys(global_names(const)))
    return tuple(names)


_LOOKUPS = {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}


def _submodules(values: list[Any], names: set[str]) -> list[str]:
    """Modules that code finds as attributes of packages, and which must be imported for that."""
    found: list[str] = []
    for package in values:
        if isinstance(package, types.ModuleType) and hasattr(package, "__path__"):
            prefix = f"{package.__name__}."
            below = [each for each in list(sys.modules) if each.startswith(prefix)]
            found += [each for each in below if names.issuperset(each[len(prefix) :].split("."))]
    return found


def _last_line(code: types.CodeType) -> int:
    inner = [_last_line(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return max([code.co_firstlineno, *(end for _, end, _, _ in code.co_positions() if end is not None), *inner])


class _Named:
    """Stands for a global function in a pickle; arrives as that function."""

    __slots__ = ("key",)

    def __init__(self, key: Key) -> None:
        self.key = key

    def __reduce__(self) -> Any:
        return namespace.resolve, self.key


@dataclass(frozen=True, slots=True)
class _Made:
    """A definition, of which value, and what it needs.  watch: of what may change in that value."""

    value: Any
    definition: Definition
    needs: tuple[tuple[Key, Any], ...] = ()
    watch: Watch | None = None


class Shipper:
    """Turns what a client runs into payloads and definitions.  One for each client.

    Args:
        modules, packages: names of those that are components of their own: the servers have their files.
    """

    def __init__(self, modules: Iterable[str] = (), packages: Iterable[str] = ()) -> None:
        self.by_reference = ByReference(modules, packages)
        self._names: dict[types.FunctionType, _Named] = {}
        self._made: dict[Key, _Made] = {}
        self._spaces: dict[str, dict[str, Any]] = {}
        """Globals of functions that are no module's, by what they are called at the servers."""
        self._space_names: dict[int, str] = {}
        self._sources: dict[tuple[str, types.CodeType], Source | None] = {}

    def pack_call(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[int, list[Buffer], list[Definition]]:
        """As `pack` of (fn, args, kwargs), and faster where a global function is called with plain arguments."""
        if all(type(arg) in _PLAIN for arg in args) and (not kwargs or all(type(v) in _PLAIN for v in kwargs.values())):
            named = self._names.get(fn) if type(fn) is types.FunctionType else None
            if named is None or self._globals(named.key[0]).get(named.key[1]) is not fn:
                named = self._name(fn)
            if named is not None:
                data = pickle.dumps((named, args, kwargs), 5)
                return PICKLE, [data], self.definitions({named.key: fn})
        try:
            return self.pack((fn, args, kwargs))
        except ShippingError as error:
            raise ShippingError(self._explain_call(fn, args, kwargs) or str(error)) from error.__cause__

    def _explain_call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Which part of a call cannot be pickled, and why."""
        parts = [(f"argument {number}", arg) for number, arg in enumerate(args, 1)]
        parts += [(f"argument {name!r}", arg) for name, arg in kwargs.items()]
        for what, part in [("the function", fn), *parts]:
            try:
                self.pack(part)
            except ShippingError as error:
                return f"{what}: {error}"
        return ""

    def _name(self, fn: Any) -> _Named | None:
        """What stands for a function of the client's own that servers find by its name; None if it is none."""
        if not isinstance(fn, types.FunctionType):
            return None
        self._names.pop(fn, None)
        module, name, names = fn.__module__, fn.__qualname__, fn.__globals__
        if not module or module in self.by_reference or not travels_by_value(module):
            return None
        if vars(sys.modules[module]).get(name) is not fn:
            module = self.space_of(names) if names.get(name) is fn else ""
            if not module:
                return None
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        named = self._names[fn] = _Named((module, name))
        return named

    def pack(self, obj: Any) -> tuple[int, list[Buffer], list[Definition]]:
        """Pickle arguments or a function.

        Returns: form and buffers of the payload, and every definition that a server needs in order to use it.
        Raises: ShippingError naming the attribute that cannot be pickled.
        """
        file = io.BytesIO()
        buffers: list[memoryview] = []
        pickler = self._dump(obj, file, keep_large(buffers))
        form, parts = assemble(file.getvalue(), buffers)
        definitions = self.definitions(pickler.needs) if pickler.needs else []
        for each in pickler.sources:
            stamp = digest(each.text.encode())
            definitions.append(Definition(each.file, str(each.first), SOURCE, stamp, b"", (each,)))
        return form, parts, definitions

    def share(self, obj: Any, bytes_max: int = sys.maxsize) -> Shared:
        """Pickle an object into a file of its own, of at most `bytes_max` bytes.

        Raises: ShippingError naming the attribute that cannot be pickled, or why there can be no such file.
        """
        kind, file = type(obj).__name__, io.BytesIO()
        buffers: list[memoryview] = []
        pickler = self._dump(obj, file, keep_large(buffers, snapshot=False))
        if any(not module for module, _ in pickler.needs):
            raise ShippingError(f"a shared {kind} cannot hold another shared object: share them one by one")
        blob = blobs.Blob(file.getbuffer(), buffers)
        if blob.size > bytes_max:
            raise ShippingError(
                f"{kind} of {shared.size_in_words(blob.size)} cannot be shared: a node keeps "
                f"{shared.size_in_words(bytes_max)} of shared objects (shared_bytes_max)"
            )
        return Shared(self, kind, shared.make_file(kind, blob), tuple(pickler.needs.items()))

    def _dump(self, obj: Any, file: io.BytesIO, callback: BufferCallback) -> _Pickler:
        pickler = _Pickler(self, file, buffer_callback=callback)
        try:
            pickler.dump(obj)
        except BaseException as error:  # of code of its own, too
            raise ShippingError(explain(obj, error, self._dump_part)) from error
        return pickler

    def _dump_part(self, obj: Any) -> None:
        _Pickler(self, io.BytesIO()).dump(obj)

    def definitions(self, needs: dict[Key, Any]) -> list[Definition]:
        """Definitions of these globals and of all that they need in turn."""
        out: dict[Key, Definition] = {}
        todo = list(needs.items())
        while todo:
            key, value = todo.pop()
            if key in out:
                continue
            if not key[0]:
                out[key] = Definition(*key, SHARED, bytes.fromhex(key[1]), b"")
                todo += [(k, self._globals(k[0]).get(k[1], v)) for k, v in value.needs]
                continue
            made = self._made.get(key)
            if made is None or made.value is not value or (made.watch is not None and made.watch.changed()):
                made = self._made[key] = self._define(key, value)
            out[key] = made.definition
            # The values of names are looked up again: the client may have replaced them since.
            todo += [(k, self._globals(k[0]).get(k[1], v)) for k, v in made.needs]
        return list(out.values())

    def _define(self, key: Key, value: Any) -> _Made:
        module, name = key
        own = isinstance(value, types.FunctionType | type) or is_wrapper(value) or type(value) in _TYPE_VARIABLES
        own = own and getattr(value, "__qualname__", name) == name
        own = own and value.__module__ == self._globals(module).get("__name__", module)
        file = io.BytesIO()
        pickler = _Pickler(self, file, value if own else None, key)
        try:
            pickler.dump(value)
            blob = file.getvalue()
            watch = self._watch(value, len(blob))
        except BaseException as error:
            # Perhaps the function never uses it there; if it does, it is told why it cannot.
            reason = explain(value, error, self._dump_part).encode()
            return _Made(
                value, Definition(module, name, MISSING, digest(reason), reason), (), self._watch(value, file.tell())
            )
        kind = CODE if callable(value) or isinstance(value, types.ModuleType) else DATA
        definition = Definition(module, name, kind, digest(blob), blob, tuple(pickler.sources))
        return _Made(value, definition, tuple(pickler.needs.items()), watch)

    def _watch(self, value: Any, size: int) -> Watch | None:
        watch = Watch(value, size, self._pickled)
        return watch if watch.needed else None

    def _pickled(self, obj: Any) -> bytes:
        file = io.BytesIO()
        try:
            _Pickler(self, file).dump(obj)
        except BaseException:  # the definition says why
            return b""
        return file.getvalue()

    def forget(self) -> None:
        """Nothing will be packed any more: keep none of the program's objects alive."""
        self._made.clear()
        self._names.clear()

    # -- namespaces

    def space_of(self, names: dict[str, Any]) -> str:
        """What the namespace with these globals is called at a server; "" if they have to travel with the function."""
        if isinstance(names, namespace.Globals):
            return names.module
        name = names.get("__name__")
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and getattr(module, "__dict__", None) is names:
            return str(name)
        if name is None or names.keys().isdisjoint(("__spec__", "__file__")):
            return ""
        known = self._space_names.get(id(names))
        if known is None:  # kept for good, or its id would be another's one day
            known = self._space_names[id(names)] = f"{name}#{len(self._spaces) + 1}"
            self._spaces[known] = names
        return known

    def is_own(self, space: str) -> bool:
        """Whether what lives in this namespace is the program's own."""
        return space in self._spaces or travels_by_value(space)

    def _globals(self, space: str) -> dict[str, Any]:
        module = sys.modules.get(space)
        return self._spaces.get(space, {}) if module is None else module.__dict__

    def source_of(self, code: types.CodeType) -> Source | None:
        """The lines of a function, if they are known here."""
        key = code.co_filename, code
        try:
            return self._sources[key]
        except KeyError:
            pass
        first, last = code.co_firstlineno, _last_line(code)
        text = "".join(linecache.getlines(code.co_filename)[first - 1 : last])
        if len(self._sources) >= NAMES_MAX:
            self._sources.clear()
        source = self._sources[key] = Source(code.co_filename, first, text) if text else None
        return source
