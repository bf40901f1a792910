"""A process's presence on the network: its address, its sessions, and what tasks may ask of other processes.

Layers above add services: what they say to each other arrives at `services[name](peer, message)` in the order in
which it was sent; what is for tasks goes to the kernel thread.
"""

from __future__ import annotations

import logging
import platform
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from parkcos.errors import ProtocolError, ShippingError, UsageError
from parkcos.kernel import Kernel, Task, operation, spaces
from parkcos.kernel.failures import log_failure
from parkcos.kernel.forked import refuse
from parkcos.kernel.wait import Completion, seconds
from parkcos.net import wire
from parkcos.net.files.service import Files
from parkcos.net.finding.addresses import OwnAddress
from parkcos.net.finding.datagram import Announce, DatagramGate, Leaving
from parkcos.net.finding.discovery import Discovery
from parkcos.net.finding.lookup import known
from parkcos.net.finding.namesakes import Namesakes
from parkcos.net.finding.peer_status import PeerStatus, PeerStatuses
from parkcos.net.finding.relay import Relay
from parkcos.net.forked import let_go
from parkcos.net.iothread import IOThread
from parkcos.net.location import Location
from parkcos.net.options import NetworkOptions, identity_of, own_addresses, told_addresses
from parkcos.net.payload import PICKLE, Buffer, loads
from parkcos.net.roaming import Roaming
from parkcos.net.session.backlog import Backlog
from parkcos.net.session.frames import FRAME_BYTES_MAX, Memory
from parkcos.net.session.hub import Callbacks, Hub
from parkcos.net.session.peer import CONNECTING, GONE, LAZY, SOON, UNMARKED, Peer
from parkcos.net.session.session import ADDRS_MAX, PROTOCOL, Hello
from parkcos.net.tasks import outcomes
from parkcos.net.tasks.remote_channel import reduce_channel
from parkcos.net.tasks.remote_task import RemoteTask, restore_task
from parkcos.net.tasks.requests import Requests, must_be_encodable
from parkcos.net.tasks.router import Router
from parkcos.net.tasks.senders import WaitingSenders

if TYPE_CHECKING:
    from parkcos.kernel import Channel

logger = logging.getLogger("parkcos")

LOCATE_AGAIN_S = 0.25
"""A search that found nothing asks again after this time, while its time-out lasts: names appear late."""
WAITING_LOG_S = 5.0
BODY_BYTES_MAX = FRAME_BYTES_MAX // 2
"""Of a service's message: it travels in one frame, with the payload if that is small."""

OnService = Callable[[Peer, wire.Service], None]


class Network:
    """The network of one process.

    Raises: ConfigError if the address or port cannot be had.
    """

    def __init__(self, kernel: Kernel, io: IOThread, options: NetworkOptions) -> None:
        options.check()
        self.kernel = kernel
        self.io = io
        self.options = options
        self.incarnation = int.from_bytes(random_bytes(8)) >> 1 | 1
        self.name = options.name or socket.gethostname()
        self.addresses: list[OwnAddress] = list(options.addresses) or own_addresses(options.host, options.kept)
        own_addrs = [own.addr for own in self.addresses]
        self.told = told_addrs = told_addresses(own_addrs, options.ext_host)
        """The addresses that others are told."""
        self.services: dict[str, OnService] = {}
        """Called in the thread that read the message, one call at a time: the kernel thread if it was idle, between
        tasks, else the I/O thread.  They must not block.  What they pass on by `io.call`, in either thread, or by
        `kernel.post`, keeps its order."""
        self.extensions: dict[type, Any] = {}
        """One object of a layer above for each process: that layer's class is the key."""
        self.exposed: WeakValueDictionary[int, Task] = WeakValueDictionary()
        """Tasks of this process whose references have left it."""
        self.requests = Requests()
        self.router = Router(kernel, self.requests, self.name, Backlog(kernel.call_later))
        self.relay = Relay(self, self._dial_announced, kernel.clock)
        self._namesakes = Namesakes()
        self.statuses = PeerStatuses(kernel)
        hello = Hello(
            PROTOCOL,
            options.version,
            ".".join(platform.python_version_tuple()[:2]),
            self.incarnation,
            self.name,
            told_addrs[0],
            0,
            options.roles,
            addrs=tuple(told_addrs[1:]),
        )
        callbacks = Callbacks(self._messages, [self._peer_up], [self._peer_gone])
        self.hub = Hub(io, hello, options.identity or identity_of(options, self.name), callbacks, options.pulse_s)
        self.senders = WaitingSenders(kernel, self.hub)
        self.hub.on_dirty = self._on_dirty  # type: ignore[method-assign]
        port = self.hub.listen(own_addrs, options.tcp_ports)
        self.location = Location(told_addrs[0], port)
        mac_key = options.keys.mac_key if options.keys else None
        old_mac_key = options.keys.old.mac_key if options.keys and options.keys.old else None
        self.discoveries = [
            Discovery(
                DatagramGate(mac_key, old_mac_key=old_mac_key),
                own,
                options.udp_port,
                options.target_udp_ports,
                partial(self._announce, number),
                self._heard,
                self._left,
                mac_key,
                enabled=options.discover,
                multicast=options.multicast,
                old_mac_key=old_mac_key,
            )
            for number, own in enumerate(self.addresses)
        ]
        self._roaming: Roaming | None = None
        self.meet_neighbours: Callable[[], Any] | None = None
        """Gives what to yield before all peers are asked for a name, to know who they are."""
        self.files = Files(self, options.dest_path, options.max_file_size)
        self._flush_asked = UNMARKED
        level = logging.INFO if options.say_address else logging.DEBUG
        why = " and ".join(own.why for own in self.addresses)
        logger.log(level, "%s uses address %s, TCP port %d", self.name, why, port)

    @property
    def own(self) -> OwnAddress:
        """The first of the own addresses."""
        return self.addresses[0]

    def start(self) -> None:
        """Begin to accept connections and to announce this process.  Not in the I/O thread."""
        self.io.run(self._start()).result()

    async def _start(self) -> None:
        self.hub.start()
        self.kernel.post(self.hub.lookout.attach, self.kernel)
        for discovery in self.discoveries:
            await discovery.start()
        self._roaming = Roaming(self)
        self._roaming.start()

    def close(self) -> None:
        """Say goodbye to all peers and close all sockets.  Not in the I/O thread."""
        self.io.run(self._close()).result(10)

    async def _close(self) -> None:
        if self._roaming is not None:
            await self._roaming.close()
        for discovery in self.discoveries:
            discovery.close()
        await self.files.close()
        await self.hub.close()

    def forked(self) -> None:
        """In a child that was forked: all that is the parent's, and works there only."""
        let_go(self.hub.lookout.descriptors())
        self.io.forked()
        self.hub.peer_at = refuse  # type: ignore[method-assign]
        for peer in self.hub.peers():
            peer.forked()

    # -- writing

    def _on_dirty(self, lazy: bool) -> None:
        """Something was posted: in the kernel thread it leaves at the end of the round, elsewhere at once."""
        kernel = self.kernel
        if threading.get_ident() == kernel.ident:
            how = LAZY if lazy else SOON
            if self._flush_asked < how:
                self._flush_asked = how
                kernel.request_flush(self._flush, lazy=lazy)
                self.hub.keep_ticking()
        else:
            self.io.call(self.hub.flush_dirty)

    def _flush(self) -> None:
        self._flush_asked = UNMARKED
        self.hub.flush_dirty()

    def post_service(
        self,
        peer: Peer,
        service: str,
        body: bytes,
        form: int = PICKLE,
        buffers: Sequence[Buffer] = (),
        *,
        lazy: bool = False,
    ) -> bool:
        """Send a message of a layer above.  Any thread.  Returns whether the process is not gone.

        Args:
            lazy: it may wait a little for others that go the same way.
        Raises: ShippingError if `body` is too large for a frame.
        """
        if len(body) > BODY_BYTES_MAX:
            raise ShippingError(
                f"a message of {len(body)} bytes for the {service} at {peer!r} is too large "
                f"(at most {BODY_BYTES_MAX}): what is large travels in its payload"
            )
        message = wire.Service(wire.EMPTY, form, False, service, body)
        if buffers:
            return peer.post_payload(message, buffers, lazy=lazy)
        return peer.post(message, len(body), lazy=lazy)

    # -- what comes in (either thread, see `services`)

    def _messages(self, peer: Peer, messages: list[wire.Message], bigs: list[Memory]) -> None:
        for_tasks: list[wire.Message] = []
        size = 0
        for message in messages:
            if isinstance(message, wire.WithPayload):
                if message.big:
                    if not bigs:
                        raise ProtocolError("a message whose payload did not come before it")
                    message.payload = memoryview(bigs.pop(0))
                size += len(message.payload)
            elif type(message) is wire.Withdraw:
                self.router.withdraw(peer, message.request)
            if type(message) is wire.Service:
                size -= len(message.payload)
                if for_tasks:
                    self._for_tasks(peer, for_tasks, size)
                    for_tasks, size = [], 0
                service = self.services.get(message.service)
                if service is None:
                    logger.warning("%r sent a message for a %s, which this process is not", peer, message.service)
                    continue
                try:
                    service(peer, message)
                except BaseException:  # of a user's code, perhaps, which a service has opened
                    log_failure(logger, "a message of %r for the %s could not be handled", peer, message.service)
            else:
                for_tasks.append(message)
        if for_tasks:
            self._for_tasks(peer, for_tasks, size)

    def _for_tasks(self, peer: Peer, messages: list[wire.Message], size: int) -> None:
        peer.taken_bytes += size
        self.kernel.post(self.router.handle, peer, messages, size)

    def _peer_up(self, peer: Peer) -> None:
        self.kernel.post(self.statuses.changed, peer, PeerStatus.Online)

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        self.kernel.post(self.requests.gone, peer)
        self.kernel.post(self.senders.gone, peer)
        self.kernel.post(self.statuses.changed, peer, PeerStatus.Offline)

    def _probe(self) -> None:
        for discovery in self.discoveries:
            discovery.probe()

    def greet(self, addr: str, udp_port: int = 0) -> None:
        """Ask who is there at one host, which a broadcast may not reach.  udp_port: 0: the usual ones.  Any thread."""
        for discovery in self.discoveries:
            self.io.call(discovery.greet, addr, udp_port)

    def _announce(self, number: int) -> Announce:
        roles, own = self.options.roles, self.hub.own
        return Announce(self.told[number], own.port, self.incarnation, self.name, roles, PROTOCOL, reply=False)

    def _heard(self, announce: Announce, source: tuple[str, int]) -> None:
        if announce.incarnation != self.incarnation:
            self.relay.heard(announce)
            if words := self._namesakes.heard(announce, source[0]):
                logger.warning("%s", words)
            self._dial_announced(announce, source[0])

    def _dial_announced(self, announce: Announce, source: str = "") -> None:
        """source: the address that the announcement came from: the process may be there, if not where it says."""
        if announce.incarnation == self.incarnation or not self.options.dial_roles.intersection(announce.roles):
            return
        peer = self.hub.by_incarnation.get(announce.incarnation)
        at = Location(announce.addr, announce.port)
        if peer is not None and peer.state is not GONE:
            if peer.dialable and at not in peer.addresses:  # it has moved
                peer.addresses = (at, *peer.addresses)[:ADDRS_MAX]
        elif source in ("", announce.addr):
            self.hub.peer_at(at)
        else:
            self.hub.peer_at(at, announce.incarnation, (at, Location(source, announce.port)), anew=True)

    def _left(self, leaving: Leaving) -> None:
        """Its own goodbye comes over the session; a datagram proves nothing."""

    def look_for(self, roles: Sequence[str]) -> None:
        """From now on dial who has one of these roles, and ask who is there."""
        self.options.dial_roles.update(roles)
        self.io.call(self._probe)

    # -- asking

    def request(
        self,
        what: str,
        reach: Callable[[], Peer | None],
        ask: Callable[[int], tuple[wire.Message, Sequence[Buffer]]],
        timeout_s: float | None,
        alarm_value: Any,
        gone_value: Any,
        convert: Callable[[wire.Answer], Any] | None = None,
        withdraws: bool = False,
    ) -> Completion[Any]:
        """A question to another process, to be yielded.

        Args:
            reach: gives the process, None if it is gone.
            ask: makes the message from the question's number, with its payload's buffers.
            gone_value: what the yield gives if the process is gone before it answers.
            convert: makes the result of the answer, whose value it is otherwise.
            withdraws: when nobody waits any more, that is told to the process that was asked.
        """
        number = 0

        def start(completion: Completion[Any]) -> None:
            nonlocal number
            peer = reach()
            if peer is None:
                completion.set_result(gone_value)
                return

            def answered(answer: wire.Answer | None) -> None:
                if answer is None:
                    completion.set_result(gone_value)
                    return
                try:
                    completion.set_result(convert(answer) if convert else answer.value)
                except Exception as error:
                    completion.set_exception(error)

            number = self.requests.add(peer, answered)
            message, buffers = ask(number)
            try:
                must_be_encodable(message)
            except ShippingError:
                self.requests.drop(number)
                raise
            if buffers:
                assert isinstance(message, wire.WithPayload)
                posted = peer.post_payload(message, buffers)
            else:
                posted = peer.post(message)
            if not posted:  # it has gone just now
                self.requests.drop(number)
                completion.set_result(gone_value)

        give_up = self.requests.withdraw if withdraws else self.requests.drop
        return Completion(self.kernel, what, start, timeout_s, alarm_value, on_cancel=lambda: give_up(number))

    def observe(self, task: RemoteTask) -> None:
        """Kernel thread: tell `task` how it ends, when it ends or its process is gone."""

        peer = self.hub.peer_at(task.location, task.incarnation)
        if peer is None:
            task.told(None, "it is gone")
            return
        space = spaces.of_task(self.kernel.current)

        def answered(answer: wire.Answer | None) -> None:
            with spaces.within(space):
                task.told(answer, peer.reason)

        number = self.requests.add(peer, answered)
        if not peer.post(wire.Observe(task.id, number)):
            self.requests.drop(number)
            task.told(None, peer.reason)

    # -- names

    def reduce_task(self, task: Task) -> tuple[Any, ...]:
        """A reference to a task of this process."""
        if self.exposed.get(task.id) is not task:
            self.exposed[task.id] = task
            task.add_end_callback(self._keep_outcome)
        return restore_task, (self.location.addr, self.location.port, self.incarnation, task.id, task.name)

    def _keep_outcome(self, task: Task) -> None:
        if task.outcome is not None:
            self.keep_outcome(task.id, *outcomes.pack(task.outcome))

    def keep_outcome(self, task: int, kind: str, form: int, buffers: Sequence[Buffer]) -> None:
        """Remember how a task of this process ended, for who asks later.  Any thread."""
        self.router.kept.put(task, kind, form, buffers)

    def reduce_channel(self, channel: Channel) -> tuple[Any, ...]:
        """A reference to a channel of this process; it must be registered to be found again."""
        return reduce_channel(self, channel)

    def locate_task(self, name: str, location: Any, timeout: float | None) -> Any:
        """To be yielded: a reference to the task `name`, or None."""
        return self._locate("task", name, location, timeout)

    def locate_channel(self, name: str, location: Any, timeout: float | None) -> Any:
        """To be yielded: a reference to the channel `name`, or None."""
        return self._locate("channel", name, location, timeout)

    def locate_rps(self, name: str, location: Any, timeout: float | None) -> Any:
        """To be yielded: a reference to the RPS `name`, or None."""
        return self._locate("rps", name, location, timeout)

    @operation
    def _locate(
        self, kind: str, name: str, location: Location | None, timeout: float | None
    ) -> Generator[Any, Any, Any]:
        """Ask one process, or all: the first that has it wins.  None when all say no and there is no time-out."""
        if not isinstance(name, str):
            raise UsageError(f"a {kind} is located by its name, a str, not by {name!r}")
        if location is not None and not isinstance(location, Location):
            raise UsageError(f"a {kind} is located at a Location, not at {location!r}\n  write: Location(host, port)")
        clock = self.kernel.clock
        end = None if timeout is None else clock() + timeout
        said = clock()
        if location is not None:
            if not (yield known(self, location, timeout_s=timeout)):
                return None
            if location == self.location:
                return self.kernel.names.get(kind, name)
        else:
            self.io.call(self._probe)
            if self.meet_neighbours is not None:
                yield self.meet_neighbours()
        while True:
            peers = self._whom_to_ask(location)
            left = None if end is None else max(0.0, end - clock())
            if peers:
                found = yield self._ask_all(kind, name, peers, left)
                if found is not None or end is None:
                    return found
            if end is not None and clock() >= end:
                return None
            yield self.pause(LOCATE_AGAIN_S if left is None else min(LOCATE_AGAIN_S, left))
            if clock() - said > WAITING_LOG_S:
                said = clock()
                where = location or "any peer; none is known yet" if not peers else location or "any peer"
                logger.warning("still looking for the %s %r at %s", kind, name, where)

    def pause(self, seconds_: float) -> Completion[None]:
        """Wait so long, in whatever task."""
        return Completion(self.kernel, "pause", None, seconds_)

    def _whom_to_ask(self, location: Location | None) -> list[Peer]:
        if location is not None:
            peer = self.hub.peer_at(location)
            return [peer] if peer is not None else []
        return [p for p in self.hub.peers() if p.state is not CONNECTING]

    def _ask_all(self, kind: str, name: str, peers: list[Peer], left: float | None) -> Completion[Any]:
        numbers: list[int] = []

        def start(completion: Completion[Any]) -> None:
            waiting = len(peers)
            must_be_encodable(wire.Locate(kind, name, 0))

            def answered(answer: wire.Answer | None) -> None:
                nonlocal waiting
                waiting -= 1
                if answer is not None and answer.value > 0:
                    completion.set_result(loads(answer.form, answer.payload))
                elif not waiting:
                    completion.set_result(None)

            for peer in peers:
                number = self.requests.add(peer, answered)
                numbers.append(number)
                if not peer.post(wire.Locate(kind, name, number)):
                    self.requests.drop(number)
                    answered(None)

        def cancel() -> None:
            for number in numbers:
                self.requests.drop(number)

        return Completion(self.kernel, "locate", start, left, None, cancel)

    # -- peers

    @operation
    def peer(self, location: Location, timeout: float | None = 10.0, relay: bool = False) -> Generator[Any, Any, int]:
        """Connect to the process at `location`.  Yield it.  Returns 0, or -1 with a log line that says why not.

        Args:
            relay: ask it whom it hears in its network, and connect to those too.
        """
        limit, clock = seconds(timeout), self.kernel.clock
        end = None if limit is None else clock() + limit
        if not (yield known(self, location, timeout_s=limit)):
            logger.warning("cannot connect to %s: no name server has answered in time", location)
            return -1
        peer = self.hub.peer_at(location)
        left = None if end is None else max(0.0, end - clock())

        def convert(answer: wire.Answer) -> int:
            return 0

        def ask(number: int) -> tuple[wire.Message, Sequence[Buffer]]:
            return wire.WhoIs("", number), ()

        done: int = yield self.request("peer", lambda: peer, ask, left, -1, -1, convert)
        if done:
            reason = (peer.reason if peer is not None else "") or "no answer in time"
            level = logging.DEBUG if peer is not None and peer.reported else logging.WARNING
            logger.log(level, "cannot connect to %s: %s", location, reason)
        elif relay and peer is not None:
            self.relay.ask(peer.itself)
        return done

    def peers(self) -> list[Location]:
        """The locations of all processes that this one is connected to."""
        return [p.location for p in self.hub.peers() if p.state is not CONNECTING]

    @operation
    def locate(self, name: str, timeout: float | None = None) -> Generator[Any, Any, Location | None]:
        """The location of the peer with this name, or None.  Yield it."""
        end = None if timeout is None else self.kernel.clock() + timeout
        while True:
            for peer in self.hub.peers():
                if peer.state is not CONNECTING and peer.name == name:
                    return peer.location
            if end is not None and self.kernel.clock() >= end:
                return None
            yield self.pause(LOCATE_AGAIN_S)

    def peer_status(self, task: Task | None) -> None:
        """Send `task` a PeerStatus for every peer now and whenever one comes or goes; None: tell nobody any more."""
        self.statuses.tell(task)


def random_bytes(n: int) -> bytes:
    """From the operating system: also different in processes that were forked from one."""
    import os

    return os.urandom(n)
