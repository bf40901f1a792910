"""parkcos/net/tasks/outcomes.py: how a task ended, there and back."""

from __future__ import annotations

import dataclasses
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import RemoteTaskError, ShippingError, TaskAbandoned, TaskTerminated
from parkcos.kernel.failures import text_of
from parkcos.kernel.outcome import Outcome
from parkcos.net.tasks import outcomes


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
    """Its arguments are not those that it is pickled with."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


class Slotted(Two):
    __slots__ = ("__private", "two")

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)
        self.two = self.__private = two


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    one: int
    two: int


class Closed(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise SystemExit(f"{name} is not to be set")


class NewTakesTwo(Exception):
    def __new__(cls, one: int, two: int) -> NewTakesTwo:
        return super().__new__(cls, one)

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"only {one}")


class ExitTwo(SystemExit):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one * 10 + two)


class Group(ExceptionGroup[Exception]):
    pass


@pytest.mark.parametrize(
    ("error", "text", "attributes"),
    [
        (Two(1, 2), "1 and 2", {"one": 1}),
        (Slotted(1, 2), "1 and 2", {"one": 1, "two": 2, "_Slotted__private": 2}),
        (Frozen(1, 2), "(1, 2)", {"one": 1, "two": 2}),
        (Closed("a text"), "a text", {}),
        (NewTakesTwo(1, 2), "only 1", {}),
        (ExitTwo(1, 2), "12", {"code": 12}),
        (Group("some", [Two(1, 2), KeyError("k")]), "some (2 sub-exceptions)", {"message": "some"}),
        (OSError(2, "No such file", "a.txt"), "[Errno 2] No such file: 'a.txt'", {"filename": "a.txt"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_is_made_again_without_its_init(
    error: BaseException, text: str, attributes: dict[str, Any]
) -> None:
    again = travelled(failure(error)).exception
    assert type(again) is type(error)
    assert str(again) == text
    assert {name: getattr(again, name) for name in attributes} == attributes
    assert "remote traceback, at 10.0.0.5:9707:" in "\n".join(again.__notes__)
    if isinstance(again, Group):
        assert [type(each) for each in again.exceptions] == [Two, KeyError]


class Holds(Exception):
    def __init__(self, thing: Any) -> None:
        super().__init__("it holds something")
        self.thing = thing


class Unsaid(Exception):
    def __str__(self) -> str:
        raise ValueError("it has no text")


class Raises:
    """raises: when it is pickled."""

    def __init__(self, raises: BaseException) -> None:
        self.raises = raises

    def __reduce__(self) -> Any:
        raise self.raises


def calls(fn: Any, *args: Any) -> Exception:
    """An exception that calls ``fn(*args)`` when it is made again, and says nothing then of what it was."""

    class Calls(Exception):
        def __reduce__(self) -> Any:
            return fn, args

    return Calls("a text")


def exits_unsaid(error: BaseException) -> None:
    raise error


class OfNonsense(Exception):
    def __reduce__(self) -> Any:
        return 17, "nonsense"


@pytest.mark.parametrize(
    ("error", "name", "words", "why"),
    [
        (Holds(threading.Lock()), "Holds", "it holds something", "Holds>.thing cannot be sent: lock object"),
        (
            Holds(Raises(SystemExit(3))),
            "Holds",
            "it holds something",
            "thing cannot be sent: Raises object: SystemExit: 3",
        ),
        (calls(sys.exit, 4), "Calls", "a text", "its own code raised SystemExit: 4"),
        (calls(exits_unsaid, KeyboardInterrupt()), "Calls", "a text", "its own code raised KeyboardInterrupt"),
        (
            calls(exits_unsaid, Unsaid()),
            "Calls",
            "a text",
            "Unsaid: <its text cannot be shown: ValueError>",
        ),
        (calls(dict), "Calls", "a text", ""),
        (OfNonsense("a text"), "OfNonsense", "a text", "PicklingError"),
    ],
)
def test_a_failure_that_cannot_travel(error: Exception, name: str, words: str, why: str) -> None:
    again = travelled(failure(error))
    assert isinstance(again.exception, RemoteTaskError)
    assert f"{name}: {words}" in str(again.exception)
    notes = "\n".join(again.exception.__notes__)
    assert "raise error" in notes
    assert why in notes


def test_how_an_exception_can_be_made_to_travel_is_said() -> None:
    class OfItsOwn(Two):
        def __reduce__(self) -> Any:
            return Two, self.args

    again = travelled(failure(OfItsOwn(1, 2)))
    assert isinstance(again.exception, RemoteTaskError)
    assert "Two.__init__() missing 1 required positional argument: 'two'" in again.exception.__notes__[0]
    assert "passes all its arguments to super().__init__()" in again.exception.__notes__[1]


@pytest.mark.parametrize("raised", [Unsaid(), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()])
@pytest.mark.parametrize("there", [False, True])
def test_whatever_is_raised_while_a_result_is_packed_or_opened(raised: BaseException, there: bool) -> None:
    """Else its server would be taken for busy, or its client's kernel would end."""

    class Odd:
        def __reduce__(self) -> Any:
            if there:
                return exits_unsaid, (raised,)
            raise raised

    again = travelled(Outcome("finished", [Odd()]))
    assert again.kind == "failed"
    assert isinstance(again.exception, RemoteTaskError if there else ShippingError)
    assert type(raised).__name__ in (again.traceback or "")


def test_what_an_exception_was_is_said_where_its_class_is_not() -> None:
    kind, form, buffers = outcomes.pack(failure(Two(1, 2)))
    payload = b"".join(buffers)
    assert payload.count(b"Two") > 1
    exception = outcomes.unpack(kind, form, payload.replace(b"\x03Two", b"\x03Owt"), "there").exception
    assert isinstance(exception, RemoteTaskError)
    assert "Two: 1 and 2" in str(exception)
    assert "AttributeError" in exception.__notes__[0]


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
