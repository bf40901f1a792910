"""Pickles at a process with spaces (kernel/spaces.py): what they name is meant of the space in which they are opened.

A class or function of a space is pickled by its name alone, as pickle itself would if it were in `sys.modules`: so an
instance comes home as one of the client's class, and is of the same class at every server.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
import typing
from collections.abc import Iterable
from typing import Any

from cloudpickle import cloudpickle as _cp

from parkcos.kernel import spaces
from parkcos.kernel.spaces import Space

_NAMED = frozenset(
    (types.FunctionType, typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple, typing.NewType)
    + ((getattr(typing, "TypeAliasType"),) if hasattr(typing, "TypeAliasType") else ())  # noqa: B009
)
"""Types whose instances are found by their names, beside classes."""
_TRACKED_AT = {_cp._make_skeleton_class: -2, _cp._make_skeleton_enum: -2, _cp._make_typevar: -1}
"""Where the arguments of what makes a class have the number by which a process knows a class that comes again."""
_MARK = "@"


def unpickled(data: Any, buffers: Iterable[Any] = ()) -> Any:
    """As `pickle.loads`, in the space that is being opened."""
    space = spaces.inside()
    if space is None:
        return pickle.loads(data, buffers=buffers)
    return _Unpickler(space, io.BytesIO(data), buffers=buffers).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, space: Space, file: io.BytesIO, *, buffers: Iterable[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._space = space

    def find_class(self, module: str, name: str) -> Any:
        own = self._space.find(module, name)
        if own is not None:
            return own
        found = super().find_class(module, name)
        if module == _cp.__name__:
            return self._instead_of(found)
        return found

    def _instead_of(self, found: Any) -> Any:
        """What cloudpickle's pickles call, so that what it makes is of this space."""
        space = self._space
        if found is _cp.subimport:
            return space.import_module
        if found is _cp._make_function:
            return self._make_function
        if (at := _TRACKED_AT.get(found)) is None:
            return found

        def make(*args: Any) -> Any:
            return found(*_with(args, at, f"{args[at]}{_MARK}{space.number}"))

        return make

    def _make_function(
        self, code: types.CodeType, names: dict[str, Any], name: str, defaults: Any, closure: Any
    ) -> types.FunctionType:
        names["__builtins__"] = self._space.builtins
        return types.FunctionType(code, names, name, defaults, closure)


def _with(args: tuple[Any, ...], at: int, value: Any) -> tuple[Any, ...]:
    made = list(args)
    made[at] = value
    return tuple(made)


def home_of(obj: Any, others: frozenset[type]) -> Space | None:
    """The space in which a class or function is found by its name, or what is of the types `others`."""
    kind = type(obj)
    return spaces.home_of(obj) if issubclass(kind, type) or kind in _NAMED or kind in others else None


def by_name(obj: Any) -> tuple[Any, ...]:
    """What is found by its name in a space, as it is pickled."""
    return named, (obj.__module__, getattr(obj, "__qualname__", None) or obj.__name__)


def untracked(reduced: Any) -> Any:
    """How a class is pickled by its value, with the number by which the process where it came from knows it."""
    if type(reduced) is not tuple or (at := _TRACKED_AT.get(reduced[0])) is None:
        return reduced
    make, args, *rest = reduced
    return make, _with(args, at, args[at].partition(_MARK)[0]), *rest


def named(module: str, name: str) -> Any:
    """Unpickles what is found by its name."""
    space = spaces.inside()
    if space is not None and (own := space.find(module, name)) is not None:
        return own
    __import__(module)
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found
