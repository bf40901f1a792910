"""The option that repeats one simulated world."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="simulate the world of this seed only, and print its story")


@pytest.fixture(scope="session")
def only_seed(request: pytest.FixtureRequest) -> int | None:
    seed: int | None = request.config.getoption("seed", default=None)
    return seed
