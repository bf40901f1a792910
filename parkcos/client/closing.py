"""How a client ends: by `close`, with its block, with the task that has scheduled it, or for another client."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.shell import CLOSED, NEW, RUNNING, ClientShell
from parkcos.client.turn import Turn
from parkcos.kernel import Completion, Task
from parkcos.kernel.registry import cur_task, current_kernel
from parkcos.kernel.wait import seconds
from parkcos.net.running import run

logger = logging.getLogger("parkcos")


class Closing:
    """One for each client.  A function waits for it that has left the client's ``with``."""

    def __init__(self, shell: ClientShell, turn: Turn) -> None:
        self._shell = shell
        self._turn = turn
        self._waiting: list[Completion[None]] = []
        self.in_block = False
        """A ``with`` closes it."""
        shell.executes(d.LeaveScheduler, self._leave)

    def close(self, await_io: bool = False, terminate: bool = False, timeout: float | None = None) -> Completion[None]:
        """As `Client.close`."""
        shell = self._shell
        limit = seconds(timeout)
        kernel = current_kernel() if shell.state in (NEW, CLOSED) else shell.kernel  # it may never have had one

        def start(completion: Completion[None]) -> None:
            with shell.lock:
                if shell.state is RUNNING:
                    self._waiting.append(completion)
                    shell.handle(d.CloseAsked(terminate, await_io))
                else:
                    self._turn.leave_queue()
                    kernel.post(completion.set_result, None)  # after the results that were posted before
                    return
            if limit is not None and limit < math.inf and not terminate:
                io = shell.network.io
                io.call(io.loop.call_later, max(0.0, limit), shell.handle, d.CloseAsked(True))

        return Completion(kernel, "close", start)

    def begin(self, terminate: bool) -> None:
        """Kernel thread; nobody waits for it."""
        self.close(terminate=terminate).tell(lambda _value, _error: None)

    def _leave(self, effect: d.LeaveScheduler) -> None:
        self._turn.leave()
        self._shell.close()
        waiting, self._waiting = self._waiting, []
        for completion in waiting:
            self._shell.kernel.post(completion.set_result, None)  # after what was posted before: nothing comes later

    # -- with its block

    def leave_block(self, kind: type[BaseException] | None) -> None:
        """A ``with`` has ended.  kind: of what was raised in it."""
        shell, task = self._shell, cur_task()
        failed = kind is not None
        if shell.state in (NEW, CLOSED):
            self._turn.leave_queue()
        elif task is not None:
            self.begin(failed)
            if kind is not GeneratorExit:  # else the task is terminated, and waits for nothing
                shell.side.afterwards.add(task, self)
        elif not shell.kernel.stopped:
            run(self._closed, failed)

    def _closed(self, terminate: bool) -> Generator[Any, Any, None]:
        yield self.close(terminate=terminate)

    def is_over(self) -> bool:
        """Whether the client has ended."""
        return not self._shell.is_open()

    def wait(self) -> Completion[None]:
        """To be yielded: waits for its end."""
        return self.close()

    # -- with its task

    def owner_ended(self, task: Task) -> None:
        """The task that has scheduled it has ended."""
        shell, outcome = self._shell, task.outcome
        if shell.is_open() and not shell.machine.stage.closing and outcome is not None and outcome.kind != "finished":
            logger.warning("%s is closed, for %r, which has scheduled it, has %s", shell.name, task, outcome.kind)
            self.begin(True)

    def is_left(self) -> bool:
        """Nobody will close it, as it seems: its task has ended without, and it runs nothing."""
        owner, machine = self._turn.owner, self._shell.machine
        left = owner is not None and not owner.is_alive() and not self.in_block
        return left and self._shell.state is RUNNING and not machine.tasks and not machine.stage.closing

    def give_way(self) -> None:
        """Another client waits for its nodes.  I/O thread."""
        if self.is_left():
            logger.warning("%s gives way to it: its task has ended, and it runs nothing", self._shell.name)
            self._shell.kernel.post(self.begin, False)
