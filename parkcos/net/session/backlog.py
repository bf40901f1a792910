"""Tasks that read more slowly than other processes write to them: their senders are told to wait.  Kernel thread.

A task's queue takes every message, so what bounds it is the sender: ``yield rtask.send(m)`` waits while the task's
process has said `Slow`.  It says so when many messages wait, or many bytes, and takes it back at half of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parkcos.kernel import Task
from parkcos.net import wire

if TYPE_CHECKING:
    from parkcos.net.session.peer import Peer

SLOW_MESSAGES = 10_000
SLOW_BYTES = 8 * 1024 * 1024
LOOK_EVERY = 64
"""Of small messages only each so many-th is looked at."""
LARGE_BYTES = 4096
CLEAR_MIN = 1000
"""So many queues are kept before it is looked which have emptied; then twice as many as had not."""
LOOK_AGAIN_S = 0.01


@dataclass(slots=True)
class _Queue:
    """What is known of a task's queue: sizes are averages of what came in since it was last seen empty."""

    task: Task
    large: int = 0
    large_bytes: int = 0
    told: dict[Peer, None] = field(default_factory=dict)
    """Who was told that it is slow."""

    def weight(self) -> float:
        """How full the queue is: 1.0 is where its senders should wait."""
        waiting = self.task.unread
        bytes_ = self.large_bytes * min(1.0, waiting / self.large) if self.large else 0.0
        return max(waiting / SLOW_MESSAGES, bytes_ / SLOW_BYTES)


class Backlog:
    """The queues that are worth watching.

    Args:
        later: calls a function in the kernel thread after so many seconds.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._later = later
        self._queues: dict[int, _Queue] = {}
        self._slow: dict[int, _Queue] = {}
        self._clear_at = CLEAR_MIN

    def grows(self, peer: Peer, task: Task, size: int) -> None:
        """`peer` has sent `task` a message of `size` bytes; others wait before it."""
        queue = self._queues.get(task.id)
        if queue is None or (task.unread <= 1 and not queue.told):
            queue = self._queues[task.id] = _Queue(task)
        if size >= LARGE_BYTES:
            queue.large += 1
            queue.large_bytes += size
        if peer not in queue.told and queue.weight() >= 1.0:
            queue.told[peer] = None
            peer.post(wire.Slow(task._number, True))
            if not self._slow:
                self._later(LOOK_AGAIN_S, self._look)
            self._slow[task._number] = queue
        if len(self._queues) > self._clear_at:  # those that have emptied since
            self._queues = {number: queue for number, queue in self._queues.items() if queue.task.unread}
            self._clear_at = 2 * len(self._queues) + CLEAR_MIN

    def _look(self) -> None:
        for number, queue in list(self._slow.items()):
            if queue.weight() <= 0.5 or not queue.task.is_alive():
                for peer in queue.told:
                    peer.post(wire.Slow(number, False))
                del self._slow[number]
                self._queues.pop(queue.task.id, None)
        if self._slow:
            self._later(LOOK_AGAIN_S, self._look)
