"""What a server must know before a call: the value of each global name that the call uses, as bytes."""

from __future__ import annotations

import msgspec

CODE, DATA, MISSING, SOURCE, SHARED = "code", "data", "missing", "source", "shared"


class Source(msgspec.Struct, array_like=True, frozen=True):
    """Lines of a file that code has come from, for tracebacks where there is no such file.  first: counted from 1."""

    file: str
    first: int
    text: str


class Definition(msgspec.Struct, array_like=True, frozen=True):
    """The value of one global name.

    blob: its pickle, or for MISSING the reason why there is none.  sources: of the functions in it.  For SOURCE, which
    is of functions without such a name, `module` and `name` are a file and a line.  For SHARED, which says that a
    shared object must be at the node, `name` is its digest in hexadecimal digits.
    """

    module: str
    name: str
    kind: str
    digest: bytes
    blob: bytes
    sources: tuple[Source, ...] = ()
    file: str = ""
    """The digest of the file at the node that holds the blob, if that is too large to travel to each server."""


encode_definitions = msgspec.msgpack.Encoder().encode
decode_definitions = msgspec.msgpack.Decoder(list[Definition]).decode
