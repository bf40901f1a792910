"""parkcos/client/backlog.py beside a list that each step sorts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parkcos.client.backlog import Backlog

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add_first", "pop", "remove", "drain"]), st.integers(-2, 2), st.integers(0)
    )
)


@given(STEPS)
def test_it_is_a_list_by_priority_and_order(steps: list[tuple[str, int, int]]) -> None:
    backlog, model = Backlog(), list[tuple[int, int]]()  # (priority, task), in the order within each
    for number, (step, priority, choice) in enumerate(steps):
        if step == "add":
            backlog.add(number, priority)
            model.append((priority, number))
        elif step == "add_first":
            backlog.add_first(number, priority)
            model.insert(0, (priority, number))
        elif step == "drain":
            assert backlog.drain() == [task for _, task in model]
            model.clear()
        elif model:
            _, task = model[0] if step == "pop" else model[choice % len(model)]
            if step == "pop":
                assert backlog.priority == model[0][0]
                assert backlog.pop() == task
            else:
                backlog.remove(task)
            model = [each for each in model if each[1] != task]
            assert task not in backlog
        model.sort(key=lambda each: -each[0])  # stable
        assert list(backlog) == [task for _, task in model]
        assert (len(backlog), bool(backlog)) == (len(model), bool(model))
        assert all(task in backlog for _, task in model)


def test_what_is_not_there() -> None:
    backlog = Backlog()
    with pytest.raises(KeyError):
        backlog.remove(1)
    with pytest.raises(IndexError):
        backlog.pop()
