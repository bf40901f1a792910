"""The shell around a client's dispatch machine: it tells the machine what happens, and obeys, one task like the next.

Events come from the kernel thread (a task submitted, an offer answered) and from the I/O thread (what nodes and
servers say), under one lock; what they lead to is sent from there.  What is ordered of nodes and servers is done in
nodes.py, of the place at the scheduler in turn.py, at the end in closing.py: each says so here (`executes`), and knows
the shell, which knows none of them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from parkcos.client import dispatch_events as d
from parkcos.client.circle import Circle
from parkcos.client.dispatch import Dispatch
from parkcos.client.identity import Identity
from parkcos.client.packed import RawOutcome
from parkcos.client.sent import NotedTask
from parkcos.client.sharing import Sharing
from parkcos.client.side import ClientSide
from parkcos.client.status import Status, Statuses, TaskInfo
from parkcos.client.submission import Submission
from parkcos.client.waits import Waits
from parkcos.cluster import messages as m
from parkcos.cluster import server_messages as sm
from parkcos.cluster.bundle import Bundle
from parkcos.cluster.definitions import SHARED, Definition, encode_definitions
from parkcos.cluster.machine import told
from parkcos.cluster.node_info import NodeInfo
from parkcos.cluster.shared import InFile
from parkcos.cluster.shipping import Shipper
from parkcos.cluster.timer import DeadlineTimer
from parkcos.errors import RemoteError, ScheduleError, ShippingError, TaskAbandoned, TaskTimeout
from parkcos.kernel import Kernel, MonitorStatus, Outcome, Task
from parkcos.net.bounds import NAME_CHARS_MAX, SECONDS_MAX
from parkcos.net.location import Location
from parkcos.net.network import Network
from parkcos.net.payload import PICKLE, Buffer
from parkcos.net.tasks import outcomes
from parkcos.net.tasks.remote_task import RemoteTask, RetriedTask

logger = logging.getLogger("parkcos")

NEW, WAITING, RUNNING, CLOSED = "new", "waiting", "running", "closed"


class Watch(Protocol):
    """Who watches the client (observing.py), as the shell knows it."""

    @property
    def wants_output(self) -> bool: ...

    def received(self, process: int, message: Any, payload: Buffer) -> None: ...

    def handled(self, event: d.Event, effects: Sequence[d.Effect]) -> None: ...

    def ended(self, record: Submission, outcome: Outcome) -> None: ...


class ClientShell:
    """What all parts of a client hold: its machine and lock, its tasks, and what its servers know.

    `begin` fills in what is only declared here.
    """

    kernel: Kernel
    network: Network
    side: ClientSide
    shipper: Shipper
    bundle_digests: dict[tuple[str, str], bytes]
    timer: DeadlineTimer
    circle: Circle

    def __init__(self, name: str) -> None:
        self.name = name
        self.id = new_id()
        self.state = NEW
        """One of these four; like the id changed by the turn alone (turn.py)."""
        self.status_task: Task | None = None
        self.info_shown: Callable[[Any], Any] = lambda info: info
        """What the status task gets for the info of a status."""
        self.machine = Dispatch()
        self.lock = threading.RLock()
        self.submissions: dict[int, Submission] = {}
        """Changed with the lock alone: it is gone through under that."""
        self.known: dict[int, dict[tuple[int, str, str], bytes]] = {}
        """What each server has in each space under each name: the digest of its definition."""
        self.locations: dict[int, Location] = {}
        """Of the servers."""
        self.ready: set[int] = set()
        """The servers that have been initialized and have not ended."""
        self.identity: Identity | None = None
        """Of a client that may return, from `schedule` to its end."""
        self.orphan_s = 0.0
        """How long its place, its servers and tasks are kept after its program was lost."""
        self.observing: Watch | None = None
        self.waits = Waits(self.machine, self.lock, lambda: repr(self))
        self.sharing = Sharing(
            self.machine,
            self.submissions,
            self.known,
            self.lock,
            lambda: self.network,
            self.handle,
            self._send_task,
            lambda process, part, digests: self.side.box.send(process, part, m.DropShared(self.id, digests)),
        )
        self._execute: dict[type, Callable[[Any], object]] = {
            d.Run: self._run,
            d.Recall: self._recall,
            d.EndTask: self._end_task,
            d.ReportStarted: self._report_started,
            d.ReportRefused: self._report_refused,
            d.ReportAbandoned: self._report_abandoned,
            d.ReportRetried: self._report_retried,
        }

    def __repr__(self) -> str:
        return f"<Client {self.name}, {self.state}>"

    def executes(self, kind: type[d.Effect], fn: Callable[[Any], object]) -> None:
        """Have `fn` called with each order of this kind, under the lock."""
        self._execute[kind] = fn

    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state is not CLOSED

    def must_run(self) -> None:
        """Raises: ScheduleError if it runs no tasks."""
        if self.state is not RUNNING:
            if self.machine.stage.closed_why:
                raise ScheduleError(f"{self!r} runs no tasks: {self.machine.stage.closed_why}")
            raise ScheduleError(f"{self!r} runs no tasks\n  write: yield client.schedule()  first, and close() last")

    def begin(
        self,
        kernel: Kernel,
        network: Network,
        side: ClientSide,
        shipper: Shipper,
        bundle: Bundle,
        identity: Identity | None = None,
    ) -> None:
        """It is about to be scheduled."""
        self.identity = identity
        if identity is not None:
            self.id = identity.key.number
            self.machine.number_from(identity.first_number)
        self.kernel, self.network, self.side, self.shipper = kernel, network, side, shipper
        self.bundle_digests = {(each.module, each.name): each.digest for each in bundle.definitions}
        self.timer = DeadlineTimer(network.io, lambda: self.handle(d.TimePassed()))
        self.circle = Circle(network.hub, None if identity is None else identity.key.server_keys)

    def close(self) -> None:
        """It has left its scheduler: drop what is kept for more tasks."""
        self.shipper.forget()
        self.sharing.close()
        self.circle.close()
        self.network.io.call(self.timer.cancel)

    def let_identity_go(self, forget: bool) -> None:
        """Another program may have it.  forget: nothing is left to be taken over."""
        if self.identity is not None:
            self.side.identities.pop(self.id, None)
            self.identity.close(forget)
            self.identity = None

    # -- the machine

    def handle(self, event: d.Event) -> None:
        """Tell the machine a fact and do what it says; any thread.

        What it says has happened for the machine, so an order that fails takes no other one with it.  No code of the
        program runs in here: what may lead to some is posted to the kernel.

        Raises: what the machine raises, after that.
        """
        with self.lock:
            effects, refused = told(self.machine, event, time.monotonic())
            if self.observing is not None:
                try:
                    self.observing.handled(event, effects)
                except Exception:
                    logger.exception("%s: its observers have missed %r", self.name, event)
            for effect in effects:
                try:
                    self._execute[type(effect)](effect)
                except Exception as error:
                    logger.exception("%s: %r failed", self.name, effect)
                    if isinstance(effect, d.Run):
                        why = f"it could not be sent: {error}"
                        self.kernel.post(self.handle, d.Refused(effect.task, why, effect.server))
            waits = self.waits
            if waits.for_servers or waits.for_room:
                waits.look()
            if self.sharing.held:
                self.sharing.handled(event)
            self.timer.set(self.machine.next_deadline())
        if refused is not None:
            raise refused

    def _run(self, effect: d.Run) -> None:
        submission = self.submissions[effect.task]
        if submission.shared or submission.large:
            self.sharing.run(effect.task, effect.server)
        else:
            self._send_task(effect.task, effect.server)

    def _send_task(self, number: int, server: int) -> None:
        submission = self.submissions[number]
        message = sm.RunTask(
            self.id,
            number,
            submission.name[:NAME_CHARS_MAX],
            submission.io,
            min(submission.timeout_s, SECONDS_MAX),
            submission.seed,
            submission.plain,
            0 if submission.exclusive else submission.space,
        )
        if self.identity is not None:
            submission.sent_to = server
            at = self.machine.servers[server].node
            noted = NotedTask(number, submission.name, submission.digest, submission.io, at, server)
            self.identity.sent.task(noted)
        try:
            if submission.definitions or submission.space:
                self.define(server, submission.definitions, submission.space, submission.files)
            self.side.box.send(server, "server", message, submission.form, submission.buffers)
        except ShippingError as error:  # it is too large for that server
            submission.unsent = ShippingError(f"{submission.name} cannot be sent: {error}")
            self.kernel.post(self.handle, d.Refused(number, str(submission.unsent), server))

    def define(
        self, server: int, definitions: Sequence[Definition], space: int = 0, files: Sequence[InFile] = ()
    ) -> None:
        """Send a server the definitions that it does not have in a space.  files: at its node are these.

        Raises: ShippingError if they are too large for it.
        """
        known = self.known[server]
        if space:
            known[space, "", ""] = b""  # it has something of that
        missing = [
            each
            for each in definitions
            if known.get((space, each.module, each.name)) != each.digest and each.kind != SHARED
        ]
        if missing:
            sent = self.sharing.without_blobs(missing, files, space) if files else missing
            within = 0 if self.machine.servers[server].space else space  # a process of a space is in no other
            self.side.box.send(server, "server", sm.Define(self.id, within), PICKLE, [encode_definitions(sent)])
            known.update(((space, each.module, each.name), each.digest) for each in missing)

    def forget_space(self, number: int) -> None:
        """Nothing will be run in it any more: the servers that have something of it forget that.  With the lock."""
        for server, known in self.known.items():
            here = [key for key in known if key[0] == number]
            for key in here:
                del known[key]
            if here:
                self.side.box.send(server, "server", m.DropSpaces(self.id, [number]))

    def _recall(self, effect: d.Recall) -> None:
        if not self.sharing.take_back(d.Recalled(effect.task, True, effect.server)):
            self.side.box.send(effect.server, "server", sm.RecallTask(self.id, effect.task))

    def _end_task(self, effect: d.EndTask) -> None:
        why = self.submissions[effect.task].cancelled
        if not self.sharing.take_back(d.Refused(effect.task, why, effect.server)):
            self.side.box.send(effect.server, "server", sm.EndTask(self.id, effect.task))

    def _report_started(self, effect: d.ReportStarted) -> None:
        submission = self.submissions[effect.task]
        location = self.locations[effect.server]
        if isinstance(submission.rtask, RetriedTask):
            rtask: RemoteTask = submission.rtask
            submission.rtask.runs_at(location, effect.server, effect.remote_id)
        else:
            kind = RetriedTask if submission.retries else RemoteTask  # else it cannot run again
            rtask = kind(self.network, location, effect.server, effect.remote_id, submission.name)
        rtask._watched = True
        rtask._end = partial(self.cancel, submission, "it was terminated")
        submission.rtask = rtask
        submission.start_time = time.time()
        if submission.completion is not None:
            submission.completion.set_result(rtask)
            submission.completion = None
        if submission.handle is not None:
            self.kernel.post(submission.handle._begun)
        if self.status_task is not None:
            self.tell(Statuses.TaskStarted, TaskInfo(rtask, submission.args, submission.kwargs, submission.start_time))

    def _report_refused(self, effect: d.ReportRefused) -> None:
        submission = self.submissions.pop(effect.task)
        self._fail(submission, submission.unsent or RemoteError(effect.error))

    def _report_abandoned(self, effect: d.ReportAbandoned) -> None:
        submission = self.submissions.pop(effect.task)
        error: Exception = TaskAbandoned(f"{submission.name}: {effect.reason}")
        if effect.timed_out:
            error = TaskTimeout(f"{submission.name} hung for longer than {submission.timeout_s:g} s: {effect.reason}")
        self._fail(submission, error)

    def _fail(self, submission: Submission, error: Exception) -> None:
        """A task has ended without a word of its own."""
        self._release_unless_held(submission)
        if submission.completion is not None:
            self.kernel.post(submission.completion.set_exception, error)
        elif submission.rtask is not None:  # it has run before
            self.kernel.post(self._finish, submission, outcomes.abandoned(error))
        elif submission.handle is not None:
            self.kernel.post(submission.handle._ended, outcomes.abandoned(error))

    def cancel(self, submission: Submission, reason: str) -> None:
        """End a task, wherever it is.  Any thread."""
        with self.lock:
            if submission.number in self.machine.tasks:
                self.handle(d.CancelAsked(submission.number, reason))
            elif not submission.tries:  # it is still being found out where it must run
                submission.cancelled = submission.cancelled or reason
                self._fail(submission, TaskAbandoned(f"{submission.name}: {reason}"))

    def _report_retried(self, effect: d.ReportRetried) -> None:
        submission = self.submissions[effect.task]
        logger.warning("%s: %s is run again: %s", self.name, submission.name, effect.reason)
        if submission.sent_to:  # what came of that run is of no use
            message = sm.ReleaseTasks(self.id, [submission.number])
            self.side.box.send(submission.sent_to, "server", message, lazy=True)

    def open_outcome(self, number: int, kind: str, form: int, payload: Buffer) -> None:
        """Kernel thread: open a task's result, and tell those who wait for it."""
        submission = self.submissions.get(number)
        if submission is None or submission.rtask is None:
            return
        where = str(submission.rtask.location)
        if submission.opaque:
            outcome = Outcome("finished", RawOutcome(kind, form, bytes(payload), where))
        else:
            outcome = outcomes.unpack(kind, form, payload, where)
        if number in self.machine.life.unjudged:
            again = isinstance(outcome.exception, submission.retry_on)
            self.handle(d.Judged(number, f"it raised {outcome.exception!r}" if again else ""))
        if self.submissions.get(number) is submission and number not in self.machine.tasks:
            with self.lock:
                del self.submissions[number]
            self._finish(submission, outcome)

    def _finish(self, submission: Submission, outcome: Outcome) -> None:
        rtask, handle = submission.rtask, submission.handle
        assert rtask is not None
        self._release_unless_held(submission)
        rtask.ended(outcome, told=handle is not None or self.status_task is not None)
        observing = self.observing  # which another thread may take away
        if observing is not None:
            observing.ended(submission, outcome)
        if handle is not None:
            handle._ended(outcome)
        if self.status_task is not None:
            self.status_task.send(MonitorStatus.of(rtask, outcome))

    def release(self, submission: Submission) -> None:
        """What has come of a task is safe: its server need not keep it.  Any thread."""
        with self.lock:
            if self.identity is not None:
                self.identity.sent.released([submission.number])
                if submission.sent_to:
                    message = sm.ReleaseTasks(self.id, [submission.number])
                    self.side.box.send(submission.sent_to, "server", message, lazy=True)

    def _release_unless_held(self, submission: Submission) -> None:
        """Who keeps no handle cannot do it."""
        if self.identity is not None and submission.handle is None:
            self.release(submission)

    def tell(self, status: int, info: Any, reason: str = "") -> None:
        """Send the status task a Status, if there is one.  Any thread."""
        if self.status_task is not None:
            self.kernel.post(self.status_task.send, Status(status, self.info_shown(info), reason))


def new_id() -> int:
    """For a client, which its messages name."""
    return int.from_bytes(os.urandom(8)) >> 1 | 1


def shown(node: NodeInfo) -> str:
    """A node, as its client's messages call it."""
    return f"{node.name} ({Location(node.addr, node.port)})"
