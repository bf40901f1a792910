"""How servers end, and what their end is counted as: a part of the dispatch machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from parkcos.client import dispatch_events as d
from parkcos.client.own import Own
from parkcos.client.places import Places
from parkcos.client.records import OPENING, READY, SILENT, End, Node, Server, Stage
from parkcos.client.tasks import Tasks

END_WAIT_S = 1.0
"""Seconds between the first word of a server's end, from its node or its session, and the latest second one."""

EARLY_ENDS_MAX = 3
"""When so many servers have ended in server_setup, one after the other, the next one would, too."""


class Ends:
    """The ends of servers, of each of which its node and its session have a word to say.

    begin: told of a server whose address was an earlier one's, when that has ended.
    """

    def __init__(
        self,
        places: Places,
        tasks: Tasks,
        own: Own,
        stage: Stage,
        order: Callable[[d.Effect], None],
        begin: Callable[[d.ServerIsUp, float], None],
    ) -> None:
        self.places = places
        self.nodes = places.nodes
        self.servers = places.servers
        self.tasks = tasks
        self.own = own
        self.stage = stage
        self.order = order
        self.begin = begin
        self.awaited: dict[int, None] = {}
        """Servers, in the order of their ``end.by_s``."""
        self._followers: dict[int, d.ServerIsUp] = {}
        """Server that is ending -> the one that has taken its address, which stays unsaid before that end."""
        self.unsaid: dict[int, tuple[int, bool]] = {}
        """Servers that have ended here, while their node has yet to say whether another one takes the place: the
        node, and whether that place counts in its `left`."""

    def has_to_wait(self, event: d.ServerIsUp) -> bool:
        """Whether this server has the address of one that is ending; it is begun when that has ended."""
        for number in self.awaited:
            if (self.servers[number].addr, self.servers[number].port) == (event.addr, event.port):
                self._followers[number] = event
                return True
        return False

    def lose_node(self, number: int, servers: Iterable[int], reason: str) -> None:
        """These servers of that node end; ``await_end`` comes for each."""
        for server in servers:
            record = self.servers[server]
            end = record.ending()
            end.node_says = end.node_says or reason
            self.places.retire(server)
            record.node = 0
        for server in [s for s, (at, _) in self.unsaid.items() if at == number]:
            del self.unsaid[server]
        for server in [s for s, follower in self._followers.items() if follower.node == number]:
            del self._followers[server]

    def server_is_leaving(self, event: d.ServerIsLeaving, now: float) -> None:
        if (server := self.servers.get(event.server)) is not None:
            server.ending().leaving = True
            self.places.retire(event.server)

    def server_setup_failed(self, event: d.ServerSetupFailed, now: float) -> None:
        server = self.servers.get(event.server)
        if server is not None:
            end = server.ending()
            end.node_says = event.error or "server_setup failed"
            if not server.own:
                self.stage.setup_error = end.node_says
            end.useless = True
            self.end_server(event.server, now)

    def server_is_down(self, event: d.ServerIsDown, now: float) -> None:
        for ending, follower in list(self._followers.items()):
            if follower.server == event.server:  # it has had that address, too: the session with the other is long over
                self.end_server(ending, now)
        server = self.servers.get(event.server)
        self.own.has_ended(event, server, now)
        if server is not None:
            end = server.ending()
            end.node_says, end.asked, end.successor = event.reason or "it ended", event.asked, event.restarts
            node = self.nodes.get(server.node)
            if server.own:
                pass
            elif node is not None and node.state == READY and not (event.restarts or event.asked):
                node.restart = True  # it is about to say that it has failed
            elif node is not None and (end.early or server.state == OPENING):
                self._count_early_end(node, server.index, end)
            self.await_end(event.server, now)
            return
        at, counts = self.unsaid.pop(event.server, (0, False))
        if (node := self.nodes.get(at)) is not None:
            node.left += event.restarts - counts
            self.abandon_if_empty(node, event.reason)

    def _count_early_end(self, node: Node, index: int, end: End) -> None:
        """A server ended before it was ready, most likely by what server_setup did.  The next one is not up yet."""
        node.early_ends += 1
        if node.early_ends >= EARLY_ENDS_MAX:
            self.stage.setup_error = f"a server ended before it was ready: {end.node_says}"
            end.successor = False
            node.given_up.add(index)

    def session_ended(self, number: int, reason: str, now: float) -> None:
        if (server := self.servers.get(number)) is not None:
            server.ending().session_says = reason or "it ended"
            self.await_end(number, now)

    def await_end(self, number: int, now: float) -> None:
        """Its node and its session both have a word to say; what it sent last may still be on its way."""
        server = self.servers[number]
        end = server.ending()
        end.early = server.state == OPENING
        self.places.retire(number)
        if end.node_says and end.session_says:
            self.end_server(number, now)
        elif end.by_s is None:
            end.by_s = now + END_WAIT_S
            self.awaited[number] = None

    def end_server(self, number: int, now: float) -> None:
        """It is no more, whoever has said so, or is given up."""
        self.places.retire(number)
        self.awaited.pop(number, None)
        server = self.servers[number]
        end = server.ending()
        why = end.node_says or end.session_says
        reason = f"its server {server.addr}:{server.port} ended: {why}"
        back = self.tasks.server_has_ended(number, server, reason)
        node = self.nodes.get(server.node)
        del self.servers[number]
        if node is not None:
            node.own_servers.pop(number, None)
        self.order(d.ReportStatus(self._status_of(server, end), number, why, bool(server.own)))
        self.tasks.put_back(back, reason, now)
        self.tasks.placing.exclusive.has_ended(server, now)
        if node is not None and server.own:
            if end.successor is None:  # its process may be there
                self.own.is_given_up(server, reason, now)
        elif node is not None:
            node.servers.pop(number, None)
            self.places.weigh(server.node, node)
            counts = not end.useless if end.successor is None else end.successor
            if end.successor is None:
                self.unsaid[number] = server.node, counts
                if not (end.useless or end.leaving):  # its process may be there, and hang
                    self.order(d.CloseServer(server.node, number, True, end.replace))
            if not counts:
                node.left -= 1
                self.abandon_if_empty(node, why)
        if (follower := self._followers.pop(number, None)) is not None:
            self.begin(follower, now)

    def _status_of(self, server: Server, end: End) -> str:
        if end.asked:
            return "ServerClosed"
        if SILENT in server.holds:
            return "ServerAbandoned"
        return "ServerClosed" if self.stage.closing else "ServerDisconnected"

    def abandon_if_empty(self, node: Node, reason: str) -> None:
        """What waits for the servers of a node that has none, and gets none."""
        if not node.has_servers:
            why = f"no server is left at that node: {reason}"
            self.tasks.abandon_waiting(node, why)
            self.tasks.abandon_each(self.tasks.placing.exclusive.forget_node(node.info.incarnation), why)

    # -- time

    def next_deadline(self) -> float | None:
        """When it next wants to hear that time has passed."""
        for number in self.awaited:
            return self.servers[number].ending().by_s
        return None

    def time_passed(self, now: float) -> None:
        for number in list(self.awaited):
            by_s = self.servers[number].ending().by_s
            if by_s is None or by_s > now:
                break
            self.end_server(number, now)

    def spoken_of(self) -> set[int]:
        """The servers that effects may be about, and which are in no other table."""
        return {follower.server for follower in self._followers.values()}

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        for number, follower in self._followers.items():
            assert number in self.awaited, f"server {follower.server} waits for the end of one that has ended"
            assert follower.server not in self.servers, f"server {follower.server} is known before its time"
