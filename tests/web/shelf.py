"""A tiny site, for the tests of what all sites have: jars, which are filled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from parkcos.net.iothread import IOThread
from parkcos.web.answers import answer, body
from parkcos.web.board import Board
from parkcos.web.kind import Kind
from parkcos.web.ledger import Ledger
from parkcos.web.site import Site, SiteOptions
from parkcos.web.stream import Stream
from tests.httpd.asking import LIMIT_S

SHELF = Kind("shelf", hosts_option="shelf --name", token_variable="PARKCOS_TEST_SHELF_TOKEN", data=("/jars",))


@dataclass
class Jars:
    """The tiny model: how much is in which jar."""

    epoch: str = "today"
    revision: int = 1
    poll_s: float = 600.0
    grams: dict[int, int] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)

    def handle(self, event: tuple[int, int], now: float) -> None:
        jar, grams = event
        self.revision += 1
        if grams:
            self.grams[jar] = grams
            self.ledger.touch(jar, self.revision)
        else:
            del self.grams[jar]
            self.ledger.drop(jar, self.revision)

    def snapshot(self, now: float) -> Any:
        return {"grams": self.grams}

    def changes(self, since: int, now: float) -> Any:
        known = self.ledger.since(since)
        return None if known is None else {"grams": {jar: self.grams[jar] for jar in known[0]}, "gone": known[1]}


class Fill(msgspec.Struct):
    jar: int
    grams: int


class Routes:
    """One can be asked something, and told something."""

    def __init__(self, board: Board[Jars], stream: Stream) -> None:
        self._board = board
        self._stream = stream

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/jars/all", self._all)
        app.router.add_post("/jars/fill", self._fill)

    async def _all(self, request: web.Request) -> web.StreamResponse:
        return answer(self._board.look(lambda jars: dict(jars.grams)))

    async def _fill(self, request: web.Request) -> web.StreamResponse:
        wanted = await body(request, Fill)
        self._board.tell((wanted.jar, wanted.grams))
        self._stream.push()
        return answer({"ok": True})


@contextlib.contextmanager
def open_shelf(pages: Path | None = None, **options: Any) -> Iterator[Site]:
    """A shelf with these options, and with a page if it is given a folder for that."""
    if pages is not None:
        (pages / "index.html").write_text("<!doctype html><title>Jars</title><link href='static/tokens.css'>")
    io = IOThread()
    io.start()
    try:
        board = Board(Jars())
        stream = Stream(board, io.loop, "/jars/stream")
        site = Site(io, SHELF, SiteOptions(**options), [Routes(board, stream)], [stream], pages)
        try:
            yield site
        finally:
            io.run(site.close(5.0)).result(LIMIT_S)
    finally:
        io.close()
