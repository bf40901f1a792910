"""Files on their way from this process, and the deleting of files elsewhere.  I/O thread only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parkcos.kernel.wait import Completion
from parkcos.net.files import messages as m
from parkcos.net.files import transfer as ft
from parkcos.net.files.disk import Source, Stop, in_words, leaves_rest
from parkcos.net.files.rules import Refused, check_name, folders_of, printable
from parkcos.net.location import Location
from parkcos.net.session.peer import Peer
from parkcos.net.workers import Lane

if TYPE_CHECKING:
    from parkcos.net.files.service import Files

logger = logging.getLogger("parkcos")

WAITS_FOR = {
    "offered": "the receiver has not answered",
    "hashing": "it is being compared",
    "sending": "the receiver has not written more",
    "finishing": "it is being read",
    "ended": "the receiver has not given it its name",
}


def now_known_as(peer: Peer) -> Peer:
    """The same process, if it turned out to be one that was known under another address."""
    while peer.merged is not None:
        peer = peer.merged
    return peer


class Outgoing:
    """A file that is being sent.

    Args:
        to: a process, or where one is.
        source: a path, or the descriptor of a file that stays open until `done` is called.
        name: of the file there.
        done: called with this object, whether the file has arrived, and if not, why.
    """

    def __init__(
        self,
        files: Files,
        to: Location | Peer,
        source: Path | int,
        name: str,
        folder: str,
        overwrite: bool,
        done: Callable[[Outgoing, bool, str], object],
    ) -> None:
        self.files = files
        self.to = to
        self.location = to.location if isinstance(to, Peer) else to
        self.name = name
        self.folder = folder
        self.overwrite = overwrite
        self.opened = False
        self.number = files.number()
        self.peer: Peer | None = None
        self.machine: ft.Sender | None = None
        self._done = done
        self._from = source
        self._lane = Lane(files.workers)
        self._source: Source | None = None
        self._stop: Stop | None = None
        self._over = False
        self._seen = ("", 0)

    def __str__(self) -> str:
        return repr(self.name if isinstance(self._from, int) else str(self._from))

    @property
    def whom(self) -> Peer | Location:
        """To whom it goes, for the log."""
        return self.peer or self.location

    def is_with(self, peer: Peer) -> bool:
        """Whether it goes to this process."""
        return self.peer is not None and now_known_as(self.peer) is peer

    def begin(self) -> None:
        """Wait for its turn."""
        if self._over:
            return
        if self.files.closed:
            self._end(False, "this process ends")
            return
        try:
            check_name(self.name, windows=False)
            folders_of(self.folder, windows=False)
        except Refused as refused:
            self._end(False, str(refused))
            return
        if self.location == self.files.network.location:
            self._end(False, "that is this process itself")
            return
        self.files.outgoing[self.number] = self
        self.files.watch()
        self.files.enqueue(self)

    def open(self) -> None:
        """Its turn has come."""
        self.opened = True
        self._lane.run(Source, (self._from,), self._source_opened)

    def _source_opened(self, source: Source | None, error: BaseException | None) -> None:
        self._source = source
        if source is None or self._over:
            if error is not None:
                self._end(False, in_words(error))
            self._close_source()
            return
        self._stop = source.stop
        self.peer = self.to if isinstance(self.to, Peer) else self.files.network.hub.peer_at(self.to)
        if self.peer is None:
            self._end(False, "no process is there any more")
            return
        self.machine = ft.Sender(
            m.Offer(self.number, self.folder, self.name, source.size, source.mtime_ns, source.mode, self.overwrite)
        )
        self._execute(self.machine.begin())

    def handle(self, event: ft.Event) -> None:
        """Tell the machine a fact and do what it says."""
        if self.machine is not None and not self._over:
            self._execute(self.machine.handle(event, self.files.now()))

    def give_up(self, reason: str) -> None:
        """Nobody waits for it any more."""
        if self.machine is None:
            self._end(False, reason)
        else:
            self.handle(ft.Trouble(reason))

    def _execute(self, orders: list[ft.Order]) -> None:
        source = self._source
        for order in orders:
            match order:
                case ft.Send(message, data):
                    assert self.peer is not None
                    if not self.files.post(self.peer, message, data):
                        gone = ft.PeerGone(f"the process is gone: {self.peer.reason}")
                        self.files.io.loop.call_soon(self.handle, gone)
                case ft.Hash(length) if source:
                    self._run(source.hash, (length,), partial(ft.Hashed, length))
                case ft.Read(offset, length) if source:
                    self._when_caught_up(self._run, source.read, (offset, length), partial(ft.ChunkRead, offset))
                case ft.Finish(offset) if source:
                    self._run(source.finish, (offset,), ft.Summed)
                case ft.Over(ok, reason):
                    self._end(ok, reason)

    def _when_caught_up(self, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` at once, or when the session is not behind any more.

        The window bounds what is not on the far disk.  A receiver whose tasks are behind with their messages writes,
        and acknowledges nothing to the session, which then keeps all that it has sent.
        """
        assert self.peer is not None
        peer = now_known_as(self.peer)
        if not peer.behind:
            fn(*args)
            return

        def caught_up(ok: bool) -> None:
            if ok and not self._over:
                fn(*args)

        self.files.network.hub.when_caught_up(peer, lambda ok: self.files.io.call(caught_up, ok))

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], event: Callable[[Any], ft.Event]) -> None:
        def tell(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self.handle(ft.Trouble(in_words(error), leaves_rest(error)))
            else:
                self.handle(event(result))

        self._lane.run(fn, args, tell)

    def _end(self, ok: bool, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self.files.outgoing.pop(self.number, None)
        self._done(self, ok, printable(reason))
        if self._stop is not None:
            self._stop.stopped = True
        self._lane.clear()
        self._close_source()
        if self.opened:
            self.files.next(self.location, ended=1)

    def _close_source(self) -> None:
        if self._source is not None:
            source, self._source = self._source, None
            self._lane.run(source.close, (), _nothing)

    def look(self) -> None:
        """Say what is waited for if nothing has moved since the last look."""
        if not self.opened:
            return  # others go first, and speak for themselves
        if self.machine is None:
            seen = ("it is being opened", 0)
        else:
            seen = (WAITS_FOR.get(self.machine.state, "it ends"), self.machine.written_to)
        if seen == self._seen:
            logger.warning("the file %s for %s does not move on: %s, %d bytes are there", self, self.whom, *seen)
        self._seen = seen


class Deleting:
    """A file that is being deleted there."""

    def __init__(self, files: Files, location: Location, name: str, folder: str, done: Completion[int]) -> None:
        self.files = files
        self.location = location
        self.name = name
        self.folder = folder
        self.number = files.number()
        self.peer: Peer | None = None
        self._done = done
        self._over = False
        self._seen = False

    def is_with(self, peer: Peer) -> bool:
        """Whether that process is asked."""
        return self.peer is not None and now_known_as(self.peer) is peer

    def begin(self) -> None:
        """Ask."""
        if self._over:
            return
        if self.files.closed:
            self._end(False, "this process ends")
            return
        try:
            folders_of(self.folder, windows=False)
            message = m.Delete(self.number, self.folder, check_name(self.name, windows=False))
        except Refused as refused:
            self._end(False, str(refused))
            return
        self.peer = self.files.network.hub.peer_at(self.location)
        self.files.outgoing[self.number] = self
        self.files.watch()
        if self.peer is None or not self.files.post(self.peer, message):
            self._end(False, "no process is there any more")

    def handle(self, event: ft.Event) -> None:
        """The answer."""
        match event:
            case m.Done():
                self._end(True, "")
            case m.Failed(_, reason) | ft.PeerGone(reason):
                self._end(False, reason)
            case _:
                self._end(False, "it gave an answer that makes no sense")

    def give_up(self, reason: str) -> None:
        """Nobody waits for it any more."""
        self._end(False, reason)

    def _end(self, ok: bool, reason: str) -> None:
        if not self._over:
            self._over = True
            self.files.outgoing.pop(self.number, None)
            if not ok:
                whom = self.peer or self.location
                logger.warning(
                    "the file %r in %r at %s was not deleted: %s", self.name, self.folder, whom, printable(reason)
                )
            self._done.set_result(0 if ok else -1)

    def look(self) -> None:
        """Say what is waited for, if it was so at the last look."""
        if self._seen:
            logger.warning("waiting for %s to delete the file %r", self.peer or self.location, self.name)
        self._seen = True


def _nothing(_: Any, error: BaseException | None) -> None:
    if error is not None:
        logger.debug("closing a file failed: %s", error)
