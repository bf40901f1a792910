"""A module of the tests' own, which travels to the servers: as a component, or by what is used of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


@dataclass
class Point:
    x: int
    y: int
    tags: list[str] = field(default_factory=list)

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y + by, [*self.tags, "moved"])


class Base:
    made = 0

    def __init__(self, n: int) -> None:
        self.n = n

    def total(self) -> int:
        return self.n


class Derived(Base):
    def __init__(self, n: int, m: int) -> None:
        super().__init__(n)
        self.m = m

    def total(self) -> int:
        return super().total() + self.m


def doubled(x: Any) -> Any:
    return helper(x, 2)


def helper(x: Any, times: int) -> Any:
    return x * times
