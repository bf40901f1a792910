"""What a program and a node that it has started say to each other, one JSON object a line."""

from __future__ import annotations

import msgspec

from parkcos.net.trust.issuing import Certificate
from parkcos.net.trust.secret import ClusterKeys

LOOPBACK = "127.0.0.1"
"""The address of all nodes that a program starts on its own machine, and of their servers."""


class Begin(msgspec.Struct, frozen=True):
    """The program's first and only word: what the node is to be.

    keys: whoever holds them gets in.
    incarnation: of the node.
    certificate: for that, with the keys; the program has what it takes to make one, which the node would have to import
        first.
    """

    name: str
    cpus: int
    keys: ClusterKeys
    incarnation: int
    certificate: Certificate
    debug: bool
    max_payload: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The node's first word: it listens at this port."""

    port: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The node's last word, if it does not start, or does not go on."""

    error: str


_decode_begin = msgspec.json.Decoder(Begin).decode
_decode_news = msgspec.json.Decoder(Ready | Failed).decode


def line(message: Begin | Ready | Failed) -> bytes:
    """The message as it goes through the socket."""
    return msgspec.json.encode(message) + b"\n"


def read_begin(line: bytes) -> Begin:
    """Raises: msgspec.MsgspecError if it is none."""
    return _decode_begin(line)


def read_news(line: bytes) -> Ready | Failed:
    """Raises: msgspec.MsgspecError if it is none."""
    news: Ready | Failed = _decode_news(line)
    return news
