"""parkcos/node/program.py, main.py: what a node offers, as its options say it."""

from __future__ import annotations

import os
import re

import pytest

from parkcos import LocalCluster
from parkcos.commands.node import main, parse_resources
from parkcos.errors import ConfigError
from parkcos.node.offer import bound_own, count_cpus


def test_how_many_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as asked for; negative: all processors but so many; 0: all that this process may use."""
    monkeypatch.setattr("parkcos.node.offer.usable_processors", lambda: 4)
    assert [count_cpus(asked) for asked in (0, 1, 4, -1, -3)] == [4, 1, 4, 3, 1]
    assert count_cpus(64) == 64, "more than there are, for tasks that mostly wait"
    for asked in (-4, -5):
        with pytest.raises(ConfigError, match=f"-c {asked} leaves none of the 4 processors"):
            count_cpus(asked)
    with pytest.raises(ConfigError, match="-c 4097: a node has at most 4096 servers; it may use 4 processors here"):
        count_cpus(4097)


def test_all_processors_where_the_system_does_not_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert count_cpus(0) == 6
    assert LocalCluster().cpus == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_cpus(0) == LocalCluster().cpus == 1


def test_how_many_processes_of_single_tasks() -> None:
    assert [bound_own(None, cpus) for cpus in (1, 3, 4096)] == [4, 12, 4096]
    assert [bound_own(asked, 2) for asked in (0, 1, 4096)] == [0, 1, 4096]


def test_resources() -> None:
    assert parse_resources([]) == {}
    assert parse_resources(["gpu=1", "licence=2.5"]) == {"gpu": 1.0, "licence": 2.5}
    with pytest.raises(ConfigError, match="gpu is given twice"):
        parse_resources(["gpu=1", "gpu=2"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--serve", "0"], "--serve 0: give the number of clients"),
        (["--serve", "-2"], "--serve -2: give the number of clients"),
        (["--zombie_period", "-1"], "--zombie_period -1: give seconds"),
        (["--zombie_period", "inf"], "--zombie_period inf: give seconds"),
        (["--min_pulse_interval", "0"], "give seconds, more than 0"),
        (
            ["--min_pulse_interval", "101"],
            "--min_pulse_interval 101, --max_pulse_interval 100: .*not above",
        ),
        (["--max_pulse_interval", "5"], "--min_pulse_interval 10, --max_pulse_interval 5: .*not above the maximum"),
        (["--max_pulse_interval", "nan"], "--max_pulse_interval nan: give seconds"),
        (["--service_start", "17:00"], "--service_start"),
        (["--tcp_ports", "70000"], "--tcp_ports 70000"),
        (["--peer", "127.0.0.1:0"], "127.0.0.1:0: nobody listens at port 0"),
        (["-c", "-100000"], "-c -100000 leaves none"),
        (["--own_max", "-1"], "--own_max -1: give a number from 0, for none, to 4096"),
        (["--own_max", "4097"], "--own_max 4097: give a number"),
    ],
)
def test_what_makes_no_sense_is_said_at_the_start(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--no_secret"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("parkcosnode.py: ")
    assert re.search(words, error), error
