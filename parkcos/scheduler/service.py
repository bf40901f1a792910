"""The scheduler: the shell around its state machine.  Private, in a client's program, or shared, a program of its own.

Everything here happens in the I/O thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from parkcos.cluster import messages as m
from parkcos.cluster.machine import told
from parkcos.cluster.node_info import NodeInfo
from parkcos.cluster.postbox import Postbox
from parkcos.cluster.timer import DeadlineTimer
from parkcos.net.location import Location
from parkcos.net.network import Network
from parkcos.net.payload import Buffer
from parkcos.net.session.peer import CONNECTING, Peer
from parkcos.net.trust.claims import ORPHAN_MAX_S
from parkcos.scheduler import state_events as st
from parkcos.scheduler.journal import Entries, Journal
from parkcos.scheduler.state import ClientRecord, SchedulerMachine

logger = logging.getLogger("parkcos")

CONTACT_AGAIN_S = 2.0
"""Nodes that were named and are not there are dialled again after this time: they may start later."""
CLIENTS_MAX = 1_000
"""Of one program, in the queue."""
CONTACTS_MAX = 1_000
"""Of one client's program: what it names beyond that is not dialled."""
NOTE_AGAIN_S = 5.0
"""The time to the next attempt where the journal cannot be written."""
NOTE_S = 0.05
"""Nodes that come or go together are noted in the journal together."""


class SchedulerService:
    """One for each network that schedules.

    Args:
        contacts: nodes to dial, beside those found by broadcast; they tell whom they hear in their networks.
        zombie_period_s: a client whose tasks do not run for so long loses its nodes and its turn; 0: it does not.
        journal: of a shared scheduler; what an earlier run has left there is taken up.
        orphan_max: seconds for which the place of a client that may return is kept at most.
    """

    def __init__(
        self,
        network: Network,
        contacts: Iterable[Location] = (),
        zombie_period_s: float = 0.0,
        journal: Journal | None = None,
        orphan_max: float = ORPHAN_MAX_S,
    ) -> None:
        self.network = network
        self.machine = SchedulerMachine(zombie_period_s)
        self.orphan_max = orphan_max
        self.observer: Callable[[], object] | None = None
        """Called when the machine has been told something, by whoever shows it."""
        self._journal = journal
        self._noted_changes = 0
        """Of the queue, as it stands in the journal."""
        self._noting: asyncio.TimerHandle | None = None
        self._nodes_at: dict[int, Location] = {}
        """Where the nodes are, for the journal."""
        self._met: list[Location] = []
        """The nodes of an earlier run."""
        self.box = Postbox.of(network)
        self.contacts: dict[Location, None] = dict.fromkeys(contacts)
        self._named: dict[int, dict[Location, None]] = {}
        """The contacts that clients' programs have named, which go with them."""
        self._timer = DeadlineTimer(network.io, lambda: self.handle(st.TimePassed()))
        self._turn: ClientRecord | None = None
        self._turn_began = time.monotonic()
        self._contacting = False
        self._failures: dict[Location, str] = {}
        """Why a named node was last not reached, or lost."""
        if journal is not None:
            entries = journal.read()
            self._met = entries.locations()
            self.machine.restore(entries.clients, time.monotonic())
            if entries.clients:
                logger.info("takes up %d clients of an earlier run, from %s", len(entries.clients), journal.path)
        self.box.serve("scheduler", self._received)

    def start(self) -> None:
        """Begin to look for nodes.  Any thread."""
        self.network.io.call(self._start)

    def _start(self) -> None:
        callbacks = self.network.hub.callbacks
        callbacks.up.append(self._peer_up)
        callbacks.gone.append(self._peer_gone)
        for peer in self.network.hub.peers():
            if peer.incarnation:
                self._peer_up(peer)
        self.network.look_for(("node",))
        for location in self._met:
            self.network.hub.peer_at(location)
        self._contact()
        if self._journal is not None:
            self._timer.set(self.machine.next_deadline())

    def add_contacts(self, locations: Iterable[Location]) -> None:
        """Dial these nodes too, now and until they are there.  Any thread."""
        self.contacts.update(dict.fromkeys(locations))
        self.network.io.call(self._contact)

    def drop_contact(self, location: Location) -> None:
        """Do not dial this node any more.  Any thread."""
        self.contacts.pop(location, None)

    def _all_contacts(self) -> list[Location]:
        return [location for named in (self.contacts, *self._named.values()) for location in named.copy()]

    def _is_contact(self, location: Location) -> bool:
        return location in self.contacts or any(location in named for named in self._named.values())

    def _contact(self) -> None:
        contacts = self._all_contacts()
        for location in contacts:
            self.network.hub.peer_at(location)
        if contacts and not self._contacting:
            self._contacting = True
            self.network.io.loop.call_later(CONTACT_AGAIN_S, self._contact_again)

    def _contact_again(self) -> None:
        self._contacting = False
        if not self.network.hub.closing:
            self._contact()

    def not_reached(self) -> list[tuple[Location, str]]:
        """The named nodes that are not there, and why."""
        missing = []
        for location in self._all_contacts():
            peer = self.network.hub.book.by_location.get(location)
            if peer is None or peer.state is CONNECTING:
                reason = peer.reason if peer is not None else ""
                missing.append((location, reason or self._failures.get(location, "no answer yet")))
        return missing

    # -- events

    def _peer_up(self, peer: Peer) -> None:
        if any(map(self._is_contact, peer.addresses)):  # one of a remote network brings the others
            self.network.relay.ask(peer)
        if "node" in peer.roles:
            self.box.send(peer.incarnation, "node", m.AskState())

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        self._named.pop(peer.incarnation, None)
        for location in peer.addresses:
            if self._is_contact(location):
                self._failures[location] = reason
        if self._nodes_at.pop(peer.incarnation, None) is not None:
            self._note_soon()
        self.handle(st.ProcessLost(peer.incarnation, reason))

    def _received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        """Each speaks for itself alone: a node of itself, a client's program of the client that it has put here."""
        match message:
            case m.NodeState(info, client, idle, lost):
                if info.incarnation == process and info.owner == self._owner_of(process):
                    self._note_node(info)
                    self.handle(st.NodeReported(info, client, idle, lost))
            case m.NodeAnswer(client, ok, reason):
                self.handle(st.NodeAnswered(process, client, ok, reason))
            case m.Enqueue(client, name, python, claim) if claim is not None and not claim.holds(client, process):
                why = "it claims to be a client that may return, and cannot prove it"
                self.box.send(process, "client", m.Dismissed(client, why))
            case m.Enqueue(client, name, python, claim, orphan_s):
                run, orphan_s = (claim.run, min(orphan_s, self.orphan_max)) if claim is not None else (0, 0.0)
                location = self._location_of(process)
                of_process = [each.client for each in self.machine.queue.values() if each.process == process]
                if len(of_process) >= CLIENTS_MAX and client not in of_process:
                    why = f"its program has {len(of_process)} clients in the queue, and may have no more"
                    self.box.send(process, "client", m.Dismissed(client, why))
                elif location is not None:
                    addr, port = location.addr, location.port
                    self.handle(st.ClientAsked(client, process, addr, port, name, python, run, orphan_s))
            case m.Contact(addr, port):
                self._named_by(process, Location(addr, port))
            case m.WantNode() | m.ClientLeaves() | m.OfferAgain():
                queued = self.machine.queue.get(message.client)
                if queued is not None and queued.process == process:
                    self._client_said(message)

    def _owner_of(self, process: int) -> str:
        """Whose node it is, as its certificate says."""
        peer = self.network.hub.by_incarnation.get(process)
        return peer.standing.owner if peer is not None and peer.standing is not None else ""

    def _client_said(self, message: m.WantNode | m.ClientLeaves | m.OfferAgain) -> None:
        match message:
            case m.WantNode(client, node, cpus):
                self.handle(st.ClientWanted(client, node, cpus))
            case m.ClientLeaves(client):
                self.handle(st.ClientLeft(client))
            case m.OfferAgain(client):
                self.handle(st.ClientWantsAgain(client))

    def _named_by(self, process: int, location: Location) -> None:
        named = self._named.setdefault(process, {})
        if len(named) < CONTACTS_MAX:
            named[location] = None
            self._contact()

    def _location_of(self, process: int) -> Location | None:
        if process == self.network.incarnation:
            return self.network.location
        peer = self.network.hub.by_incarnation.get(process)
        return peer.location if peer is not None else None

    def handle(self, event: st.Event) -> None:
        """Tell the machine a fact and do what it says.  Raises: what the machine raises, after that."""
        effects, error = told(self.machine, event, time.monotonic())
        self._look_whose_turn()
        for effect in effects:
            match effect:
                case st.ToClient(process, m.Queued(client, position)) if position:
                    held_s = time.monotonic() - self._turn_began
                    message = m.Queued(client, position, len(self.machine.queue) - 1, self._holder(), held_s)
                    self.box.send(process, "client", message)
                case st.ToClient(process, message):
                    self.box.send(process, "client", message)
                case st.ToNode(node, message):
                    self.box.send(node, "node", message)
        if self._noted_changes != self.machine.queue_changes:
            self._note()
        observer = self.observer
        if observer is not None:
            observer()
        self._timer.set(self.machine.next_deadline())
        if error is not None:
            raise error

    def _holder(self) -> str:
        """Whose turn it is, for those who wait."""
        turn = self._turn
        if turn is None or turn.absent_until is None:
            return turn.shown if turn is not None else ""
        left_s = max(0.0, turn.absent_until - time.monotonic())
        return f"{turn.shown}, whose program is gone and has {left_s:.0f} s to come back,"

    def _look_whose_turn(self) -> None:
        turn = self.machine.queue.get(self.machine.current)
        before, self._turn = self._turn, turn
        if (turn and turn.client) != (before and before.client):
            self._turn_began = time.monotonic()
            audit = self.network.hub.audit
            level = logging.DEBUG if self._journal is None else logging.INFO  # a program's own has its own clients only
            if before is not None:
                audit.note(level, "scheduler: the turn of %s is over, %d wait", before.shown, len(self.machine.queue))
            if turn is not None:
                audit.note(level, "scheduler: it is the turn of %s", turn.shown)

    # -- the journal

    def _note_node(self, info: NodeInfo) -> None:
        known = self._nodes_at.get(info.incarnation)
        if known is None or (known.addr, known.port) != (info.addr, info.port):
            self._nodes_at[info.incarnation] = Location(info.addr, info.port)
            self._note_soon()

    def _note_soon(self) -> None:
        if self._noting is None:
            self._noting = self.network.io.loop.call_later(NOTE_S, self._note)

    def _note(self) -> None:
        """The queue at once whenever it has changed, which is seldom; where the nodes are, with it or soon."""
        if self._noting is not None:
            self._noting.cancel()
            self._noting = None
        self._noted_changes = self.machine.queue_changes
        if self._journal is not None:
            queue, nodes = list(self.machine.queue.values()), [str(at) for at in self._nodes_at.values()]
            if not self._journal.write(Entries(queue, nodes)):
                self._noting = self.network.io.loop.call_later(NOTE_AGAIN_S, self._note)
