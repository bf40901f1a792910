"""pycos.httpd: the dashboard, :class:`parkcos.httpd.HTTPServer`, and nothing of its own."""

from __future__ import annotations

from parkcos.httpd import HTTPServer

__all__ = ["HTTPServer"]
