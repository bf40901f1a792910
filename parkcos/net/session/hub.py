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
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parkcos.errors import ProtocolError
from parkcos.net import wire
from parkcos.net.iothread import IOThread
from parkcos.net.location import Location
from parkcos.net.session import session as sessions
from parkcos.net.session.book import Book
from parkcos.net.session.dialer import Dialer
from parkcos.net.session.door import Door, in_words, with_port
from parkcos.net.session.frames import BYE, DATA, PART, Memory
from parkcos.net.session.keepalive import KeepAlive
from parkcos.net.session.link import Link
from parkcos.net.session.lookout import NOBODY, Lookout
from parkcos.net.session.peer import CONNECTING, DOWN, GONE, UP, Peer
from parkcos.net.session.refusals import Refusals
from parkcos.net.session.session import Hello, Session
from parkcos.net.trust.guests import Guests
from parkcos.net.trust.tls import Identity

logger = logging.getLogger("parkcos")

TICK_S = 0.005
TICKS_IDLE = 10
READS_MAX = 32
"""After so many reads from one connection in a row the others have their turn."""
ACCEPTOR_WAITS_S = 0.2
"""When a connection breaks, the side that had accepted it gives the other so much time to dial first."""
BACK_WITHIN_S = 10.0
"""A process that this one cannot dial, and whose connection was closed, is gone if it has not dialled again by then."""
LINGER_S = 5.0
"""A process that ends waits so long for the others to acknowledge what it has sent."""
GOODBYE_S = 0.5
"""And then so long for them to close their connections: all has arrived, and nothing is lost that is not said."""


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
        self.by_location = self.book.by_location
        self.by_incarnation = self.book.by_incarnation
        self.peers = self.book.peers
        self.lingering = False
        """This process ends, and waits for others to take what was sent; that some end too is no news now."""
        self.closing = False
        self.closed = False
        """Nothing is read any more."""
        self._progress = asyncio.Event()
        self.door = Door(self)
        self.dialer = Dialer(self)
        self._dirty: deque[Peer] = deque()
        self._ticking = False
        self._tick_lock = threading.Lock()
        self._idle_ticks = 0
        self._unacknowledged: deque[Peer] = deque()
        """Who has sent something since the last tick."""
        self.lookout = Lookout(io, self.keep_ticking)
        self.keep_alive = KeepAlive(self)
        self.refusals = Refusals(identity)
        self.shut_out: dict[int, Location] = {}
        """Processes that this one has closed, by incarnation, and where they are."""
        self.guests = Guests(identity)

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
        self.lingering = True
        self.flush_dirty()
        await self._until(lambda: not any(p.owes for p in self.peers()), LINGER_S)
        self.closing = True
        self.keep_alive.stop()
        self.door.close()
        self._say_goodbye()
        # Who hears it closes the connection.  To close before that loses what is on its way, if anything comes in.
        await self._until(lambda: not any(p.link and not p.dismissed for p in self.peers()), GOODBYE_S)
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

    async def _until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Wait until `done()`, which is asked again whenever something has come in or somebody is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not done():
                    self._progress.clear()
                    await self._progress.wait()

    def _progressed(self) -> None:
        if self.lingering:
            self._in_io(self._progress.set)

    def _say_goodbye(self) -> None:
        for peer in self.peers():
            with contextlib.suppress(OSError):
                peer.flush()
                peer.session.bye("closed")
                if peer.write() and peer.link:
                    peer.link.arm_writer(lambda p=peer: self._writable(p))  # type: ignore[misc]

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
        self._dirty.append(peer)
        self.on_dirty(lazy)

    def on_dirty(self, lazy: bool) -> None:
        """Something was posted; replaced by the runtime with what makes the kernel flush at the end of its round."""
        self.io.call(self.flush_dirty)

    def flush_dirty(self) -> None:
        """Write what has been posted; any thread."""
        dirty = self._dirty
        while dirty:  # only atomic steps: other threads append meanwhile
            try:
                peer = dirty.popleft()
            except IndexError:
                return
            self._flush(peer)

    def _flush(self, peer: Peer) -> None:
        if peer.merged is not None:
            peer.hand_over()
            peer = peer.itself
        try:
            if peer.flush():
                self._in_io(self._arm_writer, peer)
        except OSError as error:
            self._in_io(self._lost, peer, peer.link, f"writing failed: {error}")
        if peer.waiters and not peer.behind:
            self._release(peer, True)

    def _in_io(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the I/O thread: now if this is it, else soon."""
        if self.io.in_thread():
            fn(*args)
        else:
            self.io.call(fn, *args)

    def keep_ticking(self) -> None:
        """Make the I/O thread look every few milliseconds for what a busy kernel thread leaves undone; any thread."""
        if not self._ticking:
            with self._tick_lock:
                if self._ticking:
                    return
                self._ticking = True
            self.io.call(self._tick)

    def _tick(self) -> None:
        busy = self.lookout.patrol() or bool(self._dirty)
        self.flush_dirty()
        for _ in range(len(self._unacknowledged)):
            peer = self._unacknowledged.popleft()
            if peer.swamped and peer.state is UP:
                self._unacknowledged.append(peer)
                busy = True
                continue
            peer.heard = False
            if peer.state is UP:
                with peer.lock:
                    due = peer.session.acknowledge()
                if due:
                    busy = True
                    self.write(peer)
        self._idle_ticks = 0 if busy else self._idle_ticks + 1
        if self._idle_ticks <= TICKS_IDLE and not self.closed:
            self.io.loop.call_later(TICK_S, self._tick)
            return
        self._ticking = False
        self._idle_ticks = 0
        # Another thread makes work and then asks whether this ticks; here it is the other way round, so one of the
        # two always sees the other.
        if (self.lookout.turn is NOBODY or self._dirty or self._unacknowledged) and not self.closed:
            self.keep_ticking()

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
        self._flush(peer)
        if fresh:
            for callback in self.callbacks.up:
                callback(peer)
        with self.lookout.lock:
            if link.closed:
                return
            link.watch(self.lookout, lambda: self._readable(peer, link))
            self._readable(peer, link)  # TLS may have deciphered what followed the greeting

    def _take_place(self, hello: Hello, peer: Peer, link: Link, reached_at: Location | None) -> None:
        """Enter `peer` as the process that says `hello`."""
        announced = [Location(addr, hello.port) for addr in (hello.addr, *hello.addrs)]
        proven_at = reached_at or next((at for at in announced if at.addr == link.peer_addr), None)
        if reached_at is not None or peer.state is CONNECTING:
            # What comes from an address that is not its own comes from behind NAT, or through a tunnel.
            peer.dialable = proven_at is not None
            peer.proven_at = proven_at
            peer.addresses = tuple(dict.fromkeys(announced if proven_at is None else (proven_at, *announced)))
        elif proven_at is not None and proven_at not in peer.addresses:  # it has moved, and comes from its new address
            peer.proven_at, peer.addresses = proven_at, tuple(announced)
        peer.name, peer.roles = hello.name, hello.roles
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
        broken = False
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
        except (OSError, ProtocolError) as error:
            lost = in_words(error)
            broken = isinstance(error, ProtocolError)
            if broken:
                self.refusals.accepted(link.peer_text, error)
        if events:
            self._deliver(peer, events)
        if session.owes_ack and not peer.heard:
            peer.heard = True
            self._unacknowledged.append(peer)
            self.keep_ticking()
        if broken:  # what it says next time would be no better
            self._stop_reading(peer)
            self._in_io(self.end, peer, f"it sent what no parkcos sends: {lost}")
            return
        if lost is not None:
            self._stop_reading(peer)
            self._in_io(self._lost, peer, link, lost)
            return
        if peer.waiters and not peer.behind:
            self._release(peer, True)
        if session.wants_write and not link.blocked:
            self.write(peer)
        self._progressed()

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
                    self.refusals.accepted(str(peer), ProtocolError(f"a message of no known kind: {error}"))
                    self._stop_reading(peer)
                    self._in_io(self.end, peer, "it sent a message of no known kind")
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
            why = "a large payload without a message"
            self.refusals.accepted(str(peer), ProtocolError(why))
            self._stop_reading(peer)
            self._in_io(self.end, peer, f"it sent what no parkcos sends: {why}")

    def _hand_out(self, peer: Peer, messages: list[wire.Message]) -> None:
        if not messages:
            return
        try:
            self.callbacks.messages(peer, messages, peer.bigs)
        except ProtocolError as error:
            self.refusals.accepted(str(peer), error)
            self._stop_reading(peer)
            self._in_io(self.end, peer, f"it sent what no parkcos sends: {error}")

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
        self._progressed()
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
        self._progressed()
        self._release(peer, False)
        self.book.strike(peer)
        if self.closing:
            return
        logger.log(logging.DEBUG if clean or was is CONNECTING else logging.INFO, "%r is gone: %s", peer, reason)
        if lost and not (clean or peer.dismissed or self.lingering):
            what = "a message (or batch)" if lost == 1 else f"{lost} messages (or batches)"
            logger.warning("%s to %r could not be delivered: %s", what, peer, reason)
        self.io.call(self._tell_gone, peer, reason)

    def _tell_gone(self, peer: Peer, reason: str) -> None:
        """After what came of it before has been handled, which may have been passed on to the I/O thread too."""
        for callback in self.callbacks.gone:
            callback(peer, reason)
