"""A browser, and a real cluster for it to look at."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parkcos import Parkcos
from tests.browser.looking import PICTURES_ASKED_FOR, Looker, Open, watched
from tests.conftest import no_leaks
from tests.live.lib import SECRET, Ports

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    "--no-sandbox",  # it does not start as root with one; it sees nothing but this project's own pages
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PICTURES = Path(__file__).resolve().parent.parent.parent / "docs" / "img"


@pytest.fixture(scope="module")
def chromium(shared_pids: set[int]) -> Iterator[Any]:
    """The system's Chromium, without a window; its processes come and go as they like."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        shared_pids.update(child.pid for child in psutil.Process().children())
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Open]:
    """look(url, ...) opens a page in a browser of its own; at the end none may have had anything to complain about."""
    with contextlib.ExitStack() as stack:
        lookers: list[Looker] = []

        def open_page(url: str, *, outages: bool = False, script: str = "", **options: Any) -> Looker:
            looker = Looker(chromium.new_context(**{"viewport": {"width": 1360, "height": 900}} | options), outages)
            looker.page.add_init_script(script)
            stack.callback(looker.close)
            lookers.append(looker)
            looker.page.goto(url)
            return looker

        yield open_page
        problems = [problem for looker in lookers for problem in looker.problems]
        assert not problems


@pytest.fixture(scope="module")
def node(chromium: Any, shared_pids: set[int]) -> Iterator[int]:
    """The port of a node with two servers; the clients are in this process."""
    with no_leaks("the node of this module", {*shared_pids}):
        ports = Ports()
        program, port = ports.node(2, "--min_pulse_interval", "0.2", "-n", "kiln")
        with program:
            shared_pids.add(program.pid)
            Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False)
            with watched(port):  # what stays of this process is there from now on
                pass
            yield port
            Parkcos.instance().terminate()


@pytest.fixture
def picture() -> Callable[[Looker, str], None]:
    """picture(looker, name) takes one for docs/dashboard.md, light and dark, if DASHBOARD_PICTURES is set."""

    def take(looker: Looker, name: str) -> None:
        if not PICTURES_ASKED_FOR:
            return
        PICTURES.mkdir(exist_ok=True)
        for scheme in ("dark", "light"):
            looker.page.emulate_media(color_scheme=scheme)
            looker.page.wait_for_timeout(150)  # the charts are drawn in the next frames
            (PICTURES / f"{name}-{scheme}.png").write_bytes(looker.page.screenshot())

    return take


@pytest.fixture
def ports() -> Ports:
    return Ports()
