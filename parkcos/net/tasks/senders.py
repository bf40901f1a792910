"""Tasks that wait to send, because the far side is behind: ``yield rtask.send(m)``.  Kernel thread."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from parkcos.kernel import Completion, Kernel
from parkcos.net.session.peer import Peer

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub
    from parkcos.net.tasks.remote_task import RemoteTask

logger = logging.getLogger("parkcos")

WAITING_LOG_S = 5.0


class WaitingSenders:
    """Who waits, and for whom; who waits for long is said, again and again."""

    def __init__(self, kernel: Kernel, hub: Hub) -> None:
        self._kernel = kernel
        self._hub = hub
        self._waiting: dict[Completion[int], RemoteTask] = {}
        self._waited: set[RemoteTask] = set()
        """For whom somebody waited when it was last looked."""

    def wait(self, peer: Peer, task: RemoteTask) -> Completion[int]:
        """To be yielded: until neither `peer` nor `task` there is behind any more: 0, or -1 if the process is gone."""

        def start(completion: Completion[int]) -> None:
            def wait_for_process(ok: bool) -> None:
                if ok:
                    self._hub.when_caught_up(peer, lambda ok: completion.set_result(0 if ok else -1))
                else:
                    completion.set_result(-1)

            if not self._waiting:
                self._kernel.call_later(WAITING_LOG_S, self._look)
            self._waiting[completion] = task
            if task._number in peer.slow:
                peer.slow[task._number].append(wait_for_process)
            else:
                wait_for_process(True)

        return Completion(self._kernel, "send", start)

    def _look(self) -> None:
        self._waiting = {completion: task for completion, task in self._waiting.items() if not completion.done}
        waits = dict.fromkeys(self._waiting.values())
        for task in waits:
            if task in self._waited:
                logger.warning("a task waits to send: %r is behind with its messages", task)
        self._waited = set(waits)
        if self._waiting:
            self._kernel.call_later(WAITING_LOG_S, self._look)

    def gone(self, peer: Peer) -> None:
        """`peer` will not catch up any more."""
        slow, peer.slow = peer.slow, {}
        for waiters in slow.values():
            for tell in waiters:
                tell(False)
