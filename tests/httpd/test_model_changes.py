"""The dashboard's model, event by event: what each sends to viewers, and what exactly is kept."""

from __future__ import annotations

from typing import Any

import pytest

from parkcos.httpd import model
from parkcos.httpd import records as r
from parkcos.httpd.model import Model
from parkcos.web import ledger
from tests.httpd.test_model import make, wire

# Numbers that are not the same in another base.
NODE, SERVER, OTHER = 0x1A, 0x2B, 0x3C


class Watched:
    """A model of which everything is asked that has changed, after each event."""

    def __init__(self, **options: Any) -> None:
        self.model = make(**options)
        self.now = 1000.0

    def __call__(self, *events: r.Event) -> dict[str, list[Any]]:
        """Returns: the numbers of the records that are sent, and of those that are gone; nothing else."""
        since = self.model.revision
        for event in events:
            self.now += 1.0
            self.model.handle(event, self.now)
            self.model.check()
        changes = self.model.changes(since, self.now)
        assert changes is not None
        sent = {
            "nodes": [int(node.id, 16) for node in changes.nodes],
            "servers": [int(server.id, 16) for server in changes.servers],
            "tasks": [task.id for task in changes.tasks],
            "gone": [*changes.gone.nodes, *changes.gone.servers, *changes.gone.tasks],
            "clients": changes.clients,
        }
        if len(events) == 1:
            records = len(changes.nodes) + len(changes.servers) + len(changes.tasks)
            assert self.model.revision - since in ({records} if records else {0, 1}), "one for each record"
            sent |= {"news": [True] if self.model.revision > since and not records else []}
        return {name: numbers for name, numbers in sent.items() if numbers}

    def counted(self, record: r.NodeRecord | r.ServerRecord) -> tuple[int, int, int, int]:
        return record.submitted, record.running, record.done, record.failed


def watched(**options: Any) -> Watched:
    """A node and a server."""
    w = Watched(**options)
    w(r.NodeSeen(NODE, "kiln", "10.0.0.1", 9706, "Linux", 2), r.ServerSeen(SERVER, NODE, "kiln/1", "10.0.0.1", 9707))
    return w


def test_a_model_of_which_nothing_is_known() -> None:
    machine = make()
    assert wire(machine.snapshot(1001.0)) == {
        "revision": 1, "epoch": "epoch", "kind": "client", "name": "test.py", "state": "new", "reason": "",
        "time": 1001.0, "started": 1000.0, "version": "", "settings": {"poll_s": 10.0, "show_args": True},
        "totals": {"submitted": 0, "running": 0, "done": 0, "failed": 0, "left_out": 0},
        "nodes": [], "servers": [], "tasks": [], "clients": [], "history": [],
    }  # fmt: skip
    changes = machine.changes(0, 1001.0)
    assert changes is not None
    assert changes.clients is None
    assert machine.tasks_max == 10_000


def test_what_each_event_of_a_node_or_server_sends() -> None:
    w = Watched()
    assert w(r.ServerSeen(SERVER, NODE, "kiln/1", "10.0.0.1", 9707)) == {"servers": [SERVER]}, "before its node"
    assert w(r.ServerSeen(SERVER, NODE, "kiln/7", "10.0.0.1", 9708)) == {}, "it is known"
    seen = r.NodeSeen(NODE, "kiln", "10.0.0.1", 9706, "Linux", 2, 100, 200)
    assert w(seen) == {"nodes": [NODE]}
    node, server = w.model.nodes[NODE], w.model.servers[SERVER]
    assert (node.servers, node.memory, node.disk, node.pulse) == (1, 100, 200, w.now)
    assert (server.name, server.port, server.node) == ("kiln/1", 9707, node.id)
    assert w(r.NodeSeen(OTHER, "oven", "10.0.0.2", 9706, "Linux", 2)) == {"nodes": [OTHER]}
    assert w.model.nodes[OTHER].servers == 0
    assert w(r.NodeChanged(NODE, "running", "", "c")) == {"nodes": [NODE]}
    assert w(r.NodeChanged(NODE, "running", "", "c")) == {}
    assert w(r.NodeChanged(77, "running")) == w(r.ServerChanged(77, "running")) == {}, "unknown"
    assert w(r.NodeLoad(77, 50.0, 1, 2, 3)) == w(r.Printed(77, 77, ["line"])) == {}
    assert w(r.NodeLoad(NODE, None, 1, 2, 3)) == {"nodes": [NODE]}
    assert list(w.model.node_history[NODE]) == [(w.now, None, 1, 0)]
    assert node.pulse == w.now
    assert w(r.ServerChanged(SERVER, "running")) == {"servers": [SERVER]}
    assert w(r.ServerChanged(SERVER, "running")) == {}
    assert w(r.ServerChanged(SERVER, "suspended", "its client asked for it")) == {"servers": [SERVER]}
    assert w(r.ServerChanged(SERVER, "suspended", "no memory")) == {"servers": [SERVER]}
    assert w(r.ServerSeen(OTHER, NODE, "kiln/2", "10.0.0.1", 9708)) == {"servers": [OTHER], "nodes": [NODE]}
    assert w(r.ServerChanged(SERVER, "lost")) == {"servers": [SERVER], "nodes": [NODE]}
    assert w(r.ServerChanged(SERVER, "running")) == {}, "what has ended has ended"
    assert w(r.ServerChanged(OTHER, "closed")) == {"servers": [OTHER], "nodes": [NODE]}
    assert node.servers == 0
    assert not w.model._servers_of
    assert w(r.NodeChanged(NODE, "lost")) == w(r.NodeChanged(NODE, "running")) == {"nodes": [NODE]}, "a node may return"


def test_what_each_event_of_a_task_sends() -> None:
    w = watched()
    server, node = w.model.servers[SERVER], w.model.nodes[NODE]
    everywhere = {"tasks": [1], "servers": [SERVER], "nodes": [NODE]}
    assert w(r.TaskSubmitted(1, "work", True)) == {"tasks": [1]}
    assert w(r.TaskDescribed(1, args="(1, 2)")) == {"tasks": [1]}
    assert w(r.TaskDescribed(1, result="3")) == {}, "that is shown to who looks at the task alone"
    assert w(r.TaskDescribed(77, args="(1, 2)")) == {}
    assert w.model.details[1] == r.Detail("(1, 2)", "", "3")
    assert w(r.TaskRequeued(1, "it does not run")) == {}
    started = r.TaskStarted(1, SERVER, NODE, "work", True)
    assert w(started) == everywhere
    assert w(started) == {}
    assert w.counted(server) == w.counted(node) == (1, 1, 0, 0)
    w(r.TaskSubmitted(4, "other", False), r.TaskStarted(4, SERVER, NODE, "other", False))
    w(r.TaskSubmitted(5, "other", False), r.TaskStarted(5, SERVER, NODE, "other", False))
    assert w.counted(server) == w.counted(node) == (3, 3, 0, 0)
    assert w(r.TaskRequeued(1, "its server ended")) == everywhere
    assert w.counted(server) == w.counted(node) == (3, 2, 1, 1)
    assert (w.model.tasks[1].server, w.model.tasks[1].node) == ("", "")
    w(started)
    assert w(r.TaskEnded(1, "finished", "", "a warning")) == everywhere
    assert w.counted(server) == w.counted(node) == (4, 2, 2, 1)
    assert w.model.details[1] == r.Detail("(1, 2)", "a warning", "3")
    assert w.model.tasks[1].io
    assert w(r.TaskSubmitted(2, "work", False)) == w(r.TaskEnded(2, "cancelled")) == {"tasks": [2]}, "it never ran"
    assert w(r.TaskSubmitted(3, "work", False)) == w(r.TaskStarted(3, OTHER, OTHER, "work", False)) == {"tasks": [3]}
    assert w(r.TaskEnded(3, "lost")) == {"tasks": [3]}, "nobody knows that place"
    assert w.counted(server) == w.counted(node) == (4, 2, 2, 1)
    assert w.model.totals == r.Totals(5, 2, 3, 1, 0)


def test_what_each_event_of_the_whole_sends() -> None:
    w = Watched()
    assert w(r.StateChanged("running")) == {"news": [True]}
    assert w(r.StateChanged("running")) == {}
    assert w(r.StateChanged("running", "again")) == {"news": [True]}
    clients = [r.ClientRecord("1", "c", "::1", 1, "running", 1.0)]
    assert w(r.QueueChanged(clients)) == {"news": [True], "clients": clients}
    assert w(r.QueueChanged(list(clients))) == {}
    assert w() == {}, "nothing is sent twice"
    assert w(r.SettingsChanged(poll_s=5.0)) == {"news": [True]}
    assert w.model.settings == r.Settings(5.0, True)
    assert w(r.SettingsChanged(show_args=False)) == {"news": [True]}
    assert w.model.settings == r.Settings(5.0, False)


def test_arguments_are_hidden_and_shown_where_they_are_known() -> None:
    w = watched()
    w(r.TaskSubmitted(1, "work", False), r.TaskDescribed(1, args="(1, 2)"), r.TaskSubmitted(2, "work", False))
    w(r.TaskSubmitted(3, "work", False))
    settings = r.SettingsChanged(poll_s=5.0)
    assert w(r.SettingsChanged(show_args=False), settings) == {"tasks": [1]}
    assert w(r.TaskDescribed(2, args="(3, 4)")) == {}
    assert w(r.SettingsChanged(show_args=True), settings) == {"tasks": [1, 2]}
    assert [task.args for task in w.model.tasks.values()] == ["(1, 2)", "(3, 4)", None]
    w.model._drop_detail(1)
    assert w(r.SettingsChanged(show_args=True)) == {"news": [True]}
    assert w.model.tasks[1].args == "(1, 2)", "it stays though the whole of it is not known any more"


def test_a_task_that_is_not_shown_while_it_waits_is_shown_when_it_starts() -> None:
    w = watched(tasks_max=0)
    w(r.TaskSubmitted(1, "work", True))
    assert not w.model.tasks
    started = r.TaskStarted(1, SERVER, NODE, "work", True)
    assert w(started, started) == {"tasks": [1], "servers": [SERVER], "nodes": [NODE]}
    task = w.model.tasks[1]
    assert (task.name, task.io, task.state, task.submitted, task.started) == ("work", True, "running", 1004.0, 1004.0)


def test_tasks_that_have_ended_do_not_count_as_waiting() -> None:
    w = watched(tasks_max=2)
    for task in (1, 2):
        w(r.TaskSubmitted(task, "work", False), r.TaskEnded(task, "finished"))
    for task in (3, 4):
        assert w(r.TaskSubmitted(task, "work", False)) == {"tasks": [task]}
    assert w(r.TaskSubmitted(5, "work", False)) == {"news": [True]}, "their number is"
    assert w(r.TaskEnded(5, "cancelled")) == {"news": [True]}
    assert w.model.totals == r.Totals(5, 0, 3, 0, 1)
    assert w(r.TaskEnded(4, "finished")) == {"tasks": [4], "gone": [1]}
    assert w.model.totals.left_out == 2


def test_what_is_kept_of_a_node_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "ENDED_NODES_MAX", 1)
    monkeypatch.setattr(model, "ENDED_SERVERS_MAX", 1)
    w = watched()
    w(r.NodeSeen(OTHER, "oven", "10.0.0.2", 9706, "Linux", 2), r.ServerSeen(OTHER + 1, OTHER, "oven/1", "::1", 9707))
    w(r.NodeLoad(NODE, 50.0, 1, 2, 3), r.Printed(0, NODE, ["setup"]), r.Printed(SERVER, NODE, ["line"]))
    w(r.ServerChanged(SERVER, "closed"), r.NodeChanged(NODE, "closed"))
    assert list(w.model.output) == [NODE, SERVER]
    assert w(r.ServerChanged(OTHER + 1, "closed")) == {
        "servers": [OTHER + 1], "nodes": [OTHER], "gone": [r.hexed(SERVER)]
    }  # fmt: skip
    assert w(r.NodeChanged(OTHER, "closed")) == {"nodes": [OTHER], "gone": [r.hexed(NODE)]}
    assert not w.model.output
    assert not w.model.node_history


def test_a_task_that_outlives_what_is_known_of_its_server_is_not_counted_below_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model, "ENDED_SERVERS_MAX", 0)
    w = watched()
    w(r.TaskSubmitted(1, "work", False), r.TaskStarted(1, SERVER, NODE, "work", False), r.ServerChanged(SERVER, "lost"))
    w(r.ServerSeen(SERVER, NODE, "kiln/1", "10.0.0.1", 9707), r.TaskEnded(1, "finished"))
    assert w.counted(w.model.servers[SERVER]) == (0, 0, 1, 0)


def test_what_is_printed_and_measured_is_kept_up_to_its_bound() -> None:
    w = watched()
    for number in range(model.NODE_POINTS_MAX + 1):
        w(r.NodeLoad(NODE, 50.0, number, 2, 3), r.Printed(SERVER, NODE, [str(number)]))
    assert [point[2] for point in w.model.node_history[NODE]] == list(range(1, model.NODE_POINTS_MAX + 1))
    assert list(w.model.output[SERVER]) == [str(number) for number in range(1, model.LINES_MAX + 1)]
    w(r.Printed(SERVER, NODE, ["x" * (model.LINE_MAX + 1)]))
    assert len(w.model.output[SERVER][-1]) == model.LINE_MAX


def test_of_a_long_traceback_the_end_is_kept() -> None:
    w = watched()
    whole = "a" + "b" * (model.TRACEBACK_MAX - 1)
    w(r.TaskSubmitted(1, "work", False), r.TaskEnded(1, "failed", "e", whole))
    w(r.TaskSubmitted(2, "work", False), r.TaskEnded(2, "failed", "e", "c" + whole))
    assert [w.model.details[task].traceback for task in (1, 2)] == [whole, "…" + whole[1:]]


# -- the charts


def history(machine: Model, since: int) -> list[r.Point]:
    changes = machine.changes(since, 0.0)
    assert changes is not None
    return changes.history


def test_each_point_is_sent_once() -> None:
    machine = make()
    for number in range(4):
        machine.point(1010.0 + number)
    assert machine.revision == 5
    assert [point[0] for point in history(machine, 3)] == [1012.0, 1013.0]
    assert history(machine, 5) == []


def test_points_as_old_as_the_charts_are_kept() -> None:
    machine = make()
    for at in (1000.0, 1001.0, 1001.0 + model.HISTORY_S):
        machine.point(at)
    assert [point[0] for point in history(machine, 0)] == [1001.0, 1001.0 + model.HISTORY_S]


def test_the_numbers_of_a_point() -> None:
    w = watched()
    w.model.point(1000.0)
    w(r.TaskSubmitted(1, "work", False), r.TaskEnded(1, "finished"))
    w.model.point(1000.5)
    w.model.point(1000.5)
    w(r.TaskSubmitted(2, "work", False), r.TaskEnded(2, "finished"))
    w.model.point(1003.5)
    assert [point[2] for point in history(w.model, 0)] == [0.0, 2.0, 0.0, 0.333], "tasks per second, if any has passed"
    for node, cpu in ((NODE, 90.0), (OTHER, 50.02), (OTHER + 1, None)):
        w(r.NodeSeen(node, "kiln", "10.0.0.1", 9706, "Linux", 2), r.NodeLoad(node, cpu, 1, 2, 3))
    assert [point[1] for point in w.model.node_history[OTHER]] == [50.0]
    w.model.point(1010.0)
    assert history(w.model, 0)[-1] == (1010.0, 0, 0.0, 30.0), "the mean of those that say it"


# -- who has not looked for long


@pytest.mark.parametrize("kind", ["nodes", "servers", "tasks"])
def test_what_has_gone_and_is_forgotten_cannot_be_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "GONE_MAX", 1)
    monkeypatch.setattr(model, "ENDED_NODES_MAX", 0)
    monkeypatch.setattr(model, "ENDED_SERVERS_MAX", 0)
    w = Watched(tasks_max=0)
    begin = w.model.revision
    for number in (21, 22):
        assert w.model.changes(begin, w.now) is not None
        if kind == "nodes":
            w(r.NodeSeen(number, "kiln", "10.0.0.1", 9706, "Linux", 2), r.NodeChanged(number, "lost"))
        elif kind == "servers":
            w(r.ServerSeen(number, NODE, "kiln/1", "10.0.0.1", 9707), r.ServerChanged(number, "lost"))
        else:
            w(r.TaskSubmitted(number, "work", False), r.TaskStarted(number, 0, 0, "work", False))
            w(r.TaskEnded(number, "finished"))
    assert w.model.changes(begin, w.now) is None
    assert w.model.changes(w.model.revision, w.now) is not None
    assert w.model.changes(w.model.revision + 1, w.now) is None, "of another run"
