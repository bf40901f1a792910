"""Who was shut out is known to all: a process tells those that it meets, passes on what it hears, and keeps the list.

In the I/O thread, but where it says otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from parkcos.errors import ConfigError
from parkcos.net import wire
from parkcos.net.files.disk import Folder, in_words
from parkcos.net.session.peer import GONE, Peer
from parkcos.net.session.proof import BARRED
from parkcos.net.trust.revoked import ENTRIES_MAX, Revocation, Revocations

if TYPE_CHECKING:
    from parkcos.net.network import Network

logger = logging.getLogger("parkcos")

SERVICE = "revocations"


class Revoked(msgspec.Struct, array_like=True, tag=1):
    """These were shut out."""

    entries: Annotated[list[Revocation], msgspec.Meta(max_length=ENTRIES_MAX)]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Revoked).decode


class Revoking:
    """Keeps a network's list, and those on it out.  Raises: ConfigError if the file is there and no such list."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._path = network.options.revoked_file
        self._known = Revocations(network.options.trusted)
        if self._path is not None:
            for why in self._known.merge(read_revoked(self._path))[1]:
                logger.warning("%s: %s", self._path, why)
        network.services[SERVICE] = self._received
        network.hub.callbacks.up.append(self._peer_up)
        network.hub.proof.is_barred = self._known.bars

    @property
    def entries(self) -> Sequence[Revocation]:
        """Who was shut out, as far as is known here.  Any thread."""
        return self._known.entries

    def _peer_up(self, peer: Peer) -> None:
        if entries := self.entries:
            self._tell(peer, entries)

    def _tell(self, peer: Peer, entries: Sequence[Revocation]) -> None:
        if not peer.circle:  # the others have authorities of their own
            self._network.post_service(peer, SERVICE, _encode(Revoked(list(entries))))

    def _received(self, peer: Peer, message: wire.Service) -> None:
        try:
            content = _decode(message.body)
        except (ValueError, RecursionError) as error:
            self._network.hub.refusals.message(peer, "sent a list of who was revoked that is none", error)
            return
        if not peer.circle:
            self._network.io.call(self.take, content.entries, peer)

    def take(self, entries: Sequence[Revocation], source: Peer | None = None) -> None:
        """Shut these out, and tell everybody.  source: from whom it was heard."""
        fresh, left_out = self._known.merge(entries)
        for why in left_out:
            if source is None:
                logger.warning("%s", why)
            else:
                self._network.hub.refusals.message(source, f"sent {why}")
        if fresh and self._path is not None:
            keep_revoked(self._path, self.entries)
        for entry in fresh:
            said = f"by {source!r}" if source is not None else "here"
            self._network.hub.audit.note(
                logging.WARNING, "%r is shut out: it was revoked, as is said %s", entry.name, said
            )
        if not fresh:
            return
        for peer in self._network.hub.peers():
            if not peer.circle and self._known.bars(peer.standing):
                self._network.hub.end(peer, BARRED)
            elif peer is not source and peer.state is not GONE:
                self._tell(peer, fresh)


def read_revoked(path: Path) -> list[Revocation]:
    """What a file keeps; nothing if it is not there.  Raises: ConfigError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"who was revoked cannot be read from {path} ({error.strerror}): make it readable") from error
    try:
        return msgspec.json.decode(content, type=list[Revocation])
    except ValueError as error:
        raise ConfigError(f"{path} is no list of who was revoked ({error}): remove it, or copy it again") from None


def keep_revoked(path: Path, entries: Iterable[Revocation]) -> None:
    """Write them to a file, which lasts; if that cannot be, the log says so."""
    try:
        with Folder(path.parent, (), make=False) as folder:
            folder.write_whole(path.name, msgspec.json.encode(list(entries)), lasting=True)
    except OSError as error:
        logger.error("who was revoked cannot be kept in %s (%s): it is known until this ends", path, in_words(error))
