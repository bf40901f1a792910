"""Several processes' worth of network in one: each place has a Kernel, an I/O thread and a Network of its own.

What must not live here: assertions about the network, and waiting by sleeping.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from parkcos.kernel import Kernel, Task
from parkcos.net import wire
from parkcos.net.iothread import IOThread
from parkcos.net.network import Network
from parkcos.net.options import NetworkOptions
from parkcos.net.payload import dumps, loads
from parkcos.net.session.hub import Callbacks, Hub
from parkcos.net.session.peer import UP, Peer
from parkcos.net.session.session import PROTOCOL, Hello
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import TlsIdentity

T = TypeVar("T")

KEYS = ClusterKeys(b"a" * 32, b"m" * 32)
OTHER_KEYS = ClusterKeys(b"b" * 32, b"n" * 32)
WAIT_S = 20.0
"""How long anything may take that will happen: a test that waits so long has failed."""


class Log(logging.Handler):
    """Collects what the package "parkcos" logs, and lets a test wait for a line."""

    def __init__(self, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.lines.append(record.getMessage())
            self._changed.notify_all()

    def with_words(self, *words: str) -> list[str]:
        """The lines so far that have all of `words`."""
        return [line for line in list(self.lines) if all(word in line for word in words)]

    def wait_for(self, *words: str) -> str:
        """The first line with all of `words`, now or later."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.with_words(*words), WAIT_S):
                raise AssertionError(f"no line with {words}; there are: {self.lines}")
            return self.with_words(*words)[0]

    def __enter__(self) -> Log:
        logger = logging.getLogger("parkcos")
        self._level = logger.level
        logger.setLevel(min(self.level, logger.getEffectiveLevel()))
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("parkcos")
        logger.removeHandler(self)
        logger.setLevel(self._level)


class Changes:
    """Things that happen in other threads, in order; a test waits until they are as it wants them."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._changed = threading.Condition()

    def add(self, item: Any) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def wait(self, until: Callable[[list[Any]], object], timeout_s: float = WAIT_S) -> list[Any]:
        """Return the items as soon as `until(items)`."""
        with self._changed:
            if not self._changed.wait_for(lambda: until(self.items), timeout_s):
                raise AssertionError(f"it did not come to that; there are {len(self.items)}: {self.items[-5:]}")
            return list(self.items)


class HubPlace:
    """A hub without tasks: what comes in is written down."""

    numbers = itertools.count(1)

    def __init__(
        self,
        *,
        incarnation: int = 0,
        port: int = 0,
        keys: ClusterKeys | None = KEYS,
        pulse_s: float = 5.0,
        protocol: int = PROTOCOL,
        addr: str = "127.0.0.1",
        addrs: tuple[str, ...] = (),
        listens_at: tuple[str, ...] | None = None,
        start: bool = True,
    ) -> None:
        """addrs: more addresses that it announces.  listens_at: those where it does listen; None: at all."""
        number = next(self.numbers)
        self.io = IOThread()
        self.io.start()
        self.got = Changes()  # bodies, in order
        self.happened = Changes()  # ("up" | "gone", Peer, reason)
        own = Hello(protocol, "0.1.0", "3.11", incarnation or number, f"hub{number}", addr, 0, ("peer",), addrs=addrs)
        callbacks = Callbacks(
            self._messages,
            [lambda peer: self.happened.add(("up", peer, ""))],
            [lambda peer, reason: self.happened.add(("gone", peer, reason))],
        )
        self.hub = Hub(
            self.io,
            own,
            TlsIdentity(keys, own.name, roles=own.roles, incarnation=own.incarnation) if keys else None,
            callbacks,
            pulse_s,
        )
        self.port = self.hub.listen([addr, *addrs] if listens_at is None else listens_at, [port])
        self.location = _location(addr, self.port)
        self.closed = False
        if start:
            self.start()

    def start(self) -> None:
        self.call(self.hub.start)

    def _messages(self, peer: Peer, messages: list[wire.Message], bigs: list[bytearray]) -> None:
        for message in messages:
            assert isinstance(message, wire.Service)
            if message.big:
                assert bytes(bigs.pop(0)) == message.body * 50_000
            self.got.add(int.from_bytes(message.body, "big") if len(message.body) == 4 else message.body)

    def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Run `fn(*args)` in the I/O thread, and wait."""

        async def go() -> T:
            return fn(*args)

        return self.io.run(go()).result(WAIT_S)

    def peer(self, other: HubPlace) -> Peer:
        peer = self.hub.peer_at(other.location)
        assert peer is not None
        return peer

    def send(self, peer: Peer, number: int, big: bool = False) -> bool:
        body = number.to_bytes(4, "big")
        message = wire.Service(wire.EMPTY, 0, False, "test", body)
        if big:
            return peer.post_payload(message, [body * 50_000])
        return peer.post(message)

    def links(self) -> list[Any]:
        """The open connections of all who are not gone."""
        return self.call(lambda: [p.link for p in self.hub.peers() if p.link is not None and not p.link.closed])

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.io.run(self.hub.close()).result(WAIT_S)
            self.io.close()

    def kill(self) -> None:
        """As if the process had been killed: sockets are closed, nothing is said."""
        self.closed = True

        def stop() -> None:
            self.hub.closing = True
            self.hub.keep_alive.stop()
            for sock in self.hub.door.listeners:
                self.io.loop.remove_reader(sock.fileno())
                sock.close()
            for task in [*self.hub.dialer.tasks, *self.hub.door.greetings]:
                task.cancel()
            for peer in self.hub.peers():
                if peer.link:
                    peer.link.close()
            self.hub.lookout.close()

        self.call(stop)
        self.io.close()


def _location(addr: str, port: int) -> Any:
    from parkcos.net.location import Location

    return Location(addr, port)


class Place:
    """What a process has: a kernel in a thread, an I/O thread, a network."""

    def __init__(self, name: str, *, keys: ClusterKeys | None = KEYS, host: str = "127.0.0.1", **options: Any) -> None:
        self.kernel = Kernel(name)
        self.io = IOThread()
        self.io.start()
        options.setdefault("discover", False)
        options.setdefault("say_address", False)
        self.network = Network(self.kernel, self.io, NetworkOptions(host=host, name=name, keys=keys, **options))
        self.kernel.network = self.network
        self.kernel.start()
        self.network.start()
        self.location = self.network.location
        self.closed = False

    def spawn(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
        return self.kernel.spawn(fn, *args, **kwargs)

    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The value of a task, or what it raised."""
        return self.spawn(fn, *args, **kwargs).future().result(WAIT_S)

    def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Run a plain function in the kernel thread."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def go() -> None:
            try:
                future.set_result(fn(*args))
            except BaseException as error:
                future.set_exception(error)

        self.kernel.post(go)
        return future.result(WAIT_S)

    def reference(self, thing: Any) -> Any:
        """`thing` as this place has it after it has travelled here."""
        form, buffers = dumps(thing)
        return self.call(lambda: loads(form, b"".join(buffers)))

    def peer_of(self, other: Place) -> Peer | None:
        return self.network.hub.by_incarnation.get(other.network.incarnation)

    def is_connected_to(self, other: Place) -> bool:
        peer = self.peer_of(other)
        return peer is not None and peer.state is UP

    def connect(self, other: Place) -> None:
        def connecting(task: Any = None) -> Any:
            return (yield self.network.peer(other.location))

        assert self.run(connecting) == 0

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if not self.network.hub.closing:
                self.network.close()
            self.kernel.terminate()
            self.io.close()

    def fall_silent(self) -> None:
        """The sockets are closed, and nothing is said; the kernel goes on."""
        self.io.run(_silently(self.network)).result(WAIT_S)

    def kill(self) -> None:
        """As if the process had been killed."""
        self.fall_silent()
        self.close()


async def _silently(network: Network) -> None:
    hub = network.hub
    for discovery in network.discoveries:
        for transport in discovery._transports:
            transport.abort()
        discovery._private = None
        discovery.close()
    hub.goodbye.say = _nothing  # type: ignore[method-assign]
    await hub.close()


async def _nothing() -> None:
    pass


class Cluster:
    """Places that are closed at the end of a ``with``."""

    def __init__(self) -> None:
        self.places: list[Place | HubPlace] = []
        self._names = itertools.count(1)

    def place(self, name: str = "", **options: Any) -> Place:
        place = Place(name or f"p{next(self._names)}", **options)
        self.places.append(place)
        return place

    def hub(self, **options: Any) -> HubPlace:
        place = HubPlace(**options)
        self.places.append(place)
        return place

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for place in reversed(self.places):
            place.close()


def replaced(hello: Hello, **changes: Any) -> Hello:
    return msgspec.structs.replace(hello, **changes)
