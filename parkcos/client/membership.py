"""A client's nodes and servers, from the scheduler's offer to their end: a part of the dispatch machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parkcos.client.dispatch_events import (
    CloseNode,
    CloseServer,
    Consider,
    Dismiss,
    Effect,
    Granted,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    OpenServer,
    ProcessLost,
    ReportRetried,
    ReportStatus,
    SchedulerLost,
    ServerIsDown,
    ServerIsLeaving,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SetupNode,
    TurnBegun,
    Want,
)
from parkcos.client.placing import (
    CLOSING,
    DISABLED,
    FAILING,
    OPENING,
    PAUSED,
    READY,
    SETUP,
    WANTED,
    Node,
    Placing,
    Server,
)

END_WAIT_S = 1.0
"""A server is known to be gone from its node and from its session; the second word is awaited so long."""

SILENT, FAILED = "silent", "failed"
"""The holds of a node or server of which nothing is heard; and of a node whose servers all died at once."""

EARLY_ENDS_MAX = 3
"""When so many servers have ended in server_setup, one after the other, the next one would, too."""

FAILURES_MAX = 3
"""Failures of a node, one soon after the other, after each of which it is wanted again."""

STEADY_S = 10.0
"""Seconds that a node must have been ready for its next failure to count as the first."""


@dataclass
class Membership(Placing):
    """Which nodes and servers there are."""

    # -- nodes

    def is_of_now(self, node: int, setup_id: int | None) -> bool:
        """Whether what a node says of that setup is about the present one; or it is not known.

        Its word and the scheduler's, which may have granted it again meanwhile, come in no order.
        """
        record = self.nodes.get(node)
        return record is None or setup_id is None or setup_id >= record.setup_id

    def _offered(self, event: Offered, now: float) -> Iterator[Effect]:
        number = event.info.incarnation
        self._missed.pop(number, None)
        if self._nodes_told or self.scheduler_lost:
            return
        known = self.nodes.get(number)
        if known is not None and SILENT in known.holds:  # it is free: it has given this client up
            yield from self._give_node_up(number, known, "nothing was heard of it, and it has closed this client", now)
            known = None
        if number in self._parting:
            self._parting[number] = event
            return
        if known is not None and known.unwanted:
            yield from self._drop_node(number, "NodeClosed", "its client closed it", now)
            if not known.reconsider:
                yield Want(number, 0)
                return
            known = None
        if known is None:
            if event.cpus > 0:
                yield ReportStatus("NodeDiscovered", number)
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
        yield Want(number, event.cpus if known is None else known.cpus)

    def _granted(self, event: Granted, now: float) -> Iterator[Effect]:
        node, missed = self.nodes.get(event.node), self._missed.pop(event.node, None)
        if missed is not None:
            yield ReportStatus("NodeDiscovered", event.node)
            node = self.nodes[event.node] = Node(missed.info, missed.cpus, missed.cpus)
        if node is None or node.state != WANTED:
            return
        self._had_nodes = True
        if node.unwanted:
            node.state = CLOSING
            yield CloseNode(event.node, True)
            return
        yield self._set_up(event.node, node)

    def _set_up(self, number: int, node: Node) -> SetupNode:
        self._setups += 1
        node.state, node.setup_id = SETUP, self._setups
        node.early_ends = 0
        node.given_up.clear()
        return SetupNode(number, node.cpus, node.setup_id)

    def _node_is_ready(self, event: NodeIsReady, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is not None and node.state == SETUP and self.is_of_now(event.node, event.setup_id):
            node.state, node.restart, node.ready_at = READY, False, now
            if not node.initialized:
                node.initialized = True
                yield ReportStatus("NodeInitialized", event.node)
            yield from self._hold(event.node, FAILED, False, "it has been set up anew", now)

    def _node_has_failed(self, event: NodeHasFailed, now: float) -> Iterator[Effect]:
        if not self.is_of_now(event.node, event.setup_id):
            return
        node = self.nodes.get(event.node)
        self._missed.pop(event.node, None)
        if event.setup and node is not None:
            self.setup_error = event.error
        if node is not None and node.state == READY and now - node.ready_at >= STEADY_S:
            node.failures = 0
        if node is not None and event.died and (node.state == READY or node.restart) and node.failures < FAILURES_MAX:
            yield from self._fail(event.node, node, event.error, now)
        else:
            yield from self._drop_node(event.node, "NodeDisconnected", event.error, now)

    def _fail(self, number: int, node: Node, reason: str, now: float) -> Iterator[Effect]:
        """It will say that it has closed this client, which then wants it again."""
        node.state, node.restart, node.failures = FAILING, True, node.failures + 1
        yield from self._part_from_servers(number, node, reason, now)
        node.servers.clear()
        yield from self._hold(number, FAILED, True, reason, now)
        node.holds.pop(SILENT, None)  # it was just heard

    def _node_has_closed(self, event: NodeHasClosed, now: float) -> Iterator[Effect]:
        if not self.is_of_now(event.node, event.setup_id):
            return
        node = self.nodes.get(event.node)
        if node is not None and node.restart and event.kept and not self._nodes_told:
            yield from self._set_up_anew(event.node, node, now)
        elif node is not None and node.state == FAILING and node.restart:
            yield from self._want_again(event.node, node, event.reason, now)
        elif node is not None and node.state in (WANTED, SETUP) and not event.reason:
            # It was reserved for this client, which did not get to know it, or not in time.
            yield from self._want_again(event.node, node, "", now)
        elif event.node in self._missed:
            yield from self._offered(self._missed[event.node], now)
        else:
            yield from self._drop_node(event.node, "NodeClosed", event.reason or "its node was closed", now)
            if node is not None and node.reconsider:
                yield Consider(event.node)

    def _want_again(self, number: int, node: Node, reason: str, now: float) -> Iterator[Effect]:
        """It has failed, or its reservation has run out, and it is free."""
        if reason or self.scheduler_lost:
            yield from self._drop_node(number, "NodeDisconnected", reason or "it failed, and cannot be had again", now)
        else:
            yield from self._hold(number, SILENT, False, "it is heard again", now)
            node.state, node.left, node.setup_id = WANTED, node.cpus, 0
            yield Want(number, node.cpus)

    def _set_up_anew(self, number: int, node: Node, now: float) -> Iterator[Effect]:
        yield from self._part_from_servers(number, node, "its node was restarted", now)
        node.servers.clear()
        node.left = node.cpus
        node.condition = node.condition if node.holds else ""
        yield self._set_up(number, node)

    def _part_from_servers(self, number: int, node: Node, reason: str, now: float) -> Iterator[Effect]:
        """They have ended.  Their sessions have the last word: what they sent last may still be on its way."""
        for server in node.servers:
            record = self.servers[server]
            record.down = record.down or reason
            self._retire(server)
            record.node = 0
        for server in [s for s, (at, _) in self._unsaid.items() if at == number]:
            del self._unsaid[server]
        for server in [s for s, follower in self._followers.items() if follower.node == number]:
            del self._followers[server]
        for server in node.servers:
            yield from self._await_end(server, now)

    def _drop_node(self, number: int, status: str, reason: str, now: float) -> Iterator[Effect]:
        node = self.nodes.get(number)
        if node is None:
            return
        if node.holds.keys() & {SILENT, FAILED} and status == "NodeDisconnected":
            status = "NodeAbandoned"  # the other was told
        yield from self._part_from_servers(number, node, reason or status, now)
        del self.nodes[number]
        for task in [*node.waiting, *node.waiting_io]:
            yield from self._abandon(task, reason)
        yield ReportStatus(status, number, reason)

    def _scheduler_lost(self, event: SchedulerLost, now: float) -> Iterator[Effect]:
        self.scheduler_lost = event.reason
        yield from self._void_offers(self.scheduler_lost, now)

    def _turn_begun(self, event: TurnBegun, now: float) -> Iterator[Effect]:
        for number, node in self.nodes.items():
            if node.state == WANTED:
                self._missed[number] = Offered(node.info, node.cpus)
        yield from self._void_offers("the scheduler was started again, and offers it anew if it is there", now)

    def _void_offers(self, reason: str, now: float) -> Iterator[Effect]:
        for number in [n for n, node in self.nodes.items() if node.state in (WANTED, DISABLED)]:
            yield from self._drop_node(number, "NodeDisconnected", reason, now)

    # -- servers

    def _server_is_up(self, event: ServerIsUp, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None or node.state != READY or event.server in self.servers:
            return
        for ending in self._ending:
            if (self.servers[ending].addr, self.servers[ending].port) == (event.addr, event.port):
                self._followers[ending] = event
                return
        if event.index in node.given_up:
            return
        server = self.servers[event.server] = Server(event.node, event.addr, event.port, event.index)
        node.servers[event.server] = None
        self._weigh(event.node, node)
        yield ReportStatus("ServerDiscovered", event.server)
        if not self.disable_servers:
            server.opened = True
            yield OpenServer(event.server)

    def _server_is_ready(self, event: ServerIsReady, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is None or server.state != OPENING:
            return
        server.state, self.setup_error = PAUSED, ""
        self.nodes[server.node].early_ends = 0
        yield ReportStatus("ServerInitialized", event.server)
        yield from self._settle(event.server, now)

    def _give_node_up(self, number: int, node: Node, reason: str, now: float) -> Iterator[Effect]:
        servers = list(node.servers)
        for server in servers:
            record = self.servers[server]
            record.holds[SILENT] = reason
            record.down = record.gone = f"its node was given up: {reason}"
        self._parting[number] = Offered(node.info, node.cpus)
        yield from self._drop_node(number, "NodeAbandoned", reason, now)
        for process in [*servers, number]:
            yield Dismiss(process, "it was silent, and given up")

    def _hold(self, number: int, why: str, held: bool, reason: str, now: float) -> Iterator[Effect]:
        """Give a node or server nothing more because of `why`; or, because of that, hold it back no longer."""
        raise NotImplementedError

    def _settle(self, number: int, now: float) -> Iterator[Effect]:
        """A ready server is open to tasks while nothing holds it, or its node, back."""
        raise NotImplementedError

    def _server_is_leaving(self, event: ServerIsLeaving, now: float) -> Iterator[Effect]:
        if (server := self.servers.get(event.server)) is not None:
            server.leaving = True
            self._retire(event.server)
        yield from ()

    def _server_setup_failed(self, event: ServerSetupFailed, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is not None:
            server.down = self.setup_error = event.error or "server_setup failed"
            server.useless = True
            yield from self._end_server(event.server, now)

    def _server_is_down(self, event: ServerIsDown, now: float) -> Iterator[Effect]:
        for ending, follower in list(self._followers.items()):
            if follower.server == event.server:  # it has had that address, too: the session with the other is long over
                yield from self._end_server(ending, now)
        server = self.servers.get(event.server)
        if server is not None:
            server.down, server.asked = event.reason or "it ended", event.asked
            server.reported, server.restarts = True, event.restarts
            node = self.nodes.get(server.node)
            if node is not None and node.state == READY and not (event.restarts or event.asked):
                node.restart = True  # it is about to say that it has failed
            elif node is not None and (server.ended_early or (server.opened and server.state == OPENING)):
                self._count_early_end(node, server)
            yield from self._await_end(event.server, now)
            return
        at, counts = self._unsaid.pop(event.server, (0, False))
        if (node := self.nodes.get(at)) is not None:
            node.left += event.restarts - counts
            yield from self._abandon_at(node, event.reason)

    def _count_early_end(self, node: Node, server: Server) -> None:
        """It ended before it was ready, most likely by what server_setup did.  The next in its place is not up yet."""
        node.early_ends += 1
        if node.early_ends >= EARLY_ENDS_MAX:
            self.setup_error = f"a server ended before it was ready: {server.down}"
            server.restarts = False
            node.given_up.add(server.index)

    def _process_lost(self, event: ProcessLost, now: float) -> Iterator[Effect]:
        node, offer = self.nodes.get(event.process), self._parting.pop(event.process, None)
        if node is not None:
            if node.state not in (DISABLED, CLOSING) or node.restart:
                offer = Offered(node.info, node.cpus)
            reason = f"its node is gone: {event.reason}"
            yield from self._drop_node(event.process, "NodeDisconnected", reason, now)
        if offer is not None and offer.cpus and not (self._nodes_told or self.scheduler_lost):
            # It may be there, and have let go of this client; only its scheduler knows.
            self._missed[event.process] = offer
            yield Want(event.process, offer.cpus)
        server = self.servers.get(event.process)
        if server is not None:
            server.gone = event.reason or "it ended"
            yield from self._await_end(event.process, now)

    def _await_end(self, number: int, now: float) -> Iterator[Effect]:
        """Its node and its session both have a word to say; what it sent last may still be on its way."""
        server = self.servers[number]
        server.ended_early = server.opened and server.state == OPENING
        self._retire(number)
        if server.down and server.gone:
            yield from self._end_server(number, now)
        elif server.end_by is None:
            server.end_by = now + END_WAIT_S
            self._ending[number] = None

    def _end_server(self, number: int, now: float) -> Iterator[Effect]:
        self._retire(number)
        self._ending.pop(number, None)
        self._ahead.pop(number, None)
        server = self.servers.pop(number)
        why = server.down or server.gone
        reason = f"its server {server.addr}:{server.port} ended: {why}"
        # Only then is the word of what had begun complete.
        certain = bool(server.down and server.gone) and SILENT not in server.holds
        back = []
        for position, task in enumerate([*server.cpu, *server.io]):
            record = self.tasks[task]
            if record.want_server or self._nodes_told or record.timed_out:
                yield from self._abandon(task, reason)
            elif 0 < position < len(server.cpu) and certain and not record.started:
                back.append(task)
            elif record.retries:
                record.retries -= 1
                record.started = False
                back.append(task)
                yield ReportRetried(task, reason)
            else:
                yield from self._abandon(task, reason)
        for task in [*server.waiting, *server.waiting_io]:
            yield from self._abandon(task, reason)
        if server.asked:
            status = "ServerClosed"
        elif SILENT in server.holds:
            status = "ServerAbandoned"
        else:
            status = "ServerClosed" if self.closing else "ServerDisconnected"
        yield ReportStatus(status, number, why)
        yield from self._put_back(back, reason, now)
        node = self.nodes.get(server.node)
        if node is not None:
            node.servers.pop(number, None)
            self._weigh(server.node, node)
            counts = server.restarts if server.reported else not server.useless
            if not server.reported:
                self._unsaid[number] = server.node, counts
                if not (server.useless or server.leaving):  # its process may be there, and hang
                    yield CloseServer(server.node, number, True, server.replace)
            if not counts:
                node.left -= 1
                yield from self._abandon_at(node, why)
        if (follower := self._followers.pop(number, None)) is not None:
            yield from self._server_is_up(follower, now)

    def _abandon_at(self, node: Node, reason: str) -> Iterator[Effect]:
        """What waits for the servers of a node that has none, and gets none."""
        if not node.has_servers:
            for task in [*node.waiting, *node.waiting_io]:
                yield from self._abandon(task, f"no server is left at that node: {reason}")
            node.waiting.clear()
            node.waiting_io.clear()
