"""What is not HTTP, or not all of it, or comes and goes too slowly: afterwards the dashboard serves as before.

The fuzzer is seeded: a failure prints the seed and the bytes that repeat it.
"""

from __future__ import annotations

import contextlib
import random
import re
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parkcos import Client, Parkcos
from parkcos.httpd import HTTPServer
from parkcos.web import attempts, entrance
from tests.httpd.asking import LIMIT_S, Browser, Viewer

pytestmark = pytest.mark.live

SEEDS = range(8)
CASES = 60
"""Of each seed."""
PATIENCE_S = 0.1
"""The time in which an answer begins, if there is one: who asks half a question waits no longer."""
BIG = 6 * 1024 * 1024
"""Bytes of a page that no socket's buffers take."""

PATHS = ["/", "/login", "/logout", "/session", "/healthz", "/api/state", "/api/tasks?limit=1", "/metrics", "/nowhere"]
PATHS += ["/api/tasks/terminate", "/api/settings", "/cluster_status", "/static/app.js", "*", "//x/", "/%", "/%ff%00"]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "PRI", "G\x00T", ""]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.", "HTTP/11", "", "HTTP/1.1 HTTP/1.1", "ICY"]
HEADERS = (
    """
    Content-Length: 5
    Content-Length: -1
    Content-Length: 99999999999999999999
    Content-Length: 5, 5
    Content-Length: 0x5
    Content-Length: 1000000
    Transfer-Encoding: chunked
    Transfer-Encoding: identity, chunked
    Transfer-Encoding: \x0bchunked
    Transfer-Encoding: gzip
    Content-Encoding: gzip
    Content-Encoding: br
    Connection: keep-alive, Upgrade
    Connection: close
    Upgrade: websocket
    Upgrade: h2c
    Sec-WebSocket-Key: x
    Expect: 100-continue
    Expect: 200-ok
    Cookie: ;;=;
    Authorization: Bearer \xff\xfe
    Authorization: Basic Og==
    Origin: null
    Origin: http://[
    Content-Type: application/json
    Content-Type: multipart/form-data; boundary=
    Content-Type: application/x-www-form-urlencoded
    If-None-Match: *
    Range: bytes=9-1
    Last-Event-ID: :99999999999999999999
    Null: \x00
    Accept: text/html
    Sec-Fetch-Site: same-origin
    Host: evil.example
    : no name
    no colon
""".strip("\n")
    .replace("    ", "")
    .split("\n")
)
HEADERS += [" folded: line", "X: " + "y" * 9000, "X" * 9000 + ": y", "Cookie: parkcos_8181=" + "a" * 500]
BODIES = [
    b"hello",
    b"token=" + b"%41" * 20,
    b"token=" + b"x" * 5000,
    b"{" * 3000,
    b'{"tasks": [1e999]}',
    b"\xff" * 100,
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nx",
    b"-1\r\nx\r\n",
    b"5;ext=" + b"y" * 9000 + b"\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"0\r\nTrailer: x\r\n\r\n",
    b"g\r\n",
    b"\x1f\x8b\x08\x00garbage",
    b"GET / HTTP/1.1\r\n\r\n" * 50,
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pages = tmp_path_factory.mktemp("pages")
    (pages / "big.txt").write_bytes(b"x" * BIG)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attempts, "WRONG_MAX", 10**6)
        server = HTTPServer(Client(), "127.0.0.1", 0, DocumentRoot=pages)
        try:
            assert Browser(server.url).ask("GET", "/healthz").status == 200  # libuv's spare descriptor comes and stays
            yield Browser(server.url)
        finally:
            server.shutdown()
            Parkcos.instance().terminate()


def connect(browser: Browser, stack: contextlib.ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", browser.port), LIMIT_S))


def request(chance: random.Random, browser: Browser) -> bytes:
    """Nearly a request, or nearly two."""
    headers = chance.sample(HEADERS, chance.choice([0, 0, 1, 1, 2, 4]))
    if chance.random() < 0.9:
        headers.insert(0, f"Host: {browser.host}")
    if chance.random() < 0.3:
        headers.append(f"Authorization: Bearer {browser.token}")
    if chance.random() < 0.1:
        headers += headers  # each twice
    method, version = chance.choice(METHODS[:3] * 8 + METHODS), chance.choice(VERSIONS[:1] * 20 + VERSIONS)
    end = chance.choice(["\r\n"] * 20 + ["\n", "\r"])
    head = end.join([f"{method} {chance.choice(PATHS)} {version}", *headers, "", ""]).encode("latin-1")
    made = bytearray(head + (chance.choice(BODIES) if chance.random() < 0.5 else b""))
    kind = chance.randrange(10)
    if kind == 0:  # some bytes are others
        for _ in range(chance.randrange(1, 8)):
            made[chance.randrange(len(made))] = chance.randrange(256)
    elif kind == 1:  # it ends before its end
        del made[chance.randrange(len(made)) :]
    elif kind == 2:  # a part comes twice
        at = chance.randrange(len(made))
        made[at:at] = made[at : at + chance.randrange(200)]
    elif kind == 3:  # and another one behind it
        made += request(chance, browser)
    return bytes(made)


def answer_to(browser: Browser, data: bytes, chance: random.Random) -> bytes:
    """What comes back; the bytes go in some pieces, and the other side is left in one way or another."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", browser.port), LIMIT_S) as sock, contextlib.suppress(ConnectionError):
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(4)))
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            sock.sendall(data[begin:end])
        if chance.random() < 0.1:  # gone without a word
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""
        select.select([sock], [], [], PATIENCE_S)
        with contextlib.suppress(OSError):  # it is gone
            sock.shutdown(socket.SHUT_WR)
        while more := sock.recv(65536):
            received += more
    return bytes(received)


@pytest.fixture(scope="module")
def answered() -> set[bytes]:
    """The statuses of all answers to the fuzzer."""
    return set()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_nearly_http(
    browser: Browser, seed: int, answered: set[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    before = browser.get("/api/state")
    for case in range(CASES):
        data = request(chance, browser)
        answer = answer_to(browser, data, chance)
        story = f"seed {seed}, case {case}: {data[:2000]!r} -> {answer[:300]!r}"
        assert not answer or re.match(rb"HTTP/[0-9.]+ [1-4][0-9][0-9] ", answer), story
        assert browser.token.encode() in data or b'"revision"' not in answer, story
        answered.add(answer[9:12])
        assert browser.ask("GET", "/healthz").status == 200, story
    after = browser.get("/api/state")
    assert (after["epoch"], after["state"], after["tasks"]) == (before["epoch"], before["state"], before["tasks"])
    assert not [record for record in caplog.records if record.exc_info], caplog.text


def test_all_kinds_of_answers_were_given(answered: set[bytes]) -> None:
    assert answered >= {b"200", b"303", b"400", b"401", b"403", b"404", b"405"}


def test_who_writes_slowly_is_not_waited_for(
    browser: Browser, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that does not end is being read, and yet it gives way: two addresses could shut out all others."""
    monkeypatch.setattr(entrance, "CONNECTIONS_MAX", 8)
    head = f"POST /login HTTP/1.1\r\nHost: {browser.host}\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
    crowd = [connect(browser, stack) for _ in range(8)]
    for sock in crowd:
        sock.sendall(head.encode() + b"token=")
    for sock in crowd:
        assert sock.recv(100).startswith(b"HTTP/1.1 100 "), "it is being answered"
    for _ in range(20):
        assert browser.ask("GET", "/api/state").status == 200
    with contextlib.suppress(ConnectionError):
        assert crowd[0].recv(1) == b"", "the first of them has given way"


def test_who_reads_slowly_is_not_waited_for(
    browser: Browser, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "CONNECTIONS_MAX", 8)
    viewer = stack.enter_context(Viewer(browser))
    viewer.next()
    wants = f"GET /static/big.txt HTTP/1.1\r\nHost: {browser.host}\r\nAuthorization: Bearer {browser.token}\r\n\r\n"
    for _ in range(8):
        sock = connect(browser, stack)
        sock.sendall(wants.encode())
        assert sock.recv(12) == b"HTTP/1.1 200", "and that is all that it reads"
    for _ in range(20):
        assert browser.ask("GET", "/api/state").status == 200
    assert len(browser.ask("GET", "/static/big.txt").body) == BIG
    browser.post("/api/settings", {"show_args": True})
    viewer.next()


def test_what_is_huge_takes_no_memory(browser: Browser, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    """Headers and bodies without an end are refused long before they are a burden."""
    browser.ask("GET", "/healthz")
    process = psutil.Process()
    before = process.memory_info().rss
    for data in (
        b"GET / HTTP/1.1\r\nX: ",
        b"GET /",
        b"POST /login HTTP/1.1\r\nHost: %s\r\nContent-Length: 999999999\r\n\r\n",
    ):
        sock = connect(browser, stack)
        with contextlib.suppress(ConnectionError):
            sock.sendall(data.replace(b"%s", browser.host.encode()))
            for _ in range(1024):
                sock.sendall(b"x" * 65536)
    assert process.memory_info().rss - before < 64 * 1024 * 1024
    assert browser.ask("GET", "/healthz").status == 200
