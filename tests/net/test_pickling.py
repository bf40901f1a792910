"""parkcos/net/pickling.py: what is carried that neither pickle nor cloudpickle carries."""

from __future__ import annotations

import functools
import inspect
import io
import json
import pickle
import types
from typing import Any

import cloudpickle
import pytest
from cloudpickle import cloudpickle as inside

from parkcos.cluster.pickler import Pickler
from parkcos.cluster.shipping import Shipper
from parkcos.net.pickling import ByName, ByValue, dumps_by


def again(obj: Any) -> Any:
    return pickle.loads(dumps_by(ByValue, obj))


def test_code_keeps_the_name_of_its_file() -> None:
    def outer() -> Any:
        def inner() -> None: ...

        return inner

    for name in (__file__, "<ipython-input-3>", "with space and ü.py"):
        code = outer.__code__.replace(co_filename=name)
        made = again(code)
        assert made.co_filename == name
        assert made == code
    assert again(lambda: outer()).__code__.co_filename == __file__
    assert again(outer)().__code__.co_filename == __file__


def test_what_functools_makes() -> None:
    calls: list[int] = []

    @functools.lru_cache(maxsize=3, typed=True)
    def cached(n: int) -> int:
        calls.append(n)
        return n

    @functools.singledispatch
    def described(value: Any) -> str:
        return "something"

    @described.register
    def _(value: int) -> str:
        return "a number, no " + described("text")

    class Holder:
        __slots__ = ("__dict__", "_n")

        def __init__(self, n: int) -> None:
            self._n = n

        @functools.cached_property
        def doubled(self) -> int:
            return self._n * 2

        @functools.singledispatchmethod
        def told(self, value: Any) -> str:
            return described(value)

        @told.register
        def _(self, value: str) -> str:
            return "a text"

        plus = functools.partialmethod(lambda self, n: self._n + n, 5)

    cached(5)
    made = again(cached)
    assert made.cache_parameters() == {"maxsize": 3, "typed": True}
    assert made.cache_info().currsize == 0
    assert made(7) == 7
    assert again(described)(3) == "a number, no something"
    holder = again(Holder)(4)
    assert (holder.doubled, holder.told(1.0), holder.told("x"), holder.plus()) == (8, "something", "a text", 9)


def test_what_is_found_by_its_name_goes_by_it() -> None:
    assert len(dumps_by(ByName, ValueError("x"))) < 60
    assert again(functools.cmp_to_key) is functools.cmp_to_key
    assert again(module_cached) is module_cached
    assert again(module_dispatch) is module_dispatch


@functools.cache
def module_cached() -> None: ...


@functools.singledispatch
def module_dispatch(obj: Any) -> None: ...


def test_what_is_used_of_cloudpickle() -> None:
    """A few private names, and no private method of its pickler is replaced by chance."""

    class Own:
        pass

    reduced = inside._dynamic_class_reduce(Own)
    make, args, (attributes, others), *rest = reduced
    assert make is inside._make_skeleton_class
    assert args[-2] == inside._get_or_create_tracker_id(Own)
    assert list(inspect.signature(inside._make_skeleton_enum).parameters)[-2] == "class_tracker_id"
    assert list(inspect.signature(inside._make_typevar).parameters)[-1] == "class_tracker_id"
    names = ["code", "globals", "name", "argdefs", "closure"]
    assert list(inspect.signature(inside._make_function).parameters) == names
    assert inside._module_reduce(json)[0] is inside.subimport
    assert args[:3] == (type, "Own", (object,))
    assert "__slots__" not in args[3]
    assert "__doc__" in attributes
    assert others == {}
    assert len(rest) == 3
    assert make(*args) is Own
    assert cloudpickle.Pickler.dispatch_table[types.CodeType](again.__code__)[0] is types.CodeType
    theirs = {*dir(cloudpickle.Pickler), *vars(cloudpickle.Pickler(io.BytesIO()))}
    ours = {*vars(Pickler), *vars(ByValue), *(set(vars(Pickler(Shipper(), io.BytesIO()))) - {"globals_ref", "proto"})}
    assert {name for name in ours & theirs if not name.startswith("__")} == {"reducer_override"}


@pytest.mark.parametrize("pickler", [ByName, ByValue])
def test_exceptions_are_made_without_their_init(pickler: Any) -> None:
    error = NeedsTwo(1, 2)
    made = pickle.loads(dumps_by(pickler, [error]))[0]
    assert type(made) is NeedsTwo
    assert (made.args, made.two) == (("1 and 2",), 2)


class NeedsTwo(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.two = two
