"""What a client's program does with its client: bursts of tasks, controls, close."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from parkcos.client import dispatch_events as d
from parkcos.client.records import DISABLED, Task
from parkcos.cluster import messages as m
from tests.sim.client import Client, Program
from tests.sim.server import Truth

if TYPE_CHECKING:
    from tests.sim.world import World

LAST_TASKS = 5
"""Tasks that each client submits when the world is healed, if it is still there."""
STAYS_S = 200.0
"""Seconds that a patient client stays in the healed world, whether it has tasks or not."""

CONTROLS = ["suspend", "suspend", "resume", "server", "server", "node", "restart", "abandon", "short", "again"]


class Scripted(Client):
    def __init__(self, world: World, program: Program, earlier: Client | None = None) -> None:
        rng, plan = world.rng, world.plan
        super().__init__(world, program, earlier)
        self.short = rng.random() < plan.short_tasks
        self.to_submit = rng.randrange(1, plan.tasks_max + 1) * (8 if self.short else 1)
        self.burst = max(60 if self.short else 8, self.to_submit // 8)
        self.task_numbers = itertools.count(self.first_number + 1)
        self.patient = rng.random() < 0.5
        """It closes when its tasks have ended."""
        self.stays_until = 0.0
        self.terminates = rng.random() < 0.15
        self.spaces = [next(world.numbers) for _ in range(rng.randrange(1, 4))]
        """Which its tasks may be in."""
        self.suspended: set[int] = set()
        self.shortened: set[int] = set()
        if rng.random() < 0.1:
            program.later(rng.random() * 10, self.give_up_waiting)

    def give_up_waiting(self) -> None:
        if self.state == "waiting":
            self.leave("left")

    def begin(self) -> None:
        rng = self.world.rng
        self.take_over()
        for _ in range(self.world.plan.controls):
            self.program.later(rng.random() * self.world.plan.fault_span_s, self.control)
        if self.machine.members.disable_nodes or self.machine.members.disable_servers:
            self.enable_some()
        self.submit_some()

    def submit_some(self) -> None:
        rng = self.world.rng
        if self.state != "running":
            return
        if not self.to_submit and self.patient and (self.machine.tasks or self.world.now < self.stays_until):
            self.program.later(5.0, self.submit_some)
            return
        if not self.to_submit:
            self.handle(d.CloseAsked(self.terminates, rng.random() < 0.3))
            if not self.terminates and rng.random() < 0.1:
                self.program.later(rng.random() * 10, self.close_at_once)
            return
        for _ in range(min(self.to_submit, rng.randrange(1, self.burst))):
            self.to_submit -= 1
            self.submit()
        self.program.later(rng.expovariate(1) * (self.world.plan.pace_s if self.world.faulty else 1), self.submit_some)

    def close_at_once(self) -> None:
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
        retries, timeout_s = rng.choice([0, 0, 1, 3]), rng.choice([0.0] * 9 + [rng.random()])
        if timeout_s and rng.random() < 0.5:
            seconds = 3600.0
        own = bool(self.world.plan.own) and not server and rng.random() < self.world.plan.own
        in_space = not own and not server and rng.random() < self.world.plan.spaces
        space = rng.choice(self.spaces) if in_space else 0
        truth = Truth(self, number, io, seconds, retries, timeout_s, server, node, own, space)
        judged, priority = rng.random() < 0.2, rng.choice([0, 0, 0, 1, -1])
        task = Task(number, io, server, node, timeout_s, retries, priority, judged, rng.choice(["one", "other"]), own)
        task.exclusive = space
        if not (server or node or own or space) and rng.random() < self.world.plan.chosen:
            self.program.later(0.0, self.choices.enter, task, truth)
        else:
            self.enter(task, truth)

    def enter(self, task: Task, truth: Truth) -> None:
        rng = self.world.rng
        if self.state != "running" or not self.program.alive:
            return
        self.world.tasks[self.number, task.number] = truth
        self.handle(d.Submitted(task))
        if truth.space and rng.random() < 0.02:
            self.program.later(rng.random() * 5, self.drop_space, truth.space)
        if rng.random() < 0.02:
            self.program.later(rng.random() * 5, self.withdraw, truth)
        if rng.random() < (0.2 if truth.own else 0.02):
            self.program.later(rng.random() * (0.2 if truth.own else 5), self.withdraw, truth)

    def withdraw(self, truth: Truth) -> None:
        truth.withdrawn = True
        self.handle(d.CancelAsked(truth.number))

    def drop_space(self, space: int) -> None:
        """Another takes its place."""
        if space not in self.spaces or self.state != "running":
            return
        self.spaces[self.spaces.index(space)] = next(self.world.numbers)
        for task in [task for task in self.machine.tasks.values() if task.exclusive == space]:
            self.withdraw(self.world.tasks[self.number, task.number])
        self.world.happened["space dropped"] += 1
        self.handle(d.SpaceDropped(space))

    # -- controls

    def control(self) -> None:
        world, machine, rng = self.world, self.machine, self.world.rng
        if not world.faulty or self.state != "running":
            return
        servers, nodes = list(machine.servers), list(machine.nodes)
        kind = rng.choice(CONTROLS)
        if kind == "suspend" and nodes:
            number = rng.choice(nodes + servers)
            self.suspended.add(number)
            self.handle(d.SuspendAsked(number, True))
        elif kind == "resume" and self.suspended:
            number = rng.choice(sorted(self.suspended))
            self.suspended.discard(number)
            self.handle(d.SuspendAsked(number, False))
        elif kind == "server" and servers:
            self.handle(d.CloseServerAsked(rng.choice(servers), rng.random() < 0.5, rng.random() < 0.5))
        elif kind == "node" and nodes:
            number = rng.choice(nodes)
            world.bar(self.number, number)
            self.handle(d.CloseNodeAsked(number, rng.random() < 0.5, False))
        elif kind == "restart" and nodes:
            self.handle(d.CloseNodeAsked(rng.choice(nodes), rng.random() < 0.5, True))
        elif kind == "abandon":
            self.handle(d.AbandonAsked(rng.choice([0, *nodes]), rng.random() < 0.5))
        elif kind == "short" and nodes:
            number = rng.choice(nodes)
            self.shortened.add(number)
            self.handle(d.LoadSeen(number, rng.random(), "it has only 5 bytes"))
            self.program.later(rng.random() * 10, self.no_longer_short, number)
        elif kind == "again":
            self.choosy = False
            self.handle(d.Reallocated())
            self.program.send(self.scheduler, m.OfferAgain(self.number))

    def no_longer_short(self, number: int) -> None:
        self.shortened.discard(number)
        self.handle(d.LoadSeen(number, None, ""))

    def enable_some(self) -> None:
        """Each that waits, sooner or later."""
        world, machine = self.world, self.machine
        if self.state != "running":
            return
        share = 0.3 if world.faulty else 1.0
        waiting: list[Any] = [n for n, node in machine.nodes.items() if node.state == DISABLED]
        waiting += [n for n, server in machine.servers.items() if server.state == DISABLED]
        for number in waiting:
            if world.rng.random() < share:
                self.handle(d.EnableAsked(number))
        self.program.later(1.0, self.enable_some)

    def let_go_on(self) -> None:
        """Nothing is held back any more."""
        for number in sorted(self.suspended):
            self.handle(d.SuspendAsked(number, False))
        for number in sorted(self.shortened):
            self.handle(d.LoadSeen(number, None, ""))
        self.suspended.clear()
        self.shortened.clear()
        self.to_submit += LAST_TASKS
        self.stays_until = self.world.now + STAYS_S
