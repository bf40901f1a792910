"""parkcos/net/outcomes.py: how a task ended, there and back."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import RemoteTaskError, ShippingError, TaskAbandoned, TaskTerminated
from parkcos.kernel.failures import text_of
from parkcos.kernel.outcome import Outcome
from parkcos.net import outcomes


def travelled(outcome: Outcome) -> Outcome:
    kind, form, buffers = outcomes.pack(outcome)
    return outcomes.unpack(kind, form, b"".join(buffers), "10.0.0.5:9707")


def failure(error: BaseException) -> Outcome:
    try:
        raise error
    except BaseException as caught:
        return Outcome("failed", None, caught, text_of(caught))


@pytest.mark.parametrize("value", [None, 0, "text", b"raw", {"a": [1, 2]}, bytearray(100_000)])
def test_a_result(value: Any) -> None:
    again = travelled(Outcome("finished", value))
    assert (again.kind, again.value, again.exception) == ("finished", value, None)


def test_a_result_that_cannot_be_pickled() -> None:
    again = travelled(Outcome("finished", {"lock": threading.Lock()}))
    assert again.kind == "failed"
    assert isinstance(again.exception, ShippingError)
    assert "the task's result: <dict>['lock'] cannot be sent" in (again.traceback or "")


def test_a_failure_keeps_type_arguments_traceback_and_place() -> None:
    again = travelled(failure(LookupError("no", 5)))
    assert again.kind == "failed"
    assert type(again.exception) is LookupError
    assert again.exception.args == ("no", 5)
    (note,) = again.exception.__notes__
    assert note.startswith("remote traceback, at 10.0.0.5:9707:\n")
    assert "raise error" in note
    assert "LookupError: ('no', 5)" in (again.traceback or "")
    assert "10.0.0.5:9707" in "".join(traceback.format_exception(again.exception))


def test_notes_and_causes_of_the_original_are_seen() -> None:
    error = ValueError("outer")
    error.add_note("sample 17")
    error.__cause__ = KeyError("inner")
    again = travelled(failure(error))
    assert "sample 17" in (again.traceback or "")
    assert "KeyError: 'inner'" in (again.traceback or "")
    assert "sample 17" in "\n".join(again.exception.__notes__)  # type: ignore[union-attr]


class Two(Exception):
    """Pickles, and cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Holds(Exception):
    def __init__(self, thing: Any) -> None:
        super().__init__("it holds something")
        self.thing = thing


@pytest.mark.parametrize(
    ("error", "words", "why"),
    [
        (Two(1, 2), "Two: 1 and 2", "Two.__init__() missing 1 required positional argument: 'two'"),
        (Holds(threading.Lock()), "Holds: it holds something", "Holds>.thing cannot be sent: lock object"),
    ],
)
def test_a_failure_that_cannot_travel(error: Exception, words: str, why: str) -> None:
    again = travelled(failure(error))
    assert isinstance(again.exception, RemoteTaskError)
    assert words in str(again.exception)
    notes = "\n".join(again.exception.__notes__)
    assert "raise error" in notes
    assert why in notes
    assert ("passes all its arguments to super().__init__()" in notes) == isinstance(error, Two)


class Unsaid(Exception):
    def __str__(self) -> str:
        raise ValueError("it has no text")


class Raises:
    """raises: when it is pickled."""

    def __init__(self, raises: BaseException) -> None:
        self.raises = raises

    def __reduce__(self) -> Any:
        raise self.raises


def rebuilt() -> Any:
    raise Unsaid


class RaisesThere(Exception):
    def __reduce__(self) -> Any:
        return rebuilt, ()


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("finished", Raises(Unsaid())),
        Outcome("finished", [Raises(SystemExit(3))]),
        failure(RaisesThere("text")),
    ],
)
def test_whatever_a_task_ends_with_its_end_is_told(outcome: Outcome) -> None:
    """Else its server would be taken for busy, and its client would wait for ever."""
    again = travelled(outcome)
    assert again.kind == "failed"
    assert isinstance(again.exception, ShippingError)
    assert "its own code raised" in str(again.exception)


def test_a_module_that_is_missing_there_is_named() -> None:
    for error, named in (
        (ModuleNotFoundError("No module named 'frob'", name="frob"), True),
        (ModuleNotFoundError("this needs frob 2"), False),
    ):
        exception = travelled(failure(error)).exception
        assert isinstance(exception, ModuleNotFoundError)
        assert ("there is no module frob there: install it" in "\n".join(exception.__notes__)) == named
        assert "no module None" not in "\n".join(exception.__notes__)


def test_an_exit_and_an_interrupt() -> None:
    again = travelled(failure(SystemExit(3)))
    assert isinstance(again.exception, SystemExit)
    assert again.exception.code == 3
    assert isinstance(travelled(failure(KeyboardInterrupt())).exception, KeyboardInterrupt)


def test_terminated() -> None:
    again = travelled(Outcome("terminated", None, TaskTerminated("t/1 was terminated")))
    assert again.kind == "terminated"
    assert isinstance(again.exception, TaskTerminated)
    assert "10.0.0.5:9707" in str(again.exception)


def test_what_cannot_be_opened_here_is_a_failure_in_words() -> None:
    kind, form, _ = outcomes.pack(Outcome("finished", 1))
    again = outcomes.unpack(kind, form, b"\x80\x05cnowhere\nNothing\n.", "10.0.0.5:9707")
    assert again.kind == "failed"
    assert isinstance(again.exception, RemoteTaskError)
    for words in ("10.0.0.5:9707", "cannot be opened here", "nowhere"):
        assert words in str(again.exception)


def test_abandoned() -> None:
    again = outcomes.abandoned(TaskAbandoned("t/1 is lost"))
    assert again.kind == "failed"
    assert again.traceback == "TaskAbandoned: t/1 is lost"


def test_source_lines_that_are_known_only_here() -> None:
    here = __file__
    lines = Path(here).read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "a line to be found" in text)
    text = f'Traceback (most recent call last):\n  File "{here}", line {line}, in f\nValueError: x'
    assert "a line to be found" in outcomes.with_source(text).splitlines()[2]
    already = f'Traceback:\n  File "{here}", line {line}, in f\n    kept()\nValueError: x'
    assert outcomes.with_source(already) == already
    unknown = 'Traceback:\n  File "/nowhere/x.py", line 7, in f\nValueError: x'
    assert outcomes.with_source(unknown) == unknown
