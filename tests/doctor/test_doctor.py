"""parkcos/doctor/findings.py and probe.py: findings of facts; facts of real sockets on loopback; the command itself."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos.commands.node import main as node_main
from parkcos.commands.scheduler import main as scheduler_main
from parkcos.doctor import findings as dr
from parkcos.doctor import probe as probes
from parkcos.doctor.probe import Prober
from parkcos.net.finding.addresses import Interface, choose_address
from parkcos.net.finding.datagram import Announce, encode
from parkcos.net.session import session as sessions
from parkcos.net.session.session import PROTOCOL, Hello
from parkcos.net.trust.certificates import CertificateIdentity, load_certificates, make_certificate
from parkcos.net.trust.secret import ClusterKeys, fingerprint
from parkcos.net.trust.tls import TlsIdentity
from tests.net.cluster_of_networks import KEYS, OTHER_KEYS, Cluster, Log, Place
from tests.ports import free_ports
from tests.secret import OTHER_SECRET, SECRET


def levels(findings: list[dr.Finding]) -> list[str]:
    return [finding.level for finding in findings]


def only(findings: list[dr.Finding], level: str, *words: str) -> dr.Finding:
    """The one finding of that level that has all these words."""
    found = [f for f in findings if f.level == level and all(word in str(f) for word in words)]
    assert len(found) == 1, "\n".join(map(str, findings))
    return found[0]


# Judgement


def contact(port: int, state: dr.TcpState, **more: Any) -> dr.Contact:
    return dr.Contact(port, state, **more)


def host(*states: dr.TcpState, **more: Any) -> dr.HostFacts:
    contacts = [contact(port, state) for port, state in zip((9705, 9706), states, strict=True)]
    return dr.HostFacts("10.0.0.7", "10.0.0.7", "", contacts, {9705: "scheduler", 9706: "node"}, **more)


def test_exit_code() -> None:
    fine = [dr.Finding("ok", "a", "b"), dr.Finding("hint", "a", "b")]
    assert dr.exit_code([]) == dr.exit_code(fine) == 0
    assert dr.exit_code([*fine, dr.Finding("problem", "a", "b")]) == 1


def test_a_host_without_address() -> None:
    (finding,) = dr.judge_host(dr.HostFacts("nowhere", "", "the host name 'nowhere' cannot be resolved"))
    assert finding.level == "problem" and "cannot be resolved" in finding.text


def test_a_name_that_means_this_machine() -> None:
    facts = dr.HostFacts("here", "127.0.1.1", "", [contact(9706, "refused")], {9706: "node"})
    only(dr.judge_host(facts), "hint", "this machine itself")


def test_a_host_that_is_off() -> None:
    for facts in (host("unreachable", "unreachable"), host("silent", "silent", neighbour=False)):
        (finding,) = dr.judge_host(facts)
        assert finding.level == "problem" and "the machine is off" in finding.text


def test_a_host_that_is_off_or_drops_everything() -> None:
    (finding,) = dr.judge_host(host("silent", "silent", elsewhere=[contact(22, "silent")]))
    assert finding.level == "problem"
    assert "the machine is off, or a firewall" in finding.text


@pytest.mark.parametrize(
    "signs",
    [{"neighbour": True}, {"elsewhere": [contact(22, "connected")]}, {"elsewhere": [contact(80, "refused")]}],
)
def test_a_firewall_that_drops(signs: dict[str, Any]) -> None:
    findings = dr.judge_host(host("silent", "silent", **signs))
    assert levels(findings) == ["problem", "problem"]
    assert all("the machine is on: a firewall" in f.text and "9705 and 9706" in f.text for f in findings)


def test_a_firewall_that_rejects() -> None:
    findings = dr.judge_host(host("unreachable", "unreachable", neighbour=True))
    assert all("rejected, though the machine is on" in f.text for f in findings)
    (finding,) = dr.judge_host(host("forbidden", "forbidden"))
    assert "own firewall" in finding.text


def test_nothing_listens() -> None:
    findings = dr.judge_host(host("refused", "refused"))
    assert "start parkcos.py --daemon" in findings[0].text
    assert "start parkcosnode.py" in findings[1].text
    assert levels(findings) == ["problem", "problem"]


def talking(**more: Any) -> dr.HostFacts:
    there = contact(9706, "connected", greeted="node 'a', parkcos 0.1.0", python="3.11")
    return dr.HostFacts(
        "10.0.0.7", "10.0.0.7", "", [contact(9705, "refused"), there], {9705: "scheduler", 9706: "node"}, **more
    )


def test_a_node_and_no_scheduler_is_well() -> None:
    answer = dr.Heard("10.0.0.7", False, "node 'a' at 10.0.0.7:9706", ahead_s=0.1)
    findings = dr.judge_host(talking(udp=[answer], own_python="3.11"))
    assert levels(findings) == ["ok", "ok", "ok"]


def test_another_python() -> None:
    answer = dr.Heard("10.0.0.7", False, "node 'a' at 10.0.0.7:9706")
    only(dr.judge_host(talking(udp=[answer], own_python="3.12")), "problem", "Python 3.11 there, 3.12 here")


def test_tcp_and_no_udp() -> None:
    only(dr.judge_host(talking(own_python="3.11")), "hint", "UDP", "a firewall drops UDP, or the clocks")
    only(dr.judge_host(talking(own_python="3.11", udp_refused=True)), "hint", "--no_discovery")


@pytest.mark.parametrize(("ahead_s", "level"), [(5.0, None), (-30.0, "hint"), (90.0, "problem"), (-4000.0, "problem")])
def test_clocks(ahead_s: float, level: str | None) -> None:
    heard = [dr.Heard("10.0.0.7", False, "node 'a' at 10.0.0.7:9706", ahead_s=ahead_s)]
    for findings in (
        dr.judge_host(talking(udp=heard, own_python="3.11")),
        dr.judge_broadcast(heard, ["10.0.0.255"], 3, ""),
    ):
        about = [f for f in findings if f.about == "clock"]
        assert levels(about) == ([level] if level else [])
        assert all(("ahead of" in f.text) == (ahead_s > 0) for f in about)


def test_the_systems_clock() -> None:
    assert levels([f for known in (True, None, False) for f in dr.judge_clock(known)]) == ["ok", "hint", "hint"]


def test_nobody_answers_a_broadcast() -> None:
    (finding,) = dr.judge_broadcast([], ["10.0.0.255"], 6.5, "")
    assert finding.level == "hint"
    assert "10.0.0.255" in finding.text and "--doctor HOST" in finding.text
    (finding,) = dr.judge_broadcast([], ["10.0.0.255"], 6.5, "the firewall ufw")
    assert "the firewall ufw runs here" in finding.text
    (finding,) = dr.judge_broadcast([], [], 6.5, "")
    assert "neither broadcast nor multicast" in finding.text
    here = dr.Heard("10.0.0.5", True, "node 'me' at 10.0.0.5:9706")
    assert levels(dr.judge_broadcast([here], ["10.0.0.255"], 6.5, "")) == ["ok", "hint"]


def test_interfaces_without_a_broadcast_address() -> None:
    plain = Interface("eth0", "10.0.0.5", "10.0.0.255")
    assert dr.judge_interfaces([plain, Interface("lo", "127.0.0.1"), Interface("eth0", "fd00::5")]) == []
    computed = Interface("eth1", "10.1.0.5", "10.1.255.255", computed=True)
    only(dr.judge_interfaces([plain, computed]), "ok", "10.1.0.5", "10.1.255.255 is used")
    only(dr.judge_interfaces([plain, Interface("tun0", "10.8.0.2")]), "hint", "10.8.0.2", "name the machines")


def test_another_secret_is_a_problem_only_if_nobody_has_the_same() -> None:
    stranger = dr.Heard("10.0.0.8", False, "", "mac", "has a wrong MAC: it uses another secret")
    friend = dr.Heard("10.0.0.7", False, "node 'a' at 10.0.0.7:9706")
    only(dr.judge_broadcast([stranger], ["10.0.0.255"], 3, ""), "problem", "10.0.0.8", "copy the secret file")
    only(dr.judge_broadcast([stranger, friend], ["10.0.0.255"], 3, ""), "hint", "10.0.0.8", "copy the secret file")


@pytest.mark.parametrize("reason", ["version", "stale", "malformed", "has_secret"])
def test_rejected_for_another_reason(reason: str) -> None:
    friend = dr.Heard("10.0.0.7", False, "node 'a' at 10.0.0.7:9706")
    other = dr.Heard("10.0.0.8", False, "", reason, "is not let in")
    only(dr.judge_broadcast([friend, other], ["10.0.0.255"], 3, ""), "problem", "10.0.0.8 is not let in")


def test_ports_of_this_machine() -> None:
    ours = contact(9706, "connected", greeted="node 'a', parkcos 0.1.0")
    stranger = contact(9706, "connected", not_ours="the other side uses another secret")
    mute = contact(9706, "silent")
    facts = [
        dr.PortFacts("TCP", 9706, "node", "free"),
        dr.PortFacts("TCP", 9706, "node", "taken", "python3 (pid 7)", ours),
        dr.PortFacts("TCP", 9706, "node", "taken", "python3 (pid 7)", stranger),
        dr.PortFacts("TCP", 9706, "node", "taken", "", mute),
        dr.PortFacts("TCP", 80, "node", "failed", error="Permission denied"),
        dr.PortFacts("UDP", 9706, "node", "shared"),
        dr.PortFacts("UDP", 9706, "node", "taken", "avahi (pid 9)"),
    ]
    findings = dr.judge_ports(facts)
    assert levels(findings) == ["ok", "ok", "problem", "problem", "problem", "ok", "problem"]
    assert "another secret" in findings[2].text and "python3 (pid 7)" in findings[2].text
    assert "avahi (pid 9)" in findings[6].text


def test_secrets() -> None:
    found = dr.judge_secret(dr.SecretFacts("/f, mode 0600", "found", "1234-5678-9abc"))
    assert levels(found) == ["ok"] and "1234-5678-9abc" in found[0].text
    assert "copy the file" in dr.judge_secret(dr.SecretFacts("/f", "missing"))[0].text
    assert levels(dr.judge_secret(dr.SecretFacts("/f", "unusable", error="is open to others"))) == ["problem"]


# Real sockets


def prober(keys: ClusterKeys | None = KEYS, identity: Any = None, *, no_secret: bool = False) -> Prober:
    identity = identity or (TlsIdentity(keys, "doctor") if keys else None)
    return Prober(choose_address("127.0.0.1"), keys, identity, no_secret)


@pytest.fixture
def node() -> Iterator[Place]:
    with Cluster() as cluster:
        yield cluster.place("node-7", roles=("node",))


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A listener on loopback; each connection is given to `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock, contextlib.suppress(OSError):
                        sock.settimeout(10)
                        answer(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def closed_port() -> int:
    return free_ports(1)[0]


@pytest.mark.live
def test_a_process_of_this_cluster(node: Place) -> None:
    with Log() as log:
        found = prober().look_at("127.0.0.1", node.location.port)
        assert found.greeted == "node 'node-7', parkcos 0" and not found.refusal and not found.not_ours
        log.wait_for("--doctor had a look")
    assert node.network.hub.peers() == []


@pytest.mark.live
def test_a_process_with_another_secret(node: Place) -> None:
    found = prober(OTHER_KEYS).look_at("127.0.0.1", node.location.port)
    assert found.state == "connected" and not found.greeted
    assert "a parkcos is there" in found.not_ours and "another secret" in found.not_ours


@pytest.mark.live
def test_a_process_without_a_secret() -> None:
    with Cluster() as cluster:
        open_one = cluster.place("open", keys=None)
        assert "without a secret" in prober().look_at("127.0.0.1", open_one.location.port).not_ours
        found = prober(None, no_secret=True).look_at("127.0.0.1", open_one.location.port)
        assert found.greeted.startswith("peer 'open'")


@pytest.mark.live
def test_without_a_secret_at_a_process_with_one(node: Place) -> None:
    found = prober(None, no_secret=True).look_at("127.0.0.1", node.location.port)
    assert "has a secret" in found.not_ours


@pytest.mark.live
def test_no_secret_yet(node: Place) -> None:
    found = prober(None).look_at("127.0.0.1", node.location.port)
    assert found.state == "connected" and not found.looked
    facts = dr.HostFacts("127.0.0.1", "127.0.0.1", "", [found], {found.port: "node"})
    assert levels(dr.judge_host(facts)) == ["hint"]


@pytest.mark.live
def test_a_closed_port() -> None:
    assert prober().look_at("127.0.0.1", closed_port()).state == "refused"


@pytest.mark.live
@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.0 400 Bad Request\r\n\r\n"])
def test_another_program(banner: bytes) -> None:
    def answer(sock: socket.socket) -> None:
        sock.sendall(banner)
        sock.recv(65536)

    with serving(answer) as port:
        assert "does not speak TLS" in prober().look_at("127.0.0.1", port).not_ours


@pytest.mark.live
def test_a_program_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "GREETING_TIMEOUT_S", 0.3)

    def answer(sock: socket.socket) -> None:
        while sock.recv(65536):
            pass

    with serving(answer) as port:
        assert "did not answer in time" in prober().look_at("127.0.0.1", port).not_ours


@pytest.mark.live
def test_a_web_server_with_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, name="www.example.org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1)

    with serving(answer) as port:
        found = prober().look_at("127.0.0.1", port)
        assert "not of this cluster" in found.not_ours and "www.example.org" in found.not_ours


@pytest.mark.live
def test_another_protocol() -> None:
    context = TlsIdentity(KEYS, "future").server_context()

    def answer(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            hello = Hello(PROTOCOL + 1, "9.9", "3.19", 5, "future", "127.0.0.1", 1, ("node",))
            tls.sendall(sessions.encode_hello(hello))
            while tls.recv(65536):
                pass

    with serving(answer) as port:
        found = prober().look_at("127.0.0.1", port)
        assert f"speaks protocol {PROTOCOL + 1}, this machine {PROTOCOL}" in found.refusal
        assert found.python == "3.19"


@pytest.mark.live
def test_certificates(tmp_path: Path) -> None:
    ours, theirs = (load_certificates(*make_certificate(tmp_path / name)) for name in "ab")
    assert ours is not None and theirs is not None
    with Cluster() as cluster:
        place = cluster.place("certified", certificates=ours)
        assert prober(identity=CertificateIdentity(ours)).look_at("127.0.0.1", place.location.port).greeted
        stranger = prober(identity=CertificateIdentity(theirs)).look_at("127.0.0.1", place.location.port)
        assert "not of this cluster" in stranger.not_ours
        secret_only = prober().look_at("127.0.0.1", place.location.port)
        assert "or certificates of its own" in secret_only.not_ours


@pytest.mark.live
def test_certificates_and_no_secret(tmp_path: Path) -> None:
    """Connections by TLS, datagrams without a code."""
    ours = load_certificates(*make_certificate(tmp_path))
    assert ours is not None
    port = free_ports(1)[0]
    options: dict[str, Any] = {"discover": True, "udp_port": port, "target_udp_ports": [port]}
    with Cluster() as cluster:
        place = cluster.place("certified", keys=None, certificates=ours, **options)
        look = prober(None, CertificateIdentity(ours), no_secret=True)
        assert look.look_at("127.0.0.1", place.location.port).greeted
        heard, _ = look.broadcast([port], 0.3, 20)
        assert [h.who for h in heard] == [f"peer 'certified' at 127.0.0.1:{place.location.port}"]


@pytest.mark.live
def test_own_ports(node: Place) -> None:
    look = prober()
    assert look.own_port("TCP", closed_port(), "node").state == "free"
    taken = look.own_port("TCP", node.location.port, "node")
    assert taken.state == "taken" and taken.contact is not None and taken.contact.greeted
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        assert look.own_port("UDP", sock.getsockname()[1], "node").state == "taken"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("", 0))
        port = sock.getsockname()[1]
        assert look.own_port("UDP", port, "node").state == "shared"
    assert look.own_port("UDP", port, "node").state == "free"


@pytest.mark.live
def test_who_hears_a_broadcast() -> None:
    port = free_ports(1)[0]
    options: dict[str, Any] = {"discover": True, "udp_port": port, "target_udp_ports": [port]}
    with Cluster() as cluster, Log():
        place = cluster.place("listener", roles=("node",), **options)
        heard, targets = prober().broadcast([port], 0.5, 20)
        assert targets == ["127.255.255.255"]
        (one,) = [h for h in heard if h.who]
        assert one.who == f"node 'listener' at 127.0.0.1:{place.location.port}"
        assert one.here and one.ahead_s is not None and abs(one.ahead_s) < 5
        asked, refused = prober().ask("127.0.0.1", [port])
        assert [h.who for h in asked] == [one.who] and not refused
        cluster.place("stranger", keys=OTHER_KEYS, **options)
        heard, _ = prober().broadcast([port], 6.5, 6.5)  # a stranger does not answer, but announces itself
        assert {h.reason for h in heard} == {"", "mac"}
    assert prober().ask("127.0.0.1", [port]) == ([], True)


@pytest.mark.live
def test_who_hears_a_multicast() -> None:
    port = free_ports(1)[0]
    with Cluster() as cluster:
        options: dict[str, Any] = {"discover": True, "udp_port": port, "target_udp_ports": [port], "multicast": True}
        place = cluster.place("group", **options)
        heard, targets = prober().broadcast([port], 0.3, 20, multicast=True)
        assert targets == ["239.255.97.5"]
        assert [h.who for h in heard] == [f"peer 'group' at 127.0.0.1:{place.location.port}"]


@pytest.mark.live
def test_a_clock_that_differs() -> None:
    """The right secret, another time: proven by the MAC, though no program would let it in."""
    port = free_ports(1)[0]
    message = Announce("127.0.0.1", 9000, 7, "late", ("node",), PROTOCOL, False)
    done = threading.Event()

    def announce() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            while not done.wait(0.05):
                sock.sendto(encode(message, KEYS.mac_key, time.time() - 300), ("127.255.255.255", port))

    thread = threading.Thread(target=announce)
    thread.start()
    try:
        heard, targets = prober().broadcast([port], 0.3, 20)
    finally:
        done.set()
        thread.join()
    (finding,) = [f for f in dr.judge_broadcast(heard, targets, 3, "") if f.about == "clock"]
    assert finding.level == "problem" and "behind this machine's" in finding.text


@pytest.mark.live
def test_ipv6() -> None:
    """There are no broadcasts to be heard, and so none to miss."""
    with Cluster() as cluster:
        place = cluster.place("six", host="::1")
        facts = prober().look_at_host("::1", {place.location.port: "node"}, [free_ports(1)[0]])
        assert levels(dr.judge_host(facts)) == ["ok"]


def test_a_name_that_means_nothing() -> None:
    facts = prober().look_at_host("no such host", {9706: "node"}, [9706])
    assert facts.addr == "" and "resolved" in facts.error


# The secret


def test_fingerprint() -> None:
    keys = ClusterKeys.derive(SECRET)
    assert fingerprint(keys) == fingerprint(ClusterKeys.derive(f" {SECRET}\n"))
    assert fingerprint(keys) != fingerprint(ClusterKeys.derive(OTHER_SECRET))
    assert fingerprint(keys).count("-") == 2
    digits = fingerprint(keys).replace("-", "")
    assert digits not in keys.ca_seed.hex() + keys.mac_key.hex()


def test_the_secret_is_looked_for_and_never_made(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert probes.look_for_secret(None, path)[0].state == "missing"
    assert not path.exists()
    path.write_text(SECRET)
    path.chmod(0o644)
    facts, keys = probes.look_for_secret(None, path)
    assert facts.state == "unusable" and "chmod 600" in facts.error and keys is None
    path.chmod(0o600)
    facts, keys = probes.look_for_secret(None, path)
    assert facts.state == "found" and "mode 0600" in facts.where and keys == ClusterKeys.derive(SECRET)
    assert facts.fingerprint == fingerprint(keys)
    assert probes.look_for_secret(SECRET, None)[0].fingerprint == fingerprint(keys)
    assert probes.look_for_secret(SECRET, None, "lab")[0].fingerprint != fingerprint(keys)
    assert probes.look_for_secret(None, None, no_secret=True)[0].state == "none"


# The command


def run_json(capsys: pytest.CaptureFixture[str], main: Any, *args: str) -> tuple[int, list[dict[str, str]]]:
    code = main([*args, "-i", "127.0.0.1", "--json"])
    out = capsys.readouterr().out
    assert SECRET not in out
    return code, json.loads(out)


@pytest.mark.live
@pytest.mark.parametrize("main", [node_main, scheduler_main])
def test_command_with_a_host(
    capsys: pytest.CaptureFixture[str], node: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: Any
) -> None:
    monkeypatch.setattr(ClusterKeys, "derive", classmethod(lambda cls, secret, cluster: KEYS))
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    where = f"127.0.0.1:{node.location.port}"
    code, findings = run_json(capsys, main, "--doctor", where, "--secret_file", str(secret))
    assert code == 0, findings
    assert any("of this cluster" in f["text"] for f in findings)
    code, findings = run_json(capsys, main, "--doctor", f"127.0.0.1:{closed_port()}", "--secret_file", str(secret))
    assert code == 1
    assert [f["level"] for f in findings].count("problem") == 1


@pytest.mark.live
def test_command_without_a_host(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parkcos.program.commands.LISTEN_LONGER_S", 0.5)
    monkeypatch.setattr("parkcos.program.commands.LISTEN_S", 0.5)
    ports = "-u", str(free_ports(1)[0]), "-t", str(closed_port())
    code = scheduler_main(["--doctor", "-i", "127.0.0.1", "-i", "127.0.0.2", "-s", SECRET, *ports])
    out = capsys.readouterr().out
    assert out.count("(loopback, given;") == out.count(f"TCP port {ports[-1]}: free") == 2
    assert SECRET not in out
    assert fingerprint(ClusterKeys.derive(SECRET)) in out
    assert code == int("problem " in out)
    lines = out.splitlines()
    assert all(line.startswith(("ok ", "hint ", "problem ")) for line in lines)
    for about in ("parkcos:", "address:", "secret:", "clock:", "TCP port", "UDP port", "broadcast:"):
        assert any(about in line for line in lines), about


@pytest.mark.live
@pytest.mark.parametrize("port", ["0", "65536", "x", ""])
def test_command_with_a_port_that_is_none(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert scheduler_main(["--doctor", f"localhost:{port}", "-i", "127.0.0.1", "-s", SECRET]) == 1
    assert f"localhost:{port}: {port!r} is no port" in capsys.readouterr().err


@pytest.mark.live
def test_command_with_what_cannot_be_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.pem")
    code, findings = run_json(
        capsys, scheduler_main, "--doctor", f"127.0.0.1:{closed_port()}", "-s", "short", "--certfile", nowhere
    )
    assert code == 1
    problems = [f for f in findings if f["level"] == "problem"]
    assert [f["about"] for f in problems[:2]] == ["secret", "certificate"]
    assert nowhere in problems[1]["text"]
    assert not Path(nowhere).exists()
