"""What a client and its servers say to each other.

Functions, arguments and results are opaque bytes here; they travel beside the message, as its payload.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from parkcos.cluster.message import PLACES_MAX, Message, WithReason
from parkcos.net.bounds import Addr, Name, Number, Port, Seconds, Text, must_be_numeric
from parkcos.net.trust.claims import Claim

SEED_BITS_MAX = 1024
RESUMED_NAME_MAX = 200
RESUMED_MAX = 100
"""Tasks in one message, with their names."""
Seed = Annotated[list[Number], msgspec.Meta(max_length=1 + SEED_BITS_MAX // 32)]

# -- to a client


class ServerReady(Message):
    """From a server: server_setup is done."""

    client: Number


class ServerFailed(WithReason):
    """From a server: server_setup failed, and how."""

    client: Number
    error: Text


class TaskStarted(Message):
    """From a server.  id: the number of the task in its process."""

    client: Number
    task: Number
    id: Number


class TaskRefused(WithReason):
    """From a server: the task could not be created, and why."""

    client: Number
    task: Number
    error: Text


class TaskEnded(Message):
    """From a server.  The payload is what `net.outcomes.unpack` opens for this `kind`.

    seconds: how long it ran; id: as in TaskStarted, which is not sent for a task that has ended by then.
    cut: it was interrupted because its server ends, and no task there had asked for that.
    """

    client: Number
    task: Number
    kind: Name
    seconds: Seconds
    id: Number
    cut: bool = False


class TaskRecalled(Message):
    """From a server: the answer to RecallTask.  ok: it had not begun, and never will here."""

    client: Number
    task: Number
    ok: bool


class ServerLeaves(Message):
    """From a server: it is about to end, and takes no more tasks."""

    client: Number


class ResumedTask(msgspec.Struct, array_like=True, frozen=True):
    """io: as in RunTask; name: the beginning of it."""

    task: Number
    io: bool
    name: Annotated[str, msgspec.Meta(max_length=RESUMED_NAME_MAX)]


class ServerResumed(Message):
    """From a server, the answer to ReturnToServer: it serves you as it did.

    opened: OpenServer has come; else it has yet to.  tasks: what runs or waits there, or has ended and was not
    released; more: another such message follows, with more of them.
    After the last, what is known of each follows, as if it happened now: ServerReady or ServerFailed, TaskStarted,
    TaskEnded, TaskRefused.
    """

    client: Number
    opened: bool
    tasks: Annotated[list[ResumedTask], msgspec.Meta(max_length=RESUMED_MAX)]
    more: bool = False


class AskServers(Message):
    """From a server: which servers does this client have?  A task there looks for another."""

    client: Number


# -- to a server


class Define(Message):
    """From the client; the payload is what `encode_definitions` gives: what the calls that follow need.

    space: in which they need it, as of RunTask.
    """

    client: Number
    space: Number = 0


class OpenServer(Message):
    """From the client: begin to serve it; the payload is the call of server_setup, if has_setup."""

    client: Number
    has_setup: bool


class RunTask(Message):
    """From the client; the payload is the pickled (function, args, kwargs).

    io: not counted as using the CPU; timeout_s: how long it may run, 0 for ever; seed: of its random numbers, if its
    client has one: its number there, and the client's in words of 32 bits; plain: the function is no task, but is
    called by one; space: in which definitions have names of their own, 0 for that of the process itself.  A client
    never gives a number twice.
    """

    client: Number
    task: Number
    name: Name
    io: bool
    timeout_s: Seconds = 0.0
    seed: Seed = msgspec.field(default_factory=list)
    plain: bool = False
    space: Number = 0


class ReturnToServer(Message):
    """From a client whose earlier program was lost: serve this one in its place."""

    client: Number
    claim: Claim


class ReleaseTasks(Message):
    """From a client that may return: what has come of these tasks is safe, and need not be kept."""

    client: Number
    tasks: Annotated[list[Number], msgspec.Meta(max_length=PLACES_MAX)]


class RecallTask(Message):
    """From the client: give a task back that has not begun."""

    client: Number
    task: Number


class EndTask(Message):
    """From the client: end a task that has begun, wherever it is, as one that has had its time."""

    client: Number
    task: Number


class Servers(Message):
    """From the client, an answer.  Address, port and incarnation of each."""

    client: Number
    servers: Annotated[list[tuple[Addr, Port, Number]], msgspec.Meta(max_length=PLACES_MAX)]

    def __post_init__(self) -> None:
        for addr, _, _ in self.servers:
            must_be_numeric(addr)
