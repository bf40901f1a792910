"""Objects that neither pickle nor cloudpickle carries as they are: code with its file's name, exceptions, caches.

Nothing here needs to know what a client is: the same objects go out in calls and come home in results.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import io
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from parkcos.kernel import spaces
from parkcos.net.in_space import by_name, home_of, untracked

BufferCallback = Callable[[pickle.PickleBuffer], Any] | None


class ByName(pickle.Pickler):
    """Pickles functions and classes by their names alone; exceptions so that they can be made again."""

    def __init__(self, file: io.BytesIO, buffer_callback: BufferCallback = None) -> None:
        super().__init__(file, 5, buffer_callback=buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        return reduce_exception(obj) if isinstance(obj, BaseException) else NotImplemented


class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what cannot be found by its name as well."""

    def __init__(self, file: io.BytesIO, buffer_callback: BufferCallback = None) -> None:
        super().__init__(file, 5, buffer_callback=buffer_callback)
        self.space: spaces.Space | None = None
        """That of what has been pickled by its name, if any has."""

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if spaces.used and (home := home_of(obj, BY_NAME)) is not None:
            self.space = home
            return by_name(obj)
        if kind is types.CodeType:
            return code_in, (obj.co_filename, *self.dispatch_table[types.CodeType](obj))
        if isinstance(obj, BaseException):
            return reduce_exception(obj)
        if kind is functools.cached_property:
            return cached_property, (obj.func, obj.attrname)
        if kind is functools.singledispatchmethod:
            return single_dispatch_method, (obj.func,), dict(obj.dispatcher.registry), None, None, set_registry
        if kind in BY_NAME and not is_found(obj):
            return reduce_wrapper(obj)
        if kind is types.FunctionType and obj.__code__ is _DISPATCHES:
            return NotImplemented if is_found(obj) else reduce_wrapper(obj)
        reduced = super().reducer_override(obj)
        if spaces.used:
            reduced = untracked(reduced)
        return (
            completed(obj, reduced)
            if isinstance(obj, type) and type(reduced) is tuple and len(reduced) == 6
            else reduced
        )


def dumps_by(pickler: type[ByName | ByValue], obj: Any, buffer_callback: BufferCallback = None) -> bytes:
    """The pickle of `obj`."""
    file = io.BytesIO()
    pickler(file, buffer_callback).dump(obj)
    return file.getvalue()


def is_found(obj: Any) -> bool:
    """Whether an import of its module, which is not the program itself, finds `obj` under its name."""
    found: Any = sys.modules.get(obj.__module__) if obj.__module__ != "__main__" else None
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


# -- code: cloudpickle may give it another file name, and tracebacks would say that


def code_in(filename: str, make: Callable[..., types.CodeType], args: tuple[Any, ...]) -> types.CodeType:
    """Unpickles code."""
    space = spaces.inside() or spaces.home
    return make(*args).replace(co_filename=filename if space is None else space.file_of(filename))


# -- what functools makes, whose own pickles are names or hold weak references and locks

BY_NAME = frozenset({type(functools.cache(code_in))})
"""Types whose instances say of themselves that they are found by their names."""


@functools.singledispatch
def _dispatches(obj: Any) -> None: ...


_DISPATCHES = _dispatches.__code__  # type: ignore[attr-defined]
"""The code that all functions made by `singledispatch` share."""


def is_wrapper(obj: Any) -> bool:
    """Whether `reduce_wrapper` knows it."""
    return type(obj) in BY_NAME or (type(obj) is types.FunctionType and obj.__code__ is _DISPATCHES)


def reduce_wrapper(obj: Any) -> tuple[Any, ...]:
    """A function with a cache, or with an implementation for each type: what it wraps, and how."""
    if type(obj) is types.FunctionType:
        return single_dispatch, (obj.__wrapped__,), dict(obj.registry), None, None, set_registry  # type: ignore[attr-defined]
    return cached, (obj.__wrapped__, *obj.cache_parameters().values())


def cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Unpickles a function with a cache, which is empty."""
    return functools.lru_cache(maxsize, typed)(function)


def single_dispatch(function: Callable[..., Any]) -> Any:
    """Unpickles a function that `singledispatch` has made."""
    return functools.singledispatch(function)


def single_dispatch_method(function: Callable[..., Any]) -> Any:
    """Unpickles a method that does."""
    return functools.singledispatchmethod(function)


def set_registry(function: Any, registry: dict[type, Callable[..., Any]]) -> None:
    """Unpickles its implementations, which may refer to the function itself."""
    for kind, implementation in registry.items():
        function.register(kind, implementation)


def cached_property(function: Callable[..., Any], name: str | None) -> functools.cached_property[Any]:
    """Unpickles one."""
    made: functools.cached_property[Any] = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made


# -- classes


def completed(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """`reduced`, of a class, so that it is made with its qualified name and its slots, as it can be only then."""
    if issubclass(cls, enum.Enum):
        return reduced
    make, args, (attributes, others), *rest = reduced
    namespace = {"__qualname__": cls.__qualname__}
    if "__slots__" in attributes and not (issubclass(cls, tuple) and hasattr(cls, "_fields")):  # not of a NamedTuple
        namespace["__slots__"] = attributes.pop("__slots__")
    return make_class, (make, args, namespace), (attributes, others), *rest


def make_class(make: Callable[..., type], args: tuple[Any, ...], more: dict[str, Any]) -> type:
    """Unpickles a class.  more: of its namespace."""
    kind, name, bases, namespace, *rest = args
    return make(kind, name, bases, {**namespace, **more}, *rest)


# -- exceptions


def reduce_exception(error: BaseException) -> Any:
    """What makes it again without its `__init__`, which takes other arguments than `args` more often than not."""
    kind = type(error)
    if (
        kind.__module__ == "builtins"
        or kind.__reduce__ is not BaseException.__reduce__
        or kind.__reduce_ex__ is not object.__reduce_ex__
        or kind.__setstate__ is not BaseException.__setstate__
        or kind in copyreg.dispatch_table
    ):
        return NotImplemented  # it says itself how it is pickled
    state = dict(vars(error))
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with_class = f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") else name
            if name not in ("__dict__", "__weakref__") and hasattr(error, with_class):
                state[with_class] = getattr(error, with_class)
    return exception, (kind, error.args), state, None, None, set_attributes


def exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Unpickles an exception: as the builtin class that it derives from makes it."""
    builtin = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    error: BaseException = builtin.__new__(kind, *args)
    builtin.__init__(error, *args)  # type: ignore[misc]
    return error


def set_attributes(error: BaseException, state: dict[str, Any]) -> None:
    """Unpickles its attributes, also where it refuses to have them set."""
    for name, value in state.items():
        object.__setattr__(error, name, value)
