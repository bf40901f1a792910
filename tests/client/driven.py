"""A dispatch machine that is driven event by event, and checked after each."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from parkcos.client import dispatch_events as d
from parkcos.client.dispatch import Dispatch
from parkcos.client.dispatch_events import (
    Ended,
    Granted,
    NodeIsReady,
    Offered,
    Recalled,
    Refused,
    ReportAbandoned,
    ReportStatus,
    Run,
    ServerIsReady,
    ServerIsUp,
    Started,
)
from parkcos.client.records import Task
from parkcos.cluster.node_info import NodeInfo

N, M = 1000, 2000  # nodes; their servers are N + 1, ...


def info(node: int) -> NodeInfo:
    return NodeInfo(node, f"n{node}", "10.0.0.1", 9706, 8, "Linux", "3.11", "0")


def submitted(
    task: int, io: bool = False, server: int = 0, node: int = 0, timeout_s: float = 0.0, retries: int = 0, **more: Any
) -> d.Submitted:
    """A task is submitted.  server, node: where it must run, 0 for anywhere."""
    return d.Submitted(Task(task, io, server, node, timeout_s, retries, **more))


class Driven:
    """Statuses are kept apart: most tests are not about them.

    options: of the machine.
    """

    def __init__(self, servers: int = 0, nodes: int = 1, **options: bool) -> None:
        self.machine = Dispatch(**options)
        self.statuses: list[tuple[str, int]] = []
        self.now = 0.0
        if servers:
            for node in [N, M][:nodes]:
                self.bring(node, servers)

    def __call__(self, event: Any, now: float | None = None) -> list[Any]:
        self.now = self.now if now is None else now
        if isinstance(event, Started | Ended | Refused | Recalled) and not event.server:
            task = self.machine.tasks.get(event.task)  # said by the server where it is
            event = replace(event, server=task.server if task is not None else 0)
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        self.statuses += [(e.name, e.subject) for e in effects if isinstance(e, ReportStatus)]
        return [e for e in effects if not isinstance(e, ReportStatus)]

    def bring(self, node: int, servers: int, opened: bool = True) -> None:
        self(Offered(info(node), servers))
        self(Granted(node))
        self(NodeIsReady(node))
        for server in range(node + 1, node + 1 + servers):
            self(ServerIsUp(node, server, "10.0.0.1", server, server - node - 1))
            if opened:
                self(ServerIsReady(server))

    def run(self, task: int, seconds: float = 0.0) -> list[Any]:
        self(Started(task))
        return self(Ended(task, seconds))

    def told(self) -> list[tuple[str, int]]:
        """The statuses since this was asked last."""
        statuses, self.statuses = self.statuses, []
        return statuses

    def warm(self) -> None:
        """Many short tasks: the servers are found to be quick."""
        for task in range(10_000, 10_060):
            (run,) = self(submitted(task))
            assert isinstance(run, Run)
            self.run(task)


def abandoned(effects: list[Any]) -> dict[int, str]:
    return {e.task: e.reason for e in effects if isinstance(e, ReportAbandoned)}
