"""Lock, RLock, Condition, Event, Semaphore: threading's, for tasks of one kernel.

In a generator, any of ::

    with (yield lock.acquire()):        yield lock.acquire()          if (yield lock.acquire(timeout=2)):
        ...                             try: ...                          try: ...
    with (yield lock):                  finally: lock.release()           finally: lock.release()

and in an ``async def``: ``async with lock:`` or ``with await lock.acquire():``.  What ``acquire`` gives equals True,
and is also the context manager that releases; or it is False.  ``with (yield lock.acquire(timeout=2)):`` fails on a
False, as it should.

They are fair: who waits first gets it first, and a release hands over, so nobody overtakes.  A task that ends
(is terminated, fails) while it holds a lock loses it, with a warning on the log.  Only tasks wait for them and own
them; ``Event.set``, ``Event.clear`` and ``Semaphore.release`` work from any thread, as they need to own nothing.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NoReturn

from parkcos.errors import ForgottenYield
from parkcos.kernel import failures
from parkcos.kernel.registry import cur_task, current_kernel
from parkcos.kernel.task import Task
from parkcos.kernel.wait import TimedWait, Wait, Waitable, operation, seconds

if TYPE_CHECKING:
    from parkcos.kernel.kernel import Kernel

__all__ = ["Condition", "Event", "Lock", "RLock", "Semaphore"]

logger = logging.getLogger("parkcos")


class _Held(int):
    """What a successful ``acquire`` gives: it equals True, and leaving its ``with`` releases the lock."""

    _release: Callable[[type[BaseException] | None], None]

    def __new__(cls, release: Callable[[type[BaseException] | None], None]) -> _Held:
        held = super().__new__(cls, 1)
        held._release = release
        return held

    def __repr__(self) -> str:
        return "True"

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: object) -> None:
        self._release(kind)


class _Queue:
    """The tasks that wait for one thing, first come first served.

    kernel: of the tasks that have waited; None while none has.
    """

    __slots__ = ("_waits", "kernel")

    def __init__(self) -> None:
        self._waits: OrderedDict[_Wait, None] = OrderedDict()
        self.kernel: Kernel | None = None

    def touch(self, change: Callable[..., object], *args: Any) -> None:
        """Call what changes the queue: now, or, in a thread that runs no tasks, when the tasks have their turn."""
        kernel = self.kernel or current_kernel()
        if kernel.in_kernel_thread():
            change(*args)
        else:
            kernel.post(change, *args)

    def __len__(self) -> int:
        return len(self._waits)

    def add(self, wait: _Wait) -> None:
        self._waits[wait] = None

    def drop(self, wait: _Wait) -> None:
        self._waits.pop(wait, None)

    def pop(self) -> _Wait:
        return self._waits.popitem(last=False)[0]


class _Wait(TimedWait[Any]):
    """A place in a queue.  `try_now(task)` gives the result if there is no need to wait, else None."""

    __slots__ = ("_blocking", "_name", "_queue", "_timeout_s", "_try_now")

    def __init__(
        self, name: str, queue: _Queue, try_now: Callable[[Task], Any], timeout_s: float | None, blocking: bool = True
    ) -> None:
        super().__init__(cur_task())
        self._name = name
        self._queue = queue
        self._try_now = try_now
        self._timeout_s = timeout_s
        self._blocking = blocking

    def names(self) -> tuple[str, ...]:
        return (self._name,)

    @property
    def task(self) -> Task:
        assert self._task is not None
        return self._task

    def begin(self, task: Task) -> None:
        self._task = task
        self._queue.kernel = task.kernel  # first: a thread that finds none here has changed what is tried now
        result = self._try_now(task)
        if result is not None:
            task.kernel.wake(task, result)
        elif not self._blocking or (self._timeout_s is not None and self._timeout_s <= 0):
            task.kernel.wake(task, False)
        else:
            self._queue.add(self)
            if self._timeout_s is not None:
                self.arm(task.kernel, self._timeout_s)

    def cancel(self, task: Task) -> None:
        self.disarm(task.kernel)
        self._queue.drop(self)

    def expired(self) -> None:
        self._queue.drop(self)
        self.task.kernel.wake(self.task, False)

    def succeed(self, result: Any) -> None:
        """It was taken from the queue: its task goes on with `result`."""
        self.disarm(self.task.kernel)
        self.task.kernel.wake(self.task, result)


def _limit(blocking: bool, timeout: float | None) -> float | None:
    """threading's rules: -1 (or None) waits for ever, and a time limit needs ``blocking``."""
    limit = seconds(timeout)
    if limit is None or limit == -1:
        return None
    if limit < 0:
        raise ValueError("timeout value must be a non-negative number")
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    return limit


class _Lockable(Waitable):
    """What Lock, RLock, Condition and Semaphore have in common: the ways to write them."""

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> Wait[Any]:
        raise NotImplementedError

    def _leave(self, kind: type[BaseException] | None) -> None:
        raise NotImplementedError

    def as_wait(self) -> Wait[Any]:
        return self.acquire()

    async def __aenter__(self) -> Any:
        return await self.acquire()

    async def __aexit__(self, kind: type[BaseException] | None, value: object, trace: object) -> None:
        self._leave(kind)

    def __enter__(self) -> NoReturn:
        raise ForgottenYield("'yield' was forgotten\n  wrong: with lock:\n  write: with (yield lock):   or, in an "
                             "async def, async with lock:")  # fmt: skip

    def __exit__(self, *exc: object) -> None:
        raise AssertionError


class _OwnedLock(_Lockable):
    """A lock that a task owns; how often it may own it is what Lock and RLock differ in."""

    __slots__ = ("_count", "_held", "_owner", "_queue", "_watching")

    _reentrant = False

    def __init__(self) -> None:
        self._owner: Task | None = None
        self._count = 0
        self._queue = _Queue()
        self._watching: Task | None = None  # whose end is watched, because others wait
        self._held = _Held(self._leave)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, owner {self._owner!r}, {len(self._queue)} waiting>"

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> Wait[Any]:
        """Yield it.  Own the lock, when it is this task's turn.

        Args:
            blocking: False gives up at once instead of waiting.
            timeout: seconds; -1 or None waits for ever.

        Returns: True, which also works as ``with (yield lock.acquire()):``; False if it was given up.
        Raises: ValueError for a negative timeout other than -1, or one with ``blocking=False``.
        """
        return _Wait("acquire", self._queue, self._take, _limit(blocking, timeout), blocking)

    def release(self) -> None:
        """Give the lock to the task that waited longest, or free it.  Do not yield it.

        Raises: RuntimeError if the calling task does not own it.
        """
        owner = self._owner
        if owner is None or cur_task() is not owner:
            raise RuntimeError(f"release of {self!r}, which {cur_task() or 'this thread'} does not own")
        self._count -= 1
        if self._count == 0:
            self._hand_over()

    def locked(self) -> bool:
        """True while a task owns it.  Do not yield it."""
        return self._owner is not None and self._owner.is_alive()

    def owned(self) -> bool:
        """True if the calling task owns it.  Do not yield it."""
        return self._owner is not None and self._owner is cur_task()

    def _take(self, task: Task) -> _Held | None:
        owner = self._owner
        if owner is not None and not owner.is_alive():
            self._lost(owner)
            owner = self._owner
        if owner is None:
            self._owner = task
            self._count = 1
            return self._held
        if owner is task and self._reentrant:
            self._count += 1
            return self._held
        self._watch(owner)
        return None

    def _watch(self, owner: Task) -> None:
        if self._watching is not owner:
            self._unwatch()
            self._watching = owner
            owner.add_end_callback(self._lost)

    def _unwatch(self) -> None:
        if self._watching is not None:
            self._watching.drop_end_callback(self._lost)
            self._watching = None

    def _lost(self, owner: Task) -> None:
        if self._owner is owner:
            logger.warning("%r ended while it held a %s, which is released", owner, type(self).__name__)
            self._hand_over()

    def _hand_over(self) -> None:
        self._unwatch()
        if not self._queue:
            self._owner = None
            self._count = 0
            return
        wait = self._queue.pop()
        self._owner = wait.task
        self._count = 1
        if self._queue:
            self._watch(wait.task)
        wait.succeed(self._held)

    def _leave(self, kind: type[BaseException] | None) -> None:
        if kind is GeneratorExit and not self.owned():
            return  # terminated inside Condition.wait, which does not own the lock
        self.release()

    # ---- for Condition ------------------------------------------------------------------------------------------

    def release_all(self) -> int:
        """Let go of it entirely; returns how often the task owned it."""
        count, self._count = self._count, 0
        self._hand_over()
        return count

    def restore(self, count: int) -> None:
        """The task owns it again: as often as before."""
        self._count = count


class Lock(_OwnedLock):
    """A lock that one task owns at a time, and must not acquire twice."""

    __slots__ = ()


class RLock(_OwnedLock):
    """A lock that its owner may acquire again; it is free after as many releases."""

    __slots__ = ()

    _reentrant = True


class Condition(_Lockable):
    """Wait for a change, with the lock that protects what changes.

    Args:
        lock: a Lock or RLock that is shared with other conditions; None makes an RLock.
    """

    __slots__ = ("_lock", "_waiting")

    def __init__(self, lock: Lock | RLock | None = None) -> None:
        self._lock = RLock() if lock is None else lock
        self._waiting = _Queue()

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> Wait[Any]:
        """Yield it.  As Lock.acquire, of the condition's lock."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """As Lock.release, of the condition's lock.  Do not yield it."""
        self._lock.release()

    def _leave(self, kind: type[BaseException] | None) -> None:
        self._lock._leave(kind)

    @operation
    def wait(self, timeout: float | None = None) -> Generator[Any, Any, bool]:
        """Yield it.  Let go of the lock, wait for ``notify``, and own the lock again, in any case.

        Returns: True; False after `timeout` seconds.  Raises: RuntimeError if the task does not own the lock.
        """
        limit = seconds(timeout)
        self._check("wait")
        count = self._lock.release_all()
        failure: BaseException | None = None
        notified = False
        try:
            notified = yield _Wait("wait", self._waiting, lambda _: None, limit)
        except GeneratorExit:
            raise
        except BaseException as exception:
            failure = exception
        while True:
            try:
                yield self._lock.acquire()
                break
            except BaseException as exception:
                if notified:  # it does nothing with that: the next one shall
                    notified = False
                    self._wake(1)
                if failures.is_a(exception, GeneratorExit):
                    raise
                failure = exception
        self._lock.restore(count)
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None
        return notified

    @operation
    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Generator[Any, Any, Any]:
        """Yield it.  ``wait`` until ``predicate()`` is true; returns its last value, false after `timeout` seconds."""
        limit = seconds(timeout)
        clock = current_kernel().clock
        deadline = None if limit is None else clock() + limit
        while not (result := predicate()):
            left = None if deadline is None else deadline - clock()
            if left is not None and left <= 0:
                break
            yield self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        """Wake the `n` tasks that have waited longest.  Do not yield it.

        Raises: RuntimeError if the calling task does not own the lock.
        """
        self._check("notify")
        self._wake(n)

    def _wake(self, n: int) -> None:
        for _ in range(min(n, len(self._waiting))):
            self._waiting.pop().succeed(True)

    def notify_all(self) -> None:
        """Wake all that wait.  Raises: RuntimeError if the calling task does not own the lock.  Do not yield it."""
        self.notify(len(self._waiting))

    notifyAll = notify_all

    def _check(self, what: str) -> None:
        if not self._lock.owned():
            raise RuntimeError(f"{what}() of a condition whose lock {cur_task() or 'this thread'} does not own")


class Event:
    """A flag to wait for."""

    __slots__ = ("_flag", "_queue")

    def __init__(self) -> None:
        self._flag = False
        self._queue = _Queue()

    def set(self) -> None:
        """Raise the flag, and wake all that wait.  Any thread.  Do not yield it."""
        self._flag = True
        if self._queue.kernel is not None:
            self._queue.touch(self._wake)

    def _wake(self) -> None:
        while self._queue:
            self._queue.pop().succeed(True)

    def clear(self) -> None:
        """Take the flag down.  Any thread.  Do not yield it."""
        self._flag = False

    def is_set(self) -> bool:
        """True while the flag is up.  Do not yield it."""
        return self._flag

    isSet = is_set

    def wait(self, timeout: float | None = None) -> Wait[bool]:
        """Yield it.  Wait until the flag is up.  Returns: True; False after `timeout` seconds."""
        return _Wait("wait", self._queue, lambda _: True if self._flag else None, seconds(timeout))


class Semaphore(_Lockable):
    """At most `value` tasks at a time.  Raises: ValueError if `value` is below 0."""

    __slots__ = ("_held", "_queue", "_value")

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self._value = value
        self._queue = _Queue()
        self._held = _Held(self._leave)

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> Wait[Any]:
        """Yield it.  As Lock.acquire."""
        return _Wait("acquire", self._queue, self._take, _limit(blocking, timeout), blocking)

    def release(self, n: int = 1) -> None:
        """Let `n` more tasks in.  Any task or thread.  Do not yield it.  Raises: ValueError if `n` is below 1."""
        if n < 1:
            raise ValueError("n must be one or more")
        self._queue.touch(self._let_in, n)

    def _let_in(self, n: int) -> None:
        for _ in range(n):
            if self._queue:
                self._queue.pop().succeed(self._held)
            else:
                self._value += 1

    def _take(self, task: Task) -> _Held | None:
        if self._value == 0:
            return None
        self._value -= 1
        return self._held

    def _leave(self, kind: type[BaseException] | None) -> None:
        self.release()
