"""Tasks on two servers of this machine that all use one numpy array of 64 MB: tasks per second, from having the array.

    tasks PEER
PEER: parkcos (`client.share`), ray (`ray.put`), pool (multiprocessing's, the array an argument of each call),
pool-chunks (the same by `starmap`, which pickles the array once for each eighth of the calls).
"""

import itertools
import os
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any

import numpy

from bench.rows.lib import HOST, Result, Tasks, main, need
from bench.rows.rtask import SERVERS, expect, parkcos_client

COUNT = 1_000
COUNT_POOL = 50
"""Each costs as much as any other there."""
SIZE = 8_000_000


def look(data: Any, i: int) -> float:
    return float(data[i])


def measured(count: int, run: Callable[[Any, int], Any]) -> Result:
    """run(array, count) gives the results of `count` tasks."""
    run(numpy.arange(10.0), 10)  # numpy is there, everywhere
    array = numpy.arange(SIZE, dtype=float)
    start = perf_counter()
    found = run(array, count)
    seconds = perf_counter() - start
    expect([float(i) for i in range(count)], found)
    return {"value": count / seconds}


def on_parkcos() -> Result:
    lib = Tasks("parkcos", network=True)
    if not hasattr(need("Client").Client, "share"):
        need("Client.share")

    def begin(client: Any, task: Any = None) -> Generator[Any, Any, int]:
        yield client.schedule()
        return int((yield client.wait_for_servers(SERVERS)))

    def tasks(client: Any, array: Any, count: int, task: Any = None) -> Generator[Any, Any, Any]:
        return (yield client.map(look, itertools.repeat(client.share(array), count), range(count)))

    with parkcos_client() as client:
        if lib.Task(begin, client).value() != SERVERS:
            raise RuntimeError("the servers did not come")
        return measured(COUNT, lambda array, count: lib.Task(tasks, client, array, count).value())


def on_ray() -> Result:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 200 << 20}
    ray.init(num_cpus=SERVERS, _node_ip_address=HOST, **options)
    remote = ray.remote(look)

    def run(array: Any, count: int) -> Any:
        shared = ray.put(array)
        return ray.get([remote.remote(shared, i) for i in range(count)])

    result = measured(COUNT, run)
    ray.shutdown()
    return result


def on_pool(chunks: bool) -> Result:
    from multiprocessing import Pool

    with Pool(SERVERS) as pool:

        def run(array: Any, count: int) -> Any:
            calls = [(array, i) for i in range(count)]
            return pool.starmap(look, calls) if chunks else pool.starmap(look, calls, chunksize=1)

        return measured(COUNT if chunks else COUNT_POOL, run)


def tasks(peer: str) -> Result:
    if peer.startswith("pool"):
        return on_pool(peer == "pool-chunks")
    return on_ray() if peer == "ray" else on_parkcos()


if __name__ == "__main__":
    main({"tasks": tasks})
