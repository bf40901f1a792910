"""The dashboard below a path of another server: its addresses are relative, and what that server says is no proof."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from parkcos import Client, Parkcos
from parkcos.httpd import HTTPServer
from parkcos.httpd.site import STATIC
from parkcos.web import pages
from tests.httpd.asking import Browser
from tests.httpd.test_security import ROUTES, login

pytestmark = pytest.mark.live

TOPS = {route.split("/")[1] for _, route in ROUTES if route} - {""}
"""With which the paths of all routes begin."""
_BEGINS = r"""["'`]?\s*(/[^"'`\s>)]*)"""
ADDRESSES = (
    rf"(?:href|src|srcset|action|formaction|poster|location)\s*(?:=|:|\",|',)\s*{_BEGINS}",
    rf"(?:fetch|EventSource|WebSocket|Request|URL|Asker|get|post|open|assign|replace|register|import)\(\s*{_BEGINS}",
    r"""(?:from|import)\s+["'](/[^"']*)""",
    rf"url(?:=|\()\s*{_BEGINS}",
    rf"""["'`](/(?:{"|".join(sorted(TOPS))})\b[^"'`]*)""",
)
"""Ways to write an address that begins at a server's root, whatever path the page stands below."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    server = HTTPServer(Client(), "127.0.0.1", 0)
    try:
        browser = Browser(server.url)
        assert browser.ask("GET", "/healthz").status == 200  # libuv's spare descriptor comes and stays
        yield browser
    finally:
        server.shutdown()
        Parkcos.instance().terminate()


def from_the_root(text: str) -> list[str]:
    text = re.sub(r"""\.(?:replace|get)\(/[^/\n]*/""", "", text)  # regular expressions
    return [found for pattern in ADDRESSES for found in re.findall(pattern, text, re.IGNORECASE)]


@pytest.mark.parametrize(
    "text",
    [
        '<a href="/api/state">',
        "<a href=/login>",
        '<form action = "/x">',
        '<script src="//other/x.js">',
        'content="0; url=/"',
        "a { background: url(/static/x.png) }",
        'import { h } from "/static/dom.js";',
        "fetch(`/api/tasks/${id}`)",
        'new EventSource("/api/stream")',
        'h("a", { href: "/login" })',
        'location.href = "/"',
        'const path = "/api/nodes";',
    ],
)
def test_what_begins_at_the_root_is_found(text: str) -> None:
    assert from_the_root(text)


def test_no_page_and_no_script_has_an_address_from_the_root(browser: Browser) -> None:
    served = {f"/static/{name}" for folder in (pages.STATIC, STATIC) for name in pages.read_files(folder)}
    assert {"/static/index.html", "/static/login.html", "/static/app.js", "/static/style.css"} <= served
    texts = {path: browser.ask("GET", path) for path in [*served, "/", "/login", "/login?wrong"]}
    by_link = {"Authorization": "", "Accept": "text/html"}
    texts["by the link"] = browser.ask("GET", f"/?token={browser.token}", by_link)
    texts["a refusal"] = browser.ask("POST", "/api/settings", {"Authorization": "", "Origin": "http://evil.example"})
    for path, answer in texts.items():
        assert answer.status == (403 if path == "a refusal" else 200), (path, answer)
        assert not from_the_root(answer.body.decode()), path
    together = " ".join(answer.body.decode() for answer in texts.values())
    for address in ("static/app.js", "login", "api/stream", "api/settings", "./"):
        assert re.search(rf"""["'`=]{re.escape(address)}["'`]""", together), address


def test_no_answer_sends_anybody_to_the_root(browser: Browser) -> None:
    """Nor upwards: some servers put their own path before a Location, wherever it was given."""
    seen = set()
    deeper = ["/static/inner/own.js", "/login/more", "//login", "/x/../y"]
    for path in [*(path for path, _ in ROUTES), *deeper, "/?token=wrong", f"/?token={browser.token}"]:
        for headers in ({"Authorization": ""}, {}):
            for method in ("GET", "POST"):
                answer = browser.ask(method, path, {**headers, "Origin": browser.origin})
                location = answer.headers.get("Location")
                assert location in (None, "./", "login", "login?wrong"), (path, answer)
                assert location is None or path.count("/") == 1, "relative to the page, which is at the top"
                assert "path=" not in answer.headers.get("Set-Cookie", "").lower()
                seen.add(location)
    assert seen == {None, "./", "login", "login?wrong"}


def test_only_the_browser_can_say_whose_page_it_is(browser: Browser) -> None:
    """The other server's name and HTTPS are not known here; it may send its own Host header, or this dashboard's."""
    cookie, page = login(browser), "https://gateway.example"
    forwarded = {
        "X-Forwarded-Host": "gateway.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/park",
        "Forwarded": "host=gateway.example;proto=https",
    }

    def ask(**headers: str) -> int:
        given = {"Origin": page, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return Browser(browser.url, bearer=False).ask("POST", "/api/settings", given, {"poll_s": 10}).status

    assert ask(Cookie=cookie, Sec_Fetch_Site="same-origin") == 200
    for site in ("cross-site", "same-site", "none", "Same-Origin, cross-site", ""):
        assert ask(Cookie=cookie, Sec_Fetch_Site=site) == 403, site
        assert ask(Cookie=cookie, Sec_Fetch_Site=site, **forwarded) == 403, site
    assert ask(Cookie=cookie, **forwarded) == 403
    assert ask(Sec_Fetch_Site="same-origin") == 401
    assert ask(Cookie=cookie, Sec_Fetch_Site="same-origin", Host="gateway.example") == 403
    own = {"X-Forwarded-Host": browser.host, "Forwarded": f"host={browser.host}"}
    assert ask(Cookie=cookie, Sec_Fetch_Site="same-origin", Host="gateway.example", **own) == 403


def test_a_refused_page_is_told_what_to_do(browser: Browser) -> None:
    headers = {"Authorization": "", "Cookie": login(browser), "Origin": "http://gateway.example"}
    answer = browser.ask("POST", "/api/settings", headers, {"poll_s": 10})
    assert answer.status == 403
    assert "behind another web server, that must pass the Host header on" in answer.json["error"]


def test_an_old_cookie_of_a_path_above_does_no_harm(browser: Browser) -> None:
    cookie = login(browser)
    name = cookie.partition("=")[0]
    old = f"{name}={'0' * 64}"
    for cookies, status in ((f"{cookie}; {old}", 200), (f"{old};{cookie}", 200), (f"other=1; {old}; {old}", 401)):
        assert browser.ask("GET", "/api/state", {"Authorization": "", "Cookie": cookies}).status == status, cookies
