"""Channel: one message to many tasks, and to other channels.

Extension points.  Networking has a subclass that stands for a channel in another process.  It does not call
``Channel.__init__`` but sets ``kernel``, ``id`` and ``name``, and overrides ``location``, ``send``, ``deliver``,
``subscribe``, ``unsubscribe``, ``close`` and ``__reduce__``.  A subscriber that is a subclass of Task or Channel is
reached by its ``send``, and by ``yield subscriber.deliver(...)``.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, SupportsFloat

from parkcos.errors import ShippingError, UsageError
from parkcos.kernel import spaces
from parkcos.kernel.failures import log_failure
from parkcos.kernel.registry import cur_task, current_kernel
from parkcos.kernel.task import Task
from parkcos.kernel.task_waits import Act
from parkcos.kernel.wait import Completion, Wait, operation, seconds

if TYPE_CHECKING:
    from parkcos.kernel.kernel import Kernel

__all__ = ["Channel"]

logger = logging.getLogger("parkcos")
_next_id = itertools.count(1).__next__

Transform = Callable[[str, Any], Any]


class Channel:
    """Sends each message to all its subscribers, tasks or other channels.

    Args:
        name: begins with a letter or digit; other characters at its head are dropped with a warning.
        transform: see ``set_transform``.

    Raises: UsageError if the name is empty or not a str, or `transform` cannot be called with two arguments.

    Attributes: ``name``; ``id``, an int that no other channel of this process ever has; ``kernel``.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_space",
        "_subscribers",
        "_transform",
        "_waiting",
        "id",
        "kernel",
        "name",
    )  # fmt: skip

    kernel: Kernel
    id: int
    name: str
    _space: spaces.Space | None
    """That of the task that has made it, in which messages from other processes are opened."""

    def __init__(self, name: str, transform: Transform | None = None) -> None:
        if not isinstance(name, str):
            raise UsageError(f"a channel's name must be a str, not {name!r}")
        stripped = name
        while stripped and not stripped[0].isalnum():
            stripped = stripped[1:]
        if not stripped:
            raise UsageError(f"a channel's name must begin with a letter or a digit: {name!r}")
        if stripped != name:
            logger.warning("the channel %r is called %r: names begin with a letter or a digit", name, stripped)
        self.kernel = current_kernel()
        self._space = spaces.of_task(cur_task()) if spaces.used else None
        self.id = _next_id()
        self.name = stripped
        self._transform: Transform | None = None
        self._subscribers: dict[Task | Channel, None] = {}
        self._waiting: dict[Completion[None], int] = {}
        self._closed = False
        if self.set_transform(transform):
            raise UsageError(f"the transform of a channel is called as f(name, message): {transform!r}")

    @property
    def location(self) -> Any:
        """Where the channel is, as other processes know it; None without networking."""
        network = self.kernel.network
        return None if network is None else network.location

    def __repr__(self) -> str:
        location = self.location
        return f"<Channel {self.name}>" if location is None else f"<Channel {self.name}@{location}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.kernel.ensure_network().reduce_channel(self)

    # ---- subscribers --------------------------------------------------------------------------------------------

    def subscribe(self, subscriber: Task | Channel, timeout: float | None = None) -> Wait[int]:
        """Yield it.  From now on `subscriber`, a task or a channel, gets the messages.

        Returns: 0; -1 if it is neither or has ended, if this channel is closed, or if a channel would thereby
        reach itself.
        """
        seconds(timeout)
        return Act("subscribe", lambda: self._subscribe(subscriber))

    def unsubscribe(self, subscriber: Task | Channel, timeout: float | None = None) -> Wait[int]:
        """Yield it.  `subscriber` gets no more messages.  Returns: 0; -1 if it had not subscribed."""
        seconds(timeout)
        return Act("unsubscribe", lambda: self._unsubscribe(subscriber))

    def _subscribe(self, subscriber: Task | Channel) -> int:
        if self._closed or not isinstance(subscriber, (Task, Channel)):
            return -1
        if isinstance(subscriber, Task) and subscriber.is_local and not subscriber.is_alive():
            return -1
        if isinstance(subscriber, Channel) and subscriber._reaches(self):
            logger.warning("%r cannot subscribe to %r: messages would go round for ever", subscriber, self)
            return -1
        self._subscribers[subscriber] = None
        for waiting, count in list(self._waiting.items()):
            if len(self._subscribers) >= count:
                del self._waiting[waiting]
                waiting.set_result(None)
        return 0

    def _unsubscribe(self, subscriber: Task | Channel) -> int:
        if subscriber not in self._subscribers:
            return -1
        del self._subscribers[subscriber]
        return 0

    def _reaches(self, channel: Channel) -> bool:
        if self is channel:
            return True
        below = getattr(self, "_subscribers", ())
        return any(isinstance(other, Channel) and other._reaches(channel) for other in below)

    # ---- messages -----------------------------------------------------------------------------------------------

    def set_transform(self, transform: Transform | None) -> int:
        """``transform(name, message)`` gives what is sent instead of `message`, None to send nothing.

        Args: `transform`: None takes it away.  Returns: 0; -1 if it cannot be called so.  Do not yield it.
        """
        if transform is not None:
            if not callable(transform):
                return -1
            try:
                inspect.signature(transform).bind(self.name, None)
            except TypeError:
                return -1
            except ValueError:  # a built-in without a signature
                pass
        self._transform = transform
        return 0

    def send(self, message: Any) -> int:
        """Send `message` to all subscribers; those that have ended are dropped.  Any thread; do not yield it.

        Returns: 0, also without subscribers; -1 if the channel is closed.
        Raises: ShippingError if `message` cannot be pickled for a subscriber in another process; all others have it.
            Called in another thread than the kernel's, it logs that instead.
        """
        if self._closed:
            return -1
        if not self.kernel.in_kernel_thread():
            self.kernel.post(self.send, message)
            return 0
        message = self._transformed(message)
        if message is not _DROPPED:
            unsent: ShippingError | None = None
            for subscriber in list(self._subscribers):
                try:
                    if subscriber.send(message) != 0:
                        self._subscribers.pop(subscriber, None)
                except ShippingError as error:
                    unsent = error
            if unsent is not None:
                raise unsent
        return 0

    @operation
    def deliver(self, message: Any, timeout: float | None = None, n: int = 0) -> Generator[Any, Any, int]:
        """Yield it.  Send `message` when there are at least `n` subscribers, and count whom it reached.

        Args:
            timeout: seconds, for the wait for subscribers and for those that are remote; None for ever.

        Returns: the number of tasks whose queue it is in, also through other channels; 0 if the time was over or
        the transform dropped it; -1 if `n` is not a whole number from 0, or the channel is closed.
        Raises: ShippingError if `message` cannot be pickled for a subscriber in another process; all others have it.
        """
        limit = seconds(timeout)
        if not isinstance(n, int) or n < 0 or self._closed:
            return -1
        kernel = current_kernel()
        deadline = None if limit is None else kernel.clock() + limit
        if len(self._subscribers) < n:
            waiting: Completion[None] = Completion(kernel, "deliver", timeout_s=limit, alarm_value=_EXPIRED)
            self._waiting[waiting] = n
            try:
                if (yield waiting) is _EXPIRED:
                    return 0
            finally:
                self._waiting.pop(waiting, None)
        message = self._transformed(message)
        if message is _DROPPED:
            return 0
        reached = 0
        elsewhere: list[tuple[Task | Channel, Task]] = []
        for subscriber in list(self._subscribers):
            if isinstance(subscriber, Task) and subscriber.is_local:
                count = 1 if subscriber.send(message) == 0 else -1
                reached += self._count(subscriber, count)
            else:
                left = None if deadline is None else deadline - kernel.clock()
                elsewhere.append((subscriber, kernel.spawn(_deliver_to, subscriber, message, left)))
        unsent: ShippingError | None = None
        for subscriber, delivery in elsewhere:
            delivered = yield delivery.result()
            if isinstance(delivered, ShippingError):
                unsent = delivered
            else:
                reached += self._count(subscriber, delivered)
        if unsent is not None:
            raise unsent
        return reached

    def _count(self, subscriber: Task | Channel, delivered: int) -> int:
        """How many tasks a delivery reached; a subscriber that is gone is dropped."""
        if delivered < 0:
            self._subscribers.pop(subscriber, None)
        return max(delivered, 0)

    def _transformed(self, message: Any) -> Any:
        if self._transform is None:
            return message
        try:
            transformed = self._transform(self.name, message)
        except Exception:
            log_failure(logger, "the transform of %r failed; the message is dropped", self)
            return _DROPPED
        return _DROPPED if transformed is None else transformed

    # ---- names --------------------------------------------------------------------------------------------------

    def register(self) -> int:
        """Make the channel locatable under its name.  Returns: 0; -1 if the name is taken.  Do not yield it."""
        if self._closed or not self.kernel.names.channels.register(self.name, self):
            logger.warning("%r cannot be registered: it is closed, or another channel has its name", self)
            return -1
        self.kernel.registered(self)
        return 0

    def unregister(self) -> int:
        """Take the name back.  Returns: 0; -1 if it was not registered.  Do not yield it."""
        return 0 if self.kernel.names.channels.unregister(self.name, self) else -1

    def close(self) -> None:
        """Forget all subscribers and the name; nothing is sent any more.  Do not yield it."""
        self._closed = True
        self.kernel.names.channels.unregister(self.name, self)
        self._subscribers.clear()

    @staticmethod
    @operation
    def locate(name: str, location: Any = None, timeout: SupportsFloat | None = None) -> Generator[Any, Any, Any]:
        """Yield it.  The channel registered as `name`, in this process or at `location`, or at any peer.

        Returns: the Channel (or a reference to a remote one); None if there is none after `timeout` seconds.
        Raises: ConfigError if it is not in this process and there is no networking, or if the name of the location's
            host cannot be resolved.
        """
        limit = seconds(timeout)
        kernel = current_kernel()
        channel = kernel.names.channels.get(name) if location is None else None
        if channel is not None:
            return channel
        return (yield kernel.ensure_network().locate_channel(name, location, limit))


_EXPIRED = object()
_DROPPED = object()


def _deliver_to(subscriber: Task | Channel, message: Any, timeout_s: float | None) -> Generator[Any, Any, Any]:
    try:
        return (yield subscriber.deliver(message, timeout_s))
    except ShippingError as error:
        return error
