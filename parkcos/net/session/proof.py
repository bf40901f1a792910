"""Whether who greets is who it says: by its certificate, by what it was before, by who was shut out.  I/O thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from parkcos.net.session.link import Link
from parkcos.net.session.peer import CONNECTING, GONE
from parkcos.net.session.session import Hello
from parkcos.net.trust.standing import Standing, doubt

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub

BARRED = "it was shut out: its grant is revoked"
OTHER_KEYS = "it says that it is a process which holds other keys"


class Proof:
    """For a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.is_barred: Callable[[Standing | None], bool] = lambda _: False
        """Whether who has this standing in the own cluster was shut out."""

    def doubt(self, link: Link, hello: Hello) -> str:
        """Why what is said in `hello` is not proven by the certificate that was shown; "" if it is."""
        guests, standing, circle = self._hub.guests, link.standing, link.circle
        if guests.tells_standing(circle) and (why := doubt(standing, hello.incarnation, hello.roles)):
            return why
        if not circle and self.is_barred(standing):
            return BARRED
        grant = standing.grant if standing is not None else ""
        if grant != guests.grants.get(hello.incarnation, grant):
            return OTHER_KEYS
        peer = self._hub.by_incarnation.get(hello.incarnation)
        if peer is None or peer.state is GONE:
            return ""
        if peer.state is CONNECTING:
            return OTHER_KEYS if circle != guests.circle_at(peer.location) else ""
        same = peer.circle == circle and grant == (peer.standing.grant if peer.standing is not None else "")
        return "" if same else OTHER_KEYS
