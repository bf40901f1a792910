"""What the log says of connections that came to nothing: one line for each peer and reason."""

from __future__ import annotations

import logging

from parkcos.net.audit import Audit
from parkcos.net.session.door import CROSSED, in_words
from parkcos.net.session.link import LEFT
from parkcos.net.session.peer import Peer
from parkcos.net.trust.tls import CLOSED, Identity

SAID_MAX = 1000


class Refusals:
    """One for each hub; any thread.  identity: what this process shows others; audit: takes the lines."""

    def __init__(self, identity: Identity | None, audit: Audit) -> None:
        self._identity = identity
        self._audit = audit
        self._said: set[tuple[str, str]] = set()

    def accepted(self, text: str, error: BaseException) -> None:
        """Of who has dialled this process: `text` is where it is.  Once per host and reason."""
        reason = in_words(error, self._identity)
        if CROSSED not in reason and self._is_news(text.rsplit(":", 1)[0], reason):
            ended = reason in (CLOSED, LEFT)  # as a process does that ends while it dials, or is reached another way
            self._audit.note(
                logging.INFO if ended else logging.WARNING, "refused a connection from %s: %s", text, reason
            )

    def dialled(self, peer: Peer, reason: str) -> None:
        """Of a process that was dialled, and with which this one cannot talk."""
        if self._is_news(str(peer.location), reason):
            peer.reported = True
            self._audit.note(logging.WARNING, "no connection to %r: %s", peer, reason)

    def said(self, peer: Peer, what: str) -> None:
        """Of a process that says what is not for it to say."""
        if self._is_news(str(peer.location), what):
            roles = " and ".join(peer.roles) or "nothing"
            self._audit.note(logging.WARNING, "refused %s from %r: that is not for a %s to say", what, peer, roles)

    def message(self, peer: Peer, what: str, error: object = "") -> None:
        """Of a message that makes no sense: `what` goes on after the peer's name.  Once per host and `what`."""
        if self._is_news(peer.location.addr, what):
            more = f": {error}" if error else ""
            self._audit.note(logging.WARNING, "%r %s%s (not logged again for its host)", peer, what, more)

    def _is_news(self, who: str, reason: str) -> bool:
        key = (who, reason)
        if key in self._said or len(self._said) >= SAID_MAX:
            return False
        self._said.add(key)
        return True
