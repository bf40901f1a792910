"""Logging in and out: how often it may be tried, how much is read, how long it lasts, and who may only look."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.web import answers, guard, sessions
from parkcos.web.attempts import WRONG_MAX
from parkcos.web.site import Site
from parkcos.web.tokens import TOKEN_MIN, Tokens
from tests.httpd.asking import LIMIT_S, Answer, Browser
from tests.web.shelf import open_shelf

pytestmark = pytest.mark.live

TOKEN, VIEW_TOKEN = "who has it may act", "who has it may look"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_shelf(tmp_path, token=TOKEN, view_token=VIEW_TOKEN) as site:
        yield site


@pytest.fixture
def browser(site: Site) -> Browser:
    """A program, which has the token."""
    return Browser(site.url)


class Elsewhere(Browser):
    """At another address of the loopback."""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, self.port, LIMIT_S, ("127.0.0.2", 0))


def post_login(browser: Browser, token: str | bytes) -> Answer:
    headers = {"Authorization": "", "Content-Type": "application/x-www-form-urlencoded"}
    data = b"token=" + (token if isinstance(token, bytes) else token.replace(" ", "+").encode())
    return browser.ask("POST", "/login", headers, data)


def cookie_of(answer: Answer) -> str:
    assert answer.status == 303, answer
    return answer.headers["Set-Cookie"].partition(";")[0]


def ask(browser: Browser, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """As a page of the site, not as a program."""
    given = {"Authorization": "", "Origin": browser.origin, **headers}
    return browser.ask(method, path, given, body)


# -- attempts


def test_five_wrong_tokens_and_then_none_is_looked_at(browser: Browser) -> None:
    """However they come, and the right one neither; who has logged in before, or comes from elsewhere, goes on."""
    cookie = cookie_of(post_login(browser, TOKEN))
    wrong = [
        lambda token: post_login(browser, token),
        lambda token: ask(browser, "GET", f"/?token={token.replace(' ', '+')}"),
        lambda token: browser.ask("GET", "/jars/all", {"Authorization": f"Bearer {token}"}),
    ]
    for number in range(WRONG_MAX):
        assert wrong[number % 3]("not the token, but as long").status in (303, 401)
    for way in wrong:
        for token in ("not the token, but as long", TOKEN, VIEW_TOKEN):
            answer = way(token)
            assert answer.status == 429, answer
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert b"too many wrong tokens came from 127.0.0.1" in answer.body
            assert "Set-Cookie" not in answer.headers
    assert ask(browser, "GET", "/jars/all", Cookie=cookie).status == 200
    assert ask(browser, "GET", "/login").status == 200
    assert post_login(Elsewhere(browser.url), TOKEN).status == 303


def test_right_tokens_and_old_cookies_are_no_attempts(browser: Browser) -> None:
    old = f"parkcos_{browser.port}={'0' * 43}"
    for _ in range(3 * WRONG_MAX):
        assert browser.ask("GET", "/jars/all").status == 200
        assert ask(browser, "GET", "/jars/all", Cookie=old).status == 401
        assert ask(browser, "GET", "/jars/all").status == 401
    assert post_login(browser, TOKEN).status == 303


def test_a_page_of_another_site_cannot_use_them_up(browser: Browser) -> None:
    """With pictures, frames, forms and the like: its browser says what it does.  A link may be followed."""
    picture = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    frame = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    form = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for _ in range(2 * WRONG_MAX):
        for headers in (picture, frame):
            given = {"Authorization": "", **headers}
            assert browser.ask("GET", "/?token=wrong", given).status == 403
            assert browser.ask("GET", "/jars/all", given).status == 403
        answer = browser.ask("POST", "/login", {"Authorization": "", "Origin": "null", **form}, b"token=wrong")
        assert answer.status == 403
    assert cookie_of(browser.ask("GET", f"/?token={TOKEN.replace(' ', '+')}", {"Authorization": "", **form}))
    assert post_login(browser, TOKEN).status == 303


# -- the form


def test_the_form_is_read_to_four_kibibytes(browser: Browser) -> None:
    assert guard.LOGIN_BYTES_MAX == 4096
    fits = guard.LOGIN_BYTES_MAX - len(b"token=")
    assert post_login(browser, b"x" * fits).headers["Location"] == "login?wrong"
    assert post_login(browser, b"x" * (fits + 1)).status == 413
    head = f"POST /login HTTP/1.1\r\nHost: {browser.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", browser.port), LIMIT_S) as sock:
        sock.sendall(head + b"".join(b"400\r\n" + b"x" * 1024 + b"\r\n" for _ in range(5)))  # it does not end
        assert sock.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize("path", ["/login", "/jars/fill"])
def test_what_does_not_come_is_not_waited_for(browser: Browser, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BODY_S", 0.1)
    head = f"POST {path} HTTP/1.1\r\nHost: {browser.host}\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", browser.port), LIMIT_S) as sock:
        sock.sendall(head.encode())
        assert sock.recv(12) == b"HTTP/1.1 408"


def test_tokens_are_long_enough() -> None:
    one, two = Tokens(None), Tokens(None)
    assert one.token != two.token
    assert len(one.token) >= 43
    assert not one.given
    for text, may_act in ((one.token, True), (two.token, None), ("", None), ("\ud800é", None)):
        assert one.may_act(text) is may_act
    both = Tokens(TOKEN, VIEW_TOKEN)
    assert [both.may_act(text) for text in (TOKEN, VIEW_TOKEN, TOKEN[:-1])] == [True, False, None]
    for bad in ("", "short", "x" * (TOKEN_MIN - 1), "1234567\n890123456", b"bytes bytes bytes", 1234567890123456):
        with pytest.raises(ConfigError, match="site's token must be a text of at least 16 printable characters"):
            Tokens(bad)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="site's view_token must be a text of at least 16"):
            Tokens(TOKEN, bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="are the same"):
        Tokens(TOKEN, TOKEN)


# -- sessions


def test_a_cookie_is_random_and_says_how_long_it_is_good(browser: Browser) -> None:
    answers = [post_login(browser, TOKEN) for _ in range(2)]
    assert len({cookie_of(answer) for answer in answers}) == 2
    for answer in answers:
        assert f"parkcos_{browser.port}=" in answer.headers["Set-Cookie"]
        assert "Max-Age=43200" in answer.headers["Set-Cookie"]
    with open_shelf(token=TOKEN) as other:
        cookie = cookie_of(answers[0]).replace(str(browser.port), str(other.port))
        assert ask(Browser(other.url), "GET", "/jars/all", Cookie=cookie).status == 401, "of another program"


@contextlib.contextmanager
def streaming(browser: Browser, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """A stream that has begun."""
    with contextlib.closing(browser.send("GET", "/jars/stream", {"Authorization": "", **headers})) as connection:
        response = connection.getresponse()
        with response:
            assert response.status == 200
            assert response.readline() == b"event: state\n"
            yield response


def is_at_its_end(response: http.client.HTTPResponse) -> bool:
    """Waits until nothing more comes."""
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        while response.readline():
            pass
    return True


def test_logging_out_ends_what_the_session_looks_at(browser: Browser) -> None:
    mine, others = (cookie_of(post_login(browser, TOKEN)) for _ in range(2))
    with streaming(browser, Cookie=mine) as stream, streaming(browser, Cookie=others) as going_on:
        for origin in ("http://evil.example", "null"):
            assert ask(browser, "POST", "/logout", Cookie=mine, Origin=origin).status == 403
        assert ask(browser, "GET", "/logout", Cookie=mine).status == 405
        assert ask(browser, "GET", "/jars/all", Cookie=mine).status == 200
        answer = ask(browser, "POST", "/logout", Cookie=mine)
        assert (answer.status, answer.json) == (200, {"ok": True})
        assert f"parkcos_{browser.port}=" in answer.headers["Set-Cookie"]
        assert "Max-Age=0" in answer.headers["Set-Cookie"]
        assert is_at_its_end(stream)
        assert ask(browser, "GET", "/jars/all", Cookie=mine).status == 401
        assert ask(browser, "POST", "/logout", Cookie=mine).status == 401
        assert ask(browser, "GET", "/jars/all", Cookie=others).status == 200
        browser.post("/jars/fill", {"jar": 1, "grams": 1})
        while going_on.readline() != b"event: changes\n":
            pass


def test_a_session_ends_by_itself(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSION_S", 3.0)
    cookie = cookie_of(post_login(browser, TOKEN))
    with streaming(browser, Cookie=cookie) as stream:
        assert is_at_its_end(stream)
    assert ask(browser, "GET", "/jars/all", Cookie=cookie).status == 401
    assert ask(browser, "GET", "/", Cookie=cookie).headers["Location"] == "login"


# -- who may look only


def test_who_has_the_other_token_looks_and_does_not_act(site: Site, browser: Browser) -> None:
    assert site.view_url is not None
    viewer = Browser(site.view_url)
    assert viewer.token == VIEW_TOKEN
    cookie = cookie_of(ask(viewer, "GET", f"/?token={VIEW_TOKEN.replace(' ', '+')}"))
    for headers in ({"Authorization": f"Bearer {VIEW_TOKEN}"}, {"Cookie": cookie}):
        assert ask(viewer, "GET", "/session", **headers).json == {"may_act": False}
        assert ask(viewer, "GET", "/jars/all", **headers).status == 200
        with streaming(viewer, **headers):
            pass
        answer = ask(viewer, "POST", "/jars/fill", {"jar": 1, "grams": 5}, **headers)
        assert answer.status == 403
        assert "POST /jars/fill: this token is to look only" in answer.json["error"]
    assert browser.get("/jars/all") == {}
    assert ask(viewer, "POST", "/logout", Cookie=cookie).status == 200
    assert ask(viewer, "GET", "/jars/all", Cookie=cookie).status == 401


def test_who_may_act_is_told_so(browser: Browser) -> None:
    cookie = cookie_of(post_login(browser, TOKEN))
    assert browser.get("/session") == {"may_act": True}
    assert ask(browser, "GET", "/session", Cookie=cookie).json == {"may_act": True}
    assert ask(browser, "GET", "/session").status == 401
    assert ask(browser, "POST", "/jars/fill", {"jar": 1, "grams": 5}, Cookie=cookie).status == 200


def test_without_a_view_token_nobody_has_it(tmp_path: Path) -> None:
    with open_shelf(tmp_path, token=TOKEN) as site:
        assert site.view_url is None
        for token in ("", "None"):
            assert Browser(site.url).ask("GET", "/jars/all", {"Authorization": f"Bearer {token}"}).status == 401


# -- where it listens


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
def test_other_machines_need_a_certificate_or_a_word(host: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=f"host={host!r}: the shelf would speak plain HTTP.*certfile.*insecure=True"):
        open_shelf(host=host).__enter__()
    assert "plain HTTP" not in caplog.text
    with open_shelf(host=host, insecure=True) as site:
        said = [record.message for record in caplog.records if "plain HTTP" in record.message]
        assert len(said) == 1
        assert said[0].startswith(f"the shelf at {site.address} speaks plain HTTP to other machines")
        assert site.tokens.token not in caplog.text


@pytest.mark.parametrize("host", [None, "localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_this_machine_alone_needs_neither(host: str | None, caplog: pytest.LogCaptureFixture) -> None:
    for insecure in (False, True):
        with open_shelf(host=host, insecure=insecure):
            pass
    assert "plain HTTP" not in caplog.text
