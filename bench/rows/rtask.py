"""Remote tasks that do nothing, on two servers of this machine.

    one PEER   submit one, wait for its result, and so on: tasks per second
    many PEER  submit all concurrently, wait for all results: tasks per second
PEER: parkcos, dispycos (each also with -io: io_rtask instead of rtask), ray, dask, ipyparallel, pool.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from bench.rows.lib import HOST, Result, Tasks, kill_tree, main, need, rate

SERVERS = 2
IN_FLIGHT = 1_000  # tasks submitted and not yet waited for, at most
IN_FLIGHT_DISPYCOS = 100  # where it is fastest; with 1,000 it is half as fast, and loses results with 3,000


def nothing(i: int) -> int:
    return i


def nothing_task(i, task=None):  # type: ignore[no-untyped-def]  # dispycos ships the text: no name from elsewhere in it
    yield
    return i


def waves(count: int, size: int) -> list[range]:
    """range(count), in pieces."""
    return [range(i, min(i + size, count)) for i in range(0, count, size)]


def expect(wanted: object, got: object) -> None:
    """A rate counts only if every result arrived."""
    if got != wanted:
        raise RuntimeError(f"the result is {got!r}, not {wanted!r}")


# ---- parkcos and dispycos: a task per call


def on_tasks(how: str, library: str) -> Result:
    name = library.removesuffix("-io")
    lib = Tasks("parkcos" if name == "parkcos" else "pycos", network=True)

    def call(submit: Callable[..., Any], i: int, task: Any = None) -> Generator[Any, Any, Any]:
        rtask = yield submit(nothing_task, i)
        return (yield rtask())

    def begin(client: Any, task: Any = None) -> Generator[Any, Any, int]:
        return int((yield client.schedule()))

    def one(submit: Callable[..., Any], count: int, task: Any = None) -> Generator[Any, Any, float]:
        start = perf_counter()
        for i in range(count):
            expect(i, (yield call(submit, i)))
        return perf_counter() - start

    def many(submit: Callable[..., Any], count: int, task: Any = None) -> Generator[Any, Any, float]:
        start = perf_counter()
        for wave in waves(count, IN_FLIGHT if lib.is_parkcos else IN_FLIGHT_DISPYCOS):
            for i, each in [(i, lib.Task(call, submit, i)) for i in wave]:
                expect(i, (yield each.finish()))
        return perf_counter() - start

    with parkcos_client() if lib.is_parkcos else dispycos_client() as client:
        if lib.Task(begin, client).value() != 0:
            raise RuntimeError("no scheduler took the client")
        submit = client.io_rtask if library.endswith("-io") else client.rtask
        measure = one if how == "one" else many
        return {"value": rate(lambda count: float(lib.Task(measure, submit, count).value()))}


@contextlib.contextmanager
def parkcos_client() -> Iterator[Any]:
    parkcos = need("Client", "LocalCluster")

    def close(client: Any, task: Any = None) -> Generator[Any, Any, None]:
        yield client.close()

    with parkcos.LocalCluster(cpus=SERVERS):
        client = parkcos.Client([nothing_task])
        yield client
        parkcos.Task(close, client).value()


@contextlib.contextmanager
def dispycos_client() -> Iterator[Any]:
    """A node on ports of its own, so that another one on this machine does not matter. It is killed, not closed."""
    import pycos.config

    port = random.randrange(20_000, 30_000, 10)  # the scheduler's, then the node's, then the servers'
    pycos.config.DispycosSchedulerPort = port
    pycos.config.DispycosNodePort = port + 1
    from pycos.dispycos import Client

    folder = tempfile.mkdtemp(prefix="bench-dispycos-")
    program = [sys.executable, str(Path(sys.executable).with_name("dispycosnode.py")), "--daemon"]
    options = ["-i", HOST, "-c", str(SERVERS), "--scheduler_port", str(port), "--dest_path", folder]
    ports = ["--node_ports", f"{port + 1}-{port + 1 + SERVERS}"]
    node = subprocess.Popen(program + options + ports, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        sleep(2)  # it does not say when it is ready
        pycos.netpycos.Pycos(host=HOST, tcp_port=port, udp_port=port, dest_path=folder, discover_peers=False)
        yield Client([nothing_task], nodes=[HOST])
    finally:
        kill_tree(node.pid)
        shutil.rmtree(folder, ignore_errors=True)


# ---- the peers with futures


def futures(how: str, submit: Callable[[int], Any], collect: Callable[[Sequence[Any]], Sequence[int]]) -> Result:
    def one(count: int) -> float:
        start = perf_counter()
        for i in range(count):
            expect(i, collect([submit(i)])[0])
        return perf_counter() - start

    def many(count: int) -> float:
        start = perf_counter()
        for wave in waves(count, IN_FLIGHT):
            expect(list(wave), collect([submit(i) for i in wave]))
        return perf_counter() - start

    return {"value": rate(one if how == "one" else many)}


def on_ray(how: str) -> Result:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(
        num_cpus=SERVERS,
        include_dashboard=False,
        _node_ip_address=HOST,
        log_to_driver=False,
        object_store_memory=200 << 20,
    )
    remote = ray.remote(nothing)
    ray.get([remote.remote(i) for i in range(100)])  # its workers start on demand
    result = futures(how, remote.remote, ray.get)
    ray.shutdown()
    return result


def on_dask(how: str) -> Result:
    from distributed import Client, LocalCluster

    options = {"n_workers": SERVERS, "threads_per_worker": 1, "host": HOST, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        return futures(how, lambda i: client.submit(nothing, i, pure=False), client.gather)


def on_ipyparallel(how: str) -> Result:
    import ipyparallel

    with ipyparallel.Cluster(n=SERVERS, controller_ip=HOST, engine_timeout=30) as client:
        client.wait_for_engines(SERVERS, timeout=30)
        view = client.load_balanced_view()
        return futures(how, lambda i: view.apply_async(nothing, i), lambda results: [each.get() for each in results])


def on_pool(how: str) -> Result:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(SERVERS) as pool:
        return futures(how, lambda i: pool.submit(nothing, i), lambda results: [each.result() for each in results])


def run(how: str, peer: str) -> Result:
    others = {"ray": on_ray, "dask": on_dask, "ipyparallel": on_ipyparallel, "pool": on_pool}
    return others[peer](how) if peer in others else on_tasks(how, peer)


if __name__ == "__main__":
    main({"one": lambda peer: run("one", peer), "many": lambda peer: run("many", peer)})
