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

import msgspec

from parkcos.client import dispatch_events as d
from parkcos.client.dispatch import Dispatch
from parkcos.client.records import ENDING, READY
from parkcos.client.shelf import BYTES_MAX, Drop, Order, Release, Send, Shelf
from parkcos.client.submission import Submission
from parkcos.cluster.blobs import Blob
from parkcos.cluster.definitions import SHARED, Definition
from parkcos.cluster.shared import FOLDER, InFile, Shared, make_file, size_in_words
from parkcos.cluster.shipping import Shipper
from parkcos.errors import ShippingError, UsageError
from parkcos.net.network import Network

DROPPED_AT_ONCE = 1000
"""Digests in one message."""
LARGE_BYTES = 256 * 1024
"""The blob of a definition from which on it travels once to each node, as a file, and not to each of its servers."""

_OF_TASKS = frozenset((d.Submitted, d.CancelAsked, d.Started, d.Refused, d.Ended, d.Judged, d.Recalled))
"""Events that end no server."""


class Sharing:
    """One for each client.

    Args:
        machine, submissions, lock: the client's.
        known: the digests of the definitions that each server has.
        network: gives the client's.
        handle: tells the machine a fact.
        send: sends a task to a server.
        drop: tells a process, the "node" or a "server", to keep the objects with these digests no longer.
    """

    def __init__(
        self,
        machine: Dispatch,
        submissions: Mapping[int, Submission],
        known: Mapping[int, Mapping[tuple[int, str, str], bytes]],
        lock: contextlib.AbstractContextManager[Any],
        network: Callable[[], Network],
        handle: Callable[[d.Event], None],
        send: Callable[[int, int], None],
        drop: Callable[[int, str, list[str]], object],
    ) -> None:
        self._machine = machine
        self._submissions = submissions
        self._known = known
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
        self._large: dict[tuple[int, str, str], tuple[bytes, InFile]] = {}
        """By space and the names of globals, what they were last: the digest of the definition, and its file."""
        self._not_filed: set[tuple[int, str]] = set()
        """Nodes and files of definitions that could not be brought there."""

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

    def file_large(
        self, definitions: Sequence[Definition], bundled: Mapping[tuple[str, str], bytes], space: int = 0
    ) -> bool:
        """Write large definitions that a call needs into files, without the client's lock.

        bundled: the digests of those that all nodes have from the beginning.
        Returns: whether there are any.  One that finds no room here travels as others do.
        """
        found = False
        for each in definitions:
            if len(each.blob) < LARGE_BYTES:
                continue
            if not space and bundled.get((each.module, each.name)) == each.digest:
                continue
            key = space, each.module, each.name
            found = True
            if key not in self._large or self._large[key][0] != each.digest:
                kind = f"global {each.name}"
                with contextlib.suppress(ShippingError):
                    self._large[key] = each.digest, InFile(kind, make_file(kind, Blob(each.blob, ())))
        return found

    # -- nodes

    def node_begins(self, node: int) -> None:
        """It is set up, and has nothing yet."""
        self._shelves[node] = Shelf(self.bytes_max, partial(self._tasks_at, node))
        self._not_filed = {each for each in self._not_filed if each[0] != node}

    def keep_only(self, nodes: Collection[int]) -> None:
        """The others are gone."""
        for node in self._shelves.keys() - set(nodes):
            del self._shelves[node]
        self._not_filed = {each for each in self._not_filed if each[0] in nodes}

    def drop_spaces(self, numbers: Collection[int]) -> None:
        """Nothing will be run in them any more.  While nothing is packed."""
        for key in [key for key in self._large if key[0] in numbers]:
            del self._large[key]

    def close(self) -> None:
        """The client has ended."""
        self._large.clear()
        self._shelves.clear()

    def _tasks_at(self, node: int) -> Iterator[tuple[int, list[str]]]:
        for number, submission in self._submissions.items():
            server = self._machine.servers.get(submission.server) if submission.files else None
            if server is not None and server.node == node:
                yield number, [each.digest for each in submission.files]

    # -- tasks

    def run(self, task: int, at: int) -> None:
        """Send a task that needs files to a server, now or when they are at its node."""
        node, submission = self._machine.servers[at].node, self._submissions[task]
        files: dict[str, InFile] = {each.digest: each for each in submission.shared}
        for each in submission.definitions if submission.large else ():
            file = self._file_of(each, submission.space)
            if file is not None and self._known[at].get((submission.space, each.module, each.name)) != each.digest:
                room = self.bytes_max - sum(each.size for each in files.values())
                if (node, file.digest) not in self._not_filed and file.size <= room:
                    files[file.digest] = file
        submission.files = tuple(files.values())
        self.held[task] = at
        if files:
            self._obey(node, self._shelves[node].ask(task, {digest: file.size for digest, file in files.items()}))
        else:
            self._begin(task)

    def _file_of(self, definition: Definition, space: int) -> InFile | None:
        digest, file = self._large.get((space, definition.module, definition.name), (b"", None))
        return file if digest == definition.digest else None

    def without_blobs(
        self, definitions: Sequence[Definition], files: Sequence[InFile], space: int = 0
    ) -> list[Definition]:
        """Definitions as they are sent to a server at whose node these files are."""
        out = []
        for each in definitions:
            file = self._file_of(each, space)
            out.append(msgspec.structs.replace(each, blob=b"", file=file.digest) if file and file in files else each)
        return out

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
        for node, shelf in list(self._shelves.items()):
            if shelf.blocked:  # a task may have left
                self._obey(node, shelf.room())

    def _forget(self, task: int) -> None:
        node = self._machine.servers[self.held.pop(task)].node
        self._shelves[node].forget(task)
        self._obey(node, self._shelves[node].room())

    def _begin(self, task: int, reason: str = "", failed: str = "") -> None:
        """What it needs is at its node; or this cannot be brought there, for this reason."""
        at = self.held.pop(task)
        number = self._machine.servers[at].node
        node = self._machine.nodes.get(number)
        if not reason or node is None or node.state != READY:  # a server that is being closed gives it back
            self._send_task(task, at)
        elif any(each.digest == failed for each in self._submissions[task].shared):
            self._handle(d.Refused(task, reason, at))
        else:  # a definition, which then travels as others do
            self._not_filed.add((number, failed))
            self.run(task, at)

    # -- what is to be done

    def _obey(self, node: int, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case Send(digest):
                    self._network().io.call(self._send, node, self._shelves[node], self._file(digest))
                case Drop(digests):
                    servers = [number for number, server in self._machine.servers.items() if server.node == node]
                    for start in range(0, len(digests), DROPPED_AT_ONCE):
                        some = digests[start : start + DROPPED_AT_ONCE]
                        self._drop(node, "node", some)
                        for server in servers:
                            self._drop(server, "server", some)
                case Release(task, reason, failed):
                    self._begin(task, reason, failed)

    def _file(self, digest: str) -> InFile:
        """One for which a task waits."""
        waiting = (each for task in self.held for each in self._submissions[task].files)
        return next(each for each in waiting if each.digest == digest)

    def _send(self, node: int, shelf: Shelf, file: InFile) -> None:
        """I/O thread."""

        def done(_: Any, ok: bool, reason: str) -> None:  # until then, `file` is not closed
            why = f"the {file} that is shared cannot be brought to its node: {reason}"
            with self._lock:
                if self._shelves.get(node) is shelf:  # else it was set up again
                    self._obey(node, shelf.arrived(file.digest) if ok else shelf.failed(file.digest, why))

        network = self._network()
        peer = network.hub.by_incarnation.get(node)
        if peer is None:  # as is about to be said
            done(None, False, "that is gone")
        else:
            network.files.send_open(peer, file.fileno(), file.digest, FOLDER, done)
