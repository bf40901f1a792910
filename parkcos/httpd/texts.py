"""Users' objects as short texts, whatever they do when they are asked for one.

A number or a short string is told at once.  Anything else may run the user's code, and does so in a thread of its own:
what is slow there keeps nobody waiting, and what never ends only leaves the dashboard without further texts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

ARGS_SHORT = 200
ARGS_LONG = 10_000
RESULT_LONG = 1_000
"""Characters."""
ITEMS_MAX = 100
"""So many items of a container are shown."""
DEPTH_MAX = 6
INT_BITS_MAX = 2_000
"""A longer number takes long to write in decimal digits."""
WAITING_MAX = 1_000
"""So many texts may wait to be made; older ones are given up."""

_NUMBERS = (int, float, complex, bool, type(None))
_BRACKETS: dict[type, tuple[str, str]] = {list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("{", "}")}


def clean(text: str, limit: int) -> str:
    """At most `limit` characters, which can all be written in UTF-8; a plain str, whatever its class was."""
    text = str.__str__(text)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def plain_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """The arguments as text, if that takes no time and runs none of the user's code; else None."""
    parts = []
    for value in args:
        if (text := plain(value)) is None:
            return None
        parts.append(text)
    for name, value in kwargs.items():
        if (text := plain(value)) is None:
            return None
        parts.append(f"{name}={text}")
    return clean(", ".join(parts), ARGS_LONG)


def plain(value: Any) -> str | None:
    """As `plain_call`, for one value."""
    kind = type(value)
    if (kind is int and value.bit_length() < INT_BITS_MAX) or (kind is not int and kind in _NUMBERS):
        return repr(value)
    if kind is str and len(value) <= ARGS_SHORT:
        return clean(repr(value), ARGS_LONG)
    return None


def call_text(args: tuple[Any, ...], kwargs: dict[str, Any], limit: int = ARGS_LONG) -> str:
    """`1, [2, 3], name='x'`.  May run the user's code, for as long as that likes; raises nothing."""
    writer = _Writer(limit)
    first = True
    for name, value in [*((None, value) for value in args), *kwargs.items()]:
        writer.add(("" if first else ", ") + (f"{name}=" if name else ""))
        first = False
        writer.write(value, DEPTH_MAX)
        if writer.left <= 0:
            break
    return writer.text()


def value_text(value: Any, limit: int = RESULT_LONG) -> str:
    """As `call_text`, for one value."""
    writer = _Writer(limit)
    writer.write(value, DEPTH_MAX)
    return writer.text()


class _Writer:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self.left = limit

    def text(self) -> str:
        return clean("".join(self._parts), self._limit)

    def add(self, text: str) -> None:
        # One more than there is room for: `clean` sees that something was left out.
        self._parts.append(text[: max(0, self.left) + 1])
        self.left -= len(text)

    def write(self, value: Any, depth: int) -> None:
        kind = type(value)
        if self.left <= 0:
            return
        if kind is int and value.bit_length() >= INT_BITS_MAX:
            self.add(f"<int of {value.bit_length()} bits>")
        elif kind in _NUMBERS:
            self.add(repr(value))
        elif kind is str or kind is bytes or kind is bytearray:
            self.add(repr(value[: self.left + 1]))
        elif kind in _BRACKETS or kind is dict:
            self._container(kind, value, depth)
        else:
            self.add(_of_object(value, self.left))

    def _container(self, kind: type, value: Any, depth: int) -> None:
        opening, closing = _BRACKETS.get(kind, ("{", "}"))
        if not value and kind in (set, frozenset):
            self.add(f"{kind.__name__}()")
            return
        self.add(opening)
        if depth <= 0:
            self.add("...")
        else:
            try:
                self._items(kind, value, depth)
            except RuntimeError:  # it is changed meanwhile
                self.add("...")
        self.add(",)" if kind is tuple and len(value) == 1 else closing)

    def _items(self, kind: type, value: Any, depth: int) -> None:
        for number, item in enumerate(value):
            if self.left <= 0:
                return
            if number:
                self.add(", ")
            if number == ITEMS_MAX:
                self.add("...")
                return
            if kind is dict:
                content = value[item] if type(item) in (str, int) else dict.get(value, item)
                self.write(item, depth - 1)
                self.add(": ")
                self.write(content, depth - 1)
            else:
                self.write(item, depth - 1)


def _of_object(value: Any, limit: int) -> str:
    """Its __str__ if it has one of its own, else its __repr__."""
    name = "an object"
    try:
        name = str.__str__(type.__dict__["__name__"].__get__(type(value)))
        kind: Any = type(value)
        own = kind.__str__ is not object.__str__ and not issubclass(kind, BaseException)
        text = str(value) if own else repr(value)
        return str.__getitem__(text, slice(0, limit + 1))
    except BaseException as error:  # whatever it raises, SystemExit too, is its own affair
        return f"<{name}, which cannot be shown: {type.__dict__['__name__'].__get__(type(error))}>"


class Describer:
    """Makes texts in a thread of its own.

    Args:
        tell: called there with what was given to `describe` as `key`, and the text.
    """

    def __init__(self, tell: Callable[[Any, str], object]) -> None:
        self._tell = tell
        self._jobs: deque[tuple[Any, Callable[[], str]]] = deque(maxlen=WAITING_MAX)
        self._wake = threading.Semaphore(0)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="parkcos-httpd-texts", daemon=True)
        self._thread.start()

    def describe(self, key: Any, make: Callable[[], str]) -> None:
        """Make this text soon.  Any thread."""
        self._jobs.append((key, make))
        self._wake.release()

    def stop(self) -> None:
        """Make no more texts; the thread ends with the one that it is making."""
        self._stopped = True
        self._jobs.clear()
        self._wake.release()

    def _run(self) -> None:
        while self._wake.acquire() and not self._stopped:
            try:
                key, make = self._jobs.popleft()
            except IndexError:  # given up
                continue
            try:
                text = make()
            except BaseException as error:  # of the user's code, as that of a key's hash
                text = f"<cannot be shown: {type.__dict__['__name__'].__get__(type(error))}>"
            self._tell(key, text)
            del key, make  # nothing of the user's is kept until the next one comes
