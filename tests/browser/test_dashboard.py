"""The dashboard in a real browser against a real node: what it shows is so, what is clicked is done.  Chapter 6.10."""

from __future__ import annotations

import contextlib
import html
import http.server
import re
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos import MonitorStatus, Scheduler, Task, TaskTerminated
from tests.browser.looking import CPUS, PICTURES_ASKED_FOR, Looker, Open, Watched, end_of, watched
from tests.live.lib import Ports, Program, run

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = api.expect
expect.set_options(timeout=20_000)

pytestmark = [pytest.mark.browser, pytest.mark.live]

Gen = Generator[Any, Any, Any]
ANNEAL = Path(__file__).with_name("anneal.py")
XSS = "<img src=x onerror=alert(1)>"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


# What runs there


def double(x: Any) -> Gen:
    yield
    return 2 * x


def stays(*args: Any, task: Any = None) -> Gen:
    return (yield task.receive())


def says(text: str, task: Any = None) -> Gen:
    print(text, flush=True)
    return (yield task.receive())


def fit_curve(points: int, path: str = "", task: Any = None) -> Gen:
    def weight(number: int) -> float:
        return 1 / (number - 3)

    yield
    return sum(weight(number) for number in range(points))


def anneal() -> SimpleNamespace:
    """The functions of anneal.py, with its name in their tracebacks and no folder: these are in the pictures."""
    names: dict[str, Any] = {"__name__": "anneal"}
    exec(compile(ANNEAL.read_text(), "anneal.py", "exec", dont_inherit=True), names)
    return SimpleNamespace(**names)


# -- what it shows


def test_the_numbers_are_the_clusters(node: int, look: Open) -> None:
    with watched(node) as it:
        running = it.start(stays)
        assert [end_of(it.start(double, n)) for n in range(4)] == [0, 2, 4, 6]
        assert isinstance(end_of(it.start(fit_curve, 5)), MonitorStatus)
        someone = look(it.url)
        for label, number in (("Running", "1"), ("Queued", "0"), ("Done", "5"), ("Failed", "1"), ("Submitted", "6")):
            expect(someone.tile(label)).to_have_text(number)
        expect(someone.tile("Nodes running")).to_have_text("1")
        expect(someone.tile("Servers")).to_have_text(str(CPUS))
        cells = someone.row("Nodes", "kiln")
        expect(cells).to_contain_text("running")
        expect(cells).to_contain_text("127.0.0.1")
        for column, number in (("running", "1"), ("submitted", "6"), ("done", "5"), ("failed", "1"), ("servers", "2")):
            expect(cells.locator(f".c-{column}")).to_have_text(number)
        for column in ("cpu", "memory", "disk", "swap"):
            expect(cells.locator(f".c-{column}")).to_have_text(re.compile(r"\d (%|[KMGT]?i?B)$"))
        expect(someone.page.get_by_role("img", name=re.compile("^Running tasks: 1 now"))).to_be_visible()

        cells.get_by_role("link", name="kiln").click()
        expect(someone.heading("kiln")).to_be_visible()
        expect(someone.fact("Tasks")).to_have_text("1 running, 5 of 6 done, 1 failed")
        servers = it.api.get("/api/state")["servers"]
        assert sum(server["done"] for server in servers) == 5
        for server in servers:
            expect(someone.row("Servers", server["name"]).locator(".c-done")).to_have_text(str(server["done"]))
        busy = next(server for server in servers if server["running"])
        expect(someone.row("Servers", busy["name"])).to_contain_text("stays")

        someone.link(busy["name"]).click()
        expect(someone.row("Running tasks", "stays")).to_contain_text("running")
        running.send("enough")
        expect(someone.row("Ended tasks", "stays")).to_contain_text("finished")
        expect(someone.page.get_by_text("No task runs here now.")).to_be_visible()


def test_places_are_linked_and_the_menu_leads_to_them(node: int, look: Open) -> None:
    with watched(node) as it:
        someone = look(it.url)
        menu = someone.page.get_by_role("navigation", name="Pages")
        expect(someone.table("Nodes").get_by_role("columnheader", name="Address")).to_have_attribute(
            "aria-sort", "descending"
        )
        someone.row("Nodes", "kiln").get_by_role("link", name="127.0.0.1").click()
        expect(someone.heading("kiln")).to_be_visible()
        expect(menu.get_by_role("link", name="Node")).to_have_attribute("aria-current", "page")
        server = max(it.api.get("/api/state")["servers"], key=lambda each: each["name"])
        at = f"{server['addr']}:{server['port']}"
        someone.row("Servers", server["name"]).get_by_role("link", name=at).click()
        expect(someone.heading(server["name"])).to_be_visible()
        expect(menu.get_by_role("link", name="Server")).to_have_attribute("aria-current", "page")
        menu.get_by_role("link", name="Cluster").click()
        expect(someone.heading("Cluster")).to_be_visible()
        menu.get_by_role("link", name="Server").click()
        expect(someone.heading(server["name"])).to_be_visible()
        menu.get_by_role("link", name="Node").click()
        expect(someone.heading("kiln")).to_be_visible()


def test_who_has_never_seen_it_finds_the_traceback(node: int, look: Open) -> None:
    with watched(node) as it:
        for n in range(3):
            end_of(it.start(double, n))
        end_of(it.start(fit_curve, 7, path="/data/run-17"))
        someone = look(it.url)
        expect(someone.page.get_by_label("Failed tasks")).to_contain_text("1 task failed. The last: fit_curve at kiln/")
        expect(someone.page.get_by_label("Failed tasks")).to_contain_text("ZeroDivisionError: division by zero")
        someone.link("See its traceback").click()  # one click
        expect(someone.heading(re.compile("fit_curve"))).to_be_focused()
        expect(someone.page.get_by_label("Traceback")).to_contain_text("return 1 / (number - 3)")
        expect(someone.page.get_by_label("Traceback").locator("strong")).to_have_text(
            "ZeroDivisionError: division by zero"
        )
        expect(someone.page.get_by_text("7, path='/data/run-17'")).to_be_visible()

        someone.page.get_by_role("navigation", name="Pages").get_by_role("link", name="1 failed").click()  # or two
        expect(someone.table("Tasks").locator("tbody .c-name:visible")).to_have_text(["fit_curve"])
        someone.row("Tasks", "fit_curve").locator(".c-took").click()
        expect(someone.page.get_by_label("Traceback")).to_contain_text("ZeroDivisionError")
        someone.to("#/")
        someone.page.get_by_role("navigation", name="Pages").get_by_role("link", name="1 failed").click()  # or two
        expect(someone.table("Tasks").locator("tbody .c-name")).to_have_text(["fit_curve"])
        someone.link("ZeroDivisionError: division by zero").click()
        expect(someone.page.get_by_label("Traceback")).to_contain_text("return 1 / (number - 3)")


def test_what_programs_name_is_text(node: int, look: Open) -> None:
    with watched(node, forward_output=False) as it:
        task = it.start(says, XSS)
        named = it.client.options(name=XSS)

        def body() -> Gen:
            return (yield named.rtask(stays, XSS))

        other = run(body)
        someone = look(it.url)
        for place in ("#/tasks", f"#/tasks?q={XSS}", "#/tasks?view=timeline", f"#/tasks/{XSS}", f"#/nodes/{XSS}"):
            someone.to(place)
            expect(someone.heading(re.compile("."))).to_be_visible()
            assert someone.page.locator("img").count() == 0
        someone.to("#/tasks")
        expect(someone.table("Tasks").get_by_role("link", name=XSS)).to_have_count(1)
        someone.link(XSS).click()
        expect(someone.heading(re.compile(re.escape(XSS)))).to_be_visible()
        expect(someone.page.get_by_text(f"'{XSS}'")).to_be_visible()  # its argument
        server = next(each for each in it.api.get("/api/tasks")["tasks"] if each["name"] == "says")["server"]
        someone.to(f"#/servers/{server}")
        expect(someone.page.get_by_label("What it printed last")).to_have_text(XSS)
        assert someone.page.locator("img").count() == 0
        task.send(None)
        other.send(None)


def test_tasks_are_sought_sorted_and_shown_over_time(node: int, look: Open) -> None:
    with watched(node) as it:
        for n in range(12):
            end_of(it.start(double, n))
        end_of(it.start(fit_curve, 5))
        someone = look(f"{it.url}#/tasks")
        names = someone.table("Tasks").locator("tbody .c-id")
        order = lambda: [int(text) for text in names.all_inner_texts() if text]  # noqa: E731
        expect(names).to_have_count(13)
        started = someone.table("Tasks").get_by_role("columnheader", name="Started")
        assert started.get_attribute("aria-sort") == "descending"
        header = someone.table("Tasks").get_by_role("columnheader", name="No.")
        assert header.get_attribute("aria-sort") is None
        header.get_by_role("button").press("Enter")
        assert header.get_attribute("aria-sort") == "descending"
        assert order() == sorted(order(), reverse=True)
        header.get_by_role("button").press("Enter")
        assert header.get_attribute("aria-sort") == "ascending"
        assert order() == sorted(order())
        search = someone.page.get_by_role("searchbox")
        search.fill("zerodivision")
        expect(someone.table("Tasks").locator("tbody .c-name")).to_have_text(["fit_curve"])
        search.fill("")
        someone.button("finished").click()
        expect(names).to_have_count(12)
        assert someone.page.evaluate("location.hash") == "#/tasks?state=finished"
        someone.page.reload()
        expect(names).to_have_count(12)
        someone.button("all").click()
        someone.button("Timeline", exact=True).click()
        canvas = someone.page.get_by_role("img", name=re.compile("Timeline of 13 tasks at [12] server"))
        expect(canvas).to_be_visible()
        colours = canvas.evaluate(
            "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 24, c.width, 40).data.buffer)).size"
        )
        assert colours > 3  # the ground, a line, names, bars


# -- what it does


def test_a_task_is_terminated(node: int, look: Open) -> None:
    with watched(node) as it:
        task = it.start(stays)
        someone = look(f"{it.url}#/tasks?state=running")
        someone.page.get_by_role("checkbox", name=re.compile("Select stays")).check()
        someone.button("Terminate 1").click()
        dialog = someone.page.get_by_role("dialog")
        expect(dialog).to_contain_text("Terminate 1 task?")
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_have_count(0)
        assert task.is_alive()
        someone.button("Terminate 1").click()
        dialog.get_by_role("button", name="Terminate").click()
        status = end_of(task)
        assert (status.type, status.info) == (TaskTerminated, task)
        expect(someone.page.get_by_text("No task is like that.")).to_be_visible()
        someone.button("terminated").click()
        expect(someone.row("Tasks", "stays")).to_contain_text("terminated")


def test_a_server_is_suspended_and_restarted(node: int, look: Open) -> None:
    with watched(node) as it:
        first = it.api.get("/api/state")["servers"][0]
        someone = look(f"{it.url}#/servers/{first['id']}")
        expect(someone.state).to_have_text("running")
        someone.button("Suspend").click()
        expect(someone.state).to_have_text("suspended")
        for _ in range(3):
            end_of(it.start(double, 1))
        expect(someone.fact("Tasks")).to_have_text("0 running, 0 of 0 done")
        assert len(it.told(Scheduler.ServerSuspended)) == 1
        someone.button("Resume").click()
        expect(someone.state).to_have_text("running")
        assert len(it.told(Scheduler.ServerResumed)) == 1
        someone.button("Restart…").click()
        someone.page.get_by_role("dialog").get_by_role("button", name="Restart it").click()
        expect(someone.state).to_have_text("closed")
        someone.link(f"{first['name']}, started anew").click()
        expect(someone.state).to_have_text("running")
        assert len(it.told(Scheduler.ServerClosed)) == 1
        tasks = [it.start(stays) for _ in range(CPUS)]
        expect(someone.row("Running tasks", "stays")).to_have_count(1)
        for task in tasks:
            task.send(None)


def test_a_node_is_closed(node: int, look: Open) -> None:
    with watched(node) as it:
        task = it.start(stays)
        someone = look(it.url)
        someone.link("kiln", exact=True).click()
        someone.button("Close…").click()
        dialog = someone.page.get_by_role("dialog")
        expect(dialog).to_contain_text("Its 2 servers end. 1 task runs there now.")
        dialog.get_by_label("Terminate its running tasks now").check()
        dialog.get_by_role("button", name="Close it").click()
        expect(someone.state).to_have_text("closed")
        assert isinstance(end_of(task), MonitorStatus)
        assert len(it.told(Scheduler.NodeClosed)) == 1
        expect(someone.button("Close…")).to_be_disabled()
        someone.to("#/")
        expect(someone.row("Nodes", "kiln")).to_contain_text("closed")
        expect(someone.tile("Nodes running")).to_have_text("0 of 1")


def test_two_browsers_agree(node: int, look: Open) -> None:
    with watched(node) as it:
        first, second = look(it.url), look(it.url)
        task = it.start(stays, "an argument")
        for each in (first, second):
            expect(each.tile("Running")).to_have_text("1")
            each.to("#/tasks/1")
            expect(each.page.get_by_text("'an argument'")).to_be_visible()
        first.button("Settings").click()
        first.page.get_by_label("Seconds between two updates").fill("0.1")
        first.button("Save").click()
        assert first.page.get_by_role("dialog").is_visible()  # the field says what it takes
        first.page.get_by_label("Seconds between two updates").fill("3")
        first.page.get_by_label("Show the arguments of tasks").uncheck()
        first.button("Save").click()
        for each in (first, second):
            each.to("#/tasks")
            expect(each.row("Tasks", "stays")).not_to_contain_text("an argument")
            each.to("#/tasks/1")
            expect(each.page.get_by_text("Not shown")).to_be_visible()
        second.button("Settings").click()
        expect(second.page.get_by_label("Seconds between two updates")).to_have_value("3")
        second.page.get_by_label("Seconds between two updates").fill("0.5")
        second.button("Save").click()
        task.send(None)
        for each in (first, second):
            each.to("#/")
            expect(each.tile("Running")).to_have_text("0")
            expect(each.tile("Done")).to_have_text("1")


def test_what_is_refused_is_said(node: int, look: Open) -> None:
    with watched(node) as it:
        task = it.start(stays)
        someone = look(f"{it.url}#/tasks")
        someone.page.get_by_role("checkbox", name=re.compile("Select stays")).check()
        someone.button("Terminate 1").click()
        dialog = someone.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        task.send("it ends while the person thinks")
        end_of(task)
        expect(someone.row("Tasks", "stays")).to_contain_text("finished")
        dialog.get_by_role("button", name="Terminate").click()
        expect(dialog.get_by_role("alert")).to_contain_text("have ended")
        dialog.get_by_role("button", name="Cancel").click()
        expect(dialog).to_have_count(0)
        someone.problems = [problem for problem in someone.problems if "409 (Conflict)" not in problem]


# -- how it looks


def overflow(someone: Looker) -> int:
    width: int = someone.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return width


@pytest.fixture(scope="module")
def cluster(node: int, shared_pids: set[int]) -> Iterator[list[int]]:
    """Three nodes with two servers each."""
    with contextlib.ExitStack() as stack:
        found = [node]
        for name in ("mill", "quarry"):
            program, port = stack.enter_context(nodes_apart(name))
            shared_pids.add(program.pid)
            found.append(port)
        with watched(*found):  # the connections to them stay
            pass
        yield found


@contextlib.contextmanager
def nodes_apart(name: str) -> Iterator[tuple[Program, int]]:
    program, port = Ports().node(CPUS, "--min_pulse_interval", "0.2", "-n", name)
    with program:
        yield program, port


def work(it: Watched, many: int, pace_s: float) -> list[Task]:
    """Tasks of a made-up computation, some of which fail; they are submitted at once."""

    fns = anneal()

    def submit(fn: Callable[..., Any], *args: Any) -> Gen:
        yield (yield it.client.rtask(fn, *args)).finish()

    tasks = []
    for n in range(many):
        if n == many // 3:
            tasks.append(Task(submit, fns.fit_curve, 7, "/data/run-17"))
        elif n % 4 == 1:
            tasks.append(
                Task(submit, fns.load_images, f"/data/run-{n}/frame-{n % 9}.tif", n == many // 2 - 1, pace_s / 2)
            )
        else:
            tasks.append(Task(submit, fns.simulate, n, pace_s * (0.3 + (n * 7) % 10 / 6)))
    return tasks


@pytest.mark.timeout(200)
def test_each_page_light_dark_and_on_a_phone(
    cluster: list[int], look: Open, picture: Callable[[Looker, str], None]
) -> None:
    many, pace_s = (260, 1.2) if PICTURES_ASKED_FOR else (60, 0.02)
    with contextlib.chdir(ANNEAL.parent), watched(*cluster, components=[ANNEAL], name="anneal.py") as it:
        tasks = work(it, many, pace_s)
        someone, phone = look(it.url), look(it.url, **PHONE)
        so_far = r"^(19|2[0-4])\d$" if PICTURES_ASKED_FOR else f"^{many}$"  # the pictures are taken while it runs
        expect(someone.tile("Done")).to_have_text(re.compile(so_far), timeout=150_000)
        state = it.api.get("/api/state")
        failed = next(task["id"] for task in state["tasks"] if task["state"] == "failed")
        places = {
            "cluster": "#/",
            "node": f"#/nodes/{state['nodes'][0]['id']}",
            "server": f"#/servers/{state['servers'][0]['id']}",
            "tasks": "#/tasks",
            "timeline": "#/tasks?view=timeline",
            "failed": "#/tasks?state=failed",
            "task": f"#/tasks/{failed}",
        }
        for name, place in places.items():
            for each, suffix in ((someone, ""), (phone, "-phone")):
                each.to(place)
                expect(each.heading(re.compile("."))).to_be_visible()
                each.page.wait_for_load_state("networkidle")
                assert overflow(each) == 0, f"{name}{suffix} is too wide"
                for scheme, ground in (("dark", "rgb(15, 20, 18)"), ("light", "rgb(243, 245, 243)")):
                    each.page.emulate_media(color_scheme=scheme)
                    expect(each.page.locator("body")).to_have_css("background-color", ground)
                if each is someone or name in ("cluster", "tasks", "task"):
                    picture(each, f"{name}{suffix}")
        someone.button("Settings").click()
        picture(someone, "settings")
        someone.page.get_by_role("dialog").get_by_label("Dark").check()
        assert someone.page.evaluate("document.documentElement.dataset.theme") == "dark"
        for task in tasks:
            task.value(60)


def test_a_link_on_a_page_of_another_site(node: int, look: Open) -> None:
    """The cookie is SameSite=Strict; a link with the token, as in a mail, leads to the dashboard all the same."""
    with watched(node) as it, link_at("localhost", it.url) as other:
        someone = look(other)
        someone.page.get_by_role("link", name="my cluster").click()
        expect(someone.heading("Cluster")).to_be_visible()
        assert someone.page.url.split("#")[0] == it.url.split("?")[0]
        (cookie,) = someone.context.cookies()
        assert (cookie["domain"], cookie["sameSite"], cookie["httpOnly"]) == ("127.0.0.1", "Strict", True)
        someone.page.reload()
        expect(someone.heading("Cluster")).to_be_visible()


@contextlib.contextmanager
def link_at(host: str, url: str) -> Iterator[str]:
    """A page there with a link to `url`; to a browser, localhost and 127.0.0.1 are two sites."""
    page = f'<!doctype html><link rel="icon" href="data:,"><a href="{html.escape(url)}">my cluster</a>'.encode()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_the_login_page(node: int, look: Open, picture: Callable[[Looker, str], None]) -> None:
    with watched(node) as it:
        someone = look(it.url.split("?")[0])
        field = someone.page.get_by_label("Token of this dashboard")
        expect(field).to_be_focused()
        picture(someone, "login")
        field.fill("not the token")
        someone.button("Log in").click()
        expect(someone.page.get_by_role("alert")).to_have_text("That is not the token of this program.")
        field.fill(it.api.token)
        field.press("Enter")
        expect(someone.heading("Cluster")).to_be_visible()
        assert it.api.token not in someone.page.url
