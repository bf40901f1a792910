"""The dashboard below a path of another web server, in a real browser: nothing that it asks for leaves that path."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

from parkcos import Scheduler, TaskTerminated
from tests.browser.behind import behind
from tests.browser.looking import Open, end_of, watched

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = api.expect
expect.set_options(timeout=20_000)

pytestmark = [pytest.mark.browser, pytest.mark.live]

Gen = Generator[Any, Any, Any]


def double(x: Any) -> Gen:
    yield
    return 2 * x


def stays(*args: Any, task: Any = None) -> Gen:
    return (yield task.receive())


@pytest.mark.parametrize(
    ("prefix", "passes_host"),
    [
        pytest.param("/park", False, id="as nginx"),
        pytest.param("/user/x/proxy/8181", True, id="as Jupyter"),
    ],
)
def test_all_of_it_works_below_a_path(node: int, look: Open, prefix: str, passes_host: bool) -> None:
    with watched(node) as it, behind(it.url, prefix, passes_host=passes_host) as front:
        task = it.start(stays, "an argument")
        someone = look(front.link)
        asked: list[str] = []
        someone.page.on("request", lambda request: asked.append(request.url))
        expect(someone.tile("Running")).to_have_text("1")
        assert someone.page.url == front.url
        assert [cookie["path"] for cookie in someone.context.cookies()] == [prefix]
        expect(someone.connection).to_have_text("live")
        assert end_of(it.start(double, 2)) == 4
        expect(someone.tile("Done")).to_have_text("1")  # which has come through the stream
        expect(someone.row("Nodes", "kiln")).to_contain_text("running")

        someone.link("kiln", exact=True).click()
        expect(someone.heading("kiln")).to_be_visible()
        someone.button("Suspend").click()
        expect(someone.state).to_have_text("suspended")
        assert len(it.told(Scheduler.NodeSuspended)) == 1
        someone.button("Resume").click()
        expect(someone.state).to_have_text("running")

        someone.to("#/tasks/1")
        expect(someone.page.get_by_text("'an argument'")).to_be_visible()
        someone.page.reload()
        expect(someone.page.get_by_text("'an argument'")).to_be_visible()
        assert someone.page.url == f"{front.url}#/tasks/1"
        someone.to("#/tasks?state=running")
        someone.page.get_by_role("checkbox", name=re.compile("Select stays")).check()
        someone.button("Terminate 1").click()
        someone.page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
        assert end_of(task).type is TaskTerminated

        assert front.strays == []
        own = [path.removeprefix(prefix) for path in front.paths]
        wanted = {"/", "/static/app.js", "/api/stream", "/api/tasks/1", "/api/tasks/terminate"}
        assert wanted <= set(own), own
        assert asked
        assert all(url.startswith((front.url, "data:")) for url in asked), asked


def test_who_has_no_token_is_asked_for_it_there(node: int, look: Open) -> None:
    with watched(node) as it, behind(it.url, "/park", passes_host=False) as front:
        someone = look(front.url)
        assert someone.page.url == f"{front.url}login"
        for token in ("not the token", it.api.token):
            someone.page.get_by_label("Token of this dashboard").fill(token)
            someone.button("Log in").click()
            if token != it.api.token:
                expect(someone.page.get_by_role("alert")).to_be_visible()
                assert someone.page.url == f"{front.url}login?wrong"
        expect(someone.row("Nodes", "kiln")).to_contain_text("running")
        assert someone.page.url == front.url
        assert front.strays == []


def test_a_page_that_is_not_known_as_its_own_says_what_to_do(node: int, look: Open) -> None:
    with watched(node) as it, behind(it.url, "/park", passes_host=False, plain=True) as front:
        someone = look(front.link)
        expect(someone.page.get_by_role("main")).to_contain_text("must pass the Host header on")
        assert [problem for problem in someone.problems if "403" in problem and "/static/app.js" in problem]
        someone.problems.clear()
