"""What a node costs (parkcos only).

startup SERVERS  seconds from nothing until each of its servers has run a task of the client
program          seconds of a whole program: import, cluster of two, one task, close
memory           MiB that an idle server has for itself (USS); what it shares with its siblings is not counted
"""

import os
import subprocess
import sys
from collections.abc import Generator
from statistics import median
from time import perf_counter, sleep
from typing import Any

import psutil

from bench.rows.lib import Result, main, need


def where_am_i(task: Any = None) -> Generator[Any, Any, int]:
    yield
    return os.getpid()


def server_pids(client: Any, servers: int, task: Any = None) -> Generator[Any, Any, set[int]]:
    """Schedule the client, wait until all servers are there, and run a task at each."""
    yield client.schedule()
    while len(locations := (yield client.servers())) < servers:
        yield task.sleep(0.005)
    rtasks = []
    for location in locations:
        rtasks.append((yield client.rtask_at(location, where_am_i)))
    pids = set()
    for rtask in rtasks:
        pids.add((yield rtask()))
    if len(pids) < servers:
        raise RuntimeError(f"{len(pids)} servers, not {servers}")
    return pids


def close(client: Any, task: Any = None) -> Generator[Any, Any, None]:
    yield client.close()


def startup(servers: int) -> Result:
    parkcos = need("Client", "LocalCluster", "Task")
    begin = perf_counter()
    with parkcos.LocalCluster(cpus=servers):
        client = parkcos.Client([where_am_i])
        pids = parkcos.Task(server_pids, client, servers).value()
        elapsed = perf_counter() - begin
        check(pids)
        parkcos.Task(close, client).value()
    return {"value": elapsed}


PROGRAM = """
from parkcos import Client, LocalCluster, run

def answer():
    yield
    return 42

def main(task=None):
    client = Client([answer])
    yield client.schedule()
    assert (yield (yield client.rtask(answer)).result()) == 42
    yield client.close()

with LocalCluster(cpus=2):
    run(main)
"""


def program() -> Result:
    need("LocalCluster")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2):  # the first one may have modules to compile
        begin = perf_counter()
        subprocess.run([sys.executable, "-c", PROGRAM], env=env, check=True)
        elapsed = perf_counter() - begin
    return {"value": elapsed}


def memory() -> Result:
    parkcos = need("Client", "LocalCluster", "Task")
    with parkcos.LocalCluster(cpus=2):
        client = parkcos.Client([where_am_i])
        pids = check(parkcos.Task(server_pids, client, 2).value())
        sleep(1)
        used = [psutil.Process(pid).memory_full_info().uss for pid in pids]
        parkcos.Task(close, client).value()
    return {"value": median(used) / 2**20}


def check(pids: Any) -> set[int]:
    """`value()` of a failed task is its status, not its result."""
    if not isinstance(pids, set):
        raise RuntimeError(f"not there: {pids}")
    return pids


if __name__ == "__main__":
    main({"startup": startup, "program": program, "memory": memory})
