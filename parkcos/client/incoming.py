"""What a client hears: of its nodes and servers, of its scheduler, and of who is silent.

All of it becomes events of the dispatch machine (shell.py), under the client's lock, mostly in the I/O thread.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.records import CLOSING, FAILING, OPEN, OWN, PAUSED, READY, SETUP
from parkcos.client.shell import CLOSED, RUNNING, SILENT_PULSES, WAITING, shown
from parkcos.client.status import Statuses
from parkcos.client.waiting import Waiting
from parkcos.cluster import messages as m
from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import ScheduleError
from parkcos.kernel import Task
from parkcos.net.location import Location
from parkcos.net.payload import Buffer

logger = logging.getLogger("parkcos")

SCHEDULER_BACK_S = 30.0
"""A shared scheduler that is gone is waited for so long: killed and started again it takes up where it was."""
SILENT_SHARE = 0.9
"""After so much of SILENT_PULSES who is silent is taken to be; with the time until it is looked next, that is all."""
LOOK_S = 2.5
"""So often at least it is looked who is silent."""


class Incoming(Waiting):
    """One for each client."""

    def _received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        if self._observing is not None:
            with self._lock:
                if self._observing is not None:
                    self._observing.received(process, message, payload)
        match message:
            case m.NodeOffer() | m.NodeUnusable() | m.NodeGranted() if process != self._scheduler:
                pass  # of the scheduler that this client has just left
            case m.TaskStarted():
                self._handle(d.Started(message.task, process, message.id))
            case m.TaskEnded():
                tasks, unjudged = self._machine.tasks, self._machine.queue.unjudged
                with self._lock:
                    known = message.task in tasks and message.task not in unjudged
                    self._handle(d.Ended(message.task, message.seconds, message.cut, process, message.id))
                    ended = known and (message.task not in tasks or message.task in unjudged)
                if ended:  # else it will be run again, or that server's word does not count
                    self._kernel.post(self._end, message.task, message.kind, form, payload)
            case m.TaskRefused():
                self._handle(d.Refused(message.task, message.error, process))
            case m.TaskRecalled():
                self._handle(d.Recalled(message.task, message.ok, process))
            case m.ServerUp():
                self._server_up(process, message)
            case m.ServerReady():
                self._handle(d.ServerIsReady(process))
            case m.ServerLeaves():
                self._handle(d.ServerIsLeaving(process))
            case m.ServerFailed():
                at = self._locations.get(process)
                logger.error("%s: a server at %s cannot be used: %s", self.name, at, message.error)
                self._handle(d.ServerSetupFailed(process, message.error))
            case m.ServerDown():
                if not message.asked and not self._machine.stage.closing:
                    at = self._locations.get(message.incarnation)
                    logger.warning("%s: server %s: %s", self.name, at, message.reason)
                self._handle(d.ServerIsDown(message.incarnation, message.reason, message.restarts, message.asked))
                self._network.io.call(self._read_to_its_end, message.incarnation)
            case m.OwnRefused():
                self._handle(d.OwnIsRefused(process, message.own, message.reason))
            case m.Output():
                if (info := self._infos.get(process)) is not None:
                    if self._forward_output:
                        self._forwarded.received(info.name, message, payload)
                    elif Location(info.addr, info.port) in self._side.contacts:  # it would have printed here itself
                        self._forwarded.received("", message, payload)
            case m.AskServers():
                with self._lock:
                    ready = [n for n, server in self._machine.servers.items() if server.state in (OPEN, PAUSED, OWN)]
                    there = [(self._locations[n].addr, self._locations[n].port, n) for n in ready]
                self._side.box.send(process, "server", m.Servers(self._id, there))
            case m.NodeReady():
                if (info := self._infos.get(process)) is not None:
                    self._unusable.pop(shown(info), None)
                self._handle(d.NodeIsReady(process, message.setup_id))
            case m.NodeAvail():
                self._node_avail(process, message)
            case m.NodeFailed():
                info = self._infos.get(process)
                if self._machine.members.is_of_now(process, message.setup_id):  # else it is no news
                    node_name = info.name if info else process
                    logger.error("%s: the node %s cannot be used: %s", self.name, node_name, message.error)
                    if info is not None and not message.setup:
                        self._unusable[shown(info)] = message.error
                event = d.NodeHasFailed(process, message.error, message.setup, not message.setup, message.setup_id)
                self._handle(event)
            case m.NodeClosed():
                is_news = message.reason and self._machine.members.is_of_now(process, message.setup_id)
                if is_news and (info := self._infos.get(process)):
                    logger.warning("%s: the node %s was closed: %s", self.name, info.name, message.reason)
                    self._unusable[shown(info)] = f"it was closed: {message.reason}"
                self._handle(d.NodeHasClosed(process, message.reason, message.kept, message.setup_id))
            case m.Dismissed():
                logger.warning("%s was closed by the scheduler: %s", self.name, message.reason)
                if self._state is RUNNING:
                    self._handle(d.CloseAsked(True, why=f"the scheduler has closed this client: {message.reason}"))
            case m.NodeOffer() | m.NodeUnusable() if message.info.scheduler and self._may_move():
                self._move(message.info)
            case m.NodeOffer():
                self._unusable.pop(shown(message.info), None)
                self._kernel.post(self._offered, message.info)
            case m.NodeGranted():
                # A node found by the shared scheduler is dialled here for the first time.
                if (info := self._infos.get(message.node)) is not None:
                    self._network.hub.peer_at(Location(info.addr, info.port), info.incarnation, anew=True)
                    self._handle(d.Granted(message.node))
            case m.NodeUnusable():
                self._handle(d.NodeHasFailed(message.info.incarnation, message.reason))
                self._unusable[shown(message.info)] = message.reason
                logger.log(
                    logging.INFO if "another client" in message.reason else logging.WARNING,
                    "%s: the node %s at %s is not used: %s",
                    self.name,
                    message.info.name,
                    message.info.addr,
                    message.reason,
                )
            case m.Queued():
                waits, self._position = message.position and not self._position, message.position
                self._queued, self._queued_at = message, time.monotonic()
                if waits:
                    logger.warning("%s", self._why_it_waits())
            case m.Scheduled():
                self._begin_turn()

    def _server_up(self, node: int, message: m.ServerUp) -> None:
        with self._lock:
            if (info := self._infos.get(node)) is not None:
                location = Location(message.addr or info.addr, message.port)
                self._locations[message.incarnation] = location
                self._indexes[message.incarnation] = message.index + 1
                self._network.hub.guests.neighbours([location], of=Location(info.addr, info.port))
                up = d.ServerIsUp(node, message.incarnation, location.addr, location.port, message.index, message.own)
                self._handle(up)

    def _node_avail(self, node: int, message: m.NodeAvail) -> None:
        with self._lock:
            if node not in self._infos:
                return
            self._avail[node] = message
            self._handle(d.LoadSeen(node, _busy(message), self._short_of(node, message)))
            if self.status_task is not None and node in self._machine.nodes and not message.asked:
                self._kernel.post(self.status_task.send, self._avail_info(node))

    def _begin_turn(self) -> None:
        with self._lock:
            if self._state is WAITING:
                self._state = RUNNING
                self._tell(Statuses.ClientScheduled, None)
                if self._turn is not None:
                    self._turn.set_result(0)
                for reason in list(self._side.failures.values()):  # since it began to look for a scheduler
                    self._side.lose_cluster(reason, self._id)
            elif self._state is RUNNING:
                self._handle(d.TurnBegun())

    def _read_to_its_end(self, process: int) -> None:
        """I/O thread: it is no more, as its node says.  Its last words may be on their way, but nothing after those."""
        hub = self._network.hub
        peer = hub.by_incarnation.get(process)
        if peer is not None:
            peer.no_more = True
            if peer.link is None:
                hub.end(peer, "it has ended")

    def _may_move(self) -> bool:
        """Whether this client uses its program's own scheduler, which nobody asked for, and has no node there yet."""
        return self._automatic and self._scheduler == self._network.incarnation and not self._machine.nodes

    def _move(self, info: NodeInfo) -> None:
        """The node belongs to a shared scheduler, which was not found in time: queue there, and no longer here."""
        logger.warning(
            "%s: the node %s belongs to the shared scheduler at %s: queueing there",
            self.name,
            info.name,
            info.scheduler,
        )
        self._automatic = False
        self._to_scheduler(m.ClientLeaves(self._id))
        self._scheduler = 0
        self._kernel.spawn(self._queue_at, Location.parse(info.scheduler))

    def _queue_at(self, location: Location, task: Task | None = None) -> Any:
        assert task is not None
        task.set_daemon()
        try:
            scheduler = yield self._side._at(location, None, self._is_open)
        except ScheduleError as error:  # another program is there
            return self._lose_scheduler(str(error))
        if self._state is RUNNING:
            self._scheduler, self._scheduler_at = scheduler, location
            self._to_scheduler(m.Enqueue(self._id, self.name, self._network.hub.own.python))

    def _lose_cluster(self, reason: str) -> None:
        """There will be no nodes any more: whatever waits for one ends.  Any thread."""
        if self._state is RUNNING:
            self._handle(d.SchedulerLost(reason))

    def _short_of(self, node: int, avail: m.NodeAvail) -> str:
        """What of it the node has less than its allocation asks for, or ""."""
        allocation = self._matched.get(node)
        if allocation is None:
            return ""
        short = []
        for what, wanted, free in (("memory", allocation.memory, avail.memory), ("disk", allocation.disk, avail.disk)):
            if free is not None and free < wanted:
                short.append(f"{free} bytes of {what}, {wanted} were asked for")
        return "it has only " + " and ".join(short) if short else ""

    def _look_for_silence(self, client: int) -> None:
        """I/O thread, from time to time: of which nodes and servers nothing is heard any more."""
        if self._state is CLOSED or client != self._id:
            return
        hub = self._network.hub
        now = time.monotonic()
        # If this process itself stood still, what the others have said meanwhile is still to be read.
        late = now - self._look_at
        wait_s = LOOK_S
        with self._lock:
            self._forget_the_gone()
            limits = {n: SILENT_SHARE * SILENT_PULSES * self._alive_s(n) for n in self._machine.nodes}
            watched = {
                n: limits[n] for n, at in self._machine.nodes.items() if at.state in (SETUP, READY, FAILING, CLOSING)
            }
            watched |= {n: limits[at.node] for n, at in self._machine.servers.items() if at.node in limits}
            self._silent &= watched.keys()
            for process, limit_s in watched.items():
                wait_s = min(wait_s, limit_s / 10)
                peer = hub.by_incarnation.get(process)
                if peer is None or not peer.session.last_heard or late > limit_s / 5:
                    continue
                silent_s = now - peer.session.last_heard
                if (silent_s > limit_s) != (process in self._silent):
                    self._silent ^= {process}
                    reason = (
                        f"nothing is heard of it for {silent_s:.0f} s" if silent_s > limit_s else "it is heard again"
                    )
                    logger.warning("%s: %r: %s", self.name, peer, reason)
                    self._handle(d.SilenceSeen(process, silent_s > limit_s, reason))
        self._look_at = now + wait_s
        self._network.io.loop.call_later(wait_s, self._look_for_silence, client)

    def _process_gone(self, process: int, reason: str) -> None:
        if process and process == self._scheduler:
            self._scheduler_gone(reason)
        if self._state is RUNNING:
            self._handle(d.ProcessLost(process, reason))

    def _scheduler_gone(self, reason: str) -> None:
        """It may be started again: then it knows this client, and the nodes know whom they serve."""
        logger.warning(
            "%s: the scheduler is gone (%s); the client goes on, and waits %g s for it to come back",
            self.name,
            reason,
            SCHEDULER_BACK_S,
        )
        self._scheduler = 0
        self._kernel.spawn(self._return_to, self._scheduler_at, reason)

    def _return_to(self, location: Location, reason: str, task: Task | None = None) -> Any:
        assert task is not None
        task.set_daemon()
        client = self._id
        try:
            scheduler = yield self._side._at(location, self._kernel.clock() + SCHEDULER_BACK_S)
        except ScheduleError as error:  # another program has taken its place
            scheduler, reason = 0, str(error)
        if client != self._id:
            return
        self._scheduler = scheduler
        if self._state is CLOSED:
            self._to_scheduler(m.ClientLeaves(self._id))
        elif self._scheduler:
            logger.info("%s: the scheduler at %s is back", self.name, location)
            self._to_scheduler(m.Enqueue(self._id, self.name, self._network.hub.own.python))
        else:
            self._lose_scheduler(reason)

    def _lose_scheduler(self, reason: str) -> None:
        if self._state is WAITING and self._turn is not None:
            self._turn.set_exception(ScheduleError(f"the scheduler is gone: {reason}"))
            self._forget()
        elif self._state is RUNNING:
            logger.warning("%s: there is no scheduler any more (%s); it goes on with its nodes", self.name, reason)
            self._handle(d.SchedulerLost(f"the scheduler is gone: {reason}"))

    def _time_passed(self) -> None:
        self._handle(d.TimePassed())


def _busy(avail: m.NodeAvail) -> float | None:
    """The share of its processors that is in use."""
    return None if avail.cpu is None else 1 - avail.cpu / 100
