"""A process's presence on the network: its address, its sessions, and what tasks may ask of other processes.

Layers above add services: what they say to each other arrives at `services[name](peer, message)` in the order in
which it was sent; what is for tasks goes to the kernel thread.
"""

from __future__ import annotations

import logging
import platform
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from parkcos.errors import ProtocolError, ShippingError
from parkcos.kernel import Kernel, Task, spaces
from parkcos.kernel.failures import log_failure
from parkcos.kernel.forked import refuse
from parkcos.kernel.wait import Call, Completion
from parkcos.net import wire
from parkcos.net.bounds import BODY_BYTES_MAX
from parkcos.net.core_files import leave_no_core_files
from parkcos.net.files.service import Files
from parkcos.net.finding.addresses import OwnAddress
from parkcos.net.finding.datagram import Announce, DatagramGate, Leaving
from parkcos.net.finding.discovery import Discovery
from parkcos.net.finding.hints import Hints
from parkcos.net.finding.namesakes import Namesakes
from parkcos.net.finding.peer_status import PeerStatus, PeerStatuses
from parkcos.net.finding.relay import Relay
from parkcos.net.forked import let_go
from parkcos.net.iothread import IOThread
from parkcos.net.location import Location
from parkcos.net.options import (
    NetworkOptions,
    datagram_key,
    identity_of,
    new_incarnation,
    own_addresses,
    told_addresses,
)
from parkcos.net.payload import PICKLE, Buffer
from parkcos.net.revoking import Revoking
from parkcos.net.roaming import Roaming
from parkcos.net.session.backlog import Backlog
from parkcos.net.session.frames import Memory
from parkcos.net.session.hub import Callbacks, Hub
from parkcos.net.session.peer import CONNECTING, GONE, LAZY, SOON, UNMARKED, Peer
from parkcos.net.session.session import ADDRS_MAX, PROTOCOL, Hello
from parkcos.net.tasks import outcomes
from parkcos.net.tasks.exposed import Exposed
from parkcos.net.tasks.locating import Locating
from parkcos.net.tasks.remote_channel import reduce_channel
from parkcos.net.tasks.remote_task import RemoteTask, restore_task
from parkcos.net.tasks.requests import Requests, must_be_encodable
from parkcos.net.tasks.router import Router
from parkcos.net.tasks.senders import WaitingSenders

if TYPE_CHECKING:
    from parkcos.kernel import Channel

logger = logging.getLogger("parkcos")


AUDITED: Final = frozenset(["node", "scheduler"])
"""What arrivals are noted at."""
TASKS_ARE_IN: Final = frozenset(["peer", "server"])
FOR_ANYBODY: Final = (wire.Service, wire.Answer, wire.Locate, wire.WhoIs)
"""What processes say that have no tasks of users; nothing of it is opened."""

OnService = Callable[[Peer, wire.Service], None]


class Network:
    """The network of one process.

    Raises: ConfigError if the address or port cannot be had.
    """

    def __init__(self, kernel: Kernel, io: IOThread, options: NetworkOptions) -> None:
        options.check()
        if options.keys or options.certificates or options.grant:
            leave_no_core_files()
        self.kernel = kernel
        self.io = io
        self.options = options
        self.incarnation = options.incarnation or new_incarnation()
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
        self.exposed = Exposed()
        self.locating = Locating(self)
        self.requests = Requests()
        self.router = Router(kernel, self.exposed, self.requests, self.name, Backlog(kernel.call_later))
        self.hints = Hints(self._dial_hint)
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
            max_payload=options.max_payload,
        )
        callbacks = Callbacks(self._messages, [self._peer_up], [self._peer_gone])
        identity = options.identity or identity_of(options, self.name, self.incarnation)
        self.hub = Hub(io, hello, identity, callbacks, options.pulse_s)
        self.hub.dialer.ended = self.hints.go_on
        self.senders = WaitingSenders(kernel, self.hub)
        self.hub.on_dirty = self._on_dirty  # type: ignore[method-assign]
        port = self.hub.listen(own_addrs, options.tcp_ports)
        self.location = Location(told_addrs[0], port)
        mac_key = options.grant_mac_key or datagram_key(options.keys, identity)
        old_mac_key = options.keys.old.mac_key if options.keys and options.keys.old else None
        self.discoveries = [
            Discovery(
                DatagramGate(mac_key, old_mac_key=old_mac_key, incarnation=self.incarnation, began=time.time()),
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
        self.revoking = Revoking(self)
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
                self.hub.ticker.keep()
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
        Raises: ShippingError if `body` is too large for a frame, or the payload for the process.
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
        if not peer.has_tasks:
            messages = [message for message in messages if self._is_for_anybody_to_say(peer, message)]
        for message in messages:
            if isinstance(message, wire.WithPayload):
                if message.big:
                    if not bigs:
                        raise ProtocolError("a message whose payload did not come before it")
                    message.payload = memoryview(bigs.pop(0))
                size += len(message.payload)
                if type(message) is wire.Answer and not peer.has_tasks and len(message.payload):
                    self.hub.refusals.said(peer, "an answer with something to be opened")
                    message = wire.Answer(wire.EMPTY, PICKLE, False, message.request, 0)
            elif type(message) is wire.Withdraw:
                self.router.withdraw(peer, message.request)
            if type(message) is wire.Service:
                size -= len(message.payload)
                if for_tasks:
                    self._for_tasks(peer, for_tasks, size)
                    for_tasks, size = [], 0
                service = self.services.get(message.service)
                if service is None:
                    what = f"sent a message for a {message.service!r}, which this process is not"
                    self.hub.refusals.message(peer, what)
                    continue
                try:
                    service(peer, message)
                except BaseException:  # of a user's code, perhaps, which a service has opened
                    log_failure(logger, "a message of %r for the %s could not be handled", peer, message.service)
            else:
                for_tasks.append(message)
        if for_tasks:
            self._for_tasks(peer, for_tasks, size)

    def _is_for_anybody_to_say(self, peer: Peer, message: wire.Message) -> bool:
        """A node and a scheduler run no tasks, so that nobody has given them a reference to one."""
        if isinstance(message, FOR_ANYBODY):
            return True
        self.hub.refusals.said(peer, f"the message {type(message).__name__}")
        return False

    def _for_tasks(self, peer: Peer, messages: list[wire.Message], size: int) -> None:
        peer.taken_bytes += size
        self.kernel.post(self.router.handle, peer, messages, size)

    def _peer_up(self, peer: Peer) -> None:
        peer.has_tasks = not TASKS_ARE_IN.isdisjoint(peer.roles)
        if not AUDITED.isdisjoint(self.options.roles):
            self.hub.audit.note(logging.INFO, "%r has come, a %s%s", peer, " and ".join(peer.roles), _by_what(peer))
        self.kernel.post(self.statuses.changed, peer, PeerStatus.Online)

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        self.kernel.post(self.requests.gone, peer)
        self.kernel.post(self.senders.gone, peer)
        self.kernel.post(self.statuses.changed, peer, PeerStatus.Offline)

    def probe(self) -> None:
        """Ask by broadcast who is there.  I/O thread."""
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
        else:
            self.hints.add(announce, source)

    def _dial_hint(self, announce: Announce, source: str) -> Peer | None:
        at = Location(announce.addr, announce.port)
        if source in ("", announce.addr):
            return self.hub.peer_at(at)
        return self.hub.peer_at(at, announce.incarnation, (at, Location(source, announce.port)), anew=True)

    def _left(self, leaving: Leaving) -> None:
        """Its own goodbye comes over the session; a datagram proves nothing."""

    def look_for(self, roles: Sequence[str]) -> None:
        """From now on dial who has one of these roles, and ask who is there."""
        self.options.dial_roles.update(roles)
        self.io.call(self.probe)

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
                if buffers:
                    assert isinstance(message, wire.WithPayload)
                    posted = peer.post_payload(message, buffers)
                else:
                    posted = peer.post(message)
            except ShippingError:
                self.requests.drop(number)
                raise
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
        if not peer.post(wire.Observe(task._number, number)):
            self.requests.drop(number)
            task.told(None, peer.reason)

    # -- names

    def reduce_task(self, task: Task) -> tuple[Any, ...]:
        """A reference to a task of this process."""
        number, new = self.exposed.number_of(task)
        if new:
            task.add_end_callback(partial(self._keep_outcome, number))
        return restore_task, (self.location.addr, self.location.port, self.incarnation, number, task.name)

    def _keep_outcome(self, number: int, task: Task) -> None:
        self.exposed.end(number)
        if task.outcome is not None:
            self.keep_outcome(number, *outcomes.pack(task.outcome))

    def keep_outcome(self, number: int, kind: str, form: int, buffers: Sequence[Buffer]) -> None:
        """Remember how the exposed task of this number ended, for who asks later.  Any thread."""
        self.router.kept.put(number, kind, form, buffers)

    def reduce_channel(self, channel: Channel) -> tuple[Any, ...]:
        """A reference to a channel of this process; it must be registered to be found again."""
        return reduce_channel(self, channel)

    def locate_task(self, name: str, location: Any, timeout: float | None) -> Any:
        """To be yielded: a reference to the task `name`, or None."""
        return self.locating.find("task", name, location, timeout)

    def locate_channel(self, name: str, location: Any, timeout: float | None) -> Any:
        """To be yielded: a reference to the channel `name`, or None."""
        return self.locating.find("channel", name, location, timeout)

    def locate_rps(self, name: str, location: Any, timeout: float | None) -> Any:
        """To be yielded: a reference to the RPS `name`, or None."""
        return self.locating.find("rps", name, location, timeout)

    def pause(self, seconds_: float) -> Completion[None]:
        """Wait so long, in whatever task."""
        return Completion(self.kernel, "pause", None, seconds_)

    # -- peers

    def peer(self, location: Location, timeout: float | None = 10.0, relay: bool = False) -> Call[int]:
        """Connect to the process at `location`.  Yield it.  Returns 0, or -1 with a log line that says why not.

        Args:
            relay: ask it whom it hears in its network, and connect to those too.
        """
        return self.locating.peer(location, timeout, relay)

    def peers(self) -> list[Location]:
        """The locations of all processes that this one is connected to."""
        return [p.location for p in self.hub.peers() if p.state is not CONNECTING]

    def locate(self, name: str, timeout: float | None = None) -> Call[Location | None]:
        """The location of the peer with this name, or None.  Yield it."""
        return self.locating.locate(name, timeout)

    def peer_status(self, task: Task | None) -> None:
        """Send `task` a PeerStatus for every peer now and whenever one comes or goes; None: tell nobody any more."""
        self.statuses.tell(task)


def _by_what(peer: Peer) -> str:
    """By what right it is here, for the log."""
    standing = peer.standing
    if standing is None:
        return ""
    return f", by the grant {standing.grant} of {standing.owner}" if standing.grant else ", with the secret"
