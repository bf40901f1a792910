"""A certificate says what its holder is, and which process: nobody is taken for another."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.net.location import Location
from parkcos.net.session.frames import BYE, DATA
from parkcos.net.trust.issuing import Grant, certify, decode_grant, encode_grant, make_grant
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.standing import Standing, doubt, read_standing
from parkcos.net.trust.tls import TlsIdentity
from tests.net.cluster_of_networks import KEYS, Cluster
from tests.net.test_hub import dialled_raw, greeted, read_frame, sessions, wait_up
from tests.net.test_tls import Wire


def standings(one: TlsIdentity, two: TlsIdentity) -> tuple[Standing | None, Standing | None]:
    """What each is proven to be to the other."""
    wire = Wire(one.client_context(), two.server_context())
    assert wire.shake() == (None, None)
    return read_standing(wire.server.getpeercert()), read_standing(wire.client.getpeercert())


def refused(one: TlsIdentity, two: TlsIdentity) -> str:
    wire = Wire(one.client_context(), two.server_context())
    return " ".join(str(error) for error in wire.shake() if error is not None)


def test_what_a_certificate_says() -> None:
    program = TlsIdentity(KEYS, roles=["peer"], incarnation=5)
    both = TlsIdentity(KEYS, roles=["peer", "scheduler"], incarnation=6)
    assert standings(program, both) == (
        Standing(frozenset(["peer"]), 5),
        Standing(frozenset(["peer", "scheduler"]), 6),
    )


def test_a_grant_is_for_one_role_and_its_owner() -> None:
    grant = make_grant(KEYS, "node", "Zoë", days=1)
    node = TlsIdentity(decode_grant(encode_grant(grant)), roles=["scheduler"], incarnation=7)
    proven, _ = standings(node, TlsIdentity(KEYS))
    assert proven == Standing(frozenset(["node"]), 7, grant.standing.grant, "Zoë")
    assert "seed" not in repr(grant)


@pytest.mark.parametrize(
    "more",
    [
        Standing(frozenset(["scheduler"])),
        Standing(frozenset(["node", "scheduler"]), grant="6" * 16, owner="Zoë"),
        Standing(frozenset(["node"]), grant="6" * 16, owner="Anna"),
        Standing(frozenset(["node"])),
    ],
    ids=["another role", "one role more", "another owner", "no owner"],
)
def test_who_has_a_grant_cannot_certify_more(more: Standing) -> None:
    grant = make_grant(KEYS, "node", "Zoë", days=1)
    false = TlsIdentity(replace(grant, standing=more), incarnation=7)
    assert "permitted subtree violation" in refused(TlsIdentity(KEYS), false)
    assert refused(false, TlsIdentity(KEYS))


def test_a_grant_has_an_end() -> None:
    long_ago = make_grant(KEYS, "node", "Zoë", now=time.time() - 3 * 86400, days=1)
    assert "expired" in refused(TlsIdentity(KEYS), TlsIdentity(long_ago))


def test_a_grant_cannot_make_grants() -> None:
    grant = make_grant(KEYS, "node", "Zoë", days=1)
    below = make_grant(ClusterKeys(grant.seed, b""), "node", "Zoë", days=1)
    false = Grant(below.seed, below.certificates + grant.certificates, grant.trusted, below.standing)
    assert refused(TlsIdentity(KEYS), TlsIdentity(false))


@pytest.mark.parametrize("owner", ["x" * 101, "ü" * 51])
def test_an_owner_s_name_has_its_bounds(owner: str) -> None:
    with pytest.raises(ConfigError, match="too long"):
        make_grant(KEYS, "node", owner)


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        ((), None),
        (("https://node/5",), None),
        (("parkcos://node/5", "https://else"), None),
        (("parkcos://node/5", "parkcos://peer/6"), None),
        (("parkcos://node/x",), None),
        (("parkcos://0123456789abcdef.of.node/5",), None),
        (("parkcos://0123456789abcdef.off.node/5",), None),
        (("parkcos://node/5",), Standing(frozenset(["node"]), 5)),
    ],
)
def test_names_that_are_no_standing(uris: tuple[str, ...], expected: Standing | None) -> None:
    assert read_standing({"subjectAltName": tuple(("URI", uri) for uri in uris)}) == expected
    assert read_standing(None) is None


def test_what_is_doubted() -> None:
    proven = Standing(frozenset(["node", "peer"]), 5)
    assert doubt(proven, 5, ("node",)) == ""
    assert "another process" in doubt(proven, 6, ("node",))
    assert "'scheduler', for which it has no certificate" in doubt(proven, 5, ("node", "scheduler"))
    assert "does not say" in doubt(None, 5, ())


# at the door of a process


def answer(sock: ssl.SSLSocket) -> tuple[int, str]:
    kind, body = read_frame(sock)
    return kind, body.decode(errors="replace") if kind == BYE else ""


def certified(place: Any, identity: TlsIdentity, asks_for: str | None = None, **changes: Any) -> ssl.SSLSocket:
    """Somebody who shows this, and says what he likes."""
    sock = identity.client_context().wrap_socket(dialled_raw(place), server_hostname=asks_for)
    read_frame(sock)
    own = sessions.msgspec.structs.replace(place.hub.own, name="mallory", port=1, session=9, **changes)
    sock.sendall(sessions.encode_hello(own))
    return sock


def test_somebody_else_s_incarnation_is_refused(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    to_b = a.peer(b)
    a.send(to_b, 0)
    b.got.wait(lambda got: got)
    mine = TlsIdentity(KEYS, roles=["peer"], incarnation=666)
    with certified(a, mine, incarnation=b.hub.own.incarnation) as sock:
        kind, words = answer(sock)
        assert kind == BYE
        assert "another process" in words
    a.send(to_b, 1)
    b.got.wait(lambda got: len(got) == 2)


def test_a_role_that_is_not_in_the_certificate_is_refused(cluster: Cluster) -> None:
    a = cluster.hub()
    mine = TlsIdentity(make_grant(KEYS, "node", "Zoë"), incarnation=666)
    with certified(a, mine, incarnation=666, roles=("scheduler",)) as sock:
        assert "no certificate" in answer(sock)[1]
    with certified(a, mine, incarnation=666, roles=("node",)) as sock:
        assert answer(sock)[0] != BYE, "its own is not"


def test_who_changes_its_mind_in_the_greeting_is_refused(cluster: Cluster) -> None:
    """The dialled side says who it is twice."""
    a = cluster.hub()
    identity = TlsIdentity(KEYS, roles=["peer", "scheduler"], incarnation=666)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        peer = a.hub.peer_at(Location("127.0.0.1", listener.getsockname()[1]))
        assert peer is not None
        sock, _ = listener.accept()
        with identity.server_context().wrap_socket(sock, server_side=True) as tls:
            own = sessions.msgspec.structs.replace(a.hub.own, name="mallory", incarnation=666, port=1, roles=("peer",))
            tls.sendall(sessions.encode_hello(own))
            read_frame(tls)
            changed = sessions.msgspec.structs.replace(own, roles=("scheduler",), session=9)
            tls.sendall(sessions.encode_hello(changed))
            a.happened.wait(lambda events: any(event[:2] == ("gone", peer) for event in events))


def test_a_process_of_another_circle_does_not_take_the_place_of_one_of_this(cluster: Cluster) -> None:
    """A server of a client may certify any incarnation to itself, with the client's keys: not that of a node."""
    a, node = cluster.hub(), cluster.hub()
    to_node = a.peer(node)
    a.send(to_node, 0)
    node.got.wait(lambda got: got)
    keys = ClusterKeys.random()
    a.hub.guests.welcome(keys)
    server = TlsIdentity(make_grant(keys, "server"), incarnation=node.hub.own.incarnation)
    with certified(a, server, keys.name, incarnation=node.hub.own.incarnation, roles=("server",)) as sock:
        assert "other keys" in answer(sock)[1]
    a.send(to_node, 1)
    node.got.wait(lambda got: len(got) == 2)


@pytest.mark.parametrize("what", ["dismissed", "renewed"])
def test_a_process_of_another_circle_stays_one_whatever_becomes_of_its_keys_meanwhile(
    cluster: Cluster, what: str
) -> None:
    """It has shaken hands, and has yet to say who it is."""
    a, keys = cluster.hub(), ClusterKeys.random()
    a.hub.guests.welcome(keys)
    server = TlsIdentity(make_grant(keys, "server"), incarnation=5)
    sock = server.client_context().wrap_socket(dialled_raw(a), server_hostname=keys.name)
    with sock:
        read_frame(sock)
        a.hub.guests.dismiss(keys.name)
        if what == "renewed":
            a.hub.guests.welcome(keys)
        own = sessions.msgspec.structs.replace(a.hub.own, incarnation=5, port=1, session=9, roles=("server",))
        sock.sendall(sessions.encode_hello(own))
        wait_up(a)
        (peer,) = a.hub.peers()
        assert peer.circle == keys.name


def test_a_server_does_not_take_the_place_of_one_of_another_node(cluster: Cluster) -> None:
    a = cluster.hub()
    keys = ClusterKeys.random()
    a.hub.guests.welcome(keys)
    here, there = make_grant(keys, "server"), make_grant(keys, "server")
    a.hub.guests.grants[5] = here.standing.grant
    with certified(a, TlsIdentity(there, incarnation=5), keys.name, incarnation=5, roles=("server",)) as sock:
        assert "other keys" in answer(sock)[1], "before it has come"
    with certified(a, TlsIdentity(here, incarnation=5), keys.name, incarnation=5, roles=("server",)) as true:
        assert answer(true)[0] != BYE
        del a.hub.guests.grants[5]
        with certified(a, TlsIdentity(there, incarnation=5), keys.name, incarnation=5, roles=("server",)) as sock:
            assert "other keys" in answer(sock)[1], "while it is there"


def test_a_name_that_is_not_printable_is_no_greeting(cluster: Cluster) -> None:
    a = cluster.hub()
    with greeted(a, incarnation=666) as sock:
        wait_up(a)
        assert read_frame(sock)[0] != BYE
    identity = TlsIdentity(KEYS, incarnation=667)
    sock = identity.client_context().wrap_socket(dialled_raw(a))
    read_frame(sock)
    own = sessions.msgspec.structs.replace(a.hub.own, name="a\x1b]52;c;x\x07b", incarnation=667, port=1, session=9)
    sock.sendall(sessions.encode_hello(own))
    with sock:
        assert DATA not in [kind for kind, _ in frames_until_end(sock)]
    assert [peer.name for peer in a.hub.peers() if peer.incarnation == 667] == []


def frames_until_end(sock: ssl.SSLSocket) -> Iterator[tuple[int, bytes]]:
    with contextlib.suppress(AssertionError, OSError):
        while True:
            yield read_frame(sock)


def test_certify_for_nobody_in_particular() -> None:
    """As the doctor does, which says nothing of itself."""
    assert certify(KEYS, "doctor", time.time(), ["peer"]).shown
