"""Processes for single tasks, as a client's program asks for them, and what it hears of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parkcos.cluster import messages as m

if TYPE_CHECKING:
    from tests.sim.client import Client

ASKED, UP, ENDED, LATE, LOST = "asked", "up", "ended", "asked of a node that had closed", "lost with its node"


class OwnProcesses:
    """A client's."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.world = client.world
        self.state: dict[int, str] = {}
        self.node: dict[int, int] = {}
        self.by_server: dict[int, int] = {}

    def start(self, node: int) -> None:
        rng = self.world.rng
        own = next(self.world.numbers)
        self.state[own], self.node[own] = ASKED, node
        self.client.program.send(node, m.StartOwn(self.client.number, own, rng.randrange(20)))
        self.client.program.later(rng.expovariate(0.2), self.end, own)
        if rng.random() < 0.3:  # perhaps before it is up, and perhaps once more
            self.client.program.later(rng.expovariate(20), self.end, own)

    def end(self, own: int) -> None:
        if self.state[own] in (ASKED, UP):
            terminate = self.world.rng.random() < 0.5
            self.client.program.send(self.node[own], m.EndOwn(self.client.number, own, terminate))

    def hears(self, node: int, message: Any) -> bool:
        """Whether it is of one of them."""
        happened = self.world.happened
        match message:
            case m.ServerUp(own=own, incarnation=server) if own:
                assert self.state[own] == ASKED, f"process {own}, {self.state[own]}, is up"
                self.state[own], self.by_server[server] = UP, own
                happened["process of a single task"] += 1
            case m.ServerDown(incarnation=server, restarts=restarts) if server in self.by_server:
                own = self.by_server[server]
                assert self.state[own] == UP, f"process {own}, {self.state[own]}, is down"
                assert not restarts, f"another one takes the place of process {own}"
                self.state[own] = ENDED
            case m.OwnRefused(_, own):
                assert self.state[own] in (ASKED, LATE), f"process {own}, {self.state[own]}, is refused"
                self.state[own] = ENDED
                happened["process of a single task refused"] += 1
            case m.NodeClosed() | m.NodeFailed():
                for own in self.at(node):
                    assert self.state[own] == ASKED, f"the node {node} has ended, and nobody said so of process {own}"
                    self.state[own] = LATE
                return False
            case _:
                return False
        return True

    def lose(self, node: int) -> None:
        """The client hears nothing of this node any more."""
        for own in self.at(node):
            self.state[own] = LOST

    def at(self, node: int) -> list[int]:
        """Of which the last word has not come."""
        return [own for own, at in self.node.items() if at == node and self.state[own] in (ASKED, UP)]
