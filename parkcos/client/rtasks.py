"""What a client remembers of a task that it has submitted, until the task has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from parkcos.cluster.shipping import Definition
from parkcos.kernel import Completion, Task
from parkcos.net.payload import Buffer
from parkcos.net.tasks.remote_task import RemoteTask

if TYPE_CHECKING:
    from parkcos.client.options import TaskLimits


class Submission(msgspec.Struct):
    """A task on its way: what to send, whom to tell."""

    name: str
    io: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    form: int
    buffers: list[Buffer]
    definitions: Sequence[Definition]
    completion: Completion[Task] | None
    seed: list[int] = []
    """Of all its runs; none if its client has none."""
    rtask: RemoteTask | None = None
    start_time: float = msgspec.field(default_factory=time.time)
    where: tuple[int, int] = (0, 0)
    """The server and node where it must run, 0 for any."""
    timeout_s: float = 0.0
    retries: int = 0
    """How often it may be run anew."""
    retry_on: tuple[type[BaseException], ...] = ()
    shown_as: int = 0
    """The number by which an observer knows it: when it is run anew it may have another one."""
    calls: Sequence[tuple[Any, ...]] = ()
    """The arguments of each call, if it is a chunk of a map."""
    more_shown_as: range = range(0)
    """The numbers by which an observer knows its calls after the first one."""

    def numbers(self) -> tuple[int, ...]:
        """All numbers by which an observer knows it."""
        return (self.shown_as, *self.more_shown_as) if self.shown_as else ()

    def limit(self, limits: TaskLimits, server: int, node: int) -> None:
        """Set what the program's options say."""
        self.name = limits.name or self.name
        self.where = server, node
        self.timeout_s, self.retries, self.retry_on = limits.timeout_s, limits.retries, limits.retry_on


def name_of(fn: Callable[..., Any]) -> str:
    """What the task is called."""
    return getattr(fn, "__name__", type(fn).__name__)


def words_of(seed: int) -> list[int]:
    """Its words of 32 bits, the low one first, as numpy's SeedSequence takes a whole number apart."""
    words = [seed & 0xFFFFFFFF]
    while seed := seed >> 32:
        words.append(seed & 0xFFFFFFFF)
    return words
