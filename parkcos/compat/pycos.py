"""pycos: tasks and what they use.  With ``pycos.netpycos`` they have a network from the first task on."""

from __future__ import annotations

import importlib
from typing import Any

from parkcos import CategorizeMessages, HotSwapException, Location, MonitorStatus
from parkcos import PeerStatus as PeerStatus
from parkcos.compat import alias, runtime
from parkcos.compat import config as config
from parkcos.compat.config import MaxConnectionErrors as MaxConnectionErrors
from parkcos.compat.config import MsgTimeout as MsgTimeout
from parkcos.compat.config import PickleProtocolVersion as PickleProtocolVersion
from parkcos.compat.extras import AsyncDBCursor, Condition, Logger, Singleton, deserialize, logger, serialize
from parkcos.compat.extras import Struct as Struct
from parkcos.compat.extras import unserialize as unserialize
from parkcos.compat.older import MonitorException as MonitorException
from parkcos.compat.older import add_attributes, gone
from parkcos.compat.runtime import Pycos
from parkcos.compat.services import RPS as RPS
from parkcos.compat.sockets import AsyncSocket
from parkcos.compat.tasks import Channel, Task
from parkcos.compat.tasks import SysTask as SysTask
from parkcos.kernel import AsyncThreadPool, Event, Lock, RLock, Semaphore

RTI = RPS
"""What RPS was called once."""

__version__ = "4.12.2"
"""The version whose names are here."""

__path__: list[str] = []
"""``import pycos.netpycos`` takes it for a package."""

__all__ = [
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
    "Pycos",
    "RLock",
    "Semaphore",
    "Singleton",
    "Task",
    "deserialize",
    "logger",
    "serialize",
]


def __getattr__(name: str) -> Any:
    """``pycos.dispycos``, where a program has written ``import parkcos.compat.pycos as pycos``."""
    if name in alias.MODULES:
        return importlib.import_module(f"parkcos.compat.{name}")
    raise gone("module 'pycos'", name)


add_attributes()
runtime.take_over()
