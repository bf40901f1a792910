"""parkcos/net/session/hub.py (with peer.py and link.py): real sockets on loopback, and no tasks."""

from __future__ import annotations

import errno
import itertools
import logging
import random
import socket
import ssl
import threading
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.net import wire
from parkcos.net.location import Location
from parkcos.net.session import dialer, door
from parkcos.net.session import hub as module
from parkcos.net.session import peer as peers
from parkcos.net.session import session as sessions
from parkcos.net.session.door import GREETINGS_MAX
from parkcos.net.session.frames import BIG, BIG_SIZE, BYE, DATA, FRAME_BYTES_MAX, HEADER, HELLO_BYTES_MAX, PART, header
from parkcos.net.session.peer import GONE, UP
from parkcos.net.session.session import PROTOCOL
from parkcos.net.trust.tls import TlsIdentity
from tests.net.cluster_of_networks import KEYS, OTHER_KEYS, WAIT_S, Changes, Cluster, HubPlace, Log

pytestmark = pytest.mark.live


def ups(place: HubPlace) -> list[Any]:
    return [event for event in place.happened.items if event[0] == "up"]


def wait_up(place: HubPlace, count: int = 1) -> Any:
    return place.happened.wait(lambda events: sum(e[0] == "up" for e in events) >= count)


def wait_gone(place: HubPlace, timeout_s: float = WAIT_S) -> tuple[Any, str]:
    """The first peer that is gone, and why."""
    events = place.happened.wait(lambda events: any(e[0] == "gone" for e in events), timeout_s)
    _, peer, reason = next(e for e in events if e[0] == "gone")
    return peer, reason


def numbers(count: int) -> Any:
    return lambda items: len(items) >= count and items == list(range(count))


# connecting


def test_messages_both_ways(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    to_b = a.peer(b)
    for i in range(2000):
        a.send(to_b, i, big=i % 500 == 3)
    b.got.wait(numbers(2000))
    (_, to_a, _) = wait_up(b)[0]
    assert (to_a.name, to_a.location, to_a.incarnation) == (a.hub.own.name, a.location, a.hub.own.incarnation)
    for i in range(2000):
        b.send(to_a, i, big=i % 500 == 3)
    a.got.wait(numbers(2000))
    assert len(a.links()) == len(b.links()) == 1
    assert len(ups(a)) == len(ups(b)) == 1


def test_dialled_by_its_address_and_then_meant_by_name(cluster: Cluster) -> None:
    """Whoever asks for the process finds the connection that was begun before anybody knew who lives there."""
    a, b = cluster.hub(), cluster.hub(start=False)
    dialled = a.hub.peer_at(b.location)
    incarnation = b.hub.own.incarnation
    assert a.hub.peer_at(b.location, incarnation) is dialled
    assert a.hub.by_incarnation[incarnation] is dialled


def test_without_a_secret(cluster: Cluster) -> None:
    a, b = cluster.hub(keys=None), cluster.hub(keys=None)
    to_b = a.peer(b)
    for i in range(300):
        a.send(to_b, i, big=i % 100 == 3)
    b.got.wait(numbers(300))


def test_what_was_posted_before_the_other_listened(cluster: Cluster) -> None:
    """A port that is bound but not served yet: the greeting waits."""
    a, b = cluster.hub(), cluster.hub(start=False)
    to_b = a.peer(b)
    for i in range(10):
        a.send(to_b, i)
    b.start()
    b.got.wait(numbers(10))


@pytest.mark.parametrize("who_is_higher", [0, 1])
@pytest.mark.parametrize("batch", range(3))
def test_both_dial_at_once(cluster: Cluster, who_is_higher: int, batch: int) -> None:
    """Exactly one connection survives, and nothing is lost, whatever the interleaving."""
    chance = random.Random(batch)
    for turn in range(12):
        high, low = 1000 + turn, 10 + turn
        with Cluster() as inner:
            a = inner.hub(incarnation=high if who_is_higher == 0 else low)
            b = inner.hub(incarnation=high if who_is_higher == 1 else low)
            barrier = threading.Barrier(2)
            delays = [chance.choice([0, 0, 0.001, 0.003, 0.006]) for _ in range(2)]

            def dial(one: HubPlace, other: HubPlace, delay: float, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                if delay:
                    threading.Event().wait(delay)
                peer = one.peer(other)
                for i in range(100):
                    one.send(one.peer(other), i)
                assert peer is not None

            threads = [threading.Thread(target=dial, args=args) for args in ((a, b, delays[0]), (b, a, delays[1]))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            b.got.wait(numbers(100))
            a.got.wait(numbers(100))
            for i in range(100, 120):
                a.send(a.peer(b), i)
                b.send(b.peer(a), i)
            b.got.wait(numbers(120))
            a.got.wait(numbers(120))
            settled(a, b)
            assert [e[0] for e in a.happened.items] == [e[0] for e in b.happened.items] == ["up"]


def settled(a: HubPlace, b: HubPlace) -> None:
    """Wait until both have one and the same connection and nobody dials."""
    for _ in range(2000):
        la, lb = a.links(), b.links()
        busy = [t for place in (a, b) for t in place.call(lambda p=place: [*p.hub.dialer.tasks, *p.hub.door.greetings])]
        if not busy and len(la) == len(lb) == 1 and ends(la[0]) == tuple(reversed(ends(lb[0]))):
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"two hubs do not agree on one connection: {la} {lb} {busy}")


def ends(link: Any) -> tuple[Any, ...]:
    try:
        return link.sock.getsockname(), link.sock.getpeername()
    except OSError:
        return link, None


def test_by_an_alias_it_is_the_same_peer(cluster: Cluster) -> None:
    """Dialled by two addresses at once: one peer remains, and what was posted to either arrives."""
    b = HubPlace(addr="127.0.0.1", start=False)
    cluster.places.append(b)
    sock = socket.create_server(("127.0.0.2", 0))
    sock.setblocking(False)
    b.hub.door.listeners.append(sock)  # it listens at two addresses, and says the first
    b.start()
    a = cluster.hub()
    alias = Location("127.0.0.2", sock.getsockname()[1])
    first = a.hub.peer_at(alias)
    second = a.hub.peer_at(b.location)
    assert first is not None
    assert second is not None
    for i in range(10):
        a.send(first, 2 * i)
        a.send(second, 2 * i + 1)
    got = b.got.wait(lambda items: len(items) >= 20)
    assert sorted(got) == list(range(20))
    wait_up(a)
    assert [e[0] for e in a.happened.items] == ["up"]
    # Whoever has either still reaches it, also if the message was added just when they became one.
    merged = first if first.merged is not None else second
    assert a.send(merged, 20)
    merged.queue.append(wire.Service(wire.EMPTY, 0, False, "test", (21).to_bytes(4, "big")))
    a.hub._mark_dirty(merged)
    b.got.wait(lambda items: set(items) == set(range(22)))
    told = Changes()
    a.hub.when_caught_up(merged, told.add)
    assert told.wait(len) == [True]
    survivor = a.hub.peer_at(alias)
    assert survivor is a.hub.peer_at(b.location)
    b.close()
    wait_gone(a)
    # Neither address is poisoned: whoever lives there next is dialled.
    again = a.hub.peer_at(alias)
    assert again is not None
    assert again.state is not GONE


# connections that break


def cut(link: Any, how: int) -> None:
    """Shut the socket down underneath TLS (SSLSocket's own shutdown would go on in plain text)."""
    socket.socket.shutdown(link.sock, how)


@pytest.mark.parametrize("who", ["dialer", "acceptor"])
@pytest.mark.parametrize("how", [socket.SHUT_RDWR, socket.SHUT_WR])
def test_reconnect_after_the_socket_was_closed_underneath(cluster: Cluster, who: str, how: int) -> None:
    a, b = cluster.hub(), cluster.hub()
    to_b = a.peer(b)
    wait_up(b)
    to_a = b.happened.items[0][1]
    victim = a if who == "dialer" else b
    total = 3000
    for i in range(total):
        a.send(to_b, i, big=i % 700 == 5)
        b.send(to_a, i, big=i % 700 == 6)
        if i % 500 == 250:
            links = victim.links()
            if links:
                victim.call(cut, links[0], how)
    b.got.wait(numbers(total))
    a.got.wait(numbers(total))
    assert [e[0] for e in a.happened.items] == [e[0] for e in b.happened.items] == ["up"]
    settled(a, b)


def test_a_process_that_is_no_more_is_read_to_the_end_of_its_connection_and_not_dialled(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    to_b = a.peer(b)
    wait_up(b)
    to_b.no_more = True
    b.send(b.happened.items[0][1], 0)
    a.got.wait(numbers(1))
    (link,) = b.links()
    cut(link, socket.SHUT_RDWR)
    assert wait_gone(a) == (to_b, "the connection was closed"), "though it listens, and could be dialled again"


def test_cut_at_random_moments_under_load(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    to_b = a.peer(b)
    wait_up(b)
    to_a = b.happened.items[0][1]
    total, chance = 4000, random.Random(5)
    stop = threading.Event()
    cuts = itertools.count()

    def saboteur() -> None:
        while not stop.wait(chance.uniform(0.0, 0.03)):
            for link in chance.choice([a, b]).links():
                try:
                    cut(link, socket.SHUT_RDWR)
                    next(cuts)
                except OSError:
                    pass

    thread = threading.Thread(target=saboteur)
    thread.start()
    try:
        for i in range(total):
            a.send(to_b, i, big=i % 100 == 5)
            b.send(to_a, i, big=i % 100 == 6)
            if i % 100 == 0:
                a.got.wait(lambda items, i=i: len(items) >= i - 300)
                b.got.wait(lambda items, i=i: len(items) >= i - 300)
    finally:
        stop.set()
        thread.join()
    b.got.wait(numbers(total))
    a.got.wait(numbers(total))
    assert next(cuts) > 0
    assert [e[0] for e in a.happened.items] == [e[0] for e in b.happened.items] == ["up"]
    settled(a, b)


def test_a_process_that_was_killed_is_gone_within_a_second(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    peer = a.peer(b)
    wait_up(a)
    b.kill()
    gone, reason = wait_gone(a, timeout_s=1.0 + 4.0)  # a loaded machine is forgiven; the rule's own time is below
    assert gone is peer
    assert "no process listens at" in reason
    assert "refused" in reason
    assert sum(dialer.REDIAL_DELAYS_S[: dialer.REFUSED_MAX]) + module.ACCEPTOR_WAITS_S < 1.0
    assert peer.state is GONE
    assert not a.send(peer, 1)
    assert a.hub.peer_at(b.location, b.hub.own.incarnation) is None


def test_nobody_ever_listened(cluster: Cluster) -> None:
    a = cluster.hub()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        location = Location("127.0.0.1", sock.getsockname()[1])
        peer = a.hub.peer_at(location)
        assert peer is not None
        a.send(peer, 1)
        _, reason = wait_gone(a)
    assert str(location) in reason
    assert "no process listens" in reason


@pytest.mark.parametrize(("count", "text"), [(1, "a message (or batch) to"), (50, "could not be delivered")])
def test_what_a_lost_process_was_to_get_is_reported(cluster: Cluster, log: Log, count: int, text: str) -> None:
    a, b = cluster.hub(), cluster.hub()
    peer = a.peer(b)
    wait_up(a)
    b.kill()
    for i in range(count):
        a.send(peer, i)
    wait_gone(a)
    log.wait_for(text, "could not be delivered", str(b.location))


def test_a_restarted_process_gets_only_new_messages(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    old = a.peer(b)
    wait_up(a)
    b.kill()
    for i in range(100, 200):
        a.send(old, i)
    c = cluster.hub(port=b.port)
    assert c.location == b.location
    wait_gone(a)
    assert not a.send(old, 777)
    assert a.hub.peer_at(b.location, b.hub.own.incarnation) is None
    new = a.peer(c)
    for i in range(10):
        a.send(new, i)
    c.got.wait(numbers(10))
    assert new.incarnation == c.hub.own.incarnation


def test_a_restarted_process_that_dials_first(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    old = a.peer(b)
    wait_up(a)
    b.kill()
    c = cluster.hub(port=b.port)
    to_a = c.peer(a)
    for i in range(10):
        c.send(to_a, i)
    a.got.wait(numbers(10))
    gone, reason = wait_gone(a)
    assert gone is old
    assert "restarted" in reason or "refused" in reason
    wait_up(a, 2)
    assert a.peer(c).incarnation == c.hub.own.incarnation


def test_goodbye(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    to_b = a.peer(b)
    for i in range(1000):
        a.send(to_b, i, big=i == 500)
    wait_up(a)
    a.close()  # what was sent goes out first
    b.got.wait(numbers(1000))
    gone, reason = wait_gone(b)
    assert gone.incarnation == a.hub.own.incarnation
    assert reason == "it has ended"


def test_gone_is_told_once(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    a.peer(b)
    wait_up(a)
    wait_up(b)
    b.close()
    wait_gone(a)
    a.close()
    assert [e[0] for e in a.happened.items] == ["up", "gone"]


def test_silence(cluster: Cluster) -> None:
    """A peer whose connection is there but that says nothing for five pulses is gone, and told so in words."""
    a, b = cluster.hub(pulse_s=0.05), cluster.hub(pulse_s=3600)
    a.peer(b)
    wait_up(a)
    _, reason = wait_gone(a)
    assert "nothing was heard of it" in reason


def test_pulses_keep_an_idle_session(cluster: Cluster) -> None:
    a, b = cluster.hub(pulse_s=0.1), cluster.hub(pulse_s=0.1)
    peer = a.peer(b)
    wait_up(a)
    heard = a.call(lambda: peer.session.last_heard)
    for _ in range(1000):
        if a.call(lambda: peer.session.last_heard) > heard + 0.6:  # more than five pulses later
            break
        threading.Event().wait(0.01)
    assert peer.state is UP
    assert [e[0] for e in a.happened.items] == ["up"]


def test_a_gone_peer_holds_no_buffers(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    peer = a.peer(b)
    wait_up(a)
    b.kill()
    for i in range(20):
        a.send(peer, i, big=True)
    wait_gone(a)
    a.call(lambda: None)
    assert peer.session.unacked_bytes == 0
    assert len(peer.session.get_buffer()) == 0


def test_several_threads_post_and_nothing_is_forgotten(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    peer = a.peer(b)
    wait_up(a)
    turns, threads_n = 500, 4
    done = Changes_per_thread(threads_n)

    def post(me: int) -> None:
        for i in range(turns):
            a.send(peer, me * turns + i)
            if i % 50 == 0:
                done.wait(me)

    threads = [threading.Thread(target=post, args=(i,)) for i in range(threads_n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = b.got.wait(lambda items: len(items) >= turns * threads_n)
    assert sorted(got) == list(range(turns * threads_n))
    for i in range(threads_n):
        mine = [n for n in got if n // turns == i]
        assert mine == sorted(mine)


class Changes_per_thread:
    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count)

    def wait(self, _: int) -> None:
        self._barrier.wait(WAIT_S)


def test_a_message_that_cannot_be_encoded_harms_no_other(cluster: Cluster, log: Log) -> None:
    a, b = cluster.hub(), cluster.hub()
    peer = a.peer(b)
    wait_up(a)
    with peer.lock:  # so that they leave in one batch
        for i in range(20):
            if i == 10:
                peer.post(wire.Locate("task", "\udcff", 1))
            a.send(peer, i)
    b.got.wait(numbers(20))
    log.wait_for("cannot be encoded", "Locate", str(b.location))


def test_a_large_message_that_cannot_be_encoded_leaves_no_payload_there(cluster: Cluster, log: Log) -> None:
    """Else the next large message would be given that payload."""
    a, b = cluster.hub(), cluster.hub()
    peer = a.peer(b)
    a.send(peer, 0, big=True)
    assert peer.post_payload(wire.ToChannel(wire.EMPTY, 0, False, "\udcff"), [b"x" * 100_000])
    a.send(peer, 1, big=True)  # the far side compares
    b.got.wait(numbers(2))
    log.wait_for("cannot be encoded", "ToChannel", str(b.location))


def test_what_is_posted_during_a_flush_is_not_counted_for_ever(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits until the far side has caught up is told, although nothing else is sent."""
    a, b = cluster.hub(), cluster.hub()
    peer = a.peer(b)
    a.send(peer, 0)
    b.got.wait(numbers(1))
    monkeypatch.setattr(peers, "BEHIND_BYTES", 100_000)
    encode = wire.encode

    def meanwhile(batch: Any) -> bytes:
        monkeypatch.setattr(wire, "encode", encode)
        thread = threading.Thread(target=a.send, args=(peer, 3, True))
        thread.start()
        thread.join(WAIT_S)
        return encode(batch)

    monkeypatch.setattr(wire, "encode", meanwhile)
    with peer.lock:  # so that they leave in one flush: it goes on after the first
        a.send(peer, 1)
        a.send(peer, 2, True)
    b.got.wait(numbers(4))
    told = Changes()
    a.hub.when_caught_up(peer, told.add)
    assert told.wait(len) == [True]


def test_port_that_is_taken(cluster: Cluster) -> None:
    a = cluster.hub()
    with pytest.raises(ConfigError, match=f"TCP port {a.port}"):
        a.hub.listen(["127.0.0.1"], [a.port])


def test_a_free_port_that_is_taken_at_another_address(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system is asked for another one, as often as may help."""
    bound, refusals = door._bound, [OSError(errno.EADDRINUSE, "Address already in use")] * 3

    def refusing(addrs: Any, port: int) -> list[socket.socket]:
        if refusals:
            raise refusals.pop()
        return bound(addrs, port)

    monkeypatch.setattr(door, "_bound", refusing)
    a = cluster.hub()
    assert a.port
    assert not refusals
    refusals += [OSError(errno.EADDRINUSE, "Address already in use")] * door.ANY_PORT_TRIES
    with pytest.raises(ConfigError, match=r"no TCP port was found that is free at 127\.0\.0\.1: give one"):
        a.hub.listen(["127.0.0.1"], [0])


# who does not get in


def dialled_raw(place: HubPlace) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", place.port), WAIT_S)
    sock.settimeout(WAIT_S)
    return sock


def dialled_tls(place: HubPlace, keys: Any = KEYS, incarnation: int = 424242) -> ssl.SSLSocket:
    """A connection of somebody who knows the secret, after its handshake."""
    identity = TlsIdentity(keys, "stranger", incarnation=incarnation)
    return identity.client_context().wrap_socket(dialled_raw(place))


def read_frame(sock: socket.socket) -> tuple[int, bytes]:
    data = b""
    while len(data) < HEADER.size or len(data) < HEADER.size + HEADER.unpack_from(data)[0]:
        more = sock.recv(1)
        assert more, f"closed after {data!r}"
        data += more
    return HEADER.unpack_from(data)[1], data[HEADER.size :]


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except OSError:
        pass
    return data


def greeted(place: HubPlace, incarnation: int = 424242, own_port: int = 1, **changes: Any) -> ssl.SSLSocket:
    """A stranger in the middle of a good session."""
    sock = dialled_tls(place, incarnation=incarnation)
    read_frame(sock)
    own = sessions.msgspec.structs.replace(
        place.hub.own, incarnation=incarnation, name="stranger", port=own_port, session=9, **changes
    )
    sock.sendall(sessions.encode_hello(own))
    return sock


def still_serves(cluster: Cluster, place: HubPlace) -> None:
    other = cluster.hub()
    other.send(other.peer(place), 5)
    place.got.wait(lambda items: 5 in items)


def test_wrong_secret_is_said_once_on_each_side(cluster: Cluster, log: Log) -> None:
    a, b = cluster.hub(), cluster.hub(keys=OTHER_KEYS)
    peer = a.peer(b)
    _, reason = wait_gone(a)
    assert "another secret" in reason
    log.wait_for("refused a connection from 127.0.0.1:", "another secret")
    log.wait_for("no connection to", str(b.location), "another secret")
    again = a.peer(b)
    a.happened.wait(lambda events: len(events) == 2)
    assert again is not peer
    assert len(log.with_words("another secret")) == 2
    assert b.got.items == []
    assert ups(a) == ups(b) == []


@pytest.mark.parametrize(("ours", "theirs"), [(KEYS, None), (None, KEYS)])
def test_with_and_without_a_secret(
    cluster: Cluster, log: Log, ours: Any, theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialer, "DIAL_TIMEOUT_S", 0.5)  # each waits for the other to say something it understands
    a, b = cluster.hub(keys=ours, pulse_s=0.5), cluster.hub(keys=theirs)
    a.send(a.peer(b), 1)
    _, reason = wait_gone(a)
    assert reason
    assert b.got.items == []
    log.wait_for("127.0.0.1:")


def test_another_version_is_said_on_each_side(cluster: Cluster, log: Log) -> None:
    a, b = cluster.hub(), cluster.hub(protocol=PROTOCOL + 1)
    a.peer(b)
    _, reason = wait_gone(a)
    assert f"protocol {PROTOCOL + 1}" in reason
    assert "install the same version" in reason
    log.wait_for("refused a connection from 127.0.0.1:", f"it speaks protocol {PROTOCOL} ", "install the same version")
    log.wait_for("no connection to", str(b.location), f"it speaks protocol {PROTOCOL + 1} ")
    assert len(log.with_words("protocol")) == 2
    assert b.got.items == []


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 100, bytes(range(256)) * 20, b"SSH-2.0-OpenSSH_9.0\r\n"],
    ids=["http", "zeros", "anything", "ssh"],
)
def test_garbage_instead_of_tls(cluster: Cluster, log: Log, garbage: bytes) -> None:
    a = cluster.hub()
    with dialled_raw(a) as sock:
        sock.sendall(garbage)
        port = sock.getsockname()[1]
        read_to_end(sock)
        log.wait_for(f"127.0.0.1:{port}", "does not speak TLS")
    assert len(log.lines) == 1
    still_serves(cluster, a)


BAD_GREETINGS = {
    "data": (header(DATA, 3, 1) + b"abc", "no greeting of parkcos"),
    "oversized": (header(1, HELLO_BYTES_MAX + 1), "no greeting of parkcos"),
    "malformed": (header(1, 3) + b"abc", "malformed greeting"),
    "no text": (header(1, 6) + b"\x92\x01\xa3\xff\xff\xff", "malformed greeting"),
    "closed": (b"", "closed the connection during the greeting"),
    "half": (header(1, 100) + b"abc", "closed the connection during the greeting"),
}


@pytest.mark.parametrize("case", BAD_GREETINGS)
def test_garbage_instead_of_a_greeting(cluster: Cluster, log: Log, case: str) -> None:
    """One that only leaves is no reason for a warning: so does a process that ends while it dials."""
    data, words = BAD_GREETINGS[case]
    a = cluster.hub()
    with Log(logging.INFO) as all_lines, dialled_tls(a) as sock:
        read_frame(sock)
        port = sock.getsockname()[1]
        if data:
            sock.sendall(data)
        if "closed" in words:
            sock.shutdown(socket.SHUT_WR)
        read_to_end(sock)
        all_lines.wait_for(f"127.0.0.1:{port}", words)
    assert len(log.lines) == ("closed" not in words)
    still_serves(cluster, a)


@pytest.mark.parametrize("addr", ["nowhere.invalid", "localhost", "", "127.0.0.1\x00"])
def test_a_greeting_with_a_false_address(cluster: Cluster, log: Log, addr: str) -> None:
    a = cluster.hub()
    with greeted(a, addr=addr) as sock:
        read_to_end(sock)
        log.wait_for("127.0.0.1:", "malformed greeting")
    still_serves(cluster, a)


def one_byte_payload(seq: int) -> bytes:
    return header(BIG, 8, seq) + BIG_SIZE.pack(1) + header(PART, 1, seq + 1) + b"x"


BAD_LATER = {
    "oversized": (header(DATA, FRAME_BYTES_MAX + 1, 1), "larger than any"),
    "unknown kind": (header(99, 0), "unknown kind"),
    "gap": (header(DATA, 1, 3) + b"x", "missing"),
    "ack": (header(5, 0, 12), "acknowledged"),
    "part": (header(4, 1, 1) + b"x", "not announced"),
    "payloads": (b"".join(one_byte_payload(seq) for seq in (1, 3)), "without a message"),
    "no message": (header(DATA, 3, 1) + b"abc", "no known kind"),
    "bad text": (header(DATA, 9, 1) + b"\x91\x94\x07\xa3\xff\xff\xff\xa0\x01", "no known kind"),
}


@pytest.mark.parametrize("case", BAD_LATER)
def test_garbage_in_a_session(cluster: Cluster, log: Log, case: str) -> None:
    data, words = BAD_LATER[case]
    a = cluster.hub()
    with greeted(a) as sock:
        read_frame(sock)
        wait_up(a)
        sock.sendall(data)
        read_to_end(sock)
        log.wait_for("127.0.0.1", words)
        wait_gone(a)
    assert a.got.items == []
    assert len(log.with_words(words)) == 1
    still_serves(cluster, a)


def test_a_greeting_that_acknowledges_what_was_never_sent(cluster: Cluster, log: Log) -> None:
    a = cluster.hub()
    with greeted(a) as first:
        _, body = read_frame(first)
        mine = sessions.decode_hello(body)
        wait_up(a)
        with greeted(a, to_session=mine.session, received=10) as second:
            read_to_end(second)
        log.wait_for("127.0.0.1:", "acknowledged")
        wait_gone(a)
    still_serves(cluster, a)


def test_a_second_connection_takes_the_place_of_the_first(cluster: Cluster) -> None:
    a = cluster.hub()
    with greeted(a) as first:
        _, body = read_frame(first)
        session = sessions.decode_hello(body).session
        wait_up(a)
        with greeted(a, to_session=session) as second:
            _, body = read_frame(second)
            assert sessions.decode_hello(body).session == session
            assert read_to_end(first) == b""  # it was closed
            assert len(a.links()) == 1
            assert [e[0] for e in a.happened.items] == ["up"]


def test_a_session_that_was_given_up_is_not_gone_on_with(cluster: Cluster) -> None:
    a = cluster.hub()
    with greeted(a, to_session=77) as sock:
        kind, body = read_frame(sock)
        assert kind == BYE
        assert b"given the connection up" in body
    assert ups(a) == []


def test_a_tls_client_that_never_speaks_and_one_that_never_shakes_hands(
    cluster: Cluster, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "GREETING_TIMEOUT_S", 0.2)
    a = cluster.hub()
    with dialled_tls(a) as mute, dialled_raw(a) as mute_too:
        ports = [mute.getsockname()[1], mute_too.getsockname()[1]]
        still_serves(cluster, a)
        read_to_end(mute)
        read_to_end(mute_too)
        log.wait_for("127.0.0.1:", "no answer in time")
    assert any(str(port) in log.lines[0] for port in ports)
    assert len(log.lines) == 1  # both from one host, for one reason
    still_serves(cluster, a)


def test_300_half_open_connections_do_not_stop_service(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    socks: list[socket.socket] = []
    try:
        for _ in range(300):
            socks.append(dialled_raw(a))
        still_serves(cluster, a)
        assert len(a.hub.door.greetings) <= GREETINGS_MAX
        peer = b.peer(a)
        wait_up(b)
        for i in range(100):
            b.send(peer, i)
        a.got.wait(lambda items: 99 in items)
    finally:
        for sock in socks:
            sock.close()


def test_closing_while_others_are_at_the_door(cluster: Cluster) -> None:
    a = cluster.hub()
    socks = [dialled_raw(a) for _ in range(50)]
    a.close()
    for sock in socks:
        assert read_to_end(sock) == b""
        sock.close()


def test_dialling_the_own_address(cluster: Cluster, log: Log) -> None:
    a = cluster.hub()
    a.peer(a)
    _, reason = wait_gone(a)
    assert "own process" in reason


def test_an_answer_lost_in_a_cut_does_not_end_the_session(cluster: Cluster) -> None:
    """The dialler greets, its connection breaks before it reads the answer, and it greets again, still not knowing."""
    a = cluster.hub()
    with greeted(a):
        wait_up(a)
        peer = a.happened.items[0][1]
        assert a.send(peer, 1)
    with greeted(a) as second:
        kind, body = read_frame(second)
        assert sessions.decode_hello(body).session == peer.session.id
        kind, body = read_frame(second)
        assert kind == DATA
        assert wire.decode(body)[0].body == (1).to_bytes(4, "big")  # type: ignore[attr-defined]
        assert peer.state is UP
        assert [e[0] for e in a.happened.items] == ["up"]


def test_a_new_session_of_a_process_that_gave_the_old_one_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "FRESH_S", 0.0)  # the old one is not fresh any more
    a = cluster.hub()
    with greeted(a):
        wait_up(a)
        old = a.happened.items[0][1]
        with dialled_tls(a) as other:
            read_frame(other)
            own = sessions.msgspec.structs.replace(a.hub.own, incarnation=424242, name="stranger", port=1, session=10)
            other.sendall(sessions.encode_hello(own))
            wait_up(a, 2)
            gone, reason = wait_gone(a)
    assert gone is old
    assert "gave up" in reason


def test_a_process_that_was_given_up_and_is_there_after_all(cluster: Cluster) -> None:
    a, b = cluster.hub(), cluster.hub()
    there = b.hub.own.incarnation
    old = a.peer(b)
    wait_up(a)
    a.call(lambda: a.hub.end(old, "nothing was heard of it"))
    assert wait_gone(a)[0] is old
    wait_gone(b)
    assert a.hub.peer_at(b.location, there) is None
    new = a.hub.peer_at(b.location, there, anew=True)
    assert new is not None
    assert new is not old
    assert a.hub.peer_at(b.location, there, anew=True) is new, "once"
    for i in range(10):
        a.send(new, i)
    b.got.wait(numbers(10))
    assert new.state is UP
    wait_up(b, 2)
