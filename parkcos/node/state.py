"""A node: whom it serves and with which servers.  A state machine without clock, socket or process.

    FREE -> ReserveAsked -> RESERVED -> SetupAsked -> SETUP -> SetupDone -> SERVING -> (close) -> CLOSING -> FREE

A node serves one client at a time.  When that client closes, leaves or is lost, its servers are interrupted, after
a grace killed, its files removed, and every scheduler that the node knows hears that it is free.  The servers of a
client that may return go on for a while after its program was lost, and serve the next run of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from parkcos.cluster import messages as m
from parkcos.net.trust.claims import SECOND, SUPERSEDED
from parkcos.node.records import (
    CLOSING,
    FREE,
    RESERVED,
    SERVING,
    SETUP,
    STOPPED,
    WIPING,
)
from parkcos.node.servers import GRACE_S, PATIENT, Servers
from parkcos.node.state_events import (
    ClientReturned,
    CloseAsked,
    CloseServerAsked,
    CloseSpaceAsked,
    CloseZygote,
    Effect,
    EndOwnAsked,
    Event,
    HoursChanged,
    KillZygote,
    OpenZygote,
    OwnAsked,
    ProcessLost,
    ReleaseAsked,
    ReserveAsked,
    SchedulerSeen,
    ServerExceeded,
    ServerExited,
    ServerListening,
    SetupAsked,
    SetupDone,
    SetupFailed,
    SpaceAsked,
    Stop,
    StopAsked,
    TasksSeen,
    TimePassed,
    ToClient,
    ToScheduler,
    ZygoteExited,
)

LOST_GRACE_S = 0.5
"""Of a client that has nobody left to hear what its tasks would say."""
SETUP_WAIT_S = 30.0
"""A client that has reserved the node and does not set it up for so long loses it."""


@dataclass
class NodeMachine:
    """The one door is :meth:`handle`.

    serve: it stops after so many clients; 0: never.
    zombie_period_s: a client none of whose tasks has run for so long is closed; 0: none is.
    own_max: processes that a client may have here at once, beside its servers.
    """

    serve: int = 0
    zombie_period_s: float = 0.0
    own_max: int = 0
    phase: str = FREE
    client: int = 0
    client_process: int = 0
    client_lost: bool = False
    run: int = 0
    """Of the client's program, if the client may return: no earlier one is heard any more."""
    orphan_s: float = 0.0
    """How long its servers go on after that was lost."""
    orphaned_until: float | None = None
    """Its program was lost, and may come back until then."""
    reserved_by: int = 0
    """The scheduler that has reserved the node for its client."""
    schedulers: dict[int, None] = field(default_factory=dict)
    setup_by: float | None = None
    setup_id: int = 0
    """The client's number for its setup; 0: there is none yet."""
    setups: int = 0
    """How often its client's code was run here; if ever, that client counts as served."""
    active_at: float = 0.0
    """When its client's tasks were last seen to run."""
    setting_up: bool = False
    """node_setup runs, or it ran when its client was closed."""
    zygote_gone: bool = True
    """The client's own zygote has ended, or was not opened yet."""
    kill_zygote_at: float | None = None
    """When node_setup, which is to end, must have ended."""
    closed: str = ""
    """Why no client is taken."""
    why: str = ""
    """Why the client is closed that has not asked for it."""
    keep: bool = False
    """The client is closed to be set up again."""
    idled: int = 0
    """The client that was last closed because none of its tasks ran, if no other came since."""
    lost: int = 0
    """The client that was last closed because nothing was heard of it any more, or because it did not set the node up
    in time, if no other came since: it may be in want of the node, and not know that it is free."""
    idle_max_s: float = 0.0
    """The client is closed when none of its tasks has run for so long; 0: it is not."""
    stopping: bool = False
    clients_served: int = 0

    def __post_init__(self) -> None:
        self.servers = Servers(self, self.own_max)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        return list(self.steps(event, now))

    def steps(self, event: Event, now: float) -> Iterator[Effect]:
        """The same, order by order."""
        return self._HANDLERS[type(event)](self, event, now)

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        waits = (self.servers.next_deadline(), self.setup_by, self.kill_zygote_at, self.orphaned_until)
        times = [at for at in waits if at is not None]
        if self.idle_max_s and self.phase == SERVING:
            times.append(self.active_at + self.idle_max_s)
        return min(times, default=None)

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        assert (self.client == 0) == (self.phase in (FREE, STOPPED)), f"{self.phase} with client {self.client}"
        assert not self.servers.by_index or self.phase in (SERVING, CLOSING), f"servers while {self.phase}"
        self.servers.check()
        assert not self.servers.spaces or self.phase in (SERVING, CLOSING, WIPING), f"spaces while {self.phase}"
        assert self.client or not self.why, "a reason is left over"
        assert self.orphaned_until is None or self.phase in (SETUP, SERVING), f"a lost client while {self.phase}"
        assert self.client or not (self.run or self.orphan_s), "what is known of a client is left over"

    # -- whom it serves

    def _scheduler_seen(self, event: SchedulerSeen, now: float) -> Iterator[Effect]:
        self.schedulers[event.process] = None
        yield ToScheduler(event.process, None)

    def _tell_schedulers(self) -> Iterator[Effect]:
        for process in self.schedulers:
            yield ToScheduler(process, None)

    def _reserve_asked(self, event: ReserveAsked, now: float) -> Iterator[Effect]:
        if self.stopping:
            yield ToScheduler(event.process, m.NodeAnswer(event.client, False, "the node is being stopped"))
        elif self.closed and event.client != self.client:
            yield ToScheduler(event.process, m.NodeAnswer(event.client, False, self.closed))
        elif self.client == event.client and not self._is_its_own(event):
            yield ToScheduler(
                event.process, m.NodeAnswer(event.client, False, "another scheduler speaks for that client")
            )
        elif self.phase == FREE or (self.client == event.client and self.phase == RESERVED):
            self.reserved_by = event.process
            self.phase, self.client, self.client_process = RESERVED, event.client, event.client_process
            self.client_lost, self.idled, self.lost = False, 0, 0
            self.idle_max_s = min(filter(None, (self.zombie_period_s, event.zombie_period_s)), default=0.0)
            self.setup_by = now + SETUP_WAIT_S
            yield ToScheduler(event.process, m.NodeAnswer(event.client, True))
        elif self.client == event.client and self.phase in (SETUP, SERVING):
            self.reserved_by = event.process
            yield ToScheduler(event.process, m.NodeAnswer(event.client, True))
        else:
            doing = "ending this client's servers" if event.client == self.client else "serving another client"
            reason = f"the node is {doing}; it is offered again as soon as it is free"
            yield ToScheduler(event.process, m.NodeAnswer(event.client, False, reason))

    def _is_its_own(self, event: ReserveAsked) -> bool:
        """Whether the client that is served is meant, by the scheduler that may speak of it."""
        return event.client_process == self.client_process and self._may_speak(event.process)

    def _may_speak(self, scheduler: int) -> bool:
        """Whether it has reserved this node, or who has is gone: a scheduler that was started again follows another."""
        return scheduler == self.reserved_by or self.reserved_by not in self.schedulers

    def _release_asked(self, event: ReleaseAsked, now: float) -> Iterator[Effect]:
        if event.client == self.client and self.client:
            if not self._may_speak(event.process):
                return
            yield from self._close(now, GRACE_S)
        elif self.phase == FREE:
            yield from self._tell_schedulers()

    def _setup_asked(self, event: SetupAsked, now: float) -> Iterator[Effect]:
        if self.client != event.client and event.process:  # its reservation has run out, which it did not hear
            yield ToClient(event.process, m.NodeClosed(event.client, setup_id=event.setup_id))
        if self.client != event.client or self.phase != RESERVED:
            return
        self.phase, self.setup_by, self.setting_up, self.zygote_gone = SETUP, None, True, False
        self.setups += 1
        self.setup_id = event.setup_id
        self.run, self.orphan_s = event.run, event.orphan_s
        self.servers.cpus, self.servers.restart_servers = event.cpus, event.restart_servers
        yield OpenZygote(event.client)

    def _setup_done(self, event: SetupDone, now: float) -> Iterator[Effect]:
        if event.space:
            yield from self.servers.space_opened(event.space)
            return
        self.setting_up, self.kill_zygote_at = False, None
        if self.phase != SETUP:
            return
        self.phase, self.active_at = SERVING, now
        yield ToClient(self.client_process, m.NodeReady(self.client, self.setup_id))
        yield from self.servers.begin(now)

    def _setup_failed(self, event: SetupFailed, now: float) -> Iterator[Effect]:
        if event.space:
            yield from self.servers.space_failed(event)
            return
        self.setting_up, self.kill_zygote_at = False, None
        if self.phase == SETUP:
            if not event.setup:
                self.setups -= 1
            yield ToClient(self.client_process, self._failed(event.error, event.setup))
            yield from self._close(now, LOST_GRACE_S)

    def _close_asked(self, event: CloseAsked, now: float) -> Iterator[Effect]:
        if event.client == self.client:
            yield from self._close(now, GRACE_S if event.terminate else PATIENT, event.why, event.keep)
        elif event.process:
            yield ToClient(event.process, m.NodeClosed(event.client, setup_id=event.setup_id))

    def _process_lost(self, event: ProcessLost, now: float) -> Iterator[Effect]:
        self.schedulers.pop(event.process, None)
        if not self.client or event.process != self.client_process:
            return
        if self.orphan_s and self.phase in (SETUP, SERVING):
            self.orphaned_until = now + self.orphan_s
        else:
            self.client_lost = True
            yield from self._close(now, LOST_GRACE_S, f"its node ended it, as it had lost the client: {event.reason}")

    def _wait_no_longer(self) -> None:
        """For a program that was lost: what the client had here ends."""
        self.client_lost = self.client_lost or self.orphaned_until is not None
        self.orphaned_until = None

    def _client_returned(self, event: ClientReturned, now: float) -> Iterator[Effect]:
        if event.client != self.client or self.phase not in (SETUP, SERVING) or not self.run:
            yield ToClient(event.process, m.NodeClosed(event.client))
            return
        lost = self.orphaned_until is not None
        if event.run < self.run or (event.run == self.run and not lost and event.process != self.client_process):
            yield ToClient(event.process, m.NodeClosed(event.client, SECOND))
            return
        if not lost and event.process != self.client_process:
            yield ToClient(self.client_process, m.NodeClosed(self.client, SUPERSEDED, setup_id=self.setup_id))
        self.client_process, self.run, self.orphaned_until = event.process, event.run, None
        yield from self.servers.leave_spaces()
        servers = self.servers
        left = sum(not server.own for server in servers.by_index.values()) if self.phase == SERVING else servers.cpus
        resumed = m.NodeResumed(
            self.client, self.setup_id, self.phase == SERVING, servers.cpus, left, servers.resumed()
        )
        yield ToClient(event.process, resumed)
        yield from servers.tell_all()

    def _hours_changed(self, event: HoursChanged, now: float) -> Iterator[Effect]:
        before, self.closed = self.closed, event.closed
        if event.ended and self.client:
            yield from self._close(now, GRACE_S, event.ended)
        elif before != event.closed and self.phase == FREE:
            yield from self._tell_schedulers()

    def _tasks_seen(self, event: TasksSeen, now: float) -> Iterator[Effect]:
        self.active_at = max(self.active_at, now if event.running else event.last)
        yield from ()

    def _close(self, now: float, grace_s: float, why: str = "", keep: bool = False) -> Iterator[Effect]:
        if self.phase == RESERVED and keep:
            return  # asked for twice: it has been closed, and kept, and is about to be set up again
        self.why, self.keep = self.why or why, keep
        self._wait_no_longer()
        if self.phase == RESERVED:
            yield from self._freed(now)
            return
        if why and not self.client_lost:
            yield from self._say_all_end()
        if self.phase in (SETUP, SERVING):
            self.phase = CLOSING
        if self.setting_up and grace_s >= 0 and (self.kill_zygote_at is None or now + grace_s < self.kill_zygote_at):
            self.kill_zygote_at = now + grace_s
        if self.phase != CLOSING:
            return
        yield from self.servers.end(grace_s, now)
        yield from self._wipe_if_empty()

    def _wipe_if_empty(self) -> Iterator[Effect]:
        if self.phase == CLOSING and not self.servers.by_index:
            self.phase = WIPING
            yield CloseZygote()
            yield from self.servers.close_spaces()

    def _zygote_exited(self, event: ZygoteExited, now: float) -> Iterator[Effect]:
        if event.space:
            yield from self.servers.space_exited(event, now)
            yield from self._wipe_if_empty()
            yield from self._freed_if_wiped(now)
            return
        self.zygote_gone = True
        self._wait_no_longer()
        if self.phase in (SETUP, SERVING, CLOSING):
            yield from self._report_all_lost(event.reason)
            # Nothing is left to be ended, and with spaces something to be wiped.
            self.phase = WIPING if self.phase == CLOSING or self.servers.spaces else self.phase
            yield from self.servers.close_spaces()
        yield from self._freed_if_wiped(now)

    def _freed_if_wiped(self, now: float) -> Iterator[Effect]:
        if self.zygote_gone and not self.servers.spaces and self.phase in (SETUP, SERVING, CLOSING, WIPING):
            yield from self._freed(now)

    def _say_all_end(self) -> Iterator[Effect]:
        """Before the client hears of the end of each: what it loses with that it is not to run at the next."""
        if self.phase == SERVING:
            yield ToClient(self.client_process, m.NodeLeaves(self.client, self.setup_id))

    def _report_all_lost(self, reason: str) -> Iterator[Effect]:
        yield from self._say_all_end()
        yield from self.servers.lose_all(reason)
        if self.phase == SETUP:  # by what the client's code did there, most likely
            reason = f"{reason}, while it opened the client's components or ran its node_setup"
            yield ToClient(self.client_process, self._failed(reason, setup=True))
        elif self.phase != CLOSING:
            yield ToClient(self.client_process, self._failed(reason))

    def _failed(self, error: str, setup: bool = False) -> m.NodeFailed:
        return m.NodeFailed(self.client, error, setup, self.setup_id)

    def _freed(self, now: float) -> Iterator[Effect]:
        self.setting_up, self.kill_zygote_at = False, None
        client, process, why = self.client, self.client_process, self.why
        setup_id, self.setup_id = self.setup_id, 0
        if self.keep and self.phase == WIPING and not (self.stopping or self.closed or self.client_lost):
            self.phase, self.keep, self.why, self.setup_by = RESERVED, False, "", now + SETUP_WAIT_S
            yield ToClient(process, m.NodeClosed(client, kept=True, setup_id=setup_id))
            return
        expired = self.phase == RESERVED and self.setup_by is not None and self.setup_by <= now
        if self.setups:
            self.clients_served += 1
            self.stopping = self.stopping or self.clients_served == self.serve
        self.phase, self.client, self.client_process, self.setup_by, self.why = FREE, 0, 0, None, ""
        self.setups, self.keep, self.idle_max_s = 0, False, 0.0
        self.run, self.orphan_s, self.orphaned_until = 0, 0.0, None
        self.lost = client if self.client_lost or expired else 0
        self.servers.by_index.clear()
        if not self.client_lost:
            yield ToClient(process, m.NodeClosed(client, why, setup_id=setup_id))
        if self.stopping:
            self.phase = STOPPED
            yield Stop()
        else:
            yield from self._tell_schedulers()

    def _stop_asked(self, event: StopAsked, now: float) -> Iterator[Effect]:
        self.stopping = True
        if self.phase == FREE:
            self.phase = STOPPED
            yield Stop()
        elif event.terminate or self.phase == RESERVED:
            yield from self._close(now, LOST_GRACE_S)

    def _time_passed(self, event: TimePassed, now: float) -> Iterator[Effect]:
        if self.setup_by is not None and self.setup_by <= now:
            yield from self._close(now, LOST_GRACE_S)
        if self.orphaned_until is not None and self.orphaned_until <= now:
            why = f"its node ended it: its program was lost, and did not come back within {self.orphan_s:g} s"
            yield from self._close(now, LOST_GRACE_S, why)
        if self.servers.runs_single_tasks:
            self.active_at = now
        if self.idle_max_s and self.phase == SERVING and self.active_at + self.idle_max_s <= now:
            why = f"its node closed it: none of its tasks has run there for {self.idle_max_s:g} s"
            self.idled = self.client
            yield from self._close(now, GRACE_S, why)
        if self.kill_zygote_at is not None and self.kill_zygote_at <= now:
            self.kill_zygote_at = None
            yield KillZygote()
        yield from self.servers.time_passed(now)

    # -- what its servers have a say in

    def _server_listening(self, event: ServerListening, now: float) -> Iterator[Effect]:
        yield from self.servers.listening(event, now)

    def _server_exited(self, event: ServerExited, now: float) -> Iterator[Effect]:
        yield from self.servers.exited(event, now)
        yield from self._wipe_if_empty()

    def _server_exceeded(self, event: ServerExceeded, now: float) -> Iterator[Effect]:
        yield from self.servers.exceeded(event)

    def _close_server_asked(self, event: CloseServerAsked, now: float) -> Iterator[Effect]:
        yield from self.servers.close_asked(event, now)

    def _own_asked(self, event: OwnAsked, now: float) -> Iterator[Effect]:
        yield from self.servers.own_asked(event, now)

    def _end_own_asked(self, event: EndOwnAsked, now: float) -> Iterator[Effect]:
        yield from self.servers.end_own_asked(event, now)

    def _space_asked(self, event: SpaceAsked, now: float) -> Iterator[Effect]:
        yield from self.servers.space_asked(event, now)

    def _close_space_asked(self, event: CloseSpaceAsked, now: float) -> Iterator[Effect]:
        yield from self.servers.close_space_asked(event, now)

    _HANDLERS: ClassVar[dict[type, Callable[..., Iterator[Effect]]]] = {
        SchedulerSeen: _scheduler_seen,
        ReserveAsked: _reserve_asked,
        ReleaseAsked: _release_asked,
        SetupAsked: _setup_asked,
        ClientReturned: _client_returned,
        SetupDone: _setup_done,
        SetupFailed: _setup_failed,
        ServerListening: _server_listening,
        ServerExited: _server_exited,
        ServerExceeded: _server_exceeded,
        ZygoteExited: _zygote_exited,
        CloseAsked: _close_asked,
        CloseServerAsked: _close_server_asked,
        SpaceAsked: _space_asked,
        CloseSpaceAsked: _close_space_asked,
        OwnAsked: _own_asked,
        EndOwnAsked: _end_own_asked,
        ProcessLost: _process_lost,
        StopAsked: _stop_asked,
        HoursChanged: _hours_changed,
        TasksSeen: _tasks_seen,
        TimePassed: _time_passed,
    }
