"""parkcos/client/circle.py: a client's keys for its servers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from parkcos.client.circle import OTHER_KEYS, Circle
from parkcos.net.location import Location
from parkcos.net.trust.guests import Guests
from parkcos.net.trust.issuing import decode_grant
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.standing import Standing
from parkcos.net.trust.tls import TlsIdentity

N, OTHER = 100, 200
"""Nodes."""
HERE, THERE = Location("10.0.0.1", 9707), Location("10.0.0.2", 9707)


class Hub:
    """What a circle has to do with of a hub."""

    def __init__(self, identity: TlsIdentity | None) -> None:
        self.identity = identity
        self.guests = Guests(identity, 1)
        self.by_incarnation: dict[int, Any] = {}
        self.ended: list[tuple[Any, str]] = []
        self.io = SimpleNamespace(call=lambda fn, *args: fn(*args))

    def end(self, peer: Any, reason: str) -> None:
        self.ended.append((peer, reason))


@pytest.fixture
def hub() -> Hub:
    return Hub(TlsIdentity(ClusterKeys.random(), incarnation=1))


@pytest.fixture
def circle(hub: Hub) -> Circle:
    return Circle(hub)  # type: ignore[arg-type]


def number(grant: bytes) -> str:
    return decode_grant(grant).standing.grant


def test_each_process_that_starts_servers_has_a_grant_of_its_own(hub: Hub, circle: Circle) -> None:
    grants = [circle.grant_at(N), circle.grant_at(N, 1), circle.grant_at(OTHER), circle.grant_at(N)]
    assert len({number(grant) for grant in grants}) == 4
    first, *others = map(decode_grant, grants)
    assert all(each.trusted == first.trusted and each.name == first.name for each in others), "of one authority"
    circle.lives_at(7, N, [HERE])
    assert hub.guests.grants[7] == number(grants[3]), "the last one counts: the node was set up again"
    circle.lives_at(8, N, [HERE], space=1)
    assert hub.guests.grants[8] == number(grants[1])
    assert hub.guests.circle_at(HERE) == first.name


def standing(grant: str) -> Standing:
    return Standing(frozenset(["server"]), 7, grant)


@pytest.mark.parametrize("place", [(N, 1), (OTHER, 0)], ids=["another space", "another node"])
def test_who_has_dialled_with_the_grant_of_another_is_ended(hub: Hub, circle: Circle, place: tuple[int, int]) -> None:
    right, wrong = number(circle.grant_at(N)), number(circle.grant_at(*place))
    hub.by_incarnation[7] = peer = SimpleNamespace(standing=standing(right))
    circle.lives_at(7, N, [HERE])
    assert hub.ended == []
    peer.standing = standing(wrong)
    circle.lives_at(7, N, [HERE])
    assert hub.ended == [(peer, OTHER_KEYS)]


def test_where_this_process_talks_without_tls_there_is_none() -> None:
    hub = Hub(None)
    circle = Circle(hub)  # type: ignore[arg-type]
    assert circle.grant_at(N) == b""
    circle.lives_at(7, N, [HERE])
    assert (hub.guests.grants, hub.guests.circle_at(HERE)) == ({}, "")
    hub.by_incarnation[OTHER] = SimpleNamespace(circle="of a LocalCluster")
    assert circle.grant_at(OTHER), "but to this one it talks with"
    circle.close()


def test_a_server_that_has_moved_is_not_where_it_was(hub: Hub, circle: Circle) -> None:
    """Whoever is there now is somebody else; unless another of its servers is there."""
    circle.grant_at(N)
    circle.lives_at(7, N, [HERE])
    circle.lives_at(7, N, [THERE])
    assert hub.guests.circle_at(HERE) == ""
    assert hub.guests.circle_at(THERE)
    circle.lives_at(8, N, [THERE])
    circle.lives_at(7, N, [HERE])
    assert hub.guests.circle_at(THERE)


def closed_space(circle: Circle) -> None:
    circle.space_closed(N, 1)
    circle.keep_only({N, 7})


@pytest.mark.parametrize(
    ("what", "grants"),
    [(lambda circle: circle.keep_only({N, 7}), 2), (closed_space, 1), (lambda circle: circle.keep_only({7}), 0)],
    ids=["a server", "a space", "a node"],
)
def test_nothing_is_kept_of_what_is_gone(hub: Hub, circle: Circle, what: Callable[[Circle], None], grants: int) -> None:
    circle.grant_at(N), circle.grant_at(N, 1)
    circle.lives_at(7, N, [HERE])
    circle.lives_at(8, N, [HERE, THERE])
    what(circle)
    assert len(circle._grants) == grants
    assert hub.guests.grants.keys() == {7}
    name = hub.guests.circle_at(HERE)
    assert name, "a server that is there may be reached there"
    assert hub.guests.circle_at(THERE) == ""
    circle.close()
    assert hub.guests.circle_at(HERE) == ""
    assert hub.guests.to_dial(HERE, name) == hub.guests.to_dial(HERE), "its keys are forgotten"
