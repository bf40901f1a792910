"""A kernel in virtual time, which runs in the test's own thread: no sleeping, no races, and a deadlock is a failure."""

from __future__ import annotations

import threading
from typing import Any

from parkcos.kernel import Kernel


class VirtualKernel(Kernel):
    """Its clock jumps to the next timer as soon as nothing else is to do.  ``threads``: real threads may post."""

    def __init__(self, threads: bool = False) -> None:
        self.now = 1000.0
        self.threads = threads
        self.deadlock = False
        super().__init__("virtual", lambda: self.now)

    def idle(self) -> None:
        when = self.timers.next_when()
        if when is not None:
            self.now = max(self.now, when)
        elif self.threads:
            super().idle()
        else:
            self.deadlock = True
            self._stopping = True

    def main(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Run until ``fn`` has ended, then stop; returns its value, or raises what it raised."""
        task = self.spawn(fn, *args, **kwargs)
        outcome = []

        def ended(_: Any) -> None:
            outcome.append(task.outcome)
            self.terminate()

        task.add_end_callback(ended)
        assert threading.get_ident() != self.ident
        self.run()
        assert not self.deadlock, "every task waits, and no timer is set"
        if outcome[0].kind != "finished":
            raise outcome[0].exception
        return outcome[0].value
