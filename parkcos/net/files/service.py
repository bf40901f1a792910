"""Files between processes: the shell around the machines of file_transfer.py.

Disks are touched in worker threads only, one order after the other for each file; all else happens in the I/O thread,
except `send` and `delete`, which make what a task yields.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from parkcos.errors import UsageError
from parkcos.kernel.wait import Completion, seconds
from parkcos.net import wire
from parkcos.net.files import messages as m
from parkcos.net.files import transfer as ft
from parkcos.net.files.disk import Folder, delete, in_words
from parkcos.net.files.own import OwnFolder, default_dest_path
from parkcos.net.files.receiving import Incoming
from parkcos.net.files.rules import check_name, folders_of
from parkcos.net.files.sending import Deleting, Outgoing, now_known_as
from parkcos.net.finding.lookup import known
from parkcos.net.location import Location
from parkcos.net.payload import RAW
from parkcos.net.session.peer import GONE, UP, Peer
from parkcos.net.workers import Workers

if TYPE_CHECKING:
    from parkcos.net.network import Network

logger = logging.getLogger("parkcos")

WORKERS = 4
SENT_AT_ONCE = 2
"""Files to one process; the others wait, so that their windows together do not delay messages."""
RECEIVED_AT_ONCE = 64
"""Files of one process; more are refused, so that it cannot use up this one's file descriptors."""
LOOK_AGAIN_S = 5.0
IDLE_S = 600.0
"""A sender that is there, and says nothing for so long, has forgotten its file."""
CLOSE_S = 5.0
"""For disks to finish what they do when the network ends."""
SWEEP_AGAIN_S = 3600.0
SWEPT_MAX = 1000

PathLike = str | os.PathLike[str]


class Files:
    """The files that one network sends and receives.

    Args:
        dest_path: received files lie below it; None: a folder of the user's own.
        max_file_size: of received files, in bytes; None or 0: no bound.
    """

    def __init__(self, network: Network, dest_path: Path | None, max_file_size: int | None) -> None:
        self.network = network
        self.io = network.io
        self._dest_path = dest_path.absolute() if dest_path is not None else None
        self.max_file_size = max_file_size
        self.disk_reserve: int | None = None
        """Bytes that stay free on the disk when files come; None: see `disk.free_bytes`."""
        self.workers = Workers(network.io, WORKERS, "parkcos-files")
        self.outgoing: dict[int, Outgoing | Deleting] = {}
        self.incoming: dict[tuple[int, int], Incoming] = {}
        """By the sender's incarnation and number."""
        self.targets: set[tuple[int, int, str]] = set()
        """Device and inode of the folder, and the name, of what is being received."""
        self.on_received: Callable[[Peer, PurePosixPath], None] | None = None
        """I/O thread: told of each file that has come, or was there already: from whom, and where below dest_path."""
        self.places: dict[str, Callable[[Peer], Path]] = {}
        """I/O thread: where the folders of these names lie that are not below dest_path, if this process may write
        there; they are there.  Raise: Refused."""
        self._numbers = itertools.count(1)
        self._queued: dict[Location, deque[Outgoing]] = {}
        self._active: Counter[Location] = Counter()
        self._swept: dict[tuple[int, int], float] = {}
        self._watching = False
        self.closed = False
        network.services[m.SERVICE] = self._received
        network.hub.callbacks.gone.append(self._peer_gone)

    def now(self) -> float:
        """In seconds; for differences."""
        return self.io.loop.time()

    # -- for tasks

    def send(
        self, location: Location, file: PathLike, folder: PathLike | None, overwrite: bool, timeout: float | None
    ) -> Completion[int]:
        """Send a file.  Yield it: 0, or -1 and a line in the log.  Raises: UsageError."""
        _check_location("send_file", location)
        path, there = _as_path("send_file", file).absolute(), _as_folder("send_file", folder)
        return self._completion(
            "send_file",
            location,
            timeout,
            lambda done: Outgoing(self, location, path, path.name, there, overwrite, partial(_sent, done)),
        )

    def send_open(
        self, peer: Peer, file: int, name: str, folder: str, done: Callable[[Outgoing, bool, str], object]
    ) -> None:
        """I/O thread: send what a descriptor has, for who is told how that ends: see `Outgoing`."""
        Outgoing(self, peer, file, name, folder, True, done).begin()

    def delete(
        self, location: Location, file: PathLike, folder: PathLike | None, timeout: float | None
    ) -> Completion[int]:
        """Delete a file there.  Yield it: 0, or -1 and a line in the log.  Raises: UsageError."""
        _check_location("del_file", location)
        name, there = _as_path("del_file", file).name, _as_folder("del_file", folder)
        return self._completion("del_file", location, timeout, lambda done: Deleting(self, location, name, there, done))

    def _completion(
        self,
        what: str,
        location: Location,
        timeout: float | None,
        make: Callable[[Completion[int]], Outgoing | Deleting],
    ) -> Completion[int]:
        limit_s = seconds(timeout)
        clock = self.network.kernel.clock
        began = clock()
        made: list[Outgoing | Deleting] = []

        def start(completion: Completion[int]) -> None:
            nonlocal began
            began = clock()
            made.append(make(completion))

            def begin(_: bool | None, error: BaseException | None) -> None:
                if error is None:
                    self.io.call(made[0].begin)
                else:
                    completion.set_exception(error)

            known(self.network, location).tell(begin)

        def cancel() -> None:
            late = limit_s is not None and clock() - began >= limit_s
            reason = f"it took longer than {limit_s:g} s" if late else f"the task that waited for {what} was ended"
            self.io.call(made[0].give_up, reason)

        return Completion(self.network.kernel, what, start, limit_s, -1, cancel)

    # -- what comes in

    def _received(self, peer: Peer, service: wire.Service) -> None:
        """In whichever thread read it."""
        try:
            message = m.decode(service.body)
        except msgspec.MsgspecError as error:
            self.network.hub.refusals.message(peer, "sent what is no message about a file", error)
            return
        self.io.call(self._handle, peer, message, service.payload)  # in the I/O thread, too: the order is kept so

    def _handle(self, peer: Peer, message: m.ToReceiver | m.ToSender, data: ft.Bytes) -> None:
        key = (peer.incarnation, message.transfer)
        match message:
            case m.AskDigest() | m.Accept() | m.Have() | m.Written() | m.Done() | m.Failed():
                outgoing = self.outgoing.get(message.transfer)
                if outgoing is not None and outgoing.is_with(peer):
                    outgoing.handle(message)
            case m.Offer():
                self._offered(peer, message)
            case m.Delete():
                self._delete(peer, message)
            case m.Chunk():
                if key in self.incoming:  # what is still on its way of one that has failed goes nowhere
                    self.incoming[key].handle(ft.ChunkRead(message.offset, data))
            case _:
                if key in self.incoming:
                    self.incoming[key].handle(message)

    def _offered(self, peer: Peer, offer: m.Offer) -> None:
        if peer.state is GONE or self.closed:
            return
        if (peer.incarnation, offer.transfer) in self.incoming:
            logger.warning("%r offers two files under one number", peer)
            return
        if sum(process == peer.incarnation for process, _ in self.incoming) >= RECEIVED_AT_ONCE:
            self.post(peer, m.Failed(offer.transfer, f"more than {RECEIVED_AT_ONCE} files at once"))
            return
        for other in list(self.incoming.values()):
            same = (other.offer.folder, other.offer.name) == (offer.folder, offer.name)
            if same and other.peer.state is not UP and not other.is_closing:  # its sender may have been started again
                other.handle(ft.Trouble("its sender is not reached any more, and another one offers the file"))
        incoming = self.incoming[peer.incarnation, offer.transfer] = Incoming(self, peer, offer)
        self.watch()
        incoming.begin()

    def closing(self, incoming: Incoming) -> Incoming | None:
        """The last transfer of a file of the same name that is over, and whose file is not closed yet."""
        offer = incoming.offer
        same = [
            other
            for other in self.incoming.values()
            if other.is_closing and (other.offer.folder, other.offer.name) == (offer.folder, offer.name)
        ]
        return same[-1] if same else None

    def _delete(self, peer: Peer, message: m.Delete) -> None:
        def work() -> None:
            delete(self.prepared(), folders_of(message.folder), check_name(message.name))

        def tell(_: None, error: BaseException | None) -> None:
            if error is None:
                self.post(peer, m.Done(message.transfer))
                return
            reason = in_words(error)
            logger.warning("%r may not delete the file %r in %r: %s", peer, message.name, message.folder, reason)
            self.post(peer, m.Failed(message.transfer, m.clipped(reason)))

        if not self.closed:
            self.workers.run(work, (), tell)

    def _peer_gone(self, peer: Peer, reason: str) -> None:
        """After what came of it before has been handled: it may have said that all is done, and ended."""
        for outgoing in list(self.outgoing.values()):
            if outgoing.is_with(peer):
                outgoing.handle(ft.PeerGone(f"the process is gone: {reason}"))
        for (process, _), incoming in list(self.incoming.items()):
            if process == peer.incarnation:
                incoming.handle(ft.PeerGone(f"its sender is gone: {reason}"))

    def post(self, peer: Peer, message: m.FileMessage, data: ft.Bytes = b"") -> bool:
        """Send a message."""
        return self.network.post_service(now_known_as(peer), m.SERVICE, m.encode(message), RAW, (data,) if data else ())

    # -- the order of what is sent

    def enqueue(self, outgoing: Outgoing) -> None:
        """Begin with this one when fewer than SENT_AT_ONCE go to that process."""
        queue = self._queued.setdefault(outgoing.location, deque())
        queue.append(outgoing)
        self.next(outgoing.location)

    def next(self, location: Location, ended: int = 0) -> None:
        """Begin with what waits, if there is room.  ended: so many have made room."""
        self._active[location] -= ended
        queue = self._queued.get(location, ())
        while queue and self._active[location] < SENT_AT_ONCE:
            self._active[location] += 1
            queue.popleft().open()
        if not queue:
            self._queued.pop(location, None)
        if not self._active[location]:
            del self._active[location]

    def number(self) -> int:
        """For a new transfer."""
        return next(self._numbers)

    # -- time

    def watch(self) -> None:
        """Look from time to time whether things go on."""
        if not self._watching:
            self._watching = True
            self.io.loop.call_later(LOOK_AGAIN_S, self._look)

    def _look(self) -> None:
        self._watching = False
        for outgoing in list(self.outgoing.values()):
            outgoing.look()
        for incoming in list(self.incoming.values()):
            if self.now() - incoming.heard_at > IDLE_S:
                incoming.handle(ft.Trouble(f"nothing came for {IDLE_S:.0f} s"))
        if (self.outgoing or self.incoming) and not self.closed:
            self.watch()

    @property
    def dest_path(self) -> Path:
        """Received files lie below it; it may not be there yet."""
        return self._dest_path or default_dest_path()

    @dest_path.setter
    def dest_path(self, folder: Path) -> None:
        """From now on files that come lie below `folder`, which is there."""
        self._dest_path = folder.absolute()

    def prepared(self) -> Path:
        """Worker thread: dest_path, and if it is the default, it is there.  Raises: Refused, OSError."""
        if self._dest_path is not None:
            return self._dest_path
        folder = default_dest_path()
        OwnFolder(folder.parent.parent, folder.parent.name, folder.name).close()
        return folder

    def end_incoming(self, folder: str, reason: str) -> None:
        """Receive no more of the files for this folder, of which nobody will have any use."""
        for incoming in list(self.incoming.values()):
            if incoming.offer.folder == folder:
                incoming.handle(ft.Trouble(reason, keep=False))

    def sweep(self, folder: Folder) -> None:
        """Worker thread: remove the partial files here that nobody will resume, if that was not done just now."""
        now = self.now()
        if now - self._swept.get(folder.id, -SWEEP_AGAIN_S) >= SWEEP_AGAIN_S:
            if len(self._swept) >= SWEPT_MAX:
                self._swept.clear()
            self._swept[folder.id] = now
            folder.remove_stale()

    async def close(self) -> None:
        """The network ends: so do all transfers.  What is there of files stays for resuming."""
        for outgoing in list(self.outgoing.values()):
            outgoing.give_up("this process ends")
        for incoming in list(self.incoming.values()):
            incoming.handle(ft.Trouble("the receiver ends"))
        self.closed = True
        await self.workers.close(CLOSE_S)


def _sent(completion: Completion[int], outgoing: Outgoing, ok: bool, reason: str) -> None:
    if not ok:
        logger.warning("the file %s was not sent to %s: %s", outgoing, outgoing.whom, reason)
    completion.set_result(0 if ok else -1)


def _check_location(what: str, location: object) -> None:
    if not isinstance(location, Location):
        raise UsageError(f"{what}() wants a Location, not {location!r}\n  write: yield x.{what}(rtask.location, path)")


def _as_path(what: str, file: object) -> Path:
    if not isinstance(file, str | os.PathLike) or not isinstance(os.fspath(file), str) or not os.fspath(file):
        raise UsageError(f"{what}() wants a file's path, a str or Path, not {file!r}")
    return Path(file)


def _as_folder(what: str, folder: object) -> str:
    """A relative path with slashes, "" for none."""
    if folder is None:
        return ""
    if not isinstance(folder, str | os.PathLike) or not isinstance(os.fspath(folder), str):
        raise UsageError(f"{what}() wants dir=, a relative path below the receiver's dest_path, not {folder!r}")
    path = PurePath(folder).as_posix()
    return "" if path == "." else path
