"""parkcos: generator tasks on many machines.

Ship functions, classes and files once; run them as tasks on server processes of other machines; send messages to
them and wait for them as if they were next door.  This module only re-exports the public names.
"""

import importlib as _importlib
import logging as _logging
from typing import TYPE_CHECKING
from typing import Any as _Any

from parkcos.errors import (
    ConfigError,
    ForgottenYield,
    HotSwapException,
    NotATask,
    ParkcosError,
    PeerError,
    RemoteError,
    RemoteTaskError,
    ScheduleError,
    SenselessYield,
    ShippingError,
    TaskAbandoned,
    TaskCancelled,
    TaskTerminated,
    TaskTimeout,
    UsageError,
    WouldHang,
)
from parkcos.kernel import (
    AsyncThreadPool,
    CategorizeMessages,
    Channel,
    Condition,
    Event,
    Lock,
    MonitorStatus,
    RLock,
    Semaphore,
    Task,
    cur_task,
)
from parkcos.net.finding.peer_status import PeerStatus
from parkcos.net.location import Location
from parkcos.net.running import atexit, io, join, run, terminate
from parkcos.net.runtime import VERSION as __version__
from parkcos.net.runtime import Parkcos
from parkcos.net.tasks.rps import RPS

if TYPE_CHECKING:
    from parkcos.client.allocate import NodeAllocate
    from parkcos.client.client import Client
    from parkcos.client.completed import as_completed
    from parkcos.client.handle import TaskHandle
    from parkcos.client.packed import PackedCall, RawOutcome, pack_call
    from parkcos.client.scheduler import Scheduler
    from parkcos.client.spaces import Space
    from parkcos.client.status import NodeAvailInfo, Status, TaskInfo
    from parkcos.deploy.local import LocalCluster
    from parkcos.descriptors.pipes import AsyncFile, AsyncPipe
    from parkcos.descriptors.sockets import AsyncSocket
    from parkcos.node.serving import close_node, close_server

_HOMES = {
    "parkcos.client.allocate": ("NodeAllocate",),
    "parkcos.client.client": ("Client",),
    "parkcos.client.completed": ("as_completed",),
    "parkcos.client.handle": ("TaskHandle",),
    "parkcos.client.packed": ("PackedCall", "RawOutcome", "pack_call"),
    "parkcos.client.spaces": ("Space",),
    "parkcos.client.scheduler": ("Scheduler",),
    "parkcos.client.status": ("NodeAvailInfo", "Status", "TaskInfo"),
    "parkcos.deploy.local": ("LocalCluster",),
    "parkcos.descriptors.pipes": ("AsyncFile", "AsyncPipe"),
    "parkcos.descriptors.sockets": ("AsyncSocket",),
    "parkcos.node.serving": ("close_node", "close_server"),
}
"""Names that are imported when they are first asked for.  A node and its servers import this package too, and have no
client: each of these processes starts a quarter faster without it."""


logger = _logging.getLogger("parkcos")
"""The package's logger: the standard `logging`, silent below WARNING unless the program says otherwise."""

__all__ = [
    "RPS",
    "AsyncFile",
    "AsyncPipe",
    "AsyncSocket",
    "AsyncThreadPool",
    "CategorizeMessages",
    "Channel",
    "Client",
    "Condition",
    "ConfigError",
    "Event",
    "ForgottenYield",
    "HotSwapException",
    "LocalCluster",
    "Location",
    "Lock",
    "MonitorStatus",
    "NodeAllocate",
    "NodeAvailInfo",
    "NotATask",
    "PackedCall",
    "Parkcos",
    "ParkcosError",
    "PeerError",
    "PeerStatus",
    "RLock",
    "RawOutcome",
    "RemoteError",
    "RemoteTaskError",
    "ScheduleError",
    "Scheduler",
    "Semaphore",
    "SenselessYield",
    "ShippingError",
    "Space",
    "Status",
    "Task",
    "TaskAbandoned",
    "TaskCancelled",
    "TaskHandle",
    "TaskInfo",
    "TaskTerminated",
    "TaskTimeout",
    "UsageError",
    "WouldHang",
    "__version__",
    "as_completed",
    "atexit",
    "close_node",
    "close_server",
    "cur_task",
    "io",
    "join",
    "logger",
    "pack_call",
    "run",
    "terminate",
]


def __getattr__(name: str) -> _Any:
    for module, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(_importlib.import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
