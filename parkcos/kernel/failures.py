"""Users' exceptions as text, with notes and tracebacks, whatever their own code does.

An exception may refuse attributes (a frozen dataclass), raise or exit in its ``__str__``, hide its traceback, or lie
about its class.  What a task ends with must not change by that, so nobody else in the kernel asks a user's exception
for anything: its class is ``type(exception)``, and the rest goes through these functions, which never raise.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

__all__ = ["add_note", "exit_call", "is_a", "line_of", "log_failure", "message_of", "set_trace", "text_of", "trace_of"]

_get_trace = BaseException.__dict__["__traceback__"].__get__
_get_code = SystemExit.__dict__["code"].__get__

E = TypeVar("E", bound=BaseException)


def is_a(exception: BaseException, kind: type[E] | tuple[type[E], ...]) -> TypeGuard[E]:
    """``isinstance`` that does not ask the exception itself."""
    return issubclass(type(exception), kind)


def trace_of(exception: BaseException) -> TracebackType | None:
    """Its traceback."""
    trace: TracebackType | None = _get_trace(exception)
    return trace


def set_trace(exception: BaseException, trace: TracebackType | None) -> None:
    """Give it another traceback."""
    BaseException.with_traceback(exception, trace)


def exit_call(exception: SystemExit) -> str:
    """The call by which it was raised: ``sys.exit(3)``."""
    return f"sys.exit({_shown(repr, _get_code(exception))})"


def message_of(exception: BaseException) -> str:
    """``str(exception)``, or why there is none."""
    return _shown(str, exception)


def _shown(show: Callable[[Any], str], thing: Any) -> str:
    try:
        return show(thing)
    except BaseException as error:
        return f"<its text cannot be shown: {type(error).__name__}>"


def line_of(exception: BaseException) -> str:
    """The line ``class: message``."""
    message = message_of(exception)
    name = type(exception).__name__
    return f"{name}: {message}" if message else name


def text_of(exception: BaseException) -> str:
    """The text of a failure: the traceback, or one line for the exceptions that are meant as an order to end."""
    if is_a(exception, SystemExit):
        return f"SystemExit: {_shown(str, _get_code(exception))}"
    if is_a(exception, KeyboardInterrupt):
        return "KeyboardInterrupt"
    try:
        return "".join(traceback.format_exception(type(exception), exception, trace_of(exception)))
    except BaseException as error:
        frames = "".join(traceback.format_tb(trace_of(exception)))
        return (
            f"Traceback (most recent call last):\n{frames}{line_of(exception)}\n"
            f"(its causes and notes cannot be shown: its own code raised {type(error).__name__})\n"
        )


def add_note(exception: BaseException, note: str) -> None:
    """``exception.add_note(note)``, also if it takes no attributes; not twice."""
    with contextlib.suppress(BaseException):
        try:
            notes = list(object.__getattribute__(exception, "__notes__"))
        except AttributeError:
            notes = []
        if note not in notes:
            object.__setattr__(exception, "__notes__", [*notes, note])


def log_failure(logger: logging.Logger, message: str, *args: object) -> None:
    """In an ``except`` clause: ``logger.exception`` for exceptions that users' code has raised.

    Args: as of ``logger.exception``, of this package's own objects.
    """
    try:
        logger.exception(message, *args)
    except BaseException as error:  # the exception's own code raised, where the log formats it
        logger.error(f"{message}, and its traceback cannot be shown: %s", *args, type(error).__name__)
