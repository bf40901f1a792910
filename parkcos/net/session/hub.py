"""The hub: who is connected to this process.  Writes, hands out what comes in, notices who is gone.

Connections that come in are greeted at the door (door.py), others are made by the dialler (dialer.py); who is silent is
noticed in keepalive.py.  What comes in is read by the thread that keeps the lookout (lookout.py): the kernel thread
while it is idle, else the I/O thread.
`_readable` and what it calls may run in either, one at a time; `flush_dirty`, `peer_at`, `when_caught_up` and
`Peer.post` in any; everything else runs in the I/O thread, where `_in_io` takes it.  What the messages mean is not
known here: they go to `callbacks.messages` as they came, in order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parkcos.errors import ProtocolError
from parkcos.net import wire
from parkcos.net.audit import Audit
from parkcos.net.iothread import IOThread
from parkcos.net.location import Location, is_loopback
from parkcos.net.payload import PICKLE
from parkcos.net.session import session as sessions
from parkcos.net.session.book import Book
from parkcos.net.session.dialer import Dialer
from parkcos.net.session.door import Door, in_words, with_port
from parkcos.net.session.frames import BYE, DATA, PART, Memory
from parkcos.net.session.goodbye import Goodbye
from parkcos.net.session.keepalive import KeepAlive
from parkcos.net.session.link import Link
from parkcos.net.session.lookout import Lookout
from parkcos.net.session.peer import CONNECTING, DOWN, GONE, UP, Peer
from parkcos.net.session.proof import Proof
from parkcos.net.session.refusals import Refusals
from parkcos.net.session.session import Hello, Session
from parkcos.net.session.ticker import Ticker
from parkcos.net.trust.guests import Guests
from parkcos.net.trust.tls import Identity

logger = logging.getLogger("parkcos")

READS_MAX = 32
"""After so many reads from one connection in a row the others have their turn."""
ACCEPTOR_WAITS_S = 0.2
"""When a connection breaks, the side that had accepted it gives the other so much time to dial first."""
BACK_WITHIN_S = 10.0
"""A process that this one cannot dial, and whose connection was closed, is gone if it has not dialled again by then."""


@dataclass
class Callbacks:
    """Where the hub tells what happened.

    messages: called in the thread that read them, for one peer after the other.
    up, gone: called in the I/O thread.
    """

    messages: Callable[[Peer, list[wire.Message], list[Memory]], None]
    up: list[Callable[[Peer], None]] = field(default_factory=list)
    gone: list[Callable[[Peer, str], None]] = field(default_factory=list)


class Hub:
    """All sessions of one process.

    Args:
        io: the I/O thread.
        own: this process's greeting; its port is filled in by `listen`.
        identity: for TLS, or None for a cluster without a secret and without certificates.
        pulse_s: a sign of life goes out after so many seconds of silence; see keepalive.py.
    """

    def __init__(
        self, io: IOThread, own: Hello, identity: Identity | None, callbacks: Callbacks, pulse_s: float = 5.0
    ) -> None:
        self.io = io
        self.own = own
        self.identity = identity
        self.callbacks = callbacks
        self.pulse_s = pulse_s
        self.book = Book(self._make_peer)
        self.by_incarnation = self.book.by_incarnation
        self.peers = self.book.peers
        self.goodbye = Goodbye(self)
        self.closing = False
        self.closed = False
        """Nothing is read any more."""
        self.door = Door(self)
        self.dialer = Dialer(self)
        self.dirty: deque[Peer] = deque()
        """Peers to which something was posted that is to be written."""
        self.ticker = Ticker(self)
        self.lookout = Lookout(io, self.ticker.keep)
        self.keep_alive = KeepAlive(self)
        self.audit = Audit()
        self.refusals = Refusals(identity, self.audit)
        self.shut_out: dict[int, Location] = {}
        """Processes that this one has closed, by incarnation, and where they are."""
        self.guests = Guests(identity, own.incarnation, own.roles)
        self.proof = Proof(self)

    # -- starting and stopping

    def listen(self, addrs: Sequence[str], ports: Sequence[int]) -> int:
        """Bind the first free of `ports` (0: any) on all of `addrs`.  Returns the port.

        Raises: ConfigError naming the ports that are taken.
        """
        port = self.door.listen(addrs, ports)
        self.own = with_port(self.own, port)
        return port

    def start(self) -> None:
        """I/O thread: begin to accept, to pulse and to watch."""
        self.door.start()
        self.keep_alive.start()

    async def close(self) -> None:
        """Wait, for a while, until what was sent has arrived; say goodbye to everybody; close all sockets."""
        await self.goodbye.linger()
        self.closing = True
        self.keep_alive.stop()
        self.door.close()
        await self.goodbye.say()
        tasks = [*self.dialer.tasks, *self.door.greetings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in self.peers():
            with peer.lock:
                if peer.link:
                    peer.link.close()
        self.closed = True
        self.lookout.close()

    # -- who is there

    def peer_at(
        self, location: Location, incarnation: int = 0, addresses: Sequence[Location] = (), anew: bool = False
    ) -> Peer | None:
        """The process at `location`, dialled if it is not known yet; any thread.

        Args:
            incarnation: the one that is meant, 0 for whoever is there.
            addresses: where it may be dialled, if not only at `location`.
            anew: somebody else has just heard of it: if it counts as gone, because it was silent, begin a new session.
        Returns: None if that incarnation is known to be gone, or is shut out.  That another one is there is told as its
        end.
        """
        if self.shut_out and (incarnation in self.shut_out or (not incarnation and location in self.shut_out.values())):
            return None
        peer, is_new = self.book.find(location, incarnation, addresses, anew)
        if is_new:
            self.io.call(self.dialer.dial, peer)
        return peer

    def shut(self, location: Location) -> None:
        """I/O thread: end the connection to the process at `location`; it comes back after ``let_in`` only."""
        for peer in list(self.peers()):
            if peer.location == location and peer.incarnation:
                self.shut_out[peer.incarnation] = location
                self.end(peer, "this process has closed the connection")

    def let_in(self, location: Location) -> None:
        """Take ``shut(location)`` back."""
        self.shut_out = {number: at for number, at in self.shut_out.items() if at != location}

    def _make_peer(self, location: Location, incarnation: int, session: int) -> Peer:
        return Peer(location, incarnation, Session(self.own, session), self._mark_dirty)

    # -- writing

    def _mark_dirty(self, peer: Peer, lazy: bool = False) -> None:
        self.dirty.append(peer)
        self.on_dirty(lazy)

    def on_dirty(self, lazy: bool) -> None:
        """Something was posted; replaced by the runtime with what makes the kernel flush at the end of its round."""
        self.io.call(self.flush_dirty)

    def flush_dirty(self) -> None:
        """Write what has been posted; any thread."""
        dirty = self.dirty
        while dirty:  # only atomic steps: other threads append meanwhile
            try:
                peer = dirty.popleft()
            except IndexError:
                return
            self.flush(peer)

    def flush(self, peer: Peer) -> None:
        """Write what has been posted to it; any thread."""
        if peer.merged is not None:
            peer.hand_over()
            peer = peer.itself
        try:
            if peer.flush():
                self._in_io(self._arm_writer, peer)
        except OSError as error:
            self._in_io(self._lost, peer, peer.link, f"writing failed: {error}")
        if peer.refused:
            self._tell_refused(peer)
        if peer.waiters and not peer.behind:
            self._release(peer, True)

    def _tell_refused(self, peer: Peer) -> None:
        """Messages were posted before `peer` said what it takes, and are too large for it: who asks is answered."""
        with peer.lock:
            refused, peer.refused = peer.refused, []
        for message in refused:
            what, most = type(message).__name__, peer.max_payload
            logger.error("a %s was not sent: its payload is too large for %r (max_payload %d)", what, peer, most)
            if number := getattr(message, "request", 0):
                why = f"it is too large for {peer!r}, whose max_payload is {most}"
                self.callbacks.messages(peer, [wire.Answer(wire.EMPTY, PICKLE, False, number, -1, why)], [])
            elif isinstance(message, wire.Service):  # what is said next would make no sense there
                self._in_io(self.end, peer, f"a message for its {message.service} was too large for it")

    def _in_io(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the I/O thread: now if this is it, else soon."""
        if self.io.in_thread():
            fn(*args)
        else:
            self.io.call(fn, *args)

    def write(self, peer: Peer) -> None:
        """Write what its session has for it.  The thread that has the lookout, or the I/O thread."""
        try:
            if peer.write():
                self._in_io(self._arm_writer, peer)
        except OSError as error:
            self._in_io(self._lost, peer, peer.link, f"writing failed: {error}")

    def _arm_writer(self, peer: Peer) -> None:
        if peer.link is not None and peer.link.blocked:
            peer.link.arm_writer(lambda: self._writable(peer))

    def _writable(self, peer: Peer) -> None:
        link = peer.link
        try:
            if not peer.flush() and link is not None:
                link.disarm_writer()
        except OSError as error:
            self._lost(peer, link, f"writing failed: {error}")

    # -- connections

    def connected(self, link: Link, hello: Hello, peer: Peer, reached_at: Location | None = None) -> None:
        """Greetings were exchanged (if this side accepted, its answer is the first thing that goes out).

        Args:
            reached_at: where `peer` was dialled; None if it has dialled this process.
        Raises: ProtocolError if its greeting cannot be right.
        """
        self._take_place(hello, peer, link, reached_at)
        try:
            with peer.lock:
                if peer.link is not None:
                    peer.link.close()
                    peer.session.detach()
                peer.session.attach(time.monotonic())
                if not link.dialed:
                    peer.session.greet(hello)
                peer.session.welcome(hello)
                peer.link = link
        except ProtocolError as error:
            link.close()
            self.end(peer, str(error))
            raise
        fresh = peer.state is CONNECTING
        peer.state = UP
        logger.debug("%s: connected %r%s", self.own.name, peer, "" if fresh else " again")
        self.flush(peer)
        if fresh:
            for callback in self.callbacks.up:
                try:
                    callback(peer)
                except Exception:
                    logger.exception("the coming of %r could not be handled", peer)
        with self.lookout.lock:
            if link.closed:
                return
            link.watch(self.lookout, lambda: self._readable(peer, link))
            self._readable(peer, link)  # TLS may have deciphered what followed the greeting

    def _take_place(self, hello: Hello, peer: Peer, link: Link, reached_at: Location | None) -> None:
        """Enter `peer` as the process that says `hello`."""
        announced = [Location(addr, hello.port) for addr in (hello.addr, *hello.addrs)]
        # A process that connects from this machine's own address is found at the loopback, too, if it says so.
        is_here = link.peer_addr == link.own_addr and not is_loopback(link.peer_addr)
        proven_at = reached_at or next(
            (at for at in announced if at.addr == link.peer_addr or (is_here and is_loopback(at.addr))), None
        )
        if reached_at is not None or peer.state is CONNECTING:
            # What comes from an address that is not its own comes from behind NAT, or through a tunnel.
            peer.dialable = proven_at is not None
            peer.proven_at = proven_at
            peer.addresses = tuple(dict.fromkeys(announced if proven_at is None else (proven_at, *announced)))
        elif proven_at is not None and proven_at not in peer.addresses:  # it has moved, and comes from its new address
            peer.proven_at, peer.addresses = proven_at, tuple(announced)
        peer.standing, peer.circle = link.standing, link.circle
        peer.name, peer.roles, peer.max_payload = hello.name, hello.roles, hello.max_payload
        peer.location = announced[0]
        same, replaced = self.book.enter(peer, hello.incarnation, announced, proven_at)
        for there in same:
            self.merge(there, peer)
        for there, location in replaced:
            self.end(there, f"it was restarted: another process is at {location} now")

    def recognise(self, peer: Peer, hello: Hello) -> bool:
        """It was dialled, and says who it is; so that the door knows it too, if it dials in before all is said.

        Returns: False if it is somebody who is known already; what waited for it goes to that one.
        """
        known = self.book.recognise(peer, hello.incarnation)
        if known is not None:
            self.merge(peer, known)
        return known is None

    def merge(self, other: Peer, into: Peer) -> None:
        """What waited for a location turns out to be for a process that is known already."""
        other.merged, other.reason, other.state = into, "merged", GONE  # in this order: other threads look at the state
        self.book.replace(other, into)
        other.hand_over()
        self._mark_dirty(other)  # for what another thread is just adding
        with other.lock:
            waiters, other.waiters = other.waiters, []
        for tell in waiters:
            self.when_caught_up(into, tell)

    def _readable(self, peer: Peer, link: Link) -> None:
        """Under the lookout's lock, in either thread: read what has come and hand it out."""
        session = peer.session
        lost: str | None = None
        broken: ProtocolError | None = None
        events: list[sessions.Event] = []
        try:
            with peer.lock:
                if peer.link is not link or link.closed:
                    return
                for _ in range(READS_MAX):
                    space = session.get_buffer()
                    n = link.read_into(space)
                    if n is None:
                        break
                    if n == 0:
                        lost = "the connection was closed"
                        break
                    session.hold_acks = peer.swamped
                    events += session.received(n, time.monotonic())
                    if link.emptied(n, len(space)):
                        break
                while link.has_more:  # the rest of one TLS record, which no selector knows of
                    if n := link.read_into(session.get_buffer()):
                        events += session.received(n, time.monotonic())
        except OSError as error:
            lost = in_words(error)
        except ProtocolError as error:
            broken = error
        if events:
            self._deliver(peer, events)
        if session.owes_ack:
            self.ticker.acknowledge(peer)
        if broken is not None:
            self._refuse(peer, broken)
            return
        if lost is not None:
            self._stop_reading(peer)
            self._in_io(self._lost, peer, link, lost)
            return
        if peer.waiters and not peer.behind:
            self._release(peer, True)
        if session.wants_write and not link.blocked:
            self.write(peer)
        self.goodbye.progressed()

    def _refuse(self, peer: Peer, error: ProtocolError) -> None:
        """It sent what no parkcos sends, and what it says next would be no better."""
        self.refusals.accepted(str(peer), error)
        self._stop_reading(peer)
        self._in_io(self.end, peer, f"it sent what no parkcos sends: {error}")

    def _stop_reading(self, peer: Peer) -> None:
        """Nothing more is wanted from this connection; the I/O thread closes it soon."""
        with peer.lock:
            if peer.link is not None:
                peer.link.unwatch()

    def _deliver(self, peer: Peer, events: list[sessions.Event]) -> None:
        messages: list[wire.Message] = []
        for kind, body in events:
            if kind == DATA:
                try:
                    messages += wire.decode(body)  # type: ignore[arg-type]
                except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
                    self._refuse(peer, ProtocolError(f"a message of no known kind: {error}"))
                    return
            elif kind == PART:
                peer.bigs.append(body)  # type: ignore[arg-type]
            elif kind == BYE:
                self._hand_out(peer, messages)
                messages = []
                self._stop_reading(peer)
                self._in_io(self._ended, peer)
        self._hand_out(peer, messages)
        if len(peer.bigs) > 1:  # each message follows its payload at once
            peer.bigs.clear()
            self._refuse(peer, ProtocolError("a large payload without a message"))

    def _hand_out(self, peer: Peer, messages: list[wire.Message]) -> None:
        if not messages:
            return
        try:
            self.callbacks.messages(peer, messages, peer.bigs)
        except ProtocolError as error:
            self._refuse(peer, error)

    def when_caught_up(self, peer: Peer, tell: Callable[[bool], None]) -> None:
        """Call `tell(True)` when `peer` is not behind any more, `tell(False)` when it is gone.  Any thread."""
        peer = peer.itself
        with peer.lock:
            peer.waiters.append(tell)
        if peer.state is GONE or not peer.behind:
            self._release(peer, peer.state is not GONE)

    def _release(self, peer: Peer, ok: bool) -> None:
        with peer.lock:
            waiters, peer.waiters = peer.waiters, []
        for tell in waiters:
            tell(ok)

    def break_off(self, peer: Peer, reason: str) -> None:
        """Its connection leads nowhere any more: make another one."""
        self._lost(peer, peer.link, reason)

    def _lost(self, peer: Peer, link: Link | None, reason: str) -> None:
        """A connection broke."""
        if link is None or peer.link is not link:
            return
        with peer.lock:
            peer.link = None
            link.close()
            peer.session.detach()
        self.goodbye.progressed()
        if peer.state is not UP or self.closing:
            return
        if peer.no_more:
            self.end(peer, reason)
            return
        now = time.monotonic()
        peer.state, peer.down_since = DOWN, now
        logger.debug("%s: lost %r: %s", self.own.name, peer, reason)
        if peer.dialable:
            peer.gone_at = now + self.keep_alive.patience_s(peer)
            self.dialer.dial(peer, 0.0 if link.dialed else ACCEPTOR_WAITS_S)
        else:
            peer.gone_at = now + BACK_WITHIN_S
            peer.reason = (
                f"its connection was closed ({reason}), and it has not come back; it cannot be dialled from here"
            )

    def _ended(self, peer: Peer) -> None:
        """It has said goodbye."""
        self.end(peer, "it has ended", clean=True)

    def end(self, peer: Peer, reason: str, *, clean: bool = False) -> None:
        """The process has ended, restarted, or cannot be reached for too long."""
        if peer.state is GONE:
            return
        was = peer.state
        peer.state, peer.reason = GONE, reason
        with peer.lock:
            if peer.link is not None:
                peer.link.close()
                peer.link = None
            lost = peer.drop_queue() + peer.session.release()
        self.goodbye.progressed()
        self._release(peer, False)
        self.book.strike(peer)
        if self.closing:
            return
        if clean or was is CONNECTING:
            logger.debug("%r is gone: %s", peer, reason)
        else:
            self.audit.note(logging.INFO, "%r is gone: %s", peer, reason)
        if lost and not (clean or peer.dismissed or self.goodbye.lingering):
            what = "a message (or batch)" if lost == 1 else f"{lost} messages (or batches)"
            logger.warning("%s to %r could not be delivered: %s", what, peer, reason)
        self.io.call(self._tell_gone, peer, reason)

    def _tell_gone(self, peer: Peer, reason: str) -> None:
        """After what came of it before has been handled, which may have been passed on to the I/O thread too."""
        for callback in self.callbacks.gone:
            try:
                callback(peer, reason)
            except Exception:  # the others hear of it all the same
                logger.exception("the end of %r could not be handled", peer)
