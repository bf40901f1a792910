"""An object as one file: its pickle, and beside it the large buffers of its arrays.

    pickle | buffer | buffer | ... | their places (msgpack) | how long that is (8 bytes) | MAGIC

Who opens the file maps it: an array's elements are the pages of the file, which all processes of a machine share, and
nobody can write to them.  What lies in the pickle is made again in each process.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Sequence
from typing import IO, Any

import msgspec

from parkcos.errors import ShippingError
from parkcos.net.in_space import unpickled
from parkcos.net.payload import Buffer

MAGIC = b"parkcos1"
ALIGNED_BYTES = 64
"""Where a buffer begins: at a multiple of what a processor reads at a time."""
_END = struct.Struct("<Q8s")
_DIGEST_BYTES = 20


class Places(msgspec.Struct, array_like=True, frozen=True):
    """pickle_bytes: its length; buffers: where each begins, and its length."""

    pickle_bytes: int
    buffers: list[tuple[int, int]]


_decode = msgspec.msgpack.Decoder(Places).decode


class Blob:
    """An object on its way into a file."""

    def __init__(self, pickled: Buffer, buffers: Sequence[memoryview]) -> None:
        self._pickled = pickled
        self._buffers = buffers
        self._places: list[tuple[int, int]] = []
        at = len(pickled)
        for buffer in buffers:
            at += -at % ALIGNED_BYTES
            self._places.append((at, buffer.nbytes))
            at += buffer.nbytes
        table = msgspec.msgpack.encode(Places(len(pickled), self._places))
        self._end = table + _END.pack(len(table), MAGIC)
        self.size = at + len(self._end)
        """Of the file, in bytes."""

    def write(self, file: IO[bytes]) -> str:
        """Fill an empty file.  Returns: the digest of what is there now, in hexadecimal digits.  Raises: OSError."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        at = 0

        def put(data: Buffer) -> None:
            nonlocal at
            digest.update(data)
            file.write(data)
            at += len(data)

        put(self._pickled)
        for (start, _), buffer in zip(self._places, self._buffers, strict=True):
            put(bytes(start - at))
            put(buffer)
        put(self._end)
        file.flush()
        return digest.hexdigest()


def read(descriptor: int) -> tuple[Any, int]:
    """The object in a file, and how many bytes its pickle has.

    The file stays mapped as long as a part of the object needs it, whatever becomes of its name.

    Raises: ShippingError if the file is not what `Blob.write` has written; OSError; whatever the object's own code
    raises.
    """
    pickled, *buffers = parts(descriptor)
    return unpickled(pickled, buffers), pickled.nbytes


def parts(descriptor: int) -> list[memoryview]:
    """The pickle in a file, and its buffers.  Raises: ShippingError, OSError."""
    try:
        view = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        length, magic = _END.unpack(view[-_END.size :])
        if magic != MAGIC:
            raise ValueError("it has another end")
        table = _decode(view[-_END.size - length : -_END.size])
        return [view[start : start + size] for start, size in [(0, table.pickle_bytes), *table.buffers]]
    except (ValueError, struct.error) as error:
        raise ShippingError(f"the file holds no shared object: {error}") from None
