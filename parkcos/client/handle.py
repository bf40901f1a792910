"""The handle of a submitted task, which a task, a thread and an asyncio program can hold alike."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parkcos.errors import TaskAbandoned, TaskCancelled, TaskTerminated, TaskTimeout, UsageError, WouldHang
from parkcos.kernel import Completion, Outcome, Wait
from parkcos.kernel.registry import cur_task, current_kernel
from parkcos.kernel.wait import Waitable, seconds
from parkcos.net.location import Location

if TYPE_CHECKING:
    from parkcos.client.packed import RawOutcome
    from parkcos.client.shell import ClientShell
    from parkcos.client.submission import Submission


logger = logging.getLogger("parkcos")


class TaskHandle(Waitable):
    """What :meth:`Client.submit` gives at once: one task, from its submission to its last word, over all its runs.

    ``value = yield handle`` in a task, ``await handle`` in an ``async def`` of parkcos or of asyncio, and
    ``handle.result()`` in a thread wait for its end.  Several may, each as often as it likes; who gives up waiting does
    not end the task.  A handle that nobody keeps leaves its task alone.
    """

    __slots__ = ("__weakref__", "_future", "_outcome", "_record", "_shell", "_told", "_unsent")

    def __init__(self, client: ClientShell, record: Submission) -> None:
        self._shell = client
        self._record = record
        self._outcome: Outcome | None = None
        self._told: list[Callable[[Outcome], object]] = []
        self._unsent: list[Any] = []
        """Messages for the task that came before it began."""
        self._future: Future[Any] | None = None

    def __repr__(self) -> str:
        return f"<{self._record.name}/{self._record.number}: {self.state}>"

    # -- what is known of it

    @property
    def name(self) -> str:
        """Of the task, for statuses and logs."""
        return self._record.name

    @property
    def number(self) -> int:
        """Of the task, which no other task of this client has; of one that may return, of none of its programs."""
        return self._record.number

    @property
    def digest(self) -> str:
        """Of function and arguments, as they travel, in 32 hexadecimal digits; "" unless its client may return.

        The same call of the same function gives the same one in most cases: not if what is packed has no certain order,
        as a set."""
        return self._record.digest

    @property
    def state(self) -> str:
        """One of: waiting, sent (to a server, where it has not begun), running, finished, failed, terminated,
        cancelled, timed out, lost (with its server or client)."""
        record, outcome = self._record, self._outcome
        if outcome is None:
            if record.started:
                return "running"
            return "sent" if record.server else "waiting"
        if outcome.kind != "failed":
            return str(outcome.value.kind if record.opaque else outcome.kind)
        for kind, state in ((TaskCancelled, "cancelled"), (TaskTimeout, "timed out"), (TaskAbandoned, "lost")):
            if isinstance(outcome.exception, kind):
                return state
        return "terminated" if isinstance(outcome.exception, TaskTerminated) else "failed"

    @property
    def done(self) -> bool:
        """Whether its end is known."""
        return self._outcome is not None

    @property
    def started(self) -> float | None:
        """When its last run began (as ``time.time()``); None: none has."""
        return self._record.start_time if self._record.rtask is not None else None

    @property
    def server(self) -> Location | None:
        """Where its last run began; None: none has."""
        rtask = self._record.rtask
        return rtask.location if rtask is not None else None

    @property
    def tries(self) -> int:
        """How often it was sent to a server."""
        return self._record.tries

    # -- waiting for its end

    def as_wait(self) -> Wait[Any]:
        def start(completion: Completion[Any]) -> None:
            def told(outcome: Outcome) -> None:
                if outcome.kind == "finished":
                    completion.set_result(outcome.value)
                else:
                    completion.set_exception(outcome.to_raise())

            waits.append(told)
            self._tell(told)

        def give_up() -> None:
            with self._shell.lock, contextlib.suppress(ValueError):
                self._told.remove(waits[0])

        waits: list[Callable[[Outcome], object]] = []
        return Completion(current_kernel(), "submit", start, on_cancel=give_up)

    def __await__(self) -> Generator[Any, Any, Any]:
        if cur_task() is not None:
            return (yield self.as_wait())
        return (yield from self._in_asyncio().__await__())

    async def _in_asyncio(self) -> Any:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not ended.done():  # who waited may have given up
                ended.set_result(outcome)

        def told(outcome: Outcome) -> None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(settle, outcome)

        self._tell(told)
        return _value_of(await ended)

    def result(self, timeout: float | None = None) -> Any:
        """For a thread: what the task returned.  In a task write ``yield handle``, in asyncio ``await handle``.

        Args:
            timeout: seconds; None for ever.

        Raises: what the task raised; TaskCancelled, TaskTimeout, TaskAbandoned; TimeoutError if it has not ended by
        then; WouldHang in a thread that must not wait.
        """
        return _value_of(self._outcome_within(timeout, "result"))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As :meth:`result`, but gives what that would raise; None if the task has returned."""
        outcome = self._outcome_within(timeout, "exception")
        return None if outcome.kind == "finished" else outcome.to_raise()

    def _outcome_within(self, timeout: float | None, what: str) -> Outcome:
        limit = seconds(timeout)
        if self._outcome is None:
            network = self._shell.network
            if threading.get_ident() == self._shell.kernel.ident or network.io.in_thread():
                raise WouldHang(
                    f"handle.{what}() would stop the thread that its task needs, and the task has not ended\n"
                    "  write: value = yield handle   in a task,  or  value = await handle   in an async def"
                )
            ended = threading.Event()
            self._tell(lambda _: ended.set())
            if not ended.wait(limit):
                raise TimeoutError(f"{self!r} has not ended within {limit:g} s")
        assert self._outcome is not None
        return self._outcome

    def raw(self, timeout: float | None = None) -> RawOutcome:
        """For a thread: what has come of a call that was packed elsewhere, as bytes.  ``yield handle`` gives the same.

        Raises: what :meth:`result` raises for a task that had no last word; UsageError if its outcome is opened here.
        """
        if not self._record.opaque:
            raise UsageError(f"{self!r} is a call of this program\n  write: handle.result()")
        found: RawOutcome = self.result(timeout)
        return found

    def future(self) -> Future[Any]:
        """A ``concurrent.futures.Future`` of its result: always the same.  To cancel it cancels the task."""
        with self._shell.lock:
            if self._future is None:
                self._future = Future()
                self._future.add_done_callback(self._future_done)
                if self._outcome is not None:
                    _settle(self._future, self._outcome)
                elif self._record.started:
                    self._future.set_running_or_notify_cancel()
            return self._future

    def _future_done(self, future: Future[Any]) -> None:
        if future.cancelled():
            self.cancel()

    # -- what can be done to it

    def cancel(self, reason: str = "it was cancelled") -> bool:
        """End the task, wherever it is.  Do not yield it.

        A task that waits is dropped, one that was only sent ahead is recalled.  One that runs is closed at its yield,
        or gets KeyboardInterrupt; what has not ended five seconds later ends with its server, which is replaced.  It
        does not run again.  When it has ended, those who wait for it get TaskCancelled.

        Args:
            reason: for that error.

        Returns: False if its end is known already.
        """
        if not reason or not isinstance(reason, str):
            raise UsageError(f"cancel({reason!r}): give the reason, as a text")
        if self._outcome is not None:
            return False
        self._shell.cancel(self._record, reason)
        return True

    def release(self) -> None:
        """Say that what has come of it is safe, if its client may return.  Do not yield it; any thread.

        Until then its server keeps its outcome, and tells it again to the next run of the program
        (``Client(identity=)``); so release it when it is in a file or a database.  Where a client has no identity there
        is nothing to be released.

        Raises: UsageError if its end is not known yet.
        """
        if self._outcome is None:
            raise UsageError(f"release() of {self!r}, which has not ended\n  write: value = yield handle   before it")
        self._shell.release(self._record)

    def send(self, message: Any) -> int:
        """Send it a message, as to any task: at once if it runs, else as soon as it has begun.  Do not yield it.

        Returns: 0; -1 if it has ended.  Raises: ShippingError if `message` cannot travel, and the task runs.
        """
        with self._shell.lock:
            if self._outcome is not None:
                return -1
            rtask = self._record.rtask
            if rtask is None or self._unsent:
                self._unsent.append(message)
                return 0
        return 0 if rtask.send(message) != -1 else -1

    # -- for the client

    def _begun(self) -> None:
        """Its task runs.  Kernel thread."""
        with self._shell.lock:
            rtask = self._record.rtask
            if self._future is not None and not self._future.running() and not self._future.done():
                self._future.set_running_or_notify_cancel()
        while True:
            with self._shell.lock:
                if not self._unsent or rtask is None:
                    return
                message = self._unsent[0]
            try:
                rtask.send(message)
            except Exception:
                logger.exception("%r was not sent a message that came before it began", self)
            with self._shell.lock:
                del self._unsent[:1]

    def _ended(self, outcome: Outcome) -> None:
        """Its last word.  Any thread; only the first one counts."""
        record = self._record
        finished = outcome.kind == "finished" and not (record.opaque and outcome.value.kind != "finished")
        if record.cancelled and not finished:
            outcome = Outcome("failed", None, TaskCancelled(f"{self.name}: {record.cancelled}"))
        with self._shell.lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
            told, self._told = self._told, []
            self._unsent = []
            future = self._future
            record.args, record.kwargs, record.buffers = (), {}, []  # a handle may be kept long
            record.definitions, record.shared, record.files = (), (), ()
        if future is not None:
            _settle(future, outcome)
        for fn in told:
            fn(outcome)

    def _tell(self, fn: Callable[[Outcome], object]) -> None:
        """Call `fn` with its outcome, now or later, in any thread."""
        with self._shell.lock:
            if self._outcome is None:
                self._told.append(fn)
                return
            outcome = self._outcome
        fn(outcome)


def _value_of(outcome: Outcome) -> Any:
    if outcome.kind == "finished":
        return outcome.value
    raise outcome.to_raise()


def _settle(future: Future[Any], outcome: Outcome) -> None:
    if future.cancelled():
        future.set_running_or_notify_cancel()
    elif outcome.kind == "finished":
        future.set_result(outcome.value)
    elif isinstance(outcome.exception, TaskCancelled) and future.cancel():
        future.set_running_or_notify_cancel()
    else:
        future.set_exception(outcome.to_raise())
