"""What all clients of a process share: where their messages come in, and the private scheduler if there is one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parkcos.client.identity import Identity, place_of
from parkcos.cluster.postbox import Postbox
from parkcos.errors import ConfigError, ScheduleError
from parkcos.kernel import operation
from parkcos.kernel.afterwards import Afterwards
from parkcos.net.finding.lookup import known
from parkcos.net.location import Location
from parkcos.net.network import Network
from parkcos.net.payload import Buffer
from parkcos.net.session.peer import CONNECTING, GONE, UP, Peer
from parkcos.scheduler.service import SchedulerService

if TYPE_CHECKING:
    from parkcos.client.shell import ClientShell

logger = logging.getLogger("parkcos")

FIND_SHARED_S = 1.5
"""The wait for a shared scheduler, or for a node, which knows whether there is one, before this program uses one of its
own.  Where there is neither it could run nothing, so the wait costs nothing.  A node that turns up later and belongs to
a shared scheduler still sends the client there."""
GREETING_S = 3.0
"""The time in which those that have answered say what they are: on a busy machine a handshake takes long."""
SCHEDULER_PORT = 9705
SAY_S = 5.0
DIAL_AGAIN_S = 0.5
"""A scheduler that was named and is not there is dialled again after this time: it may start later."""


@dataclass(frozen=True)
class Member:
    """A client, as what all clients of its process share knows it, and the others.

    Attributes:
        received: takes a message: who has sent it, the message, the form of its payload, that.
        process_gone: takes the number of a process, and the reason.
        lose_cluster: takes the reason why there will be no nodes any more.
        holding: takes the number of a scheduler; gives, if this client has the nodes of that one, what another that
            waits for them says of it, else "".
        give_way: ends the client if its program has left it, and it runs nothing.
    """

    shell: ClientShell
    received: Callable[[int, Any, int, Buffer], None]
    process_gone: Callable[[int, str], None]
    lose_cluster: Callable[[str], None]
    holding: Callable[[int], str]
    give_way: Callable[[], None]


class ClientSide:
    """One for each network: `ClientSide.of(network)`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.box = Postbox.of(network)
        self.box.serve("client", self._received, any_thread=True)
        self.clients: dict[int, Member] = {}
        self.scheduler: SchedulerService | None = None
        self.uses_own = False
        """The program wants its own scheduler; else that only finds out whether there is a shared one."""
        self.identities: dict[int, tuple[int, int]] = {}
        """The files of the identities of its clients, by client: `place_of`."""
        self.lock = threading.Lock()
        self.contacts: dict[Location, None] = {}
        self.failures: dict[object, str] = {}
        """Why a local cluster cannot be used, by the cluster, until that is closed."""
        self.afterwards = Afterwards()
        self.wants_servers: set[Callable[[], object]] = set()
        """Called in the kernel thread when a client has a server more."""
        network.hub.callbacks.gone.append(self._peer_gone)

    @classmethod
    def of(cls, network: Network) -> ClientSide:
        """The client side of this network."""
        side: ClientSide | None = network.extensions.get(cls)
        if side is None:
            side = network.extensions[cls] = cls(network)
        return side

    def take_identity(self, path: Path) -> Identity:
        """Open the identity of one of the clients, for that alone.  Raises: ConfigError."""
        if (place := place_of(path)) is not None and place in self.identities.values():
            raise ConfigError(f"the identity {path} is in use by another client of this program: give each its own")
        identity = Identity(path)
        self.identities[identity.key.number] = place_of(path) or (0, 0)
        return identity

    def private_scheduler(self, contacts: Iterable[Location] = ()) -> SchedulerService:
        """The scheduler of this program, which its clients are to use.  contacts: as for `start_scheduler`."""
        self.uses_own = True
        return self.start_scheduler(contacts)

    def start_scheduler(self, contacts: Iterable[Location]) -> SchedulerService:
        """The scheduler of this program, started if there is none, whether its clients will use it or not.

        contacts: nodes to dial; those whose names were not looked up yet, when they are.
        """
        with self.lock:
            scheduler = self.scheduler
            if scheduler is None:
                scheduler = self.scheduler = SchedulerService(self.network, self.contacts)
                scheduler.start()
        named = list(contacts)
        scheduler.add_contacts(location for location in named if location.is_known)
        for location in named:
            if not location.is_known:
                self.network.io.start_thread(partial(_look_up_contact, scheduler, location), "parkcos-lookup")
        return scheduler

    def add_contact(self, location: Location) -> None:
        """A node that the private scheduler of this program is to use (a local cluster's)."""
        self.contacts[location] = None
        if self.scheduler is not None:
            self.scheduler.add_contacts([location])

    def drop_contact(self, location: Location) -> None:
        """The node is not there any more."""
        self.contacts.pop(location, None)
        if self.scheduler is not None:
            self.scheduler.drop_contact(location)

    def not_reached(self) -> list[tuple[Location, str]]:
        """The named nodes that the private scheduler has not reached, and why.  I/O thread."""
        return self.scheduler.not_reached() if self.scheduler is not None else []

    def cluster_failed(self, cluster: object, reason: str) -> None:
        """A local cluster cannot be used, or not any more: who schedules is told, and who waits, if for nobody else.

        I/O thread."""
        logger.error("%s", reason)
        self.failures[cluster] = reason
        self.lose_cluster(reason)

    def lose_cluster(self, reason: str, only: int = 0) -> None:
        """A local cluster is gone: if that was the last place that may have nodes, all clients have lost theirs.

        Args:
            only: the client that is told; 0: all are.
        """
        if not self.contacts and not self.network.options.discover:
            for number, client in list(self.clients.items()):
                if only in (0, number):
                    client.lose_cluster(reason)

    # -- finding a scheduler (kernel thread)

    @operation
    def find_scheduler(
        self, location: Location | str | None, contacts: list[Location], end: float | None, wanted: Callable[[], bool]
    ) -> Generator[Any, Any, int]:
        """The incarnation of the scheduler to use; 0 if the time was over, or the client does not want it any more.

        Raises: ScheduleError if there is another program at `location`.
        """
        if location is not None:
            if not isinstance(location, Location):
                location = Location(location, SCHEDULER_PORT)
            left = None if end is None else max(0.0, end - self.network.kernel.clock())
            if not (yield known(self.network, location, timeout_s=left)):
                return 0
            found: int = yield self.at(location, end, wanted)
            return found
        for reason in list(self.failures.values()):
            raise ScheduleError(reason)
        scheduler = self.start_scheduler(contacts)
        if self.uses_own or self.contacts:
            return self.network.incarnation
        discover = self.network.options.discover
        if discover:
            self.network.look_for(("scheduler",))
        clock = self.network.kernel.clock
        asked = clock()
        while wanted() and (waited := clock() - asked) < GREETING_S:
            peer = self._shared()
            if peer is not None:
                logger.info("using the shared scheduler at %s", peer.location)
                return peer.incarnation
            if not discover:  # there is none that this program was told of, by `yield Parkcos().peer(...)`
                break
            nodes = list(scheduler.machine.nodes.values())
            shared = next((n.info.scheduler for n in nodes if n.info.scheduler), "")
            if shared:
                self.network.hub.peer_at(Location.parse(shared))  # the nodes belong to it: it must be there
            elif nodes or (waited > FIND_SHARED_S and not self._greeting()):
                break
            yield self.network.pause(0.005)
        return self.network.incarnation

    def _greeting(self) -> bool:
        return any(p.state is CONNECTING for p in self.network.hub.peers())

    def _shared(self) -> Peer | None:
        return next((p for p in self.network.hub.peers() if p.state is UP and "scheduler" in p.roles), None)

    @operation
    def at(
        self, location: Location, end: float | None, wanted: Callable[[], bool] = lambda: True
    ) -> Generator[Any, Any, int]:
        """The incarnation of the scheduler there; 0, and what it raises, as of `find_scheduler`."""
        clock = self.network.kernel.clock
        said = dialled = clock()
        peer = self.network.hub.peer_at(location)
        reason = ""
        while wanted() and (end is None or clock() < end):
            peer = peer.merged or peer if peer is not None else None
            if peer is not None and peer.state is UP:
                if "scheduler" not in peer.roles:
                    raise ScheduleError(f"{peer!r} is no scheduler: start one there with  parkcos.py --daemon")
                return peer.incarnation
            if peer is not None and peer.reason:
                reason = f" ({peer.reason})"
            if (peer is None or peer.state is GONE) and clock() - dialled > DIAL_AGAIN_S:
                dialled = clock()
                peer = self.network.hub.peer_at(location)
            yield self.network.pause(0.02)
            if clock() - said > SAY_S:
                said = clock()
                logger.warning(
                    "no scheduler answers at %s%s; start one there with  parkcos.py --daemon", location, reason
                )
        return 0

    # -- messages (I/O thread)

    def _received(self, process: int, message: Any, form: int, payload: Buffer) -> None:
        client = self.clients.get(message.client)
        if client is not None:
            client.received(process, message, form, payload)

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        for client in list(self.clients.values()):
            client.process_gone(peer.incarnation, reason)


def _look_up_contact(scheduler: SchedulerService, location: Location) -> None:
    """In a thread of its own."""
    try:
        location.look_up()
    except ConfigError as error:
        logger.error("%s; the node there is not dialled", error)
    else:
        scheduler.add_contacts([location])
