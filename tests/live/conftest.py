"""Clusters and programs for the live tests."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from parkcos import Client, LocalCluster, Parkcos
from tests.conftest import no_leaks
from tests.live.lib import Ports, with_client


@pytest.fixture(scope="module")
def cluster(shared_pids: set[int]) -> Iterator[LocalCluster]:
    """Two servers for all tests of a module; the runtime of this process ends with the module."""
    with no_leaks("the cluster of this module", set()):
        cluster = LocalCluster(cpus=2)
        cluster.start()
        assert cluster.location
        assert cluster._process is not None
        shared_pids.add(cluster._process.pid)
        with_client(_nothing)  # all connections and threads that stay are there
        try:
            yield cluster
        finally:
            cluster.close()
            Parkcos.instance().terminate()


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """For what a test starts and wants ended."""
    with contextlib.ExitStack() as stack:
        yield stack


def _nothing(client: Client) -> Generator[Any, Any, None]:
    yield (yield client.rtask(_noop)).finish()


def _noop() -> Generator[Any, Any, None]:
    yield
