"""A client's keys for its servers: with them it is their authority, and they hold nothing of the cluster's.

For each process from which a node starts servers, that of the client and those of its spaces, it is given a grant.  So
no server can be taken for one of another node, or of another space.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from parkcos.net.location import Location
from parkcos.net.trust.issuing import encode_grant, make_grant
from parkcos.net.trust.secret import ClusterKeys

if TYPE_CHECKING:
    from parkcos.net.session.hub import Hub


OTHER_KEYS = "it holds the keys of another node's servers"


class Circle:
    """One for each client.  With the client's lock.  keys: of one that may return, always the same; else random."""

    def __init__(self, hub: Hub, keys: ClusterKeys | None = None) -> None:
        self._hub = hub
        self._keys = keys
        if keys is not None:
            hub.guests.welcome(keys)
        self._grants: dict[tuple[int, int], str] = {}
        """The number of the grant that each node was given last for each space; 0: for none of them."""
        self._homes: dict[int, frozenset[Location]] = {}
        """Where each server may be reached."""

    def grant_at(self, node: int, space: int = 0) -> bytes:
        """A grant for servers at a node, as it travels; b"" if this process talks to that node without TLS."""
        peer = self._hub.by_incarnation.get(node)
        if self._hub.identity is None and (peer is None or not peer.circle):
            return b""
        if self._keys is None:
            self._keys = ClusterKeys.random()
            self._hub.guests.welcome(self._keys)
        grant = make_grant(self._keys, "server")
        self._grants[node, space] = grant.standing.grant
        return encode_grant(grant)

    def grants_of(self, node: int) -> dict[int, str]:
        """The numbers of the grants that a node was given, by space."""
        return {space: number for (at, space), number in self._grants.items() if at == node}

    def came_back(self, node: int, grants: dict[int, str]) -> None:
        """An earlier program of this client had given the node these."""
        self._grants.update({(node, space): number for space, number in grants.items()})

    def lives_at(self, server: int, node: int, locations: Sequence[Location], space: int = 0) -> None:
        """A server of a node may be reached there."""
        granted = self._grants.get((node, space))
        if granted is None or self._keys is None:
            return
        guests = self._hub.guests
        guests.grants[server] = granted
        before = self._homes.pop(server, frozenset()).difference(locations, *self._homes.values())
        guests.left(before, self._keys.name)  # it has moved
        self._homes[server] = frozenset(locations)
        guests.live_at(locations, self._keys.name)
        peer = self._hub.by_incarnation.get(server)  # it may have dialled before this client has
        if peer is not None and peer.standing is not None and peer.standing.grant != granted:
            self._hub.io.call(self._hub.end, peer, OTHER_KEYS)

    def space_closed(self, node: int, space: int) -> None:
        """No server of this space will come from this node any more."""
        self._grants.pop((node, space), None)

    def keep_only(self, present: Container[int]) -> None:
        """Other nodes and servers are there no more."""
        self._grants = {place: number for place, number in self._grants.items() if place[0] in present}
        for server in [server for server in self._homes if server not in present]:
            self._hub.guests.grants.pop(server, None)
            gone = self._homes.pop(server).difference(*self._homes.values())
            if self._keys is not None:
                self._hub.guests.left(gone, self._keys.name)

    def close(self) -> None:
        """It has no servers any more, and will have none."""
        self.keep_only(())
        if self._keys is not None:
            self._hub.guests.dismiss(self._keys.name)
