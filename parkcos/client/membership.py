"""A client's nodes and servers, from the scheduler's offer to their end: a part of the dispatch machine."""

from __future__ import annotations

from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client import returning_events as r
from parkcos.client.ends import Ends
from parkcos.client.holds import Holds
from parkcos.client.own import Own
from parkcos.client.places import Places
from parkcos.client.records import (
    CLOSING,
    DISABLED,
    FAILED,
    FAILING,
    OPEN,
    OPENING,
    OWN,
    PAUSED,
    READY,
    SETUP,
    SILENT,
    WANTED,
    Node,
    Server,
    Stage,
)
from parkcos.client.tasks import Tasks

FAILURES_MAX = 3
"""Failures of a node, one soon after the other, after each of which it is wanted again."""

STEADY_S = 10.0
"""Seconds that a node must have been ready for its next failure to count as the first."""


class Membership:
    """Which nodes and servers there are.

    disable_nodes, disable_servers: each waits until the client's program enables it.
    """

    def __init__(
        self, places: Places, tasks: Tasks, own: Own, holds: Holds, stage: Stage, order: Callable[[d.Effect], None]
    ) -> None:
        self.places = places
        self.nodes = places.nodes
        self.servers = places.servers
        self.tasks = tasks
        self.own = own
        self.holds = holds
        self.stage = stage
        self.order = order
        self.disable_nodes = False
        self.disable_servers = False
        self.ends = Ends(places, tasks, own, stage, order, self.server_is_up)
        self._parting: dict[int, d.Offered] = {}
        """Nodes that were given up, and whose sessions have yet to end: they are wanted again after that."""
        self._missed: dict[int, d.Offered] = {}
        """Nodes that may be reserved for this client though they are not in `nodes`: lost without a word of their own
        and wanted again, or wanted of a scheduler that is gone."""
        self._setups = 0
        """How many nodes were set up, or set up again."""

    # -- nodes

    def is_of_now(self, node: int, setup_id: int | None) -> bool:
        """Whether what a node says of that setup is about the present one; or it is not known.

        Its word and the scheduler's, which may have granted it again meanwhile, come in no order.
        """
        record = self.nodes.get(node)
        return record is None or setup_id is None or setup_id >= record.setup_id

    def offered(self, event: d.Offered, now: float) -> None:
        number = event.info.incarnation
        self._missed.pop(number, None)
        if self.stage.nodes_told or self.stage.scheduler_lost:
            return
        known = self.nodes.get(number)
        if known is not None and SILENT in known.holds:  # it is free: it has given this client up
            self.give_node_up(number, known, "nothing was heard of it, and it has closed this client", now)
            known = None
        if number in self._parting:
            self._parting[number] = event
            return
        if known is not None and known.unwanted:
            self.drop_node(number, "NodeClosed", "its client closed it", now)
            if not known.reconsider:
                self.order(d.Want(number, 0))
                return
            known = None
        if known is None:
            if event.cpus > 0:
                self.order(d.ReportStatus("NodeDiscovered", number))
                node = self.nodes[number] = Node(event.info, event.cpus, event.cpus)
                if self.disable_nodes:
                    node.state = DISABLED
                    return
        elif known.state == DISABLED:
            known.info = event.info
            return
        elif known.state != WANTED:
            return  # it is in use
        else:  # it was not to be had, and now it is
            known.info = event.info
        self.order(d.Want(number, event.cpus if known is None else known.cpus))

    def granted(self, event: d.Granted, now: float) -> None:
        node, missed = self.nodes.get(event.node), self._missed.pop(event.node, None)
        if missed is not None:
            self.order(d.ReportStatus("NodeDiscovered", event.node))
            node = self.nodes[event.node] = Node(missed.info, missed.cpus, missed.cpus)
        if node is None or node.state != WANTED:
            return
        self.stage.had_nodes = True
        if node.unwanted:
            node.state = CLOSING
            self.order(d.CloseNode(event.node, True))
            return
        self._set_up(event.node, node)

    def count_from(self, first: int) -> None:
        """The numbers of setups are above this one."""
        self._setups = max(self._setups, first)

    def _set_up(self, number: int, node: Node) -> None:
        self._setups += 1
        node.state, node.setup_id, node.returned = SETUP, self._setups, False
        node.early_ends = 0
        node.given_up.clear()
        self.order(d.SetupNode(number, node.cpus, node.setup_id))

    def node_is_ready(self, event: d.NodeIsReady, now: float) -> None:
        node = self.nodes.get(event.node)
        if node is not None and node.state == SETUP and self.is_of_now(event.node, event.setup_id):
            node.state, node.restart, node.ready_at = READY, False, now
            if not node.initialized:
                node.initialized = True
                self.order(d.ReportStatus("NodeInitialized", event.node))
            self.holds.hold(event.node, FAILED, False, "it has been set up again", now)

    def node_has_failed(self, event: d.NodeHasFailed, now: float) -> None:
        if not self.is_of_now(event.node, event.setup_id):
            return
        node = self.nodes.get(event.node)
        self._missed.pop(event.node, None)
        if event.setup and node is not None:
            self.stage.setup_error = event.error
        if node is not None and node.state == READY and now - node.ready_at >= STEADY_S:
            node.failures = 0
        if node is not None and event.died and (node.state == READY or node.restart) and node.failures < FAILURES_MAX:
            self._fail(event.node, node, event.error, now)
        else:
            self.drop_node(event.node, "NodeDisconnected", event.error, now)

    def _fail(self, number: int, node: Node, reason: str, now: float) -> None:
        """It will say that it has closed this client, which then wants it again."""
        node.state, node.restart, node.failures = FAILING, True, node.failures + 1
        self._part_from_servers(number, node, reason, now)
        self.holds.hold(number, FAILED, True, reason, now)
        node.holds.pop(SILENT, None)  # it was just heard

    def node_has_closed(self, event: d.NodeHasClosed, now: float) -> None:
        if not self.is_of_now(event.node, event.setup_id):
            return
        node = self.nodes.get(event.node)
        restarted = node if node is not None and node.restart and not self.stage.nodes_told else None
        if restarted is not None and event.kept:
            self._set_up_again(event.node, restarted, now)
        elif restarted is not None and restarted.state == FAILING:
            self._want_again(event.node, restarted, event.reason, now)
        elif restarted is not None and restarted.state == CLOSING and not event.reason:
            # It has let go of this client before it heard that it is to be set up again.
            self._part_from_servers(event.node, restarted, "its node was restarted", now)
            restarted.servers.clear()
            self._want_again(event.node, restarted, "", now)
        elif node is not None and node.state == DISABLED:
            pass  # that was an earlier reservation, of which this client did not know: it was offered again since
        elif node is not None and node.state in (WANTED, SETUP) and not event.reason:
            # It was reserved for this client, which did not get to know it, or not in time.
            self._want_again(event.node, node, "", now)
        elif event.node in self._missed:
            self.offered(self._missed[event.node], now)
        else:
            self.drop_node(event.node, "NodeClosed", event.reason or "its node was closed", now)
            if node is not None and node.reconsider:
                self.order(d.Consider(event.node))

    def _want_again(self, number: int, node: Node, reason: str, now: float) -> None:
        """It has failed, or its reservation has run out, and it is free."""
        if reason or self.stage.scheduler_lost:
            self.drop_node(number, "NodeDisconnected", reason or "it failed, and cannot be had again", now)
        else:
            self.holds.hold(number, SILENT, False, "it is heard again", now)
            node.state, node.left, node.setup_id, node.unwanted = WANTED, node.cpus, 0, False
            self.order(d.Want(number, node.cpus))

    def _set_up_again(self, number: int, node: Node, now: float) -> None:
        self._part_from_servers(number, node, "its node was restarted", now)
        node.left = node.cpus
        node.condition = node.condition if node.holds else ""
        self._set_up(number, node)

    def _part_from_servers(self, number: int, node: Node, reason: str, now: float) -> None:
        """They have ended.  Their sessions have the last word: what they sent last may still be on its way."""
        servers = node.all_servers
        self.ends.lose_node(number, servers, reason)
        node.servers.clear()
        node.own_servers.clear()
        node.spaces.clear()
        for server in servers:
            self.ends.await_end(server, now)
        self.own.lose_node(number, node, reason, now)

    def drop_node(self, number: int, status: str, reason: str, now: float) -> None:
        node = self.nodes.get(number)
        if node is None:
            return
        if node.holds.keys() & {SILENT, FAILED} and status == "NodeDisconnected":
            status = "NodeAbandoned"  # the other was told
        node.restart, node.state = False, CLOSING  # for what is put back
        self._part_from_servers(number, node, reason or status, now)
        del self.nodes[number]
        self.tasks.abandon_waiting(node, reason)
        self.own.forget_node(number, reason)
        self.order(d.ReportStatus(status, number, reason))

    def scheduler_lost(self, event: d.SchedulerLost, now: float) -> None:
        self.stage.scheduler_lost = event.reason
        self._void_offers(event.reason, now)

    def turn_begun(self, event: d.TurnBegun, now: float) -> None:
        for number, node in self.nodes.items():
            if node.state == WANTED:
                self._missed[number] = d.Offered(node.info, node.cpus)
        self._void_offers("the scheduler was started again, and offers it again if it is there", now)

    def _void_offers(self, reason: str, now: float) -> None:
        for number in [n for n, node in self.nodes.items() if node.state in (WANTED, DISABLED)]:
            self.drop_node(number, "NodeDisconnected", reason, now)

    def close_nodes(self, now: float) -> None:
        """The client is being closed, and no task is waited for any more."""
        self._missed.clear()
        for number, node in list(self.nodes.items()):
            if node.state in (WANTED, DISABLED):
                del self.nodes[number]  # the scheduler releases it when this client leaves
                continue
            if SILENT in node.holds:
                self.give_node_up(number, node, "nothing is heard of it", now)
                continue
            node.state, node.restart = CLOSING, False
            for server in node.all_servers:
                self.places.retire(server)
            # What CPU tasks there are is not waited for; I/O tasks get their grace in any case.
            self.order(d.CloseNode(number, True, setup_id=node.setup_id))

    # -- servers

    def server_is_up(self, event: d.ServerIsUp, now: float) -> None:
        node = self.nodes.get(event.node)
        beside = self.tasks.placing.processes.is_up(event) if event.own else None
        if node is None or node.state != READY or event.server in self.servers or (event.own and beside is None):
            return
        if self.ends.has_to_wait(event) or (event.index in node.given_up and not event.own):
            return
        space = beside.space if beside is not None else 0
        server = Server(event.node, event.addr, event.port, event.index, own=event.own, space=space)
        self.servers[event.server] = server
        (node.own_servers if event.own else node.servers)[event.server] = None
        self.places.weigh(event.node, node)
        self.order(d.ReportStatus("ServerDiscovered", event.server, own=bool(event.own)))
        if event.own or node.returned or not self.disable_servers:
            self.open_server(event.server, server)

    def open_server(self, number: int, server: Server) -> None:
        """It may begin."""
        server.state = OPENING
        node = self.nodes.get(server.node)
        self.order(r.ReturnToServer(number) if node is not None and node.returned else d.OpenServer(number))

    def server_is_ready(self, event: d.ServerIsReady, now: float) -> None:
        server = self.servers.get(event.server)
        if server is None or server.state != OPENING:
            return
        self.order(d.ReportStatus("ServerInitialized", event.server, own=bool(server.own)))
        if server.own:
            self.own.is_ready(event.server, server, now)
            return
        server.state, self.stage.setup_error = PAUSED, ""
        self.nodes[server.node].early_ends = 0
        self.holds.settle(event.server, now)

    def give_node_up(self, number: int, node: Node, reason: str, now: float) -> None:
        servers = node.all_servers
        for server in servers:
            record = self.servers[server]
            record.holds[SILENT] = reason
            end = record.ending()
            end.node_says = end.session_says = f"its node was given up: {reason}"
        self._parting[number] = d.Offered(node.info, node.cpus)
        self.drop_node(number, "NodeAbandoned", reason, now)
        for process in [*servers, number]:
            self.order(d.Dismiss(process, "it was silent, and given up"))

    def node_is_leaving(self, event: d.NodeIsLeaving, now: float) -> None:
        """What is lost with the first of its servers is not run again at the next."""
        node = self.nodes.get(event.node)
        if node is not None and self.is_of_now(event.node, event.setup_id):
            for server in node.all_servers:
                self.ends.server_is_leaving(d.ServerIsLeaving(server), now)

    def process_lost(self, event: d.ProcessLost, now: float) -> None:
        node, offer = self.nodes.get(event.process), self._parting.pop(event.process, None)
        if node is not None:
            if node.state not in (DISABLED, CLOSING) or node.restart:
                offer = d.Offered(node.info, node.cpus)
            reason = f"its node is gone: {event.reason}"
            self.drop_node(event.process, "NodeDisconnected", reason, now)
        if offer is not None and offer.cpus and not (self.stage.nodes_told or self.stage.scheduler_lost):
            # It may be there, and have let go of this client; only its scheduler knows.
            self._missed[event.process] = offer
            self.order(d.Want(event.process, offer.cpus))
        self.ends.session_ended(event.process, event.reason, now)

    def spoken_of(self) -> set[int]:
        """The nodes and servers that effects may be about."""
        return {*self.nodes, *self._missed, *self._parting, *self.servers, *self.ends.spoken_of()}

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        idle = 0
        for number, server in self.servers.items():
            node = self.nodes.get(server.node)
            if server.state == OPEN:
                assert node is not None, f"server {number} is open without a node"
                assert number in node.servers
                busy = bool(server.cpu or server.lent)
                assert (number in node.idle) != busy, f"server {number} is wrongly idle or busy"
                assert not server.io_queue, "an open server takes every I/O task"
                assert busy or not server.queue, f"server {number} is idle while tasks wait for it"
                assert not server.holds and not node.holds, f"server {number} is open and held back"
            elif node is not None and server.own:
                assert number in node.own_servers
                count = len(server.cpu) + len(server.io)
                assert server.state != OWN or server.space or count, f"process {number} has no task"
            elif node is not None:
                held = server.holds or node.holds
                assert held or server.state != PAUSED, f"server {number} is paused and nothing holds it back"
                assert number not in node.idle, f"server {number} is {server.state} and idle"
        for number, node in self.nodes.items():
            assert 0 <= node.left <= node.cpus, f"node {number} has {node.left} of {node.cpus} servers left"
            assert not (node.idle and node.queue), f"tasks wait at node {number} beside idle servers"
            idle += len(node.idle)
        assert idle == self.places.idle
        self.ends.check()
