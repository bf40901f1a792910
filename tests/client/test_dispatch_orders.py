"""parkcos/client/dispatch.py, whatever comes in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parkcos.client.dispatch import Dispatch
from parkcos.client.dispatch_events import (
    AbandonAsked,
    Admitted,
    CancelAsked,
    CloseAsked,
    CloseNodeAsked,
    CloseServerAsked,
    EnableAsked,
    Ended,
    Granted,
    Judged,
    LeaveScheduler,
    LoadSeen,
    NodeHasClosed,
    NodeHasFailed,
    NodeIsReady,
    Offered,
    ProcessLost,
    Reallocated,
    Recall,
    Recalled,
    Refused,
    ReportAbandoned,
    ReportRefused,
    ReportStatus,
    Run,
    SchedulerLost,
    ServerIsDown,
    ServerIsReady,
    ServerIsUp,
    ServerSetupFailed,
    SilenceSeen,
    Started,
    SuspendAsked,
    TimePassed,
)
from tests.client.driven import M, N, info, submitted


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes, in whatever order: each task is reported once, and is at one server at a time."""

    nodes = st.sampled_from([N, M])
    tasks = st.integers(1, 40)

    def __init__(self) -> None:
        super().__init__()
        self.machine = Dispatch()
        self.told: dict[int, list[str]] = {}
        self.now = 0.0
        self.count = 0
        self.at: dict[int, int] = {}
        self.over: set[int] = set()
        self.left = False

    def tell(self, event: Any) -> None:
        for effect in self.machine.handle(event, self.now):
            match effect:
                case Run(task, server, _):
                    assert task not in self.over
                    assert self.machine.tasks[task].server == server
                case ReportAbandoned(task, reason, _) | ReportRefused(task, reason):
                    assert task not in self.over
                    assert reason
                    self.over.add(task)
                case ReportStatus(name, subject):
                    self.report(name.removeprefix("Node").removeprefix("Server"), subject)
                case Recall(task, server):
                    assert self.machine.tasks[task].server == server
                case LeaveScheduler():
                    assert not self.left
                    self.left = True

    def report(self, status: str, subject: int) -> None:
        """Each once per change: it is discovered, initialized, and has ended, once; between that it comes and goes."""
        told = self.told.setdefault(subject, ["Closed"])
        held = [each for each in told if each in ("Suspended", "Disconnected", "Resumed")][-1:]
        match status:
            case "Discovered":
                assert told[-1] in ("Closed", "Disconnected", "Abandoned")
                told.clear()
            case "Initialized":
                assert "Initialized" not in told
            case "Resumed":
                assert held in (["Suspended"], ["Disconnected"])
            case "Suspended":
                assert held in ([], ["Resumed"], ["Disconnected"])
            case "Disconnected":
                assert held != ["Disconnected"]
            case "Abandoned":
                assert held == ["Disconnected"] or subject not in (N, M), "it was silent, or its node was"
        told.append(status)

    @rule(
        io=st.booleans(),
        server=st.sampled_from([0, 0, 0, 1001, 2002]),
        node=st.sampled_from([0, 0, N, M]),
        priority=st.integers(-1, 1),
        retries=st.integers(0, 2),
        judged=st.booleans(),
        choice=st.sampled_from([0, 0, 1, 2]),
    )
    def submit(self, io: bool, server: int, node: int, priority: int, retries: int, judged: bool, choice: int) -> None:
        self.count += 1
        node = 0 if server else node
        limits: dict[str, Any] = {"retries": retries, "priority": priority, "judged": judged}
        self.tell(submitted(self.count, io, server, node, choice=0 if server or node else choice, **limits))

    @rule(choice=st.integers(1, 2), servers=st.lists(st.sampled_from([1001, 1002, 2001, 2002])))
    def admit(self, choice: int, servers: list[int]) -> None:
        self.tell(Admitted(choice, tuple(servers)))

    @rule(node=nodes, cpus=st.integers(0, 3))
    def offer(self, node: int, cpus: int) -> None:
        self.tell(Offered(info(node), cpus))

    @rule(node=nodes, kind=st.sampled_from([Granted, NodeIsReady]))
    def of_node(self, node: int, kind: Any) -> None:
        self.tell(kind(node))

    @rule(node=nodes, index=st.integers(1, 3))
    def server(self, node: int, index: int) -> None:
        record = self.machine.nodes.get(node)
        if record is not None and len(record.servers) < record.left:
            self.tell(ServerIsUp(node, node + index, "10.0.0.1", 1))

    @rule(node=nodes, index=st.integers(1, 3), what=st.sampled_from(["ready"] * 6 + ["failed", "down", "lost", "died"]))
    def of_server(self, node: int, index: int, what: str) -> None:
        server = node + index
        events = {"ready": ServerIsReady(server), "failed": ServerSetupFailed(server, "no")}
        events |= {"down": ServerIsDown(server, "", True, False), "lost": ProcessLost(server, "")}
        events |= {"died": ServerIsDown(server, "", False, False)}
        self.tell(events[what])

    @rule(node=nodes)
    def lose(self, node: int) -> None:
        self.tell(ProcessLost(node, "reset"))

    @precondition(lambda self: self.machine.tasks)
    @rule(
        data=st.data(), what=st.sampled_from(["started", "ended", "ended", "ended", "refused", "given", "kept", "end"])
    )
    def of_task(self, data: st.DataObject, what: str) -> None:
        task = data.draw(st.sampled_from(list(self.machine.tasks)))
        record = self.machine.tasks[task]
        if what == "ended" and record.server and not (record.judged and record.retries):
            self.over.add(task)
        events = {"started": Started(task), "ended": Ended(task, 0.0), "refused": Refused(task, "no")}
        events |= {"given": Recalled(task, True), "kept": Recalled(task, False), "end": CancelAsked(task)}
        self.tell(events[what])

    @precondition(lambda self: self.machine.life.unjudged)
    @rule(data=st.data(), again=st.sampled_from(["", "it raised"]))
    def judge(self, data: st.DataObject, again: str) -> None:
        task = data.draw(st.sampled_from(list(self.machine.life.unjudged)))
        record = self.machine.tasks[task]
        if not again or record.cancelled or not record.retries or self.machine.stage.closing:
            self.over.add(task)
        self.tell(Judged(task, again))

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.tell(TimePassed())
        deadline = self.machine.next_deadline()
        assert deadline is None or deadline > self.now

    anywhere = st.sampled_from([N, M, 1001, 1002, 2001, 2002])

    @rule(where=anywhere, suspended=st.booleans())
    def suspend(self, where: int, suspended: bool) -> None:
        self.tell(SuspendAsked(where, suspended))

    @rule(where=anywhere, silent=st.booleans())
    def silence(self, where: int, silent: bool) -> None:
        self.tell(SilenceSeen(where, silent, "nothing is heard" if silent else ""))

    @rule(node=nodes, busy=st.sampled_from([None, 0.0, 0.5, 1.0]), short=st.sampled_from(["", "no memory"]))
    def load(self, node: int, busy: float | None, short: str) -> None:
        self.tell(LoadSeen(node, busy, short))

    @rule(disable_nodes=st.booleans(), disable_servers=st.booleans())
    def disable(self, disable_nodes: bool, disable_servers: bool) -> None:
        self.machine.members.disable_nodes, self.machine.members.disable_servers = disable_nodes, disable_servers

    @rule(where=anywhere)
    def enable(self, where: int) -> None:
        self.tell(EnableAsked(where))

    @rule(node=st.sampled_from([0, N, M]), flag=st.booleans())
    def abandon(self, node: int, flag: bool) -> None:
        self.tell(AbandonAsked(node, flag))

    @rule(server=anywhere, terminate=st.booleans(), restart=st.booleans())
    def close_server(self, server: int, terminate: bool, restart: bool) -> None:
        self.tell(CloseServerAsked(server, terminate, restart))

    @rule(node=anywhere, terminate=st.booleans(), restart=st.sampled_from([True, True, False]))
    def close_node(self, node: int, terminate: bool, restart: bool) -> None:
        self.tell(CloseNodeAsked(node, terminate, restart))

    @rule(node=nodes, kept=st.booleans())
    def node_closed(self, node: int, kept: bool) -> None:
        self.tell(NodeHasClosed(node, kept=kept))

    @rule(node=nodes, why=st.sampled_from(["setup", "died", "died", "unusable"]))
    def node_failed(self, node: int, why: str) -> None:
        self.tell(NodeHasFailed(node, "no", why == "setup", why == "died"))

    @rule()
    def reallocate(self) -> None:
        self.tell(Reallocated())

    @precondition(lambda self: self.count > 5)
    @rule(terminate=st.booleans())
    def close(self, terminate: bool) -> None:
        self.tell(CloseAsked(terminate))

    @precondition(lambda self: self.count > 8)
    @rule()
    def lose_scheduler(self) -> None:
        self.tell(SchedulerLost("killed"))

    @invariant()
    def holds(self) -> None:
        self.machine.check()
        assert set(self.machine.tasks) == set(range(1, self.count + 1)) - self.over
        assert self.left == self.machine.stage.closed

    def teardown(self) -> None:
        self.tell(CloseAsked(True))
        for node in (N, M):
            self.tell(NodeHasClosed(node))
        self.now += 10
        self.tell(TimePassed())
        assert self.left
        assert len(self.over) == self.count


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestAnyOrder = AnyOrder.TestCase
