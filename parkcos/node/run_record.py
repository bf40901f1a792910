"""The one record of a task at a server, from the client's asking for it to its end there."""

from __future__ import annotations

import itertools
import math
import pickle
import time
from dataclasses import dataclass
from types import FrameType

from parkcos.cluster import server_messages as sm
from parkcos.cluster.postbox import Posted
from parkcos.errors import TaskTimeout
from parkcos.kernel import Outcome, Task, failures
from parkcos.net.payload import Buffer

IMPORTS = "parkcos.cluster.own_imports"
"""It runs what a task's code imports, and can be left at any moment."""


@dataclass(slots=True, eq=False)
class Running:
    """What the client has asked for, and what has come of it.

    task: None until it has begun.
    """

    asked: sm.RunTask
    form: int
    payload: Buffer
    task: Task | None = None
    started_at: float = 0.0
    told: Posted | None = None
    """That it has begun, as the client is told."""
    timed_out: bool = False
    to_end: bool = False
    """The client wants it ended."""

    def forced_end(self, interrupt_at: float = math.inf) -> Outcome | None:
        """How it ended if it has had its time, or was to end; None: as it says itself.

        interrupt_at: when it was to be interrupted; past that, it may not have let anybody notice.
        """
        if self.to_end and not self.timed_out:
            outcome = self.task.outcome if self.task is not None else None
            if outcome is None or isinstance(outcome.exception, KeyboardInterrupt):
                return Outcome("terminated", None, None, "terminated by its client")
            return None
        limit_s = self.asked.timeout_s
        if not limit_s or (not self.timed_out and interrupt_at > time.monotonic()):
            return None
        text = f"{self.asked.name} was ended: it ran for longer than its time limit of {limit_s:g} s (timeout_s)"
        return Outcome("failed", None, TaskTimeout(text), text)


def whose_code(frame: FrameType | None) -> str:
    """What the main thread is at: a task's code ("user"), its call into this package, or the kernel between tasks."""
    outwards: list[bool] = []
    while frame is not None and frame.f_code.co_name != "_run_rounds":
        name = frame.f_globals.get("__name__", "")
        outwards.append(name.startswith("parkcos.") and name != IMPORTS)
        frame = frame.f_back
    inwards = list(itertools.dropwhile(bool, reversed(outwards)))
    if not inwards:
        return "kernel"
    return "parkcos" if any(inwards) else "user"


def explained(what: str, error: BaseException) -> str:
    """Why the client's code cannot be run, and what to do about it."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"{what}: there is no module {error.name!r} here: install it at this node, "
            "or list it in the client's components"
        )
    if isinstance(error, pickle.UnpicklingError | AttributeError | ImportError):
        return f"{what}: {failures.line_of(error)}; what it needs must be in the client's components"
    return f"{what}: {failures.line_of(error)}"
