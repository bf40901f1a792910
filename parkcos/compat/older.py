"""What pycos 4.6 to 4.11 called things, where pycos 4.12 calls them otherwise, and asyncoro and discoro before those.

Tasks, statuses and sockets are made by parkcos itself, also at servers and for references that come in messages: so
attributes that they had once are put on its own classes, when a program imports this layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import parkcos

MonitorException = parkcos.MonitorStatus
"""Until 4.9 a monitor was sent this: ``args`` is the task, and (the exception's class or StopIteration, the value)."""

_GONE = {
    "_proceed_": "task.resume(value), and in the task: value = yield task.suspend()",
    "_await_": "value = yield task.suspend(), and for whoever ends it: task.resume(value)",
    "MsgTimeout": "pycos.config.MsgTimeout",
    "RemoteCoroScheduler": "Computation, and yield computation.run(...)",
    "DisComp": "Computation, and yield computation.run(...)",
}
"""Names that are not here, and what to write."""


def gone(where: str, name: str) -> AttributeError:
    """What to raise for a name that `where` does not have."""
    advice = f"\n  write: {_GONE[name]}" if name in _GONE else ""
    return AttributeError(f"{where} has no attribute {name!r}{advice}")


def _also(cls: type, **attributes: Callable[[Any], Any]) -> None:
    for name, get in attributes.items():
        setattr(cls, name, property(get))


def _args(status: parkcos.MonitorStatus) -> tuple[Any, tuple[Any, Any]]:
    error = status.exception
    return status.info, (status.type, status.value if error is None else error)


def _without(name: str) -> Callable[[Any], Any]:
    def get(thing: Any) -> Any:
        raise gone("a task", name)

    return get


def _scheduler(task: Any) -> Any:
    from parkcos.compat.runtime import Pycos

    return Pycos.instance()


def add_attributes() -> None:
    """``import pycos``: the attributes that programs of those years use."""
    _also(parkcos.MonitorStatus, args=_args)
    _also(parkcos.TaskInfo, coro=lambda info: info.task)
    _also(
        parkcos.Task,
        _id=lambda task: task.id,
        _name=lambda task: task.name,
        _location=lambda task: task.location if not task.is_local else None,
        _scheduler=_scheduler,
        _proceed_=_without("_proceed_"),
        _await_=_without("_await_"),
    )
    _also(parkcos.AsyncSocket, _fileno=lambda sock: sock.fileno())
