"""A node's process and its zygote in the world: the real machine, with a simulated shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parkcos.cluster import messages as m
from parkcos.cluster.node_info import NodeInfo
from parkcos.node import servers
from parkcos.node import state as ns
from parkcos.node import state_events as ev
from tests.sim.process import Process
from tests.sim.server import KILLED, Server

if TYPE_CHECKING:
    from tests.sim.world import World


class Zygote:
    """A client's processes at a node, or those of one of its spaces."""

    def __init__(self, node: Node, client: int, space: int) -> None:
        self.node = node
        self.client = client
        self.space = space
        self.alive = True
        self.servers: dict[int, Server] = {}
        self.last_at = 0.0

    def report(self, event: Any, last: bool = False) -> None:
        """In order, over the pipe to the node."""
        if self.alive:
            world, node = self.node.world, self.node
            self.last_at = when = max(self.last_at, world.now + world.wire.delay(node.slowness))
            world.at(when, node.if_alive, node.heard, (self, event))
        self.alive = self.alive and not last

    def end(self, reason: str) -> None:
        if not self.alive:
            return
        for server in list(self.servers.values()):
            server.end("its zygote ended", report=False)
        self.report(ev.ZygoteExited(reason, self.space), last=True)


class Node(Process):
    def __init__(self, world: World, name: str, cpus: int, python: str = "3.11") -> None:
        super().__init__(world, "node", name)
        self.name, self.cpus, self.python = name, cpus, python
        self.machine = ns.NodeMachine(own_max=world.rng.randrange(1, 4) if world.plan.own or world.plan.spaces else 0)
        self.zygotes: dict[int, Zygote] = {}
        self.has_resource = name[-1] in "02468"
        if world.rng.random() < world.plan.slow_nodes:
            self.slowness = world.rng.choice([10.0, 100.0, 1000.0])
        world.nodes[self.number] = self

    @property
    def addr(self) -> str:
        return f"10.{self.number >> 16 & 255}.{self.number >> 8 & 255}.{self.number & 255}"

    def info(self) -> NodeInfo:
        resources = {"gpu": 1.0} if self.has_resource else {}
        return NodeInfo(
            self.number,
            self.name,
            self.addr,
            9706,
            self.cpus,
            "Linux",
            self.python,
            "0",
            resources=resources,
            own_max=self.machine.servers.own_max,
        )

    def state(self) -> m.NodeState:
        machine = self.machine
        self.world.bar(machine.idled, self.number)
        return m.NodeState(self.info(), machine.client, machine.idled, machine.lost)

    def receive(self, sender: int, message: Any) -> None:
        match message:
            case m.AskState():
                self.handle(ev.SchedulerSeen(sender))
            case m.ReserveNode(client, _, _, process, zombie_period_s):
                self.world.wire.connect(self, process, anew=True)
                self.handle(ev.ReserveAsked(sender, client, process, zombie_period_s))
            case m.ReleaseNode(client):
                self.handle(ev.ReleaseAsked(client, sender))
            case m.SetupNode(client, cpus, restart, setup_id=setup_id, claim=claim, orphan_s=orphan_s):
                if sender == self.machine.client_process:
                    self.world.wire.be_patient(self, sender)
                run = claim.run if claim is not None else 0
                self.handle(ev.SetupAsked(client, min(cpus, self.cpus), restart, sender, setup_id, run, orphan_s))
            case m.ReturnToNode(client, claim):
                self.world.wire.be_patient(self, sender)
                self.handle(ev.ClientReturned(client, sender, claim.run))
            case _ if message.client == self.machine.client and sender != self.machine.client_process:
                pass  # of an earlier program
            case m.CloseNode(client, terminate, keep, setup_id):
                self.handle(ev.CloseAsked(client, terminate, "", keep, sender, setup_id))
            case m.CloseServer(client, server, terminate, restart):
                self.handle(ev.CloseServerAsked(client, server, terminate, restart))
            case m.OpenSpace(client, space):
                self.handle(ev.SpaceAsked(client, space, sender))
            case m.CloseSpace(client, space):
                self.handle(ev.CloseSpaceAsked(client, space))
            case m.StartOwn(client, own, niceness, space):
                memory = self.world.rng.choice([None, servers.OWN_MEMORY_BYTES_MIN, 0]) if self.world.faulty else None
                self.handle(ev.OwnAsked(client, own, niceness, sender, memory, space))
            case m.EndOwn(client, own, terminate):
                self.handle(ev.EndOwnAsked(client, own, terminate))

    def gone(self, process: int, reason: str) -> None:
        self.handle(ev.ProcessLost(process, reason))

    def heard(self, zygote: Zygote, event: Any) -> None:
        if zygote is self.zygotes.get(zygote.space):
            if isinstance(event, ev.ZygoteExited):
                del self.zygotes[zygote.space]
            self.handle(event)

    def handle(self, event: Any) -> None:
        self.step(self.machine, event, self.execute)
        self.arm(self.machine, self.time_passed, ev.TimePassed())

    def time_passed(self, event: Any) -> None:
        if self.machine.idle_max_s:
            servers = [server for zygote in self.zygotes.values() for server in zygote.servers.values()]
            last = max((s.active_at for s in servers), default=0.0)
            self.handle(ev.TasksSeen(sum(s.machine.running for s in servers), last))
        own = any(server.own and not server.space for server in self.machine.servers.by_index.values())
        idled = self.machine.idled
        self.handle(event)
        assert not own or self.machine.idled == idled, f"{self} closes a client for running nothing that runs something"

    def execute(self, effect: Any) -> None:
        world, rng = self.world, self.world.rng
        match effect:
            case ev.ToScheduler(process, None):
                self.send(process, self.state())
            case ev.ToScheduler(process, message):
                self.send(process, message)
            case ev.ToClient(process, message):
                if isinstance(message, m.NodeFailed) and message.setup:
                    world.bar(message.client, self.number)
                self.send(process, message)
            case ev.OpenZygote(client, space):
                assert space not in self.zygotes, f"{self} opens a zygote beside another"
                assert space or not world.servers_at(self), f"{self} serves client {client} beside another's servers"
                zygote = self.zygotes[space] = Zygote(self, client, space)
                fails = world.faulty and rng.random() < world.plan.setup_fails
                event = ev.SetupFailed("node_setup failed", True, space) if fails else ev.SetupDone(space)
                world.happened["space that cannot be opened"] += fails and bool(space)
                self.later(rng.expovariate(10) * self.slowness**0.5, zygote.report, event)
            case ev.ForkServer(index, own):
                zygote = self.zygotes[self.machine.servers.by_index[index].space]
                if zygote.alive:  # else its end is about to be reported
                    assert self.server(index) is None, f"{self} forks server {index} twice"
                    assert own or index < self.cpus, f"{self} has {self.cpus} CPUs and forks server {index}"
                    zygote.servers[index] = Server(world, self, zygote, index, own)
            case ev.EndServer(index, grace_s):
                server = self.server(index)
                if server is not None:
                    server.later(rng.expovariate(1000), server.asked_to_end, grace_s)
            case ev.KillServer(index):
                server = self.server(index)
                if server is not None:
                    server.killed_by_node = True
                    server.later(rng.expovariate(1000), server.end, KILLED)
            case ev.CloseZygote(space):
                if space in self.zygotes:
                    self.later(rng.expovariate(100), self.zygotes[space].end, "closed")
            case ev.KillZygote():
                if 0 in self.zygotes:
                    self.later(rng.expovariate(1000), self.zygotes[0].end, "killed by its node")
            case ev.Stop():
                assert not world.servers_at(self), f"{self} stops before its servers"
                self.end("stopped")

    def server(self, index: int) -> Server | None:
        return next((each.servers[index] for each in self.zygotes.values() if index in each.servers), None)

    def end(self, reason: str) -> None:
        """It is killed, or has stopped: within a second its servers are gone too; soon it is started again."""
        super().end(reason)
        for zygote in self.zygotes.values():
            zygote.alive = False
            for server in list(zygote.servers.values()):
                server.later(self.world.rng.random(), server.end, "its node is gone", False)
        self.world.at(self.world.now + 1 + self.world.rng.random() * 5, self.world.start_node, self.name, self.cpus)
