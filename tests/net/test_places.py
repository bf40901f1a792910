"""hub.py, dialer.py and door.py of parkcos/net/session: who lives where, with several addresses, behind NAT; many come.

Real sockets on loopback, and no tasks.
"""

from __future__ import annotations

import random
import socket
import threading
from typing import Any

import msgspec
import pytest

from parkcos.net.location import Location
from parkcos.net.session import book, dialer
from parkcos.net.session import hub as hubs
from parkcos.net.session.frames import BYE, DATA
from parkcos.net.session.peer import GONE, UP
from parkcos.net.session.session import decode_hello, encode_hello
from parkcos.net.trust.tls import TlsIdentity
from tests.net.cluster_of_networks import KEYS, WAIT_S, Changes, Cluster, HubPlace, Log
from tests.net.test_hub import greeted, numbers, read_frame, settled, wait_up

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", autouse=True)
def one_loop_before() -> None:
    """uvloop makes a pipe with the first loop of a process and keeps it: no leak of a test's."""
    with Cluster() as cluster:
        cluster.hub()


def gone(place: HubPlace) -> list[tuple[Any, str]]:
    """Who is gone so far, and why."""
    return [(peer, reason) for what, peer, reason in place.happened.items if what == "gone"]


@pytest.mark.usefixtures("often")
def test_some_end_while_another_thread_asks_for_new_ones(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends is told, whatever another thread enters meanwhile."""
    a = cluster.hub()
    monkeypatch.setattr(a.hub.dialer, "dial", lambda *_: None)  # this is about entries: nobody is there
    nobody = [a.hub.peer_at(Location(f"127.9.{i >> 8}.{i & 255}", 9), i + 1000) for i in range(1500)]
    done = threading.Event()

    def ask() -> None:
        for i in range(20_000):
            if done.is_set():
                return
            a.hub.peer_at(Location(f"127.10.{i >> 8}.{i & 255}", 9))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for peer in nobody:
            assert peer is not None
            a.call(a.hub.end, peer, "enough")
    finally:
        done.set()
        thread.join()
    a.happened.wait(lambda events: sum(event[0] == "gone" for event in events) == len(nobody))


# several addresses


@pytest.mark.parametrize("higher", ["who has two addresses", "who has one"])
def test_both_dial_at_once_one_of_them_a_second_address(higher: str) -> None:
    """One session remains, nobody is told that the other had gone, and nothing is lost."""
    chance = random.Random(7)
    for turn in range(30):
        with Cluster() as cluster:
            a = cluster.hub(addr="127.0.0.2", incarnation=(10 if higher == "who has two addresses" else 1000) + turn)
            b = cluster.hub(addrs=("127.0.0.3",), incarnation=100 + turn)
            barrier = threading.Barrier(2)
            delays = [chance.choice([0, 0, 0.001, 0.002, 0.004, 0.006]) for _ in range(2)]
            targets = Location("127.0.0.3", b.port), a.location

            def dial(one: HubPlace, at: Location, delay: float, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                threading.Event().wait(delay)
                for i in range(100):
                    peer = one.hub.peer_at(at)
                    assert peer is not None
                    one.send(peer, i)

            threads = [threading.Thread(target=dial, args=args) for args in zip((a, b), targets, delays, strict=True)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            b.got.wait(numbers(100))
            a.got.wait(numbers(100))
            settled(a, b)
            assert [e[0] for e in a.happened.items] == [e[0] for e in b.happened.items] == ["up"]


def test_who_is_dialled_at_a_second_address_dials_in_meanwhile(cluster: Cluster) -> None:
    """The lower one's connection is refused, although it has not been known who is at the other address."""
    a = cluster.hub(incarnation=1_000_000)
    with socket.create_server(("127.0.0.9", 0)) as second:
        at = Location("127.0.0.9", second.getsockname()[1])
        to_b = a.hub.peer_at(at)
        assert to_b is not None
        a.send(to_b, 0)
        sock, _ = second.accept()
        sock.settimeout(WAIT_S)
        with (
            TlsIdentity(KEYS, "stranger", incarnation=424242)
            .server_context()
            .wrap_socket(sock, server_side=True) as dialled
        ):
            own = msgspec.structs.replace(
                a.hub.own, incarnation=424242, name="stranger", addr="127.0.0.1", port=1, addrs=("127.0.0.9",)
            )
            dialled.sendall(encode_hello(own))
            _, body = read_frame(dialled)
            asked = decode_hello(body)
            with greeted(a, addrs=("127.0.0.9",)) as dials_in:
                assert read_frame(dials_in)[0] == BYE
            dialled.sendall(encode_hello(msgspec.structs.replace(own, session=9, to_session=asked.session)))
            assert read_frame(dialled)[0] == DATA
    wait_up(a)
    assert to_b.state is not GONE
    assert [event[0] for event in a.happened.items] == ["up"]


def test_two_processes_announce_one_address(cluster: Cluster) -> None:
    """As machines do that all have the same bridge: neither takes the other's place."""
    a, b = cluster.hub(), cluster.hub(addr="127.0.0.2", addrs=("127.0.0.9",))
    c = cluster.hub(addr="127.0.0.3", addrs=("127.0.0.9",), listens_at=("127.0.0.3",), port=b.port)
    to_b = a.peer(b)
    a.send(to_b, 0)
    b.got.wait(numbers(1))
    to_c = a.peer(c)
    a.send(to_c, 0)
    c.got.wait(numbers(1))
    assert gone(a) == []
    a.send(to_b, 1)
    a.send(to_c, 1)
    b.got.wait(numbers(2))
    c.got.wait(numbers(2))


class Attempts(Changes):
    """What comes of the attempts of one hub to dial: ConnectionRefusedError and the like, by class."""

    def __init__(self, place: HubPlace, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        failed = place.hub.dialer._failed

        def told(*args: Any) -> None:
            failed(*args)
            self.add(next(type(arg) for arg in args if isinstance(arg, BaseException)))

        monkeypatch.setattr(place.hub.dialer, "_failed", told)


def stop_listening(place: HubPlace) -> None:
    """Whoever dials waits at the door, as when the path is cut."""
    for sock in place.hub.door.listeners:
        place.io.loop.remove_reader(sock.fileno())


@pytest.mark.parametrize("other", ["refuses", "is another process", "is the own process"])
def test_a_cut_when_another_address_is_not_the_processs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """What answers at an address where the process was never reached says nothing about it."""
    monkeypatch.setattr(dialer, "ATTEMPT_EVERY_S", 0.05)
    monkeypatch.setattr(hubs, "ACCEPTOR_WAITS_S", 60.0)  # b does not dial
    a = cluster.hub()
    second = "127.0.0.1" if other == "is the own process" else "127.0.0.9"
    port = a.port if other == "is the own process" else 0
    b = cluster.hub(addr="127.0.0.2", addrs=(second,), listens_at=("127.0.0.2",), port=port)
    if other == "is another process":
        cluster.hub(addr="127.0.0.9", port=b.port)
    to_b = a.peer(b)
    a.send(to_b, 0)
    b.got.wait(numbers(1))
    attempts = Attempts(a, monkeypatch)
    b.call(stop_listening, b)
    (link,) = a.links()
    a.call(a.hub._lost, to_b, link, "cut")
    a.send(to_b, 1)
    attempts.wait(lambda ends: len(ends) >= (3 if other == "refuses" else 1))
    assert gone(a) == []
    b.call(b.hub.door.start)
    b.got.wait(numbers(2))
    assert to_b.state is UP


# NAT


def test_behind_nat_with_the_address_of_a_process_here(cluster: Cluster) -> None:
    """It has the private address and port of a process of this network: each remains who it is."""
    a, here = cluster.hub(), cluster.hub(addr="127.0.0.7")
    with greeted(a, addr="127.0.0.7", own_port=here.port) as far:
        read_frame(far)
        wait_up(a)
        to_here = a.hub.peer_at(here.location, here.hub.own.incarnation)
        assert to_here is not None
        a.send(to_here, 0)
        here.got.wait(numbers(1))
        assert gone(a) == []
        to_far = a.hub.peer_at(here.location, 424242)
        assert to_far is not None
        assert to_far.state is UP
        assert not to_far.dialable


# restarted


def test_who_is_told_of_a_new_process_before_it_has_noticed_the_end_of_the_old_one(cluster: Cluster) -> None:
    """As a client is by a node, which starts another server at the port of one that was killed."""
    a, old = cluster.hub(), cluster.hub()
    to_old = a.peer(old)
    a.send(to_old, 0)
    old.got.wait(numbers(1))
    old.kill()
    new = cluster.hub(port=old.port)
    to_new = a.hub.peer_at(new.location, new.hub.own.incarnation)
    assert to_new is not None
    a.send(to_new, 0)
    new.got.wait(numbers(1))
    a.happened.wait(lambda events: any(event[:2] == ("gone", to_old) for event in events))
    assert a.hub.peer_at(new.location) is to_new.itself


def test_who_asks_for_a_process_of_which_another_one_has_taken_the_place(cluster: Cluster) -> None:
    """It is dialled, for it might be the newer one; the one that is there remains, and hears nothing of it."""
    with Log() as log:
        a, b = cluster.hub(), cluster.hub()
        to_b = a.peer(b)
        a.send(to_b, 0)
        b.got.wait(numbers(1))
        other = a.hub.peer_at(b.location, 77)
        assert other is not None
        a.happened.wait(lambda events: any(event[:2] == ("gone", other) for event in events))
        assert a.hub.peer_at(b.location, 77) is None
        assert a.hub.peer_at(b.location) is to_b
        a.send(to_b, 1)
        b.got.wait(numbers(2))
        settled(a, b)
    assert log.lines == []


# many


def test_who_has_gone_is_not_kept_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the latest it is known that they have gone; of older ones nothing is left."""
    monkeypatch.setattr(book, "GONE_MAX", 3)
    a = cluster.hub()
    for number in range(10):
        with greeted(a, incarnation=5000 + number) as sock:
            read_frame(sock)
            wait_up(a, number + 1)
            a.call(a.hub.end, a.hub.by_incarnation[5000 + number], "enough")
    assert sorted(a.hub.by_incarnation) == [5007, 5008, 5009]
    assert a.hub.peer_at(Location("127.0.0.1", 1), 5009) is None
