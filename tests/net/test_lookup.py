"""parkcos/net/finding/lookup.py: other tasks run while a name server is asked."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parkcos.errors import ConfigError
from parkcos.kernel import Channel, Task
from parkcos.net.location import Location
from parkcos.net.tasks.rps import RPS
from tests.net.cluster_of_networks import WAIT_S, Cluster, Log, Place
from tests.resolver import HOST, NOBODY, Resolver

pytestmark = pytest.mark.live

Use = Callable[[Place, Location], Any]
FILE = str(Path(__file__))

USES: dict[str, tuple[Use, Any]] = {
    "peer": (lambda place, at: place.network.peer(at, WAIT_S), 0),
    "send_file": (lambda place, at: place.network.files.send(at, FILE, None, False, WAIT_S), 0),
    "del_file": (lambda place, at: place.network.files.delete(at, "sent.txt", None, WAIT_S), -1),
    "Task.locate": (lambda _, at: Task.locate("there", at, WAIT_S), "there"),
    "Channel.locate": (lambda _, at: Channel.locate("there", at, WAIT_S), "there"),
    "RPS.locate": (lambda _, at: RPS.locate("there", at, WAIT_S), "there"),
}
"""What is yielded with a Location, and what it gives (the name of what is found)."""


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    return Resolver(monkeypatch)


def yields(place: Place, use: Use, host: str, port: int) -> Any:
    """A task: what comes of it."""
    result = yield use(place, Location(host, port))
    return getattr(result, "name", result)


def answers(resolver: Resolver) -> None:
    """A task: tells the resolver to answer."""
    yield
    resolver.answers.set()


def serves(place: Place) -> None:
    def there(task: Any = None) -> Any:
        task.register()
        channel, rps = Channel("there"), RPS(there, "there")
        channel.register()
        rps.register()
        registered.append((channel, rps))
        yield task.receive()

    registered: list[Any] = []
    place.spawn(there)
    place.call(lambda: None)
    assert registered


@pytest.mark.parametrize("name", USES)
def test_tasks_run_while_a_dead_name_server_is_asked(
    two: tuple[Place, Place], resolver: Resolver, name: str, tmp_path: Path
) -> None:
    here, there = two
    there.network.files.dest_path = tmp_path / "there"
    serves(there)
    use, expected = USES[name]
    asks = here.spawn(yields, here, use, HOST, there.location.port)
    assert resolver.asked.wait(WAIT_S)
    here.run(answers, resolver)
    assert asks.future().result(WAIT_S) == expected


@pytest.mark.parametrize("name", USES)
def test_a_name_that_is_unknown_is_named(two: tuple[Place, Place], resolver: Resolver, name: str) -> None:
    here, there = two
    resolver.answers.set()
    with pytest.raises(ConfigError, match=f"'{NOBODY}' cannot be resolved.*give the IP address"):
        here.run(yields, here, USES[name][0], NOBODY, there.location.port)


@pytest.mark.parametrize(
    ("use", "expected", "words"),
    [
        (lambda place, at: place.network.peer(at, 0.01), -1, ["cannot connect to", HOST]),
        (lambda place, at: place.network.files.send(at, FILE, None, False, 0.01), -1, ["was not sent", HOST]),
        (lambda place, at: place.network.files.delete(at, "x", None, 0.01), -1, ["not deleted", HOST]),
        (lambda _, at: Task.locate("there", at, 0.01), None, []),
    ],
    ids=["peer", "send_file", "del_file", "Task.locate"],
)
def test_the_time_limit_holds_for_the_name_server_too(
    cluster: Cluster, resolver: Resolver, log: Log, use: Use, expected: Any, words: list[str]
) -> None:
    here = cluster.place()
    assert here.run(yields, here, use, HOST, 9705) == expected
    if words:
        log.wait_for(*words)
    resolver.answers.set()


def test_what_is_here_is_located_by_the_location_of_this_process(two: tuple[Place, Place]) -> None:
    here, there = two
    serves(here)

    def looks() -> Any:
        for kind in (Task, Channel, RPS):
            found = yield kind.locate("there", here.location)
            assert found.name == "there"
            assert found.location == here.location
            assert (yield kind.locate("nobody", here.location)) is None
            assert (yield kind.locate("there", there.location)) is None

    here.connect(there)
    here.run(looks)


def test_a_location_is_the_same_before_and_after_its_name_is_looked_up(cluster: Cluster, resolver: Resolver) -> None:
    """Nothing is asked in a task until the address is needed; then all are one key of a dict."""

    def makes() -> Any:
        location, again = Location(HOST, 9705), Location.parse(f"{HOST}:9705")
        assert not location.is_known and not resolver.asked.is_set()
        assert repr(location) == f"{HOST}:9705"
        assert Location("127.0.0.1", 9705).is_known and Location("::1", 9705).is_known
        resolver.answers.set()
        assert {location: 1}[Location("127.0.0.1", 9705)] == 1
        assert again == location == pickle.loads(pickle.dumps(again))
        assert location.is_known and repr(location) == "127.0.0.1:9705"
        yield

    cluster.place().run(makes)


@pytest.mark.parametrize("host", ["", " ", " host", "10.0.0.999", "fe80::1%", "a:b"])
def test_what_can_be_no_host_is_refused_at_once_in_a_task_too(cluster: Cluster, host: str) -> None:
    def makes() -> Any:
        with pytest.raises(ConfigError, match="host"):
            Location(host, 9705)
        yield

    cluster.place().run(makes)


def test_outside_of_tasks_a_name_is_looked_up_where_it_is_written(resolver: Resolver) -> None:
    resolver.answers.set()
    assert Location(HOST, 9705).is_known
    with pytest.raises(ConfigError, match=NOBODY):
        Location(NOBODY, 9705)
