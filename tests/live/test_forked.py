"""Tasks at servers, and node_setup, that fork: by multiprocessing, and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.lib import Program

pytestmark = pytest.mark.live

BEGIN = """
import multiprocessing, os, signal, sys
from parkcos import *
import parkcos

def square(x):
    return x * x

def pools(n):
    '''Pools whose processes are ended by SIGTERM; at once, as by an impatient program, or when they are done.'''
    fork = multiprocessing.get_context("fork")
    for i in range(n):
        with fork.Pool(2) as pool:
            if i % 2:
                assert pool.map(square, range(4)) == [0, 1, 4, 9]
    return n

def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def pool_task(n):
    yield
    return pools(n)

def signals():
    '''How children end that get what would have the server do something.'''
    codes = []
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        ready, wake = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(wake, b"x")
            signal.pause()
            os._exit(7)
        os.read(ready, 1)
        os.kill(pid, number)
        codes.append(code_of(pid))
    yield
    return codes

def returns():
    pid = os.fork()
    if pid == 0:
        return "of the child"
    yield
    return code_of(pid)

def exits():
    pid = os.fork()
    if pid == 0:
        sys.exit(3)
    yield
    return code_of(pid)

def raises():
    pid = os.fork()
    if pid == 0:
        raise ValueError("of the child")
    yield
    return code_of(pid)

def goes_on(task=None):
    pid = os.fork()
    yield task.sleep(0.01)
    return code_of(pid)

def with_tasks():
    pid = os.fork()
    if pid == 0:
        def inner(task=None):
            yield task.sleep(0.01)
            return 5
        os._exit(parkcos.run(inner))
    yield
    return code_of(pid)
"""

AT_SERVERS = """
def main(task=None):
    client = Client([square, pools, pool_task, code_of, signals, returns, exits, raises, goes_on, with_tasks])
    yield client.schedule()
    for fn, *args in ((signals,), (returns,), (exits,), (raises,), (goes_on,), (with_tasks,), (pool_task, 20)):
        rtask = yield client.rtask(fn, *args)
        print(fn.__name__, (yield rtask.result()), flush=True)
    yield client.close()

with LocalCluster(cpus=2):
    parkcos.run(main)
"""

AT_THE_ZYGOTE = """
def setup():
    yield
    return pools(6) - 6

def main(task=None):
    client = Client([square, pools, pool_task], node_setup=setup)
    yield client.schedule()
    rtask = yield client.rtask(pool_task, 2)
    print("pools", (yield rtask.result()), flush=True)
    yield client.close()

with LocalCluster(cpus=1):
    parkcos.run(main)
"""

IN_THE_CLIENT = """
def main(task=None):
    client = Client([square, pools, pool_task])
    yield client.schedule()
    print("pools", pools(4), flush=True)
    for end in ("return", "exit", "use"):
        pid = os.fork()
        if pid == 0:
            if end == "return":
                return
            if end == "exit":
                sys.exit(3)
            yield client.rtask(pool_task, 1)
        print(end, code_of(pid), flush=True)
    rtask = yield client.rtask(pool_task, 2)
    print("pools", (yield rtask.result()), flush=True)
    yield client.close()

with LocalCluster(cpus=1) as cluster:
    parkcos.run(main)
    pid = os.fork()
    if pid == 0:
        sys.exit(0)  # and leaves the block
    print("left", code_of(pid), flush=True)
    print("pools", parkcos.run(main), flush=True)
"""


def run(source: str, tmp_path: Path) -> Program:
    """A program that has come to its end."""
    path = tmp_path / "forks.py"
    path.write_text(BEGIN + source)
    with Program("forks.py", cwd=tmp_path) as program:
        assert program.wait() == 0, program.text
    return program


def test_tasks_at_servers_fork(tmp_path: Path) -> None:
    program = run(AT_SERVERS, tmp_path)
    results = ["[-15, -10, -12]", "0", "3", "1", "1", "5", "20"]
    names = ["signals", "returns", "exits", "raises", "goes_on", "with_tasks", "pool_task"]
    for name, result in zip(names, results, strict=True):
        assert program.find(f"^{name} ") == [f"{name} {result}"], program.text
    assert program.find("ValueError: of the child") and program.find("came to a yield")


def test_node_setup_forks(tmp_path: Path) -> None:
    """Its children do not end the family at a SIGTERM."""
    assert run(AT_THE_ZYGOTE, tmp_path).find("pools") == ["pools 2"]


def test_a_task_of_the_client_forks_and_so_does_its_main_thread(tmp_path: Path) -> None:
    program = run(IN_THE_CLIENT, tmp_path)
    once = ["pools 4", "return 0", "exit 3", "use 1", "pools 2"]
    assert [line for line in program.lines if line.split()[0] in ("pools", "return", "exit", "use", "left")] == [
        *once,
        "left 0",
        *once,
        "pools None",
    ]
