"""What the programs do instead of running: make secrets and certificates (`--make_secret`, `--make_cert`), look for
faults (`--doctor`).

What must not live here: what a fault is (`doctor/findings.py`), what a certificate is (`net/trust/certificates.py`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import platform
from pathlib import Path

from parkcos.doctor import findings as dr
from parkcos.doctor.probe import Prober, active_firewalls, clock_synchronised, look_for_secret
from parkcos.errors import ConfigError
from parkcos.net.finding.addresses import OwnAddress, choose_address
from parkcos.net.options import CLIENT_UDP_PORT, NODE_UDP_PORT
from parkcos.net.runtime import VERSION
from parkcos.net.trust.certificates import (
    DAYS_DEFAULT,
    CertificateIdentity,
    certificate_summary,
    load_certificates,
    make_certificate,
)
from parkcos.net.trust.secret import ClusterKeys, default_secret_path, fingerprint, make_secret_file
from parkcos.net.trust.tls import Identity, TlsIdentity
from parkcos.program.code_doctor import examine_code

LISTEN_S = 3.0
LISTEN_LONGER_S = 6.5
"""If nobody has answered by then: every process announces itself every 6 s at the latest."""


def make_secret(file: str, cluster: str) -> int:
    """Make a secret for the whole cluster and print what to do with it, but not the secret; the exit code.

    Args:
        file: empty: where programs look for it.
        cluster: its name.

    Raises: ConfigError.
    """
    path = Path(file).absolute() if file else default_secret_path()
    digits = fingerprint(ClusterKeys.derive(make_secret_file(path), cluster))
    option = "" if path == default_secret_path() else f" --secret_file {path}"
    print(
        f"made the secret in {path}, fingerprint {digits}\n\n"
        "All machines of the cluster share it. Copy it to each of the others, over a connection that you trust:\n\n"
        f"    ssh HOST mkdir -p -m 700 {path.parent}\n"
        f"    scp -p {path} HOST:{path.parent}/\n\n"
        f"Programs {f'that are started with {option.strip()} use it' if option else 'find it there by themselves'}. "
        f"To compare two machines:\n\n    parkcos.py --doctor{option}"
    )
    return 0


def make_cert(folder: str, days: int | None) -> int:
    """Make a certificate for the whole cluster and print what to do with it; the exit code.

    Args:
        folder: empty: where the secret lies.

    Raises: ConfigError.
    """
    where = Path(folder).absolute() if folder else default_secret_path().parent
    name = f"parkcos cluster, made at {platform.node()}"[:64]
    certificate, key = make_certificate(where, DAYS_DEFAULT if days is None else days, name)
    options = f"--certfile {certificate} --keyfile {key}"
    print(
        f"made the certificate {certificate}\n"
        f" and its private key {key}\n\n"
        "All machines of the cluster share both. Copy them to each of the others, over a connection that you trust:\n\n"
        f"    ssh HOST mkdir -p -m 700 {where}\n"
        f"    scp -p {certificate} {key} HOST:{where}/\n\n"
        "Then start every program with them; in client programs write the second line before the first task:\n\n"
        f"    parkcosnode.py {options}\n"
        f"    parkcos.Parkcos(certfile={str(certificate)!r}, keyfile={str(key)!r})\n\n"
        "Who has the key can run code on every node. The secret goes on to protect the datagrams, by which programs\n"
        f"find each other: copy {default_secret_path()}, too."
    )
    return 0


def add_doctor_options(parser: argparse.ArgumentParser) -> None:
    """The options of `run_doctor`."""
    parser.add_argument(
        "--doctor",
        nargs="?",
        const="",
        metavar="HOST[:PORT]",
        help="say why this machine does not see others, or HOST, and end: 0 if nothing is wrong",
    )
    parser.add_argument(
        "--code",
        metavar="PROGRAM",
        help="with --doctor: say which modules of this client program travel, and why; it is not run",
    )
    parser.add_argument("--json", action="store_true", help="with --doctor: print its findings as JSON")


def check_doctor_options(args: argparse.Namespace) -> None:
    """Raises: ConfigError for those that go with --doctor, and stand without it."""
    if args.doctor is None and args.json:
        raise ConfigError("--json goes with --doctor: it prints the doctor's findings as JSON")
    if args.doctor is None and args.code is not None:
        raise ConfigError("--code goes with --doctor, which looks at a program's code")
    if args.doctor and args.code is not None:
        raise ConfigError(f"--doctor {args.doctor} looks at a machine, and --code at a program: give one of them")


def run_doctor(args: argparse.Namespace, *, node_port: int, scheduler_port: int, udp_port: int) -> int:
    """Look for what keeps this machine from seeing others, print the findings, one a line; the exit code.

    Args:
        args: with the options of `add_network_options` and `add_doctor_options`.
        node_port, scheduler_port: TCP ports of this cluster's programs, here and elsewhere.
        udp_port: of the program that asks, by default.
    """
    logger = logging.getLogger("parkcos")
    level = logger.level
    logger.setLevel(logging.ERROR)  # what there is to say is among the findings
    try:
        if args.code is not None:
            findings = examine_code(args.code)
        else:
            findings = _examine(args, node_port, scheduler_port, udp_port)
    finally:
        logger.setLevel(level)
    if args.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(finding)
    return dr.exit_code(findings)


def _examine(args: argparse.Namespace, node_port: int, scheduler_port: int, udp_port: int) -> list[dr.Finding]:
    findings = [dr.Finding("ok", "parkcos", f"{VERSION}, Python {platform.python_version()}, {platform.platform()}")]
    addresses = _own_addresses(args, findings)
    keys, identity = _proofs(args, findings)
    findings += dr.judge_clock(clock_synchronised())
    if not addresses:
        return findings
    probers = [Prober(own, keys, identity, args.no_secret) for own in addresses]
    udp_ports = _udp_ports(args, udp_port)
    roles = {scheduler_port: "scheduler", node_port: "node"}
    if args.doctor:
        host, port = _host_and_port(args.doctor)
        asked = {port: roles.get(port, "program")} if port else roles
        return findings + dr.judge_host(probers[0].look_at_host(host, asked, udp_ports))
    ports = [prober.own_port("TCP", port, whose) for prober in probers for port, whose in roles.items()]
    ports += [probers[0].own_port("UDP", port, whose) for port, whose in zip(udp_ports, roles.values(), strict=True)]
    findings += dr.judge_ports(ports)
    if args.no_discovery:
        return [*findings, dr.Finding("hint", "broadcast", "switched off (--no_discovery): name the other machines")]
    if keys is None and not args.no_secret:
        return [*findings, dr.Finding("hint", "broadcast", "not tried, because there is no secret to try it with")]
    firewalls = active_firewalls()
    for prober in probers:
        if not args.ipv4_udp_multicast:
            findings += dr.judge_interfaces(prober.own.interfaces)
        heard, targets = prober.broadcast(udp_ports, LISTEN_S, LISTEN_LONGER_S, multicast=args.ipv4_udp_multicast)
        findings += dr.judge_broadcast(heard, targets, LISTEN_LONGER_S, firewalls)
    return findings


def _host_and_port(text: str) -> tuple[str, int]:
    """`HOST`, `HOST:PORT`, `[IPv6]:PORT`, `IPv6`; the port is 0 if none is given.  Raises: ConfigError."""
    if text.count(":") != 1 and "]:" not in text:
        return text.strip("[]"), 0
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= 65535):
        raise ConfigError(f"--doctor {text}: {port!r} is no port; write HOST or HOST:PORT, with a port from 1 to 65535")
    return host.strip("[]"), int(port)


def _own_addresses(args: argparse.Namespace, findings: list[dr.Finding]) -> list[OwnAddress]:
    """Those that a program with these options would take."""
    loopback = "127.0.0.1" if args.no_secret and args.certfile is None else None
    found: list[OwnAddress] = []
    for host in args.host or [loopback]:
        try:
            own = choose_address(host)
        except ConfigError as exc:
            findings.append(dr.Finding("problem", "address", str(exc)))
            continue
        found.append(own)
        if own.loopback_only and host is None:
            findings.append(dr.Finding("problem", "address", f"{own.why}: connect this machine to a network"))
        else:
            findings.append(dr.Finding("hint" if own.loopback_only else "ok", "address", f"{own.why} would be taken"))
    return found


def _proofs(args: argparse.Namespace, findings: list[dr.Finding]) -> tuple[ClusterKeys | None, Identity | None]:
    """The secret's keys, and what connections are made with."""
    facts, keys = look_for_secret(args.secret, args.secret_file, args.cluster, no_secret=args.no_secret)
    findings += dr.judge_secret(facts)
    if args.old_secret_file is not None:
        old_facts, old = look_for_secret(None, args.old_secret_file, args.cluster)
        findings += dr.judge_secret(old_facts, "old secret")
        if keys is not None and old is not None:
            keys = ClusterKeys(keys.ca_seed, keys.mac_key, old)
    identity: Identity | None = TlsIdentity(keys, "doctor") if keys is not None else None
    try:
        certificates = load_certificates(args.certfile, args.keyfile, args.cafile)
    except ConfigError as exc:
        findings.append(dr.Finding("problem", "certificate", str(exc)))
        return keys, None
    if certificates is not None:
        name, digest, ends = certificate_summary(certificates)
        text = f"{name} in {certificates.certfile}, SHA-256 {digest}..., valid until {ends:%Y-%m-%d}"
        findings.append(dr.Finding("ok", "certificate", text))
        identity = CertificateIdentity(certificates)
    return keys, identity


def _udp_ports(args: argparse.Namespace, base: int) -> tuple[int, int]:
    """Of schedulers and clients, and of nodes; `-u` gives one of them, as it does for the program itself."""
    if args.udp_port is None:
        return CLIENT_UDP_PORT, NODE_UDP_PORT
    return (args.udp_port - 1, args.udp_port) if base == NODE_UDP_PORT else (args.udp_port, args.udp_port + 1)
