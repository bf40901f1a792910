"""parkcos/net/payload.py: objects to bytes and back, and why some cannot go."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.errors import ShippingError
from parkcos.net.payload import BUFFERS, PICKLE, RAW, assemble, dumps, explain, join, keep_large, loads

JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def there_and_back(obj: Any) -> Any:
    form, buffers = dumps(obj)
    return loads(form, b"".join(buffers))


@given(JSONISH)
def test_what_goes_in_comes_out(obj: Any) -> None:
    assert there_and_back(obj) == obj


@given(st.lists(st.integers(0, 100_000), max_size=4))
def test_large_buffers_of_any_size(sizes: list[int]) -> None:
    obj = {"arrays": [bytearray(i.to_bytes(1, "big") * n) for i, n in enumerate(sizes)], "text": "t"}
    again = there_and_back(obj)
    assert again == obj
    assert all(type(array) is bytearray for array in again["arrays"])


def test_forms() -> None:
    assert dumps(b"raw")[0] == RAW
    assert dumps({"small": bytearray(10)})[0] == PICKLE
    assert dumps(bytearray(100_000))[0] == PICKLE
    assert dumps(Array(bytearray(100_000)))[0] == BUFFERS
    assert dumps(b"")[0] == RAW
    assert there_and_back(b"") == b""


def test_bytes_are_not_copied() -> None:
    data = b"x" * 100_000
    _, buffers = dumps(data)
    assert buffers[0] is data
    assert join(buffers) is data
    assert type(loads(RAW, memoryview(data))) is bytes


def test_a_subclass_of_bytes_keeps_its_class() -> None:
    class Name(bytes):
        pass

    form, buffers = dumps(Name(b"abc"))
    assert form == PICKLE
    assert type(loads(form, join(buffers))).__name__ == "Name"


class Array:
    """What numpy does: its data goes out of band."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return Array, (pickle.PickleBuffer(self.data),)


def test_a_message_is_what_the_object_was_when_it_was_sent() -> None:
    data = bytearray(b"z" * 50_000)
    form, buffers = dumps(Array(data))
    data[:] = b"!" * 50_000  # the next step of a simulation, say
    assert bytes(loads(form, b"".join(buffers)).data) == b"z" * 50_000


def test_out_of_band_buffers_that_nobody_can_write_to_are_not_copied() -> None:
    data = b"z" * 50_000
    form, buffers = dumps([Array(data), Array(bytearray(5)), Array(bytearray(20_000))])
    assert form == BUFFERS
    views = [b for b in buffers if isinstance(b, memoryview)]
    assert [v.nbytes for v in views] == [50_000, 20_000]
    assert views[0].obj is data
    again = loads(form, b"".join(buffers))
    assert [len(a.data) for a in again] == [50_000, 5, 20_000]
    assert bytes(again[0].data) == data


def test_what_comes_out_of_a_bytearray_can_be_written_and_is_not_a_copy() -> None:
    form, buffers = dumps(Array(bytearray(b"z" * 50_000)))
    arrived = bytearray(b"".join(buffers))
    again = loads(form, memoryview(arrived))
    view = memoryview(again.data)
    assert not view.readonly
    view[0] = 1
    assert arrived.count(1) >= 1
    assert arrived[-50_000] == 1


def test_a_buffer_that_is_not_contiguous_is_pickled_in_band() -> None:
    class Strided:
        def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
            return bytes, (memoryview(bytearray(100_000))[::2].tobytes(),)

    assert there_and_back(Strided()) == bytes(50_000)
    kept: list[memoryview] = []
    assert keep_large(kept)(pickle.PickleBuffer(memoryview(bytearray(100_000))[::2])) is True
    assert kept == []


def test_assemble_of_a_pickle_of_ones_own() -> None:
    kept: list[memoryview] = []
    data = pickle.dumps(Array(bytearray(30_000)), 5, buffer_callback=keep_large(kept))
    form, buffers = assemble(data, kept)
    assert (form, len(kept)) == (BUFFERS, 1)
    assert bytes(loads(form, b"".join(buffers)).data) == bytes(30_000)


def test_functions_of_here() -> None:
    offset = 5
    assert there_and_back(lambda x: x + offset)(1) == 6


# why not


class Slots:
    __slots__ = ("good", "lock")

    def __init__(self) -> None:
        self.good = 1
        self.lock = threading.Lock()


class Thing:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def method(self) -> None:
        pass


def closure_over(value: Any) -> Any:
    def inner() -> Any:
        return value

    return inner


def recursive_with_a_lock() -> Any:
    lock = threading.Lock()

    def again(n: int) -> Any:
        return again(n - 1) if n else lock

    return again


CASES: dict[str, tuple[Any, str]] = {
    "itself": (threading.Lock(), "<lock> cannot be sent: lock object"),
    "attribute": (Thing(a=1, lock=threading.Lock()), "<Thing>.lock cannot be sent: lock object"),
    "nested": (
        Thing(a=Thing(b=[0, {"k": (1, Thing(c=threading.Lock()))}])),
        "<Thing>.a.b[1]['k'][1].c cannot be sent: lock object",
    ),
    "dict": ({"x": {"y": threading.Lock()}}, "<dict>['x']['y'] cannot be sent: lock object"),
    "slots": (Slots(), "<Slots>.lock cannot be sent: lock object"),
    "closure": (
        closure_over(threading.Lock()),
        "<function>.<variable value of the enclosing function> cannot be sent: lock object",
    ),
    "closure of a closure": (
        closure_over(closure_over({"k": threading.Lock()})),
        "<function>.<variable value of the enclosing function>.<variable value of the enclosing function>['k']",
    ),
    "recursive closure": (
        recursive_with_a_lock(),
        "<function>.<variable lock of the enclosing function> cannot be sent: lock object",
    ),
    "bound method": (Thing(lock=threading.Lock()).method, "<method>.__self__.lock cannot be sent: lock object"),
    "generator": ([(x for x in [])], "<list>[0] cannot be sent: generator object"),
}


@pytest.mark.parametrize("case", CASES)
def test_which_part_cannot_be_sent(case: str) -> None:
    obj, words = CASES[case]
    with pytest.raises(ShippingError) as caught:
        dumps(obj)
    assert words in str(caught.value)
    assert "cannot pickle" in str(caught.value)
    advice = "send a list of what it gives" if case == "generator" else "make it in the task that uses it"
    assert advice in str(caught.value)


def test_a_cycle_ends() -> None:
    a, b = Thing(), Thing(lock=threading.Lock())
    a.other, b.other = b, a  # type: ignore[attr-defined]
    with pytest.raises(ShippingError, match=r"<Thing>\.other\.lock cannot be sent: lock object"):
        dumps(a)


def test_a_reduce_that_raises_is_named() -> None:
    class Sick:
        def __reduce__(self) -> Any:
            raise RuntimeError("not today")

    with pytest.raises(ShippingError, match=r"<dict>\['s'\] cannot be sent: Sick object: RuntimeError: not today"):
        dumps({"s": Sick()})


def test_what_is_nested_too_deep_is_said_and_does_not_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ShippingError, match="cannot be sent"):
        dumps(deep)


def test_explain_of_something_that_goes_after_all() -> None:
    assert explain([1], ValueError("strange")) == "<list> cannot be sent: list object: ValueError: strange"


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x01", b"\x02\x00\x00\x00" + b"\xff" * 16, b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"],
)
def test_broken_buffers_raise(payload: bytes) -> None:
    with pytest.raises(Exception, match=r".+"):
        loads(BUFFERS, payload)
