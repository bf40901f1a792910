"""parkcos/cluster/namespace.py with shipping.py: definitions in any order, and odd ones among them."""

from __future__ import annotations

import functools
import itertools
import sys
import types
from typing import Any, ClassVar

import pytest

from parkcos.cluster import namespace
from parkcos.cluster.shipping import Shipper
from parkcos.errors import ShippingError


class Base:
    kinds: ClassVar[list[Any]] = []


class Middle(Base):
    pass


class Last(Middle):
    base = Base


Base.kinds = [Middle, Last]


@functools.cache
def one() -> str:
    return "one"


@functools.cache
def other() -> str:
    return "other"


one.__wrapped__.other, other.__wrapped__.one = other, one  # type: ignore[attr-defined]


def uses() -> Any:
    return Base, Middle, Last


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module that this one would be at a server."""
    monkeypatch.setattr(namespace, "HOME", namespace.Namespace(0))
    made = namespace.HOME.fresh_module(__name__)
    monkeypatch.setitem(sys.modules, __name__, made)
    return made


def definitions(*names: str) -> list[Any]:
    here = sys.modules[__name__]
    return Shipper().definitions({(__name__, name): getattr(here, name) for name in names})


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_classes_that_refer_to_each_other_in_any_order(order: tuple[int, ...], request: pytest.FixtureRequest) -> None:
    made = definitions("Base", "Middle", "Last")
    assert len(made) == 3
    there = request.getfixturevalue("elsewhere")
    namespace.HOME.install([made[i] for i in order])
    assert there.Base.kinds == [there.Middle, there.Last]
    assert there.Last.__mro__[:3] == (there.Last, there.Middle, there.Base)
    assert there.Last.base is there.Base
    assert not namespace.HOME._making
    assert not namespace.HOME._pending


def test_what_needs_itself_to_be_made_says_so_and_harms_no_other(request: pytest.FixtureRequest) -> None:
    """Each of these holds a function that refers to the other, and a cache takes its function when it is made."""
    made = definitions("one", "other", "Base", "Middle", "Last")
    there = request.getfixturevalue("elsewhere")
    namespace.HOME.install(made)
    found = [there.one, there.other]
    (lost,) = [each for each in found if isinstance(each, namespace.Unshipped)]
    with pytest.raises(ShippingError, match="is not at this server: it is needed itself to make it"):
        lost()
    (kept,) = [each for each in found if each is not lost]
    assert kept() in ("one", "other")
    assert there.Base.kinds == [there.Middle, there.Last]
    assert not namespace.HOME._making
    assert not namespace.HOME._pending
    assert not namespace.HOME._waiting
