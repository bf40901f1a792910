"""A client's nodes and servers: which are wanted, what is said to them, what they have said of themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from parkcos.client import dispatch_events as d
from parkcos.client.allocate import NodeAllocate, cpus_wanted, why_unwanted
from parkcos.client.choosing import Choosing
from parkcos.client.components import with_setup_call
from parkcos.client.shell import ClientShell, shown
from parkcos.client.status import NodeAvailInfo, Statuses
from parkcos.cluster import messages as m
from parkcos.cluster import server_messages as sm
from parkcos.cluster.bundle import Bundle, encode_bundle
from parkcos.cluster.definitions import Definition
from parkcos.cluster.node_info import NodeInfo
from parkcos.errors import ShippingError
from parkcos.net.location import Location
from parkcos.net.payload import PICKLE, Buffer

logger = logging.getLogger("parkcos")

ALIVE_S = 5.0
"""The longest silence of a node that is asked for signs of life, or its least pulse interval, if that is more."""

SILENT_PULSES = 5
"""The pulses that a node or server may miss before it is given no more tasks."""

Packed = tuple[int, list[Buffer], list[Definition]]


class Nodes:
    """One for each client.  `Client.schedule` fills in what is only declared here."""

    bundle: Bundle
    encoded_bundle: bytes

    def __init__(self, shell: ClientShell, allocations: Sequence[NodeAllocate], forward_output: bool) -> None:
        self._shell = shell
        self.allocations = list(allocations)
        self.restart_servers = False
        self.pulse_interval = 50.0
        self.forward_output = forward_output
        self.infos: dict[int, NodeInfo] = {}
        self.avail: dict[int, m.NodeAvail] = {}
        """What each node last said of itself."""
        self.matched: dict[int, NodeAllocate] = {}
        """By which allocation each node was taken."""
        self.indexes: dict[int, int] = {}
        """The number of each server at its node, from 1 on."""
        self.unusable: dict[str, str] = {}
        """Why nodes that were seen are not used."""
        self.setup_call: Packed | None = None
        """The packed call of server_setup."""
        self.setup_calls: dict[int, Packed] = {}
        """The packed calls of node_setup or server_setup, where they were given arguments."""
        self.forwards: set[int] = set()
        """The nodes that send what is printed there."""
        self.earlier_spaces: dict[int, int] = {}
        """Of which spaces processes were that an earlier program of this client had wanted."""
        self.had_servers = False
        self.choosing = Choosing(shell, self.indexes)
        self._warned: set[int] = set()
        """The nodes whose least pulse interval was said to be more than was asked for."""
        shell.executes(d.Consider, self._consider)
        shell.executes(d.SetupNode, self._setup_node)
        shell.executes(d.CloseNode, self._close_node)
        shell.executes(d.OpenServer, self._open_server)
        shell.executes(d.CloseServer, self._close_server)
        shell.executes(d.StartOwn, self._start_own)
        shell.executes(d.EndOwn, self._end_own)
        shell.executes(d.Dismiss, self._dismiss)
        shell.executes(d.ReportStatus, self._report_status)

    # -- which are wanted

    def _consider(self, effect: d.Consider) -> None:
        self._shell.kernel.post(self.offered, self.infos[effect.node])

    def _who_is_at(self, location: Location) -> int:
        peer = self._shell.network.hub.book.by_location.get(location)
        return peer.incarnation if peer is not None else 0

    def offered(self, info: NodeInfo) -> None:
        """Kernel thread: `allocate` may be the user's."""
        try:
            cpus, allocation = cpus_wanted(self.allocations, info, self._who_is_at)
            if not cpus:
                self.unusable[shown(info)] = why_unwanted(self.allocations, info, self._who_is_at)
        except (Exception, SystemExit):
            logger.exception("an allocate() of %s failed; the node %s is not used", self._shell.name, info.name)
            self.unusable[shown(info)] = "the client's allocate() failed"
            cpus, allocation = 0, None
        if cpus and self.pulse_interval < info.pulse_interval_min and info.incarnation not in self._warned:
            self._warned.add(info.incarnation)
            logger.warning(
                "%s asked for a pulse_interval of %g s; the node %s allows no less than %g s "
                "(parkcosnode.py --min_pulse_interval)",
                self._shell.name,
                self.pulse_interval,
                info.name,
                info.pulse_interval_min,
            )
        with self._shell.lock:
            self.infos[info.incarnation] = info
            if allocation is not None:
                self.matched[info.incarnation] = allocation
            self._shell.handle(d.Offered(info, cpus))

    # -- what they say

    def server_up(self, node: int, message: m.ServerUp) -> None:
        """A node has started a server."""
        with self._shell.lock:
            known = self._shell.machine.servers.get(message.incarnation)
            if (info := self.infos.get(node)) is not None and (known is None or known.node == node):
                location = Location(message.addr or info.addr, message.port)
                self._shell.locations[message.incarnation] = location
                self.indexes[message.incarnation] = message.index + 1
                up = d.ServerIsUp(node, message.incarnation, location.addr, location.port, message.index, message.own)
                self._shell.handle(up)

    def node_avail(self, node: int, message: m.NodeAvail) -> None:
        """A node has said what it has to spare."""
        shell = self._shell
        with shell.lock:
            if node not in self.infos:
                return
            self.avail[node] = message
            shell.handle(d.LoadSeen(node, _busy(message), self._short_of(node, message)))
            if shell.status_task is not None and node in shell.machine.nodes and not message.asked:
                shell.kernel.post(shell.status_task.send, self._avail_info(node))

    def _short_of(self, node: int, avail: m.NodeAvail) -> str:
        """What of it the node has less than its allocation asks for, or ""."""
        allocation = self.matched.get(node)
        if allocation is None:
            return ""
        short = []
        for what, wanted, free in (("memory", allocation.memory, avail.memory), ("disk", allocation.disk, avail.disk)):
            if free is not None and free < wanted:
                short.append(f"{free} bytes of {what}, {wanted} were asked for")
        return "it has only " + " and ".join(short) if short else ""

    def forget_the_gone(self) -> None:
        """Drop what is remembered of nodes and servers that are not spoken of any more.  With the lock."""
        present = self._shell.machine.members.spoken_of()
        tables: tuple[dict[int, Any], ...] = (
            self.infos,
            self.avail,
            self.matched,
            self._shell.locations,
            self.indexes,
            self._shell.known,
            self.setup_calls,
            self.earlier_spaces,
        )
        for table in tables:
            for number in table.keys() - present:
                del table[number]
        self._warned &= present
        self._shell.circle.keep_only(present)
        self._shell.sharing.keep_only(present)
        self.forwards &= present

    # -- what is said to them

    def alive_s(self, node: int) -> float:
        """After so many seconds of silence a node and its servers give a sign of life."""
        asked_s = min(self._shell.network.options.pulse_s, self.pulse_interval)
        return max(asked_s, min(ALIVE_S, self.infos[node].pulse_interval_min))

    def _setup_node(self, effect: d.SetupNode) -> None:
        forward = self.forward_output or (self._shell.observing is not None and self._shell.observing.wants_output)
        (self.forwards.add if forward else self.forwards.discard)(effect.node)
        message = m.SetupNode(
            self._shell.id,
            effect.cpus,
            self.restart_servers,
            self.pulse_interval,
            alive_s=self.alive_s(effect.node),
            forward_output=forward,
            setup_id=effect.setup_id,
            grant=self._shell.circle.grant_at(effect.node),
        )
        if (identity := self._shell.identity) is not None:
            message.claim = identity.claim(self._shell.network.incarnation)
            message.orphan_s = self._shell.orphan_s
            self.note(effect.node, effect.cpus)
        made = self.bundle_at(effect.node)
        encoded = self.encoded_bundle if made is self.bundle else encode_bundle(made)
        self._be_patient(effect.node)
        self._shell.sharing.node_begins(effect.node)
        try:
            self._shell.side.box.send(effect.node, "node", message, PICKLE, [encoded])
        except ShippingError as error:
            why = f"the client's components and definitions: {error}"
            logger.error("%s: the node %s cannot be used: %s", self._shell.name, self.infos[effect.node].name, why)
            self._shell.side.box.send(effect.node, "node", m.CloseNode(self._shell.id, True, setup_id=effect.setup_id))
            failed = d.NodeHasFailed(effect.node, why, setup=True, setup_id=effect.setup_id)
            self._shell.kernel.post(self._shell.handle, failed)

    def note(self, node: int, cpus: int) -> None:
        """For the next program of a client that may return: that the node is set up."""
        if (identity := self._shell.identity) is not None and (info := self.infos.get(node)) is not None:
            identity.sent.node(info, cpus, self._shell.circle.grants_of(node))

    def bundle_at(self, node: int) -> Bundle:
        """What the client brings to this node."""
        call = self.setup_calls.get(node)
        return self.bundle if call is None else with_setup_call(self.bundle, call[1], call[2])

    def ask_for_output(self, node: int) -> None:
        """Of a node that was set up without being asked for it."""
        self.forwards.add(node)
        self._shell.side.box.send(node, "node", m.ForwardOutput(self._shell.id))

    def _be_patient(self, process: int) -> None:
        """A node or server may be silent for so long (chapter 6.4, pulse_interval), and then loses nothing."""
        peer = self._shell.network.hub.by_incarnation.get(process)
        if peer is not None:
            peer.patience_s = SILENT_PULSES * self.pulse_interval

    def _close_node(self, effect: d.CloseNode) -> None:
        for server, at in self._shell.machine.servers.items():
            peer = self._shell.network.hub.by_incarnation.get(server) if at.node == effect.node else None
            if peer is not None:
                peer.dismissed = True  # perhaps it is still being dialled
        message = m.CloseNode(self._shell.id, effect.terminate, effect.keep, effect.setup_id)
        self._shell.side.box.send(effect.node, "node", message)

    def _close_server(self, effect: d.CloseServer) -> None:
        message = m.CloseServer(self._shell.id, effect.server, effect.terminate, effect.restart)
        self._shell.side.box.send(effect.node, "node", message)

    def _start_own(self, effect: d.StartOwn) -> None:
        message = m.StartOwn(self._shell.id, effect.own, effect.niceness, effect.space)
        self._shell.side.box.send(effect.node, "node", message)

    def _end_own(self, effect: d.EndOwn) -> None:
        self._shell.side.box.send(effect.node, "node", m.EndOwn(self._shell.id, effect.own, effect.terminate))

    def _dismiss(self, effect: d.Dismiss) -> None:
        peer = self._shell.network.hub.by_incarnation.get(effect.process)
        if peer is not None:
            peer.dismissed = True
            self._shell.network.io.call(self._shell.network.hub.end, peer, effect.reason)

    def meet(self, number: int) -> Location:
        """Have a session with a server, which nothing was sent yet.  Returns: where it is."""
        location, hub = self._shell.locations[number], self._shell.network.hub
        node = hub.by_incarnation.get(self._shell.machine.servers[number].node)
        peer = hub.peer_at(location, number, self._homes_of(number))
        if peer is not None and node is not None and not peer.name:  # until it says so: servers take what nodes take
            peer.max_payload = node.max_payload
        self._be_patient(number)
        return location

    def _open_server(self, effect: d.OpenServer) -> None:
        at = self._shell.machine.servers[effect.server]
        node = self._shell.machine.nodes.get(at.node)
        of_bundle = {} if node is not None and node.returned else self._shell.bundle_digests  # that was an earlier one
        self._shell.known[effect.server] = {(at.space, *key): digest for key, digest in of_bundle.items()}
        location = self.meet(effect.server)
        form = PICKLE
        buffers: list[Buffer] = []
        call = self.setup_calls.pop(effect.server, self.setup_call)
        message = sm.OpenServer(self._shell.id, call is not None)
        try:
            if call is not None:
                form, buffers, definitions = call
                self._shell.define(effect.server, definitions)
            self._shell.side.box.send(effect.server, "server", message, form, buffers)
        except ShippingError as error:
            why = f"the call of server_setup: {error}"
            logger.error("%s: a server at %s cannot be used: %s", self._shell.name, location, why)
            self._shell.kernel.post(self._shell.handle, d.ServerSetupFailed(effect.server, why))

    def _homes_of(self, number: int) -> list[Location]:
        """Where a server may be reached: with this client's own keys from now on."""
        server, location = self._shell.machine.servers[number], self._shell.locations[number]
        node = self._shell.network.hub.by_incarnation.get(server.node)
        homes = [Location(there.addr, location.port) for there in node.addresses] if node is not None else [location]
        space = self.earlier_spaces.get(number, server.space)
        self._shell.circle.lives_at(number, server.node, [location, *homes], space)
        return homes

    # -- what the status task hears

    def _report_status(self, effect: d.ReportStatus) -> None:
        if effect.name == "ServerDiscovered":  # whoever hears of it may send it files before it is used
            self._homes_of(effect.subject)
        elif effect.name == "ServerInitialized" and not effect.own:
            self._shell.ready.add(effect.subject)
            self.had_servers = True
            for fn in tuple(self._shell.side.wants_servers):
                self._shell.kernel.post(fn)
            if self.choosing.is_used:
                self._shell.kernel.post(self.choosing.server_is_ready, effect.subject)
        elif effect.name.startswith("Server") and effect.subject not in self._shell.machine.servers:  # it has ended
            self._shell.ready.discard(effect.subject)
            self._shell.known.pop(effect.subject, None)
        elif effect.name.startswith("Node") and effect.subject not in self._shell.machine.nodes:
            if effect.reason:
                self.unusable[shown(self.infos[effect.subject])] = effect.reason
            if (identity := self._shell.identity) is not None:
                identity.sent.node_left(effect.subject)
        if self._shell.status_task is None or effect.own:
            return
        info: Any = None
        if effect.name.startswith("Server"):
            info = self._shell.locations[effect.subject]
        elif effect.name.startswith("Node"):
            info = self._avail_info(effect.subject)
        self._shell.tell(getattr(Statuses, effect.name), info, effect.reason)

    def _avail_info(self, number: int) -> NodeAvailInfo:
        node, avail = self.infos[number], self.avail.get(number)
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


def _busy(avail: m.NodeAvail) -> float | None:
    """The share of its processors that is in use."""
    return None if avail.cpu is None else 1 - avail.cpu / 100
