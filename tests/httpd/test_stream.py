"""The stream: one for all viewers, and none of them holds up the others."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from parkcos.httpd import board as boards
from parkcos.httpd import ledger
from parkcos.httpd import records as r
from parkcos.httpd.board import Board
from parkcos.httpd.server import new_model
from parkcos.httpd.shared import NoActions
from parkcos.httpd.site import Site, SiteOptions
from parkcos.net.iothread import IOThread
from tests.httpd.asking import LIMIT_S, Browser, Viewer

pytestmark = pytest.mark.live


@pytest.fixture
def io() -> Iterator[IOThread]:
    thread = IOThread()
    thread.start()
    yield thread
    thread.close()


@pytest.fixture
def board() -> Board:
    return Board(new_model("client", "test", 600.0, True, 10))


@pytest.fixture
def site(io: IOThread, board: Board) -> Iterator[Site]:
    site = Site(io, board, SiteOptions("127.0.0.1", 0), NoActions(), lambda: None)
    yield site
    io.run(site.close(5.0)).result(LIMIT_S)


def push(io: IOThread, site: Site) -> None:
    """To all viewers, now."""

    async def now() -> None:
        site.stream.push(always=True)

    io.run(now()).result(LIMIT_S)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_changes_are_written_once_for_all(
    io: IOThread, board: Board, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[type] = []
    encode = boards.encode

    def counting(thing: object) -> bytes:
        written.append(type(thing))
        return encode(thing)

    monkeypatch.setattr(boards, "encode", counting)
    browser = Browser(site.url)
    viewers = [Viewer(browser) for _ in range(10)]
    for viewer in viewers:
        viewer.next()
    assert written == [r.State]
    for number in range(3):
        board.tell(r.TaskSubmitted(number + 1, "work", False))
        push(io, site)
        for viewer in viewers:
            assert [task["id"] for task in viewer.next()[1]["tasks"]] == [number + 1]
    assert written == [r.State, r.Changes, r.Changes, r.Changes]
    for viewer in viewers:
        assert viewer.shown() == viewers[0].shown()
        viewer.close()


def test_nothing_is_written_while_nobody_looks(
    io: IOThread, board: Board, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thing: object) -> bytes:
        raise AssertionError("written")

    with monkeypatch.context() as patch:
        patch.setattr(boards, "encode", refuse)
        board.tell(r.TaskSubmitted(1, "work", False))
        push(io, site)
    with Viewer(Browser(site.url)) as viewer:
        assert [task["id"] for task in viewer.next()[1]["tasks"]] == [1]


def test_a_viewer_that_does_not_read_is_disconnected(io: IOThread, board: Board, site: Site) -> None:
    browser = Browser(site.url)
    board.tell(r.NodeSeen(1, "kiln", "::1", 1, "", 1))
    with Viewer(browser) as good, socket.create_connection((browser.address, browser.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"GET /api/stream HTTP/1.1\r\nHost: {browser.host}\r\nAuthorization: Bearer {browser.token}\r\n\r\n"
        slow.sendall(head.encode())
        good.next()
        wait_until(lambda: site.stream.viewers == 2)
        number = 0
        while site.stream.viewers == 2:
            number += 1
            assert number < 2000
            board.tell(*(r.TaskSubmitted(10 * number + n, "x" * 200, False) for n in range(10)))
            board.tell(*(r.TaskEnded(10 * number + n, "failed", "e" * 500) for n in range(10)))
            push(io, site)
            good.next()
        server = site._runner.server
        assert server is not None
        wait_until(lambda: len(server.connections) == 1)  # what it was sent before, it may still read
        board.tell(r.TaskSubmitted(5, "last", False))
        push(io, site)
        good.until(lambda state: any(task["name"] == "last" for task in state["tasks"]))
        assert site.stream.viewers == 1


def test_who_was_away_for_too_long_is_given_everything(
    io: IOThread, board: Board, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "GONE_MAX", 5)
    with Viewer(Browser(site.url)) as viewer:
        viewer.next()
    board.tell(r.TaskSubmitted(1, "work", False))
    with Viewer(Browser(site.url), viewer.last_event_id) as soon:
        assert soon.next()[0] == "changes"
    for number in range(2, 30):
        board.tell(r.TaskSubmitted(number, "work", False), r.TaskEnded(number, "cancelled"))
    with Viewer(Browser(site.url), viewer.last_event_id) as late:
        assert late.next()[0] == "state"
        for number in range(30, 60):  # so much between two polls
            board.tell(r.TaskSubmitted(number, "work", False), r.TaskEnded(number, "cancelled"))
        push(io, site)
        assert late.next()[0] == "state"
        assert len(late.state["tasks"]) == 11
