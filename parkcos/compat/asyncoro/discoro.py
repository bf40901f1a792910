"""asyncoro.discoro: what dispycos was called then."""

from __future__ import annotations

from parkcos.compat import asyncoro
from parkcos.compat.dispycos import (
    Client,
    DispycosNodeAllocate,
    DispycosNodeAvailInfo,
    DispycosNodeInfo,
    DispycosStatus,
    DispycosTaskInfo,
    Scheduler,
)
from parkcos.compat.dispycos import MaxPulseInterval as MaxPulseInterval
from parkcos.compat.dispycos import MinPulseInterval as MinPulseInterval
from parkcos.compat.dispycos import MsgTimeout as MsgTimeout

Computation = Client
DiscoroStatus = DispycosStatus
DiscoroCoroInfo = DispycosTaskInfo
DiscoroNodeInfo = DispycosNodeInfo
DiscoroNodeAvailInfo = DispycosNodeAvailInfo
DiscoroNodeAllocate = DispycosNodeAllocate

__all__ = [
    "Computation",
    "DiscoroCoroInfo",
    "DiscoroNodeAllocate",
    "DiscoroNodeAvailInfo",
    "DiscoroNodeInfo",
    "DiscoroStatus",
    "Scheduler",
]

__getattr__ = asyncoro.__getattr__
