"""What holds a client's nodes and servers back, lets them go on and closes them: a part of the dispatch machine.

A hold is a reason for which nothing is given to a node or server: its client has suspended it, nothing is heard of
it, it is short of what was asked for.  While there is none, it is open to tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parkcos.client.dispatch_events import (
    AbandonAsked,
    CloseNode,
    CloseNodeAsked,
    CloseServer,
    CloseServerAsked,
    Dismiss,
    Effect,
    EnableAsked,
    LoadSeen,
    OpenServer,
    Reallocated,
    Recall,
    ReportStatus,
    SilenceSeen,
    SuspendAsked,
    Want,
)
from parkcos.client.membership import FAILED, SILENT, Membership
from parkcos.client.placing import (
    CLOSING,
    DISABLED,
    ENDING,
    FAILING,
    OPEN,
    OPENING,
    PAUSED,
    READY,
    SETUP,
    WANTED,
    Node,
    Server,
)

SUSPENDED, SHORT = "suspended", "short"


@dataclass
class Controls(Membership):
    """What the client's program, silence and scarcity do to nodes and servers."""

    def _suspend_asked(self, event: SuspendAsked, now: float) -> Iterator[Effect]:
        yield from self._hold(event.number, SUSPENDED, event.suspend, "its client asked for it", now)

    def _load_seen(self, event: LoadSeen, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None:
            return
        if event.busy is not None:
            own = 1 - len(node.idle) / len(node.servers) if node.servers else 0.0
            node.foreign = max(0.0, event.busy - own)
            self._weigh(event.node, node)
        yield from self._hold(event.node, SHORT, bool(event.short), event.short, now)

    def _silence_seen(self, event: SilenceSeen, now: float) -> Iterator[Effect]:
        yield from self._hold(event.process, SILENT, event.silent, event.reason, now)
        if event.silent:
            yield from self._abandon_if_silent(event.process, event.reason, now)

    def _abandon_asked(self, event: AbandonAsked, now: float) -> Iterator[Effect]:
        if not event.node:
            self.abandon_zombies = event.abandon
        for number in [event.node] if event.node else list(self.nodes):
            if (node := self.nodes.get(number)) is not None:
                node.abandon = event.abandon
                yield from self._abandon_if_silent(number, "nothing is heard of it", now)

    # -- holds

    def _hold(self, number: int, why: str, held: bool, reason: str, now: float) -> Iterator[Effect]:
        node, server = self.nodes.get(number), self.servers.get(number)
        holder = node or server
        if holder is None or (why in holder.holds) == held:
            return
        if isinstance(holder, Server):
            leaves = holder.state == ENDING
        else:
            leaves = holder.state == CLOSING and not holder.restart
        if leaves and why != SILENT:
            if not held:  # should it be set up anew
                holder.holds.pop(why, None)
            return
        if held:
            holder.holds[why] = reason
        else:
            del holder.holds[why]
        kind = "Node" if node is not None else "Server"
        lost = SILENT in holder.holds or FAILED in holder.holds
        condition = "Disconnected" if lost else "Suspended" if holder.holds else "Resumed"
        if condition != holder.condition:
            holder.condition = condition
            yield ReportStatus(kind + condition, number, reason)
        for each in list(node.servers) if node is not None else [number]:
            yield from self._settle(each, now)

    def held_back(self) -> tuple[int, dict[int, str]]:
        """How many tasks wait for nodes and servers that are held back, and why each of these is, by its number."""
        anywhere = 0
        if not any(server.state == OPEN for server in self.servers.values()):
            anywhere = len(self.pending) + len(self.pending_io)
        count, why = anywhere, {}
        for number, node in self.nodes.items():
            servers = {each: self.servers[each] for each in node.servers}
            at = {each: _waiting(server) for each, server in servers.items() if server.state == PAUSED}
            at[number] = _waiting(node) if all(server.state != OPEN for server in servers.values()) else 0
            count += sum(at.values())
            holders: dict[int, Node | Server] = {number: node, **servers}
            for each, holder in holders.items():
                concerned = anywhere or at[number] or at.get(each) or (holder is node and any(at.values()))
                if concerned and (reasons := _reasons(holder)):
                    why[each] = reasons
        return count, why

    def _settle(self, number: int, now: float) -> Iterator[Effect]:
        server = self.servers[number]
        node = self.nodes.get(server.node)
        if node is None:  # it is gone, and its servers are ending
            return
        if server.holds or node.holds:
            if server.state == OPEN:
                self._retire(number, PAUSED)
                yield from self._recall_ahead(number, server)
        elif server.state == PAUSED:
            yield from self._open_to_tasks(number, now)

    def _recall_ahead(self, number: int, server: Server) -> Iterator[Effect]:
        """Ask for what it has not begun: others may run it, or it waits for this one."""
        server.recalled = len(server.cpu) > 1
        for task in list(server.cpu)[1:]:
            record = self.tasks[task]
            if not record.recalling:
                record.recalling = True
                yield Recall(task, number)

    # -- giving up

    def _abandon_if_silent(self, number: int, reason: str, now: float) -> Iterator[Effect]:
        node, server = self.nodes.get(number), self.servers.get(number)
        if node is not None and SILENT in node.holds:
            if self._abandons(node) or self._nodes_told:
                yield from self._give_node_up(number, node, reason, now)
        elif server is not None:
            at = self.nodes.get(server.node)
            if at is not None and self._abandons(at):
                server.down = server.gone = reason
                yield from self._end_server(number, now)
                yield Dismiss(number, reason)

    def _abandons(self, node: Node) -> bool:
        return self.abandon_zombies if node.abandon is None else node.abandon

    # -- what the client's program asks for

    def _enable_asked(self, event: EnableAsked, now: float) -> Iterator[Effect]:
        node, server = self.nodes.get(event.number), self.servers.get(event.number)
        if node is not None and node.state == DISABLED:
            node.state = WANTED
            yield Want(event.number, node.cpus)
        elif server is not None and server.state == OPENING and not server.opened:
            server.opened = True
            yield OpenServer(event.number)

    def _close_server_asked(self, event: CloseServerAsked, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.server)
        if server is not None and server.node:
            server.unwanted = True
            yield from self._close_server(event, server)

    def _close_server(self, event: CloseServerAsked, server: Server) -> Iterator[Effect]:
        if server.state != ENDING:
            self._retire(event.server)
            for task in [*server.waiting, *server.waiting_io]:
                yield from self._abandon(task, "that server is being closed")
            server.waiting.clear()
            server.waiting_io.clear()
        server.replace = event.restart
        yield CloseServer(server.node, event.server, event.terminate, event.restart)

    def _close_node_asked(self, event: CloseNodeAsked, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None:
            return
        node.reconsider = False
        if node.state == DISABLED and not event.restart:
            yield Want(event.node, 0)
            yield from self._drop_node(event.node, "NodeClosed", "its client closed it", now)
        elif node.state == WANTED:
            node.unwanted = node.unwanted or not event.restart
            node.restart = node.restart and event.restart
        elif node.state == FAILING:
            node.restart = node.restart and event.restart  # it is closing without being asked
        elif node.state in (SETUP, READY, CLOSING):
            node.restart = event.restart
            node.state = CLOSING
            for server in node.servers:
                self.servers[server].unwanted = True
                self._retire(server)
            yield CloseNode(event.node, event.terminate, event.restart, node.setup_id)

    def _reallocated(self, event: Reallocated, now: float) -> Iterator[Effect]:
        for node in self.nodes.values():
            node.reconsider = (node.unwanted or node.state == CLOSING) and not node.restart
        yield from ()


def _waiting(holder: Node | Server) -> int:
    """How many tasks wait for just this one."""
    return len(holder.waiting) + len(holder.waiting_io)


def _reasons(holder: Node | Server) -> str:
    """Why it is given nothing, or ""."""
    reasons = [f"{kind}: {reason}" for kind, reason in holder.holds.items()]
    if holder.state == DISABLED:
        reasons.append("disabled: it waits for enable_node")
    return ", ".join(reasons)
