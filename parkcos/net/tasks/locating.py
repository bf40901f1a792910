"""Connecting to another process, and finding a task, channel or RPS by its name, there or in any.  Kernel thread."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from parkcos.errors import UsageError
from parkcos.kernel import operation
from parkcos.kernel.wait import Completion, seconds
from parkcos.net import wire
from parkcos.net.bounds import NAME_CHARS_MAX
from parkcos.net.finding.lookup import known
from parkcos.net.location import Location
from parkcos.net.payload import Buffer, loads
from parkcos.net.session.peer import CONNECTING, Peer
from parkcos.net.tasks.requests import must_be_encodable

if TYPE_CHECKING:
    from parkcos.net.network import Network

logger = logging.getLogger("parkcos")

LOCATE_AGAIN_S = 0.25
"""A search that found nothing asks again after this time, while its time-out lasts: names appear late."""
WAITING_LOG_S = 5.0


class Locating:
    """For a network."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @operation
    def find(self, kind: str, name: str, location: Location | None, timeout: float | None) -> Generator[Any, Any, Any]:
        """Ask one process, or all: the first that has it wins.  None when all say no and there is no time-out."""
        if not isinstance(name, str):
            raise UsageError(f"a {kind} is located by its name, a str, not by {name!r}")
        if len(name) > NAME_CHARS_MAX:
            raise UsageError(f"a {kind} is located by a name of at most {NAME_CHARS_MAX} characters, not {len(name)}")
        if location is not None and not isinstance(location, Location):
            raise UsageError(f"a {kind} is located at a Location, not at {location!r}\n  write: Location(host, port)")
        clock = self._network.kernel.clock
        end = None if timeout is None else clock() + timeout
        said = clock()
        if location is not None:
            if not (yield known(self._network, location, timeout_s=timeout)):
                return None
            if location == self._network.location:
                return self._network.kernel.names.get(kind, name)
        else:
            self._network.io.call(self._network.probe)
            if self._network.meet_neighbours is not None:
                yield self._network.meet_neighbours()
        while True:
            peers = self._whom_to_ask(location)
            left = None if end is None else max(0.0, end - clock())
            if peers:
                found = yield self._ask_all(kind, name, peers, left)
                if found is not None or end is None:
                    return found
            if end is not None and clock() >= end:
                return None
            yield self._network.pause(LOCATE_AGAIN_S if left is None else min(LOCATE_AGAIN_S, left))
            if clock() - said > WAITING_LOG_S:
                said = clock()
                where = location or "any peer; none is known yet" if not peers else location or "any peer"
                logger.warning("still looking for the %s %r at %s", kind, name, where)

    @operation
    def peer(self, location: Location, timeout: float | None, relay: bool) -> Generator[Any, Any, int]:
        """As `Network.peer`."""
        network = self._network
        limit, clock = seconds(timeout), network.kernel.clock
        end = None if limit is None else clock() + limit
        if not (yield known(network, location, timeout_s=limit)):
            logger.warning("cannot connect to %s: no name server has answered in time", location)
            return -1
        peer = network.hub.peer_at(location)
        left = None if end is None else max(0.0, end - clock())

        def convert(answer: wire.Answer) -> int:
            return 0

        def ask(number: int) -> tuple[wire.Message, Sequence[Buffer]]:
            return wire.WhoIs("", number), ()

        done: int = yield network.request("peer", lambda: peer, ask, left, -1, -1, convert)
        if done:
            reason = (peer.reason if peer is not None else "") or "no answer in time"
            level = logging.DEBUG if peer is not None and peer.reported else logging.WARNING
            logger.log(level, "cannot connect to %s: %s", location, reason)
        elif relay and peer is not None:
            network.relay.ask(peer.itself)
        return done

    @operation
    def locate(self, name: str, timeout: float | None) -> Generator[Any, Any, Location | None]:
        """As `Network.locate`."""
        network = self._network
        end = None if timeout is None else network.kernel.clock() + timeout
        while True:
            for peer in network.hub.peers():
                if peer.state is not CONNECTING and peer.name == name:
                    return peer.location
            if end is not None and network.kernel.clock() >= end:
                return None
            yield network.pause(LOCATE_AGAIN_S)

    def _whom_to_ask(self, location: Location | None) -> list[Peer]:
        if location is not None:
            peer = self._network.hub.peer_at(location)
            return [peer] if peer is not None else []
        return [p for p in self._network.hub.peers() if p.state is not CONNECTING]

    def _ask_all(self, kind: str, name: str, peers: list[Peer], left: float | None) -> Completion[Any]:
        numbers: list[int] = []

        def start(completion: Completion[Any]) -> None:
            waiting = len(peers)
            must_be_encodable(wire.Locate(kind, name, 0))

            def answered(answer: wire.Answer | None) -> None:
                nonlocal waiting
                waiting -= 1
                if answer is not None and answer.value > 0:
                    completion.set_result(loads(answer.form, answer.payload))
                elif not waiting:
                    completion.set_result(None)

            for peer in peers:
                number = self._network.requests.add(peer, answered)
                numbers.append(number)
                if not peer.post(wire.Locate(kind, name, number)):
                    self._network.requests.drop(number)
                    answered(None)

        def cancel() -> None:
            for number in numbers:
                self._network.requests.drop(number)

        return Completion(self._network.kernel, "locate", start, left, None, cancel)
