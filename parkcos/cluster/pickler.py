"""How an object of the client's becomes bytes that refer to its program's globals by their names.

What those names stand for travels as definitions of their own, which shipping.py makes.
"""

from __future__ import annotations

import dis
import functools
import io
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

from cloudpickle import cloudpickle as _cp

from parkcos.cluster import namespace, shared
from parkcos.cluster.definitions import Source
from parkcos.cluster.origins import travels_by_value
from parkcos.cluster.shared import Shared
from parkcos.errors import ShippingError
from parkcos.net.pickling import BufferCallback, ByValue, code_in, completed, is_found, is_wrapper, reduce_wrapper

if TYPE_CHECKING:
    from parkcos.cluster.shipping import Shipper

Key = tuple[str, str]
"""(module, global name)."""


class Pickler(ByValue):
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
        if kind in TYPE_VARIABLES:
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
        if obj.shipper is not self.shipper.home:
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


TYPE_VARIABLES = frozenset((typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple))
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
