"""parkcos/client: what a Client says of its arguments, and what it makes of processes that go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from parkcos import Client, ConfigError, NodeAllocate, ScheduleError, SenselessYield, ShippingError, UsageError, run
from parkcos.client import dispatch_events as d
from parkcos.client.allocate import allocations, cpus_wanted, why_unwanted
from parkcos.client.components import bundle
from parkcos.client.facts import NodeFacts, ServerFacts
from parkcos.client.records import SUSPENDED
from parkcos.client.shell import NEW, RUNNING, WAITING
from parkcos.client.submission import Submission
from parkcos.client.submitting import enter
from parkcos.cluster import messages as m
from parkcos.cluster import server_messages as sm
from parkcos.cluster.bundle import Bundle
from parkcos.cluster.message import Message
from parkcos.cluster.node_info import NodeInfo
from parkcos.cluster.shipping import Shipper
from parkcos.kernel import Completion, Outcome, operation
from parkcos.net.location import Location
from parkcos.net.payload import dumps
from parkcos.net.tasks.remote_task import RemoteTask
from parkcos.net.trust.guests import Guests
from tests.kernel.virtual import VirtualKernel


@pytest.mark.parametrize(
    ("node", "port", "location"),
    [
        ("127.0.0.1", None, Location("127.0.0.1", 9706)),
        ("127.0.0.1:9999", None, Location("127.0.0.1", 9999)),
        ("127.0.0.1:9999", 9998, Location("127.0.0.1", 9998)),
        ("[::1]:9999", None, Location("::1", 9999)),
        ("::1", None, Location("::1", 9706)),
        ("10.0.0.*", None, None),
    ],
)
def test_where_a_named_node_is(node: str, port: int | None, location: Location | None) -> None:
    assert NodeAllocate(node, port).location == location


def test_a_port_that_is_none() -> None:
    with pytest.raises(ConfigError, match="70000"):
        NodeAllocate("127.0.0.1:70000")


@pytest.mark.parametrize("requirements", ["numpy", ["numpy >> 1"], ["numpy", 7], 7])
def test_requirements_that_are_none_are_named_at_once(requirements: Any) -> None:
    with pytest.raises(ConfigError, match="requirement"):
        Client(requirements=requirements)


def fn(a: Any, b: Any = None) -> Any:
    yield a, b


def test_the_argument_that_cannot_travel_is_named() -> None:
    shipper = Shipper()
    for args, kwargs, words in (
        ((1, threading.Lock()), {}, r"^argument 2: <lock>"),
        ((1,), {"b": {"deep": [threading.Lock()]}}, r"^argument 'b': <dict>\['deep'\]\[0\]"),
        ((Client(),), {}, "argument 1: .*a Client cannot leave its program"),
    ):
        with pytest.raises(ShippingError, match=words):
            shipper.pack_call(fn, args, kwargs)


def test_other_processes_that_go_are_not_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a client moves to another scheduler it has none; processes that were never reached have no number."""
    client = Client()
    events: list[d.Event] = []
    gone: list[str] = []
    monkeypatch.setattr(client._shell, "state", RUNNING)
    monkeypatch.setattr(client._shell, "handle", events.append)
    monkeypatch.setattr(client._turn, "scheduler_gone", gone.append)
    client._incoming.process_gone(0, "cannot be reached")
    assert not gone
    monkeypatch.setattr(client._turn, "scheduler", 5)
    client._incoming.process_gone(5, "it has ended")
    assert gone == ["it has ended"]
    assert [type(event) for event in events] == [d.ProcessLost, d.ProcessLost]


@pytest.mark.parametrize("seconds", [0, -1, 101, float("inf"), float("nan"), "10", None])
def test_a_pulse_interval_that_is_none(seconds: Any) -> None:
    with pytest.raises(UsageError, match=r"pulse_interval=.*at most 100"):
        Client(pulse_interval=seconds)


@pytest.mark.parametrize("what", ["disable_nodes", "disable_servers"])
def test_who_enables_must_be_told(what: str) -> None:
    """Until it is scheduled: the task may need the client first."""
    client = Client(**{what: True})
    with pytest.raises(UsageError, match=f"{what}=True needs a status_task"):
        client._prepare()
    client.status_task = "no task"  # type: ignore[assignment]
    with pytest.raises(UsageError, match="status_task must be a Task"):
        client._prepare()


def test_steering_before_there_is_anything_to_steer() -> None:
    client = Client()
    for call in (client.suspend_node, client.close_node, client.enable_server, client.restart_server):
        with pytest.raises(ScheduleError, match=r"yield client.schedule\(\)  first"):
            call("127.0.0.1")
    with pytest.raises(ScheduleError, match=r"Client\(nodes=\[NodeAllocate\('10.0.0.\*'\)"):
        client.node_allocate(NodeAllocate("10.0.0.*"))


def test_a_yield_of_a_client_says_what_to_yield(kernel: VirtualKernel) -> None:
    def main() -> Any:
        client = Client()
        with pytest.raises(SenselessYield, match=r"write: x = yield client.schedule\(\)"):
            yield client
        with pytest.raises(SenselessYield, match=r"write: x = yield client.options\(retries=1\).rtask\(fn, ...\)"):
            yield client.options(retries=1)

    kernel.main(main)


def node_info(**fields: Any) -> NodeInfo:
    return NodeInfo(**{**NODE, **fields})


NODE = {
    "incarnation": 1,
    "name": "n",
    "addr": "10.0.0.1",
    "port": 9706,
    "cpus": 4,
    "platform": "Linux-6.1-x86_64",
    "python": "3.11",
    "version": "0",
    "memory": 2_000,
    "disk": 3_000,
    "resources": {"gpu": 1.0},
}


class NeverWants(NodeAllocate):
    def allocate(self, *args: Any) -> int:
        return -1


class Own(NodeAllocate):
    def allocate(self, ip_addr: str, name: str, platform: str, cpus: int, memory: Any, disk: Any) -> int:
        return {"n": 1, "never": 0}.get(name, -1)


@pytest.mark.parametrize(
    ("wanted", "cpus"),
    [
        ([], 4),
        (["10.0.0.1"], 4),
        (["10.0.0.*"], 4),
        (["10.0.1.*"], 0),
        (["n*"], 4),
        ([NodeAllocate("*", platform="linux.*X86_64")], 4),
        ([NodeAllocate("*", platform="Windows")], 0),
        ([NodeAllocate("*", cpus=4)], 4),
        ([NodeAllocate("*", cpus=5)], 0),
        ([NodeAllocate("*", memory=2_000, disk=3_000)], 4),
        ([NodeAllocate("*", memory=2_001)], 0),
        ([NodeAllocate("*", disk=3_001)], 0),
        ([NodeAllocate("*", resources={"gpu": 1})], 4),
        ([NodeAllocate("*", resources={"gpu": 2})], 0),
        ([NodeAllocate("*", resources={"tpu": 1})], 0),
        ([NodeAllocate("*", resources={"tpu": 1}), NodeAllocate("*", cpus=2)], 4),
        ([NodeAllocate("10.0.0.1", use=False), "*"], 0),
        ([Own()], 1),
    ],
)
def test_which_nodes_are_wanted(wanted: Any, cpus: int) -> None:
    assert cpus_wanted(allocations(wanted), node_info())[0] == cpus


def test_the_answers_of_an_allocate_of_ones_own() -> None:
    """Positive: so many, at most what there is; 0: not at all; negative: the next one is asked."""
    chosen = allocations([Own(), NodeAllocate("*")])
    assert cpus_wanted(chosen, node_info(name="n"))[0] == 1
    assert cpus_wanted(chosen, node_info(name="never"))[0] == 0
    assert cpus_wanted(chosen, node_info(name="other"))[0] == 4


def test_what_allocate_is_called_with() -> None:
    """Its address, name, platform, processors, free memory and disk space; and it gets no more than there is."""
    calls: list[tuple[Any, ...]] = []

    class Asks(NodeAllocate):
        def allocate(self, *args: Any) -> int:
            calls.append(args)
            return 10

    chosen = [Asks(resources={"tpu": 1}), Asks(), Asks()]
    assert cpus_wanted(chosen, node_info()) == (4, chosen[1])
    assert calls == [("10.0.0.1", "n", "Linux-6.1-x86_64", 4, 2_000, 3_000)], "the resources are looked at before"


def test_what_a_node_does_not_say_is_not_enough() -> None:
    unknown = node_info(memory=None, disk=None)
    assert cpus_wanted([NodeAllocate()], unknown)[0] == 4
    assert cpus_wanted([NodeAllocate(memory=1)], unknown)[0] == 0
    assert cpus_wanted([NodeAllocate(disk=1)], unknown)[0] == 0


def test_of_several_nodes_at_an_address_the_one_with_the_port() -> None:
    """Its own port, or the one by which it is reached, which may be forwarded."""
    info = node_info()
    other = info.port + 100
    assert cpus_wanted([NodeAllocate("10.0.0.1", info.port)], info)[0] == 4
    for meant in (NodeAllocate("10.0.0.1", other), NodeAllocate(f"10.0.0.1:{other}"), NodeAllocate("10.*", other)):
        assert cpus_wanted([meant], info)[0] == 0
    reached = {Location("10.0.0.1", other): info.incarnation}
    assert cpus_wanted([NodeAllocate("10.0.0.1", other)], info, lambda at: reached.get(at, 0))[0] == 4


def test_a_name_is_resolved_to_the_address() -> None:
    assert NodeAllocate("localhost").location == Location("127.0.0.1", 9706)
    assert cpus_wanted(allocations(["localhost"]), node_info(addr="127.0.0.1"))[0] == 4
    assert cpus_wanted(allocations(["localhost"]), node_info(addr="127.0.0.2"))[0] == 0


def test_the_name_that_only_the_node_itself_knows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    one = NodeAllocate("lab 7")
    assert one.location is None
    assert "'lab 7' cannot be resolved" in caplog.text and "parkcosnode.py -n lab 7" in caplog.text
    assert cpus_wanted([one], node_info(name="lab 7"))[0] == 4
    assert cpus_wanted([one], node_info(name="lab 77"))[0] == 0
    with_port = NodeAllocate("lab:9800")
    assert cpus_wanted([with_port], node_info(name="lab", port=9800))[0] == 4
    assert cpus_wanted([with_port], node_info(name="lab", port=9706))[0] == 0


def test_by_default_nothing_is_asked_of_a_node() -> None:
    one = NodeAllocate()
    assert (one.node, one.port, one.platform, one.cpus, one.memory, one.disk) == ("*", 9706, "", 0, 0, 0)
    assert one.location is None, "a pattern is not dialled"


@pytest.mark.parametrize("resources", [{"gpu": "one"}, {"gpu": -1}, {"gpu": float("nan")}, {1: 1}, ["gpu"], "gpu"])
def test_resources_that_are_none(resources: Any) -> None:
    with pytest.raises(ConfigError, match="write names and numbers"):
        NodeAllocate(resources=resources)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"node": 5}, "node=5"),
        ({"platform": 5}, "platform=5"),
        ({"platform": "("}, "no regular expression"),
        ({"cpus": "4"}, "cpus='4'"),
        ({"cpus": -1}, "cpus=-1"),
        ({"cpus": 1.5}, "cpus=1.5): give a whole number"),
        ({"cpus": float("nan")}, "cpus=nan"),
        ({"node": "10.0.0.999"}, "'10.0.0.999' cannot be resolved"),
        ({"node": ""}, "'' is not a host"),
        ({"node": " one"}, "' one' is not a host"),
        ({"node": "fe80::1%"}, "fe80::1%"),
        ({"memory": "1G"}, "memory='1G'"),
        ({"disk": float("inf")}, "disk=inf"),
        ({"port": "9706"}, "port='9706'"),
        ({"port": 65536}, "port=65536"),
        ({"node": "10.0.*:9706"}, "port=..."),
    ],
)
def test_what_nobody_can_ask_of_a_node(wanted: dict[str, Any], words: str) -> None:
    """It is said at once: later, no node would be used."""
    with pytest.raises(ConfigError) as caught:
        NodeAllocate(**wanted)
    assert words in str(caught.value)


@pytest.mark.parametrize("answer", [None, "2", 1.5, float("nan")])
def test_an_allocate_that_answers_with_no_number(answer: Any) -> None:
    class Answers(NodeAllocate):
        def allocate(self, *args: Any) -> Any:
            return answer

    with pytest.raises(UsageError, match=r"Answers.allocate\(\) must return a whole number"):
        cpus_wanted([Answers()], node_info())


@pytest.mark.parametrize("nodes", ["n", 5, NodeAllocate("*"), [5]])
def test_nodes_that_are_no_list_of_nodes(nodes: Any) -> None:
    with pytest.raises(ConfigError, match="nodes m"):
        Client(nodes=nodes)


@pytest.mark.parametrize("component", [5, None, {"a": 1}, "", b"path"])
def test_what_is_no_component(component: Any) -> None:
    """An instance stands for its class; those of built-in classes are a mistake."""
    with pytest.raises(UsageError, match="is no component"):
        bundle([component], None)


class Box:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Message]] = []

    def send(self, process: int, _part: str, message: Message, *payload: Any) -> bool:
        self.sent.append((process, message))
        return True


class FakeHub:
    def __init__(self) -> None:
        self.by_incarnation: dict[int, Any] = {}
        self.guests = Guests(None)

    def peer_at(self, *place: Any, **options: Any) -> None:
        pass

    def end(self, *args: Any) -> None:
        pass


class FakeIO:
    """Its loop never comes round."""

    def __init__(self) -> None:
        self.loop = self

    def call(self, fn: Any, *args: Any) -> None:
        pass

    def call_later(self, delay_s: float, fn: Any, *args: Any) -> None:
        pass


def running_client(kernel: VirtualKernel, **options: Any) -> Client:
    """A client that has its turn, and talks to nobody."""
    client = Client(**options)
    shell = client._shell
    shell.kernel = kernel
    shell.network = SimpleNamespace(hub=FakeHub(), io=FakeIO(), options=SimpleNamespace(pulse_s=5.0))  # type: ignore[assignment]
    shell.side = SimpleNamespace(box=Box(), wants_servers=set(), contacts={}, clients={})  # type: ignore[assignment]
    shell.circle = SimpleNamespace(  # type: ignore[assignment]
        grant_at=lambda node: b"", lives_at=lambda *_: None, keep_only=lambda _: None
    )
    shell.timer = SimpleNamespace(set=lambda deadline: None)  # type: ignore[assignment]
    shell.bundle_digests, shell.state = {}, RUNNING
    client._nodes.bundle, client._nodes.encoded_bundle = Bundle([], [], None, []), b""
    return client


@pytest.fixture
def kernel() -> Iterator[VirtualKernel]:
    kernel = VirtualKernel()
    yield kernel
    kernel.terminate()


def drain(kernel: VirtualKernel) -> None:
    """Do what was posted."""
    while kernel._inbox:
        kernel._drain()


def bring_node(client: Client, kernel: VirtualKernel, number: int, **fields: Any) -> None:
    shell, received, scheduler = client._shell, client._incoming.received, client._turn.scheduler
    received(scheduler, m.NodeOffer(shell.id, node_info(incarnation=number, **fields)), 0, b"")
    drain(kernel)
    received(scheduler, m.NodeGranted(shell.id, number), 0, b"")
    received(number, m.NodeReady(shell.id, shell.machine.nodes[number].setup_id), 0, b"")
    received(number, m.NodeAvail(shell.id, 50.0, 10, 10, 10), 0, b"")


def bring_server(client: Client, node: int, server: int, index: int = 0) -> None:
    client._incoming.received(node, m.ServerUp(client._shell.id, index, "", 9700 + server % 100, server), 0, b"")
    client._incoming.received(server, sm.ServerReady(client._shell.id), 0, b"")


def test_the_tables_of_a_client_that_has_had_a_thousand_servers_are_bounded(kernel: VirtualKernel) -> None:
    """And as many nodes, wanted or not, and servers that it could not use."""
    client = running_client(kernel, nodes=[NodeAllocate("10.0.0.9", use=False), "10.0.0.1"])
    for node in range(1_000, 1_000_000, 1_000):
        bring_node(client, kernel, node)
        bring_server(client, node, node + 1)
        unwanted = node_info(incarnation=node + 9, addr="10.0.0.9")
        client._incoming.received(client._turn.scheduler, m.NodeOffer(client._shell.id, unwanted), 0, b"")
        drain(kernel)
        client._incoming.process_gone(node + 1, "it has ended")
        client._incoming.process_gone(node, "it has ended")
        gone = m.NodeUnusable(client._shell.id, node_info(incarnation=node), "it is gone")
        client._incoming.received(client._turn.scheduler, gone, 0, b"")
        client._incoming.received(node, m.ServerUp(client._shell.id, 1, "", 9708, node + 2), 0, b"")  # too late
    client._shell.handle(d.TimePassed())
    bring_node(client, kernel, 5)
    bring_server(client, 5, 6)
    client._incoming.look_for_silence(client._shell.id)
    parts = [client, *vars(client).values(), *vars(client._shell).values()]
    tables = {
        f"{type(part).__name__}.{name}": table
        for part in parts
        if type(part).__module__.startswith("parkcos.client")
        for name, table in vars(part).items()
        if isinstance(table, dict | set | list) and name not in ("_execute", "_handlers")
    }
    assert {"ClientShell.known", "Nodes.infos", "Incoming._silent"} <= tables.keys()
    assert len(tables) > 20
    assert {name: len(table) for name, table in tables.items() if len(table) > 4} == {}
    assert client._shell.locations.keys() == client._shell.known.keys() == {6}
    assert client._nodes.infos.keys() == client._nodes.avail.keys() == client._nodes.matched.keys() == {5}


def submission(number: int, server: int, **more: Any) -> Submission:
    """An I/O task for that server."""
    what: dict[str, Any] = {"name": "fn", "args": (), "kwargs": {}, "form": 0, "buffers": [], "definitions": ()}
    return Submission(number=number, io=True, want_server=server, **what | {"completion": None} | more)


def submit(client: Client, record: Submission) -> None:
    client._shell.submissions[record.number] = record
    client._shell.handle(d.Submitted(record))


def test_what_is_gone_through_with_the_lock_changes_with_the_lock(kernel: VirtualKernel) -> None:
    """Tasks are submitted in any thread, while another one looks at all there are."""
    client = running_client(kernel)
    changes = []

    class Guarded(dict[int, Submission]):
        def __setitem__(self, number: int, record: Submission) -> None:
            changes.append(client._shell.lock._is_owned())  # type: ignore[attr-defined]
            super().__setitem__(number, record)

        def __delitem__(self, number: int) -> None:
            changes.append(client._shell.lock._is_owned())  # type: ignore[attr-defined]
            super().__delitem__(number)

    bring_node(client, kernel, 10)
    bring_server(client, 10, 11)
    client._shell.submissions = Guarded()
    rtask: Any = SimpleNamespace(location="there", ended=lambda *_, **__: None)
    record = submission(1, 11, rtask=rtask)
    enter(client._shell, record, 11, 0)
    record.started = True
    form, buffers = dumps(None)
    client._incoming.received(11, sm.TaskEnded(client._shell.id, 1, "finished", 0.0, 5), form, b"".join(buffers))
    drain(kernel)
    assert changes == [True, True]


def test_a_server_that_comes_while_a_function_is_asked_about_others(kernel: VirtualKernel) -> None:
    """The function is about to be used: it is asked about that one, too."""
    client = running_client(kernel)
    asked: list[int] = []

    def accepts(_: NodeFacts, server: ServerFacts) -> bool:
        if not asked:
            asked.append(0)  # once
            bring_server(client, 10, 12)
            drain(kernel)
        return True

    bring_node(client, kernel, 10)
    bring_server(client, 10, 11)
    record = submission(1, 0)
    record.choice = client._nodes.choosing.number_of(accepts)
    enter(client._shell, record, 0, 0)
    client._nodes.choosing.entered(record.choice)
    assert client._shell.machine.queue.choices.by_number[record.choice].servers.keys() == {11, 12}


def test_the_tasks_of_a_server_are_those_at_that_server(kernel: VirtualKernel) -> None:
    """Also while there are servers whose node is gone: those have no node, as what is asked for has none."""
    client = running_client(kernel)
    for node in (10, 20):
        bring_node(client, kernel, node)
    bring_server(client, 10, 11)
    bring_server(client, 20, 21)
    for task, server in ((1, 11), (2, 21)):
        rtask: Any = SimpleNamespace(name=f"at {server}")
        submit(client, submission(task, server, rtask=rtask))
        client._shell.machine.tasks[task].started = True
    client._incoming.process_gone(10, "it has ended")
    assert client._shell.machine.servers[11].node == 0, "its session has not had its last word"
    found: list[Any] = []

    def asks() -> Any:
        for where in (client._shell.locations[21], None):
            found.append([rtask.name for rtask in (yield client.tasks(where))])

    kernel.main(asks)
    assert found == [["at 21"], ["at 11", "at 21"]]


def test_an_order_that_fails_takes_no_other_with_it(kernel: VirtualKernel, caplog: pytest.LogCaptureFixture) -> None:
    client = running_client(kernel)
    bring_node(client, kernel, 10)
    bring_server(client, 10, 11)
    told: list[Any] = []
    for task in (1, 2):
        completion: Any = SimpleNamespace(set_exception=lambda error, task=task: told.append((task, str(error))))
        record = submission(task, 11, completion=completion)
        if task == 1:
            record.definitions = [object()]  # type: ignore[list-item]
        submit(client, record)
    drain(kernel)
    assert [task for task, _ in told] == [1]
    assert "it could not be sent" in told[0][1]
    assert "failed" in caplog.text
    assert list(client._shell.machine.tasks) == [2]


def test_which_of_several_nodes_is_meant(kernel: VirtualKernel) -> None:
    client = running_client(kernel, nodes=["*"])
    for number, (name, addr, port) in enumerate(
        [("one", "10.0.0.1", 9706), ("two", "10.0.0.1", 9800), ("two", "10.0.0.3", 9706), ("six", "fd00::6", 9706)], 1
    ):
        bring_node(client, kernel, number, name=name, addr=addr, port=port)

    def suspended(where: Location | str) -> set[int]:
        client.suspend_node(where)
        found = {number for number, node in client._shell.machine.nodes.items() if SUSPENDED in node.holds}
        client.resume_node(where)
        return found

    assert suspended("one") == suspended("10.0.0.1:9706") == suspended(Location("10.0.0.1", 9706)) == {1}
    assert suspended("two:9800") == suspended("10.0.0.1:9800") == {2}
    assert suspended("10.0.0.3") == {3}
    assert suspended("fd00::6") == suspended("[fd00::6]:9706") == {4}
    with pytest.raises(
        ScheduleError, match=r"10.0.0.1 may be one \(10.0.0.1:9706\) or two \(10.0.0.1:9800\)\n.*'10.0.0.1:9706'"
    ):
        client.suspend_node("10.0.0.1")
    with pytest.raises(ScheduleError, match=r"two may be two \(10.0.0.1:9800\) or two \(10.0.0.3:9706\)"):
        client.close_node("two")
    with pytest.raises(ScheduleError, match="may be one"):
        client.abandon_zombie("10.0.0.1")
    assert not any(node.holds or node.abandon for node in client._shell.machine.nodes.values())


def test_nodes_that_announce_one_address_are_told_apart_by_their_names_alone(kernel: VirtualKernel) -> None:
    client = running_client(kernel, nodes=["*"])
    for number, name in (1, "one"), (2, "two"):
        bring_node(client, kernel, number, name=name, addr="10.0.2.15", port=9706)
    client.suspend_node("two")
    assert [number for number, node in client._shell.machine.nodes.items() if node.holds] == [2]
    with pytest.raises(
        ScheduleError, match=r"one \(10.0.2.15:9706\) or two \(10.0.2.15:9706\)\n.*parkcosnode.py -i ADDRESS"
    ):
        client.suspend_node("10.0.2.15:9706")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (["10.0.0.2"], "nodes= does not name it"),
        ([NodeAllocate("*", use=False), NodeAllocate("*", cpus=8)], "NodeAllocate('*') leaves it out"),
        ([NodeAllocate("*", cpus=8)], "it has 4 processors, 8 were asked for"),
        ([NodeAllocate("*", memory=4_000)], "it has 2,000 bytes of memory free, 4,000 were asked for"),
        (
            [NodeAllocate("*", disk=4_000), NodeAllocate("*", resources={"gpu": 2, "tpu": 1})],
            "it has 3,000 bytes of disk free, 4,000 were asked for; it has 1 gpu, 2 were asked for; "
            "it has 0 tpu, 1 were asked for",
        ),
        ([NodeAllocate("*", platform="Plan 9")], "its platform is 'Linux-6.1-x86_64', 'Plan 9' was asked for"),
        ([NodeAllocate("10.0.0.1", 9999)], "NodeAllocate('10.0.0.1') asks for port 9999, it has 9706"),
        ([NeverWants()], "NeverWants.allocate() does not want it"),
        ([NodeAllocate("*", cpus=8), NodeAllocate("10.*", cpus=8)], "it has 4 processors, 8 were asked for"),
    ],
)
def test_why_a_node_is_not_wanted(wanted: Any, why: str) -> None:
    chosen = allocations(wanted)
    assert cpus_wanted(chosen, node_info())[0] == 0
    assert why_unwanted(chosen, node_info(), lambda at: 0) == why
    unknown = node_info(memory=None)
    assert why_unwanted([NodeAllocate(memory=1)], unknown, lambda at: 0) == (
        "it does not say how much memory is free, 1 were asked for"
    )


def test_a_client_that_was_never_scheduled_may_be_closed_twice() -> None:
    def close(client: Client) -> Iterator[Any]:
        yield client.close()
        yield client.close()

    def in_block() -> Iterator[Any]:
        with Client() as client:
            yield client.close()

    run(in_block)
    with Client() as client:
        run(close, client)
    with client:
        pass
    run(close, client)


def test_a_client_belongs_to_the_task_that_has_scheduled_it_last(kernel: VirtualKernel) -> None:
    """A task whose `schedule` came to nothing, and which has ended since, is no reason to close the client."""
    client = running_client(kernel)
    member: Any = None

    def first(task: Any = None) -> Iterator[Any]:
        def schedules() -> Iterator[Any]:
            client._turn.enter(member, task, client._closing.owner_ended)
            yield

        yield schedules()
        assert client._turn.give_up()

    kernel.main(first)
    assert client._shell.state is NEW
    client._turn.enter(member, None, client._closing.owner_ended)
    client._shell.state = RUNNING
    assert not client._closing.is_left()


@pytest.mark.parametrize("state", [WAITING, RUNNING])
@pytest.mark.parametrize("moves", [False, True])
def test_another_program_in_the_place_of_the_scheduler(kernel: VirtualKernel, state: str, moves: bool) -> None:
    """The client is told that there is no scheduler; else what waits for a turn, or for nodes, waits for ever."""

    @operation
    def at(*_: Any) -> Iterator[Any]:
        yield
        raise ScheduleError("<node> is no scheduler")

    client = running_client(kernel)
    client._shell.side = SimpleNamespace(at=at, clients={})  # type: ignore[assignment]
    client._shell.state = state
    events: list[d.Event] = []
    client._shell.handle = events.append  # type: ignore[method-assign]
    turn = client._turn._begins = Completion(kernel, "schedule")
    where = Location("127.0.0.1", 9705)
    task = (
        kernel.spawn(client._turn._queue_at, where)
        if moves
        else kernel.spawn(client._turn._return_to, where, "it has ended")
    )

    def main() -> Iterator[Any]:
        yield task.result()
        if state is WAITING:
            with pytest.raises(ScheduleError, match="is no scheduler"):
                yield turn
        else:
            (lost,) = events
            assert isinstance(lost, d.SchedulerLost)
            assert "is no scheduler" in lost.reason
            turn.set_result(0)
            yield turn

    kernel.main(main)


def test_a_remote_task_that_has_ended_is_known_to_have_without_waiting(kernel: VirtualKernel) -> None:
    rtask = RemoteTask(SimpleNamespace(kernel=kernel), Location("127.0.0.1", 9707), 5, 1, "there")  # type: ignore[arg-type]
    rtask._watched = True

    def main() -> Iterator[Any]:
        assert (yield rtask.finish(timeout=0)) is None
        rtask.ended(Outcome("finished", 7))
        assert (yield rtask.finish(timeout=0)) == 7
        assert (yield rtask.finish(timeout=1)) == 7

    kernel.main(main)


def test_each_order_of_the_machine_is_carried_out() -> None:
    assert set(get_args(d.Effect)) == Client()._shell._execute.keys()
