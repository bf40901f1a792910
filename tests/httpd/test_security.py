"""Who may look and act: every route, with every method, with and without a token, from everywhere."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from parkcos import Client, ConfigError, Parkcos
from parkcos.httpd import HTTPServer
from parkcos.httpd.api import Api
from parkcos.httpd.board import Board
from parkcos.httpd.metrics import Metrics
from parkcos.httpd.server import new_model
from parkcos.httpd.shared import NoActions
from parkcos.web import attempts
from parkcos.web.guard import Guard
from parkcos.web.pages import Pages
from parkcos.web.site import make_app
from parkcos.web.stream import Stream
from parkcos.web.tokens import Tokens
from tests.conftest import no_leaks
from tests.httpd.asking import Answer, Browser, Viewer

pytestmark = pytest.mark.live

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
VIEW_TOKEN = "a token to look only"
SECRET_FILE = "the content of a file that nobody may see"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DocumentRoot, and files beside it."""
    root = tmp_path_factory.mktemp("pages")
    (root / "pages" / "inner").mkdir(parents=True)
    for name in ("secret.txt", "pages-secret.txt"):
        (root / name).write_text(SECRET_FILE)
    pages = root / "pages"
    (pages / "index.html").write_text("<!doctype html><title>my own</title>")
    (pages / "inner" / "own.js").write_text("// mine")
    (pages / ".hidden.txt").write_text(SECRET_FILE)
    (pages / "program.py").write_text(SECRET_FILE)
    (pages / "link.txt").symlink_to(root / "secret.txt")
    (pages / "linked").symlink_to(root)
    (pages / "inside.txt").symlink_to(pages / "inner" / "own.js")
    return pages


@pytest.fixture(scope="module")
def http(folder: Path, shared_pids: set[int]) -> Iterator[HTTPServer]:
    options: dict[str, Any] = {"DocumentRoot": folder, "hosts": ["dash.example.org"], "view_token": VIEW_TOKEN}
    with no_leaks("the dashboard of this module", set()), pytest.MonkeyPatch.context() as patched:
        patched.setattr(attempts, "WRONG_MAX", 10**6)
        server = HTTPServer(Client(), "127.0.0.1", 0, **options)
        assert Browser(server.url).ask("GET", "/healthz").status == 200  # libuv's spare descriptor comes and stays
        yield server
        server.shutdown()
        Parkcos.instance().terminate()


@pytest.fixture
def browser(http: HTTPServer) -> Browser:
    return Browser(http.url)


def paths() -> list[tuple[str, str]]:
    """A path of every route, and how the route is written."""
    board = Board(new_model("client", "test", 10.0, True, 1))
    stream = Stream(board, None)  # type: ignore[arg-type]
    guard = Guard(Tokens(None), 1, False, [])
    app = make_app(guard, Api(board, stream, NoActions(), lambda: None), stream, Metrics(board), Pages())
    written = {route.resource.canonical for route in app.router.routes() if route.resource}
    found = []
    for each in sorted(written):
        path = each.replace("{id}", "1").replace("{path}", "app.js").replace("{what}", "suspend")
        found.append((path, each))
    assert len(found) >= 14, found
    return [*found, ("/static/style.css", ""), ("/nowhere", ""), ("/api/nowhere", "")]


def login(browser: Browser, token: str = "") -> str:
    """The cookie, as a browser sends it."""
    answer = browser.ask("GET", f"/?token={quote(token or browser.token)}", {"Authorization": ""})
    assert (answer.status, answer.headers["Location"]) == (303, "./")
    return answer.headers["Set-Cookie"].partition(";")[0]


def ask(browser: Browser, method: str, path: str, **headers: str | None) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    answer = Browser(browser.url, bearer=False).ask(method, path, given)
    assert_headers(answer)
    return answer


def assert_headers(answer: Answer) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] in ("no-store", "no-cache")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "aiohttp" not in answer.headers["Server"]


ROUTES = paths()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("path", "route"), ROUTES)
def test_every_route_and_method(browser: Browser, path: str, route: str, method: str) -> None:
    """Route x method x token x Origin x Host: what is let through is exactly what may be."""
    reads, logout = method in ("GET", "HEAD"), (path, method) == ("/logout", "POST")
    login_route = route == "/login" and (reads or method == "POST")
    cookie, viewing = login(browser), login(browser, VIEW_TOKEN)
    wrong_cookie = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
    tokens: list[tuple[str, dict[str, str]]] = [
        ("none", {}),
        ("wrong", {"Authorization": "Bearer wrong-token"}),
        ("wrong", {"Authorization": f"Bearer {browser.token}x"}),
        ("wrong", {"Authorization": "Bearer "}),
        ("none", {"Authorization": f"Basic {browser.token}"}),
        ("none", {"Cookie": wrong_cookie}),
        ("none", {"Cookie": f"{cookie.partition('=')[0]}={browser.token}"}),
        ("none", {"Cookie": f"{cookie.partition('=')[0]}="}),
        ("bearer", {"Authorization": f"Bearer {browser.token}"}),
        ("cookie", {"Cookie": cookie}),
        ("view bearer", {"Authorization": f"Bearer {VIEW_TOKEN}"}),
        ("view cookie", {"Cookie": viewing}),
    ]
    origins = [None, browser.origin, "http://evil.example", "null", f"https://{browser.host}", "http://127.0.0.1:1"]
    hosts = [browser.host, f"evil.example:{browser.port}"]
    for kind, headers in tokens:
        by_page = kind in ("none", "cookie", "view cookie")
        for origin in origins:
            for host in hosts if origin == browser.origin else hosts[:1]:
                given: dict[str, Any] = {**headers, "Origin": origin, "Host": host}
                if logout and "cookie" in kind:
                    given["Cookie"] = login(browser, VIEW_TOKEN if "view" in kind else "")  # it ends with that
                answer = ask(browser, method, path, **given)
                note = (kind, origin, host, answer)
                if host != browser.host:
                    assert answer.status == 403, note
                elif route == "/healthz" and reads:
                    assert answer.status == 200, note
                elif kind == "wrong" and not login_route:
                    assert answer.status == 401, note
                elif by_page and origin not in (None, browser.origin):
                    own = login_route and origin == "null"
                    assert (answer.status != 403) if own else (answer.status == 403), note
                elif by_page and origin is None and not reads:
                    assert (answer.status != 403) if login_route else (answer.status == 403), note
                elif login_route:
                    assert answer.status in (200, 303, 404, 405), note
                elif kind.startswith("view") and not reads and not logout:
                    assert (answer.status, b"to look only" in answer.body) == (403, True), note
                elif kind == "none":
                    if path.startswith(("/api", "/metrics", "/cluster_status", "/session", "/logout")):
                        assert answer.status == 401, note
                        assert method == "HEAD" or "token" in answer.json["error"], note
                    elif path.startswith("/static/"):
                        assert (answer.status, answer.headers["Location"]) == (401, None), note
                    else:
                        assert (answer.status, answer.headers["Location"]) == (303, "login"), note
                else:
                    assert answer.status in (200, 303, 400, 404, 405, 409), note
                    assert answer.headers.get("Location", "./") == "./", note


def test_what_a_stranger_is_told_is_no_data(browser: Browser) -> None:
    for path, route in ROUTES:
        answer = ask(browser, "GET", path)
        if route not in ("/healthz", "/login"):
            assert len(answer.body) < 200, (path, answer)
            assert b"revision" not in answer.body


def test_the_login_page_stands_alone(browser: Browser) -> None:
    """Without the token there is no other file, and nothing in it runs."""
    answer = ask(browser, "GET", "/login")
    page = answer.body.decode()
    assert "<style>" in page
    assert not re.search(r"<script|<link rel=.stylesheet|/static/|style=", page)
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src" not in policy and "style-src 'sha256-" in policy


# -- token and cookie


def test_the_cookie(browser: Browser) -> None:
    answer = browser.ask("GET", f"/?token={browser.token}", {"Authorization": ""})
    cookie = answer.headers["Set-Cookie"]
    assert f"parkcos_{browser.port}=" in cookie
    assert browser.token not in cookie
    attributes = {each.strip().lower() for each in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict"} <= attributes
    assert not [each for each in attributes if each.startswith(("path", "domain"))], "the browser knows the path"
    assert "secure" not in attributes
    assert ask(browser, "GET", "/api/state", Cookie=cookie.partition(";")[0]).status == 200


def test_a_link_of_another_site_with_the_token(browser: Browser) -> None:
    """A redirect would be that site's doing, without the cookie; what a page of ours asks for is not."""
    path, kinds = f"/?token={browser.token}", "text/html,application/xhtml+xml"
    for site in ({}, {"Sec-Fetch-Site": "cross-site"}):  # browsers say it to HTTPS and localhost only
        answer = ask(browser, "GET", path, Accept=kinds, **site)
        assert answer.status == 200
        assert b'http-equiv="refresh" content="0; url=./"' in answer.body
        assert b"<script" not in answer.body
        assert browser.token.encode() not in answer.body
        cookie = answer.headers["Set-Cookie"]
        assert "samesite=strict" in cookie.lower()
        assert ask(browser, "GET", "/api/state", Cookie=cookie.partition(";")[0]).status == 200
    typed = ask(browser, "GET", path, Accept=kinds, Sec_Fetch_Site="none")
    assert (typed.status, typed.headers["Location"]) == (303, "./")
    assert "Set-Cookie" not in ask(browser, "GET", "/?token=wrong", Accept=kinds).headers


def test_a_wrong_token_in_the_address(browser: Browser) -> None:
    for path in ("/?token=wrong", "/?token=", f"/login?token={browser.token}", f"/api/state?token={browser.token}"):
        answer = ask(browser, "GET", path)
        assert "Set-Cookie" not in answer.headers
        assert answer.status in (200, 303, 401)
        assert answer.headers.get("Location", "login").startswith("login")


def test_logging_in(browser: Browser) -> None:
    def post(data: bytes, **headers: str) -> Answer:
        form = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        answer = Browser(browser.url, bearer=False).ask("POST", "/login", form, data)
        assert_headers(answer)
        return answer

    right = f"token={browser.token}".encode()
    for origin in (browser.origin, "null"):
        answer = post(right, Origin=origin)
        assert (answer.status, answer.headers["Location"]) == (303, "./")
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        assert ask(browser, "GET", "/api/state", Cookie=cookie).status == 200
    for data in (b"token=wrong", b"", b"token", b"x" * 4096, b"\xff\xfe=%ff"):
        answer = post(data)
        assert (answer.status, answer.headers["Location"]) == (303, "login?wrong")
        assert "Set-Cookie" not in answer.headers
    assert post(right, Origin="http://evil.example").status == 403
    assert post(b"x" * 2_000_000).status == 413
    assert b'name="token"' in ask(browser, "GET", "/login?wrong").body


# -- Host


def test_names_of_this_machine(browser: Browser) -> None:
    own = [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "[::1]",
        socket.gethostname(),
        "dash.example.org",
        "dash.example.org.",
    ]
    for name in own:
        for host in (name, f"{name}:{browser.port}", f"{name}:9"):  # a port may be forwarded
            assert browser.ask("GET", "/api/state", {"Host": host}).status == 200, host
    strangers = [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "1.2.3.4",
        "[::2]",
        "a b",
        "localhost:x",
    ]
    for host in strangers:
        answer = browser.ask("GET", "/api/state", {"Host": host})
        assert answer.status in (400, 403), (host, answer)


def test_two_hosts_are_none(browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    request = f"GET /healthz HTTP/1.1\r\nHost: {browser.host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert re.match(rb"HTTP/1.[01] 40[03] ", browser.raw(request.encode()))
    assert re.match(rb"HTTP/1.[01] 40[03] ", browser.raw(b"GET /healthz HTTP/1.0\r\n\r\n"))
    assert browser.raw(b"\x16\x03\x01 is no HTTP\r\n\r\n").startswith(b"HTTP/1.0 400 ")
    assert "Traceback" not in caplog.text


def test_behind_another_server_that_speaks_https(browser: Browser) -> None:
    cookie = login(browser)
    given = {"Host": "dash.example.org", "Origin": "https://dash.example.org", "Cookie": cookie}
    answer = Browser(browser.url, bearer=False).ask("POST", "/api/settings", given, {"poll_s": 10})
    assert answer.status == 200


# -- files

TRAVELLERS = [
    "../secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "inner/../../secret.txt",
    "inner/..%2f..%2fsecret.txt",
    "%252e%252e%252fsecret.txt",
    "..%c0%afsecret.txt",
    "....//secret.txt",
    "%00../secret.txt",
    "secret.txt%00.js",
    "-secret.txt",
    "../pages-secret.txt",
    "linked/secret.txt",
    "link.txt",
    ".hidden.txt",
    "program.py",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "file:///etc/passwd",
    "C:%5cwindows%5cwin.ini",
    "",
    ".",
    "..",
    "inner",
    "inner/",
    "con",
    "../server.py",
    "..%2fserver.py",
    "../__init__.py",
]


@pytest.mark.parametrize("path", TRAVELLERS)
def test_no_path_leads_out(browser: Browser, path: str) -> None:
    for start in ("/static/", "/", "/static//", "/static/inner/", "/login/"):
        head = f"GET {start}{path} HTTP/1.1\r\nHost: {browser.host}\r\nAuthorization: Bearer {browser.token}\r\n"
        answer = browser.raw(head.encode() + b"Connection: close\r\n\r\n")
        assert SECRET_FILE.encode() not in answer
        assert b"root:" not in answer
        assert b"import" not in answer
        if not re.match(rb"HTTP/1.1 40[0-9] ", answer):  # the router may have cleaned the path to that of a page
            assert b"<title>my own</title>" in answer, answer


def test_files_that_may_be_seen(browser: Browser) -> None:
    assert b"my own" in browser.ask("GET", "/").body
    for path in ("inner/own.js", "inside.txt"):
        answer = browser.ask("GET", f"/static/{path}")
        assert (answer.status, answer.body) == (200, b"// mine")
    answer = browser.ask("GET", "/static/inner/own.js")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    again = browser.ask("GET", "/static/inner/own.js", {"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number}.txt").touch()
    for root, problem in ((tmp_path, "more than pages need"), (tmp_path / "none", "is no folder")):
        with pytest.raises(ConfigError, match=problem):
            HTTPServer(Client(), "127.0.0.1", 0, DocumentRoot=root)
    Parkcos.instance()


# -- bodies


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/settings", b"", 200),
        ("/api/settings", b"[]", 400),
        ("/api/settings", b"{", 400),
        ("/api/settings", b"\xff", 400),
        ("/api/settings", b"[" * 100_000, 400),
        ("/api/settings", b'{"poll_s": "5"}', 400),
        ("/api/settings", b'{"poll_s": 0.1}', 400),
        ("/api/settings", b'{"poll_s": 1e999}', 400),
        ("/api/settings", b'{"poll_s": NaN}', 400),
        ("/api/settings", b'{"other": 1}', 400),
        ("/api/settings", b" " * 2_000_000, 413),
        ("/api/tasks/terminate", b'{"tasks": [1]}', 409),
        ("/api/tasks/terminate", b'{"tasks": ["1"]}', 400),
        ("/api/tasks/terminate", b"{}", 400),
        ("/api/nodes/1/suspend", b"{}", 404),
        ("/api/nodes/x/suspend", b"{}", 404),
        ("/api/nodes/1/explode", b"{}", 404),
        ("/api/servers/ffffffffffffffffff/close", b"{}", 404),
        ("/api/servers/1/close", b'{"terminate": 1}', 400),
    ],
)
def test_bodies(browser: Browser, path: str, body: bytes, status: int) -> None:
    answer = browser.ask("POST", path, body=body)
    assert answer.status == status, answer
    assert (status == 200) == ("error" not in answer.json)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_taken(browser: Browser, kind: str) -> None:
    """What a form of a foreign page could send is not."""
    answer = browser.ask("POST", "/api/settings", {"Content-Type": kind}, {"poll_s": 5})
    assert answer.status == 415
    assert browser.get("/api/state")["settings"]["poll_s"] == 10


def test_tasks_wants_numbers(browser: Browser) -> None:
    for query in ("limit=-1", "limit=x", "offset=1e3", "limit=99999999999", "limit=%D9%A1"):
        assert browser.ask("GET", f"/api/tasks?{query}").status == 400, query
    assert browser.get("/api/tasks?limit=0") == {"tasks": [], "total": 0}


def test_what_tasks_are_asked_for_must_exist(browser: Browser) -> None:
    for query, says in (
        ("state=nope", "cancelled, failed, finished, lost, queued, running, terminated, timed_out"),
        ("state=failed,nope", "'nope'"),
        ("state=failed,", "''"),
        ("state=FAILED", "'FAILED'"),
        ("state=%0d%0aSet-Cookie:x", "give one of"),
        ("state=" + "%F0%9F%94%A5" * 500, "give one of"),
        ("server=kiln/1", "server: give an id"),
        ("node=kiln", "node: give an id"),
        ("node=%00", "node: give an id"),
        ("sate=failed", "'sate' chooses nothing; give state, name, server, node, limit, offset"),
        ("%0d%0a=1", "chooses nothing"),
    ):
        answer = browser.ask("GET", f"/api/tasks?{query}")
        assert answer.status == 400, query
        assert says in answer.json["error"], answer
    for query in ("state=", "state=failed,lost", "server=abc", "node=abc&name=x"):
        assert browser.get(f"/api/tasks?{query}") == {"tasks": [], "total": 0}


# -- who looks


def test_more_viewers_than_there_may_be(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parkcos.web.stream.VIEWERS_MAX", 1)
    with Viewer(browser) as viewer:
        viewer.next()
        answer = browser.ask("GET", "/api/stream")
        assert answer.status == 503
        assert "viewers" in answer.json["error"]


# -- HTTPServer itself


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"port": 70000}, "port=70000"),
        ({"port": "8181"}, "port='8181'"),
        ({"host": "no such host.invalid"}, "no such host"),
        ({"host": "192.0.2.1"}, "cannot listen at port"),
        ({"host": 5}, "host=5"),
        ({"poll_sec": 0}, "poll_sec=0"),
        ({"poll_sec": "10"}, "poll_sec='10'"),
        ({"keyfile": "key.pem"}, "certfile, too"),
        ({"certfile": "none.pem"}, "is no file"),
        ({"certfile": __file__}, "cannot be used"),
        ({"token": "fifteen letters"}, "token must be .* at least 16"),
        ({"view_token": "fifteen letters"}, "view_token must be .* at least 16"),
        ({"host": "0.0.0.0"}, "certfile=..., --httpd_certfile.*insecure=True, --httpd_insecure"),
        ({"hosts": [1]}, "hosts="),
        ({"tasks_max": 0}, "tasks_max=0"),
    ],
)
def test_what_cannot_be_used(http: HTTPServer, options: dict[str, Any], problem: str) -> None:
    client = Client()
    with pytest.raises(ConfigError, match=problem):
        HTTPServer(client, **{"host": "127.0.0.1", "port": 0, **options})
    assert client.observers == ()
    assert client.status_task is None


def test_a_port_that_is_taken(http: HTTPServer) -> None:
    port = Browser(http.url).port
    with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1: another program does.*give another port"):
        HTTPServer(Client(), "127.0.0.1", port)
    with pytest.raises(ConfigError, match=f"port {port}: another"):
        HTTPServer(Client(), "", port, insecure=True)


def test_a_token_that_was_given_is_not_logged(
    http: HTTPServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = HTTPServer(Client(), "127.0.0.1", 0)
    assert made.url in caplog.text
    made.shutdown()
    given = HTTPServer(Client(), "127.0.0.1", 0, token="a token of my own", view_token="a token for my guests")
    monkeypatch.setenv("PARKCOS_HTTPD_TOKEN", "a token of the environment")
    monkeypatch.setenv("PARKCOS_HTTPD_VIEW_TOKEN", "for guests, of the environment")
    from_there = HTTPServer(Client(), "127.0.0.1", 0)
    try:
        assert given.url.endswith("?token=a%20token%20of%20my%20own")
        assert given.view_url is not None and given.view_url.endswith("?token=a%20token%20for%20my%20guests")
        assert made.view_url is None
        assert Browser(given.url).get("/api/state")["state"] == "new"
        assert Browser(from_there.url).token == "a token of the environment"
        assert Browser(from_there.view_url or "").token == "for guests, of the environment"
        assert "my%20own" not in caplog.text
        assert "guests" not in caplog.text
        assert "environment" not in caplog.text
    finally:
        given.shutdown()
        from_there.shutdown()


def listens_at(server: HTTPServer) -> set[str]:
    return {
        each.laddr.ip
        for each in psutil.Process().net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == Browser(server.url).port
    }


def test_it_is_for_this_machine_alone(http: HTTPServer) -> None:
    server = HTTPServer(Client(), port=0)
    try:
        assert listens_at(server) == {"127.0.0.1"}
        assert Browser(server.url).get("/api/state")["kind"] == "client"
    finally:
        server.shutdown()


def test_all_addresses(http: HTTPServer) -> None:
    server = HTTPServer(Client(), "", 0, insecure=True)
    try:
        assert "0.0.0.0" in listens_at(server)
        local = re.sub(r"//[^/]*:", "//127.0.0.1:", server.url)
        assert Browser(local).get("/api/state")["kind"] == "client"
    finally:
        server.shutdown()


def test_odd_requests_of_strangers_are_not_the_logs_affair(browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    odd = [
        b"GET / HTTP/1.1\r\nHost: %s\r\nOrigin: \xff\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: %s\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /login HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\nabc",
    ]
    for request in odd:
        with socket.create_connection(("127.0.0.1", browser.port)) as sock:
            sock.sendall(request % browser.host.encode())
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(10)
            with contextlib.suppress(ConnectionError):
                answer = sock.recv(100)
                assert b" 500 " not in answer
    assert ask(browser, "GET", "/healthz").status == 200
    assert not [record for record in caplog.records if record.exc_info]
