"""The options of pycos's own programs; tests/netns/test_compat.py runs them."""

from __future__ import annotations

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


def test_short_secrets_are_those_of_the_programs() -> None:
    assert node_options(["-s", "test"]) == scheduler_options(["--secret=test"]) == ["--secret", "pycos-secret-test"]
    assert node_options(["-s", "long enough"]) == ["--secret", "long enough"]
    assert node_options(["--secret_file", "file"]) == ["--secret_file", "file"]


def test_which_programs_are_pycos_s_own() -> None:
    assert command("/usr/local/bin/dispycosnode.py") and command("dispycos.py")
    assert command("dispycos_client1.py") is command("mydispycos.py") is None
