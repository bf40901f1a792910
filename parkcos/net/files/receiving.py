"""Files on their way to this process.  I/O thread only."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from parkcos.net.files import messages as m
from parkcos.net.files import transfer as ft
from parkcos.net.files.disk import Target, in_words, leaves_rest
from parkcos.net.files.rules import Refused, printable
from parkcos.net.session.peer import Peer
from parkcos.net.workers import Lane

if TYPE_CHECKING:
    from parkcos.net.files.service import Files

logger = logging.getLogger("parkcos")


class Incoming:
    """A file that is being received."""

    def __init__(self, files: Files, peer: Peer, offer: m.Offer) -> None:
        self.files = files
        self.peer = peer
        self.offer = offer
        self.heard_at = files.now()
        self.machine = ft.Receiver(offer, files.max_file_size)
        self._lane = Lane(files.workers)
        self._target: Target | None = None
        self._place: Path | None = None
        """Instead of dest_path."""
        self._claim: tuple[int, int, str] | None = None
        self._to_write: deque[ft.Bytes] = deque()
        self._writing = False
        self._closed = False
        self._followers: list[Incoming] = []

    @property
    def is_closing(self) -> bool:
        """It has failed, and its file is not closed yet."""
        return self._closed

    def begin(self) -> None:
        """Look what is there; after another that ends just now with the same file."""
        former = self.files.closing(self)
        if former is None:
            self.execute(self.machine.begin())
        else:
            former._followers.append(self)

    def handle(self, event: ft.Event) -> None:
        """Tell the machine a fact and do what it says."""
        if not self._closed:
            self.heard_at = self.files.now()
            self.execute(self.machine.handle(event, self.heard_at))

    def execute(self, orders: list[ft.Order]) -> None:
        """Do what the machine says."""
        target = self._target
        for order in orders:
            match order:
                case ft.Send(message):
                    if isinstance(message, m.Done) and self._place is None and self.files.on_received is not None:
                        self.files.on_received(self.peer, PurePosixPath(self.offer.folder, self.offer.name))
                    self.files.post(self.peer, message)
                case ft.Look(folders, name, partial_name):
                    self._begin_to_look(folders, name, partial_name)
                case ft.HashTarget() if target:
                    self._run(target.hash_existing, (), lambda result: ft.Hashed(*result))
                case ft.HashPartial(length) if target:
                    self._run(target.hash_partial, (length,), partial(ft.Hashed, length))
                case ft.Open(offset, size) if target:
                    self._run(target.open, (offset, size), lambda _: ft.Opened())
                case ft.Write(data):
                    self._to_write.append(data)
                    if not self._writing:
                        self._write()
                case ft.Complete(digest, mode, overwrite) if target:
                    if self._writing:  # what came meanwhile is written first
                        self._write()
                    self._run(target.complete, (digest, mode, overwrite), lambda _: ft.Completed())
                case ft.Close(keep, reason):
                    self._close(keep, reason)

    def _write(self) -> None:
        self._writing = True
        self._lane.run(self._write_all, (), self._wrote)

    def _write_all(self) -> int | None:
        """Worker thread: write what there is."""
        target = self._target
        upto = None
        while self._to_write and target is not None:
            upto = target.write(self._to_write.popleft())
        return upto

    def _wrote(self, upto: int | None, error: BaseException | None) -> None:
        self._writing = False
        if error is not None:
            self.handle(ft.Trouble(in_words(error), leaves_rest(error)))
        elif not self._closed:
            if self._to_write:
                self._write()
            if upto is not None:
                self.handle(ft.WroteTo(upto))

    def _begin_to_look(self, folders: tuple[str, ...], name: str, partial_name: str) -> None:
        try:
            if (place_for := self.files.places.get(self.offer.folder)) is not None:
                self._place = place_for(self.peer)
        except Refused as refused:
            self.handle(ft.Trouble(str(refused)))
        else:
            self._lane.run(self._look, (folders, name, partial_name), self._looked)

    def _look(self, folders: tuple[str, ...], name: str, partial_name: str) -> Target:
        """Worker thread."""
        if self._place is not None:
            return Target(self._place, folders, name, partial_name, lasting=False, reserve=self.files.disk_reserve)
        target = Target(self.files.prepared(), folders, name, partial_name, reserve=self.files.disk_reserve)
        self.files.sweep(target.folder)
        return target

    def _looked(self, target: Target | None, error: BaseException | None) -> None:
        self._target = target
        if target is None:
            assert error is not None
            self.handle(ft.Trouble(in_words(error)))
        elif self._closed:
            self._close_target(keep=True)
        else:
            claim = (*target.folder.id, target.name)
            if claim in self.files.targets:
                self.handle(ft.Trouble("another file is just being received under that name there"))
                return
            self._claim = claim
            self.files.targets.add(claim)
            self.handle(ft.Looked(target.existing, target.partial_bytes))

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], event: Callable[[Any], ft.Event]) -> None:
        def tell(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self.handle(ft.Trouble(in_words(error), leaves_rest(error)))
            else:
                self.handle(event(result))

        self._lane.run(fn, args, tell)

    def _close(self, keep: bool, reason: str) -> None:
        self._closed = True
        offer = self.offer
        if reason:
            logger.warning(
                "the file %r for %r, of %r, was not received: %s",
                offer.name,
                offer.folder,
                self.peer,
                printable(reason),
            )
        self._to_write.clear()
        self._lane.clear()
        if self._target is not None:
            self._target.stop.stopped = True
            self._close_target(keep)
        else:
            self._forget()

    def _close_target(self, keep: bool) -> None:
        assert self._target is not None
        self._lane.run(self._target.close, (keep,), lambda *_: self._forget())

    def _forget(self) -> None:
        """Only now, when its file is closed, may the next one have the same name."""
        key = (self.peer.incarnation, self.offer.transfer)
        if self.files.incoming.get(key) is self:
            del self.files.incoming[key]
        if self._claim is not None:
            self.files.targets.discard(self._claim)
            self._claim = None
        followers, self._followers = self._followers, []
        for follower in followers:
            if not follower.is_closing:
                follower.begin()
