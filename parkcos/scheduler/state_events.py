"""What the scheduler's machine (state.py) is told, and what it orders."""

from __future__ import annotations

import msgspec

from parkcos.cluster.message import Message
from parkcos.cluster.node_info import NodeInfo

# -- events


class NodeReported(msgspec.Struct, frozen=True):
    """idle: the client that the node has closed because none of its tasks ran there, 0 for none; lost: or because
    nothing was heard of it."""

    info: NodeInfo
    client: int
    idle: int = 0
    lost: int = 0


class NodeLost(msgspec.Struct, frozen=True):
    node: int
    reason: str


class NodeAnswered(msgspec.Struct, frozen=True):
    node: int
    client: int
    ok: bool
    reason: str


class ClientAsked(msgspec.Struct, frozen=True):
    client: int
    process: int
    addr: str
    port: int
    name: str
    python: str
    run: int = 0
    """Of the program, if the client may return: no earlier one is heard any more."""
    orphan_s: float = 0.0
    """How long its place is kept after its program was lost."""


class ClientWanted(msgspec.Struct, frozen=True):
    client: int
    node: int
    cpus: int


class ClientLeft(msgspec.Struct, frozen=True):
    client: int


class ClientWantsAgain(msgspec.Struct, frozen=True):
    """Its allocations have changed: what it did not want is to be offered to it again."""

    client: int


class ProcessLost(msgspec.Struct, frozen=True):
    """A process that may be running clients is gone."""

    process: int
    reason: str


class TimePassed(msgspec.Struct, frozen=True):
    """The deadline that the machine asked for has come."""


Event = (
    NodeReported
    | NodeLost
    | NodeAnswered
    | ClientAsked
    | ClientWanted
    | ClientLeft
    | ClientWantsAgain
    | ProcessLost
    | TimePassed
)

# -- effects


class ToClient(msgspec.Struct, frozen=True):
    process: int
    message: Message


class ToNode(msgspec.Struct, frozen=True):
    node: int
    message: Message


Effect = ToClient | ToNode
