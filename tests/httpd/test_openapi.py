"""The dashboard's OpenAPI document: it has all that programs can ask, and they are answered as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from parkcos.client import dispatch_events as d
from parkcos.httpd.site import Site
from parkcos.net.iothread import IOThread
from parkcos.web import attempts
from parkcos.web.site import SiteOptions
from tests.httpd.asking import LIMIT_S, Browser
from tests.httpd.test_security import ROUTES
from tests.httpd.watched import N, Watched, watching

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install schemathesis")

pytestmark = pytest.mark.live

VIEW_TOKEN = "who has it may look only"
FOR_PAGES = {"/", "/login", "/logout", "/session", "/static/{path}", "/healthz"}
"""Routes that are no program's affair, or say it all by their status."""
STREAM = "GET /api/stream"
"""Which does not end."""
OPERATIONS = [
    "GET /api/state",
    "GET /cluster_status",
    "GET /api/nodes/{id}",
    "GET /api/servers/{id}",
    "GET /api/tasks",
    "GET /api/tasks/{id}",
    "POST /api/servers/{id}/{what}",
    "POST /api/nodes/{id}/{what}",
    "POST /api/tasks/terminate",
    "POST /api/settings",
    "GET /metrics",
]
EXAMPLES = 12
IDS = {"nodes": f"{N:x}", "servers": f"{N + 1:x}", "tasks": "1"}
"""Some that there are."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A dashboard with a node, servers and tasks; what is ordered nobody does."""
    io = IOThread()
    io.start()
    with watching() as make, pytest.MonkeyPatch.context() as patched:
        patched.setattr(attempts, "WRONG_MAX", 10**6)  # schemathesis tries without a token, and with wrong ones
        it: Watched = make(2)
        for number in range(1, 4):
            it.submit(number, number, "text")
        it.happens(d.Started(1, 0, 1))
        it.board.model.poll_s = 600.0
        site = Site(io, it.board, SiteOptions(port=0, view_token=VIEW_TOKEN), it.actions, it.watch.show_args)
        try:
            yield Browser(site.url)
        finally:
            io.run(site.close(0.0)).result(LIMIT_S)
            io.close()


@pytest.fixture(scope="module")
def document(browser: Browser) -> dict[str, Any]:
    found: dict[str, Any] = browser.get("/api/openapi.json")
    return found


def test_it_has_all_routes_for_programs(document: dict[str, Any]) -> None:
    written = {re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route) for _, route in ROUTES if route}
    assert set(document["paths"]) == written - FOR_PAGES
    described = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert described == {*OPERATIONS, STREAM}


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_it_says_is_so(browser: Browser, document: dict[str, Any], name: str, mode: str) -> None:
    """Status, type and content of each answer; an error of the program never; the tokens that are asked for."""
    schema = schemathesis.openapi.from_dict(document)
    method, _, path = name.partition(" ")
    operation = schema[path][method]
    asked: list[int] = []

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def ask(case: schemathesis.Case) -> None:
        if len(asked) % 2 and mode == "positive" and "id" in case.path_parameters:
            case.path_parameters["id"] = IDS[path.split("/")[2]]
        base = f"http://{browser.host}"
        response = case.call(base_url=base, headers={"Authorization": f"Bearer {browser.token}"}, timeout=LIMIT_S)
        asked.append(response.status_code)
        case.validate_response(response)

    ask()
    assert asked
    if mode == "positive":
        assert 200 in asked, asked
    answer = Browser(browser.url, bearer=False).ask(method, path.replace("{id}", "1").replace("{what}", "close"))
    assert answer.status == (401 if method == "GET" else 403)


def test_after_all_that_it_serves_as_before(browser: Browser) -> None:
    state = browser.get("/api/state")
    assert len(state["tasks"]) == 3
    assert json.dumps(state)
