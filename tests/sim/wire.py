"""The network of the world: sessions over connections that break, between hosts that at times do not reach each other.

A session is what two processes have in common; each side has its own end of it, and gives it up by its own clock.  A
connection carries frames, numbered by their end, in order, with random delays.  A frame that is lost takes the
connection with it: what the other side does not have is sent again on the next one.  A frame that comes twice is
dropped by its number.  What decides is the same as in `parkcos/net`: `Session.welcome` and `Session._take` for the
numbers, `Door._given_up` and `Door._peer_of` for who still knows whom, `Hub.end` and `Hub._pulse` for giving up.

Pulses are not sent: what they tell follows from the cuts.  A cut in one direction is soon one in both: what TCP cannot
have acknowledged it does not go on to send.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

PATIENCE_S = 75.0
"""15 pulses of 5 s."""
SILENCE_S = 25.0
"""5 pulses of 5 s."""
CONNECT_S = 30.0
WINDOW_S = 10.0
"""Seconds, at most, that TCP goes on to send while nothing is acknowledged."""
GIVEN_UP = "it has given up this session"


class End:
    """One side of a session."""

    __slots__ = (
        "deaf_since",
        "dialing",
        "gone",
        "id",
        "last_at",
        "link",
        "met",
        "other",
        "outbox",
        "owner",
        "patience_s",
        "peer_id",
        "received",
        "sent",
        "silent",
        "stuck",
    )

    def __init__(self, owner: Process, other: Process, number: int) -> None:
        self.owner, self.other = owner, other
        self.id = number
        self.peer_id = 0
        """The other side's number, 0: it is not known yet."""
        self.link = 0
        """The connection, 0: none."""
        self.stuck = False
        """What is sent over that connection does not arrive."""
        self.met = False
        self.gone = False
        self.dialing = False
        self.sent = self.received = 0
        self.outbox: deque[tuple[int, Any]] = deque()
        """What the other side may not have."""
        self.last_at = 0.0
        self.deaf_since: float | None = None
        self.silent = False
        """The owner was told that nothing is heard."""
        self.patience_s = PATIENCE_S


class Cut:
    """Hosts that do not reach others, nor (unless one_way) are reached by them."""

    def __init__(self, one: set[str], other: set[str], one_way: bool) -> None:
        self.one, self.other, self.one_way = one, other, one_way

    def __repr__(self) -> str:
        return f"{sorted(self.one)} {'->' if self.one_way else '|'} {sorted(self.other)}"

    def blocks(self, sender: str, receiver: str) -> bool:
        if sender in self.one and receiver in self.other:
            return True
        return not self.one_way and sender in self.other and receiver in self.one


class Wire:
    """All sessions and connections of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng: random.Random = world.rng
        self.cuts: list[Cut] = []
        self.lost = self.doubled = self.given_up = self.resent = 0
        self._numbers = itertools.count(1)
        self._spikes, self._mean = world.plan.spikes, 1 / world.plan.delay_s
        self._trouble = world.plan.losses + world.plan.doubles

    # -- what the shells use

    def connect(self, owner: Process, to: int, anew: bool = False) -> bool:
        """Begin a session, if there is none.  anew: also if one has ended, that is, by address.

        Returns: False if it is known to have ended.
        """
        end = owner.ends.get(to)
        if end is not None and not (anew and end.gone):
            return not end.gone
        end = owner.ends[to] = End(owner, self.world.processes[to], next(self._numbers))
        self.world.at(self.world.now + CONNECT_S, self._connect_or_not, end)
        self._dial(end)
        return True

    def is_up(self, owner: Process, to: int) -> bool:
        end = owner.ends.get(to)
        return end is not None and bool(end.link)

    def be_patient(self, owner: Process, to: int) -> None:
        if (end := owner.ends.get(to)) is not None:
            end.patience_s = max(PATIENCE_S, self.world.plan.patience_s)

    def send(self, owner: Process, to: int, message: Any) -> None:
        end = owner.ends.get(to)
        if end is None or end.gone:
            return
        end.sent += 1
        end.outbox.append((end.sent, message))
        if end.link and not end.stuck:
            self._put(end, end.sent, message)

    def give_up(self, end: End, reason: str) -> None:
        """This side has ended the session: whoever is at the other side finds out."""
        if end.gone:
            return
        world, link = self.world, end.link
        end.gone, end.link = True, 0
        end.outbox.clear()
        world.at(world.now, end.owner.if_alive, end.owner.gone, (end.other.number, reason))
        if link and not self.blocked(end.owner.host, end.other.host):
            world.at(max(world.now + self.delay(1.0), end.last_at), self._closed, end.other, end.owner.number, link)

    def dismiss(self, owner: Process, to: int, reason: str) -> None:
        end = owner.ends.get(to)
        if end is not None:
            self.give_up(end, reason)

    def died(self, process: Process, reason: str) -> None:
        """What it has sent arrives, where there is a way; then they see that it is gone."""
        world = self.world
        for end in process.ends.values():
            if not self.blocked(process.host, end.other.host):
                when = max(world.now + self.delay(max(process.slowness, end.other.slowness)), end.last_at)
                world.at(when, self._orphaned, end.other, process.number, end.id, reason)

    def unsaid(self, process: Process, to: int) -> list[Any]:
        """What a process that ends now has sent, and what will not arrive."""
        end = process.ends.get(to)
        if end is None:
            return []
        there = end.other.ends.get(process.number)
        if there is None or there.gone or there.id != end.peer_id:
            return [message for _, message in end.outbox]
        if end.link and end.link == there.link and not end.stuck and not self.blocked(process.host, end.other.host):
            return []
        return [message for seq, message in end.outbox if seq > there.received]

    # -- frames

    def delay(self, slowness: float) -> float:
        rng = self.rng
        if self.world.faulty and rng.random() < self._spikes:
            return rng.random() * 3
        return min(rng.expovariate(self._mean) * slowness, 3.0)

    def blocked(self, sender: str, receiver: str) -> bool:
        return any(cut.blocks(sender, receiver) for cut in self.cuts)

    def _put(self, end: End, seq: int, message: Any) -> None:
        world, owner, other = self.world, end.owner, end.other
        if self.cuts and self.blocked(owner.host, other.host):
            self._lose(end)
            return
        when = world.now + self.delay(max(owner.slowness, other.slowness))
        if when < end.last_at:
            when = end.last_at
        if self._trouble and world.faulty:
            rng, plan = self.rng, world.plan
            if rng.random() < plan.losses:
                self._lose(end)
                return
            if rng.random() < plan.doubles:
                world.at(when + rng.random() * 0.1, self._arrive, other, owner.number, end.link, seq, message)
        end.last_at = when
        world.at(when, self._arrive, other, owner.number, end.link, seq, message)

    def _arrive(self, process: Process, sender: int, link: int, seq: int, message: Any) -> None:
        end = process.ends.get(sender)
        if end is None or end.link != link or not process.alive:
            return
        if seq <= end.received:
            self.doubled += 1
            return
        assert seq == end.received + 1, f"{process} has {end.received} frames of {sender} and is sent number {seq}"
        end.received = seq
        process.receive(sender, message)

    def _lose(self, end: End) -> None:
        self.lost += 1
        end.stuck = True
        self._dial_soon(end)

    # -- connections

    def _dial_soon(self, end: End) -> None:
        if not end.dialing:
            end.dialing = True
            self.world.at(self.world.now + 0.1 + self.rng.random() * 2, self._dial, end)

    def _connect_or_not(self, end: End) -> None:
        if not end.met and end.owner.alive:
            self.give_up(end, "it cannot be reached")

    def _dial(self, end: End) -> None:
        end.dialing = False
        owner, other, world = end.owner, end.other, self.world
        if end.gone or not owner.alive or (end.link and not end.stuck):
            return
        if self.blocked(owner.host, other.host) or self.blocked(other.host, owner.host):
            return  # until the cut is over
        there = other.ends.get(owner.number)
        if not other.alive:
            when = world.now + 0.3 if there is None else max(world.now + 0.3, there.last_at)
            world.at(when, self.give_up, end, "no process listens there")
            return
        if world.faulty and self.rng.random() < 4 * world.plan.losses:
            self._dial_soon(end)
            return
        if there is not None and there.gone:
            there = None
        if end.peer_id and (there is None or there.id != end.peer_id):
            self.given_up += 1
            self.give_up(end, GIVEN_UP)
            return
        if there is not None and not end.peer_id and there.peer_id and there.peer_id != end.id:
            self.given_up += 1
            self.give_up(there, "it gave up the connection to this process")
            there = None
        if there is None:
            there = other.ends[owner.number] = End(other, owner, next(self._numbers))
        link = next(self._numbers)
        half = world.faulty and self.rng.random() < world.plan.losses
        self._attach(there, end, link)
        if half:  # its answer is lost
            world.at(world.now + 0.5, self._closed, other, owner.number, link)
            self._dial_soon(end)
        else:
            self._attach(end, there, link)

    def _attach(self, end: End, there: End, link: int) -> None:
        """A new connection: what the other side has is let go, what it lacks is sent again."""
        end.peer_id, end.link, end.stuck = there.id, link, False
        end.last_at = self.world.now
        fresh, end.met = not end.met, True
        self._heard(end)
        outbox = end.outbox
        while outbox and outbox[0][0] <= there.received:
            outbox.popleft()
        for seq, message in list(outbox):
            self.resent += 1
            self._put(end, seq, message)
            if end.stuck:
                break
        if fresh:
            end.owner.up(end.other.number)

    def _closed(self, process: Process, by: int, link: int) -> None:
        """The other side has closed the connection."""
        end = process.ends.get(by)
        if process.alive and end is not None and end.link == link:
            end.link = 0
            self._deaf(end)
            self._dial_soon(end)

    def _orphaned(self, process: Process, by: int, session: int, reason: str) -> None:
        end = process.ends.get(by)
        if process.alive and end is not None and end.peer_id == session:
            self.give_up(end, reason)

    # -- silence

    def _deaf(self, end: End) -> None:
        if end.deaf_since is None and not end.gone:
            world = self.world
            end.deaf_since = since = world.now
            world.at(since + end.patience_s + self.rng.random() * 2, self._patience_ends, end, since)
            world.at(since + SILENCE_S + self.rng.random() * 5, self._silence, end, since)

    def _patience_ends(self, end: End, since: float) -> None:
        if end.deaf_since == since and end.owner.alive:
            self.give_up(end, "nothing was heard of it for too long")

    def _silence(self, end: End, since: float) -> None:
        if end.deaf_since == since and end.owner.alive and not end.gone and end.met:
            end.silent = True
            end.owner.silence(end.other.number, True)

    def _heard(self, end: End) -> None:
        end.deaf_since = None
        if end.silent:
            end.silent = False
            self.world.at(self.world.now, self._tell_heard, end)

    def _tell_heard(self, end: End) -> None:
        if end.owner.alive and not end.gone:
            end.owner.silence(end.other.number, False)

    def _pulse(self, end: End) -> None:
        """The way is free again: the connection works, or it is seen that it does not."""
        if end.gone or not end.owner.alive or self.blocked(end.other.host, end.owner.host):
            return
        there = end.other.ends.get(end.owner.number)
        if end.link and end.other.alive and there is not None and there.link == end.link:
            if not there.stuck:
                self._heard(end)
        else:
            end.link = 0
        if not end.link or end.stuck:
            self._deaf(end)
            self._dial_soon(end)

    # -- cuts

    def cut(self, cut: Cut, seconds: float) -> None:
        self.world.tell_story(f"cut for {seconds:.0f} s: {cut!r}")
        self.cuts.append(cut)
        self.world.happened["cut"] += 1
        for end in self._across(cut):
            if cut.blocks(end.other.host, end.owner.host):
                self._deaf(end)
        if cut.one_way:
            self.world.at(self.world.now + self.rng.random() * WINDOW_S, self._window_shuts, cut)
        self.world.at(self.world.now + seconds, self.lift, cut)

    def _window_shuts(self, cut: Cut) -> None:
        """What comes the other way cannot be acknowledged: nothing more comes, and that side sees silence too."""
        if cut in self.cuts:
            self.world.tell_story(f"nothing more comes the other way: {cut!r}")
            cut.one_way = False
            for end in self._across(cut):
                self._deaf(end)

    def lift(self, cut: Cut) -> None:
        if cut in self.cuts:
            self.world.tell_story(f"the cut is over: {cut!r}")
            self.cuts.remove(cut)
            for end in self._across(cut):
                self.world.at(self.world.now + self.rng.random() * 5, self._pulse, end)

    def _across(self, cut: Cut) -> list[End]:
        hosts = cut.one | cut.other
        return [
            end
            for process in self.world.processes.values()
            if process.alive and process.host in hosts
            for end in process.ends.values()
            if not end.gone and (cut.blocks(end.other.host, process.host) or cut.blocks(process.host, end.other.host))
        ]
