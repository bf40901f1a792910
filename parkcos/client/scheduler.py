"""Scheduler: the name under which programs start a scheduler of their own, and find the numbers of statuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parkcos.client.side import ClientSide
from parkcos.client.status import Statuses
from parkcos.net.location import Location
from parkcos.net.runtime import Parkcos


class Scheduler(Statuses):
    """A scheduler for the clients of this program only.

    ``Client.schedule()`` starts one by itself if there is no shared one on the local network; making it first says
    that this program's own is to be used in any case.

    Args:
        nodes: names or addresses of nodes to connect to, beside those found by broadcast.  Names that a task gives are
            looked up while it goes on; the log has those that are unknown.
        options: as of :class:`Parkcos`.

    Its attributes are the numbers that ``Status.status`` may have.  Source: chapter 6.3.1.
    """

    def __init__(self, nodes: Sequence[str | Location] = (), **options: Any) -> None:
        runtime = Parkcos(**options)
        contacts = [n if isinstance(n, Location) else Location(n, 9706) for n in nodes]
        ClientSide.of(runtime.network).private_scheduler(contacts)
