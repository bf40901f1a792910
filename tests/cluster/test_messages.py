"""parkcos/cluster/messages.py, server_messages.py, node_info.py, net/wire.py: every field has its bounds."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import inspect

from parkcos.cluster import messages as m
from parkcos.cluster import schemas
from parkcos.cluster import server_messages as sm
from parkcos.cluster.node_info import NodeInfo
from parkcos.net import wire
from parkcos.net.bounds import TEXT_CHARS_MAX, clipped, must_be_location
from parkcos.net.files.messages import ToReceiver, ToSender

OF_THE_CLUSTER = [m.ToScheduler, m.ToNode, m.ToClient, m.ToServer, ToReceiver, ToSender]


def unbounded(kind: inspect.Type, where: str) -> Iterator[str]:
    """The numbers, texts and collections within `kind` that nothing bounds."""
    match kind:
        case (
            inspect.IntType(ge=None)
            | inspect.IntType(le=None)
            | inspect.FloatType(ge=None)
            | inspect.FloatType(le=None)
        ):
            yield where
        case inspect.StrType(max_length=None) | inspect.BytesType(max_length=None):
            yield where
        case (
            inspect.ListType(max_length=None)
            | inspect.DictType(max_length=None)
            | inspect.VarTupleType(max_length=None)
        ):
            yield where
    inner: list[inspect.Type] = []
    match kind:
        case inspect.UnionType():
            inner = list(kind.types)
        case inspect.ListType():
            inner = [kind.item_type]
        case inspect.DictType():
            inner = [kind.key_type, kind.value_type]
        case inspect.TupleType():
            inner = list(kind.item_types)
        case inspect.StructType():
            for field in kind.fields:
                yield from unbounded(field.type, f"{where}.{field.name}")
    for each in inner:
        yield from unbounded(each, where)


@pytest.mark.parametrize("kind", [kind for kinds in OF_THE_CLUSTER for kind in typing.get_args(kinds)])
def test_every_field_of_a_message_is_bounded(kind: type[msgspec.Struct]) -> None:
    assert list(unbounded(inspect.type_info(kind), kind.__name__)) == []


@pytest.mark.parametrize("kind", typing.get_args(wire.AnyMessage))
def test_every_number_for_a_task_is_bounded(kind: type[msgspec.Struct]) -> None:
    """Texts there are looked up and not kept; the frame bounds them."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    numbers = [field for field in info.fields if "str" not in repr(field.type).lower()]
    found = [name for field in numbers for name in unbounded(field.type, f"{kind.__name__}.{field.name}")]
    assert [name for name in found if not name.endswith((".value", ".body"))] == []


INFO = NodeInfo(1, "n", "10.0.0.1", 9706, 4, "Linux", "3.11", "0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"port": 0},
        {"cpus": -1},
        {"cpus": 10**9},
        {"incarnation": -5},
        {"name": "n" * 5000},
        {"pulse_interval_min": float("nan")},
        {"pulse_interval_max": float("inf")},
        {"resources": {str(n): 1.0 for n in range(500)}},
        {"resources": {"gpu": float("inf")}},
        {"addr": "some.host"},
        {"addr": "10.0.0.999"},
        {"scheduler": "some.host:9705"},
        {"scheduler": "10.0.0.1:70000"},
    ],
)
def test_a_node_that_describes_itself_beyond_all_bounds(wrong: dict[str, object]) -> None:
    said = msgspec.to_builtins(m.NodeState(INFO, 0))
    decode = schemas.DECODERS["scheduler"].decode
    assert decode(msgspec.msgpack.encode(said)) == m.NodeState(INFO, 0)
    for name, value in wrong.items():
        said[1][NodeInfo.__struct_fields__.index(name)] = value
    with pytest.raises(msgspec.ValidationError):
        decode(msgspec.msgpack.encode(said))


def test_a_reason_is_clipped_where_it_is_said() -> None:
    message = m.NodeFailed(1, "begins " + "x" * 10**6 + " ends")
    assert len(message.error) <= TEXT_CHARS_MAX
    assert message.error.startswith("begins x")
    assert message.error.endswith("x ends")
    assert "characters are left out" in message.error
    assert schemas.DECODERS["client"].decode(schemas.encode(message)) == message
    assert clipped("short") == "short"
    assert schemas.encode(sm.TaskRefused(1, 2, "a lone \ud800")), "what cannot be encoded is replaced"


def test_what_is_no_location() -> None:
    for text in ("10.0.0.1:9705", "[::1]:1", "127.0.0.1:65535"):
        must_be_location(text)
    for text in ("", "10.0.0.1", ":1", "host:1", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", "10.0.0.1:\u0661"):
        with pytest.raises(ValueError, match="is no"):
            must_be_location(text)
