"""parkcos/web/entrance.py: crowds of silent strangers, with and without TLS; ports that are taken."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos import Client, Parkcos
from parkcos.httpd import HTTPServer, site
from parkcos.program.limits import raise_open_files
from parkcos.web import entrance, listening
from tests.httpd.asking import LIMIT_S, Browser, Viewer

pytestmark = pytest.mark.live

CROWD = 1200


@pytest.fixture(params=["http", "https"])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    options: dict[str, Any] = {}
    context = None
    if request.param == "https":
        made = [sys.executable, "-m", "parkcos.commands.scheduler", "--make_cert", str(tmp_path)]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        options = {"certfile": tmp_path / "certificate.pem", "keyfile": tmp_path / "key.pem"}
        context = ssl.create_default_context(cafile=str(options["certfile"]))
        context.check_hostname = False
    server = HTTPServer(Client(), "127.0.0.1", 0, **options)
    try:
        yield Browser(server.url, context=context)
    finally:
        server.shutdown()
        Parkcos.instance().terminate()


def silent(browser: Browser, stack: contextlib.ExitStack, said: bytes = b"") -> socket.socket:
    """Somebody who connects and says nothing, or not enough."""
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", browser.port), LIMIT_S))
    if said:
        sock.sendall(said)
    return sock


def is_closed(sock: socket.socket) -> bool:
    """Whether the other side has closed it, or does so soon."""
    sock.settimeout(LIMIT_S)
    with contextlib.suppress(ConnectionError):
        return sock.recv(1) == b""
    return True


def test_a_crowd_that_says_nothing(browser: Browser, stack: contextlib.ExitStack) -> None:
    """Viewers that are there, and those that come later, are served; the program keeps its descriptors."""
    raise_open_files()
    viewer = Viewer(browser)
    viewer.next()
    before = psutil.Process().num_fds()
    crowd = [silent(browser, stack) for _ in range(CROWD)]
    assert browser.get("/api/state")["kind"] == "client"
    theirs = psutil.Process().num_fds() - before - len(crowd)
    assert theirs <= entrance.OF_ONE_ADDRESS_MAX, "of the crowd, which is of this process, too"
    assert all(is_closed(sock) for sock in crowd[: CROWD - entrance.OF_ONE_ADDRESS_MAX])
    viewer.close()


def test_who_begins_and_does_not_end_gives_way(
    browser: Browser, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "OF_ONE_ADDRESS_MAX", 10)
    viewer = Viewer(browser)
    viewer.next()
    first, *_ = [silent(browser, stack, b"GET / HT") for _ in range(9)]
    silent(browser, stack)
    assert is_closed(first), "the one that has been idle for longest"
    assert browser.ask("GET", "/healthz").status == 200
    viewer.close()


@pytest.mark.parametrize("browser", ["https"], indirect=True)
def test_a_handshake_has_its_time(
    browser: Browser, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "HANDSHAKE_S", 0.2)
    assert is_closed(silent(browser, stack))


def test_when_all_are_answered_nobody_more_comes_in(
    browser: Browser, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "CONNECTIONS_MAX", 3)
    viewers = [Viewer(browser) for _ in range(3)]
    for viewer in viewers:
        viewer.next()
    assert is_closed(silent(browser, stack))
    viewers.pop().close()
    stack.callback(lambda: [viewer.close() for viewer in viewers])
    for _ in range(1000):
        with contextlib.suppress(OSError):
            assert browser.ask("GET", "/healthz").status == 200
            return
    raise AssertionError("there is room for nobody, though one has gone")


def test_the_next_port_is_used(
    stack: contextlib.ExitStack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocking = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = blocking.getsockname()[1]
    monkeypatch.setattr(site, "DASHBOARD", dataclasses.replace(site.DASHBOARD, port=port))
    server = HTTPServer(Client())
    try:
        used = Browser(server.url).port
        assert port < used < port + listening.PORTS_TRIED
        assert f"port {port} is taken, perhaps by another dashboard: port {used} is used instead" in caplog.text
        assert Browser(server.url).get("/api/state")["kind"] == "client"
    finally:
        server.shutdown()
        Parkcos.instance().terminate()
