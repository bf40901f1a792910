"""The examples of what tasks do with files, programs, each other, and their end: on one node, and on none."""

from __future__ import annotations

import contextlib
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import logs
from tests.examples.conftest import (
    ENVIRON,
    EXAMPLES,
    TIMEOUT_S,
    Cluster,
    finish,
    load,
    program,
    run,
    secret_in,
    sieve,
    wait_for,
)
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.live]


def test_client4_sends_files_and_gets_files(place: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("client4.py", monkeypatch)
    lines = place.run("client4.py").splitlines()
    assert len(lines) == len(example["TEXTS"])
    for name, text in example["TEXTS"].items():
        counts = Counter(word for word in text.split() if word not in example["COMMON"].split())
        words = ", ".join(f"{count} {word}" for word, count in counts.most_common(3))
        (line,) = (line for line in lines if line.startswith(name.replace(".txt", ".result")))
        assert line.endswith(f": {words}")


@pytest.mark.parametrize("folder", ["/", "/tmp", "of the example"])
def test_client4_works_wherever_it_is_started(folder: str) -> None:
    cwd = EXAMPLES if folder == "of the example" else folder
    assert len(run(EXAMPLES / "client4.py", "--local", cwd=cwd).splitlines()) == 3


def factors(line: str) -> int:
    """Of which number this line gives the prime factors."""
    number, _, product = line.partition(" = ")
    found = [int(text) for text in product.split()]
    assert math.prod(found) == int(number), line
    assert all(n % divisor for n in found for divisor in range(2, math.isqrt(n) + 1)), line
    return int(number)


def test_client5_runs_a_program(place: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = load("client5.py", monkeypatch)["NUMBERS"]
    lines = place.run("client5.py").splitlines()
    ends = [line for line in lines if re.fullmatch(r"The program at \S+ has ended with exit code 0\.", line)]
    found = [factors(line) for line in lines if line not in ends]
    assert len(ends) == 2
    for first in (0, 1):  # each run of the program answers in order
        assert [n for n in found if n % 2 == numbers[first] % 2] == list(numbers[first::2])


def test_client5_proc_is_a_program_like_others() -> None:
    command = [sys.executable, str(EXAMPLES / "client5_proc.py")]
    done = logs.run(command, TIMEOUT_S, input="360\n1\n7\n", env=ENVIRON)
    assert (done.stdout, done.stderr) == ("360 = 2 2 2 3 3 5\n1 = 1\n7 = 7\n", "")


def test_client7_schedules_by_status_messages(place: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate_pi = load("client7.py", monkeypatch)["estimate_pi"]
    *lines, last = place.run("client7.py").splitlines()
    ready = {line.split()[1] for line in lines if line.endswith(" is ready")}
    found = [re.fullmatch(r"task (\d) at (\S+): pi is about ([\d.]+)", line) for line in lines]
    results = {int(match[1]): match[3] for match in found if match}
    expected = {number: finish(estimate_pi(number)) for number in range(1, 7)}
    assert results == {number: f"{pi:.4f}" for number, pi in expected.items()}
    assert ready >= {match[2] for match in found if match}
    assert len(ready) + len(results) == len(lines)
    assert last == f"The mean of 6 tasks is {sum(expected.values()) / 6:.4f}."


def test_kbd_int_ends_tasks(shared_node: Cluster) -> None:
    """Not with --local, where the servers' warning of the interrupted task goes to the terminal, too."""
    lines = Cluster(shared_node.options, ports=None).run("kbd_int.py").splitlines()  # it says nothing of servers
    assert lines.count("careful: begins") == lines.count("careless: begins") == 1
    assert "careless ended with KeyboardInterrupt: KeyboardInterrupt" in lines
    assert "careful ended with StopIteration: its work is saved" in lines
    assert len([line for line in lines if re.fullmatch(r"careful: pi is about [23]\.\d\d", line)]) == 1
    assert len(lines) == 5


def test_live_analytics_reports_while_the_stream_goes_on(place: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("live_analytics.py", monkeypatch)
    lines = place.run("live_analytics.py").splitlines()
    values = [value for _, value in example["sensor"]()]
    summaries = [line for line in lines if line.startswith("summary of")]
    for number, line in enumerate(summaries, 1):
        part = values[: 1000 * number]
        mean = sum(part) / len(part)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in part) / (len(part) - 1))
        assert line == f"summary of {1000 * number} readings: {mean:.2f} ± {deviation:.2f}"
    assert len(summaries) == 5
    assert [line for line in lines if line.startswith("watch:")] == [
        f"watch: {value:.1f} at {time}, where 20 was to be expected" for time, value in example["FAULTS"].items()
    ]
    ends = {line.partition(", at ")[0]: position for position, line in enumerate(lines) if " has ended, at " in line}
    assert list(ends) == ["watch has ended", "summary has ended"]
    assert lines.index(summaries[0]) < ends["watch has ended"]  # results come before the end


def test_mas_agents_find_each_other_and_deal(place: Cluster) -> None:
    lines = place.run("mas.py").splitlines()
    bought = [re.fullmatch(r"(\w+) at \S+ bought (\d+) apples for (\d+)", line) for line in lines[:3]]
    sold = [re.fullmatch(r"(\w+) at \S+ sold (\d+) apples for (\d+) each", line) for line in lines[3:]]
    # Who buys first is chance, but all buy where it is cheapest as long as there is something.
    assert {match[1]: int(match[2]) for match in bought if match} == {"Xan": 4, "Yas": 4, "Zoe": 3}
    sales = {match[1]: (int(match[2]), int(match[3])) for match in sold if match}
    assert sales == {"Ada": (3, 7), "Ben": (3, 5), "Cleo": (5, 6)}
    assert sum(int(match[3]) for match in bought if match) == sum(count * price for count, price in sales.values())


def test_mem_servers_answer_queries(place: Cluster) -> None:
    lines = place.run("mem_servers.py").splitlines()
    prime = sieve(100_000)

    def count(low: int, high: int) -> str:
        return f"how many primes from {low} to {high - 1}: {sum(prime[low:high])}"

    said: dict[str, Any] = dict.fromkeys(lines[:5])
    assert set(said) == {
        count(0, 100),
        count(49_000, 51_000),
        count(0, 100_000),
        "greatest of primes from 0 to 49999: 49999",
        "greatest of primes from 0 to 99999: 99991",
    }
    held = [re.fullmatch(r"(\S+) held (\d+) primes", line) for line in lines[5:]]
    assert [int(match[2]) for match in held if match] == [sum(prime[:50_000]), sum(prime[50_000:])]
    assert len({match[1] for match in held if match}) == 2  # each at a server of its own


def test_client9_node_loads_data_once_at_each_node(place: Cluster) -> None:
    first, *lines = place.run("client9_node.py").splitlines()
    assert first.endswith(" shall load north.txt")
    pattern = r"\S+: (\w+) of north\.txt: ([\d.]+); process (\d+) has what (\d+) has loaded"
    found = [match for line in lines if (match := re.fullmatch(pattern, line))]
    expected = {"coldest": "1.0", "warmest": "4.5", "mean": "2.75"}
    assert Counter((match[1], match[2]) for match in found) == dict.fromkeys(expected.items(), 2)
    assert len({match[4] for match in found}) == 1
    assert found[0][4] not in {match[3] for match in found}  # it was not a server that has loaded them


def test_client9_node_gives_each_node_its_own_data(tmp_path: Path) -> None:
    port, common = free_ports(4)[0], ["-i", "127.0.0.1", *secret_in(tmp_path)]
    (tmp_path / "b").mkdir()
    with contextlib.ExitStack() as nodes:
        for folder, first in ((tmp_path, port), (tmp_path / "b", port + 2)):
            options = [*common, "-u", str(port), "--tcp_ports", str(first), "-c", "1"]
            node = nodes.enter_context(program(folder, "parkcosnode", *options))
            wait_for(folder / "parkcosnode.log", "uses address", node)
        output = run(EXAMPLES / "client9_node.py", *common, "-u", str(port))
    # It may have done its work before the second node was found.
    assert re.findall(r"shall load (\S+)", output) in (["north.txt"], ["north.txt", "south.txt"])
    pattern = r"^127\.0\.0\.1:(\d+): (\w+) of (\w+)\.txt: ([\d.]+); process \d+ has what (\d+) has loaded$"
    answers = re.findall(pattern, output, re.M)
    assert [query for _, query, *_ in answers].count("mean") == 2 and len(answers) == 6
    right = {
        ("coldest", "north"): "1.0",
        ("warmest", "north"): "4.5",
        ("mean", "north"): "2.75",
        ("coldest", "south"): "17.0",
        ("warmest", "south"): "21.5",
        ("mean", "south"): "19.0",
    }
    assert all(right[query, name] == answer for _, query, name, answer, _ in answers)
    assert len({(at, name, pid) for at, _, name, _, pid in answers}) == len({at for at, *_ in answers})


def test_client9_server_loads_data_at_each_server(place: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = load("client9_server.py", monkeypatch)["TEXTS"]
    lines = place.run("client9_server.py").splitlines()
    holds = dict(line.split(" shall load ") for line in lines if " shall load " in line)
    answers = [re.fullmatch(r"(\S+): (\w+) comes (\d+) times in (\S+)", line) for line in lines if " comes " in line]
    found = [match.groups() for match in answers if match]
    assert sorted(word for _, word, _, _ in found) == sorted(["sea", "crow", "the", "cheese"] * 2)
    for server, word, times, name in found:
        assert holds[server] == name
        assert texts[name].split().count(word) == int(times)
    assert sorted(holds.values()) in (sorted(texts), ["sea.txt"])  # it may be done before the second server is ready


def test_client10_runs_each_computation_in_a_fresh_server(place: Cluster) -> None:
    *lines, usual, fresh = place.run("client10.py").splitlines()
    found = [re.fullmatch(r"(\d)² = (\d+), run (\d) of process (\d+) at \S+", line) for line in lines]
    rows = [tuple(map(int, match.groups())) for match in found if match]
    assert [(number, square) for number, square, _, _ in rows] == [(n, n * n) for n in range(6)] * 2
    assert all(run == 1 for _, _, run, _ in rows[6:])
    assert len({pid for *_, pid in rows[6:]}) == 6
    processes = len({pid for *_, pid in rows[:6]})
    assert processes <= 2
    most = max(run for _, _, run, _ in rows[:6])
    assert usual == f"As usual: 6 computations in {processes} processes, at most {most} in one of them."
    assert fresh == "In fresh servers: 6 computations in 6 processes, at most 1 in one of them."
