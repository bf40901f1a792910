"""Server-sent events: what has changed is computed and written once, and sent to all viewers.  I/O thread only."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from aiohttp import web

from parkcos.httpd.board import Board

logger = logging.getLogger("parkcos")

VIEWERS_MAX = 100
WAITING_MAX = 4
"""Events that a viewer may be behind; then it is disconnected, and begins anew when it comes back."""
SOON_S = 0.2
EAGER_S = 5.0
EAGER_POLL_S = 0.25
"""For so long after an action it is looked so often whether there is something to be told."""


class Viewer:
    """One connection: what is to be sent to it."""

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport
        self.events: deque[bytes] = deque()
        self.news = asyncio.Event()
        self.ended = False

    def put(self, event: bytes) -> None:
        """Send this; or, if it does not keep up, end."""
        if len(self.events) >= WAITING_MAX:
            self.ended = True
            self.events.clear()
            if self._transport is not None:
                self._transport.abort()  # what is being written may never be read
        else:
            self.events.append(event)
        self.news.set()

    def is_gone(self) -> bool:
        """Whether its connection is closed, which is otherwise noticed when something is sent."""
        return self._transport is None or self._transport.is_closing()

    def end(self) -> None:
        """When everything is sent."""
        self.ended = True
        self.news.set()


class Stream:
    """The route /api/stream, and the clock of the dashboard: a point for the charts and a message each `poll_s`."""

    def __init__(self, board: Board, loop: asyncio.AbstractEventLoop) -> None:
        self._board = board
        self._loop = loop
        self._viewers: set[Viewer] = set()
        self._sent = 0
        """The revision up to which all viewers have been told."""
        self._timer: asyncio.TimerHandle | None = None
        self._eager_until = 0.0
        self._eager: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._closed = False

    def add_routes(self, app: web.Application) -> None:
        """Serve it."""
        app.router.add_get("/api/stream", self._stream, allow_head=False)

    def start(self) -> None:
        """Begin to tick."""
        self._timer = self._loop.call_later(self._board.model.poll_s, self._tick)

    def restart(self) -> None:
        """The interval has changed."""
        if self._timer is not None and not self._closed:
            self._timer.cancel()
            self.start()

    def _tick(self) -> None:
        self.start()
        self._board.point()
        self.push(always=True)

    def push_soon(self) -> None:
        """Do not wait for the next poll, but for what comes together with this."""
        if self._viewers and self._soon is None and not self._closed:
            self._soon = self._loop.call_later(SOON_S, self._push_now)

    def _push_now(self) -> None:
        self._soon = None
        self.push()

    def push(self, *, always: bool = False) -> None:
        """Tell all viewers what has changed; `always`: also that nothing has."""
        if not self._viewers or self._closed:
            self._sent = self._board.model.revision
            return
        self._board.refresh()
        if self._board.model.revision == self._sent and not always:
            return
        found = self._board.changes(self._sent)
        name = "changes"
        if found is None:
            found, name = self._board.snapshot(), "state"
        self._sent = found[0]
        event = self._event(name, *found)
        for viewer in list(self._viewers):
            viewer.put(event)

    def be_eager(self) -> None:
        """Something was asked for: what comes of it is told as it comes."""
        self._eager_until = self._loop.time() + EAGER_S
        if self._eager is None and not self._closed:
            self._look_again()

    def _look_again(self) -> None:
        self._eager = None
        self.push()
        if self._loop.time() < self._eager_until and not self._closed:
            self._eager = self._loop.call_later(EAGER_POLL_S, self._look_again)

    async def close(self, wait_s: float) -> None:
        """Tell the viewers the last news, wait until they have them, and end."""
        try:
            self.push()
        except Exception:
            logger.exception("the dashboard cannot tell its viewers the last news")
        self._closed = True
        for timer in (self._timer, self._eager, self._soon):
            if timer is not None:
                timer.cancel()
        deadline = self._loop.time() + wait_s
        for viewer in list(self._viewers):
            viewer.end()
        while self._viewers and self._loop.time() < deadline:
            await asyncio.sleep(0.01)

    @property
    def viewers(self) -> int:
        """How many there are."""
        return len(self._viewers)

    def _event(self, name: str, revision: int, data: bytes) -> bytes:
        epoch = self._board.model.epoch
        return b"event: %s\nid: %s:%d\ndata: %s\n\n" % (name.encode(), epoch.encode(), revision, data)

    def _first(self, last_event_id: str) -> bytes:
        """What a viewer is sent first: what it has missed, if that is known, or everything."""
        epoch, _, revision = last_event_id.rpartition(":")
        if epoch == self._board.model.epoch and revision.isascii() and revision.isdecimal() and len(revision) < 20:
            found = self._board.changes(int(revision))
            if found is not None:
                return self._event("changes", *found)
        return self._event("state", *self._board.snapshot())

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        for gone in [viewer for viewer in self._viewers if viewer.is_gone()]:
            gone.end()
            self._viewers.discard(gone)
        if len(self._viewers) >= VIEWERS_MAX or self._closed:
            return web.json_response({"error": f"there are {VIEWERS_MAX} viewers already"}, status=503)
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        transport = request.transport
        viewer = Viewer(transport)
        viewer.events.append(self._first(request.headers.get("Last-Event-ID", "")))
        viewer.news.set()
        self._viewers.add(viewer)
        try:
            while True:
                await viewer.news.wait()
                viewer.news.clear()
                while viewer.events:
                    await response.write(viewer.events.popleft())
                if viewer.ended:
                    break
        except ConnectionError:
            pass
        finally:
            self._viewers.discard(viewer)
        response.force_close()
        return response
