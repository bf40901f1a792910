"""What a browser shows when the program that it looks at is closed, cut off, stopped or killed, and when it is back."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.looking import Looker, Open, end_of, watched
from tests.live.lib import LIMIT_S, Ports, Program, free_ports

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = api.expect
expect.set_options(timeout=20_000)

pytestmark = [pytest.mark.browser, pytest.mark.live]

Gen = Generator[Any, Any, Any]
TOKEN = "a token of the tests"


def double(x: Any) -> Gen:
    yield
    return 2 * x


def program(ports: Ports, folder: Path, node: int, port: int, tasks: int) -> Program:
    """A client program with its dashboard at this port: it runs so many tasks, and then waits to be ended."""
    return ports.client(
        folder,
        "from parkcos.httpd import HTTPServer\n"
        "def double(x):\n    yield\n    return 2 * x\n"
        "def main(task=None):\n"
        f"    client = Client(nodes=[NodeAllocate('127.0.0.1', {node})])\n"
        f"    HTTPServer(client, '127.0.0.1', {port}, poll_sec=0.5, token={TOKEN!r})\n"
        "    yield client.schedule()\n"
        f"    for n in range({tasks}):\n        yield (yield client.rtask(double, n)).finish()\n"
        "    print('ready')\n"
        "    yield task.receive()\n"
        "Task(main)\n",
        name="outage.py",
    )


def test_after_the_client_has_closed_the_last_state_stays(node: int, look: Open) -> None:
    with watched(node) as it:
        for n in range(3):
            end_of(it.start(double, n))
        someone = look(it.url, outages=True)
        expect(someone.tile("Done")).to_have_text("3")
        it.close()
        expect(someone.connection).to_have_text("client closed")
        expect(someone.banner).to_contain_text("The client was closed")
        expect(someone.row("Nodes", "kiln")).to_contain_text("closed")
        expect(someone.tile("Done")).to_have_text("3")
        later = look(it.url)  # who comes later finds the same
        expect(later.banner).to_contain_text("This is its last state")
        later.to("#/tasks")
        expect(later.table("Tasks").locator("tbody .c-name:visible")).to_have_count(3)
        it.http.shutdown(wait=False)
        expect(someone.banner).to_contain_text("does not answer any more")
        expect(someone.connection).to_have_text("client closed")
        someone.to("#/tasks")
        expect(someone.table("Tasks").locator("tbody .c-name:visible")).to_have_count(3)
        later.problems.clear()  # that it has gone is the end of this test


def log_in_elsewhere(someone: Looker, port: int | str) -> None:
    """The new run of the program does not know who has logged in at the last one: another tab of this browser does."""
    expect(someone.banner).to_contain_text("wants its token again", timeout=30_000)
    someone.page.context.request.get(f"http://127.0.0.1:{port}/", params={"token": TOKEN})


@pytest.mark.timeout(120)
def test_a_program_that_dies_and_is_back(
    node: int, look: Open, ports: Ports, tmp_path: Path, picture: Callable[[Looker, str], None]
) -> None:
    port = free_ports(1)[0]
    with program(ports, tmp_path, node, port, 3) as first:
        first.wait_for("^ready$")
        someone = look(f"http://127.0.0.1:{port}/?token={TOKEN}", outages=True)
        expect(someone.connection).to_have_text("live")
        expect(someone.tile("Done")).to_have_text("3")
        first.end(signal.SIGKILL)
    expect(someone.connection).to_have_text("reconnecting")
    expect(someone.banner).to_contain_text("No connection to the program since")
    expect(someone.tile("Done")).to_have_text("3")
    someone.to("#/nodes/" + someone.page.locator("tbody tr[data-key]").first.get_attribute("data-key"))
    expect(someone.button("Close…")).to_be_disabled()
    expect(someone.connection).to_have_text("no connection", timeout=40_000)
    expect(someone.banner).to_contain_text("The program does not answer since")
    someone.to("#/")
    picture(someone, "gone")
    with program(ports, tmp_path, node, port, 5) as second:
        second.wait_for("^ready$")
        log_in_elsewhere(someone, port)
        expect(someone.connection).to_have_text("live")
        expect(someone.tile("Done")).to_have_text("5")
        expect(someone.banner).to_be_empty()
        expect(someone.page.get_by_text("The program was started anew")).to_be_visible()
        second.end(signal.SIGKILL)


@pytest.mark.timeout(120)
def test_a_program_that_is_stopped_for_a_while(node: int, look: Open, ports: Ports, tmp_path: Path) -> None:
    """Its connection stays, as after a laptop's sleep: the page notices that nothing comes."""
    port = free_ports(1)[0]
    with program(ports, tmp_path, node, port, 2) as stopped:
        stopped.wait_for("^ready$")
        someone = look(f"http://127.0.0.1:{port}/?token={TOKEN}", outages=True)
        expect(someone.connection).to_have_text("live")
        stopped.stop()
        try:
            expect(someone.connection).to_have_text("reconnecting")
            expect(someone.tile("Done")).to_have_text("2")
        finally:
            stopped.go_on()
        expect(someone.connection).to_have_text("live")
        stopped.end(signal.SIGKILL)


@pytest.mark.timeout(120)
def test_a_first_state_that_takes_long_on_a_slow_line(node: int, look: Open, ports: Ports, tmp_path: Path) -> None:
    """It is waited for, and not asked for anew again and again."""
    port = free_ports(1)[0]
    with program(ports, tmp_path, node, port, 10) as running:
        running.wait_for("^ready$")
        someone = look(f"http://127.0.0.1:{port}/?token={TOKEN}")
        expect(someone.connection).to_have_text("live")
        length = len(someone.page.evaluate("fetch('/api/state').then(answer => answer.text())"))
        asked: list[str] = []
        someone.page.on("request", lambda request: asked.append(request.url))
        line = someone.context.new_cdp_session(someone.page)
        line.send("Network.enable")
        slow = {"offline": False, "latency": 0, "downloadThroughput": length / 10, "uploadThroughput": -1}
        line.send("Network.emulateNetworkConditions", slow)
        someone.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        expect(someone.connection).to_have_text("connecting")
        expect(someone.connection).to_have_text("live", timeout=60_000)
        # A page that begins again each time never gets to the end.  It may begin again once: a browser that has no turn
        # for five seconds, as the machine has too much to do, looks like one that has slept.
        assert [url.rpartition("/")[2] for url in asked].count("stream") <= 2
        running.end(signal.SIGKILL)


LINKS = """() => {
  const link = document.getElementById("link-state");
  window.links = [];
  new MutationObserver(() => links.push(link.textContent)).observe(link, { childList: true });
}"""
"""Notes what the page says of its connection."""


@pytest.mark.timeout(120)
def test_a_laptop_that_has_slept(node: int, look: Open, ports: Ports, tmp_path: Path) -> None:
    """When it wakes up, nothing says that: its clocks have gone on, and the old connection looks alive."""
    port = free_ports(1)[0]
    with program(ports, tmp_path, node, port, 2) as running:
        running.wait_for("^ready$")
        someone = look(f"http://127.0.0.1:{port}/?token={TOKEN}", outages=True)
        someone.page.clock.install()
        someone.page.reload()
        expect(someone.connection).to_have_text("live")
        expect(someone.tile("Done")).to_have_text("2")
        someone.page.evaluate(LINKS)
        with someone.page.expect_request("**/api/stream"):  # it does not trust the connection that it has
            someone.page.clock.fast_forward("01:00:00")
        expect(someone.connection).to_have_text("live")
        assert someone.page.evaluate("links.splice(0)") == ["connecting", "live"]

        someone.to("#/nodes/" + someone.page.locator("tbody tr[data-key]").first.get_attribute("data-key"))
        expect(someone.button("Close…")).to_be_enabled()
        running.stop()  # as if the network were away when it wakes up
        try:
            someone.page.evaluate("links.splice(0)")  # a browser that got no turn for five seconds looks asleep, too
            someone.page.clock.fast_forward("08:00:00")
            expect(someone.button("Close…")).to_be_disabled()
            expect(someone.banner).to_contain_text("No connection to the program since")
            assert someone.page.evaluate("links.splice(0, 2)") == ["connecting", "reconnecting"]
        finally:
            running.go_on()
        expect(someone.connection).to_have_text("live")
        expect(someone.banner).to_be_empty()
        expect(someone.button("Close…")).to_be_enabled()
        running.end(signal.SIGKILL)


@pytest.mark.timeout(120)
def test_a_program_that_wants_another_token(node: int, look: Open, ports: Ports, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/?token="
    with program(ports, tmp_path, node, port, 1) as first:
        first.wait_for("^ready$")
        someone = look(url + TOKEN, outages=True)
        expect(someone.tile("Done")).to_have_text("1")
        first.end(signal.SIGKILL)
    source = (tmp_path / "outage.py").read_text().replace(TOKEN, "another token of the tests")
    (tmp_path / "again.py").write_text(source)
    with Program(tmp_path / "again.py", cwd=tmp_path) as second:
        second.wait_for("^ready$")
        expect(someone.banner).to_contain_text("wants its token again", timeout=30_000)
        expect(someone.tile("Done")).to_have_text("1")  # the last state is there still
        someone.page.get_by_role("link", name="Log in").click()
        someone.page.get_by_label("Token of this dashboard").fill("another token of the tests")
        someone.button("Log in").click()
        expect(someone.connection).to_have_text("live")
        second.end(signal.SIGKILL)


@pytest.mark.timeout(120)
def test_a_scheduler_that_dies_and_is_back(
    look: Open, ports: Ports, tmp_path: Path, picture: Callable[[Looker, str], None]
) -> None:
    port = str(free_ports(1)[0])
    options = ["--httpd", "--httpd_host", "127.0.0.1", "--httpd_port", port, "--httpd_token", TOKEN]
    options += ["--name", "foundry"]
    scheduler, scheduler_port = ports.scheduler(*options)
    with scheduler, ports.node(1, "-n", "kiln")[0]:
        source = (
            "def main(task=None):\n"
            "    client = Client(name=sys.argv[0][-6:])\n"
            f"    yield client.schedule(Location('127.0.0.1', {scheduler_port}))\n"
            "    yield task.receive()\n"
            "Task(main)\n"
        )
        scheduler.wait_for("the dashboard of")
        someone = look(f"http://127.0.0.1:{port}/?token={TOKEN}", outages=True)
        expect(someone.heading("Shared cluster")).to_be_visible()
        expect(someone.page.get_by_text("The scheduler at foundry has run")).to_be_visible()
        expect(someone.row("Nodes", "kiln")).to_contain_text("nobody")
        command = ["-m", "parkcos.commands.scheduler", "-t", str(scheduler_port), "-u", str(ports.udp - 1)]
        with contextlib.ExitStack() as stack:
            one = stack.enter_context(ports.client(tmp_path, source, "one.py"))
            expect(someone.row("Clients", "one.py")).to_contain_text("has the cluster")
            expect(someone.row("Nodes", "kiln")).to_contain_text("one.py")
            two = stack.enter_context(ports.client(tmp_path, source, "two.py"))
            expect(someone.row("Clients", "two.py")).to_contain_text("waiting")
            picture(someone, "scheduler")
            scheduler.end(signal.SIGKILL)
            expect(someone.connection).to_have_text("reconnecting")
            expect(someone.banner).to_contain_text("No connection to the scheduler since")
            expect(someone.row("Clients", "two.py")).to_contain_text("waiting")  # its last state
            stack.enter_context(Program(*command, *ports.options, *options))
            log_in_elsewhere(someone, port)
            expect(someone.connection).to_have_text("live")
            expect(someone.row("Clients", "one.py")).to_contain_text("has the cluster")  # they came back to it
            expect(someone.row("Clients", "two.py")).to_contain_text("waiting")
            one.end(signal.SIGKILL)
            expect(someone.row("Clients", "two.py")).to_contain_text("has the cluster")
            two.end(signal.SIGKILL)
            expect(someone.page.get_by_text("No client wants the cluster now.")).to_be_visible()


UNSEEN = """
  Object.defineProperty(document, "hidden", { get: () => true });
  const now = performance.now.bind(performance);
  window.later = 0;
  performance.now = () => now() + window.later;
"""


def test_a_page_that_was_opened_in_the_background_gives_its_connection_back(node: int, look: Open) -> None:
    """A browser has six connections for each site; nobody may have seen the page yet."""
    with watched(node) as it:
        someone = look(it.url, outages=True, script=UNSEEN)
        expect(someone.tile("Done")).to_have_text("0")
        stream = it.http._site.stream
        assert stream.viewers == 1
        someone.page.evaluate("() => { window.later = 70_000 }")
        deadline = time.monotonic() + LIMIT_S
        while stream.viewers:
            assert time.monotonic() < deadline
            someone.page.wait_for_timeout(100)
