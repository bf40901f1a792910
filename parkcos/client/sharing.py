"""What a client shares with its tasks, and what its nodes have of it: the shell around shelf.py.

A task that is given to a server is held back here until what it needs is at the server's node; for the dispatch
machine it is at that server from the beginning.  All calls are made with the client's lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from parkcos.client import dispatch_events as d
from parkcos.client.dispatch import Dispatch
from parkcos.client.records import ENDING, READY
from parkcos.client.shelf import BYTES_MAX, Drop, Order, Release, Send, Shelf
from parkcos.client.submission import Submission
from parkcos.cluster.shared import FOLDER, Shared, size_in_words
from parkcos.cluster.shipping import SHARED, Definition, Shipper
from parkcos.errors import UsageError
from parkcos.net.network import Network

DROPPED_AT_ONCE = 1000
"""Digests in one message."""

_OF_TASKS = frozenset((d.Submitted, d.CancelAsked, d.Started, d.Refused, d.Ended, d.Judged, d.Recalled))
"""Events that end no server."""


class Sharing:
    """One for each client.

    Args:
        machine, submissions, lock: the client's.
        network: gives the client's.
        handle: tells the machine a fact.
        send: sends a task to a server.
        drop: tells a process, the "node" or a "server", to keep the objects with these digests no longer.
    """

    def __init__(
        self,
        machine: Dispatch,
        submissions: Mapping[int, Submission],
        lock: contextlib.AbstractContextManager[Any],
        network: Callable[[], Network],
        handle: Callable[[d.Event], None],
        send: Callable[[int, int], None],
        drop: Callable[[int, str, list[str]], object],
    ) -> None:
        self._machine = machine
        self._submissions = submissions
        self._lock = lock
        self._network = network
        self._handle = handle
        self._send_task = send
        self._drop = drop
        self.bytes_max = BYTES_MAX
        """Of shared objects at each node."""
        self.held: dict[int, int] = {}
        """The server of each task that is held back."""
        self._objects: WeakValueDictionary[str, Shared] = WeakValueDictionary()
        self._shelves: dict[int, Shelf] = {}

    def share(self, shipper: Shipper, obj: Any) -> Shared:
        """As `Client.share`."""
        made = shipper.share(obj, self.bytes_max)
        return self._objects.setdefault(made.digest, made)

    def needed(self, definitions: Sequence[Definition]) -> tuple[Shared, ...]:
        """The shared objects among what a call needs.  Raises: UsageError if a node cannot have them together."""
        needed = tuple(self._objects[each.name] for each in definitions if each.kind == SHARED)
        if len(needed) > 1 and (size := sum(each.size for each in needed)) > self.bytes_max:
            raise UsageError(
                f"a task needs {len(needed)} shared objects, {size_in_words(size)} together, and a node keeps "
                f"{size_in_words(self.bytes_max)} of them (shared_bytes_max): give it less at a time"
            )
        return needed

    # -- nodes

    def node_begins(self, node: int) -> None:
        """It is set up, and has nothing yet."""
        self._shelves[node] = Shelf(self.bytes_max, partial(self._tasks_at, node))

    def keep_only(self, nodes: Collection[int]) -> None:
        """The others are gone."""
        for node in self._shelves.keys() - set(nodes):
            del self._shelves[node]

    def _tasks_at(self, node: int) -> Iterator[tuple[int, list[str]]]:
        for number, submission in self._submissions.items():
            server = self._machine.servers.get(submission.server) if submission.shared else None
            if server is not None and server.node == node:
                yield number, [each.digest for each in submission.shared]

    # -- tasks

    def run(self, task: int, at: int) -> None:
        """Send a task that needs shared objects to a server, now or when they are there."""
        node, needed = self._machine.servers[at].node, self._submissions[task].shared
        orders = self._shelves[node].ask(task, {each.digest: each.size for each in needed})
        self.held[task] = at
        self._obey(node, orders)

    def take_back(self, event: d.Recalled | d.Refused) -> bool:
        """A task is wanted back, or is to end.

        Returns: whether it is held back, and so is not at its server; that, `event`, is told to the machine soon.
        """
        if self.held.get(event.task) != event.server:
            return False
        self._forget(event.task)
        self._network().io.call(self._handle, event)
        return True

    def handled(self, event: d.Event) -> None:
        """The machine was told this, while tasks are held back."""
        if type(event) not in _OF_TASKS:
            for task, at in list(self.held.items()):
                submission, server = self._submissions.get(task), self._machine.servers.get(at)
                if submission is None or submission.server != at:
                    del self.held[task]
                elif server is not None and server.state == ENDING:  # it was not sent there: it runs elsewhere
                    self._forget(task)
                    self._handle(d.Recalled(task, True, at))
        for node, shelf in self._shelves.items():
            if shelf.blocked:  # a task may have left
                self._obey(node, shelf.room())

    def _forget(self, task: int) -> None:
        node = self._machine.servers[self.held.pop(task)].node
        self._shelves[node].forget(task)
        self._obey(node, self._shelves[node].room())

    def _begin(self, task: int, reason: str) -> None:
        """What it needs is at its node; or it cannot be, for this reason."""
        at = self.held.pop(task)
        node = self._machine.nodes.get(self._machine.servers[at].node)
        if reason and node is not None and node.state == READY:
            self._handle(d.Refused(task, reason, at))
        else:  # a server that is being closed gives it back
            self._send_task(task, at)

    # -- what is to be done

    def _obey(self, node: int, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case Send(digest):
                    self._network().io.call(self._send, node, self._shelves[node], digest, self._objects.get(digest))
                case Drop(digests):
                    servers = [number for number, server in self._machine.servers.items() if server.node == node]
                    for start in range(0, len(digests), DROPPED_AT_ONCE):
                        some = digests[start : start + DROPPED_AT_ONCE]
                        self._drop(node, "node", some)
                        for server in servers:
                            self._drop(server, "server", some)
                case Release(task, reason):
                    self._begin(task, reason)

    def _send(self, node: int, shelf: Shelf, digest: str, shared: Shared | None) -> None:
        """I/O thread."""

        def done(_: Any, ok: bool, reason: str) -> None:  # until then, `shared` is not closed
            why = f"the shared {shared} cannot be brought to its node: {reason}"
            self._sent(node, shelf, digest, "" if ok else why)

        network = self._network()
        peer = network.hub.by_incarnation.get(node)
        if shared is None or peer is None:  # nobody waits for it any more; or it is about to be said that it is gone
            done(None, False, "it is gone")
        else:
            network.files.send_open(peer, shared.fileno(), digest, FOLDER, done)

    def _sent(self, node: int, shelf: Shelf, digest: str, reason: str) -> None:
        with self._lock:
            if self._shelves.get(node) is shelf:  # else it was set up again
                self._obey(node, shelf.failed(digest, reason) if reason else shelf.arrived(digest))
