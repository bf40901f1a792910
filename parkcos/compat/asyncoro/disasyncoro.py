"""asyncoro.disasyncoro: the names of `asyncoro`, and a network."""

from __future__ import annotations

from parkcos.compat import asyncoro, netpycos
from parkcos.compat.asyncoro import *  # noqa: F403
from parkcos.compat.asyncoro import MetaSingleton as MetaSingleton
from parkcos.compat.asyncoro import MsgTimeout as MsgTimeout
from parkcos.compat.asyncoro import SysCoro as SysCoro
from parkcos.compat.netpycos import PeerStatus

RCI = netpycos.RPS
"""What RPS was called then."""

__all__ = ["RCI", "PeerStatus"]
__all__ += asyncoro.__all__

__getattr__ = asyncoro.__getattr__
