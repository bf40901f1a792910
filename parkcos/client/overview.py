"""What a client's program may ask of its cluster: nodes, servers, tasks, how much there is room for and what waits."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from parkcos.client.ahead import AHEAD_MAX, AHEAD_S
from parkcos.client.observer import ClientChanged, Observer
from parkcos.client.observing import Observing
from parkcos.client.records import READY
from parkcos.client.room import SHORTEST_S, Room, Wants, room, wants
from parkcos.client.shell import RUNNING, WAITING
from parkcos.client.steering import Steering
from parkcos.client.submission import kind_of
from parkcos.errors import ScheduleError, UsageError
from parkcos.kernel import Completion, Task, operation
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.wait import seconds
from parkcos.net.location import Location


class Overview(Steering):
    """The questions.  None of them waits for a lock that user code holds."""

    def _must_run(self) -> None:
        if self._state is not RUNNING:
            if self._machine.stage.closed_why:
                raise ScheduleError(f"{self!r} runs no tasks: {self._machine.stage.closed_why}")
            raise ScheduleError(f"{self!r} runs no tasks\n  write: yield client.schedule()  first, and close() last")

    def nodes(self) -> Completion[list[str]]:
        """The addresses of the nodes that this client uses.  Yield it."""
        return self._ask("nodes", lambda: [n.info.addr for n in self._machine.nodes.values() if n.state == READY])

    def servers(self) -> Completion[list[Location]]:
        """The locations of the servers that are ready.  Yield it."""
        return self._ask("servers", lambda: [self._locations[number] for number in self._open_servers])

    @operation
    def wait_for_servers(self, n: int = 1, timeout: float | None = None) -> Generator[Any, Any, int]:
        """Wait until `n` servers are ready.  Yield it.

        Args:
            timeout: seconds; None for ever.

        Returns: how many are ready; less than `n` if the time was over.
        Raises: ScheduleError if the client is not scheduled, is closed meanwhile, or none will come, with the reason;
        UsageError.
        """
        limit = seconds(timeout)
        if type(n) is not int or n < 1:
            raise UsageError(f"wait_for_servers({n!r}): give a number of servers, 1 or more")
        self._must_run()

        def start(completion: Completion[int]) -> None:
            with self._lock:
                self._server_waits[completion] = n
                self._look_for_servers()

        def give_up() -> None:
            self._server_waits.pop(waits, None)

        waits = Completion(self._kernel, "wait_for_servers", start, limit, None, give_up)
        yield waits
        with self._lock:
            return len(self._open_servers)

    # -- for those who watch

    def observe(self, observer: Observer, *, output: bool = False) -> None:
        """Tell `observer` all that happens from now on; first of all, what there is.  Any thread; do not yield it.

        Args:
            observer: see ``parkcos.client.observer``, which has the events.
            output: it wants what is printed at the servers, too, which the nodes then send.
        """
        with self._lock:
            if self._observing is None:
                self._observing = Observing(self)  # type: ignore[arg-type]
            self._observing.add(observer, output)

    def unobserve(self, observer: Observer) -> None:
        """Tell it no more; it need not be told anything now.  Any thread."""
        with self._lock:
            if self._observing is not None:
                self._observing.observers.pop(observer, None)
                if not self._observing.observers:
                    self._observing = None

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who watches now."""
        return tuple(self._observing.observers) if self._observing is not None else ()

    def standing(self) -> ClientChanged:
        """How the client itself stands, as an observer is told.  Any thread."""
        state, stage, reason = self._state, self._machine.stage, ""
        if state is RUNNING:
            if stage.closing:
                reason = "it is being closed"
            elif stage.scheduler_lost:
                reason = stage.scheduler_lost
            elif not self._scheduler:
                reason = "the scheduler is gone; it is waited for"
        elif state is WAITING:
            reason = f"it is number {self._place_in_queue} in the queue" if self._position else ""
        place = self._place_in_queue if state in (RUNNING, WAITING) else 0
        return ClientChanged(
            self._id, self.name, state, reason, place, self._network.location if state is RUNNING else None
        )

    # -- room

    def room(self, fn: Callable[..., Any] | None = None) -> Room:
        """How many tasks could begin now, and how many places there are ahead for tasks as long as those of `fn`.

        For a queue that stands above the client and hands out one by one: what it submits beyond that waits in line.
        Do not yield it; any thread.

        Args:
            fn: what is to be submitted; None, or one that has not run yet: its tasks count as long.
        """
        with self._lock:
            return room(self._machine, "" if fn is None else kind_of(fn))

    def room_changes(
        self, known: Room, fn: Callable[..., Any] | None = None, timeout: float | None = None
    ) -> Completion[Room]:
        """Wait until :meth:`room` gives something else than `known`, or the client is being closed.  Yield it.

        Args:
            timeout: seconds; None for ever.

        Returns: the new room; `known` if the time was over.  Raises: ScheduleError if the client is not scheduled.
        """
        self._must_run()
        kind = "" if fn is None else kind_of(fn)

        def start(completion: Completion[Room]) -> None:
            with self._lock:
                self._room_waits[completion] = kind, known
                self._look_for_room()

        def give_up() -> None:
            self._room_waits.pop(waits, None)

        waits = Completion(current_kernel(), "room_changes", start, seconds(timeout), known, give_up)
        return waits

    def _kept_busy_by(self, kind: str) -> int:
        """How many tasks of this function keep a server busy while what follows them is on its way."""
        return min(2 * (1 + AHEAD_MAX), int(2 * AHEAD_S / max(SHORTEST_S, self._machine.queue.estimates.of(kind))))

    def wants(self) -> Wants:
        """What waits for a server, as a cluster that grows and shrinks with it wants to know.  Any thread."""
        with self._lock:
            return wants(self._machine)

    def tasks(self, where: Location | str | None = None) -> Completion[list[Task]]:
        """The tasks that run at a server or node, or at all (None).  Yield it.  Raises: ScheduleError."""

        def look(server: int, node: int) -> list[Task]:
            found: list[Task] = []
            with self._lock:
                for number, task in self._machine.tasks.items():
                    at = self._machine.servers.get(task.server)
                    if at is None or (server and task.server != server) or (node and at.node != node):
                        continue
                    rtask = self._submissions[number].rtask
                    if task.started and rtask is not None:
                        found.append(rtask)
            return found

        def start(completion: Completion[list[Task]]) -> None:
            self._when_placed(
                where,
                completion.set_exception,
                lambda: not completion.done,
                lambda server, node: completion.set_result(look(server, node)),
            )

        return Completion(current_kernel(), "tasks", start)

    def _ask(self, what: str, look: Callable[[], Any]) -> Completion[Any]:
        def start(completion: Completion[Any]) -> None:
            with self._lock:
                completion.set_result(look())

        return Completion(current_kernel(), what, start)
