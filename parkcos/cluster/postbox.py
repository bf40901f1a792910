"""Messages between the parts of a cluster, wherever they are: over a session, or within this process.

What a postbox hands out is handed out in the I/O thread, one message after the other; a part that has a lock of its
own takes messages in whichever thread read them, which spares a thread hand-over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from parkcos.cluster import schemas
from parkcos.cluster.machine import Refusals
from parkcos.cluster.message import Message
from parkcos.net import wire
from parkcos.net.network import Network
from parkcos.net.payload import PICKLE, Buffer, join
from parkcos.net.session.peer import GONE, Peer

logger = logging.getLogger("parkcos")

OnMessage = Callable[[int, Any, int, Buffer], None]
"""Called with the sender's incarnation, the message, and the form and bytes of its payload."""


class Posted(NamedTuple):
    """A message that may not have left yet."""

    peer: Peer
    message: wire.Service

    def retract(self) -> None:
        """Take it back, if it was the last that was posted there and has not left."""
        self.peer.retract(self.message)


class Postbox:
    """One for each network: `Postbox.of(network)`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._handlers: dict[str, OnMessage] = {}
        self._refusals = Refusals()

    @classmethod
    def of(cls, network: Network) -> Postbox:
        """The postbox of this network."""
        box: Postbox = network.extensions.setdefault(cls, None) or cls(network)
        network.extensions[cls] = box
        return box

    def serve(self, part: str, handler: OnMessage, *, any_thread: bool = False) -> None:
        """Hand what comes for this part ('node', 'scheduler', 'client', 'server') to `handler`.

        Args:
            any_thread: the handler may be called in the kernel thread too; messages of one peer come one by one.
        """
        handle = partial(self._hand_out, part, handler)
        self._handlers[part] = handle
        decode, said_by = schemas.DECODERS[part].decode, schemas.SAID_BY[part]
        call = self.network.io.call

        def received(peer: Peer, service: wire.Service) -> None:
            try:
                message = decode(service.body)
            except msgspec.MsgspecError as error:
                self.network.hub.refusals.message(peer, f"sent the {part} something that is no message for it", error)
                return
            if said_by[type(message)].isdisjoint(peer.roles):
                self.network.hub.refusals.said(peer, f"the message {type(message).__name__} for the {part}")
                return
            if any_thread:
                handle(peer.incarnation, message, service.form, service.payload)
            else:  # also in the I/O thread: what the kernel thread has read before is on its way there
                call(handle, peer.incarnation, message, service.form, service.payload)

        self.network.services[part] = received

    def _hand_out(self, part: str, handler: OnMessage, process: int, message: Any, form: int, payload: Buffer) -> None:
        """One that is refused harms none of those that follow."""
        try:
            handler(process, message, form, payload)
        except Exception as error:
            kind = type(message).__name__
            peer = self.network.hub.by_incarnation.get(process)
            who = repr(peer) if peer is not None else "this process"
            self._refusals.note(f"a {kind} of {who} for the {part}", f"{part} {kind}", error)

    def post(self, process: int, part: str, message: Message) -> Posted | None:
        """Send, lazily, a message without payload that may be taken back while it has not left.

        Returns: None if `process` is gone.
        """
        peer = self.network.hub.by_incarnation.get(process)
        service = wire.Service(wire.EMPTY, PICKLE, False, part, schemas.encode(message))
        if peer is None or not peer.post(service, lazy=True):
            return None
        return Posted(peer, service)

    def send(
        self,
        process: int,
        part: str,
        message: Message,
        form: int = PICKLE,
        buffers: Sequence[Buffer] = (),
        *,
        lazy: bool = False,
    ) -> bool:
        """Send a message to a part of `process`; any thread.  Returns whether that process is not gone.

        Args:
            lazy: it may wait a little for others that go the same way.
        """
        if process == self.network.incarnation:
            handler = self._handlers.get(part)
            if handler is None:  # another process has said that this one is what it is not
                logger.warning("a %s is for a %s, which this process is not", type(message).__name__, part)
                return False
            payload = join(buffers) if buffers else b""
            self.network.io.call(handler, process, message, form, payload)
            return True
        peer = self.network.hub.by_incarnation.get(process)
        if peer is None or peer.state is GONE:
            return False
        return self.network.post_service(peer, part, schemas.encode(message), form, buffers, lazy=lazy)
