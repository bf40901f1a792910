"""Task: what a program sees of a generator that runs in the kernel, and what it can do to it.

How it ended is in outcome.py, what its waits are in task_waits.py, which function may be one in target.py, and when
it runs in loop.py.

Extension points.  Networking has a subclass of Task that stands for a task in another process.  It does not call
``Task.__init__`` but sets ``kernel``, ``id`` and ``name``, and overrides

- ``is_local`` (a class attribute: False);
- ``location``, ``outcome``, ``is_alive``, ``send``, ``deliver``, ``throw``, ``terminate``, ``resume``;
- ``add_end_callback(fn)`` and ``drop_end_callback(fn)``: ``finish``, ``result``, ``value``, ``future`` and
  ``await task`` are made of these two and ``outcome``, and need not be overridden;
- ``_add_monitor(monitor)``: to be yielded, gives 0 or -1; ``monitor`` will be told the end of this task.  So
  ``yield t.monitor(other)`` asks `other`, wherever it is;
- ``_monitor_ended(status)``: this task, a monitor, is told the end of another one, in the kernel thread.  Here
  it is a message;
- ``__reduce__``, if the network's ``reduce_task`` does not do.

What the kernel does to a task (throwing, closing, swapping) is in task_core.py.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
from collections.abc import Callable, Generator
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, ClassVar, SupportsFloat

from parkcos.errors import HotSwapException, NotATask, WouldHang
from parkcos.kernel.outcome import MonitorStatus, Outcome
from parkcos.kernel.registry import cur_task, current_kernel
from parkcos.kernel.states import (
    FINISHED,
    HANDED,
    READY,
    RECEIVING,
    TERMINATE,
)
from parkcos.kernel.target import make_generator
from parkcos.kernel.task_core import TaskCore, as_exception
from parkcos.kernel.task_waits import Act, EndOf, ReceiveWait, Suspend
from parkcos.kernel.wait import RECEIVE, Wait, operation, seconds

if TYPE_CHECKING:
    from parkcos.kernel.kernel import Kernel

__all__ = ["Task"]

logger = logging.getLogger("parkcos")
_next_id = itertools.count(1).__next__


class Task(TaskCore):
    """A generator function or an ``async def`` that runs as a task, beside the others of its kernel.

    Args:
        fn: the function; if it has a parameter ``task`` with a default it is told its Task there.
        args, kwargs: its arguments; or thread-style, ``Task(target=fn, args=(...), kwargs={...})``.

    The task is ready at once.  It belongs to the kernel of the thread that makes it, else to the default kernel,
    which is started if need be.  Any thread may make tasks.

    Raises: NotATask if `fn` is not such a function; TypeError if the arguments do not fit it.

    Attributes: ``name`` (of the function), ``id`` (an int that no other task of this process ever has), ``kernel``.

    ``send``, ``throw``, ``terminate``, ``resume``, ``register``, ``is_alive``, ``future``, ``value`` and
    ``add_end_callback`` may be called from any thread.  Numbers as results: 0 accepted, -1 refused.
    """

    __slots__ = ()

    is_local: ClassVar[bool] = True

    def __init__(self, fn: Any = None, /, *args: Any, **kwargs: Any) -> None:
        if fn is None:
            fn, args, kwargs = _thread_style("Task", args, kwargs)
        self._make(current_kernel(), fn, args, kwargs)

    def _make(self, kernel: Kernel, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.kernel = kernel
        self.id = number = _next_id()
        self._gen = gen = make_generator(kernel.kinds, self, fn, args, kwargs)
        self._send = gen.send
        self.name = gen.__name__
        self._value = self._wait = self._stack = self._messages = self._pending = None
        self._callbacks = self._rare = self._op = None
        self._state = READY
        self._number = 0
        self._daemon = False
        kernel.live[number] = self
        if get_ident() == kernel.ident:
            kernel._ready.append(self)
        else:
            kernel.start_from_outside(self)

    # ---- what it is ---------------------------------------------------------------------------------------------

    @property
    def location(self) -> Any:
        """Where the task is, as other processes know it; None without networking."""
        network = self.kernel.network
        return None if network is None else network.location

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, None while it lives."""
        state = self._state
        if state < FINISHED:
            return None
        return Outcome("finished", self._value) if state == FINISHED else self._value

    @property
    def unread(self) -> int:
        """How many messages wait in its queue."""
        messages = self._messages
        return len(messages) if messages else 0

    @property
    def daemon(self) -> bool:
        """True if nobody waits for its end when the program ends."""
        return self._daemon

    @property
    def seed(self) -> list[int] | None:
        """Of the random numbers of a task that a ``Client(seed=...)`` runs, in that task; None in all others.

        As ``numpy.random.default_rng(cur_task().seed)`` takes it: ``[n, seed]`` for the client's n-th task; a seed of
        more than 32 bits is more numbers than one.
        """
        return rare.seed if (rare := getattr(self, "_rare", None)) is not None else None

    def is_alive(self) -> bool:
        """True until the task has ended, however."""
        return self._state < FINISHED

    def __repr__(self) -> str:
        location = self.location
        return f"{self.name}/{self.id}" if location is None else f"{self.name}/{self.id}@{location}"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.kernel.ensure_network().reduce_task(self)

    # ---- messages -----------------------------------------------------------------------------------------------

    def send(self, message: Any) -> int:
        """Put `message` into the task's queue; a waiting ``receive`` gets it.  Do not yield it.

        Returns: 0; -1 if the task has ended.
        """
        kernel = self.kernel
        if get_ident() == kernel.ident:
            if self._state is RECEIVING:
                self._state = HANDED
                self._value = message
                kernel._ready.append(self)
                return 0
            return self._put(message)
        if self._state >= FINISHED:
            return -1
        kernel.post(self._put, message)
        return 0

    def deliver(self, message: Any, timeout: float | None = None) -> Wait[int]:
        """Yield it.  Send, and know that it arrived.

        Returns: 1 when `message` is in the task's queue; 0 if that took longer than `timeout` seconds (never here);
        -1 if the task has ended.
        """
        seconds(timeout)
        return Act("deliver", lambda: 1 if self.send(message) == 0 else -1)

    def receive(self, timeout: float | None = None, alarm_value: Any = None) -> Any:
        """Yield it, in the task itself.  The oldest message; waits for one if there is none.

        Args:
            timeout: seconds, None for ever; 0 or less never waits.
            alarm_value: what the yield gives when the time is over.

        Raises: UsageError if another task calls it, or `timeout` is not a number; ForgottenYield if an earlier
        ``receive()`` of this task was never yielded.
        """
        if timeout is None:
            if self.kernel.current is not self:
                raise self._not_own("receive")
            if self._op is not None:
                raise self._take_forgotten()
            self._op = True
            return RECEIVE
        if self.kernel.current is not self:
            raise self._not_own("receive")
        return ReceiveWait(self, seconds(timeout) or 0.0, alarm_value)

    recv = receive

    # ---- sleeping -----------------------------------------------------------------------------------------------

    def suspend(self, timeout: float | None = None, alarm_value: Any = None) -> Wait[Any]:
        """Yield it, in the task itself.  Wait until ``resume`` or until `timeout` seconds have passed.

        Returns: what ``resume`` was given, or `alarm_value` after the time-out; 0 or less does not wait.  Messages do
        not wake it.

        Raises: UsageError if another task calls it, or `timeout` is not a number.
        """
        if self.kernel.current is not self:
            raise self._not_own("suspend")
        return Suspend(self, seconds(timeout), alarm_value)

    sleep = suspend

    def resume(self, update: Any = None) -> int:
        """Wake the task from ``suspend`` or ``sleep``, which gives `update`.  Do not yield it.

        Returns: 0, also (with a warning) if it is not suspended; -1 if it has ended.
        """
        if self._state >= FINISHED:
            return -1
        if get_ident() != self.kernel.ident:
            self.kernel.post(self.resume, update)
        elif type(self._wait) is Suspend:
            self._wait.disarm(self.kernel)
            self.kernel.wake(self, update)
        else:
            logger.warning("resume of %r, which is not suspended, does nothing", self)
        return 0

    wakeup = resume

    # ---- exceptions and the end ---------------------------------------------------------------------------------

    def throw(self, *exception: Any) -> int:
        """Raise an exception in the task, at its yield, at its next turn.  Do not yield it.

        Args: an exception, an exception class, or class and value (apart or as one tuple).  If the result of a wait
            is on its way (a message, a lock), the task gets it first and the exception at its next yield.

        Returns: 0; -1 if the task has ended.  Raises: UsageError if it is not an exception.
        """
        return self._throw_from_anywhere(as_exception(exception))

    def terminate(self) -> int:
        """End the task: GeneratorExit at its yield, in the innermost sub-call first, in the kernel thread.

        ``finally`` and ``with`` run; a task that yields again all the same is dropped.  Its outcome is "terminated".

        Returns: 0; -1 if the task has ended.  Do not yield it.
        """
        return self._throw_from_anywhere(TERMINATE)

    def _throw_from_anywhere(self, exception: BaseException) -> int:
        if self._state >= FINISHED:
            return -1
        kernel = self.kernel
        if get_ident() != kernel.ident or kernel.current is self:
            kernel.post(self._interrupt, exception)
        else:
            self._interrupt(exception)
        return 0

    def set_daemon(self, flag: bool = True) -> int:
        """Nobody waits for a daemon task at the program's end.  From inside the task.  Do not yield it.

        Returns: 0; -1 if another task or thread calls it.
        """
        kernel = self.kernel
        if kernel.current is not self or get_ident() != kernel.ident:
            logger.warning("set_daemon() of %r works only from inside it", self)
            return -1
        if self._daemon != bool(flag):
            self._daemon = bool(flag)
            kernel.daemon_changed(self)
        return 0

    # ---- waiting for the end ------------------------------------------------------------------------------------

    def finish(self, timeout: float | None = None) -> Wait[Any]:
        """Yield it.  Wait until the task has ended; any number of tasks may.

        Returns: its value; a MonitorStatus if it failed or was terminated; None after `timeout` seconds.
        ``yield task()`` is the same.  Raises: WouldHang if a task waits for itself.
        """
        return EndOf(self, seconds(timeout), raises=False)

    __call__ = finish

    def result(self) -> Wait[Any]:
        """Yield it.  Wait until the task has ended.  In an ``async def`` task, ``await task`` is the same.

        Returns: its value.  Raises: what it raised; TaskTerminated if it was terminated, or has ended itself by
        ``sys.exit``.
        """
        return EndOf(self, None, raises=True)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.result().__await__()

    def value(self, timeout: float | None = None) -> Any:
        """Wait in a plain thread until the task has ended.

        Returns: its value; a MonitorStatus if it failed or was terminated; None after `timeout` seconds.
        Raises: WouldHang in a task, where it would stop all others: ``yield task.finish()`` there.
        """
        if cur_task() is not None or get_ident() == self.kernel.ident:
            raise WouldHang(f"value() of {self!r} would stop every task here\n  write: x = yield task.finish()")
        limit = seconds(timeout)
        if self.outcome is None:
            ended = Lock()
            ended.acquire()

            def release(_: Task) -> None:
                ended.release()

            self.add_end_callback(release)
            # A kernel that stopped meanwhile calls nothing any more, but then the outcome is there.
            if self.outcome is None and not ended.acquire(True, -1 if limit is None else max(limit, 0.0)):
                self.drop_end_callback(release)
        return self._value_of_end()

    def _value_of_end(self) -> Any:
        outcome = self.outcome
        if outcome is None:
            return None
        return outcome.value if outcome.kind == "finished" else MonitorStatus.of(self, outcome)

    def future(self) -> concurrent.futures.Future[Any]:
        """The end of the task for the rest of Python: a concurrent.futures.Future (``asyncio.wrap_future`` it).

        It has the task's value, or raises what the task raised; it cannot be cancelled.  Do not yield it.
        """
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()

        def settle(_: Task) -> None:
            outcome = self.outcome
            assert outcome is not None
            if outcome.kind == "finished":
                future.set_result(outcome.value)
            else:
                future.set_exception(outcome.to_raise(exits=self.is_local))

        self.add_end_callback(settle)
        return future

    def add_end_callback(self, fn: Callable[[Task], object]) -> None:
        """Call ``fn(task)`` in the kernel thread when the task has ended; soon, if it already has.  Any thread."""
        kernel = self.kernel
        if get_ident() != kernel.ident:
            if kernel.stopped and self._state >= FINISHED:
                kernel.guard(fn, self)
            else:
                kernel.post(self.add_end_callback, fn)
        elif self._state >= FINISHED:
            kernel.guard(fn, self)
        elif self._callbacks is None:
            self._callbacks = [fn]
        else:
            self._callbacks.append(fn)

    def drop_end_callback(self, fn: Callable[[Task], object]) -> None:
        """Take ``add_end_callback(fn)`` back.  Any thread."""
        if get_ident() != self.kernel.ident:
            self.kernel.post(self.drop_end_callback, fn)
        elif self._callbacks is not None and fn in self._callbacks:
            self._callbacks.remove(fn)

    # ---- monitors -----------------------------------------------------------------------------------------------

    def monitor(self, observe: Task) -> Wait[int]:
        """Yield it.  This task becomes a monitor of `observe`: it is sent a MonitorStatus, once, when that ends, or
        at once if it has ended.

        Returns: 0; -1 if `observe` is not a task, or cannot be reached.
        """
        if not isinstance(observe, Task):
            return Act("monitor", lambda: -1)
        return observe._add_monitor(self)

    def notify(self, monitor: Task) -> int:
        """Make `monitor` a monitor of this task; more than once is as once.  Do not yield it.

        Returns: 0; -1 if `monitor` is not a task.
        """
        if not isinstance(monitor, Task):
            return -1
        tell = _Tell(monitor)
        self.drop_end_callback(tell)
        self.add_end_callback(tell)
        return 0

    def _add_monitor(self, monitor: Task) -> Wait[int]:
        return Act("monitor", lambda: self.notify(monitor))

    def _monitor_ended(self, status: MonitorStatus) -> None:
        self.send(status)

    # ---- names --------------------------------------------------------------------------------------------------

    def register(self, name: str | None = None) -> int:
        """Make the task locatable as `name` (default: its own).  Do not yield it.

        Returns: 0; -1 if the name is taken, is not a str, is empty or begins with ``^``, or the task has ended.
        """
        name = self.name if name is None else name
        if not isinstance(name, str) or not name or name.startswith("^") or self._state >= FINISHED:
            return -1
        if not self.kernel.names.tasks.register(name, self):
            logger.warning("%r cannot be registered: another task has the name %r", self, name)
            return -1
        self._rarely().named = True
        self.kernel.registered(self)
        return 0

    def unregister(self, name: str | None = None) -> int:
        """Take the name back.  Returns: 0; -1 if the task has not got it.  Do not yield it."""
        return 0 if self.kernel.names.tasks.unregister(self.name if name is None else name, self) else -1

    @staticmethod
    @operation
    def locate(name: str, location: Any = None, timeout: SupportsFloat | None = None) -> Generator[Any, Any, Any]:
        """Yield it.  The task registered as `name`, in this process or at `location`, or at any peer.

        Returns: the Task (or a reference to a remote one); None if there is none after `timeout` seconds.
        Raises: ConfigError if it is not in this process and there is no networking, or if the name of the location's
            host cannot be resolved.
        """
        limit = seconds(timeout)
        kernel = current_kernel()
        task = kernel.names.tasks.get(name) if location is None else None
        if task is not None:
            return task
        return (yield kernel.ensure_network().locate_task(name, location, limit))

    # ---- hot swap -----------------------------------------------------------------------------------------------

    def hot_swappable(self, flag: bool = True) -> int:
        """Allow (or forbid) ``hot_swap`` from now on.  From inside the task.  Returns 0, -1.  Do not yield it."""
        kernel = self.kernel
        if kernel.current is not self or get_ident() != kernel.ident:
            logger.warning("hot_swappable() of %r works only from inside it", self)
            return -1
        self._rarely().swappable = bool(flag)
        if flag:
            kernel.post(self._try_swap)
        return 0

    def hot_swap(self, fn: Any = None, /, *args: Any, **kwargs: Any) -> int:
        """Put a new generator into the task, which keeps its identity and its messages.  Do not yield it.

        Args: as those of a Task.

        HotSwapException is thrown into the task as soon as it allows it, is not in a sub-call, and waits for nothing
        but time or a message; if it lets that pass, it goes on as ``fn(*args, **kwargs)``.

        Returns: 0 (perhaps postponed); -1 if `fn` cannot be a task, or the task has ended.
        """
        if self._state >= FINISHED:
            return -1
        try:
            if fn is None:
                fn, args, kwargs = _thread_style("hot_swap", args, kwargs)
            gen = make_generator(self.kernel.kinds, self, fn, args, kwargs)
        except NotATask as reason:
            logger.warning("hot_swap of %r: %s", self, reason)
            return -1
        kernel, swap = self.kernel, HotSwapException(gen)
        if get_ident() == kernel.ident and self is not kernel.current and self._state is not READY:
            self._want_swap(swap)  # now: messages that are sent after this call are for the new generator
        else:
            kernel.post(self._want_swap, swap)
        return 0


class _Tell:
    """The callback that tells a monitor how a task ended; two for the same monitor are equal."""

    __slots__ = ("monitor",)

    def __init__(self, monitor: Task) -> None:
        self.monitor = monitor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tell) and self.monitor == other.monitor

    def __hash__(self) -> int:
        return hash(self.monitor)

    def __call__(self, task: Task) -> None:
        outcome = task.outcome
        assert outcome is not None
        self.monitor._monitor_ended(MonitorStatus.of(task, outcome))


def _thread_style(call: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...], Any]:
    """The function and its arguments of ``Task(target=fn, args=(...), kwargs={...})``.  Raises: NotATask."""
    if "target" not in kwargs:
        raise NotATask(f"{call}() wants a function\n  write: {call}(function, ...)  or  {call}(target=function)")
    return kwargs["target"], (*args, *kwargs.get("args", ())), kwargs.get("kwargs") or {}
