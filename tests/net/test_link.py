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


@pytest.mark.parametrize("dialed", [True, False])
def test_the_other_side_is_gone_before_the_handshake(dialed: bool) -> None:
    """It has reset the connection: nothing is left open."""
    identity = TlsIdentity(ClusterKeys.derive("a secret of tests"), "here")
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
