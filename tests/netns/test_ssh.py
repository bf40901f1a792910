"""Through ssh: the recipes of chapter 6.13, with a real sshd on a host whose firewall lets in nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Host, HostProcess, Lab
from tests.netns.conftest import Site
from tests.netns.test_cluster import MAIN_JOB, hosts_of, ready

pytestmark = [pytest.mark.netns, pytest.mark.slow]

SSHD = "/usr/sbin/sshd"


class Ssh:
    """A key, a server's configuration, and a client's."""

    def __init__(self, folder: Path, listen: str) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        for key in ("hostkey", "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        shutil.copy(folder / "id.pub", folder / "authorized_keys")
        (folder / "known_hosts").write_text(f"* {(folder / 'hostkey.pub').read_text()}")
        (folder / "sshd_config").write_text(
            f"Port 22\nListenAddress {listen}\nHostKey {folder}/hostkey\nAuthorizedKeysFile {folder}/authorized_keys\n"
            f"PidFile {folder}/pid\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            "StrictModes no\nUseDNS no\n"
        )
        (folder / "ssh_config").write_text(
            f"Host *\n  IdentityFile {folder}/id\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
            "  GlobalKnownHostsFile /dev/null\n  BatchMode yes\n  ExitOnForwardFailure yes\n"
        )

    @contextlib.contextmanager
    def serve(self, site: Site, host: Host) -> Iterator[None]:
        """An sshd on `host`."""
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # it wants this
        log = self.folder / "log"
        with open(log, "wb") as out:
            daemon = host.popen([SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=out)
        site.started.append((f"sshd-{host.name}", daemon))
        (site.folder / f"sshd-{host.name}.log").symlink_to(log)
        try:
            site.wait_for(daemon, "Server listening")
            yield
        finally:
            daemon.terminate()
            daemon.wait(10)

    @contextlib.contextmanager
    def forward(self, host: Host, target: str, *options: str) -> Iterator[HostProcess]:
        """An ssh from `host` to `target` with these forwardings, which stand."""
        say = "echo forwarded; cat"  # it ends with its input
        command = ["ssh", "-F", str(self.folder / "ssh_config"), *options, f"root@{target}", say]
        process = host.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.readline() == b"forwarded\n"
            yield process
        finally:
            process.stdin.close()
            process.wait(10)
            process.stdout.close()


@pytest.fixture(autouse=True)
def needs_sshd() -> None:
    if not os.path.exists(SSHD) or not shutil.which("ssh-keygen"):
        pytest.skip("needs an ssh server: apt install openssh-server openssh-client")


def only_ssh_from(host: Host, *clients: Host) -> None:
    """A firewall at `host`: nothing but ssh comes in."""
    for client in clients:
        rule = f"add rule inet guard in ip saddr {client.ip} tcp dport != 22 drop"
        host.net("nft", "-f", "-", stdin=(
            "add table inet guard\nadd chain inet guard in { type filter hook input priority 0; }\n"
            f"{rule}\nadd rule inet guard in ip saddr {client.ip} udp dport 0-65535 drop\n"
        ))  # fmt: skip


def test_a_node_of_which_only_ssh_can_be_reached(lab: Callable[..., Lab], site: Site, tmp_path: Path) -> None:
    """Its ports, and those of its servers, are forwarded to the client's machine."""
    net = lab({"a": ["client", "cloud"]})
    client, cloud = net["client"], net["cloud"]
    only_ssh_from(cloud, client)
    ssh = Ssh(tmp_path / "ssh", cloud.ip)
    node = site.node(cloud, "-i", "127.0.0.1", "--tcp_ports", "9706")
    ready(site, node)
    ports = [option for port in (9706, 9707, 9708) for option in ("-L", f"127.0.0.1:{port}:127.0.0.1:{port}")]
    job = MAIN_JOB.replace("Client([compute, Square])", "Client([compute, Square], nodes=['127.0.0.1'])")
    job = job.replace("Parkcos(secret_file", "Parkcos('127.0.0.1', secret_file")
    with ssh.serve(site, cloud), ssh.forward(client, cloud.ip, *ports):
        said = site.finish(site.client(client, job, "1"), patience_s=30)
    assert hosts_of(said) == ["cloud"]
    site.end(node)


def test_a_client_whose_port_is_forwarded_to_the_cloud(lab: Callable[..., Lab], site: Site, tmp_path: Path) -> None:
    """As the chapter has it: the node announces its public address, the client listens where ssh forwards to."""
    net = lab({"home": ["client"], "lab": ["cloud"]}, routers={"r": ["home", "lab"]})
    client, cloud = net["client"], net["cloud"]
    client.net("nft", "-f", "-", stdin=(
        "add table inet guard\nadd chain inet guard in { type filter hook input priority 0; }\n"
        "add rule inet guard in iifname != lo ct state new drop\n"
    ))  # fmt: skip
    ssh = Ssh(tmp_path / "ssh", cloud.ip)
    node = site.node(cloud, "--ext_ip_addr", cloud.ip, "--tcp_ports", "9706")
    ready(site, node)
    job = MAIN_JOB.replace("Client([compute, Square])", f"Client([compute, Square], nodes=[{cloud.ip!r}])")
    job = job.replace("Parkcos(secret_file", "Parkcos('127.0.0.1', tcp_port=4567, secret_file")
    with ssh.serve(site, cloud), ssh.forward(client, cloud.ip, "-R", "127.0.0.1:4567:127.0.0.1:4567"):
        said = site.finish(site.client(client, job, "1"), patience_s=30)
    assert hosts_of(said) == ["cloud"]
    site.end(node)
