"""Gathers the facts that ``doctor.py`` judges: looks at ports, hosts, datagrams, the clock, each once and with an end.

It needs no running parkcos and starts none: what it says to others is one announcement that nobody dials, and a
goodbye where it has knocked.

What must not live here: what the facts mean, printing, asyncio.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import secrets
import select
import socket
import ssl
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from parkcos.doctor.findings import CLOCK_DIFFERENCE_MAX_S, Contact, Heard, HostFacts, PortFacts, SecretFacts, TcpState
from parkcos.doctor.neighbours import answers_on_the_cable
from parkcos.errors import ConfigError, ParkcosError, ProtocolError
from parkcos.net.finding.addresses import OwnAddress, broadcast_targets, local_interfaces
from parkcos.net.finding.datagram import Announce, DatagramGate, DatagramRejected, encode, sent_at
from parkcos.net.finding.discovery import bound_socket, join_group, send_to_group
from parkcos.net.location import is_loopback, resolve
from parkcos.net.options import datagram_key
from parkcos.net.session import session as sessions
from parkcos.net.session.frames import BYE, HEADER, HELLO, HELLO_BYTES_MAX
from parkcos.net.session.session import PROTOCOL, Hello
from parkcos.net.trust.secret import ClusterKeys, default_secret_path, fingerprint, load_secret
from parkcos.net.trust.secret_text import CLUSTER
from parkcos.net.trust.tls import Identity

__all__ = ["Prober", "active_firewalls", "clock_synchronised", "look_for_secret"]

CONNECT_TIMEOUT_S: Final = 4.0
"""Longer than the 3 s after which a machine on the same cable that does not answer counts as unreachable."""
GREETING_TIMEOUT_S: Final = 5.0
NEIGHBOUR_WATCH_S: Final = 10.0
"""Linux takes 8 s to notice that a neighbour, whose address it knows, has gone."""
UDP_ANSWER_S: Final = 1.5
ASK_AT_S: Final = (0.0, 0.3, 1.0)
"""Datagrams get lost."""
UDP_ENOUGH_S: Final = 0.5
"""Once somebody has answered, so much more for the others there."""
UDP_REFUSED_S: Final = 0.5

_EVERYBODYS_PORTS: Final = (22, 80, 443, 445, 3389, 111)
_UNREACHABLE: Final = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
_FORBIDDEN: Final = (errno.EPERM, errno.EACCES)
_BYE: Final = "parkcos --doctor had a look, and that was all"
_NO_SECRET_THERE: Final = "a parkcos without a secret is there: start it without --no_secret"
_AUTHORITY: Final = "parkcos cluster"  # the issuer of what comes from a secret, see tls.py
_CLOCK_FRESH: Final = 1e12  # every age is let in: the difference is a finding of its own
_TIMEX_BYTES: Final = 512  # struct timex has about 200
_TIME_ERROR: Final = 5  # adjtimex's word for: not synchronised


class Prober:
    """Looks around from one address of this machine.

    Args:
        own: the address to look from, and where to broadcast.
        keys: None without a secret.
        identity: for TLS; None without a secret and certificates.
        no_secret: there is none on purpose.  Otherwise, without an identity connections are tried and no greetings,
            and without keys no datagrams.
    """

    def __init__(self, own: OwnAddress, keys: ClusterKeys | None, identity: Identity | None, no_secret: bool) -> None:
        self.own = own
        self.keys = keys
        self.identity = identity
        self.no_secret = no_secret
        self._context = identity.client_context() if identity else None  # one for all threads
        self.incarnation = secrets.randbits(63) | 1
        self.python = ".".join(platform.python_version_tuple()[:2])
        self._mine = {interface.addr for interface in local_interfaces()} | {own.addr}

    # -- TCP

    def look_at(self, addr: str, port: int, *, greet: bool = True) -> Contact:
        """Connect, shake hands, and hear who is there; each within seconds."""
        sock, state, error = _connected(addr, port, self._source(addr))
        if sock is None:
            return Contact(port, state, error)
        with sock:
            if not greet or (self._context is None and not self.no_secret):
                return Contact(port, "connected", looked=False)
            sock.settimeout(GREETING_TIMEOUT_S)
            try:
                if self._context is None:
                    return self._greeted(port, sock)
                with self._context.wrap_socket(sock) as tls:
                    return self._greeted(port, tls)
            except ProtocolError as exc:
                return Contact(port, "connected", refusal=f"it says what no parkcos of this version says: {exc}")
            except OSError as exc:  # TLS's errors, too
                words = self.identity.explain(exc) if self.identity else str(exc)
                return Contact(port, "connected", not_ours=self._stranger(addr, port, exc, words))

    def look_at_all(self, addr: str, ports: Sequence[int], *, greet: bool = True) -> list[Contact]:
        """The same for several ports at once, in their order."""
        with ThreadPoolExecutor(max(1, len(ports))) as pool:
            return list(pool.map(lambda port: self.look_at(addr, port, greet=greet), ports))

    def _source(self, addr: str) -> str:
        return self.own.addr if is_loopback(self.own.addr) and is_loopback(addr) and ":" not in addr else ""

    def _greeted(self, port: int, sock: socket.socket) -> Contact:
        hello = _read_hello(sock)
        with contextlib.suppress(OSError):
            sock.sendall(sessions.encode_bye(_BYE))
        who = f"{hello.roles[0] if hello.roles else 'process'} {hello.name!r}, parkcos {hello.version}"
        refusal = ""
        if hello.protocol != PROTOCOL:
            refusal = (
                f"{who}, speaks protocol {hello.protocol}, this machine {PROTOCOL}: install the same version of "
                "parkcos on both"
            )
        return Contact(port, "connected", greeted=who, python=hello.python, refusal=refusal)

    def _stranger(self, addr: str, port: int, exc: BaseException, words: str) -> str:
        """Who is behind a port where the handshake failed: looked at once more, and believed nothing."""
        if self.identity is None:
            return f"no greeting of a parkcos without a secret comes ({words}): it has a secret, or is another program"
        if isinstance(exc, ssl.SSLCertVerificationError):
            issuer = _issuer(addr, port, self._source(addr))
            if issuer == _AUTHORITY:
                return f"a parkcos is there, but {words}" if "secret" in words else words
            return f"TLS, but not of this cluster (a certificate from {issuer or 'nobody'}): {words}"
        sock, _, _ = _connected(addr, port, self._source(addr))
        if sock is not None:
            with sock, contextlib.suppress(OSError, ParkcosError):
                sock.settimeout(1.0)
                _read_hello(sock)
                return _NO_SECRET_THERE
        return words

    # -- ports of this machine

    def own_port(self, kind: str, port: int, whose: str) -> PortFacts:
        """Whether a port is free, and who has it if not."""
        if kind == "UDP":
            return self._own_udp_port(port, whose)
        family = socket.AF_INET6 if ":" in self.own.addr else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((self.own.addr, port))
                sock.listen(1)
                return PortFacts("TCP", port, whose, "free")
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    return PortFacts("TCP", port, whose, "failed", error=exc.strerror or str(exc))
        return PortFacts("TCP", port, whose, "taken", _holder("tcp", port), self.look_at(self.own.addr, port))

    def _own_udp_port(self, port: int, whose: str) -> PortFacts:
        for shared, state in ((False, "free"), (True, "shared")):
            try:
                family = socket.AF_INET6 if ":" in self.own.addr else socket.AF_INET
                bound_socket(family, "", port, shared=shared).close()
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    return PortFacts("UDP", port, whose, "failed", error=exc.strerror or str(exc))
            else:
                holder = _holder("udp", port) if shared else ""
                return PortFacts("UDP", port, whose, "shared" if state == "shared" else "free", holder)
        return PortFacts("UDP", port, whose, "taken", _holder("udp", port))

    # -- datagrams

    def broadcast(
        self, udp_ports: Sequence[int], seconds: float, at_most_s: float, *, multicast: bool = False
    ) -> tuple[list[Heard], list[str]]:
        """Announce this machine to all, and collect what comes; also where it was sent.

        Args:
            udp_ports: on which others listen; answers and others' announcements are heard.
            seconds: how long to listen; if nobody else was heard by then, *at_most_s*.
            multicast: to those who do so, too; with an IPv6 address it is always so.
        """
        multicast = multicast or ":" in self.own.addr
        targets = [target for port in udp_ports for target in broadcast_targets(self.own, port, multicast=multicast)]
        if not targets:
            return [], []
        heard = self._converse(targets, udp_ports, seconds, at_most_s, multicast=multicast)
        return heard, list(dict.fromkeys(addr for addr, _ in targets))

    def ask(self, addr: str, udp_ports: Sequence[int]) -> tuple[list[Heard], bool]:
        """Ask one machine to answer; also whether it says that nobody listens there."""
        heard = self._converse([(addr, port) for port in udp_ports], (), UDP_ENOUGH_S, UDP_ANSWER_S)
        heard = [one for one in heard if one.addr == addr]
        refused = [self._udp_refused(addr, port) for port in udp_ports if not heard]
        return heard, bool(refused) and all(refused)

    def _announcement(self, port: int, *, reply: bool) -> list[bytes]:
        message = Announce(self.own.addr, port, self.incarnation, "doctor", ("doctor",), PROTOCOL, reply)
        keys = [datagram_key(self.keys, self.identity)]
        if self.keys is not None and self.keys.old is not None:
            keys.append(self.keys.old.mac_key)
        now = time.time()
        return [encode(message, key, now) for key in keys]

    def _converse(
        self,
        targets: Sequence[tuple[str, int]],
        listen: Sequence[int],
        seconds: float,
        at_most_s: float,
        *,
        multicast: bool = False,
    ) -> list[Heard]:
        if self.keys is None and not self.no_secret:
            return []
        found: dict[tuple[str, str, str], Heard] = {}
        old = self.keys.old if self.keys else None
        gate = DatagramGate(
            datagram_key(self.keys, self.identity), _CLOCK_FRESH, old_mac_key=old.mac_key if old else None
        )
        with contextlib.ExitStack() as stack:
            private = stack.enter_context(self._udp_socket(targets[0][0]))
            ears = [private]
            if multicast:
                with contextlib.suppress(OSError):
                    send_to_group(private, self.own)
            for port in listen:
                with contextlib.suppress(OSError):
                    ears.append(stack.enter_context(bound_socket(private.family, "", port, shared=True)))
                    if multicast:
                        join_group(ears[-1], self.own)
            begun = time.monotonic()
            asked = 0
            while True:
                now = time.monotonic() - begun
                answered = any(not one.here for one in found.values()) or (self.own.loopback_only and found)
                enough = seconds if answered else at_most_s
                if now >= enough:
                    return list(found.values())
                if asked < len(ASK_AT_S) and now >= ASK_AT_S[asked]:
                    asked += 1
                    for datagram in self._announcement(private.getsockname()[1], reply=True):
                        for target in targets:
                            with contextlib.suppress(OSError):
                                private.sendto(datagram, target)
                ready, _, _ = select.select(ears, [], [], min(0.1, enough - now))
                for sock in ready:
                    with contextlib.suppress(OSError):
                        data, source = sock.recvfrom(65536)
                        one = self._heard(gate, data, str(source[0]))
                        if one is not None:
                            found.setdefault((one.addr, one.who, one.reason), one)

    def _heard(self, gate: DatagramGate, data: bytes, addr: str) -> Heard | None:
        here = addr in self._mine or is_loopback(addr)
        if is_loopback(self.own.addr) and not is_loopback(addr):
            return None  # the shared socket hears every network; this look is about this machine only
        now = time.time()
        try:
            message = gate.open(data, now)
        except DatagramRejected as exc:
            return None if exc.reason == "replay" else Heard(addr, here, "", exc.reason, exc.words)
        if message.incarnation == self.incarnation or not isinstance(message, Announce) or "doctor" in message.roles:
            return None
        then = sent_at(data)
        ahead_s = then - now if then is not None else None
        who = f"{message.roles[0] if message.roles else 'process'} {message.name!r} at {message.addr}:{message.port}"
        if message.version != PROTOCOL:
            words = f"({who}) speaks protocol {message.version}, this machine {PROTOCOL}"
            return Heard(addr, here, "", "version", words, ahead_s)
        if ahead_s is not None and abs(ahead_s) > CLOCK_DIFFERENCE_MAX_S:
            return Heard(addr, here, "", "stale", f"({who}) has another time than this machine", ahead_s)
        return Heard(addr, here, who, ahead_s=ahead_s)

    def _udp_socket(self, target: str) -> socket.socket:
        """A socket of the own address; if the target is of the other kind, of whichever leads there."""
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        own = self.own.addr if (":" in target) == (":" in self.own.addr) else ""
        return bound_socket(family, own, 0, shared=False)

    def _udp_refused(self, addr: str, port: int) -> bool:
        """Whether that machine says that nobody listens on its UDP port."""
        with self._udp_socket(addr) as sock:
            try:
                sock.connect((addr, port))
                for datagram in self._announcement(sock.getsockname()[1], reply=False):
                    sock.send(datagram)
                sock.settimeout(UDP_REFUSED_S)
                sock.recv(65536)
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    # -- another machine

    def look_at_host(self, host: str, roles: Mapping[int, str], udp_ports: Sequence[int]) -> HostFacts:
        """Everything about another machine.

        Args:
            host: a name or an address.
            roles: the TCP ports to try, and who listens there.
            udp_ports: where its programs listen for announcements.
        """
        try:
            addr = resolve(host)[0]
        except ConfigError as exc:
            return HostFacts(host, "", str(exc))
        begun = time.monotonic()
        contacts = self.look_at_all(addr, list(roles))
        elsewhere: list[Contact] = []
        neighbour: bool | None = None
        if _no_reaction(contacts):
            neighbour = answers_on_the_cable(addr, begun, begun)
            if neighbour is None:
                elsewhere = self.look_at_all(addr, _EVERYBODYS_PORTS, greet=False)
                if _no_reaction(elsewhere):
                    neighbour = answers_on_the_cable(addr, begun, begun + NEIGHBOUR_WATCH_S)
        udp, udp_refused = self.ask(addr, udp_ports)
        return HostFacts(host, addr, "", contacts, roles, elsewhere, neighbour, udp, udp_refused, self.python)


def _no_reaction(contacts: Sequence[Contact]) -> bool:
    """Whether nothing shows that the machine is on."""
    return all(contact.state not in ("connected", "refused") for contact in contacts)


def _connected(addr: str, port: int, source: str) -> tuple[socket.socket | None, TcpState, str]:
    """A connected socket, or why there is none."""
    sock = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_TIMEOUT_S)
        if source:
            sock.bind((source, 0))
        sock.connect((addr, port))
        return sock, "connected", ""
    except OSError as exc:
        sock.close()
        error = exc.strerror or str(exc)
        if isinstance(exc, ConnectionRefusedError):
            return None, "refused", error
        if isinstance(exc, TimeoutError):
            return None, "silent", error
        if exc.errno in _UNREACHABLE:
            return None, "unreachable", error
        return None, "forbidden" if exc.errno in _FORBIDDEN else "failed", error


def _read_hello(sock: socket.socket) -> Hello:
    """The greeting of who has accepted.  Raises: OSError; ProtocolError if it is none."""
    length, kind, _ = HEADER.unpack(_read_exactly(sock, HEADER.size))
    if kind not in (HELLO, BYE) or length > HELLO_BYTES_MAX:
        raise ProtocolError("what came is no greeting of parkcos")
    body = _read_exactly(sock, length)
    if kind == BYE:
        raise ProtocolError(body.decode(errors="replace"))
    return sessions.decode_hello(body)


def _read_exactly(sock: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise ConnectionAbortedError("it closed the connection and said nothing")
        data += part
    return data


def _issuer(addr: str, port: int, source: str) -> str:
    """Who signed the certificate that is shown there, as far as it says; empty if it shows none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to say what it is; nothing is sent
    sock, _, _ = _connected(addr, port, source)
    if sock is None:
        return ""
    with sock, contextlib.suppress(OSError, ValueError):
        sock.settimeout(GREETING_TIMEOUT_S)
        with context.wrap_socket(sock) as tls:
            der = tls.getpeercert(binary_form=True)
        if der:
            from cryptography import x509

            issuer = x509.load_der_x509_certificate(der).issuer
            names = issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            return str(names[0].value) if names else issuer.rfc4514_string()
    return ""


def _holder(kind: str, port: int) -> str:
    """The programs of this machine that have a port, as far as the system tells this user."""
    import psutil

    names: list[str] = []
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind):
            listens = kind == "udp" or connection.status == psutil.CONN_LISTEN
            if not listens or not connection.laddr or connection.laddr.port != port:
                continue
            if connection.pid and connection.pid != os.getpid():
                with contextlib.suppress(psutil.Error):
                    names.append(f"{psutil.Process(connection.pid).name()} (pid {connection.pid})")
    return ", ".join(dict.fromkeys(names))


def clock_synchronised() -> bool | None:
    """Whether the system keeps its clock right (Linux says so); None if it does not tell."""
    if sys.platform != "linux":
        return None
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def active_firewalls() -> str:
    """The firewalls that are known to run on this machine, as far as an ordinary user can tell; empty if none is."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        if "ENABLED=yes" in Path("/etc/ufw/ufw.conf").read_text().split():
            found.append("the firewall ufw")
    if Path("/run/firewalld").exists():
        found.append("the firewall firewalld")
    return " and ".join(found)


def look_for_secret(
    secret: str | None, path: Path | None, cluster: str = CLUSTER, *, no_secret: bool = False
) -> tuple[SecretFacts, ClusterKeys | None]:
    """What is known of the secret, and its keys.  No file is made."""
    if no_secret:
        return SecretFacts("", "none"), None
    where = "given" if secret else str(path or "")
    try:
        if not secret:
            path = path or default_secret_path()
            where = str(path)
            if not os.path.lexists(path):
                return SecretFacts(where, "missing"), None
            secret = load_secret(path, make=False)
            where += f", mode {stat.S_IMODE(path.stat().st_mode):04o}" if os.name == "posix" else ""
        keys = ClusterKeys.derive(secret, cluster)
        return SecretFacts(where, "found", fingerprint(keys)), keys
    except (ConfigError, OSError) as exc:
        return SecretFacts(where, "unusable", error=str(exc)), None
