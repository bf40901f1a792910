"""A server process: runs a client's tasks.  Forked from the zygote; the kernel has the main thread.

The executor decides which task runs when; it is asked from the I/O thread (a task asked for, recalled, to be ended)
and from the kernel thread (a task has ended), under one lock.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Generator, Sequence
from types import FrameType
from typing import Any

from parkcos.cluster import messages as m
from parkcos.cluster import namespace, shared
from parkcos.cluster import server_messages as sm
from parkcos.cluster.definitions import decode_definitions
from parkcos.cluster.machine import told
from parkcos.cluster.message import Message
from parkcos.cluster.postbox import Postbox
from parkcos.cluster.timer import DeadlineTimer
from parkcos.errors import ShippingError
from parkcos.kernel import Completion, MonitorStatus, Outcome, Task, operation
from parkcos.kernel.target import plain_call
from parkcos.net.location import Location
from parkcos.net.payload import Buffer, loads
from parkcos.net.runtime import Parkcos
from parkcos.net.session.peer import CONNECTING, Peer
from parkcos.net.tasks import outcomes
from parkcos.node import executor as ex
from parkcos.node import family, randomness
from parkcos.node.owed import Owed, described, resumptions
from parkcos.node.run_record import Running, explained, whose_code
from parkcos.node.server_config import ServerConfig
from parkcos.node.tally import Tally

logger = logging.getLogger("parkcos")

INTERRUPT_AGAIN_S = 0.001

QUICK_S = 0.005
QUICK_MAX = 1000

MEET_S = 2.0
MEET_AGAIN_S = 0.005
"""A task that looks for another waits so long for the other servers to be there."""


class Server:
    """The shell around the executor of this process."""

    def __init__(self, config: ServerConfig, index: int, runtime: Parkcos, reports: int, tally: Tally) -> None:
        self.config = config
        self.index = index
        self.runtime = runtime
        self.kernel = runtime.kernel
        self.network = runtime.network
        self.reports = reports
        self.tally = tally
        self.lock = threading.RLock()
        self.executor = ex.Executor(config.client, keeps=bool(config.run))
        self.client_process = config.client_process
        self.run = config.run
        """Of the client's program, if the client may return: no earlier one is heard any more."""
        self.owed = Owed() if config.run else None
        self.box = Postbox.of(self.network)
        self.box.serve("server", self._received, any_thread=True)
        self.network.hub.callbacks.up.append(self._peer_up)
        self.network.hub.callbacks.gone.append(self._peer_gone)
        self.timer = DeadlineTimer(self.network.io, lambda: self.handle(ex.TimePassed()))
        self.running: dict[int, Running] = {}
        """What the client has asked for and has not heard the end of."""
        self.quick: dict[str, bool] = {}
        """Which tasks, by name, were over so soon that their start need not be told before their end."""
        self.to_interrupt: set[Task] = set()
        self.ends_itself = False
        """A task here has asked for this server's end, or its node's."""
        self.leaving = False
        """It has given its tasks up."""
        self.opened = False
        """The client has spoken with this server."""
        self.setup_word: Message | None = None
        """How server_setup has ended."""
        self.seekers: list[Completion[Any]] = []
        """Who wants to know which other servers the client has."""
        self.network.meet_neighbours = self.meet_neighbours

    # -- from the client

    def _received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        if isinstance(message, sm.ReturnToServer) and message.client == self.config.client:
            self._client_returned(process, message)
            return
        if process != self.client_process or message.client != self.config.client:
            logger.warning("server %d was sent a message by a process that is not its client", self.index + 1)
            return
        match message:
            case sm.RunTask():
                self.running[message.task] = Running(message, form, payload)
                self.handle(ex.Asked(message.task, message.io, message.timeout_s))
            case sm.RecallTask():
                self.handle(ex.Recalled(message.task))
            case sm.EndTask():
                running = self.running.get(message.task)
                if running is not None:
                    running.to_end = True
                    self.handle(ex.EndAsked(message.task))
            case sm.ReleaseTasks(_, tasks):
                with self.lock:
                    if self.owed is not None:
                        self.owed.release(tasks)
                self.handle(ex.Released(tasks))
            case sm.OpenServer():
                self.kernel.post(self._open, message, form, payload)
            case sm.Define():
                self.kernel.post(self._define, message.space, payload)
            case m.DropShared():
                self.kernel.post(shared.drop, message.digests)
            case m.DropSpaces():
                self.kernel.post(_drop_spaces, message.spaces)
            case sm.Servers():
                self.kernel.post(self._told_of, message)

    def _client_returned(self, process: int, message: sm.ReturnToServer) -> None:
        """A later run of the client's program takes the place of the lost one, and hears what is to be told."""
        claim, client = message.claim, self.config.client
        with self.lock:  # whatever ends meanwhile is told to one of the two
            if not self.run or claim.run < self.run or not claim.holds(client, process):
                logger.warning("server %d was claimed by a process that is not its client", self.index + 1)
                return
            self.run, self.client_process = claim.run, process
            if (peer := self.network.hub.by_incarnation.get(process)) is not None:
                self._peer_up(peer)
            running = list(self.running.values())
            assert self.owed is not None
            tasks = [*(described(each.asked) for each in running), *self.owed.described()]
            for resumed in resumptions(client, self.opened, tasks):
                self.to_client(resumed)
            if self.setup_word is not None:
                self.to_client(self.setup_word)
            if self.executor.closing:
                self.to_client(sm.ServerLeaves(client))
            for each in running:
                if each.task is not None:
                    self.to_client(sm.TaskStarted(client, each.asked.task, each.task._number))
            self.owed.tell(self.to_client)

    def _peer_up(self, peer: Peer) -> None:
        if peer.incarnation == self.client_process:
            peer.patience_s = self.config.patience_s
            if self.config.alive_s:
                self.network.hub.keep_alive.pulse_for(peer, self.config.alive_s)

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        if peer.incarnation == self.client_process and not self.config.orphan_s:
            # The node sees the same and ends this process; this is for a node that does not.
            self.handle(ex.CloseAsked(0.5))

    @operation
    def meet_neighbours(self) -> Generator[Any, Any, None]:
        """Know the client's other servers, and be connected with them: a task is looking for another (chapter 6.1)."""
        waiting: Completion[Sequence[tuple[str, int, int]]]

        def ask(completion: Completion[Any]) -> None:
            self.seekers.append(completion)
            self.to_client(sm.AskServers(self.config.client))

        waiting = Completion(self.kernel, "locate", ask, MEET_S, ())
        hub = self.network.hub
        found = yield waiting
        peers = [hub.peer_at(Location(addr, port), n) for addr, port, n in found if n != self.network.incarnation]
        end = self.kernel.clock() + MEET_S
        while any(peer is not None and peer.state is CONNECTING for peer in peers) and self.kernel.clock() < end:
            yield self.network.pause(MEET_AGAIN_S)

    def _told_of(self, message: sm.Servers) -> None:
        seekers, self.seekers = self.seekers, []
        for completion in seekers:
            completion.set_result(message.servers)

    def meet_client(self) -> None:
        """I/O thread: dial the client, if it has not come: it may be that only this side can."""
        hub, config = self.network.hub, self.config
        if config.client_process not in hub.by_incarnation and config.client_at:
            addresses = [Location(addr, port) for addr, port in config.client_at]
            hub.peer_at(addresses[0], config.client_process, addresses)

    def to_client(self, message: Message, form: int = 0, buffers: Any = ()) -> None:
        """Send a message to the client."""
        self.box.send(self.client_process, "client", message, form, buffers)

    def handle(self, event: ex.Event) -> None:
        """Tell the executor a fact and do what it says; any thread.  Raises: what the executor raises, after that."""
        with self.lock:
            effects, error = told(self.executor, event, time.monotonic())
            for effect in effects:
                self._execute(effect)
            self.tally.note(self.index, self.executor.running)
            self.timer.set(self.executor.next_deadline())
        if error is not None:
            raise error

    def _execute(self, effect: ex.Effect) -> None:
        match effect:
            case ex.Start(task):
                self.kernel.post(self._start, task)
            case ex.Answer(message):
                if message.ok:
                    self.running.pop(message.task, None)
                self.to_client(message)
            case ex.Abandon(task):
                self.running.pop(task, None)
                self.to_client(sm.TaskRecalled(self.config.client, task, ok=True))
            case ex.Interrupt(task):
                self._interrupt(task)
            case ex.TimedOut(task):
                running = self.running.get(task)
                if running is not None:  # it may end just now
                    running.timed_out = True
                    text = f"its time limit of {running.asked.timeout_s:g} s (timeout_s)"
                    logger.warning("%r is interrupted: it has run for %s", running.task, text)
            case ex.Close(number):
                self.kernel.post(self._close, number)
            case ex.Leave():
                if self.opened:
                    self.to_client(sm.ServerLeaves(self.config.client))
            case ex.GiveUp() | ex.Terminate():
                self._give_up()
            case ex.Exit():
                self.kernel.post(self.kernel.terminate)

    # -- tasks (kernel thread)

    def _define(self, space: int, payload: Buffer) -> None:
        namespace.of(space).install(shared.with_blobs(decode_definitions(payload)))

    def _open(self, message: sm.OpenServer, form: int, payload: Buffer) -> None:
        self.opened = True
        try:
            if not message.has_setup:
                self._setup_ended(sm.ServerReady(self.config.client))
                return
            fn, args, kwargs = loads(form, payload)
            task = self.kernel.spawn(fn, *args, **kwargs)
        except BaseException as error:  # of the client's code
            self._setup_ended(sm.ServerFailed(self.config.client, explained("server_setup cannot be run", error)))
            return

        def ended(_: Task) -> None:
            self.tally.note(self.index, 0)
            value = task._value_of_end()
            if isinstance(value, MonitorStatus):
                error = f"server_setup failed: {value.traceback or value.type.__name__}"
            elif value != 0 or value is False:
                error = f"server_setup returned {value!r}; it must return 0 when the server is ready"
            else:
                self._setup_ended(sm.ServerReady(self.config.client))
                return
            self._setup_ended(sm.ServerFailed(self.config.client, error))

        task.add_end_callback(ended)
        self.tally.note(self.index, 1)

    def _setup_ended(self, word: Message) -> None:
        with self.lock:
            self.setup_word = word
            self.to_client(word)

    def _start(self, number: int) -> None:
        running = self.running[number]
        message, client = running.asked, self.config.client
        if running.to_end:
            self._refuse(number, f"{message.name} was to end before it had begun")
            return
        space = namespace.of(message.space) if message.space else None
        try:
            fn, args, kwargs = (loads if space is None else space.loads)(running.form, running.payload)
            if message.plain:
                fn, args = plain_call, (fn, *args)
            task = self.kernel.spawn(fn, *args, **kwargs)
        except BaseException as error:  # of the client's code
            self._refuse(number, explained(f"{message.name} cannot be run", error))
            return
        running.payload = b""
        task.name = message.name
        if space is not None:
            task._rarely().space = space
        if message.seed:
            task._rarely().seed = message.seed
            if not message.io:  # others have turns between those of I/O tasks
                randomness.seed(message.seed)
        running.task, running.started_at = task, time.monotonic()
        started = sm.TaskStarted(client, number, self.network.exposed.begin(task))
        running.told = self.box.post(self.client_process, "client", started)
        if message.timeout_s or not self.quick.get(message.name):
            self.network.hub.flush_dirty()  # now: code that holds the interpreter may never let it go
        task.add_end_callback(lambda _: self._ended(number, task))

    def _refuse(self, number: int, reason: str) -> None:
        refused = sm.TaskRefused(self.config.client, number, reason)
        with self.lock:
            running = self.running.pop(number)
            if self.owed is not None:
                self.owed.keep(running.asked, refused, 0, ())
            self.to_client(refused)
        self.handle(ex.Ended(number))

    def _ended(self, number: int, task: Task) -> None:
        running = self.running.get(number) if self.owed is not None else self.running.pop(number, None)
        if running is None:  # it was given up
            return
        self.to_interrupt.discard(task)
        seconds = time.monotonic() - running.started_at
        outcome, exposed = task.outcome, task._number
        assert outcome is not None
        self.network.exposed.end(exposed)
        forced = self._forced_end(running)
        kind, form, buffers = outcomes.pack(forced or outcome)
        cut = forced is None and isinstance(outcome.exception, KeyboardInterrupt) and self._is_cut()
        if len(self.quick) < QUICK_MAX or task.name in self.quick:
            self.quick[task.name] = seconds < QUICK_S
        if running.told is not None:
            running.told.retract()  # its end says all
        ended = sm.TaskEnded(self.config.client, number, kind, seconds, exposed, cut)
        if self.owed is not None:
            if not self._tell_owed(self.owed, running, ended, form, buffers):
                return
        else:
            try:
                self.box.send(self.client_process, "client", ended, form, buffers, lazy=True)
            except ShippingError as error:
                kind, form, buffers = outcomes.pack_unsendable(error)
                ended.kind = kind
                self.box.send(self.client_process, "client", ended, form, buffers, lazy=True)
        self.network.keep_outcome(exposed, kind, form, buffers)
        self.handle(ex.Ended(number))

    def _tell_owed(
        self, owed: Owed, running: Running, ended: sm.TaskEnded, form: int, buffers: Sequence[Buffer]
    ) -> bool:
        """It is kept, and told to whoever the client is now.  Returns: whether it was not given up meanwhile."""
        with self.lock:
            if self.running.pop(ended.task, None) is None:
                return False
            try:
                self.to_client(ended, form, buffers)
            except ShippingError as error:
                ended.kind, form, buffers = outcomes.pack_unsendable(error)
                self.to_client(ended, form, buffers)
            owed.keep(running.asked, ended, form, buffers)
        return True

    def _is_cut(self) -> bool:
        """Whether tasks that end now are interrupted by the end of this server, for which none of them has asked."""
        return self.executor.interrupted and not self.ends_itself

    def _forced_end(self, running: Running) -> Outcome | None:
        if not (running.to_end or running.asked.timeout_s):
            return None
        at, _ = self.executor.limits.get(running.asked.task, (math.inf, ""))
        return running.forced_end(at)

    def _close(self, number: int) -> None:
        """Kernel thread: the task is at a yield.  What it does to clean up is not interrupted."""
        task = self._task(number)
        if task is not None:
            with self.lock:  # an interrupt that goes with this was asked for by then
                self.to_interrupt.discard(task)
            task.terminate()

    def _task(self, number: int) -> Task | None:
        """The task with this number, if it has begun."""
        running = self.running.get(number)
        return None if running is None else running.task

    # -- ending

    def _interrupt(self, number: int) -> None:
        """KeyboardInterrupt, once: where the task is computing, or at its yield."""
        task = self._task(number)
        if task is not None:
            self.to_interrupt.add(task)
            self._signal_main_thread()
            self.kernel.post(self._interrupt_waiting, task)

    def _signal_main_thread(self) -> None:
        if self.to_interrupt:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def interrupted(self, number: int, frame: FrameType | None) -> None:
        """Signal handler, in the main thread, which is the kernel's."""
        task = self.kernel.current
        if task is None or task not in self.to_interrupt:
            return
        match whose_code(frame):
            case "user":
                self.to_interrupt.discard(task)
                raise KeyboardInterrupt
            case "parkcos":  # a call into this package must not be cut in two
                self.network.io.call(self.network.io.loop.call_later, INTERRUPT_AGAIN_S, self._signal_main_thread)

    def _interrupt_waiting(self, task: Task) -> None:
        """Kernel thread: the task is at a yield now."""
        if task in self.to_interrupt:
            self.to_interrupt.discard(task)
            task.throw(KeyboardInterrupt)

    def asked_to_end(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: the node wants this server to end, SIGUSR2: when its CPU tasks have.

        A lock may be held here, so it is done elsewhere.
        """
        grace_s = -1.0 if number == signal.SIGUSR2 else ex.INTERRUPT_GRACE_S
        self.network.io.call(self.handle, ex.CloseAsked(grace_s))

    def _give_up(self) -> None:
        """The grace is over: what still runs is reported as terminated, and this process ends."""
        if self.leaving:  # this is called for each task
            return
        self.leaving = True
        for number, running in list(self.running.items()):
            if running.task is None:
                continue
            text = "terminated: it went on for longer than the grace that it had to end itself"
            del self.running[number]
            how = self._forced_end(running)
            if how is None and self.executor.terminate_at is None and not self.executor.interrupted:
                continue  # it is lost with this process, and can be run again
            kind, form, buffers = outcomes.pack(how or Outcome("terminated", None, None, text))
            cut = how is None and self._is_cut()
            self.to_client(
                sm.TaskEnded(self.config.client, number, kind, 0.0, running.task._number, cut), form, buffers
            )
        self.network.io.loop.create_task(self._leave())

    async def _leave(self) -> None:
        with contextlib.suppress(Exception):
            await self.network._close()
        os._exit(0)

    def report(self, kind: int, terminate: bool = False) -> None:
        """Tell the node something."""
        kind |= family.TERMINATE if terminate else 0
        os.write(
            self.reports, family.REPORT.pack(kind, self.index, self.network.location.port, self.network.incarnation)
        )


def _drop_spaces(numbers: list[int]) -> None:
    """Kernel thread."""
    shared.drop(numbers=numbers)
    namespace.drop(numbers)
    gc.collect()  # now: modules and their functions refer to each other, and may hold much
