"""Why one machine does not see another: findings in plain words, made of facts that were gathered before.

The facts are plain values (what became of a connection, what a datagram said); each ``judge_...`` makes findings of
some of them: what is well, what is wrong, and what may be worth a look, each one line with what to do about it.
``probe.py`` gathers the facts.

What must not live here: sockets, files, clocks, the secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from parkcos.net.finding.addresses import Interface

__all__ = [
    "CLOCK_DIFFERENCE_MAX_S",
    "Contact",
    "Finding",
    "Heard",
    "HostFacts",
    "PortFacts",
    "SecretFacts",
    "TcpState",
    "exit_code",
    "judge_broadcast",
    "judge_clock",
    "judge_host",
    "judge_interfaces",
    "judge_ports",
    "judge_secret",
]

CLOCK_DIFFERENCE_MAX_S: Final = 60.0
"""A datagram whose time differs by more is not let in (``datagram.py``)."""
_CLOCK_DIFFERENCE_WELL_S: Final = 10.0

Level = Literal["ok", "hint", "problem"]
TcpState = Literal["connected", "refused", "silent", "unreachable", "forbidden", "failed"]
"""What became of a TCP connection: silent is no answer in time, forbidden is this machine's own firewall."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: how it is, with what, in words.  A problem and a hint say what to do."""

    level: Level
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:8} {self.about}: {self.text}"


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if nothing is wrong, 1 else."""
    return int(any(finding.level == "problem" for finding in findings))


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """What is known of the secret, but for itself.

    Attributes:
        where: the file, or the option that gave it.
        state: ``'missing'``: there is no such file yet; ``'none'``: the program goes without.
        fingerprint: for people to compare.
        error: why it cannot be used.
    """

    where: str
    state: Literal["found", "missing", "none", "unusable"]
    fingerprint: str = ""
    error: str = ""


def judge_secret(facts: SecretFacts, what: str = "secret") -> list[Finding]:
    """Say whether there is a secret, and by what to compare it with that of another machine."""
    match facts.state:
        case "found":
            text = f"found ({facts.where}), fingerprint {facts.fingerprint}: it must be the same on every machine"
            return [Finding("ok", what, text)]
        case "missing":
            return [
                Finding(
                    "hint",
                    what,
                    f"there is no {facts.where} yet: the first program that starts makes one. Machines that each make "
                    "their own do not see each other: copy the file from one to the others (scp -p)",
                )
            ]
        case "none":
            return [Finding("hint", what, "none (--no_secret): only programs that have none either are seen")]
        case _:
            return [Finding("problem", what, facts.error)]


@dataclass(frozen=True, slots=True)
class Contact:
    """What came of a look at a TCP port.

    Attributes:
        port: TCP.
        state: how far the connection came.
        error: what the system said, if it failed.
        greeted: a process of this cluster said who it is: ``'node "a", parkcos 0.1.0'``.
        python: its version of Python, as ``'3.11'``.
        refusal: it is a parkcos, and cannot talk to this one: why.
        not_ours: the connection was made, and no parkcos of this cluster is behind it: why.
        looked: whether more was tried than to connect.
    """

    port: int
    state: TcpState
    error: str = ""
    greeted: str = ""
    python: str = ""
    refusal: str = ""
    not_ours: str = ""
    looked: bool = True


@dataclass(frozen=True, slots=True)
class PortFacts:
    """A port of this machine.

    Attributes:
        kind: ``'TCP'`` or ``'UDP'``.
        port: its number.
        whose: who takes it by default: ``'node'``, ``'scheduler'``.
        state: ``'shared'`` (UDP): others listen there, and let one more do so.
        holder: the program that has it, if the system tells, as ``'sshd (pid 77)'``.
        contact: what came of a look at it, if it is taken (TCP).
        error: why it cannot be had.
    """

    kind: Literal["TCP", "UDP"]
    port: int
    whose: str
    state: Literal["free", "shared", "taken", "failed"]
    holder: str = ""
    contact: Contact | None = None
    error: str = ""


def judge_ports(ports: Sequence[PortFacts]) -> list[Finding]:
    """Say which ports of this machine are free, and who has those that are not."""
    return [_judge_port(facts) for facts in ports]


def _judge_port(facts: PortFacts) -> Finding:
    about = f"{facts.kind} port {facts.port}"
    holder = f" by {facts.holder}" if facts.holder else ""
    other = f"end that program, or give the {facts.whose} another port"
    if facts.state == "free":
        return Finding("ok", about, f"free for a {facts.whose}")
    if facts.state == "shared":
        return Finding("ok", about, f"in use{holder}, and shared: several programs of a machine may listen there")
    if facts.state == "failed":
        return Finding("problem", about, f"cannot be had ({facts.error}): give the {facts.whose} another port")
    contact = facts.contact
    if facts.kind == "UDP":
        text = f"taken{holder} and not shared: a program here would not be found by broadcast; {other}"
        return Finding("problem", about, f"{text}. (A parkcos of another user cannot share it either)")
    if contact is None or contact.state != "connected":
        return Finding("problem", about, f"taken{holder}, which does not answer there: {other}")
    if contact.greeted and not contact.refusal:
        return Finding("ok", about, f"taken{holder}: {contact.greeted}, of this cluster, runs here")
    if not contact.looked:
        return Finding("hint", about, f"taken{holder}; without a secret it cannot be told by what")
    return Finding("problem", about, f"taken{holder}: {contact.refusal or contact.not_ours}; {other}")


def judge_clock(synchronised: bool | None) -> list[Finding]:
    """Say whether this machine keeps its clock right; None: the system does not tell."""
    if synchronised:
        return [Finding("ok", "clock", "the system keeps it synchronised")]
    if synchronised is None:
        return [Finding("hint", "clock", "whether it is synchronised cannot be told here: compare it with the others")]
    text = (
        "the system does not keep it synchronised: if it differs by more than a minute from the others', they are not "
        "found; run an NTP service (timedatectl set-ntp true)"
    )
    return [Finding("hint", "clock", text)]


@dataclass(frozen=True, slots=True)
class Heard:
    """A datagram that came, or several of the same kind.

    Attributes:
        addr: where it came from.
        here: it came from this machine.
        who: what it says who it is, ``'node "a" at 10.0.0.7:9706'``; empty if it was not let in.
        reason: why it was not let in, a key of ``datagram.REASONS``; empty if it was.
        words: that in words that go on after ``a datagram from 10.0.0.7``.
        ahead_s: how far its clock is ahead of this one's, in seconds, if that is proven.
    """

    addr: str
    here: bool
    who: str = ""
    reason: str = ""
    words: str = ""
    ahead_s: float | None = None


def judge_interfaces(interfaces: Sequence[Interface]) -> list[Finding]:
    """Say through which interfaces broadcasts leave, where that is not plain to see."""
    findings: list[Finding] = []
    for one in interfaces:
        about = f"interface {one.name}"
        if ":" in one.addr or one.addr.startswith("127."):
            continue
        if one.broadcast is None:
            text = (
                f"{one.addr} has no broadcast address, as in a tunnel or a network of one host: no program finds "
                "another through it by broadcast; name the machines (nodes=[...], --node, --peer)"
            )
            findings.append(Finding("hint", about, text))
        elif one.computed:
            text = f"{one.addr} has no broadcast address set; {one.broadcast} is used, by its mask"
            findings.append(Finding("ok", about, text))
    return findings


def judge_broadcast(heard: Sequence[Heard], targets: Sequence[str], seconds: float, firewalls: str) -> list[Finding]:
    """Say who answered a broadcast.

    Args:
        targets: where it was sent.
        seconds: how long answers were waited for.
        firewalls: those that are known to run here, empty if none is.
    """
    about = "broadcast"
    if not targets:
        return [
            Finding("hint", about, "from here there is neither broadcast nor multicast: name the programs and machines")
        ]
    findings: list[Finding] = []
    good = [one for one in heard if not one.reason]
    for one in good:
        findings.append(Finding("ok", about, f"{one.who} answered{' (on this machine)' if one.here else ''}"))
    for one in heard:
        if one.reason:
            # Another cluster in the same room is nobody's fault, unless it is all that there is.
            harmless = one.reason in ("magic", "oversized") or (good and one.reason in ("mac", "no_secret"))
            remedy = _REMEDIES.get(one.reason, "")
            level: Level = "hint" if harmless else "problem"
            findings.append(Finding(level, about, f"a datagram from {one.addr} {one.words}{remedy}"))
        findings += _judge_difference(one)
    if all(target.startswith("127.") for target in targets):
        if not heard:
            findings.append(Finding("hint", about, "no program answered on this machine, and no other one was asked"))
    elif not any(not one.here for one in heard):
        guard = f"; {firewalls} runs here: {_LET_THROUGH}" if firewalls else f", or a firewall here: {_LET_THROUGH}"
        text = (
            f"no other machine answered within {seconds:.0f} s (sent to {', '.join(targets)}). Either no program runs "
            "there; or something in between drops them, as Wi-Fi, containers and routers often do: name the "
            f"machines (nodes=[...], --node, --peer) and run --doctor HOST{guard}"
        )
        findings.append(Finding("hint", about, text))
    return findings


_LET_THROUGH: Final = "let through UDP ports 9705 and 9706, and TCP ports from 9705 up"
_COPY: Final = ": copy the secret file of one machine to the other, and compare the fingerprints"
_REMEDIES: Final[Mapping[str, str]] = {
    "mac": _COPY,
    "no_secret": ": start it without --no_secret",
    "has_secret": ": leave out --no_secret here",
    "version": ": install the same version of parkcos on both",
    "malformed": ": install the same version of parkcos on both",
}


def _judge_difference(one: Heard) -> list[Finding]:
    if one.ahead_s is None or abs(one.ahead_s) <= _CLOCK_DIFFERENCE_WELL_S:
        return []
    side = "ahead of" if one.ahead_s > 0 else "behind"
    text = f"that of {one.addr} is {abs(one.ahead_s):.0f} s {side} this machine's"
    if abs(one.ahead_s) <= CLOCK_DIFFERENCE_MAX_S:
        return [Finding("hint", "clock", f"{text}; beyond {CLOCK_DIFFERENCE_MAX_S:.0f} s it is not found any more")]
    return [Finding("problem", "clock", f"{text}, so neither finds the other: set the clocks (NTP)")]


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known of another machine.

    Attributes:
        host: as the user wrote it.
        addr: the address that was tried; empty if there is none.
        error: why there is none.
        contacts: the ports of parkcos there that were tried.
        roles: what each of these ports is for, as ``{9706: 'node'}``.
        elsewhere: ports that any machine may have open, tried only to see whether the machine is there.
        neighbour: whether it answered on our cable (ARP); None if it is not there, or that cannot be told.
        udp: the datagrams that came from there in answer to ours.
        udp_refused: it said that nobody listens on the UDP ports.
        own_python: of this machine, as ``'3.11'``.
    """

    host: str
    addr: str
    error: str = ""
    contacts: Sequence[Contact] = ()
    roles: Mapping[int, str] | None = None
    elsewhere: Sequence[Contact] = ()
    neighbour: bool | None = None
    udp: Sequence[Heard] = ()
    udp_refused: bool = False
    own_python: str = ""

    def role(self, port: int) -> str:
        """What listens at `port`."""
        return (self.roles or {}).get(port, "program")

    @property
    def is_there(self) -> bool:
        """Something came back from it: it runs."""
        answers = any(c.state in ("connected", "refused") for c in (*self.contacts, *self.elsewhere))
        return answers or bool(self.neighbour) or bool(self.udp) or self.udp_refused


def judge_host(facts: HostFacts) -> list[Finding]:
    """Say whether that machine is there, what it lets through, and whether its programs are of this cluster."""
    if not facts.addr:
        return [Finding("problem", facts.host, facts.error)]
    findings: list[Finding] = []
    if facts.addr != facts.host:
        findings.append(Finding("ok", facts.host, f"means {facts.addr}"))
        if facts.addr.startswith("127.") and facts.host != "localhost":
            text = "that is this machine itself: correct the hosts file, or give the address"
            findings.append(Finding("hint", facts.host, text))
    connected = [c for c in facts.contacts if c.state == "connected"]
    if not connected and not facts.is_there:
        return [*findings, _judge_absent(facts)]
    for contact in facts.contacts:
        findings.append(_judge_contact(facts, contact, others=bool([c for c in connected if c is not contact])))
        findings += _judge_python(facts, contact)
    return [*findings, *_judge_udp(facts, talks=any(c.greeted for c in connected))]


def _judge_absent(facts: HostFacts) -> Finding:
    states = {contact.state for contact in facts.contacts}
    if states & {"unreachable"} or facts.neighbour is False:
        text = (
            "cannot be reached: the machine is off, has another address, or there is no route to its network; "
            "check there (ip addr), and try ping"
        )
    elif states == {"forbidden"}:
        text = f"this machine's own firewall forbids it: {_LET_THROUGH}, outwards"
    elif states == {"silent"}:
        text = (
            "nothing comes back: the machine is off, or a firewall (there or in between) drops everything; if it is "
            f"on, {_LET_THROUGH}. (If it was there a moment ago, ask again in a minute)"
        )
    else:
        text = f"cannot be reached: {', '.join(dict.fromkeys(c.error for c in facts.contacts if c.error))}"
    return Finding("problem", facts.addr, text)


def _judge_contact(facts: HostFacts, contact: Contact, *, others: bool) -> Finding:
    """One port of a machine that is there.  others: another of its ports is open."""
    about = f"{facts.addr} TCP port {contact.port}"
    role = facts.role(contact.port)
    command = {"scheduler": "parkcos.py --daemon", "node": "parkcosnode.py"}.get(role, "it")
    match contact.state:
        case "connected":
            if contact.refusal or contact.not_ours:
                return Finding("problem", about, contact.refusal or contact.not_ours)
            if contact.greeted:
                return Finding("ok", about, f"{contact.greeted}, of this cluster")
            return Finding("hint", about, "open; without a secret it cannot be told by what")
        case "refused":
            if others:
                return Finding("ok", about, f"no {role} listens (refused), which is well if none is meant to run there")
            text = (
                f"refused: the machine is on, but no {role} listens there: start {command}; if it runs, it has another "
                "port or address (its log says which), or the machine's firewall rejects the connection"
            )
            return Finding("problem", about, text)
        case "silent":
            text = f"no answer, though the machine is on: a firewall there or in between drops it; {_LET_THROUGH}"
        case "unreachable":
            text = f"rejected, though the machine is on: its firewall, or a router's, does that; {_LET_THROUGH}"
        case "forbidden":
            text = f"this machine's own firewall forbids it: {_LET_THROUGH}, outwards"
        case _:
            text = contact.error
    return Finding("problem", about, text)


def _judge_python(facts: HostFacts, contact: Contact) -> list[Finding]:
    if not contact.python or contact.python == facts.own_python:
        return []
    text = (
        f"Python {contact.python} there, {facts.own_python} here: a node is used only by clients with the same minor "
        "version; install the same on both"
    )
    return [Finding("problem", f"{facts.addr} TCP port {contact.port}", text)]


def _judge_udp(facts: HostFacts, *, talks: bool) -> list[Finding]:
    """What came back by UDP.  talks: TCP, TLS and the greeting worked."""
    about = f"{facts.addr} UDP"
    findings: list[Finding] = []
    for one in facts.udp:
        if one.reason:
            text = f"a datagram from {one.addr} {one.words}{_REMEDIES.get(one.reason, '')}"
            findings.append(Finding("problem", about, text))
        else:
            findings.append(Finding("ok", about, f"{one.who} answered"))
        findings += _judge_difference(one)
    if not facts.udp and talks and facts.addr != "::1":  # there is nothing to be heard there
        if facts.udp_refused:
            text = "nobody listens on its UDP ports, so it is not found by broadcast: start it without --no_discovery"
        else:
            text = (
                "no answer, though TCP works: a firewall drops UDP, or the clocks differ by more than a minute "
                "(compare `date` on both). It is not found by broadcast: name it, or let through UDP ports 9705 and "
                "9706"
            )
        findings.append(Finding("hint", about, text))
    return findings
