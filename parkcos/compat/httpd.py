"""pycos.httpd: the dashboard."""

from __future__ import annotations

import importlib
from typing import Any

from parkcos.errors import UsageError

__all__ = ["HTTPServer"]


def HTTPServer(client: Any, *args: Any, **kwargs: Any) -> Any:
    """``HTTPServer(client)``, made before ``client.schedule()``: a browser shows the cluster at port 8181.

    Args:
        args, kwargs: as of :class:`parkcos.httpd.HTTPServer`.

    Raises: UsageError if what it needs is not installed.
    """
    try:
        server = importlib.import_module("parkcos.httpd").HTTPServer
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no dashboard: {error}") from error
    return server(client, *args, **kwargs)
