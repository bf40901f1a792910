"""Random numbers and threads of numpy at servers: what is the client's choice, and what each server has for itself."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy
import pytest

import parkcos
from parkcos import Client, UsageError
from tests.live.lib import with_client

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("cluster")]

Gen = Generator[Any, Any, Any]
SEED = 2**40 + 7

threads_seen: dict[str, str] = {}


def loads_numpy() -> Gen:
    """Before the servers are forked."""
    import numpy.random

    numpy.random.random()
    random.random()
    threads_seen.update(os.environ)
    yield
    return 0


def draws(count: int = 1) -> Gen:
    yield
    return [(random.random(), float(numpy.random.random())) for _ in range(count)]


def test_servers_draw_numbers_of_their_own() -> None:
    def body(client: Client) -> Gen:
        while len(servers := (yield client.servers())) < 2:
            yield parkcos.io(asyncio.sleep(0.01))
        drawn = []
        for server in servers:
            drawn += yield (yield client.rtask_at(server, draws)).result()
        return drawn

    (one, two) = with_client(body, node_setup=loads_numpy)
    assert one[0] != two[0], "random"
    assert one[1] != two[1], "numpy.random"


def draws_all(file: str | None = None) -> Gen:
    """A task that fails after it has drawn some numbers, if its file is there."""
    task = parkcos.cur_task()
    assert task is not None and task.seed is not None
    drawn = random.random(), float(numpy.random.random()), float(numpy.random.default_rng(task.seed).random())
    if file and os.path.exists(file):
        os.unlink(file)
        raise ValueError("again")
    yield
    return drawn


def run_seeded(file: Path, seed: int = SEED, *, fails: bool = False) -> list[Any]:
    if fails:
        file.touch()

    def body(client: Client) -> Gen:
        options = client.options(retries=3, retry_on=ValueError)
        rtasks = []
        for number in range(6):
            rtasks.append((yield options.rtask(draws_all, str(file) if number == 2 else None)))
        found = []
        for rtask in rtasks:
            found.append((yield rtask.result()))
        return found

    return with_client(body, seed=seed)


def test_with_a_seed_numbers_are_the_same_again(tmp_path: Path) -> None:
    file = tmp_path / "fails"
    first = run_seeded(file)
    for column in zip(*first, strict=True):
        assert len(set(column)) == 6, "each task has its own"
    assert run_seeded(file) == first
    assert run_seeded(file, fails=True) == first
    assert not file.exists()
    assert [found[2] for found in first] == [numpy.random.default_rng([n, SEED]).random() for n in range(1, 7)]
    other = run_seeded(file, seed=0)
    assert not {number for found in first for number in found} & {number for found in other for number in found}


def seeds() -> Gen:
    yield
    task = parkcos.cur_task()
    assert task is not None
    return task.seed


def test_who_has_a_seed() -> None:
    def body(client: Client) -> Gen:
        one = yield (yield client.io_rtask(seeds)).result()
        return one, (yield client.map(_twice, [3, 4], chunksize=2))

    assert with_client(body) == (None, [6, 8])
    assert with_client(body, seed=5) == ([1, 5], [6, 8])


def _twice(number: int) -> int:
    return 2 * number


def variables() -> Gen:
    yield
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {os.environ.get(name) for name in names}, threads_seen.get("OMP_NUM_THREADS")


def threads(**options: Any) -> Any:
    def body(client: Client) -> Gen:
        return (yield (yield client.rtask(variables)).result())

    return with_client(body, node_setup=loads_numpy, **options)


def test_threads_of_numpy() -> None:
    assert threads() == ({"1"}, "1"), "before node_setup imports what reads it"
    assert threads(threads=3) == ({"3"}, "3")
    assert threads(threads=0) == ({None}, None)


def test_what_makes_no_sense() -> None:
    for options in ({"threads": -1}, {"threads": 1.5}, {"seed": -1}, {"seed": "x"}, {"seed": True}):
        with pytest.raises(UsageError, match="give a whole number"):
            Client(**options)  # type: ignore[arg-type]
