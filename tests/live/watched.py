"""What the tests of the client's controls share: a status_task that keeps what it is told, and tasks to be run."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Any

import parkcos
from parkcos import Client, NodeAllocate, Scheduler, Status, Task
from tests.live.lib import LIMIT_S, run

Gen = Generator[Any, Any, Any]
CPUS = 2
"""The servers of the node that the tests of a module share: the fixture `shared_node`."""


def at(port: int, **wanted: Any) -> NodeAllocate:
    return NodeAllocate("127.0.0.1", port, **wanted)


class Watch:
    """A status_task that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.task = Task(self._keep)

    def _keep(self, task: Any = None) -> Gen:
        task.set_daemon()
        while True:
            self.messages.append((yield task.receive()))

    @property
    def statuses(self) -> list[str]:
        """Their names, in order, without those of tasks."""
        names = {number: name for name, number in vars(Scheduler).items() if isinstance(number, int)}
        names |= {n: name for k in Scheduler.__mro__ for name, n in vars(k).items() if isinstance(n, int)}
        found = [names[message.status] for message in self.messages if isinstance(message, Status)]
        return [name for name in found if not name.startswith("Task")]

    def of(self, status: int) -> list[Status]:
        return [message for message in self.messages if isinstance(message, Status) and message.status == status]

    def until(self, status: int, times: int = 1) -> Gen:
        """To be yielded: the last of so many."""
        yield wait_until(lambda: len(self.of(status)) >= times, lambda: self.messages)
        return self.of(status)[times - 1]


def wait_until(true: Any, shown: Any = lambda: None) -> Gen:
    """To be yielded: wait until it is so."""
    me = parkcos.cur_task()
    assert me is not None
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, shown()
        yield me.sleep(0.01)


def drive(body: Any, port: int, components: Any = (), **options: Any) -> Watch:
    """Run ``body(client, watch)`` with a client of that node; what its status_task was told, after it has closed."""
    watch = Watch()
    client = Client(components, **{"nodes": [at(port)], "status_task": watch.task, **options})

    def main() -> Gen:
        assert (yield client.schedule(timeout=LIMIT_S)) == 0
        yield body(client, watch)
        yield client.close()
        yield watch.until(Scheduler.ClientClosed)

    def close() -> Gen:
        yield client.close(terminate=True)

    try:
        run(main)
    except BaseException:  # it may hang: the next test is to have its turn all the same
        run(close)
        raise
    finally:
        watch.task.terminate()
    return watch


def both(client: Client, watch: Watch, times: int = CPUS) -> Gen:
    """To be yielded: the locations of the servers, when they are all ready."""
    yield watch.until(Scheduler.ServerInitialized, times)
    return (yield client.servers())


def pids(client: Client, count: int) -> Gen:
    """To be yielded: where so many tasks ran, one after the other."""
    found = set()
    for _ in range(count):
        found.add((yield (yield client.rtask(pid)).result()))
    return found


# What runs there


def pid() -> Gen:
    yield
    return os.getpid()


def waits(to: Any, task: Any = None) -> Gen:
    to.send((task, os.getpid()))
    return (yield task.receive())


def remember(value: Any) -> Gen:
    global remembered
    remembered = value
    yield


def recall() -> Gen:
    yield
    return globals().get("remembered", "nothing")


def loads(data: str = "first", task: Any = None) -> Gen:
    global remembered
    remembered = f"{data} in {os.getpid()}"
    yield task.sleep(0)
    return 0
