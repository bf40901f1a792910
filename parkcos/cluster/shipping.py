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

import io
import linecache
import pickle
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from parkcos.cluster import blobs, namespace, shared
from parkcos.cluster.changes import Watch, digest
from parkcos.cluster.definitions import CODE, DATA, MISSING, SHARED, SOURCE, Definition, Source
from parkcos.cluster.origins import travels_by_value
from parkcos.cluster.pickler import TYPE_VARIABLES, Key, Pickler
from parkcos.cluster.shared import Shared
from parkcos.errors import ShippingError
from parkcos.net.payload import PICKLE, Buffer, assemble, explain, keep_large
from parkcos.net.pickling import BufferCallback, is_wrapper

_PLAIN = frozenset((int, float, str, bytes, bool, type(None)))
NAMES_MAX = 1000


class ByReference:
    """Contains the names of these modules, and of all that is in these packages."""

    def __init__(self, modules: Iterable[str], packages: Iterable[str]) -> None:
        self._modules = frozenset(modules)
        self._packages = tuple(f"{package}." for package in packages)

    def __contains__(self, module: str) -> bool:
        return module in self._modules or f"{module}.".startswith(self._packages)


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
    """Turns what a client runs into payloads and definitions.  One for each client, and one for each of its spaces.

    Args:
        modules, packages: names of those that are components of their own: the servers have their files.
        home: the client's own, if this is that of a space.
    """

    def __init__(
        self, modules: Iterable[str] = (), packages: Iterable[str] = (), *, home: Shipper | None = None
    ) -> None:
        self.by_reference: ByReference = ByReference(modules, packages) if home is None else home.by_reference
        self.home: Shipper = self if home is None else home
        self._names: dict[types.FunctionType, _Named] = {}
        self._made: dict[Key, _Made] = {}
        self._spaces: dict[str, dict[str, Any]] = {} if home is None else home._spaces
        """Globals of functions that are no module's, by what they are called at the servers."""
        self._space_names: dict[int, str] = {} if home is None else home._space_names
        self._sources: dict[tuple[str, types.CodeType], Source | None] = {} if home is None else home._sources
        self._of_spaces: dict[int, Shipper] = {}

    def of(self, space: int) -> Shipper:
        """That which packs calls in a space, and knows what was packed for it; 0: this one."""
        if not space:
            return self
        if space not in self._of_spaces:
            self._of_spaces[space] = Shipper(home=self)
        return self._of_spaces[space]

    def drop(self, space: int) -> None:
        """Forget what was packed for it."""
        self._of_spaces.pop(space, None)

    def pack_call(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[int, list[Buffer], list[Definition]]:
        """As `pack` of (fn, args, kwargs), and faster where a global function is called with plain arguments."""
        if all(type(arg) in _PLAIN for arg in args) and (not kwargs or all(type(v) in _PLAIN for v in kwargs.values())):
            named = self._names.get(fn) if type(fn) is types.FunctionType else None
            if named is None or not self._means(named.key, fn):
                named = self._name(fn)
            if named is not None:
                data = pickle.dumps((named, args, kwargs), 5)
                return PICKLE, [data], self.definitions({named.key: fn})
        try:
            return self.pack((fn, args, kwargs))
        except ShippingError as error:
            raise ShippingError(self._explain_call(fn, args, kwargs) or str(error)) from error.__cause__

    def _means(self, key: Key, fn: Any) -> bool:
        """Whether it is `fn` that servers find under this name, once it has been sent.

        In a space it goes on to be, even if the program has another function of that name by now.
        """
        if self._globals(key[0]).get(key[1]) is fn:
            return True
        made = self._made.get(key)
        return made is not None and made.value is fn and self.home is not self

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

    def _dump(self, obj: Any, file: io.BytesIO, callback: BufferCallback) -> Pickler:
        pickler = Pickler(self, file, buffer_callback=callback)
        try:
            pickler.dump(obj)
        except BaseException as error:  # of code of its own, too
            raise ShippingError(explain(obj, error, self._dump_part)) from error
        return pickler

    def _dump_part(self, obj: Any) -> None:
        Pickler(self, io.BytesIO()).dump(obj)

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
        own = isinstance(value, types.FunctionType | type) or is_wrapper(value) or type(value) in TYPE_VARIABLES
        own = own and getattr(value, "__qualname__", name) == name
        own = own and value.__module__ == self._globals(module).get("__name__", module)
        file = io.BytesIO()
        pickler = Pickler(self, file, value if own else None, key)
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
            Pickler(self, file).dump(obj)
        except BaseException:  # the definition says why
            return b""
        return file.getvalue()

    def forget(self) -> None:
        """Nothing will be packed any more: keep none of the program's objects alive."""
        self._made.clear()
        self._names.clear()
        self._of_spaces.clear()

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
