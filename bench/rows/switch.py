"""Context switch: n tasks that do nothing but let each other have a turn."""

import asyncio
from collections import deque
from collections.abc import Generator
from time import perf_counter
from typing import Any

from bench.rows.lib import Result, Tasks, main, rate


def on_tasks(library: str, tasks: int) -> Result:
    lib = Tasks(library)

    def switching(count: int, task: Any = None) -> Generator[Any, Any, None]:
        for _ in range(count):
            yield

    def measure(count: int, task: Any = None) -> Generator[Any, Any, float]:
        start = perf_counter()
        for each in [lib.Task(switching, count) for _ in range(tasks)]:
            yield each.finish()
        return perf_counter() - start

    return {"value": tasks * rate(lambda count: float(lib.Task(measure, count).value()))}


def on_uvloop(tasks: int) -> Result:
    import uvloop

    async def switching(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def measure(count: int) -> float:
        start = perf_counter()
        await asyncio.gather(*(switching(count) for _ in range(tasks)))
        return perf_counter() - start

    return {"value": tasks * rate(lambda count: uvloop.run(measure(count)))}


def on_generators(tasks: int) -> Result:
    """No library at all, only a queue of generators: the bound that the interpreter sets."""

    def switching() -> Generator[None, None, None]:
        while True:
            yield

    def measure(count: int) -> float:
        ready = deque(switching() for _ in range(tasks))
        start = perf_counter()
        for _ in range(count * tasks):
            each = ready.popleft()
            each.send(None)
            ready.append(each)
        return perf_counter() - start

    return {"value": tasks * rate(measure)}


if __name__ == "__main__":
    main(
        {
            "parkcos": lambda tasks: on_tasks("parkcos", tasks),
            "pycos": lambda tasks: on_tasks("pycos", tasks),
            "uvloop": on_uvloop,
            "generators": on_generators,
        }
    )
