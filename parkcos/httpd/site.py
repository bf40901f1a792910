"""The dashboard's web site: what it is called, its routes, its pages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from parkcos.errors import ConfigError
from parkcos.httpd.api import POLL_MAX_S, POLL_MIN_S, Actions, Api
from parkcos.httpd.board import Board
from parkcos.httpd.metrics import Metrics
from parkcos.net.iothread import IOThread
from parkcos.net.runtime import VERSION
from parkcos.web import site
from parkcos.web.kind import Kind
from parkcos.web.openapi import Described
from parkcos.web.site import SiteOptions
from parkcos.web.stream import Stream

logger = logging.getLogger("parkcos")

STATIC = Path(__file__).parent / "static"
PORT = 8181
DOCUMENT = "/api/openapi.json"
DASHBOARD = Kind(
    "dashboard",
    PORT,
    port_option="port=9000, --httpd_port 9000",
    hosts_option="HTTPServer(..., hosts=[...]), --httpd_name",
    certificate_option="certfile=..., --httpd_certfile",
    insecure_option="insecure=True, --httpd_insecure",
    token_variable="PARKCOS_HTTPD_TOKEN",
    view_token_variable="PARKCOS_HTTPD_VIEW_TOKEN",
    data=("/api", "/metrics", "/cluster_status"),
)


def checked_poll(poll_s: object) -> float:
    """Raises: ConfigError."""
    if isinstance(poll_s, bool) or not isinstance(poll_s, int | float) or not POLL_MIN_S <= poll_s <= POLL_MAX_S:
        raise ConfigError(f"poll_sec={poll_s!r}: give seconds, from {POLL_MIN_S:g} to {POLL_MAX_S:g}")
    return float(poll_s)


class Site(site.Site):
    """One dashboard, open when this returns.  Not to be made in the I/O thread.

    Args:
        show_args: called when the tasks' arguments are to be shown from now on.

    Raises: ConfigError.
    """

    def __init__(
        self, io: IOThread, board: Board, options: SiteOptions, actions: Actions, show_args: Callable[[], object]
    ) -> None:
        self._board = board
        self.stream = Stream(board, io.loop)
        api, metrics = Api(board, self.stream, actions, show_args), Metrics(board)
        operations = [*api.operations, *metrics.operations, *self.stream.operations]
        parts: list[site.Part] = [api, metrics, Described(DOCUMENT, "The dashboard of parkcos", VERSION, operations)]
        super().__init__(io, DASHBOARD, options, parts, [self.stream], STATIC)
        board.urgent = lambda: io.call(self.stream.push_soon)
        logger.warning("the dashboard of %s: %s", board.model.name, self.loggable_url)

    async def close(self, wait_s: float) -> None:
        """I/O thread: tell the viewers the last news, which may take `wait_s` seconds, and end."""
        self._board.urgent = lambda: None
        await super().close(wait_s)
