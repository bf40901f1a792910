"""What of a global may change without the global being replaced, and whether it has.

A list, a dict or an object is compared by the digest of its pickle, if that is not too large; what a class or a
function holds by identity, and the containers among that by digest, too.  What cannot change is compared with nothing.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import hashlib
import logging
import pathlib
import re
import types
import uuid
from collections.abc import Callable
from typing import Any

from parkcos.cluster.shared import Shared

COMPARED_BYTES_MAX = 64 * 1024
"""The size of a pickle up to which a global is compared at each call: to make that takes no longer than the call."""

Pickled = Callable[[Any], bytes]

_FIXED = frozenset(
    [
        *(int, float, complex, bool, str, bytes, range, type(None), type(...), type(NotImplemented)),
        *(types.ModuleType, types.BuiltinFunctionType, types.CodeType, types.MappingProxyType, re.Pattern),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PosixPath, pathlib.WindowsPath),
        *(pathlib.PurePosixPath, pathlib.PureWindowsPath, logging.Logger, logging.RootLogger, Shared),
    ]
)
"""Types whose instances do not change, or travel by their names."""

_CONTAINERS = (dict, list, set, bytearray, collections.deque)


class Watch:
    """Remembers what a global holds.

    Args:
        value: of the global.
        size: of its pickle, in bytes.
        pickled: gives the pickle of something.
    """

    __slots__ = ("_held", "_loose", "_pickled", "_stamp", "_value")

    def __init__(self, value: Any, size: int, pickled: Pickled) -> None:
        self._value = value
        self._pickled = pickled
        self._held = _held(value)
        self._loose: list[Any] = []
        if size <= COMPARED_BYTES_MAX:
            kinds = _CONTAINERS if isinstance(value, type | types.FunctionType) else (object,)
            self._loose = [each for each in self._held if isinstance(each, kinds) and not is_fixed(each)]
        self._stamp = digest(pickled(self._loose)) if self._loose else b""

    @property
    def needed(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self._loose) or (isinstance(self._value, type | types.FunctionType) and bool(self._held))

    def changed(self) -> bool:
        """Whether anything is different now."""
        held = _held(self._value)
        if len(held) != len(self._held) or any(a is not b for a, b in zip(held, self._held, strict=True)):
            return True
        return bool(self._loose) and digest(self._pickled(self._loose)) != self._stamp


def is_fixed(value: Any) -> bool:
    """Whether it cannot change in place."""
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return all(map(is_fixed, value))
    return kind in _FIXED or isinstance(value, enum.Enum | type | types.FunctionType)


def digest(blob: bytes) -> bytes:
    """Of a pickle."""
    return hashlib.blake2b(blob, digest_size=16).digest()


def _held(value: Any) -> list[Any]:
    if isinstance(value, type):
        return [] if issubclass(value, enum.Enum) else [v for k, v in vars(value).items() if not _is_pythons(k, v)]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_full(cell)]
        return [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *cells, *vars(value).values()]
    return [value]


def _is_pythons(name: str, value: Any) -> bool:
    """Whether Python, or what makes classes, has put it there: `__dataclass_fields__`, say."""
    return name.startswith("__") and name.endswith("__") and not isinstance(value, types.FunctionType)


def _is_full(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not _is_full
    except ValueError:
        return False
