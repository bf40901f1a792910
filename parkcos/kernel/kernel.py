"""Kernel: the life of the loop: starting it, waiting for its tasks, stopping it, and what belongs to it.

The loop itself is in loop.py.  A kernel runs in one thread, and a process may hold several kernels; nothing here is
process-wide (registry.py holds what is).

How it ends, in this order: non-daemon tasks are done (``finish``) or closed (``terminate``); the ``atexit``
functions run, in the kernel thread; daemon tasks are closed.
"""

from __future__ import annotations

import atexit as _atexit
import contextlib
import importlib
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable
from threading import get_ident
from types import CodeType
from typing import TYPE_CHECKING, Any

from parkcos.errors import ConfigError, HotSwapException, TaskTerminated, UsageError, WouldHang
from parkcos.kernel import failures, registry
from parkcos.kernel.explain import add_loop_note
from parkcos.kernel.loop import Loop
from parkcos.kernel.names import Names
from parkcos.kernel.outcome import Outcome
from parkcos.kernel.registry import cur_task, current_kernel, set_default_kernel_factory
from parkcos.kernel.states import FAILED, FINISHED, TERMINATED
from parkcos.kernel.task import Task

if TYPE_CHECKING:
    from parkcos.kernel.ports import Network

__all__ = ["Kernel", "cur_task", "current_kernel", "set_default_kernel_factory"]

logger = logging.getLogger("parkcos")

_JOIN_LOG_S = 5.0
_CLOSE_ROUNDS_MAX = 100


class Kernel(Loop):
    """Runs generator tasks in one thread.

    Args:
        name: of its thread, and in messages.
        clock: seconds, never going back; for tests, which also override ``idle``.

    Attributes:
        current: the running task, None between tasks.
        ident: the id of its thread while it runs, else -1.
        stopped: True once it has ended; a kernel is not started again.
        names: the registered tasks, channels and services.
        network, network_factory: networking, once made, and what makes it.
        on_register: called with each thing (a Task, a Channel) that is registered, so that networking can start.
        live: the tasks that have not ended, by id.
    """

    network: Network | None
    network_factory: Callable[[], Network] | None
    on_register: Callable[[Any], object] | None

    def __init__(self, name: str = "parkcos", clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self.name = name
        self.live: dict[int, Task] = {}
        self.kinds: dict[CodeType, int] = {}
        self.names = Names()
        self.network = None
        self.network_factory = None
        self.on_register = None
        self._daemons = 0
        self._joiners: list[Callable[[], None]] = []
        self._atexit: list[tuple[float, int, Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []
        self._atexit_number = itertools.count()
        self.before_wait: Callable[[], object] | None = None
        """Called at the program's end, before the wait for its tasks."""
        self._thread: threading.Thread | None = None
        self._gone = threading.Event()

    def __repr__(self) -> str:
        return f"<Kernel {self.name}, {len(self.live)} tasks>"

    # ---- running ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in a daemon thread of its own.  Raises: UsageError if it was started before."""
        if self._thread is not None or self.ident != -1 or self.stopped:
            raise UsageError(f"{self!r} was started before; make another Kernel")
        self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Run in the calling thread until it is stopped.  A KeyboardInterrupt that reaches the kernel, not a task,
        is ``interrupt()``.  Raises: UsageError if it runs or has run already; what else a signal handler raises to end
        the program, as SystemExit, which stops it."""
        if self.ident != -1 or self.stopped:
            raise UsageError(f"{self!r} runs already, or has stopped; make another Kernel")
        self.ident = get_ident()
        registry.bind(self)
        try:
            while not self._stopping:
                try:
                    self._run_rounds()
                except KeyboardInterrupt:
                    self.interrupt()
                except BaseException as exception:
                    if self._sleeping and not isinstance(exception, Exception):
                        raise  # of a signal handler
                    failures.log_failure(logger, "the kernel has a bug; it goes on")
        finally:
            self._shutdown()

    def spawn(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task:
        """``Task(fn, *args, **kwargs)`` in this kernel.  Any thread; do not yield it.

        Raises: as Task; UsageError if the kernel has stopped.
        """
        if self.stopped:
            raise UsageError(f"{self!r} has stopped and runs no more tasks")
        task = Task.__new__(Task)
        task._make(self, fn, args, kwargs)
        return task

    def start_from_outside(self, task: Task) -> None:
        """`task` was made in another thread: make it ready."""
        self.post(self._start, task)

    def _start(self, task: Task) -> None:
        if task._state < FINISHED:
            self._ready.append(task)

    def is_alive(self) -> bool:
        """True until it has stopped."""
        return not self.stopped

    def tasks(self) -> list[Task]:
        """The tasks that have not ended, oldest first.  Any thread."""
        return list(self.live.values())

    def task(self, number: int) -> Task | None:
        """The live task with this id, None if there is none.  Any thread."""
        return self.live.get(number)

    def ensure_network(self) -> Network:
        """The network, made by ``network_factory`` if it is not there yet.

        Raises: ConfigError if there is no factory.
        """
        if self.network is None:
            if self.network_factory is None:
                raise ConfigError(
                    "this needs networking, and this kernel has none: "
                    "make parkcos.Parkcos() (or a Client) before the first Task"
                )
            network = self.network_factory()
            if self.network is None:
                self.network = network
        return self.network

    def registered(self, thing: Any) -> None:
        """A name was given to `thing`: tell networking."""
        if self.on_register is not None:
            self.on_register(thing)

    # ---- the end of tasks ---------------------------------------------------------------------------------------

    def _ended(self, task: Task, state: int, value: Any) -> None:
        try:
            if task._op is not None and state == FINISHED:
                state, value = FAILED, task._take_forgotten()
            if state == FAILED:
                value = self._failure(task, value)
            elif state == TERMINATED:
                value = Outcome("terminated", None, TaskTerminated(f"{task!r} was terminated"))
        except BaseException as fault:  # of the words for it: it ends all the same
            state, value = FAILED, Outcome("failed", None, fault, failures.line_of(fault))
        task._op = None
        task._value = value
        task._state = state
        pending = task._pending
        task._gen = task._send = task._messages = task._pending = task._stack = None  # type: ignore[assignment]
        self.live.pop(task.id, None)
        if task._daemon:
            self._daemons -= 1
        rare = task._rare
        if rare is not None:
            if rare.named:
                for name in self.names.tasks.names_of(task):
                    self.names.tasks.unregister(name, task)
            for swap in (rare.swap, *(pending or ())):
                if isinstance(swap, HotSwapException):
                    task._refused(swap)
            task._rare = None
        callbacks = task._callbacks
        if callbacks is not None:
            task._callbacks = None
            for fn in callbacks:
                self.guard(fn, task)
        if self._joiners:
            self._tell_joiners()

    def _failure(self, task: Task, exception: BaseException) -> Outcome:
        add_loop_note(exception)
        text = failures.text_of(exception)
        if failures.is_a(exception, SystemExit):
            logger.warning("%r ended itself by %s", task, failures.exit_call(exception))
        elif failures.is_a(exception, KeyboardInterrupt):
            logger.warning("%r was interrupted", task)
        elif task._callbacks:  # somebody waits for it, and gets it
            logger.info("%r failed: %s", task, failures.line_of(exception))
        else:
            logger.error("%r failed:\n%s", task, text.rstrip())
        return Outcome("failed", None, exception, text, failures.trace_of(exception))

    def daemon_changed(self, task: Task) -> None:
        """The running `task` has become a daemon, or is none any more."""
        self._daemons += 1 if task._daemon else -1
        self._tell_joiners()

    def interrupt(self) -> None:
        """Throw KeyboardInterrupt into every live task that is not a daemon: the first Ctrl-C.  Any thread."""
        if not self.in_kernel_thread():
            self.post(self.interrupt)
            return
        for task in self.tasks():
            if not task._daemon:
                task.throw(KeyboardInterrupt())

    # ---- waiting ------------------------------------------------------------------------------------------------

    def join(self, timeout_s: float | None = None, show_running: bool = False) -> bool:
        """Wait, in a plain thread, until all non-daemon tasks are done.

        Args:
            timeout_s: seconds, None for ever.
            show_running: log which tasks are running now.

        Returns: True; False if the time was over first.  Raises: WouldHang in a task.  Do not yield it.
        """
        self._not_here("join")
        if show_running:
            logger.info("%s: running: %s", self.name, self._some_tasks(1000))
        if self.stopped or (self._thread is None and self.ident == -1 and not self.live):
            return True
        done = threading.Lock()
        done.acquire()
        self.post(self._add_joiner, done.release)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.stopped:
            left = _JOIN_LOG_S if deadline is None else min(_JOIN_LOG_S, deadline - time.monotonic())
            if done.acquire(True, max(left, 0.0)):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                self.post(self._drop_joiner, done.release)
                return False
            logger.info("%s: waiting for %s", self.name, self._some_tasks(10))
        return True

    def _some_tasks(self, count_max: int) -> str:
        tasks = [task for task in self.tasks() if not task._daemon]
        text = ", ".join(repr(task) for task in tasks[:count_max]) or "no task"
        return text if len(tasks) <= count_max else f"{text} and {len(tasks) - count_max} more"

    def _add_joiner(self, release: Callable[[], None]) -> None:
        self._joiners.append(release)
        self._tell_joiners()

    def _drop_joiner(self, release: Callable[[], None]) -> None:
        if release in self._joiners:
            self._joiners.remove(release)

    def _tell_joiners(self) -> None:
        if len(self.live) <= self._daemons:
            joiners, self._joiners = self._joiners, []
            for release in joiners:
                release()

    # ---- stopping -----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Wait until all non-daemon tasks are done, then stop.  From a plain thread.  Raises: WouldHang in a task."""
        self._not_here("finish")
        self.join()
        self.terminate()

    def terminate(self) -> None:
        """Close all tasks, daemon or not, and stop.  Any thread; returns when the kernel has stopped, but in the
        kernel's own thread at once: it stops at the end of the round."""
        if self.in_kernel_thread():
            self._stopping = True
        elif self.stopped:
            return
        elif self._thread is None and self.ident == -1:
            self._stopping = True
            self._shutdown()
        else:
            self.post(self._stop)
            self._gone.wait()
            if self._thread is not None:
                self._thread.join()

    def _stop(self) -> None:
        self._stopping = True

    def atexit(self, priority: float, fn: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call ``fn(*args, **kwargs)`` when the kernel stops, in the kernel thread, after the non-daemon tasks and
        before the daemon tasks have ended.  High priority first, equal ones in order of registration."""
        self._atexit.append((-priority, next(self._atexit_number), fn, args, kwargs))

    def drop_atexit(self, priority: float, fn: Callable[..., object]) -> None:
        """Take ``atexit(priority, fn, ...)`` back; does nothing if there is none."""
        self._atexit[:] = [entry for entry in self._atexit if entry[0] != -priority or entry[2] != fn]

    def finish_at_exit(self) -> None:
        """At its end the program waits for all non-daemon tasks, then stops this kernel.

        A KeyboardInterrupt, before or during that wait, interrupts the tasks; the next one ends the program.  What is
        registered with Python's own ``atexit`` is called after the wait.
        """
        # Before Python shuts its thread pools: a program whose main part has ended goes on in its tasks, and those
        # may resolve names or read files in a pool. The pools' own hook must be registered first to be called last.
        importlib.import_module("concurrent.futures.thread")
        register = getattr(threading, "_register_atexit", _atexit.register)
        register(self._program_ends)

    def _program_ends(self) -> None:
        if self.stopped:
            return
        try:
            if getattr(sys, "last_type", None) is KeyboardInterrupt:
                self.interrupt()
            if self.before_wait is not None:
                self.before_wait()
            self.join()
        except KeyboardInterrupt:
            self.interrupt()
            with contextlib.suppress(KeyboardInterrupt):
                self.join()
        self.terminate()

    def _not_here(self, what: str) -> None:
        if self.in_kernel_thread() or cur_task() is not None:
            raise WouldHang(f"{what}() in a task would wait for this very task\n  write: yield task.finish()")

    def _shutdown(self) -> None:
        self._close_all(daemons=False)
        for _, _, fn, args, kwargs in sorted(self._atexit, key=lambda entry: entry[:2]):
            try:
                fn(*args, **kwargs)
            except BaseException:
                failures.log_failure(logger, "an atexit function of %s failed", self.name)
        self._atexit.clear()
        self._close_all(daemons=True)
        self._flush()
        self.stopped = True
        self._drain()
        self._ready.clear()
        self._close_all(daemons=True)
        self._daemons = 0
        self._tell_joiners()
        registry.unbind(self)
        self.ident = -1
        self._gone.set()

    def _close_all(self, daemons: bool) -> None:
        for _ in range(_CLOSE_ROUNDS_MAX):
            victims = [task for task in self.tasks() if daemons or not task._daemon]
            if not victims:
                return
            for task in victims:
                if task._state < FINISHED:
                    self._close_task(task)
        logger.warning("%s: tasks that make tasks while they end were dropped", self.name)

    def _close_task(self, task: Task) -> None:
        wait, task._wait = task._wait, None
        if wait is not None:
            self.guard(wait.cancel, task)
        self.current = task
        try:
            task._close()
        finally:
            self.current = None
        self._ended(task, TERMINATED, None)
