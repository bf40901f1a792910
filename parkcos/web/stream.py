"""Server-sent events of anything that has revisions: what has changed is written once, and sent to all viewers.

A new viewer is sent the state ("state"), and from then on what has changed ("changes").  Each event's id is its epoch
and revision: a viewer that comes back with Last-Event-ID is sent what it missed.  I/O thread only.

A viewer has one event under way at most.  One that takes longer than the time to the next event is not sent all that
came meanwhile, but, when it is ready, what has changed since its own revision: each record once, as it is then.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from aiohttp import web

from parkcos.web.answers import refused
from parkcos.web.board import Board
from parkcos.web.openapi import EVENTS, Operation, add_routes

logger = logging.getLogger("parkcos")

VIEWERS_MAX = 100
MISSED_MAX = 100
"""So many events may come while a viewer takes not a byte; then it is disconnected, and goes on when it comes back."""
SEND_BYTES = 256 * 1024
"""So much the system takes for a viewer: the less, the newer is what a slow one is sent, and the sooner it is seen to
take something."""
SOON_S = 0.2
EAGER_S = 5.0
EAGER_POLL_S = 0.25
"""For so long after an action it is looked so often whether there is something to be told."""


class Viewer:
    """One connection.  revision: up to which it was told, or is being told."""

    def __init__(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport
        self.revision = 0
        self.news = asyncio.Event()
        self.ended = False
        self._unsent = self._missed = 0

    def wake(self) -> None:
        """There is news; or, if it has taken nothing for long, end."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        self._missed = self._missed + 1 if unsent and unsent == self._unsent else 0
        self._unsent = unsent
        if self._missed >= MISSED_MAX and self._transport is not None:
            self.ended = True
            self._transport.abort()  # what is being written may never be read
        self.news.set()

    def is_gone(self) -> bool:
        """Whether its connection is closed, which is otherwise noticed when something is sent."""
        return self._transport is None or self._transport.is_closing()

    def end(self) -> None:
        """When it has been told everything."""
        self.ended = True
        self.news.set()


class Stream:
    """One route, and a clock: viewers are sent an event each `poll_s`, even if nothing has changed, as a sign of life.

    Args:
        board: what it tells of.
        loop: of the I/O thread.
        path: of the route.
    """

    def __init__(self, board: Board[Any], loop: asyncio.AbstractEventLoop, path: str = "/api/stream") -> None:
        self._board = board
        self._loop = loop
        self._path = path
        self._viewers: set[Viewer] = set()
        self._sent = 0
        """The revision up to which all viewers have been told that keep up."""
        self._news: tuple[int, int, bytes] = (0, 0, b"")
        """For them: what has changed after which revision, up to which, as an event."""
        self._timer: asyncio.TimerHandle | None = None
        self._eager_until = 0.0
        self._eager: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def operations(self) -> list[Operation]:
        """What can be asked."""
        return [Operation("GET", self._path, self._stream, "Everything, and then what changes, as events.", EVENTS)]

    def add_routes(self, app: web.Application) -> None:
        """Serve it."""
        add_routes(app, self.operations)

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
        if self._viewers:
            self._board.watched()
        self._board.tick()
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
            return
        self._board.refresh()
        if self._board.model.revision == self._sent and not always:
            return
        since = self._sent
        self._sent, event = self._since(since)
        self._news = since, self._sent, event
        for viewer in self._viewers:
            viewer.wake()

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
            logger.exception("the viewers of %s cannot be told the last news", self._path)
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

    def _since(self, revision: int) -> tuple[int, bytes]:
        """The revision now, and the event for one who knows that one: what has changed since, if that is known, or all.

        revision: -1 for one who knows nothing.
        """
        found, name = (self._board.changes(revision) if revision >= 0 else None), b"changes"
        if found is None:
            found, name = self._board.snapshot(), b"state"
        epoch = self._board.model.epoch.encode()
        return found[0], b"event: %s\nid: %s:%d\ndata: %s\n\n" % (name, epoch, *found)

    def _next(self, viewer: Viewer) -> bytes:
        """What is to be sent to a viewer that is ready for it."""
        since, revision, event = self._news
        if not since <= viewer.revision <= revision:  # it was late, and has missed some
            revision, event = self._since(viewer.revision)
        viewer.revision = revision
        return event

    def _known(self, last_event_id: str) -> int:
        """The revision that who comes back has seen; -1: none of this program."""
        epoch, _, revision = last_event_id.rpartition(":")
        known = epoch == self._board.model.epoch and revision.isascii() and revision.isdecimal() and len(revision) < 20
        return int(revision) if known else -1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        for gone in [viewer for viewer in self._viewers if viewer.is_gone()]:
            gone.end()
            self._viewers.discard(gone)
        if len(self._viewers) >= VIEWERS_MAX or self._closed:
            return refused(503, f"there are {VIEWERS_MAX} viewers already")
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        transport = request.transport
        sock = transport.get_extra_info("socket") if transport is not None else None
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        viewer = Viewer(transport)
        viewer.revision, event = self._since(self._known(request.headers.get("Last-Event-ID", "")))
        if not self._viewers:
            self._board.watched()
            self._sent = viewer.revision
        self._viewers.add(viewer)
        try:
            while True:
                await response.write(event)
                if not viewer.ended:
                    await viewer.news.wait()
                    viewer.news.clear()
                if viewer.ended and viewer.revision >= self._sent:
                    break
                event = self._next(viewer)
        except ConnectionError:
            pass
        finally:
            self._viewers.discard(viewer)
        response.force_close()
        return response
