"""parkcos/cluster/namespace.py with shipping.py: definitions in any order, and odd ones among them."""

from __future__ import annotations

import functools
import itertools
import linecache
import sys
import types
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from parkcos.cluster import namespace
from parkcos.cluster.definitions import Source
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
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module that this one would be at a server."""
    for table in (namespace._installed, namespace._given, namespace._spaces):
        table.clear()
    made = namespace.fresh_module(__name__)
    monkeypatch.setitem(sys.modules, __name__, made)
    yield made
    for table in (namespace._installed, namespace._given, namespace._spaces):
        table.clear()


def definitions(*names: str) -> list[Any]:
    here = sys.modules[__name__]
    return Shipper().definitions({(__name__, name): getattr(here, name) for name in names})


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_classes_that_refer_to_each_other_in_any_order(order: tuple[int, ...], request: pytest.FixtureRequest) -> None:
    made = definitions("Base", "Middle", "Last")
    assert len(made) == 3
    there = request.getfixturevalue("elsewhere")
    namespace.install([made[i] for i in order])
    assert there.Base.kinds == [there.Middle, there.Last]
    assert there.Last.__mro__[:3] == (there.Last, there.Middle, there.Base)
    assert there.Last.base is there.Base
    assert not namespace._making
    assert not namespace._pending


def test_what_needs_itself_to_be_made_says_so_and_harms_no_other(request: pytest.FixtureRequest) -> None:
    """Each of these holds a function that refers to the other, and a cache takes its function when it is made."""
    made = definitions("one", "other", "Base", "Middle", "Last")
    there = request.getfixturevalue("elsewhere")
    namespace.install(made)
    found = [there.one, there.other]
    (lost,) = [each for each in found if isinstance(each, namespace.Unshipped)]
    with pytest.raises(ShippingError, match="is not at this server: it is needed itself to make it"):
        lost()
    (kept,) = [each for each in found if each is not lost]
    assert kept() in ("one", "other")
    assert there.Base.kinds == [there.Middle, there.Last]
    assert not namespace._making
    assert not namespace._pending
    assert not namespace._waiting


def test_lines_are_known_beside_those_of_the_file(tmp_path: Any) -> None:
    path = str(tmp_path / "gone.py")
    namespace.remember(Source(path, 3, "def f():\n    return 1\n"))
    namespace.remember(Source(path, 7, "x = 2"))
    linecache.checkcache()
    assert [linecache.getline(path, n).strip() for n in (1, 3, 4, 5, 7, 8)] == [
        "",
        "def f():",
        "return 1",
        "",
        "x = 2",
        "",
    ]
    (tmp_path / "there.py").write_text("a = 1\nb = 2\nc = 3\n")
    there = str(tmp_path / "there.py")
    namespace.remember(Source(there, 2, "b = 2\n"))
    assert linecache.cache[there][1] is not None, "it is as the file says, which may change"
    namespace.remember(Source(there, 2, "b = 5\n"))
    assert linecache.getlines(there) == ["a = 1\n", "b = 5\n", "c = 3\n"]
