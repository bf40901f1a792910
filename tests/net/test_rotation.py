"""The secret is replaced: for a while there are programs that know the old one, the new one, and both."""

from __future__ import annotations

import contextlib
import itertools
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.net.finding.datagram import Announce, DatagramGate, DatagramRejected, encode
from parkcos.net.trust.secret import ClusterKeys, cluster_keys
from parkcos.net.trust.tls import TlsIdentity
from tests.net.cluster_of_networks import Cluster, Log
from tests.net.test_tls import Wire, authorities, shake
from tests.ports import free_ports
from tests.secret import OTHER_SECRET, SECRET

OLD = ClusterKeys(b"o" * 32, b"p" * 32)
NEW = ClusterKeys(b"n" * 32, b"m" * 32)
BOTH = ClusterKeys(NEW.ca_seed, NEW.mac_key, OLD)
KEYS = {"old": OLD, "both": BOTH, "new": NEW}
PAIRS = list(itertools.product(KEYS, KEYS))
NOW = 1_800_000_000.0
HELLO = Announce("127.0.0.1", 9000, 7, "p", ("peer",), 1, False)


def understand(one: str, other: str) -> bool:
    """All but those who have nothing in common."""
    return {one, other} != {"old", "new"}


# TLS


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_handshake(client: str, server: str, strict: bool) -> None:
    one = TlsIdentity(KEYS[client], "one").client_context()
    two = TlsIdentity(KEYS[server], "two").server_context()
    if strict:
        for context in (one, two):
            context.verify_flags |= ssl.VERIFY_X509_STRICT
    words = shake(one, two)
    if understand(client, server):
        assert words == ("", "")
    else:
        assert all("another secret" in word for word in words)


def test_what_was_shown_during_the_change_is_worth_nothing_to_the_old_secret() -> None:
    """The new authority is vouched for by the old one, never the other way round."""
    both = TlsIdentity(BOTH)
    wire = Wire(TlsIdentity(NEW).client_context(), both.server_context())
    assert wire.shake() == (None, None)
    chain = TlsIdentity(OLD).client_context()  # all that a holder of the old secret can show
    assert "another secret" in shake(chain, TlsIdentity(NEW).server_context())[1]
    old, new = authorities(TlsIdentity(OLD)), authorities(TlsIdentity(NEW))
    assert len(old) == len(new) == 1
    assert sorted(authorities(both)) == sorted(old + new)


# Datagrams


def sealed(who: str, now: float = NOW) -> list[bytes]:
    """What a process that knows this sends."""
    keys = KEYS[who]
    return [encode(HELLO, key.mac_key, now) for key in (keys, keys.old) if key is not None]


def gate(who: str) -> DatagramGate:
    keys = KEYS[who]
    return DatagramGate(keys.mac_key, old_mac_key=keys.old.mac_key if keys.old else None)


@pytest.mark.parametrize(("sender", "receiver"), PAIRS)
def test_datagrams_are_let_in_once(sender: str, receiver: str) -> None:
    at = gate(receiver)
    opened = 0
    for _ in range(2):  # the second time they are doubles
        for datagram in sealed(sender):
            with contextlib.suppress(DatagramRejected):
                assert at.open(datagram, NOW) == HELLO
                opened += 1
    assert opened == understand(sender, receiver)


def test_the_order_does_not_matter() -> None:
    for first, second in (sealed("both"), sealed("both")[::-1]):
        at = gate("both")
        at.open(first, NOW)
        with pytest.raises(DatagramRejected, match="twice"):
            at.open(second, NOW)


# Whole processes


@pytest.mark.live
@pytest.mark.parametrize(("one", "other"), [p for p in PAIRS if p[0] <= p[1]])
def test_processes_find_each_other(one: str, other: str) -> None:
    (port,) = free_ports(1)
    options: dict[str, Any] = {"discover": True, "udp_port": port, "target_udp_ports": [port]}
    with Cluster() as cluster, Log() as log:
        first = cluster.place("first", keys=KEYS[one], **options)
        second = cluster.place("second", keys=KEYS[other], **options)
        if not understand(one, other):
            log.wait_for("a datagram from 127.0.0.1 has a wrong MAC: it uses another secret")
            assert not first.is_connected_to(second)
            return

        def meet(task: Any = None) -> Any:
            return (yield first.network.locate("second", 10))

        assert first.run(meet) == second.location
        first.connect(second)
        second.connect(first)
        assert log.with_words("refused") == []


@pytest.mark.live
@pytest.mark.parametrize(("client", "server"), [p for p in PAIRS if p[0] != p[1]])
def test_who_dials_does_not_matter(client: str, server: str) -> None:
    with Cluster() as cluster, Log() as log:
        one, two = cluster.place("one", keys=KEYS[client]), cluster.place("two", keys=KEYS[server])

        def dial(task: Any = None) -> Any:
            return (yield one.network.peer(two.location))

        assert one.run(dial) == (0 if understand(client, server) else -1)
        if understand(client, server):
            assert log.lines == []
        else:
            log.wait_for("no connection to", "another secret")


# The files


def secret_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_from_files(tmp_path: Path) -> None:
    new, old = (
        secret_file(tmp_path / "new", SECRET),
        secret_file(tmp_path / "old", OTHER_SECRET),
    )
    keys = cluster_keys(None, new, old)
    assert keys.old == ClusterKeys.derive(OTHER_SECRET)
    assert (keys.ca_seed, keys.mac_key) == (cluster_keys(None, new).ca_seed, cluster_keys(None, new).mac_key)
    assert cluster_keys(SECRET, None, old) == keys
    assert repr(keys) == "ClusterKeys()"


def test_no_old_secret_is_made(tmp_path: Path) -> None:
    new = secret_file(tmp_path / "new", SECRET)
    with pytest.raises(ConfigError, match="old is not there"):
        cluster_keys(None, new, tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_the_same_twice(tmp_path: Path) -> None:
    new, old = secret_file(tmp_path / "new", SECRET), secret_file(tmp_path / "old", f"{SECRET}\n")
    with pytest.raises(ConfigError, match="is the same as the new one"):
        cluster_keys(None, new, old)


def test_the_link_between_the_two_lives_as_long_as_a_certificate() -> None:
    """Made two weeks ago, it is worth nothing today, even to those who only know the old secret."""
    late = TlsIdentity(BOTH, clock=lambda: time.time() - 14 * 86400)
    for keys in (OLD, BOTH, NEW):
        assert "clocks" in shake(TlsIdentity(keys).client_context(), late.server_context())[0]
