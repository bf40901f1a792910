"""What the client's program, silence and scarcity do to its nodes and servers: a part of the dispatch machine."""

from __future__ import annotations

from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client.holds import Holds
from parkcos.client.membership import Membership
from parkcos.client.places import Places
from parkcos.client.records import (
    CLOSING,
    DISABLED,
    FAILING,
    READY,
    SETUP,
    SHORT,
    SILENT,
    SUSPENDED,
    WANTED,
    Node,
    Stage,
)
from parkcos.client.tasks import Tasks


class Controls:
    """abandon_zombies: a silent node is given up at once."""

    def __init__(
        self,
        places: Places,
        tasks: Tasks,
        holds: Holds,
        members: Membership,
        stage: Stage,
        order: Callable[[d.Effect], None],
    ) -> None:
        self.places = places
        self.nodes = places.nodes
        self.servers = places.servers
        self.tasks = tasks
        self.holds = holds
        self.members = members
        self.stage = stage
        self.order = order
        self.abandon_zombies = False

    def suspend_asked(self, event: d.SuspendAsked, now: float) -> None:
        self.holds.hold(event.number, SUSPENDED, event.suspend, "its client asked for it", now)

    def load_seen(self, event: d.LoadSeen, now: float) -> None:
        node = self.nodes.get(event.node)
        if node is None:
            return
        if event.busy is not None:
            own = 1 - len(node.idle) / len(node.servers) if node.servers else 0.0
            node.foreign = max(0.0, event.busy - own)
            self.places.weigh(event.node, node)
        self.holds.hold(event.node, SHORT, bool(event.short), event.short, now)

    def silence_seen(self, event: d.SilenceSeen, now: float) -> None:
        self.holds.hold(event.process, SILENT, event.silent, event.reason, now)
        if event.silent:
            self._abandon_if_silent(event.process, event.reason, now)

    def abandon_asked(self, event: d.AbandonAsked, now: float) -> None:
        if not event.node:
            self.abandon_zombies = event.abandon
        for number in [event.node] if event.node else list(self.nodes):
            if (node := self.nodes.get(number)) is not None:
                node.abandon = event.abandon
                self._abandon_if_silent(number, "nothing is heard of it", now)

    # -- giving up

    def _abandon_if_silent(self, number: int, reason: str, now: float) -> None:
        node, server = self.nodes.get(number), self.servers.get(number)
        if node is not None and SILENT in node.holds:
            if self._abandons(node) or self.stage.nodes_told:
                self.members.give_node_up(number, node, reason, now)
        elif server is not None:
            at = self.nodes.get(server.node)
            if at is not None and self._abandons(at):
                end = server.ending()
                end.node_says = end.session_says = reason
                self.members.ends.end_server(number, now)
                self.order(d.Dismiss(number, reason))

    def _abandons(self, node: Node) -> bool:
        return self.abandon_zombies if node.abandon is None else node.abandon

    # -- what the client's program asks for

    def enable_asked(self, event: d.EnableAsked, now: float) -> None:
        node, server = self.nodes.get(event.number), self.servers.get(event.number)
        if node is not None and node.state == DISABLED:
            node.state = WANTED
            self.order(d.Want(event.number, node.cpus))
        elif server is not None and server.state == DISABLED:
            self.members.open_server(event.number, server)

    def close_server_asked(self, event: d.CloseServerAsked, now: float) -> None:
        server = self.servers.get(event.server)
        if server is not None and server.node:
            server.ending().unwanted = True
            self.tasks.close_server(event.server, server, event.terminate, event.restart)

    def close_node_asked(self, event: d.CloseNodeAsked, now: float) -> None:
        node = self.nodes.get(event.node)
        if node is None:
            return
        node.reconsider = False
        if node.state == DISABLED and not event.restart:
            self.order(d.Want(event.node, 0))
            self.members.drop_node(event.node, "NodeClosed", "its client closed it", now)
        elif node.state == WANTED:
            node.unwanted = node.unwanted or not event.restart
            node.restart = node.restart and event.restart
        elif node.state == FAILING:
            node.restart = node.restart and event.restart  # it is closing without being asked
        elif node.state in (SETUP, READY, CLOSING):
            node.restart = event.restart
            node.state = CLOSING
            for server in node.all_servers:
                self.servers[server].ending().unwanted = True
                self.places.retire(server)
            self.order(d.CloseNode(event.node, event.terminate, event.restart, node.setup_id))

    def reallocated(self, event: d.Reallocated, now: float) -> None:
        for node in self.nodes.values():
            node.reconsider = (node.unwanted or node.state == CLOSING) and not node.restart
