"""Who gets the nodes: a state machine without clock, socket or thread.

One client at a time has all nodes that it wants; the others wait in the order in which they asked.  An event is a
fact about a client or a node, an effect an order to send something.  Processes are named by their incarnation.

    Enqueue -> (queue) -> Scheduled -> NodeOffer -> WantNode -> ReserveNode -> NodeAnswer -> NodeGranted
    ClientLeaves | ClientLost -> ReleaseNode -> the next one is Scheduled; NodeState(client=0) -> NodeOffer

A scheduler that is started again is given the queue as it was (`restore`): each client keeps its place while it has
not come back, for a while; the nodes say themselves whom they serve.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from parkcos.cluster import messages as m
from parkcos.cluster.node_info import NodeInfo
from parkcos.net.files.rules import printable
from parkcos.net.trust.claims import SECOND, SUPERSEDED
from parkcos.scheduler.state_events import (
    ClientAsked,
    ClientLeft,
    ClientWanted,
    ClientWantsAgain,
    Effect,
    Event,
    NodeAnswered,
    NodeLost,
    NodeReported,
    ProcessLost,
    TimePassed,
    ToClient,
    ToNode,
)

RETRY_S = 1.0
"""A node that did not answer a reservation is asked again after this time."""


ABSENT_S = 60.0
"""A client of an earlier run of this scheduler that has not come back after this time has lost its place."""

LEFT_MAX = 1000
"""So many clients that have left are remembered: a node that was not reached then may still serve one of them."""

UNKNOWN_MAX = 10_000
"""So many nodes that are not known yet may be wanted."""

TAKEN = "it serves another client; it is offered again as soon as it is free"
LOST = "it is gone"


FREE, OFFERED, RESERVING, HELD, UNWANTED, RELEASING = "free", "offered", "reserving", "held", "unwanted", "releasing"


class NodeRecord(msgspec.Struct):
    info: NodeInfo
    state: str = FREE
    client: int = 0
    """Whom it serves or is being asked to serve; may be a client that this scheduler does not know."""
    retry_at: float | None = None
    refused: bool = False
    """The client had a look at what it has, and did not want it."""
    again: bool = False
    """The client wants it as soon as it has let go of its earlier servers."""


class ClientRecord(msgspec.Struct):
    """absent_until: its place is kept until then: it was in the queue in an earlier run of this scheduler, or its
    program was lost, and has not come back yet.

    run, orphan_s: as in ClientAsked.
    """

    client: int
    process: int
    addr: str
    port: int
    name: str
    python: str
    absent_until: float | None = None
    run: int = 0
    orphan_s: float = 0.0

    @property
    def shown(self) -> str:
        """As others are told of it."""
        return f"{printable(self.name)} at {self.addr}"


@dataclass
class SchedulerMachine:
    """The one door is :meth:`handle`.

    zombie_period_s: a client whose tasks do not run for so long loses its nodes, and with the last one its turn.
    """

    zombie_period_s: float = 0.0
    nodes: dict[int, NodeRecord] = field(default_factory=dict)
    queue: dict[int, ClientRecord] = field(default_factory=dict)
    """In order; the first is the one that runs."""
    queue_changes: int = 0
    """Counts what has changed in the queue, for who keeps a copy."""
    current: int = 0
    lost: dict[int, NodeInfo] = field(default_factory=dict)
    """Nodes that were lost during this client's turn: it may still want them."""
    unknown: dict[int, None] = field(default_factory=dict)
    """Nodes that this client wants and that have not been heard of yet: it knows them from another scheduler."""
    _retries: list[tuple[float, int]] = field(default_factory=list)
    """A heap of (retry_at, node); what is not the node's retry_at any more does not count."""
    _left: dict[int, None] = field(default_factory=dict)
    """Clients that have left, the latest last."""
    _absent: int = 0
    """How many clients have not come back."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact, return the orders that follow from it, to be executed in this order."""
        return list(self.steps(event, now))

    def steps(self, event: Event, now: float) -> Iterator[Effect]:
        """The same, order by order."""
        return self._HANDLERS[type(event)](self, event, now)

    def restore(self, clients: Iterable[ClientRecord], now: float) -> None:
        """Before anything else: this was the queue when an earlier run of this scheduler ended."""
        for client in clients:
            client.absent_until = now + max(ABSENT_S, client.orphan_s)
            self.queue[client.client] = client
            self._absent += 1
        self.current = next(iter(self.queue), 0)

    def next_deadline(self) -> float | None:
        """When the machine next wants TimePassed."""
        absent = None
        if self._absent:
            absent = min(c.absent_until for c in self.queue.values() if c.absent_until is not None)
        while self._retries:
            at, number = self._retries[0]
            node = self.nodes.get(number)
            if node is not None and node.retry_at == at:
                return at if absent is None else min(at, absent)
            heapq.heappop(self._retries)
        return absent

    def check(self) -> None:
        """The invariants; for tests and simulation."""
        assert self.current == next(iter(self.queue), 0), "the first in the queue runs"
        assert self._absent == sum(c.absent_until is not None for c in self.queue.values())
        for node in self.nodes.values():
            if node.state in (OFFERED, RESERVING, UNWANTED):
                assert node.client == self.current, f"{node} is dealt with for a client that does not run"
            assert (node.retry_at is not None) == (node.state == RESERVING), f"{node} is asked again without need"
            assert not node.again or 0 != node.client == self.current, f"{node} is wanted by nobody"
            if node.state == FREE:
                assert node.client == 0, f"{node} is free and serves somebody"
                assert not self._present(), f"{node} is free and was not offered"

    # -- nodes

    def _node_reported(self, event: NodeReported, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.info.incarnation)
        if node is None:
            node = self.nodes[event.info.incarnation] = NodeRecord(event.info)
            node.again = self.unknown.pop(event.info.incarnation, 0) is None
        changed = _offers(event.info) != _offers(node.info)
        node.info = event.info
        if event.client:
            # Its client may be another scheduler's: only the node itself knows. It says when it is free.
            if node.client == event.client and node.state in (HELD, RELEASING, RESERVING):
                return
            if self.current and self.current != event.client:
                yield from self._unusable(node.info, node.info.closed or TAKEN)
            node.state, node.client, node.retry_at = HELD, event.client, None
            node.again = node.again and event.client == self.current
            if event.client in self._left:  # the node was not reached when it left
                node.state = RELEASING
                yield ToNode(node.info.incarnation, m.ReleaseNode(event.client))
        elif node.info.closed:  # it serves nobody, and takes nobody until it says so
            if node.state == RESERVING:
                return  # its answer is on its way
            if self.current and (node.state != HELD or node.client != self.current):  # whom it closed knows why
                yield from self._unusable(node.info, node.info.closed)
            node.state, node.client, node.again = HELD, -1, False
        elif node.state == UNWANTED and node.refused and changed:
            yield from self._offer(node)
        elif node.state in (RESERVING, OFFERED, UNWANTED):
            return  # sent before our question reached it
        elif node.state == HELD and node.client == self.current:
            # As the client had lost it, which can have it again; or cannot say yet that it wants to.
            if event.lost == self.current or not (self._present() or event.idle == self.current):
                yield from self._free(node)
            else:
                yield from self._given_up(node, event.idle == self.current, now)
        else:
            yield from self._free(node)

    def _given_up(self, node: NodeRecord, idle: bool, now: float) -> Iterator[Effect]:
        """By the node itself.  The client was told by the node; it is not offered to it again and again."""
        node.state, node.client = UNWANTED, self.current
        if node.again:
            node.again, node.state = False, RESERVING
            yield from self._reserve(node, now)
        elif idle and not any(
            n.client == self.current and n.state in (HELD, OFFERED, RESERVING) for n in self.nodes.values()
        ):
            client = self.queue[self.current]
            why = "none of its tasks has run for the zombie period of its nodes: the next client has its turn"
            yield ToClient(client.process, m.Dismissed(client.client, why))
            yield from self._client_left(ClientLeft(client.client), now)

    def _free(self, node: NodeRecord) -> Iterator[Effect]:
        node.state, node.client, node.retry_at, node.again = FREE, 0, None, False
        if self._present():
            yield from self._offer(node)

    def _present(self) -> bool:
        """Whether there is a client whose turn it is, and it is there."""
        return bool(self.current) and self.queue[self.current].absent_until is None

    def _unusable(self, info: NodeInfo, reason: str) -> Iterator[Effect]:
        """The current client cannot have it, now; it may not have asked for it."""
        client = self.queue[self.current]
        if client.absent_until is None:
            yield ToClient(client.process, m.NodeUnusable(client.client, info, reason))

    def _offer(self, node: NodeRecord) -> Iterator[Effect]:
        client = self.queue[self.current]
        node.client, node.refused = self.current, False
        if node.info.python != client.python:
            node.state = UNWANTED
            yield from self._unusable(node.info, f"it runs Python {node.info.python}, this client {client.python}")
            return
        node.state = OFFERED
        yield ToClient(client.process, m.NodeOffer(client.client, node.info))

    def _node_lost(self, event: NodeLost, now: float) -> Iterator[Effect]:
        node = self.nodes.pop(event.node, None)
        if node is None:
            return
        if node.state == RESERVING or node.again:
            yield from self._unusable(node.info, LOST)
        elif self.current:
            self.lost[event.node] = node.info  # it may be about to answer an offer
        # A client that has been granted it has a session with it, and sees by itself that it is gone.

    def _node_answered(self, event: NodeAnswered, now: float) -> Iterator[Effect]:
        node = self.nodes.get(event.node)
        if node is None:
            return
        if node.state == RESERVING and node.client == event.client:
            node.retry_at = None
            if event.ok:
                node.state = HELD
                yield ToClient(self.queue[event.client].process, m.NodeGranted(event.client, event.node))
            else:
                # It serves somebody else, whom we do not know; it reports when it is free again.
                node.state, node.client = HELD, -1
                yield from self._unusable(node.info, event.reason)
        elif event.ok and event.client not in self.queue:
            yield ToNode(event.node, m.ReleaseNode(event.client))  # it left meanwhile

    def _client_wanted(self, event: ClientWanted, now: float) -> Iterator[Effect]:
        if event.client != self.current:
            return
        node = self.nodes.get(event.node)
        lost = self.lost.pop(event.node, None)
        if event.cpus <= 0:
            if node is not None and node.state == OFFERED:
                node.state, node.refused = UNWANTED, True
        elif node is None:
            if lost is not None:
                yield from self._unusable(lost, LOST)
            elif len(self.unknown) < UNKNOWN_MAX:
                self.unknown[event.node] = None
        elif node.state in (OFFERED, UNWANTED):
            node.state = RESERVING
            yield from self._reserve(node, now)
        elif node.state == HELD and node.client == event.client:
            node.again = True
        elif node.client != event.client:  # it was taken while the client thought about it
            yield from self._unusable(node.info, node.info.closed or TAKEN)

    def _reserve(self, node: NodeRecord, now: float) -> Iterator[Effect]:
        client = self.queue[self.current]
        node.retry_at = now + RETRY_S
        heapq.heappush(self._retries, (node.retry_at, node.info.incarnation))
        yield ToNode(
            node.info.incarnation,
            m.ReserveNode(client.client, client.addr, client.port, client.process, self.zombie_period_s, client.name),
        )

    # -- clients

    def _client_asked(self, event: ClientAsked, now: float) -> Iterator[Effect]:
        known = self.queue.get(event.client)
        if known is not None:
            if event.process != known.process and event.run and known.run:
                yield from self._returned(known, event)
            else:
                yield from self._came_back(known, event)
            return
        self._left.pop(event.client, None)
        self.queue[event.client] = ClientRecord(
            event.client,
            event.process,
            event.addr,
            event.port,
            event.name,
            event.python,
            run=event.run,
            orphan_s=event.orphan_s,
        )
        self.queue_changes += 1
        yield ToClient(event.process, m.Queued(event.client, len(self.queue) - 1))
        yield from self._next()

    def _came_back(self, client: ClientRecord, event: ClientAsked) -> Iterator[Effect]:
        """Or asks twice; or is another process that says so."""
        if client.absent_until is not None and client.process == event.process:
            yield from self._is_there(client, event)

    def _returned(self, client: ClientRecord, event: ClientAsked) -> Iterator[Effect]:
        """Another program takes its place: a later run, or the same one elsewhere, if this one was lost."""
        absent = client.absent_until is not None
        if event.run < client.run or (event.run == client.run and not absent):
            yield ToClient(event.process, m.Dismissed(client.client, SECOND))
            return
        if not absent:
            yield ToClient(client.process, m.Dismissed(client.client, SUPERSEDED))
            yield from self._take_offers_back(client.client)
        client.process, client.name, client.python = event.process, event.name, event.python
        client.run, client.orphan_s = event.run, event.orphan_s
        yield from self._is_there(client, event)

    def _is_there(self, client: ClientRecord, event: ClientAsked) -> Iterator[Effect]:
        """It has its place again."""
        self._absent -= client.absent_until is not None
        client.absent_until = None
        self.queue_changes += 1
        client.addr, client.port = event.addr, event.port
        yield ToClient(client.process, m.Queued(client.client, list(self.queue).index(client.client)))
        if client.client == self.current:
            yield from self._begin()
            if client.run:
                yield from self._tell_waiting()

    def _lost(self, client: ClientRecord, now: float) -> Iterator[Effect]:
        """Its program is gone, and may come back."""
        if client.absent_until is not None:
            return
        client.absent_until = now + client.orphan_s
        self._absent += 1
        self.queue_changes += 1
        if client.client == self.current:
            yield from self._take_offers_back(client.client)
            yield from self._tell_waiting()

    def _take_offers_back(self, client: int) -> Iterator[Effect]:
        """Nodes that the program that is gone has not set up."""
        for node in self.nodes.values():
            if node.client != client:
                continue
            node.again = False
            if node.state in (OFFERED, UNWANTED):
                node.state, node.client = FREE, 0
            elif node.state == RESERVING:
                node.state, node.retry_at = RELEASING, None
                yield ToNode(node.info.incarnation, m.ReleaseNode(client))

    def _tell_waiting(self, first: int = 1) -> Iterator[Effect]:
        """Tell the clients that wait how many are before them, and who runs.  first: the first place that is told."""
        for position, waiting in enumerate(self.queue.values()):
            if position >= max(1, first) and waiting.absent_until is None:
                yield ToClient(waiting.process, m.Queued(waiting.client, position))

    def _client_wants_again(self, event: ClientWantsAgain, now: float) -> Iterator[Effect]:
        if event.client == self.current:
            for node in list(self.nodes.values()):
                if node.state == UNWANTED and not node.info.closed:
                    yield from self._offer(node)

    def _client_left(self, event: ClientLeft, now: float) -> Iterator[Effect]:
        if event.client not in self.queue:
            return
        place = list(self.queue).index(event.client)
        self._absent -= self.queue.pop(event.client).absent_until is not None
        self.queue_changes += 1
        self._left[event.client] = None
        if len(self._left) > LEFT_MAX:
            del self._left[next(iter(self._left))]
        if self.current == event.client:
            self.current = 0
            self.lost.clear()
            self.unknown.clear()
        for node in self.nodes.values():
            if node.client != event.client:
                continue
            node.retry_at, node.again = None, False
            if node.state in (OFFERED, UNWANTED):
                node.state, node.client = FREE, 0
            elif node.state in (HELD, RESERVING):
                node.state = RELEASING
                yield ToNode(node.info.incarnation, m.ReleaseNode(event.client))
        yield from self._next()
        yield from self._tell_waiting(place)

    def _process_lost(self, event: ProcessLost, now: float) -> Iterator[Effect]:
        if event.process in self.nodes:
            yield from self._node_lost(NodeLost(event.process, event.reason), now)
        # The last first: none of them is to get its turn in between.
        for client in [c for c in reversed(self.queue.values()) if c.process == event.process]:
            if client.orphan_s:
                yield from self._lost(client, now)
            else:
                yield from self._client_left(ClientLeft(client.client), now)

    def _next(self) -> Iterator[Effect]:
        if self.current or not self.queue:
            return
        self.current = next(iter(self.queue))
        if self._present():
            yield from self._begin()

    def _begin(self) -> Iterator[Effect]:
        """It is the current client's turn."""
        client = self.queue[self.current]
        yield ToClient(client.process, m.Scheduled(client.client))
        for node in list(self.nodes.values()):
            if node.state == FREE:
                yield from self._offer(node)
            elif node.state == HELD and node.client != self.current:
                yield from self._unusable(node.info, node.info.closed or TAKEN)

    def _time_passed(self, event: TimePassed, now: float) -> Iterator[Effect]:
        for client in [c for c in self.queue.values() if c.absent_until is not None and c.absent_until <= now]:
            yield from self._client_left(ClientLeft(client.client), now)
        while (at := self.next_deadline()) is not None and at <= now:
            yield from self._reserve(self.nodes[heapq.heappop(self._retries)[1]], now)

    _HANDLERS: ClassVar[dict[type, Callable[..., Iterator[Effect]]]] = {
        NodeReported: _node_reported,
        NodeLost: _node_lost,
        NodeAnswered: _node_answered,
        ClientAsked: _client_asked,
        ClientWanted: _client_wanted,
        ClientLeft: _client_left,
        ClientWantsAgain: _client_wants_again,
        ProcessLost: _process_lost,
        TimePassed: _time_passed,
    }


def _offers(info: NodeInfo) -> tuple[object, ...]:
    """What a client may want of a node."""
    return info.cpus, info.memory, info.disk, info.resources
