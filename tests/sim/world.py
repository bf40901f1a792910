"""A whole cluster in virtual time: the real machines, with simulated shells, processes and network around them.

Everything that happens comes out of one seeded `random.Random`; after each event the machine that it went to is
checked, and what it did is compared with what is true in this world.  The network is in wire.py, the processes are
in scheduler.py, node.py, server.py and client.py, what their users do in script.py and choosing.py, what goes wrong in
faults.py.  What clients believe and say is compared with what is true in reasons.py.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from parkcos.node import records
from parkcos.scheduler import state as ss
from tests.sim import faults
from tests.sim.client import Client, Program
from tests.sim.node import Node
from tests.sim.plan import Plan
from tests.sim.process import Process
from tests.sim.reasons import Watch
from tests.sim.scheduler import Scheduler
from tests.sim.script import Scripted
from tests.sim.server import FRESH, Server, Truth, Where
from tests.sim.wire import Wire

STORY = 400
SAME_INSTANT_MAX = 200_000
ORPHAN_MAX_S = 300.0
"""For which a lost program is waited for."""
BOUND_S = 900.0
"""After the healing everything comes to its end within this time."""


class World:
    """Build it, `run(until)`, `heal()`, `finish()`."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.rng = rng = random.Random(seed)
        self.seed, self.plan = seed, plan
        self.now = 0.0
        self.steps = 0
        self.happened: Counter[str] = Counter()
        self.faulty = True
        self.numbers = itertools.count(1)
        self.story: deque[tuple[float, object, Any, Any]] = deque(maxlen=STORY)
        self.processes: dict[int, Process] = {}
        self.nodes: dict[int, Node] = {}
        self.clients: list[Client] = []
        self.tasks: dict[tuple[int, int], Truth] = {}
        self.barred: set[tuple[int, int]] = set()
        """(client, node): for a good reason that client does not use that node any more."""
        self.at_node: dict[int, dict[int, Server]] = {}
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self.wire = Wire(self)
        self.scheduler = Scheduler(self)
        for index in range(plan.nodes):
            self.at(rng.random() * 0.5, self.start_node, f"n{index}", rng.randrange(1, plan.cpus_max + 1))
        for _ in range(plan.clients):
            self.at(rng.random() * 5, self.start_client)
        self.to_come = plan.clients
        """So many programs have yet to start."""
        for _ in range(plan.faults):
            self.at(rng.random() * plan.fault_span_s, faults.fault, self)
        for _ in range(plan.cuts):
            self.at(rng.random() * plan.fault_span_s * 0.6, faults.cut, self)
        if rng.random() < plan.scheduler_dies:
            self.at(rng.random() * plan.fault_span_s, self.kill_scheduler)

    # -- time

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, args))

    def run(self, until: float) -> None:
        events, instant, count = self._events, -1.0, 0
        pop = heapq.heappop
        while events and events[0][0] <= until:
            self.now, _, what, args = pop(events)
            count = count + 1 if self.now == instant else 0
            instant = self.now
            assert count < SAME_INSTANT_MAX, "time stands still"
            what(*args)
        self.now = max(self.now, until)

    # -- what happens

    def where(self) -> Where:
        """What some function accepts: perhaps nothing that is there yet."""
        rng, names = self.rng, [f"n{index}" for index in range(self.plan.nodes)]
        kinds = [Where(tuple(rng.sample(names, min(2, len(names))))), Where(odd=True), Where(resource=True), Where()]
        return rng.choice(kinds)

    def end(self, process: Process, reason: str) -> None:
        assert process.alive
        process.alive = False
        self.story.append((self.now, process, f"ends: {reason}", ()))
        self.wire.died(process, reason)

    def bar(self, client: int, node: int) -> None:
        self.barred.add((client, node))

    def servers_at(self, node: Node) -> list[Server]:
        return list(self.at_node.get(node.number, {}).values())

    def start_node(self, name: str, cpus: int) -> Node:
        node = Node(self, name, cpus, "3.12" if self.faulty and self.rng.random() < 0.03 else "3.11")
        self.at(self.now + self.rng.random(), self.discover, node)
        return node

    def discover(self, node: Node) -> None:
        if self.scheduler.alive:
            self.scheduler.find(node)

    def start_client(self) -> None:
        if not self.scheduler.alive:
            self.at(self.now + 1, self.start_client)
            return
        self.to_come -= 1
        program = Program(self)
        Scripted(self, program)
        if self.rng.random() < 0.3:
            Scripted(self, program)

    def follow(self, clients: list[Client]) -> None:
        """The program of these clients was lost: the next run of it comes soon, or not so soon."""
        self.to_come += 1
        self.at(self.now + self.rng.choice([0.05, 1.0, 30.0]) * (0.5 + self.rng.random()), self.start_again, clients)

    def start_again(self, clients: list[Client]) -> None:
        if not self.scheduler.alive:
            self.at(self.now + 1, self.start_again, clients)
            return
        self.to_come -= 1
        program = Program(self)
        for client in clients:
            Scripted(self, program, client)

    def kill_scheduler(self) -> None:
        if self.scheduler.alive:
            self.scheduler.end("killed")

    def scheduler_ended(self, scheduler: Scheduler) -> None:
        """It is started again, with the queue as it was or as it was last written; or without."""
        records = None
        self.happened["scheduler with its journal" if self.plan.journal else "scheduler without a journal"] += 1
        if self.plan.journal:
            records = scheduler.records() if self.rng.random() < 0.5 else scheduler.journal
        self.at(self.now + 0.1 + self.rng.random() * self.rng.choice([2, 60]), self.start_scheduler, records)

    def start_scheduler(self, records: list[ss.ClientRecord] | None) -> None:
        self.scheduler = Scheduler(self, records)
        for node in self.nodes.values():
            if node.alive:
                self.at(self.now + self.rng.random(), self.discover, node)
        if self.faulty:
            self.to_come += 1
            self.at(self.now + self.rng.random() * 5, self.start_client)

    # -- the end

    def heal(self) -> None:
        """No more faults, and enough nodes for everybody."""
        self.faulty = False
        for process in self.processes.values():
            process.doomed = 0
        for cut in list(self.wire.cuts):
            self.wire.lift(cut)
        self.at(self.now + self.plan.fresh_s, self.start_fresh_nodes)
        for client in self.clients:
            client.let_go_on()

    def start_fresh_nodes(self) -> None:
        if not self.to_come and all(client.over for client in self.clients):
            return
        for index in range(2):
            self.start_node(f"{FRESH}{index}", self.plan.cpus_max).slowness = 1.0

    def finish(self, bound_s: float = BOUND_S) -> None:
        """From now on everything must come to its end."""
        end = self.now + bound_s
        watch = Watch(self)
        while self.now < end and (self.to_come or any(not c.over for c in self.clients)):
            self.run(min(end, self.now + 5))
            watch.look()
            for client in self.clients:  # the scheduler is gone, and no node is left that is of use: it gives up
                if client.state == "running" and client.machine.stage.scheduler_lost and client.has_nothing_left():
                    client.close_at_once()
        stuck = [c for c in self.clients if not c.over]
        assert not stuck, f"{stuck} did not come to their end in {bound_s} s"
        self.run(self.now + (120 if not self.plan.returns else 120 + ORPHAN_MAX_S))
        for truth in self.tasks.values():
            if truth.client.program.alive:
                assert len(truth.outcomes) == 1, f"task {truth.number} of {truth.client} was lost"
            assert truth.at is None, f"task {truth.number} still runs at {truth.at}"
        assert not self.scheduler.machine.queue, f"the scheduler keeps {list(self.scheduler.machine.queue)}"
        for node in self.nodes.values():
            if node.alive:
                assert node.machine.phase == records.FREE, f"{node} is {node.machine.phase} for {node.machine.client}"
                record = self.scheduler.machine.nodes[node.number]
                assert record.state == ss.FREE, f"the scheduler has {node} as {record.state}"
            assert not self.servers_at(node), f"{node} left servers behind"

    def seen(self) -> Counter[str]:
        """What has happened here, by kind, as test_cluster.py names it."""
        seen = self.happened
        for truth in self.tasks.values():
            seen.update(truth.outcomes)
        wire = self.wire
        seen["frame lost"] += wire.lost
        seen["frame sent again"] += wire.resent
        seen["frame that came twice"] += wire.doubled
        seen["session that one side had given up"] += wire.given_up
        return seen

    def tell_story(self, what: str) -> None:
        self.story.append((self.now, "network", what, ()))

    def tell(self) -> str:
        """The last things that happened."""
        lines = []
        for when, who, what, effects in self.story:
            lines.append(f"{when:10.4f} {who!s:14} {what}")
            lines += [f"{'':25} -> {effect}" for effect in effects]
        return "\n".join(lines)
