"""A whole cluster in virtual time: the real machines, with simulated shells, processes and network around them.

Processes talk over sessions that are reliable and ordered, with random delays.  A session ends when one of its
processes has ended; the other learns it after all that was sent before.  Everything that happens comes out of one
seeded `random.Random`; after each event the machine that it went to is checked, and what it did is compared with
what is true in this world.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.dispatch import Dispatch
from parkcos.cluster import messages as m
from parkcos.node import executor as ex
from parkcos.node import state as ns
from parkcos.scheduler import state as ss

STORY = 400
FAULTS = ["server"] * 5 + ["node", "node", "client", "zygote", "stop", "close", "close", "close_node"]
SAME_INSTANT_MAX = 200_000


@dataclass(frozen=True)
class Plan:
    """What a world is like.  Times in seconds."""

    nodes: int = 8
    cpus_max: int = 3
    clients: int = 3
    tasks_max: int = 30
    delay_s: float = 0.001
    spikes: float = 0.01
    """The share of messages that take up to 3 s."""
    slow_nodes: float = 0.1
    short_tasks: float = 0.5
    """The share of clients whose tasks take milliseconds."""
    faults: int = 6
    fault_span_s: float = 20.0
    clients_die: bool = True
    scheduler_dies: float = 0.2
    setup_fails: float = 0.05
    stubborn: float = 0.1
    """The share of tasks that do not heed KeyboardInterrupt."""
    check_every: int = 1


class Process:
    """Something with an incarnation that can end.  `receive` and `gone` are what its shell does."""

    def __init__(self, world: World, kind: str) -> None:
        self.world = world
        self.kind = kind
        self.number = next(world.numbers)
        self.alive = True
        self.slowness = 1.0
        self.armed: float | None = None
        self.sessions: dict[int, None] = {}
        world.processes[self.number] = self

    def __repr__(self) -> str:
        return f"{self.kind}{self.number}"

    def receive(self, sender: int, message: m.Message) -> None:
        raise NotImplementedError

    def gone(self, process: int, reason: str) -> None:
        raise NotImplementedError

    def send(self, to: int, message: m.Message) -> None:
        self.world.send(self, to, message)

    def later(self, delay_s: float, what: Callable[..., None], *args: Any) -> None:
        """Call, unless this process has ended by then."""
        self.world.at(self.world.now + delay_s, self._if_alive, what, args)

    def _if_alive(self, what: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.alive:
            what(*args)

    def step(self, machine: Any, event: Any) -> list[Any]:
        """Hand an event to a machine, check it, arm its timer."""
        world = self.world
        world.story.append((world.now, self, event))
        effects: list[Any] = machine.handle(event, world.now)
        if effects:
            world.story.append((world.now, self, effects))
        world.steps += 1
        if world.steps % world.plan.check_every == 0:
            machine.check()
        return effects

    def arm(self, machine: Any, handle: Callable[[Any], None], event: Any) -> None:
        deadline = machine.next_deadline()
        if deadline is not None and (self.armed is None or deadline < self.armed):
            self.armed = deadline
            self.later(max(0.0, deadline - self.world.now), self._timer, deadline, machine, handle, event)

    def _timer(self, at: float, machine: Any, handle: Callable[[Any], None], event: Any) -> None:
        if self.armed != at:
            return
        self.armed = None
        deadline = machine.next_deadline()
        if deadline is not None and deadline <= self.world.now:
            handle(event)
        self.arm(machine, handle, event)


class Scheduler(Process):
    def __init__(self, world: World) -> None:
        super().__init__(world, "scheduler")
        self.machine = ss.SchedulerMachine()

    def meet(self, node: Node) -> None:
        if node.alive:
            self.send(node.number, m.AskState())

    def receive(self, sender: int, message: m.Message) -> None:
        match message:
            case m.NodeState(info, client):
                self.handle(ss.NodeReported(info, client))
            case m.NodeAnswer(client, ok, reason):
                self.handle(ss.NodeAnswered(sender, client, ok, reason))
            case m.Enqueue(client, name, python):
                self.handle(ss.ClientAsked(client, sender, "client", sender, name, python))
            case m.WantNode(client, node, cpus):
                self.handle(ss.ClientWanted(client, node, cpus))
            case m.ClientLeaves(client):
                self.handle(ss.ClientLeft(client))

    def gone(self, process: int, reason: str) -> None:
        self.handle(ss.ProcessLost(process, reason))

    def handle(self, event: Any) -> None:
        for effect in self.step(self.machine, event):
            match effect:
                case ss.ToClient(process, message):
                    self.send(process, message)
                case ss.ToNode(node, message):
                    self.send(node, message)
        self.arm(self.machine, self.handle, ss.TimePassed())


class Zygote:
    """A client's processes at a node."""

    def __init__(self, node: Node, client: int) -> None:
        self.node = node
        self.number = next(node.world.numbers)
        self.client = client
        self.alive = True
        self.servers: dict[int, Server] = {}

    def report(self, event: Any, last: bool = False) -> None:
        """In order, over the pipe to the node."""
        if self.alive:
            self.node.world.deliver(self, self.node, lambda: self.node.heard(self, event), self.node.slowness)
        self.alive = self.alive and not last

    def end(self, reason: str) -> None:
        if not self.alive:
            return
        for server in list(self.servers.values()):
            server.end("its zygote ended", report=False)
        self.report(ns.ZygoteExited(reason), last=True)


class Node(Process):
    def __init__(self, world: World, name: str, cpus: int, python: str = "3.11") -> None:
        super().__init__(world, "node")
        self.name, self.cpus, self.python = name, cpus, python
        self.machine = ns.NodeMachine()
        self.zygote: Zygote | None = None
        if world.rng.random() < world.plan.slow_nodes:
            self.slowness = world.rng.choice([10.0, 100.0, 1000.0])
        world.nodes[self.number] = self

    def info(self) -> m.NodeInfo:
        return m.NodeInfo(self.number, self.name, self.name, 9706, self.cpus, "Linux", self.python, "0")

    def receive(self, sender: int, message: m.Message) -> None:
        match message:
            case m.AskState():
                self.handle(ns.SchedulerSeen(sender))
            case m.ReserveNode(client, _, _, process):
                self.world.connect(self, process)
                self.handle(ns.ReserveAsked(sender, client, process))
            case m.ReleaseNode(client):
                self.handle(ns.ReleaseAsked(client))
            case m.SetupNode(client, cpus, restart):
                self.handle(ns.SetupAsked(client, min(cpus, self.cpus), restart))
            case m.CloseNode(client, terminate):
                self.handle(ns.CloseAsked(client, terminate))
            case m.CloseServer(client, server, terminate, restart):
                self.handle(ns.CloseServerAsked(client, server, terminate, restart))

    def gone(self, process: int, reason: str) -> None:
        self.handle(ns.ProcessLost(process, reason))

    def heard(self, zygote: Zygote, event: Any) -> None:
        if zygote is self.zygote:
            if isinstance(event, ns.ZygoteExited):
                self.zygote = None
            self.handle(event)

    def handle(self, event: Any) -> None:
        for effect in self.step(self.machine, event):
            self.execute(effect)
        self.arm(self.machine, self.handle, ns.TimePassed())

    def execute(self, effect: Any) -> None:
        world, rng = self.world, self.world.rng
        match effect:
            case ns.ToScheduler(process, None):
                self.send(process, m.NodeState(self.info(), self.machine.client))
            case ns.ToScheduler(process, message):
                self.send(process, message)
            case ns.ToClient(process, message):
                self.send(process, message)
            case ns.OpenZygote(client):
                assert self.zygote is None, f"{self} opens a zygote beside another"
                assert not world.servers_at(self), f"{self} serves client {client} beside another's servers"
                zygote = self.zygote = Zygote(self, client)
                fails = world.faulty and rng.random() < world.plan.setup_fails
                event = ns.SetupFailed("node_setup failed") if fails else ns.SetupDone()
                self.later(rng.expovariate(10) * self.slowness**0.5, zygote.report, event)
            case ns.ForkServer(index):
                assert self.zygote is not None
                if self.zygote.alive:  # else its end is about to be reported
                    assert index not in self.zygote.servers, f"{self} forks server {index} twice"
                    self.zygote.servers[index] = Server(world, self, self.zygote, index)
            case ns.EndServer(index, grace_s):
                server = self.server(index)
                if server is not None:
                    server.later(rng.expovariate(1000), server.asked_to_end, grace_s)
            case ns.KillServer(index):
                server = self.server(index)
                if server is not None:
                    server.later(rng.expovariate(1000), server.end, "killed by its node")
            case ns.CloseZygote():
                if self.zygote is not None:
                    self.later(rng.expovariate(100), self.zygote.end, "closed")
            case ns.Stop():
                assert not world.servers_at(self), f"{self} stops before its servers"
                self.end("stopped")

    def server(self, index: int) -> Server | None:
        return self.zygote.servers.get(index) if self.zygote is not None else None

    def end(self, reason: str) -> None:
        """It is killed, or has stopped: within a second its servers are gone too."""
        self.world.end(self, reason)
        if self.zygote is not None:
            servers, self.zygote.alive = list(self.zygote.servers.values()), False
            for server in servers:
                server.later(self.world.rng.random(), server.end, "its node is gone", False)


class Server(Process):
    def __init__(self, world: World, node: Node, zygote: Zygote, index: int) -> None:
        super().__init__(world, "server")
        self.node, self.zygote, self.index = node, zygote, index
        self.client = zygote.client
        self.slowness = node.slowness
        self.machine = ex.Executor(self.client)
        self.client_process = 0
        self.asked: dict[int, m.RunTask] = {}
        self.running: dict[int, float] = {}
        self.finishing: set[int] = set()
        others = {s.client for s in world.servers_at(node)}
        assert others <= {self.client}, f"{node} serves {others} and {self.client}"
        world.at_node.setdefault(node.number, {})[self.number] = self
        self.later(world.rng.expovariate(50), self.listen)

    def listen(self) -> None:
        self.zygote.report(ns.ServerListening(self.index, self.number, self.number))

    def receive(self, sender: int, message: m.Message) -> None:
        rng = self.world.rng
        match message:
            case m.OpenServer():
                self.client_process = sender
                fails = self.world.faulty and rng.random() < self.world.plan.setup_fails
                answer = m.ServerFailed(self.client, "no") if fails else m.ServerReady(self.client)
                self.later(rng.expovariate(100), self.send, sender, answer)
            case m.RunTask(_, task, _, io):
                assert self.client_process, "a task before the server was opened"
                self.asked[task] = message
                self.handle(ex.Asked(task, io))
            case m.RecallTask(_, task):
                self.handle(ex.Recalled(task))
            case m.EndServer(_, terminate):
                self.handle(ex.CloseAsked(5.0 if terminate else -1.0))

    def gone(self, process: int, reason: str) -> None:
        if process == self.client_process:
            self.handle(ex.CloseAsked(0.5))

    def asked_to_end(self, grace_s: float) -> None:
        self.handle(ex.CloseAsked(grace_s))

    def handle(self, event: Any) -> None:
        for effect in self.step(self.machine, event):
            self.execute(effect)
        self.arm(self.machine, self.handle, ex.TimePassed())

    def execute(self, effect: Any) -> None:
        world, rng = self.world, self.world.rng
        match effect:
            case ex.Start(task):
                message = self.asked.pop(task)
                truth = world.tasks[self.client, task]
                if rng.random() < 0.02:
                    self.send(self.client_process, m.TaskRefused(self.client, task, "cannot be run"))
                    self.later(0.0, self.handle, ex.Ended(task))
                    truth.completed += 1
                    assert truth.completed == 1, f"task {task} was done twice"
                    return
                busy = [t for t in self.running if not world.tasks[self.client, t].io]
                assert message.io or not busy, f"{self} runs CPU task {task} beside {busy}"
                truth.begin(self)
                self.running[task] = world.now
                self.send(self.client_process, m.TaskStarted(self.client, task, task))
                self.later(truth.seconds, self.finish, task)
            case ex.Answer(message):
                self.asked.pop(message.task, None) if message.ok else None
                self.send(self.client_process, message)
            case ex.Abandon(task):
                del self.asked[task]
                self.send(self.client_process, m.TaskRecalled(self.client, task, True))
            case ex.Interrupt(task):
                if task in self.running and rng.random() >= world.plan.stubborn:
                    self.later(rng.random() * 2, self.finish, task)
            case ex.Terminate(task):
                if task in self.running and rng.random() >= world.plan.stubborn:
                    self.finish(task)
            case ex.Exit():
                assert not self.running, f"{self} exits with {self.running}"
                self.end("exit code 0")

    def finish(self, task: int) -> None:
        if task not in self.running:
            return
        since = self.running.pop(task)
        truth = self.world.tasks[self.client, task]
        truth.finish(self)
        self.send(self.client_process, m.TaskEnded(self.client, task, "done", self.world.now - since, task))
        self.handle(ex.Ended(task))

    def end(self, reason: str, report: bool = True) -> None:
        if not self.alive:
            return
        for task in self.running:
            self.world.tasks[self.client, task].stop(self)
        self.world.end(self, reason)
        del self.world.at_node[self.node.number][self.number]
        if self.zygote.servers.get(self.index) is self:
            del self.zygote.servers[self.index]
        if report:
            self.zygote.report(ns.ServerExited(self.index, reason))


@dataclass
class Truth:
    """A task as it really is."""

    client: Client
    number: int
    io: bool
    seconds: float
    at: Server | None = None
    completed: int = 0
    outcomes: list[str] = field(default_factory=list)

    def begin(self, server: Server) -> None:
        assert self.at is None, f"task {self.number} runs at {self.at} and is started at {server}"
        assert not self.completed, f"task {self.number} was done already"
        self.at = server

    def finish(self, server: Server) -> None:
        self.stop(server)
        self.completed += 1

    def stop(self, server: Server) -> None:
        assert self.at is server
        self.at = None

    def outcome(self, what: str) -> None:
        self.outcomes.append(what)
        assert len(self.outcomes) == 1, f"task {self.number} ended as {self.outcomes}"


class Program(Process):
    """A client program: one or more clients at once."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "program")
        self.clients: dict[int, Client] = {}

    def receive(self, sender: int, message: Any) -> None:
        client = self.clients.get(message.client)
        if client is not None and client.state in ("waiting", "running"):
            client.receive(sender, message)

    def gone(self, process: int, reason: str) -> None:
        for client in list(self.clients.values()):
            client.gone(process, reason)

    def end(self, reason: str) -> None:
        self.world.end(self, reason)
        for client in self.clients.values():
            client.over = True


class Client:
    """One client: its dispatch machine, and the script that it follows."""

    def __init__(self, world: World, program: Program, scheduler: Scheduler) -> None:
        rng = world.rng
        self.world, self.program, self.scheduler = world, program, scheduler
        self.number = next(world.numbers)
        self.machine = Dispatch()
        self.state = "waiting"
        """Then running, then closed; or failed, or left."""
        self.over = False
        self.position = -1
        self.choosy = rng.random() < 0.3
        self.short = rng.random() < world.plan.short_tasks
        self.to_submit = rng.randrange(1, world.plan.tasks_max + 1) * (8 if self.short else 1)
        self.burst = max(60 if self.short else 8, self.to_submit // 8)
        self.task_numbers = itertools.count(1)
        self.terminates = rng.random() < 0.15
        program.clients[self.number] = self
        world.clients.append(self)
        program.send(scheduler.number, m.Enqueue(self.number, "client", "3.11"))
        if rng.random() < 0.1:
            program.later(rng.random() * 10, self.give_up_waiting)

    def __repr__(self) -> str:
        return f"client{self.number}({self.state})"

    def give_up_waiting(self) -> None:
        if self.state == "waiting":
            self.leave("left")

    def leave(self, state: str) -> None:
        self.state, self.over = state, True
        self.world.running.pop(self.number, None)
        self.program.send(self.scheduler.number, m.ClientLeaves(self.number))

    def receive(self, sender: int, message: Any) -> None:
        match message:
            case m.TaskStarted(_, task, _):
                self.handle(d.Started(task))
            case m.TaskEnded(_, task, _, seconds, _):
                known = task in self.machine.tasks
                if known:
                    self.world.tasks[self.number, task].outcome("ended")
                self.handle(d.Ended(task, seconds))
                assert task not in self.machine.tasks
            case m.TaskRefused(_, task, error):
                self.handle(d.Refused(task, error))
            case m.TaskRecalled(_, task, ok):
                self.handle(d.Recalled(task, ok))
            case m.ServerUp(_, _, _, port, incarnation):
                self.handle(d.ServerIsUp(sender, incarnation, f"node{sender}", port))
            case m.ServerReady():
                self.handle(d.ServerIsReady(sender))
            case m.ServerFailed(_, error):
                self.handle(d.ServerSetupFailed(sender, error))
            case m.ServerDown(_, incarnation, reason, restarts, asked):
                self.handle(d.ServerIsDown(incarnation, reason, restarts, asked))
            case m.NodeReady():
                self.handle(d.NodeIsReady(sender))
            case m.NodeFailed(_, error):
                self.handle(d.NodeHasFailed(sender, error))
            case m.NodeClosed():
                self.handle(d.NodeHasClosed(sender))
            case m.NodeOffer(_, info):
                unwanted = self.choosy and info.name.endswith("3")
                cpus = 0 if unwanted else self.world.rng.randrange(1, info.cpus + 1) if self.choosy else info.cpus
                self.program.later(self.world.rng.expovariate(1000), self.offered, info, cpus)
            case m.NodeGranted(_, node):
                self.world.connect(self.program, node)
                self.handle(d.Granted(node))
            case m.NodeUnusable(_, info, reason):
                self.handle(d.NodeHasFailed(info.incarnation, reason))
            case m.Queued(_, position):
                self.position = position
            case m.Scheduled():
                self.scheduled()

    def offered(self, info: m.NodeInfo, cpus: int) -> None:
        if self.state == "running":
            self.handle(d.Offered(info, cpus))

    def scheduled(self) -> None:
        assert self.state == "waiting"
        at_once = [
            c for c in self.world.running.values() if c.scheduler is self.scheduler and c.program.alive and not c.over
        ]
        assert not at_once, f"{self} is scheduled while {at_once} runs"
        self.state = "running"
        self.world.running[self.number] = self
        self.submit_some()

    def gone(self, process: int, reason: str) -> None:
        if self.state == "waiting" and process == self.scheduler.number:
            self.state, self.over = "failed", True
        elif self.state == "running":
            if process == self.scheduler.number:
                self.handle(d.SchedulerLost(reason))
            self.handle(d.ProcessLost(process, reason))

    def submit_some(self) -> None:
        """The script: bursts of tasks, then close."""
        rng = self.world.rng
        if self.state != "running":
            return
        if not self.to_submit:
            self.handle(d.CloseAsked(self.terminates))
            if not self.terminates and rng.random() < 0.1:
                self.program.later(rng.random() * 10, self.close_at_once)
            return
        for _ in range(min(self.to_submit, rng.randrange(1, self.burst))):
            self.to_submit -= 1
            self.submit()
        self.program.later(rng.expovariate(1), self.submit_some)

    def close_at_once(self) -> None:
        if self.state == "running":
            self.handle(d.CloseAsked(True))

    def submit(self) -> None:
        rng, machine = self.world.rng, self.machine
        number = next(self.task_numbers)
        io = rng.random() < 0.2
        seconds = rng.expovariate(5000) if self.short and rng.random() < 0.985 else rng.expovariate(0.7)
        server = node = 0
        if machine.servers and rng.random() < 0.15:
            server = rng.choice(list(machine.servers))
        elif machine.nodes and rng.random() < 0.15:
            node = rng.choice(list(machine.nodes))
        self.world.tasks[self.number, number] = Truth(self, number, io, seconds)
        self.handle(d.Submitted(number, io, server, node))

    def handle(self, event: Any) -> None:
        if self.state == "running":
            for effect in self.program.step(self.machine, event):
                self.execute(effect)
            self.arm()

    armed: float | None = None

    def arm(self) -> None:
        deadline = self.machine.next_deadline()
        if deadline is not None and (self.armed is None or deadline < self.armed):
            self.armed = deadline
            self.program.later(max(0.0, deadline - self.world.now), self.timer, deadline)

    def timer(self, at: float) -> None:
        if self.armed == at:
            self.armed = None
            deadline = self.machine.next_deadline()
            if deadline is not None and deadline <= self.world.now:
                self.handle(d.TimePassed())
            self.arm()

    def execute(self, effect: Any) -> None:
        send, client = self.program.send, self.number
        match effect:
            case d.Want(node, cpus):
                send(self.scheduler.number, m.WantNode(client, node, cpus))
            case d.SetupNode(node, cpus):
                send(node, m.SetupNode(client, cpus))
            case d.CloseNode(node, terminate):
                send(node, m.CloseNode(client, terminate))
            case d.OpenServer(server):
                send(server, m.OpenServer(client, False))
            case d.Run(task, server, io):
                send(server, m.RunTask(client, task, "task", io))
            case d.Recall(task, server):
                send(server, m.RecallTask(client, task))
            case d.ReportRefused(task, _):
                self.world.tasks[client, task].outcome("refused")
            case d.ReportAbandoned(task, reason, _):
                assert reason, f"task {task} is abandoned without a reason"
                self.world.tasks[client, task].outcome("abandoned")
            case d.LeaveScheduler():
                self.leave("closed")


class World:
    """Build it, `run(until)`, `heal()`, `finish()`."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.rng = random.Random(seed)
        self.seed, self.plan = seed, plan or Plan()
        self.now = 0.0
        self.steps = 0
        self.faulty = True
        self.numbers = itertools.count(1)
        self.story: deque[tuple[float, Process, Any]] = deque(maxlen=STORY)
        self.processes: dict[int, Process] = {}
        self.nodes: dict[int, Node] = {}
        self.clients: list[Client] = []
        self.running: dict[int, Client] = {}
        self.tasks: dict[tuple[int, int], Truth] = {}
        self.at_node: dict[int, dict[int, Server]] = {}
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._last: dict[tuple[int, int], float] = {}
        self.scheduler = Scheduler(self)
        for index in range(self.plan.nodes):
            cpus = self.rng.randrange(1, self.plan.cpus_max + 1)
            self.at(self.rng.random() * 0.5, self.start_node, f"n{index}", cpus)
        for _ in range(self.plan.clients):
            self.at(self.rng.random() * 5, self.start_client)
        for _ in range(self.plan.faults):
            self.at(self.rng.random() * self.plan.fault_span_s, self.fault)
        if self.rng.random() < self.plan.scheduler_dies:
            self.at(self.rng.random() * self.plan.fault_span_s, self.restart_scheduler)

    # -- time

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, args))

    def run(self, until: float) -> None:
        events, instant, count = self._events, -1.0, 0
        while events and events[0][0] <= until:
            self.now, _, what, args = heapq.heappop(events)
            count = count + 1 if self.now == instant else 0
            instant = self.now
            assert count < SAME_INSTANT_MAX, "time stands still"
            what(*args)
        self.now = max(self.now, until)

    # -- network

    def delay(self, slowness: float) -> float:
        if self.faulty and self.rng.random() < self.plan.spikes:
            return self.rng.random() * 3
        return min(self.rng.expovariate(1 / self.plan.delay_s) * slowness, 3.0)

    def deliver(self, sender: Process | Zygote, to: Process, what: Callable[[], None], slowness: float) -> None:
        """After everything that came from there before."""
        key = (sender.number, to.number)
        when = max(self._last.get(key, 0.0), self.now + self.delay(slowness))
        self._last[key] = when
        self.at(when, to._if_alive, what, ())

    def connect(self, process: Process, to: int) -> None:
        """A session between them; if the other one is gone, this is found out after a while."""
        other = self.processes[to]
        if to in process.sessions:
            return
        process.sessions[to] = None
        if other.alive:
            other.sessions[process.number] = None
        else:
            self.deliver(other, process, lambda: self.lost(process, other, "it is not there"), process.slowness)

    def send(self, sender: Process, to: int, message: m.Message) -> None:
        self.connect(sender, to)
        other = self.processes[to]
        number = sender.number
        slowness = max(sender.slowness, other.slowness)
        self.deliver(sender, other, lambda: other.receive(number, message), slowness)

    def lost(self, process: Process, other: Process, reason: str) -> None:
        process.sessions.pop(other.number, None)
        process.gone(other.number, reason)

    def end(self, process: Process, reason: str) -> None:
        """What it has sent arrives, then everybody with a session to it learns that it is gone."""
        assert process.alive
        process.alive = False
        self.story.append((self.now, process, f"ends: {reason}"))
        for number in process.sessions:
            other = self.processes[number]
            if other.alive:
                self.deliver(process, other, lambda other=other: self.lost(other, process, reason), other.slowness)

    # -- what happens

    def servers_at(self, node: Node) -> list[Server]:
        return list(self.at_node.get(node.number, {}).values())

    def start_node(self, name: str, cpus: int) -> None:
        node = Node(self, name, cpus, "3.12" if self.faulty and self.rng.random() < 0.03 else "3.11")
        self.at(self.now + self.rng.random(), self.discover, node)

    def discover(self, node: Node) -> None:
        if self.scheduler.alive:
            self.scheduler.meet(node)

    def start_client(self) -> None:
        program = Program(self)
        Client(self, program, self.scheduler)
        if self.rng.random() < 0.3:
            Client(self, program, self.scheduler)

    def restart_scheduler(self) -> None:
        self.end(self.scheduler, "killed")
        self.scheduler = Scheduler(self)
        for node in self.nodes.values():
            self.at(self.now + self.rng.random(), self.discover, node)
        for _ in range(2):
            self.at(self.now + self.rng.random() * 5, self.start_client)

    def fault(self) -> None:
        rng = self.rng
        if not self.faulty:
            return
        kind = rng.choice(FAULTS)
        nodes = [n for n in self.nodes.values() if n.alive]
        if rng.random() < 0.8:
            nodes = [n for n in nodes if self.servers_at(n)]
        servers = [s for n in nodes for s in self.servers_at(n)]
        if kind == "server" and servers:
            rng.choice(servers).end("killed by signal 9")
        elif kind == "node" and nodes:
            node = rng.choice(nodes)
            node.end("killed")
            self.at(self.now + rng.random() * 5, self.start_node, node.name, node.cpus)
        elif kind == "client" and self.plan.clients_die:
            programs = [c.program for c in self.clients if c.program.alive and not c.over]
            if programs:
                rng.choice(programs).end("killed")
        elif kind == "zygote" and nodes:
            zygote = rng.choice(nodes).zygote
            if zygote is not None:
                zygote.end("killed by signal 9")
        elif kind == "stop" and nodes:
            node = rng.choice(nodes)
            node.handle(ns.StopAsked(rng.random() < 0.5))
            self.at(self.now + rng.random() * 5, self.start_node, node.name, node.cpus)
        elif kind == "close" and servers:  # a task there calls close_server()
            server = rng.choice(servers)
            if server.client_process:
                restart, terminate = rng.random() < 0.5, rng.random() < 0.5
                server.node.handle(ns.CloseServerAsked(server.client, server.number, terminate, restart))
        elif kind == "close_node" and servers:
            server = rng.choice(servers)
            server.node.handle(ns.CloseAsked(server.client, rng.random() < 0.5))

    def heal(self) -> None:
        """No more faults, and enough nodes for everybody."""
        self.faulty = False
        for index in range(2):
            self.start_node(f"fresh{index}", self.plan.cpus_max)
            next(reversed(self.nodes.values())).slowness = 1.0

    def finish(self, bound_s: float = 600.0) -> None:
        """From now on everything must come to its end."""
        end = self.now + bound_s
        while self.now < end and any(not c.over for c in self.clients):
            self.run(min(end, self.now + 5))
            for client in self.clients:  # the scheduler is gone and no node is left: the program gives up
                if client.state == "running" and client.machine.scheduler_lost and not client.machine.nodes:
                    client.close_at_once()
        stuck = [c for c in self.clients if not c.over]
        assert not stuck, f"{stuck} did not come to their end in {bound_s} s"
        self.run(self.now + 60)
        for truth in self.tasks.values():
            if truth.client.program.alive:
                assert len(truth.outcomes) == 1, f"task {truth.number} of {truth.client} was lost"
            assert truth.at is None, f"task {truth.number} still runs at {truth.at}"
        assert not self.scheduler.machine.queue
        for node in self.nodes.values():
            if node.alive:
                assert node.machine.phase == ns.FREE, f"{node} is {node.machine.phase} for {node.machine.client}"
                record = self.scheduler.machine.nodes[node.number]
                assert record.state == ss.FREE, f"the scheduler has {node} as {record.state}"
            assert not self.servers_at(node), f"{node} left servers behind"

    def tell(self) -> str:
        """The last things that happened."""
        return "\n".join(f"{when:10.4f} {process!r:14} {what}" for when, process, what in self.story)
