"""What the kernel asks of a network, as a protocol: the kernel itself knows no socket.

Networking gives the kernel ``kernel.network_factory``; the kernel calls it when a reference to a task or a channel
is pickled, or a name is not known in this process.  With ``kernel.sleep_in`` networking also says where the idle
kernel waits, so that the kernel thread itself can take what comes in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from parkcos.kernel.channel import Channel
    from parkcos.kernel.task import Task

__all__ = ["Network", "Sleeper"]


class Network(Protocol):
    """A process's presence on the network, as far as tasks and channels need it.

    A remote task or channel is a subclass of Task or Channel that overrides what is listed at the top of
    ``task.py`` and ``channel.py``; so monitoring, delivering and the like need nothing here.
    """

    @property
    def location(self) -> Any:
        """Where this process can be reached: the location of its tasks and channels."""

    def reduce_task(self, task: Task) -> str | tuple[Any, ...]:
        """What ``task.__reduce__()`` returns: a reference that unpickles, here or elsewhere, to this task."""

    def reduce_channel(self, channel: Channel) -> str | tuple[Any, ...]:
        """The same for a channel."""

    def forked(self) -> None:
        """This is the child of a process that was forked, and the network is the parent's: let go of its sockets."""

    def locate_task(self, name: str, location: Any, timeout: float | None) -> Any:
        """To be yielded: the task registered as `name`, None after `timeout` s.

        location: where, which may be this process; None: at any peer.
        """

    def locate_channel(self, name: str, location: Any, timeout: float | None) -> Any:
        """The same for a channel."""


class Sleeper(Protocol):
    """Where the kernel thread waits while no task is ready."""

    def sleep(self, timeout_s: float) -> None:
        """Kernel thread: return after `timeout_s` seconds (negative: never), or when there is something to do.

        May return early.  What came in is posted to the kernel, after a call of ``kernel.awake()``.
        """

    def wake(self) -> None:
        """Any thread: let `sleep` return, or return at once when it is called next."""
