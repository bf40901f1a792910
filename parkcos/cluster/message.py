"""What all messages between the parts of a cluster are."""

from __future__ import annotations

import msgspec

from parkcos.net.bounds import clipped

PLACES_MAX = 10_000
"""Entries of a list in a message."""


class Message(msgspec.Struct, array_like=True, tag=True):
    """Base of all messages between the parts of a cluster."""


class WithReason(Message):
    """Base of those with a text that may be as long as a user's program makes it: it travels clipped."""

    def __post_init__(self) -> None:
        for name in {"reason", "error"} & set(self.__struct_fields__):
            setattr(self, name, clipped(getattr(self, name)))
