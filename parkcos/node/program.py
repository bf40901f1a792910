"""The node program: the shell around the node's state machine.  One process that supervises; it runs no tasks.

Everything here happens in the I/O thread.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import platform
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parkcos.cluster import messages as m
from parkcos.cluster.machine import told
from parkcos.cluster.node_info import NodeInfo
from parkcos.cluster.postbox import Postbox
from parkcos.cluster.timer import DeadlineTimer
from parkcos.errors import ConfigError
from parkcos.net.files.rules import printable
from parkcos.net.location import Location
from parkcos.net.network import Network
from parkcos.net.payload import Buffer
from parkcos.net.runtime import VERSION
from parkcos.net.session.peer import Peer
from parkcos.node import birth, family
from parkcos.node import state_events as ev
from parkcos.node.client_folders import ClientFolders
from parkcos.node.ending import EXIT_S
from parkcos.node.hours import Service
from parkcos.node.notes import Notes
from parkcos.node.nursery import Nursery
from parkcos.node.offer import NodeOptions, bound_own, count_cpus
from parkcos.node.output import Forwarding, OutputThread, Printed
from parkcos.node.processes import waits_for_device
from parkcos.node.pulses import Pulses
from parkcos.node.records import SERVING, SETUP, ServerRecord
from parkcos.node.recurring import Recurring
from parkcos.node.sent import SENT, SentFiles
from parkcos.node.server_config import server_config
from parkcos.node.shared_files import SharedFiles
from parkcos.node.state import NodeMachine
from parkcos.node.tally import ServerTally
from parkcos.node.watch import Watch
from parkcos.node.wishes import Wishes, may_return
from parkcos.program.options import enough_ports, ports_to_try

logger = logging.getLogger("parkcos")

PEER_RETRY_S = 2.0
HATCH_AGAIN_S = 1.0
"""What made a process fail that no client has used yet will most likely be there for a while."""
SPARE_S = 0.2
"""Until a zygote for the next client begins, while this one's first tasks, or this node's end, have the processors."""
CLOCK_S = 30.0
"""So often is the clock looked at, which may be set, or have stood still while the machine slept."""
WIPE_S = EXIT_S + 3.0
"""A zygote that is closed has ended by itself after this time, and has killed a server that it is to kill."""


class NodeProgram:
    """A node on a network that has not started yet: whoever finds it asks at once, and only once."""

    def __init__(self, network: Network, options: NodeOptions) -> None:
        self.network = network
        self.options = options
        own_max = bound_own(options.own_max, options.cpus)
        self.machine = NodeMachine(options.serve, options.zombie_period_s, own_max)
        self.loop = network.io.loop
        self.box = Postbox.of(network)
        self.stopped = False
        self._signalled = False
        self._notes = Notes(self)
        self.folders = ClientFolders(
            network.location.port, options.dest_path, options.client_user, self._notes.soon, options.disk_reserve
        )
        network.files.disk_reserve = options.disk_reserve
        self._platform = platform.platform()
        self._warm: Nursery | None = None
        self._nurseries: dict[int, Nursery] = {}
        """Of the client's own servers (0), and of its spaces."""
        self._client = ""  # its name and place, for the log
        self._bundles: dict[int, tuple[Buffer, bytes]] = {}
        """Of the client and its spaces, each with its grant, until they are opened."""
        self._output = OutputThread()
        self.recurring = Recurring()
        self._shared: dict[int, str] = {}
        """The shared schedulers that know this node: a program that would use a scheduler of its own is sent there."""
        self.service: Service | None = None
        if options.hours is not None and options.hours.at(dt.datetime.now()).service is not Service.OPEN:
            self.machine.closed = options.hours.closed_text
        self._pulses = Pulses(self)
        self._wishes = Wishes(network, self.box, self._pulses, self._nurseries)
        self._watch = Watch(self)
        self._sent = SentFiles(network.files)
        self._shared_files = SharedFiles(network.files, self._folder_of)
        self._timer = DeadlineTimer(network.io, self._time_passed)
        self.box.serve("node", self._received)
        network.hub.callbacks.gone.append(self._peer_gone)

    def start(self) -> None:
        """I/O thread: get ready for the first client."""
        self._keep_warm()
        self._keep_peers()
        self._pulses.start()
        self._watch.start()
        self._look_at_the_clock()
        if self.options.commands:
            from parkcos.node.console import NodeConsole  # which most nodes do without

            console = NodeConsole(self)
            self.options.on_stop.append(console.stop)
            console.start()

    def _look_at_the_clock(self) -> None:
        hours = self.options.hours
        if hours is None or self.stopped:
            return
        moment = hours.at(dt.datetime.now())
        if moment.service is not self.service:
            self.service = moment.service
            closed = "" if moment.service is Service.OPEN else hours.closed_text
            ended = hours.ended_text if moment.service is Service.CLOSED else ""
            logger.info("node %s: %s", self.network.name, closed or "in service")
            self.handle(ev.HoursChanged(closed, ended))
        self.loop.call_later(min(moment.changes_s, CLOCK_S), self._look_at_the_clock)

    def _time_passed(self) -> None:
        if self.machine.idle_max_s and self._nurseries:
            tallies = [self.tally(index) for index in self.machine.servers.by_index]
            self.handle(ev.TasksSeen(sum(t.tasks for t in tallies), max((t.last for t in tallies), default=0.0)))
        self.handle(ev.TimePassed())

    def _keep_peers(self) -> None:
        for location in self.options.peers:
            self.network.hub.peer_at(location)
        if self.options.peers and not self.stopped:
            self.loop.call_later(PEER_RETRY_S, self._keep_peers)

    def _hatch(self) -> Nursery:
        nursery: Nursery

        def space() -> int | None:
            return next((number for number, each in self._nurseries.items() if each is nursery), None)

        def speaks_for(index: int) -> bool:
            server = self.machine.servers.by_index.get(index)
            return server is not None and self._nurseries.get(server.space) is nursery

        def news(message: family.Message) -> None:
            number = space()
            if number is None:
                return
            match message:
                case family.Opened():
                    self.handle(ev.SetupDone(number))
                case family.OpenFailed(error, setup):
                    self.handle(ev.SetupFailed(error, setup, number))
                case family.Exited(index, reason) if speaks_for(index):
                    reason = nursery.bounds_of(index) or reason
                    if not self.machine.servers.by_index[index].asked and self.machine.phase == SERVING:
                        logger.warning("server %d of %s ended: %s", index + 1, self._client, printable(reason))
                    self.handle(ev.ServerExited(index, reason))

        def report(kind: int, index: int, port: int, incarnation: int) -> None:
            if space() is None or not speaks_for(index):
                return
            terminate, kind = bool(kind & family.TERMINATE), kind & ~family.TERMINATE
            if kind == family.LISTENING:
                self.loop.call_later(SPARE_S, self._keep_warm)  # not before, since this client waits
                self._notes.soon()
                nursery.bind(index, self.tally(index).pid)
                self.handle(ev.ServerListening(index, port, incarnation))
            elif kind in (family.CLOSES, family.RESTARTS):
                restart = kind == family.RESTARTS
                self.handle(ev.CloseServerAsked(self.machine.client, incarnation, terminate, restart))
            elif kind == family.CLOSE_NODE:
                self.handle(ev.CloseAsked(self.machine.client, terminate))

        def ended(reason: str) -> None:
            number = space()
            if number is not None:
                if number in self.machine.servers.spaces:
                    logger.info("a space of %s is closed: %s", self._client, reason)
                elif self.machine.phase in (SETUP, SERVING):
                    self._audit("all servers of %s ended: %s", self._client, printable(reason))
                del self._nurseries[number]
                self.handle(ev.ZygoteExited(reason, number))
                self.loop.call_later(SPARE_S, self._keep_warm)
            elif nursery is self._warm:
                logger.error("%s before any client came; starting another", reason)
                self._warm = None
                self.loop.call_later(HATCH_AGAIN_S, self._keep_warm)

        options = self.options
        printed = Printed(self._output, self.network.name, log=options.log_output)
        first, options.first = options.first, None
        newborn = first or birth.spawn(options.open_files, options.client_user, options.env)
        nursery = Nursery(self.loop, news, report, ended, printed, newborn, options.client_user)
        self._notes.soon()
        return nursery

    def _keep_warm(self) -> None:
        """Have a zygote that waits for the next client."""
        if self._warm is None and not self.stopped:
            with self.recurring.trying("the start of the process that starts servers"):
                self._warm = self._hatch()
            if self._warm is None:
                self.loop.call_later(HATCH_AGAIN_S, self._keep_warm)

    def processes(self) -> dict[int, str]:
        """The processes of this node: what they are, by id."""
        found = {os.getpid(): "node"}
        for nursery in (*self._nurseries.values(), self._warm):
            if nursery is not None:
                found[nursery.pid] = "zygote"
        pids = [self.tally(server.index).pid for server in self.machine.servers.by_index.values()]
        found.update((pid, "server") for pid in pids if pid)
        return found

    @property
    def nurseries(self) -> Mapping[int, Nursery]:
        """Those of the client: of its own servers (0), and of its spaces."""
        return self._nurseries

    def tally(self, index: int) -> ServerTally:
        """What a server says of itself."""
        nursery = self._nursery_of(index)
        return nursery.tally.read(index) if nursery is not None else ServerTally(0, 0, 0.0)

    def _nursery_of(self, index: int) -> Nursery | None:
        """That of a server, if both are there."""
        server = self.machine.servers.by_index.get(index)
        return self._nurseries.get(server.space) if server is not None else None

    def set_cpus(self, asked: int) -> int:
        """How many servers the next client gets, as `-c` says it; returns how many those are.  Raises: ConfigError."""
        self.options.cpus = cpus = count_cpus(asked)
        self.machine.servers.own_max = bound_own(self.options.own_max, cpus)
        self.options.server_ports = enough_ports(self.options.server_ports, self.network.location.port, cpus)
        self.tell_schedulers()
        return cpus

    def tell_schedulers(self) -> None:
        """Say what this node is now."""
        for scheduler in self.machine.schedulers:
            self._execute(ev.ToScheduler(scheduler, None))

    # -- events

    def _received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        match message:
            case m.AskState():
                peer = self.network.hub.by_incarnation.get(process)
                if peer is not None and "scheduler" in peer.roles:
                    if process not in self._shared:
                        logger.info("node %s belongs to the shared scheduler at %s", self.network.name, peer.location)
                    self._shared[process] = str(peer.location)
                self.handle(ev.SchedulerSeen(process))
            case m.ReserveNode() if message.client_incarnation in (0, self.network.incarnation) or not message.client:
                logger.warning("process %d wants this node for a client that is none", process)
            case m.ReserveNode():
                # The client is dialled now, so that its end is noticed at once, whoever of us talks first.
                location, client = Location(message.client_addr, message.client_port), message.client_incarnation
                self.network.hub.peer_at(location, client, anew=True)
                self._keep_warm()
                self._client = self._client or f"{printable(message.client_name) or 'a client'} at {location.addr}"
                self.handle(ev.ReserveAsked(process, message.client, client, message.zombie_period_s))
            case m.ReleaseNode():
                self.handle(ev.ReleaseAsked(message.client, process))
            case m.ReturnToNode():
                self._client_returned(process, message)
            case _ if message.client == self.machine.client and process != self.machine.client_process:
                peer = self.network.hub.by_incarnation.get(process)
                what = f"the message {type(message).__name__} for a client that is another program's"
                if peer is not None:
                    self.network.hub.refusals.said(peer, what)
            case m.SetupNode():
                if message.client == self.machine.client:
                    self._bundles[0] = payload, message.grant
                    cpus = max(1, min(message.cpus, self.options.cpus))
                    self._wishes.take(process, message)
                    run, orphan_s = may_return(process, message, self.options.orphan_max_s)
                    again, number = message.restart_servers, message.setup_id
                    self.handle(ev.SetupAsked(message.client, cpus, again, process, number, run, orphan_s))
                else:
                    self.handle(ev.SetupAsked(message.client, 0, False, process, message.setup_id))
            case m.ForwardOutput():
                if message.client == self.machine.client:
                    self._wishes.ask_for_output(message.client, process)
            case m.AskAvail():
                if message.client == self.machine.client:
                    self._pulses.tell(message.client, process, asked=True)
            case m.DropShared():
                self._shared_files.drop(process, message.digests)
            case m.CloseNode():
                why, keep, setup_id = "", message.keep, message.setup_id
                self.handle(ev.CloseAsked(message.client, message.terminate, why, keep, process, setup_id))
            case m.CloseServer():
                self.handle(ev.CloseServerAsked(message.client, message.server, message.terminate, message.restart))
            case m.OpenSpace(client, space, grant):
                if client == self.machine.client:
                    self._bundles[space] = payload, grant
                    self.handle(ev.SpaceAsked(client, space, process))
                    self._bundles.pop(space, None)
            case m.CloseSpace(client, space):
                self.handle(ev.CloseSpaceAsked(client, space))
            case m.StartOwn(client, own, niceness, space):
                memory, _ = self._pulses.memory_and_disk()
                self.handle(ev.OwnAsked(client, own, niceness, process, memory, space))
            case m.EndOwn():
                self.handle(ev.EndOwnAsked(message.client, message.own, message.terminate))

    def _client_returned(self, process: int, message: m.ReturnToNode) -> None:
        peer = self.network.hub.by_incarnation.get(process)
        if not message.claim.holds(message.client, process):
            if peer is not None:
                self.network.hub.refusals.said(peer, "a claim to a client that it cannot prove")
            return
        self.handle(ev.ClientReturned(message.client, process, message.claim.run))
        if message.client == self.machine.client and process == self.machine.client_process:
            logger.info("node %s: %s has come back: a later run of its program", self.network.name, self._client)
            self._wishes.take(process, message)

    def _folder_of(self, process: int) -> Path | None:
        """Where the files of the client lie that this process is, if it is served now."""
        serves = self.machine.phase == SERVING and process == self.machine.client_process
        return self._nurseries[0].directory if serves and 0 in self._nurseries else None

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        self._shared.pop(peer.incarnation, None)
        self._sent.gone(peer.incarnation)
        was_its_own, client = peer.incarnation == self.machine.client_process and self.machine.client, self._client
        self.handle(ev.ProcessLost(peer.incarnation, reason))
        if was_its_own and self.machine.orphaned_until is not None:
            what = f"its servers go on, for {self.machine.orphan_s:g} s, in which it may come back"
            logger.warning("%s is gone (%s): %s", client, reason, what)
        elif was_its_own:
            logger.info("%s is gone (%s): its servers are ended", client, reason)

    def handle(self, event: ev.Event) -> None:
        """Tell the machine a fact and do what it says.  Raises: what the machine raises, after that."""
        before, orphaned = self.machine.phase, self.machine.orphaned_until is not None
        effects, error = told(self.machine, event, time.monotonic())
        if self.machine.phase != before:
            whose = self._client or "no client"
            logger.info("node %s: %s -> %s (%s)", self.network.name, before, self.machine.phase, whose)
            if before == SERVING:
                self._shared_files.end()
        if orphaned and self.machine.client_lost:
            logger.warning("%s did not come back: its servers are ended", self._client)
        for effect in effects:
            try:
                self._execute(effect)
            except Exception:  # the others are carried out all the same
                logger.exception("node %s: %r failed", self.network.name, effect)
        self._timer.set(self.machine.next_deadline())
        self._client = self._client if self.machine.client else ""
        if error is not None:
            raise error

    def stop(self, terminate: bool = True) -> None:
        """I/O thread: end this node; `options.on_stop` are called when it has ended."""
        self.handle(ev.StopAsked(terminate))

    def signalled(self) -> None:
        """I/O thread: SIGINT or SIGTERM.  The running tasks get their grace; at a second one no more of it."""
        self.stop(terminate=self._signalled)
        if self.machine.client and not self._signalled:
            self.handle(ev.CloseAsked(self.machine.client, terminate=True, why="its node was told to end"))
        self._signalled = True

    # -- effects

    def _execute(self, effect: ev.Effect) -> None:
        match effect:
            case ev.ToScheduler(process, None):
                self.box.send(process, "scheduler", self._state())
            case ev.ToScheduler(process, message):
                assert message is not None
                self.box.send(process, "scheduler", message)
            case ev.ToClient(process, message):
                self.box.send(process, "client", message)
            case ev.OpenZygote(client, space):
                self._open_zygote(client, space)
            case ev.ForkServer(index, own, niceness):
                if (nursery := self._nursery_of(index)) is not None:
                    ports = ports_to_try(self.options.server_ports, self.network.location.port, index)
                    nursery.fork(family.Fork(index, ports, own, niceness))
            case ev.EndServer(index, grace_s):
                self._signal(index, signal.SIGTERM if grace_s >= 0 else signal.SIGUSR2)
            case ev.KillServer(index, why):
                self._audit("server %d of %s is killed: %s", index + 1, self._client, why)
                self._signal(index, signal.SIGKILL)
                killed = self._nursery_of(index), self.machine.servers.by_index.get(index)
                self.loop.call_later(WIPE_S, self._must_have_ended, *killed)
            case ev.CloseZygote(space):
                nursery = self._nurseries.get(space)
                if nursery is not None:  # which may run the client's code once more
                    nursery.order(family.Close())
                    self.loop.call_later(WIPE_S, nursery.kill_family)
                else:  # the client's files could not be taken
                    self.loop.call_soon(self.handle, ev.ZygoteExited("it was not there", space))
            case ev.KillZygote():
                self._audit("node_setup of %s, which is closed, did not end in time and is killed", self._client)
                if 0 in self._nurseries:
                    self._nurseries[0].kill_family()
            case ev.Stop():
                self._stopped()

    def _audit(self, text: str, *args: object) -> None:
        self.network.hub.audit.note(logging.WARNING, text, *args)

    def _must_have_ended(self, nursery: Nursery | None, server: ServerRecord | None) -> None:
        """A server was to be killed; its zygote may be one that a task has stopped."""
        if nursery is None or server is None or not server.alive:
            return
        if server.own and self.machine.phase == SERVING and waits_for_device(self.tally(server.index).pid):
            return  # it ends when the system lets it; the servers go on computing beside it
        if self.machine.servers.by_index.get(server.index) is server:
            nursery.kill_family()

    def _signal(self, index: int, number: int) -> None:
        if (nursery := self._nursery_of(index)) is not None:
            nursery.order(family.Signal(index, number))

    def _open_zygote(self, client: int, space: int) -> None:
        bundle, grant = self._bundles.pop(space, (b"", b""))
        try:
            self._warm = self._warm or self._hatch()
            directory = self.folders.make(bundle)
            if not space:
                isolated = self.options.client_user is not None
                sent_to = directory / SENT if isolated else directory
                self._sent.move(self.machine.client_process, sent_to, readable=isolated)
            self.folders.hand_over(directory)
        except (OSError, ConfigError) as error:
            logger.warning("the client's files cannot be taken: %s", error)
            why = f"it cannot take the client's files: {getattr(error, 'strerror', None) or error}"
            self.handle(ev.SetupFailed(why, False, space))
            return
        nursery, self._warm = self._warm, None
        self._nurseries[space] = nursery
        nursery.opens(directory, space, self.options.groups)
        if self._wishes.forward_output:
            nursery.printed.send_to(Forwarding(self.box, client, self.machine.client_process))
        shared = "" if not space else str(self._nurseries[0].directory)
        process, silence_s = self.machine.client_process, self._wishes.silence_s
        config = server_config(
            self.network, self.options, client, process, grant, silence_s, self.machine.run, self.machine.orphan_s
        )
        nursery.order(family.Open(config, str(directory), shared))

    def _stopped(self) -> None:
        self.stopped = True
        self._timer.cancel()
        self._pulses.stop()
        self._watch.stop()
        if self._warm is not None:
            self._warm.kill()
            self._warm = None
        self._output.close()
        self.folders.remove()
        if self.options.processes is not None:
            self.options.processes.release()
        for callback in self.options.on_stop:
            callback()

    def _state(self) -> m.NodeState:
        machine = self.machine
        return m.NodeState(self.info(), machine.client, machine.idled, machine.lost)

    def info(self) -> NodeInfo:
        """This node, as it is now."""
        memory, disk = self._pulses.memory_and_disk()
        options = self.network.options
        return NodeInfo(
            incarnation=self.network.incarnation,
            name=self.network.name,
            addr=self.network.location.addr,
            port=self.network.location.port,
            cpus=self.options.cpus,
            platform=self._platform,
            python=self.network.hub.own.python,
            version=VERSION,
            memory=memory,
            disk=disk,
            scheduler=next(iter(self._shared.values()), ""),
            closed=self.machine.closed,
            pulse_interval_min=self.options.pulse_intervals[0],
            pulse_interval_max=self.options.pulse_intervals[1],
            resources=self.options.resources,
            own_max=self.machine.servers.own_max,
            owner=options.owner,
        )
