"""A server's work list: which task runs now.  A state machine; the server process around it is its shell.

CPU tasks run one at a time, in the order in which they came; I/O tasks start at once.  A client may send a few CPU
tasks ahead, so that the next one starts without waiting for the network, and may ask for one back while it has not
begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from parkcos.cluster import server_messages as sm

INTERRUPT_GRACE_S = 5.0
"""A task that is to end gets KeyboardInterrupt and so much time to say what it has to say (chapter 6.4)."""


RELEASE_S = 5.0
"""A server that ends in peace waits so long for its client to say that the last outcomes are safe."""


class Asked(msgspec.Struct, frozen=True):
    """The client wants a task run."""

    task: int
    io: bool
    timeout_s: float = 0.0
    """How long it may run; 0: for ever."""


class Recalled(msgspec.Struct, frozen=True):
    """The client wants a task back that may not have begun."""

    task: int


class Ended(msgspec.Struct, frozen=True):
    """A task that was started has ended, or could not be started."""

    task: int


class EndAsked(msgspec.Struct, frozen=True):
    """The client wants a task ended that has begun."""

    task: int


class Released(msgspec.Struct, frozen=True):
    """What has come of these tasks need not be kept any more."""

    tasks: list[int]


class CloseAsked(msgspec.Struct, frozen=True):
    """The server is to end: when its CPU tasks have (grace_s < 0), else after interrupting everything.

    by: the task that asked for it, which is not interrupted.
    """

    grace_s: float
    by: int = 0


class TimePassed(msgspec.Struct, frozen=True):
    pass


Event = Asked | Recalled | Ended | EndAsked | Released | CloseAsked | TimePassed


class Start(msgspec.Struct, frozen=True):
    task: int


class Answer(msgspec.Struct, frozen=True):
    message: sm.TaskRecalled


class Abandon(msgspec.Struct, frozen=True):
    """Asked for, never started, and never will be."""

    task: int


class Interrupt(msgspec.Struct, frozen=True):
    task: int


class Terminate(msgspec.Struct, frozen=True):
    task: int


class TimedOut(msgspec.Struct, frozen=True):
    """It has had its time, and is about to be interrupted: however it ends now, that is why."""

    task: int


class Close(msgspec.Struct, frozen=True):
    """Close its generator, when it is at a yield."""

    task: int


class Leave(msgspec.Struct, frozen=True):
    """Tell the client that this server is about to end, before anything else is said."""


class GiveUp(msgspec.Struct, frozen=True):
    """It heeds nothing: this process must end, with it."""

    task: int


class Exit(msgspec.Struct, frozen=True):
    pass


Effect = Start | Answer | Abandon | Interrupt | Terminate | TimedOut | Close | Leave | GiveUp | Exit

CLOSE_GRACE_S = 1.0
"""A task at a yield that is closed ends at once; one that has not by then computes, or does not heed that either."""


@dataclass
class Executor:
    """The one door is :meth:`handle`.

    client: the number that answers carry.
    keeps: what has come of a task is kept until the client releases it; a server that ends in peace waits a little
    for that.
    """

    client: int
    keeps: bool = False
    kept: dict[int, None] = field(default_factory=dict)
    """The tasks that have ended and were not released."""
    leave_by: float | None = None
    """When a server that ends in peace waits no longer for that."""
    cpu_task: int = 0
    waiting: dict[int, None] = field(default_factory=dict)
    io_tasks: dict[int, None] = field(default_factory=dict)
    closing: bool = False
    interrupted: bool = False
    terminate_at: float | None = None
    exited: bool = False
    timeouts: dict[int, float] = field(default_factory=dict)
    """How long tasks that have not begun may run."""
    limits: dict[int, tuple[float, str]] = field(default_factory=dict)
    """When something is to be done about a running task, and what: "interrupt", "close" or "give up"."""

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        assert self.cpu_task or not self.waiting, "tasks wait for nothing"
        assert not self.closing or not self.waiting, "a closing server begins nothing"
        assert self.cpu_task not in self.waiting, "a task runs and waits"
        assert not self.exited or (self.closing and not self.cpu_task and not self.io_tasks), "it ended with its tasks"
        assert self.terminate_at is None or self.interrupted
        assert self.limits.keys() <= {self.cpu_task, *self.io_tasks}, "a time limit of a task that does not run"
        assert self.timeouts.keys() <= self.waiting.keys()

    @property
    def running(self) -> int:
        """How many tasks run."""
        return bool(self.cpu_task) + len(self.io_tasks)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it."""
        return list(self.steps(event, now))

    def steps(self, event: Event, now: float) -> Iterator[Effect]:
        """The same, order by order."""
        match event:
            case Asked(task, io, timeout_s):
                if timeout_s:
                    self.timeouts[task] = timeout_s
                yield from self._asked(task, io, now)
            case Recalled(task):
                ok = task in self.waiting
                if ok:
                    del self.waiting[task]
                    self.timeouts.pop(task, None)
                yield Answer(sm.TaskRecalled(self.client, task, ok))
            case Ended(task):
                yield from self._ended(task, now)
            case EndAsked(task):
                yield from self._end(task, now)
            case Released(tasks):
                for task in tasks:
                    self.kept.pop(task, None)
                if self.closing:
                    yield from self._exit_if_done(now)
            case CloseAsked(grace_s, by):
                yield from self._close(grace_s, by, now)
            case TimePassed():
                yield from self._time_passed(now)

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        if not (self.limits or self.leave_by):
            return self.terminate_at
        waits = (self.terminate_at, None if self.exited else self.leave_by)
        return min([*(at for at, _ in self.limits.values()), *(at for at in waits if at is not None)], default=None)

    def _asked(self, task: int, io: bool, now: float) -> Iterator[Effect]:
        if self.closing:
            self.timeouts.pop(task, None)
            yield Abandon(task)
        elif io:
            self.io_tasks[task] = None
            yield self._begin(task, now)
        elif self.cpu_task:
            self.waiting[task] = None
        else:
            self.cpu_task = task
            yield self._begin(task, now)

    def _begin(self, task: int, now: float) -> Start:
        if task in self.timeouts:
            self.limits[task] = now + self.timeouts.pop(task), "interrupt"
        return Start(task)

    def _ended(self, task: int, now: float) -> Iterator[Effect]:
        self.io_tasks.pop(task, None)
        self.limits.pop(task, None)
        if self.keeps:
            self.kept[task] = None
        if task == self.cpu_task:
            self.cpu_task = 0
            if self.waiting:
                self.cpu_task = next(iter(self.waiting))
                del self.waiting[self.cpu_task]
                yield self._begin(self.cpu_task, now)
        if self.closing:
            yield from self._exit_if_done(now)

    def _end(self, task: int, now: float) -> Iterator[Effect]:
        """At its yield at once, where it computes by an interrupt; unless it is being ended already."""
        _, then = self.limits.get(task, (0.0, "interrupt"))
        if task in self._running() and then == "interrupt":
            self.limits[task] = now + INTERRUPT_GRACE_S, "give up"
            yield Close(task)
            yield Interrupt(task)

    def _close(self, grace_s: float, by: int, now: float) -> Iterator[Effect]:
        yield from self._begin_to_close()
        if grace_s >= 0 and not self.interrupted:
            yield from self._interrupt(now, min(grace_s, INTERRUPT_GRACE_S), by)
        elif grace_s >= 0 and self.terminate_at is not None:
            self.terminate_at = min(self.terminate_at, now + grace_s)
        yield from self._exit_if_done(now)

    def _begin_to_close(self) -> Iterator[Effect]:
        if not self.closing:
            self.closing = True
            yield Leave()
        for task in self.waiting:
            yield Abandon(task)
            self.timeouts.pop(task, None)
        self.waiting.clear()

    def _interrupt(self, now: float, grace_s: float, by: int = 0) -> Iterator[Effect]:
        self.interrupted = True
        self.terminate_at = now + grace_s
        for task in self._running():
            if task != by:
                yield Interrupt(task)

    def _running(self) -> list[int]:
        return ([self.cpu_task] if self.cpu_task else []) + list(self.io_tasks)

    def _exit_if_done(self, now: float) -> Iterator[Effect]:
        """It is closing."""
        if self.exited or self.cpu_task:
            return
        if self.io_tasks:
            if not self.interrupted:  # CPU tasks are done; those that only wait are told, and get their grace
                yield from self._interrupt(now, INTERRUPT_GRACE_S)
            return
        if self.kept and not self.interrupted:
            self.leave_by = self.leave_by or now + RELEASE_S
            if now < self.leave_by:
                return
        self.exited, self.terminate_at = True, None
        yield Exit()

    def _time_passed(self, now: float) -> Iterator[Effect]:
        for task, (at, what) in list(self.limits.items()):
            if at > now:
                continue
            if what == "interrupt":
                self.limits[task] = now + INTERRUPT_GRACE_S, "close"
                yield TimedOut(task)
                yield Interrupt(task)
            elif what == "close":
                self.limits[task] = now + CLOSE_GRACE_S, "give up"
                yield Close(task)
            else:
                del self.limits[task]
                yield from self._begin_to_close()
                yield GiveUp(task)
        if self.leave_by is not None and self.leave_by <= now:
            yield from self._exit_if_done(now)
        if self.terminate_at is not None and self.terminate_at <= now:
            self.terminate_at = None
            for task in self._running():
                yield Terminate(task)
