"""What sender and receiver of a file say to each other: a closed schema, in the service "files".

The sender of a file numbers its transfers; every message carries the number.  A chunk's bytes travel in the payload.

    sender                                  receiver
      | Offer ------------------------------->|  may it be written? is there one like it, or a part of it?
      |<------------- AskDigest(length) ------|  (of the whole file, or of the part that is there)
      | Digest ------------------------------>|  both hash at the same time
      |<---- Have | Failed | Accept(offset) --|
      | Chunk, Chunk, ... ------------------->|
      |<------------- Written(offset) --------|  what is on its disk; the sender runs ahead by a window
      | End(digest) ------------------------->|  flushed, compared, renamed
      |<---------------------- Done | Failed -|

    Cancel ends it from the sender's side at any time.  Delete is answered by Done or Failed.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from parkcos.net.files.rules import TEXT_MAX

SERVICE = "files"
CHUNK_BYTES_MAX = 512 * 1024
WINDOW_BYTES_MAX = 4 * 1024 * 1024
"""What has been sent of a file and is not yet on the receiver's disk.  This bounds the memory at both ends, and how
long a message waits behind chunks: 3 ms at 10 Gbit/s."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""SHA-256: of the strong ones the fastest where the processor knows it, and fast enough where not."""


class FileMessage(msgspec.Struct, array_like=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages about files.  transfer: the sender's number."""

    transfer: Count


class Offer(FileMessage, tag=1):
    """A file of `size` bytes, last changed at `mtime_ns`, for `folder` (relative, "" for dest_path itself)."""

    folder: Text
    name: Text
    size: Count
    mtime_ns: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
    overwrite: bool


class Digest(FileMessage, tag=2):
    """The digest of the file's first `length` bytes."""

    length: Count
    digest: Hash


class Chunk(FileMessage, tag=3):
    """Bytes of the file, in the payload, from `offset` on."""

    offset: Count


class End(FileMessage, tag=4):
    """All has been sent; this is the digest of the whole."""

    digest: Hash


class Cancel(FileMessage, tag=5):
    """The sender gives up.  keep: what is there of the file may serve again."""

    reason: Text
    keep: bool


class Delete(FileMessage, tag=6):
    """Remove a regular file."""

    folder: Text
    name: Text


class AskDigest(FileMessage, tag=7):
    """What is the digest of the first `length` bytes?"""

    length: Count


class Accept(FileMessage, tag=8):
    """Send it from `offset` on."""

    offset: Count


class Have(FileMessage, tag=9):
    """The very same file is there."""


class Written(FileMessage, tag=10):
    """All up to `offset` is on the disk."""

    offset: Count


class Done(FileMessage, tag=11):
    """It is there under its name, or deleted."""


class Failed(FileMessage, tag=12):
    """The receiver gives up, or never took it."""

    reason: Text


ToReceiver = Offer | Digest | Chunk | End | Cancel | Delete
ToSender = AskDigest | Accept | Have | Written | Done | Failed

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ToReceiver | ToSender).decode


def clipped(reason: str) -> str:
    """A reason as it may travel."""
    return reason.encode("utf-8", "replace").decode()[: TEXT_MAX - 1]
