"""How a client returns: its program takes over what an earlier one has left: a part of the dispatch machine.

    Returns -> ReturnToNode -> NodeIsResumed -> ServerIsUp -> ReturnToServer -> ServerIsResumed -> ReportResumed

A server says which tasks of the earlier program it has something to say of; these are tasks of this one from then on.
What that program had noted as sent, and no server knows, is lost: with its server, or before it came there.
"""

from __future__ import annotations

from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client import returning_events as r
from parkcos.client.membership import Membership
from parkcos.client.places import Places
from parkcos.client.records import OPENING, OWN, READY, SETUP, Node, OwnProcess, Stage
from parkcos.client.tasks import Tasks


class Returning:
    def __init__(
        self, places: Places, tasks: Tasks, members: Membership, stage: Stage, order: Callable[[d.Effect], None]
    ) -> None:
        self.places = places
        self.tasks = tasks
        self.members = members
        self.stage = stage
        self.order = order
        self.active = False
        """Some of what the earlier program had is still to be heard of."""
        self._nodes: set[int] = set()
        """Those that were asked and have not answered."""
        self._servers: dict[int, int] = {}
        """Those that are there and have not answered, and their nodes."""
        self._up: set[int] = set()
        """Those of them that were up."""
        self._tasks: dict[int, r.TaskNoted] = {}
        """Those that were noted and not found."""

    def begin(self, event: r.Returns, now: float) -> None:
        self.active = True
        self._tasks = {noted.task: noted for noted in event.tasks}
        for noted in event.nodes:
            number = noted.info.incarnation
            if number not in self.places.nodes:  # else it was offered: it does not serve this client any more
                self._nodes.add(number)
                self.places.nodes[number] = Node(noted.info, noted.cpus, noted.cpus, state=SETUP, returned=True)
                self.order(d.ReportStatus("NodeDiscovered", number))
                self.order(r.ReturnToNode(number))

    def node_is_resumed(self, event: r.NodeIsResumed, now: float) -> None:
        node = self.places.nodes.get(event.node)
        if node is None or event.node not in self._nodes or node.state != SETUP:
            return
        self._nodes.discard(event.node)
        self.stage.had_nodes = True
        node.setup_id, node.left = event.setup_id, event.left
        for kept in event.servers:
            self._servers[kept.server] = event.node
            if kept.own:
                node.own[kept.own] = None
                own = OwnProcess(event.node, server=kept.server, returned=True)
                self.tasks.placing.processes.by_number[kept.own] = own
        if event.ready:
            node.state, node.ready_at, node.initialized = READY, now, True
            self.order(d.ReportStatus("NodeInitialized", event.node))
        self.members.ends.abandon_if_empty(node, "the last one has ended before its program came back")

    def server_is_resumed(self, event: r.ServerIsResumed, now: float) -> None:
        server = self.places.servers.get(event.server)
        if server is None:
            return
        for task in event.tasks:
            self._tasks.pop(task.number, None)
            self.tasks.take_over(task, event.server, now)
        if event.more:
            return
        self._servers.pop(event.server, None)
        process = self.tasks.placing.processes.by_number.get(server.own)
        if process is not None and process.returned and (server.cpu or server.io):
            if server.state == OPENING:
                server.state = OWN
        elif process is not None and process.returned:
            self.tasks.placing.processes.end(server.own, terminate=False)
        elif not event.opened and server.state == OPENING:
            self.order(d.OpenServer(event.server))

    def settle(self, event: d.Event) -> None:
        """After each event while it is active: who will not answer any more, and what is lost with that."""
        nodes, servers = self.places.nodes, self.places.servers
        self._nodes = {number for number in self._nodes if number in nodes and nodes[number].state == SETUP}
        for server, at in list(self._servers.items()):
            node, down = nodes.get(at), isinstance(event, d.ServerIsDown) and event.server == server
            if server in servers:  # its last words may be on their way, whatever its node says
                self._up.add(server)
            elif server in self._up or down or node is None or node.state not in (SETUP, READY):
                del self._servers[server]
        for noted in list(self._tasks.values()):
            if noted.node not in self._nodes and noted.server not in self._servers:
                del self._tasks[noted.task]
                node = nodes.get(noted.node)
                why = "its server has ended" if noted.server not in servers else "it had not come to its server"
                if node is None or node.setup_id == 0:
                    why = "its node has ended the earlier program of this client, or is gone"
                self.order(r.ReportLost(noted.task, f"{why}, before its program came back"))
        if not (self._nodes or self._servers or self._tasks):
            self.active = False
            self._up.clear()
            self.order(r.ReportResumed())

    def waits_for(self) -> tuple[int, int]:
        """How many nodes, and how many servers, have yet to answer."""
        return len(self._nodes), len(self._servers)
