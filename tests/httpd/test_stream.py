"""The stream: one for all viewers, and none of them holds up the others."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parkcos.httpd import records as r
from parkcos.httpd.board import Board
from parkcos.httpd.server import new_model
from parkcos.httpd.shared import NoActions
from parkcos.httpd.site import Site
from parkcos.net.iothread import IOThread
from parkcos.web import board as boards
from parkcos.web import ledger
from parkcos.web.site import SiteOptions
from tests.httpd.asking import LIMIT_S, Browser, Viewer, apply

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


class OnASlowLine(Browser):
    """Little is under way to it."""

    def connect(self) -> http.client.HTTPConnection:
        connection = super().connect()
        connection.sock = socket.socket()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        connection.sock.settimeout(LIMIT_S)
        connection.sock.connect((self.address, self.port))
        return connection


def test_changes_that_come_faster_than_a_viewer_reads(io: IOThread, board: Board, site: Site) -> None:
    """It is told how it began, and then each thing that has changed once, as it is now, however often it has."""
    for number in range(1, 8_001):
        board.tell(r.NodeSeen(number, f"kiln {number}" + "x" * 150, "::1", 1, "", 1))
    connection = OnASlowLine(site.url).send("GET", "/api/stream")
    response = connection.getresponse()
    data = b""
    for turn in range(50):
        for number in range(1, 101):
            board.tell(r.NodeChanged(number, "running", f"turn {turn}"))
        push(io, site)
        data += response.read1(16_384)
    assert b"\n\n" not in data, "it is still being told how it began"
    while data.count(b"\n\n") < 2:
        more = response.read1(65_536)
        assert more, "it was disconnected"
        data += more
    events = [dict(line.split(": ", 1) for line in text.split("\n")) for text in data.decode().split("\n\n")[:2]]
    assert [event["event"] for event in events] == ["state", "changes"]
    state, changes = (json.loads(event["data"]) for event in events)
    assert len(state["nodes"]) == 8_000
    assert [(node["id"], node["reason"]) for node in changes["nodes"]] == [(f"{n:x}", "turn 49") for n in range(1, 101)]
    apply(state, changes)
    with Viewer(Browser(site.url)) as other:
        other.next()
        assert nodes_of(state) == nodes_of(other.state)
    response.close()
    connection.close()


def nodes_of(state: dict[str, Any]) -> list[Any]:
    return sorted(state["nodes"], key=lambda node: int(node["id"], 16))


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
