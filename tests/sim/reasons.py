"""What clients wait for, and why tasks are abandoned, compared with what is true in the world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parkcos.client import dispatch_events as d
from parkcos.client.records import CLOSING, OPENING, READY, SHORT, SILENT, SUSPENDED, WANTED
from parkcos.node import records
from tests.sim.server import Server

if TYPE_CHECKING:
    from tests.sim.client import Client
    from tests.sim.node import Node
    from tests.sim.world import World

UNTRUE_MAX_S = 120.0
"""Seconds that something untrue may last in a healed world: sessions end, reservations run out."""


class Watch:
    """Notices what stays untrue for too long, once the world is healed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.since: dict[str, float] = {}

    def look(self) -> None:
        now = self.world.now
        complaints = {text for client in self.world.clients for text in untrue(client)}
        self.since = {text: self.since.get(text, now) for text in sorted(complaints)}
        for text, since in self.since.items():
            assert now - since < UNTRUE_MAX_S, f"for {now - since:.0f} s: {text}"


def untrue(client: Client) -> Iterator[str]:
    """What a client waits for in vain, or holds against a node or server though it is not so."""
    world, machine = client.world, client.machine
    if client.over or client.state != "running" or not client.program.alive:
        return
    its_turn = client.scheduler == world.scheduler.number and world.scheduler.machine.current == client.number
    if its_turn and not machine.stage.closing:
        yield from _unused(client)
    for number, known in machine.nodes.items():
        node = world.nodes[number]
        real = node.machine
        if known.state == WANTED and not its_turn:
            continue
        if not node.alive:
            yield f"{client} has {node}, {known.state}, which is no more"
        elif known.state == WANTED:
            if real.phase == records.FREE:
                yield f"{client} waits for {node}, which is free"
        elif known.state != "disabled" and real.client != client.number:
            yield f"{client} has {node}, {known.state}, which does not serve it"
        elif known.state == READY and real.phase == records.SERVING:
            servers, count = _computing(world, node), sum(not server.own for server in real.servers.by_index.values())
            failed = sum(s.failed or s.index in known.given_up for s in servers)
            if not count - failed <= known.left <= count:
                yield f"{client} takes {node} to have {known.left} servers of {count}, {failed} useless"
            for server in servers:
                given_up = server.failed or server.index in known.given_up
                if server.number not in machine.servers and not given_up:
                    yield f"{client} does not use {server} at {node}"
            there = {server.own for server in real.servers.by_index.values() if server.own}
            if there != known.own.keys():
                yield f"{client} takes {node} to have the processes {list(known.own)} of {sorted(there)}"
        yield from _held(client, number, known.holds)
    for number, record in machine.servers.items():
        server = world.processes[number]
        if not server.alive:
            yield f"{client} has {server}, {record.state}, which is no more"
        elif record.state == OPENING and isinstance(server, Server) and not server.opened:
            yield f"{client} has opened {server}, which does not know it"
        yield from _held(client, number, record.holds)


def _computing(world: World, node: Node) -> list[Server]:
    """The servers there, without the processes beside them."""
    return [server for server in world.servers_at(node) if not server.own]


def _unused(client: Client) -> Iterator[str]:
    """Free nodes that this client could use."""
    world = client.world
    for node in world.nodes.values():
        usable = node.alive and node.python == "3.11" and not node.machine.stopping
        if usable and node.machine.phase == records.FREE and (client.number, node.number) not in world.barred:
            yield f"{node} is free, and {client} does not use it"


def _held(client: Client, number: int, holds: dict[str, str]) -> Iterator[str]:
    end = client.program.ends.get(number)
    who = client.world.processes[number]
    if SILENT in holds and (end is None or not end.silent):
        yield f"{client} takes {who} to be silent, which it is not"
    for hold in holds.keys() & {SUSPENDED, SHORT}:
        yield f"{client} holds {who} back as {hold}, which it is not"


def check_abandoned(client: Client, effect: d.ReportAbandoned) -> None:
    """Whether a task may be abandoned now, and for this reason."""
    world, machine, task, reason = client.world, client.machine, effect.task, effect.reason
    truth = world.tasks[client.number, task]
    assert reason, f"task {task} is abandoned without a reason"
    lost, setup = reason.startswith("its server"), "where it was tried" in reason
    stage = machine.stage
    if stage.closing or stage.scheduler_lost or truth.withdrawn or truth.want_server or effect.timed_out:
        return
    node = world.nodes.get(truth.want_node)
    if node is not None and (node.number not in machine.nodes or machine.nodes[node.number].given_up):
        return  # it is lost to its client, or its servers end one after the other
    if truth.space:
        known = machine.nodes[node.number] if node is not None else None
        closing = known is not None and known.state == CLOSING
        places = [known] if known is not None else list(machine.nodes.values())
        nowhere = all(each.spaces.get(truth.space) for each in places) or (known is not None and not known.has_servers)
        assert closing or setup or nowhere or not truth.tries, f"task {task} of {client} may have a process: {reason}"
        return
    if truth.own:
        closing = node is not None and machine.nodes[node.number].state == CLOSING
        assert closing or setup or not truth.tries, f"task {task} of {client} may have another process: {reason}"
        return
    if any(at == truth.want_node and not counts for at, counts in machine.members.ends.unsaid.values()):
        return  # the setup of its server has failed, and another one that may be there by now is not known yet
    if node is None:
        assert setup or not truth.tries, f"task {task} of {client} may be run again, and is abandoned: {reason}"
    elif "no server is left at that node" in reason or (lost and truth.tries):
        real, failed = node.machine, sum(s.failed for s in _computing(world, node))
        servers = [server for server in real.servers.by_index.values() if not server.own]
        has_servers = node.alive and real.client == client.number and len(servers) > failed
        restarts = real.phase == records.SERVING and any(s.restart or not s.asked for s in servers)
        assert not (has_servers and restarts), f"{node} has servers, and task {task} of {client} is abandoned: {reason}"
