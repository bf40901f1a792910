"""Programs with certificates of their own, and programs whose secret is being replaced, as their users start them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from pathlib import Path

import pytest

from parkcos.net.trust.certificates import make_certificate
from parkcos.net.trust.secret_text import make_secret
from tests.live.lib import LIMIT_S, SECRET, Ports, Program

pytestmark = [pytest.mark.live, pytest.mark.slow]

BEGIN = """\
import logging, os, sys
import parkcos
from parkcos import *
logging.basicConfig(level=logging.INFO, format='%(levelname)s %(message)s')

def where():
    yield
    return os.getpid()

def main():
    client = Client([where])
    done = yield client.schedule(timeout={limit})
    if done == 0:
        rtask = yield client.rtask(where)
        result = yield rtask.result()
        print('RAN', isinstance(result, int) and result != os.getpid())
    yield client.close()

"""


def client(folder: Path, options: str, rest: str = "Task(main)\n") -> Program:
    path = folder / "client.py"
    path.write_text(BEGIN.format(limit=LIMIT_S) + f"parkcos.Parkcos(host='127.0.0.1', {options})\n" + rest)
    return Program(path, cwd=folder)


def test_made_by_the_command_and_used_by_node_and_client(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """Also the servers have it, which the client dials."""
    folder = tmp_path / "certificate"
    with Program("-m", "parkcos.commands.scheduler", "--make_cert", folder, "--days", "30") as maker:
        assert maker.wait() == 0
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert f"--certfile {certificate} --keyfile {key}" in maker.text
    with Program("-m", "parkcos.commands.scheduler", "--make_cert", folder) as again:
        assert again.wait() == 1
    assert "is not overwritten" in again.text

    ports = Ports()
    node, port = ports.node(1, "--certfile", str(certificate), "--keyfile", str(key))
    stack.enter_context(node)
    node.wait_for("uses address")
    options = f"udp_port={ports.udp - 1}, secret={SECRET!r}"
    ours = f"{options}, certfile={str(certificate)!r}, keyfile={str(key)!r}"
    with client(tmp_path, ours) as user:
        user.wait_for("RAN True")
        assert user.wait() == 0

    other_certificate, other_key = make_certificate(tmp_path / "other")
    theirs = f"{options}, certfile={str(other_certificate)!r}, keyfile={str(other_key)!r}"
    with client(tmp_path, theirs) as stranger:
        stranger.wait_for(f"no connection to .*127.0.0.1:{port}.*{re.escape(str(other_certificate))}")
        stranger.end()
    assert not stranger.find("RAN")
    node.wait_for("refused a connection from 127.0.0.1.* does not accept the certificate")
    with client(tmp_path, options) as without:  # the same secret is not enough
        without.wait_for(f"no connection to .*127.0.0.1:{port}.*or certificates of its own")
        without.end()
    assert not without.find("RAN")
    assert node.end() == 0


def test_a_certificate_is_enough(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    """Without a secret its datagrams are signed."""
    certificate, key = make_certificate(tmp_path / "certificate")
    ports = Ports()
    ports.options = [
        "-i",
        "127.0.0.1",
        "--daemon",
        "--no_secret",
        "--certfile",
        str(certificate),
        "--keyfile",
        str(key),
    ]
    node, _ = ports.node(1)
    stack.enter_context(node)
    node.wait_for("uses address")
    options = f"udp_port={ports.udp - 1}, no_secret=True"
    with client(tmp_path, f"{options}, certfile={str(certificate)!r}, keyfile={str(key)!r}") as user:
        assert user.wait() == 0
    assert user.find("RAN True")
    with client(tmp_path, options) as stranger:
        node.wait_for("a datagram from 127.0.0.1 is not signed with a certificate that this process trusts")
        stranger.wait_for("a datagram from 127.0.0.1 comes from a program with certificates and no secret")
        stranger.end()
    assert not stranger.find("RAN")
    assert node.end() == 0


def test_a_local_cluster_under_a_certificate(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    options = f"secret={SECRET!r}, certfile={str(certificate)!r}, keyfile={str(key)!r}"
    with client(tmp_path, options, "with LocalCluster(cpus=1):\n    Task(main).value()\n") as user:
        assert user.wait() == 0
    assert user.find("RAN True")


@pytest.mark.parametrize("program", ["scheduler", "node"])
def test_what_cannot_be_used_is_said_at_the_start(tmp_path: Path, program: str) -> None:
    certificate, key = make_certificate(tmp_path)
    os.chmod(key, 0o644)
    command = [f"-m parkcos.commands.{program}", "-i 127.0.0.1", f"-s {SECRET.replace(' ', '_')}"]
    words = [word for part in command for word in part.split()]
    with Program(*words, "--daemon", "--certfile", certificate, "--keyfile", key) as refused:
        assert refused.wait() == 1
    assert f"chmod 600 {key}" in refused.lines[-1]


def test_the_secret_is_replaced_while_a_node_runs(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for path, text in ((old, make_secret()), (new, "a text of the user's own")):
        path.write_text(text)
        path.chmod(0o600)
    ports = Ports()
    ports.options = ["-i", "127.0.0.1", "--daemon", "--secret_file", str(new), "--old_secret_file", str(old)]
    node, _ = ports.node(1)
    stack.enter_context(node)
    node.wait_for("uses address")
    udp = f"udp_port={ports.udp - 1}"
    for secrets in (
        f"secret_file={str(old)!r}",
        f"secret_file={str(new)!r}, old_secret_file={str(old)!r}",
        f"secret_file={str(new)!r}",
    ):
        with client(tmp_path, f"{udp}, {secrets}") as user:
            assert user.wait() == 0, user.text
        assert user.find("RAN True")
    assert not node.find("refused")
    assert node.end() == 0


def test_doctor_looks_at_a_running_node(stack: contextlib.ExitStack) -> None:
    ports = Ports()
    node, port = ports.node(1)
    stack.enter_context(node)
    node.wait_for("uses address")
    base = ["-m", "parkcos.commands.node", "-i", "127.0.0.1", "-u", str(ports.udp), "--doctor", f"127.0.0.1:{port}"]
    with Program(*base, "-s", SECRET, "--json") as well:
        assert well.wait() == 0, well.text
    findings = json.loads(well.text)
    said = [f["text"] for f in findings if f["about"].startswith("127.0.0.1")]
    assert "of this cluster" in said[0] and "answered" in said[1]
    with Program(*base, "-s", "quite another secret") as wrong:
        assert wrong.wait() == 1
    wrong.wait_for("^problem .*a parkcos is there.*another secret")
    assert node.end() == 0
