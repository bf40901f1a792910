"""What the tests of the network share: places that are closed at the end, and what was logged meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.net.cluster_of_networks import Cluster, Log, Place


@pytest.fixture(scope="session", autouse=True)
def one_loop_before() -> None:
    """uvloop makes a pipe with the first loop of a process and keeps it: no leak of a test's."""
    with Cluster() as cluster:
        cluster.hub()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        yield made


@pytest.fixture
def log() -> Iterator[Log]:
    with Log() as made:
        yield made


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns as often as in a server process, and more."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def two(cluster: Cluster) -> tuple[Place, Place]:
    return cluster.place("a"), cluster.place("b")
