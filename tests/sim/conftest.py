"""The options of the simulation: how many worlds there are, and which one is repeated."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--worlds", type=int, default=5000, metavar="N", help="how many worlds are simulated (5000)")
    parser.addoption("--seed", type=int, default=None, help="simulate the world of this seed only, and print its story")


@pytest.fixture(scope="session")
def only_seed(request: pytest.FixtureRequest) -> int | None:
    seed: int | None = request.config.getoption("seed", default=None)
    return seed


@pytest.fixture(scope="session")
def worlds(request: pytest.FixtureRequest) -> int:
    count: int = request.config.getoption("worlds", default=5000)
    return count
