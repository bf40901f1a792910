"""pycos.httpd: the dashboard, :class:`parkcos.httpd.HTTPServer`, with the arguments that pycos's takes."""

from __future__ import annotations

from typing import Any

from parkcos import httpd
from parkcos.client.client import Client
from parkcos.httpd.site import PORT

__all__ = ["HTTPServer"]


class HTTPServer(httpd.HTTPServer):
    """As there; without `host` it is for this machine alone, where pycos's listens at all its addresses."""

    def __init__(
        self,
        client: Client,
        host: str = "",
        port: int = PORT,
        poll_sec: float = 10,
        DocumentRoot: Any = None,
        keyfile: Any = None,
        certfile: Any = None,
        show_task_args: bool = True,
        **more: Any,
    ) -> None:
        at = host or None, None if port == PORT else port
        super().__init__(client, *at, poll_sec, DocumentRoot, keyfile, certfile, show_task_args, **more)
