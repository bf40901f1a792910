"""Clusters and programs for the live tests."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from parkcos import Client, LocalCluster, Parkcos
from tests.conftest import no_leaks
from tests.live.lib import SECRET, Ports, Program, with_client
from tests.live.watched import CPUS, at


@pytest.fixture(scope="module")
def cluster(shared_pids: set[int]) -> Iterator[LocalCluster]:
    """Two servers for all tests of a module; the runtime of this process ends with the module."""
    with no_leaks("the cluster of this module", set()):
        cluster = LocalCluster(cpus=2)
        cluster.start()
        assert cluster.location
        shared_pids.add(cluster.nodes[0].process.pid)
        with_client(_nothing)  # all connections and threads that stay are there
        try:
            yield cluster
        finally:
            cluster.close()
            Parkcos.instance().terminate()


@pytest.fixture(scope="module")
def shared_node(shared_pids: set[int]) -> Iterator[tuple[Program, int]]:
    """A node with two servers for the tests of a module, its port; their clients are in this process."""
    with no_leaks("the node of this module", set()):
        ports = Ports()
        program, port = ports.node(CPUS, "--min_pulse_interval", "0.2", "--resource", "gpu=1", "-n", "shared")
        with program:
            shared_pids.add(program.pid)
            Parkcos(host="127.0.0.1", udp_port=ports.udp - 1, secret=SECRET, discover_peers=False)
            with_client(_nothing, nodes=[at(port)])
            yield program, port
            Parkcos.instance().terminate()


@pytest.fixture
def port(shared_node: tuple[Program, int]) -> int:
    return shared_node[1]


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
