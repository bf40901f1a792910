"""Nodes and servers as records, for parts of the dispatch machine that are made alone."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from parkcos.client.places import Places
from parkcos.client.records import OPEN, READY, Node, Server
from tests.client.driven import info


def add_node(places: Places, number: int, servers: int = 0, *, own_max: int = 0, state: str = READY) -> Node:
    """A node, and so many open servers there, number + 1 and so on, which have nothing to do."""
    node = places.nodes[number] = Node(replace(info(number), own_max=own_max), servers, servers, state)
    for server in range(number + 1, number + 1 + servers):
        add_server(places, number, server)
    return node


def add_server(places: Places, node: int, number: int, state: str = OPEN, **more: Any) -> Server:
    """A server at a node that is there."""
    server = places.servers[number] = Server(node, "10.0.0.1", number, number - node - 1, state, **more)
    places.nodes[node].servers[number] = None
    if state == OPEN:
        places.weigh_io(number, server)
        places.is_idle(number, server)
    return server
