"""Each example as its user runs it: against a node that somebody started, and on a cluster of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import ENVIRON, EXAMPLES, TIMEOUT_S, Cluster, finish, load, run, sieve
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.live]


def test_demo_prints_each_result_as_it_comes_and_where_from() -> None:
    lines = run(EXAMPLES / "demo.py").splitlines()
    found = [re.fullmatch(r"\[ *(\d+) of 20\] +([\d,]+) to +([\d,]+): +([\d,]+) primes, from server (\S+)", line)
             for line in lines[1:-1]]  # fmt: skip
    assert all(found), lines
    rows = [[int(text.replace(",", "")) for text in match.groups()[:4]] for match in found if match]
    prime = sieve(1_000_000)
    assert [row[0] for row in rows] == list(range(1, 21))
    assert sorted(row[1] for row in rows) == list(range(0, 1_000_000, 50_000))
    assert all(sum(prime[first : last + 1]) == primes for _, first, last, primes in rows)
    servers = len({match[5] for match in found if match})
    assert re.fullmatch(rf"78,498 primes below 1,000,000, counted by {servers} server\(s\) in [\d.]+ s\.", lines[-1])


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_demo_shows_its_progress_on_a_terminal() -> None:
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        demo = subprocess.Popen([sys.executable, EXAMPLES / "demo.py"], env=ENVIRON, stdout=theirs, stderr=theirs)
        os.close(theirs)
        output = b""
        with contextlib.suppress(OSError):  # that is how its end looks from here
            while data := terminal.read(4096):
                output += data
        assert demo.wait(TIMEOUT_S) == 0
    assert re.findall(rb"(\d+) of 20\r\033\[K", output) == [b"%d" % n for n in range(1, 20)]
    assert b"[#####...............] 5 of 20\r\033[K" in output
    assert b"\r\n78,498 primes" in output


def test_client1_tells_its_progress_and_its_status(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    class Observer:
        def __init__(self) -> None:
            self.said: list[str] = []

        def send(self, message: tuple[int, float, float]) -> None:
            self.said.append("task {}: {:4.0%}, pi is about {:.4f}".format(*message))

    estimate_pi = load("client1.py", monkeypatch)["estimate_pi"]
    lines = cluster.run("client1.py").splitlines()
    results = []
    for number in range(1, 5):
        observer = Observer()
        results.append(finish(estimate_pi(number, observer)))
        assert [line for line in lines if line.startswith(f"task {number}:")] == observer.said
        (started,) = (line for line in lines if re.fullmatch(rf"    estimate_pi/\S+ has started with {number}", line))
        rtask = started.split()[0]
        assert f"    {rtask} returned {results[-1]}" in lines
    ready = {line.split()[1] for line in lines if line.endswith(" is ready")}
    assert ready >= {line.split()[0].partition("@")[2] for line in lines if " has started with " in line}
    assert lines[-1] == f"The mean of 4 tasks is {sum(results) / 4:.4f}."


def test_client2_gets_its_results(cluster: Cluster) -> None:
    lines = cluster.run("client2.py").splitlines()
    starts = [int(line.split()[0]) for line in lines if " at server " in line]
    assert starts == list(range(1, 100_000, 10_000))
    assert lines[-1] == "77031 takes 350 steps."  # as is known


def test_client3_exchanges_objects(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    walker_class: Callable[[str], Any] = load("client3.py", monkeypatch)["Walker"]
    lines = cluster.run("client3.py").splitlines()
    for number in range(6):
        walker = walker_class(f"walker {number}")
        for _ in range(3):
            walker.walk(20_000)
        mine = [line.partition(", from ")[0] for line in lines if line.startswith(f"walker {number}")]
        assert mine[:3] == [f"walker {number}: leg {leg} of 3" for leg in (1, 2, 3)]
        assert (
            lines.count(f"walker {number} ends at ({walker.x}, {walker.y}), {walker.distance:.1f} from its start") == 1
        )
    assert sum(int(line.split()[2]) for line in lines if " guided " in line) == 18


def test_client8_messages_queue_while_it_computes(cluster: Cluster) -> None:
    lines = cluster.run("client8.py").splitlines()
    received = ", ".join(f"message {number}" for number in range(1, 6))
    assert sum(line.endswith(f" it had received: {received}.") for line in lines) == 2
    pairs = re.findall(r"was sent 5 messages in ([\d.]+) s, and computed for ([\d.]+) s\.", "\n".join(lines))
    assert [float(computed) for _, computed in pairs] == [1.0, 1.5]
    assert all(float(sent) < float(computed) for sent, computed in pairs)


RPS_SAYS = [
    "squares: the mean of 100 numbers is 3383.50",
    "cubes: the mean of 100 numbers is 255025.00",
    "A wrong call is an error here, and does no harm there: missing a required argument: 'name'",
    "  write: rtask = yield rps(name)",
]


def test_rps_on_its_own() -> None:
    assert run(EXAMPLES / "rps.py", "--local").splitlines() == RPS_SAYS


def test_rps_of_a_program_that_somebody_has_started(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret of this test\n")
    (tmp_path / "secret").chmod(0o600)
    options = ["-i", "127.0.0.1", "-u", str(free_ports(2)[0]), "--secret_file", str(tmp_path / "secret")]
    serve = [sys.executable, str(EXAMPLES / "rps.py"), "--serve", *options]
    with subprocess.Popen(serve, env=ENVIRON, stdout=subprocess.PIPE, text=True) as server:
        try:
            # It is not waited for: whoever calls finds it however long it takes to start.
            assert run(EXAMPLES / "rps.py", *options).splitlines() == RPS_SAYS
            assert server.stdout is not None
            assert re.fullmatch(r"mean_of can be called at 127\.0\.0\.1:\d+\n", server.stdout.readline())
        finally:
            server.terminate()


def test_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run(EXAMPLES / "pipe.py").splitlines()
    found = [re.fullmatch(r"(\w+) +came ([\d,]+) times", line) for line in lines[:4]]
    counts = {match[1]: int(match[2].replace(",", "")) for match in found if match}
    assert list(counts) == load("pipe.py", monkeypatch)["WORDS"]
    assert sum(counts.values()) == 200_000
    assert lines[4:] == ["exit code 0", "checksum and length: 1645622340 18"]


def test_shared_table_is_at_each_node(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("shared.py", monkeypatch)
    table = example["sieve"](1000)
    assert [n for n in range(30) if table[n]] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert example["ways"](table, 10) == 2  # 3 + 7, 5 + 5
    first, second, last = cluster.run("shared.py").splitlines()
    assert second.startswith("used by 127.0.0.1:")
    assert first == "shared: bytes of 97.7 KiB"
    assert last == "99960 is the sum of two primes in 2063 ways."


def test_every_example_is_tested() -> None:
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    programs = [path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("_")]
    assert programs
    assert [name for name in programs if f'"{name}")' not in here] == []


@pytest.mark.parametrize("name", ["client1.py", "client2.py", "client3.py", "client8.py", "rps.py"])
def test_examples_say_what_they_take(name: str) -> None:
    assert "--local" in run(EXAMPLES / name, "--help")


def test_every_example_is_listed() -> None:
    listed = re.findall(r"\]\(\.\./examples/(.+?)\)", (EXAMPLES.parent / "docs" / "examples.md").read_text())
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.glob("*.py"))
