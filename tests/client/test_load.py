"""parkcos/client/load.py"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parkcos.client.load import LoadHeap


def test_nobody() -> None:
    heap = LoadHeap()
    assert heap.lightest() is None
    heap.remove(1)
    heap.put(1, 0.5)
    heap.remove(1)
    assert heap.lightest() is None


def test_lightest_and_turns() -> None:
    heap = LoadHeap()
    heap.put(1, 1.0)
    heap.put(2, 1.0)
    assert heap.lightest() == 1
    heap.put(1, 1.0)
    assert heap.lightest() == 1, "the same load again keeps its turn"
    heap.put(1, 2.0)
    assert heap.lightest() == 2
    heap.put(1, 1.0)
    assert heap.lightest() == 2, "a new load is put behind its equals"


@given(st.lists(st.tuples(st.integers(1, 9), st.none() | st.integers(0, 3)), max_size=400))
def test_against_a_plain_dict(steps: list[tuple[int, int | None]]) -> None:
    heap = LoadHeap()
    loads: dict[int, tuple[int, int]] = {}
    for turn, (number, load) in enumerate(steps):
        if load is None:
            heap.remove(number)
            loads.pop(number, None)
        else:
            heap.put(number, load)
            if number not in loads or loads[number][0] != load:
                loads[number] = (load, turn)
        assert heap.lightest() == min(loads, key=loads.__getitem__, default=None)
    assert len(heap._heap) <= 64 + 4 * 9 + 1
