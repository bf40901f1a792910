"""The options of pycos's own programs; tests/netns/test_compat.py runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from parkcos.compat.commands import command, node_options, scheduler_options


def test_options_of_nodes() -> None:
    given = "-c 2 -i 10.0.0.1 --node_ports 9706-9709 --msg_timeout 5 --ping_interval=60 -d --serve 3"
    assert node_options(given.split()) == [
        "-c",
        "2",
        "-i",
        "10.0.0.1",
        "--node_ports",
        "9706-9709",
        "-d",
        "--serve",
        "3",
    ]
    assert node_options(["--scheduler_port", "9800"]) == ["--udp_port", "9801"]
    assert node_options([]) == []


def test_options_of_schedulers(capsys: pytest.CaptureFixture[str]) -> None:
    given = "--node a --node b --relay_nodes --pulse_interval 10 --ping_interval 0 --node_port 9706 --clean"
    assert scheduler_options(given.split()) == ["--node", "a", "--node", "b", "--clean"]
    assert not capsys.readouterr().err
    assert scheduler_options(["--scheduler_port", "9800"]) == ["--tcp_port", "9800", "--udp_port", "9800"]
    assert scheduler_options(["--node_port", "9900"]) == []
    assert "9900: nodes are looked for at UDP port 9706" in capsys.readouterr().err


def test_secrets_are_not_changed() -> None:
    assert node_options(["-s", "test"]) == ["-s", "test"]
    assert scheduler_options(["--secret=test"]) == ["--secret=test"]
    assert node_options(["--secret_file", "file"]) == ["--secret_file", "file"]


SAVED = """[DEFAULT]
cpus = 2
host = ['127.0.0.1']
ext_host = []
scheduler_port = 9800
node_ports = ['20000-20003']
ipv4_udp_multicast = False
name = me
dest_path =
max_file_size = 10m
secret = 50%
serve = -1
msg_timeout = 10
daemon = True
clean = False
peers = ['127.0.0.1:3000', "10.0.0.1:9705"]
loglevel = True
"""


def test_a_configuration_that_pycos_has_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "saved"
    path.write_text(SAVED)
    assert node_options(["--config", str(path), "-i", "10.0.0.7", "--serve", "3"]) == [
        "--cpus=2", "--node_ports=20000-20003", "--name=me", "--max_file_size=10m", "--secret=50%", "--serve=-1",
        "--daemon", "--peer=127.0.0.1:3000", "--peer=10.0.0.1:9705", "--debug", "-i", "10.0.0.7",
        "--serve", "3", "--udp_port", "9801",
    ]  # fmt: skip
    path.write_text("[DEFAULT]\nhost = [__import__('os').abort()]\n")
    run = command("dispycosnode.py")
    assert run is not None and run([f"--config={path}"]) == 2
    assert "host = [__import__('os').abort()]: give a list" in capsys.readouterr().err


def test_a_configuration_of_parkcos_is_left_to_parkcosnode(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    for text in '{"cpus": 2}', "":
        path.write_text(text)
        assert node_options(["--config", str(path)]) == ["--config", str(path)]
    assert node_options(["--config", "not there"]) == ["--config", "not there"]


def test_which_programs_are_pycos_s_own() -> None:
    assert command("/usr/local/bin/dispycosnode.py") and command("dispycos.py")
    assert command("dispycos_client1.py") is command("mydispycos.py") is None
