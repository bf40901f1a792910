"""The scheduler's process in the world: the real machine, and a shell that keeps a journal of the queue."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from parkcos.cluster import messages as m
from parkcos.scheduler import state as ss
from tests.sim.process import Process

if TYPE_CHECKING:
    from tests.sim.world import World

WRITE_S = 0.05
"""The journal is written so long after a change, at most."""
AGAIN_S = 3.0
"""A node that was lost is found again after about this time, if it is there."""


class Scheduler(Process):
    def __init__(self, world: World, records: list[ss.ClientRecord] | None = None) -> None:
        super().__init__(world, "scheduler", "scheduler")
        self.machine = ss.SchedulerMachine(world.plan.zombie_period_s)
        self.journal: list[ss.ClientRecord] = []
        self._written: tuple[int, ...] = ()
        self._writing = False
        if records is not None:
            self.machine.restore(records, world.now)
            self.journal, self._written = copy.deepcopy(records), tuple(self.machine.queue)
            self.arm(self.machine, self.handle, ss.TimePassed())

    def records(self) -> list[ss.ClientRecord]:
        """The queue as it is."""
        return [copy.copy(record) for record in self.machine.queue.values()]

    def _write(self) -> None:
        self._writing = False
        self.journal, self._written = self.records(), tuple(self.machine.queue)

    def end(self, reason: str) -> None:
        super().end(reason)
        self.world.scheduler_ended(self)

    def find(self, node: Process) -> None:
        """By broadcast, or because it was named."""
        if node.alive:
            self.world.wire.connect(self, node.number, anew=True)

    def up(self, process: int) -> None:
        if process in self.world.nodes:
            self.send(process, m.AskState())

    def gone(self, process: int, reason: str) -> None:
        self.handle(ss.ProcessLost(process, reason))
        if (node := self.world.nodes.get(process)) is not None:
            self.later(AGAIN_S * (0.5 + self.world.rng.random()), self.find, node)

    def receive(self, sender: int, message: Any) -> None:
        match message:
            case m.NodeState(info, client, idle, lost):
                self.handle(ss.NodeReported(info, client, idle, lost))
            case m.NodeAnswer(client, ok, reason):
                self.handle(ss.NodeAnswered(sender, client, ok, reason))
            case m.Enqueue(client, name, python, claim, orphan_s):
                run = claim.run if claim is not None else 0
                self.handle(ss.ClientAsked(client, sender, "10.9.9.9", 9705, name, python, run, orphan_s))
            case m.WantNode(client, node, cpus):
                self.handle(ss.ClientWanted(client, node, cpus))
            case m.ClientLeaves(client):
                self.handle(ss.ClientLeft(client))
            case m.OfferAgain(client):
                self.handle(ss.ClientWantsAgain(client))

    def handle(self, event: Any) -> None:
        self.step(self.machine, event, self.execute)
        if not self._writing and tuple(self.machine.queue) != self._written:
            self._writing = True
            self.later(WRITE_S * self.world.rng.random(), self._write)
        self.arm(self.machine, self.handle, ss.TimePassed())

    def execute(self, effect: Any) -> None:
        match effect:
            case ss.ToClient(process, message):
                if type(message) is m.Scheduled:
                    assert message.client == self.machine.current, f"{message} while {self.machine.current} runs"
                self.send(process, message)
            case ss.ToNode(node, message):
                self.send(node, message)
