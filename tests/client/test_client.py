"""parkcos/client: what a Client says of its arguments, and what it makes of processes that go."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos import Client, ConfigError, NodeAllocate, ScheduleError, ShippingError, UsageError
from parkcos.client import dispatch_events as d
from parkcos.client.allocate import allocations, cpus_wanted
from parkcos.client.components import bundle
from parkcos.client.rtasks import Submission
from parkcos.client.shell import RUNNING
from parkcos.cluster import messages as m
from parkcos.cluster.shipping import Shipper
from parkcos.errors import TaskTerminated
from parkcos.kernel import Outcome
from parkcos.net.location import Location


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
    monkeypatch.setattr(client, "_state", RUNNING)
    monkeypatch.setattr(client, "_handle", events.append)
    monkeypatch.setattr(client, "_scheduler_gone", gone.append)
    client._process_gone(0, "cannot be reached")
    assert not gone
    monkeypatch.setattr(client, "_scheduler", 5)
    client._process_gone(5, "it has ended")
    assert gone == ["it has ended"]
    assert [type(event) for event in events] == [d.ProcessLost, d.ProcessLost]


def test_a_task_that_is_to_end_is_not_run_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with options(retries=2, retry_on=Exception), of which TaskTerminated is one."""
    client = Client()
    events: list[d.Event] = []
    sent: list[m.Message] = []
    monkeypatch.setattr(client, "_handle", events.append)
    monkeypatch.setattr(
        client,
        "_side",
        SimpleNamespace(box=SimpleNamespace(send=lambda _process, _part, message: sent.append(message))),
        raising=False,
    )
    terminated = Outcome("terminated", None, TaskTerminated("terminated by its client"))
    for task in (1, 2):
        submission = Submission("fn", False, (), {}, 0, [], (), None, retries=2, retry_on=(Exception,))
        client._submissions[task] = submission
        if task == 2:
            client._end_task(d.EndTask(task, 5))
        assert client._run_again(submission, terminated) == (task == 1)
    assert len(events) == 1
    assert sent == [m.EndTask(client._id, 2)]


@pytest.mark.parametrize("seconds", [0, -1, 101, float("inf"), float("nan"), "10", None])
def test_a_pulse_interval_that_is_none(seconds: Any) -> None:
    with pytest.raises(UsageError, match=r"pulse_interval=.*at most 100"):
        Client(pulse_interval=seconds)


@pytest.mark.parametrize("what", ["disable_nodes", "disable_servers"])
def test_who_enables_must_be_told(what: str) -> None:
    with pytest.raises(UsageError, match=f"{what}=True needs a status_task"):
        Client(**{what: True})


def test_steering_before_there_is_anything_to_steer() -> None:
    client = Client()
    for call in (client.suspend_node, client.close_node, client.enable_server, client.restart_server):
        with pytest.raises(ScheduleError, match=r"yield client.schedule\(\)  first"):
            call("127.0.0.1")
    with pytest.raises(ScheduleError, match=r"Client\(nodes=\[NodeAllocate\('10.0.0.\*'\)"):
        client.node_allocate(NodeAllocate("10.0.0.*"))


def node_info(**fields: Any) -> m.NodeInfo:
    return m.NodeInfo(**{**NODE, **fields})


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
