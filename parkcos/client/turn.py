"""A client's place at its scheduler: in the queue, at its turn, when that scheduler is gone or another one is found."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.allocate import NodeAllocate
from parkcos.client.observer import ClientChanged
from parkcos.client.shell import CLOSED, NEW, RUNNING, WAITING, ClientShell, new_id
from parkcos.client.side import Member
from parkcos.client.status import Statuses
from parkcos.cluster import messages as m
from parkcos.cluster.message import Message
from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import ScheduleError
from parkcos.kernel import Completion, Task, operation
from parkcos.net.finding.lookup import known
from parkcos.net.location import Location

logger = logging.getLogger("parkcos")

SCHEDULER_BACK_S = 30.0
"""The wait for a shared scheduler that is gone: killed and started again it takes up where it was."""


class Turn:
    """One for each client.  It alone changes the state and the id of the client."""

    def __init__(self, shell: ClientShell) -> None:
        self._shell = shell
        self.scheduler = 0
        self._scheduler_at = Location("127.0.0.1", 0)
        self._automatic = False
        self._position = 0
        self._queued: m.Queued | None = None
        """What the scheduler has said of the queue, and when."""
        self._queued_at = 0.0
        self._begins: Completion[int] | None = None
        self.owner: Task | None = None
        """The task that has scheduled it, unless the program did that by itself, as by ``run(client.schedule)``."""
        self._owner_ended: Callable[[Task], object] = lambda task: None
        shell.executes(d.Want, self._want)

    def tell_scheduler(self, message: Message) -> bool:
        """Returns: whether there is one."""
        return self._shell.side.box.send(self.scheduler, "scheduler", message)

    def _want(self, effect: d.Want) -> None:
        self.tell_scheduler(m.WantNode(self._shell.id, effect.node, effect.cpus))

    def _enqueue(self) -> bool:
        shell = self._shell
        identity, python = shell.identity, shell.network.hub.own.python
        claim = identity.claim(shell.network.incarnation) if identity is not None else None
        return self.tell_scheduler(m.Enqueue(shell.id, shell.name, python, claim, shell.orphan_s if claim else 0.0))

    # -- getting in line (kernel thread)

    def enter(self, member: Member, task: Task | None, ended: Callable[[Task], object]) -> None:
        """From now on it waits for its turn.

        Args:
            member: this client, for what all of its process share.
            task: which schedules; one that runs nothing but `schedule` does so for its program.
            ended: called when that has ended and this client has not.
        """
        shell = self._shell
        shell.side.clients[shell.id] = member
        shell.state = WAITING
        if task is not None and task._stack:
            self.owner, self._owner_ended = task, ended
            task.add_end_callback(ended)

    @operation
    def wait(
        self,
        location: Location | str | None,
        allocations: Iterable[NodeAllocate],
        end: float | None,
        found: Callable[[], object],
    ) -> Generator[Any, Any, int]:
        """Find the scheduler and wait for the turn: 0, or -1 if the time was over.

        found: called when there is a scheduler.
        """
        shell = self._shell
        side, network, clock = shell.side, shell.network, shell.kernel.clock
        left = None if end is None else max(0.0, end - clock())
        if not (yield known(network, *allocations, timeout_s=left)):
            return -1
        contacts = [a.location for a in allocations if a.location is not None and a.use]
        self._automatic = location is None and not side.uses_own and not side.contacts
        self.scheduler = yield side.find_scheduler(location, contacts, end, shell.is_open)
        if not self.scheduler:
            self._must_be_open()
            return -1
        if (peer := network.hub.by_incarnation.get(self.scheduler)) is not None:
            self._scheduler_at = peer.location
        found()
        left = None if end is None else max(0.0, end - clock())

        def start(completion: Completion[int]) -> None:
            self._must_be_open()
            self._begins = completion
            if not self._enqueue():
                raise ScheduleError("the scheduler is gone")

        done: int = yield Completion(shell.kernel, "schedule", start, left, -1)
        return done

    def _must_be_open(self) -> None:
        if not self._shell.is_open():
            raise ScheduleError(f"{self._shell!r} was closed while it waited for its turn")

    def heard(self, message: m.Queued) -> None:
        """The scheduler has said how many are before this client."""
        waits, self._position = message.position and not self._position, message.position
        self._queued, self._queued_at = message, time.monotonic()
        if waits:
            logger.warning("%s", self.why_it_waits())

    def begin(self) -> None:
        """The scheduler gives this client the turn."""
        shell = self._shell
        with shell.lock:
            if shell.state is WAITING:
                shell.state = RUNNING
                shell.tell(Statuses.ClientScheduled, None)
                if self._begins is not None:
                    self._begins.set_result(0)
                for reason in list(shell.side.failures.values()):  # since it began to look for a scheduler
                    shell.side.lose_cluster(reason, shell.id)
            elif shell.state is RUNNING:
                shell.handle(d.TurnBegun())

    # -- leaving

    def leave_queue(self) -> bool:
        """End a client that has not got its turn.  Returns: False if it has got it.  Any thread."""
        shell = self._shell
        with shell.lock:
            if shell.state is WAITING:
                self._close()
                if self.scheduler:
                    self.tell_scheduler(m.ClientLeaves(shell.id))
                if self._begins is not None:
                    self._begins.set_exception(ScheduleError(f"{shell!r} was closed while it waited for its turn"))
            elif shell.state is NEW:
                shell.state = CLOSED
            return not shell.is_open()

    def give_up(self) -> bool:
        """As `leave_queue`, but the client is as new then, with an id that nothing still under way is meant for."""
        shell = self._shell
        with shell.lock:
            waited = shell.state is WAITING
            left = self.leave_queue()
            if left and waited:
                shell.state, shell.id = NEW, new_id()
                self._begins, self.scheduler, self._position, self._queued = None, 0, 0, None
            return left

    def leave(self) -> None:
        """The client has given back all its nodes."""
        self.tell_scheduler(m.ClientLeaves(self._shell.id))
        self._shell.let_identity_go(forget=not self._shell.machine.stage.closed_why)
        self._close()

    def _close(self) -> None:
        self._shell.state = CLOSED
        self._shell.side.clients.pop(self._shell.id, None)
        self._shell.let_identity_go(forget=False)
        if self.owner is not None:
            self.owner.drop_end_callback(self._owner_ended)
            self.owner = None

    # -- another scheduler, or none

    def may_move(self) -> bool:
        """Whether this client uses its program's own scheduler, which nobody asked for, and has no node there yet."""
        shell = self._shell
        return self._automatic and self.scheduler == shell.network.incarnation and not shell.machine.nodes

    def move(self, info: NodeInfo) -> None:
        """The node belongs to a shared scheduler, which was not found in time: queue there, and no longer here."""
        logger.warning(
            "%s: the node %s belongs to the shared scheduler at %s: queueing there",
            self._shell.name,
            info.name,
            info.scheduler,
        )
        self._automatic = False
        self.tell_scheduler(m.ClientLeaves(self._shell.id))
        self.scheduler = 0
        self._shell.kernel.spawn(self._queue_at, Location.parse(info.scheduler))

    def _queue_at(self, location: Location, task: Task | None = None) -> Any:
        assert task is not None
        task.set_daemon()
        try:
            scheduler = yield self._shell.side.at(location, None, self._shell.is_open)
        except ScheduleError as error:  # another program is there
            return self._lose(str(error))
        if self._shell.state is RUNNING:
            self.scheduler, self._scheduler_at = scheduler, location
            self._enqueue()

    def scheduler_gone(self, reason: str) -> None:
        """It may be started again: then it knows this client, and the nodes know whom they serve."""
        logger.warning(
            "%s: the scheduler is gone (%s); the client goes on, and waits %g s for it to come back",
            self._shell.name,
            reason,
            SCHEDULER_BACK_S,
        )
        self.scheduler = 0
        self._shell.kernel.spawn(self._return_to, self._scheduler_at, reason)

    def _return_to(self, location: Location, reason: str, task: Task | None = None) -> Any:
        assert task is not None
        task.set_daemon()
        shell = self._shell
        client = shell.id
        try:
            scheduler = yield shell.side.at(location, shell.kernel.clock() + SCHEDULER_BACK_S)
        except ScheduleError as error:  # another program has taken its place
            scheduler, reason = 0, str(error)
        if client != shell.id:
            return
        self.scheduler = scheduler
        if shell.state is CLOSED:
            self.tell_scheduler(m.ClientLeaves(shell.id))
        elif self.scheduler:
            logger.info("%s: the scheduler at %s is back", shell.name, location)
            self._enqueue()
        else:
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        shell = self._shell
        if shell.state is WAITING and self._begins is not None:
            self._begins.set_exception(ScheduleError(f"the scheduler is gone: {reason}"))
            self._close()
        elif shell.state is RUNNING:
            logger.warning("%s: there is no scheduler any more (%s); it goes on with its nodes", shell.name, reason)
            shell.handle(d.SchedulerLost(f"the scheduler is gone: {reason}"))

    # -- how it stands

    @property
    def _place(self) -> int:
        """1: it has its turn.  A client that waits has been told how many are before it, or soon will be."""
        return max(1, self._position) + 1 if self._shell.state is WAITING else 1

    def standing(self) -> ClientChanged:
        """As `Client.standing`."""
        shell = self._shell
        state, stage, reason = shell.state, shell.machine.stage, ""
        if state is RUNNING:
            if stage.closing:
                reason = "it is being closed"
            elif stage.scheduler_lost:
                reason = stage.scheduler_lost
            elif not self.scheduler:
                reason = "the scheduler is gone; it is waited for"
        elif state is WAITING:
            reason = f"it is number {self._place} in the queue" if self._position else ""
        place = self._place if state in (RUNNING, WAITING) else 0
        return ClientChanged(
            shell.id, shell.name, state, reason, place, shell.network.location if state is RUNNING else None
        )

    def why_it_waits(self) -> str:
        """For the log: its place in the queue, and who has the nodes."""
        text = f"{self._shell.name} waits for its turn: it is number {self._place} in the queue"
        queued = self._queued
        if queued is not None and queued.holder:
            held_s = queued.held_s + time.monotonic() - self._queued_at
            who = "1 client waits" if queued.waiting == 1 else f"{queued.waiting} clients wait"
            text += f" ({queued.holder} has had the nodes for {_in_words(held_s)}; {who})"
        return text + "".join(f", behind {how}" for _, how in self.before())

    def before(self) -> list[tuple[Member, str]]:
        """The clients of this program that have the nodes this one waits for, and how each of them stands."""
        others = [(other, other.holding(self.scheduler)) for other in list(self._shell.side.clients.values())]
        return [(other, how) for other, how in others if how]

    def holding(self, scheduler: int) -> str:
        """How this client stands, as one that waits for the nodes of this scheduler says; "" if it has none."""
        shell = self._shell
        if shell.state is not RUNNING or self.scheduler != scheduler:
            return ""
        how = "which is not closed yet"
        if shell.machine.stage.closing:
            how = "which is being closed"
        elif self.owner is not None and not self.owner.is_alive():
            how = f"which {self.owner.name} has scheduled and not closed; write: with client: ..."
        return f"{shell.name} of this very program, {how}"


def _in_words(duration_s: float) -> str:
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if duration_s >= 2 * unit_s:
            return f"{duration_s / unit_s:.0f} {unit}"
    return f"{duration_s:.0f} s"
