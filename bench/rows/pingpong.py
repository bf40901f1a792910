"""Local ping-pong: a message to another task of this process and one back make one."""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import Any

from bench.rows.lib import Result, Tasks, main, rate


def on_tasks(library: str) -> Result:
    lib = Tasks(library)

    def pong(count: int, task: Any = None) -> Generator[Any, Any, None]:
        ping = yield task.receive()
        for _ in range(count):
            ping.send((yield task.receive()))

    def measure(count: int, task: Any = None) -> Generator[Any, Any, float]:
        other = lib.Task(pong, count)
        other.send(task)
        start = perf_counter()
        for i in range(count):
            other.send(i)
            yield task.receive()
        return perf_counter() - start

    return {"value": rate(lambda count: float(lib.Task(measure, count).value()))}


def on_uvloop() -> Result:
    import uvloop

    async def pong(count: int, inbox: asyncio.Queue[int], outbox: asyncio.Queue[int]) -> None:
        for _ in range(count):
            outbox.put_nowait(await inbox.get())

    async def measure(count: int) -> float:
        there: asyncio.Queue[int] = asyncio.Queue()
        back: asyncio.Queue[int] = asyncio.Queue()
        other = asyncio.create_task(pong(count, there, back))
        start = perf_counter()
        for i in range(count):
            there.put_nowait(i)
            await back.get()
        elapsed = perf_counter() - start
        await other
        return elapsed

    return {"value": rate(lambda count: uvloop.run(measure(count)))}


if __name__ == "__main__":
    main({"parkcos": lambda: on_tasks("parkcos"), "pycos": lambda: on_tasks("pycos"), "uvloop": on_uvloop})
