"""The hub: who is connected to this process.  Listens, dials, redials, notices who is gone, hands out what comes in.

What comes in is read by the thread that keeps the lookout (lookout.py): the kernel thread while it is idle, else the
I/O thread.  `_readable` and what it calls may run in either, one at a time; `flush_dirty`, `peer_at`, `when_caught_up`
and `Peer.post` in any; everything else runs in the I/O thread, where `_in_io` takes it.  What the messages mean is not
known here: they go to `callbacks.messages` as they came, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from parkcos.errors import ConfigError, PeerError, ProtocolError
from parkcos.net import link as links
from parkcos.net import session as sessions
from parkcos.net import wire
from parkcos.net.frames import BYE, DATA, HEADER, HELLO, HELLO_BYTES_MAX, PART
from parkcos.net.iothread import IOThread
from parkcos.net.link import Link
from parkcos.net.location import Location
from parkcos.net.lookout import NOBODY, Lookout
from parkcos.net.peer import CONNECTING, DOWN, GONE, UP, Peer
from parkcos.net.session import Hello, Session
from parkcos.net.tls import TlsIdentity, explain_tls_error

logger = logging.getLogger("parkcos")

GREETING_TIMEOUT_S = 10.0
GREETINGS_MAX = 256
"""More half-open connections than this at once are refused, oldest first, so that strangers cannot use up sockets."""
TICK_S = 0.005
TICKS_IDLE = 10
REDIAL_DELAYS_S = (0.0, 0.1, 0.2, 0.4, 0.8)
DIAL_TIMEOUT_S = 5.0
READS_MAX = 32
"""After so many reads from one connection in a row the others have their turn."""
ACCEPTOR_WAITS_S = 0.2
"""When a connection breaks, the side that had accepted it gives the other so much time to dial first."""
REFUSED_MAX = 2
"""A port that refuses so often in a row has no process behind it any more."""


@dataclass
class Callbacks:
    """Where the hub tells what happened.

    messages: called in the thread that read them, for one peer after the other.
    up, gone: called in the I/O thread.
    """

    messages: Callable[[Peer, list[wire.Message], list[bytearray]], None]
    up: list[Callable[[Peer], None]] = field(default_factory=list)
    gone: list[Callable[[Peer, str], None]] = field(default_factory=list)


class Hub:
    """All sessions of one process.

    Args:
        io: the I/O thread.
        own: this process's greeting; its port is filled in by `listen`.
        identity: for TLS, or None for a cluster without a secret.
        pulse_s: a sign of life goes out after so many seconds of silence; after five of them a peer is gone.
    """

    def __init__(
        self, io: IOThread, own: Hello, identity: TlsIdentity | None, callbacks: Callbacks, pulse_s: float = 5.0
    ) -> None:
        self.io = io
        self.own = own
        self.identity = identity
        self.callbacks = callbacks
        self.pulse_s = pulse_s
        self.by_location: dict[Location, Peer] = {}
        self.by_incarnation: dict[int, Peer] = {}
        self.closing = False
        self.rejected = 0
        self._listeners: list[socket.socket] = []
        self._greetings: dict[asyncio.Task[None], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions_made = 0
        self._dirty: deque[Peer] = deque()
        self._ticking = False
        self._idle_ticks = 0
        self._unacknowledged: deque[Peer] = deque()
        """Who has sent something since the last tick."""
        self.lookout = Lookout(io, self.keep_ticking)
        self._pulse_handle: asyncio.TimerHandle | None = None
        self._warned: set[tuple[str, str]] = set()

    # -- starting and stopping

    def listen(self, addrs: Sequence[str], ports: Sequence[int]) -> int:
        """Bind the first free of `ports` (0: any) on all of `addrs`.  Returns the port.

        Raises: ConfigError naming the ports that are taken.
        """
        for port in ports:
            bound: list[socket.socket] = []
            try:
                for addr in addrs:
                    sock = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_STREAM)
                    bound.append(sock)
                    sock.setblocking(False)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((addr, port))
                    sock.listen(512)
                    port = sock.getsockname()[1]
            except OSError as error:
                for sock in bound:
                    sock.close()
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue
                raise ConfigError(f"cannot listen at {addrs[0]} port {port}: {error.strerror}") from None
            self._listeners = bound
            self.own = msgspec.structs.replace(self.own, port=port)
            return port
        shown = ", ".join(map(str, ports[:5]))
        raise ConfigError(
            f"TCP port {shown} of {addrs[0]} is taken by another process (or not allowed): "
            "end that process, or give another port (--tcp_ports, tcp_port=)"
        )

    def start(self) -> None:
        """I/O thread: begin to accept and to pulse."""
        for sock in self._listeners:
            self.io.loop.add_reader(sock.fileno(), self._accept, sock)
        self._pulse()

    async def close(self) -> None:
        """Say goodbye to everybody and close all sockets."""
        self.closing = True
        if self._pulse_handle:
            self._pulse_handle.cancel()
        for sock in self._listeners:
            self.io.loop.remove_reader(sock.fileno())
            sock.close()
        deadline = time.monotonic() + 2.0
        self._say_goodbye()
        while time.monotonic() < deadline and any(p.link and p.link.blocked for p in self.peers()):
            await asyncio.sleep(0.005)
        for task in [*self._tasks, *self._greetings]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._greetings, return_exceptions=True)
        for peer in self.peers():
            with peer.lock:
                if peer.link:
                    peer.link.close()
        self.lookout.close()

    def _say_goodbye(self) -> None:
        for peer in self.peers():
            with contextlib.suppress(OSError):
                peer.flush()
                peer.session.bye("closed")
                if peer.write() and peer.link:
                    peer.link.arm_writer(lambda p=peer: self._writable(p))  # type: ignore[misc]

    # -- who is there

    def peers(self) -> list[Peer]:
        """Everyone who is not gone, in the order in which they were met."""
        seen = {id(p): p for p in (*self.by_location.values(), *self.by_incarnation.values())}
        return [p for p in seen.values() if p.state is not GONE]

    def peer_at(self, location: Location, incarnation: int = 0) -> Peer | None:
        """The process at `location`, dialled if it is not known yet; any thread.

        Args:
            incarnation: the one that is meant, 0 for whoever is there.
        Returns: None if that incarnation is known to be gone.
        """
        peer = self.by_incarnation.get(incarnation) if incarnation else self.by_location.get(location)
        if peer is not None:
            return None if peer.state is GONE else peer
        there = self.by_location.get(location)
        if there is not None and there.state is not GONE:
            if there.incarnation not in (0, incarnation):
                return None  # another process lives there now
            # It was dialled before anybody knew who lives there; now whoever asks for this process finds it.
            there.incarnation = incarnation
            return self.by_incarnation.setdefault(incarnation, there)
        peer = self._new_peer(location, incarnation)
        self.by_location[location] = peer
        if incarnation:
            self.by_incarnation[incarnation] = peer
        self.io.call(self._redial, peer)
        return peer

    # -- writing

    def _mark_dirty(self, peer: Peer) -> None:
        self._dirty.append(peer)
        self.on_dirty()

    def on_dirty(self) -> None:
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
        try:
            if peer.flush():
                self._in_io(self._arm_writer, peer)
        except OSError as error:
            self._in_io(self._lost, peer, peer.link, f"writing failed: {error}")

    def _in_io(self, fn: Callable[..., object], *args: object) -> None:
        """Call `fn(*args)` in the I/O thread: now if this is it, else soon."""
        if self.io.in_thread():
            fn(*args)
        else:
            self.io.call(fn, *args)

    def keep_ticking(self) -> None:
        """Make the I/O thread look every few milliseconds for what a busy kernel thread leaves undone; any thread."""
        if not self._ticking:
            self._ticking = True
            self.io.call(self._tick)

    def _tick(self) -> None:
        busy = self.lookout.patrol() or bool(self._dirty)
        self.flush_dirty()
        for _ in range(len(self._unacknowledged)):
            peer = self._unacknowledged.popleft()
            peer.heard = False
            if peer.state is UP:
                with peer.lock:
                    due = peer.session.acknowledge()
                if due:
                    busy = True
                    self._write(peer)
        self._idle_ticks = 0 if busy else self._idle_ticks + 1
        if self._idle_ticks <= TICKS_IDLE and not self.closing:
            self.io.loop.call_later(TICK_S, self._tick)
            return
        self._ticking = False
        self._idle_ticks = 0
        # Another thread makes work and then asks whether this ticks; here it is the other way round, so one of the
        # two always sees the other.
        if (self.lookout.turn is NOBODY or self._dirty or self._unacknowledged) and not self.closing:
            self.keep_ticking()

    def _write(self, peer: Peer) -> None:
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

    def _pulse(self) -> None:
        now = time.monotonic()
        for peer in self.peers():
            if peer.state is not UP:
                continue
            silent_s = now - peer.session.last_heard
            if silent_s > 5 * self.pulse_s:
                self._gone(peer, f"nothing was heard of it for {silent_s:.0f} s")
                continue
            if now - peer.session.last_sent > 0.9 * self.pulse_s:
                with peer.lock:
                    peer.session.pulse()
                self._write(peer)
        self._pulse_handle = self.io.loop.call_later(self.pulse_s / 4, self._pulse)

    # -- connections

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                sock, addr = listener.accept()
            except OSError:
                return
            if len(self._greetings) >= GREETINGS_MAX:
                oldest = min(self._greetings, key=self._greetings.__getitem__)
                oldest.cancel()
                del self._greetings[oldest]
            task = self.io.loop.create_task(self._greet_accepted(sock, f"{addr[0]}:{addr[1]}"))
            self._greetings[task] = self.io.loop.time()
            task.add_done_callback(lambda t, sock=sock: self._greeted(t, sock))  # type: ignore[misc]

    def _greeted(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        self._greetings.pop(task, None)
        if task.cancelled() and sock.fileno() >= 0:  # before it began
            sock.close()

    async def _greet_accepted(self, sock: socket.socket, text: str) -> None:
        link: Link | None = None
        try:
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                link = await links.accepted(sock, self.identity.server_context() if self.identity else None, text)
                link.send([sessions.encode_hello(self.own)])
                hello = await self._read_hello(link)
                reason = sessions.refusal(self.own, hello) or self._crossed(hello) or self._given_up(hello)
                if reason:
                    link.send([sessions.encode_bye(reason)])
                    raise PeerError(reason)
                self._connected(link, hello, self._peer_of(hello))
        except (OSError, PeerError, TimeoutError, asyncio.CancelledError) as error:
            if link is not None:
                link.close()
            elif sock.fileno() >= 0:
                sock.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            self._reject(text, error)

    def _crossed(self, hello: Hello) -> str | None:
        """Both sides dial at once: the connection dialled by the higher incarnation is kept."""
        peer = self.by_incarnation.get(hello.incarnation) or self.by_location.get(Location(hello.addr, hello.port))
        if peer is None:
            return None
        link = peer.link
        if link is not None and self.io.loop.time() - link.opened_at >= DIAL_TIMEOUT_S:
            link = None  # not fresh: whatever comes now is meant
        if link is not None and not link.dialed and _is_another_session(peer, hello):
            return CROSSED  # it dials two addresses of this process at once: it will find out
        if self.own.incarnation < hello.incarnation:
            return None
        return CROSSED if peer.dialing or (link is not None and link.dialed and not hello.to_session) else None

    def _given_up(self, hello: Hello) -> str | None:
        """It goes on with a session that this side has given up: what was in it has been reported as lost."""
        peer = self.by_incarnation.get(hello.incarnation)
        if hello.to_session and (peer is None or peer.state is GONE or peer.session.id != hello.to_session):
            return GIVEN_UP
        return None

    def _peer_of(self, hello: Hello) -> Peer:
        """Who dialled in: somebody known, or somebody new."""
        peer = self.by_incarnation.get(hello.incarnation)
        if peer is not None and _is_another_session(peer, hello):
            self._gone(peer, "it gave up the connection to this process")
        if peer is None or peer.state is GONE:
            peer = self.by_location.get(Location(hello.addr, hello.port))
            if peer is None or peer.incarnation not in (0, hello.incarnation):
                peer = self._new_peer(Location(hello.addr, hello.port), hello.incarnation)
        return peer

    def _new_peer(self, location: Location, incarnation: int) -> Peer:
        self._sessions_made += 1
        return Peer(location, incarnation, Session(self.own, self._sessions_made), self._mark_dirty)

    def _reject(self, text: str, error: BaseException) -> None:
        """One line for a connection that came to nothing, with the peer and the reason; once per host and reason."""
        self.rejected += 1
        reason = _in_words(error)
        if CROSSED in reason:
            return
        key = (text.rsplit(":", 1)[0], reason)
        if key not in self._warned and len(self._warned) < 1000:
            self._warned.add(key)
            logger.warning("refused a connection from %s: %s", text, reason)

    def _not_accepted(self, peer: Peer, reason: str) -> None:
        """One line for a process that was dialled and with which this one cannot talk; once for each and reason."""
        key = (str(peer.location), reason)
        if key not in self._warned and len(self._warned) < 1000 and reason != GIVEN_UP:
            self._warned.add(key)
            peer.reported = True
            logger.warning("no connection to %r: %s", peer, reason)

    async def _read_hello(self, link: Link) -> Hello:
        length, kind, _ = HEADER.unpack(await link.read_exactly(HEADER.size))
        if length > HELLO_BYTES_MAX:
            raise ProtocolError("it did not say who it is: what came is no greeting of parkcos")
        body = await link.read_exactly(length)
        if kind == BYE:
            raise PeerError(body.decode(errors="replace"))
        if kind != HELLO:
            raise ProtocolError("it did not say who it is: what came is no greeting of parkcos")
        return sessions.decode_hello(body)

    def _redial(self, peer: Peer, wait_s: float = 0.0) -> None:
        if peer.dialing or peer.state is GONE or self.closing:
            return
        peer.dialing = True
        task = self.io.loop.create_task(self._dial(peer, wait_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, peer: Peer, wait_s: float) -> None:
        refused = 0
        reason = "cannot be reached"
        attempt = 0
        await asyncio.sleep(wait_s)
        try:
            while peer.link is None and peer.state is not GONE:
                delay = REDIAL_DELAYS_S[min(attempt, len(REDIAL_DELAYS_S) - 1)]
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))
                attempt += 1
                try:
                    async with asyncio.timeout(DIAL_TIMEOUT_S):
                        await self._dial_once(peer)  # connected, merged, or crossed; or lost again at once
                except (OSError, PeerError, TimeoutError) as error:
                    peer.reason = reason = _in_words(error)
                    refused = refused + 1 if isinstance(error, ConnectionRefusedError) else 0
                    if _is_final(error) and CROSSED not in reason:
                        self._not_accepted(peer, reason)
                        self._gone(peer, reason)
                if refused >= REFUSED_MAX:
                    self._gone(peer, f"no process listens at {peer.location} (connection refused)")
                elif time.monotonic() - peer.down_since > 5 * self.pulse_s:
                    self._gone(peer, reason)
        finally:
            peer.dialing = False

    async def _dial_once(self, peer: Peer) -> bool:
        context = self.identity.client_context() if self.identity else None
        source = self.own.addr if self.own.addr.startswith("127.") and peer.location.addr.startswith("127.") else None
        link = await links.connect(peer.location.addr, peer.location.port, context, source)
        try:
            hello = await self._read_hello(link)
            reason = sessions.refusal(self.own, hello)
            if hello.incarnation == self.own.incarnation:
                reason = "this is the own process"
            if reason:
                with contextlib.suppress(OSError):
                    link.send([sessions.encode_hello(self.own)])  # so that it knows why, too
                raise PeerError(reason)
            if peer.incarnation not in (0, hello.incarnation):
                self._gone(peer, f"it was restarted: another process is at {peer.location} now")
                link.close()
                return True
            if peer.link is not None or peer.state is GONE:  # it has dialled in meanwhile
                with contextlib.suppress(OSError):
                    link.send([sessions.encode_bye(CROSSED)])
                link.close()
                return True
            known = self.by_incarnation.get(hello.incarnation)
            if known is not None and known is not peer and known.state is not GONE:
                self._merge(peer, known)  # reached by another of its addresses
                link.close()
                return True
            link.send([peer.session.greeting()])
            hello = await self._read_hello(link)
        except BaseException:
            link.close()
            raise
        if peer.state is GONE or peer.link is not None:
            link.close()
        else:
            self._connected(link, hello, peer)
        return True

    def _connected(self, link: Link, hello: Hello, peer: Peer) -> None:
        """Greetings were exchanged (if this side accepted, its answer is the first thing that goes out)."""
        location = Location(hello.addr, hello.port)
        there = self.by_location.get(location)
        if there is not None and there is not peer:
            if there.incarnation in (0, hello.incarnation):
                self._merge(there, peer)
            else:
                self._gone(there, f"it was restarted: another process is at {location} now")
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
            self._gone(peer, str(error))
            raise
        fresh = peer.state is CONNECTING
        peer.incarnation, peer.name, peer.roles = hello.incarnation, hello.name, hello.roles
        peer.location = location
        self.by_location[location] = self.by_incarnation[hello.incarnation] = peer
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

    def _merge(self, other: Peer, into: Peer) -> None:
        """What waited for a location turns out to be for a process that is known already."""
        other.state, other.reason, other.merged = GONE, "merged", into
        self.by_location[other.location] = into
        if other.queue:
            into.queue += other.queue
            self._mark_dirty(into)
        into.waiters += other.waiters
        other.waiters = []

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
                    events += session.received(n, time.monotonic())
                    if link.emptied(n, len(space)):
                        break
                while link.has_more:  # the rest of one TLS record, which no selector knows of
                    if n := link.read_into(session.get_buffer()):
                        events += session.received(n, time.monotonic())
        except (OSError, ProtocolError) as error:
            lost = _in_words(error)
            broken = isinstance(error, ProtocolError)
            if broken:
                self._reject(link.peer_text, error)
        if events:
            self._deliver(peer, events)
        if session.owes_ack and not peer.heard:
            peer.heard = True
            self._unacknowledged.append(peer)
            self.keep_ticking()
        if broken:  # what it says next time would be no better
            self._stop_reading(peer)
            self._in_io(self._gone, peer, f"it sent what no parkcos sends: {lost}")
            return
        if lost is not None:
            self._stop_reading(peer)
            self._in_io(self._lost, peer, link, lost)
            return
        if peer.waiters and not peer.behind:
            self._release(peer, True)
        if session.wants_write and not link.blocked:
            self._write(peer)

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
                    self._reject(str(peer), ProtocolError(f"a message of no known kind: {error}"))
                    self._stop_reading(peer)
                    self._in_io(self._gone, peer, "it sent a message of no known kind")
                    return
            elif kind == PART:
                peer.bigs.append(body)  # type: ignore[arg-type]
            elif kind == BYE:
                if messages:
                    self.callbacks.messages(peer, messages, peer.bigs)
                    messages = []
                self._stop_reading(peer)
                self._in_io(self._ended, peer)
        if messages:
            self.callbacks.messages(peer, messages, peer.bigs)

    def when_caught_up(self, peer: Peer, tell: Callable[[bool], None]) -> None:
        """Call `tell(True)` when `peer` is not behind any more, `tell(False)` when it is gone.  Any thread."""
        with peer.lock:
            peer.waiters.append(tell)
        if peer.state is GONE or not peer.behind:
            self._release(peer, peer.state is not GONE)

    def _release(self, peer: Peer, ok: bool) -> None:
        with peer.lock:
            waiters, peer.waiters = peer.waiters, []
        for tell in waiters:
            tell(ok)

    def _lost(self, peer: Peer, link: Link | None, reason: str) -> None:
        """A connection broke."""
        if link is None or peer.link is not link:
            return
        with peer.lock:
            peer.link = None
            link.close()
            peer.session.detach()
        if peer.state is not UP or self.closing:
            return
        peer.state = DOWN
        peer.down_since = time.monotonic()
        logger.debug("%s: lost %r: %s", self.own.name, peer, reason)
        self._redial(peer, 0.0 if link.dialed else ACCEPTOR_WAITS_S)

    def _ended(self, peer: Peer) -> None:
        """It has said goodbye."""
        self._gone(peer, "it has ended", clean=True)

    def _gone(self, peer: Peer, reason: str, *, clean: bool = False) -> None:
        """The process has ended, restarted, or cannot be reached for too long."""
        if peer.state is GONE:
            return
        was = peer.state
        peer.state, peer.reason = GONE, reason
        with peer.lock:
            if peer.link is not None:
                peer.link.close()
                peer.link = None
            lost = sum(not _has_asker(message) for message in peer.queue) + peer.session.release()
            peer.queue.clear()
        self._release(peer, False)
        for location in [at for at, there in self.by_location.items() if there is peer]:
            del self.by_location[location]
        if self.closing:
            return
        logger.log(logging.DEBUG if clean or was is CONNECTING else logging.INFO, "%r is gone: %s", peer, reason)
        if lost and not clean and not peer.dismissed:
            logger.warning("%d messages (or batches) to %r could not be delivered: %s", lost, peer, reason)
        for callback in self.callbacks.gone:
            callback(peer, reason)


def _has_asker(item: object) -> bool:
    """Whether a queued message is a question: who asked is told that there will be no answer."""
    return hasattr(item[1] if isinstance(item, tuple) else item, "request")


def _is_another_session(peer: Peer, hello: Hello) -> bool:
    """Whether `hello` begins a session beside the one that is there.

    With the same session it only has not got this side's answer before the connection broke.
    """
    there = peer.session.peer
    return not hello.to_session and there is not None and there.session != hello.session


def _is_final(error: BaseException) -> bool:
    """Whether dialling again would end in the same way: the other side, or this one, has said no."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return isinstance(error, PeerError | ssl.SSLError)


CROSSED = "crossed"
GIVEN_UP = "this side had given the connection up, and has reported what was in it as lost"


def _in_words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return explain_tls_error(error)
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
