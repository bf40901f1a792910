"""Code that travels: how a client's functions, classes and globals become bytes.

What belongs to the client's own program (its `__main__` and modules that are not installed) travels *by value*: one
:class:`Definition` for each global name that a shipped function uses, found by following the names in its code.
The server puts each into the module of the same name (its `__main__` for the client's `__main__`), so functions sent
separately see each other, and an instance of the client's class that comes home is of the client's class.
What is installed travels by reference, and is imported there.

A data global is set at a server when it arrives for the first time, and again only when the client's value has been
replaced since: what a task there has assigned is not overwritten by the next call.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import cloudpickle
import msgspec
from cloudpickle import cloudpickle as _cp

from parkcos.cluster import namespace
from parkcos.cluster.origins import travels_by_value
from parkcos.errors import ShippingError
from parkcos.net.payload import PICKLE, Buffer, assemble, explain, keep_large

CODE, DATA, MISSING = "code", "data", "missing"


class Definition(msgspec.Struct, array_like=True, frozen=True):
    """The value of one global name.  blob: its pickle, or for MISSING the reason why there is none."""

    module: str
    name: str
    kind: str
    digest: bytes
    blob: bytes


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


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one object; notes which by-value globals it needs instead of taking them in.

    Args:
        root: the function or class that this pickle is the definition of; None for arguments.
        by_reference: says which modules the servers have as files.
    """

    def __init__(
        self,
        file: io.BytesIO,
        root: Any,
        by_reference: ByReference,
        buffer_callback: Callable[[pickle.PickleBuffer], bool] | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self.root = root
        self.by_reference = by_reference
        self.needs: dict[Key, Any] = {}

    def reducer_override(self, obj: Any) -> Any:
        if obj is namespace.resolve:
            return NotImplemented  # by its name, without the long way through cloudpickle
        kind = type(obj)
        if kind is types.FunctionType or issubclass(kind, type):
            module = getattr(obj, "__module__", None)
            if module and module not in self.by_reference and travels_by_value(module):
                if obj is not self.root and (key := self._global_of(obj, module)):
                    return namespace.resolve, key
                if kind is types.FunctionType:
                    return self._dynamic_function_reduce(obj)
                return _class_reduce(obj)
        return super().reducer_override(obj)

    def _global_of(self, obj: Any, module: str) -> tuple[str, str] | None:
        """(module, qualified name) if that is where `obj` is found; notes the global it hangs on."""
        qualname: str = obj.__qualname__
        head, _, _ = qualname.partition(".")
        if self.root is not None and module == self.root.__module__ and head == self.root.__qualname__:
            return None  # part of the class that is being defined here
        found = holder = vars(sys.modules[module]).get(head)
        for part in qualname.split(".")[1:]:
            found = getattr(found, part, None)
        if found is not obj:
            return None
        self.needs[module, head] = holder
        return module, qualname

    def _dynamic_function_reduce(self, func: types.FunctionType) -> Any:
        """As cloudpickle's, but the function's globals are the namespace of its module at the server."""
        module = func.__module__ if travels_by_value(func.__module__) else "__main__"
        code, _, name, argdefs, closure = self._function_getnewargs(func)
        state, slots = _cp._function_getstate(func)
        for global_name, value in slots["__globals__"].items():
            if not global_name.startswith("__"):
                self.needs[module, global_name] = value
        if "." in module and (package := vars(sys.modules[module]).get("__package__")):
            self.needs[module, "__package__"] = package  # for imports in the function that are relative to it
        slots["__globals__"] = {}
        newargs = (code, namespace.Globals(module), name, argdefs, closure)
        return (_cp._make_function, newargs, (state, slots), None, None, _cp._function_setstate)


def _class_reduce(obj: type) -> Any:
    reduced = _cp._class_reduce(obj)
    return _cp._dynamic_class_reduce(obj) if reduced is NotImplemented else reduced


class _Named:
    """Stands for a global function in a pickle; arrives as that function."""

    __slots__ = ("key",)

    def __init__(self, key: Key) -> None:
        self.key = key

    def __reduce__(self) -> Any:
        return namespace.resolve, self.key


class Shipper:
    """Turns what a client runs into payloads and definitions.  One for each client.

    Args:
        modules, packages: names of those that are components of their own: the servers have their files.
    """

    def __init__(self, modules: Iterable[str] = (), packages: Iterable[str] = ()) -> None:
        self.by_reference = ByReference(modules, packages)
        self._names: dict[types.FunctionType, _Named] = {}
        self._made: dict[Key, tuple[Any, Definition, tuple[tuple[Key, Any], ...]]] = {}

    def pack_call(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[int, list[Buffer], list[Definition]]:
        """As `pack` of (fn, args, kwargs), and faster where a global function is called with plain arguments."""
        if all(type(arg) in _PLAIN for arg in args) and (not kwargs or all(type(v) in _PLAIN for v in kwargs.values())):
            named = self._names.get(fn) if type(fn) is types.FunctionType else None
            if named is None or vars(sys.modules[named.key[0]]).get(named.key[1]) is not fn:
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
        if type(fn) is not types.FunctionType:
            return None
        self._names.pop(fn, None)
        key = key_of(fn)
        if key is None or key[0] in self.by_reference:
            return None
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        named = self._names[fn] = _Named(key)
        return named

    def pack(self, obj: Any) -> tuple[int, list[Buffer], list[Definition]]:
        """Pickle arguments or a function.

        Returns: form and buffers of the payload, and every definition that a server needs in order to use it.
        Raises: ShippingError naming the attribute that cannot be pickled.
        """
        file = io.BytesIO()
        buffers: list[memoryview] = []
        pickler = _Pickler(file, None, self.by_reference, keep_large(buffers))
        try:
            pickler.dump(obj)
        except Exception as error:
            raise ShippingError(explain(obj, error)) from error
        form, parts = assemble(file.getvalue(), buffers)
        return form, parts, self.definitions(pickler.needs) if pickler.needs else []

    def definitions(self, needs: dict[Key, Any]) -> list[Definition]:
        """Definitions of these globals and of all that they need in turn."""
        out: dict[Key, Definition] = {}
        todo = list(needs.items())
        while todo:
            key, value = todo.pop()
            if key in out:
                continue
            made = self._made.get(key)
            if made is None or made[0] is not value:
                made = self._made[key] = self._define(key, value)
            out[key] = made[1]
            # The values of names are looked up afresh: the client may have replaced them since.
            todo += [(k, _current(k, v)) for k, v in made[2]]
        return list(out.values())

    def _define(self, key: Key, value: Any) -> tuple[Any, Definition, tuple[tuple[Key, Any], ...]]:
        module, name = key
        own = isinstance(value, types.FunctionType | type) and getattr(value, "__module__", None) == module
        file = io.BytesIO()
        pickler = _Pickler(file, value if own and value.__qualname__ == name else None, self.by_reference)
        try:
            pickler.dump(value)
        except Exception as error:
            # Perhaps the function never uses it there; if it does, it is told why it cannot.
            reason = explain(value, error).encode()
            return value, Definition(module, name, MISSING, _digest(reason), reason), ()
        blob = file.getvalue()
        kind = CODE if callable(value) or isinstance(value, types.ModuleType) else DATA
        return value, Definition(module, name, kind, _digest(blob), blob), tuple(pickler.needs.items())


def _digest(blob: bytes) -> bytes:
    return hashlib.blake2b(blob, digest_size=16).digest()


def _current(key: Key, value: Any) -> Any:
    module = sys.modules.get(key[0])
    return vars(module).get(key[1], value) if module else value


def key_of(fn: Callable[..., Any]) -> Key | None:
    """(module, name) of a global function of the client's own program, None for everything else."""
    module = getattr(fn, "__module__", None)
    name = getattr(fn, "__qualname__", "")
    if module and travels_by_value(module) and vars(sys.modules[module]).get(name) is fn:
        return module, name
    return None
