"""What the log says of connections that came to nothing: one line for each peer and reason."""

from __future__ import annotations

import logging

from parkcos.net.session.door import CROSSED, in_words
from parkcos.net.session.link import LEFT
from parkcos.net.session.peer import Peer
from parkcos.net.trust.tls import CLOSED, Identity

logger = logging.getLogger("parkcos")

SAID_MAX = 1000


class Refusals:
    """One for each hub; any thread.  identity: what this process shows others."""

    def __init__(self, identity: Identity | None) -> None:
        self._identity = identity
        self._said: set[tuple[str, str]] = set()

    def accepted(self, text: str, error: BaseException) -> None:
        """Of who has dialled this process: `text` is where it is.  Once per host and reason."""
        reason = in_words(error, self._identity)
        if CROSSED not in reason and self._is_news(text.rsplit(":", 1)[0], reason):
            ended = reason in (CLOSED, LEFT)  # as a process does that ends while it dials, or is reached another way
            logger.log(logging.INFO if ended else logging.WARNING, "refused a connection from %s: %s", text, reason)

    def dialled(self, peer: Peer, reason: str) -> None:
        """Of a process that was dialled, and with which this one cannot talk."""
        if self._is_news(str(peer.location), reason):
            peer.reported = True
            logger.warning("no connection to %r: %s", peer, reason)

    def _is_news(self, who: str, reason: str) -> bool:
        key = (who, reason)
        if key in self._said or len(self._said) >= SAID_MAX:
            return False
        self._said.add(key)
        return True
