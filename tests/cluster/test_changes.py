"""parkcos/cluster/changes.py, and when a client sends a definition again."""

from __future__ import annotations

import collections
import enum
import logging
import re
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from parkcos.cluster import changes
from parkcos.cluster.shipping import Shipper


class Config:
    def __init__(self) -> None:
        self.values = [1]


class Kind:
    label = "a"
    table: ClassVar[dict[str, int]] = {}

    def method(self) -> int:
        return 1


class Colour(enum.Enum):
    RED = 1


def with_default(n: int, seen: list[int] = []) -> int:  # noqa: B006 -- that is what is to be noticed
    return n


def with_attribute() -> None: ...


with_attribute.calls = []  # type: ignore[attr-defined]


def make_closure() -> Any:
    kept: dict[str, int] = {}

    def inner() -> int:
        return len(kept)

    inner.change = lambda: kept.update(a=len(kept))  # type: ignore[attr-defined]
    return inner


closure = make_closure()
plain = 3
mapping: dict[str, Any] = {"a": [1]}
numbers = [1, 2]
names = {"a"}
queue = collections.deque([1])
config = Config()
pair = (1, [2])
large = list(range(100_000))
logger = logging.getLogger("some")
pattern = re.compile("x")
lock = threading.Lock()


def uses() -> Any:
    return (
        *(plain, mapping, numbers, names, queue, config, pair, large, logger, pattern, lock),
        *(Kind, Colour, with_default, with_attribute, closure),
    )


def sent(shipper: Shipper) -> dict[str, bytes]:
    return {each.name: each.digest for each in shipper.pack_call(uses, (), {})[2]}


CHANGES: dict[str, tuple[str, Callable[[], Any]]] = {
    "a dict": ("mapping", lambda: mapping.update(b=2)),
    "what a dict holds": ("mapping", lambda: mapping["a"].append(2)),
    "a list": ("numbers", lambda: numbers.append(3)),
    "a set": ("names", lambda: names.add("b")),
    "a deque": ("queue", lambda: queue.append(2)),
    "an object": ("config", lambda: config.values.append(2)),
    "what a tuple holds": ("pair", lambda: pair[1].append(3)),  # type: ignore[attr-defined]
    "a class attribute that is replaced": ("Kind", lambda: setattr(Kind, "label", Kind.label + "b")),
    "one that is new": ("Kind", lambda: setattr(Kind, "other", 1)),
    "a container of a class": ("Kind", lambda: Kind.table.update(a=len(Kind.table))),
    "a method": ("Kind", lambda: setattr(Kind, "method", lambda self: 2)),
    "a default": ("with_default", lambda: with_default.__defaults__[0].append(1)),  # type: ignore[index]
    "an attribute of a function": ("with_attribute", lambda: with_attribute.calls.append(1)),  # type: ignore[attr-defined]
    "a variable of a closure": ("closure", lambda: closure.change()),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_has_changed_is_sent_again_and_nothing_else(case: str) -> None:
    shipper = Shipper()
    before = sent(shipper)
    assert sent(shipper) == before
    name, change = CHANGES[case]
    change()
    after = sent(shipper)
    assert {each for each in before if after[each] != before[each]} == {name}
    assert sent(shipper) == after


def test_what_is_large_is_sent_again_only_when_it_is_replaced() -> None:
    global large
    shipper = Shipper()
    before = sent(shipper)["large"]
    large.append(1)
    assert sent(shipper)["large"] == before
    large = [*large]
    assert sent(shipper)["large"] != before


def test_what_cannot_change_is_not_looked_at() -> None:
    shipper = Shipper()
    sent(shipper)
    watched = {name for (_, name), made in shipper._made.items() if made.watch is not None}
    # The methods of Config may be replaced, and what cannot be sent may be so later.
    assert watched == {name for name, _ in CHANGES.values()} | {"Config", "lock"}


def test_what_can_no_longer_be_sent_says_so() -> None:
    shipper = Shipper()
    sent(shipper)
    mapping["lock"] = threading.Lock()
    try:
        kinds = {each.name: each.kind for each in shipper.pack_call(uses, (), {})[2]}
    finally:
        del mapping["lock"]
    assert kinds["mapping"] == "missing"


def test_what_can_be_sent_at_last_is_sent() -> None:
    shipper = Shipper()
    mapping["lock"] = threading.Lock()
    try:
        assert sent(shipper)["mapping"]
        first = shipper._made[__name__, "mapping"].definition
    finally:
        del mapping["lock"]
    assert first.kind == "missing"
    kinds = {each.name: each.kind for each in shipper.pack_call(uses, (), {})[2]}
    assert kinds["mapping"] == "data"


def test_fixed() -> None:
    for value in (1, "a", None, (1, (2, b"x")), frozenset({1}), Colour.RED, Config, uses, logger, range(3)):
        assert changes.is_fixed(value), value
    for value in ([], {}, (1, []), Config(), bytearray()):
        assert not changes.is_fixed(value), value
