"""parkcos/web: a site of another kind than the dashboard has the same guard, entrance, pages and streams."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.net.iothread import IOThread
from parkcos.web import listening
from parkcos.web.board import Board
from parkcos.web.kind import Kind
from parkcos.web.site import Site, SiteOptions
from parkcos.web.stream import Stream
from tests.httpd.asking import LIMIT_S, Browser
from tests.web.shelf import SHELF, Jars, Routes

pytestmark = pytest.mark.live


@pytest.fixture
def io() -> Iterator[IOThread]:
    thread = IOThread()
    thread.start()
    yield thread
    thread.close()


@pytest.fixture
def board() -> Board[Jars]:
    return Board(Jars())


@pytest.fixture
def browser(io: IOThread, board: Board[Jars], tmp_path: Path) -> Iterator[Browser]:
    (tmp_path / "index.html").write_text("<!doctype html><title>Jars</title><link href='static/tokens.css'>")
    stream = Stream(board, io.loop, "/jars/stream")
    options = SiteOptions(hosts=["shelf.example"])
    site = Site(io, SHELF, options, [Routes(board, stream)], [stream], tmp_path)
    yield Browser(site.url)
    io.run(site.close(5.0)).result(LIMIT_S)


@contextlib.contextmanager
def following(browser: Browser, last_event_id: str = "") -> Iterator[Callable[[], tuple[str, str, Any]]]:
    """Gives the next event of the stream, each time: name, id, data."""
    connection = browser.send("GET", "/jars/stream", {"Last-Event-ID": last_event_id})
    response = connection.getresponse()

    def event() -> tuple[str, str, Any]:
        lines = iter(lambda: response.readline().decode().rstrip("\n"), "")
        fields = dict(line.split(": ", 1) for line in lines)
        return fields["event"], fields["id"], json.loads(fields["data"])

    try:
        yield event
    finally:
        response.close()
        connection.close()


def test_its_own_page_and_those_that_all_sites_share(browser: Browser) -> None:
    assert b"<title>Jars</title>" in browser.ask("GET", "/").body
    for name in ("tokens.css", "dom.js", "stream.js", "table.js"):
        assert browser.ask("GET", f"/static/{name}").status == 200, name
    for name in ("app.js", "store.js", "style.css"):
        assert browser.ask("GET", f"/static/{name}").status == 404, "the dashboard's alone"
    assert b"Token of this shelf" in browser.ask("GET", "/login").body
    assert browser.ask("GET", "/healthz", {"Authorization": ""}).body == b"ok"


def test_it_is_guarded(browser: Browser) -> None:
    stranger = {"Authorization": ""}
    answer = browser.ask("GET", "/jars/all", stranger)
    assert (answer.status, answer.json["error"]) == (401, "this needs the shelf's token: Authorization: Bearer TOKEN")
    assert browser.ask("GET", "/jars/stream", stranger).status == 401
    assert browser.ask("GET", "/", stranger).headers["Location"] == "login"
    answer = browser.ask("GET", "/jars/all", {"Host": "evil.example"})
    assert answer.status == 403
    assert answer.json["error"].startswith("this shelf is not called 'evil.example'")
    assert answer.json["error"].endswith("or add the name: shelf --name")
    assert browser.ask("GET", "/jars/all", {"Host": "shelf.example"}).status == 200
    assert browser.ask("GET", "/api/state").status == 404


def test_its_stream_brings_what_changes_and_goes_on_after_a_pause(browser: Browser, board: Board[Jars]) -> None:
    board.tell((1, 500))
    with following(browser) as next_event:
        assert next_event() == ("state", "today:2", {"grams": {"1": 500}})
        browser.post("/jars/fill", {"jar": 2, "grams": 30})
        assert next_event() == ("changes", "today:3", {"grams": {"2": 30}, "gone": []})
    board.tell((1, 0), (3, 7))
    for last, name, data in (
        ("today:3", "changes", {"grams": {"3": 7}, "gone": [1]}),
        ("yesterday:3", "state", {"grams": {"2": 30, "3": 7}}),
    ):
        with following(browser, last) as next_event:
            assert next_event() == (name, "today:5", data)


def test_what_it_is_sent_must_be_of_the_type(browser: Browser) -> None:
    assert "grams" in browser.post("/jars/fill", {"jar": 1}, status=400)["error"]
    assert browser.get("/jars/all") == {}


def test_its_token_port_and_errors_are_those_of_its_kind(io: IOThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARKCOS_TEST_SHELF_TOKEN", "a token of the environment")
    monkeypatch.setenv("PARKCOS_HTTPD_TOKEN", "that of the dashboard")
    site = Site(io, SHELF, SiteOptions(), [])
    try:
        assert Browser(site.url).token == "a token of the environment"
        assert "environment" not in site.loggable_url
        assert Browser(site.url).ask("GET", "/").status == 404, "it has no pages"
        with pytest.raises(ConfigError, match=f"the shelf cannot listen at port {site.port} of.*another shelf"):
            Site(io, SHELF, SiteOptions(port=site.port), [])
        monkeypatch.setattr(listening, "PORTS_TRIED", 1)
        kind = Kind("shelf", site.port, port_option="shelf --port 9000")
        with pytest.raises(ConfigError, match=r"at any port .* give another port \(shelf --port 9000\)"):
            Site(io, kind, SiteOptions(), [])
    finally:
        io.run(site.close(0.0)).result(LIMIT_S)
