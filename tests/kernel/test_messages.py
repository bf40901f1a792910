"""parkcos/kernel/messages.py."""

from __future__ import annotations

import pytest

from parkcos.errors import UsageError
from parkcos.kernel import CategorizeMessages


def test_by_category(kernel):
    def even(message):
        return "even" if isinstance(message, int) and message % 2 == 0 else None

    def text(message):
        return "text" if isinstance(message, str) else None

    def main(task=None):
        categorize = CategorizeMessages(task)
        categorize.add(even)
        categorize.add(text)
        for message in (1, 2, "a", 3, 4, "b"):
            task.send(message)
        assert (yield categorize.receive("text")) == "a"
        assert (yield categorize.recv()) == 1
        assert (yield categorize.receive("even")) == 2
        assert (yield categorize.receive("text")) == "b"
        assert (yield categorize.receive("even", timeout=0)) == 4
        assert (yield categorize.receive()) == 3
        assert (yield categorize.receive("even", 2, "late")) == "late"
        kernel.call_later(1, task.send, "x")
        kernel.call_later(2, task.send, 8)
        start = kernel.now
        assert (yield categorize.receive("even", 3)) == 8
        assert kernel.now == start + 2
        categorize.remove(text)
        categorize.remove(text)
        task.send("y")
        assert (yield categorize.receive()) == "y"
        assert (yield categorize.receive("text")) == "x"

    kernel.main(main)


def test_the_newest_function_is_asked_first(kernel):
    def main(task=None):
        categorize = CategorizeMessages(task)
        categorize.add(lambda message: "old")
        categorize.add(lambda message: "new")
        task.send(1)
        assert (yield categorize.receive("new")) == 1
        with pytest.raises(UsageError):
            categorize.add(7)

    kernel.main(main)
