"""The options that say which worlds are simulated."""

from __future__ import annotations

import pytest

WORLDS = 5000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="simulate the world of this seed only, and print its story")
    parser.addoption("--worlds", type=int, default=WORLDS, help="simulate this many worlds (default: %(default)s)")


@pytest.fixture(scope="session")
def only_seed(request: pytest.FixtureRequest) -> int | None:
    seed: int | None = request.config.getoption("seed", default=None)
    return seed


@pytest.fixture(scope="session")
def worlds(request: pytest.FixtureRequest) -> int:
    count: int = request.config.getoption("worlds", default=WORLDS)
    return count
