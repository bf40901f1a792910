"""asyncoro: the names of tasks from before they were called pycos.

A function that has a parameter ``coro`` with a default is told its task there: the command sees to it as it
compiles the program.
"""

from __future__ import annotations

from typing import Any

from parkcos.compat import pycos
from parkcos.compat.older import MonitorException as MonitorException
from parkcos.compat.older import gone
from parkcos.compat.pycos import *  # noqa: F403
from parkcos.compat.pycos import AsyncSocket, Pycos, Singleton, SysTask, Task
from parkcos.compat.pycos import unserialize as unserialize

Coro, SysCoro, AsynCoro = Task, SysTask, Pycos
AsynCoroSocket = AsyncSocket
MetaSingleton = Singleton
MsgTimeout = pycos.MsgTimeout
__version__ = "4.5.6"

_NEW = {"Task", "Pycos", "MonitorStatus"}

__all__ = ["AsynCoro", "AsynCoroSocket", "Coro", "MonitorException", "unserialize"]
__all__ += [name for name in pycos.__all__ if name not in _NEW]


def __getattr__(name: str) -> Any:
    raise gone("module 'asyncoro'", name)
