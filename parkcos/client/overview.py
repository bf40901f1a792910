"""What a client's program may look at: nodes, servers, tasks; and who watches all the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parkcos.client.nodes import Nodes
from parkcos.client.observer import ClientChanged, Observer
from parkcos.client.observing import Observing
from parkcos.client.records import READY
from parkcos.client.room import open_servers
from parkcos.client.shell import ClientShell
from parkcos.client.turn import Turn
from parkcos.client.whereabouts import Whereabouts
from parkcos.kernel import Completion, Task
from parkcos.kernel.registry import current_kernel
from parkcos.net.location import Location


class Overview:
    """One for each client.  Its calls are those of `Client` by the same names; none waits for users' code."""

    def __init__(self, shell: ClientShell, nodes: Nodes, turn: Turn, whereabouts: Whereabouts) -> None:
        self._shell = shell
        self._nodes = nodes
        self._turn = turn
        self._whereabouts = whereabouts
        self._observing: Observing | None = None

    def nodes(self) -> Completion[list[str]]:
        machine = self._shell.machine
        return self._ask("nodes", lambda: [n.info.addr for n in machine.nodes.values() if n.state == READY])

    def servers(self) -> Completion[list[Location]]:
        shell = self._shell
        return self._ask("servers", lambda: [shell.locations[number] for number in open_servers(shell.machine)])

    def tasks(self, where: Location | str | None) -> Completion[list[Task]]:
        def look(server: int, node: int) -> list[Task]:
            found: list[Task] = []
            with self._shell.lock:
                machine = self._shell.machine
                for number, task in machine.tasks.items():
                    at = machine.servers.get(task.server)
                    if at is None or (server and task.server != server) or (node and at.node != node):
                        continue
                    rtask = self._shell.submissions[number].rtask
                    if task.started and rtask is not None:
                        found.append(rtask)
            return found

        def start(completion: Completion[list[Task]]) -> None:
            self._whereabouts.when_placed(
                where,
                completion.set_exception,
                lambda: not completion.done,
                lambda server, node: completion.set_result(look(server, node)),
            )

        return Completion(current_kernel(), "tasks", start)

    def _ask(self, what: str, look: Callable[[], Any]) -> Completion[Any]:
        def start(completion: Completion[Any]) -> None:
            with self._shell.lock:
                completion.set_result(look())

        return Completion(current_kernel(), what, start)

    # -- for those who watch

    def observe(self, observer: Observer, output: bool) -> None:
        with self._shell.lock:
            if self._observing is None:
                self._observing = self._shell.observing = Observing(self._shell, self._nodes, self._turn.standing)
            self._observing.add(observer, output)

    def unobserve(self, observer: Observer) -> None:
        with self._shell.lock:
            if self._observing is not None:
                self._observing.observers.pop(observer, None)
                if not self._observing.observers:
                    self._observing = self._shell.observing = None

    @property
    def observers(self) -> tuple[Observer, ...]:
        return tuple(self._observing.observers) if self._observing is not None else ()

    def standing(self) -> ClientChanged:
        return self._turn.standing()
