"""Users' objects as texts: whatever they do when they are asked."""

from __future__ import annotations

import collections
import threading
from functools import partial
from queue import Queue
from typing import Any

import pytest

from parkcos.httpd.texts import Describer, call_text, clean, plain, plain_call, value_text


class Own:
    def __str__(self) -> str:
        return "my own"


class Raising:
    def __init__(self, error: type[BaseException] = ValueError) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error("no text")

    __str__ = __repr__


class Huge:
    def __str__(self) -> str:
        return "x" * 1_000_000


class NoText:
    def __str__(self) -> str:
        return 42  # type: ignore[return-value]


class Sly(str):
    """A text that lies."""

    def __getitem__(self, *_: Any) -> str:
        raise AssertionError("asked")

    __len__ = __iter__ = __str__ = __repr__ = __getitem__  # type: ignore[assignment]


class GivesSly:
    def __str__(self) -> str:
        return Sly("sly")


class Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class Nameless(metaclass=Meta):
    def __repr__(self) -> str:
        raise KeyboardInterrupt


class SlowList(list):  # type: ignore[type-arg]
    def __repr__(self) -> str:
        return "<slow>"

    def __iter__(self) -> Any:
        raise AssertionError("asked")


def test_usual_arguments() -> None:
    assert plain_call((1, "a", None, 2.5), {"x": True}) == "1, 'a', None, 2.5, x=True"
    assert call_text((1, [2, (3,)], {"k": {4}}), {"x": b"y"}) == "1, [2, (3,)], {'k': {4}}, x=b'y'"
    assert call_text((set(), frozenset(), {}, []), {}) == "set(), frozenset(), {}, []"
    assert call_text((Own(), [Own()]), {}) == "my own, [my own]"
    assert value_text(collections.OrderedDict(a=1)) == repr(collections.OrderedDict(a=1))


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
def test_a_text_that_raises(error: type[BaseException]) -> None:
    text = call_text((1, Raising(error), 2), {})
    assert text == f"1, <Raising, which cannot be shown: {error.__name__}>, 2"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (NoText(), "<NoText, which cannot be shown: TypeError>"),
        (Nameless(), "<Nameless, which cannot be shown: KeyboardInterrupt>"),
        (GivesSly(), "sly"),
        (Sly("x"), "<Sly, which cannot be shown: AssertionError>"),
        (SlowList([1]), "<slow>"),
        (10**100_000, "<int of 332193 bits>"),
    ],
    ids=range(6),
)
def test_hostile_objects(value: Any, text: str) -> None:
    assert plain(value) is None
    assert value_text(value) == text


def test_everything_is_bounded() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (Huge(), "y" * 10_000_000, b"z" * 10_000_000, list(range(1_000_000)), endless, deep, [Huge()] * 1000):
        text = call_text((value,), {}, 300)
        assert type(text) is str
        assert len(text) <= 300
    while isinstance(deep, list):
        deep = deep[0]


def test_texts_can_be_sent() -> None:
    assert clean("a\ud800b", 100) == "a\\ud800b"
    assert clean("x" * 10, 5) == "xxxx…"
    assert call_text(("\ud800",), {}).encode()


def test_texts_are_made_in_another_thread() -> None:
    told: list[tuple[Any, str]] = []
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go_on.wait(20)
        return "slow"

    def tell(key: Any, text: str) -> None:
        told.append((key, text))
        if key == 2:
            done.set()

    describer = Describer(tell)
    try:
        describer.describe(1, slow)
        describer.describe(2, lambda: value_text(Raising()))
        assert begun.wait(20)
        assert told == []
        go_on.set()
        assert done.wait(20)
        assert told == [(1, "slow"), (2, "<Raising, which cannot be shown: ValueError>")]
    finally:
        describer.stop()


def test_a_key_whose_hash_raises_does_not_end_the_thread() -> None:
    class Key:
        broken = False

        def __hash__(self) -> int:
            if self.broken:
                raise RuntimeError("no hash")
            return 1

    key = Key()
    value = {key: 1}
    key.broken = True
    texts: Queue[tuple[str, str]] = Queue()
    describer = Describer(lambda name, text: texts.put((name, text)))
    try:
        describer.describe("bad", partial(value_text, value))
        describer.describe("good", partial(value_text, [1]))
        assert texts.get(timeout=10)[0] == "bad"
        assert texts.get(timeout=10) == ("good", "[1]")
    finally:
        describer.stop()


def test_a_text_of_a_class_of_its_own_is_a_plain_one() -> None:
    class Name(str):
        pass

    assert type(clean(Name("fit"), 10)) is str
