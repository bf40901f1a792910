"""Another web server before the dashboard, which takes a path away and passes the rest on, as nginx or Jupyter does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from threading import Event, Thread
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from tests.live.lib import LIMIT_S

_HOP_BY_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive")


class Behind:
    """url: where the dashboard is found behind it; paths: what it was asked, in order."""

    def __init__(self, dashboard: str, prefix: str, passes_host: bool, plain: bool) -> None:
        parts = urlsplit(dashboard)
        self._to, self._query = f"http://{parts.netloc}", parts.query
        self._prefix, self._passes_host, self._plain = prefix, passes_host, plain
        self.paths: list[str] = []
        self.origin = ""

    @property
    def url(self) -> str:
        return f"{self.origin}{self._prefix}/"

    @property
    def link(self) -> str:
        """The same, with the token."""
        return f"{self.url}?{self._query}"

    @property
    def strays(self) -> list[str]:
        """What it was asked that is not below its path."""
        return [path for path in self.paths if not path.startswith(f"{self._prefix}/")]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        if not request.path.startswith(f"{self._prefix}/"):
            return web.Response(status=404, text="the page of somebody else")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        if not self._passes_host:
            del headers["Host"]
        if self._plain:
            headers.pop("Sec-Fetch-Site", None)
        to = self._to + request.path_qs.removeprefix(self._prefix)
        asked = self._client.request(
            request.method, to, headers=headers, data=await request.read(), allow_redirects=False
        )
        async with asked as answer:
            passed = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    passed.headers.add(name, value)
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # one of the two is gone
                await passed.prepare(request)
                async for data in answer.content.iter_any():
                    await passed.write(data)
            return passed

    @contextlib.asynccontextmanager
    async def _served(self) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as self._client:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._answer)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)  # streams have no end
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield
            finally:
                await runner.cleanup()

    async def serve(self, ready: Event, over: asyncio.Event) -> None:
        async with self._served():
            ready.set()
            await over.wait()


@contextlib.contextmanager
def behind(dashboard: str, prefix: str, *, passes_host: bool, plain: bool = False) -> Iterator[Behind]:
    """Such a server for the dashboard at this address.

    Args:
        prefix: the path that it takes away: "/park".
        passes_host: it sends the browser's Host header on, and not the address where it finds the dashboard.
        plain: browsers tell it no more than any server that speaks plain HTTP, though it is at this machine.
    """
    it = Behind(dashboard, prefix, passes_host, plain)
    loop, ready, over = asyncio.new_event_loop(), Event(), asyncio.Event()
    thread = Thread(target=lambda: loop.run_until_complete(it.serve(ready, over)), name="behind")
    thread.start()
    try:
        assert ready.wait(LIMIT_S)
        yield it
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
