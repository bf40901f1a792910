"""A node: whom it serves and with which servers.  A state machine without clock, socket or process.

    FREE -> ReserveAsked -> RESERVED -> SetupAsked -> SETUP -> SetupDone -> SERVING -> (close) -> CLOSING -> FREE

A node serves one client at a time.  When that client closes, leaves or is lost, its servers are interrupted, after
a grace killed, its files removed, and every scheduler that the node knows hears that it is free.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from parkcos.cluster import messages as m
from parkcos.node.records import (
    CLOSING,
    ENDING,
    FREE,
    OPEN,
    OPENING,
    RESERVED,
    SERVING,
    SETUP,
    STOPPED,
    WIPING,
    ServerRecord,
    SpaceRecord,
)
from parkcos.node.state_events import (
    CloseAsked,
    CloseServerAsked,
    CloseSpaceAsked,
    CloseZygote,
    Effect,
    EndOwnAsked,
    EndServer,
    Event,
    ForkServer,
    HoursChanged,
    KillServer,
    KillZygote,
    OpenZygote,
    OwnAsked,
    ProcessLost,
    ReleaseAsked,
    ReserveAsked,
    SchedulerSeen,
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

GRACE_S = 6.0
"""A closing server's tasks get KeyboardInterrupt and five seconds (chapter 6.4); the server then one to end itself."""
LOST_GRACE_S = 0.5
"""The same when nobody is left to hear what they would say."""
PATIENT = -1.0
"""No grace: the CPU tasks run to their end."""
SETUP_WAIT_S = 30.0
"""A client that has reserved the node and does not set it up for so long loses it."""
RESTART_DELAYS_S = (0.0, 0.2, 1.0, 5.0)
"""A server that ends at once, again and again, is started with growing pauses."""
STEADY_S = 10.0
OWN_MEMORY_BYTES_MIN = 128 * 1024 * 1024
"""Free memory below which no process is started for a single task: the system might end one that computes instead."""

KILLED = "its node killed it, as it did not end in time"


@dataclass
class NodeMachine:
    """The one door is :meth:`handle`.

    serve: it stops after so many clients; 0: never.
    zombie_period_s: a client none of whose tasks has run for so long is closed; 0: none is.
    own_max: processes for single tasks that a client may have here at once, beside its servers.
    """

    serve: int = 0
    zombie_period_s: float = 0.0
    own_max: int = 0
    phase: str = FREE
    client: int = 0
    client_process: int = 0
    client_lost: bool = False
    cpus: int = 0
    restart_servers: bool = False
    servers: dict[int, ServerRecord] = field(default_factory=dict)
    spaces: dict[int, SpaceRecord] = field(default_factory=dict)
    """Those that have a zygote of their own."""
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
    """The client is closed to be set up anew."""
    idled: int = 0
    """The client that was last closed because none of its tasks ran, if no other came since."""
    lost: int = 0
    """The client that was last closed because nothing was heard of it any more, or because it did not set the node up
    in time, if no other came since: it may be in want of the node, and not know that it is free."""
    idle_max_s: float = 0.0
    """The client is closed when none of its tasks has run for so long; 0: it is not."""
    stopping: bool = False
    clients_served: int = 0

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        return list(self._HANDLERS[type(event)](self, event, now))

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        times = [t for s in self.servers.values() for t in (s.kill_at, s.fork_at) if t is not None]
        times += [at for at in (self.setup_by, self.kill_zygote_at) if at is not None]
        if self.idle_max_s and self.phase == SERVING:
            times.append(self.active_at + self.idle_max_s)
        return min(times, default=None)

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        assert (self.client == 0) == (self.phase in (FREE, STOPPED)), f"{self.phase} with client {self.client}"
        assert not self.servers or self.phase in (SERVING, CLOSING), f"servers while {self.phase}"
        own = [s for s in self.servers.values() if s.own]
        assert len(self.servers) - len(own) <= self.cpus, "too many servers"
        assert all((s.index >= self.cpus) == bool(s.own) for s in self.servers.values()), "one in the place of another"
        assert all(s.alive and s.fork_at is None for s in own), "a process beside the servers is to be replaced"
        assert all(not s.space or s.space in self.spaces for s in own), "a server of a space that is not there"
        waits = [s for s in own if not s.forked]
        assert all(self.spaces[s.space].state == OPENING for s in waits), "a server waits for a space for ever"
        assert not self.spaces or self.phase in (SERVING, CLOSING, WIPING), f"spaces while {self.phase}"
        assert self.client or not self.why, "a reason is left over"

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
        elif self.phase == FREE or (self.client == event.client and self.phase == RESERVED):
            self.phase, self.client, self.client_process = RESERVED, event.client, event.client_process
            self.client_lost, self.idled, self.lost = False, 0, 0
            self.idle_max_s = min(filter(None, (self.zombie_period_s, event.zombie_period_s)), default=0.0)
            self.setup_by = now + SETUP_WAIT_S
            yield ToScheduler(event.process, m.NodeAnswer(event.client, True))
        elif self.client == event.client and self.phase in (SETUP, SERVING):
            yield ToScheduler(event.process, m.NodeAnswer(event.client, True))
        else:
            doing = "ending this client's servers" if event.client == self.client else "serving another client"
            reason = f"the node is {doing}; it is offered again as soon as it is free"
            yield ToScheduler(event.process, m.NodeAnswer(event.client, False, reason))

    def _release_asked(self, event: ReleaseAsked, now: float) -> Iterator[Effect]:
        if event.client == self.client:
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
        self.cpus, self.restart_servers = event.cpus, event.restart_servers
        yield OpenZygote(event.client)

    def _setup_done(self, event: SetupDone, now: float) -> Iterator[Effect]:
        if event.space:
            yield from self._space_opened(event.space)
            return
        self.setting_up, self.kill_zygote_at = False, None
        if self.phase != SETUP:
            return
        self.phase, self.active_at = SERVING, now
        yield ToClient(self.client_process, m.NodeReady(self.client, self.setup_id))
        for index in range(self.cpus):
            self.servers[index] = ServerRecord(index, started_at=now)
            yield ForkServer(index)

    def _setup_failed(self, event: SetupFailed, now: float) -> Iterator[Effect]:
        if event.space:
            yield from self._space_failed(event)
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
        if self.client and event.process == self.client_process:
            self.client_lost = True
            yield from self._close(now, LOST_GRACE_S, f"its node ended it, as it had lost the client: {event.reason}")

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
            return  # asked for twice: it has been closed, and kept, and is about to be set up anew
        self.why, self.keep = self.why or why, keep
        if self.phase == RESERVED:
            yield from self._freed(now)
            return
        if self.phase in (SETUP, SERVING):
            self.phase = CLOSING
        if self.setting_up and grace_s >= 0 and (self.kill_zygote_at is None or now + grace_s < self.kill_zygote_at):
            self.kill_zygote_at = now + grace_s
        if self.phase != CLOSING:
            return
        for server in list(self.servers.values()):
            if not server.alive:
                del self.servers[server.index]
                continue
            if not server.forked:
                yield from self._drop_unforked(server, "its node was closed")
            elif grace_s < 0:
                if not server.asked:
                    server.asked = True
                    yield EndServer(server.index, PATIENT)
            elif server.kill_at is None or now + grace_s < server.kill_at:
                server.asked, server.kill_at = True, now + grace_s
                yield EndServer(server.index, grace_s)
        yield from self._wipe_if_empty()

    def _wipe_if_empty(self) -> Iterator[Effect]:
        if self.phase == CLOSING and not self.servers:
            self.phase = WIPING
            yield CloseZygote()
            yield from self._close_spaces()

    def _zygote_exited(self, event: ZygoteExited, now: float) -> Iterator[Effect]:
        if event.space:
            yield from self._space_exited(event, now)
            return
        self.zygote_gone = True
        if self.phase in (SETUP, SERVING, CLOSING):
            yield from self._report_all_lost(event.reason)
            # Nothing is left to be ended, and with spaces something to be wiped.
            self.phase = WIPING if self.phase == CLOSING or self.spaces else self.phase
            yield from self._close_spaces()
        yield from self._freed_if_wiped(now)

    def _freed_if_wiped(self, now: float) -> Iterator[Effect]:
        if self.zygote_gone and not self.spaces and self.phase in (SETUP, SERVING, CLOSING, WIPING):
            yield from self._freed(now)

    def _report_all_lost(self, reason: str) -> Iterator[Effect]:
        for server in self.servers.values():
            if server.alive:
                yield from self._tell_end(server, reason)
        self.servers.clear()
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
        self.lost = client if self.client_lost or expired else 0
        self.servers.clear()
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

    # -- servers

    def _server_listening(self, event: ServerListening, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.index)
        if server is None or not server.alive or server.incarnation:  # a client's code may say it again and again
            return
        self.active_at = now
        if server.asked and server.own:
            return  # its client hears of it once: that it was not to be
        server.incarnation = event.incarnation
        if not server.asked:
            up = m.ServerUp(self.client, event.index, "", event.port, event.incarnation, server.own)
            yield ToClient(self.client_process, up)

    def _server_exited(self, event: ServerExited, now: float) -> Iterator[Effect]:
        server = self.servers.get(event.index)
        if server is None or not server.alive:
            return
        server.alive, server.kill_at = False, None
        # Who ends of its own accord, in order, does so because its client's code asked it to.
        restarts = self.phase == SERVING and server.restart and not server.own
        reason = KILLED if server.killed else event.reason
        if server.terminated:
            reason = f"it was closed with terminate=True: {reason}"
        yield from self._tell_end(server, reason, restarts)
        if server.own:
            self.active_at = now
        if restarts:
            quick = now - server.started_at < STEADY_S and not server.asked
            server.quick_ends = server.quick_ends + 1 if quick else 0
            delay = RESTART_DELAYS_S[min(max(server.quick_ends - 1, 0), len(RESTART_DELAYS_S) - 1)]
            server.fork_at = now + delay
            if not delay:
                yield from self._fork(server, now)
        else:
            del self.servers[event.index]
            yield from self._close_space_if_empty(server.space)
            yield from self._wipe_if_empty()

    def _tell_end(self, server: ServerRecord, reason: str, restarts: bool = False) -> Iterator[Effect]:
        reason = self.why or reason
        if server.incarnation:
            down = m.ServerDown(self.client, server.incarnation, reason, restarts, server.asked)
            yield ToClient(self.client_process, down)
        elif server.own:
            yield ToClient(self.client_process, m.OwnRefused(self.client, server.own, reason))

    def _fork(self, server: ServerRecord, now: float) -> Iterator[Effect]:
        self.servers[server.index] = ServerRecord(server.index, started_at=now, quick_ends=server.quick_ends)
        yield ForkServer(server.index)

    def _close_server_asked(self, event: CloseServerAsked, now: float) -> Iterator[Effect]:
        if event.client != self.client or self.phase != SERVING:
            return
        for server in self.servers.values():
            if server.incarnation == event.server and server.alive:
                server.restart = event.restart or self.restart_servers
                yield from self._end_server(server, event.terminate, now)

    def _end_server(self, server: ServerRecord, terminate: bool, now: float) -> Iterator[Effect]:
        server.asked, server.terminated = True, server.terminated or terminate
        if terminate and server.kill_at is None:
            server.kill_at = now + GRACE_S
        yield EndServer(server.index, GRACE_S if terminate else PATIENT)

    # -- processes beside the servers: of single tasks, and of spaces

    def _own_asked(self, event: OwnAsked, now: float) -> Iterator[Effect]:
        space = self.spaces.get(event.space)
        if reason := self._own_refusal(event):
            setup = space is not None and space.setup
            yield ToClient(event.process, m.OwnRefused(event.client, event.own, reason, setup))
            return
        index = next(index for index in itertools.count(self.cpus) if index not in self.servers)
        server = ServerRecord(index, started_at=now, own=event.own, niceness=event.niceness, space=event.space)
        self.servers[index] = server
        if space is not None and space.state == OPENING:
            server.forked = False
        else:
            yield ForkServer(index, True, event.niceness)

    def _own_refusal(self, event: OwnAsked) -> str:
        """Why no process is started; "" if one is."""
        if event.client != self.client or event.process != self.client_process or self.phase != SERVING:
            return "the node does not serve this client now"
        if event.space and (space := self.spaces.get(event.space)) is None:
            return "the node does not have that space"
        elif event.space and space is not None and space.state == ENDING:
            return space.error or "that space is being closed"
        count = sum(bool(server.own) for server in self.servers.values())
        if count >= self.own_max:
            return f"the node has {count} processes beside its servers, and may have {self.own_max} (--own_max)"
        if event.memory is not None and event.memory < OWN_MEMORY_BYTES_MIN:
            free, least = event.memory >> 20, OWN_MEMORY_BYTES_MIN >> 20
            return f"the node has {free} MiB of free memory, and starts no process beside its servers below {least} MiB"
        return ""

    def _end_own_asked(self, event: EndOwnAsked, now: float) -> Iterator[Effect]:
        if event.client == self.client and self.phase == SERVING:
            for server in [server for server in self.servers.values() if server.own == event.own]:
                if server.forked:
                    yield from self._end_server(server, event.terminate, now)
                else:
                    yield from self._drop_unforked(server, "its client needs it no more")

    def _drop_unforked(self, server: ServerRecord, reason: str, setup: bool = False) -> Iterator[Effect]:
        """It waited for its space, and will not be."""
        del self.servers[server.index]
        yield ToClient(self.client_process, m.OwnRefused(self.client, server.own, self.why or reason, setup))

    # -- spaces

    def _space_asked(self, event: SpaceAsked, now: float) -> Iterator[Effect]:
        serves = event.client == self.client and event.process == self.client_process and self.phase == SERVING
        if serves and event.space not in self.spaces:
            self.spaces[event.space] = SpaceRecord()
            yield OpenZygote(event.client, event.space)

    def _servers_of(self, space: int) -> list[ServerRecord]:
        return [server for server in self.servers.values() if server.space == space]

    def _space_opened(self, number: int) -> Iterator[Effect]:
        space = self.spaces.get(number)
        if space is not None and space.state == OPENING:
            space.state = OPEN
            for server in self._servers_of(number):
                server.forked = True
                yield ForkServer(server.index, True, server.niceness)

    def _space_failed(self, event: SetupFailed) -> Iterator[Effect]:
        space = self.spaces.get(event.space)
        if space is not None and space.state == OPENING:
            space.error, space.setup = event.error, event.setup
            yield from self._end_space(event.space, space, event.error)

    def _close_space_asked(self, event: CloseSpaceAsked, now: float) -> Iterator[Effect]:
        space = self.spaces.get(event.space)
        if event.client != self.client or space is None or space.state == ENDING:
            return
        for server in self._servers_of(event.space):
            if server.forked:
                yield from self._end_server(server, True, now)
        yield from self._end_space(event.space, space, "its space is closed")

    def _end_space(self, number: int, space: SpaceRecord, reason: str) -> Iterator[Effect]:
        space.state = ENDING
        for server in self._servers_of(number):
            if not server.forked:
                yield from self._drop_unforked(server, reason, space.setup)
        yield from self._close_space_if_empty(number)

    def _close_space_if_empty(self, number: int) -> Iterator[Effect]:
        space = self.spaces.get(number)
        if space is not None and space.state == ENDING and not self._servers_of(number):
            yield CloseZygote(number)

    def _close_spaces(self) -> Iterator[Effect]:
        """No server is left."""
        for number, space in self.spaces.items():
            if space.state != ENDING:
                space.state = ENDING
                yield CloseZygote(number)

    def _space_exited(self, event: ZygoteExited, now: float) -> Iterator[Effect]:
        space = self.spaces.pop(event.space, None)
        if space is None:
            return
        setup = space.setup or space.state == OPENING  # then by what the client's code did there, most likely
        for server in self._servers_of(event.space):
            if server.forked:
                yield from self._tell_end(server, event.reason)
                del self.servers[server.index]
            else:
                yield from self._drop_unforked(server, f"{event.reason}, while it opened the space", setup)
        yield from self._wipe_if_empty()
        yield from self._freed_if_wiped(now)

    def _time_passed(self, event: TimePassed, now: float) -> Iterator[Effect]:
        if self.setup_by is not None and self.setup_by <= now:
            yield from self._close(now, LOST_GRACE_S)
        if any(server.own and not server.space for server in self.servers.values()):
            self.active_at = now
        if self.idle_max_s and self.phase == SERVING and self.active_at + self.idle_max_s <= now:
            why = f"its node closed it: none of its tasks has run there for {self.idle_max_s:g} s"
            self.idled = self.client
            yield from self._close(now, GRACE_S, why)
        if self.kill_zygote_at is not None and self.kill_zygote_at <= now:
            self.kill_zygote_at = None
            yield KillZygote()
        for server in list(self.servers.values()):
            if server.kill_at is not None and server.kill_at <= now:
                server.kill_at, server.killed = None, True
                yield KillServer(server.index)
            if server.fork_at is not None and server.fork_at <= now:
                yield from self._fork(server, now)

    _HANDLERS: ClassVar[dict[type, Callable[..., Iterator[Effect]]]] = {
        SchedulerSeen: _scheduler_seen,
        ReserveAsked: _reserve_asked,
        ReleaseAsked: _release_asked,
        SetupAsked: _setup_asked,
        SetupDone: _setup_done,
        SetupFailed: _setup_failed,
        ServerListening: _server_listening,
        ServerExited: _server_exited,
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
