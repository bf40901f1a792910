"""A process of the world: something with an incarnation that hands events to a machine, and can end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parkcos.cluster.message import Message

if TYPE_CHECKING:
    from tests.sim.wire import End
    from tests.sim.world import World


class Process:
    """`receive`, `up`, `gone` and `silence` are what its shell does.  host: where it runs."""

    def __init__(self, world: World, kind: str, host: str) -> None:
        self.world = world
        self.kind = kind
        self.host = host
        self.number = next(world.numbers)
        self.alive = True
        self.slowness = 1.0
        self.armed: float | None = None
        self.ends: dict[int, End] = {}
        """Its sessions, by the process at the other end."""
        self.doomed = 0
        """It crashes after so many more effects; 0: it does not."""
        world.processes[self.number] = self

    def __repr__(self) -> str:
        return f"{self.kind}{self.number}"

    def receive(self, sender: int, message: Any) -> None:
        raise NotImplementedError

    def up(self, process: int) -> None:
        """A session has begun."""

    def gone(self, process: int, reason: str) -> None:
        """A session has ended for good."""
        raise NotImplementedError

    def silence(self, process: int, silent: bool) -> None:
        """Nothing was heard of a process for a while; or now it is heard again."""

    def end(self, reason: str) -> None:
        self.world.end(self, reason)

    def send(self, to: int, message: Message) -> None:
        self.world.wire.send(self, to, message)

    def later(self, delay_s: float, what: Callable[..., None], *args: Any) -> None:
        """Call, unless this process has ended by then."""
        self.world.at(self.world.now + delay_s, self.if_alive, what, args)

    def if_alive(self, what: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.alive:
            what(*args)

    def step(self, machine: Any, event: Any, execute: Callable[[Any], None]) -> None:
        """Hand an event to a machine, check it, do what it says: perhaps not all of it."""
        world = self.world
        effects: list[Any] = machine.handle(event, world.now)
        world.story.append((world.now, self, event, effects))
        world.steps += 1
        if world.steps % world.plan.check_every == 0:
            machine.check()
        for effect in effects:
            if not self.alive:
                break
            execute(effect)
            if self.doomed:
                self.doomed -= 1
                if not self.doomed and self.alive:
                    world.happened["crash between two effects"] += 1
                    self.end("crashed between two effects")

    def arm(self, machine: Any, handle: Callable[[Any], None], event: Any) -> None:
        deadline = machine.next_deadline()
        if deadline is not None and (self.armed is None or deadline < self.armed):
            self.armed = deadline
            self.later(max(0.0, deadline - self.world.now), self._timer, deadline, machine, handle, event)

    def _timer(self, at: float, machine: Any, handle: Callable[[Any], None], event: Any) -> None:
        if self.armed != at:
            return
        self.armed = None
        deadline = machine.next_deadline()
        if deadline is not None and deadline <= self.world.now:
            handle(event)
        self.arm(machine, handle, event)
