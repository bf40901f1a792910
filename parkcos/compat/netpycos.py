"""pycos.netpycos: the names of `pycos`, and a network that the first task, channel or client starts."""

from __future__ import annotations

from parkcos.compat import pycos, runtime
from parkcos.compat.pycos import (
    RPS,
    RTI,
    AsyncDBCursor,
    AsyncSocket,
    AsyncThreadPool,
    CategorizeMessages,
    Channel,
    Condition,
    Event,
    HotSwapException,
    Location,
    Lock,
    Logger,
    MonitorStatus,
    PeerStatus,
    Pycos,
    RLock,
    Semaphore,
    Singleton,
    Task,
    deserialize,
    logger,
    serialize,
)
from parkcos.compat.pycos import MaxConnectionErrors as MaxConnectionErrors
from parkcos.compat.pycos import MsgTimeout as MsgTimeout
from parkcos.compat.pycos import PickleProtocolVersion as PickleProtocolVersion
from parkcos.compat.pycos import Struct as Struct
from parkcos.compat.pycos import SysTask as SysTask
from parkcos.compat.pycos import __version__ as __version__
from parkcos.compat.pycos import config as config

__all__ = [
    "RPS",
    "RTI",
    "AsyncDBCursor",
    "AsyncSocket",
    "AsyncThreadPool",
    "CategorizeMessages",
    "Channel",
    "Condition",
    "Event",
    "HotSwapException",
    "Location",
    "Lock",
    "Logger",
    "MonitorStatus",
    "PeerStatus",
    "Pycos",
    "RLock",
    "Semaphore",
    "Singleton",
    "Task",
    "deserialize",
    "logger",
    "serialize",
]

__getattr__ = pycos.__getattr__

runtime.use_network()
