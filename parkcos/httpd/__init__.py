"""The browser dashboard: `HTTPServer` for a client's program, `parkcos.py --httpd` for a shared scheduler.

Needs aiohttp and prometheus-client: pip install 'parkcos[httpd]'.
"""

try:
    import aiohttp as _aiohttp  # noqa: F401
except ImportError as _error:
    raise ImportError("the dashboard needs aiohttp: pip install 'parkcos[httpd]'") from _error

from parkcos.httpd.server import HTTPServer

__all__ = ["HTTPServer"]
