"""The nodes and servers of a client, and which of them has the least to do."""

from __future__ import annotations

from parkcos.client.load import LoadHeap
from parkcos.client.records import ENDING, OPEN, Node, Server


class Places:
    """Where tasks may run.  By incarnation: nodes and servers are processes."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.servers: dict[int, Server] = {}
        self.idle = 0
        """How many servers are idle."""
        self.idle_nodes = LoadHeap()
        """Nodes with an idle server, by the share of their servers that is busy."""
        self.io_servers = LoadHeap()
        """Open servers, by how many I/O tasks are there."""

    def idle_server(self) -> int | None:
        """An idle server of the least loaded node."""
        lightest = self.idle_nodes.lightest()
        return None if lightest is None else next(iter(self.nodes[lightest].idle))

    def is_idle(self, number: int, server: Server) -> None:
        """It has nothing to do, and is open."""
        node = self.nodes[server.node]
        if number not in node.idle:
            node.idle[number] = None
            self.idle += 1
            self.weigh(server.node, node)

    def is_busy(self, number: int, server: Server) -> None:
        """It is idle no longer."""
        node = self.nodes.get(server.node)
        if node is not None and number in node.idle:
            del node.idle[number]
            self.idle -= 1
            self.weigh(server.node, node)

    def weigh(self, number: int, node: Node) -> None:
        """Its load may have changed."""
        if node.idle:
            self.idle_nodes.put(number, 1 - len(node.idle) / len(node.servers) + node.foreign)
        else:
            self.idle_nodes.remove(number)

    def weigh_io(self, number: int, server: Server) -> None:
        """The number of I/O tasks there may have changed."""
        if server.state == OPEN:
            self.io_servers.put(number, len(server.io))
            self.nodes[server.node].io_servers.put(number, len(server.io))

    def retire(self, number: int, state: str = ENDING) -> None:
        """Nothing more is sent there; while it is PAUSED, for the time being."""
        server = self.servers[number]
        server.state = state
        self.io_servers.remove(number)
        node = self.nodes.get(server.node)
        if node is not None:
            node.io_servers.remove(number)
            self.is_busy(number, server)
            self.weigh(server.node, node)

    def holders(self) -> list[Node | Server]:
        """All that tasks may wait for."""
        return [*self.nodes.values(), *self.servers.values()]
