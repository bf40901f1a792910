"""GET /metrics: the dashboard's numbers for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from parkcos.httpd import records as r
from parkcos.httpd.board import Board
from parkcos.web.openapi import Operation, add_routes


class Metrics:
    """The route.  Without the package prometheus-client it says what is missing."""

    def __init__(self, board: Board) -> None:
        self._board = board

    @property
    def operations(self) -> list[Operation]:
        """What can be asked."""
        return [Operation("GET", "/metrics", self._answer, "The numbers, for Prometheus.", "text/plain")]

    def add_routes(self, app: web.Application) -> None:
        """Serve it."""
        add_routes(app, self.operations)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        except ImportError:
            text = "/metrics needs prometheus-client: pip install 'parkcos[httpd]'"
            return web.json_response({"error": text}, status=501)
        registry = CollectorRegistry()
        registry.register(self)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def collect(self) -> Iterator[Any]:
        """For prometheus-client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        state: r.State = self._board.state()
        totals = state.totals
        up = GaugeMetricFamily("parkcos_up", "1 while it runs.", labels=["kind", "name", "state"])
        up.add_metric([state.kind, state.name, state.state], float(state.state in ("running", "waiting")))
        yield up
        for name, text, value in (
            ("submitted", "Tasks that were submitted.", totals.submitted),
            ("done", "Tasks that have ended in any way.", totals.done),
            ("failed", "Tasks that have ended with an error, too late, or lost.", totals.failed),
        ):
            yield CounterMetricFamily(f"parkcos_tasks_{name}", text, value=value)
        yield GaugeMetricFamily("parkcos_tasks_running", "Tasks that run.", value=totals.running)
        for name, things in (("nodes", state.nodes), ("servers", state.servers)):
            family = GaugeMetricFamily(f"parkcos_{name}", f"How many {name} there are.", labels=["state"])
            for label, count in sorted(Counter(thing.state for thing in things).items()):
                family.add_metric([label], count)
            yield family
        yield GaugeMetricFamily("parkcos_clients", "Clients in the queue.", value=len(state.clients))
        live = [node for node in state.nodes if node.state not in r.NODE_ENDED]
        for name, text in (
            ("cpu", "Idle share of the processors, in percent."),
            ("memory", "Available memory, in bytes."),
            ("disk", "Available disk space, in bytes."),
            ("swap", "Available swap space, in bytes."),
            ("running", "Tasks that run there."),
        ):
            family = GaugeMetricFamily(f"parkcos_node_{name}", text, labels=["node", "name", "addr"])
            for node in live:
                if (value := getattr(node, name)) is not None:
                    family.add_metric([node.id, node.name, node.addr], value)
            yield family
