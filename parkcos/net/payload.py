"""Users' objects as bytes: what `send` puts on the wire and what the receiving task finds in its queue.

Only the two ends open a payload, and only what came through an authenticated session is opened.  Large buffers
(numpy arrays) travel beside the pickle; `bytes` travel as they are.  A message is what the object was when it was
sent: a buffer that the program may write to is copied once, for it leaves later, and perhaps again after a redial.

To pack or open an object runs its own code, which may raise anything: a `__reduce__` that calls `sys.exit`, a module
that does when it is imported.  Whatever is no Exception is made one here, so that it ends what is being sent and
not who sends it.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Sequence
from functools import partial
from types import CoroutineType, GeneratorType
from typing import Any

from parkcos.errors import ParkcosError, ShippingError
from parkcos.kernel import failures, spaces
from parkcos.net.in_space import unpickled
from parkcos.net.pickling import ByName, ByValue, dumps_by

Buffer = bytes | bytearray | memoryview

PICKLE, RAW, BUFFERS = 0, 1, 2
_OUT_OF_BAND_BYTES = 16 * 1024
_COUNT = struct.Struct("<I")


def dumps(obj: Any) -> tuple[int, list[Buffer]]:
    """Serialise `obj`.

    Returns: its form and a list of buffers whose concatenation is the payload.
    Raises: ShippingError naming the attribute that cannot be pickled.
    """
    if type(obj) is bytes:
        return RAW, [obj]
    buffers: list[memoryview] = []
    try:
        data = pickle.dumps(obj, 5, buffer_callback=keep_large(buffers))
    except Exception:
        buffers.clear()
        try:
            data = dumps_by(ByValue, obj)
        except BaseException as error:
            raise ShippingError(explain(obj, error)) from error
    except BaseException as error:
        raise ShippingError(explain(obj, error)) from error
    return assemble(data, buffers)


def dumps_exception(error: BaseException) -> tuple[int, list[Buffer]]:
    """As `dumps`, of an exception that is made again without its `__init__` being called.

    Raises: ShippingError; what it raises when it is opened again, as many do.
    """
    space = None
    try:
        data = dumps_by(ByName, error)
    except BaseException:
        file = io.BytesIO()
        pickler = ByValue(file)
        try:
            pickler.dump(error)
        except BaseException as why:
            raise ShippingError(explain(error, why)) from why
        data, space = file.getvalue(), pickler.space
    with spaces.within(space):
        loads(PICKLE, data)
    return PICKLE, [data]


def keep_large(buffers: list[memoryview], *, snapshot: bool = True) -> Callable[[pickle.PickleBuffer], bool]:
    """A pickler's buffer_callback: large buffers are appended to `buffers`, not copied if nobody can write to them.

    snapshot: those that somebody can write to are copied, since they leave later.
    """

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < _OUT_OF_BAND_BYTES:
            return True
        buffers.append(raw if raw.readonly or not snapshot else memoryview(bytes(raw)))
        return False

    return keep


def assemble(data: bytes, buffers: list[memoryview]) -> tuple[int, list[Buffer]]:
    """Form and buffers of a payload from a pickle and the buffers that were kept out of it."""
    if not buffers:
        return PICKLE, [data]
    sizes = [len(data), *(b.nbytes for b in buffers)]
    table = _COUNT.pack(len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)
    return BUFFERS, [table, data, *buffers]


def loads(form: int, payload: Buffer) -> Any:
    """The object again.

    Raises: whatever Exception the object's own code raises while it is rebuilt; ShippingError if that is something
    else, as SystemExit.
    """
    try:
        return pickle.loads(payload) if form == PICKLE and not spaces.used else _loads(form, payload)
    except Exception:
        raise
    except BaseException as error:
        raise ShippingError(f"its own code raised {failures.line_of(error)}") from error


def _loads(form: int, payload: Buffer) -> Any:
    if form == RAW:
        return bytes(payload)
    if form == PICKLE:
        return unpickled(payload)
    view = memoryview(payload)
    (count,) = _COUNT.unpack_from(view)
    sizes = struct.unpack_from(f"<{count}Q", view, _COUNT.size)
    at = _COUNT.size + 8 * count
    parts: list[memoryview] = []
    for size in sizes:
        parts.append(view[at : at + size])
        at += size
    return unpickled(parts[0], parts[1:])


def join(buffers: Sequence[Buffer]) -> Buffer:
    """The concatenation of `buffers`, without a copy where there is only one."""
    return buffers[0] if len(buffers) == 1 else b"".join(buffers)


def explain(obj: Any, error: BaseException, dump: Callable[[Any], object] | None = None) -> str:
    """Which part of `obj` cannot be pickled, as a path of attributes and keys, why, and what to do instead.

    dump: tries the parts, if others than `dumps_by` are to.
    """
    dump = dump or partial(dumps_by, ByValue)
    whole = f"<{type(obj).__name__}>"
    try:
        path, culprit, reason = _culprit(obj, whole, error, dump, 0, set())
    except BaseException:  # of code of its own that runs when its parts are looked at
        path, culprit, reason = whole, obj, failures.line_of(error)
    advice = ""
    if isinstance(culprit, GeneratorType | CoroutineType):
        advice = "; send a list of what it gives, or the function that makes it"
    elif reason.lower().startswith(("typeerror: cannot pickle", "picklingerror: cannot pickle")):
        advice = "; make it in the task that uses it"
    return f"{path} cannot be sent: {type(culprit).__name__} object: {reason}{advice}"


def _culprit(
    obj: Any, path: str, error: BaseException, dump: Callable[[Any], object], depth: int, seen: set[int]
) -> tuple[str, Any, str]:
    seen.add(id(obj))
    explains_itself = isinstance(error, ParkcosError) and not isinstance(obj, dict | list | tuple | set | frozenset)
    if depth < 8 and not explains_itself:
        for name, part in _parts(obj):
            if id(part) in seen:
                continue
            try:
                dump(part)
            except BaseException as inner:
                return _culprit(part, path + name, inner, dump, depth + 1, seen)
    return path, obj, failures.line_of(error)


def _parts(obj: Any) -> list[tuple[str, Any]]:
    if isinstance(obj, dict):
        return [(f"[{key!r}]", value) for key, value in obj.items()]
    if isinstance(obj, list | tuple | set | frozenset):
        return [(f"[{i}]", value) for i, value in enumerate(obj)]
    closure = getattr(obj, "__closure__", None)
    parts: list[tuple[str, Any]] = []
    if closure:
        for name, cell in zip(obj.__code__.co_freevars, closure, strict=True):
            try:
                parts.append((f".<variable {name} of the enclosing function>", cell.cell_contents))
            except ValueError:  # an empty cell
                continue
    if hasattr(obj, "__self__") and hasattr(obj, "__func__"):
        parts.append((".__self__", obj.__self__))
    if isinstance(getattr(obj, "__dict__", None), dict) and not isinstance(obj, type):
        parts += [(f".{name}", value) for name, value in vars(obj).items()]
    for slot in getattr(type(obj), "__slots__", ()):
        if isinstance(slot, str) and hasattr(obj, slot):
            parts.append((f".{slot}", getattr(obj, slot)))
    return parts
