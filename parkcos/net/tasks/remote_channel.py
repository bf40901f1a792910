"""Channels of other processes: the same face as a channel next door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parkcos.errors import ShippingError, UsageError
from parkcos.kernel import Channel, Task
from parkcos.kernel.registry import current_kernel
from parkcos.kernel.task_waits import Act
from parkcos.kernel.wait import Wait, seconds
from parkcos.net import wire
from parkcos.net.bounds import SECONDS_MAX, must_be_name
from parkcos.net.location import Location
from parkcos.net.payload import Buffer, dumps
from parkcos.net.tasks.requests import delivered

if TYPE_CHECKING:
    from parkcos.net.network import Network
    from parkcos.net.session.peer import Peer


class RemoteChannel(Channel):
    """A reference to a channel that another process has registered."""

    __slots__ = ("_location", "incarnation", "network")

    def __init__(self, network: Network, location: Location, incarnation: int, name: str) -> None:
        self.kernel = network.kernel
        self.network = network
        self._location = location
        self.incarnation = incarnation
        self.name = name
        self.id = 0

    @property
    def location(self) -> Location:
        return self._location

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteChannel) and (self.incarnation, self.name) == (other.incarnation, other.name)

    def __hash__(self) -> int:
        return hash((self.incarnation, self.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return restore_channel, (self._location.addr, self._location.port, self.incarnation, self.name)

    def _reach(self) -> Peer | None:
        return self.network.hub.peer_at(self._location, self.incarnation)

    def _reaches(self, channel: Channel) -> bool:
        return False

    def send(self, message: Any) -> int:
        form, buffers = dumps(message)
        peer = self._reach()
        if peer is None or not peer.post_payload(wire.ToChannel(wire.EMPTY, form, False, self.name), buffers):
            return -1
        return 0

    def deliver(self, message: Any, timeout: float | None = None, n: int = 0) -> Any:
        form, buffers = dumps(message)
        limit = seconds(timeout)
        if not isinstance(n, int) or n < 0:
            return Act("deliver", lambda: -1)
        # A float, not a subclass, which the wire would not take.
        limit = None if limit is None else min(max(0.0, float(limit)), SECONDS_MAX)

        def ask(request: int) -> tuple[wire.Message, Sequence[Buffer]]:
            return wire.DeliverToChannel(wire.EMPTY, form, False, self.name, request, n, limit), buffers

        return self.network.request("deliver", self._reach, ask, limit, 0, -1, delivered, withdraws=True)

    def subscribe(self, subscriber: Task | Channel, timeout: float | None = None) -> Wait[int]:
        return self._change(subscriber, timeout, True)

    def unsubscribe(self, subscriber: Task | Channel, timeout: float | None = None) -> Wait[int]:
        return self._change(subscriber, timeout, False)

    def _change(self, subscriber: Task | Channel, timeout: float | None, add: bool) -> Wait[int]:
        if not isinstance(subscriber, Task | Channel):
            raise UsageError(f"only a task or a channel can subscribe to {self!r}, not {subscriber!r}")
        form, buffers = dumps(subscriber)

        def ask(request: int) -> tuple[wire.Message, Sequence[Buffer]]:
            return wire.Subscribe(wire.EMPTY, form, False, self.name, request, add), buffers

        what = "subscribe" if add else "unsubscribe"
        return self.network.request(what, self._reach, ask, seconds(timeout), alarm_value=-1, gone_value=-1)

    def set_transform(self, transform: Any) -> int:
        return -1

    def register(self) -> int:
        return -1

    def unregister(self) -> int:
        return -1

    def close(self) -> None:
        """Nothing: only its own process closes a channel."""


def reduce_channel(network: Network, channel: Channel) -> tuple[Any, ...]:
    """A reference to a channel of this process, which is registered for it: references go by name.

    Raises: ShippingError if another channel is registered under its name, or that is too long.
    """
    must_be_name(channel.name, channel)
    known = network.kernel.names.channels.get(channel.name)
    if known is not channel and (known is not None or channel.register() < 0):
        raise ShippingError(
            f"{channel!r} cannot be sent: another channel of this process is registered as {channel.name!r}, or this "
            "one is closed; give it a name of its own"
        )
    return restore_channel, (network.location.addr, network.location.port, network.incarnation, channel.name)


def restore_channel(addr: str, port: int, incarnation: int, name: str) -> Channel:
    """Unpickles a reference: the very channel if it has come home, else a RemoteChannel."""
    network: Any = current_kernel().ensure_network()
    if incarnation == network.incarnation:
        channel: Channel | None = network.kernel.names.channels.get(name)
        if channel is not None:
            return channel
    return RemoteChannel(network, Location(addr, port), incarnation, name)
