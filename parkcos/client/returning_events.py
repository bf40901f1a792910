"""What the dispatch machine is told, and orders, when a client returns: see returning.py."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from parkcos.client.records import Task
from parkcos.cluster.node_info import NodeInfo

# -- events


class NodeNoted(msgspec.Struct, frozen=True):
    """An earlier program of this client had set it up."""

    info: NodeInfo
    cpus: int


class TaskNoted(msgspec.Struct, frozen=True):
    """An earlier program of this client had sent it there, and has not released it."""

    task: int
    node: int
    server: int


class Returns(msgspec.Struct, frozen=True):
    """It is the client's turn: what its earlier program had."""

    nodes: list[NodeNoted]
    tasks: list[TaskNoted]


class ServerKept(msgspec.Struct, frozen=True):
    """own: the number of a process beside the servers; 0: it is one of them."""

    server: int
    own: int = 0


class NodeIsResumed(msgspec.Struct, frozen=True):
    """The node serves this program in the place of the earlier one.

    ready: node_setup is done; left: how many servers it has or will have; servers: ServerIsUp comes for each.
    """

    node: int
    setup_id: int
    ready: bool
    left: int
    servers: list[ServerKept]


@dataclass(frozen=True)
class ServerIsResumed:
    """The server serves this program in the place of the earlier one.

    opened: that one had told it to begin; tasks: what it has to say something of; more: it has to of more of them.
    """

    server: int
    opened: bool
    tasks: list[Task]
    more: bool = False


Event = Returns | NodeIsResumed | ServerIsResumed

# -- effects


class ReturnToNode(msgspec.Struct, frozen=True):
    node: int


class ReturnToServer(msgspec.Struct, frozen=True):
    server: int


class ReportLost(msgspec.Struct, frozen=True):
    """A task of the earlier program that is nowhere any more, or has never reached its server."""

    task: int
    reason: str


class ReportResumed(msgspec.Struct, frozen=True):
    """All nodes and servers of the earlier program were heard, or are known to be gone."""


Effect = ReturnToNode | ReturnToServer | ReportLost | ReportResumed
