"""Tasks of other processes: the same face as a task next door."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from parkcos.errors import ParkcosError, TaskAbandoned, UsageError
from parkcos.kernel import MonitorStatus, Outcome, Task, failures
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.task_waits import Act
from parkcos.kernel.wait import Wait, Waitable, seconds
from parkcos.net import wire
from parkcos.net.location import Location
from parkcos.net.payload import dumps
from parkcos.net.session.peer import GONE
from parkcos.net.tasks import outcomes
from parkcos.net.tasks.exposed import id_of
from parkcos.net.tasks.requests import delivered

if TYPE_CHECKING:
    from parkcos.net.network import Network
    from parkcos.net.session.peer import Peer

logger = logging.getLogger("parkcos")


class Behind(int, Waitable):
    """The 0 of a `send` to a task or a process that is behind: yielded, it waits until that has caught up."""

    peer: Peer
    task: RemoteTask

    def as_wait(self) -> Wait[int]:
        return self.task.network.senders.wait(self.peer, self.task)


class RemoteTask(Task):
    """A reference to a task in another process, named by that process's incarnation and the task's number there.

    `send` puts a message on its way and returns 0, or -1 if its process is gone; ``yield rtask.send(m)`` waits while
    the far side is behind.  Everything else is as in :class:`Task`; ``throw``, ``resume`` and the like work only
    where the task runs.
    """

    __slots__ = ("_end", "_location", "_number", "_outcome", "_peer", "_unheard", "_watched", "incarnation", "network")

    is_local = False

    def __init__(self, network: Network, location: Location, incarnation: int, number: int, name: str) -> None:
        self.kernel = network.kernel
        self.network = network
        self._location = location
        self.incarnation = incarnation
        self._number = number
        self.id = id_of(number)
        self.name = name
        self._outcome: Outcome | None = None
        self._unheard = False
        """It has failed, and nobody has asked for its end yet."""
        self._watched = False
        self._end: Callable[[], None] | None = None
        """How its own program ends it, which has more means to that than its process."""
        self._callbacks = None
        self._peer: Peer | None = None

    @property
    def location(self) -> Location:
        return self._location

    @property
    def outcome(self) -> Outcome | None:
        self._unheard = False
        return self._outcome

    def __del__(self) -> None:
        if getattr(self, "_unheard", False) and self._outcome is not None:
            text = (self._outcome.traceback or "").rstrip()
            logger.error("%r failed, and nobody here has asked for its end:\n%s", self, text)

    @property
    def unread(self) -> int:
        raise UsageError(f"{self!r} is in another process: its queue is known only there; have it send `task.unread`")

    @property
    def daemon(self) -> bool:
        raise UsageError(f"{self!r} is in another process: only there is it known whether it is a daemon")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteTask) and (self.incarnation, self._number) == (other.incarnation, other._number)

    def __hash__(self) -> int:
        return hash((self.incarnation, self._number))

    def __repr__(self) -> str:
        return f"{self.name}/{self.id}@{self._location}"

    def __reduce__(self) -> tuple[Any, ...]:
        return restore_task, (self._location.addr, self._location.port, self.incarnation, self._number, self.name)

    def is_alive(self) -> bool:
        """False once its end is known here."""
        return self._outcome is None and self._reach() is not None

    def _reach(self) -> Peer | None:
        peer = self._peer
        if peer is None or peer.state is GONE:
            peer = self._peer = self.network.hub.peer_at(self._location, self.incarnation)
        return peer

    # -- messages

    def send(self, message: Any) -> int:
        """Put `message` on its way, in order with all others to that process.  May be yielded; never blocks.

        Returns: 0; -1 if the task's end is known or its process is gone.
        Raises: ShippingError at once if `message` cannot be pickled.
        """
        if self._outcome is not None:
            return -1
        peer = self._peer
        if peer is None or peer.state is GONE:
            peer = self._reach()
            if peer is None:
                return -1
        form, buffers = dumps(message)
        if not peer.post_payload(wire.ToTask(wire.EMPTY, form, False, self._number), buffers):
            return -1
        if peer.behind or (peer.slow and self._number in peer.slow):
            behind = Behind(0)
            behind.peer, behind.task = peer, self
            return behind
        return 0

    def deliver(self, message: Any, timeout: float | None = None) -> Wait[int]:
        """Yield it.  Returns: 1 when `message` is in the task's queue, 0 after `timeout` seconds, -1 if it has ended.

        Raises: ShippingError at once if `message` cannot be pickled, and later if it cannot be opened there.
        """
        form, buffers = dumps(message)
        limit = seconds(timeout)
        if self._outcome is not None:
            return Act("deliver", lambda: -1)

        def ask(request: int) -> tuple[wire.Message, Any]:
            return wire.DeliverToTask(wire.EMPTY, form, False, self._number, request), buffers

        return self.network.request("deliver", self._reach, ask, limit, 0, -1, delivered, withdraws=True)

    def terminate(self) -> int:
        if self._outcome is not None or (peer := self._reach()) is None:
            return -1
        if self._end is not None:
            self._end()
            return 0
        return 0 if peer.post(wire.End(self._number)) else -1

    def throw(self, *exception: Any) -> int:
        raise UsageError(f"{self!r} is in another process: only terminate() reaches it there; send it a message")

    def resume(self, update: Any = None) -> int:
        raise UsageError(f"{self!r} is in another process: send it a message, and receive() there")

    wakeup = resume

    def hot_swappable(self, flag: bool = True) -> int:
        return -1

    def hot_swap(self, fn: Any = None, /, *args: Any, **kwargs: Any) -> int:
        raise UsageError(f"{self!r} is in another process: only there can it be swapped; send it a message that asks")

    def register(self, name: str | None = None) -> int:
        return -1

    def unregister(self, name: str | None = None) -> int:
        return -1

    def set_daemon(self, flag: bool = True) -> int:
        return -1

    def receive(self, timeout: float | None = None, alarm_value: Any = None) -> Any:
        raise UsageError(f"{self!r} is in another process: a task can receive only for itself")

    recv = receive

    def suspend(self, timeout: float | None = None, alarm_value: Any = None) -> Any:
        raise UsageError(f"{self!r} is in another process: a task can sleep only for itself")

    sleep = suspend

    # -- its end

    def add_end_callback(self, fn: Callable[[Task], object]) -> None:
        if get_ident() != self.kernel.ident:
            self.kernel.post(self.add_end_callback, fn)
            return
        if self._outcome is not None:
            self.kernel.post(fn, self)
            return
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(fn)
        if not self._watched:
            self._watched = True
            self.network.observe(self)

    def drop_end_callback(self, fn: Callable[[Task], object]) -> None:
        if get_ident() != self.kernel.ident:
            self.kernel.post(self.drop_end_callback, fn)
        elif self._callbacks and fn in self._callbacks:
            self._callbacks.remove(fn)

    def ended(self, outcome: Outcome, *, told: bool = False) -> None:
        """Kernel thread: how the task ended is known.  told: somebody is told who has not asked."""
        if self._outcome is not None:
            return
        self._outcome = outcome
        self._end = None  # which knows this task
        callbacks, self._callbacks = self._callbacks, None
        ordered = outcome.exception is None or failures.is_a(outcome.exception, (KeyboardInterrupt, SystemExit))
        self._unheard = outcome.kind == outcomes.FAILED and not (ordered or callbacks or told)
        for fn in callbacks or ():
            self.kernel.post(fn, self)

    def told(self, answer: wire.Answer | None, reason: str) -> None:
        """Kernel thread: its process has answered how it ended; None: that is gone, for this reason."""
        if answer is None:
            lost = f"{self!r} is lost with its process: {reason or 'it is gone'}"
            self.ended(outcomes.abandoned(TaskAbandoned(lost)))
        elif answer.value < 0:
            text = f"{self!r} had ended before it was asked for its end, {answer.error}"
            self.ended(outcomes.abandoned(TaskAbandoned(text)))
        else:
            self.ended(outcomes.unpack(answer.error, answer.form, answer.payload, str(self.location)))

    def _add_monitor(self, monitor: Task) -> Wait[int]:
        return Act("monitor", lambda: self.notify(monitor) if self._reach() or self._outcome else -1)

    def _monitor_ended(self, status: MonitorStatus) -> None:
        try:
            self.send(status)
        except ParkcosError:
            self.send(MonitorStatus(status.info, status.type, None, None, status.traceback))


class RetriedTask(RemoteTask):
    """A task that may run again elsewhere: one reference for all its runs, which goes to the present one."""

    __slots__ = ("_first",)

    def __init__(self, network: Network, location: Location, incarnation: int, number: int, name: str) -> None:
        super().__init__(network, location, incarnation, number, name)
        self._first = incarnation, number

    def runs_at(self, location: Location, incarnation: int, number: int) -> None:
        """From now on it is this task."""
        self._location, self.incarnation, self._peer = location, incarnation, None
        self._number, self.id = number, id_of(number)

    def __eq__(self, other: object) -> bool:
        first = other._first if isinstance(other, RetriedTask) else None
        if first is None and isinstance(other, RemoteTask):
            first = other.incarnation, other._number
        return first == self._first

    def __hash__(self) -> int:
        return hash(self._first)


def restore_task(addr: str, port: int, incarnation: int, number: int, name: str) -> Task | None:
    """Unpickles a reference: the very task if it has come home, else a RemoteTask."""
    network: Any = current_kernel().ensure_network()
    if incarnation == network.incarnation:
        task = network.exposed.find(number)
        return task if task is not None else _ended_task(network, number, name)
    return RemoteTask(network, Location(addr, port), incarnation, number, name)


def _ended_task(network: Network, number: int, name: str) -> Task:
    """What a reference to a task of this process becomes that has ended meanwhile."""
    task = RemoteTask(network, network.location, network.incarnation, number, name)
    task._watched = True
    task._outcome = Outcome("finished", None)
    return task
