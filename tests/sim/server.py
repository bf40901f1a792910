"""A server's process in the world, and the tasks as they really are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parkcos.cluster import server_messages as sm
from parkcos.node import executor as ex
from parkcos.node import state_events as ev
from tests.sim.process import Process

if TYPE_CHECKING:
    from tests.sim.client import Client
    from tests.sim.node import Node, Zygote
    from tests.sim.world import World

CLIENT_COMES_S = 2.0
KILLED = "killed by signal 9"
FRESH = "fresh"
"""What the names of nodes begin with that come when the world is healed."""


class Server(Process):
    def __init__(self, world: World, node: Node, zygote: Zygote, index: int, own: bool = False) -> None:
        super().__init__(world, "server", node.host)
        self.node, self.zygote, self.index = node, zygote, index
        self.own, self.given = own, 0
        """Whether it is for a single task; how many it was given."""
        self.client = zygote.client
        self.slowness = node.slowness
        self.run, self.orphan_s = node.machine.run, node.machine.orphan_s
        self.machine = ex.Executor(self.client, keeps=bool(self.run))
        self.client_process = node.machine.client_process
        self.setup_word: Any = None
        self.left_over = False
        """It is a process beside the servers that an earlier program had asked for."""
        self.kept: dict[int, tuple[bool, Any]] = {}
        """The last words of tasks that were not released, and whether these are I/O tasks."""
        self.io: set[int] = set()
        self.opened = self.failed = False
        self.killed_by_node = False
        self.active_at = 0.0
        self.asked: dict[int, sm.RunTask] = {}
        self.running: dict[int, float] = {}
        self.forced: set[int] = set()
        """Tasks that have had their time, or were asked to end."""
        self.heedless: set[int] = set()
        others = {s.client for s in world.servers_at(node)}
        assert others <= {self.client}, f"{node} serves {others} and {self.client}"
        world.at_node.setdefault(node.number, {})[self.number] = self
        self.later(world.rng.expovariate(50), self.listen)

    def listen(self) -> None:
        self.zygote.report(ev.ServerListening(self.index, self.index + 1, self.number))
        self.later(CLIENT_COMES_S, self.meet_client)

    def meet_client(self) -> None:
        self.world.wire.connect(self, self.client_process)

    def receive(self, sender: int, message: Any) -> None:
        rng = self.world.rng
        if isinstance(message, sm.ReturnToServer):
            self.returned(sender, message.claim.run)
            return
        if self.run and sender != self.client_process:
            return  # an earlier program
        assert sender == self.client_process, f"{self} of {self.client_process} is told something by {sender}"
        match message:
            case sm.ReleaseTasks(_, tasks):
                for task in tasks:
                    self.kept.pop(task, None)
                self.handle(ex.Released(tasks))
            case sm.RunTask(_, task, _, io, timeout_s):
                assert self.opened, "a task before the server was opened"
                self.given += 1
                truth, space = self.world.tasks[self.client, task], self.zygote.space
                assert space == truth.space, f"task {task} of space {truth.space} is given to {self} of {space}"
                wants_own = truth.own or bool(space)
                assert self.own == wants_own, f"task {task} is given to {self}, own: {self.own}, wanted: {wants_own}"
                assert not self.own or space or self.given == 1, f"{self} is given another task, {task}"
                self.asked[task] = message
                if io:
                    self.io.add(task)
                self.handle(ex.Asked(task, io, timeout_s))
            case sm.EndTask(_, task):
                if task in self.running or task in self.asked:
                    self.forced.add(task)
                    self.handle(ex.EndAsked(task))
            case sm.RecallTask(_, task):
                self.handle(ex.Recalled(task))
            case sm.OpenServer():
                self.opened = True
                fails = self.world.faulty and rng.random() < self.world.plan.setup_fails
                self.failed = self.failed or fails
                answer = sm.ServerFailed(self.client, "no") if fails else sm.ServerReady(self.client)
                self.later(rng.expovariate(100), self.is_set_up, answer)

    def is_set_up(self, word: Any) -> None:
        self.setup_word = word
        self.send(self.client_process, word)

    def returned(self, process: int, run: int) -> None:
        """A later program of the client takes the place of the lost one."""
        if not self.run or run < self.run:
            return
        self.run, self.client_process = run, process
        self.left_over = self.own
        self.world.wire.be_patient(self, process)
        there = [*((task, message.io) for task, message in self.asked.items())]
        there += [(task, task in self.io) for task in self.running]
        there += [(task, io) for task, (io, _) in self.kept.items()]
        tasks = [sm.ResumedTask(task, io, "task") for task, io in there]
        half = self.world.rng.randrange(len(tasks) + 1)
        self.send(process, sm.ServerResumed(self.client, self.opened, tasks[:half], more=True))
        self.send(process, sm.ServerResumed(self.client, self.opened, tasks[half:]))
        if self.setup_word is not None:
            self.send(process, self.setup_word)
        if self.machine.closing:
            self.send(process, sm.ServerLeaves(self.client))
        for task in self.running:
            self.send(process, sm.TaskStarted(self.client, task, task))
        for _, word in self.kept.values():
            self.send(process, word)

    def say(self, task: int, word: Any) -> None:
        """The last word of a task."""
        if self.run:
            self.kept[task] = task in self.io, word
        self.send(self.client_process, word)

    def up(self, process: int) -> None:
        self.world.wire.be_patient(self, process)

    def gone(self, process: int, reason: str) -> None:
        if process == self.client_process and not self.orphan_s:
            self.handle(ex.CloseAsked(0.5))

    def asked_to_end(self, grace_s: float) -> None:
        self.handle(ex.CloseAsked(grace_s))

    def handle(self, event: Any) -> None:
        self.active_at = self.world.now
        self.step(self.machine, event, self.execute)
        self.arm(self.machine, self.handle, ex.TimePassed())

    def execute(self, effect: Any) -> None:
        world, rng = self.world, self.world.rng
        match effect:
            case ex.Start(task):
                message = self.asked.pop(task)
                truth = world.tasks[self.client, task]
                if rng.random() < 0.02:
                    truth.begin(self)
                    truth.finish(self)
                    self.say(task, sm.TaskRefused(self.client, task, "cannot be run"))
                    self.later(0.0, self.handle, ex.Ended(task))
                    return
                busy = [t for t in self.running if not world.tasks[self.client, t].io]
                assert message.io or not busy, f"{self} runs CPU task {task} beside {busy}"
                truth.begin(self)
                self.running[task] = world.now
                world.happened["task in a space with processes of its own"] += bool(truth.space)
                computing = sum(each.computes_in_a_slot() for each in world.servers_at(self.node))
                assert computing <= self.node.cpus, (
                    f"{computing} tasks compute at {self.node} with {self.node.cpus} CPUs"
                )
                self.send(self.client_process, sm.TaskStarted(self.client, task, task))
                self.later(truth.seconds, self.finish, task)
            case ex.Answer(message):
                self.asked.pop(message.task, None) if message.ok else None
                self.send(self.client_process, message)
            case ex.Abandon(task):
                del self.asked[task]
                self.send(self.client_process, sm.TaskRecalled(self.client, task, True))
            case ex.TimedOut(task):
                world.happened["task that has had its time"] += 1
                self.forced.add(task)
            case ex.GiveUp() | ex.Terminate():
                if not self.running:
                    return
                world.happened["server that ended with a task that would not"] += 1
                for task in [t for t in self.running if t in self.forced or self.machine.interrupted]:
                    self.say_ended(task, True)
                self.end("gave up")
            case ex.Interrupt(task):
                if rng.random() < world.plan.stubborn:
                    self.heedless.add(task)
                elif task in self.running:
                    self.later(rng.random() * 2, self.finish, task, True)
            case ex.Close(task):
                if task not in self.heedless:
                    self.finish(task, True)
            case ex.Exit():
                assert not self.running, f"{self} exits with {self.running}"
                self.end("exit code 0")

    def computes_in_a_slot(self) -> bool:
        """Whether a CPU task runs here that counts, and that its client knows to be here."""
        if self.left_over:
            return False
        truths = [self.world.tasks[self.client, task] for task in self.running]
        return any(not (truth.io or truth.own) and self not in truth.zombies and truth.at is self for truth in truths)

    def finish(self, task: int, interrupted: bool = False) -> None:
        if task in self.running:
            self.say_ended(task, interrupted)
            self.handle(ex.Ended(task))

    def say_ended(self, task: int, interrupted: bool) -> None:
        since = self.running.pop(task)
        truth = self.world.tasks[self.client, task]
        cut = interrupted and self.machine.interrupted and task not in self.forced
        truth.stop(self) if cut else truth.finish(self)
        self.say(task, sm.TaskEnded(self.client, task, "done", self.world.now - since, task, cut))

    def end(self, reason: str, report: bool = True) -> None:
        if not self.alive:
            return
        tasks = self.world.tasks
        for task in self.running:
            tasks[self.client, task].stop(self)
        for message in self.world.wire.unsaid(self, self.client_process):
            if isinstance(message, sm.TaskStarted | sm.TaskEnded | sm.TaskRefused):
                tasks[self.client, message.task].unsaid = True
        super().end(reason)
        del self.world.at_node[self.node.number][self.number]
        if self.zygote.servers.get(self.index) is self:
            del self.zygote.servers[self.index]
        if report:
            self.zygote.report(ev.ServerExited(self.index, reason))


@dataclass(frozen=True)
class Where:
    """What a function of a program accepts: of some nodes, or with an odd index, or those with a resource; and all at
    the nodes that are there when the world is healed, so that every task has a place in the end."""

    nodes: tuple[str, ...] = ()
    odd: bool = False
    resource: bool = False

    def accepts(self, node: str, index: int, has_resource: bool) -> bool:
        fits = node in self.nodes or (self.odd and index % 2 == 1) or (self.resource and has_resource)
        return fits or node.startswith(FRESH)


@dataclass
class Truth:
    """A task as it really is."""

    client: Client
    number: int
    io: bool
    seconds: float
    retries: int = 0
    timeout_s: float = 0.0
    want_server: int = 0
    want_node: int = 0
    own: bool = False
    space: int = 0
    where: Where | None = None
    """What the function accepts by which it is placed."""
    tries: int = field(init=False)
    """As often it may still be lost with its server, as its client knows it."""
    withdrawn: bool = False
    at: Server | None = None
    begun: int = 0
    completed: int = 0
    unsaid: bool = False
    """Its server ended before it could say that the task had begun: then it may be run again."""
    zombies: set[Server] = field(default_factory=set)
    outcomes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tries = self.retries

    def begin(self, server: Server) -> None:
        happened, node = server.world.happened, server.node
        if self.where is not None:
            accepted = self.where.accepts(node.name, server.index + 1, node.has_resource)
            assert accepted, f"task {self.number} is started at {server} of {node.name}, and wants {self.where}"
            happened["task placed by a function"] += 1
        if self.at is not None:
            assert self.retries, f"task {self.number} runs at {self.at} and is started at {server}"
            self.zombies.add(self.at)  # it was silent, and given up
            happened["task run again while a zombie may still run it"] += 1
        if self.begun and not self.unsaid:
            assert self.retries, f"task {self.number} had begun elsewhere and is started at {server}"
            self.retries -= 1
            happened["task run again, as its options allow"] += 1
        happened["task that ran again, as nobody knew that it had begun"] += bool(self.begun and self.unsaid)
        self.at = server
        self.begun += 1

    def finish(self, server: Server) -> None:
        self.stop(server)
        self.completed += 1

    def stop(self, server: Server) -> None:
        if server in self.zombies:
            self.zombies.remove(server)
        else:
            assert self.at is server
            self.at = None

    def outcome(self, what: str) -> None:
        self.outcomes.append(what)
        assert len(self.outcomes) == 1, f"task {self.number} ended as {self.outcomes}"
