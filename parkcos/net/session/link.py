"""One TCP connection, with TLS unless the cluster has no secret: connect or accept, shake hands, read, write.

The socket is read by the thread that keeps the lookout (lookout.py).  It is written by whichever thread has
something to say (both under the owner's lock): a message that a task sends while the line is free goes out without
waking another thread, which on an idle machine costs more than all the rest.  What does not fit is finished by the
I/O thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parkcos.errors import PeerError
from parkcos.net.forked import own
from parkcos.net.location import Location
from parkcos.net.session.session import Buffer
from parkcos.net.trust.standing import Standing, read_standing
from parkcos.net.trust.tls import CLOSED, Context

if TYPE_CHECKING:
    from parkcos.net.session.lookout import Lookout

LEFT = "it closed the connection during the greeting"

_JOIN_BYTES = 16 * 1024
_SEVERAL_BYTES = 512
"""A TLS record, which is what one read gives, of so many bytes holds several messages: who sends so much has sent more
by then, perhaps, and whoever reads it all at once answers it all at once."""
_TCP_INFO = struct.Struct("2xB5xI12xI")
"""The part of Linux's tcp_info that matters: retransmissions in vain, their time-out (microseconds), unacknowledged
segments."""
STALLED_RETRANSMITS = 2
STALLED_RTO_US = 2_000_000
"""A time-out that long, on a path in use, is what a cut has left: for so long nothing more is sent after it healed."""
_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def is_stalled(info: bytes) -> bool:
    """Whether a connection gets nothing to the other host, by what its kernel says of it (tcp_info).

    After a cut the first acknowledgement takes the count of retransmissions back, but not their time-out: what is still
    unacknowledged waits for that, perhaps as long as the cut was, while the other direction flows.
    """
    retransmits, rto_us, unacked = _TCP_INFO.unpack_from(info)
    return bool(retransmits >= STALLED_RETRANSMITS or (unacked and rto_us >= STALLED_RTO_US))


class Link:
    """A connected, non-blocking socket after its handshake.

    Args:
        loop: of the I/O thread.
        sock: a non-blocking `socket.socket`, or an `ssl.SSLSocket` whose handshake is done.
        dialed: whether this side connected (the other accepted).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, dialed: bool, peer_text: str) -> None:
        self.loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.dialed = dialed
        self.peer_text = peer_text
        self.closed = False
        self.opened_at = loop.time()
        self._tls = isinstance(sock, ssl.SSLSocket)
        self.circle = ""
        """The name of the keys with which the handshake was made; "": the own cluster's.  See guests.py."""
        self.standing: Standing | None = None
        """What the certificate at the other end says of its holder, if it says that."""
        if isinstance(sock, ssl.SSLSocket):
            self.standing = read_standing(sock.getpeercert())
            if isinstance(sock.context, Context):
                self.circle = sock.context.circle
        self._lookout: Lookout | None = None
        self._pending: deque[memoryview] = deque()
        self._writer_armed = False

    @property
    def own_addr(self) -> str:
        """This side's address."""
        return str(self.sock.getsockname()[0])

    @property
    def peer_addr(self) -> str:
        """The address at the other end, as this machine sees it: behind NAT not that side's own."""
        return self.peer_text.rpartition(":")[0].strip("[]")

    def stalled(self) -> bool | None:
        """Whether what is sent does not get to the other host; None where the system does not tell.

        It tells a path that is cut from a process that is busy, whose kernel goes on to acknowledge.
        """
        if not hasattr(socket, "TCP_INFO"):
            return None
        try:
            return is_stalled(self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
        except (OSError, struct.error):
            return None

    # -- reading: under the owner's lock

    def watch(self, lookout: Lookout, on_readable: Callable[[], None]) -> None:
        """I/O thread: let `lookout` call `on_readable` whenever there is something to read."""
        self._lookout = lookout
        lookout.add(self.fd, on_readable)

    def unwatch(self) -> None:
        """No more of that."""
        if self._lookout is not None:
            self._lookout.remove(self.fd)
            self._lookout = None

    def read_into(self, buffer: memoryview) -> int | None:
        """Read once.  Returns the count, 0 at the end of the stream, None if there is nothing now."""
        try:
            return self.sock.recv_into(buffer)
        except _WOULD_BLOCK:
            return None

    def emptied(self, n: int, space: int) -> bool:
        """Whether a read of `n` bytes into `space` has left nothing, probably: to ask the socket would only raise."""
        return n < (_SEVERAL_BYTES if self._tls else space)

    @property
    def has_more(self) -> bool:
        """TLS has deciphered more than was read: the selector would not say so."""
        return self._tls and bool(self.sock.pending())  # type: ignore[attr-defined]

    # -- writing: under the owner's lock

    @property
    def blocked(self) -> bool:
        """The socket took less than it was given."""
        return bool(self._pending)

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Write `buffers` as far as the socket takes them and keep the rest.  Raises: OSError."""
        pending = self._pending
        small: list[Buffer] = []
        size = 0
        for buffer in buffers:
            n = len(buffer)
            if size + n > _JOIN_BYTES and small:
                pending.append(memoryview(b"".join(small)))
                small, size = [], 0
            if n > _JOIN_BYTES:
                pending.append(memoryview(buffer))
            else:
                small.append(buffer)
                size += n
        if small:
            pending.append(memoryview(b"".join(small) if len(small) > 1 else small[0]))
        self.flush()

    def flush(self) -> None:
        """Write what is kept.  Raises: OSError."""
        pending = self._pending
        send = self.sock.send
        try:
            while pending:
                view = pending[0]
                n = send(view)
                if n == len(view):
                    pending.popleft()
                else:
                    pending[0] = view[n:]
        except _WOULD_BLOCK:
            pass

    def arm_writer(self, on_writable: Callable[[], None]) -> None:
        """I/O thread: call `on_writable` when the socket takes more."""
        if not self._writer_armed and not self.closed:
            self._writer_armed = True
            self.loop.add_writer(self.fd, on_writable)

    def disarm_writer(self) -> None:
        if self._writer_armed:
            self._writer_armed = False
            self.loop.remove_writer(self.fd)

    def close(self) -> None:
        """I/O thread: close the socket at once; what is kept is dropped."""
        if self.closed:
            return
        self.closed = True
        self.unwatch()
        self.disarm_writer()
        self._pending.clear()
        with contextlib.suppress(OSError, ValueError):
            # What TLS has not read yet would make the kernel send a reset that can overtake our last words.
            self.sock.shutdown(socket.SHUT_WR)
        self.sock.close()

    async def read_exactly(self, n: int) -> bytes:
        """Read `n` bytes (before `watch`).  Raises: OSError, also if the stream ends first."""
        data = bytearray(n)
        view = memoryview(data)
        while view:
            got = self.read_into(view)
            if got is None:
                await _wait_for(self.loop, self.fd, read=True)
            elif got == 0:
                raise ConnectionAbortedError(LEFT)
            else:
                view = view[got:]
        return bytes(data)


class _TlsSocket(ssl.SSLSocket):
    """Asked for its other side as it is made; ssl would leave it open if that is gone by then."""

    def getpeername(self) -> Any:
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, CLOSED) from error


async def connect(addr: str, port: int, context: ssl.SSLContext | None, source: str | None, asks_for: str = "") -> Link:
    """Dial a process.

    Args:
        context: for TLS; None for a cluster without a secret.
        asks_for: the name that the handshake asks for, if any.
        source: own address to dial from, or None for the system's choice.
    Raises: OSError, ssl.SSLError.
    """
    loop = asyncio.get_running_loop()
    sock = own(socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_STREAM))
    try:
        sock.setblocking(False)
        if source:
            sock.bind((source, 0))
        await _connected(loop, sock, addr, port)
        return await _secured(loop, sock, context, dialed=True, peer_text=str(Location(addr, port)), asks_for=asks_for)
    except BaseException:
        sock.close()
        raise


async def _connected(loop: asyncio.AbstractEventLoop, sock: socket.socket, addr: str, port: int) -> None:
    """As `loop.sock_connect`, which in uvloop asks a thread for the address, though it is one already."""
    try:
        sock.connect((addr, port))
    except BlockingIOError:
        await _wait_for(loop, sock.fileno(), read=False)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error)) from None


async def accepted(sock: socket.socket, context: ssl.SSLContext | None, peer_text: str) -> Link:
    """Shake hands on a connection that was just accepted.  Raises: OSError, ssl.SSLError."""
    loop = asyncio.get_running_loop()
    try:
        sock.setblocking(False)
        return await _secured(loop, own(sock), context, dialed=False, peer_text=peer_text)
    except BaseException:
        sock.close()
        raise


async def _secured(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    context: ssl.SSLContext | None,
    *,
    dialed: bool,
    peer_text: str,
    asks_for: str = "",
) -> Link:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return Link(loop, sock, dialed, peer_text)
    context.sslsocket_class = _TlsSocket
    tls = own(
        context.wrap_socket(
            sock, server_side=not dialed, do_handshake_on_connect=False, server_hostname=asks_for or None
        )
    )
    try:
        while True:
            try:
                tls.do_handshake()
                return Link(loop, tls, dialed, peer_text)
            except ssl.SSLWantReadError:
                await _wait_for(loop, tls.fileno(), read=True)
            except ssl.SSLWantWriteError:
                await _wait_for(loop, tls.fileno(), read=False)
    except BaseException:
        tls.close()
        raise


async def _wait_for(loop: asyncio.AbstractEventLoop, fd: int, *, read: bool) -> None:
    if fd < 0:
        raise PeerError("the connection is closed")
    ready = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if read else (loop.add_writer, loop.remove_writer)
    add(fd, _settle, ready)
    try:
        await ready
    finally:
        remove(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
