"""Sockets for tasks: AsyncSocket around a socket of any kind, with or without TLS.

What must not live here: the sessions between the processes of a cluster, which have sockets of their own (link.py).
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import ssl
import struct
import weakref
from collections import deque
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

from parkcos.descriptors.pipes import Written, as_bytes
from parkcos.descriptors.readiness import AGAIN, CHUNK_BYTES, READ, WRITE, Descriptor, Lookup, Steps
from parkcos.descriptors.socket_tls import client_context, server_context
from parkcos.errors import UsageError
from parkcos.kernel import Lock
from parkcos.kernel.wait import Call, seconds

__all__ = ["AsyncSocket"]

logger = logging.getLogger("parkcos")

HANDSHAKE_S = 10.0
"""A client that has connected has so long for its TLS handshake; until then nobody else is accepted."""
MESSAGE_BYTES_MAX = 256 * 1024 * 1024
"""Of a message that `recv_msg` takes, if it is not told another bound: what comes in is kept in memory."""
_LENGTH = struct.Struct(">I")
_DATAGRAM_BYTES_MAX = 65536


class AsyncSocket:
    """A socket that tasks use without blocking.

    Args:
        sock: a ``socket.socket``, which from now on is this object's.
        blocking: for plain threads: the calls wait themselves and are not yielded; in a task they raise WouldHang.
        keyfile, certfile: own key and certificate, PEM; with `certfile` connections are TLS.
        cafile: certificates, PEM, by which the other side's is verified: at a client, with its host's name or
            address; at a server, which then asks its clients for one.  A client without `cafile` trusts `certfile`
            itself, which may be the server's self-signed certificate (its key is not needed), and asks for no name.

    Raises: UsageError if `sock` is no socket; ConfigError, when TLS begins, if a file cannot be used.

    One task at a time may receive, and one send.  Other attributes (``bind``, ``listen``, ``getsockname``,
    ``setsockopt``, ``fileno``, ``shutdown``) are the socket's.  ``with`` closes it.  Source: the AsyncSocket of pycos.
    """

    def __init__(
        self,
        sock: socket.socket,
        blocking: bool = False,
        keyfile: str | os.PathLike[str] | None = None,
        certfile: str | os.PathLike[str] | None = None,
        cafile: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(sock, socket.socket):
            raise UsageError(f"AsyncSocket wants a socket, not {sock!r}\n  write: AsyncSocket(socket.socket())")
        if keyfile is not None and certfile is None:
            raise UsageError("keyfile needs a certfile: the certificate that belongs to the key")
        timeout = sock.gettimeout()
        sock.setblocking(False)
        self._sock = sock
        self._blocking = blocking
        self._files = (keyfile, certfile, cafile)
        self._timeout_s: float | None = timeout or None
        self._context: ssl.SSLContext | None = None
        self._buffer = bytearray()
        self._accepted: deque[tuple[socket.socket, Any]] = deque()
        self._accept_turn = Lock()
        self._datagrams: deque[tuple[bytes, Any]] = deque()
        self._unwrapped = False
        self._broken = ""
        closing = weakref.WeakMethod(self._close_socket)
        self._descriptor = Descriptor(sock.fileno(), lambda: (close := closing()) and close(), repr(self))

    def __repr__(self) -> str:
        return f"<AsyncSocket {self._sock.fileno()}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"an AsyncSocket has no attribute {name!r}")
        return getattr(self._sock, name)

    # -- how long, and whether a task or a thread waits

    def settimeout(self, timeout: float | None) -> None:
        """From now on each call that waits for longer than `timeout` seconds raises TimeoutError; None: no limit.

        Raises: UsageError if it is not a number.  Do not yield it.
        """
        self._timeout_s = seconds(timeout)

    def gettimeout(self) -> float | None:
        """The limit in seconds, None without one.  Do not yield it."""
        return self._timeout_s

    def setblocking(self, flag: bool) -> None:
        """True: for plain threads; False: for tasks, which yield the calls.  Do not yield it."""
        self._blocking = bool(flag)

    def _do(
        self,
        name: str,
        directions: tuple[str, ...],
        steps: Callable[[], Steps],
        finish: Callable[[], Any] = lambda: None,
        timeout_s: float | None = None,
    ) -> Any:
        """The operation: its result in a plain thread, else what is to be yielded."""
        limit = self._timeout_s if timeout_s is None else timeout_s
        run = self._descriptor.run_here if self._blocking else self._descriptor.operation
        return run(name, directions, steps, limit, finish)

    def _compose(self, name: str, gen: Generator[Any, Any, Any]) -> Any:
        """An operation made of several, written as a generator."""
        if not self._blocking:
            gen.__name__ = name  # type: ignore[attr-defined]
            return Call(gen)
        result: Any = None
        try:
            while True:  # what it yields are results already
                result = gen.send(result)
        except StopIteration as stop:
            return stop.value

    # -- the end

    def close(self) -> None:
        """Close it; a task that waits for it gets OSError.  Do not yield it."""
        self._descriptor.close()

    def _close_socket(self) -> None:
        for sock, _ in self._accepted:
            sock.close()
        if self._unwrapped:
            return
        if isinstance(self._sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # says goodbye if that is possible at once
                self._sock.unwrap()
        self._sock.close()

    def unwrap(self) -> socket.socket:
        """The plain (or TLS) socket again, blocking and with the time limit; this object is of no use any more.

        Raises: UsageError if bytes have been read that nobody has received.  Do not yield it.
        """
        if self._buffer or self._datagrams or self._accepted:
            raise UsageError(f"{self!r} holds what has come and nobody has received: receive it first")
        self._unwrapped = True
        self._descriptor.close()
        self._sock.settimeout(self._timeout_s)
        return self._sock

    def __enter__(self) -> AsyncSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    # -- connecting

    def connect(self, addr: Any) -> Any:
        """Yield it.  Connect, and make the TLS handshake if this socket has a certfile or a cafile.

        Returns: 0.  Raises: OSError (ConnectionRefusedError, TimeoutError, ssl.SSLError and so on).
        """
        return self._do("connect", (READ, WRITE), lambda: self._connect(addr), lambda: 0)

    def create_connection(
        self, address: tuple[str, int], timeout: float | None = None, source_address: Any = None
    ) -> Any:
        """Yield it.  As `connect`, with a time limit of its own, from `source_address` (an address to bind to).

        Returns: 0.  Raises: as `connect`.
        """
        if source_address is not None:
            self._sock.bind(source_address)
        limit = seconds(timeout)
        return self._do("create_connection", (READ, WRITE), lambda: self._connect(address), lambda: 0, limit)

    def _connect(self, addr: Any) -> Steps:
        resolved = yield from self._resolved(addr)
        try:
            self._sock.connect(resolved)
        except BlockingIOError:
            yield WRITE
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, f"{os.strerror(code)}: {addr}") from None
        keyfile, certfile, cafile = self._files
        if self._sock.type == socket.SOCK_STREAM and (certfile is not None or cafile is not None):
            context = self._context = self._context or client_context(keyfile, certfile, cafile)
            name = addr[0] if isinstance(addr, tuple) else None
            self._sock = context.wrap_socket(self._sock, server_hostname=name, do_handshake_on_connect=False)
            yield from self._shake_hands()

    def _shake_hands(self) -> Steps:
        assert isinstance(self._sock, ssl.SSLSocket)
        while True:
            try:
                return self._sock.do_handshake()
            except ssl.SSLWantReadError:
                yield READ
            except ssl.SSLWantWriteError:
                yield WRITE

    def _resolved(self, addr: Any) -> Steps:
        """The address with a numeric host: the system's own lookup would block."""
        if self._sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(addr, tuple):
            return addr
        host = addr[0]
        if not isinstance(host, str) or host in ("", "<broadcast>"):
            return addr
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return addr
        found = yield Lookup(host, addr[1], self._sock.family, self._sock.type)
        return found[0][4]

    def accept(self) -> Any:
        """Yield it.  The next connection; its TLS handshake is done if this socket has a certfile.  Several tasks may
        be in it: each gets a connection, in turn.

        A client whose handshake fails, or takes longer than 10 s, is logged and dropped.

        Returns: (AsyncSocket, address).  Raises: OSError.
        """
        return self._compose("accept", self._accept())

    def _accept(self) -> Generator[Any, Any, tuple[AsyncSocket, Any]]:
        keyfile, certfile, cafile = self._files
        if certfile is not None and self._context is None:
            self._context = server_context(keyfile, certfile, cafile)
        while True:
            sock, addr = yield from self._next_accepted()
            made = type(self)(sock, self._blocking)
            made._timeout_s = self._timeout_s
            if self._context is None:
                return made, addr
            made._files = self._files
            try:
                made._sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                yield made._do("accept", (READ, WRITE), made._shake_hands, timeout_s=HANDSHAKE_S)
                return made, addr
            except OSError as error:
                logger.warning("%r: no TLS with %s: %s", self, addr, error)
                made.close()
            except BaseException:
                made.close()
                raise

    def _next_accepted(self) -> Generator[Any, Any, tuple[socket.socket, Any]]:
        if self._blocking:
            accepted: tuple[socket.socket, Any] = yield self._accept_next()
            return accepted
        if not (yield self._accept_turn.acquire(timeout=-1 if self._timeout_s is None else self._timeout_s)):
            raise TimeoutError(f"accept() of {self!r} took longer than {self._timeout_s:g} s")
        try:
            accepted = yield self._accept_next()
            return accepted
        finally:
            self._accept_turn.release()

    def _accept_next(self) -> Any:
        return self._do("accept", (READ,), self._accept_once, self._accepted.popleft)

    def _accept_once(self) -> Steps:
        while not self._accepted:
            try:
                self._accepted.append(self._sock.accept())
            except BlockingIOError:
                yield READ
            except ConnectionAbortedError:
                yield AGAIN

    # -- receiving

    def recv(self, bufsize: int) -> Any:
        """Yield it.  Receive at most `bufsize` bytes.

        Returns: bytes; b"" when the other side has ended.  Raises: OSError, TimeoutError, UsageError.
        """
        return self._do("recv", (READ,), lambda: self._fill(1, bufsize), lambda: self._take(bufsize))

    def recvall(self, bufsize: int) -> Any:
        """Yield it.  Receive exactly `bufsize` bytes.

        Returns: bytes; b"" when the other side has ended before the first.
        Raises: ConnectionError if it ends later; TimeoutError, and then nothing is lost, but received next;
        OSError, UsageError.
        """
        return self._do("recvall", (READ,), lambda: self._fill(bufsize, bufsize), lambda: self._take_all(bufsize))

    def recv_msg(self, bytes_max: int = MESSAGE_BYTES_MAX) -> Any:
        """Yield it.  Receive a message that was sent by `send_msg`.

        Returns: bytes; b"" when the other side has ended, also for an empty message.
        Raises: OSError (EMSGSIZE) if it is longer than `bytes_max`; as `recvall`.
        """
        return self._do("recv_msg", (READ,), lambda: self._fill_message(bytes_max), self._take_message)

    def recvfrom(self, bufsize: int) -> Any:
        """Yield it.  Receive one datagram, cut to `bufsize` bytes.

        Returns: (bytes, address).  Raises: OSError, TimeoutError, UsageError.
        """

        def finish() -> tuple[bytes, Any]:
            data, addr = self._datagrams.popleft()
            return data[:bufsize], addr

        return self._do("recvfrom", (READ,), self._receive_datagram, finish)

    def _receive_datagram(self) -> Steps:
        while not self._datagrams:
            try:
                self._datagrams.append(self._sock.recvfrom(_DATAGRAM_BYTES_MAX))
            except BlockingIOError:
                yield READ

    def _fill(self, wanted: int, most: int) -> Steps:
        """Steps: until `wanted` bytes are there, or the end; reads no more than `most`."""
        while len(self._buffer) < wanted:
            try:
                data = self._sock.recv(min(most - len(self._buffer), CHUNK_BYTES))
            except (BlockingIOError, ssl.SSLWantReadError):
                yield READ
                continue
            except ssl.SSLWantWriteError:
                yield WRITE
                continue
            if not data:
                return
            self._buffer += data
            if len(self._buffer) < wanted:
                yield AGAIN

    def _fill_message(self, bytes_max: int) -> Steps:
        yield from self._fill(_LENGTH.size, _LENGTH.size)
        if len(self._buffer) < _LENGTH.size:
            return
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > bytes_max:
            raise OSError(
                errno.EMSGSIZE,
                f"recv_msg() of {self!r}: a message of {length} bytes, at most {bytes_max} are taken: "
                f"it is none, or give more room\n  write: x = yield sock.recv_msg({length})",
            )
        yield from self._fill(_LENGTH.size + length, _LENGTH.size + length)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _take_all(self, size: int) -> bytes:
        if 0 < len(self._buffer) < size:
            raise self._cut(size)
        return self._take(size)

    def _take_message(self) -> bytes:
        if not self._buffer:
            return b""
        if len(self._buffer) < _LENGTH.size:
            raise self._cut(_LENGTH.size)
        (length,) = _LENGTH.unpack_from(self._buffer)
        if len(self._buffer) < _LENGTH.size + length:
            raise self._cut(_LENGTH.size + length)
        return self._take(_LENGTH.size + length)[_LENGTH.size :]

    def _cut(self, size: int) -> ConnectionError:
        return ConnectionError(f"the other side of {self!r} ended after {len(self._buffer)} of {size} bytes")

    # -- sending

    def send(self, data: Any) -> Any:
        """Yield it.  Send as many bytes as it takes at once, at least one.

        Returns: how many.  Raises: OSError, TimeoutError; UsageError if `data` is no bytes, or another task sends.
        """
        view, written = as_bytes(data, "send"), Written()
        return self._do("send", (WRITE,), lambda: self._drain([view], False, written), lambda: written.count)

    def sendall(self, data: Any) -> Any:
        """Yield it.  Send all bytes.

        Returns: None.  Raises: OSError; TimeoutError: a part of them is sent then; UsageError.
        """
        view = as_bytes(data, "sendall")
        return self._do("sendall", (WRITE,), lambda: self._drain([view], True, Written()))

    def send_msg(self, data: Any) -> Any:
        """Yield it.  Send a message: its length, 4 bytes, big-endian, and its bytes, which `recv_msg` receives whole.

        Returns: None.  Raises: as `sendall`; UsageError if it is 4 GiB or longer.
        """
        view = as_bytes(data, "send_msg")
        if len(view) >= 1 << 32:
            raise UsageError(f"send_msg() of {len(view)} bytes: a message is shorter than 4 GiB; send it in parts")
        head = _LENGTH.pack(len(view))
        parts = [memoryview(head + view)] if len(view) < CHUNK_BYTES else [memoryview(head), view]
        return self._do("send_msg", (WRITE,), lambda: self._drain(parts, True, Written()))

    def sendto(self, data: Any, *address: Any) -> Any:
        """Yield it.  ``sendto(data, address)`` or ``sendto(data, flags, address)``: send one datagram.

        Returns: how many bytes.  Raises: OSError, TimeoutError, UsageError.
        """
        view, written = as_bytes(data, "sendto"), Written()
        if not 1 <= len(address) <= 2:
            raise UsageError("sendto() wants the data and an address\n  write: yield sock.sendto(data, (host, port))")
        return self._do("sendto", (WRITE,), lambda: self._send_datagram(view, address, written), lambda: written.count)

    def _send_datagram(self, view: memoryview, address: tuple[Any, ...], written: Written) -> Steps:
        resolved = yield from self._resolved(address[-1])
        while True:
            try:
                flags = address[0] if len(address) == 2 else 0
                written.count = self._sock.sendto(view, flags, resolved)
                return
            except BlockingIOError:
                yield WRITE

    def _drain(self, parts: list[memoryview], full: bool, written: Written) -> Steps:
        """Steps: send all parts, or some bytes of the first."""
        if self._broken:
            raise OSError(errno.EPIPE, self._broken)
        for view in parts:
            written.count = 0
            while written.count < len(view):
                chunk = view[written.count : written.count + CHUNK_BYTES]
                try:
                    sent = yield from self._send_chunk(chunk)
                except BlockingIOError:
                    yield WRITE
                    continue
                written.count += sent
                if not full:
                    return
                if written.count < len(view):
                    yield AGAIN

    def _send_chunk(self, chunk: memoryview) -> Steps:
        if not isinstance(self._sock, ssl.SSLSocket):
            return self._sock.send(chunk)
        # A TLS record that is begun must be gone on with, with the same bytes.
        while True:
            try:
                sent = self._sock.send(chunk)
                self._broken = ""
                return sent
            except ssl.SSLWantWriteError:
                need = WRITE
            except ssl.SSLWantReadError:
                need = READ
            self._broken = f"an earlier send of {self!r} was given up in the middle of a TLS record: close it"
            yield need
