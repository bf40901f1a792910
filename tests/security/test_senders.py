"""Who may say what to whom: a matrix of roles, messages and receivers, made from the schema."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest

from parkcos.cluster import messages as m
from parkcos.cluster import schemas
from parkcos.cluster.postbox import Postbox
from parkcos.net import wire
from parkcos.net.network import FOR_ANYBODY, TASKS_ARE_IN

ROLES = (schemas.CLIENT, schemas.NODE, schemas.SCHEDULER, schemas.SERVER)
RECEIVERS = {"scheduler": m.ToScheduler, "node": m.ToNode, "client": m.ToClient, "server": m.ToServer}
EXPECTED = {
    "scheduler": {schemas.NODE: {"NodeState", "NodeAnswer"}},
    "node": {schemas.SCHEDULER: {"ReserveNode", "ReleaseNode", "AskState"}},
    "client": {
        schemas.SCHEDULER: {"Queued", "Scheduled", "NodeOffer", "NodeUnusable", "NodeGranted", "Dismissed"},
        schemas.SERVER: {
            "ServerReady", "ServerFailed", "TaskStarted", "TaskRefused", "TaskEnded", "TaskRecalled", "AskServers",
            "ServerLeaves", "ServerResumed",
        },
        schemas.CLIENT: set(),
    },
    "server": {schemas.NODE: set(), schemas.SCHEDULER: set(), schemas.SERVER: set()},
}  # fmt: skip
"""What was thought of by hand: a role not named here may say what is left, and a program what a scheduler may."""


def example(kind: Any) -> Any:
    """A message of this kind that can be decoded."""
    return msgspec.convert(_example(msgspec.inspect.type_info(kind)), kind)


def _example(info: Any) -> Any:
    match info:
        case msgspec.inspect.StructType():
            fields = {field.encode_name: _field(field) for field in info.fields if field.required}
            made = [fields.get(field.encode_name) for field in info.fields if field.required]
            return (
                [info.tag, *made] if info.array_like and info.tag is not None else made if info.array_like else fields
            )
        case msgspec.inspect.IntType():
            return max(1, info.ge or 0)
        case msgspec.inspect.FloatType():
            return float(info.ge or 0.0)
        case msgspec.inspect.StrType():
            return "0" * 40 if info.pattern else "127.0.0.1"
        case msgspec.inspect.BytesType():
            return b"0" * (info.min_length or 0)
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.ListType():
            return []
        case msgspec.inspect.UnionType():
            return None
    raise AssertionError(f"nothing is known of {info}")


def _field(field: Any) -> Any:
    return _example(field.type)


class Refusals:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, peer: Any, what: str) -> None:
        self.lines.append(what)


def heard(part: str, role: str, message: Any) -> tuple[list[Any], list[str]]:
    """What the part hears of what a process with that role says, and what is refused."""
    refusals, got = Refusals(), []
    network: Any = SimpleNamespace(
        services={},
        extensions={},
        io=SimpleNamespace(call=lambda fn, *args: fn(*args)),
        hub=SimpleNamespace(refusals=refusals),
    )
    Postbox.of(network).serve(part, lambda process, said, form, payload: got.append(said))
    peer = SimpleNamespace(roles=(role,), incarnation=7)
    network.services[part](peer, wire.Service(wire.EMPTY, 0, False, part, schemas.encode(message)))
    return got, refusals.lines


@pytest.mark.parametrize("part", RECEIVERS)
def test_each_message_has_its_senders(part: str) -> None:
    assert set(schemas.SAID_BY[part]) == set(get_args(RECEIVERS[part]))
    assert all(roles and roles <= set(ROLES) for roles in schemas.SAID_BY[part].values())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("part", RECEIVERS)
def test_nobody_says_what_is_for_another_to_say(part: str, role: str) -> None:
    allowed = set()
    for kind in get_args(RECEIVERS[part]):
        message = example(kind)
        got, refused = heard(part, role, message)
        assert (got, refused) in (([message], []), ([], [f"the message {kind.__name__} for the {part}"]))
        if got:
            allowed.add(kind.__name__)
    names = {kind.__name__ for kind in get_args(RECEIVERS[part])}
    by_hand = EXPECTED[part]
    if role in by_hand:
        assert allowed == by_hand[role]
    elif part in ("client", "server"):
        assert allowed == names.difference(*by_hand.values())
    elif part == "scheduler":
        assert allowed == (names - by_hand[schemas.NODE] if role == schemas.CLIENT else set())
    else:
        assert allowed == (names if role == schemas.CLIENT else set())


def test_who_runs_no_tasks_says_nothing_that_is_for_tasks() -> None:
    payloads = {kind for kind in get_args(wire.AnyMessage) if issubclass(kind, wire.WithPayload)}
    assert payloads - set(FOR_ANYBODY) == {
        wire.ToTask, wire.DeliverToTask, wire.ToChannel, wire.DeliverToChannel, wire.Subscribe, wire.RunRps,
    }  # fmt: skip
    assert not {wire.End, wire.Observe, wire.Withdraw, wire.Slow} & set(FOR_ANYBODY)
    assert set(TASKS_ARE_IN) == {schemas.CLIENT, schemas.SERVER}
