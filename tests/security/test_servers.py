"""What a client's task can get hold of in its process, and what that is good for."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import parkcos
from parkcos import Client, Parkcos
from parkcos.net.session.frames import HEADER, HELLO
from parkcos.net.trust.issuing import decode_grant, encode_grant
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import TlsIdentity
from tests.live.lib import LIMIT_S, with_client
from tests.live.watched import at
from tests.security.conftest import Site


def dump(path: str, marker: bytes) -> Generator[Any, Any, int]:
    """Write all that this process has, and what the system says of it, to a file.  Returns: how many bytes."""
    yield
    written = 0
    with open(path, "wb") as file, open("/proc/self/mem", "rb", 0) as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if match is None or "[v" in line:
                continue
            begin, end = (int(bound, 16) for bound in match.groups())
            with contextlib.suppress(OSError, ValueError, OverflowError):
                memory.seek(begin)
                written += file.write(memory.read(end - begin))
        for name in ("environ", "cmdline"):
            file.write(Path("/proc/self", name).read_bytes())
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                file.write(os.readlink(f"/proc/self/fd/{fd}").encode())
    assert marker
    return written


def own_grant() -> Generator[Any, Any, bytes]:
    """All that this server has to prove itself with."""
    yield
    grant = parkcos.Parkcos.instance().network.options.grant
    assert grant is not None
    return encode_grant(grant)


def where() -> Generator[Any, Any, int]:
    yield
    return parkcos.Parkcos.instance().location.port


def hears(port: int, identity: TlsIdentity, asks_for: str | None) -> bytes:
    """What is heard at a port by who shows this; b"" if that is refused."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as sock:
        sock.settimeout(LIMIT_S)
        try:
            with identity.client_context().wrap_socket(sock, server_hostname=asks_for) as tls:
                return tls.recv(4096)
        except OSError:  # TLS's errors, too
            return b""


OTHER_CLIENT = """
def where(task=None):
    yield task.sleep(0)
    return parkcos.Parkcos.instance().location.port

def wait(task=None):
    yield task.sleep(1000)

def main(task=None):
    client = Client([where])
    yield client.schedule()
    server = yield (yield client.rtask(where)).finish()
    print("ports", parkcos.Parkcos.instance().location.port, server, flush=True)
    yield task.sleep(1000)

run(main)
"""


@pytest.mark.slow
def test_a_task_holds_nothing_that_is_the_cluster_s(site: Site, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    scheduler, scheduler_port = site.scheduler()
    stack.enter_context(scheduler)
    node, port = site.node(1)
    stack.enter_context(node)
    neighbour = Site(tmp_path / "neighbour", site.secret)  # so that another client runs at the same time
    other_node, other_port = neighbour.node(1)
    stack.enter_context(other_node)
    program = stack.enter_context(neighbour.client(tmp_path, OTHER_CLIENT, secret=site.secret))
    ports = program.wait_for(r"ports (\d+) (\d+)")
    Parkcos(host="127.0.0.1", udp_port=site.udp - 1, secret_file=site.secret_file, discover_peers=False)
    stack.callback(Parkcos.instance().terminate)
    file, marker = tmp_path / "dump", secrets.token_bytes(16)
    others = {
        "its node": port,
        "the scheduler": scheduler_port,
        "its client, as one of the cluster": Parkcos.instance().location.port,
        "another client": int(ports[1]),
        "another client's server": int(ports[2]),
        "another node": other_port,
    }

    def body(client: Client) -> Generator[Any, Any, bytes]:
        size = yield (yield client.rtask(dump, str(file), marker)).finish()
        assert size > 5_000_000
        mine = yield (yield client.rtask(where)).finish()
        packed: bytes = yield (yield client.rtask(own_grant)).finish()
        grant = decode_grant(packed)
        identity = TlsIdentity(grant, incarnation=666)
        for number, name in ((Parkcos.instance().location.port, grant.name), (mine, None)):
            assert HEADER.unpack_from(hears(number, identity, name))[1] == HELLO, "its own client, and its servers"
        for who, number in others.items():
            assert hears(number, identity, None) == b"", who
            if who != "its client, as one of the cluster":
                assert hears(number, identity, grant.name) == b"", f"{who}, by name"
        return packed

    grant = decode_grant(with_client(body, [dump, own_grant, where], nodes=[at(port)]))
    keys, memory = ClusterKeys.derive(site.secret), file.read_bytes()
    assert marker in memory, "it has not looked"
    assert grant.seed in memory, "it has not looked"
    for secret in (keys.ca_seed, keys.mac_key, site.secret.encode(), site.secret[8:30].encode()):
        assert secret not in memory
    assert str(site.secret_file).encode() not in memory
