"""What the browser tests share: someone who looks at the dashboard, and a client that is looked at."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

from parkcos import Client, NodeAllocate, Status, Task
from parkcos.httpd import HTTPServer
from tests.httpd.asking import Browser
from tests.live.lib import LIMIT_S, run

Gen = Generator[Any, Any, Any]
CPUS = 2
PICTURES_ASKED_FOR = os.environ.get("DASHBOARD_PICTURES")


class Looker:
    """A person with a browser of their own.

    problems: what the browser complained about: errors of scripts, violations of the Content-Security-Policy, dialogs
    that no page of ours opens, answers that are no success.
    outages: that the program does not answer is no problem, nor that its next run wants its token again.
    """

    def __init__(self, context: Any, outages: bool = False) -> None:
        self.context = context
        self.page = context.new_page()
        self.page.set_default_timeout(LIMIT_S * 1000)
        self.problems: list[str] = []
        self._outages = outages
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not (
            self._outages and re.search("net::ERR_|status of 401", message.text)
        ):
            self.problems.append(f"{message.type}: {message.text} at {message.location}")

    def _asked(self, dialog: Any) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        self.context.close()

    def to(self, place: str) -> None:
        """Go to a page by its address: "#/tasks"."""
        self.page.evaluate("place => { location.hash = place }", place)

    def heading(self, text: str | re.Pattern[str]) -> Any:
        return self.page.get_by_role("heading", level=1, name=text)

    def link(self, text: str, exact: bool = False) -> Any:
        return self.page.get_by_role("main").get_by_role("link", name=text, exact=exact)

    def button(self, text: str, exact: bool = False) -> Any:
        return self.page.get_by_role("button", name=text, exact=exact)

    def table(self, name: str) -> Any:
        return self.page.get_by_role("table", name=name, exact=True)

    def row(self, table: str, text: str) -> Any:
        return self.table(table).get_by_role("row").filter(has_text=text)

    def tile(self, label: str) -> Any:
        """The number in the totals with this label."""
        return (
            self.page.get_by_label("Totals")
            .locator(".tile")
            .filter(has=self.page.get_by_text(label, exact=True))
            .locator(".number")
        )

    def fact(self, name: str) -> Any:
        return self.page.locator(".fact").filter(has=self.page.get_by_text(name, exact=True)).locator("dd")

    @property
    def state(self) -> Any:
        """The pill beside the heading: of a node, server or task."""
        return self.page.locator(".title .pill")

    @property
    def connection(self) -> Any:
        return self.page.locator("#link-state")

    @property
    def banner(self) -> Any:
        return self.page.locator("#banners")


class Open(Protocol):
    """Opens a page in a browser of its own; script: runs before the page's own; options: of the browser's context."""

    def __call__(self, url: str, *, outages: bool = False, script: str = "", **options: Any) -> Looker: ...


class Watched:
    """A client with its dashboard."""

    def __init__(self, client: Client, http: HTTPServer) -> None:
        self.client, self.http = client, http
        self._statuses: list[Status] = []
        self._told = threading.Condition()
        self.api = Browser(http.url)
        self.closed = False

    @property
    def url(self) -> str:
        return self.http.url

    def start(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
        """A remote task that has begun."""

        def body() -> Gen:
            return (yield self.client.rtask(fn, *args, **kwargs))

        task: Task = run(body)
        return task

    def tell(self, status: Status) -> None:
        with self._told:
            self._statuses.append(status)
            self._told.notify_all()

    def told(self, kind: int) -> list[Status]:
        """What the client's status_task was told of this kind: one at least, for which it waits.

        The dashboard and that task hear of the same thing at the same time, and neither waits for the other.
        """

        def those() -> list[Status]:
            return [each for each in self._statuses if each.status == kind]

        with self._told:
            assert self._told.wait_for(those, LIMIT_S), self._statuses
            return those()

    def close(self) -> None:
        def body() -> Gen:
            yield self.client.close(terminate=True)

        if not self.closed:
            self.closed = True
            run(body)


def end_of(task: Task) -> Any:
    """What its finish() gives."""

    def body() -> Gen:
        return (yield task.finish())

    return run(body)


@contextlib.contextmanager
def watched(
    *ports: int, components: Any = (), poll_sec: float = 0.5, view_token: str | None = None, **options: Any
) -> Iterator[Watched]:
    """A client of the nodes at these ports, and its dashboard.  options: of the client."""

    def listen(task: Any = None) -> Gen:
        task.set_daemon()
        while True:
            message = yield task.receive()
            if isinstance(message, Status):
                it.tell(message)

    listener = Task(listen)
    nodes = [NodeAllocate("127.0.0.1", port) for port in ports]
    client = Client(components, nodes=nodes, status_task=listener, pulse_interval=0.5, **options)
    http = HTTPServer(client, "127.0.0.1", 0, poll_sec=poll_sec, view_token=view_token)
    it = Watched(client, http)
    try:

        def body() -> Gen:
            assert (yield client.schedule(timeout=LIMIT_S)) == 0

        run(body)
        deadline = time.monotonic() + LIMIT_S
        while sum(server["state"] == "running" for server in it.api.get("/api/state")["servers"]) < CPUS * len(ports):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield it
    finally:
        it.close()
        http.shutdown(wait=False)
        listener.terminate()
