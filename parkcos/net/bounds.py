"""What the fields of messages may hold at most: a message that says more is refused where it is decoded.

What one process sends is what another one counts with, waits for and keeps: so every field has its bounds in the
schema, and nobody behind the decoder needs to look again.  Who makes a message from what a user gave cuts it
(`clipped`) or refuses it first.  What must not live here: messages.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from parkcos.errors import ShippingError
from parkcos.net.location import PORT_MAX, numeric_address

NAME_CHARS_MAX = 1000
TEXT_CHARS_MAX = 16 * 1024
COUNT_MAX = 1_000_000
FRAME_BYTES_MAX = 512 * 1024
"""Of a frame's body.  Batches are cut at a quarter of it, large payloads in parts."""
BODY_BYTES_MAX = FRAME_BYTES_MAX // 2
"""Of a service's message: it travels in one frame, with the payload if that is small."""
PAYLOAD_BYTES_MAX = 2 * 1024**3
"""Of a user's object as bytes, for a process that was not told another bound (`max_payload`)."""
SECONDS_MAX = 1e300
"""For ever, but a number that times can be added to, and that can be multiplied."""

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Of a process, a client, a task, a request; also a number of bytes."""
Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
Port = Annotated[int, Meta(ge=1, le=PORT_MAX)]
Addr = Annotated[str, Meta(max_length=64)]
"""Numeric: see `must_be_numeric`."""
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
"""For people."""
Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
Role = Annotated[str, Meta(pattern="^[a-z0-9_-]{1,32}\\Z", max_length=32)]
"""What a process is to others: 'node', 'scheduler', 'peer', 'server'."""
Roles = Annotated[tuple[Role, ...], Meta(max_length=8)]
Word = Annotated[str, Meta(max_length=32)]
"""Of the programs', not of their users: the name of a service, a kind."""
Form = Annotated[int, Meta(ge=0, le=255)]
"""Of a payload."""


def must_be_name(name: str, what: object) -> None:
    """Of something that others are to find.  Raises: ShippingError if it is longer than their messages may be."""
    if len(name) > NAME_CHARS_MAX:
        raise ShippingError(
            f"{str(what)[:80]}... cannot be known to others: its name has {len(name)} characters; "
            f"give it one of at most {NAME_CHARS_MAX}"
        )


def must_be_numeric(addr: str) -> None:
    """Of a message's address: a name would be looked up, which takes its time.  Raises: ValueError."""
    if numeric_address(addr) != addr:
        raise ValueError(f"{addr[:64]!r} is no numeric address")


def must_be_location(text: str) -> None:
    """Of a text like "10.0.0.5:9705".  Raises: ValueError."""
    addr, _, port = text.rpartition(":")
    must_be_numeric(addr.strip("[]"))
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= PORT_MAX):
        raise ValueError(f"{text[:80]!r} is no location")


def clipped(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """A text as it may travel: of one that is too long the beginning and the end, with what is left out between."""
    text = text.encode("utf-8", "replace").decode()  # lone surrogates cannot be encoded
    if len(text) <= chars_max:
        return text
    half = (chars_max - 100) // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters are left out ...]\n{text[-half:]}"
