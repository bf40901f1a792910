"""parkcos/net/trust/guests.py: processes with keys of their own, beside those of the cluster that a process is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parkcos.net.location import Location
from parkcos.net.trust.guests import Guests
from parkcos.net.trust.secret import ClusterKeys
from parkcos.net.trust.tls import Context, TlsIdentity
from tests.net.cluster_of_networks import KEYS, OTHER_KEYS, Cluster, Log, Place


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


def peers(one: Place, other: Place) -> int:
    """Whether `one` can dial `other`: 0 or -1."""

    def dials(task: Any = None) -> Any:
        return (yield one.network.peer(other.location, timeout=5))

    found: int = one.run(dials)
    return found


@pytest.mark.parametrize("own", [KEYS, None], ids=["secret", "no_secret"])
@pytest.mark.parametrize("dials", [True, False], ids=["dials", "is dialled"])
def test_a_host_and_its_guest(cluster: Cluster, own: ClusterKeys | None, dials: bool) -> None:
    """They meet whoever dials, and so does whoever is of the host's own cluster."""
    keys = ClusterKeys.random()
    host = cluster.place("host", keys=own)
    guest = cluster.place("guest", keys=keys)
    host.network.hub.guests.welcome(keys)
    host.network.hub.guests.live_at([guest.location], keys.name)
    assert peers(*((host, guest) if dials else (guest, host))) == 0
    assert peers(cluster.place("member", keys=own), host) == 0
    assert peers(host, cluster.place("another member", keys=own)) == 0


@pytest.mark.parametrize("own", [KEYS, None], ids=["secret", "no_secret"])
def test_who_has_only_the_host_s_keys_does_not_get_to_the_guest(cluster: Cluster, own: ClusterKeys | None) -> None:
    keys = ClusterKeys.random()
    host, member = cluster.place("host", keys=own), cluster.place("member", keys=own)
    guest = cluster.place("guest", keys=keys)
    host.network.hub.guests.welcome(keys)
    host.network.hub.guests.live_at([guest.location], keys.name)
    assert peers(host, guest) == 0
    with Log():
        assert peers(member, guest) == -1
        assert peers(guest, member) == -1


@pytest.mark.parametrize(
    "pretend", [lambda keys: ClusterKeys(b"x" * 32, b"y" * 32, name=keys.name), lambda keys: OTHER_KEYS]
)
def test_a_stranger_does_not_get_to_the_host(cluster: Cluster, pretend: Callable[[ClusterKeys], ClusterKeys]) -> None:
    """To ask for the guests' name is not enough."""
    keys = ClusterKeys.random()
    host = cluster.place("host")
    host.network.hub.guests.welcome(keys)
    with Log():
        assert peers(cluster.place("stranger", keys=pretend(keys)), host) == -1


def test_a_guest_that_has_moved_is_known_by_its_keys() -> None:
    keys, elsewhere = ClusterKeys.random(), Location("10.0.0.9", 5)
    guests = Guests(own := TlsIdentity(KEYS), 7)
    guests.welcome(keys)
    assert guests.to_dial(elsewhere) == (own.client_context(), "")
    context, name = guests.to_dial(elsewhere, keys.name)
    assert name == keys.name
    assert isinstance(context, Context)
    assert context.circle == keys.name
    guests.live_at([elsewhere], keys.name)
    assert guests.to_dial(elsewhere) == (context, keys.name)
    assert guests.to_dial(elsewhere, "") == (own.client_context(), ""), "another is there now"


def test_guests_that_leave_and_who_is_dismissed(cluster: Cluster) -> None:
    keys = ClusterKeys.random()
    host = cluster.place("host")
    first, second, third = (cluster.place(name, keys=keys) for name in ("first", "second", "third"))
    guests = host.network.hub.guests
    guests.welcome(keys)
    guests.live_at([first.location], keys.name)
    guests.live_at([second.location, third.location], keys.name)
    guests.left([third.location], keys.name)
    assert guests.circle_at(second.location) == keys.name
    assert guests.circle_at(third.location) == ""
    assert peers(host, second) == 0
    with Log():
        assert peers(host, third) == -1, "it is there no more"
        guests.dismiss(keys.name)
        assert peers(third, host) == -1
    assert peers(host, second) == 0, "a session that is there goes on"
