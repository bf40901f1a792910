"""What others could learn or change of a cluster's secret, and do not."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos import LocalCluster, Parkcos
from parkcos.commands import node, scheduler
from parkcos.errors import ConfigError
from parkcos.net.trust.granted import write_grant
from parkcos.net.trust.secret import ClusterKeys, load_secret
from parkcos.net.trust.secret_text import flaw_of
from tests.live.lib import SECRET, Ports, Program

OWN_TEXT = "what nobody else writes here"


def secret_in(folder: Path, text: str = SECRET) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "secret"
    path.touch(mode=0o600)
    path.write_text(text)
    return path


# Where it lies


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722, 0o702])
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_in_which_others_can_put_another_secret_is_refused(tmp_path: Path, mode: int, there: bool) -> None:
    path = secret_in(tmp_path / "shared") if there else tmp_path / "shared" / "secret"
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod go-w {path.parent} ") as refused:
        load_secret(path)
    assert SECRET not in str(refused.value)
    assert path.exists() == there, "none is made there"
    path.parent.chmod(0o755)
    assert load_secret(path)


def test_so_is_a_link_to_a_file_in_such_a_folder(tmp_path: Path) -> None:
    shared = secret_in(tmp_path / "shared")
    shared.parent.chmod(0o777)
    (link := tmp_path / "link").symlink_to(shared)
    with pytest.raises(ConfigError, match=f"chmod go-w {shared.parent} "):
        load_secret(link)


def test_in_a_sticky_folder_an_own_file_is_safe(tmp_path: Path) -> None:
    path = secret_in(tmp_path / "sticky")
    path.parent.chmod(0o1777)
    assert load_secret(path) == SECRET
    with pytest.raises(ConfigError, match="chmod go-w"):
        load_secret(path.with_name("none"))  # somebody could be faster


@pytest.mark.root
def test_in_a_sticky_folder_another_user_s_file_is_not(tmp_path: Path) -> None:
    path = secret_in(tmp_path / "sticky")
    path.parent.chmod(0o1777)
    os.chown(path, 4711, -1)
    with pytest.raises(ConfigError, match="chmod go-w"):
        load_secret(path)


# Who makes it


@pytest.mark.parametrize("name", ["", "elsewhere"])
def test_a_secret_is_made_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / name if name else tmp_path / "config" / "parkcos" / "secret"
    words = [str(path)] if name else []
    assert scheduler.main(["--make_secret", *words]) == 0
    made = path.read_text().strip()
    assert made.startswith("parkcos-1-") and flaw_of(made) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = capsys.readouterr()
    assert f"scp -p {path} HOST:{path.parent}/" in said.out
    assert (f"--secret_file {path}" in said.out) == bool(name)
    assert made not in said.out + said.err
    assert scheduler.main(["--make_secret", *words]) == 1
    assert "is there already" in capsys.readouterr().err
    assert path.read_text().strip() == made


@pytest.mark.parametrize("main", [node.main, scheduler.main])
@pytest.mark.parametrize("secret", ["test", "1234567890123456", SECRET[:-1]])
def test_one_that_is_guessed_is_refused_with_the_command_that_makes_one(
    capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], secret: str
) -> None:
    assert main(["-i", "127.0.0.1", "--daemon", "-s", secret]) == 1
    said = capsys.readouterr().err
    assert "parkcos.py --make_secret" in said
    assert secret not in said.replace(flaw_of(secret), "")


# Whoever looks at the processes, and at what they leave


def representations(keys: ClusterKeys) -> Iterator[str]:
    for key in (keys.ca_seed, keys.mac_key):
        yield key.hex()
        yield b64encode(key).decode().rstrip("=")
        yield urlsafe_b64encode(key).decode().rstrip("=")
        yield repr(key)[2:-1]


SQUARES = """
def square(x):
    return x * x

def main(task=None):
    client = Client()
    assert (yield client.schedule()) == 0
    print("result", (yield client.submit(square, 7)))
    yield client.close()

Task(main)
"""


@pytest.mark.live
@pytest.mark.parametrize("secret", [SECRET, OWN_TEXT])
def test_the_log_shows_neither_secret_nor_keys(tmp_path: Path, secret: str) -> None:
    ports = Ports()
    ports.options = ["-i", "127.0.0.1", "--daemon", "-d", "--secret_file", str(secret_in(tmp_path / "s", secret))]
    with ports.node(1)[0] as one, ports.scheduler()[0] as other:
        with ports.client(
            tmp_path, SQUARES.replace("Task(main)", "logging.root.setLevel(0)\nTask(main)"), secret=secret
        ) as client:
            client.wait_for("result 49")
            assert client.wait() == 0
        assert one.end() == 0
        assert other.end() == 0
    text = "\n".join((one.text, other.text, client.text))
    assert "DEBUG" in one.text and "DEBUG" in other.text
    assert [shown for shown in (secret, *representations(ClusterKeys.derive(secret))) if shown in text] == []


@pytest.mark.live
def test_one_on_the_command_line_is_warned_of() -> None:
    ports = Ports()
    with ports.node(1)[0] as quiet:
        quiet.wait_for("uses address")
        assert not quiet.find("list of processes")
    ports.options = ["-i", "127.0.0.1", "--daemon", "-s", SECRET]
    for program, _ in (ports.node(1), ports.scheduler()):
        with program:
            program.wait_for("WARNING other users .* can read the secret, .* list of processes: .*--secret_file")
            program.wait_for("uses address")
            assert not program.find(SECRET)


def core_limit(pid: int) -> int:
    """The size in bytes that core files of a process may have."""
    return int(psutil.Process(pid).rlimit(psutil.RLIMIT_CORE)[0])


@contextlib.contextmanager
def core_files_allowed() -> Iterator[None]:
    """In this process, and in those that it starts."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0 and os.geteuid():
        pytest.skip("core files cannot be allowed here")
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, max(before[1], 1 << 20) if before[1] >= 0 else before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.live
def test_nobody_who_holds_keys_leaves_a_core_file(tmp_path: Path) -> None:
    ports = Ports()
    with core_files_allowed():
        (one, _), (other, _) = ports.node(1), ports.scheduler()
        client = ports.client(
            tmp_path, SQUARES.replace("    yield client.close", "    sys.stdin.readline()\n    yield client.close")
        )
    with one, other, client:
        client.wait_for("result 49")
        family = [process for program in (one, other, client) for process in program.family()]
        assert len(family) >= 5, "node, zygotes and servers, scheduler, client"
        assert {core_limit(process.pid) for process in family} == {0}
        for process in family:
            process.send_signal(0)  # its user may still do with it what it likes
            assert process.environ()
        client.say("\n")
        assert client.wait() == 0
        assert one.end() == other.end() == 0


@pytest.mark.live
def test_nor_does_who_has_a_grant(tmp_path: Path) -> None:
    """It holds a key, and that of the datagrams."""
    ports = Ports()
    write_grant(grant := tmp_path / "zoe.grant", ClusterKeys.derive(SECRET), "node", "Zoë", 1)
    ports.options = ["-i", "127.0.0.1", "--grant", str(grant), "--daemon"]
    with core_files_allowed():
        program, _ = ports.node(1)
    with program:
        program.wait_for("uses address")
        assert {core_limit(process.pid) for process in program.family()} == {0}
        assert program.end() == 0


@pytest.mark.live
def test_nor_does_a_local_cluster() -> None:
    with core_files_allowed():
        try:
            with LocalCluster(cpus=1) as cluster:
                assert cluster.location
                family = [psutil.Process(cluster.nodes[0].process.pid)]  # type: ignore[attr-defined]
                family += family[0].children(recursive=True)
                assert len(family) >= 2
                assert {core_limit(process.pid) for process in [*family, psutil.Process()]} == {0}
        finally:
            Parkcos.instance().terminate()


@pytest.mark.live
def test_without_keys_core_files_are_as_they_were() -> None:
    ports = Ports()
    ports.options = ["--no_secret", "--daemon"]
    with core_files_allowed():
        program, _ = ports.node(1)
    with program:
        program.wait_for("uses address")
        assert core_limit(program.pid) == 1 << 20
        assert program.end() == 0


# Two clusters in one network


@pytest.mark.live
def test_clusters_of_other_names_with_one_secret_keep_apart(tmp_path: Path) -> None:
    ports = Ports()
    lab, port = ports.node(1, "--cluster", "lab")
    nodes = f"nodes=[NodeAllocate('127.0.0.1', port={port})]"
    source = SQUARES.replace("Client()", f"Client({nodes})").replace("Task(main)", "sys.stdin.readline()\nTask(main)")

    def client(name: str, **options: Any) -> Program:
        text = "".join(f", {key}={value!r}" for key, value in options.items())
        return ports.client(tmp_path, source, name=name, options=text)

    with lab:
        lab.wait_for("uses address")
        with client("outside.py") as outside:
            outside.say("\n")
            outside.wait_for(r"127\.0\.0\.1.*secret")
            lab.wait_for(r"refused a connection from 127\.0\.0\.1.*secret")
        with client("inside.py", cluster="lab") as inside:
            inside.say("\n")
            inside.wait_for("result 49")
            assert inside.wait() == 0
        assert lab.end() == 0
