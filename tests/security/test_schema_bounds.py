"""Every field of every message that another process sends has its bounds in the schema."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import inspect

import parkcos
from parkcos.cluster import messages
from parkcos.errors import ProtocolError
from parkcos.net.finding.datagram import Announce, Leaving, _decode
from parkcos.net.session.session import PROTOCOL, Hello, decode_hello
from tests.live.any_message import Strange
from tests.resolver import HOST, Resolver

OWN_WORD = {
    "parkcos.cluster.blobs": "lies in a file that the process's own client has made",
    "parkcos.cluster.bundle": "is opened in processes that run this client's code, and nowhere else",
    "parkcos.cluster.definitions": "is opened in processes that run this client's code, and nowhere else",
    "parkcos.deploy.messages": "goes through a socket between a program and the node that it has started",
    "parkcos.node.family.decode_order": "is what the node says to its zygote",
}
"""What is decoded elsewhere, and who says it: nobody against whom bounds would help."""
LEAVE_OUT = ("parkcos.__main__", "parkcos.compat")


def standing() -> Iterator[tuple[str, msgspec.msgpack.Decoder[Any]]]:
    """All decoders of the package, with each place where they stand."""
    root = Path(parkcos.__file__).parent
    for path in sorted(root.rglob("*.py")):
        full = ".".join(["parkcos", *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
        if full.startswith(LEAVE_OUT):  # pycos's names would be added to ours
            continue
        module = importlib.import_module(full)
        for name, value in vars(module).items():
            for each in value.values() if isinstance(value, dict) and name != "__builtins__" else [value]:
                decoder = getattr(each, "__self__", each)
                if isinstance(decoder, msgspec.msgpack.Decoder | msgspec.json.Decoder):
                    yield f"{full}.{name}", decoder


PLACES: dict[int, list[str]] = {}
"""Of each decoder: where it is made, and where it is imported."""
TYPES: dict[int, Any] = {}
for place, decoder in standing():
    PLACES.setdefault(id(decoder), []).append(place)
    TYPES[id(decoder)] = decoder.type
FOREIGN = [
    pytest.param(TYPES[number], id=places[0])
    for number, places in PLACES.items()
    if not any(place.startswith((*OWN_WORD, "parkcos.httpd")) for place in places)
]


def unbounded(kind: inspect.Type, where: str, seen: set[type]) -> Iterator[str]:
    """Where in a type something may be as large as its sender likes."""
    match kind:
        case inspect.Metadata():
            yield from unbounded(kind.type, where, seen)
        case inspect.IntType() | inspect.FloatType():
            if (kind.ge is None and kind.gt is None) or (kind.le is None and kind.lt is None):
                yield f"{where}: a number"
        case inspect.StrType() | inspect.BytesType() | inspect.ByteArrayType() | inspect.MemoryViewType():
            if kind.max_length is None:
                yield f"{where}: {type(kind).__name__}"
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            if kind.max_length is None:
                yield f"{where}: a list"
            yield from unbounded(kind.item_type, f"{where}[]", seen)
        case inspect.TupleType():
            for number, each in enumerate(kind.item_types):
                yield from unbounded(each, f"{where}[{number}]", seen)
        case inspect.DictType():
            if kind.max_length is None:
                yield f"{where}: a dict"
            yield from unbounded(kind.key_type, f"{where} keys", seen)
            yield from unbounded(kind.value_type, f"{where} values", seen)
        case inspect.UnionType():
            for each in kind.types:
                yield from unbounded(each, where, seen)
        case inspect.StructType() | inspect.DataclassType():
            if kind.cls not in seen:
                seen.add(kind.cls)
                for field in kind.fields:
                    yield from unbounded(field.type, f"{kind.cls.__name__}.{field.name}", seen)
        case inspect.NoneType() | inspect.BoolType() | inspect.LiteralType():
            pass
        case _:
            yield f"{where}: {kind}"


def message_of(kind: Any) -> Any:
    """Of the stream of the network layer, which comes as a list that one frame holds: what is in it."""
    return kind.__args__[0] if getattr(kind, "__origin__", None) is list else kind


def test_the_decoders_are_found() -> None:
    names = {place for places in PLACES.values() for place in places}
    assert {
        "parkcos.net.wire.decode",
        "parkcos.net.session.session._hello_decoder",
        "parkcos.net.finding.datagram._decoder",
        "parkcos.net.finding.relay._decode",
        "parkcos.net.files.messages.decode",
        "parkcos.cluster.schemas.DECODERS",
        "parkcos.node.family.decode_news",
    } <= names
    assert len(FOREIGN) >= 10
    assert all(any(name.startswith(own) for name in names) for own in OWN_WORD), "one is listed that is none"


@pytest.mark.parametrize("kind", FOREIGN)
def test_each_field_has_its_bounds(kind: Any) -> None:
    seen: set[type] = set()
    assert not list(unbounded(inspect.type_info(message_of(kind)), "", seen))
    assert seen, "no message was looked at"


@pytest.mark.parametrize(
    "field",
    [
        int,
        float,
        str,
        bytes,
        memoryview,
        list[bool],
        dict[bool, bool],
        tuple[int, ...],
        tuple[bool, str],
        Any,
        Annotated[int, msgspec.Meta(ge=0)],
        Annotated[list[str], msgspec.Meta(max_length=3)],
        str | None,
    ],
)
def test_a_field_without_bounds_is_seen(field: Any) -> None:
    inner = msgspec.defstruct("Inner", [("field", field)])
    outer = msgspec.defstruct("Outer", [("fine", bool), ("inner", inner | None)])  # type: ignore[valid-type]
    assert len(list(unbounded(inspect.type_info(outer), "", set()))) >= 1


# -- names of hosts


def numeric_only(kind: inspect.Type) -> Iterator[tuple[inspect.StructType, inspect.Field]]:
    """The fields of a message that hold addresses."""
    match kind:
        case inspect.UnionType():
            for each in kind.types:
                yield from numeric_only(each)
        case inspect.StructType() | inspect.DataclassType():
            for field in kind.fields:
                if field.name in ADDRESSES:
                    yield kind, field


ADDRESSES = ("addr", "addrs", "client_addr", "scheduler", "servers")
WITH_ADDRESSES = [
    pytest.param(kind.cls, field.name, id=f"{kind.cls.__module__}.{kind.cls.__name__}.{field.name}")
    for param in FOREIGN
    for kind, field in numeric_only(inspect.type_info(message_of(param.values[0])))
]


@pytest.mark.parametrize("host", [HOST, "localhost", "127.1", "", " 127.0.0.1", "127.0.0.1\0", "fe80::1%" + "e" * 80])
@pytest.mark.parametrize(("kind", "field"), WITH_ADDRESSES)
def test_no_name_of_a_host_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, kind: type[msgspec.Struct], field: str, host: str
) -> None:
    """A resolver that never answers is not asked: messages with names are refused where they are decoded."""
    resolver = Resolver(monkeypatch)
    if not host and kind is messages.ServerUp:
        return  # it is where its node is
    names = [each.name for each in inspect.type_info(kind).fields]  # type: ignore[attr-defined]
    tag, *values = [None, *decoded(HELLO)] if kind is Hello else Strange(1, [1]).message(kind, valid=True)
    values += [None] * (len(names) - len(values))
    values[names.index(field)] = {
        "addrs": [host],
        "scheduler": f"{host}:1",
        "servers": [[host, 1, 1]],
    }.get(field, host)
    data = msgspec.msgpack.encode(values if tag is None else [tag, *values])
    with pytest.raises((msgspec.MsgspecError, ProtocolError)):
        OPENS.get(kind, msgspec.msgpack.Decoder(kind).decode)(data)
    assert not resolver.asked.is_set()


HELLO = Hello(PROTOCOL, "0.1.0", "3.11", 1, "a", "127.0.0.1", 9001, ("peer",), addrs=("10.0.0.1",))
OPENS: dict[type, Callable[[bytes], Any]] = {Hello: decode_hello, Announce: _decode, Leaving: _decode}
"""What looks at more than the schema."""


def decoded(message: msgspec.Struct) -> list[Any]:
    return list(msgspec.msgpack.decode(msgspec.msgpack.encode(message)))


def test_the_good_greeting_is_one() -> None:
    assert decode_hello(msgspec.msgpack.encode(HELLO)) == HELLO
