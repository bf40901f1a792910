"""Calls that were packed elsewhere, and outcomes that are opened elsewhere.

A program in the middle, as a service of jobs, takes calls from its users and has them run: it opens neither these nor
what comes of them, so nothing that users' code has made is ever unpickled in it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from parkcos.client.submission import kind_of, name_of
from parkcos.cluster.definitions import Definition, decode_definitions, encode_definitions
from parkcos.cluster.shipping import Shipper
from parkcos.errors import UsageError
from parkcos.kernel import Outcome
from parkcos.kernel.target import is_task
from parkcos.net.payload import join
from parkcos.net.tasks import outcomes

T = TypeVar("T")

_CALL, _OUTCOME = b"parkcos call 1\n", b"parkcos outcome 1\n"
"""What such bytes begin with, and the version of what follows."""


@dataclass(frozen=True, slots=True)
class PackedCall:
    """A call as bytes, with the definitions that it needs.  Made by :func:`pack_call`.

    Attributes:
        name: of the function.
        python: the version that has packed it, which the servers must have.
    """

    name: str
    python: str
    kind: str
    plain: bool
    form: int
    payload: bytes
    definitions: bytes

    def to_bytes(self) -> bytes:
        """For a file, a database or another program: :meth:`from_bytes` gives it back."""
        return _CALL + msgspec.msgpack.encode(self)

    @staticmethod
    def from_bytes(data: bytes) -> PackedCall:
        """Nothing is unpickled.  Raises: UsageError if that is no packed call."""
        call = _decoded(data, _CALL, PackedCall, "packed call")
        try:
            call.opened_definitions()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"these bytes are no packed call: {error}") from None
        return call

    def opened_definitions(self) -> list[Definition]:
        """What a server must know before the call; the values in them are still bytes."""
        return decode_definitions(self.definitions)


@dataclass(frozen=True, slots=True)
class RawOutcome:
    """What has come of a call, as bytes.

    Attributes:
        kind: finished, failed or terminated, as ``Outcome.kind``.
        where: the server at which it ran.
    """

    kind: str
    form: int
    payload: bytes
    where: str = ""

    def to_bytes(self) -> bytes:
        """For a file, a database or another program: :meth:`from_bytes` gives it back."""
        return _OUTCOME + msgspec.msgpack.encode(self)

    @staticmethod
    def from_bytes(data: bytes) -> RawOutcome:
        """Nothing is unpickled.  Raises: UsageError if that is no outcome."""
        return _decoded(data, _OUTCOME, RawOutcome, "outcome")

    def open(self) -> Outcome:
        """The outcome itself, in the program whose call it was: this unpickles what its code has made."""
        return outcomes.unpack(self.kind, self.form, self.payload, self.where)

    def value(self) -> Any:
        """What the call returned.  Raises: what it raised."""
        outcome = self.open()
        if outcome.kind == "finished":
            return outcome.value
        raise outcome.to_raise()


def _decoded(data: bytes, prefix: bytes, kind: type[T], what: str) -> T:
    if not data.startswith(prefix):
        raise UsageError(f"these bytes are no {what} of this version of parkcos")
    try:
        return msgspec.msgpack.decode(memoryview(data)[len(prefix) :], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"these bytes are no {what}: {error}") from None


def python_here() -> str:
    """The version of Python by which code is compatible, as "3.11"."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def pack_call(fn: Any, /, *args: Any, **kwargs: Any) -> PackedCall:
    """Make a call into bytes, for ``client.submit`` of another program.  Any thread; do not yield it.

    Args:
        fn: as of :meth:`Client.submit`.  Modules of the program's own must be found at the servers, as components of
            the client that runs the call.

    Raises: ShippingError if it cannot travel; UsageError.
    """
    if not callable(fn):
        raise UsageError(f"pack_call() wants a function, not {fn!r}\n  write: pack_call(function, argument)")
    form, buffers, definitions = Shipper().pack_call(fn, args, kwargs)
    return PackedCall(
        name_of(fn),
        python_here(),
        kind_of(fn),
        not is_task({}, fn),
        form,
        bytes(join(buffers)),
        encode_definitions(definitions),
    )
