"""sockets.py of parkcos/descriptors, with its TLS and readiness: real sockets on loopback, on both event loops."""

from __future__ import annotations

import asyncio
import datetime
import errno
import gc
import ipaddress
import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import parkcos
from parkcos.descriptors import sockets
from parkcos.descriptors.sockets import AsyncSocket
from parkcos.errors import ConfigError, ForgottenYield, TaskTerminated, UsageError, WouldHang
from parkcos.kernel import Task
from parkcos.net import iothread
from tests.net.cluster_of_networks import WAIT_S, Log

pytestmark = pytest.mark.live

MIB = 1024 * 1024
TCP = (socket.AF_INET, socket.SOCK_STREAM)
UDP = (socket.AF_INET, socket.SOCK_DGRAM)


@pytest.fixture(params=["uvloop", "asyncio"], autouse=True)
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "asyncio":
        monkeypatch.setattr(iothread, "_new_loop", asyncio.SelectorEventLoop)
    yield
    parkcos.terminate()


ONE_LOOP = pytest.mark.parametrize("runtime", ["uvloop"], indirect=True)
"""For tests in which no loop takes part."""


def run(fn: Callable[..., Any], *args: Any) -> Any:
    """The value of a task, or what it raised."""
    return Task(fn, *args).future().result(WAIT_S)


def listener(**options: Any) -> AsyncSocket:
    sock = AsyncSocket(socket.socket(*TCP), **options)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@pytest.fixture
def pair() -> Iterator[tuple[AsyncSocket, AsyncSocket]]:
    left, right = socket.socketpair()
    with AsyncSocket(left) as one, AsyncSocket(right) as other:
        yield one, other


# certificates


class Certificate:
    """A certificate and its key, as files."""

    def __init__(self, folder: Path, name: str, *, host: str | None = None, issuer: Certificate | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        public = self.key.public_key()
        signer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        if host is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        signed = builder.sign(signer.key, hashes.SHA256())
        self.cert, self.keyfile = folder / f"{name}.pem", folder / f"{name}.key"
        self.cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        self.keyfile.write_bytes(self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def selfsigned(folder: Path) -> Certificate:
    """It names no host."""
    return Certificate(folder, "selfsigned")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Certificate:
    return Certificate(folder, "authority")


@pytest.fixture(scope="module")
def named(folder: Path, authority: Certificate) -> Certificate:
    return Certificate(folder, "named", host="127.0.0.1", issuer=authority)


# TCP


def serve_echo(server: AsyncSocket, count: int = 1) -> Any:
    """A task: sends back what comes, for so many connections."""
    for _ in range(count):
        sock, _ = yield server.accept()
        with sock:
            while data := (yield sock.recv(65536)):
                yield sock.sendall(data)


def talk(sock: AsyncSocket, addr: Any) -> Any:
    """A task: what an echo server says."""
    with sock:
        connected = yield sock.connect(addr)
        yield sock.sendall(b"hello, ")
        yield sock.sendall(b"world")
        return connected, (yield sock.recvall(12))


def test_echo() -> None:
    with listener() as server:
        serving = Task(serve_echo, server)
        result = run(talk, AsyncSocket(socket.socket(*TCP)), server.getsockname())
        serving.future().result(WAIT_S)
    assert result == (0, b"hello, world")


def test_accept_tells_the_address() -> None:
    def main() -> Any:
        with listener() as server, AsyncSocket(socket.socket(*TCP)) as client:
            yield client.connect(server.getsockname())
            sock, addr = yield server.accept()
            with sock:
                assert isinstance(sock, AsyncSocket)
                return addr == client.getsockname(), sock.getpeername() == addr

    assert run(main) == (True, True)


def test_async_def() -> None:
    async def main(server: AsyncSocket) -> Any:
        with AsyncSocket(socket.socket(*TCP)) as client:
            await client.connect(server.getsockname())
            sock, _ = await server.accept()
            with sock:
                await sock.send_msg(b"message")
                return await client.recv_msg()

    with listener() as server:
        assert run(main, server) == b"message"


def test_many_connections_at_once() -> None:
    def main() -> Any:
        with listener() as server:
            serving = Task(serve_all, server, 100)
            talks = [Task(talk, AsyncSocket(socket.socket(*TCP)), server.getsockname()) for _ in range(100)]
            results = []
            for task in talks:
                results.append((yield task.result()))
            yield serving.result()
            return set(results)

    def serve_all(server: AsyncSocket, count: int) -> Any:
        tasks = []
        for _ in range(count):
            sock, _ = yield server.accept()
            tasks.append(Task(echo, sock))
        for task in tasks:
            yield task.result()

    def echo(sock: AsyncSocket) -> Any:
        with sock:
            yield sock.sendall((yield sock.recvall(12)))

    assert run(main) == {(0, b"hello, world")}


def test_large_data_both_ways_at_once(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair
    data = random.Random(3).randbytes(8 * MIB)

    def send(sock: AsyncSocket) -> Any:
        return (yield sock.sendall(data))

    def receive(sock: AsyncSocket) -> Any:
        return (yield sock.recvall(len(data)))

    tasks = [Task(fn, sock) for fn in (send, receive) for sock in (one, other)]
    results = [task.future().result(WAIT_S) for task in tasks]
    assert results == [None, None, data, data]


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()

    def main() -> Any:
        with AsyncSocket(socket.socket(*TCP)) as sock:
            yield sock.connect(address)

    with pytest.raises(ConnectionRefusedError) as caught:
        run(main)
    assert caught.value.errno == errno.ECONNREFUSED
    assert str(address) in str(caught.value)


def test_create_connection() -> None:
    def main(server: AsyncSocket) -> Any:
        port = server.getsockname()[1]
        with AsyncSocket(socket.socket(*TCP)) as client:
            done = yield client.create_connection(("localhost", port), WAIT_S, ("127.0.0.1", 0))
            sock, _ = yield server.accept()
            with sock:
                return done, client.getpeername()[1] == port, client.gettimeout()

    with listener() as server:
        assert run(main, server) == (0, True, None)


def test_a_name_that_does_not_exist() -> None:
    def main() -> Any:
        with AsyncSocket(socket.socket(*TCP)) as sock:
            yield sock.connect(("no such host", 1))

    with pytest.raises(OSError, match=r"not known|resolution|No address|Name"):
        run(main)


def test_unix_sockets(tmp_path: Path) -> None:
    def main() -> Any:
        with AsyncSocket(socket.socket(socket.AF_UNIX)) as server, AsyncSocket(socket.socket(socket.AF_UNIX)) as client:
            server.bind(str(tmp_path / "s"))
            server.listen()
            yield client.connect(str(tmp_path / "s"))
            sock, _ = yield server.accept()
            with sock:
                yield sock.sendall(b"x")
                return (yield client.recv(10))

    assert run(main) == b"x"


# receiving and its ends


def test_the_end_of_the_other_side(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair

    def main() -> Any:
        yield one.sendall(b"abcde")
        one.close()
        first = yield other.recvall(3)
        with pytest.raises(ConnectionError, match="ended after 2 of 3 bytes"):
            yield other.recvall(3)
        rest = yield other.recv(10)
        return first, rest, (yield other.recv(10)), (yield other.recvall(3)), (yield other.recv_msg())

    assert run(main) == (b"abc", b"de", b"", b"", b"")


def test_messages(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair
    messages = [b"a", b"", b"b" * 3_000_000, bytearray(b"c"), memoryview(b"d")]

    def send() -> Any:
        for message in messages:
            assert (yield one.send_msg(message)) is None
        yield one.sendall(struct.pack(">I", 5) + b"abc")
        one.close()

    def main() -> Any:
        Task(send)
        got = []
        for _ in messages:
            got.append((yield other.recv_msg()))
        with pytest.raises(ConnectionError, match="ended after 7 of 9 bytes"):
            yield other.recv_msg()
        return got

    assert run(main) == [bytes(message) for message in messages]


def test_a_message_that_is_too_long(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair

    def main() -> Any:
        yield one.sendall(b"HTTP/1.1 400")
        with pytest.raises(
            OSError, match=r"(?s)a message of 1213486160 bytes.*write: x = yield sock\.recv_msg"
        ) as caught:
            yield other.recv_msg()
        assert caught.value.errno == errno.EMSGSIZE
        first = (yield other.recv(12)) + (yield other.recvall(8))
        yield one.send_msg(b"12345")
        with pytest.raises(OSError, match="at most 4 are taken"):
            yield other.recv_msg(4)
        return first, (yield other.recv_msg(5))

    assert run(main) == (b"HTTP/1.1 400", b"12345")


def test_time_limits_lose_nothing(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair

    def main() -> Any:
        other.settimeout(0.01)
        assert other.gettimeout() == 0.01
        yield one.sendall(b"\0\0\0\5he")
        for wait in (other.recvall(100), other.recv_msg(), other.recv_msg()):
            with pytest.raises(TimeoutError, match=r"\(\) of <AsyncSocket \d+> took longer than 0.01 s"):
                yield wait
        yield one.sendall(b"llo!")
        message = yield other.recv_msg()
        rest = yield other.recv(10)
        with pytest.raises(TimeoutError, match=r"recv\(\)"):
            yield other.recv(10)
        one.settimeout(0)
        with pytest.raises(TimeoutError, match=r"sendall\(\)"):
            yield one.sendall(b"x" * 10 * MIB)
        return message, rest

    assert run(main) == (b"hello", b"!")


def test_connect_and_accept_have_time_limits() -> None:
    def main(server: AsyncSocket) -> Any:
        server.settimeout(0.01)
        with pytest.raises(TimeoutError, match=r"accept\(\)"):
            yield server.accept()
        full: list[AsyncSocket] = []
        try:
            while True:  # until the queue of those who wait to be accepted is full
                full.append(AsyncSocket(socket.socket(*TCP)))
                yield full[-1].create_connection(server.getsockname(), 0.2)
        except TimeoutError as error:
            return str(error)
        finally:
            for sock in full:
                sock.close()

    with AsyncSocket(socket.socket(*TCP)) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        assert "create_connection() of" in run(main, server)


# who else is there


def test_one_receiver_and_one_sender_at_a_time(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair

    def receive() -> Any:
        return (yield one.recvall(3))

    def main() -> Any:
        waiting = Task(receive)
        yield
        with pytest.raises(UsageError, match=r"recv\(\) of <AsyncSocket \d+>: another task is in its recvall\(\)"):
            yield one.recv(1)
        yield one.sendall(b"x")
        yield other.sendall(b"abc")
        return (yield waiting.result())

    assert run(main) == b"abc"


def test_close_wakes_who_waits(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair

    def receive() -> Any:
        yield one.recv(1)

    def send() -> Any:
        yield one.sendall(b"x" * 10 * MIB)

    def accept(server: AsyncSocket) -> Any:
        yield server.accept()

    def main() -> Any:
        server = listener()
        waiting = [Task(receive), Task(send), Task(accept, server)]
        yield other.recv(1)
        one.close()
        server.close()
        codes = []
        for task in waiting:
            codes.append((yield task.finish()).exception.errno)
        with pytest.raises(OSError, match=r"send\(\): <AsyncSocket \d+> is closed"):
            yield one.send(b"x")
        return codes

    assert run(main) == [errno.EBADF] * 3


def test_a_task_that_is_terminated_lets_go(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair

    def receive() -> Any:
        yield one.recvall(10)

    def main() -> Any:
        waiting = Task(receive)
        yield other.sendall(b"abc")
        waiting.terminate()
        assert (yield waiting.finish()).type is TaskTerminated
        yield other.sendall(b"def")
        return (yield one.recvall(6))

    assert run(main) == b"abcdef"


def test_a_socket_that_is_dropped_is_closed_at_once() -> None:
    left, right = socket.socketpair()

    def main() -> Any:
        with AsyncSocket(right) as other:
            return (yield other.recv(1))

    gc.disable()
    try:
        owner = [AsyncSocket(left)]
        del left
        with pytest.warns(ResourceWarning, match="unclosed"):
            owner.clear()
    finally:
        gc.enable()
    assert run(main) == b""


def test_unwrap(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, other = pair

    def main() -> Any:
        yield one.sendall(b"abc")
        other.settimeout(0.01)
        with pytest.raises(TimeoutError):
            yield other.recvall(5)
        with pytest.raises(UsageError, match="nobody has received"):
            other.unwrap()
        yield other.recv(5)
        other.settimeout(WAIT_S)
        return other.unwrap()

    plain = run(main)
    with plain:
        assert type(plain) is socket.socket
        assert plain.gettimeout() == WAIT_S
        plain.sendall(b"x")
        assert run(receive_one, one) == b"x"
    with pytest.raises(OSError, match="is closed"):
        run(receive_one, other)


def receive_one(sock: AsyncSocket) -> Any:
    return (yield sock.recv(1))


def test_wrong_use(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    with pytest.raises(UsageError, match=r"write: AsyncSocket\(socket\.socket\(\)\)"):
        AsyncSocket(5)  # type: ignore[arg-type]
    left, right = socket.socketpair()
    with left, right, pytest.raises(UsageError, match="keyfile needs a certfile"):
        AsyncSocket(left, keyfile="x")
    with pytest.raises(UsageError, match="wants bytes, not str"):
        pair[0].send("text")
    with pytest.raises(UsageError, match="must be a number of seconds"):
        pair[0].settimeout("soon")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"write: yield sock\.sendto"):
        pair[0].sendto(b"x")

    def forget() -> Any:
        pair[0].send(b"x")
        yield

    with pytest.raises(ForgottenYield, match="send"):
        run(forget)
    assert not hasattr(pair[0], "nonsense")


# UDP


def test_datagrams() -> None:
    def main() -> Any:
        with AsyncSocket(socket.socket(*UDP)) as one, AsyncSocket(socket.socket(*UDP)) as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            assert (yield one.sendto(b"first", ("localhost", other.getsockname()[1]))) == 5
            assert (yield one.sendto(b"second", 0, other.getsockname())) == 6
            first = yield other.recvfrom(100)
            second = yield other.recvfrom(3)
            other.settimeout(0.01)
            with pytest.raises(TimeoutError):
                yield other.recvfrom(100)
            yield other.connect(one.getsockname())
            yield other.send(b"third")
            third, _ = yield one.recvfrom(100)
            return first == (b"first", one.getsockname()), second[0], third

    assert run(main) == (True, b"sec", b"third")


# TLS


def test_tls_with_a_selfsigned_certificate(selfsigned: Certificate) -> None:
    """The client trusts the very certificate of the server, without its key, and asks for no name."""
    own = {"certfile": selfsigned.cert, "keyfile": selfsigned.keyfile}
    with listener(**own) as server:
        serving = Task(serve_echo, server, 2)
        for options in ({"certfile": selfsigned.cert}, own):
            assert run(talk, AsyncSocket(socket.socket(*TCP), **options), server.getsockname()) == (0, b"hello, world")
        serving.future().result(WAIT_S)


def test_tls_with_an_authority(authority: Certificate, named: Certificate) -> None:
    def main(server: AsyncSocket, host: str) -> Any:
        with AsyncSocket(socket.socket(*TCP), cafile=authority.cert) as client:
            accepting = Task(accept, server)
            yield client.connect((host, server.getsockname()[1]))
            with (yield accepting.result()) as sock:
                yield sock.send_msg(b"message")
                return (yield client.recv_msg()), client.version(), client.getpeercert()["subject"]

    def accept(server: AsyncSocket) -> Any:
        return (yield server.accept())[0]

    with listener(certfile=named.cert, keyfile=named.keyfile) as server:
        for host in ("127.0.0.1", "localhost"):
            assert run(main, server, host) == (b"message", "TLSv1.3", ((("commonName", "named"),),))


def test_tls_large_data_both_ways_at_once(selfsigned: Certificate) -> None:
    data = random.Random(4).randbytes(4 * MIB)

    def accept(server: AsyncSocket) -> Any:
        return (yield server.accept())[0]

    def send(sock: AsyncSocket) -> Any:
        yield sock.send_msg(data)

    def receive(sock: AsyncSocket) -> Any:
        return (yield sock.recv_msg()) == data

    def main(server: AsyncSocket) -> Any:
        accepting = Task(accept, server)
        with AsyncSocket(socket.socket(*TCP), certfile=selfsigned.cert) as client:
            yield client.connect(server.getsockname())
            with (yield accepting.result()) as sock:
                tasks = [Task(fn, end) for fn in (send, receive) for end in (client, sock)]
                results = []
                for task in tasks:
                    results.append((yield task.result()))
                return results

    with listener(certfile=selfsigned.cert, keyfile=selfsigned.keyfile) as server:
        assert run(main, server) == [None, None, True, True]


def test_tls_refuses_who_is_not_trusted(
    selfsigned: Certificate, authority: Certificate, named: Certificate, folder: Path
) -> None:
    """And the server goes on serving others."""
    other = Certificate(folder, "other")
    elsewhere = Certificate(folder, "elsewhere", host="127.0.0.9", issuer=authority)
    cases = [
        (selfsigned, {"certfile": other.cert}, "self.signed"),
        (selfsigned, {"cafile": authority.cert}, "self.signed"),
        (elsewhere, {"cafile": authority.cert}, "IP address mismatch"),
        (selfsigned, {"cafile": selfsigned.cert}, "IP address mismatch"),
    ]
    for mine, options, reason in cases:
        with listener(certfile=mine.cert, keyfile=mine.keyfile) as server, Log() as log:
            serving = Task(serve_echo, server)
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                run(talk, AsyncSocket(socket.socket(*TCP), **options), server.getsockname())
            log.wait_for("no TLS with ('127.0.0.1'")
            trusting = AsyncSocket(socket.socket(*TCP), certfile=mine.cert)
            assert run(talk, trusting, server.getsockname()) == (0, b"hello, world")
            serving.future().result(WAIT_S)


def test_a_server_that_asks_for_certificates(authority: Certificate, named: Certificate, folder: Path) -> None:
    client = Certificate(folder, "client", issuer=authority)
    own = {"certfile": named.cert, "keyfile": named.keyfile, "cafile": authority.cert}
    with listener(**own) as server, Log() as log:
        serving = Task(serve_echo, server)
        with pytest.raises(OSError, match=r"(?i)certificate required|reset|broken|EOF occurred"):
            run(talk, AsyncSocket(socket.socket(*TCP), cafile=authority.cert), server.getsockname())
        log.wait_for("no TLS with", "did not return a certificate")
        known = AsyncSocket(socket.socket(*TCP), certfile=client.cert, keyfile=client.keyfile, cafile=authority.cert)
        assert run(talk, known, server.getsockname()) == (0, b"hello, world")
        serving.future().result(WAIT_S)


def test_who_says_nothing_does_not_stop_the_server(selfsigned: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "HANDSHAKE_S", 0.1)
    with listener(certfile=selfsigned.cert, keyfile=selfsigned.keyfile) as server, Log() as log:
        serving = Task(serve_echo, server)
        with socket.create_connection(server.getsockname()):
            log.wait_for("no TLS with", "took longer than 0.1 s")
        with socket.create_connection(server.getsockname()) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
            log.wait_for("no TLS with", "http request")
        trusting = AsyncSocket(socket.socket(*TCP), certfile=selfsigned.cert)
        assert run(talk, trusting, server.getsockname()) == (0, b"hello, world")
        serving.future().result(WAIT_S)


def test_a_tls_record_that_was_given_up_breaks_the_connection(selfsigned: Certificate) -> None:
    """Rather than sending what nobody can decipher."""

    def accept(server: AsyncSocket) -> Any:
        return (yield server.accept())[0]

    def main(server: AsyncSocket) -> Any:
        accepting = Task(accept, server)
        with AsyncSocket(socket.socket(*TCP), certfile=selfsigned.cert) as client:
            yield client.connect(server.getsockname())
            with (yield accepting.result()):
                client.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    yield client.sendall(b"x" * 50 * MIB)
                with pytest.raises(OSError, match="was given up in the middle of a TLS record"):
                    yield client.sendall(b"y")

    with listener(certfile=selfsigned.cert, keyfile=selfsigned.keyfile) as server:
        run(main, server)


def test_certificates_that_cannot_be_used(selfsigned: Certificate, named: Certificate, folder: Path) -> None:
    (folder / "empty.pem").write_text("nothing")

    def connect(addr: Any, **options: Any) -> Any:
        with AsyncSocket(socket.socket(*TCP), **options) as sock:
            yield sock.connect(addr)

    def accept(**options: Any) -> Any:
        with listener(**options) as server:
            yield server.accept()

    for options, words in [
        ({"certfile": folder / "missing.pem"}, "missing.pem"),
        ({"certfile": named.cert}, "give its key as keyfile"),
        ({"certfile": named.cert, "keyfile": selfsigned.keyfile}, "selfsigned.key' cannot be used"),
    ]:
        with pytest.raises(ConfigError, match=words):
            Task(accept, **options).future().result(WAIT_S)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for options, words in [
            ({"certfile": folder / "missing.pem"}, "missing.pem' cannot be read"),
            ({"cafile": folder / "empty.pem"}, "empty.pem' cannot be used"),
        ]:
            with pytest.raises(ConfigError, match=words):
                Task(connect, server.getsockname(), **options).future().result(WAIT_S)


# plain threads


@ONE_LOOP
@pytest.mark.parametrize("tls", [False, True])
def test_blocking_in_plain_threads(tls: bool, selfsigned: Certificate) -> None:
    options: dict[str, Any] = {"certfile": selfsigned.cert, "keyfile": selfsigned.keyfile} if tls else {}
    data = random.Random(5).randbytes(3 * MIB)
    seen: list[Any] = []

    def serve(server: AsyncSocket) -> None:
        sock, addr = server.accept()
        with sock:
            seen.append(addr)
            sock.send_msg(sock.recv_msg())
            seen.append(sock.recv(1))

    with listener(blocking=True, **options) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        with AsyncSocket(socket.socket(*TCP), blocking=True, **options) as client:
            assert client.connect(("localhost", server.getsockname()[1])) == 0
            client.send_msg(data)
            assert client.recv_msg() == data
            client.settimeout(0.01)
            with pytest.raises(TimeoutError, match=r"recv\(\) of"):
                client.recv(1)
            seen.append(client.getsockname())
        thread.join(WAIT_S)
    assert seen == [seen[1], seen[1], b""]


@ONE_LOOP
def test_blocking_in_a_task_would_stop_the_others(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    def main() -> Any:
        pair[0].setblocking(True)
        pair[0].recv(1)
        yield

    with pytest.raises(WouldHang, match=r"a blocking recv\(\) would stop every task here"):
        run(main)


@ONE_LOOP
def test_close_wakes_a_plain_thread(pair: tuple[AsyncSocket, AsyncSocket]) -> None:
    one, _ = pair
    one.setblocking(True)
    raised: list[BaseException] = []
    begun = threading.Event()

    def receive() -> None:
        begun.set()
        try:
            one.recv(1)
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    assert begun.wait(WAIT_S)
    one.close()
    thread.join(WAIT_S)
    assert [error.errno for error in raised] == [errno.EBADF]  # type: ignore[attr-defined]
