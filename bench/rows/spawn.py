"""Spawn and join: make n tasks that each take one turn and end, then wait for all of them."""

import asyncio
from collections.abc import Callable, Generator
from statistics import median
from time import perf_counter
from typing import Any

from bench.rows.lib import SECONDS, Result, Tasks, main


def repeated(n: int, once: Callable[[], float]) -> Result:
    """n itself must not grow, so: do it again until it lasted long enough."""
    times: list[float] = []
    while sum(times) < SECONDS:
        times.append(once())
    return {"value": n / median(times)}


def on_tasks(library: str, n: int) -> Result:
    lib = Tasks(library)

    def short(task: Any = None) -> Generator[Any, Any, None]:
        yield

    def measure(task: Any = None) -> Generator[Any, Any, float]:
        start = perf_counter()
        for each in [lib.Task(short) for _ in range(n)]:
            yield each.finish()
        return perf_counter() - start

    return repeated(n, lambda: float(lib.Task(measure).value()))


def on_uvloop(n: int) -> Result:
    import uvloop

    async def short() -> None:
        await asyncio.sleep(0)

    async def measure() -> float:
        start = perf_counter()
        for each in [asyncio.create_task(short()) for _ in range(n)]:
            await each
        return perf_counter() - start

    return repeated(n, lambda: uvloop.run(measure()))


if __name__ == "__main__":
    main(
        {
            "parkcos": lambda n: on_tasks("parkcos", n),
            "pycos": lambda n: on_tasks("pycos", n),
            "uvloop": on_uvloop,
        }
    )
