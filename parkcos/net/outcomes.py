"""How a task ended, as bytes: for those who wait for it in another process."""

from __future__ import annotations

import linecache
import re
from typing import Any

from parkcos.errors import RemoteTaskError, ShippingError, TaskTerminated
from parkcos.kernel.outcome import Outcome
from parkcos.net.payload import Buffer, dumps, loads

FINISHED, FAILED, TERMINATED = "finished", "failed", "terminated"


def pack(outcome: Outcome) -> tuple[str, int, list[Buffer]]:
    """Returns: the kind, and the form and buffers of a payload that `unpack` opens.

    A result that cannot be pickled makes it a failure that says why.
    """
    try:
        return _packed(outcome)
    except (Exception, SystemExit) as error:  # of its own code, which was to say how it is pickled, or why not
        why = f"how the task ended cannot be sent: its own code raised {type(error).__name__} when it was pickled"
        return _packed(Outcome("failed", None, ShippingError(why), outcome.traceback or f"ShippingError: {why}"))


def _packed(outcome: Outcome) -> tuple[str, int, list[Buffer]]:
    if outcome.kind == FINISHED:
        try:
            return FINISHED, *dumps(outcome.value)
        except ShippingError as error:
            return _packed(Outcome("failed", None, error, f"ShippingError: the task's result: {error}"))
    exception = outcome.exception
    name = _type_name(exception)
    text = outcome.traceback
    try:
        form, buffers = dumps((exception, name, text))
        loads(form, b"".join(buffers))  # many exceptions pickle and cannot be unpickled
    except ShippingError as error:
        form, buffers = dumps((str(error).replace("<tuple>[0]", f"<{name}>", 1), name, text))
    except Exception as error:
        form, buffers = dumps((f"{type(error).__name__}: {error}", name, text))
    return outcome.kind, form, buffers


def unpack(kind: str, form: int, payload: Buffer, where: str) -> Outcome:
    """The outcome again.  where: what the notes of an exception say about its origin."""
    try:
        content = loads(form, payload)
    except Exception as error:
        text = f"the end of a task at {where} cannot be opened here: {type(error).__name__}: {error}"
        return Outcome("failed", None, RemoteTaskError(text), text)
    if kind == FINISHED:
        return Outcome("finished", content)
    exception, name, text = content  # instead of an exception: why it could not travel
    if kind == TERMINATED:
        return Outcome("terminated", None, TaskTerminated(f"the task at {where} was {text or 'terminated'}"), text)
    if not isinstance(exception, BaseException):
        why = exception
        exception = RemoteTaskError(f"{name}: {_last_line(text)}")
        if why:
            exception.add_note(f"it is no {name} here, for that cannot travel: {why}")
        if why and "__init__()" in why:
            exception.add_note(f"  write: {name}.__init__ so that it passes all its arguments to super().__init__()")
    if text:
        text = with_source(text)
        exception.add_note(f"remote traceback, at {where}:\n{text}")
    if isinstance(exception, ModuleNotFoundError) and exception.name:  # it was an import that has failed
        package = exception.name.partition(".")[0]
        exception.add_note(
            f"there is no module {exception.name} there: install it there, or list it in the client's components\n"
            f"  write: import {package}  and  Client([..., {package}])"
        )
    return Outcome("failed", None, exception, text)


def abandoned(error: BaseException) -> Outcome:
    """The outcome of a task that was lost."""
    return Outcome("failed", None, error, f"{type(error).__name__}: {error}")


_FRAME = re.compile(r'^(\s*)File "(.*)", line (\d+)')


def with_source(text: str) -> str:
    """A traceback's text with the source lines that were missing where it was made and are known here."""
    lines = text.splitlines()
    out: list[str] = []
    for i, line in enumerate(lines):
        out.append(line)
        match = _FRAME.match(line)
        if not match:
            continue
        indent = match[1] + "  "
        following = lines[i + 1] if i + 1 < len(lines) else ""
        if not following.startswith(indent) and (source := linecache.getline(match[2], int(match[3])).strip()):
            out.append(indent + source)
    return "\n".join(out)


def _type_name(exception: Any) -> str:
    kind = type(exception)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _last_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[-1].partition(": ")[2] or lines[-1] if lines else ""
