"""What two processes say to each other over a session: the closed schema of the network layer's messages.

A DATA frame holds a list of these.  Payloads (users' pickled messages) are opaque here.  Messages of the layers
above (cluster) travel in :class:`Service`, whose body has a closed schema of its own.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from parkcos.net.bounds import BODY_BYTES_MAX, FRAME_BYTES_MAX, Form, Name, Number, Seconds, Text, Word

Payload = bytes | bytearray | memoryview


class Message(msgspec.Struct, array_like=True, tag=True):
    """Base of all messages on the wire."""


class WithPayload(Message):
    """Base of the messages that carry users' bytes.  big: they came ahead, in parts."""

    payload: Annotated[memoryview, msgspec.Meta(max_length=FRAME_BYTES_MAX)]
    form: Form
    big: bool


class ToTask(WithPayload, tag=1):
    """A message for a task's queue."""

    dst: Number


class DeliverToTask(WithPayload, tag=2):
    """The same, with an answer: Answer(1) when it is in the queue, Answer(-1) if the task has ended."""

    dst: Number
    request: Number


class ToChannel(WithPayload, tag=3):
    """A message for a channel, by name."""

    name: Name


class DeliverToChannel(WithPayload, tag=4):
    """The same, with an answer: how many tasks it reached."""

    name: Name
    request: Number
    n: Number
    timeout_s: Seconds | None


class Service(WithPayload, tag=5):
    """A message of a layer above: `service` says which, `body` is encoded in that layer's own closed schema."""

    service: Word
    body: Annotated[bytes, msgspec.Meta(max_length=BODY_BYTES_MAX)]


class Answer(WithPayload, tag=6):
    """The answer to a request: a small number, and for some an object."""

    request: Number
    value: Annotated[int, msgspec.Meta(ge=-2, le=2**63 - 1)]
    error: Text = ""


class Locate(Message, tag=7):
    """Is there a task, channel or RPS (`kind`) of this name?  Answered with a reference as payload, or value 0."""

    kind: Word
    name: Name
    request: Number


class Observe(Message, tag=8):
    """Answer how the task `dst` ends, when it does."""

    dst: Number
    request: Number


class End(Message, tag=9):
    """End the task `dst`, as ``terminate()`` does there."""

    dst: Number


class Subscribe(WithPayload, tag=10):
    """Add (or take away) the subscriber in the payload, a reference, to a channel."""

    name: Name
    request: Number
    add: bool


class WhoIs(Message, tag=11):
    """Ask for the name of this process (answered by value 1 if it is `name`)."""

    name: Name
    request: Number


class RunRps(WithPayload, tag=12):
    """Run the RPS `name` with the (args, kwargs) in the payload.

    Answered with a reference to the task, value RPS_RUNS, and when that ends, under the number `watch`, as Observe
    is.  Or, once: RPS_UNKNOWN if nothing has this name, RPS_MISFIT if the arguments do not fit it, RPS_FAILED.
    """

    name: Name
    request: Number
    watch: Number


RPS_RUNS, RPS_UNKNOWN, RPS_FAILED, RPS_MISFIT = 1, 0, -1, -2


class Withdraw(Message, tag=14):
    """Who sent the delivery `request` waits no longer: if its message is not in a queue yet, it is dropped."""

    request: Number


class Slow(Message, tag=15):
    """The sender's task `dst` is behind with its messages (or, not `on`, has caught up): wait before sending more."""

    dst: Number
    on: bool


AnyMessage = (
    ToTask
    | DeliverToTask
    | ToChannel
    | DeliverToChannel
    | Service
    | Answer
    | Locate
    | Observe
    | End
    | Subscribe
    | WhoIs
    | RunRps
    | Withdraw
    | Slow
)

EMPTY = memoryview(b"")
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[AnyMessage]).decode
