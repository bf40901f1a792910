"""What goes wrong in a world: processes are killed, or crash between two effects, hosts are cut off from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parkcos.node import state_events as ev
from tests.sim.process import Process
from tests.sim.server import KILLED
from tests.sim.wire import Cut

if TYPE_CHECKING:
    from tests.sim.world import World

FAULTS = ["server"] * 5 + ["node", "node", "client", "zygote", "stop", "close", "close", "close_node"]
FAULTS += ["end_node", "crash_node", "crash_server", "crash_client", "crash_scheduler"]
FAVOURED_SHARE = 0.7
CUTS = ["client", "client", "scheduler", "scheduler client", "node", "any"]


def fault(world: World) -> None:
    """Something goes wrong."""
    rng = world.rng
    if not world.faulty:
        return
    kind = world.plan.favoured if rng.random() < FAVOURED_SHARE else ""
    kind = kind or rng.choice(FAULTS)
    nodes = [n for n in world.nodes.values() if n.alive]
    if rng.random() < 0.8:
        nodes = [n for n in nodes if world.servers_at(n)]
    servers = [s for n in nodes for s in world.servers_at(n)]
    programs = sorted({c.program.number for c in world.clients if c.program.alive and not c.over})
    if not world.plan.clients_die:
        programs = []
    if kind == "server" and servers:
        rng.choice(servers).end(KILLED)
    elif kind == "node" and nodes:
        rng.choice(nodes).end("killed")
    elif kind == "client" and programs:
        world.processes[rng.choice(programs)].end("killed")
    elif kind == "zygote" and nodes:
        zygotes = list(rng.choice(nodes).zygotes.values())
        if zygotes:
            rng.choice(zygotes).end(KILLED)
    elif kind == "stop" and nodes:
        rng.choice(nodes).handle(ev.StopAsked(rng.random() < 0.5))
    elif kind == "end_node" and nodes:  # by Ctrl-C
        node = rng.choice(nodes)
        node.handle(ev.StopAsked(False))
        if node.alive and node.machine.client:
            node.handle(ev.CloseAsked(node.machine.client, True, "its node was told to end"))
    elif kind == "close" and servers:  # a task there calls close_server()
        server = rng.choice(servers)
        if server.opened:
            restart, terminate = rng.random() < 0.5, rng.random() < 0.5
            server.node.handle(ev.CloseServerAsked(server.client, server.number, terminate, restart))
    elif kind == "close_node" and servers:
        server = rng.choice(servers)
        world.bar(server.client, server.node.number)
        server.node.handle(ev.CloseAsked(server.client, rng.random() < 0.5))
    elif kind == "crash_node" and nodes:
        crash_soon(world, rng.choice(nodes))
    elif kind == "crash_server" and servers:
        crash_soon(world, rng.choice(servers))
    elif kind == "crash_client" and programs:
        crash_soon(world, world.processes[rng.choice(programs)])
    elif kind == "crash_scheduler" and world.plan.scheduler_dies and world.scheduler.alive:
        crash_soon(world, world.scheduler)


def crash_soon(world: World, process: Process) -> None:
    """After so many more effects, wherever that is."""
    process.doomed = world.rng.randrange(1, 8)


def cut(world: World) -> None:
    """Some hosts do not reach others for a while, or do not hear them."""
    rng = world.rng
    if not world.faulty:
        return
    nodes = [n.host for n in world.nodes.values() if n.alive]
    programs = sorted({c.program.host for c in world.clients if c.program.alive and not c.over})
    if not nodes or not programs:
        return
    some = set(rng.sample(nodes, rng.randrange(1, len(nodes) + 1)))
    kind = rng.choice(CUTS)
    if kind == "client":
        one, other = {rng.choice(programs)}, some
    elif kind == "scheduler":
        one, other = {"scheduler"}, some
    elif kind == "scheduler client":
        one, other = {"scheduler"}, {rng.choice(programs)}
    else:
        hosts = {"scheduler", *nodes, *programs}
        one = {rng.choice(nodes)} if kind == "node" else {h for h in sorted(hosts) if rng.random() < 0.5}
        other = hosts - one
    if rng.random() < 0.5:
        one, other = other, one
    seconds = rng.choice([1.0, 10.0, 40.0, 100.0, 300.0]) * (0.5 + rng.random())
    world.wire.cut(Cut(one, other, rng.random() < 0.4), seconds)
