"""What holds a client's nodes and servers back: a part of the dispatch machine.

A hold is a reason for which nothing is given to a node or server: its client has suspended it, nothing is heard of
it, it is short of what was asked for.  While there is none, it is open to tasks.
"""

from __future__ import annotations

from collections.abc import Callable

from parkcos.client import dispatch_events as d
from parkcos.client.places import Places
from parkcos.client.records import CLOSING, DISABLED, ENDING, FAILED, OPEN, PAUSED, SILENT, Node, Server
from parkcos.client.tasks import Tasks


class Holds:
    def __init__(self, places: Places, tasks: Tasks, order: Callable[[d.Effect], None]) -> None:
        self.places = places
        self.tasks = tasks
        self.order = order

    def hold(self, number: int, why: str, held: bool, reason: str, now: float) -> None:
        """Give a node or server nothing more because of `why`; or, because of that, hold it back no longer."""
        node, server = self.places.nodes.get(number), self.places.servers.get(number)
        holder = node or server
        if holder is None or (why in holder.holds) == held:
            return
        if isinstance(holder, Server):
            leaves = holder.state == ENDING
        else:
            leaves = holder.state == CLOSING and not holder.restart
        if leaves and why != SILENT:
            if not held:  # should it be set up again
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
            own = isinstance(holder, Server) and bool(holder.own)
            self.order(d.ReportStatus(kind + condition, number, reason, own))
        for each in list(node.servers) if node is not None else [number]:
            self.settle(each, now)

    def settle(self, number: int, now: float) -> None:
        """A ready server is open to tasks while nothing holds it, or its node, back."""
        server = self.places.servers[number]
        node = self.places.nodes.get(server.node)
        if node is None:  # it is gone, and its servers are ending
            return
        if server.holds or node.holds:
            if server.state == OPEN:
                self.places.retire(number, PAUSED)
                self.tasks.placing.ahead.recall(number, server)
        elif server.state == PAUSED:
            self.tasks.placing.open_to_tasks(number, now)

    def held_back(self) -> tuple[int, dict[int, str]]:
        """How many tasks wait for nodes and servers that are held back, and why each of these is, by its number."""
        places, placing = self.places, self.tasks.placing
        anywhere = 0
        if not any(server.state == OPEN for server in places.servers.values()):
            anywhere = len(placing.pending) + len(placing.io_pending) + sum(map(len, placing.choices.queues()))
        own, own_why = placing.processes.held_back()
        own += sum(map(len, placing.exclusive.queues()))
        count, why = anywhere + own, {}
        for number, node in places.nodes.items():
            servers = {each: places.servers[each] for each in node.servers}
            at = {each: _waiting(server) for each, server in servers.items() if server.state == PAUSED}
            at[number] = _waiting(node) if all(server.state != OPEN for server in servers.values()) else 0
            count += sum(at.values())
            holders: dict[int, Node | Server] = {number: node, **servers}
            for each, holder in holders.items():
                concerned = anywhere or at[number] or at.get(each) or (holder is node and (own or any(at.values())))
                if concerned and (reasons := _reasons(holder)):
                    why[each] = reasons
            if own and number in own_why:
                why[number] = ", ".join(filter(None, [why.get(number), own_why[number]]))
        return count, why


def _waiting(holder: Node | Server) -> int:
    """How many tasks wait for just this one."""
    return len(holder.queue) + len(holder.io_queue)


def _reasons(holder: Node | Server) -> str:
    """Why it is given nothing, or ""."""
    reasons = [f"{kind}: {reason}" for kind, reason in holder.holds.items()]
    if isinstance(holder, Node) and holder.state == DISABLED:
        reasons.append("disabled: it waits for enable_node")
    return ", ".join(reasons)
