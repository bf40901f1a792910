"""What a client remembers of a task that it has submitted, until the task has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from parkcos.cluster.shipping import Definition
from parkcos.kernel import Completion, Task
from parkcos.net.payload import Buffer
from parkcos.net.refs import RemoteTask


@dataclass(slots=True)
class Submission:
    """A task on its way: what to send, whom to tell."""

    name: str
    io: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    form: int
    buffers: list[Buffer]
    definitions: Sequence[Definition]
    completion: Completion[Task] | None
    rtask: RemoteTask | None = None
    remote_id: int = 0
    start_time: float = field(default_factory=time.time)


def name_of(fn: Callable[..., Any]) -> str:
    """What the task is called."""
    return getattr(fn, "__name__", type(fn).__name__)
