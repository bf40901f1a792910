"""The shell around a client's dispatch machine: what its effects mean.  What comes in is heard in incoming.py.

Events come from the kernel thread (a task submitted, an offer answered) and from the I/O thread (what nodes and
servers say), under one lock; what they lead to is sent from there.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from parkcos.client import dispatch_events as d
from parkcos.client.allocate import NodeAllocate, cpus_wanted, why_unwanted
from parkcos.client.choosing import Choosing
from parkcos.client.components import with_setup_call
from parkcos.client.dispatch import Dispatch
from parkcos.client.forwarded import Forwarded
from parkcos.client.packed import RawOutcome
from parkcos.client.records import OPEN
from parkcos.client.room import Room, room
from parkcos.client.sharing import Sharing
from parkcos.client.side import ClientSide
from parkcos.client.status import NodeAvailInfo, Status, Statuses, TaskInfo
from parkcos.client.submission import Submission
from parkcos.cluster import messages as m
from parkcos.cluster.bundle import Bundle, encode_bundle
from parkcos.cluster.definitions import SHARED, Definition, encode_definitions
from parkcos.cluster.node_info import NodeInfo
from parkcos.cluster.shared import InFile
from parkcos.cluster.shipping import Shipper
from parkcos.cluster.timer import DeadlineTimer
from parkcos.errors import RemoteError, ScheduleError, TaskAbandoned, TaskTimeout
from parkcos.kernel import Completion, Kernel, MonitorStatus, Outcome, Task
from parkcos.net.bounds import NAME_CHARS_MAX, SECONDS_MAX
from parkcos.net.location import Location
from parkcos.net.network import Network
from parkcos.net.payload import PICKLE, Buffer
from parkcos.net.tasks import outcomes
from parkcos.net.tasks.remote_task import RemoteTask, RetriedTask

if TYPE_CHECKING:
    from parkcos.client.observing import Observing

logger = logging.getLogger("parkcos")

ALIVE_S = 5.0
"""A node gives a sign of life so often, or at its least pulse interval, if it is asked to."""

SILENT_PULSES = 5
"""A node or server of which nothing is heard for so many pulses is given no more tasks."""

Packed = tuple[int, list[Buffer], list[Definition]]

NEW, WAITING, RUNNING, CLOSED = "new", "waiting", "running", "closed"


class ClientShell:
    """What a client does behind its public face.  `schedule` fills in what is only declared here."""

    status_task: Task | None = None
    restart_servers = False
    pulse_interval = 50.0
    _node_setup: Callable[..., Any] | None = None
    _forward_output = False
    _server_setup: Callable[..., Any] | None = None
    _observing: Observing | None = None
    _kernel: Kernel
    _network: Network
    _side: ClientSide
    _shipper: Shipper
    _bundle: Bundle
    _encoded_bundle: bytes
    _bundle_digests: dict[tuple[str, str], bytes]
    _timer: DeadlineTimer

    def __init__(self, allocations: Sequence[NodeAllocate], name: str) -> None:
        self.name = name
        self._allocations = list(allocations)
        self._id = _new_id()
        self._state = NEW
        self._machine = Dispatch()
        self._lock = threading.RLock()
        self._ship_lock = threading.RLock()
        """Held while users' objects are packed, which may run their code: never together with `_lock`."""
        self._submissions: dict[int, Submission] = {}
        """Changed with the lock alone: it is gone through under that."""
        self._numbers = itertools.count(1).__next__
        self._known: dict[int, dict[tuple[str, str], bytes]] = {}
        """What each server has under each name: the digest of its definition."""
        self._infos: dict[int, NodeInfo] = {}
        self._avail: dict[int, m.NodeAvail] = {}
        """What each node last said of itself."""
        self._matched: dict[int, NodeAllocate] = {}
        """By which allocation each node was taken."""
        self._setup_call: Packed | None = None
        """The packed call of server_setup."""
        self._setup_calls: dict[int, Packed] = {}
        """The packed calls of node_setup or server_setup, where they were given arguments."""
        self._warned: set[int] = set()
        """The nodes whose least pulse interval was said to be more than was asked for."""
        self._look_at = math.inf
        """When it is looked next who is silent."""
        self._silent: set[int] = set()
        self._locations: dict[int, Location] = {}
        self._indexes: dict[int, int] = {}
        """The number of each server at its node, from 1 on."""
        self._unusable: dict[str, str] = {}
        self._owner: Task | None = None
        """The task that has scheduled it, unless its program did that by itself, as by ``run(client.schedule)``."""
        self._in_block = False
        """A ``with`` closes it."""
        self._turn: Completion[int] | None = None
        self._closing: list[Completion[None]] = []
        self._scheduler = 0
        self._scheduler_at = Location("127.0.0.1", 0)
        self._automatic = False
        self._position = 0
        self._queued: m.Queued | None = None
        """What the scheduler has said of the queue, and when."""
        self._queued_at = 0.0
        self._ready: set[int] = set()
        self._server_waits: dict[Completion[int], int] = {}
        """How many servers each caller of `wait_for_servers` waits for."""
        self._had_servers = False
        self._choosing = Choosing(self)
        self._room_waits: dict[Completion[Room], tuple[str, Room]] = {}
        """What each caller of `room_changes` asked about, and the room that it knows."""
        self._forwards: set[int] = set()
        """The nodes that send what is printed there."""
        self._forwarded = Forwarded(lambda *call: self._kernel.post(*call))
        self._sharing = Sharing(
            self._machine,
            self._submissions,
            self._known,
            self._lock,
            lambda: self._network,
            self._handle,
            self._send_task,
            lambda process, part, digests: self._side.box.send(process, part, m.DropShared(self._id, digests)),
        )

    @property
    def _ready_servers(self) -> int:
        """How many servers have been initialized and have not ended."""
        return len(self._ready)

    def _to_scheduler(self, message: m.Message) -> bool:
        return self._side.box.send(self._scheduler, "scheduler", message)

    def _is_open(self) -> bool:
        return self._state is not CLOSED

    def _leave_queue(self) -> bool:
        """End a client that has not got its turn.  Returns: False if it has got it.  Any thread."""
        with self._lock:
            if self._state is WAITING:
                self._forget()
                if self._scheduler:
                    self._to_scheduler(m.ClientLeaves(self._id))
                if self._turn is not None:
                    self._turn.set_exception(ScheduleError(f"{self!r} was closed while it waited for its turn"))
            elif self._state is NEW:
                self._state = CLOSED
            return self._state is CLOSED

    def _forget(self) -> None:
        self._state = CLOSED
        self._side.clients.pop(self._id, None)
        if self._owner is not None:
            self._owner.drop_end_callback(self._owner_ended)
            self._owner = None

    def _begin_close(self, terminate: bool) -> None:
        raise NotImplementedError  # client.py

    def _owner_ended(self, task: Task) -> None:
        raise NotImplementedError  # client.py

    def _give_up_turn(self) -> bool:
        """As `_leave_queue`, but the client is as new then, with an id that nothing still under way is meant for."""
        with self._lock:
            waited = self._state is WAITING
            left = self._leave_queue()
            if left and waited:
                self._state, self._id, self._turn, self._scheduler, self._position = NEW, _new_id(), None, 0, 0
                self._queued = None
            return left

    # -- the machine

    def _handle(self, event: d.Event) -> None:
        """Tell the machine a fact and do what it says; any thread.

        What it says has happened for the machine, so an order that fails takes no other one with it.  No code of the
        program runs in here: what may lead to some is posted to the kernel.
        """
        with self._lock:
            effects = self._machine.handle(event, time.monotonic())
            if self._observing is not None:
                try:
                    self._observing.handled(event, effects)
                except Exception:
                    logger.exception("%s: its observers have missed %r", self.name, event)
            for effect in effects:
                try:
                    self._EXECUTE[type(effect)](self, effect)
                except Exception as error:
                    logger.exception("%s: %r failed", self.name, effect)
                    if isinstance(effect, d.Run):
                        why = f"it could not be sent: {error}"
                        self._kernel.post(self._handle, d.Refused(effect.task, why, effect.server))
            if self._server_waits:
                self._look_for_servers()
            if self._room_waits:
                self._look_for_room()
            if self._sharing.held:
                self._sharing.handled(event)
            self._timer.set(self._machine.next_deadline())

    def _run(self, effect: d.Run) -> None:
        submission = self._submissions[effect.task]
        if submission.shared or submission.large:
            self._sharing.run(effect.task, effect.server)
        else:
            self._send_task(effect.task, effect.server)

    def _send_task(self, number: int, server: int) -> None:
        submission = self._submissions[number]
        if submission.definitions:
            self._define(server, submission.definitions, submission.files)
        message = m.RunTask(
            self._id,
            number,
            submission.name[:NAME_CHARS_MAX],
            submission.io,
            min(submission.timeout_s, SECONDS_MAX),
            submission.seed,
            submission.plain,
        )
        self._side.box.send(server, "server", message, submission.form, submission.buffers)

    def _define(self, server: int, definitions: Sequence[Definition], files: Sequence[InFile] = ()) -> None:
        """Send a server the definitions that it does not have.  files: at its node are these."""
        known = self._known[server]
        missing = [
            each for each in definitions if known.get((each.module, each.name)) != each.digest and each.kind != SHARED
        ]
        if missing:
            known.update(((each.module, each.name), each.digest) for each in missing)
            if files:
                missing = self._sharing.without_blobs(missing, files)
            self._side.box.send(server, "server", m.Define(self._id), PICKLE, [encode_definitions(missing)])

    def _recall(self, effect: d.Recall) -> None:
        if not self._sharing.take_back(d.Recalled(effect.task, True, effect.server)):
            self._side.box.send(effect.server, "server", m.RecallTask(self._id, effect.task))

    def _end_task(self, effect: d.EndTask) -> None:
        why = self._submissions[effect.task].cancelled
        if not self._sharing.take_back(d.Refused(effect.task, why, effect.server)):
            self._side.box.send(effect.server, "server", m.EndTask(self._id, effect.task))

    def _report_started(self, effect: d.ReportStarted) -> None:
        submission = self._submissions[effect.task]
        location = self._locations[effect.server]
        if isinstance(submission.rtask, RetriedTask):
            rtask: RemoteTask = submission.rtask
            submission.rtask.runs_at(location, effect.server, effect.remote_id)
        else:
            kind = RetriedTask if submission.retries else RemoteTask  # else it cannot run again
            rtask = kind(self._network, location, effect.server, effect.remote_id, submission.name)
        rtask._watched = True
        rtask._end = partial(self._cancel, submission, "it was terminated")
        submission.rtask = rtask
        submission.start_time = time.time()
        if submission.completion is not None:
            submission.completion.set_result(rtask)
            submission.completion = None
        if submission.handle is not None:
            self._kernel.post(submission.handle._begun)
        if self.status_task is not None:
            self._tell(Statuses.TaskStarted, TaskInfo(rtask, submission.args, submission.kwargs, submission.start_time))

    def _report_refused(self, effect: d.ReportRefused) -> None:
        self._fail(self._submissions.pop(effect.task), RemoteError(effect.error))

    def _report_abandoned(self, effect: d.ReportAbandoned) -> None:
        submission = self._submissions.pop(effect.task)
        error: Exception = TaskAbandoned(f"{submission.name}: {effect.reason}")
        if effect.timed_out:
            error = TaskTimeout(f"{submission.name} hung for longer than {submission.timeout_s:g} s: {effect.reason}")
        self._fail(submission, error)

    def _fail(self, submission: Submission, error: Exception) -> None:
        """A task has ended without a word of its own."""
        if submission.completion is not None:
            self._kernel.post(submission.completion.set_exception, error)
        elif submission.rtask is not None:  # it has run before
            self._kernel.post(self._finish, submission, outcomes.abandoned(error))
        elif submission.handle is not None:
            self._kernel.post(submission.handle._ended, outcomes.abandoned(error))

    def _cancel(self, submission: Submission, reason: str) -> None:
        """End a task, wherever it is.  Any thread."""
        with self._lock:
            if submission.number in self._machine.tasks:
                self._handle(d.CancelAsked(submission.number, reason))
            elif not submission.tries:  # it is still being found out where it must run
                submission.cancelled = submission.cancelled or reason

    def _report_retried(self, effect: d.ReportRetried) -> None:
        submission = self._submissions[effect.task]
        logger.warning("%s: %s is run anew: %s", self.name, submission.name, effect.reason)

    def _end(self, number: int, kind: str, form: int, payload: Buffer) -> None:
        """Kernel thread: open a task's result, and tell those who wait for it."""
        submission = self._submissions.get(number)
        if submission is None or submission.rtask is None:
            return
        where = str(submission.rtask.location)
        if submission.opaque:
            outcome = Outcome("finished", RawOutcome(kind, form, bytes(payload), where))
        else:
            outcome = outcomes.unpack(kind, form, payload, where)
        if number in self._machine.queue.unjudged:
            again = isinstance(outcome.exception, submission.retry_on)
            self._handle(d.Judged(number, f"it raised {outcome.exception!r}" if again else ""))
        if self._submissions.get(number) is submission and number not in self._machine.tasks:
            with self._lock:
                del self._submissions[number]
            self._finish(submission, outcome)

    def _finish(self, submission: Submission, outcome: Outcome) -> None:
        rtask, handle = submission.rtask, submission.handle
        assert rtask is not None
        rtask.ended(outcome, told=handle is not None or self.status_task is not None)
        observing = self._observing  # which another thread may take away
        if observing is not None:
            observing.ended(submission, outcome)
        if handle is not None:
            handle._ended(outcome)
        if self.status_task is not None:
            self.status_task.send(MonitorStatus.of(rtask, outcome))

    def _tell(self, status: int, info: Any, reason: str = "") -> None:
        if self.status_task is not None:
            self._kernel.post(self.status_task.send, Status(status, info, reason))

    @property
    def _open_servers(self) -> list[int]:
        """Those that are given tasks."""
        return [number for number, server in self._machine.servers.items() if server.state == OPEN]

    def _look_for_servers(self) -> None:
        """Their number may have changed: tell the tasks that wait for some.  With the lock."""
        count, machine = len(self._open_servers), self._machine
        why_none = "it is being closed" if machine.stage.closing else machine.none_comes()
        for completion, wanted in list(self._server_waits.items()):
            if count >= wanted:
                completion.set_result(count)
            elif why_none:
                completion.set_exception(ScheduleError(f"{self!r} has {count} of {wanted} servers: {why_none}"))
            else:
                continue
            self._server_waits.pop(completion, None)

    def _look_for_room(self) -> None:
        """The room may have changed: tell who waits for that.  With the lock."""
        for completion, (kind, known) in list(self._room_waits.items()):
            found = room(self._machine, kind)
            if found != known or self._machine.stage.closing:
                completion.set_result(found)
                self._room_waits.pop(completion, None)

    def _report_status(self, effect: d.ReportStatus) -> None:
        if effect.name == "ServerInitialized" and not effect.own:
            self._ready.add(effect.subject)
            self._had_servers = True
            for fn in tuple(self._side.wants_servers):
                self._kernel.post(fn)
            if self._choosing.is_used:
                self._kernel.post(self._choosing.server_is_ready, effect.subject)
        elif effect.name.startswith("Server") and effect.subject not in self._machine.servers:  # it has ended
            self._ready.discard(effect.subject)
            self._known.pop(effect.subject, None)
        elif effect.name.startswith("Node") and effect.reason and effect.subject not in self._machine.nodes:
            self._unusable[shown(self._infos[effect.subject])] = effect.reason
        if self.status_task is None or effect.own:
            return
        info: Any = None
        if effect.name.startswith("Server"):
            info = self._locations[effect.subject]
        elif effect.name.startswith("Node"):
            info = self._avail_info(effect.subject)
        self._tell(getattr(Statuses, effect.name), info, effect.reason)

    def _avail_info(self, number: int) -> NodeAvailInfo:
        node, avail = self._infos[number], self._avail.get(number)
        return NodeAvailInfo(
            Location(node.addr, node.port),
            cpu=avail.cpu if avail else None,
            memory=avail.memory if avail else node.memory,
            disk=avail.disk if avail else node.disk,
            swap=avail.swap if avail else None,
            name=node.name,
            cpus=node.cpus,
            platform=node.platform,
        )

    def _want(self, effect: d.Want) -> None:
        self._to_scheduler(m.WantNode(self._id, effect.node, effect.cpus))

    def _consider(self, effect: d.Consider) -> None:
        self._kernel.post(self._offered, self._infos[effect.node])

    def _who_is_at(self, location: Location) -> int:
        peer = self._network.hub.by_location.get(location)
        return peer.incarnation if peer is not None else 0

    def _offered(self, info: NodeInfo) -> None:
        """Kernel thread: `allocate` may be the user's."""
        try:
            cpus, allocation = cpus_wanted(self._allocations, info, self._who_is_at)
            if not cpus:
                self._unusable[shown(info)] = why_unwanted(self._allocations, info, self._who_is_at)
        except (Exception, SystemExit):
            logger.exception("an allocate() of %s failed; the node %s is not used", self.name, info.name)
            self._unusable[shown(info)] = "the client's allocate() failed"
            cpus, allocation = 0, None
        if cpus and self.pulse_interval < info.pulse_interval_min and info.incarnation not in self._warned:
            self._warned.add(info.incarnation)
            logger.warning(
                "%s asked for a pulse_interval of %g s; the node %s allows no less than %g s "
                "(parkcosnode.py --min_pulse_interval)",
                self.name,
                self.pulse_interval,
                info.name,
                info.pulse_interval_min,
            )
        with self._lock:
            self._infos[info.incarnation] = info
            if allocation is not None:
                self._matched[info.incarnation] = allocation
            self._handle(d.Offered(info, cpus))

    def _forget_the_gone(self) -> None:
        """Drop what is remembered of nodes and servers that are not spoken of any more.  With the lock."""
        present = self._machine.members.spoken_of()
        tables: tuple[dict[int, Any], ...] = (
            self._infos,
            self._avail,
            self._matched,
            self._locations,
            self._indexes,
            self._known,
            self._setup_calls,
        )
        for table in tables:
            for number in table.keys() - present:
                del table[number]
        self._warned &= present
        self._sharing.keep_only(present)
        self._forwards &= present

    def _alive_s(self, node: int) -> float:
        """After so many seconds of silence a node and its servers give a sign of life."""
        asked_s = min(self._network.options.pulse_s, self.pulse_interval)
        return max(asked_s, min(ALIVE_S, self._infos[node].pulse_interval_min))

    def _setup_node(self, effect: d.SetupNode) -> None:
        forward = self._forward_output or (self._observing is not None and self._observing.wants_output)
        (self._forwards.add if forward else self._forwards.discard)(effect.node)
        message = m.SetupNode(
            self._id,
            effect.cpus,
            self.restart_servers,
            self.pulse_interval,
            alive_s=self._alive_s(effect.node),
            forward_output=forward,
            setup_id=effect.setup_id,
        )
        encoded = self._encoded_bundle
        if (call := self._setup_calls.get(effect.node)) is not None:
            encoded = encode_bundle(with_setup_call(self._bundle, call[1], call[2]))
        self._be_patient(effect.node)
        self._sharing.node_begins(effect.node)
        self._side.box.send(effect.node, "node", message, PICKLE, [encoded])

    def _ask_for_output(self, node: int) -> None:
        """Of a node that was set up without being asked for it."""
        self._forwards.add(node)
        self._side.box.send(node, "node", m.ForwardOutput(self._id))

    def _be_patient(self, process: int) -> None:
        """A node or server may be silent for so long (chapter 6.4, pulse_interval), and then loses nothing."""
        peer = self._network.hub.by_incarnation.get(process)
        if peer is not None:
            peer.patience_s = SILENT_PULSES * self.pulse_interval

    def _close_node(self, effect: d.CloseNode) -> None:
        for server, at in self._machine.servers.items():
            peer = self._network.hub.by_incarnation.get(server) if at.node == effect.node else None
            if peer is not None:
                peer.dismissed = True  # perhaps it is still being dialled
        message = m.CloseNode(self._id, effect.terminate, effect.keep, effect.setup_id)
        self._side.box.send(effect.node, "node", message)

    def _close_server(self, effect: d.CloseServer) -> None:
        message = m.CloseServer(self._id, effect.server, effect.terminate, effect.restart)
        self._side.box.send(effect.node, "node", message)

    def _start_own(self, effect: d.StartOwn) -> None:
        self._side.box.send(effect.node, "node", m.StartOwn(self._id, effect.own, effect.niceness))

    def _end_own(self, effect: d.EndOwn) -> None:
        self._side.box.send(effect.node, "node", m.EndOwn(self._id, effect.own, effect.terminate))

    def _dismiss(self, effect: d.Dismiss) -> None:
        peer = self._network.hub.by_incarnation.get(effect.process)
        if peer is not None:
            peer.dismissed = True
            self._network.io.call(self._network.hub.end, peer, effect.reason)

    def _open_server(self, effect: d.OpenServer) -> None:
        self._known[effect.server] = dict(self._bundle_digests)
        location, hub = self._locations[effect.server], self._network.hub
        node = hub.by_incarnation.get(self._machine.servers[effect.server].node)
        at = [Location(there.addr, location.port) for there in node.addresses] if node is not None else []
        if node is not None:
            hub.guests.neighbours([location, *at], of=node.location)
        hub.peer_at(location, effect.server, at or [location])
        self._be_patient(effect.server)
        form = PICKLE
        buffers: list[Buffer] = []
        call = self._setup_calls.pop(effect.server, self._setup_call)
        if call is not None:
            form, buffers, definitions = call
            self._define(effect.server, definitions)
        message = m.OpenServer(self._id, call is not None)
        self._side.box.send(effect.server, "server", message, form, buffers)

    def _leave(self, effect: d.LeaveScheduler) -> None:
        self._to_scheduler(m.ClientLeaves(self._id))
        self._forget()
        self._shipper.forget()
        self._sharing.close()
        self._network.io.call(self._timer.cancel)
        closing, self._closing = self._closing, []
        for completion in closing:
            self._kernel.post(completion.set_result, None)  # after what was posted before: nothing comes later

    _EXECUTE: ClassVar[dict[type, Callable[..., None]]] = {
        d.Run: _run,
        d.Recall: _recall,
        d.EndTask: _end_task,
        d.ReportStarted: _report_started,
        d.ReportRefused: _report_refused,
        d.ReportAbandoned: _report_abandoned,
        d.ReportRetried: _report_retried,
        d.ReportStatus: _report_status,
        d.Want: _want,
        d.Consider: _consider,
        d.SetupNode: _setup_node,
        d.CloseNode: _close_node,
        d.CloseServer: _close_server,
        d.StartOwn: _start_own,
        d.EndOwn: _end_own,
        d.Dismiss: _dismiss,
        d.OpenServer: _open_server,
        d.LeaveScheduler: _leave,
    }


def _new_id() -> int:
    return int.from_bytes(os.urandom(8)) >> 1 | 1


def shown(node: NodeInfo) -> str:
    """A node, as its client's messages call it."""
    return f"{node.name} ({Location(node.addr, node.port)})"
