"""Every exception that parkcos raises of its own, in one tree.

Each carries what happened, to what, and what to do about it.  Nothing here imports anything of parkcos.
Errors of the caller derive from :class:`UsageError`; errors of the other side of a wire from :class:`RemoteError`.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "ForgottenYield",
    "HotSwapException",
    "NoNetworkYet",
    "NotATask",
    "ParkcosError",
    "PeerError",
    "ProtocolError",
    "RemoteError",
    "RemoteTaskError",
    "ScheduleError",
    "SenselessYield",
    "ShippingError",
    "TaskAbandoned",
    "TaskCancelled",
    "TaskTerminated",
    "TaskTimeout",
    "UsageError",
    "WouldHang",
]


class ParkcosError(Exception):
    """The root of the tree: ``except ParkcosError`` catches everything parkcos itself raises."""


class UsageError(ParkcosError):
    """The caller asked for something that makes no sense; the message shows the wrong line and the right one."""


class NotATask(UsageError, TypeError):
    """Something that is neither a generator function nor an ``async def`` was given as a task."""


class SenselessYield(UsageError, TypeError):
    """A task yielded something that can neither be waited for nor given back."""


class ForgottenYield(UsageError):
    """An operation that must be yielded (or awaited) was called without it."""


class WouldHang(UsageError, RuntimeError):
    """A call that blocks a thread was made inside a task, where it would stop every other task for ever."""


class ConfigError(UsageError, ValueError):
    """An option, a file or an environment that parkcos was given cannot be used."""


class NoNetworkYet(ConfigError):
    """This process is to have no network and no threads, for others are still to be forked from it."""


class TaskTerminated(ParkcosError):
    """The task was ended by ``terminate()``, by an interrupt or by its own ``sys.exit``; it has no result."""


class TaskAbandoned(ParkcosError):
    """The task was lost together with its server, node or client; the message says how."""


class TaskCancelled(TaskTerminated):
    """The task was cancelled by its own program (``handle.cancel()``) before it had a result."""


class TaskTimeout(ParkcosError, TimeoutError):
    """The task ran for longer than ``client.options(timeout_s=...)`` allows, and was ended."""


class HotSwapException(Exception):
    """Thrown into a task that is about to be hot-swapped; ``args[0]`` is the new generator.

    Let it pass to accept the swap; catch it and yield again to refuse.
    """


class PeerError(ParkcosError):
    """Another process cannot be reached, or refused to talk; the message names it and says why."""


class ProtocolError(PeerError):
    """The other side sent bytes that no parkcos of this version sends."""


class ShippingError(ParkcosError):
    """Code or data cannot travel to a server; the message names the attribute and the reason."""


class ScheduleError(ParkcosError):
    """A client cannot be scheduled, or an operation needs a scheduled client."""


class RemoteError(ParkcosError):
    """Something went wrong at the other side."""


class RemoteTaskError(RemoteError):
    """A remote task failed with an exception that could not itself travel; holds its type's name and traceback."""
