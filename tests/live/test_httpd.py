"""The dashboard against a real node: what it shows is so, what it is told is done.  Chapter 6.8 to 6.10."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import ssl
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import parkcos
from parkcos import (
    Client,
    Location,
    MonitorStatus,
    NodeAllocate,
    NodeAvailInfo,
    Parkcos,
    Scheduler,
    Status,
    Task,
    TaskAbandoned,
    TaskTerminated,
    UsageError,
)
from parkcos.httpd import HTTPServer
from parkcos.net.trust.certificates import make_certificate
from tests.conftest import no_leaks
from tests.httpd.asking import Browser, Viewer
from tests.live.lib import LIMIT_S, SECRET, Ports, run

pytestmark = pytest.mark.live

Gen = Generator[Any, Any, Any]
CPUS = 2
XSS = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def node(shared_pids: set[int]) -> Iterator[int]:
    """A node with two servers for the tests of this module, its port; the clients are in this process."""
    with no_leaks("the node of this module", set()):
        ports = Ports()
        program, port = ports.node(CPUS, "--min_pulse_interval", "0.2", "-n", "kiln")
        with program:
            shared_pids.add(program.pid)
            Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False)
            with served(port):
                pass
            yield port
            Parkcos.instance().terminate()


class Served:
    """A client with its dashboard, and a program that looks at it."""

    def __init__(self, client: Client, http: HTTPServer) -> None:
        self.client, self.http = client, http
        self.browser = Browser(http.url)

    def start(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
        """A remote task that has begun."""

        def body() -> Gen:
            return (yield self.client.rtask(fn, *args, **kwargs))

        task: Task = run(body)
        return task

    def start_both(self, fn: Callable[..., Any]) -> tuple[Task, Task]:
        """An I/O task that stays, and at the same server a CPU task."""

        def body() -> Gen:
            one = yield self.client.io_rtask(stays)
            return one, (yield self.client.rtask_at(one.location, fn))

        both: tuple[Task, Task] = run(body)
        return both

    def result(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What finish() of a remote task gives."""
        return end_of(self.start(fn, *args, **kwargs))

    def until(self, true: Callable[[dict[str, Any]], Any]) -> Any:
        """Ask until the state is such."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := true(state := self.browser.get("/api/state"))):
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return found

    def close(self) -> None:
        def body() -> Gen:
            yield self.client.close(terminate=True)

        run(body)


def end_of(task: Task) -> Any:
    def body() -> Gen:
        return (yield task.finish())

    return run(body)


def schedule(client: Client) -> None:
    def body() -> Gen:
        assert (yield client.schedule(timeout=LIMIT_S)) == 0

    run(body)


@contextlib.contextmanager
def served(port: int, http_first: bool = True, **options: Any) -> Iterator[Served]:
    """options: of the client, and with a leading `http_` of the server."""
    http_options = {name.removeprefix("http_"): options.pop(name) for name in list(options) if name.startswith("http_")}
    client = Client(nodes=[NodeAllocate("127.0.0.1", port)], **options)
    if not http_first:
        schedule(client)
    http = HTTPServer(client, "127.0.0.1", 0, **{"poll_sec": 0.5, **http_options})
    thing = Served(client, http)
    try:
        if http_first:
            schedule(client)
        thing.until(lambda state: sum(server["state"] == "running" for server in state["servers"]) == CPUS)
        yield thing
    finally:
        thing.close()
        http.shutdown()


def tasks_of(state: dict[str, Any], *states: str) -> list[dict[str, Any]]:
    return [task for task in state["tasks"] if task["state"] in states]


# What runs there


def double(x: Any, **more: Any) -> Gen:
    yield
    return 2 * x


def fails(text: str) -> Gen:
    yield
    raise ValueError(text)


def waits(to: Any, *args: Any, task: Any = None) -> Gen:
    to.send("begun")
    return (yield task.receive())


def stays(*args: Any, task: Any = None) -> Gen:
    return (yield task.receive())


def computes() -> Gen:
    while True:
        pass
    yield


def heeds_nothing() -> Gen:
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                pass
    yield


def in_c() -> Gen:
    while True:
        ctypes.PyDLL(None).sleep(1000)  # holds the interpreter
    yield


def says(text: str, task: Any = None) -> Gen:
    print(text, flush=True)
    return (yield task.receive())


def echoes(task: Any = None) -> Gen:
    while (text := (yield task.receive())) is not None:
        print(text, flush=True)


class Hostile:
    """Travels well, and cannot be shown."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __repr__(self) -> str:
        if self.how == "raises":
            raise RuntimeError(XSS)
        if self.how == "exits":
            raise SystemExit
        return XSS + "x" * 1_000_000

    __str__ = __repr__


def gives(how: str) -> Gen:
    yield
    return Hostile(how)


# -- what it shows


def test_the_numbers_are_the_clusters(node: int) -> None:
    with served(node, pulse_interval=0.5) as it:
        assert [it.result(double, n, name="x") for n in range(4)] == [0, 2, 4, 6]
        assert isinstance(it.result(fails, XSS), MonitorStatus)
        running = it.start(stays, 7)
        state = it.until(lambda state: state["totals"]["done"] == 5 and state)
        assert state["totals"] == {"submitted": 6, "running": 1, "done": 5, "failed": 1, "left_out": 0}
        assert (state["kind"], state["state"], state["name"]) == ("client", "running", it.client.name)
        (shown,) = state["nodes"]
        assert (shown["name"], shown["addr"], shown["port"], shown["state"]) == ("kiln", "127.0.0.1", node, "running")
        assert (shown["cpus"], shown["servers"], shown["submitted"], shown["done"]) == (CPUS, CPUS, 6, 5)
        assert (shown["failed"], shown["running"]) == (1, 1)
        assert sorted(server["name"] for server in state["servers"]) == ["kiln/1", "kiln/2"]
        assert {server["port"] for server in state["servers"]} == {at.port for at in run(servers, it.client)}
        assert sum(server["submitted"] for server in state["servers"]) == 6
        (task,) = tasks_of(state, "running")
        assert (task["name"], task["args"], task["node"], task["ended"]) == ("stays", "7", shown["id"], 0)
        at = next(server for server in state["servers"] if server["id"] == task["server"])
        assert running.location == Location("127.0.0.1", at["port"])
        assert at["running"] == 1
        assert task["submitted"] <= task["started"] <= state["time"]
        (failed,) = tasks_of(state, "failed")
        assert failed["error"] == f"ValueError: {XSS}"
        assert [task["args"] for task in tasks_of(state, "finished")] == [f"{n}, name='x'" for n in range(4)]
        detail = it.browser.get(f"/api/tasks/{failed['id']}")
        assert "in fails" in detail["traceback"]
        assert detail["args"] == f"'{XSS}'"
        finished = tasks_of(state, "finished")[1]
        assert it.browser.get(f"/api/tasks/{finished['id']}")["result"] == "2"
        loaded = it.until(lambda state: state["nodes"][0]["cpu"] is not None and state["nodes"][0])
        assert 0 <= loaded["cpu"] <= 100
        assert loaded["memory"] > 0 < loaded["disk"]
        assert abs(loaded["pulse"] - time.time()) < 60
        assert it.browser.get(f"/api/nodes/{shown['id']}")["history"]
        it.until(lambda state: state["history"] and state["history"][-1][1] == 1)


def servers(client: Client) -> Gen:
    return (yield client.servers())


def test_tasks_can_be_asked_for(node: int) -> None:
    with served(node) as it:
        for n in range(3):
            it.result(double, n)
        it.result(fails, "no")
        it.until(lambda state: state["totals"]["done"] == 4)
        assert [task["id"] for task in it.browser.get("/api/tasks?limit=2&offset=1")["tasks"]] == [3, 2]
        assert it.browser.get("/api/tasks?state=failed,lost")["total"] == 1
        assert it.browser.get("/api/tasks?name=DOUB")["total"] == 3
        every = it.browser.get("/api/state")["servers"]
        assert sum(it.browser.get(f"/api/tasks?server={server['id']}")["total"] for server in every) == 4


def test_objects_that_cannot_be_shown(node: int) -> None:
    with served(node) as it:
        for how in ("raises", "exits", "long"):
            it.result(double, 1, bad=Hostile(how), more=[Hostile(how)])
            it.result(gives, how)
        state = it.until(lambda s: len([t for t in s["tasks"] if t["args"]]) == 6 and s["totals"]["done"] == 6 and s)
        bad = [task for task in state["tasks"] if task["name"] == "double"]
        cannot = "<Hostile, which cannot be shown: {}>"
        for task, error in zip(bad[:2], ("RuntimeError", "SystemExit"), strict=True):
            assert task["args"] == f"1, bad={cannot.format(error)}, more=[{cannot.format(error)}]"
        assert bad[2]["args"].startswith(f"1, bad={XSS}xxx")
        assert len(bad[2]["args"]) == 200
        assert len(it.browser.get(f"/api/tasks/{bad[2]['id']}")["args"]) == 10_000

        def results() -> list[str | None]:
            ids = [task["id"] for task in state["tasks"] if task["name"] == "gives"]
            return [it.browser.get(f"/api/tasks/{number}")["result"] for number in ids]

        it.until(lambda _: None not in results())
        assert results()[:2] == [cannot.format("RuntimeError"), cannot.format("SystemExit")]


def test_arguments_are_hidden_and_shown(node: int) -> None:
    with served(node, http_show_task_args=False) as it:
        one, other = it.start(stays, "secret"), it.start(stays, Hostile("raises"))
        state = it.until(lambda state: state["totals"]["running"] == 2 and state)
        assert [task["args"] for task in state["tasks"]] == [None, None]
        assert it.browser.get(f"/api/tasks/{state['tasks'][0]['id']}")["args"] is None
        with Viewer(it.browser) as viewer:
            it.browser.post("/api/settings", {"show_args": True, "poll_s": 600})
            viewer.until(lambda state: all(task["args"] for task in state["tasks"]))
            assert viewer.state["tasks"][0]["args"] == "'secret'"
            assert viewer.state["settings"] == {"poll_s": 600, "show_args": True}
            it.browser.post("/api/settings", {"show_args": False})
            viewer.until(lambda state: not any(task["args"] for task in state["tasks"]))
        for task in (one, other):
            task.send(None)


def test_what_tasks_print(node: int, capfd: pytest.CaptureFixture[str]) -> None:
    with served(node) as it:
        task = it.start(says, XSS)
        where = it.until(lambda state: tasks_of(state, "running") and tasks_of(state, "running")[0]["server"])
        it.until(lambda _: XSS in it.browser.get(f"/api/servers/{where}")["output"])
        task.send(None)
    assert XSS not in capfd.readouterr().out


def test_what_tasks_print_is_known_from_when_it_is_made(node: int, capfd: pytest.CaptureFixture[str]) -> None:
    client = Client(nodes=[NodeAllocate("127.0.0.1", node)])
    schedule(client)
    run(lambda: (yield (yield client.rtask(double, 1)).result()))  # the node has been set up, and nothing runs
    with contextlib.ExitStack() as stack:
        http = HTTPServer(client, "127.0.0.1", 0)
        stack.callback(http.shutdown)
        it = Served(client, http)
        stack.callback(it.close)
        task = it.start(echoes)
        state = it.until(lambda state: tasks_of(state, "running") and state)
        (shown,) = tasks_of(state, "running")
        where = f"/api/servers/{shown['server']}"
        it.until(lambda _: task.send(XSS) == 0 and XSS in it.browser.get(where)["output"])  # the node hears it soon
        for at in (f"servers/{shown['server']}", f"nodes/{shown['node']}"):
            assert "before this dashboard" in it.browser.get(f"/api/{at}")["output"][0]
        it.browser.post(f"/api/servers/{shown['server']}/restart")
        task.send(None)
        state = it.until(lambda state: len(state["servers"]) == CPUS + 1 and state)
        assert it.browser.get(f"/api/servers/{state['servers'][-1]['id']}")["output"] == []
    assert XSS not in capfd.readouterr().out


def test_what_tasks_print_at_a_local_cluster_that_was_there_before(ports: Ports, tmp_path: Path) -> None:
    source = (
        "def says():\n"
        "    print('hello from a task', flush=True)\n"
        "    yield\n"
        "def main(task=None):\n"
        "    client = Client()\n"
        "    yield client.schedule()\n"
        "    yield (yield client.rtask(says)).finish()\n"
        "    http = HTTPServer(client, '127.0.0.1', 0)\n"
        "    yield (yield client.rtask(says)).finish()\n"
        "    board = http._board\n"
        "    print('kept', [line for lines in board.model.output.values() for line in lines])\n"
        "    yield client.close()\n"
        "from parkcos.httpd import HTTPServer\n"
        "with LocalCluster(1):\n"
        "    Task(main).value()\n"
    )
    with ports.client(tmp_path, source, "client.py") as program:
        kept = program.wait_for("kept (.*)")[1]
        assert "it prints where the program does" in kept
        assert "hello" not in kept
        assert program.wait() == 0
    assert program.text.count("hello from a task") == 2


# -- what it is told to do


def test_a_task_is_terminated(node: int) -> None:
    with served(node) as it:
        task = it.start(stays)
        number = it.until(lambda state: tasks_of(state, "running"))[0]["id"]
        with Viewer(it.browser) as viewer:
            viewer.next()
            it.browser.post("/api/settings", {"poll_s": 600})
            assert it.browser.post("/api/tasks/terminate", {"tasks": [number, 999]}) == {"ok": True, "missed": [999]}
            status = end_of(task)
            assert (status.type, status.info) == (TaskTerminated, task)
            viewer.until(lambda state: tasks_of(state, "terminated"))  # long before the next poll
        assert "have ended" in it.browser.post("/api/tasks/terminate", {"tasks": [number]}, 409)["error"]


@pytest.mark.parametrize("fn", [computes, heeds_nothing, in_c])
def test_a_task_that_computes_is_terminated(node: int, fn: Any) -> None:
    """Where it is, as one over its time limit: interrupted, and, if it heeds that not, ended with its server."""
    with served(node) as it:
        other, task = it.start_both(fn)
        _, shown = it.until(lambda state: len(tasks_of(state, "running")) == 2 and tasks_of(state, "running"))
        it.browser.post("/api/tasks/terminate", {"tasks": [shown["id"]]})
        end = end_of(task)
        assert end.type in ((TaskTerminated,) if fn is not in_c else (TaskAbandoned, TaskTerminated))
        state = it.until(lambda state: tasks_of(state, "terminated") and state)
        assert state["totals"]["failed"] == 0 or fn is not computes
        if fn is computes:
            assert other.is_alive()
            other.send("and goes on")
            assert end_of(other) == "and goes on"
            assert [server["state"] for server in state["servers"]] == ["running"] * CPUS
        assert [it.result(double, n) for n in range(4)] == [0, 2, 4, 6]
        it.until(lambda state: sum(server["state"] == "running" for server in state["servers"]) == CPUS)


def test_a_task_that_waits_is_withdrawn(node: int) -> None:
    with served(node) as it:
        both = [it.start(stays) for _ in range(CPUS)]

        def third() -> Gen:
            try:
                yield it.client.rtask(double, 1)
            except parkcos.TaskAbandoned as error:
                return str(error)

        waiting = Task(third)
        number = it.until(lambda state: tasks_of(state, "queued"))[0]["id"]
        it.browser.post("/api/tasks/terminate", {"tasks": [number]})
        assert end_of(waiting) == "double: it was terminated from the dashboard"
        it.until(lambda state: tasks_of(state, "cancelled"))
        for task in both:
            task.send(None)


def test_a_server_is_suspended_and_restarted(node: int) -> None:
    with served(node) as it:
        first, second = (server["id"] for server in it.browser.get("/api/state")["servers"])
        it.browser.post(f"/api/servers/{first}/suspend")
        it.until(lambda state: {s["id"]: s["state"] for s in state["servers"]}[first] == "suspended")
        for _ in range(4):
            it.result(double, 1)
        state = it.until(lambda state: state["totals"]["done"] == 4 and state)
        assert {server["id"]: server["done"] for server in state["servers"]} == {first: 0, second: 4}
        it.browser.post(f"/api/servers/{first}/resume")
        it.until(lambda state: {s["id"]: s["state"] for s in state["servers"]}[first] == "running")
        it.browser.post(f"/api/servers/{first}/restart", {"terminate": True})
        state = it.until(
            lambda state: (
                sum(s["state"] == "running" for s in state["servers"]) == 2 and len(state["servers"]) == 3 and state
            )
        )
        assert {s["id"]: s["state"] for s in state["servers"]}[first] == "closed"
        assert state["nodes"][0]["servers"] == 2
        answer = it.browser.post(f"/api/servers/{first}/suspend", status=409)
        assert "has ended" in answer["error"]


@pytest.mark.parametrize("by", ["page", "client", "node", "end"])
def test_tasks_that_end_with_what_was_closed_have_not_failed(node: int, by: str) -> None:
    with served(node) as it:
        tasks = [*it.start_both(computes), it.start(stays)]
        state = it.until(lambda state: len(tasks_of(state, "running")) == 3 and state)
        if by == "page":
            for server in state["servers"]:
                it.browser.post(f"/api/servers/{server['id']}/restart", {"terminate": True})
        elif by == "client":
            for task in tasks[1:]:
                it.client.close_server(task.location, terminate=True)
        elif by == "node":
            it.browser.post(f"/api/nodes/{state['nodes'][0]['id']}/restart", {"terminate": True})
        else:
            it.close()
        ends = [end_of(task) for task in tasks]
        assert {end.type for end in ends} <= {KeyboardInterrupt, TaskTerminated}
        state = it.until(lambda state: state["totals"]["done"] == 3 and state)
        assert len(tasks_of(state, "terminated")) == 3
        assert state["totals"]["failed"] == 0
        assert not any(each["failed"] for each in (*state["nodes"], *state["servers"]))


def test_tasks_of_a_server_that_hangs_and_is_restarted(node: int) -> None:
    """It is killed; what runs there is lost with it, and what waits for it never begins: nobody's failure."""
    with served(node) as it:
        task = it.start(in_c)

        def bound() -> Gen:
            try:
                yield it.client.rtask_at(task.location, double, 1)
            except TaskAbandoned:
                return "abandoned"

        waits_for_it = Task(bound)
        it.until(lambda state: tasks_of(state, "queued"))
        (shown,) = tasks_of(it.browser.get("/api/state"), "running")
        it.browser.post(f"/api/servers/{shown['server']}/restart", {"terminate": True})
        assert waits_for_it.value(LIMIT_S) == "abandoned"
        end_of(task)
        state = it.until(lambda state: state["totals"]["done"] == 2 and state)
        assert [task["state"] for task in state["tasks"]] == ["terminated", "cancelled"]
        assert state["totals"]["failed"] == 0


def test_a_node_is_suspended_restarted_and_closed(node: int) -> None:
    with served(node) as it:
        number = it.browser.get("/api/state")["nodes"][0]["id"]
        it.browser.post(f"/api/nodes/{number}/suspend")
        state = it.until(lambda state: state["nodes"][0]["state"] == "suspended" and state)
        assert {server["state"] for server in state["servers"]} == {"suspended"}
        it.browser.post(f"/api/nodes/{number}/resume")
        state = it.until(lambda state: state["nodes"][0]["state"] == "running" and state)
        assert {server["state"] for server in state["servers"]} == {"running"}
        it.browser.post(f"/api/nodes/{number}/restart", {"terminate": True})
        state = it.until(
            lambda s: len(s["servers"]) == 4 and sum(x["state"] == "running" for x in s["servers"]) == 2 and s
        )
        assert state["nodes"][0]["state"] == "running"
        assert it.result(double, 4) == 8
        it.browser.post(f"/api/nodes/{number}/close")
        state = it.until(lambda state: state["nodes"][0]["state"] == "closed" and state)
        assert {server["state"] for server in state["servers"]} == {"closed"}
        assert state["nodes"][0]["servers"] == 0
        assert run(nodes, it.client) == []
        assert "not in use" in it.browser.post(f"/api/nodes/{number}/close", status=409)["error"]


def nodes(client: Client) -> Gen:
    return (yield client.nodes())


# -- viewers


def test_two_viewers_agree_and_one_comes_back(node: int) -> None:
    with served(node) as it, Viewer(it.browser) as one:
        one.next()
        it.result(double, 1)
        one.until(lambda state: state["totals"]["done"] == 1)
        with Viewer(it.browser) as two:
            it.result(fails, "no")
            for viewer in (one, two):
                viewer.until(lambda state: state["totals"]["done"] == 2)
            while one.state["revision"] != two.state["revision"]:
                min(one, two, key=lambda viewer: viewer.state["revision"]).next()
            assert one.shown() == two.shown()
            assert one.names[0] == two.names[0] == "state"
            assert set(one.names[1:]) == {"changes"}
            kept = two.shown()
        it.result(double, 2)
        it.until(lambda state: state["totals"]["done"] == 3)
        with Viewer(it.browser, two.last_event_id) as again:
            again.state = kept
            name, changes = again.next()
            assert name == "changes"
            assert [task["id"] for task in changes["tasks"]] == [3]
            one.until(lambda state: state["totals"]["done"] == 3)
            while one.state["revision"] != again.state["revision"]:
                min(one, again, key=lambda viewer: viewer.state["revision"]).next()
            assert one.shown() == again.shown()
        for unknown in ("other:1", f"{two.last_event_id}0000", "x", f"{two.last_event_id.partition(':')[0]}:-1", ":"):
            with Viewer(it.browser, unknown) as stranger:
                assert stranger.next()[0] == "state"


def test_nothing_is_a_sign_of_life(node: int) -> None:
    with served(node, pulse_interval=50) as it, Viewer(it.browser) as viewer:
        viewer.next()
        for _ in range(2):
            name, changes = viewer.next()
            assert name == "changes"
        assert changes["tasks"] == changes["gone"]["tasks"] == []
        assert len(changes["history"]) == 1
        assert changes["clients"] is None


def test_after_the_client_has_closed_the_last_state_stays(node: int) -> None:
    with served(node, http_poll_sec=600) as it:
        assert it.result(double, 1) == 2
        with Viewer(it.browser) as viewer:
            viewer.next()
            it.close()
            viewer.until(lambda state: state["state"] == "closed")  # long before the next poll
            assert {node["state"] for node in viewer.state["nodes"]} == {"closed"}
            assert {server["state"] for server in viewer.state["servers"]} == {"closed"}
        state = it.browser.get("/api/state")
        assert (state["state"], state["totals"]["done"]) == ("closed", 1)
        error = it.browser.post(f"/api/nodes/{state['nodes'][0]['id']}/suspend", status=409)["error"]
        assert "closed" in error


def test_shutdown_brings_the_last_changes(node: int) -> None:
    with served(node, http_poll_sec=600) as it, Viewer(it.browser) as viewer:
        viewer.next()
        it.result(double, 1)
        it.http.shutdown()
        it.http.shutdown()
        with pytest.raises(EOFError):
            viewer.until(lambda state: False)
        assert viewer.state["totals"]["done"] == 1
        with pytest.raises(ConnectionRefusedError):
            it.browser.ask("GET", "/healthz")
        assert it.result(double, 2) == 4  # the client goes on


# -- how it is made


def test_made_after_the_client_was_scheduled(node: int) -> None:
    with served(node, http_first=False) as it:
        assert it.result(double, 1) == 2
        it.http.shutdown()
        assert it.client.status_task is None
        task = it.start(stays, 5)
        late = HTTPServer(it.client, "127.0.0.1", 0)
        try:
            state = Browser(late.url).get("/api/state")
            assert state["state"] == "running"
            assert [(each["name"], each["state"], each["args"]) for each in state["tasks"]] == [
                ("stays", "running", "5")
            ]
            assert sorted(each["name"] for each in state["servers"]) == ["kiln/1", "kiln/2"]
            assert state["nodes"][0]["running"] == 1
            task.send(None)
            end_of(task)
            browser = Browser(late.url)
            deadline = time.monotonic() + LIMIT_S
            while browser.get("/api/state")["totals"]["done"] != 1:
                assert time.monotonic() < deadline
        finally:
            late.shutdown()


@pytest.mark.parametrize("http_first", [True, False])
def test_the_status_task_is_told_everything_too(node: int, http_first: bool) -> None:
    told: list[Any] = []

    def keep(task: Any = None) -> Gen:
        task.set_daemon()
        while True:
            told.append((yield task.receive()))

    own = Task(keep)
    with served(node, http_first=http_first, status_task=own) as it:
        assert it.client.status_task is it.http.status_task is not own
        assert it.result(double, 1) == 2
        it.http.status_task.send("a message of the program")
        it.until(lambda _: "a message of the program" in told)
    own.terminate()
    statuses = [message.status for message in told if isinstance(message, Status)]
    assert Scheduler.TaskStarted in statuses
    assert Scheduler.ClientClosed in statuses
    assert (Scheduler.NodeInitialized in statuses) or not http_first
    assert [message.value for message in told if isinstance(message, MonitorStatus)] == [2]
    assert it.client.status_task is own


def test_a_status_task_of_the_program_may_send_them_on(node: int) -> None:
    """As programs for dispycos do: in a circle, even."""
    told: list[Any] = []
    http: list[HTTPServer] = []

    def both_ways(task: Any = None) -> Gen:
        task.set_daemon()
        while True:
            message = yield task.receive()
            told.append(message)
            if http:
                http[0].status_task.send(message)

    own = Task(both_ways)
    with served(node, status_task=own) as it:
        http.append(it.http)
        for n in range(3):
            it.result(double, n)
        it.until(lambda _: len([message for message in told if isinstance(message, MonitorStatus)]) >= 3)
        assert it.result(double, 5) == 10
        it.client.status_task = own  # the other way of 6.8: the program gives them to the server
        assert it.result(double, 6) == 12
        assert it.until(lambda state: state["totals"]["done"] == 5)
    own.terminate()
    assert len([message for message in told if isinstance(message, MonitorStatus)]) <= 6


def large() -> Gen:
    yield
    return Large()


class Large:
    """What a result may be."""


def test_what_was_passed_on_is_not_kept(node: int) -> None:
    seen: list[weakref.ref[Any]] = []

    def look(task: Any = None) -> Gen:
        task.set_daemon()
        while True:
            message = yield task.receive()
            if isinstance(message, MonitorStatus):
                seen.append(weakref.ref(message.value))
            del message

    own = Task(look)
    with served(node, status_task=own) as it:
        it.result(large)
        it.until(lambda _: seen)
        it.until(lambda _: gc.collect() >= 0 and seen[0]() is None)
    own.terminate()


def test_one_dashboard_for_a_client(node: int) -> None:
    with served(node) as it:
        with pytest.raises(UsageError, match="already"):
            HTTPServer(it.client, "127.0.0.1", 0)
        with pytest.raises(UsageError, match="wants a Client"):
            HTTPServer("client")  # type: ignore[arg-type]


def test_in_a_task(node: int) -> None:
    """Made and shut down in the kernel thread, which never stands still."""

    def body() -> Gen:
        client = Client(nodes=[NodeAllocate("127.0.0.1", node)])
        http = HTTPServer(client, "127.0.0.1", 0)
        assert (yield client.schedule(timeout=LIMIT_S)) == 0
        value = yield (yield client.rtask(double, 4)).finish()
        yield client.close()
        ending = http.shutdown()
        assert ending is not None
        yield ending.result()
        assert http.shutdown() is None
        return value, http.url

    value, url = run(body)
    assert value == 8
    with pytest.raises(ConnectionRefusedError):
        Browser(url).ask("GET", "/healthz")


def test_https(node: int, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path / "keys", 30, "dashboard")
    together = tmp_path / "both.pem"
    together.write_bytes(certificate.read_bytes() + key.read_bytes())
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    for options in ({"http_certfile": certificate, "http_keyfile": key}, {"http_certfile": str(together)}):
        client = Client()
        http = HTTPServer(client, "127.0.0.1", 0, **{name.removeprefix("http_"): v for name, v in options.items()})
        try:
            assert http.url.startswith("https://127.0.0.1:")
            browser = Browser(http.url, context=context)
            assert browser.get("/api/state")["state"] == "new"
            answer = browser.ask("GET", f"/?token={browser.token}", {"Authorization": ""})
            assert "Secure" in answer.headers["Set-Cookie"]
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
            stranger = Browser(http.url, bearer=False, context=context)
            for origin, status in ((browser.origin, 200), (browser.origin.replace("https", "http"), 403)):
                answer = stranger.ask("POST", "/api/settings", {"Cookie": cookie, "Origin": origin}, {"poll_s": 5})
                assert answer.status == status
            with Viewer(browser) as viewer:
                assert viewer.next()[0] == "state"
        finally:
            http.shutdown()


def test_metrics_and_health(node: int) -> None:
    with served(node) as it:
        it.result(double, 1)
        it.result(fails, "no")
        it.until(lambda state: state["totals"]["done"] == 2)
        answer = it.browser.ask("GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        lines = answer.body.decode().splitlines()
        for line in (
            "parkcos_tasks_submitted_total 2.0",
            "parkcos_tasks_failed_total 1.0",
            "parkcos_tasks_running 0.0",
            'parkcos_nodes{state="running"} 1.0',
            'parkcos_servers{state="running"} 2.0',
        ):
            assert line in lines
        assert any(line.startswith("parkcos_node_memory{") and 'name="kiln"' in line for line in lines)
        assert it.browser.ask("GET", "/healthz").body == b"ok"


# -- programs


def test_a_program_that_never_shuts_it_down_ends(node: int, tmp_path: Path) -> None:
    source = (
        "from parkcos.httpd import HTTPServer\n"
        "def work():\n    yield\n    return 5\n"
        "def main():\n"
        f"    client = Client(nodes=[NodeAllocate('127.0.0.1', {node})])\n"
        "    HTTPServer(client, '127.0.0.1', 0)\n"
        "    yield client.schedule()\n"
        "    print((yield (yield client.rtask(work)).finish()))\n"
        "    yield client.close()\n"
        "if __name__ == '__main__':\n    Task(main)\n"
    )
    with Ports().client(tmp_path, source) as program:
        assert program.wait() == 0, program.text
        assert "5" in program.lines
        assert "Traceback" not in program.text
        program.wait_for(r"dashboard of client\.py: http://127\.0\.0\.1:\d+/\?token=\S{43}")


def test_a_shared_scheduler_shows_its_queue(ports: Ports, stack: contextlib.ExitStack, tmp_path: Path) -> None:
    scheduler, scheduler_port = ports.scheduler("--httpd", "--httpd_port", "0")
    stack.enter_context(scheduler)
    url = scheduler.wait_for(r"the dashboard of \S+: (http://\S+)")[1]
    assert url.startswith("http://127.0.0.1:"), "it listens where the scheduler does: -i 127.0.0.1"
    assert {c.laddr.ip for c in psutil.Process(scheduler.pid).net_connections("tcp") if c.status == "LISTEN"} == {
        "127.0.0.1"
    }
    browser = Browser(url)
    with Viewer(browser) as viewer:
        viewer.next()
        assert (viewer.state["kind"], viewer.state["state"], viewer.state["clients"]) == ("scheduler", "running", [])
        program, _ = ports.node(1, "-n", "kiln")
        stack.enter_context(program)
        viewer.until(lambda state: [node["state"] for node in state["nodes"]] == ["discovered"])
        source = (
            "from parkcos.httpd import HTTPServer\n"
            "def main(task=None):\n"
            f"    client = Client(name=sys.argv[0][-6:])\n"
            "    HTTPServer(client, '127.0.0.1', 0)\n"
            f"    yield client.schedule(Location('127.0.0.1', {scheduler_port}))\n"
            "    print('scheduled')\n"
            "    yield task.receive()\n"
            "Task(main)\n"
        )
        first = stack.enter_context(ports.client(tmp_path, source, "one.py"))
        viewer.until(lambda state: state["nodes"][0]["client"] == "one.py")
        assert viewer.state["nodes"][0]["state"] == "running"
        second = stack.enter_context(ports.client(tmp_path, source, "two.py"))
        queue = viewer.until(lambda state: len(state["clients"]) == 2 and state["clients"])
        assert [(c["name"], c["position"], c["state"]) for c in queue] == [
            ("one.py", 1, "running"),
            ("two.py", 2, "waiting"),
        ]
        assert second.wait_for(r"waits for its turn: it is number (\d) in the queue")[1] == "2"
        own = Browser(second.wait_for(r"the dashboard of \S+: (http://\S+)")[1]).get("/api/state")
        assert [(c["name"], c["position"], c["state"]) for c in own["clients"]] == [("two.py", 2, "waiting")]
        assert own["reason"] == "it is number 2 in the queue"
        number = viewer.state["nodes"][0]["id"]
        assert "obeys the client" in browser.post(f"/api/nodes/{number}/close", status=409)["error"]
        assert "client" in browser.post("/api/tasks/terminate", {"tasks": [1]}, status=409)["error"]
        first.process.kill()
        viewer.until(lambda state: [c["name"] for c in state["clients"]] == ["two.py"])
        second.process.kill()
        viewer.until(lambda state: not state["clients"])
    assert scheduler.end() == 0
    assert "Traceback" not in scheduler.text


def test_options_of_the_scheduler(ports: Ports, node: int) -> None:
    with Ports().scheduler("--httpd_port", "8181")[0] as program:
        assert program.wait() == 1
        assert "--httpd_port goes with --httpd" in program.text
    http = HTTPServer(Client(), "127.0.0.1", 0)
    try:
        taken = str(Browser(http.url).port)
        with ports.scheduler("--httpd", "--httpd_host", "127.0.0.1", "--httpd_port", taken)[0] as program:
            assert program.wait() == 1
            assert "another program does" in program.text
            assert "Traceback" not in program.text
    finally:
        http.shutdown()


def test_a_fault_of_the_dashboard_does_not_harm_the_client(
    node: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with served(node) as it:

        def broken(*args: Any) -> None:
            raise RuntimeError("broken")

        with caplog.at_level(logging.CRITICAL + 1), monkeypatch.context() as patch:
            patch.setattr(it.http._board, "tell", broken)
            assert it.result(double, 3) == 6
        assert it.result(double, 4) == 8


def test_while_somebody_watches_nodes_are_asked(node: int) -> None:
    """The program wants to hear of them each fifty seconds; what it hears more often it is not told."""
    told: list[Any] = []

    def status(task: Task | None = None) -> Gen:
        assert task is not None
        task.set_daemon()
        while True:
            told.append((yield task.receive()))

    with served(node, pulse_interval=50, status_task=Task(status)) as it, Viewer(it.browser) as viewer:
        seen: set[float] = set()
        viewer.until(lambda state: seen.update(each["pulse"] for each in state["nodes"]) or len(seen) >= 4)
        cpu = viewer.state["nodes"][0]["cpu"]
        assert cpu is not None
        assert 0 <= cpu <= 100
    assert len([message for message in told if isinstance(message, NodeAvailInfo)]) == 1


def third(n: int, names: list[str]) -> Any:
    if n == 2:
        raise ValueError(f"no {n}")
    return [n, *names]


@pytest.mark.parametrize("chunksize", [1, 2, 5])
def test_the_calls_of_a_map_are_shown(node: int, chunksize: int) -> None:
    """And not the tasks that they travel in: with its own arguments, result, or error and traceback each."""
    with served(node) as it:

        def body() -> Gen:
            results = it.client.map(third, range(5), [["a"]] * 5, chunksize=chunksize)
            found = []
            for item in results:
                try:
                    found.append((yield item))
                except ValueError as error:
                    found.append(error)
            return found

        assert [str(each) for each in run(body)] == ["[0, 'a']", "[1, 'a']", "no 2", "[3, 'a']", "[4, 'a']"]

        def described(state: dict[str, Any]) -> list[dict[str, Any]] | None:
            """Each with its details, once all texts are made."""
            found = [task | it.browser.get(f"/api/tasks/{task['id']}") for task in state["tasks"]]
            ready = state["totals"]["done"] == 5 and all(each["args"] for each in found)
            return found if ready and all(each["result"] or each["traceback"] for each in found) else None

        shown = {task["args"]: task for task in it.until(described)}
        assert sorted(shown) == [f"{n}, ['a']" for n in range(5)]
        totals = it.browser.get("/api/state")["totals"]
        assert (totals["submitted"], totals["failed"], totals["running"]) == (5, 1, 0)
        assert {task["name"] for task in shown.values()} == {"third"}
        failed = shown.pop("2, ['a']")
        assert (failed["state"], failed["error"]) == ("failed", "ValueError: no 2")
        assert "in third" in failed["traceback"]
        assert "run_chunk" not in failed["traceback"]
        for args, task in shown.items():
            assert (task["state"], task["result"]) == ("finished", f"[{args[0]}, 'a']")


def test_a_call_of_a_chunk_is_terminated_with_its_chunk(node: int) -> None:
    """Of a chunk that runs the first call is shown to run."""
    with served(node) as it:

        def main() -> Gen:
            yield it.client.map(stays, range(3), chunksize=3)

        task = Task(main)
        it.until(lambda state: len(tasks_of(state, "running")) == 1 and len(tasks_of(state, "queued")) == 2)
        last = max(each["id"] for each in it.browser.get("/api/state")["tasks"])
        it.browser.post("/api/tasks/terminate", {"tasks": [last]})
        it.until(lambda state: state["totals"]["running"] == 0 and state["totals"]["done"] == 3)
        assert {each["state"] for each in it.browser.get("/api/state")["tasks"]} == {"terminated"}
        with pytest.raises(TaskTerminated):
            task.future().result(LIMIT_S)
