"""Nothing is unpickled that did not come through an authenticated session.

Each way in gets a pickle that would write a file; the file must not be there afterwards, and one log line must name
the peer and the reason.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from parkcos.kernel import Task
from parkcos.net import wire
from parkcos.net.finding.datagram import _MAGIC, _MAGIC_OPEN, _TIME, _mac
from parkcos.net.payload import PICKLE, loads
from parkcos.net.session import session as sessions
from parkcos.net.session.frames import BIG, BIG_SIZE, DATA, HELLO, PART, header
from parkcos.net.session.session import PROTOCOL, Hello
from parkcos.net.trust.tls import TlsIdentity
from tests.net.cluster_of_networks import KEYS, OTHER_KEYS, WAIT_S, Cluster, Log, Place
from tests.ports import free_ports

pytestmark = pytest.mark.live


class Bomb:
    """Unpickling it makes a directory (an import-free, visible deed)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def victim() -> Iterator[Place]:
    with Cluster() as cluster:
        yield cluster.place("victim")


@pytest.fixture
def crater(tmp_path: Path) -> Path:
    return tmp_path / "crater"


def pickled(crater: Path) -> bytes:
    return pickle.dumps(Bomb(crater), 5)


def test_the_bomb_works(crater: Path) -> None:
    loads(PICKLE, pickled(crater))
    assert crater.exists()


def number(place: Place, task: Task) -> int:
    """By which others know it, who have a reference to it."""
    return place.call(lambda: place.network.exposed.number_of(task)[0])


def receiver(victim: Place) -> tuple[Any, list[Any]]:
    """A task that takes whatever comes, under the name "victim"."""
    got: list[Any] = []

    def receive(task: Any = None) -> Any:
        task.set_daemon()
        task.register("victim")
        ready.append(task)
        while True:
            got.append((yield task.receive()))

    ready: list[Any] = []
    victim.spawn(receive)
    victim.call(lambda: None)
    victim.run(lambda: (yield 0))
    return ready[0], got


def well_formed(payload: bytes, dst: int) -> bytes:
    """A greeting and every kind of message that carries a payload, small and large, as a true peer would send them."""
    hello = Hello(PROTOCOL, "0.1.0", "3.11", 666, "mallory", "127.0.0.1", 1, ("peer",), session=1)
    messages: list[wire.Message] = [
        wire.ToTask(memoryview(payload), PICKLE, False, dst),
        wire.DeliverToTask(memoryview(payload), PICKLE, False, dst, 1),
        wire.ToChannel(memoryview(payload), PICKLE, False, "channel"),
        wire.DeliverToChannel(memoryview(payload), PICKLE, False, "channel", 2, 0, None),
        wire.Service(memoryview(payload), PICKLE, False, "node", payload),
        wire.Answer(memoryview(payload), PICKLE, False, 1, 1),
        wire.Subscribe(memoryview(payload), PICKLE, False, "channel", 3, True),
    ]
    body = wire.encode(messages)
    big = wire.encode([wire.ToTask(wire.EMPTY, PICKLE, True, dst)])
    return b"".join(
        [
            sessions.encode_hello(hello),
            header(DATA, len(body), 1) + body,
            header(BIG, 8, 2) + BIG_SIZE.pack(len(payload)),
            header(PART, len(payload), 3) + payload,
            header(DATA, len(big), 4) + big,
        ]
    )


def dial(victim: Place, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", victim.location.port), WAIT_S)
    sock.settimeout(WAIT_S)
    return context.wrap_socket(sock) if context else sock


def no_crater(victim: Place, crater: Path) -> None:
    """Nothing has happened, also not after all that is under way has been handled."""
    victim.io.run(_nothing()).result(WAIT_S)
    victim.call(lambda: None)
    victim.run(lambda: (yield 0))
    assert not crater.exists()


async def _nothing() -> None:
    pass


def attack(victim: Place, context: ssl.SSLContext | None, data: bytes) -> int:
    """Send `data`, read until the end, and return the own port, by which the log names the attacker."""
    try:
        with dial(victim, context) as sock:
            port: int = sock.getsockname()[1]
            sock.sendall(data)
            while sock.recv(65536):
                pass
    except OSError:
        pass
    return port


# over TCP, without TLS


FORMS: dict[str, Callable[[bytes, int], bytes]] = {
    "raw": lambda payload, dst: payload,
    "raw, many": lambda payload, dst: payload * 1000,
    "in a greeting": lambda payload, dst: header(HELLO, len(payload)) + payload,
    "in a frame": lambda payload, dst: header(DATA, len(payload), 1) + payload,
    "well-formed": well_formed,
}


@pytest.mark.parametrize("form", FORMS)
def test_over_tcp(victim: Place, log: Log, crater: Path, form: str) -> None:
    task, got = receiver(victim)
    port = attack(victim, None, FORMS[form](pickled(crater), number(victim, task)))
    log.wait_for("refused a connection", f"127.0.0.1:{port}", "does not speak TLS")
    no_crater(victim, crater)
    assert got == []
    assert len(log.lines) == 1


# over TLS


def self_signed(path: Path) -> Path:
    """A certificate of nobody's, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "parkcos cluster")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    certificate = builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem)
    return path


def credulous(chain: Path | None) -> ssl.SSLContext:
    """A client that believes everything and shows `chain`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if chain is not None:
        context.load_cert_chain(chain)
    return context


def with_another_secret(_: Path) -> ssl.SSLContext:
    context = TlsIdentity(OTHER_KEYS, "mallory").client_context()
    context.verify_mode = ssl.CERT_NONE  # it wants in, whoever the other is
    return context


CLIENTS: dict[str, tuple[Callable[[Path], ssl.SSLContext], str]] = {
    "another secret": (with_another_secret, "another secret"),
    "self-signed": (lambda tmp: credulous(self_signed(tmp / "c.pem")), "another secret"),
    "no certificate": (lambda tmp: credulous(None), "no certificate"),
}


@pytest.mark.parametrize("form", ["raw", "well-formed"])
@pytest.mark.parametrize("client", CLIENTS)
def test_over_tls(victim: Place, log: Log, crater: Path, tmp_path: Path, client: str, form: str) -> None:
    task, got = receiver(victim)
    make, words = CLIENTS[client]
    port = attack(victim, make(tmp_path), FORMS[form](pickled(crater), number(victim, task)))
    log.wait_for("refused a connection", f"127.0.0.1:{port}", words)
    no_crater(victim, crater)
    assert got == []
    assert len(log.lines) == 1
    assert victim.network.hub.peers() == []


@pytest.mark.parametrize("form", ["raw", "in a greeting", "in a frame"])
def test_with_the_secret_and_no_greeting(victim: Place, log: Log, crater: Path, form: str) -> None:
    task, got = receiver(victim)
    port = attack(
        victim,
        TlsIdentity(KEYS, "m", incarnation=666).client_context(),
        FORMS[form](pickled(crater), number(victim, task)),
    )
    log.wait_for("refused a connection", f"127.0.0.1:{port}")
    no_crater(victim, crater)
    assert got == []
    assert len(log.lines) == 1


def test_control_messages_are_never_unpickled(victim: Place, log: Log, crater: Path) -> None:
    """Also from a member of the cluster: what is not of the schema ends the session."""
    payload = pickled(crater)
    hello = Hello(PROTOCOL, "0.1.0", "3.11", 666, "mallory", "127.0.0.1", 1, ("peer",), session=1)
    attack(
        victim,
        TlsIdentity(KEYS, "m", incarnation=666).client_context(),
        sessions.encode_hello(hello) + header(DATA, len(payload), 1) + payload,
    )
    log.wait_for("mallory at 127.0.0.1:1", "no known kind")
    no_crater(victim, crater)


def test_the_proof_itself_a_member_may_send_pickles(victim: Place, crater: Path) -> None:
    """The same bytes as in the tests above, through a true session: they are opened.  So those tests test something."""
    task, _ = receiver(victim)
    context = TlsIdentity(KEYS, "m", incarnation=666).client_context()
    with dial(victim, context) as sock:
        sock.sendall(well_formed(pickled(crater), number(victim, task)))
        for _ in range(2000):
            if crater.exists():
                break
            sock.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                sock.recv(65536)
    assert crater.exists()


# over UDP


def sealed(body: bytes, key: bytes | None, now: float | None = None) -> bytes:
    data = _TIME.pack(int((time.time() if now is None else now) * 1000)) + body
    return _MAGIC_OPEN + data if key is None else _MAGIC + _mac(key, data) + data


def announcing(payload: bytes) -> bytes:
    """A well-formed announcement with a pickle for a name."""
    fields = ["announce", "127.0.0.1", 1, 666, payload, ["peer"], PROTOCOL, True]
    return msgspec.msgpack.encode(fields)


DATAGRAMS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "raw": (lambda payload: payload, "is not a parkcos datagram"),
    "no MAC": (lambda payload: sealed(payload, None), "without a secret"),
    "wrong MAC": (lambda payload: sealed(payload, OTHER_KEYS.mac_key), "secret"),
    "right MAC, a pickle": (lambda payload: sealed(payload, KEYS.mac_key), "no parkcos of this version sends"),
    "right MAC, a pickle inside": (
        lambda payload: sealed(announcing(payload), KEYS.mac_key),
        "no parkcos of this version sends",
    ),
    "right MAC, old": (lambda payload: sealed(payload, KEYS.mac_key, time.time() - 3600), "clock"),
}


@pytest.mark.parametrize("case", DATAGRAMS)
def test_over_udp(log: Log, crater: Path, case: str) -> None:
    make, words = DATAGRAMS[case]
    port = free_ports(1)[0]
    with Cluster() as cluster:
        victim = cluster.place("victim", discover=True, udp_port=port, target_udp_ports=[port])
        private = victim.network.discoveries[0].private_port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for target in (port, private):
                sock.sendto(make(pickled(crater)), ("127.0.0.1", target))
        log.wait_for("a datagram from 127.0.0.1", words)
        no_crater(victim, crater)
        assert len(log.lines) == 1
        assert victim.network.hub.peers() == []
