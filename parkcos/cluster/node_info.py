"""A node as it describes itself to schedulers and clients."""

from __future__ import annotations

from typing import Annotated

import msgspec

from parkcos.net.bounds import Addr, Count, Name, Number, Port, Seconds, Text, must_be_location, must_be_numeric

Bytes = Number
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e18)]


class NodeInfo(msgspec.Struct, array_like=True, frozen=True):
    """A node as it describes itself.

    memory, disk: free bytes.
    scheduler: the shared one that it belongs to, or "".
    closed: why it takes no client now, whether it serves one or not; "" if it does.
    pulse_interval_min, pulse_interval_max: seconds; what a client may ask for.
    own_max: how many processes of single tasks it may have at once, beside its servers.
    owner: to whom the grant was given by which it takes part; "": it has the cluster's secret.
    """

    incarnation: Number
    name: Name
    addr: Addr
    port: Port
    cpus: Count
    platform: Name
    python: Name
    version: Name
    memory: Bytes | None = None
    disk: Bytes | None = None
    scheduler: Name = ""
    closed: Text = ""
    pulse_interval_min: Seconds = 10.0
    pulse_interval_max: Seconds = 100.0
    resources: Annotated[dict[Name, Amount], msgspec.Meta(max_length=100)] = {}
    """What its operator says it has, as gpu=1."""
    own_max: Count = 0
    owner: Name = ""

    def __post_init__(self) -> None:
        must_be_numeric(self.addr)
        if self.scheduler:
            must_be_location(self.scheduler)
