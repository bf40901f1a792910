"""parkcos/client: what a Client says of its arguments, and what it makes of processes that go."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from parkcos import Client, ConfigError, NodeAllocate, ShippingError
from parkcos.client import dispatch_events as d
from parkcos.client.shell import RUNNING
from parkcos.cluster.shipping import Shipper
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
    monkeypatch.setattr(client, "_state", RUNNING)
    monkeypatch.setattr(client, "_handle", events.append)
    client._process_gone(0, "cannot be reached")
    assert not any(isinstance(event, d.SchedulerLost) for event in events)
    monkeypatch.setattr(client, "_scheduler", 5)
    client._process_gone(5, "it has ended")
    assert isinstance(events[-2], d.SchedulerLost)
