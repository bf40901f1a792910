"""parkcos/net/session/link.py: a connection that ends before its handshake begins."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import warnings

import pytest

from parkcos.net.session import link as links
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import TlsIdentity
from tests.secret import SECRET


@pytest.mark.parametrize("dialed", [True, False])
def test_the_other_side_is_gone_before_the_handshake(dialed: bool) -> None:
    """It has reset the connection: nothing is left open."""
    identity = TlsIdentity(ClusterKeys.derive(SECRET), "here")
    context = identity.client_context() if dialed else identity.server_context()
    with socket.create_server(("127.0.0.1", 0)) as listener, warnings.catch_warnings():
        warnings.simplefilter("error")
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        one.setblocking(False)

        async def secure() -> None:
            await links._secured(asyncio.get_running_loop(), one, context, dialed=dialed, peer_text="there")

        with pytest.raises(ConnectionResetError, match="closed the connection during the handshake"):
            asyncio.run(secure())
        one.close()
        assert one.fileno() == -1
        gc.collect()


@pytest.mark.parametrize(
    ("retransmits", "rto_us", "unacked", "stalled"),
    [
        (0, 204_000, 0, False),
        (1, 408_000, 3, False),
        (2, 816_000, 3, True),
        (0, 25_600_000, 3, True),  # a cut has healed, and an acknowledgement come, but the time-out is what it was
        (0, 25_600_000, 0, False),
        (0, 1_999_999, 1, False),
        (0, 2_000_000, 1, True),
    ],
)
def test_a_path_that_gets_nothing_across(retransmits: int, rto_us: int, unacked: int, stalled: bool) -> None:
    """The fields of tcp_info, as linux/tcp.h has them."""
    ato_us, snd_mss, rcv_mss = 40_000, 1448, 536
    info = struct.pack("=8B5I", 1, 0, retransmits, 0, 0, 0, 0, 0, rto_us, ato_us, snd_mss, rcv_mss, unacked)
    assert links.is_stalled(info) == stalled


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only this system's kernel tells")
def test_the_kernel_tells_of_a_connection_that_works() -> None:
    loop = asyncio.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        other, _ = server.accept()
        with other:
            sock.send(b"x")
            assert other.recv(1) == b"x"
            sock.setblocking(False)
            link = links.Link(loop, sock, dialed=True, peer_text="127.0.0.1:1")
            assert link.stalled() is False
    loop.close()
