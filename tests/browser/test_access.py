"""The dashboard without a mouse, by a screen reader, and by eyes that want contrast."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.looking import Looker, Open, Watched, end_of, watched
from tests.live.lib import LIMIT_S

api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
expect = api.expect
expect.set_options(timeout=20_000)

pytestmark = [pytest.mark.browser, pytest.mark.live]

Gen = Generator[Any, Any, Any]
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
STATES = 20
"""Of tasks, nodes and servers, and waiting clients: all that states.js has words for."""
BACKGROUNDS = {"light": "rgb(243, 245, 243)", "dark": "rgb(15, 20, 18)"}

EACH_STATE = """async () => {
  const { h, toast } = await import("/static/dom.js");
  const { KINDS } = await import("/static/states.js");
  const { pill } = await import("/static/parts.js");
  const states = Object.entries(KINDS).flatMap(([kind, each]) => Object.keys(each).map((name) => [kind, name]));
  const texts = (name) => [h("code", { class: "error-line" }, name), h("i", { class: "faint" }, name)];
  const cells = ([kind, name]) => [pill(kind, name), texts(name)];
  const row = (mark) => h("tr", { class: mark }, states.map((state) => h("td", {}, cells(state))));
  const button = (tone) => h("button", { class: tone }, "button");
  const box = h("section", { class: "card" },
    h("table", { class: "grid" }, h("tbody", {}, ["", "failed", "selected"].map(row))),
    ["wait", "broken", "over"].map((tone) => h("div", { class: `banner ${tone}` }, tone, button("small"))),
    ["live", "wait", "broken", "over"].map((tone) => h("span", { class: `link-state ${tone}` }, tone)),
    ["primary", "danger", "danger-text"].map(button));
  document.querySelector("main .page").append(box);
  toast("done");
  toast("not done", "error");
  return box.querySelectorAll(".pill").length;
}"""
"""Puts all states of all things on the page, in each kind of row, and all kinds of messages."""

REACHED = """() => {
  const all = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const places = new Set();
  const dark = [];
  const text = (element) => element.outerHTML.slice(0, 80);
  document.addEventListener("focusin", ({ target }) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(target);
    places.add(target);
    if (target.tabIndex < 0) return; // a heading, from where one goes on
    if (outlineStyle === "none" || parseFloat(outlineWidth) < 2) dark.push(text(target));
  });
  const wanted = (element) => !element.disabled && element.getClientRects().length > 0;
  const missing = () => [...document.querySelectorAll(all)].filter((each) => wanted(each) && !places.has(each));
  window.reached = { places, dark, missing: () => missing().map(text) };
}"""
"""Notes what has the focus, and whether one can see that."""

SPOKEN = """() => {
  window.spoken = [];
  for (const each of document.querySelectorAll("[aria-live], [role=status], [role=alert], [role=log]")) {
    const said = new MutationObserver(() => spoken.push(each.textContent));
    said.observe(each, { childList: true, characterData: true, subtree: true });
  }
}"""
"""Notes what a screen reader is told."""

UNNAMED = """[...document.querySelectorAll("canvas, svg, img")]
  .filter((each) => !each.closest("[aria-hidden=true], [role=img]")).length"""


def says(text: str, task: Any = None) -> Gen:
    print(text, flush=True)
    return (yield task.receive())


def fails(path: str, task: Any = None) -> Gen:
    yield
    raise FileNotFoundError(2, "No such file or directory", path)


def places_of(it: Watched) -> dict[str, str]:
    """The address of each page."""
    state = it.api.get("/api/state")
    busy = next(task for task in state["tasks"] if task["state"] == "running")
    failed = next(task for task in state["tasks"] if task["state"] == "failed")
    return {
        "cluster": "#/",
        "node": f"#/nodes/{busy['node']}",
        "server": f"#/servers/{busy['server']}",
        "tasks": "#/tasks",
        "timeline": "#/tasks?view=timeline",
        "failed": "#/tasks?state=failed",
        "none": "#/tasks?q=nothing+is+called+so",
        "task": f"#/tasks/{busy['id']}",
        "failed task": f"#/tasks/{failed['id']}",
        "unknown task": "#/tasks/4711",
        "unknown page": "#/nowhere",
    }


def begin(it: Watched) -> None:
    """A task that runs and has printed something, and one that failed."""
    it.start(says, "a line of output")
    end_of(it.start(fails, "/data/run-17"))
    deadline = time.monotonic() + LIMIT_S
    while sorted(task["state"] for task in it.api.get("/api/state")["tasks"]) != ["failed", "running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def show(someone: Looker, place: str) -> None:
    someone.to(place)
    expect(someone.heading(re.compile("."))).to_be_visible()
    someone.page.wait_for_load_state("networkidle")


def judged(someone: Looker, root: str = "body") -> tuple[int, list[Any]]:
    """How many texts there are, and those that are hard to read."""
    found = someone.page.evaluate(CONTRAST, root)
    return found["texts"], found["poor"]


@pytest.mark.parametrize("scheme", list(BACKGROUNDS))
def test_all_text_can_be_read(node: int, look: Open, scheme: str) -> None:
    """4.5 to 1, as the WCAG want it at level AA, for text of any size."""
    with watched(node) as it:
        begin(it)
        someone = look(it.url, color_scheme=scheme)
        places = places_of(it)
        for name, place in places.items():
            show(someone, place)
            expect(someone.page.locator("body")).to_have_css("background-color", BACKGROUNDS[scheme])
            texts, poor = judged(someone)
            assert texts > 8, name
            assert poor == [], name
        for button in ("Settings", "Close…"):
            show(someone, places["server"])
            someone.button(button).click()
            texts, poor = judged(someone, "dialog")
            assert texts > 3
            assert poor == []
            someone.page.keyboard.press("Escape")
        show(someone, "#/")
        assert someone.page.evaluate(EACH_STATE) == 3 * STATES
        texts, poor = judged(someone)
        assert texts > 3 * 3 * STATES
        assert poor == []
        stranger = look(it.url.split("?")[0], color_scheme=scheme)
        stranger.page.get_by_label("Token of this dashboard").fill("wrong")
        stranger.button("Log in").click()
        expect(stranger.page.get_by_role("alert")).to_be_visible()
        texts, poor = judged(stranger)
        assert texts > 4
        assert poor == []
        someone.problems = [problem for problem in someone.problems if "404" not in problem]  # the unknown task's


@pytest.mark.parametrize("phone", [False, True])
def test_all_can_be_reached_with_tab_and_one_sees_where_one_is(node: int, look: Open, phone: bool) -> None:
    with watched(node) as it:
        begin(it)
        someone = look(it.url, **({"viewport": {"width": 390, "height": 844}} if phone else {}))
        someone.page.evaluate(REACHED)
        for name, place in places_of(it).items():
            show(someone, place)
            someone.page.evaluate("reached.places.clear()")
            someone.page.evaluate("document.activeElement.blur()")
            for _ in range(60):
                someone.page.keyboard.press("Tab")
                if not (missing := someone.page.evaluate("reached.missing()")):
                    break
            assert missing == [], name
        assert someone.page.evaluate("reached.dark") == []
        someone.problems = [problem for problem in someone.problems if "404" not in problem]


def test_a_dialog_keeps_the_focus_and_gives_it_back(node: int, look: Open) -> None:
    with watched(node) as it:
        begin(it)
        someone = look(it.url)
        keyboard = someone.page.keyboard
        show(someone, places_of(it)["server"])
        for name in ("Settings", "Restart…", "Close…"):
            button = someone.button(name)
            button.focus()
            keyboard.press("Enter")
            dialog = someone.page.get_by_role("dialog")
            expect(dialog).to_be_visible()
            for key in ["Tab"] * 7 + ["Shift+Tab"] * 7:
                keyboard.press(key)
                assert someone.page.evaluate(
                    "document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))"
                )
            keyboard.press("Escape")
            expect(dialog).to_have_count(0)
            expect(button).to_be_focused()


def test_the_focus_is_not_lost_with_what_had_it(node: int, look: Open) -> None:
    with watched(node) as it:
        begin(it)
        someone = look(it.url)
        keyboard = someone.page.keyboard
        show(someone, places_of(it)["server"])
        someone.button("Suspend").focus()
        keyboard.press("Enter")
        expect(someone.button("Resume")).to_be_focused()
        keyboard.press("Enter")
        expect(someone.button("Suspend")).to_be_focused()
        someone.to("#/tasks")
        someone.page.get_by_role("checkbox", name=re.compile("Select says")).focus()
        keyboard.press("Space")
        someone.button("Terminate 1").focus()
        keyboard.press("Enter")
        expect(someone.page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
        keyboard.press("Tab")
        keyboard.press("Enter")
        expect(someone.row("Tasks", "says")).to_contain_text("terminated")
        expect(someone.heading("Tasks")).to_be_focused()  # the button is gone with the selection


def test_a_row_that_moves_keeps_the_focus(node: int, look: Open) -> None:
    with watched(node) as it:
        begin(it)
        someone = look(f"{it.url}#/tasks")
        link = someone.table("Tasks").get_by_role("link", name="fails")
        link.focus()
        for _ in range(3):
            someone.table("Tasks").get_by_role("columnheader", name="State").get_by_role("button").evaluate(
                "button => button.click()"
            )
            expect(link).to_be_focused()


def test_what_is_spoken_is_little(node: int, look: Open) -> None:
    """Numbers that go on by themselves are not; what a person has looked for is."""
    with watched(node) as it:
        someone = look(f"{it.url}#/tasks")
        expect(someone.connection).to_have_text("live")
        someone.page.evaluate(SPOKEN)
        begin(it)
        expect(someone.row("Tasks", "fails")).to_contain_text("failed")
        someone.to("#/")
        expect(someone.tile("Failed")).to_have_text("1")
        assert someone.page.evaluate("spoken") == []
        someone.to("#/tasks")
        someone.page.get_by_role("searchbox").fill("no such file")
        expect(someone.page.locator("#announce")).to_have_text("1 of 2 tasks shown")
        assert someone.page.evaluate("spoken") == ["1 of 2 tasks shown"]


def test_what_is_painted_is_said_in_words(node: int, look: Open) -> None:
    with watched(node) as it:
        begin(it)
        someone = look(it.url)
        places = places_of(it)
        image = someone.page.get_by_role(
            "img", name=re.compile(r"^Of 2 tasks 1 run, 0 wait, 1 are done, 1 of them failed")
        )
        expect(image).to_be_visible()
        for place, texts in (
            ("cluster", ("Running tasks: 1 now", "Tasks per second: ", "CPU in use: ")),
            ("node", ("CPU in use: ", "Memory free: ", "Running tasks: 1 now", "Timeline of 2 tasks at [12] server")),
            ("timeline", ("Timeline of 2 tasks at [12] server",)),
        ):
            show(someone, places[place])
            for text in texts:
                expect(someone.page.get_by_role("img", name=re.compile(f"^{text}"))).to_be_visible()
            assert someone.page.evaluate(UNNAMED) == 0
