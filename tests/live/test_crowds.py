"""Many connections that do nothing: a node serves on."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from parkcos.net.session import session as sessions
from parkcos.net.session.frames import HEADER
from parkcos.net.session.session import PROTOCOL, Hello
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import TlsIdentity
from tests.live.lib import LIMIT_S, SECRET, Ports
from tests.live.test_programs import SQUARES

pytestmark = pytest.mark.live

IDLE = HALF_OPEN = 500


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def greeted(port: int, number: int, context: ssl.SSLContext) -> socket.socket:
    """A connection whose greetings are exchanged, and that says nothing more."""
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S))
    length, _, _ = HEADER.unpack(_read(sock, HEADER.size))
    _read(sock, length)
    own = Hello(PROTOCOL, "0.1.0", "3.11", 1_000_000 + number, f"idler {number}", "127.0.0.1", 1, ("peer",), session=1)
    sock.sendall(sessions.encode_hello(own))
    return sock


def _read(sock: ssl.SSLSocket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        assert more
        data += more
    return data


def test_500_idle_and_500_half_open_connections(ports: Ports, tmp_path: Path, many_files: None) -> None:
    node, port = ports.node()
    context = TlsIdentity(ClusterKeys.derive(SECRET)).client_context()
    with node, contextlib.ExitStack() as stack:
        node.wait_for("uses address")
        for number in range(IDLE):
            stack.enter_context(greeted(port, number, context))
        for _ in range(HALF_OPEN):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S))
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("total 285")
            assert client.wait() == 0


def test_a_node_without_descriptors_left_serves_again_when_there_are_some(ports: Ports, tmp_path: Path) -> None:
    """Who waits at the door takes up what there is; the node lets strangers go, and says what is the matter."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
        "from parkcos.commands.node import main; sys.exit(main())"
    )
    node, port = ports.node(1, command=["-c", program])
    with node:
        node.wait_for("uses address")
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S))
            node.wait_for("no more connections can be accepted")
        with ports.client(tmp_path, SQUARES) as client:
            client.wait_for("total 285")
            assert client.wait() == 0
