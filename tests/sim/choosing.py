"""Tasks that a program places by a function of its own: the real choosing.py, asking functions that may be slow.

While a function is asked, the world goes on: the server that it is asked about may end, others come, tasks end.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from parkcos.client.choosing import Choosing
from parkcos.client.dispatch import Dispatch
from parkcos.client.facts import NodeFacts, ServerFacts
from parkcos.client.records import OPEN, PAUSED, Task
from parkcos.cluster.node_info import NodeInfo
from tests.sim.server import Truth, Where

if TYPE_CHECKING:
    from tests.sim.client import Client

FUNCTIONS_MAX = 4
SLOW = 0.1
"""The share of calls of a function that take their time."""
TWICE = 0.1
"""The share of servers about which the functions are asked twice."""
KERNEL_S = 0.01
"""Mean time until the kernel thread has its turn."""


class Function:
    """One of the program's functions."""

    def __init__(self, choices: Choices, where: Where) -> None:
        self.choices = choices
        self.where = where

    def __call__(self, node: NodeFacts, server: ServerFacts) -> bool:
        self.choices.take_time()
        return self.accepts(node, server.number)

    def accepts(self, node: NodeFacts | NodeInfo, number: int) -> bool:
        return self.where.accepts(node.name, number, bool(node.resources))


class Choices:
    """A client's functions, and all that choosing.py asks of its client."""

    name = "client"

    def __init__(self, client: Client) -> None:
        self.client = client
        world = client.world
        self.lock = contextlib.nullcontext()
        self.indexes: dict[int, int] = {}
        self.functions = [Function(self, world.where()) for _ in range(world.rng.randrange(1, FUNCTIONS_MAX + 1))]
        self.choosing = Choosing(self, self.indexes)  # type: ignore[arg-type]
        self.admitted: dict[int, set[int]] = {}
        """By the machine's number of a choice: the servers that it was told of."""
        self.to_ask: Counter[int] = Counter()
        """Servers about which the functions have yet to be asked."""
        self.asking = False
        """The kernel thread is in a function."""

    @property
    def machine(self) -> Dispatch:
        return self.client.machine

    def handle(self, event: Any) -> None:
        known, happened = self.machine.queue.choices.by_number.get(event.choice), self.client.world.happened
        for server in event.servers:
            happened["server accepted that has ended"] += server not in self.machine.servers
            happened["server accepted twice"] += known is not None and server in known.servers
        self.admitted.setdefault(event.choice, set()).update(event.servers)
        self.client.handle(event)

    def take_time(self) -> None:
        """Sometimes much happens meanwhile."""
        world = self.client.world
        if world.rng.random() < SLOW:
            world.run(world.now + world.rng.expovariate(1))

    def enter(self, task: Task, truth: Truth) -> None:
        """What `submit` does, in some thread of the program."""
        function = self.client.world.rng.choice(self.functions)
        truth.where = function.where
        task.choice = self.choosing.number_of(function)
        try:
            self.client.enter(task, truth)
            self.take_time()
        finally:
            self.choosing.entered(task.choice)

    def server_is_ready(self, server: int) -> None:
        """The functions are asked about it, soon."""
        if self.choosing.is_used:
            for _ in range(1 + (self.client.world.rng.random() < TWICE)):
                self.to_ask[server] += 1
                self._ask_later(server)

    def _ask_later(self, server: int) -> None:
        self.client.program.later(self.client.world.rng.expovariate(1 / KERNEL_S), self._ask, server)

    def _ask(self, server: int) -> None:
        if self.asking:
            self._ask_later(server)
            return
        self.asking = True
        self.choosing.server_is_ready(server)
        self.asking = False
        self.to_ask[server] -= 1

    def check_place(self, task: Task, server: int) -> None:
        """Whether it may run there."""
        told = self.admitted.get(task.choice, ())
        assert server in told, f"task {task.number} is sent to server {server}, and may run at {told} alone"

    def check(self) -> None:
        """What waits has a reason to."""
        machine, choosing = self.machine, self.choosing
        none_left = machine.stage.scheduler_lost and not machine.nodes
        ready = {number: server for number, server in machine.servers.items() if server.state in (OPEN, PAUSED)}
        functions = {number: function for function, number in choosing._numbers.items()}
        for number, choice in machine.queue.choices.by_number.items():
            what, waiting = f"choice {number}", len(choice.queue) + len(choice.io_queue)
            count = sum(task.choice == number for task in machine.tasks.values())
            assert choice.tasks == count > 0, f"{what} counts {choice.tasks} tasks of {count}"
            assert choice.servers.keys() <= self.admitted.get(number, set()), f"{what} has servers that nobody named"
            assert not (waiting and none_left), f"{what} keeps tasks, and no server comes any more"
            for server, record in ready.items():
                if server in choice.servers and record.state == OPEN:
                    busy = record.cpu or record.lent
                    assert busy or not choice.queue, f"tasks of {what} wait beside idle server {server}"
                    assert not choice.io_queue, f"I/O tasks of {what} wait, and server {server} is open"
                elif server not in choice.servers and not (self.to_ask[server] or choosing._entering[number]):
                    accepted = functions[number].accepts(machine.nodes[record.node].info, record.index + 1)
                    assert not accepted, f"{what} does not know that server {server} is accepted"
