"""What a program and a node that it has started say to each other, one JSON object a line."""

from __future__ import annotations

import msgspec

from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import Certificate


class Begin(msgspec.Struct, frozen=True):
    """The program's first and only word: what the node is to be.

    host: its address; automatic: which was not given, and is another when the machine has another.
    keys: whoever holds them gets in.
    certificate: with these; the program has what it takes to make one, which the node would have to import first.
    """

    host: str
    automatic: bool
    name: str
    cpus: int
    keys: ClusterKeys
    certificate: Certificate
    debug: bool


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
