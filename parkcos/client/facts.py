"""What a function of the program is told of a place, to say whether tasks may run there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from parkcos.net.location import Location


@dataclass(frozen=True)
class NodeFacts:
    """Of a node.  memory, disk: bytes in all, None: not known.  resources: what its operator says it has, by name."""

    name: str
    location: Location
    cpus: int
    platform: str
    memory: int | None = None
    disk: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerFacts:
    """Of a server.  name: of its node and its number there, as "kiln/2"."""

    name: str
    location: Location
    number: int


Chooser = Callable[[NodeFacts, ServerFacts], bool]
