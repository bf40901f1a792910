"""Datagrams prove that a member has sent them lately: not before a restart; and they make nobody dial without end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from parkcos.net.finding import hints
from parkcos.net.finding.datagram import Announce, DatagramGate, DatagramRejected, Key, encode
from parkcos.net.finding.hints import DIALS_MAX, DIALS_OF_ONE_MAX, SOURCES_MAX, WAITING_OF_ONE_MAX, Hints
from parkcos.net.session.peer import CONNECTING, GONE
from parkcos.net.session.session import PROTOCOL
from parkcos.net.trust.certificates import CertificateIdentity, Certificates, load_certificates, make_certificate
from parkcos.net.trust.signing import Signer
from tests.net.cluster_of_networks import KEYS, WAIT_S, Changes, Cluster, Log, Place
from tests.net.test_certificates import Authority, pem_file
from tests.ports import free_ports

pytestmark = pytest.mark.live

KEY = b"k" * 32
NOW = 1_800_000_000.0
OWN = 77
"""The incarnation of the process whose gate it is."""
HERE = Announce("10.0.0.5", 9706, 5, "node", ("node",), PROTOCOL, False)
ANSWER = msgspec.structs.replace(HERE, answers=OWN)


def reason(gate: DatagramGate, data: bytes, now: float = NOW) -> str:
    with pytest.raises(DatagramRejected) as caught:
        gate.open(data, now)
    return caught.value.reason


# -- a restart


@pytest.mark.parametrize("ahead_s", [-59.0, -1.0, 0.0, 1.0, 59.0])
def test_what_was_recorded_before_a_restart_is_not_let_in_after_it(ahead_s: float) -> None:
    """However the sender's clock goes."""
    recorded = encode(HERE, KEY, NOW - 0.5 + ahead_s)
    assert DatagramGate(KEY, incarnation=66, began=NOW - 1000).open(recorded, NOW - 0.5) == HERE
    fresh = DatagramGate(KEY, incarnation=OWN, began=NOW)
    for later_s in (0.0, 10.0, 59.0, 100.0):
        assert reason(fresh, recorded, NOW + later_s) in ("unproven", "replay", "stale")


def test_an_answer_to_the_process_before_the_restart_is_none_to_this_one() -> None:
    recorded = encode(msgspec.structs.replace(HERE, answers=66), KEY, NOW)
    assert reason(DatagramGate(KEY, incarnation=OWN, began=NOW), recorded, NOW) == "unproven"


def test_whoever_answers_is_let_in_from_then_on() -> None:
    gate = DatagramGate(KEY, incarnation=OWN, began=NOW)
    assert gate.open(encode(ANSWER, KEY, NOW + 1), NOW + 1) == ANSWER
    assert gate.open(encode(HERE, KEY, NOW + 2), NOW + 2) == HERE
    other = msgspec.structs.replace(HERE, incarnation=6)
    assert reason(gate, encode(other, KEY, NOW + 3), NOW + 3) == "unproven"


def test_when_nothing_from_before_can_be_fresh_any_more_all_are_let_in() -> None:
    gate = DatagramGate(KEY, incarnation=OWN, began=NOW)
    assert reason(gate, encode(HERE, KEY, NOW + 119), NOW + 119) == "unproven"
    assert gate.open(encode(HERE, KEY, NOW + 120), NOW + 120) == HERE


def found(a: Place, b: Place) -> bool:
    return a.is_connected_to(b)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def discovering(cluster: Cluster, port: int, name: str, **options: Any) -> Place:
    return cluster.place(name, discover=True, udp_port=port, target_udp_ports=[port], **options)


def test_processes_that_have_just_begun_find_each_other(cluster: Cluster) -> None:
    port = free_ports(1)[0]
    places = [discovering(cluster, port, name) for name in ("a", "b", "c")]
    wait_until(lambda: all(found(a, b) for a in places for b in places if a is not b))


def test_a_recorded_announcement_is_dialled_by_nobody_who_began_later(cluster: Cluster, log: Log) -> None:
    """It says where somebody is who listens, and hears no dial."""
    port = free_ports(1)[0]
    with socket.socket() as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as recorder:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        recorder.bind(("127.0.0.1", 0))
        announce = Announce("127.0.0.1", listener.getsockname()[1], 5, "old", ("peer",), PROTOCOL, False)
        recorded = encode(announce, KEYS.mac_key, time.time())
        victim = discovering(cluster, port, "victim")
        recorder.settimeout(WAIT_S)
        recorder.sendto(recorded, ("127.0.0.1", victim.network.discoveries[0].private_port))
        question = DatagramGate(KEYS.mac_key).open(recorder.recv(2000), time.time())
        assert isinstance(question, Announce) and question.reply and question.answers == 5
        with pytest.raises(TimeoutError):
            listener.accept()
        answer = msgspec.structs.replace(announce, answers=question.incarnation)
        recorder.sendto(
            encode(answer, KEYS.mac_key, time.time()), ("127.0.0.1", victim.network.discoveries[0].private_port)
        )
        listener.settimeout(WAIT_S)
        listener.accept()[0].close()
    assert log.lines == [] or all("a datagram" not in line for line in log.lines)


# -- dials


class Dialled:
    """Somebody whom a hint names."""

    def __init__(self, announce: Announce, source: str) -> None:
        self.announce, self.source, self.state = announce, source, CONNECTING


class Dials:
    def __init__(self) -> None:
        self.made: list[Dialled] = []
        self.hints = Hints(self._dial)  # type: ignore[arg-type]

    def _dial(self, announce: Announce, source: str) -> Any:
        self.made.append(Dialled(announce, source))
        return self.made[-1]

    def say(self, source: str, *numbers: int) -> None:
        for number in numbers:
            self.hints.add(msgspec.structs.replace(HERE, incarnation=number), source)

    @property
    def under_way(self) -> list[Dialled]:
        return [each for each in self.made if each.state is CONNECTING]

    def end(self, *dialled: Dialled) -> None:
        for each in dialled:
            each.state = GONE
            self.hints.go_on()


def test_no_more_than_so_many_are_dialled_at_once() -> None:
    dials = Dials()
    for source in range(20):
        dials.say(f"10.0.0.{source}", *range(1000 * source, 1000 * source + 1000))
    assert len(dials.under_way) == DIALS_MAX == 64
    for _ in range(500):
        dials.end(dials.under_way[0])
        assert len(dials.under_way) <= DIALS_MAX
    waiting = sum(map(len, dials.hints._waiting.values()))
    assert waiting <= SOURCES_MAX * WAITING_OF_ONE_MAX
    while dials.under_way:
        dials.end(*dials.under_way)
    assert not dials.hints._waiting
    assert len({each.announce.incarnation for each in dials.made}) == len(dials.made)


def test_no_source_keeps_the_others_waiting() -> None:
    """One that makes things up has half the places at most; and those that wait have their turns."""
    dials = Dials()
    dials.say("liar", *range(10_000))
    assert len(dials.under_way) == DIALS_OF_ONE_MAX == 32
    dials.say("honest", *range(20_000, 20_010))
    assert [each.source for each in dials.under_way].count("honest") == 10
    dials.say("another liar", *range(30_000, 30_100))
    assert len(dials.under_way) == DIALS_MAX
    dials.say("late", 40_000)
    dials.end(dials.under_way[0])
    dials.end(dials.under_way[0])
    dials.end(dials.under_way[0])
    assert "late" in [each.source for each in dials.made]


def test_what_a_program_asks_for_does_not_wait(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what it has heard of for long, when others make things up: datagrams of a member, to a live process."""
    monkeypatch.setattr(hints, "DIALS_MAX", 3)
    port = free_ports(1)[0]
    victim, wanted = discovering(cluster, port, "victim"), cluster.place("wanted")
    dead = Changes()
    with socket.socket() as full, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        full.bind(("127.0.0.1", 0))
        full.listen(64)  # it takes connections, and says nothing on them
        for number in range(1, 41):
            announce = Announce("127.0.0.1", full.getsockname()[1], number, "x", ("peer",), PROTOCOL, False)
            said = msgspec.structs.replace(announce, answers=victim.network.incarnation, addr=f"127.0.1.{number}")
            liar.sendto(
                encode(said, KEYS.mac_key, time.time()), ("127.0.0.1", victim.network.discoveries[0].private_port)
            )
        wait_until(lambda: sum(map(len, victim.network.hints._waiting.values())) >= 30)
        victim.network.hub.callbacks.gone.append(lambda peer, _: dead.add(peer))
        victim.connect(wanted)
        assert victim.is_connected_to(wanted)


# -- certificates, and no secret


def signer(*paths: Path | None) -> Signer:
    loaded = load_certificates(*paths)
    assert loaded is not None
    return Signer(CertificateIdentity(loaded).current)


def let_in(one: Key, other: Key, now: float | None = None) -> bool:
    """Whether what `one` has sent is let in by `other`."""
    now = time.time() if now is None else now
    gate = DatagramGate(other)
    with contextlib.suppress(DatagramRejected):
        return gate.open(encode(HERE, one, now), now) == HERE
    return gate.counts["signature"] != 1


@pytest.fixture
def ca() -> Authority:
    return Authority("the authority")


def test_a_shared_certificate(tmp_path: Path) -> None:
    shared, other = make_certificate(tmp_path / "a"), make_certificate(tmp_path / "b")
    assert let_in(signer(*shared), signer(*shared))
    assert not let_in(signer(*other), signer(*shared))


KINDS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", KINDS)
def test_certificates_of_an_authority(ca: Authority, tmp_path: Path, kind: str) -> None:
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    one, two = (signer(*ca.issue(tmp_path, name, key=KINDS[kind]()), trusted) for name in ("one", "two"))
    assert let_in(one, two) and let_in(two, one)
    stranger = Authority("the authority")  # of the same name
    own = signer(*stranger.issue(tmp_path, "three"), pem_file(tmp_path / "other.pem", stranger.certificate))
    assert not let_in(own, one) and not let_in(one, own)


def chained(folder: Path, leaf: Path, *between: Authority) -> Path:
    path = pem_file(folder / f"chain-{leaf.name}", *(each.certificate for each in between))
    path.write_bytes(leaf.read_bytes() + path.read_bytes())
    return path


def test_over_an_authority_in_between(ca: Authority, tmp_path: Path) -> None:
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    between = Authority("in between", ca)
    leaf, key = between.issue(tmp_path, "leaf")
    other = signer(*ca.issue(tmp_path, "other"), trusted)
    assert let_in(signer(chained(tmp_path, leaf, between), key, trusted), other)


def test_whoever_is_no_authority_vouches_for_nobody(ca: Authority, tmp_path: Path) -> None:
    """A member's certificate signs another one, which no connection would let in either."""
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    member = Authority("member")
    member.certificate = ca.sign(member.name, member.key, -1, 90, authority=False, usage=None)
    leaf, key = member.issue(tmp_path, "leaf")
    victim = signer(*ca.issue(tmp_path, "victim"), trusted)
    chain = chained(tmp_path, leaf, member).read_text()
    made_up = Certificates(str(leaf), str(key), str(trusted), chain, key.read_text(), trusted.read_text())
    assert not let_in(Signer(lambda: made_up), victim)


def test_certificates_for_other_purposes(ca: Authority, tmp_path: Path) -> None:
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    leaf, key = ca.issue(tmp_path, "leaf", usage=[ExtendedKeyUsageOID.EMAIL_PROTECTION])
    made_up = Certificates(str(leaf), str(key), str(trusted), leaf.read_text(), key.read_text(), trusted.read_text())
    assert not let_in(Signer(lambda: made_up), signer(*ca.issue(tmp_path, "victim"), trusted))


def test_a_certificate_that_has_expired(ca: Authority, tmp_path: Path) -> None:
    trusted = pem_file(tmp_path / "ca.pem", ca.certificate)
    one, two = (signer(*ca.issue(tmp_path, name, to_day=30), trusted) for name in ("one", "two"))
    day = 86400.0
    assert let_in(one, two, time.time() + 29 * day)
    assert not let_in(one, two, time.time() + 31 * day)


def test_each_byte_counts(tmp_path: Path) -> None:
    shared = make_certificate(tmp_path / "a")
    one = signer(*shared)
    now = time.time()
    good = encode(HERE, one, now)
    assert DatagramGate(one).open(good, now) == HERE
    gate = DatagramGate(one)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        assert reason(gate, bytes(bad), now) in ("signature", "version", "magic")
    for cut in range(len(good)):
        assert reason(gate, good[:cut], now) in ("signature", "version", "magic")
    assert gate.open(good, now) == HERE


def test_those_with_a_secret_and_those_without_do_not_hear_each_other(tmp_path: Path) -> None:
    one = signer(*make_certificate(tmp_path / "a"))
    keys: list[Key] = [one, KEY, None]
    now = time.time()
    for sealed in keys:
        for judge in keys:
            gate = DatagramGate(judge)
            if sealed is judge:
                assert gate.open(encode(HERE, sealed, now), now) == HERE
            else:
                why = reason(gate, encode(HERE, sealed, now), now)
                assert why in ("signature", "signed", "no_secret", "has_secret")


def test_processes_find_each_other_and_hear_nobody_else(cluster: Cluster, tmp_path: Path, log: Log) -> None:
    port = free_ports(1)[0]
    shared = load_certificates(*make_certificate(tmp_path / "a"))
    places = [discovering(cluster, port, name, keys=None, certificates=shared) for name in ("a", "b")]
    wait_until(lambda: found(*places) and found(*places[::-1]))
    with socket.socket() as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.5)
        made_up = Announce("127.0.0.1", listener.getsockname()[1], 5, "x", ("peer",), PROTOCOL, False)
        made_up = msgspec.structs.replace(made_up, answers=places[0].network.incarnation)
        private = places[0].network.discoveries[0].private_port
        for key in (None, KEY, signer(*make_certificate(tmp_path / "b"))):
            stranger.sendto(encode(made_up, key, time.time()), ("127.0.0.1", private))
        log.wait_for("a datagram from 127.0.0.1", "is not signed with a certificate that this process trusts")
        with pytest.raises(TimeoutError):
            listener.accept()
