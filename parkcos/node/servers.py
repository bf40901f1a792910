"""The servers of the client that a node serves, and its processes beside them: a part of the node machine.

A server that ends is followed by another.  Beside the servers are processes of single tasks, and of the client's
spaces, each of which has a zygote of its own: none takes the place of another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

from parkcos.cluster import messages as m
from parkcos.node.records import ENDING, OPEN, OPENING, SERVING, ServerRecord, SpaceRecord
from parkcos.node.state_events import (
    CloseServerAsked,
    CloseSpaceAsked,
    CloseZygote,
    Effect,
    EndOwnAsked,
    EndServer,
    ForkServer,
    KillServer,
    OpenZygote,
    OwnAsked,
    ServerExceeded,
    ServerExited,
    ServerListening,
    SetupFailed,
    SpaceAsked,
    ToClient,
    ZygoteExited,
)

GRACE_S = 6.0
"""A closing server's tasks get KeyboardInterrupt and five seconds (chapter 6.4); the server then one to end itself."""
PATIENT = -1.0
"""No grace: the CPU tasks run to their end."""
RESTART_DELAYS_S = (0.0, 0.2, 1.0, 5.0)
"""A server that ends at once, again and again, is started with growing pauses."""
STEADY_S = 10.0
OWN_MEMORY_BYTES_MIN = 128 * 1024 * 1024
"""Free memory below which no process is started beside the servers: the system might end one that computes instead."""

KILLED = "its node killed it, as it did not end in time"


class Serving(Protocol):
    """What the servers must know of the node machine."""

    phase: str
    client: int
    client_process: int
    why: str
    active_at: float


class Servers:
    """By index.  own_max: processes that a client may have here at once, beside its servers."""

    def __init__(self, node: Serving, own_max: int) -> None:
        self.node = node
        self.own_max = own_max
        self.cpus = 0
        self.restart_servers = False
        self.by_index: dict[int, ServerRecord] = {}
        self.spaces: dict[int, SpaceRecord] = {}
        """Those that have a zygote of their own."""

    def begin(self, now: float) -> Iterator[Effect]:
        """The client's own zygote is ready."""
        for index in range(self.cpus):
            self.by_index[index] = ServerRecord(index, started_at=now)
            yield ForkServer(index)

    def end(self, grace_s: float, now: float) -> Iterator[Effect]:
        """All are to end."""
        for server in list(self.by_index.values()):
            if not server.alive:
                del self.by_index[server.index]
            elif not server.forked:
                yield from self.drop_unforked(server, "its node was closed")
            elif grace_s < 0:
                if not server.asked:
                    server.asked = True
                    yield EndServer(server.index, PATIENT)
            elif server.kill_at is None or now + grace_s < server.kill_at:
                server.asked, server.kill_at = True, now + grace_s
                yield EndServer(server.index, grace_s)

    def lose_all(self, reason: str) -> Iterator[Effect]:
        """They have ended with the client's own zygote."""
        for server in self.by_index.values():
            if server.alive:
                yield from self.tell_end(server, reason)
        self.by_index.clear()

    # -- a client that has come back

    def leave_spaces(self) -> Iterator[Effect]:
        """The program that asked for the spaces is gone: nothing more is started in them, and what runs there goes on.

        Nor is it known for what the processes were wanted that are not up yet.
        """
        for number, space in list(self.spaces.items()):
            if space.state != ENDING:
                yield from self._end_space(number, space, "the program that has opened it is gone")
        for server in list(self.by_index.values()):
            if server.own and not server.incarnation and server.alive and server.forked and not server.asked:
                server.asked, server.kill_at = True, None
                yield EndServer(server.index, PATIENT)

    def resumed(self) -> list[m.ResumedServer]:
        """Those of which it hears again."""
        return [m.ResumedServer(s.incarnation, s.own, s.space) for s in self._heard_of()]

    def _heard_of(self) -> list[ServerRecord]:
        return [s for s in self.by_index.values() if s.incarnation and s.alive]

    def tell_all(self) -> Iterator[Effect]:
        for s in self._heard_of():
            up = m.ServerUp(self.node.client, s.index, "", s.port, s.incarnation, s.own)
            yield ToClient(self.node.client_process, up)

    @property
    def runs_single_tasks(self) -> bool:
        """Whether there are processes of single tasks."""
        return any(server.own and not server.space for server in self.by_index.values())

    # -- servers

    def listening(self, event: ServerListening, now: float) -> Iterator[Effect]:
        server = self.by_index.get(event.index)
        if server is None or not server.alive or server.incarnation:  # a client's code may say it again and again
            return
        self.node.active_at = now
        if server.asked and server.own:
            return  # its client hears of it once: that it was not to be
        server.incarnation, server.port = event.incarnation, event.port
        if not server.asked:
            up = m.ServerUp(self.node.client, event.index, "", event.port, event.incarnation, server.own)
            yield ToClient(self.node.client_process, up)

    def exited(self, event: ServerExited, now: float) -> Iterator[Effect]:
        server = self.by_index.get(event.index)
        if server is None or not server.alive:
            return
        server.alive, server.kill_at = False, None
        # Who ends of its own accord, in order, does so because its client's code asked it to.
        restarts = self.node.phase == SERVING and server.restart and not server.own
        reason = server.exceeded or (KILLED if server.killed else event.reason)
        if server.terminated:
            reason = f"it was closed with terminate=True: {reason}"
        yield from self.tell_end(server, reason, restarts)
        if server.own:
            self.node.active_at = now
        if restarts:
            quick = now - server.started_at < STEADY_S and not server.asked
            server.quick_ends = server.quick_ends + 1 if quick else 0
            delay = RESTART_DELAYS_S[min(max(server.quick_ends - 1, 0), len(RESTART_DELAYS_S) - 1)]
            server.fork_at = now + delay
            if not delay:
                yield from self._fork(server, now)
        else:
            del self.by_index[event.index]
            yield from self._close_space_if_empty(server.space)

    def tell_end(self, server: ServerRecord, reason: str, restarts: bool = False) -> Iterator[Effect]:
        reason = self.node.why or reason
        if server.incarnation:
            down = m.ServerDown(self.node.client, server.incarnation, reason, restarts, server.asked)
            yield ToClient(self.node.client_process, down)
        elif server.own:
            yield ToClient(self.node.client_process, m.OwnRefused(self.node.client, server.own, reason))

    def _fork(self, server: ServerRecord, now: float) -> Iterator[Effect]:
        self.by_index[server.index] = ServerRecord(server.index, started_at=now, quick_ends=server.quick_ends)
        yield ForkServer(server.index)

    def exceeded(self, event: ServerExceeded) -> Iterator[Effect]:
        server = self.by_index.get(event.index)
        if server is not None and server.alive and not server.exceeded:
            server.exceeded = f"its node ended it: {event.why}"
            yield KillServer(event.index, event.why)

    def close_asked(self, event: CloseServerAsked, now: float) -> Iterator[Effect]:
        if event.client != self.node.client or self.node.phase != SERVING:
            return
        for server in self.by_index.values():
            if server.incarnation == event.server and server.alive:
                server.restart = event.restart or self.restart_servers
                yield from self._end_server(server, event.terminate, now)

    def _end_server(self, server: ServerRecord, terminate: bool, now: float) -> Iterator[Effect]:
        server.asked, server.terminated = True, server.terminated or terminate
        if terminate and server.kill_at is None:
            server.kill_at = now + GRACE_S
        yield EndServer(server.index, GRACE_S if terminate else PATIENT)

    # -- processes beside the servers: of single tasks, and of spaces

    def own_asked(self, event: OwnAsked, now: float) -> Iterator[Effect]:
        space = self.spaces.get(event.space)
        if reason := self._own_refusal(event):
            setup = space is not None and space.setup
            yield ToClient(event.process, m.OwnRefused(event.client, event.own, reason, setup))
            return
        index = next(index for index in itertools.count(self.cpus) if index not in self.by_index)
        server = ServerRecord(index, started_at=now, own=event.own, niceness=event.niceness, space=event.space)
        self.by_index[index] = server
        if space is not None and space.state == OPENING:
            server.forked = False
        else:
            yield ForkServer(index, True, event.niceness)

    def _own_refusal(self, event: OwnAsked) -> str:
        """Why no process is started; "" if one is."""
        if event.client != self.node.client or event.process != self.node.client_process or self.node.phase != SERVING:
            return "the node does not serve this client now"
        if event.space and (space := self.spaces.get(event.space)) is None:
            return f"the node does not have that space, or no place for it: it may have {self.own_max} (--own_max)"
        elif event.space and space is not None and space.state == ENDING:
            return space.error or "that space is being closed"
        count = sum(bool(server.own) for server in self.by_index.values())
        if count >= self.own_max:
            return f"the node has {count} processes beside its servers, and may have {self.own_max} (--own_max)"
        if event.memory is not None and event.memory < OWN_MEMORY_BYTES_MIN:
            free, least = event.memory >> 20, OWN_MEMORY_BYTES_MIN >> 20
            return f"the node has {free} MiB of free memory, and starts no process beside its servers below {least} MiB"
        return ""

    def end_own_asked(self, event: EndOwnAsked, now: float) -> Iterator[Effect]:
        if event.client == self.node.client and self.node.phase == SERVING:
            for server in [server for server in self.by_index.values() if server.own == event.own]:
                if server.forked:
                    yield from self._end_server(server, event.terminate, now)
                else:
                    yield from self.drop_unforked(server, "its client needs it no more")

    def drop_unforked(self, server: ServerRecord, reason: str, setup: bool = False) -> Iterator[Effect]:
        """It waited for its space, and will not be."""
        del self.by_index[server.index]
        yield ToClient(
            self.node.client_process, m.OwnRefused(self.node.client, server.own, self.node.why or reason, setup)
        )

    # -- spaces

    def space_asked(self, event: SpaceAsked, now: float) -> Iterator[Effect]:
        serves = (
            event.client == self.node.client
            and event.process == self.node.client_process
            and self.node.phase == SERVING
        )
        if serves and event.space not in self.spaces and self._has_place_for_space():
            self.spaces[event.space] = SpaceRecord()
            yield OpenZygote(event.client, event.space)

    def _has_place_for_space(self) -> bool:
        return sum(space.state != ENDING for space in self.spaces.values()) < self.own_max

    def _servers_of(self, space: int) -> list[ServerRecord]:
        return [server for server in self.by_index.values() if server.space == space]

    def space_opened(self, number: int) -> Iterator[Effect]:
        space = self.spaces.get(number)
        if space is not None and space.state == OPENING:
            space.state = OPEN
            for server in self._servers_of(number):
                server.forked = True
                yield ForkServer(server.index, True, server.niceness)

    def space_failed(self, event: SetupFailed) -> Iterator[Effect]:
        space = self.spaces.get(event.space)
        if space is not None and space.state == OPENING:
            space.error, space.setup = event.error, event.setup
            yield from self._end_space(event.space, space, event.error)

    def close_space_asked(self, event: CloseSpaceAsked, now: float) -> Iterator[Effect]:
        space = self.spaces.get(event.space)
        if event.client != self.node.client or space is None or space.state == ENDING:
            return
        for server in self._servers_of(event.space):
            if server.forked:
                yield from self._end_server(server, True, now)
        yield from self._end_space(event.space, space, "its space is closed")

    def _end_space(self, number: int, space: SpaceRecord, reason: str) -> Iterator[Effect]:
        space.state = ENDING
        for server in self._servers_of(number):
            if not server.forked:
                yield from self.drop_unforked(server, reason, space.setup)
        yield from self._close_space_if_empty(number)

    def _close_space_if_empty(self, number: int) -> Iterator[Effect]:
        space = self.spaces.get(number)
        if space is not None and space.state == ENDING and not self._servers_of(number):
            yield from self._close_zygote(number, space)

    def _close_zygote(self, number: int, space: SpaceRecord) -> Iterator[Effect]:
        if not space.closed:
            space.state, space.closed = ENDING, True
            yield CloseZygote(number)

    def close_spaces(self) -> Iterator[Effect]:
        """No server is left."""
        for number, space in self.spaces.items():
            yield from self._close_zygote(number, space)

    def space_exited(self, event: ZygoteExited, now: float) -> Iterator[Effect]:
        space = self.spaces.pop(event.space, None)
        if space is None:
            return
        setup = space.setup or space.state == OPENING  # then by what the client's code did there, most likely
        for server in self._servers_of(event.space):
            if server.forked:
                yield from self.tell_end(server, event.reason)
                del self.by_index[server.index]
            else:
                yield from self.drop_unforked(server, f"{event.reason}, while it opened the space", setup)

    # -- time

    def next_deadline(self) -> float | None:
        """When they next want to hear that time has passed."""
        return min((t for s in self.by_index.values() for t in (s.kill_at, s.fork_at) if t is not None), default=None)

    def time_passed(self, now: float) -> Iterator[Effect]:
        for server in list(self.by_index.values()):
            if server.kill_at is not None and server.kill_at <= now:
                server.kill_at, server.killed = None, True
                yield KillServer(server.index)
            if server.fork_at is not None and server.fork_at <= now:
                yield from self._fork(server, now)

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        own = [s for s in self.by_index.values() if s.own]
        assert len(self.by_index) - len(own) <= self.cpus, "too many servers"
        assert all((s.index >= self.cpus) == bool(s.own) for s in self.by_index.values()), "one in the place of another"
        assert all(s.alive and s.fork_at is None for s in own), "a process beside the servers is to be replaced"
        assert all(not s.space or s.space in self.spaces for s in own), "a server of a space that is not there"
        waits = [s for s in own if not s.forked]
        assert all(self.spaces[s.space].state == OPENING for s in waits), "a server waits for a space for ever"
