"""What a client hears: of its nodes and servers, of its scheduler, and of who is silent.

All of it becomes events of the dispatch machine (shell.py), under the client's lock, mostly in the I/O thread.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.forwarded import Forwarded
from parkcos.client.nodes import SILENT_PULSES, Nodes
from parkcos.client.records import CLOSING, FAILING, OPEN, OWN, PAUSED, READY, SETUP
from parkcos.client.resuming import Resuming
from parkcos.client.shell import CLOSED, RUNNING, ClientShell, shown
from parkcos.client.turn import Turn
from parkcos.cluster import messages as m
from parkcos.cluster import server_messages as sm
from parkcos.net.location import Location
from parkcos.net.payload import Buffer

logger = logging.getLogger("parkcos")

SILENT_SHARE = 0.9
"""The share of SILENT_PULSES after which a node or server counts as silent; the time to the next look is the rest."""
LOOK_S = 2.5
"""The longest time between two looks for the silent."""


class Incoming:
    """One for each client."""

    def __init__(self, shell: ClientShell, nodes: Nodes, turn: Turn, resuming: Resuming) -> None:
        self._shell = shell
        self._resuming = resuming
        self._nodes = nodes
        self._turn = turn
        self._forwarded = Forwarded(lambda *call: shell.kernel.post(*call))
        self._look_at = math.inf
        """The time of the next look for the silent."""
        self._silent: set[int] = set()

    def received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        """A message of a node, a server or the scheduler.  I/O thread, or the kernel's."""
        shell = self._shell
        if shell.observing is not None:
            with shell.lock:
                if shell.observing is not None:
                    shell.observing.received(process, message, payload)
        match message:  # what comes most often first
            case sm.TaskEnded():
                tasks, unjudged = shell.machine.tasks, shell.machine.life.unjudged
                with shell.lock:
                    known = message.task in tasks and message.task not in unjudged
                    shell.handle(d.Ended(message.task, message.seconds, message.cut, process, message.id))
                    ended = known and (message.task not in tasks or message.task in unjudged)
                if ended:  # else it will be run again, or that server's word does not count
                    shell.kernel.post(shell.open_outcome, message.task, message.kind, form, payload)
            case sm.TaskStarted():
                shell.handle(d.Started(message.task, process, message.id))
            case m.Queued() | m.Scheduled() | m.NodeOffer() | m.NodeUnusable() | m.NodeGranted() | m.Dismissed() if (
                process != self._turn.scheduler
            ):
                pass  # of the scheduler that this client has just left, or of one that it has never asked
            case m.ServerDown() if self._is_elsewhere(message.incarnation, process):
                pass
            case sm.AskServers() if process not in shell.machine.servers:
                pass
            case sm.TaskRefused():
                shell.handle(d.Refused(message.task, message.error, process))
            case sm.TaskRecalled():
                shell.handle(d.Recalled(message.task, message.ok, process))
            case m.ServerUp():
                self._nodes.server_up(process, message)
            case sm.ServerReady():
                shell.handle(d.ServerIsReady(process))
            case m.NodeLeaves():
                shell.handle(d.NodeIsLeaving(process, message.setup_id))
            case sm.ServerLeaves():
                shell.handle(d.ServerIsLeaving(process))
            case sm.ServerFailed():
                at = shell.locations.get(process)
                logger.error("%s: a server at %s cannot be used: %s", shell.name, at, message.error)
                shell.handle(d.ServerSetupFailed(process, message.error))
            case m.ServerDown():
                if not message.asked and not shell.machine.stage.closing:
                    at = shell.locations.get(message.incarnation)
                    logger.warning("%s: server %s: %s", shell.name, at, message.reason)
                shell.handle(d.ServerIsDown(message.incarnation, message.reason, message.restarts, message.asked))
                shell.network.io.call(self._read_to_its_end, message.incarnation)
            case m.OwnRefused():
                shell.handle(d.OwnIsRefused(process, message.own, message.reason, message.setup))
            case m.Output():
                if (info := self._nodes.infos.get(process)) is not None:
                    if self._nodes.forward_output:
                        self._forwarded.received(info.name, message, payload)
                    elif Location(info.addr, info.port) in shell.side.contacts:  # it would have printed here itself
                        self._forwarded.received("", message, payload)
            case sm.AskServers():
                with shell.lock:
                    ready = [n for n, server in shell.machine.servers.items() if server.state in (OPEN, PAUSED, OWN)]
                    there = [(shell.locations[n].addr, shell.locations[n].port, n) for n in ready]
                shell.side.box.send(process, "server", sm.Servers(shell.id, there))
            case m.NodeReady():
                if (info := self._nodes.infos.get(process)) is not None:
                    self._nodes.unusable.pop(shown(info), None)
                shell.handle(d.NodeIsReady(process, message.setup_id))
            case m.NodeResumed():
                self._resuming.node_resumed(process, message)
            case sm.ServerResumed():
                self._resuming.server_resumed(process, message)
            case m.NodeAvail():
                self._nodes.node_avail(process, message)
            case m.NodeFailed():
                info = self._nodes.infos.get(process)
                if shell.machine.members.is_of_now(process, message.setup_id):  # else it is no news
                    node_name = info.name if info else process
                    logger.error("%s: the node %s cannot be used: %s", shell.name, node_name, message.error)
                    if info is not None and not message.setup:
                        self._nodes.unusable[shown(info)] = message.error
                event = d.NodeHasFailed(process, message.error, message.setup, not message.setup, message.setup_id)
                shell.handle(event)
            case m.NodeClosed():
                is_news = message.reason and shell.machine.members.is_of_now(process, message.setup_id)
                if is_news and (info := self._nodes.infos.get(process)):
                    logger.warning("%s: the node %s was closed: %s", shell.name, info.name, message.reason)
                    self._nodes.unusable[shown(info)] = f"it was closed: {message.reason}"
                shell.handle(d.NodeHasClosed(process, message.reason, message.kept, message.setup_id))
            case m.Dismissed():
                logger.warning("%s was closed by the scheduler: %s", shell.name, message.reason)
                if shell.state is RUNNING:
                    shell.handle(d.CloseAsked(True, why=f"the scheduler has closed this client: {message.reason}"))
            case m.NodeOffer() | m.NodeUnusable() if message.info.scheduler and self._turn.may_move():
                self._turn.move(message.info)
            case m.NodeOffer():
                self._nodes.unusable.pop(shown(message.info), None)
                shell.kernel.post(self._nodes.offered, message.info)
            case m.NodeGranted():
                # A node found by the shared scheduler is dialled here for the first time.
                if (info := self._nodes.infos.get(message.node)) is not None:
                    shell.network.hub.peer_at(Location(info.addr, info.port), info.incarnation, anew=True)
                    shell.handle(d.Granted(message.node))
            case m.NodeUnusable():
                shell.handle(d.NodeHasFailed(message.info.incarnation, message.reason))
                self._nodes.unusable[shown(message.info)] = message.reason
                logger.log(
                    logging.INFO if "another client" in message.reason else logging.WARNING,
                    "%s: the node %s at %s is not used: %s",
                    shell.name,
                    message.info.name,
                    message.info.addr,
                    message.reason,
                )
            case m.Queued():
                self._turn.heard(message)
            case m.Scheduled():
                self._turn.begin()

    def _is_elsewhere(self, server: int, node: int) -> bool:
        """Whether a server is known to be another node's."""
        at = self._shell.machine.servers.get(server)
        return at is not None and at.node != node

    def lose_cluster(self, reason: str) -> None:
        """There will be no nodes any more: whatever waits for one ends.  Any thread."""
        if self._shell.state is RUNNING:
            self._shell.handle(d.SchedulerLost(reason))

    def process_gone(self, process: int, reason: str) -> None:
        """The session with another process has ended."""
        if process and process == self._turn.scheduler:
            self._turn.scheduler_gone(reason)
        if self._shell.state is RUNNING:
            self._shell.handle(d.ProcessLost(process, reason))

    def _read_to_its_end(self, process: int) -> None:
        """I/O thread: it is no more, as its node says.  Its last words may be on their way, but nothing after those."""
        hub = self._shell.network.hub
        peer = hub.by_incarnation.get(process)
        if peer is not None:
            peer.no_more = True
            if peer.link is None:
                hub.end(peer, "it has ended")

    # -- who is silent

    def look_for_silence(self, client: int) -> None:
        """I/O thread, from time to time: of which nodes and servers nothing is heard any more."""
        shell = self._shell
        if shell.state is CLOSED or client != shell.id:
            return
        hub = shell.network.hub
        now = time.monotonic()
        # If this process itself stood still, what the others have said meanwhile is still to be read.
        late = now - self._look_at
        wait_s = LOOK_S
        with shell.lock:
            self._nodes.forget_the_gone()
            limits = {n: SILENT_SHARE * SILENT_PULSES * self._nodes.alive_s(n) for n in shell.machine.nodes}
            watched = {
                n: limits[n] for n, at in shell.machine.nodes.items() if at.state in (SETUP, READY, FAILING, CLOSING)
            }
            watched |= {n: limits[at.node] for n, at in shell.machine.servers.items() if at.node in limits}
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
                    logger.warning("%s: %r: %s", shell.name, peer, reason)
                    shell.handle(d.SilenceSeen(process, silent_s > limit_s, reason))
        self._look_at = now + wait_s
        shell.network.io.loop.call_later(wait_s, self.look_for_silence, client)
