"""pycos.httpd: the dashboard, :class:`parkcos.httpd.HTTPServer`, with the arguments that pycos's takes."""

from __future__ import annotations

from typing import Any

from parkcos import httpd
from parkcos.client.client import Client
from parkcos.errors import UsageError
from parkcos.httpd.site import PORT

__all__ = ["HTTPServer"]


class HTTPServer(httpd.HTTPServer):
    """As there; `computation` is what `client` was called before 4.9.

    Without `host` it is for this machine alone, where pycos's listens at all its addresses.
    """

    def __init__(
        self,
        client: Client | None = None,
        host: str = "",
        port: int = PORT,
        poll_sec: float = 10,
        DocumentRoot: Any = None,
        keyfile: Any = None,
        certfile: Any = None,
        show_task_args: bool = True,
        *,
        computation: Client | None = None,
        show_coro_args: bool = True,
        **more: Any,
    ) -> None:
        client = client or computation
        if client is None:
            raise UsageError("HTTPServer() wants the client that it shows\n  write: HTTPServer(client)")
        at = host or None, None if port == PORT else port
        super().__init__(
            client, *at, poll_sec, DocumentRoot, keyfile, certfile, show_task_args and show_coro_args, **more
        )
