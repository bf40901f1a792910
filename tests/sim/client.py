"""Client programs in the world: each client's real dispatch machine, with a simulated shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parkcos.client import dispatch_events as d
from parkcos.client import returning_events as r
from parkcos.client.dispatch import Dispatch
from parkcos.client.membership import FAILURES_MAX
from parkcos.client.records import Task
from parkcos.cluster import messages as m
from parkcos.cluster import server_messages as sm
from parkcos.cluster.node_info import NodeInfo
from parkcos.net.trust.claims import Claim
from tests.sim import reasons
from tests.sim.choosing import Choices
from tests.sim.process import Process
from tests.sim.server import KILLED, Server, Truth

if TYPE_CHECKING:
    from tests.sim.world import World

SCHEDULER_BACK_S = 30.0
IN_A_ROW_S = 120.0
"""Failures of a node within this time may be failures in a row."""


class Program(Process):
    """A client program: one or more clients at once."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "program", "")
        self.host = f"program{self.number}"
        self.clients: dict[int, Client] = {}

    def receive(self, sender: int, message: Any) -> None:
        client = self.clients.get(message.client)
        if client is not None and client.state in ("waiting", "running"):
            client.receive(sender, message)

    def gone(self, process: int, reason: str) -> None:
        for client in list(self.clients.values()):
            client.gone(process, reason)

    def silence(self, process: int, silent: bool) -> None:
        for client in list(self.clients.values()):
            client.silence(process, silent)

    def end(self, reason: str) -> None:
        super().end(reason)
        left = [client for client in self.clients.values() if client.run and not client.over]
        for client in self.clients.values():
            client.over = True
        if left:
            self.world.follow(left)


class Client:
    """One client: its dispatch machine.  What its program does with it is in script.py."""

    def __init__(self, world: World, program: Program, earlier: Client | None = None) -> None:
        rng, plan = world.rng, world.plan
        self.world, self.program = world, program
        self.number = next(world.numbers) if earlier is None else earlier.number
        self.run = 0 if earlier is None else earlier.run + 1
        """Of the program, if the client may return."""
        if earlier is None and plan.returns and rng.random() < plan.returns:
            self.run = 1
        self.orphan_s = rng.choice([5.0, 60.0, 300.0]) if self.run else 0.0
        self.noted_nodes: dict[int, tuple[NodeInfo, int]] = {} if earlier is None else earlier.noted_nodes
        self.noted: dict[int, tuple[int, int]] = {} if earlier is None else earlier.noted
        """Tasks that were sent and not released: where."""
        self.released: set[int] = set() if earlier is None else earlier.released
        self.resumed = not self.run
        self.machine = Dispatch(
            disable_nodes=rng.random() < plan.disabled,
            disable_servers=rng.random() < plan.disabled,
            abandon_zombies=rng.random() < plan.abandon,
        )
        self.machine.number_from(self.first_number)
        self.state = "waiting"
        """Then running, then closed; or failed, or left."""
        self.over = False
        self.addresses: dict[int, tuple[int, int]] = {}
        self.present: dict[tuple[int, int], tuple[int, str]] = {}
        """By address: the server there that the status task knows, and what it was told last."""
        self.restart_servers = rng.random() < 0.2
        self.choosy = rng.random() < 0.3
        self.armed: float | None = None
        self.scheduler = world.scheduler.number
        self.infos: dict[int, NodeInfo] = {}
        self.back_until = 0.0
        self.failures: dict[int, list[float]] = {}
        """When each node failed."""
        self.leaving: set[int] = set()
        """The nodes that have said that their servers are about to end."""
        self.choices = Choices(self)
        program.clients[self.number] = self
        if earlier is not None:
            world.clients.remove(earlier)
        world.clients.append(self)
        world.wire.connect(program, self.scheduler, anew=True)
        self.enqueue()

    def __repr__(self) -> str:
        return f"client{self.number}({self.state})"

    def enqueue(self) -> None:
        self.program.send(self.scheduler, m.Enqueue(self.number, "client", "3.11", self.claim, self.orphan_s))

    @property
    def claim(self) -> Claim | None:
        return Claim(b"0" * 32, self.run, b"0" * 64) if self.run else None

    @property
    def first_number(self) -> int:
        """Below all that this program gives, and above what earlier ones have given."""
        return self.run * 1_000_000

    def take_over(self) -> None:
        """What an earlier program has left: as that has noted it."""
        if not self.run:
            return
        for (client, number), truth in self.world.tasks.items():
            if client != self.number:
                continue
            truth.client, truth.tries = self, 0
            if number in self.noted:
                truth.outcomes.clear()  # it is told again
            elif not truth.outcomes:
                truth.outcomes.append("not sent")
        nodes = [r.NodeNoted(info, cpus) for info, cpus in self.noted_nodes.values()]
        self.infos.update({info.incarnation: info for info, _ in self.noted_nodes.values()})
        self.handle(r.Returns(nodes, [r.TaskNoted(task, *at) for task, at in self.noted.items()]))

    def told_outcome(self, task: int, what: str) -> None:
        truth = self.world.tasks[self.number, task]
        truth.outcome(what)
        if self.run and self.world.rng.random() < 0.7:  # else it is not safe yet
            self.program.later(self.world.rng.expovariate(2), self.release, task)

    def release(self, task: int) -> None:
        _, server = self.noted.pop(task, (0, 0))
        if server:
            self.released.add(task)
            self.program.send(server, sm.ReleaseTasks(self.number, [task]))

    def leave(self, state: str) -> None:
        self.state, self.over = state, True
        self.program.send(self.scheduler, m.ClientLeaves(self.number))

    def receive(self, sender: int, message: Any) -> None:
        match message:
            case sm.TaskStarted(_, task, remote_id):
                self.count_stray(task, sender)
                self.handle(d.Started(task, sender, remote_id))
            case sm.TaskEnded(_, task, _, seconds, remote_id, cut):
                self.count_stray(task, sender)
                known = self.machine.tasks.get(task)
                counts = known is not None and known.server == sender
                self.handle(d.Ended(task, seconds, cut, sender, remote_id))
                if known is not None and task not in self.machine.tasks:
                    self.told_outcome(task, "ended")
                elif task in self.machine.life.unjudged and counts:
                    self.program.later(self.world.rng.expovariate(100), self.judge, task)
                elif counts:
                    assert cut, f"task {task} has not ended, although its server says so"
                    self.world.happened["interrupted task to be run again"] += 1
            case sm.TaskRefused(_, task, error):
                self.handle(d.Refused(task, error, sender))
            case sm.TaskRecalled(_, task, ok):
                self.handle(d.Recalled(task, ok, sender))
            case m.ServerUp(_, index, _, port, incarnation, own):
                self.addresses[incarnation] = (sender, port)
                self.choices.indexes[incarnation] = index + 1
                self.world.happened["process of a single task"] += bool(own)
                self.handle(d.ServerIsUp(sender, incarnation, self.world.nodes[sender].addr, port, index, own))
            case m.OwnRefused(_, own, reason, setup):
                self.world.happened["process of a single task refused"] += 1
                self.handle(d.OwnIsRefused(sender, own, reason, setup))
            case sm.ServerReady():
                self.handle(d.ServerIsReady(sender))
            case sm.ServerFailed(_, error):
                self.handle(d.ServerSetupFailed(sender, error))
            case m.ServerDown(_, incarnation, reason, restarts, asked):
                server = self.world.processes[incarnation]
                untrue = isinstance(server, Server) and server.killed_by_node and reason == KILLED
                assert not untrue, f"{server} was ended by its node, and its client is told that it was {reason}"
                self.handle(d.ServerIsDown(incarnation, reason, restarts, asked))
            case m.NodeLeaves(_, setup_id):
                self.world.happened["node that said that it leaves"] += 1
                self.handle(d.NodeIsLeaving(sender, setup_id))
                if self.machine.members.is_of_now(sender, setup_id):
                    self.leaving.add(sender)
            case m.NodeReady(_, setup_id):
                self.leaving.discard(sender)
                self.handle(d.NodeIsReady(sender, setup_id))
            case m.NodeResumed(_, setup_id, ready, _, left, servers):
                self.world.happened["node that serves the next program"] += 1
                kept = [r.ServerKept(each.incarnation, each.own) for each in servers]
                self.handle(r.NodeIsResumed(sender, setup_id, ready, left, kept))
            case sm.ServerResumed(_, opened, tasks, more):
                at = self.noted
                over = {t.task for t in tasks if t.task in self.released or at.get(t.task, (0, sender))[1] != sender}
                if over:
                    self.program.send(sender, sm.ReleaseTasks(self.number, sorted(over)))
                new = [each for each in tasks if each.task not in self.machine.tasks and each.task not in over]
                if sender in self.machine.servers:
                    self.world.happened["task that the next program took over"] += len(new)
                    self.handle(r.ServerIsResumed(sender, opened, [Task(each.task, each.io) for each in new], more))
            case m.NodeFailed(_, error, setup, setup_id):
                self.note_failure(sender)
                self.handle(d.NodeHasFailed(sender, error, setup, not setup, setup_id))
            case m.NodeClosed(_, reason, kept, setup_id):
                self.world.happened["node set up again"] += kept
                self.handle(d.NodeHasClosed(sender, reason, kept, setup_id))
            case m.Dismissed(_, reason):
                self.world.happened["client closed for running nothing"] += 1
                self.handle(d.CloseAsked(True, why=f"the scheduler has closed this client: {reason}"))
            case m.Queued():
                pass
            case m.Scheduled():
                self.scheduled()
            case _ if sender != self.scheduler:
                pass  # of the one that this client has lost
            case m.NodeOffer(_, info):
                self.infos[info.incarnation] = info
                self.consider(info)
            case m.NodeGranted(_, node):
                self.world.wire.connect(self.program, node, anew=True)
                self.handle(d.Granted(node))
            case m.NodeUnusable(_, info, reason):
                self.handle(d.NodeHasFailed(info.incarnation, reason))

    def judge(self, task: int) -> None:
        """Its result has been opened: it may have raised what its options name."""
        again = self.world.rng.random() < 0.5
        truth = self.world.tasks[self.number, task]
        self.handle(d.Judged(task, "it raised" if again else ""))
        if task not in self.machine.tasks:
            if not truth.outcomes:  # else the place where it must run was gone
                self.told_outcome(task, "ended")
        elif task not in self.machine.life.unjudged:
            self.world.happened["task run again for what it raised"] += 1

    def count_stray(self, task: int, server: int) -> None:
        known = self.machine.tasks.get(task)
        self.world.happened["word of a task that runs elsewhere by now"] += known is not None and known.server != server

    def note_failure(self, node: int) -> None:
        """A node that fails again and again is not used any more."""
        times = self.failures.setdefault(node, [])
        times.append(self.world.now)
        if len(times) > FAILURES_MAX and times[-1] - times[-1 - FAILURES_MAX] < IN_A_ROW_S:
            self.world.bar(self.number, node)

    def consider(self, info: NodeInfo) -> None:
        unwanted = self.choosy and info.name.endswith("3")
        if unwanted:
            self.world.bar(self.number, info.incarnation)
        cpus = 0 if unwanted else self.world.rng.randrange(1, info.cpus + 1) if self.choosy else info.cpus
        self.program.later(self.world.rng.expovariate(1000), self.offered, info, cpus)

    def offered(self, info: NodeInfo, cpus: int) -> None:
        self.handle(d.Offered(info, cpus))

    def scheduled(self) -> None:
        if self.state == "waiting":
            self.state = "running"
            self.begin()
        else:
            self.handle(d.TurnBegun())

    def has_nothing_left(self) -> bool:
        """Whether there is no node, or tasks wait for servers that none of those is that are there."""
        return not self.machine.nodes or bool(self.machine.queue.choices.unmet())

    def enter(self, task: Task, truth: Truth) -> None:
        """A task is submitted, if this client is still there."""
        raise NotImplementedError

    def begin(self) -> None:
        """It is this client's turn."""
        raise NotImplementedError

    # -- the scheduler comes and goes

    def gone(self, process: int, reason: str) -> None:
        if process == self.scheduler:
            self.scheduler = 0
            self.back_until = self.world.now + SCHEDULER_BACK_S
            self.return_to_scheduler(reason)
        self.handle(d.ProcessLost(process, reason))

    def return_to_scheduler(self, reason: str) -> None:
        world = self.world
        there = world.scheduler
        if there.alive:
            world.wire.connect(self.program, there.number, anew=True)
        if world.wire.is_up(self.program, there.number):
            self.scheduler = there.number
            if self.state in ("waiting", "running"):
                self.enqueue()
            else:
                self.program.send(self.scheduler, m.ClientLeaves(self.number))
        elif world.now < self.back_until:
            self.program.later(0.5 + world.rng.random(), self.return_to_scheduler, reason)
        else:
            self.lose_scheduler(reason)

    def lose_scheduler(self, reason: str) -> None:
        if self.state == "waiting":
            self.state, self.over = "failed", True
        self.handle(d.SchedulerLost(reason))

    def silence(self, process: int, silent: bool) -> None:
        machine = self.machine
        node = machine.nodes.get(process)
        if process in machine.servers or (node is not None and node.state in ("setup", "ready", "failing", "closing")):
            if not silent and node is not None:
                self.world.happened["silent node heard again"] += 1
            self.handle(d.SilenceSeen(process, silent, "nothing is heard of it" if silent else "it is heard again"))

    # -- the machine

    def handle(self, event: Any) -> None:
        if self.state == "running" and self.program.alive:
            self.program.step(self.machine, event, self.execute)
            self.arm()
            if self.world.steps % self.world.plan.check_every == 0:
                self.choices.check()

    def told_of_server(self, name: str, server: int) -> None:
        """A status task hears addresses only: each is discovered, ready and closed in this order, by one server."""
        address = self.addresses[server]
        if name == "ServerDiscovered":
            assert address not in self.present, f"{name} {server} beside {self.present[address]} at {address}"
            self.present[address] = server, name
        elif name == "ServerInitialized":
            assert self.present[address] == (server, "ServerDiscovered"), f"{name} {server}, {self.present[address]}"
            self.present[address] = server, name
        elif name in ("ServerClosed", "ServerDisconnected", "ServerAbandoned") and server not in self.machine.servers:
            known, _ = self.present.pop(address, (server, ""))  # it is disconnected, and abandoned at once
            assert known == server, f"{name} {server}, but {known} is at {address}"

    def arm(self) -> None:
        deadline = self.machine.next_deadline()
        if deadline is not None and (self.armed is None or deadline < self.armed):
            self.armed = deadline
            self.program.later(max(0.0, deadline - self.world.now), self.timer, deadline)

    def timer(self, at: float) -> None:
        if self.armed == at and self.state == "running":
            self.armed = None
            deadline = self.machine.next_deadline()
            if deadline is not None and deadline <= self.world.now:
                self.handle(d.TimePassed())
            self.arm()

    def execute(self, effect: Any) -> None:
        program, send, client = self.program, self.program.send, self.number
        wire = self.world.wire
        match effect:
            case d.Run(task, server, io):
                record = self.machine.tasks[task]
                at = self.machine.servers[server].node
                assert at not in self.leaving, f"task {task} of {self} is sent to {self.world.nodes[at]}, which leaves"
                if record.choice:
                    self.choices.check_place(record, server)
                if self.run:
                    self.noted[task] = at, server
                send(server, sm.RunTask(client, task, "task", io, self.world.tasks[client, task].timeout_s))
            case d.EndTask(task, server):
                self.world.happened["task asked to end"] += 1
                self.world.tasks[client, task].tries = 0
                send(server, sm.EndTask(client, task))
            case d.Recall(task, server):
                send(server, sm.RecallTask(client, task))
            case d.ReportRefused(task, _):
                self.told_outcome(task, "refused")
            case r.ReportLost(task, reason):
                truth = self.world.tasks[client, task]
                at = truth.at
                serves = at is not None and at.alive and at.client_process == program.number
                assert not serves, f"task {task} of {self} is told to be lost, and runs at {at}: {reason}"
                self.world.happened["task that was lost before its program came back"] += 1
                truth.unsaid = True
                self.told_outcome(task, "lost")
            case r.ReportResumed():
                self.resumed = True
                self.world.happened["program that came back"] += self.run > 1
            case r.ReturnToNode(node):
                there = wire.connect(program, node, anew=True)
                wire.be_patient(program, node)
                send(node, m.ReturnToNode(client, self.claim))
                assert there
            case r.ReturnToServer(server):
                wire.connect(program, server)
                wire.be_patient(program, server)
                send(server, sm.ReturnToServer(client, self.claim))
            case d.ReportRetried(task, _):
                self.world.tasks[client, task].tries -= 1
            case d.ReportAbandoned():
                reasons.check_abandoned(self, effect)
                self.told_outcome(effect.task, "abandoned")
            case d.ReportStatus(_, subject) if subject in self.noted_nodes and subject not in self.machine.nodes:
                del self.noted_nodes[subject]
            case d.ReportStatus(name, subject, _, own) if name.startswith("Server"):
                self.told_of_server(name, subject)
                if name == "ServerInitialized" and not own:
                    self.choices.server_is_ready(subject)
            case d.Want(node, cpus):
                send(self.scheduler, m.WantNode(client, node, cpus))
            case d.Consider(node):
                self.world.happened["node allocated again while it closed"] += 1
                self.consider(self.infos[node])
            case d.SetupNode(node, cpus, setup_id):
                self.world.happened["node that failed set up again"] += bool(self.machine.nodes[node].failures)
                wire.be_patient(program, node)
                if self.run:
                    self.noted_nodes[node] = self.infos[node], cpus
                said = m.SetupNode(client, cpus, self.restart_servers, setup_id=setup_id, claim=self.claim)
                said.orphan_s = self.orphan_s
                send(node, said)
            case d.CloseNode(node, terminate, keep, setup_id):
                send(node, m.CloseNode(client, terminate, keep, setup_id))
            case d.CloseServer(node, server, terminate, restart):
                send(node, m.CloseServer(client, server, terminate, restart))
            case d.OpenSpace(node, space):
                send(node, m.OpenSpace(client, space))
            case d.CloseSpace(node, space):
                send(node, m.CloseSpace(client, space))
            case d.StartOwn(node, own, niceness, space):
                send(node, m.StartOwn(client, own, niceness, space))
            case d.EndOwn(node, own, terminate):
                send(node, m.EndOwn(client, own, terminate))
            case d.Dismiss(process, reason):
                self.world.happened["zombie given up"] += 1
                wire.dismiss(program, process, reason)
            case d.OpenServer(server):
                wire.connect(program, server)
                wire.be_patient(program, server)
                send(server, sm.OpenServer(client, False))
            case d.LeaveScheduler():
                self.leave("closed")
