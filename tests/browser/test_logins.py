"""What a browser shows to those who may look only, and when somebody logs out."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

from tests.browser.looking import Looker, Open, Watched, watched

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = api.expect
expect.set_options(timeout=20_000)

pytestmark = [pytest.mark.browser, pytest.mark.live]

Gen = Generator[Any, Any, Any]
ACTS = re.compile(r"^(Suspend|Resume|Restart…|Close…|Terminate.*|Clear)$")
"""The buttons that do something to nodes, servers and tasks."""


def stays(task: Any = None) -> Gen:
    yield task.receive()


def places(it: Watched) -> list[str]:
    """All kinds of pages."""
    state = it.api.get("/api/state")
    busy = state["tasks"][0]["server"]
    return [f"#/nodes/{state['nodes'][0]['id']}", f"#/servers/{busy}", "#/tasks", f"#/tasks/{state['tasks'][0]['id']}"]


def offered(someone: Looker, place: str) -> int:
    """How many ways this page has to do something to what runs."""
    someone.to(place)
    expect(someone.page.get_by_text("stays").first).to_be_visible()
    boxes = someone.page.get_by_role("main").get_by_role("checkbox")
    count: int = someone.page.get_by_role("main").get_by_role("button", name=ACTS).count() + boxes.count()
    return count


def test_who_may_look_only_has_no_buttons(node: int, look: Open) -> None:
    with watched(node, view_token="who has it may look") as it:
        task = it.start(stays)
        actor, viewer = look(it.url), look(it.http.view_url or "")
        for someone in (actor, viewer):
            expect(someone.tile("Running")).to_have_text("1")
        for place in places(it):
            assert offered(actor, place) > 0, place
            assert offered(viewer, place) == 0, place
        viewer.button("Settings").click()
        dialog = viewer.page.get_by_role("dialog")
        expect(dialog.get_by_label("Seconds between two updates")).to_be_disabled()
        expect(dialog).to_contain_text("You may look only")
        dialog.get_by_label("Dark").check()
        assert viewer.page.evaluate("document.documentElement.dataset.theme") == "dark"
        task.send(None)
        viewer.page.keyboard.press("Escape")
        viewer.to("#/")
        expect(viewer.tile("Done")).to_have_text("1")


def test_logging_out(node: int, look: Open) -> None:
    with watched(node) as it:
        someone = look(it.url, outages=True)
        expect(someone.heading("Cluster")).to_be_visible()
        (cookie,) = someone.context.cookies()
        someone.button("Log out").click()
        expect(someone.page.get_by_label("Token of this dashboard")).to_be_visible()
        assert someone.context.cookies() == []
        someone.context.add_cookies([cookie])  # who has copied it has nothing
        someone.page.goto(it.url.split("?")[0])
        expect(someone.page.get_by_label("Token of this dashboard")).to_be_visible()
