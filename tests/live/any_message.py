"""Messages with the strangest values that their schema allows, and with values that it does not allow."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from msgspec import inspect

TEXTS = [
    "",
    "x",
    "ü\0\n\x1b[2J",
    "127.0.0.1",
    "::1",
    "999.1.1.1",
    "no.such.host.invalid",
    "127.0.0.1:1",
    "1:70000",
    "a" * 5000,
]
INTS = [0, 1, -1, 2, 255, 65535, 65536, 70000, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1e-300, 0.5, 1.0, -1.0, 1e9, 1e300, 1.7e308, float("inf"), float("-inf"), float("nan")]


class Strange:
    """Draws messages; the same ones for the same seed.  known: numbers that mean something to the receiver."""

    def __init__(self, seed: int, known: list[int]) -> None:
        self._random = random.Random(seed)
        self.known = known

    def message(self, kind: type[msgspec.Struct], *, valid: bool) -> list[Any]:
        """A message of this kind as it is encoded, with its tag.  valid: its schema allows all of it."""
        config = kind.__struct_config__
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        decode = msgspec.msgpack.Decoder(kind).decode
        for _ in range(10_000):
            found = [config.tag, *(self._value(field.type, valid) for field in info.fields)]
            try:
                decode(msgspec.msgpack.encode(found))
            except (ValueError, RecursionError):
                if valid:
                    continue
            return found
        raise AssertionError(f"no valid {kind.__name__} was found")

    def _value(self, kind: inspect.Type, valid: bool) -> Any:
        draw = self._random
        if not valid and draw.random() < 0.1:
            return draw.choice(
                [None, True, [], {}, b"\xff", draw.choice(INTS), draw.choice(TEXTS), draw.choice(FLOATS)]
            )
        match kind:
            case inspect.IntType():
                if draw.random() < 0.3:
                    return draw.choice(self.known)
                least, most = (kind.ge or 0, kind.le or 2**63 - 1) if valid else (-(2**63), 2**64 - 1)
                edges = [value for value in (*INTS, least, least + 1, most, most - 1) if least <= value <= most]
                return draw.choice(edges)
            case inspect.FloatType():
                least, most = (kind.ge or 0, kind.le or 1e300) if valid else (float("-inf"), float("inf"))
                fit = [value for value in (*FLOATS, least, most) if least <= value <= most]
                return draw.choice(fit if valid else FLOATS)
            case inspect.StrType():
                most_chars = kind.max_length or 20_000
                text = draw.choice([*TEXTS, "b" * most_chars])
                return text[:most_chars] if valid else text + draw.choice(["", "", "z" * 20_000])
            case inspect.BoolType():
                return draw.random() < 0.5
            case inspect.BytesType() | inspect.MemoryViewType():
                return draw.randbytes(getattr(kind, "max_length", None) or draw.choice([0, 1, 100]))
            case inspect.NoneType():
                return None
            case inspect.UnionType():
                return self._value(draw.choice(kind.types), valid)
            case inspect.ListType() | inspect.VarTupleType():
                return [self._value(kind.item_type, valid) for _ in range(draw.choice([0, 1, 3]))]
            case inspect.TupleType():
                return [self._value(each, valid) for each in kind.item_types]
            case inspect.DictType():
                pairs = range(draw.choice([0, 1, 3]))
                return {self._value(kind.key_type, True): self._value(kind.value_type, valid) for _ in pairs}
            case inspect.StructType():
                return [self._value(field.type, valid) for field in kind.fields]
            case inspect.Metadata():
                return self._value(kind.type, valid)
        raise AssertionError(f"no value for {kind}")
