"""The one record of a task, from the call that submits it to its last word."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from parkcos.client.records import Task as Record
from parkcos.cluster.definitions import Definition
from parkcos.cluster.shared import InFile, Shared
from parkcos.kernel import Completion, Outcome, Task
from parkcos.net.payload import Buffer
from parkcos.net.tasks.remote_task import RemoteTask


class Told(Protocol):
    """The handle of a task, as its record knows it."""

    def _begun(self) -> None: ...

    def _ended(self, outcome: Outcome) -> None: ...


class Submission(Record, kw_only=True):
    """What the dispatch machine knows of it, what is to be sent, and whom to tell."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    plain: bool = False
    """The function is no task, but is to be called by one."""
    space: int = 0
    """In which its definitions have their names; 0: the client's own."""
    opaque: bool = False
    """It was packed elsewhere, and what comes of it is opened elsewhere."""
    form: int
    buffers: list[Buffer]
    definitions: Sequence[Definition]
    shared: tuple[Shared, ...] = ()
    """What it needs that must be at its node."""
    large: bool = False
    """Some of its definitions are so large that they come to a node as files, if a server there does not have them."""
    files: tuple[InFile, ...] = ()
    """What must be at the node where it was sent."""
    completion: Completion[Task] | None = None
    """Its start, for the task that asked for it by `rtask`."""
    handle: Told | None = None
    """Its end, for those who keep the handle."""
    digest: str = ""
    """Of function and arguments, if its client may return."""
    sent_to: int = 0
    """The server that was sent it last, if its client may return."""
    seed: list[int] = msgspec.field(default_factory=list)
    """Of all its runs; none if its client has none."""
    rtask: RemoteTask | None = None
    start_time: float = msgspec.field(default_factory=time.time)
    unsent: Exception | None = None
    """Why it cannot be sent to the server that was to have it."""
    retry_on: tuple[type[BaseException], ...] = ()
    calls: Sequence[tuple[Any, ...]] = ()
    """The arguments of each call, if it is a chunk of a map."""


def name_of(fn: Callable[..., Any]) -> str:
    """What the task is called."""
    return getattr(fn, "__name__", type(fn).__name__)


def kind_of(fn: Callable[..., Any], calls: int = 1) -> str:
    """A name for the function under which the length of its runs is estimated.  calls: in a chunk of a map."""
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    return f"{name}*{calls}" if calls > 1 else str(name)


def digest_of(form: int, buffers: Sequence[Buffer]) -> str:
    """Of function and arguments as they travel: 32 hexadecimal digits."""
    digest = hashlib.blake2b(bytes([form]), digest_size=16)
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def words_of(seed: int) -> list[int]:
    """Its words of 32 bits, the low one first, as numpy's SeedSequence takes a whole number apart."""
    words = [seed & 0xFFFFFFFF]
    while seed := seed >> 32:
        words.append(seed & 0xFFFFFFFF)
    return words
