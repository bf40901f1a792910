"""The dashboard's model: what is shown, what viewers get, what is bounded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parkcos.httpd import model
from parkcos.httpd import records as r
from parkcos.httpd.model import Model
from parkcos.web import ledger

encode = msgspec.json.encode


def make(**options: Any) -> Model:
    return Model("client", "test.py", "epoch", 1000.0, **options)


def wire(thing: Any) -> Any:
    """As a viewer gets it."""
    return msgspec.json.decode(encode(thing))


class Viewer:
    """What a page does with what it is sent."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def apply(self, changes: dict[str, Any]) -> None:
        state = self.state
        for name in ("nodes", "servers", "tasks"):
            records = {record["id"]: record for record in state[name]}
            for gone in changes["gone"][name]:
                records.pop(gone, None)
            records |= {record["id"]: record for record in changes[name]}
            state[name] = list(records.values())
        for name in ("revision", "time", "state", "reason", "totals", "settings"):
            state[name] = changes[name]
        if changes["clients"] is not None:
            state["clients"] = changes["clients"]
        points = {tuple(point): point for point in [*state["history"], *changes["history"]]}
        newest = max((point[0] for point in points.values()), default=0)
        state["history"] = [point for point in points.values() if point[0] >= newest - model.HISTORY_S]

    def shown(self) -> dict[str, Any]:
        by_id = {
            name: sorted(self.state[name], key=lambda record: record["id"]) for name in ("nodes", "servers", "tasks")
        }
        return {**self.state, **by_id, "time": 0}


def fill(machine: Model) -> None:
    machine.handle(r.NodeSeen(1, "kiln", "10.0.0.1", 9706, "Linux", 2, 100, 200), 1001)
    machine.handle(r.NodeChanged(1, "running"), 1001)
    for server in (11, 12):
        machine.handle(r.ServerSeen(server, 1, f"kiln/{server - 10}", "10.0.0.1", 9700 + server), 1002)
        machine.handle(r.ServerChanged(server, "running"), 1002)


# -- counting


def test_a_task_is_counted_everywhere() -> None:
    machine = make()
    fill(machine)
    machine.handle(r.TaskSubmitted(1, "work", False), 1003)
    assert machine.tasks[1].state == "queued"
    machine.handle(r.TaskStarted(1, 11, 1, "work", False), 1004)
    server, node = machine.servers[11], machine.nodes[1]
    assert (machine.totals.submitted, machine.totals.running, server.running, node.running) == (1, 1, 1, 1)
    machine.handle(r.TaskEnded(1, "failed", "ValueError: no", "Traceback ...\nValueError: no"), 1005)
    task = machine.tasks[1]
    assert (task.state, task.error, task.submitted, task.started, task.ended) == (
        "failed",
        "ValueError: no",
        1003,
        1004,
        1005,
    )
    assert machine.totals == r.Totals(1, 0, 1, 1, 0)
    assert (server.submitted, server.done, server.failed, server.running) == (1, 1, 1, 0)
    assert (node.submitted, node.done, node.failed, node.running, node.servers) == (1, 1, 1, 0, 2)
    assert machine.details[1].traceback.startswith("Traceback")
    machine.check()


def test_a_task_that_is_run_anew_is_one_task() -> None:
    machine = make()
    fill(machine)
    machine.handle(r.TaskSubmitted(1, "work", False), 1003)
    machine.handle(r.TaskStarted(1, 11, 1, "work", False), 1004)
    machine.handle(r.TaskRequeued(1, "its server ended"), 1005)
    assert (machine.tasks[1].state, machine.tasks[1].error, machine.totals.running) == ("queued", "its server ended", 0)
    machine.handle(r.TaskStarted(1, 12, 1, "work", False), 1006)
    machine.handle(r.TaskEnded(1, "finished"), 1007)
    assert machine.totals == r.Totals(1, 0, 1, 0, 0)
    assert (machine.servers[11].failed, machine.servers[12].done, machine.nodes[1].submitted) == (1, 1, 2)
    assert machine.tasks[1].error == ""
    machine.check()


def test_ids_are_written_for_browsers() -> None:
    machine = make()
    machine.handle(r.NodeSeen(2**63 + 1, "kiln", "::1", 1, "", 1), 1001)
    state = wire(machine.snapshot(1002))
    assert state["nodes"][0]["id"] == "8000000000000001"
    assert list(state) == list(r.State.__struct_fields__)
    assert state["settings"] == {"poll_s": 10.0, "show_args": True}


def test_points_tell_tasks_per_second_and_the_cpu_in_use() -> None:
    machine = make()
    fill(machine)
    machine.handle(r.NodeLoad(1, 75.0, 10, 20, 99.0), 1003)
    for task in range(1, 21):
        machine.handle(r.TaskSubmitted(task, "work", False), 1003)
        machine.handle(r.TaskStarted(task, 11, 1, "work", False), 1003)
        machine.handle(r.TaskEnded(task, "finished"), 1004)
    machine.point(1010.0)
    machine.point(1020.0)
    assert wire(machine.snapshot(1020))["history"] == [[1010.0, 0, 2.0, 25.0], [1020.0, 0, 0.0, 25.0]]
    machine.handle(r.NodeChanged(1, "lost"), 1021)
    machine.point(1015.0 + model.HISTORY_S)
    assert wire(machine.snapshot(2000))["history"] == [[1020.0, 0, 0.0, 25.0], [1915.0, 0, 0.0, None]]
    assert list(machine.node_history[1]) == [(1003, 25.0, 10, 0)]


def test_a_rate_is_that_since_the_last_point() -> None:
    machine = make()
    fill(machine)
    for first, at in ((1, 1010.0), (101, 1012.0)):
        for task in range(first, first + 10):
            machine.handle(r.TaskSubmitted(task, "work", False), at)
            machine.handle(r.TaskStarted(task, 11, 1, "work", False), at)
            machine.handle(r.TaskEnded(task, "finished"), at)
        machine.point(at)
    assert [point[2] for point in wire(machine.snapshot(1020))["history"]] == [1.0, 5.0]


def test_what_a_node_says_of_itself_is_shown() -> None:
    machine = make()
    fill(machine)
    machine.handle(r.NodeLoad(1, 75.0, 10, 20, 30), 1003)
    shown = wire(machine.snapshot(1003))["nodes"][0]
    names = ("name", "addr", "port", "platform", "cpus", "cpu", "memory", "disk", "swap", "pulse")
    assert [shown[name] for name in names] == ["kiln", "10.0.0.1", 9706, "Linux", 2, 75.0, 10, 20, 30, 1003]
    machine.handle(r.NodeSeen(1, "kiln", "10.0.0.1", 9706, "Linux", 5), 1004)
    assert wire(machine.snapshot(1004))["nodes"][0]["cpus"] == 5


def test_what_is_said_of_a_task_too_late_changes_nothing() -> None:
    machine = make()
    fill(machine)
    machine.handle(r.TaskSubmitted(1, "work", False), 1003)
    machine.handle(r.TaskStarted(1, 11, 1, "work", False), 1003)
    machine.handle(r.TaskEnded(1, "failed", "ValueError: no"), 1004)
    before = wire(machine.snapshot(1005))
    machine.handle(r.TaskStarted(1, 12, 1, "work", False), 1005)
    machine.handle(r.TaskEnded(1, "finished"), 1005)
    machine.handle(r.TaskRequeued(1, "lost"), 1005)
    machine.handle(r.TaskRequeued(99, "lost"), 1005)
    assert wire(machine.snapshot(1005)) == before
    machine.check()


def test_arguments_are_shown_and_hidden() -> None:
    machine = make()
    machine.handle(r.TaskSubmitted(1, "work", False), 1003)
    machine.handle(r.TaskDescribed(1, args="x" * 1000), 1003)
    shown = machine.tasks[1].args
    assert shown is not None
    assert len(shown) == 200
    machine.handle(r.SettingsChanged(show_args=False), 1004)
    assert machine.tasks[1].args is None
    before = machine.revision
    machine.handle(r.SettingsChanged(show_args=True), 1005)
    assert machine.tasks[1].args == shown
    changes = machine.changes(before, 1006)
    assert changes is not None
    assert [task.id for task in changes.tasks] == [1]


# -- bounds


def test_ended_tasks_are_kept_up_to_a_bound() -> None:
    machine = make(tasks_max=3)
    fill(machine)
    before = wire(machine.snapshot(0))
    for task in range(1, 8):
        machine.handle(r.TaskSubmitted(task, "work", False), 1003)
        machine.handle(r.TaskStarted(task, 11, 1, "work", False), 1003)
        machine.handle(r.TaskEnded(task, "failed", "e", "Traceback"), 1004)
        machine.check()
    assert list(machine.tasks) == [5, 6, 7]
    assert machine.totals == r.Totals(7, 0, 7, 7, 4)
    assert list(machine.details) == [5, 6, 7]
    changes = machine.changes(before["revision"], 1)
    assert changes is not None
    assert changes.gone.tasks == [1, 2, 3, 4]


def test_tasks_that_wait_beyond_the_bound_are_shown_when_they_start() -> None:
    machine = make(tasks_max=2)
    fill(machine)
    for task in range(1, 6):
        machine.handle(r.TaskSubmitted(task, "work", False), 1003)
    assert list(machine.tasks) == [1, 2]
    machine.handle(r.TaskStarted(4, 11, 1, "work", False), 1004)
    machine.handle(r.TaskEnded(5, "cancelled"), 1005)
    assert list(machine.tasks) == [1, 2, 4]
    assert machine.totals == r.Totals(5, 1, 1, 0, 1)
    machine.check()


def test_servers_that_have_ended_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "ENDED_SERVERS_MAX", 5)
    monkeypatch.setattr(model, "ENDED_NODES_MAX", 2)
    machine = make()
    for node in range(1, 5):
        machine.handle(r.NodeSeen(node, "kiln", "::1", 1, "", 1), 1000)
        for server in range(node * 10, node * 10 + 3):
            machine.handle(r.ServerSeen(server, node, "kiln/1", "::1", 2), 1001)
            machine.handle(r.Printed(server, node, ["line"] * 1000), 1001)
            machine.handle(r.ServerChanged(server, "closed"), 1002)
            machine.check()
        machine.handle(r.NodeChanged(node, "closed"), 1003)
        machine.check()
    assert len(machine.servers) == len(machine.output) == 5
    assert {len(lines) for lines in machine.output.values()} == {model.LINES_MAX}
    assert list(machine.nodes) == [3, 4]


def test_output_is_bounded_for_all_servers_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has printed nothing for longest loses its oldest lines first."""
    monkeypatch.setattr(model, "OUTPUT_MAX", 10 * (model.LINE_COST + 4))
    machine = make()
    machine.handle(r.NodeSeen(1, "kiln", "::1", 1, "", 1), 1000)
    for server in (11, 12, 13):
        machine.handle(r.ServerSeen(server, 1, "kiln/1", "::1", 2), 1001)
        machine.handle(r.Printed(server, 1, ["1st.", "2nd.", "3rd."]), 1001)
        machine.check()
    machine.handle(r.Printed(11, 1, ["4th."]), 1002)
    machine.handle(r.ServerSeen(14, 1, "kiln/1", "::1", 2), 1002)
    for server in (12, 14):
        machine.handle(r.Printed(server, 1, []), 1002)
    assert {server: list(lines) for server, lines in machine.output.items()} == {
        12: ["1st.", "2nd.", "3rd."],
        13: ["1st.", "2nd.", "3rd."],
        11: ["1st.", "2nd.", "3rd.", "4th."],
    }
    machine.handle(r.Printed(0, 1, ["setup", "has", "been"]), 1003)
    assert {server: list(lines) for server, lines in machine.output.items()} == {
        13: ["1st.", "2nd.", "3rd."],
        11: ["1st.", "2nd.", "3rd.", "4th."],
        1: ["setup", "has", "been"],
    }
    machine.check()
    machine.handle(r.Printed(13, 1, ["x" * 400] * 9), 1004)
    machine.check()
    assert list(machine.output) == [13]
    machine.handle(r.Printed(12, 1, ["y" * 1000] * 300), 1005)
    machine.check()


def test_details_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "DETAILS_MAX", 1000)
    machine = make()
    for task in range(1, 50):
        machine.handle(r.TaskSubmitted(task, "work", False), 1003)
        machine.handle(r.TaskDescribed(task, args="x" * 90, result="y" * 10), 1003)
        machine.check()
    assert list(machine.details) == list(range(40, 50))


def test_who_has_not_looked_for_long_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "GONE_MAX", 10)
    machine = make(tasks_max=1)
    begin = machine.revision
    for task in range(1, 14):
        machine.handle(r.TaskSubmitted(task, "work", False), 1003)
        machine.handle(r.TaskEnded(task, "cancelled"), 1004)
    assert machine.changes(begin, 1005) is None
    assert machine.changes(machine.revision - 1, 1005) is not None
    assert machine.changes(machine.revision + 1, 1005) is None


def test_text_that_is_no_text_can_be_sent() -> None:
    machine = make()
    machine.handle(r.TaskSubmitted(1, "na\ud800me" + "x" * 10_000, False), 1003)
    machine.handle(r.TaskStarted(1, 0, 0, "", False), 1003)
    machine.handle(r.TaskEnded(1, "failed", "\udfff", "T\udfff" * 1_000_000), 1004)
    machine.handle(r.TaskDescribed(1, args="\ud801"), 1005)
    state = wire(machine.snapshot(1006))
    assert state["tasks"][0]["error"] == "\\udfff"
    assert len(state["tasks"][0]["name"]) < 220
    assert len(machine.details[1].traceback) < 8 * model.TRACEBACK_MAX


# -- viewers

NODES, SERVERS, TASKS = st.integers(1, 3), st.integers(11, 16), st.integers(1, 12)
STATES = st.sampled_from(["running", "suspended", "silent", "closed", "lost"])
ENDS = st.sampled_from(sorted(r.TASK_ENDED))
TEXTS = st.sampled_from(["", "a", "<img src=x onerror=alert(1)>", "\ud800"])
EVENTS = st.one_of(
    st.builds(r.NodeSeen, NODES, TEXTS, st.just("::1"), st.just(1), TEXTS, st.just(2)),
    st.builds(r.NodeChanged, NODES, STATES, TEXTS),
    st.builds(r.NodeLoad, NODES, st.none() | st.floats(0, 100), st.none(), st.just(5), st.none()),
    st.builds(r.ServerSeen, SERVERS, NODES, TEXTS, st.just("::1"), st.just(2)),
    st.builds(r.ServerChanged, SERVERS, STATES, TEXTS),
    st.builds(r.TaskStarted, TASKS, SERVERS, NODES, TEXTS, st.booleans()),
    st.builds(r.TaskRequeued, TASKS, TEXTS),
    st.builds(r.TaskEnded, TASKS, ENDS, TEXTS, TEXTS),
    st.builds(r.TaskDescribed, TASKS, st.none() | TEXTS, st.none() | TEXTS),
    st.builds(r.Printed, SERVERS | st.just(0), NODES, st.lists(TEXTS, max_size=3)),
    st.builds(r.StateChanged, st.sampled_from(["running", "closed"]), TEXTS),
    st.builds(r.SettingsChanged, st.none() | st.just(5.0), st.none() | st.booleans()),
    st.builds(r.QueueChanged, st.just([]) | st.just([r.ClientRecord("1", "c", "::1", 0, "running", 1.0)])),
    st.sampled_from(["submit", "submit", "point", "look"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=60), st.data())
def test_changes_from_any_revision_lead_to_the_snapshot(events: list[Any], data: st.DataObject) -> None:
    """Each viewer takes a snapshot at some time, and the changes since any revision before that that it is given."""
    kept = model.ENDED_NODES_MAX, model.ENDED_SERVERS_MAX, ledger.GONE_MAX
    model.ENDED_NODES_MAX, model.ENDED_SERVERS_MAX, ledger.GONE_MAX = 1, 2, 6
    try:
        _check_viewers(events, data)
    finally:
        model.ENDED_NODES_MAX, model.ENDED_SERVERS_MAX, ledger.GONE_MAX = kept


def _check_viewers(events: list[Any], data: st.DataObject) -> None:
    machine = make(tasks_max=3)
    viewers = [Viewer(wire(machine.snapshot(0)))]
    number, now = 100, 1000.0
    for event in events:
        now += 100.0
        if event == "submit":
            number += 1
            machine.handle(r.TaskSubmitted(number - 100, "t", False), now)
        elif event == "point":
            machine.point(now)
        elif event == "look":
            viewers.append(Viewer(wire(machine.snapshot(now))))
            for viewer in viewers:
                since = data.draw(st.integers(0, viewer.state["revision"]))
                catch_up(viewer, machine, since, now)
                assert viewer.shown() == Viewer(wire(machine.snapshot(now))).shown()
        elif not isinstance(event, r.TaskStarted | r.TaskEnded) or event.task <= number - 100:
            machine.handle(event, now)
    for viewer in viewers:
        catch_up(viewer, machine, viewer.state["revision"], now)
        assert viewer.shown() == Viewer(wire(machine.snapshot(now))).shown()


def catch_up(viewer: Viewer, machine: Model, since: int, now: float) -> None:
    changes = machine.changes(since, now)
    if changes is None:
        viewer.state = wire(machine.snapshot(now))
    else:
        viewer.apply(wire(changes))


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=80))
def test_the_invariants_hold_after_whatever_happens(events: list[Any]) -> None:
    machine = make(tasks_max=3)
    number = 0
    for event in events:
        if event == "submit":
            number += 1
            machine.handle(r.TaskSubmitted(number, "t", False), 1.0)
        elif not isinstance(event, str) and (
            not isinstance(event, r.TaskStarted | r.TaskEnded) or (event.task in machine.tasks and event.task <= number)
        ):
            machine.handle(event, 1.0)
        machine.check()


def test_a_large_cluster() -> None:
    """1,000 nodes, 10,000 tasks: each event is cheap, and the changes hold what has changed alone."""
    machine = make()
    for node in range(1, 1001):
        machine.handle(r.NodeSeen(node, f"node{node}", "10.0.0.1", 9706, "Linux", 4), 1000.0)
        machine.handle(r.NodeChanged(node, "running"), 1000.0)
        machine.handle(r.ServerSeen(10_000 + node, node, f"node{node}/1", "10.0.0.1", 9707), 1000.0)
        machine.handle(r.ServerChanged(10_000 + node, "running"), 1000.0)
    for task in range(1, 12_001):
        node = task % 1000 + 1
        machine.handle(r.TaskSubmitted(task, "work", False), 1001.0)
        machine.handle(r.TaskStarted(task, 10_000 + node, node, "work", False), 1002.0)
        machine.handle(r.TaskDescribed(task, args=f"{task}"), 1002.0)
        if task > 500:
            machine.handle(r.TaskEnded(task - 500, "finished"), 1003.0)
    machine.check()
    state = machine.snapshot(1004.0)
    assert (len(state.nodes), len(state.servers), len(state.tasks)) == (1000, 1000, 10_500)
    assert (state.totals.submitted, state.totals.done, state.totals.left_out) == (12_000, 11_500, 1_500)
    since = machine.revision
    machine.handle(r.TaskEnded(11_999, "finished"), 1005.0)
    changes = machine.changes(since, 1006.0)
    assert changes is not None
    assert (len(changes.nodes), len(changes.servers), len(changes.tasks)) == (1, 1, 1)
    assert changes.gone.tasks == [1_501]
    assert len(encode(changes)) < 2_000
